"""Dense spots in the marrow of vertebrae and of the pelvis, and holes in that of vertebrae.

In: spine, bones and levels of a Case. Out: an Observation for each compact dense spot that marrow surrounds, or a
Search. A mean of 885 HU, or a peak of 1060 HU, is a bone island and below may be a metastasis (Ulano, AJR
2016;207:362). Endplates, osteophytes and worn joints are as dense, but bone, disc or soft tissue lies on one side of
them: what marrow does not surround is left out, and what it surrounds in part is uncertain. Of soft (lytic) spots only
large ones are told, which are no denser than soft tissue and have bone all round; small ones look like discs, noise and
the veins of a body, so that no search here denies them. Ribs, sternum and limbs are not looked at.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import box_of, shrunk
from vlm.anatomy.coverage import coverage
from vlm.anatomy.levels import levels
from vlm.anatomy.skeleton import skeleton, spine
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Side
from vlm.tools.ground import search, withheld
from vlm.tools.lesions import Lesion, Tissue, blurred, spots
from vlm.tools.registry import tool

NAME = "bone_lesions"
BODY_MM = 26.0  # from the middle of a vertebral body; ribs, joints and a calcified aorta lie beyond
BEHIND_MM = 16.0  # the canal lies farther behind the middle
CLOSE_MM = 8.0  # radius: marrow between two sheets of cortex
RING_MM = 14.0  # the same in a vertebral body, whose wall towards the canal is thin
CORTEX_MM = 3.0  # with its blur, left out of the density of marrow
STEP_HU = 150.0  # denser than the marrow around, at least
DENSE_HU = 300.0  # marrow of the young reaches 250 HU (Jang, Radiology 2019;291:360)
ISLAND_HU = 885.0
LEAST_MM = 8.0  # four voxels of the working grid
SURE_MM = 10.0
LARGEST_MM = 35.0  # wider is an endplate or a worn joint
SURROUNDED = 0.75  # of its surface is marrow; of endplates and osteophytes of 12 real spines up to 0.71
SURE_SURROUNDED = 0.85  # and of the roof of the hip up to 0.84
# Discs between worn end plates of 9 real spines: 95 to 140 HU, or not more than 0.82 of their surface is bone.
HOLE_HU, HOLE_MM, HOLE_SURROUNDED = 88.0, 12.0, 0.86
HOLE_STEP_HU = 80.0  # softer than the marrow around, at least: thin bones show no holes
# A larger hole reaches the wall of its body, so that less of it is surrounded. In 11 real spines no spot of 12 mm was
# so soft: discs, veins and thin marrow stand at 98 HU and more.
WIDE_MM, WIDE_HU, WIDE_STEP_HU, WIDE_SURROUNDED = 14.0, 80.0, 100.0, 0.55
HOLE = {"density": "lytic"}
LEAST_MARROW_ML = 10.0
TEXTURE_HU = 9.0  # of marrow after the blur, within one vertebra
SLICE_MM = 5.01  # thicker slices mix endplates into the marrow
SEEN_SHARE = 0.5  # of the marrow lies so far inside its cortex
PELVIS_BELOW_DOME_MM = 235.0  # iliac crest, as in vlm.anatomy.coverage
DENSE = {"density": "sclerotic"}  # of what is looked for

Bools = NDArray[np.bool_]


@tool(NAME, observes=("bone_lesion",), needs=("spine", "skeleton"))
def bone_lesions(case: Case) -> list[Evidence]:
    """Look for dense spots in the marrow of vertebrae and pelvis, and for large holes in vertebrae."""
    failed: tuple[str, ...] = ()
    if not spine(case).found or coverage(case).of("head") > 0.5:
        failed = ("not_found",)
    elif case.volume.grid.spacing_mm[2] > SLICE_MM:
        failed = ("thick_slices",)
    elif withheld(case):
        failed = (withheld(case)[0],)
    if failed:
        return [search(case, NAME, "bone_lesion", site="spine", covered=0.0, failed=failed, attributes=DENSE)]
    vertebrae = _vertebrae(case)
    out = [*_holes(case, vertebrae), *_looked(case, vertebrae, "spine", SEEN_SHARE, least_inside=SURROUNDED)]
    share = coverage(case).of("pelvis")
    if share > 0:
        pelvis = _pelvis(case) & ~vertebrae
        out += _looked(case, pelvis, "pelvic_bone", share * SEEN_SHARE, least_inside=SURE_SURROUNDED)
    return out


def _looked(case: Case, bone: Bools, site: str, share: float, *, least_inside: float) -> list[Evidence]:
    """Spots of some bones that marrow surrounds by a share, and the search for them."""
    grid = case.working.grid
    marrow = shrunk(bone, CORTEX_MM, grid)
    if np.count_nonzero(marrow) * grid.voxel_ml < LEAST_MARROW_ML:
        return [search(case, NAME, "bone_lesion", site=site, covered=0.0, failed=("not_found",), attributes=DENSE)]
    box = box_of(bone, 10.0, grid)
    smooth = blurred(case.working.hu.T[box], grid)
    normal = Tissue(hu=float(np.median(smooth[marrow[box]])), spread=TEXTURE_HU)
    wanted = smooth > max(DENSE_HU, normal.hu + STEP_HU)
    found = [
        lesion.placed(bone, box)
        for lesion in spots(smooth, bone[box], bone[box], wanted, normal, grid, least_inside=least_inside)
        if LEAST_MM <= lesion.long_mm <= LARGEST_MM
    ]
    out: list[Evidence] = [_observed(case, lesion, site, number) for number, lesion in enumerate(found, 1)]
    return [*out, search(case, NAME, "bone_lesion", site=site, covered=share, found=len(found), attributes=DENSE)]


def _holes(case: Case, bone: Bools) -> list[Evidence]:
    """Large soft spots of vertebrae, with bone all round."""
    grid = case.working.grid
    marrow = shrunk(bone, CORTEX_MM, grid)
    if np.count_nonzero(marrow) * grid.voxel_ml < LEAST_MARROW_ML:
        return []
    box = box_of(bone, 10.0, grid)
    smooth = blurred(case.working.hu.T[box], grid)
    normal = Tissue(hu=float(np.median(smooth[marrow[box]])), spread=TEXTURE_HU)
    wanted = smooth < min(normal.hu - HOLE_STEP_HU / 2, (normal.hu + HOLE_HU) / 2)
    found = spots(smooth, bone[box], bone[box], wanted, normal, grid, least_inside=WIDE_SURROUNDED)
    holes = [lesion.placed(bone, box) for lesion in found if _is_hole(lesion, normal)]
    return [_observed(case, hole, "spine", number, HOLE) for number, hole in enumerate(holes, 1)]


def _is_hole(lesion: Lesion, normal: Tissue) -> bool:
    """Soft and surrounded by bone, or large and softer still."""
    if lesion.inside >= HOLE_SURROUNDED:
        return lesion.ball_mm >= HOLE_MM and lesion.hu <= min(HOLE_HU, normal.hu - HOLE_STEP_HU)
    return lesion.ball_mm >= WIDE_MM and lesion.hu <= min(WIDE_HU, normal.hu - WIDE_STEP_HU)


def _observed(case: Case, lesion: Lesion, site: str, number: int, look: Mapping[str, str] = DENSE) -> Observation:
    """One spot, named by its level or side."""
    mask = Mask(f"{look['density']}_bone_lesion_{site}_{number}", lesion.mask.T, case.working.grid)
    x, _, z = mask.centre_mm
    away = x - float(spine(case).at(z)[0])
    side: Side | None = None if site == "spine" or abs(away) < 15.0 else "right" if away > 0 else "left"
    sure = lesion.inside >= SURE_SURROUNDED and lesion.long_mm >= SURE_MM
    notes = [levels(case).note] if site == "spine" else []
    if look is HOLE:
        notes += ["haemangioma, cyst or metastasis: not told apart"]
    else:
        island = lesion.hu >= ISLAND_HU
        notes += ["as dense as a bone island" if island else "bone island or metastasis: not told apart"]
    return Observation(
        tool=NAME, finding="bone_lesion", presence="present" if sure else "uncertain", side=side,
        site=levels(case).site_at(z) if site == "spine" else site, attributes=look,
        measurements=(
            Measurement(quantity="diameter", value=lesion.long_mm, plus_minus=3.0),
            Measurement(quantity="short_axis", value=lesion.short_mm, plus_minus=3.0),
            Measurement(quantity="attenuation", value=lesion.hu),
        ),
        region=case.keep(mask), note="; ".join(notes),
    )  # fmt: skip


def _vertebrae(case: Case) -> Bools:
    """The vertebral bodies with their marrow, without arches."""
    grid, axis, bone = case.working.grid, spine(case), skeleton(case).voxels.T
    middle = grid.to_ijk(axis.bodies_mm)
    step_x, step_y, _ = grid.spacing_mm
    y, x = np.mgrid[: bone.shape[1], : bone.shape[2]]
    out = np.zeros(bone.shape, dtype=bool)
    for k in np.flatnonzero(axis.good):
        dx, dy = (x - middle[k, 0]) * step_x, (y - middle[k, 1]) * step_y
        near = (dx**2 + dy**2 < BODY_MM**2) & (dy > -BEHIND_MM)
        out[k] = _filled(bone[k] & near, grid, RING_MM) & near
    return out


def _pelvis(case: Case) -> Bools:
    """The bones of the pelvis with their marrow: all bone below the iliac crest, without the spine above."""
    grid, bone = case.working.grid, skeleton(case).voxels.T
    dome = coverage(case).dome_mm
    out = np.zeros(bone.shape, dtype=bool)
    if dome is not None:
        top = int(np.clip(grid.to_ijk([0.0, 0.0, dome - PELVIS_BELOW_DOME_MM])[2], 0, bone.shape[0]))
        for k in range(top):
            out[k] = _filled(bone[k], grid)
    return out


def _filled(plane: Bools, grid: Grid, close_mm: float = CLOSE_MM) -> Bools:
    """(Y, X) bone of one slice with the marrow that it encloses."""
    if not plane.any():
        return plane
    ry, rx = (max(1, round(close_mm / step)) for step in (grid.spacing_mm[1], grid.spacing_mm[0]))
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    disk = (y * grid.spacing_mm[1]) ** 2 + (x * grid.spacing_mm[0]) ** 2 <= close_mm**2
    around = np.pad(plane, ((ry, ry), (rx, rx)))
    closed = ndimage.binary_fill_holes(ndimage.binary_closing(around, disk))
    return np.asarray(closed[ry:-ry, rx:-rx])
