"""Organs that are too large or too small: liver, spleen, kidneys, pancreas, prostate.

In: the outline of each organ. Out: an Observation where a published limit is passed, and a Search with the
measure that speaks. A cut organ can be told to be large, never to be normal or small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Presence
from vlm.tools.organs import SITES, Organ, kept, organ, sought
from vlm.tools.registry import tool

NAME = "organ_size"
# Mean 1533, SD 375 mL in 3,065 healthy adults: two SD above (Perez, Radiology 2022;302:336).
LIVER_ML = 2283.0
SPLEEN_ML = (315.0, 430.0)  # upper limit of normal (Prassopoulos, Eur Radiol 1997;7:246); large at any body size
SPLEEN_MM = 130.0  # length: Bezerra, AJR 2005;184:1510
SMALL_KIDNEY_ML = 88.0  # women 154, SD 33 mL: two SD below (Geraghty, J Comput Assist Tomogr 2004;28:83)
SMALL_KIDNEY_MM = 90.0  # length: customary limit of a small kidney (Emamian, AJR 1993;160:83: 95 mm is two SD below)
# 72, SD 26 mL at 20-60 years, less with age (Saisho, Clin Anat 2007;20:933); outlines miss parts of the gland, so
# that its volume alone never makes more than a doubt.
PANCREAS_ML = 35.0
PROSTATE_ML = (30.0, 40.0)  # from 30 mL enlarged (Roehrborn, Urology 1999;53:581); CT reads it larger than it is

Verdict = tuple[Presence, tuple[Measurement, ...]]


@dataclass(frozen=True, slots=True)
class Rule:
    """One finding told from the size of one organ."""

    finding: str
    organ: str
    judge: Callable[[Organ], Verdict]
    large: bool  # an enlargement, which a part of the organ can prove


def _volume(seen: Organ) -> Measurement:
    mask = Mask(seen.name, seen.voxels.T, seen.grid)
    doubt = (1.0 - seen.quality) * mask.volume_ml if seen.quality else None
    return Measurement(quantity="volume", value=mask.volume_ml, plus_minus=doubt)


def length_mm(seen: Organ) -> float:
    """The longest distance between two voxels of an organ, mm, from border to border."""
    points = np.argwhere(seen.voxels) * np.asarray(seen.grid.spacing_mm[::-1])
    try:
        points = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return float(max(seen.grid.spacing_mm))
    return float(pdist(points).max()) + float(np.mean(seen.grid.spacing_mm))


def _liver(seen: Organ) -> Verdict:
    volume = _volume(seen)
    return ("present" if volume.value >= LIVER_ML else "absent"), (volume,)


def _spleen(seen: Organ) -> Verdict:
    volume = _volume(seen)
    step = seen.grid.spacing_mm[2]
    height = Measurement(quantity="height", value=float(seen.voxels.any(axis=(1, 2)).sum()) * step, plus_minus=2 * step)
    sure = volume.value >= SPLEEN_ML[1] or (height.value >= SPLEEN_MM and volume.value >= SPLEEN_ML[0])
    doubtful = volume.value >= SPLEEN_ML[0]
    return ("present" if sure else "uncertain" if doubtful else "absent"), (volume, height)


def _kidney(seen: Organ) -> Verdict:
    volume = _volume(seen)
    length = Measurement(quantity="diameter_3d", value=length_mm(seen), plus_minus=2 * float(max(seen.grid.spacing_mm)))
    small = (volume.value < SMALL_KIDNEY_ML, length.value < SMALL_KIDNEY_MM)
    return ("present" if all(small) else "absent"), (volume, length)


def _pancreas(seen: Organ) -> Verdict:
    volume = _volume(seen)
    return ("uncertain" if volume.value < PANCREAS_ML else "absent"), (volume,)


def _prostate(seen: Organ) -> Verdict:
    volume = _volume(seen)
    low, high = PROSTATE_ML
    return ("present" if volume.value >= high else "uncertain" if volume.value >= low else "absent"), (volume,)


RULES = (
    Rule("hepatomegaly", "liver", _liver, large=True),
    Rule("splenomegaly", "spleen", _spleen, large=True),
    Rule("renal_atrophy", "kidney_right", _kidney, large=False),
    Rule("renal_atrophy", "kidney_left", _kidney, large=False),
    Rule("pancreatic_atrophy", "pancreas", _pancreas, large=False),
    Rule("prostatomegaly", "prostate", _prostate, large=True),
)


@tool(
    NAME,
    observes=("hepatomegaly", "splenomegaly", "renal_atrophy", "pancreatic_atrophy", "prostatomegaly"),
    needs=("liver", "spleen", "kidney_right", "kidney_left", "pancreas", "prostate"),
)
def organ_size(case: Case) -> list[Evidence]:
    """Measure liver, spleen, kidneys, pancreas and prostate against published limits."""
    return [record for rule in RULES for record in _judged(case, rule)]


def _judged(case: Case, rule: Rule) -> list[Evidence]:
    seen = organ(case, rule.organ)
    if seen.mask is None or not seen.measurable:
        return [sought(case, NAME, rule.finding, seen)]
    presence, measures = rule.judge(seen)
    if not seen.whole and not (rule.large and presence == "present"):
        return [sought(case, NAME, rule.finding, seen, failed=("organ_cut",))]
    site, side = SITES[rule.organ]
    region = kept(case, seen)
    out: list[Evidence] = []
    if presence != "absent":
        note = "" if presence == "present" else "the size lies at the limit"
        out.append(
            Observation(
                tool=NAME, finding=rule.finding, presence=presence, side=side, site=site, measurements=measures,
                region=region, note=note,
            )
        )  # fmt: skip
    out.append(sought(case, NAME, rule.finding, seen, found=len(out), measurements=measures, region=region))
    return out
