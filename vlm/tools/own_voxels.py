"""What an outline holds on the scan's own voxels, and how wide it is: for glands, ducts and walls that 2 mm would blur.

In: a case and an outline. Out: the box around it, with its mask, HU and grid; the widest ball in a mask.
Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import box_of
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A box of the scan around an outline."""

    voxels: Bools  # (Z, Y, X), the outline
    hu: NDArray[np.int16]  # (Z, Y, X)
    grid: Grid  # of the box

    def named(self, name: str, voxels: Bools) -> Mask:
        """Voxels of the box as a mask of the case."""
        return Mask(name, voxels.T, self.grid)


def own_voxels(case: Case, outline: Mask, margin_mm: float = 3.0) -> Part | None:
    """The box around an outline on the scan's own voxels; None where it is smaller than a voxel."""
    whole, grid = outline.on(case.volume.grid).voxels.T, case.volume.grid
    if not whole.any():
        return None
    box = box_of(whole, margin_mm, grid)
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm(np.array([part.start for part in box[::-1]]))
    voxels, hu = whole[box], case.volume.hu.T[box]
    return Part(voxels=voxels, hu=hu, grid=Grid((hu.shape[2], hu.shape[1], hu.shape[0]), affine))


def widest_mm(voxels: Bools, grid: Grid) -> float:
    """Diameter of the widest ball in a mask, mm, from border to border; 0 of an empty one."""
    return max(0.0, 2.0 * float(depth_mm(voxels, grid).max()) - min(grid.spacing_mm[:2])) if voxels.any() else 0.0
