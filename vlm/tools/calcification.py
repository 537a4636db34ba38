"""Calcium in coronary arteries, valves and the wall of the aorta, scored after Agatston.

In: heart, aorta and bones of a Case. Out: for each place the score and volume of calcium, or a Search
with the conditions of scoring that failed; of the heart without contrast only. Calcium at the root of the
aorta and that of valves is only ever possible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import Aorta, aorta
from vlm.anatomy.arch import arch
from vlm.anatomy.ball import grown
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import heart
from vlm.anatomy.lungs import outline
from vlm.anatomy.skeleton import BODY_FORWARD_MM, spine
from vlm.ct.volume import Grid, Mask, as_point
from vlm.evidence import Case, Evidence, Measurement, Observation, once
from vlm.tools.calcium_places import (
    PLACES,
    WALL_MM,
    Place,
    bone_reach,
    is_bone_edge,
    place_of,
    root,
    root_wall,
    true_bone,
    whole_heart,
)
from vlm.tools.calcium_slab import STANDARD_MM, Slab, agatston, filled_ml, slab_around
from vlm.tools.caval_line import caval_line
from vlm.tools.ground import search
from vlm.tools.metal_parts import metal_pieces, piece_mask
from vlm.tools.registry import tool

PEAK_HU = 200.0  # a lesion that nowhere rises above this may be noise or blood
NEAR_AIR_HU = 350.0  # beside lung or gas sharp kernels overshoot by 200 HU: there a lesion must be denser
AIR_HU, AIR_MM = -300.0, 4.0
VERTEBRA_MM = 21.0  # from the middle of a vertebral body: its end plates and osteophytes
LEAST_MM3 = 8.0  # smaller specks cannot be told from noise on scans made for other reasons
TOO_NOISY_HU = 55.0  # standard deviation in blood at the slice thickness of scoring
ENHANCED_STEP_HU = 200.0  # in enhanced blood only what is this much denser is called calcium
FAT_HU = (-150.0, -30.0)
FAT_MM = 6.0
GROOVE_MM = 6.0  # coronary arteries and their fat lie up to so far outside of the outline of the heart
OUTSIDE_FAT = 0.2  # of what lies around them there: what has less fat is no groove
LEAST_WALL_ML = 0.1  # beside bones: less is as likely an osteophyte
FREE_WALL_ML, FREE_PEAK_HU = 0.03, 300.0  # further than FREE_MM away from them, and dense, in blood not enhanced
FREE_MM = 10.0
BONE_MM = 3.0
METAL_MM = 8.0  # metal blooms and leaves streaks
CARTILAGE_MM = 3.0  # of the trachea, around its lumen

HEART_SITES: Mapping[str, tuple[str, Place]] = {  # finding: site, and where what is found is only possibly of it
    "coronary_artery_calcification": ("coronary_arteries", "root"),
    "aortic_valve_calcification": ("aortic_valve", "aortic_valve"),
    "mitral_calcification": ("mitral_valve", "mitral_valve"),
}

MAY_BE = {  # why calcium of the heart is only possibly of this
    "coronary_artery_calcification": "at the root of the aorta: it may be of its wall, a valve or a coronary artery",
    "aortic_valve_calcification": "deep in the heart where the aortic valve lies: it may be of the wall of the root",
    "mitral_calcification": "deep at the back of the heart: it may be of the mitral valve or of another part",
}
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@tool(
    "heart_calcification",
    observes=("coronary_artery_calcification", "aortic_valve_calcification", "mitral_calcification"),
    needs=("heart", "aorta"),
)
def heart_calcification(case: Case) -> list[Evidence]:
    """Score calcium of the coronary arteries and of the valves within the heart region."""
    name, found = "heart_calcification", heart(case)
    if not found.found:
        return [
            search(case, name, key, site=site, failed=() if coverage(case).of(site) <= 0 else ("not_found",))
            for key, (site, _) in HEART_SITES.items()
        ]
    told = heart_calcium(case)
    out: list[Evidence] = []
    for key, (site, place) in HEART_SITES.items():
        sure = told.pieces["coronary"] if place == "root" else []
        pieces = sure or told.pieces[place]
        if pieces and told.slab is not None:
            out.append(_observation(case, name, key, site, pieces, told.slab, told.failed, sure=bool(sure)))
        near: list[Place] = ["root", "root_wall", "unsure"] if root(case) else ["coronary", "unsure"]
        hidden = not pieces and any(told.pieces[other] for other in near)
        out.append(
            search(
                case, name, key, site=site, found=int(bool(pieces)), failed=("not_found",) if hidden else told.failed,
                covered=0.0 if "noise" in told.failed else None,  # nobody looked
                note="calcium nearby may be of the valve or of a coronary artery" if hidden else "",
            )
        )  # fmt: skip
    return out


@tool("aortic_calcification", observes=("aortic_calcification", "arterial_wall_calcification"), needs=("aorta",))
def aortic_calcification(case: Case) -> list[Evidence]:
    """Score calcium in the wall of the aorta where it is traced."""
    name, traced = "aortic_calcification", aorta(case)
    sites = {"aortic_calcification": "aorta", "arterial_wall_calcification": "aorta"}
    share = max(coverage(case).of("thoracic_aorta"), coverage(case).of("abdominal_aorta"))
    if not traced.found:
        reason = () if share <= 0 else ("not_found",)
        return [search(case, name, key, site=site, covered=share, failed=reason) for key, site in sites.items()]
    failed, slab = _conditions(case, _wall_region(case, 0.0))
    pieces, unsure = _wall_pieces(case, slab) if slab is not None and "noise" not in failed else ([], False)
    upper = arch(case)  # root and branches are not traced: what was looked at is a part
    looked = min(share, 0.7 + 0.1 * bool(upper.arch_mm) + 0.1 * bool(upper.ascending_mm))
    looked = 0.0 if "noise" in failed else looked
    out: list[Evidence] = []
    if pieces and slab is not None:
        site = _part_of_aorta(case, pieces, slab)
        out.append(_observation(case, name, "aortic_calcification", site, pieces, slab, failed))
    beating = heart_calcium(case)
    of_root = any(beating.pieces[place] for place in ("root", "root_wall", "aortic_valve"))
    hidden = (unsure or of_root) and not pieces
    line = "a dense line at the ascending aorta may be calcium of its wall or a catheter beside it"
    rooted = "calcium at the root of the aorta may be of its wall, of its valve or of a coronary artery"
    note = (line if unsure else rooted) * hidden
    failed = (*failed, "not_found") if hidden else failed
    out += [
        search(case, name, key, site=site, covered=looked, found=int(bool(pieces)), failed=failed, note=note)
        for key, site in sites.items()
    ]
    return out


def _part_of_aorta(case: Case, pieces: list[Bools], slab: Slab) -> str:
    """The smallest site that holds all pieces."""
    dome = coverage(case).dome_mm
    whole = np.logical_or.reduce(pieces)
    heights = slab.grid.to_mm(np.argwhere(whole)[:, ::-1])[:, 2]
    vault = arch(case).arch
    if (
        vault
        and not (
            whole & ~Mask("arch", grown(vault.voxels.T, WALL_MM, vault.grid).T, vault.grid).on(slab.grid).voxels.T
        ).any()
    ):
        return "aortic_arch"
    if dome is None or heights.min() <= dome - 40.0 < heights.max():
        return "aorta"
    return "thoracic_aorta" if heights.min() > dome - 40.0 else "abdominal_aorta"


def _conditions(case: Case, region: Mask) -> tuple[tuple[str, ...], Slab | None]:
    """Conditions of scoring that fail here, and the slab around the region."""
    failed: list[str] = []
    if contrast(case).enhanced is not False:
        failed.append("contrast")
    if case.volume.grid.spacing_mm[2] > STANDARD_MM + 0.3:
        failed.append("thick_slices")
    slab = slab_around(case, region)
    if slab is not None and slab.noise_hu > TOO_NOISY_HU:
        failed.append("noise")
    return tuple(failed), slab


def _bone(case: Case, grid: Grid) -> Bools:
    """(Z, Y, X) bone and what lies within 3 mm of it, and metal with its glare, on the slab's grid."""
    bones = true_bone(case)
    steps = [max(1, round(BONE_MM / step)) for step in bones.grid.spacing_mm]
    steps[2] = 0
    near = ndimage.maximum_filter(bones.voxels.T, size=[2 * step + 1 for step in reversed(steps)])
    metal = metal_pieces(case)  # leads of a pacemaker run through the heart and beside the aorta
    if metal:
        glare = piece_mask(case, "metal", list(metal))
        near = near | grown(glare.voxels.T, METAL_MM, glare.grid)
    out = Mask("bone", near.T, bones.grid).on(grid).voxels.T.copy()
    column = spine(case)
    if column.found:
        z = grid.to_mm(np.stack([np.zeros(grid.shape[2])] * 2 + [np.arange(grid.shape[2])], axis=1))[:, 2]
        x, y = (grid.to_mm(np.eye(3)[axis] * np.arange(grid.shape[axis])[:, None])[:, axis] for axis in range(2))
        for k, height in enumerate(z):
            middle = np.add(column.at(float(height)), (0.0, BODY_FORWARD_MM, 0.0))
            out[k] |= (x[None] - middle[0]) ** 2 + (y[:, None] - middle[1]) ** 2 < VERTEBRA_MM**2
    return np.asarray(out)


