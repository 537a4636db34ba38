"""What lies under the chest wall of one side: HU by depth below every point of its inner surface.

In: an open case and the shell of a side. Out: for every direction of every axial slice the place
of the inner chest wall, found on the scan's own voxels, and the attenuation from there inwards,
averaged along the wall. The average spares thin layers that follow the wall, such as free air
or fluid, and wears down noise, vessels and septa. Polar maps are (Z, DIRECTIONS) on the levels of
the working grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import AERATED_HU
from vlm.evidence import Case
from vlm.tools.pleural_shell import DIRECTIONS, Shell, last_on_rays, voxel_rays

STEP_MM = 1.0  # of depth
DEPTH_MM = 30.0
SEARCH_MM, WALL_STEP_MM = 6.0, 0.5  # the wall of the working grid is looked for again so far to both sides
ALONG_MM = 3.0  # sigma of the average along the wall: noise of a sharp kernel falls to about 10 HU
STEEPEST = 0.35  # cosine between a ray and the normal of the wall; rays more slanted are taken for so slanted
TISSUE_HU = 0.0  # what stands for places outside the slice

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Profiles:
    """Profiles from the wall inwards; ``hu`` (Z, DIRECTIONS, N) at depths of ``STEP_MM``, NaN without lung."""

    hu: Floats
    wall_mm: Floats  # (Z, DIRECTIONS) from the centre of the shell
    cosine: Floats  # (Z, DIRECTIONS) between the ray and the normal of the wall
    area_mm2: Floats  # (Z, DIRECTIONS) of wall that a profile stands for; 0 without lung

    def inside(self, outline: Shell, depth_mm: Floats) -> Bools:
        """(Z, Y, X) bool: the voxels from the wall to a depth (Z, DIRECTIONS) below it."""
        far = np.nan_to_num(self.wall_mm, nan=-1.0)
        near = far - depth_mm / self.cosine
        radius = outline.radius_mm[None]
        return np.asarray((radius <= far[:, outline.direction]) & (radius > near[:, outline.direction]))


def wall_profiles(case: Case, outline: Shell, aerated: Bools) -> Profiles:
    """The profiles of a side.

    Args:
        outline: the shell of the side.
        aerated: (Z, Y, X) bool on the working grid, lung and free air of that side.
    """
    grid = case.working.grid
    lines = voxel_rays(outline.centre, (grid.spacing_mm[1], grid.spacing_mm[0]), aerated.shape[1:])
    wall = last_on_rays(aerated, lines)
    around = np.arange(-SEARCH_MM, SEARCH_MM + WALL_STEP_MM / 2, WALL_STEP_MM, dtype=np.float32)
    air = _sampled(case, outline, wall[..., None] + around) < AERATED_HU
    outermost = len(around) - 1 - air[..., ::-1].argmax(axis=-1)
    wall = np.where(air.any(axis=-1), wall + around[outermost] + WALL_STEP_MM / 2, np.nan).astype(np.float32)
    z_mm = grid.spacing_mm[2]
    arc = np.deg2rad(360.0 / DIRECTIONS)
    cosine = _cosine(wall, z_mm, arc)
    depth = np.arange(0.0, DEPTH_MM + STEP_MM / 2, STEP_MM, dtype=np.float32)
    hu = _sampled(case, outline, wall[..., None] - depth / cosine[..., None])
    known = np.isfinite(wall)
    radius = float(np.median(wall[known])) if known.any() else 1.0
    sigma = (ALONG_MM / z_mm, ALONG_MM / (arc * radius))
    weight = _blurred(known.astype(np.float32), sigma)
    smooth = _blurred(hu, (*sigma, 0.0)) / np.maximum(weight, 1e-3)[..., None]
    smooth[~known] = np.nan
    area = np.nan_to_num(wall * arc * z_mm / cosine).astype(np.float32)
    return Profiles(smooth.astype(np.float32), wall, cosine, area)


def _sampled(case: Case, outline: Shell, radius_mm: Floats) -> Floats:
    """(Z, DIRECTIONS, N) HU of the scan's own voxels at radii along each ray, mean of the slices of a level."""
    fine, grid = case.volume.grid, case.working.grid
    hu = case.volume.hu.T
    block = round(grid.spacing_mm[2] / fine.spacing_mm[2])
    centre = fine.to_ijk(grid.to_mm([[outline.centre[1], outline.centre[0], 0.0]]))[0]
    angle = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    along_x = (np.cos(angle) / fine.spacing_mm[0]).astype(np.float32)[None, :, None]
    along_y = (np.sin(angle) / fine.spacing_mm[1]).astype(np.float32)[None, :, None]
    known = np.nan_to_num(radius_mm, nan=0.0)
    x = np.rint(np.float32(centre[0]) + along_x * known).astype(np.int32)
    y = np.rint(np.float32(centre[1]) + along_y * known).astype(np.int32)
    valid = np.isfinite(radius_mm) & (radius_mm > 0) & (x >= 0) & (x < hu.shape[2]) & (y >= 0) & (y < hu.shape[1])
    x, y = x.clip(0, hu.shape[2] - 1), y.clip(0, hu.shape[1] - 1)
    first = block * np.arange(radius_mm.shape[0])[:, None, None]
    out = np.zeros(radius_mm.shape, dtype=np.float32)
    for step in range(block):
        out += hu[first + step, y, x]
    return np.where(valid, out / np.float32(block), np.float32(TISSUE_HU))


def _cosine(wall_mm: Floats, z_mm: float, arc: float) -> Floats:
    """(Z, DIRECTIONS) cosine between each ray and the normal of the wall there."""
    radius = np.maximum(ndimage.median_filter(np.nan_to_num(wall_mm), size=(3, 3), mode="nearest"), 10.0)
    radius = _blurred(radius, (ALONG_MM / z_mm, 1.0))
    up = np.gradient(radius, axis=0) / z_mm
    round_ = np.gradient(radius, axis=1) / (radius * arc)
    return np.asarray(np.maximum(1.0 / np.sqrt(1.0 + up**2 + round_**2), STEEPEST), dtype=np.float32)


def _blurred(values: Floats, sigma: tuple[float, ...]) -> Floats:
    """Blurred along levels and directions; the last direction lies beside the first."""
    mode = ["nearest", "wrap", "nearest"][: values.ndim]
    return np.asarray(ndimage.gaussian_filter(values, sigma, mode=mode, truncate=2.5), dtype=np.float32)
