"""What a learned label map must keep to before it is believed: rules of anatomy, each with its reason in words.

In: a case and one mask a structure, as a network drew them. Out: the masks cleaned (one component, own side), and why a
structure is not believed: wrong side, far from all its neighbours, out of the order from head to foot, of a volume or a
density that no adult has. Ranges are far wider than normal ones, so that disease is not taken for an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Grid
from vlm.evidence import Case

Bools = NDArray[np.bool_]

MANY = frozenset({
    "vertebrae", "ribs", "colon", "small_bowel", "gluteus", "autochthon", "iliopsoas", "hip", "femur",
    "portal_vein_and_splenic_vein",
})  # fmt: skip
CRUMB_ML = 1.0  # pieces of those that are smaller fall off
RIGHT, LEFT = (
    frozenset({"liver", "gallbladder"}),
    frozenset({"spleen", "stomach"}),
)  # in nearly everyone; besides _right
ACROSS_MM = 12.0  # what is named after a side may reach so far over the midline
OWN_SIDE = 0.6  # share of its voxels on its own side, for what lies on one side in nearly everyone

# Least and most of an adult, mL, disease included; the least holds where nothing is cut, a part of it where one ends.
VOLUME_ML: Mapping[str, tuple[float, float]] = {
    "liver": (400, 5500), "spleen": (20, 4000), "kidney_right": (25, 900), "kidney_left": (25, 900),
    "stomach": (20, 4000), "gallbladder": (2, 500), "pancreas": (8, 400), "urinary_bladder": (5, 2500),
    "aorta": (15, 1500), "inferior_vena_cava": (8, 300), "heart": (150, 2500), "lung_right": (150, 5500),
    "lung_left": (100, 5000), "esophagus": (3, 200), "trachea": (8, 150), "spinal_cord": (5, 150), "prostate": (4, 400),
}  # fmt: skip
PIECE_SHARE = 0.2  # of the least: a smaller piece at the end of a scan could be anything
# Median density in any contrast phase, HU: fat liver to blood in the first pass.
DENSITY_HU: Mapping[str, tuple[float, float]] = {
    "liver": (-30, 260), "spleen": (15, 400), "kidney_right": (-5, 450), "kidney_left": (-5, 450),
    "gallbladder": (-30, 400), "pancreas": (-60, 250), "urinary_bladder": (-20, 1500), "aorta": (5, 900),
    "inferior_vena_cava": (0, 600), "heart": (0, 600), "lung_right": (-1000, -250), "lung_left": (-1000, -250),
    "trachea": (-1024, -700), "vertebrae": (30, 900), "spinal_cord": (-20, 150), "prostate": (-10, 200),
}  # fmt: skip
# A structure lies within so many mm of one of these, where any of them was drawn.
NEIGHBOURS: Mapping[str, tuple[float, tuple[str, ...]]] = {
    "liver": (30, ("lung_right", "kidney_right", "heart", "stomach")),
    "spleen": (40, ("stomach", "kidney_left", "lung_left")),
    "kidney_right": (70, ("vertebrae", "iliopsoas", "autochthon")),
    "kidney_left": (70, ("vertebrae", "iliopsoas", "autochthon")),
    "stomach": (40, ("liver", "spleen", "lung_left", "pancreas")),
    "gallbladder": (15, ("liver",)),
    "pancreas": (40, ("stomach", "small_bowel", "portal_vein_and_splenic_vein")),
    "urinary_bladder": (60, ("hip", "sacrum", "prostate")),
    "aorta": (35, ("vertebrae",)),
    "inferior_vena_cava": (50, ("vertebrae", "liver")),
    "heart": (25, ("lung_left", "lung_right")),
    "prostate": (25, ("urinary_bladder",)),
    "spinal_cord": (15, ("vertebrae",)),
}  # fmt: skip
# Middles from head to foot. Of a pair in the wrong order the one that stands later in SURE is not believed.
ORDER = (
    ("lung_right", "kidney_right"), ("lung_left", "kidney_left"), ("lung_right", "liver"), ("lung_left", "spleen"),
    ("heart", "liver"), ("heart", "spleen"), ("heart", "stomach"), ("heart", "kidney_left"), ("heart", "kidney_right"),
    ("liver", "urinary_bladder"), ("kidney_right", "urinary_bladder"), ("kidney_left", "urinary_bladder"),
    ("spleen", "urinary_bladder"), ("urinary_bladder", "prostate"), ("liver", "prostate"), ("trachea", "liver"),
)  # fmt: skip
SURE = ("lung_right", "lung_left", "liver", "heart", "kidney_right", "kidney_left", "spleen", "trachea", "stomach",
        "urinary_bladder", "prostate")  # fmt: skip
ORDER_MM = 10.0  # by which a middle may be out of order


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """Cleaned masks (X, Y, Z) by name, and of those that are not believed the reason."""

    masks: Mapping[str, Bools]
    doubts: Mapping[str, str]


def believe(case: Case, drawn: Mapping[str, Bools]) -> Believed:
    """Clean the masks of a network on ``case.working`` and say which of them anatomy contradicts."""
    grid, middle = case.working.grid, midline(case, drawn)
    masks: dict[str, Bools] = {}
    doubts: dict[str, str] = {}
    for name, voxels in drawn.items():
        kept = one_component(name, own_side(name, voxels, middle, grid), grid)
        masks[name] = kept
        if voxels.any():
            tests = (wrong_side(name, voxels, kept, middle, grid), volume(name, kept, grid), density(name, kept, case))
            doubt = next((word for word in tests if word), "")
            if doubt:
                doubts[name] = doubt
    for judge in (out_of_order, strangers):
        sound = {name: voxels for name, voxels in masks.items() if voxels.any() and name not in doubts}
        doubts |= judge(sound, grid)
    return Believed(masks=masks, doubts=doubts)


def midline(case: Case, drawn: Mapping[str, Bools]) -> NDArray[np.float64]:
    """(Z,) voxel index along x of the midline: the spinal canal, else the middle of all that was drawn."""
    grid, axis = case.working.grid, spine(case)
    if axis.found:
        along: NDArray[np.float64] = grid.to_ijk(axis.canal_mm)[:, 0]
        return np.where(axis.good, along, np.median(along[axis.good]))
    columns = np.flatnonzero(np.any([voxels.any(axis=(1, 2)) for voxels in drawn.values()], axis=0))
    return np.full(grid.shape[2], columns.mean() if columns.size else grid.shape[0] / 2)


def _to_right_mm(middle: NDArray[np.float64], grid: Grid) -> NDArray[np.float64]:
    """(X, 1, Z) how far right of the midline a voxel lies, mm."""
    away: NDArray[np.float64] = (np.arange(grid.shape[0])[:, None] - middle[None]) * grid.spacing_mm[0]
    return away[:, None, :]


def own_side(name: str, voxels: Bools, middle: NDArray[np.float64], grid: Grid) -> Bools:
    """A structure that is named after a side, without what lies on the other."""
    if not name.endswith(("_right", "_left")):
        return voxels
    right = _to_right_mm(middle, grid)
    return voxels & (right > -ACROSS_MM if name.endswith("_right") else right < ACROSS_MM)


def one_component(name: str, voxels: Bools, grid: Grid) -> Bools:
    """The largest piece; of structures of many pieces all but crumbs."""
    if not voxels.any():
        return voxels
    if name in MANY:
        return np.asarray(cc3d.dust(voxels, threshold=max(2, round(CRUMB_ML / grid.voxel_ml)), connectivity=26) > 0)
    return np.asarray(cc3d.largest_k(voxels, k=1, connectivity=6) > 0)


def wrong_side(name: str, voxels: Bools, kept: Bools, middle: NDArray[np.float64], grid: Grid) -> str:
    """Why its side speaks against it; "" where it does not."""
    if name.endswith(("_right", "_left")):
        return "" if 2 * kept.sum() >= voxels.sum() else "most of what was drawn lies on the other side, or in pieces"
    if name not in RIGHT | LEFT:
        return ""
    right = np.broadcast_to(_to_right_mm(middle, grid) > 0, kept.shape)
    share = float(right[kept].mean()) if kept.any() else 0.0
    share = share if name in RIGHT else 1 - share
    return "" if share >= OWN_SIDE else f"only {share:.0%} of it lies on the side where it belongs"


def volume(name: str, kept: Bools, grid: Grid) -> str:
    """Why its volume speaks against it; "" where it does not."""
    least, most = VOLUME_ML.get(name, (0.0, np.inf))
    ml = float(kept.sum()) * grid.voxel_ml
    ends = any(kept[0].any() or kept[-1].any() for kept in (kept, kept.swapaxes(0, 1), kept.swapaxes(0, 2)))
    if ml > most or (ml < least and not ends):
        return f"{ml:.0f} ml is not the volume of an adult's"
    return f"a piece of {ml:.0f} ml at the end of the scan is too small to be told" if ml < PIECE_SHARE * least else ""


def density(name: str, kept: Bools, case: Case) -> str:
    """Why its density speaks against it; "" where it does not, or where the scan's densities are withheld."""
    if name not in DENSITY_HU or not kept.any() or "density_withheld" in case.volume.scan.limits:
        return ""
    least, most = DENSITY_HU[name]
    middle = float(np.median(case.working.hu[kept]))
    return "" if least <= middle <= most else f"{middle:.0f} HU is not its density in any contrast phase"