def _pieces(dense: Bools, slab: Slab) -> list[tuple[Bools, tuple[slice, slice, slice]]]:
    """Connected pieces of calcium that are large and dense enough, each with its box in the slab."""
    labels, count = cc3d.connected_components(dense, connectivity=26, return_N=True)
    boxes = ndimage.find_objects(labels.astype(np.int32), max_label=count)
    voxel_mm3 = slab.grid.voxel_ml * 1000.0
    reach = [1] + [2 * max(1, round(AIR_MM / step)) + 1 for step in reversed(slab.grid.spacing_mm[:2])]
    near_air = ndimage.minimum_filter(slab.hu, reach) < AIR_HU
    out: list[tuple[Bools, tuple[slice, slice, slice]]] = []
    for number, box in enumerate(boxes, start=1):
        if box is None:
            continue
        piece = labels[box] == number
        peak = float(slab.hu[box][piece].max())
        least = NEAR_AIR_HU if near_air[box][piece].any() else PEAK_HU
        if np.count_nonzero(piece) * voxel_mm3 >= LEAST_MM3 and peak > least:
            out.append((piece, box))
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class HeartCalcium:
    """Pieces of calcium in and around the heart by whose they are, masks on the slab."""

    failed: tuple[str, ...]
    slab: Slab | None
    pieces: Mapping[Place, list[Bools]]


