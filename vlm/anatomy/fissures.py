"""The fissures of the lungs: a sheet, thin, a little denser than lung, with no vessels beside it.

In: an open case. Out: for each lung the height of its oblique fissure, and in the right lung of its horizontal one,
over a grid of columns. A fissure is faint and often incomplete, so that no voxel of it is believed by itself: first
the plane is found on which there is most of it and least of vessels, near where fissures lie in people; then each
column gives way towards what its neighbourhood sees, in finer and finer steps. A surface that stands out no better than
noise would is not believed. Sheets by the curvature of the density, as in van Rikxoort et al., IEEE Trans Med Imaging
2008;27:1-10; vessels keep away from fissures, as in Kuhnigk et al., RadioGraphics 2005;25:525-536.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.ct.volume import Grid, Mask, Volume
from vlm.evidence import Case, once

STEP_MM = 1.5  # of the box in which a lung is looked at
RIM_MM = 3.0  # along the chest wall nothing is told from the pleura
LEAST_ML = 300.0  # of aerated lung; less shows no fissure
VESSEL_HU = 80.0  # above the median of the lung; fissures stay below
VESSELS = 0.8  # what a vessel beside a surface takes away, against what a sheet on it gives; both in their own spread
THICK_MM = 3.5  # of slices: an almost horizontal fissure lies within a thicker one
ABOVE_MM = 6.0  # the oblique fissure the horizontal one is looked for
BESIDE_MM = (9.0, 12.0, 15.0)  # above and below a surface, where it must not be
# Of a surface over what lies beside it, in the spread of the evidence. In 14 real lungs mirrored front to back, where
# no such sheet is, the same search gets 0.30 to 0.63; in the lungs as they are 0.37 to 2.3, ten of them above. Noise
# and vessels differ from lung to lung, so that each must also stand out more than its own mirror image.
STANDS_OUT = 0.65
OVER_MIRROR = 0.2

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Usual:
    """Where a fissure lies in people: mean and spread; planes are tried over ``below_mm`` and ``slopes``."""

    normal: tuple[float, float, float]  # RAS
    below_apex_mm: tuple[float, float]  # at the back of the lung, or in the middle of it
    slope: tuple[float, float]  # mm down for each mm forwards
    below_mm: NDArray[np.float64]
    slopes: NDArray[np.float64]
    at_back: bool


# Gray's Anatomy: the oblique fissure runs from the level of T3 to T5 behind down to the sixth rib in front, the
# horizontal one along the fourth rib. Spread as seen in scans that show whole lungs.
OBLIQUE = Usual((0.0, 0.6, 0.8), (60.0, 20.0), (1.2, 0.35), np.arange(15, 110, 4.5), np.arange(0.5, 2.01, 0.15), True)
LEVEL = np.arange(-0.4, 0.41, 0.1)
HORIZONTAL = Usual((0.0, 0.0, 1.0), (120.0, 20.0), (0.0, 0.2), np.arange(70, 170, 4.5), LEVEL, False)
TILTS = np.arange(-0.5, 0.51, 0.125)  # mm up for each mm to the patient's right
TILT = 0.25  # spread
PULL = 0.05  # of what is usual, against the evidence
SEARCHES = ((10, 10.0, 2.0), (7, 7.0, 1.5), (4, 5.0, 1.0))  # (reach, spread sideways, spread upwards), in steps


@dataclass(frozen=True, eq=False)
class Fissures:
    """Of one lung: heights in RAS mm over columns ``STEP_MM`` apart from ``low_mm``; None where not believed."""

    low_mm: NDArray[np.float64]  # (3,) the middle of the box's first voxel
    oblique: Floats | None  # (X, Y)
    horizontal: Floats | None  # (X, Y); of the right lung alone
    apex_mm: float | None  # height of the lung's top where the scan shows it

    def above(self, surface: Floats, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N,) how far each of (N, 3) points RAS mm lies above a surface along z, mm; below is negative."""
        at = np.rint((points_mm[:, :2] - self.low_mm[:2]) / STEP_MM).astype(int)
        x, y = (np.clip(at[:, n], 0, surface.shape[n] - 1) for n in (0, 1))
        return np.asarray(points_mm[:, 2] - surface[x, y], dtype=np.float64)

    def distance_mm(self, surface: Floats, point_mm: NDArray[np.float64]) -> float:
        """How far a (3,) point RAS mm lies from a surface, as if that were a plane there."""
        x, y = np.clip(np.rint((point_mm[:2] - self.low_mm[:2]) / STEP_MM).astype(int), 1, np.array(surface.shape) - 2)
        rise = (surface[x + 1, y] - surface[x - 1, y], surface[x, y + 1] - surface[x, y - 1])
        upright = np.hypot(1.0, np.hypot(*rise) / (2 * STEP_MM))
        return float(abs(point_mm[2] - surface[x, y]) / upright)


