"""The patient without table, blanket and clothes.

In: an open case. Out: one filled mask on the case's working grid. It works on scans that
are cropped to the skin or cut by the field of view: outside is what real air reaches from
the border of a slice, so a lung that the border cuts stays inside.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.ct.volume import Mask
from vlm.evidence import Case, once

TISSUE_HU = -300  # between lung and fat, so that skin and fat count as body
OUTSIDE_AIR_HU = -950  # mean of a patch of room air lies below; of lung above, short of bullae
NARROWEST_MM = 8.0  # gaps under this are not followed: nostrils, folds of skin
CUT_LUNG_MM2 = 800.0  # smaller gaps beside the room are folds of clothes
LOOSE_MM = 4.0  # sheets and wires thinner than this fall off


@once
def body(case: Case) -> Mask:
    """The patient's body, holes filled slice by slice; empty when nothing denser than fat is there."""
    working = case.working
    hu = working.hu.T  # (Z, Y, X), C-ordered
    _, y, x = working.grid.spacing_mm[::-1]
    tissue = hu > TISSUE_HU
    loose = _disk(LOOSE_MM / 2, (y, x))
    kept = _largest(ndimage.binary_opening(tissue, loose[None]))
    if not kept.any():
        return Mask("body", np.zeros(working.grid.shape, dtype=bool, order="F"), working.grid)
    # The largest piece after opening, with what opening shaved off it.
    kept = ndimage.binary_dilation(kept, loose[None]) & tissue
    wide = _disk(NARROWEST_MM / 2, (y, x))
    room = _room_air(hu, kept, wide)
    return Mask("body", _filled(kept, room, wide, y * x).T, working.grid)


def _room_air(hu: NDArray[np.int16], kept: NDArray[np.bool_], wide: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: air that reaches the side borders of the slices by ways wider than ``wide``."""
    smooth = ndimage.uniform_filter(hu, size=(3, 5, 5), mode="nearest")
    air = (smooth < OUTSIDE_AIR_HU) & ~kept
    # Air beyond the border is open: an eroded rim must not be lost there.
    opened = ndimage.binary_erosion(air, wide[None], border_value=1)
    labels: NDArray[np.uint32] = cc3d.connected_components(opened, connectivity=6)
    rim = np.concatenate([np.unique(side) for side in (labels[:, 0], labels[:, -1], labels[:, :, 0], labels[:, :, -1])])
    outside = np.zeros(int(labels.max()) + 1, dtype=bool)
    outside[rim] = True
    outside[0] = False
    room: NDArray[np.bool_] = outside[labels]
    return room


def _filled(
    kept: NDArray[np.bool_], room: NDArray[np.bool_], wide: NDArray[np.bool_], pixel_mm2: float
) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: ``kept`` with every hole of a slice that no room air reaches.

    A lung that the border of the field of view, or padding, cuts open meets the room on one side
    and has tissue on the three others; the soft rim of skin and clothes has not.
    """
    near = ndimage.binary_dilation(room, wide[None])
    gaps = ndimage.binary_opening(~kept & ~near, wide[None])
    enclosed = _walls(kept) >= 3
    out = np.empty_like(kept)
    for k in range(kept.shape[0]):
        if not kept[k].any():
            out[k] = False
            continue
        pieces, many = ndimage.label(gaps[k])
        area = np.bincount(pieces.ravel(), minlength=many + 1)
        walled = np.bincount(pieces.ravel(), weights=enclosed[k].ravel(), minlength=many + 1)
        lung = (walled > 0.6 * area) & (area * pixel_mm2 > CUT_LUNG_MM2)
        lung[0] = False
        labels, count = ndimage.label(~(kept[k] | lung[pieces]))
        inside = np.ones(count + 1, dtype=bool)
        inside[np.unique(labels[room[k]])] = False
        inside[0] = True
        out[k] = inside[labels]
    return out


def _walls(kept: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(Z, Y, X) uint8: on how many of its four sides in the slice a voxel has tissue somewhere."""
    count = np.zeros(kept.shape, dtype=np.uint8)
    for axis in (1, 2):
        count += np.maximum.accumulate(kept, axis=axis)
        count += np.flip(np.maximum.accumulate(np.flip(kept, axis), axis=axis), axis)
    return count


def _largest(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The largest connected piece of a mask."""
    return np.asarray(cc3d.largest_k(mask, k=1, connectivity=6) > 0)


def _disk(radius_mm: float, spacing_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """A filled circle as a structuring element; spacing is (y, x), mm."""
    ry, rx = (int(radius_mm / step) for step in spacing_mm)
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    inside: NDArray[np.bool_] = (y * spacing_mm[0]) ** 2 + (x * spacing_mm[1]) ** 2 <= radius_mm**2 + 1e-6
    return inside