@once
def heart_calcium(case: Case) -> HeartCalcium:
    """Calcium of the heart; none where no heart is found, or contrast or noise forbid to look."""
    beating, pieces = heart(case), {place: list[Bools]() for place in PLACES}
    failed, slab = _conditions(case, beating.mask) if beating.found else ((), None)
    if slab is None or {"contrast", "noise"} & set(failed):
        return HeartCalcium(failed=failed, slab=slab, pieces=pieces)
    grid = slab.grid
    inside = whole_heart(case).on(grid).voxels.T
    bones = true_bone(case)
    chest = Mask("chest", outline(case).T, bones.grid).on(grid).voxels.T & ~grown(
        bones.on(grid).voxels.T, FREE_MM, grid
    )
    around = inside | (grown(inside, GROOVE_MM, grid) & chest)  # not as far as sternum and cartilage
    dense = (slab.hu > slab.threshold_hu) & around & ~_bone(case, grid)
    traced = aorta(case)
    if traced.found:
        dense &= ~grown(traced.mask.on(grid).voxels.T, WALL_MM, grid)
    fat = (slab.hu > FAT_HU[0]) & (slab.hu < FAT_HU[1])
    reach = [2 * max(1, round(FAT_MM / step)) + 1 for step in reversed(grid.spacing_mm)]
    fat_near = ndimage.uniform_filter(fat.astype(np.float32), reach)
    smooth = ndimage.uniform_filter(slab.hu, (1, 3, 3))
    fat_mm = edt.edt(smooth > FAT_HU[1], anisotropy=grid.spacing_mm[::-1], black_border=False, parallel=2)
    origin = root(case)
    for piece, box in _pieces(dense, slab):
        share = float(fat_near[box][piece].mean())
        if np.mean(inside[box][piece]) < 0.5 and share < OUTSIDE_FAT:
            continue  # beside the heart, but in no groove
        whole = np.zeros(dense.shape, dtype=bool)
        whole[box] = piece
        middle = as_point(grid.to_mm(np.argwhere(whole)[:, ::-1]).mean(axis=0))
        away = float(np.median(fat_mm[box][piece]))
        place = place_of(middle, fat_share=share, fat_mm=away, origin=origin, heart_mm=beating.mask.centre_mm)
        pieces[place].append(whole)
    return HeartCalcium(failed=failed, slab=slab, pieces=pieces)


