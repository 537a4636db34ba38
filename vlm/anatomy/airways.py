"""Trachea, carina and bronchi.

In: an open case. Out: the central airways on the working grid (what the lungs leave out) and
the tree on a finer grid, as far as it can be followed before the air leaks into the lung.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import lung_air
from vlm.anatomy.body import body
from vlm.ct.volume import Grid, Mask, Point, as_point
from vlm.evidence import Case, once

LUMEN_HU = -800  # the trachea's lumen in 2 mm blocks lies below, its wall and the lung's mean above
TRACHEA_MM2 = (50.0, 900.0)  # 8 to 34 mm across: adult trachea 10-27 mm (Breatnach 1984), tracheomegaly, children
TRACHEA_MIN_MM = 24.0  # a shorter run of round air in the middle is not called a trachea
ABOVE_BASE = 0.3  # the trachea ends above this share of the lungs' height; gas in the colon lies below
STEPS_HU = tuple(range(-980, -740, 20))  # thresholds tried, tightest first, until the tree leaks
TREE_MAX_ML = 180.0  # trachea and bronchi of a large man in inspiration; lungs hold litres
LEAK_RATIO = 1.8  # a step that grows the tree by this much has reached the lung


@dataclass(frozen=True, slots=True, kw_only=True)
class Airways:
    """The air-filled tree. ``carina_mm`` is None where the scan does not show the fork."""

    mask: Mask  # lumen of trachea and bronchi, on the working grid
    trachea: Mask  # the part above the carina, or all of the trunk where there is no carina
    carina_mm: Point | None

    @property
    def found(self) -> bool:
        """True when a trachea was found."""
        return bool(self.trachea)


@once
def airways(case: Case) -> Airways:
    """Trachea and main bronchi by region growing; masks are empty when no trachea is found."""
    grid = case.working.grid
    hu = case.working.hu.T
    inside = body(case).voxels.T
    trunk = _trachea(hu, inside, lung_air(case), grid)
    if not trunk.any():
        nothing = np.zeros(grid.shape, dtype=bool, order="F")
        return Airways(mask=Mask("airways", nothing, grid), trachea=Mask("trachea", nothing, grid), carina_mm=None)
    tree = _grown(hu, inside, trunk, grid.voxel_ml)
    carina = _carina(tree, trunk, grid)
    trachea = _beside(tree, trunk)
    if carina is not None:
        trachea[: round(float(grid.to_ijk(carina)[2])) + 1] = False
    return Airways(
        mask=Mask("airways", tree.T, grid),
        trachea=Mask("trachea", trachea.T, grid),
        carina_mm=carina,
    )


def _trachea(
    hu: NDArray[np.int16], inside: NDArray[np.bool_], lung: NDArray[np.bool_], grid: Grid
) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: the longest upright chain of round pieces of air in the middle of the body."""
    x_mm, y_mm, z_mm = grid.spacing_mm
    levels = np.flatnonzero(lung.any(axis=(1, 2)))
    if levels.size == 0:
        return np.zeros(hu.shape, dtype=bool)
    floor = levels[0] + (ABOVE_BASE * (levels[-1] - levels[0]) if levels[0] > 0 else 0)
    air = inside & (hu < LUMEN_HU)
    pixel_mm2 = x_mm * y_mm
    open_chains: list[list[tuple[int, NDArray[np.bool_], float]]] = []
    done: list[list[tuple[int, NDArray[np.bool_], float]]] = []
    for k in range(hu.shape[0] - 1, int(floor), -1):  # from the head down
        pieces = _round_pieces(air[k], inside[k], pixel_mm2, (y_mm, x_mm))
        still: list[list[tuple[int, NDArray[np.bool_], float]]] = []
        used: set[int] = set()
        for chain in open_chains:
            last = chain[-1][1]
            best = max(range(len(pieces)), key=lambda n: int((pieces[n] & last).sum()), default=None)
            if best is not None and best not in used and (pieces[best] & last).any():
                chain.append((k, pieces[best], float(hu[k][pieces[best]].mean())))
                used.add(best)
                still.append(chain)
            else:
                done.append(chain)
        still.extend([(k, piece, float(hu[k][piece].mean()))] for n, piece in enumerate(pieces) if n not in used)
        open_chains = still
    out = np.zeros(hu.shape, dtype=bool)
    long = [chain for chain in done + open_chains if len(chain) * z_mm >= TRACHEA_MIN_MM and len(chain) >= 3]
    if long:
        for k, piece, _ in max(long, key=len):
            out[k] |= piece
    return out


