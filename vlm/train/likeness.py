"""What tells altered copies of one scan from another patient's scan: the statistics that ship with ``astra``.

    python -m vlm.train.likeness --out vlm/encoder/astra.npz [--bodies 6] [--kept FOLDER]

Synthetic bodies of the seeds for training, chests, abdomens and trunks in turn, each with altered copies. Along what a
vector changes between copies it says nothing of the patient, so such directions are scaled down (within-class
covariance normalisation: Hatch, Kajarekar and Stolcke, Interspeech 2006). No real scan takes part.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from vlm.ct.volume import Volume
from vlm.encoder import Encoder, load_encoder, prepare
from vlm.encoder.protocol import Vector
from vlm.encoder.whitening import fit_within
from vlm.phantom.body import PHASES, body
from vlm.phantom.seeds import seeds
from vlm.train.copies import clipped, cut, noisy, thick

FIRST = 5_000  # of the seeds for training: nobody else takes these
REGIONS = ("chest", "abdomen", "trunk")
SPACING_MM = (1.5, 1.5, 2.5)
COPIES: Mapping[str, Callable[[Volume], Volume]] = {
    "itself": lambda volume: volume,
    "noise": lambda volume: noisy(volume, 30.0),
    "thick": lambda volume: thick(volume, 6.0),
    "lower": lambda volume: cut(volume, 0.0, 0.7),
    "upper": lambda volume: cut(volume, 0.3, 1.0),
    "window": lambda volume: clipped(volume, 300),
}


def vectors(number: int, encoder: Encoder, kept: Path) -> Vector:
    """(copies, D) raw vectors of a body and its copies, the body first; from ``kept`` where they are known."""
    path = kept / f"{number}.npy"
    if path.is_file():
        known: Vector = np.load(path, allow_pickle=False)
        return known
    (seed,) = seeds("train", 1, first=FIRST + number)
    region, phase = REGIONS[number % len(REGIONS)], PHASES[number % len(PHASES)]
    volume = body(seed=seed, region=region, phase=phase, spacing_mm=SPACING_MM).volume
    made = [encoder.features(prepare(copy(volume), encoder.recipe)).pooled for copy in COPIES.values()]
    kept.mkdir(parents=True, exist_ok=True)
    np.save(path, np.stack(made))
    sys.stdout.write(f"body {number}, {region}, {phase}\n")
    return np.stack(made)


def main() -> None:
    """Draw, encode, fit, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bodies", type=int, default=6)
    parser.add_argument("--kept", type=Path, default=Path("build/likeness"), help="what a stopped run goes on from")
    options = parser.parse_args()
    encoder = load_encoder()
    groups = [vectors(number, encoder, options.kept) for number in range(options.bodies)]
    made = fit_within(groups, str(encoder.identity))
    made.save(options.out)
    sys.stdout.write(
        f"{options.out.name}: version {made.version}, {made.count} bodies, {options.out.stat().st_size / 1e6:.1f} MB\n"
    )


if __name__ == "__main__":
    main()