@once
def fissures(case: Case) -> dict[LungSide, Fissures]:
    """The fissures of each lung with enough air in it."""
    found = lungs(case)
    out: dict[LungSide, Fissures] = {}
    for side in SIDES:
        if found.of(side).volume_ml >= LEAST_ML:
            out[side] = of_lung(case.volume, found.of(side), side, found.apex_covered[side])
    return out


def of_lung(volume: Volume, lung: Mask, side: LungSide, apex: bool) -> Fissures:
    """The fissures of one lung; ``apex``: whether the scan shows its top."""
    box = _Box.around(volume, lung)
    top = float(box.low_mm[2] + STEP_MM * np.flatnonzero(box.lung.any(axis=(0, 1)))[-1])
    least = max(STANDS_OUT, _mirrored(box, apex) + OVER_MIRROR)
    oblique, level = _surface(box, box.inner, OBLIQUE, apex), None
    oblique = oblique if oblique is not None and oblique.stands_out >= least else None
    if oblique is not None and side == "right" and volume.grid.spacing_mm[2] <= THICK_MM:
        over = box.inner & (np.arange(box.inner.shape[2])[None, None] > oblique.at[..., None] + ABOVE_MM / STEP_MM)
        if np.count_nonzero(over) * STEP_MM**3 >= 1000 * LEAST_ML:
            level = _surface(box, over, HORIZONTAL, apex)

    def heights(found: _Surface | None) -> Floats | None:
        if found is None or found.stands_out < least:
            return None
        return np.asarray(box.low_mm[2] + STEP_MM * found.at, dtype=np.float32)

    return Fissures(box.low_mm, heights(oblique), heights(level), top if apex else None)


def _mirrored(box: _Box, apex: bool) -> float:
    """How much the same search finds where front and back are exchanged and no such fissure is."""
    back = replace(box, hu=box.hu[:, ::-1], lung=box.lung[:, ::-1], inner=box.inner[:, ::-1])
    found = _surface(back, back.inner, OBLIQUE, apex)
    return found.stands_out if found is not None else 0.0


@dataclass(frozen=True, eq=False)
class _Box:
    """A lung in voxels of ``STEP_MM``, along RAS: (X, Y, Z)."""

    low_mm: NDArray[np.float64]
    hu: Floats
    lung: Bools
    inner: Bools  # without the rim

    @classmethod
    def around(cls, volume: Volume, lung: Mask) -> _Box:
        low, high = (np.asarray(corner) for corner in (lung.box.low_mm, lung.box.high_mm))
        low, shape = low - 2 * STEP_MM, np.ceil((high - low) / STEP_MM).astype(int) + 4
        inside = _resampled(lung.voxels.astype(np.uint8), lung.grid, low, shape, order=0) > 0
        hu = _resampled(volume.hu, volume.grid, low, shape, order=1)
        return cls(low, hu, inside, ndimage.binary_erosion(inside, iterations=round(RIM_MM / STEP_MM)))


