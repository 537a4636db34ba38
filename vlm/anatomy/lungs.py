"""Left and right lung, by rules.

In: an open case. Out: aerated lung of each side on the working grid (vessels and bronchi inside
it included, trachea and main bronchi left out), the space in which a nodule may lie, and how
much of each lung the scan covers. Gas in bowel, stomach or sinuses is not lung. Air in the
pleural space is not told apart here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import closed_mm, distance_mm, lung_air, lung_pieces
from vlm.anatomy.airways import Airways, airways
from vlm.anatomy.ball import box_of, shrunk
from vlm.anatomy.body import body
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, once

LungSide = Literal["left", "right"]
SIDES: tuple[LungSide, LungSide] = ("right", "left")

VESSEL_MM = 5.0  # closing radius: vessels inside the lung belong to it, hilar trunks do not
SPACE_MM = 18.0  # closing radius of the search space: nodules to 36 mm at any border, larger ones mostly
CUT_MM2 = 600.0  # of a lung's border at the edge of the field of view: less is the rim of a rib space
LUNG_HEIGHT_MM = 230.0  # of an adult, apex to costophrenic recess, supine inspiration; for scans that cut the lung


@dataclass(frozen=True, slots=True, kw_only=True)
class Lungs:
    """Both lungs on the working grid; a side that is not in the scan has an empty mask."""

    right: Mask
    left: Mask
    right_space: Mask  # lung plus what its closed hull holds: nodules at the border, hilum, masses
    left_space: Mask
    covered: Mapping[LungSide, float]  # share of each lung in the field of view, an estimate when cut
    apex_covered: Mapping[LungSide, bool]
    base_covered: Mapping[LungSide, bool]
    midline_mm: float  # x of the midline, RAS

    @property
    def both(self) -> Mask:
        """Right and left together."""
        return Mask("lungs", self.right.voxels | self.left.voxels, self.right.grid)

    @property
    def present(self) -> tuple[LungSide, ...]:
        """Sides with lung in the scan."""
        return tuple(side for side in SIDES if self.of(side))

    def of(self, side: LungSide) -> Mask:
        """The lung of one side."""
        return self.right if side == "right" else self.left

    def space(self, side: LungSide) -> Mask:
        """The search space of one side."""
        return self.right_space if side == "right" else self.left_space


@once
def lungs(case: Case) -> Lungs:
    """Right and left aerated lung, their search space and coverage."""
    grid = case.working.grid
    hu = case.working.hu.T  # (Z, Y, X)
    inside = body(case).voxels.T
    tree = airways(case)
    air = lung_air(case)
    if tree.found:
        air = air & ~ndimage.binary_dilation(tree.mask.voxels.T, iterations=1)
        air = lung_pieces(air, hu, grid)
    middle = midline(case)
    sides = _split(air, middle, grid)
    closed = {side: closed_mm(mask, VESSEL_MM, grid) & inside & ~tree.trachea.voxels.T for side, mask in sides.items()}
    closed["left"] &= ~closed["right"]
    spaces = {side: closed_mm(mask, SPACE_MM, grid) & inside for side, mask in closed.items()}
    spaces["left"] &= ~closed["right"]
    spaces["right"] &= ~closed["left"]
    covered, apex, base = {}, {}, {}
    unseen = None if case.working.padding is None else case.working.padding.T
    for side in SIDES:
        covered[side], apex[side], base[side] = _coverage(closed[side], grid)
        covered[side] *= 1.0 - _cut_share(closed[side], unseen, grid)
    return Lungs(
        right=Mask("lung_right", closed["right"].T, grid),
        left=Mask("lung_left", closed["left"].T, grid),
        right_space=Mask("lung_space_right", spaces["right"].T, grid),
        left_space=Mask("lung_space_left", spaces["left"].T, grid),
        covered=covered,
        apex_covered=apex,
        base_covered=base,
        midline_mm=middle,
    )


@once
def outline(case: Case) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: the convex outline of both lungs, slice by slice; outside lies the chest wall."""
    from skimage.morphology import convex_hull_image

    both = lungs(case).both.voxels.T
    out = np.zeros_like(both)
    for k in np.flatnonzero(both.any(axis=(1, 2))):
        rows, columns = (np.flatnonzero(both[k].any(axis=axis)) for axis in (1, 0))
        box = k, slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
        out[box] = convex_hull_image(both[box])
    return out


