"""Round things within a solid organ that are darker or brighter than the rest of it, found and measured.

In: Hounsfield units and an organ's outline on one grid. Out: Lesions with size, density and how much of their
surface the organ surrounds. What is thin or long is a vessel or a cleft and is left out; what holds or meets much
fat is the border of the organ. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError
from scipy.spatial.distance import pdist

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import box_of, closed, grown, opened, shrunk
from vlm.ct.volume import Grid

SMOOTH_MM = 1.5  # deviation of the blur against noise
CLOSE_MM = 7.0  # outlines leave lesions out at the border
EDGE_MM = 3.0  # of the organ, left out of its own density
RIM_MM = 3.5  # a lesion reaches deeper than this; partial volume with a neighbour does not
LEAST_STEP_HU = 17.0  # a lesion differs from the organ by this much, and by NOISES deviations
NOISES = 3.3
CORE_NOISES = 4.5  # of its core
THIN_MM = 2.0  # radius of the opening that leaves vessels out
LEAST_MM = 8.0  # smaller ones are too small to be told from vessels and noise here
PART = 0.65  # of a core's depth: where it is so deep in two places, it is two
NOISY_HU = 9.0  # deviation from which the least size grows with the noise
FAT_HU = -25.0
LONG = 1.9  # longest length over the diameter of the ball of the same volume
FLAT = 0.55  # short over long axis of a lesion, at least
FILLED = 0.6  # diameter of the widest ball inside over that of the ball of the same volume
NECK = 0.7  # of the radius of the widest ball: what hangs on it by less is no part of it
WIDER, AROUND = 2.0, 1.7  # the widest ball over the one first seen; how far from its middle it goes on, in radii
FLUID_HU = (-12.0, 20.0)  # simple cyst, -9 to 20 HU (Bosniak 2019, Silverman, Radiology 2019;292:475)
EVEN_HU = 3.0  # a wider doubt at the upper end: partial volume

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """One lesion. Lengths in mm, of the slice in which it is widest unless said otherwise; HU of its core."""

    mask: Bools  # (Z, Y, X)
    long_mm: float
    short_mm: float
    height_mm: float  # along z
    length_mm: float  # longest distance in 3D
    volume_ml: float
    hu: float
    inside: float  # 0..1: share of its surface that the organ surrounds
    fat: float  # 0..1: share of its surface that fat surrounds
    width_mm: float  # of the widest ball inside it

    @property
    def ball_mm(self) -> float:
        """Diameter of the ball of the same volume."""
        return float(np.cbrt(6000.0 * self.volume_ml / np.pi))

    @property
    def compact(self) -> bool:
        """Round enough to be no vessel and no cleft."""
        thick = min(self.short_mm, self.height_mm) >= FLAT * self.long_mm
        return thick and self.length_mm <= LONG * self.ball_mm and self.width_mm >= FILLED * self.ball_mm

    @property
    def fluid(self) -> bool:
        """As dense as water."""
        return FLUID_HU[0] <= self.hu <= FLUID_HU[1] + EVEN_HU

    def placed(self, whole: Bools, box: tuple[slice, ...]) -> Lesion:
        """The same lesion with its mask in an array of the shape of ``whole``, in whose ``box`` it lies."""
        mask = np.zeros(whole.shape, dtype=bool)
        mask[box] = self.mask
        return replace(self, mask=mask)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tissue:
    """The density of an organ without its lesions: median and deviation after the blur, HU."""

    hu: float
    spread: float

    @property
    def step(self) -> float:
        """What a lesion differs by, at least."""
        return max(LEAST_STEP_HU, NOISES * self.spread)


def blurred(hu: NDArray[np.int16], grid: Grid, smooth_mm: float = SMOOTH_MM) -> Floats:
    """HU after a blur of ``smooth_mm``; slices thicker than that are not blurred along z."""
    return np.asarray(ndimage.gaussian_filter(hu.astype(np.float32), [smooth_mm / s for s in grid.spacing_mm[::-1]]))


def tissue(smooth: Floats, organ: Bools, grid: Grid) -> Tissue:
    """The organ's own density, told from its inner part."""
    inner = shrunk(organ, EDGE_MM, grid)
    values = smooth[inner if inner.any() else organ]
    middle = float(np.median(values))
    values = values[values > middle - 1.5 * np.median(np.abs(values - middle))]  # without large lesions
    middle = float(np.median(values))
    return Tissue(hu=middle, spread=float(1.4826 * np.median(np.abs(values - middle))))


