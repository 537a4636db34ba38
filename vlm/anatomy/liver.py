"""The liver, roughly: the largest solid body below the right half of the diaphragm.

In: coverage, spine, heart and bones of a Case. Out: a mask on the working grid that follows the liver to
about 10 mm where it touches stomach, kidney or heart; a ground for looking around and inside it, not for
measuring it. Arrays here are (Z, Y, X) views.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from scipy import ndimage

from vlm.anatomy.ball import grown
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import heart
from vlm.anatomy.skeleton import opened_by, skeleton, spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, once

SOLID_HU = (5.0, 230.0)  # plain and enhanced liver, fatty liver down to about 5 HU
CORE_MM = 22.0  # only the liver holds balls of this radius over and over
SOLID_MM = 6.0
REACH_MM = 26.0  # from its cores the liver is followed so far
LEAST_ML = 250.0
ABOVE_MM, BELOW_MM = 25.0, -220.0  # of the dome
SPREAD_HU = 35.0  # a core's mean differs from the liver's by less; a stomach full of food does not


@dataclass(frozen=True, slots=True, kw_only=True)
class Liver:
    """The rough liver; an empty mask when it was not found."""

    mask: Mask
    found: bool
    mean_hu: float | None


@once
def liver(case: Case) -> Liver:
    """The rough liver on the working grid."""
    grid = case.working.grid
    nothing = Liver(mask=Mask("liver", np.zeros(grid.shape, dtype=bool, order="F"), grid), found=False, mean_hu=None)
    view, axis = coverage(case), spine(case)
    if view.dome_mm is None or "right" not in view.sides or not axis.found:
        return nothing
    z = grid.to_mm(np.stack([np.zeros(grid.shape[2])] * 2 + [np.arange(grid.shape[2])], axis=1))[:, 2]
    inside = np.flatnonzero((z <= view.dome_mm + ABOVE_MM) & (z >= view.dome_mm + BELOW_MM))
    if inside.size == 0:
        return nothing
    part = slice(int(inside[0]), int(inside[-1]) + 1)
    hu = ndimage.uniform_filter(case.working.hu.T[part], (1, 3, 3), output=np.float32)
    beating = heart(case)
    solid = (hu > SOLID_HU[0]) & (hu < SOLID_HU[1]) & ~skeleton(case).voxels.T[part]
    if beating.found:
        above = ndimage.binary_erosion(beating.mask.voxels.T[part], np.ones((1, 3, 3)))
        solid &= ~above
    cores = opened_by(solid, grid, CORE_MM)
    labels, count = cc3d.connected_components(cores, connectivity=6, return_N=True)
    if count == 0:
        return nothing
    x = grid.to_mm(np.stack([np.arange(grid.shape[0])] + [np.zeros(grid.shape[0])] * 2, axis=1))[:, 0]
    right = x > float(np.median(axis.canal_mm[inside, 0]))
    on_right = np.bincount(labels[:, :, right].ravel(), minlength=count + 1)
    on_right[0] = 0
    core = labels == int(np.argmax(on_right))
    if on_right.max() * grid.voxel_ml < LEAST_ML / 4:
        return nothing
    mean = float(np.median(hu[core]))
    alike = solid & (np.abs(ndimage.uniform_filter(hu, 3) - mean) < SPREAD_HU)
    firm = opened_by(alike, grid, SOLID_MM)
    near = grown(core, REACH_MM, grid)
    pieces = cc3d.connected_components((firm & near) | core, connectivity=6)
    number = int(np.argmax(np.bincount(pieces[core])))
    out = np.zeros(case.working.hu.T.shape, dtype=bool)
    out[part] = pieces == number
    mask = Mask("liver", out.T, grid)
    if mask.volume_ml < LEAST_ML:
        return nothing
    return Liver(mask=mask, found=True, mean_hu=mean)
