"""Sizes of a lump on the scan's own voxels: axes in the axial plane, in 3D, volume, density.

In: a lump found on a coarser grid, and the volume. Out: its voxels on the volume's grid and
its measures. A border is where the density is halfway between the lump and the air beside it.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from vlm.ct.volume import Grid, Mask, Volume

BORDER_HU = (-600.0, -300.0)  # the halfway border stays between aerated lung and fat
GLASS_BORDER_HU = (-780.0, -300.0)  # that of ground glass lies lower
CALCIFIED_HU = 200.0  # of plain CT; contrast does not lift a nodule that far (Swensen 1992: 15-100 HU)
CALCIFIED_SHARE = 0.10  # of a nodule's voxels
SOLID_HU = -160.0  # below lies no solid tissue but its blur
GLASS_HU = (-750.0, -300.0)
HALO_MM = 8.0  # in smaller nodules the blur of the border cannot be told from a halo
TISSUE_HU = 35.0  # of a solid nodule without contrast
PART_SOLID_SHARE = 0.75  # of the nodule with its halo: more solid than this is solid


@dataclass(frozen=True, slots=True, kw_only=True)
class Nodule:
    """One lump, measured. Lengths in mm."""

    mask: Mask  # on a box of the volume's grid
    diameter_mm: float
    short_axis_mm: float
    diameter_3d_mm: float
    volume_ml: float
    mean_hu: float
    core_hu: float
    density: str  # solid, part_solid, ground_glass, calcified
    solid_mm: float  # diameter of the solid ball that holds as much: blur spreads it and takes none away


def box_grid(grid: Grid, low_mm: NDArray[np.float64], high_mm: NDArray[np.float64]) -> tuple[tuple[slice, ...], Grid]:
    """The slices (x, y, z) of a box of a grid, and the grid of that box."""
    corners = np.sort(np.stack([grid.to_ijk(low_mm), grid.to_ijk(high_mm)]), axis=0)
    first = np.clip(np.floor(corners[0]).astype(int), 0, np.asarray(grid.shape) - 1)
    last = np.clip(np.ceil(corners[1]).astype(int), 0, np.asarray(grid.shape) - 1)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm(first)
    shape = (int(last[0] - first[0] + 1), int(last[1] - first[1] + 1), int(last[2] - first[2] + 1))
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)), Grid(shape, affine)


def measured(
    name: str, volume: Volume, near: Mask, space: Mask, *, border_hu: tuple[float, float] = BORDER_HU
) -> Nodule | None:
    """Measure the lump that lies within ``near``, a mask a little larger than it.

    Args:
        name: of the mask that is kept.
        volume: the scan.
        near: where the lump is, on any grid that shares the volume's axes.
        space: lung and what belongs to it; a halo ends where it ends.
        border_hu: between which the border lies, HU.

    Returns:
        The nodule, or None when nothing dense lies there.
    """
    box = near.box
    margin = 2.0 * np.asarray(volume.grid.spacing_mm) + 4.0
    slices, grid = box_grid(volume.grid, np.asarray(box.low_mm) - margin, np.asarray(box.high_mm) + margin)
    raw = volume.hu[slices].astype(np.float32)
    sigma = [0.5 / step if step < 0.95 else 0.0 for step in grid.spacing_mm]
    hu = ndimage.gaussian_filter(raw, sigma) if any(sigma) else raw
    allowed = near.on(grid).voxels
    inside = space.on(grid).voxels | allowed
    inner = allowed
    if not inner.any():
        return None
    dense = float(np.percentile(hu[inner], 80))
    air = hu[hu < -500.0]
    beside = float(np.median(air)) if air.size else -850.0
    border = float(np.clip((dense + beside) / 2, *border_hu))
    region = _largest(inner & (hu > border))
    if region is None:
        return None
    mask = Mask(name, np.asfortranarray(region), grid)
    long, short = axes_mm(region, grid)
    values = raw[region]
    core = hu[ndimage.binary_erosion(region)]
    core_hu = float(np.median(core)) if core.size >= 4 else float(np.percentile(hu[region], 75))
    # Of a nodule of few voxels none is free of the lung around it; the densest comes nearest to it.
    true_hu = core_hu if core.size >= 4 else float(hu[region].max())
    return Nodule(
        mask=mask,
        diameter_mm=long,
        short_axis_mm=short,
        diameter_3d_mm=max(long, _longest(grid.to_mm(np.argwhere(region))) + 0.5 * float(np.mean(grid.spacing_mm))),
        volume_ml=mask.volume_ml,
        mean_hu=float(values.mean()),
        core_hu=core_hu,
        density=_density(hu, region, true_hu, inside & ndimage.binary_dilation(region, iterations=2))
        if long >= HALO_MM
        else _density(hu, region, true_hu, region),
        solid_mm=_solid_mm(raw, allowed, inside, beside, grid),
    )


def _solid_mm(
    raw: NDArray[np.float32], near: NDArray[np.bool_], space: NDArray[np.bool_], air_hu: float, grid: Grid
) -> float:
    """Diameter of the solid ball that holds what lies in and just around a lump above ``air_hu``, mm."""
    away = edt.edt(np.asfortranarray(~near), anisotropy=grid.spacing_mm, black_border=False)
    part = space & (away <= 0.5 * max(grid.spacing_mm))
    excess_mm3 = float((raw[part] - air_hu).sum()) / (TISSUE_HU - air_hu) * grid.voxel_ml * 1000
    return float((6 / np.pi * max(0.0, excess_mm3)) ** (1 / 3))


def axes_mm(region: NDArray[np.bool_], grid: Grid) -> tuple[float, float]:
    """(X, Y, Z) bool -> the longest axis of any axial slice and the longest across it in that slice, mm."""
    pixel = float(np.sqrt(grid.spacing_mm[0] * grid.spacing_mm[1]))
    best = (0.0, 0.0)
    for k in np.flatnonzero(region.any(axis=(0, 1))):
        points = np.argwhere(region[:, :, k]) * np.asarray(grid.spacing_mm[:2])
        hull = _hull(points)
        apart = hull[:, None] - hull[None]
        lengths = np.hypot(apart[..., 0], apart[..., 1])
        long = float(lengths.max())
        if long + pixel <= best[0]:
            continue
        a, b = np.unravel_index(int(lengths.argmax()), lengths.shape)
        along = apart[a, b] / max(long, 1e-6)
        across = hull @ np.array([-along[1], along[0]])
        best = (long + pixel, min(long, float(across.max() - across.min())) + pixel)
    return best


def _hull(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Corners of the convex hull of points, or the points where they lie on a line."""
    if len(points) < 4:
        return points
    try:
        corners: NDArray[np.float64] = points[ConvexHull(points).vertices]
    except QhullError:
        return points
    return corners


