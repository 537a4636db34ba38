"""Bodies with findings that no chance draws, or that a cohort of many findings holds too seldom: one recipe a number.

Pouches of the colon, varices, wide bile ducts and nodes of the groins in an abdomen in the portal venous phase, and
stones of the ureters in one without contrast, where arteries hold calcium in every other body, each at graded sizes in
most of the bodies; ``python -m benchmarks.limits alone`` draws and measures them.
"""

from __future__ import annotations

import functools
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vlm.phantom.body import Phase, body
from vlm.phantom.cohort import name_of
from vlm.phantom.files import Place
from vlm.phantom.sample import save_body
from vlm.phantom.seeds import Split, seeds
from vlm.workers import in_parallel

FIRST = 1000  # of the seeds of the split: other people than those of the other cohorts
TIMES = 3  # of each size; so often in the others of the first ones there is none
SIDES = ("left", "right")
# What is asked for: sizes in mm. Of wide ducts it is that of the common duct; those within the liver have 0.76 of it
# at its hilum and 0.24 at their tips.
FINDINGS: Mapping[str, tuple[float, ...]] = {
    "diverticulosis {mm} mm": (4, 5, 6, 8, 10),
    "oesophageal varices {mm} mm": (3, 4, 5, 7, 10),
    "biliary dilatation {mm} mm": (9, 12, 15, 18, 24),
    "{side} inguinal lymphadenopathy {mm} mm": (12, 15, 18, 22, 30),
}

# Without contrast. A stone is drawn where its ureter crosses the iliac crest; what is upstream is wide.
STONES: Mapping[str, tuple[float, ...]] = {"{side} ureteral stone {mm} mm": (3, 4, 5, 7, 10)}
CALCIUM = "arterial wall calcification"


@dataclass(frozen=True, slots=True)
class Group:
    """Bodies of one phase; the last ``clear`` of them hold none of the findings."""

    phase: Phase
    findings: Mapping[str, tuple[float, ...]]
    cases: int
    clear: int


PORTAL, PLAIN = Group("portal", FINDINGS, cases=24, clear=4), Group("plain", STONES, cases=20, clear=5)
CASES = PORTAL.cases + PLAIN.cases


def words(number: int) -> tuple[Phase, list[str]]:
    """The phase of the body of this number, and what it holds, in words."""
    group, own = (PORTAL, number) if number < PORTAL.cases else (PLAIN, number - PORTAL.cases)
    out, ill = [], group.cases - group.clear
    for order, (pattern, sizes) in enumerate(group.findings.items()):
        rng = np.random.default_rng([78, order])
        every = rng.permutation([*sizes * TIMES, *[0.0] * (ill - TIMES * len(sizes))])
        sides = rng.permutation([SIDES[n % 2] for n in range(ill)])
        if own < ill and every[own]:
            out.append(pattern.format(mm=f"{every[own]:g}", side=sides[own]))
    if group is PLAIN and own % 2:
        out.append(CALCIUM)
    return group.phase, out


def draw(
    folder: Path, cases: int, workers: int, *, spacing_mm: tuple[float, float, float], split: Split = "test"
) -> dict[str, str]:
    """Draw what a cohort lacks; why some cases are not there, by name."""
    numbers = [number for number in range(cases) if not (folder / name_of(number)).is_dir()]
    made = functools.partial(draw_one, folder, spacing_mm=spacing_mm, split=split)
    return {name_of(number): reason for number, reason in in_parallel(made, numbers, workers=workers) if reason}


def draw_one(folder: Path, number: int, *, spacing_mm: tuple[float, float, float], split: Split) -> str:
    """One case; its folder gets its name when it is whole. What this person cannot have is told in truth.json."""
    staging = folder / f".{name_of(number)}.new"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    (seed,) = seeds(split, 1, first=FIRST + number)
    phase, said = words(number)
    drawn = body(seed=seed, phase=phase, region="abdomen", spacing_mm=spacing_mm, findings=said, skip_impossible=True)
    save_body(drawn, Place(staging / "scan", ""), {"split": split, "asked": said}, file_format="nifti")
    staging.rename(folder / name_of(number))
    return ""
