"""A full bladder told without an outline: the large smooth ball of water behind the pubic bones.

In: densities, the wall of the trunk and bones of a Case. Out: its mask on the working grid, or None. It is taken for
the bladder only where bone of the pubis stands before its lower end and hip bones on both of its sides; a bladder
that is not full, or that is filled with excreted contrast, is not told. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import box_of, grown, opened
from vlm.anatomy.coverage import coverage
from vlm.anatomy.fat import fat
from vlm.anatomy.skeleton import skeleton
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, once

URINE_HU = (-20.0, 28.0)  # after the blur, with streaks; plain muscle and bowel wall stand at 40 and more
BLUR_MM = 3.0  # deviation
CORE_MM = 20.0  # radius of a ball that only a full bladder, or a large cyst, holds
RIM_MM = 5.0  # around what holds the ball: what the blur took off the border
BELOW_DOME_MM = 190.0  # the highest that a full bladder reaches, and 40 mm for what a landmark errs by
ROUND = 4.5  # volume over that of the widest ball inside: fluid free in the pelvis is no ball
MIDLINE_MM = 25.0
PUBIS_SIDE_MM, PUBIS_MM = 40.0, (-40.0, 25.0)  # of the midline; of the lower end, along z
HIP_MM = 110.0  # of the midline
LEAST_BONE_ML = 1.0

Bools = NDArray[np.bool_]


@once
def full_bladder(case: Case) -> Mask | None:
    """The bladder where it is so full that it is told from densities alone; None where it is not."""
    view, grid = coverage(case), case.working.grid
    if view.of("bladder") <= 0.0 or view.dome_mm is None:
        return None
    top = round(float(grid.to_ijk([0.0, 0.0, view.dome_mm - BELOW_DOME_MM])[2]))
    part = slice(0, max(0, min(grid.shape[2], top)))
    hu = case.working.hu.T[part].astype(np.float32)
    smooth = ndimage.gaussian_filter(hu, [BLUR_MM / step for step in grid.spacing_mm[::-1]])
    water = (smooth > URINE_HU[0]) & (smooth < URINE_HU[1]) & fat(case).within.voxels.T[part]
    labels = cc3d.connected_components(opened(water, CORE_MM, grid), connectivity=6)
    sizes = np.bincount(labels.ravel())
    for number in (1 + np.argsort(-sizes[1:], kind="stable"))[:3]:
        whole = np.zeros(grid.shape[::-1], dtype=bool)
        whole[part] = _whole(labels == number, smooth, grid)
        if _is_round(whole, grid) and _is_behind_pubis(case, whole):
            return Mask("full_bladder", whole.T, grid)
    return None


def _whole(core: Bools, smooth: NDArray[np.float32], grid: Grid) -> Bools:
    """The ball out to half way to the fat around it or to its wall."""
    return np.asarray(grown(core, RIM_MM, grid) & (smooth > URINE_HU[0] - 30.0) & (smooth < URINE_HU[1] + 4.0))


def _is_round(ball: Bools, grid: Grid) -> bool:
    widest = float(depth_mm(ball, grid).max())
    return bool(ball.sum() * grid.voxel_ml * 1000.0 <= ROUND * 4 / 3 * np.pi * widest**3)


def _is_behind_pubis(case: Case, ball: Bools) -> bool:
    """Whether bone of the pubis stands before the lower end of a ball, and hip bones on both sides of it."""
    grid, bones = case.working.grid, skeleton(case).voxels.T
    step_x, _, step_z = grid.spacing_mm
    z, y, x = box_of(ball, 0.0, grid)
    shadow = np.flatnonzero(fat(case).within.voxels.T[z].any(axis=(0, 1)))
    middle = (shadow[0] + shadow[-1]) / 2 if shadow.size else ball.shape[2] / 2
    away = (np.arange(ball.shape[2]) - middle) * step_x
    if abs(float(np.mean(away[x]))) > MIDLINE_MM:
        return False
    low = max(0, z.start + round(PUBIS_MM[0] / step_z)), z.start + round(PUBIS_MM[1] / step_z) + 1
    front = (y.start + y.stop) // 2  # rows rise to the front
    pubis = bones[low[0] : low[1], front:][:, :, np.abs(away) <= PUBIS_SIDE_MM]
    beside = [bones[low[0] : z.stop][:, :, (away * side > 0) & (np.abs(away) <= HIP_MM)] for side in (-1, 1)]
    return all(np.count_nonzero(part) * grid.voxel_ml >= LEAST_BONE_ML for part in (pubis, *beside))
