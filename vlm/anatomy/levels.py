"""Vertebral bodies along the canal, told apart by the discs between them.

In: the spine of a Case. Out: bodies from the lowest up, each with its middle and height. They carry no
names: neither ribs nor sacrum can yet be counted so surely that "T8" might be printed.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.skeleton import BODY_RADIUS_MM, Spine, spine
from vlm.ct.volume import Point, as_point
from vlm.evidence import Case, once

PITCH_MM = (16.0, 44.0)  # from disc to disc: lowest cervicothoracic to highest lumbar
STEP_MM = 4.0  # thicker slices do not show discs
UNEVEN_COST = 0.012  # per mm of difference between neighbouring pitches, in units of the profile's spread
DISC_CLEAR = 0.35  # a disc stands out by this share of the profile's spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertebra:
    """One body between two discs; ``middle_mm`` RAS, ``height_mm`` from disc to disc."""

    middle_mm: Point
    height_mm: float
    low_k: int  # working slices of the discs below and above
    high_k: int


@once
def levels(case: Case) -> tuple[Vertebra, ...]:
    """Vertebral bodies from below; empty where slices are thick or the canal is unsure."""
    axis = spine(case)
    step = case.working.grid.spacing_mm[2]
    if not axis.found or step > STEP_MM:
        return ()
    profile = density_profile(case, axis)
    good = np.flatnonzero(axis.good)
    first, last = int(good[0]), int(good[-1])
    discs = _discs(profile[first : last + 1], step)
    out: list[Vertebra] = []
    for low, high in itertools.pairwise(discs):
        middle = axis.bodies_mm[first + (low + high) // 2]
        out.append(
            Vertebra(
                middle_mm=as_point(middle),
                height_mm=(high - low) * step,
                low_k=first + low,
                high_k=first + high,
            )
        )
    return tuple(out)


def density_profile(case: Case, axis: Spine) -> NDArray[np.float64]:
    """(Z,) share of bone within the disc of the vertebral body, slice by slice: low where a disc lies."""
    volume = case.working
    ijk = volume.grid.to_ijk(axis.bodies_mm)
    step_x, step_y, _ = volume.grid.spacing_mm
    rx, ry = round(BODY_RADIUS_MM / step_x), round(BODY_RADIUS_MM / step_y)
    x, y = np.mgrid[-rx : rx + 1, -ry : ry + 1]
    inside = (x * step_x) ** 2 + (y * step_y) ** 2 <= BODY_RADIUS_MM**2
    out = np.zeros(volume.grid.shape[2])
    for k in range(out.size):
        i, j = round(ijk[k, 0]), round(ijk[k, 1])
        if i < rx or j < ry or i + rx >= volume.grid.shape[0] or j + ry >= volume.grid.shape[1]:
            continue
        patch = volume.hu[i - rx : i + rx + 1, j - ry : j + ry + 1, k]
        out[k] = float(np.percentile(patch[inside], 80))
    return out


def _discs(profile: NDArray[np.float64], step_mm: float) -> list[int]:
    """Indices of the discs: the evenly spaced set of dips with the largest depth."""
    slow = ndimage.gaussian_filter1d(profile, 18.0 / step_mm, mode="nearest")
    fast = ndimage.gaussian_filter1d(profile, 1.5 / step_mm, mode="nearest")
    spread = float(np.std(fast - slow))
    if spread <= 0:
        return []
    depth = (slow - fast) / spread - DISC_CLEAR
    near, far = (max(2, round(value / step_mm)) for value in PITCH_MM)
    count = profile.size
    # best[k, p]: sum of depths of a chain that ends at k with the last pitch p; p = 0 begins a chain.
    best = np.full((count, far + 1), -np.inf)
    came = np.zeros((count, far + 1), dtype=np.intp)
    best[:, 0] = depth
    pitches = np.arange(far + 1)
    for k in range(near, count):
        for pitch in range(near, min(far, k) + 1):
            cost = UNEVEN_COST * 10.0 * np.abs(pitches - pitch) * step_mm
            cost[0] = 0.0
            value = best[k - pitch] - cost
            came[k, pitch] = int(np.argmax(value))
            best[k, pitch] = value[came[k, pitch]] + depth[k]
    k, pitch = (int(v) for v in np.unravel_index(int(np.argmax(best)), best.shape))
    discs = [k]
    while pitch > 0:
        before = int(came[k, pitch])
        k -= pitch
        discs.append(k)
        pitch = before
    return discs[::-1] if len(discs) >= 3 else []