def _resampled(
    voxels: NDArray[np.generic], grid: Grid, low_mm: NDArray[np.float64], shape: NDArray[np.int_], *, order: int
) -> Floats:
    """A part of a grid in voxels of ``STEP_MM`` from ``low_mm`` on; only that part is turned into floats."""
    corners = grid.to_ijk([low_mm, low_mm + STEP_MM * (shape - 1)])
    first = np.clip(np.floor(corners.min(axis=0)).astype(int) - 1, 0, np.asarray(grid.shape) - 1)
    last = np.clip(np.ceil(corners.max(axis=0)).astype(int) + 2, 1, np.asarray(grid.shape))
    part = voxels[tuple(slice(a, b) for a, b in zip(first, last, strict=True))].astype(np.float32)
    into = np.linalg.inv(grid.affine[:3, :3]) * STEP_MM
    start = grid.to_ijk(low_mm) - first
    return np.asarray(ndimage.affine_transform(part, into, start, tuple(shape), order=order, mode="nearest"))


def _evidence(box: _Box, normal: tuple[float, float, float]) -> Floats | None:
    """(X, Y, Z) how much of a sheet across ``normal`` there is, less the vessels near by, in units of their spread."""
    if not box.inner.any():
        return None
    middle = float(np.median(box.hu[box.inner]))
    hu = np.where(box.lung, np.clip(box.hu, -1000.0, middle + 300.0), middle).astype(np.float32)
    sheets = _sheets(hu, normal) * box.inner
    most = float(np.percentile(sheets[box.inner], 97))
    if most <= 0:
        return None
    vessels = np.clip((hu - middle - VESSEL_HU) / 200.0, 0, 1) * box.inner
    sheet, vessel = _spread(np.minimum(sheets, most), box.inner, 1.0), _spread(vessels, box.inner, 2.0)
    return np.asarray((sheet - VESSELS * vessel) * box.inner, dtype=np.float32)


def _sheets(hu: Floats, normal: tuple[float, float, float]) -> Floats:
    """Curvature of the density across a sheet, HU a step squared, less that within it, as vessels have."""
    across = np.zeros_like(hu)
    total = np.zeros_like(hu)
    for one in range(3):
        for other in range(one, 3):
            weight = normal[one] * normal[other] * (1 if one == other else 2)
            if weight == 0 and one != other:
                continue
            order = tuple((n == one) + (n == other) for n in range(3))
            bend = ndimage.gaussian_filter(hu, 1.0, order=order, truncate=3.0)
            across += weight * bend
            if one == other:
                total += bend
    return np.asarray(np.clip(-across - np.abs(total - across), 0, None))


def _spread(values: Floats, inner: Bools, sigma: float) -> Floats:
    """Values blurred within the lung, less their mean, in units of their spread."""
    weight = ndimage.gaussian_filter(inner.astype(np.float32), sigma, truncate=3.0)
    blurred = ndimage.gaussian_filter(values, sigma, truncate=3.0) / np.maximum(weight, 0.05)
    inside = blurred[inner]
    return np.asarray((blurred - inside.mean()) / max(float(inside.std()), 1e-6))


@dataclass(frozen=True, eq=False)
class _Surface:
    at: Floats  # (X, Y) steps of the box
    stands_out: float


def _surface(box: _Box, where: Bools, usual: Usual, apex: bool) -> _Surface | None:
    """The best surface within ``where``; None when nothing of a sheet is there."""
    seen = _evidence(box, usual.normal)
    if seen is None:
        return None
    seen = seen * where
    surface = _plane(ndimage.gaussian_filter(seen, 1.0), where, usual, apex)
    if surface is None:
        return None
    for reach, sideways, upwards in SEARCHES:
        surface = _nearer((seen + 2.0) * where, where, surface, reach, sideways, upwards)
    beside = [_mean_on(seen, where, surface + sign * mm / STEP_MM) for mm in BESIDE_MM for sign in (-1, 1)]
    return _Surface(surface, _mean_on(seen, where, surface) - float(np.mean(beside)))


