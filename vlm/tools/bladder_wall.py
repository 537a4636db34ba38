"""How thick the wall of a filled bladder is, on the scan's own voxels.

In: the outline of the bladder and the scan. Out: the distance from urine to the fat around the bladder, or the reason
why it cannot be told. Only places where fat lies against the wall speak: elsewhere muscle, bowel, prostate or uterus
go on where the wall ends. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

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
URINE_HU = 45.0  # denser: excreted contrast
BLUR_MM = 1.0  # deviation
STEP_HU = 18.0  # above urine: half way to a plain wall; an enhanced one reads up to 2 mm thicker
FAT_HU = -45.0  # half way from the wall to fat, and more: what mixes with the wall is not yet fat
MIDDLE = (0.25, 0.75)  # of the height of the lumen: dome and floor are cut obliquely by slices
QUARTER = 0.25  # of the lumen's border: its thinner parts, where nothing leans against the wall

Bools = NDArray[np.bool_]


def wall_mm(case: Case, outline: Mask) -> float | str:
    """Thickness of the wall, mm, or the key of CONDITIONS that says why it is not told."""
    if outline.volume_ml < FILLED_ML:
        return "not_filled"
    step_x, step_y, step_z = case.volume.grid.spacing_mm
    if max(step_x, step_y) > PIXEL_MM:
        return "coarse_pixels"
    if step_z > SLICE_MM:
        return "thick_slices"
    part = own_voxels(case, outline, AROUND_MM)
    return "poor_outline" if part is None else _between(part)


def _between(part: Part) -> float | str:
    """From the border of urine to the nearest fat, mm: the lower quartile along the middle of the lumen."""
    grid = part.grid
    core = shrunk(part.voxels, DEEP_MM, grid)
    if not core.any():
        return "not_filled"
    urine = float(np.median(part.hu[core]))
    if urine > URINE_HU:
        return "contrast"
    smooth = ndimage.gaussian_filter(part.hu.astype(np.float32), [BLUR_MM / step for step in grid.spacing_mm[::-1]])
    lumen = _largest((np.abs(smooth - urine) < STEP_HU) & grown(part.voxels, DEEP_MM / 2, grid))
    lumen = np.stack([ndimage.binary_fill_holes(ndimage.binary_opening(one)) for one in lumen])
    fat = smooth < FAT_HU
    if not lumen.any() or not fat.any():
        return "poor_outline"
    levels = np.flatnonzero(lumen.any(axis=(1, 2)))
    low, high = (int(np.quantile(levels, share)) for share in MIDDLE)
    border = lumen & (depth_mm(lumen, grid) <= max(grid.spacing_mm[:2]))
    away = distance_mm(fat, grid)[low : high + 1][border[low : high + 1]]
    return max(0.0, float(np.quantile(away, QUARTER)) - float(np.mean(grid.spacing_mm[:2])))


def _largest(mask: Bools) -> Bools:
    labels = cc3d.connected_components(mask, connectivity=6)
    sizes = np.bincount(labels.ravel())
    return np.asarray(labels == 1 + int(np.argmax(sizes[1:]))) if sizes.size > 1 else mask
