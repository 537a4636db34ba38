"""A layer of fluid within the outline of the heart, told by its density."""

from __future__ import annotations

import edt
import numpy as np
from scipy import ndimage

from vlm.anatomy.heart import Heart
from vlm.anatomy.skeleton import opened_by
from vlm.ct.volume import Mask
from vlm.evidence import Case

FLUID_HU = (-5.0, 28.0)  # serous fluid; muscle and plain blood stand at 35-60 HU, fat below -40
BELOW_HEART_HU = 14.0  # fluid is darker than the heart by at least this
RIM_MM = 30.0  # a large effusion lies within this of the outline
LEAST_MM = 5.0  # thinner layers are physiologic or partial volume (Bull 1998: up to 4 mm)
ENHANCED_HU = 90.0
NO_FAT_HU = -18.0  # mean of a small patch; half fat, half muscle stands at about -25
LEAST_ML = 25.0


def layer_mm(
    case: Case, found: Heart, *, least_mm: float = LEAST_MM, least_ml: float = LEAST_ML
) -> tuple[Mask | None, float | None]:
    """The layer (on the working grid) and its largest thickness in mm; (None, None) when there is none."""
    volume, whole = case.working, found.mask.voxels.T
    spacing = volume.grid.spacing_mm[::-1]
    box = ndimage.find_objects(whole.astype(np.uint8))[0]
    heart, hu = whole[box], volume.hu.T[box].astype(np.float32)
    depth = edt.edt(heart, anisotropy=spacing, black_border=False, parallel=2)
    smooth = ndimage.gaussian_filter(hu, [2.0 / step for step in spacing])
    core = smooth[heart & (depth > 20.0)]
    if core.size < 200:
        return None, None
    blood = float(np.median(core))
    low, high = FLUID_HU
    # Fat mixed with muscle has the mean of fluid, but fat stands near: a lake of fluid has none within a voxel.
    light = ndimage.gaussian_filter(hu, [1.2 / step for step in spacing])
    reach = 5 if blood < ENHANCED_HU else 3  # enhanced muscle mixed with fat is thin, and far from fluid otherwise
    fatless = ndimage.minimum_filter(light, (1, reach, reach)) > NO_FAT_HU
    fluid = heart & fatless & (smooth > low) & (smooth < min(high, blood - BELOW_HEART_HU)) & (depth < RIM_MM)
    # A layer of fluid is thick and flat in density; the rim between fat and muscle is thin.
    layer = opened_by(fluid, volume.grid, least_mm / 2)
    if np.count_nonzero(layer) * volume.grid.voxel_ml < least_ml:
        return None, None
    inner = edt.edt(layer, anisotropy=spacing, black_border=False, parallel=2)
    thickness = 2.0 * float(np.percentile(inner[layer], 98))
    if thickness < least_mm:
        return None, None
    out = np.zeros_like(whole)
    out[box] = layer
    return Mask("pericardial_effusion", np.asarray(out.T), volume.grid), thickness
