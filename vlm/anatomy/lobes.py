"""Lobes of the lungs, from the fissures where they are believed; an own engine's outlines are asked before by who asks.

In: an open case. Out: a mask for each lobe that is known, and the lobe of a place. Where the horizontal fissure is not
believed, the right upper and middle lobe are told apart only near the apex, where the middle lobe does not reach.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.fissures import Fissures, fissures
from vlm.anatomy.lungs import LungSide, lungs
from vlm.ct.volume import Mask
from vlm.evidence import Case, once

LOBES: Mapping[LungSide, tuple[str, ...]] = {
    "right": ("upper_lobe", "middle_lobe", "lower_lobe"),
    "left": ("upper_lobe", "lower_lobe"),
}
NAMES: Mapping[str, tuple[LungSide, str]] = {
    f"lung_{lobe}_{side}": (side, lobe) for side, own in LOBES.items() for lobe in own
}  # TotalSegmentator's
MARGIN_MM = 4.0  # a place whose middle is nearer to a fissure lies at it, not in a lobe
SHARE = 0.85  # of a place within one lobe; less and it crosses the fissure
APEX_MM = 70.0  # below the apex: the horizontal fissure lies at 120 mm, two standard deviations of it at 80
UNKNOWN = ""


@once
def lobes(case: Case) -> dict[str, Mask]:
    """The lobes that the fissures tell, on the working grid: aerated lung, by TotalSegmentator's names."""
    out = {}
    grid = case.working.grid
    for side, seen in fissures(case).items():
        lung = lungs(case).of(side)
        at = np.argwhere(lung.voxels)
        told = _told(seen, side, grid.to_mm(at))
        if np.any(told == UNKNOWN):
            continue
        for lobe in LOBES[side]:
            own = at[told == lobe]
            voxels = np.zeros(grid.shape, dtype=bool, order="F")
            voxels[tuple(own.T)] = True
            out[f"lung_{lobe}_{side}"] = Mask(f"lung_{lobe}_{side}", voxels, grid)
    return out


def lobe_of(case: Case, side: LungSide, place: Mask) -> str | None:
    """The lobe that a place of a lung lies in: a site of the vocabulary; None where that is not known.

    A place that crosses a fissure, or whose middle lies within ``MARGIN_MM`` of one, is in no lobe.
    """
    seen = fissures(case).get(side)
    if seen is None or not place:
        return None
    points = place.grid.to_mm(np.argwhere(place.voxels))
    told = _told(seen, side, points)
    names, counts = np.unique(told, return_counts=True)
    best = str(names[counts.argmax()])
    if best == UNKNOWN or counts.max() < SHARE * len(points):
        return None
    beside = (seen.oblique, seen.horizontal if best != "lower_lobe" else None)
    near = [seen.distance_mm(surface, points.mean(axis=0)) for surface in beside if surface is not None]
    return None if min(near) < MARGIN_MM else best


def _told(seen: Fissures, side: LungSide, points: NDArray[np.float64]) -> NDArray[np.str_]:
    """(N,) the lobe of each of (N, 3) points RAS mm; UNKNOWN where no believed fissure tells it."""
    out = np.full(len(points), UNKNOWN, dtype="U12")
    if seen.oblique is None:
        return out
    over = seen.above(seen.oblique, points) > 0
    out[~over] = "lower_lobe"
    if side == "left":
        out[over] = "upper_lobe"
    elif seen.horizontal is not None:
        high = seen.above(seen.horizontal, points) > 0
        out[over & high] = "upper_lobe"
        out[over & ~high] = "middle_lobe"
    elif seen.apex_mm is not None:
        out[over & (points[:, 2] > seen.apex_mm - APEX_MM)] = "upper_lobe"
    return out