def _longest(points: NDArray[np.float64]) -> float:
    """Largest distance between any two points, mm."""
    hull = _hull(points)
    if len(hull) > 1500:  # a line or a plane of many voxels
        hull = hull[:: len(hull) // 1500 + 1]
    apart = hull[:, None] - hull[None]
    return float(np.sqrt((apart**2).sum(axis=-1).max()))


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The largest connected piece, its holes filled; None of an empty mask."""
    voxels = np.ascontiguousarray(mask.T).view(np.uint8)  # cc3d counts too few labels in thin boxes of bools
    labels: NDArray[np.uint32] = cc3d.connected_components(voxels, connectivity=26)
    counts = np.bincount(labels.ravel())
    if counts.size < 2:
        return None
    counts[0] = 0
    piece = labels == int(counts.argmax())
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(piece)
    return filled.T


def _density(hu: NDArray[np.float32], region: NDArray[np.bool_], core_hu: float, around: NDArray[np.bool_]) -> str:
    """The density class of a nodule from its core and its halo."""
    values = hu[region]
    if float((values > CALCIFIED_HU).mean()) >= CALCIFIED_SHARE:
        return "calcified"
    if core_hu < SOLID_HU:
        return "ground_glass"
    halo = int((around & (hu > GLASS_HU[0]) & (hu < GLASS_HU[1])).sum())
    solid = int((values > SOLID_HU).sum())
    # The blur of a solid border fills a shell of about one voxel; a halo holds more than the solid part.
    shell = int((region & ~ndimage.binary_erosion(region)).sum())
    return "part_solid" if halo > max(2.5 * shell, solid / PART_SOLID_SHARE) else "solid"
