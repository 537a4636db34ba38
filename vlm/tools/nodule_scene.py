"""The part of a scan in which nodules are looked for, on voxels of about 1.2 mm.

In: an open case. Out: its Hounsfield units, slices interpolated and noise blurred, and the space of both
lungs; and masks on boxes of that grid. Arrays are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import distance_mm
from vlm.anatomy.ball import box_of
from vlm.anatomy.lungs import SPACE_MM, lungs
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case
from vlm.tools.nodule_candidates import Lump
from vlm.tools.nodule_measure import box_grid

GRID_MM = 1.2  # in-plane voxels nodules are looked for on; slices are interpolated to about this
BESIDE_MM = 0.8  # the lump's border on the finer voxels lies this close to that on the grid it was found on
ON_WALL = 0.05  # share of the shell outside the space, from which on a lump sits on the wall


@dataclass(frozen=True, slots=True)
class Scene:
    """The searched part of the scan. Arrays are (Z, Y, X) on ``grid``."""

    grid: Grid
    hu: NDArray[np.float32]
    space: NDArray[np.bool_]


def scene(case: Case) -> Scene:
    """The lungs' space on a grid of about GRID_MM, slices interpolated, noise blurred."""
    found = lungs(case)
    whole = found.right_space.voxels | found.left_space.voxels
    fine = case.volume.coarse(target_mm=GRID_MM)
    where = box_of(whole.T, 2.0, case.working.grid)[::-1]  # (x, y, z)
    low = case.working.grid.to_mm([s.start for s in where])
    high = case.working.grid.to_mm([s.stop - 1 for s in where])
    slices, grid = box_grid(fine.grid, low, high)
    hu = fine.hu[slices].T.astype(np.float32)
    sigma = [0.6 / step if step < 1.5 else 0.0 for step in grid.spacing_mm[::-1]]
    if any(sigma):
        hu = ndimage.gaussian_filter(hu, sigma, truncate=2.0)
    parts = max(1, round(grid.spacing_mm[2] / 1.5))
    if parts > 1 and hu.shape[0] > 1:
        hu = _between(hu, parts)
        affine = grid.affine.copy()
        affine[:3, 2] /= parts
        grid = Grid((grid.shape[0], grid.shape[1], hu.shape[0]), affine)
    space = Mask("space", whole, case.working.grid).on(grid).voxels.T
    return Scene(grid, hu, space)


def _between(hu: NDArray[np.float32], parts: int) -> NDArray[np.float32]:
    """(Z, Y, X) -> ((Z - 1) * parts + 1, Y, X): linear between slices, so that an oblique vessel holds together."""
    out = np.empty(((hu.shape[0] - 1) * parts + 1, *hu.shape[1:]), dtype=np.float32)
    for n in range(parts):
        weight = n / parts
        out[n::parts][: hu.shape[0] - 1] = (1 - weight) * hu[:-1] + weight * hu[1:]
    out[-1] = hu[-1]
    return out


def near_mask(lump: Lump, grid: Grid, space: NDArray[np.bool_], *, capped: bool) -> Mask:
    """A mask a little larger than a lump, on the box around it; larger where the lump sits on the wall.

    There the closing that drew the space cut off a cap of the lump: the sagitta of its ball
    over the lump's width.
    """
    cap = 0.0
    if capped and lump.wall >= ON_WALL:
        half = min(0.5 * lump.extents_mm[1], 0.9 * SPACE_MM)
        cap = SPACE_MM - float(np.sqrt(SPACE_MM**2 - half**2))
    pad = [max(1, int(np.ceil(max(BESIDE_MM, cap) / step))) for step in grid.spacing_mm[::-1]]
    box = tuple(slice(max(0, s.start - p), s.stop + p) for s, p in zip(lump.box, pad, strict=True))
    inside = np.zeros(space[box].shape, dtype=bool)
    first = [s.start - b.start for s, b in zip(lump.box, box, strict=True)]
    z, y, x = (slice(f, f + n) for f, n in zip(first, lump.voxels.shape, strict=True))
    inside[z, y, x] = lump.voxels
    away = distance_mm(inside, grid)
    near = (away <= BESIDE_MM) | ((away <= cap) & ~space[box])
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm([box[2].start, box[1].start, box[0].start])
    shape = (near.shape[2], near.shape[1], near.shape[0])
    return Mask("near", near.T, Grid(shape, affine))
