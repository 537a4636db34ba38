"""What synthetic bodies measure: density and size of their organs over seeds, and how long one takes.

python -m benchmarks.bodies [--seeds 6] [--write-docs]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np
from scipy import ndimage

from benchmarks.stamp import ROOT, stamp, write_section
from vlm.phantom.body import NUMBER, PHASES, Exposure, Person, Phase, body, grid_of
from vlm.phantom.body.tissues import table
from vlm.workers import in_parallel

SPACING_MM = (3.0, 3.0, 3.0)
FULL = (512, 512, 300)
MANY = 16
ORGANS = {  # label: (tissue of the table, usual volume of an adult, mL)
    "liver": ("liver", "900 to 2400"), "spleen": ("spleen", "110 to 315"), "pancreas": ("pancreas", "40 to 120"),
    "kidney_left": ("kidney_cortex", "110 to 250"), "heart_ventricle_left": ("blood_artery", ""),
    "heart_ventricle_right": ("blood_right", ""), "heart_myocardium": ("myocardium", ""),
    "urinary_bladder": ("urine", ""), "gallbladder": ("bile", ""), "gluteus_maximus_left": ("muscle", ""),
    "subcutaneous_fat": ("fat", ""), "vertebrae_L1": ("trabecular", ""), "lung_upper_lobe_left": ("lung", ""),
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    found: dict[tuple[str, Phase], list[tuple[float, float]]] = defaultdict(list)
    sizes: dict[str, list[float]] = defaultdict(list)
    seconds: list[float] = []
    for seed in range(options.seeds):
        for phase in PHASES:
            start = time.process_time()
            scanned = body(seed=seed, phase=phase, spacing_mm=SPACING_MM, exposure=Exposure(noise_hu=10.0))
            seconds.append(time.process_time() - start)
            for name in ORGANS:
                organ = scanned.labels == NUMBER[name]
                core = ndimage.binary_erosion(organ)
                if core.sum() > 20:
                    values = scanned.volume.hu[core]
                    found[name, phase].append((float(np.median(values)), float(values.std())))
                if phase == "plain":
                    sizes[name].append(float(organ.sum()) * scanned.volume.grid.voxel_ml)
    voxels = "x".join(str(n) for n in scanned.volume.hu.shape)
    text = "\n".join(
        [
            stamp("python -m benchmarks.bodies"),
            "",
            f"{options.seeds} persons, 3 mm, noise 10 HU. Drawn: mean over persons of the median in the eroded organ,"
            " in brackets the deviation between persons and inside the organ. Published: means as the sources of"
            " tissues.toml give them; nothing where none was found.",
            "",
            "| structure | plain, HU | published | arterial | published | portal | published | mL, least to most |",
            "|---|---|---|---|---|---|---|---|",
            *(row(name, found, sizes[name]) for name in ORGANS),
            "",
            f"One trunk at 3 mm ({voxels} voxels): {np.median(seconds):.1f} s (median of {len(seconds)}); one of"
            f" {' x '.join(map(str, FULL))}: {full_seconds():.0f} s. Seconds of one processor, one thread."
            f" {MANY} trunks at 3 mm in two processes: {apiece_seconds():.1f} s of the clock apiece.",
        ]
    )
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "phantom.md", "bodies", text)


def row(name: str, found: dict[tuple[str, Phase], list[tuple[float, float]]], sizes: list[float]) -> str:
    """One line of the table."""
    tissue, usual = ORGANS[name]
    published = table()[tissue].get("published", {})
    cells = []
    for phase in PHASES:
        middle, inside = np.array(found[name, phase]).T
        cells.append(f"{middle.mean():.0f} ({middle.std():.0f}, {inside.mean():.0f})")
        cells.append(" to ".join(f"{value:.0f}" for value in published.get(phase, [])))
    size = f"{min(sizes):.0f} to {max(sizes):.0f}" + (f" (usual {usual})" if usual else "")
    return f"| {name} | {' | '.join(cells)} | {size} |"


def full_seconds() -> float:
    """How long a trunk of 512 x 512 x 300 voxels takes, s of one processor."""
    trunk = grid_of(Person.of(1), "trunk", (1.0, 1.0, 1.0))
    size = np.array(trunk.shape) * trunk.spacing_mm / FULL
    spacing = (float(size[0]), float(size[1]), float(size[2]))
    start = time.process_time()
    body(seed=1, spacing_mm=spacing, exposure=Exposure(noise_hu=10.0))
    return time.process_time() - start


def apiece_seconds() -> float:
    """How long a trunk at 3 mm takes where many are drawn in two processes, as for a training, s of the clock."""
    started, ended = 0.0, 0
    for seed, _ in in_parallel(draw, range(-2, MANY), workers=2):  # two for the start of the processes
        if seed == -1:
            started = time.perf_counter()
        ended += 1
    return (time.perf_counter() - started) / (ended - 2)


def draw(seed: int) -> int:
    """One trunk at 3 mm; how many voxels it has."""
    return body(seed=100 + seed, spacing_mm=SPACING_MM, exposure=Exposure(noise_hu=10.0)).volume.hu.size


if __name__ == "__main__":
    main()