def _plane(seen: Floats, inner: Bools, usual: Usual, apex: bool) -> Floats | None:
    """The plane with most evidence near where the fissure usually lies; heights are a prior only below a seen apex."""
    columns = np.argwhere(inner.any(axis=2))[::3]
    top = np.flatnonzero(inner.any(axis=(0, 1)))[-1]
    depths = np.flatnonzero(inner.any(axis=(0, 2)))
    middle, start = columns[:, 0].mean(), depths[0] if usual.at_back else depths.mean()
    aside, ahead = columns[:, 0] - middle, columns[:, 1] - start
    best, plane = -np.inf, None
    thick = seen.shape[2]
    for slope in usual.slopes:
        for tilt in TILTS:
            unlike = ((slope - usual.slope[0]) / usual.slope[1]) ** 2 + (tilt / TILT) ** 2
            flat = top - slope * ahead + tilt * aside
            for below in usual.below_mm:
                k = np.rint(flat - below / STEP_MM).astype(int)
                on = (k >= 0) & (k < thick)
                x, y, z = columns[on, 0], columns[on, 1], k[on]
                on = inner[x, y, z]
                if on.sum() < 0.25 * len(columns):
                    continue
                far = ((below - usual.below_apex_mm[0]) / usual.below_apex_mm[1]) ** 2 if apex else 0.0
                score = seen[x[on], y[on], z[on]].mean() * (on.sum() / len(columns)) ** 0.25 - PULL * (unlike + far)
                if score > best:
                    best, plane = score, (below, slope, tilt)
    if plane is None:
        return None
    x, y = _columns(seen.shape)
    return np.asarray(top - plane[0] / STEP_MM - plane[1] * (y - start) + plane[2] * (x - middle), dtype=np.float32)


def _nearer(seen: Floats, inner: Bools, surface: Floats, reach: int, sideways: float, upwards: float) -> Floats:
    """The surface moved by up to ``reach`` towards the best of its neighbourhood, column by column, and smoothed."""
    steps = np.arange(-reach, reach + 1)
    x, y = _columns(surface.shape)
    k = np.rint(surface).astype(int)[..., None] + steps
    z = np.clip(k, 0, seen.shape[2] - 1)
    within = inner[x[..., None], y[..., None], z] & (k == z)
    values = seen[x[..., None], y[..., None], z] * within
    total = ndimage.gaussian_filter(values, (sideways, sideways, upwards), truncate=2.5, mode="constant")
    weight = ndimage.gaussian_filter(within.astype(np.float32), (sideways, sideways, 0), truncate=2.5, mode="constant")
    mean = total / np.maximum(weight, 0.02)
    sure = (mean.max(axis=2) - np.median(mean, axis=2)) * (weight.max(axis=2) > 0.05)
    move = np.rint(surface) + steps[mean.argmax(axis=2)] - surface
    blurred = ndimage.gaussian_filter(sure, sideways, truncate=3.0)
    moved = ndimage.gaussian_filter(sure * move, sideways, truncate=3.0) / np.maximum(blurred, 1e-6)
    return np.asarray(surface + moved, dtype=np.float32)


def _mean_on(seen: Floats, inner: Bools, surface: Floats) -> float:
    """The mean of the evidence on a surface, within the lung; 0 outside."""
    x, y = _columns(surface.shape)
    k = np.rint(surface).astype(int)
    on = (k >= 0) & (k < seen.shape[2])
    x, y, k = x[on], y[on], k[on]
    within = inner[x, y, k]
    return float(seen[x[within], y[within], k[within]].mean()) if within.any() else 0.0


def _columns(shape: tuple[int, ...]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(X, Y) twice: the indices of each column."""
    x, y = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    return x, y