def out_of_order(masks: Mapping[str, Bools], grid: Grid) -> dict[str, str]:
    """Structures whose middles are not in the order from head to foot."""
    up = 1.0 if grid.affine[2, 2] > 0 else -1.0
    heights = np.arange(grid.shape[2]) * grid.spacing_mm[2] * up
    middles = {}
    for name in {name for pair in ORDER for name in pair}.intersection(masks):
        area = masks[name].sum(axis=(0, 1))
        middles[name] = float((area * heights).sum() / area.sum())
    doubts = {}
    for above, below in ORDER:
        if above in middles and below in middles and middles[above] < middles[below] - ORDER_MM:
            loser, other = sorted((above, below), key=SURE.index, reverse=True)
            doubts[loser] = f"it lies {'below' if loser == above else 'above'} the {other.replace('_', ' ')}"
    return doubts


def strangers(masks: Mapping[str, Bools], grid: Grid) -> dict[str, str]:
    """Structures that lie far from all the neighbours of theirs that were drawn."""
    coarse = {name: voxels[::2, ::2, ::2] for name, voxels in masks.items()}
    step_x, step_y, step_z = (2 * step for step in grid.spacing_mm)
    doubts = {}
    for name, (reach, neighbours) in NEIGHBOURS.items():
        near = [coarse[other] for other in neighbours if other in coarse and coarse[other].any()]
        if name not in coarse or not coarse[name].any() or not near:
            continue
        away = edt.edt(~np.logical_or.reduce(near), anisotropy=(step_x, step_y, step_z))
        gap = float(away[coarse[name]].min())
        if gap > reach:
            doubts[name] = f"it lies {gap:.0f} mm from the nearest of its neighbours"
    return doubts
