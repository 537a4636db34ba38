"""Air inside the body that is lung, told from gas in bowel and sinuses and from folds of clothes.

In: air on the working grid. Out: the pieces of it that are lung. Also the distances on that
grid which the other modules of lung anatomy share.
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import box_of, closed, grown, shrunk
from vlm.anatomy.body import body
from vlm.ct.volume import Grid
from vlm.evidence import Case, once

AERATED_HU = -500  # halfway between lung and soft tissue (Hu 2001)
LUNG_HU = (-930, -600)  # the core of aerated lung holds much of this range, gas next to nothing
CORE_MM = 4.0  # deeper than this, partial volume with the wall is over
LUNG_SHARE = 0.25  # of a piece's core in LUNG_HU; bowel gas with some stool reaches 0.2, emphysema has 0.3
HUGE_ML, HUGE_SHARE = 500.0, 0.10  # bullous lung; a bowel of that size is pure gas (share 0.02)
EMPTIER_HU = 80.0  # than the lung in the same scan: gas behind a wall; lungs of one person differ by less
RIM_MM = 5.5  # around the core of such gas
UNDER_SHARE = 0.5  # of such gas has lung somewhere above it: stomach and bowel do, a large pneumothorax has not
FOLD_SHARE = 0.2  # of the larger lung: less of it beside such gas is the rest of that gas
PIECE_ML = 3.0  # smaller pieces are left to closing
NEAR_MM = 12.0  # a further piece of lung lies this close to a main one
PARTNER_SHARE = 0.03  # the other lung holds at least this much of the larger one
IN_SLICE = np.stack([np.zeros((3, 3)), ndimage.generate_binary_structure(2, 1), np.zeros((3, 3))])  # neighbours


@once
def lung_air(case: Case) -> NDArray[np.bool_]:
    """(Z, Y, X) bool on the working grid: aerated lung, with the airways that open into it."""
    inside = body(case).voxels.T
    hu = case.working.hu.T
    return lung_pieces(inside & (hu < AERATED_HU), hu, case.working.grid)


def lung_pieces(air: NDArray[np.bool_], hu: NDArray[np.int16], grid: Grid) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: the pieces of ``air`` that are lung.

    The largest piece with the density of lung is one; a partner at the same height on the other
    side is one; and so is what lies right beside them with that density.
    """
    nothing = np.zeros_like(air)
    deep = shrunk(air, CORE_MM, grid)
    lungish = deep & _has_lung_density(hu, deep)
    air = _without_gas(air, hu, deep, lungish, grid)
    deep &= air
    labels: NDArray[np.uint32] = cc3d.connected_components(air, connectivity=6)
    count = int(labels.max()) + 1
    size_ml = np.bincount(labels.ravel(), minlength=count) * grid.voxel_ml
    size_ml[0] = 0
    core = np.bincount(labels[deep], minlength=count)
    like = np.bincount(labels[deep & lungish], minlength=count)
    share = like / np.maximum(core, 1)
    fit = (size_ml >= PIECE_ML) & (core * grid.voxel_ml > 0.5)
    fit &= (share >= LUNG_SHARE) | ((size_ml > HUGE_ML) & (share >= HUGE_SHARE))
    if not fit.any():
        return nothing
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    weight = np.where(fit, like, 0)
    first = int(weight.argmax())
    main = {first}
    top = boxes[first][0]
    for name in np.flatnonzero(fit & (size_ml >= PARTNER_SHARE * size_ml[first])):
        span = boxes[name][0]
        common = min(top.stop, span.stop) - max(top.start, span.start)
        if common >= 0.5 * (span.stop - span.start):
            main.add(int(name))
    chosen = np.zeros(count, dtype=bool)
    chosen[list(main)] = True
    near = grown(chosen[labels], NEAR_MM, grid)
    beside = np.zeros(count, dtype=bool)
    beside[np.unique(labels[near])] = True
    chosen |= fit & beside
    keep: NDArray[np.bool_] = chosen[labels]
    return keep


