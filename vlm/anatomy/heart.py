"""The heart with its pericardium, as the soft thing between the lungs below the great vessels.

In: lungs, airways, spine and aorta of a Case. Out: a mask on the working grid, its widest place,
and whether the field of view cuts it. The heart is followed downwards from the great vessels and
may spread only slowly, so that it does not run into the liver where the two touch.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import aorta
from vlm.anatomy.ball import box_of
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.lungs import lungs, outline
from vlm.anatomy.skeleton import skeleton, spine
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, once

SOFT_HU = -20  # heart and blood; the fat around it is added at the end
AIR_HU = -300
BELOW_CARINA_MM = 28.0  # from here down the mediastinum is mostly heart
HIGHEST_MM = 125.0  # longest a heart reaches below its top
FRONT_OF_CANAL_MM = 42.0  # heart and pericardium lie in front of the vertebral bodies …
BESIDE_CANAL_MM = 15.0  # … and beside them may reach further back
SPINE_HALF_MM = 30.0
FREE_MM = 40.0  # no liver so close below the great vessels: there the outline may widen as it likes
WIDEST_RATIO = 0.8  # what spans more of the chest is liver
GROWTH = 1.25  # the outline of one slice may be so much larger than that of the slice 3 mm above; more is liver
NECK_MM = 5.0  # opening radius that cuts the contact with chest wall, diaphragm and vessels
JOINED_MM = 6.0  # where heart and liver are one in a slice, the heart stays within this of its last own outline …
JOINED_DEPTH_MM = 24.0  # … and ends at most so far below it
LEAST_ML = 120.0  # a normal adult heart holds 400-900 ml; less is no heart, or a sliver
WAIST, WIDENS = 0.85, 1.2  # of its largest area: so narrow is its tip; of the least: so much wider is no tip
DOME_MM = 15.0  # above the dome of the diaphragm no liver lies beside the heart; the left dome may be a little higher
WAIST_BELOW_MM = 50.0  # of the top of the heart: above it atria and ventricles make waists of their own
EDGES_MM = (6.0, 15.0)  # lung so near makes a border one of the heart, not of the liver; the wider with much fat
ONE_SLICE_MM2 = 1500.0  # least area of a heart in the first slice
BEGUN_MM2 = 3000.0  # until a slice holds so much, great vessels are followed: they join and part as they like

Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Heart:
    """The heart region.

    ``width_mm`` is the widest extent from right to left among slices where lung borders it on both
    sides, at working slice ``widest_k``; ``thorax_mm`` the widest inner thorax. None when not seen.
    """

    mask: Mask
    found: bool
    cut_above: bool
    cut_below: bool
    width_mm: float | None
    widest_k: int | None
    thorax_mm: float | None

    @property
    def ratio(self) -> float | None:
        """Cardiothoracic ratio on axial slices."""
        if self.width_mm is None or not self.thorax_mm:
            return None
        return self.width_mm / self.thorax_mm


@once
def heart(case: Case) -> Heart:
    """The heart region; ``found`` False where the scan does not show it between two lungs."""
    grid = case.working.grid
    empty = Mask("heart", np.zeros(grid.shape, dtype=bool, order="F"), grid)
    nothing = Heart(empty, False, False, False, None, None, None)
    pair = lungs(case)
    if len(pair.present) < 2 or not spine(case).found:
        return nothing
    top = _top(case)
    if top is None:
        return nothing
    tissue = mediastinum(case)
    region = _followed(tissue, top, FREE_MM if airways(case).carina_mm is not None else 0.0, grid)
    if not region.any():
        return nothing
    region = _with_fat(region, case)
    mask = Mask("heart", region.T, grid)
    if mask.volume_ml < LEAST_ML:
        return nothing
    first, last = mask.slices
    width, widest = _width(_above_waist(region, grid, _liver_from(case)), pair.both.voxels.T, grid)
    thorax = _thorax(case)
    if width is not None and thorax is not None and width > WIDEST_RATIO * thorax:
        return nothing
    return Heart(
        mask, True, cut_above=last >= grid.shape[2] - 1, cut_below=first == 0,
        width_mm=width, widest_k=widest, thorax_mm=thorax,
    )  # fmt: skip


def _top(case: Case) -> int | None:
    """The working slice at which to begin: below the carina, or the top of a scan that begins in the heart."""
    grid = case.working.grid
    both = lungs(case)
    right, left = (side.voxels.any(axis=(0, 1)) for side in (both.right, both.left))
    together = np.flatnonzero(right & left)
    if together.size == 0:
        return None
    carina = airways(case).carina_mm
    if carina is not None:
        top = int(grid.to_ijk(carina)[2] - BELOW_CARINA_MM / grid.spacing_mm[2])
        return top if top > together[0] else None
    if both.apex_covered["right"] and both.apex_covered["left"]:  # no fork was found: halfway down the lungs
        return int(together[0] + 0.5 * (together[-1] - together[0]))
    return int(together[-1])


@once
def mediastinum(case: Case) -> Bools:
    """(Z, Y, X) soft tissue in front of the spine, between the outer borders of the lungs, without bone and aorta."""
    volume = case.working
    grid = volume.grid
    hu: NDArray[np.float32] = ndimage.uniform_filter(
        volume.hu.T, (1, 3, 3), output=np.float32
    )  # noise of low dose and sharp kernels
    soft = (hu > SOFT_HU) & body(case).voxels.T & ~skeleton(case).voxels.T
    lung, between = lungs(case).both.voxels.T, outline(case)
    traced = aorta(case)
    if traced.found:
        soft &= ~ndimage.binary_dilation(traced.mask.voxels.T, np.ones((1, 3, 3), dtype=bool))
    canal = grid.to_ijk(spine(case).canal_mm)
    step_y = grid.spacing_mm[1]
    half = SPINE_HALF_MM / grid.spacing_mm[0]
    out = np.zeros_like(soft)
    for k in np.flatnonzero(lung.any(axis=(1, 2))):
        rows = np.flatnonzero(lung[k].any(axis=1))
        columns = np.flatnonzero(lung[k].any(axis=0))
        front = rows[-1] + round(10.0 / step_y)
        part = soft[k].copy()
        part[: max(0, int(canal[k, 1] + BESIDE_CANAL_MM / step_y))] = False
        near = slice(max(0, int(canal[k, 0] - half)), max(0, int(canal[k, 0] + half)))
        part[: max(0, int(canal[k, 1] + FRONT_OF_CANAL_MM / step_y)), near] = False
        part[front + 1 :] = False
        part[:, : columns[0]] = False
        part[:, columns[-1] + 1 :] = False
        out[k] = part & between[k]
    return np.asarray(out)


def _followed(tissue: Bools, top: int, free_mm: float, grid: Grid) -> Bools:
    """(Z, Y, X) the heart, slice by slice from ``top`` down."""
    step_x, step_y, step_z = grid.spacing_mm
    top = min(top, tissue.shape[0] - 1)
    neck = _disk(NECK_MM, (step_y, step_x))
    spread = _disk(JOINED_MM, (step_y, step_x))
    alone, alone_k = np.zeros_like(tissue[0]), top
    region = np.zeros_like(tissue)
    pixel = step_x * step_y
    current: Bools | None = None
    largest, least, bottom = 0, 0, max(-1, top - int(HIGHEST_MM / step_z) - 1)
    for k in range(top, bottom, -1):
        labels, count = ndimage.label(ndimage.binary_opening(tissue[k], neck))
        if count == 0:
            if current is None:
                continue
            break
        if current is None:
            whole = _biggest(labels, labels > 0)
            current = whole if np.count_nonzero(whole) * pixel >= ONE_SLICE_MM2 else None
            if current is None:
                continue
            alone, alone_k = current, k
        else:
            whole = _biggest(labels, current)
            allowed = GROWTH ** max(1.0, min(2.0, step_z / 3.0 * (alone_k - k))) * np.count_nonzero(alone)
            free = (top - k) * step_z < free_mm or largest * pixel < BEGUN_MM2
            if np.count_nonzero(whole) > allowed and not free:  # the liver joins in
                if (alone_k - k) * step_z > JOINED_DEPTH_MM:
                    break
                whole = _biggest(ndimage.label(ndimage.binary_dilation(alone, spread) & whole)[0], current)
            else:
                alone, alone_k = whole, k
            current = whole
        size = int(np.count_nonzero(current))
        largest = max(largest, size)
        least = min(least or largest, size) if size < 0.6 * largest else largest
        begun = largest * pixel >= BEGUN_MM2
        if begun and (size < 0.3 * largest or size > 1.2 * least):  # the tip has passed; what widens again is liver
            break
        region[k] = current
    return region


def _biggest(labels: NDArray[np.int32], seed: Bools) -> Bools:
    """(Y, X) the label that shares most voxels with the seed; empty when none does."""
    counts = np.bincount(labels[seed], minlength=2)
    counts[0] = 0
    number = int(np.argmax(counts))
    return np.asarray((labels == number) & (counts[number] > 0))


def _with_fat(region: Bools, case: Case) -> Bools:
    """(Z, Y, X) the region with small gaps and the fat within its outline filled."""
    hu = case.working.hu.T
    step_x, step_y, _ = case.working.grid.spacing_mm
    ball = _disk(8.0, (step_y, step_x))[None]
    box = box_of(region, 0.0, case.working.grid)
    padded = np.pad(region[box], ((0, 0), (8, 8), (8, 8)))
    out = region.copy()
    out[box] |= ndimage.binary_closing(padded, ball)[:, 8:-8, 8:-8] & (hu[box] > AIR_HU)
    return out


def _liver_from(case: Case) -> int:
    """The highest slice in which liver or stomach can lie beside the heart; all of them where no dome is in view."""
    dome, grid = coverage(case).dome_mm, case.working.grid
    return grid.shape[2] if dome is None else int(grid.to_ijk((0.0, 0.0, dome + DOME_MM))[2])


def _above_waist(region: Bools, grid: Grid, liver_from: int) -> Bools:
    """(Z, Y, X) the region down to where it widens again below its narrowing tip: there liver or stomach begins.

    Above slice ``liver_from`` neither can be: a waist there is that between atria and ventricles.
    """
    out = region.copy()
    levels = np.flatnonzero(region.any(axis=(1, 2)))[::-1]
    areas = np.count_nonzero(region, axis=(1, 2))
    largest, least = 0, 0
    for k in levels:
        deep = (levels[0] - k) * grid.spacing_mm[2] >= WAIST_BELOW_MM and k <= liver_from
        narrowed = least > 0 or (deep and areas[k] < WAIST * largest)
        if least and areas[k] > WIDENS * least:
            out[: k + 1] = False
            break
        largest = max(largest, int(areas[k]))
        least = min(least or int(areas[k]), int(areas[k])) if narrowed else 0
    return out


def _width(region: Bools, lung: Bools, grid: Grid) -> tuple[float | None, int | None]:
    """Widest right-to-left extent (mm) among slices whose both borders face lung, and its slice."""
    for edge in EDGES_MM:
        reach = max(1, round(edge / grid.spacing_mm[0]))
        best: tuple[float, int] | None = None
        for k in np.flatnonzero(region.any(axis=(1, 2))):
            columns = np.flatnonzero(region[k].any(axis=0))
            low, high = int(columns[0]), int(columns[-1])
            left = lung[k][region[k][:, low], max(0, low - reach) : low].any()
            right = lung[k][region[k][:, high], high + 1 : high + 1 + reach].any()
            width = (high - low + 1) * grid.spacing_mm[0]
            if left and right and (best is None or width > best[0]):
                best = (width, int(k))
        if best is not None:
            return best
    return None, None


def _thorax(case: Case) -> float | None:
    """Widest inner thorax (mm): the largest extent of both thoracic cavities in one slice."""
    cavity = thoracic_cavity(case)
    step = case.working.grid.spacing_mm[0]
    widest = 0.0
    for k in range(case.working.grid.shape[2]):
        right = np.flatnonzero(np.asarray(cavity.right.voxels[:, :, k]).any(axis=1))
        left = np.flatnonzero(np.asarray(cavity.left.voxels[:, :, k]).any(axis=1))
        if right.size and left.size:
            widest = max(widest, float(right[-1] - left[0] + 1) * step)
    return widest or None


def _disk(radius_mm: float, step_mm: tuple[float, float]) -> Bools:
    """(Y, X) a disk of this radius; at least the centre."""
    ry, rx = (int(radius_mm / step) for step in step_mm)
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    return np.asarray((y * step_mm[0]) ** 2 + (x * step_mm[1]) ** 2 <= radius_mm**2)
