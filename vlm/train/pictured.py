"""Synthetic bodies as an image encoder sees them, with what is true of them: what couples it to a language model.

Bodies are chests of 3 mm voxels, each finding of ``DRAWN`` put in by chance and at a size by chance; the vectors are
those of the organs as anatomy finds them, as in a real scan. Each body is drawn and encoded once (10 s of a processor)
and kept in a folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from vlm.encoder import Encoder
from vlm.encoder.embedding import Embedding, embed, organ_masks
from vlm.evidence import Case
from vlm.language.impressions import ASKED, SIDES
from vlm.phantom.body import PHASES, body
from vlm.phantom.plans import PHASE_CHANCES
from vlm.phantom.requests import request
from vlm.phantom.seeds import Split, seeds

SPACING_MM = (3.0, 3.0, 3.0)
# Chance of each finding in a body, of each side where it has one of its own; made.
DRAWN: Mapping[str, float] = {
    "pleural_effusion": 0.2, "pneumothorax": 0.2, "consolidation": 0.3, "ground_glass_opacity": 0.3, "emphysema": 0.2,
    "lobar_collapse": 0.2, "cardiomegaly": 0.2, "pericardial_effusion": 0.2, "coronary_artery_calcification": 0.2,
    "aortic_aneurysm": 0.2, "aortic_calcification": 0.2, "hepatic_steatosis": 0.2, "hepatomegaly": 0.2,
    "splenomegaly": 0.2, "ascites": 0.2, "osteopenia": 0.2,
}  # fmt: skip
EITHER_SIDE = ("pleural_effusion", "pneumothorax")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pictured:
    """A body: the vectors of its organs, and the findings that were put in."""

    seed: int
    seen: Embedding
    truth: tuple[tuple[str, str | None], ...]  # finding and side

    def holds(self, organ: str, finding: str) -> bool:
        """Whether a finding is there in an organ; what has no side is there on both."""
        side = SIDES.get(organ)
        return any(key == finding and (side is None or at in (None, "bilateral", side)) for key, at in self.truth)

    def answers(self, organ: str) -> list[bool]:
        """What is true of an organ, in the order of ``ASKED``."""
        return [self.holds(organ, finding) for finding in ASKED[organ]]


def wishes(seed: int) -> tuple[str, list[str]]:
    """The contrast phase and the findings, in words, of a body."""
    rng, out = np.random.default_rng([seed, 57]), []
    phase = PHASES[int(rng.choice(len(PHASES), p=PHASE_CHANCES))]
    for finding, chance in DRAWN.items():
        for side in ("left", "right") if finding in EITHER_SIDE else ("",):
            if rng.random() < chance:
                words = request(finding, rng)
                out.append(words.replace("left", side).replace("right", side) if side else words)
    return phase, out


def pictured(
    split: Split,
    count: int,
    encoder: Callable[[], Encoder],
    folder: Path,
    say: Callable[[str], object] = lambda _: None,
) -> Iterator[Pictured]:
    """The first bodies of a part of the seeds, from the folder where they are known.

    Args:
        split: of ``vlm.phantom.seeds``: what is trained asks for "train" alone.
        count: how many seeds.
        encoder: loads the encoder when it is first needed.
        folder: where vectors and truths are kept.
        say: called with a line for each body that is drawn.
    """
    for seed in seeds(split, count):
        truth = folder / f"{split}-{seed}.json"
        vectors = truth.with_suffix(".npz")
        if not truth.is_file():
            _draw(seed, encoder(), vectors, truth)
            say(f"{split} {seed}")
        told = json.loads(truth.read_text(encoding="utf-8"))
        found = tuple((str(finding), side) for finding, side in told["truth"])
        yield Pictured(seed=seed, seen=Embedding.load(vectors), truth=found)


def _draw(seed: int, encoder: Encoder, vectors: Path, truth: Path) -> None:
    """Draw one body, encode it, and keep what is needed; the truth comes last."""
    phase, words = wishes(seed)
    draw = partial(body, seed=seed, region="chest", spacing_mm=SPACING_MM, skip_impossible=True)
    scanned = draw(phase=phase, findings=words)  # type: ignore[arg-type]  # one of PHASES
    embed(scanned.volume, encoder, organ_masks(Case(scanned.volume))).save(vectors)
    found = [(one.finding, one.side) for one in scanned.truth]
    truth.write_text(json.dumps({"wishes": words, "truth": found}), encoding="utf-8")