def _without_gas(
    air: NDArray[np.bool_], hu: NDArray[np.int16], deep: NDArray[np.bool_], lungish: NDArray[np.bool_], grid: Grid
) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: air without gas of stomach and bowel that leaks into a lung.

    Noise and partial volume pierce thin walls. Such gas is a core that is plainly emptier than the lung, lies under it,
    and is joined to it by no broad way; free air and bullae lie open against the lung, and are one core with it.
    """
    pieces: NDArray[np.uint32] = cc3d.connected_components(air, connectivity=6)
    cores: NDArray[np.uint32] = cc3d.connected_components(deep, connectivity=6)
    like, size = (np.bincount(cores[mask], minlength=int(cores.max()) + 1) for mask in (lungish, deep))
    if not like.any():
        return air
    mean = np.bincount(cores.ravel(), weights=hu.ravel()) / np.maximum(np.bincount(cores.ravel()), 1)
    empty = (mean < mean[int(like.argmax())] - EMPTIER_HU) & (like < LUNG_SHARE * size)
    empty[0] = False
    above = np.logical_or.accumulate((lungish & ~empty[cores])[::-1])[::-1]
    empty &= np.bincount(cores[above], minlength=size.size) >= UNDER_SHARE * size
    of_piece = [np.bincount(pieces[mask], minlength=int(pieces.max()) + 1) for mask in (lungish, deep)]
    mixed = of_piece[0] >= LUNG_SHARE * np.maximum(of_piece[1], 1)  # other pieces are judged as a whole
    gas = empty[cores] & mixed[pieces]
    if not gas.any():
        return air
    left = air & ~grown(gas, RIM_MM, grid)
    parts: NDArray[np.uint32] = cc3d.connected_components(left & mixed[pieces], connectivity=6)
    held = np.bincount(parts[lungish], minlength=int(parts.max()) + 1)
    folds = np.zeros(held.size, dtype=bool)  # the rest of the gas, blurred with its wall
    folds[np.unique(parts[grown(gas, 2 * RIM_MM, grid)])] = True
    folds &= held < FOLD_SHARE * held[1:].max(initial=0)
    folds[0] = False
    return np.asarray(left & ~folds[parts])


def _has_lung_density(hu: NDArray[np.int16], deep: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: where the mean of neighbours in ``deep`` is that of lung; noise alone gives gas that density."""
    near = (1, 3, 3)
    total = ndimage.uniform_filter(np.where(deep, hu, 0), size=near, output=np.float32)
    mean = total / np.maximum(ndimage.uniform_filter(deep, size=near, output=np.float32), 1e-3)
    return np.asarray((mean > LUNG_HU[0]) & (mean < LUNG_HU[1]))


def depth_mm(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """(Z, Y, X) float32: mm from each voxel of a mask to its border; 0 outside. The scan's edge is no border."""
    depth = np.zeros(mask.shape, dtype=np.float32)
    if mask.any():
        box = box_of(mask, 0.0, grid)  # one voxel wider than the mask, so its borders are in it
        depth[box] = edt.edt(
            np.ascontiguousarray(mask[box]), anisotropy=grid.spacing_mm[::-1], black_border=False, parallel=2
        )
    return depth


def distance_mm(mask: NDArray[np.bool_], grid: Grid) -> NDArray[np.float32]:
    """(Z, Y, X) float32: distance of each voxel outside a mask to it, mm; 0 inside, infinite from an empty mask.

    Where only a limit matters, ``vlm.anatomy.ball.grown`` says the same in a tenth of the time.
    """
    if not mask.any():
        return np.full(mask.shape, np.inf, dtype=np.float32)
    return depth_mm(~mask, grid)


def closed_mm(mask: NDArray[np.bool_], radius_mm: float, grid: Grid) -> NDArray[np.bool_]:
    """A mask closed by a ball and filled slice by slice; a gap at the edge of the scan stays open."""
    return filled(closed(mask, radius_mm, grid))


def filled(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: the mask with the holes of each slice, which no way within the slice joins to its edge."""
    if not mask.any():
        return mask.copy()
    box = box_of(mask, 0.0, Grid(mask.T.shape, np.eye(4)))
    labels, count = ndimage.label(~mask[box], IN_SLICE)
    outside = np.zeros(count + 1, dtype=bool)
    for side in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1]):
        outside[np.unique(side)] = True
    outside[0] = False
    out = mask.copy()
    out[box] = ~outside[labels]
    return out
