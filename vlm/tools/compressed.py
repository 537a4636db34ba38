"""Lung that pleural fluid has pressed airless: the denser layer between the fluid and the lung.

In: an open case and a side. Out: a mask on the working grid, or nothing. Fluid beside aerated
lung falls in density from its own to that of lung; where airless lung lies between the two,
the density first rises. A film thinner than about 4 mm is lost in the blur of both borders.
Arrays are (Z, Y, X).
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import grown
from vlm.anatomy.lungs import LungSide, lungs
from vlm.evidence import Case
from vlm.tools.effusion import pleural_fluid
from vlm.tools.lung_field import Bools, Floats
from vlm.tools.pleural_shell import Shell, last_on_rays, shell, voxel_rays

RIM_MM = 2.5  # from the lung: there blur and partial volume mix the two
DEEP_MM = 22.0  # from the lung: thicker airless lung is found as a block of its own
DENSER_HU = 10.0  # than the fluid, which is 0 to 20 HU; airless lung is 30 to 60 HU, with contrast up to 130
SOFT_HU = (-80.0, 160.0)  # what is averaged: no lung, no bone
AVERAGE_MM = 2.5  # sigma along and across the layer, over soft tissue alone; leaves 3 to 6 HU of noise
PIECE_ML = 3.0  # smaller pieces are noise and vessels


def compressed(case: Case, side: LungSide) -> Bools | None:
    """(Z, Y, X) bool: airless lung between the fluid of a side and its lung; None where none shows."""
    fluid, outline = pleural_fluid(case).get(side), shell(case, side)
    if fluid is None or outline is None:
        return None
    grid, hu, lung = case.working.grid, case.working.hu.T, lungs(case).of(side).voxels.T
    rim = grown(lung, RIM_MM, grid) & ~lung
    soft = ~lung & (hu > SOFT_HU[0]) & (hu < SOFT_HU[1])
    sigma = [AVERAGE_MM / mm for mm in grid.spacing_mm[::-1]]
    denser = _averaged(hu, soft & ~rim, sigma) - float(np.median(hu[fluid[0]]))
    layer = grown(lung, DEEP_MM, grid) & soft & ~rim & _before(case, outline, fluid[0]) & (denser > DENSER_HU)
    labels: NDArray[np.uint32] = cc3d.connected_components(layer, connectivity=6)
    size_ml = np.bincount(labels.ravel()) * grid.voxel_ml
    size_ml[0] = 0.0
    layer = (size_ml >= PIECE_ML)[labels]
    return layer | (rim & soft & grown(layer, RIM_MM, grid)) if layer.any() else None


def _averaged(hu: NDArray[np.int16], soft: Bools, sigma: list[float]) -> Floats:
    """(Z, Y, X) the mean of the soft tissue around each voxel, HU."""
    weight = soft.astype(np.float32)
    total = ndimage.gaussian_filter(weight * hu, sigma, truncate=2.0)
    return np.asarray(total / np.maximum(ndimage.gaussian_filter(weight, sigma, truncate=2.0), 1e-3))


def _before(case: Case, outline: Shell, fluid: Bools) -> Bools:
    """(Z, Y, X) bool: what lies on a ray beyond the lung and nearer to the middle than the last fluid."""
    x_mm, y_mm, _ = case.working.grid.spacing_mm
    last = last_on_rays(fluid, voxel_rays(outline.centre, (y_mm, x_mm), fluid.shape[1:]))
    limit = np.nan_to_num(last, nan=-1.0)
    nearer = outline.radius_mm[None] < limit[:, outline.direction]
    return np.asarray(nearer & outline.outside_lung())