def _beside(tree: NDArray[np.bool_], trunk: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: the pieces of each slice of the tree that touch the trunk; upper bronchi beside it do not."""
    labels, count = ndimage.label(tree, ndimage.generate_binary_structure(3, 1) & (np.arange(3) == 1)[:, None, None])
    keep = np.zeros(count + 1, dtype=bool)
    keep[np.unique(labels[trunk])] = True
    keep[0] = False
    kept: NDArray[np.bool_] = keep[labels]
    return kept


def _round_pieces(
    air: NDArray[np.bool_], inside: NDArray[np.bool_], pixel_mm2: float, spacing_mm: tuple[float, float]
) -> list[NDArray[np.bool_]]:
    """Pieces of air of one slice that could be a trachea: its size, compact, near the middle of the body."""
    if not air.any():
        return []
    labels, count = ndimage.label(air)
    if count == 0:
        return []
    columns = np.flatnonzero(inside.any(axis=0))
    rows = np.flatnonzero(inside.any(axis=1))
    middle_x, width = (columns[0] + columns[-1]) / 2, columns[-1] - columns[0] + 1
    low, high = TRACHEA_MM2
    pieces = []
    for n, box in enumerate(ndimage.find_objects(labels), start=1):
        piece = labels == n
        area = int(piece[box].sum()) * pixel_mm2
        if not low <= area <= high:
            continue
        size = [(s.stop - s.start) * step for s, step in zip(box, spacing_mm, strict=True)]
        if area < 0.5 * size[0] * size[1] or max(size) > 3.0 * min(size):
            continue
        centre = ((box[0].start + box[0].stop) / 2, (box[1].start + box[1].stop) / 2)
        if abs(centre[1] - middle_x) > 0.15 * width:
            continue
        if not rows[0] + 2 < centre[0] < rows[-1] - 2:
            continue
        pieces.append(piece)
    return pieces


def _grown(
    hu: NDArray[np.int16], inside: NDArray[np.bool_], trunk: NDArray[np.bool_], voxel_ml: float
) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: the largest tree that holds the trunk and has not leaked into the lung."""
    tree = trunk
    for limit in STEPS_HU:
        labels: NDArray[np.uint32] = cc3d.connected_components(inside & (hu < limit), connectivity=6)
        names = np.unique(labels[trunk])
        names = names[names > 0]
        if names.size == 0:
            continue
        keep = np.zeros(int(labels.max()) + 1, dtype=bool)
        keep[names] = True
        grown = keep[labels] | trunk
        ml = int(grown.sum()) * voxel_ml
        if ml > TREE_MAX_ML or (limit > STEPS_HU[0] and ml > LEAK_RATIO * max(int(tree.sum()) * voxel_ml, 10.0)):
            break
        tree = grown
    return tree


def _carina(tree: NDArray[np.bool_], trunk: NDArray[np.bool_], grid: Grid) -> Point | None:
    """The fork of the trachea, RAS mm: the highest slice where the trunk has become two pieces side by side."""
    x_mm, y_mm, _ = grid.spacing_mm
    levels = np.flatnonzero(trunk.any(axis=(1, 2)))
    last = trunk[levels[levels.size // 2]]
    for k in range(int(levels[levels.size // 2]) - 1, -1, -1):
        labels, _ = ndimage.label(tree[k])
        reach = ndimage.binary_dilation(last, iterations=2)
        names = [n for n in np.unique(labels[reach]) if n > 0]
        pieces = [labels == n for n in names if int((labels == n).sum()) * x_mm * y_mm >= 25.0]
        if not pieces:
            return None
        if len(pieces) >= 2:
            centres = np.array([np.argwhere(p).mean(axis=0) for p in pieces])  # (n, 2) y, x
            left, right = centres[centres[:, 1].argmin()], centres[centres[:, 1].argmax()]
            if (right[1] - left[1]) * x_mm >= 10.0:
                y, x = (left + right) / 2
                return as_point(grid.to_mm([x, y, k + 0.5]))
        last = np.logical_or.reduce(pieces)
    return None