def within(organ: Bools, grid: Grid) -> Bools:
    """The organ with what its outline may have left out: dents and holes."""
    whole = closed(organ, CLOSE_MM, grid)
    for k in np.flatnonzero(whole.any(axis=(1, 2))):
        whole[k] = ndimage.binary_fill_holes(whole[k])
    return whole


def spots(
    smooth: Floats, organ: Bools, place: Bools, wanted: Bools, normal: Tissue, grid: Grid, *, least_inside: float
) -> list[Lesion]:
    """Lesions among the voxels ``wanted`` of ``place``, the largest first.

    Args:
        smooth: HU after ``blurred``.
        organ: its outline; ``place``: where lesions of it may lie.
        normal: density of the organ, half of the way to which is a lesion's border.
        least_inside: share of a lesion's surface that organ must surround.
    """
    out: list[Lesion] = []
    if not (wanted & place).any():
        return out
    cores = opened(closed(wanted, THIN_MM, grid) & shrunk(place, RIM_MM, grid), THIN_MM, grid)
    labels = parted(cores, grid)
    least_mm = LEAST_MM * max(1.0, normal.spread / NOISY_HU)
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1):
        if box is None:
            continue
        near = (*(slice(max(0, s.start - 6), s.stop + 6) for s in box),)
        core = labels[near] == number
        if np.count_nonzero(core) * grid.voxel_ml < np.pi / 6000 * (0.5 * LEAST_MM) ** 3:
            continue
        others = (labels[near] > 0) & ~core
        found = _measured(smooth[near], core, organ[near], place[near] & ~others, normal.hu, grid)
        if found is not None and found.inside >= least_inside and clear(found, normal, least_mm):
            out.append(found.placed(organ, near))
    return sorted(out, key=lambda lesion: -lesion.volume_ml)


def parted(cores: Bools, grid: Grid) -> NDArray[np.int32]:
    """(Z, Y, X) a number for each core; balls that touch get a number each."""
    depth = depth_mm(cores, grid)
    whole = cc3d.connected_components(cores, connectivity=6)
    deepest = ndimage.maximum(depth, whole, np.arange(int(whole.max()) + 1)) if whole.max() else np.zeros(1)
    seeds: NDArray[np.int32] = cc3d.connected_components(
        cores & (depth >= PART * np.asarray(deepest)[whole]), connectivity=6
    ).astype(np.int32)
    if seeds.max() == whole.max():
        return np.asarray(whole, dtype=np.int32)
    nearest = ndimage.distance_transform_edt(
        seeds == 0, sampling=grid.spacing_mm[::-1], return_distances=False, return_indices=True
    )
    return np.where(cores, seeds[tuple(nearest)], 0)


def clear(lesion: Lesion, normal: Tissue, least_mm: float) -> bool:
    """Round, large and different enough to be no vessel and no noise."""
    differs = abs(lesion.hu - normal.hu) >= max(LEAST_STEP_HU, CORE_NOISES * normal.spread)
    return differs and lesion.compact and lesion.ball_mm >= least_mm


def _measured(smooth: Floats, core: Bools, organ: Bools, place: Bools, normal: float, grid: Grid) -> Lesion | None:
    """A core out to where its density is half way to the organ's."""
    depth = depth_mm(core, grid)
    hu = float(np.median(smooth[core & (depth >= 0.6 * depth.max())]))
    half = (normal + hu) / 2
    like = smooth < half if hu < normal else smooth > half
    mask = grown(core, RIM_MM + max(grid.spacing_mm), grid) & (like | core) & place & (smooth > FAT_HU)
    mask = opened(mask, THIN_MM, grid) | core  # without what noise and vessels add to its border
    return _told(mask, hu, smooth, organ, normal, grid)


