"""What a learned label map must keep to before it is believed: rules of anatomy, each with its reason in words.

In: a case and what a network drew of each structure. Out: the same, cleaned (one component, own side, nothing that
hangs on it by a thin neck), and why a structure is not believed: wrong side, far from all its neighbours, out of the
order from head to foot, of a volume or a density that no adult has. Ranges are far wider than normal ones, so that
disease is not taken for an error.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import grown, opened
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Grid
from vlm.evidence import Case

Bools = NDArray[np.bool_]

MANY = frozenset({
    "vertebrae", "ribs", "colon", "small_bowel", "gluteus", "autochthon", "iliopsoas", "hip", "femur",
    "portal_vein_and_splenic_vein",
})  # fmt: skip
CRUMB_ML = 1.0  # pieces of those that are smaller fall off
# What hangs on an organ by a neck thinner than twice this is a neighbour. More than 3 mm cuts cysts off kidneys; an
# aorta that was drawn thin somewhere would lose its other half.
NECK_MM: Mapping[str, float] = {
    "kidney_right": 3.0, "kidney_left": 3.0, "heart": 5.0, "liver": 3.0, "spleen": 3.0, "stomach": 3.0,
}  # fmt: skip
SKIN = 0.6  # of that radius: how far from what is thick its rounded border may lie
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


@dataclass(frozen=True, slots=True)
class Part:
    """What was drawn of one structure, in a box that holds it: ``voxels`` is of ``box``, its indices of the grid."""

    box: tuple[slice, slice, slice]
    voxels: Bools

    def __bool__(self) -> bool:
        return bool(self.voxels.any())

    def on(self, shape: tuple[int, int, int]) -> Bools:
        """On the whole grid."""
        out = np.zeros(shape, dtype=bool, order="F")
        out[self.box] = self.voxels
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Believed:
    """Cleaned structures by name, and of those that are not believed the reason."""

    parts: Mapping[str, Part]
    doubts: Mapping[str, str]


def parts(labels: NDArray[np.uint8], names: Mapping[int, str]) -> dict[str, Part]:
    """Every structure of a label map (X, Y, Z) that has a voxel, in the smallest box that holds it."""
    boxes = ndimage.find_objects(labels)
    return {
        name: Part(box, labels[box] == number)
        for number, name in names.items()
        if number <= len(boxes) and (box := boxes[number - 1]) is not None
    }


def believe(case: Case, drawn: Mapping[str, Part]) -> Believed:
    """Clean what a network drew on ``case.working`` and say which of it anatomy contradicts."""
    grid, middle = case.working.grid, midline(case, drawn)
    cleaned: dict[str, Part] = {}
    doubts: dict[str, str] = {}
    trusted = "density_withheld" not in case.volume.scan.limits
    for name, part in drawn.items():
        kept = without_necks(name, one_component(name, own_side(name, part, middle, grid), grid), grid)
        cleaned[name] = kept
        if part:
            doubt = wrong_side(name, part, kept, middle, grid) or volume(name, kept, grid)
            doubt = doubt or (density(name, case.working.hu[kept.box][kept.voxels]) if trusted else "")
            if doubt:
                doubts[name] = doubt
    for judge in (out_of_order, strangers):
        sound = {name: part for name, part in cleaned.items() if part and name not in doubts}
        doubts |= judge(sound, grid)
    return Believed(parts=cleaned, doubts=doubts)


def midline(case: Case, drawn: Mapping[str, Part]) -> NDArray[np.float64]:
    """(Z,) voxel index along x of the midline: the spinal canal, else the middle of all that was drawn."""
    grid, axis = case.working.grid, spine(case)
    if axis.found:
        along: NDArray[np.float64] = grid.to_ijk(axis.canal_mm)[:, 0]
        return np.where(axis.good, along, np.median(along[axis.good]))
    columns = [np.flatnonzero(part.voxels.any(axis=(1, 2))) + part.box[0].start for part in drawn.values() if part]
    middle = np.unique(np.concatenate(columns)).mean() if columns else grid.shape[0] / 2
    return np.full(grid.shape[2], middle)


def _to_right_mm(middle: NDArray[np.float64], box: tuple[slice, slice, slice], grid: Grid) -> NDArray[np.float64]:
    """(X, 1, Z) of a box: how far right of the midline a voxel lies, mm."""
    right, _, up = box
    columns = np.arange(right.start, right.stop)[:, None]
    away: NDArray[np.float64] = (columns - middle[None, up]) * grid.spacing_mm[0]
    return away[:, None, :]


def own_side(name: str, part: Part, middle: NDArray[np.float64], grid: Grid) -> Part:
    """A structure that is named after a side, without what lies on the other."""
    if not name.endswith(("_right", "_left")):
        return part
    right = _to_right_mm(middle, part.box, grid)
    return Part(part.box, part.voxels & (right > -ACROSS_MM if name.endswith("_right") else right < ACROSS_MM))


def one_component(name: str, part: Part, grid: Grid) -> Part:
    """The largest piece; of structures of many pieces all but crumbs."""
    if not part:
        return part
    if name in MANY:
        least = max(2, round(CRUMB_ML / grid.voxel_ml))
        voxels = part.voxels.view(np.uint8)  # cc3d counts too few labels in thin boxes of bools
        return Part(part.box, np.asarray(cc3d.dust(voxels, threshold=least, connectivity=26) > 0))
    return Part(part.box, np.asarray(cc3d.largest_k(part.voxels, k=1, connectivity=6) > 0))


def without_necks(name: str, part: Part, grid: Grid) -> Part:
    """A structure without what hangs on it by a thin neck; as it is where all of it is thin."""
    radius = NECK_MM.get(name)
    if radius is None or not part:
        return part
    roomy = _with_room(part, grid)
    thick = cc3d.largest_k(opened(roomy.voxels.T, radius, grid), k=1, connectivity=6) > 0
    return Part(roomy.box, roomy.voxels & grown(thick, SKIN * radius, grid).T) if thick.any() else part


def _with_room(part: Part, grid: Grid) -> Part:
    """The same in a box one voxel wider, save where the grid ends: there the structure may go on, elsewhere not."""
    room = [(int(along.start > 0), int(along.stop < size)) for along, size in zip(part.box, grid.shape, strict=True)]
    right, front, up = (
        slice(along.start - low, along.stop + high) for along, (low, high) in zip(part.box, room, strict=True)
    )
    return Part((right, front, up), np.pad(part.voxels, room))


def wrong_side(name: str, part: Part, kept: Part, middle: NDArray[np.float64], grid: Grid) -> str:
    """Why its side speaks against it; "" where it does not."""
    count = int(kept.voxels.sum())
    if name.endswith(("_right", "_left")):
        lost = 2 * count < int(part.voxels.sum())
        return "most of what was drawn lies on the other side, or in pieces" if lost else ""
    if name not in RIGHT | LEFT:
        return ""
    right = kept.voxels & (_to_right_mm(middle, kept.box, grid) > 0)
    share = float(right.sum()) / max(count, 1)
    share = share if name in RIGHT else 1 - share
    return "" if share >= OWN_SIDE else f"only {share:.0%} of it lies on the side where it belongs"


def volume(name: str, kept: Part, grid: Grid) -> str:
    """Why its volume speaks against it; "" where it does not."""
    least, most = VOLUME_ML.get(name, (0.0, np.inf))
    ml = float(kept.voxels.sum()) * grid.voxel_ml
    if ml > most or (ml < least and not _ends(kept, grid)):
        return f"{ml:.0f} ml is not the volume of an adult's"
    return f"a piece of {ml:.0f} ml at the end of the scan is too small to be told" if ml < PIECE_SHARE * least else ""


def _ends(part: Part, grid: Grid) -> bool:
    """Whether it reaches the border of the grid."""
    for axis, (along, size) in enumerate(zip(part.box, grid.shape, strict=True)):
        sides = np.moveaxis(part.voxels, axis, 0)
        if (along.start == 0 and sides[0].any()) or (along.stop == size and sides[-1].any()):
            return True
    return False


def density(name: str, hu: NDArray[np.int16]) -> str:
    """Why its densities (N,), HU, speak against it; "" where they do not."""
    if name not in DENSITY_HU or not hu.size:
        return ""
    least, most = DENSITY_HU[name]
    middle = float(np.median(hu))
    return "" if least <= middle <= most else f"{middle:.0f} HU is not its density in any contrast phase"


def out_of_order(found: Mapping[str, Part], grid: Grid) -> dict[str, str]:
    """Structures whose middles are not in the order from head to foot."""
    up = grid.spacing_mm[2] * (1.0 if grid.affine[2, 2] > 0 else -1.0)
    middles = {}
    for name in {name for pair in ORDER for name in pair}.intersection(found):
        part = found[name]
        area = part.voxels.sum(axis=(0, 1))
        middles[name] = (part.box[2].start + float((area * np.arange(area.size)).sum() / area.sum())) * up
    doubts = {}
    for above, below in ORDER:
        if above in middles and below in middles and middles[above] < middles[below] - ORDER_MM:
            loser, other = sorted((above, below), key=SURE.index, reverse=True)
            doubts[loser] = f"it lies {'below' if loser == above else 'above'} the {other.replace('_', ' ')}"
    return doubts


def strangers(found: Mapping[str, Part], grid: Grid) -> dict[str, str]:
    """Structures that lie far from all the neighbours of theirs that were drawn."""
    doubts = {}
    for name, (reach, others) in NEIGHBOURS.items():
        near = [found[other] for other in others if found.get(other)]
        if name in found and found[name] and near and not _beside(found[name], near, reach, grid):
            doubts[name] = f"it lies more than {reach:.0f} mm from the nearest of its neighbours"
    return doubts


def _beside(part: Part, others: Sequence[Part], reach_mm: float, grid: Grid) -> bool:
    """Whether any voxel of other structures lies within a reach of a structure; every second voxel is asked."""
    more = [int(reach_mm / step) + 2 for step in grid.spacing_mm]
    starts = [max(0, along.start - n) // 2 * 2 for along, n in zip(part.box, more, strict=True)]
    stops = [min(size, along.stop + n) for along, n, size in zip(part.box, more, grid.shape, strict=True)]
    field = (stops[0] - starts[0], stops[1] - starts[1], stops[2] - starts[2])

    def seen(each: Part) -> Bools:
        whole = np.zeros(field, dtype=bool)
        to, of = [], []
        for along, start, size in zip(each.box, starts, field, strict=True):
            low, high = max(along.start - start, 0), min(along.stop - start, size)
            to.append(slice(low, max(low, high)))
            of.append(slice(low + start - along.start, max(low, high) + start - along.start))
        whole[tuple(to)] = each.voxels[tuple(of)]
        return whole[::2, ::2, ::2]

    mine, theirs = seen(part), np.logical_or.reduce([seen(other) for other in others])
    if not theirs.any():
        return not mine.any()
    step_x, step_y, step_z = (2 * step for step in grid.spacing_mm)
    away = edt.edt(~theirs, anisotropy=(step_x, step_y, step_z), parallel=1)
    return not mine.any() or float(away[mine].min()) <= reach_mm