@once
def midline(case: Case) -> float:
    """x of the midline, RAS mm: the carina or trachea, else the spine, else the middle of the body."""
    tree: Airways = airways(case)
    if tree.carina_mm is not None:
        return tree.carina_mm[0]
    grid = case.working.grid
    bone = case.working.hu.T > 180  # dense enough for cortical and most cancellous bone in 2 mm blocks
    bone &= body(case).voxels.T
    share = ndimage.uniform_filter(bone.mean(axis=0, dtype=np.float32), size=9)  # (Y, X): how upright a column is
    if share.max() > 0.3:
        y, x = np.unravel_index(int(share.argmax()), share.shape)
        return float(grid.to_mm([x, y, 0])[0])
    columns = np.flatnonzero(body(case).voxels.any(axis=(1, 2)))
    middle = float(columns.mean()) if columns.size else grid.shape[0] / 2
    return float(grid.to_mm([middle, 0, 0])[0])


def _split(lung: NDArray[np.bool_], middle_mm: float, grid: Grid) -> dict[LungSide, NDArray[np.bool_]]:
    """Each piece to its side; a piece that is both lungs is cut where it is narrowest."""
    out: dict[LungSide, NDArray[np.bool_]] = {side: np.zeros_like(lung) for side in SIDES}
    if not lung.any():
        return out
    middle = float(grid.to_ijk([middle_mm, 0.0, 0.0])[0])
    for erode_mm in (0.0, 2.0, 4.0, 6.0, 9.0, 12.0, 16.0):
        core = shrunk(lung, erode_mm, grid) if erode_mm else lung
        labels: NDArray[np.uint32] = cc3d.connected_components(core, connectivity=6)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        right, left, mixed = _sides(labels, sizes, middle)
        if not mixed:
            break
    is_right, is_left = right[labels], left[labels]
    if not is_right.any() or not is_left.any():
        out["right" if is_right.any() else "left"] = lung.copy()
        return out
    box = box_of(lung, 0.0, grid)
    nearer_right = distance_mm(is_right[box], grid) <= distance_mm(is_left[box], grid)
    out["right"][box] = lung[box] & nearer_right
    out["left"][box] = lung[box] & ~nearer_right
    return out


def _sides(
    labels: NDArray[np.uint32], sizes: NDArray[np.intp], middle: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_], bool]:
    """Which labels lie right and left of the midline, and whether a large one lies on both sides."""
    above = np.zeros(sizes.size)
    first = max(0, min(labels.shape[2], round(middle)))
    above[:] = np.bincount(labels[:, :, first:].ravel(), minlength=sizes.size)
    above[0] = 0
    share = above / np.maximum(sizes, 1)
    right = (share >= 0.5) & (sizes > 0)
    left = (share < 0.5) & (sizes > 0)
    large = sizes > 0.2 * sizes.sum()
    mixed = bool((large & (share > 0.15) & (share < 0.85)).any())
    return right, left, mixed


def _cut_share(lung: NDArray[np.bool_], unseen: NDArray[np.bool_] | None, grid: Grid) -> float:
    """How much of a lung's border within the slices is the edge of the field of view, or padding; 0 for a sliver.

    An estimate of what lies beyond: a lung cut in half has about a third of its border there.
    """
    beyond = np.ones((3, 3), dtype=bool)[None]
    field = np.ones_like(lung) if unseen is None else ~unseen
    inner = ndimage.binary_erosion(field, beyond, border_value=0)
    cut = lung & ~inner
    if np.count_nonzero(cut) * grid.spacing_mm[0] * grid.spacing_mm[2] < CUT_MM2:
        return 0.0
    border = lung & ~ndimage.binary_erosion(lung, beyond, border_value=0)
    return float(np.count_nonzero(cut)) / max(1, int(np.count_nonzero(border)))


def _coverage(lung: NDArray[np.bool_], grid: Grid) -> tuple[float, bool, bool]:
    """Share of one lung in the field of view, and whether its apex and its base are."""
    if not lung.any():
        return 0.0, False, False
    levels = np.flatnonzero(lung.any(axis=(1, 2)))
    apex = bool(levels[-1] < lung.shape[0] - 1)
    base = bool(levels[0] > 0)
    height = (levels[-1] - levels[0] + 1) * grid.spacing_mm[2]
    covered = 1.0 if apex and base else min(0.97, float(height / LUNG_HEIGHT_MM))
    return covered, apex, base
