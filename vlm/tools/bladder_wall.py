"""How thick the wall of a filled bladder is, on the scan's own voxels.

In: the outline of the bladder and the scan. Out: the distance from urine to the fat around the bladder where it is
thin and where it is thick, or the reason why it cannot be told. Only places where fat lies against the outline speak,
with soft tissue all the way from urine to it: elsewhere muscle, bowel, prostate, uterus or free fluid go on where the
wall ends. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm, distance_mm
from vlm.anatomy.ball import grown, shrunk
from vlm.ct.volume import Mask
from vlm.evidence import Case
from vlm.tools.own_voxels import Part, own_voxels

# From 150 mL a thick wall is no longer an empty bladder's (Manieri, J Urol 1998;159:761 measured it so filled).
FILLED_ML = 150.0
PIXEL_MM, SLICE_MM = 2.0, 5.0
AROUND_MM = 20.0
DEEP_MM = 8.0  # from the outline: urine without wall
LEAK_MM = 2.5  # half width of holes that slices leave in a thin wall
NOISE_HU = 9.0  # deviation after the blur: half a step, so that noise leaves single holes in the lumen
HOLE_VOXELS = 12
URINE_HU = 45.0  # denser: excreted contrast
BLUR_MM = 1.0  # deviation
STEP_HU = 18.0  # above urine: half way to a plain wall; an enhanced one reads up to 2 mm thicker
FAT_HU = -45.0  # half way from the wall to fat, and more: what mixes with the wall is not yet fat
MIDDLE = (0.25, 0.75)  # of the height of the lumen: dome and floor are cut obliquely by slices
AGAINST_MM = 3.0  # from the outline to the fat: by more, something leans against the wall
WALL_HU = 12.0  # above urine, all along the way to the fat: free fluid is no wall
ENDS_MM, ENDS = 1.5, (0.5, 1.0)  # of the way, at urine and at fat, mm and voxels: blurred with them
STEP_MM = 0.7  # along the way
LEAST_SPEAKS = 0.25  # of the lumen's border: fewer places are no wall
THIN, THICK = 0.25, 0.9  # quantiles along what speaks

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wall:
    """The wall where it speaks: its thinner and thicker parts, mm, and the share (0..1) of the border that speaks."""

    thin_mm: float
    thick_mm: float
    speaks: float


def wall_of(case: Case, outline: Mask) -> Wall | str:
    """The wall of an outlined bladder, or the key of CONDITIONS that says why it is not told."""
    if outline.volume_ml < FILLED_ML:
        return "not_filled"
    step_x, step_y, step_z = case.volume.grid.spacing_mm
    if max(step_x, step_y) > PIXEL_MM:
        return "coarse_pixels"
    if step_z > SLICE_MM:
        return "thick_slices"
    part = own_voxels(case, outline, AROUND_MM)
    return "poor_outline" if part is None else _between(part)


def _between(part: Part) -> Wall | str:
    """The wall between urine and fat, on a box of the scan."""
    grid = part.grid
    core = shrunk(part.voxels, DEEP_MM, grid)
    if not core.any():
        return "not_filled"
    urine = float(np.median(part.hu[core]))
    if urine > URINE_HU:
        return "contrast"
    smooth = ndimage.gaussian_filter(part.hu.astype(np.float32), [BLUR_MM / step for step in grid.spacing_mm[::-1]])
    depth = depth_mm(part.voxels, grid)
    middle = depth > depth.max() / 2
    if float(1.4826 * np.median(np.abs(smooth[middle] - np.median(smooth[middle])))) > NOISE_HU:
        return "noise"
    like = (np.abs(smooth - urine) < STEP_HU) & grown(part.voxels, DEEP_MM / 2, grid)
    like = ~cc3d.dust(~like, threshold=HOLE_VOXELS, connectivity=6)
    # Free fluid around the wall may be larger, and slices leave holes in the wall between.
    lumen = grown(_piece_in(shrunk(like, LEAK_MM, grid), middle), LEAK_MM, grid)
    lumen = np.stack([ndimage.binary_fill_holes(one) for one in lumen])
    fat = smooth < FAT_HU
    if not lumen.any() or not fat.any():
        return "poor_outline"
    return _measured(smooth, lumen, fat, part, urine + WALL_HU)


def _measured(smooth: Floats, lumen: Bools, fat: Bools, part: Part, least_hu: float) -> Wall | str:
    """Along the middle of the lumen, where fat lies against the outline and all between is ``least_hu`` dense."""
    grid, voxel_mm = part.grid, float(np.mean(part.grid.spacing_mm[:2]))
    levels = np.flatnonzero(lumen.any(axis=(1, 2)))
    low, high = (int(np.quantile(levels, share)) for share in MIDDLE)
    border = lumen & (depth_mm(lumen, grid) <= max(grid.spacing_mm[:2]))
    border[:low] = border[high + 1 :] = False
    away, nearest = ndimage.distance_transform_edt(~fat, sampling=grid.spacing_mm[::-1], return_indices=True)
    start = np.argwhere(border)
    end, length = nearest[:, border].T, away[border]  # (N, 3) and (N,)
    speaks = distance_mm(part.voxels, grid)[tuple(end.T)] <= AGAINST_MM
    speaks &= _is_soft(smooth, start, end, length, voxel_mm, least_hu)
    share = float(np.mean(speaks)) if speaks.size else 0.0
    if share < LEAST_SPEAKS:
        return "poor_outline"
    thin, thick = np.maximum(0.0, np.quantile(length[speaks], (THIN, THICK)) - voxel_mm)
    return Wall(thin_mm=float(thin), thick_mm=float(thick), speaks=share)


def _is_soft(
    smooth: Floats, start: NDArray[np.intp], end: NDArray[np.intp], length: NDArray[np.float64], voxel_mm: float,
    least_hu: float,
) -> Bools:  # fmt: skip
    """(N,) bool: whether each straight way between voxels, ``length`` mm long, is denser than ``least_hu``."""
    soft = np.ones(len(start), dtype=bool)
    first, last = (ENDS_MM + share * voxel_mm for share in ENDS)
    for along in np.arange(first, length.max(initial=0.0) - last, STEP_MM):
        on = np.flatnonzero(along <= length - last)
        at = start[on] + (end[on] - start[on]) * (along / length[on])[:, None]
        soft[on] &= ndimage.map_coordinates(smooth, at.T, order=1) >= least_hu
    return soft


def _piece_in(mask: Bools, middle: Bools) -> Bools:
    """The piece of a mask that fills most of ``middle``; nothing where none lies in it."""
    labels = cc3d.connected_components(mask, connectivity=6)
    sizes = np.bincount(labels[middle])
    return np.asarray(labels == 1 + int(np.argmax(sizes[1:]))) if sizes.size > 1 else np.zeros_like(mask)
