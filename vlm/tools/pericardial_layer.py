"""A layer of fluid round the heart, looked for in the scan's own pixels, where the outline of the heart may be wrong.

In: the heart of a Case and what lies round it. Out: the layer and its thickness, or nothing. Behind a person on the
back fluid gathers between heart, gullet and spine, where the outline of the heart ends and layers are two working
voxels thick. With contrast fluid is darker than any muscle. Without, muscle and fat mixed in a voxel are as dense: what
is as thick as a chamber is left out, and thick slices are not judged; with contrast what thick slices show is not sure.
Arrays here are (Z, Y, X) in a box round the heart.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm, distance_mm
from vlm.anatomy.aorta import aorta
from vlm.anatomy.ball import grown, opened
from vlm.anatomy.heart import Heart
from vlm.anatomy.skeleton import skeleton, spine
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Grid, Mask, Volume
from vlm.evidence import Case
from vlm.tools.pericardial_fluid import LEAST_ML, LEAST_MM, THIN_MM

VOXEL_MM = 1.2  # a layer of 5 mm is four of these
FINE_MM = (1.7, 2.6)  # in plane and along z: coarser voxels mix fat and muscle to the density of fluid
REACH_MM = 25.0  # from the outline of the heart, inside and outside
FRONT_OF_CANAL_MM = 28.0  # the pericardium lies in front of the vertebral bodies
FLUID_HU = (-12.0, 32.0)  # serous fluid in single voxels, with their noise
BELOW_BLOOD_HU = 12.0
EDGE_HU = -40.0  # half fluid, half fat
CHAMBER_MM = 8.0  # radius of a ball that lies in chambers and in no layer
SOFT_HU = -10.0
LIGHT_MM = 0.7  # deviation of a blur that leaves a line of fat of 2 mm
SPECK_ML = 0.1
WRAPPED_MM, WRAP_SHARE = 8.0, 0.3  # of the surface of the heart that the layer lies over; of clear hearts up to 0.25
NEAR_MM, NEAR_SHARE = 15.0, 0.7  # of the layer lies so near to the heart: stomach and pleural fluid go further

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


def layer_round(case: Case, found: Heart, blood_hu: float, *, plain: bool) -> tuple[Mask | None, float | None]:
    """The layer of fluid and its largest thickness in mm; (None, None) when there is none or it cannot be judged."""
    if plain and not is_fine(case.volume.grid):
        return None, None
    scan = _near(case.volume, found.mask)
    grid = scan.grid
    heart = found.mask.on(grid).voxels.T
    fluid = _fluid(case, scan, heart, blood_hu, plain=plain)
    core = depth_mm(fluid, grid) >= max(THIN_MM / 2, 1.01 * max(grid.spacing_mm[:2]))  # two voxels at least
    if not core.any():
        return None, None
    labels, count = cc3d.connected_components(fluid & grown(core, THIN_MM / 2, grid), connectivity=6, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    piece = labels == int(np.argmax(sizes))
    thickness = 2.0 * float(np.percentile(depth_mm(piece, grid)[piece], 98))
    surface = heart & ~ndimage.binary_erosion(heart)
    near = float((distance_mm(heart, grid)[piece] <= NEAR_MM).mean())
    wrapped = float((distance_mm(piece, grid)[surface] <= WRAPPED_MM).mean())
    if np.count_nonzero(piece) * grid.voxel_ml < LEAST_ML or thickness < LEAST_MM:
        return None, None
    if near < NEAR_SHARE or wrapped < WRAP_SHARE:
        return None, None
    whole = grown(piece, VOXEL_MM, grid) & (scan.hu.T > EDGE_HU)  # its edges, half fluid and half fat
    return Mask("pericardial_effusion", whole.T, grid), thickness


def is_fine(grid: Grid) -> bool:
    """Whether a layer in such voxels is fluid for sure, with contrast; without, only there is it looked for."""
    return grid.spacing_mm[0] <= FINE_MM[0] and grid.spacing_mm[2] <= FINE_MM[1]


def _fluid(case: Case, scan: Volume, heart: Bools, blood_hu: float, *, plain: bool) -> Bools:
    """Voxels as dense as fluid about the border of the heart."""
    grid, hu = scan.grid, scan.hu.T.astype(np.float32)
    spacing = grid.spacing_mm[::-1]
    smooth = ndimage.gaussian_filter(hu, [1.5 / spacing[0], 1.0 / spacing[1], 1.0 / spacing[2]])
    cavity, traced, axis = thoracic_cavity(case), aorta(case), spine(case)
    pleural = (cavity.right.on(grid).voxels | cavity.left.on(grid).voxels).T
    space = (distance_mm(heart, grid) < REACH_MM) & (depth_mm(heart, grid) < REACH_MM) & (heart | ~pleural)
    space &= ~skeleton(case).on(grid).voxels.T
    if traced.found:
        space &= ~traced.mask.on(grid).voxels.T
    for k, height in enumerate(grid.to_mm(np.pad(np.arange(grid.shape[2])[:, None], ((0, 0), (2, 0))))[:, 2]):
        canal = float(grid.to_ijk(axis.at(float(height)))[1])
        space[k, : max(0, round(canal + FRONT_OF_CANAL_MM / spacing[1]))] = False
    fluid = space & (smooth > FLUID_HU[0]) & (smooth < min(FLUID_HU[1], blood_hu - BELOW_BLOOD_HU))
    return np.asarray(fluid & ~_chambers(hu, grid) if plain else fluid)


def _chambers(hu: Floats, grid: Grid) -> Bools:
    """What is soft and thick, with the thin line of fat on the heart left as it is and specks of noise filled."""
    light = ndimage.gaussian_filter(hu, [LIGHT_MM / step for step in grid.spacing_mm[::-1]])
    gaps, count = cc3d.connected_components(light <= SOFT_HU, connectivity=6, return_N=True)
    specks = np.bincount(gaps.ravel(), minlength=count + 1) * grid.voxel_ml < SPECK_ML
    return opened((gaps == 0) | specks[gaps], CHAMBER_MM, grid)


def _near(volume: Volume, heart: Mask) -> Volume:
    """The scan round the heart in voxels of about 1.2 mm."""
    corners = volume.grid.to_ijk(np.array([heart.box.low_mm, heart.box.high_mm]))
    margin = (REACH_MM + 5.0) / np.array(volume.grid.spacing_mm)
    low = np.maximum(0, np.floor(corners.min(axis=0) - margin)).astype(int)
    high = np.minimum(volume.grid.shape, np.ceil(corners.max(axis=0) + margin) + 1).astype(int)
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm(low)
    part = np.asfortranarray(volume.hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]])
    grid = Grid((part.shape[0], part.shape[1], part.shape[2]), affine)
    return Volume(part, grid, volume.scan).coarse(target_mm=VOXEL_MM)