def full_ball(lesion: Lesion, like: Bools, smooth: Floats, organ: Bools, normal: float, grid: Grid) -> Lesion:
    """A lesion out to its own border where an outline cut it, and without what runs into it by a neck.

    Args:
        lesion: as ``spots`` found it within an outline.
        like: (Z, Y, X) what is as dense as it, outside of the outline, too.
        smooth: HU after ``blurred``; ``organ`` and ``normal``: the outline and the density of the organ, HU.

    Returns:
        The lesion about the widest ball that it is part of; as it was where that ball is far wider, or all is thin.
    """
    depth = np.asarray(depth_mm(like, grid))
    inside = np.where(lesion.mask, depth, 0.0)
    at = np.unravel_index(int(inside.argmax()), depth.shape)
    first = float(depth[at])
    if first <= 0.0:
        return lesion
    at = _summit(depth, at, grid)
    radius = float(depth[at])
    if radius > WIDER * first:
        return lesion
    away = [
        (np.arange(size) - middle) * step
        for size, middle, step in zip(depth.shape, at, grid.spacing_mm[::-1], strict=True)
    ]
    near = away[0][:, None, None] ** 2 + away[1][:, None] ** 2 + away[2] ** 2 <= (AROUND * radius) ** 2
    labels = cc3d.connected_components(opened(like, NECK * radius, grid) & near, connectivity=6)
    if not labels[at]:
        return lesion
    told = _told(labels == labels[at], lesion.hu, smooth, organ, normal, grid)
    return lesion if told is None else replace(told, inside=max(told.inside, lesion.inside))


def _summit(depth: NDArray[np.float32], at: tuple[np.intp, ...], grid: Grid) -> tuple[np.intp, ...]:
    """The index of the deepest voxel that can be climbed to, each step no longer than the depth reached."""
    while True:
        reach = [max(1, int(float(depth[at]) / step)) for step in grid.spacing_mm[::-1]]
        around = tuple(slice(max(0, int(a) - r), int(a) + r + 1) for a, r in zip(at, reach, strict=True))
        step = np.unravel_index(int(depth[around].argmax()), depth[around].shape)
        best = tuple(np.intp(part.start + s) for part, s in zip(around, step, strict=True))
        if depth[best] <= depth[at]:
            return at
        at = best


def _told(mask: Bools, hu: float, smooth: Floats, organ: Bools, normal: float, grid: Grid) -> Lesion | None:
    """What is measured of a lesion's mask; None where nothing lies around it."""
    shell = grown(mask, 2.0 * max(grid.spacing_mm[:2]) + 1.0, grid) & ~grown(mask, max(grid.spacing_mm[:2]), grid)
    around = smooth[shell]
    if around.size == 0:
        return None
    surrounded = organ[shell] & (np.abs(around - normal) < np.abs(around - hu))
    long_mm, short_mm = axes_mm(mask, grid)
    return Lesion(
        mask=mask, long_mm=long_mm, short_mm=short_mm, length_mm=_length_mm(mask, grid),
        height_mm=float(np.count_nonzero(mask.any(axis=(1, 2)))) * grid.spacing_mm[2],
        volume_ml=float(np.count_nonzero(mask)) * grid.voxel_ml, hu=hu, inside=float(surrounded.mean()),
        fat=float(np.mean(around < FAT_HU)),
        width_mm=2.0 * float(depth_mm(mask, grid).max()),
    )  # fmt: skip


def axes_mm(mask: Bools, grid: Grid) -> tuple[float, float]:
    """Long axis and the width perpendicular to it, mm, in the slice where a mask is largest."""
    k = int(np.argmax(mask.sum(axis=(1, 2))))
    step_x, step_y, _ = grid.spacing_mm
    y, x = np.nonzero(mask[k])
    corners = [(y + dy, x + dx) for dy in (-0.5, 0.5) for dx in (-0.5, 0.5)]
    points = np.concatenate([np.stack([cx * step_x, cy * step_y], axis=1) for cy, cx in corners])
    hull = points[ConvexHull(points).vertices]
    apart = hull[:, None] - hull[None]
    a, b = np.unravel_index(int(np.argmax((apart**2).sum(axis=2))), apart.shape[:2])
    along = apart[a, b] / np.linalg.norm(apart[a, b])
    across = hull @ np.array([-along[1], along[0]])
    blunt = (step_x + step_y) / 2 * 0.4  # corners of voxels stand out of a round border
    return float(np.linalg.norm(apart[a, b])) - blunt, float(np.ptp(across)) - blunt


def _length_mm(mask: Bools, grid: Grid) -> float:
    points = np.argwhere(mask & ~ndimage.binary_erosion(mask)) * np.asarray(grid.spacing_mm[::-1])
    with contextlib.suppress(QhullError, ValueError):  # too few points, or all in one plane
        points = points[ConvexHull(points).vertices]
    return float(pdist(points).max() if len(points) > 1 else 0.0) + float(min(grid.spacing_mm))


def crop_of(organ: Bools, grid: Grid, margin_mm: float = 25.0) -> tuple[slice, slice, slice]:
    """The box around an organ in which its lesions lie."""
    return box_of(organ, margin_mm, grid)
