"""Cross sections of bronchi: lumen, wall, and the artery beside them.

In: the scan and a branch of the bronchial tree. Out: sections across its middle part with the
lumen and the wall by full width at half maximum along rays (Reinhardt, IEEE TMI 1997;16:820;
Nakano, AJRCCM 2000;162:1102), and the diameter of the artery that touches the wall. Walls
thinner than about 1.5 mm come out too thick: a scanner blurs them over that width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.bronchial_tree import Bronchus
from vlm.ct.volume import Volume

Floats = NDArray[np.floating[Any]]

RAYS = 32
STEP_MM = 0.2  # along a ray
BEYOND_MM = 7.0  # how far a ray goes past the lumen: a wall of 4 mm and what lies behind
RISE_HU = 150.0  # from lumen to wall at least; less is no wall
FALL_HU = 100.0  # from wall to lung at least; where it falls less, an artery or the mediastinum follows
LUMEN_RAYS, WALL_RAYS = 0.75, 0.35  # share of rays that must see the inner and the outer border
SPREAD = 0.35  # deviation of the inner radius over its mean; a fork is less round
SECTIONS = 5  # of a branch
ENDS = 0.2  # of the length of a branch, left out at either end: the forks
PIXEL_MM = 0.5  # of the picture in which the artery is looked for
ARTERY_HU = -400.0  # halfway between lung and blood
ARTERY_GAP_MM = 1.5  # between wall and artery at most: they share a sheath
ARTERY_LONG = 2.0  # long over short side of its section at most; longer ones run across
LEAST_ARTERY_MM = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One cut across a bronchus; lengths in mm, None where a border could not be followed."""

    centre_mm: NDArray[np.float64]  # (3,) RAS
    lumen_mm: float  # diameter of a circle with the lumen's area
    wall_mm: float | None  # thickness, median of the rays that see lung behind it
    artery_mm: float | None  # short diameter of the artery beside it

    @property
    def ratio(self) -> float | None:
        """Broncho-arterial ratio: inner diameter of the bronchus over the diameter of its artery."""
        return None if self.artery_mm is None else self.lumen_mm / self.artery_mm


def sections(volume: Volume, branch: Bronchus) -> list[Section]:
    """Cuts across the middle part of a branch; none where the lumen cannot be followed."""
    places = _places(branch)
    if places is None:
        return []
    centres, along = places
    first, second = _across(along)
    angle = np.linspace(0, 2 * np.pi, RAYS, endpoint=False)
    rays = np.cos(angle)[None, :, None] * first[:, None] + np.sin(angle)[None, :, None] * second[:, None]
    length = np.arange(0.0, 1.5 * branch.radius_mm + BEYOND_MM, STEP_MM)
    points = centres[:, None, None] + rays[:, :, None] * length[None, None, :, None]
    profiles = _sampled(volume, points)  # (sections, rays, steps)
    found = []
    for n, centre in enumerate(centres):
        inner, outer = _borders(profiles[n])
        seen = np.isfinite(inner)
        if seen.mean() < LUMEN_RAYS or np.std(inner[seen]) > SPREAD * np.mean(inner[seen]):
            continue
        thick = (outer - inner)[np.isfinite(outer) & seen]
        wall = float(np.median(thick)) if thick.size >= WALL_RAYS * RAYS else None
        lumen = 2 * float(np.sqrt(np.mean(inner[seen] ** 2)))
        artery = _artery(volume, centre, first[n], second[n], np.where(seen, inner, lumen / 2), wall or 1.0)
        found.append(Section(centre_mm=centre, lumen_mm=lumen, wall_mm=wall, artery_mm=artery))
    return found


def _places(branch: Bronchus) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """(N, 3) points along the middle of a branch and its direction there, RAS mm; None for one too short."""
    points = branch.points_mm
    steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
    way = np.concatenate([[0.0], np.cumsum(steps)])
    if len(points) < 3 or way[-1] < 2 * branch.radius_mm:
        return None
    wanted = np.linspace(ENDS * way[-1], (1 - ENDS) * way[-1], SECTIONS)
    reach = max(1.5 * branch.radius_mm, 3.0)

    def at(where: Floats) -> NDArray[np.float64]:
        return np.stack([np.interp(where, way, points[:, axis]) for axis in range(3)], axis=1)

    along = at(np.minimum(wanted + reach, way[-1])) - at(np.maximum(wanted - reach, 0.0))
    size = np.linalg.norm(along, axis=1, keepdims=True)
    good = size[:, 0] > 1e-6
    return at(wanted)[good], along[good] / size[good]