def _wall_region(case: Case, margin_mm: float) -> Mask:
    """The parts of the aorta that were found, ``margin_mm`` wider, on the working grid."""
    upper = arch(case)
    out = np.zeros(upper.arch.voxels.shape, dtype=bool, order="F")
    for traced in (aorta(case), upper.ascending):
        if traced.found:
            radii = traced.radii_mm + margin_mm
            out |= Aorta(
                traced.grid, traced.centres_mm, radii, traced.roundness, traced.sure, True, None
            ).mask.voxels  # fmt: skip
    if upper.arch:
        wide = grown(upper.arch.voxels.T, margin_mm, upper.arch.grid) if margin_mm > 0 else upper.arch.voxels.T
        out |= wide.T
    return Mask("aorta", out, upper.arch.grid)


def _wall_pieces(case: Case, slab: Slab) -> tuple[list[Bools], bool]:
    """Calcium in the traced wall of the aorta, masks on the slab; and whether some may as well be a catheter."""
    near = _wall_region(case, WALL_MM).on(slab.grid).voxels.T | root_wall(case, slab.grid)
    lumen = airways(case).mask
    if lumen:  # the cartilage of the trachea calcifies as well
        near &= ~Mask("lumen", grown(lumen.voxels.T, CARTILAGE_MM, lumen.grid).T, lumen.grid).on(slab.grid).voxels.T
    level, free_ml = slab.threshold_hu, FREE_WALL_ML
    if contrast(case).enhanced is not False:
        level, free_ml = max(level, slab.blood_hu + ENHANCED_STEP_HU), LEAST_WALL_ML
    dense = (slab.hu > level) & ~_bone(case, slab.grid)
    bones = true_bone(case)
    near_bone, of_bone = bone_reach(slab.hu > level, bones, slab.grid)
    kinds: dict[str, list[Bools]] = {"calcium": [], "unsure": [], "line": []}
    for piece, box in _pieces(dense & near, slab):
        if is_bone_edge(piece, near_bone[box], of_bone[box]):
            continue
        whole = np.zeros(dense.shape, dtype=bool)
        whole[box] = piece
        kinds[caval_line(case, whole, dense, slab.grid)].append(whole)
    beside = grown(bones.on(slab.grid).voxels.T, FREE_MM, slab.grid)
    total, free = (
        sum(int(np.count_nonzero(piece)) for piece in pieces) * slab.grid.voxel_ml
        for pieces in (kinds["calcium"], [piece for piece in kinds["calcium"] if _is_free(piece, beside, slab)])
    )
    return kinds["calcium"] if total >= LEAST_WALL_ML or free >= free_ml else [], bool(kinds["unsure"])


def _is_free(piece: Bools, beside: Bools, slab: Slab) -> bool:
    """Whether a piece is dense and lies apart from bones."""
    return not piece[beside].any() and float(slab.hu[piece].max()) > FREE_PEAK_HU


def _observation(
    case: Case, name: str, finding: str, site: str, pieces: list[Bools], slab: Slab, failed: tuple[str, ...],
    *, sure: bool = True,
) -> Observation:  # fmt: skip
    """All pieces of one finding as one Observation, with a score where the conditions of scoring hold."""
    whole = np.logical_or.reduce(pieces)
    mask = Mask(finding, whole.T, slab.grid)
    measures = [Measurement(quantity="volume", value=sum(filled_ml(slab, piece) for piece in pieces))]
    note = ""
    if not sure:
        note = MAY_BE[finding]
    elif not set(failed) & {"contrast", "thick_slices"}:
        measures.insert(0, Measurement(quantity="score", value=agatston(slab.hu, whole, slab.grid)))
    else:
        note = "no score: " + ", ".join(failed)
    return Observation(
        tool=name,
        finding=finding,
        presence="present" if sure else "uncertain",
        site=site,
        measurements=tuple(measures),
        attributes={"pieces": str(len(pieces))},
        region=case.keep(mask),
        note=note,
    )