def _across(along: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Two unit vectors across each direction and across each other."""
    helper = np.eye(3)[np.abs(along).argmin(axis=1)]
    first = np.cross(along, helper)
    first /= np.linalg.norm(first, axis=1, keepdims=True)
    return first, np.cross(along, first)


def _sampled(volume: Volume, points_mm: Floats) -> NDArray[np.float32]:
    """Linear interpolation of the scan, HU, at (..., 3) RAS mm; the border goes on outside."""
    index = volume.grid.to_ijk(points_mm)
    where = [index[..., axis] for axis in (2, 1, 0)]
    values: NDArray[np.float32] = ndimage.map_coordinates(
        volume.hu.T, where, output=np.float32, order=1, mode="nearest"
    )
    return values


def _borders(lines: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(rays, steps) HU -> (rays,) distance to the inner and to the outer border of the wall, mm; NaN for none."""
    place, row = np.arange(lines.shape[1]), np.arange(len(lines))
    floor = np.minimum.accumulate(lines, axis=1)
    top = np.zeros(lines.shape, dtype=bool)
    top[:, 1:-1] = (lines[:, 1:-1] >= lines[:, :-2]) & (lines[:, 1:-1] > lines[:, 2:])
    top &= lines - floor > RISE_HU
    peak = top.argmax(axis=1)
    high = lines[row, peak]
    half = ((high + floor[row, peak]) / 2)[:, None]
    below = (lines < half) & (place < peak[:, None])
    before = lines.shape[1] - 1 - below[:, ::-1].argmax(axis=1)  # the last step below half
    inner = _between(lines, half[:, 0], before)
    rising = np.zeros(lines.shape, dtype=bool)
    rising[:, :-1] = (np.diff(lines, axis=1) > 0) & (place[:-1] > peak[:, None])
    rising[:, -1] = True
    valley = lines[row, rising.argmax(axis=1)]
    half = ((high + valley) / 2)[:, None]
    after = ((lines < half) & (place > peak[:, None])).argmax(axis=1)
    outer = _between(lines, half[:, 0], after - 1)
    inner[~top.any(axis=1) | ~below.any(axis=1)] = np.nan
    outer[np.isnan(inner) | (high - valley < FALL_HU)] = np.nan
    return inner, outer


def _between(lines: NDArray[np.float32], level: Floats, step: NDArray[np.intp]) -> NDArray[np.float64]:
    """(rays,) mm at which each line crosses its level between ``step`` and the one after."""
    row = np.arange(len(lines))
    step = np.clip(step, 0, lines.shape[1] - 2)
    first, second = lines[row, step], lines[row, step + 1]
    gap = np.where(second == first, 1.0, second - first)
    return np.asarray((step + np.clip((level - first) / gap, 0.0, 1.0)) * STEP_MM, dtype=np.float64)


def _artery(
    volume: Volume, centre: Floats, first: Floats, second: Floats, inner_mm: Floats, wall_mm: float
) -> float | None:
    """Diameter of the round vessel that lies against the wall, mm; the widest when there are several."""
    reach = float(inner_mm.max()) + wall_mm + 12.0
    line = np.arange(-reach, reach + PIXEL_MM, PIXEL_MM)
    v, u = np.meshgrid(line, line, indexing="ij")
    picture = _sampled(volume, centre + u[..., None] * first + v[..., None] * second)
    turn = np.mod(np.arctan2(v, u), 2 * np.pi) / (2 * np.pi) * RAYS
    border = np.interp(turn, np.arange(RAYS + 1), np.append(inner_mm, inner_mm[0])) + wall_mm
    outside = np.hypot(u, v) - border  # mm from the wall
    labels, count = ndimage.label((picture > ARTERY_HU) & (outside > 0))
    best: float | None = None
    for n, box in enumerate(ndimage.find_objects(labels, count), start=1):
        if any(part.start == 0 or part.stop == len(line) for part in box):
            continue  # runs out of the picture: a wall of the chest, the hilum, a vessel across
        piece = np.pad(labels[box] == n, 1)
        if float(outside[box][piece[1:-1, 1:-1]].min()) > ARTERY_GAP_MM:
            continue
        width = 2 * PIXEL_MM * float(ndimage.distance_transform_edt(piece).max()) - PIXEL_MM
        long = PIXEL_MM * max(part.stop - part.start for part in box)
        if width < LEAST_ARTERY_MM or long > ARTERY_LONG * width + 2 * PIXEL_MM:
            continue
        best = width if best is None else max(best, width)
    return best
