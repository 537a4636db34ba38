"""Stones of the ureters above the pelvis: dense spots in the fat in front of the psoas.

In: spine, aorta, kidneys, the contrast phase, and the scan itself. Out: an Observation for each spot as small, dense
and apart as a stone, and a Search for each side. Calcium of an artery in the fat and a phlebolith look alike, and a
wide collecting system, which would tell them apart, is not told without contrast: nothing is sure. The lower third of
the ureters, among the phleboliths of the pelvis, is not looked at: nothing is denied. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import distance_mm
from vlm.anatomy.aorta import aorta
from vlm.anatomy.ball import box_of
from vlm.anatomy.coverage import coverage
from vlm.anatomy.kidneys import SIDES, kidneys
from vlm.anatomy.skeleton import METAL_HU, skeleton, spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Side
from vlm.tools.ground import search
from vlm.tools.organs import organ, phase
from vlm.tools.own_voxels import Part, own_voxels
from vlm.tools.registry import tool
from vlm.tools.stones import STONE_HU, SURE_MM, THICK_MM, closed_outline

NAME = "ureter_stones"
FINDING, SITE = "ureter_stone", "ureter"
# Of the dome, from the renal hilum to where the ureters cross the iliac vessels; of the canal, in front of the psoas.
HEIGHTS_MM = (-110.0, -285.0)
LEAST_HEIGHT_MM = 40.0  # of that in view
SIDEWAYS_MM, FORWARD_MM = (24.0, 62.0), (20.0, 68.0)
LOOKED_SHARE = 0.25  # too little for a denial: where ureters enter the bladder, stones stop as well
MM, HEIGHT_MM = (2.5, 13.0), 18.0  # in the slice; from head to foot. Stones that get into a ureter are rarely wider
PEAK_HU = 50.0  # above what counts as stone; twice that of small and of large spots
MIDDLE_HU, ABOVE_NOISE = 40.0, 4.5  # soft tissue, and deviations of noise above it: as in vlm.tools.stones
SHELL_MM, NEAR_MM = (2.5, 7.0), 10.0  # around a spot
FAT_HU, FAT_SHARE = (-150, -30), 0.15
LARGE_MM, FAT_OF_LARGE = 8.0, 0.03  # it lies on the psoas below a wide ureter, with less fat around
GAS_HU, GAS_SHARE = -250, 0.03  # bowel is near
DENSE_SHARE = 0.04  # of the shell: vessels full of calcium, bone, enteric contrast
BONE_MM, AORTA_MM = 6.0, 8.0
MOST = 3  # spots of a side: more are calcium of arteries, enteric or excreted contrast, or noise

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Spot:
    """A dense spot on the scan's own voxels: its mask, its width in the slice (mm) and its peak (HU)."""

    mask: Mask
    width_mm: float
    peak_hu: float


@tool(NAME, observes=(FINDING,), needs=("kidney_right", "kidney_left", "aorta"))
def ureter_stones(case: Case) -> list[Evidence]:
    """Look for dense spots along the ureters above the pelvis, on scans without contrast."""
    return [record for side in SIDES for record in _of(case, side)]


def _of(case: Case, side: Side) -> list[Evidence]:
    def unseen(*failed: str) -> list[Evidence]:
        return [search(case, NAME, FINDING, site=SITE, side=side, covered=0.0, failed=failed)]

    share = coverage(case).of(SITE, side)
    if share <= 0:
        return unseen()
    if phase(case) != "none":
        return unseen("contrast")
    if case.volume.grid.spacing_mm[2] > THICK_MM:
        return unseen("thick_slices")
    place, kidney = _place(case, side), _kidney(case, side)
    part = None if place is None else own_voxels(case, place, NEAR_MM)
    if place is None or part is None or kidney is None:  # a kidney's own stones would be told as those of the ureter
        return unseen("not_found")
    found = sorted(spots(part, _barred(case, part, kidney)), key=lambda spot: -spot.width_mm)
    if len(found) > MOST:
        return unseen("noise")
    out: list[Evidence] = [_observed(case, side, spot, number) for number, spot in enumerate(found, 1)]
    looked, region = LOOKED_SHARE * min(share, 1.0), case.keep(place)
    out.append(search(case, NAME, FINDING, site=SITE, side=side, covered=looked, found=len(found), region=region))
    return out


def _observed(case: Case, side: Side, spot: Spot, number: int) -> Observation:
    return Observation(
        tool=NAME, finding=FINDING, presence="uncertain", site=SITE, side=side,
        region=case.keep(Mask(f"ureter_stone_{side}_{number}", spot.mask.voxels, spot.mask.grid)),
        measurements=(
            Measurement(quantity="diameter", value=spot.width_mm, plus_minus=1.5),
            Measurement(quantity="attenuation", value=spot.peak_hu),
        ),
        note="calcium of a vessel or a phlebolith looks alike",
    )  # fmt: skip


def _place(case: Case, side: Side) -> Mask | None:
    """Where the ureter of a side runs, on the working grid; None where no spine tells, or hardly any is in view."""
    axis, dome, grid = spine(case), coverage(case).dome_mm, case.working.grid
    if not axis.found or dome is None:
        return None
    z = axis.canal_mm[:, 2]
    levels = np.flatnonzero((z <= dome + HEIGHTS_MM[0]) & (z >= dome + HEIGHTS_MM[1]))
    if levels.size * grid.spacing_mm[2] < LEAST_HEIGHT_MM:
        return None
    steps, middle = grid.spacing_mm, grid.to_ijk(axis.canal_mm)[levels]
    sign = 1.0 if side == "right" else -1.0  # x grows to the right
    x = sign * (np.arange(grid.shape[0])[None, :] - middle[:, :1]) * steps[0]
    y = (np.arange(grid.shape[1])[None, :] - middle[:, 1:2]) * steps[1]
    beside = (x > SIDEWAYS_MM[0]) & (x < SIDEWAYS_MM[1])
    before = (y > FORWARD_MM[0]) & (y < FORWARD_MM[1])
    whole = np.zeros(grid.shape[::-1], dtype=bool)
    whole[levels] = before[:, :, None] & beside[:, None, :]
    return Mask(f"ureter_{side}", whole.T, grid) if whole.any() else None


def _kidney(case: Case, side: Side) -> Mask | None:
    """The kidney with its sinus; None where it was not found."""
    outlined = organ(case, f"kidney_{side}")
    return kidneys(case)[side] if outlined.mask is None else closed_outline(outlined)


def spots(part: Part, barred: Bools) -> Iterator[Spot]:
    """Dense spots in the place of a ureter that may be stones.

    Args:
        part: the box around that place, and the place as its outline.
        barred: (Z, Y, X), of the box, where no stone of a ureter lies.
    """
    least_hu = _least_hu(part)
    labels = cc3d.connected_components(part.hu > least_hu, connectivity=26)
    steps = part.grid.spacing_mm[::-1]
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1):
        high, *across = ((along.stop - along.start) * step for along, step in zip(box, steps, strict=True))
        if high > HEIGHT_MM or max(across) > 2 * MM[1]:
            continue
        piece = labels[box] == number
        if part.voxels[box][piece].mean() <= 0.5 or barred[box][piece].any():
            continue
        area = float(piece.sum(axis=(1, 2)).max()) * steps[1] * steps[2]
        width_mm, peak_hu = 2.0 * float(np.sqrt(area / np.pi)), float(part.hu[box][piece].max())
        if not _like_a_stone(width_mm, peak_hu, least_hu):
            continue
        own = np.zeros(labels.shape, dtype=bool)
        own[box] = piece
        if _apart(own, part, width_mm):
            yield Spot(part.named("spot", own), width_mm, peak_hu)


def _like_a_stone(width_mm: float, peak_hu: float, least_hu: float) -> bool:
    """Whether it is as wide and as dense as a stone: not much fainter, which noise and bowel are, and no metal."""
    usual = SURE_MM <= width_mm < LARGE_MM  # noise is small, and what bowel holds is large
    least_peak_hu = least_hu + (PEAK_HU if usual else 2 * PEAK_HU)
    return MM[0] <= width_mm <= MM[1] and least_peak_hu <= peak_hu <= METAL_HU


def _least_hu(part: Part) -> float:
    """From where on a voxel is a stone and not noise, HU."""
    hu = part.hu.astype(np.float32)
    rest = hu - ndimage.uniform_filter(hu, (1, 3, 3))
    calm = rest[(hu > -200) & (hu < STONE_HU)]
    noise = 1.4826 * float(np.median(np.abs(calm))) * np.sqrt(9 / 8) if calm.size else 0.0
    return max(STONE_HU, MIDDLE_HU + ABOVE_NOISE * float(noise))


def _barred(case: Case, part: Part, kidney: Mask) -> Bools:
    """What is bone, or lies at the aorta or in the kidney."""
    grid, trace = part.grid, aorta(case)
    near = [(skeleton(case), BONE_MM)]
    near += [(trace.mask, AORTA_MM)] if trace.found else []
    outlined = organ(case, "aorta")
    near += [(outlined.mask, AORTA_MM)] if outlined.mask is not None else []
    out = np.zeros(part.hu.shape, dtype=bool)
    for mask, reach in near:
        there = mask.on(grid).voxels.T
        if there.any():
            out |= distance_mm(there, grid) <= reach
    return out | kidney.on(grid).voxels.T


def _apart(own: Bools, part: Part, width_mm: float) -> bool:
    """Whether much of what is around it is fat, and hardly any of it gas or dense as well."""
    box = box_of(own, NEAR_MM + 1.0, part.grid)
    away, hu = distance_mm(own[box], part.grid), part.hu[box]
    shell = hu[(away > SHELL_MM[0]) & (away <= SHELL_MM[1])]
    return bool(
        np.mean((shell > FAT_HU[0]) & (shell < FAT_HU[1])) >= (FAT_SHARE if width_mm < LARGE_MM else FAT_OF_LARGE)
        and np.mean(shell > STONE_HU) <= DENSE_SHARE
        and np.mean(hu[away <= NEAR_MM] < GAS_HU) <= GAS_SHARE
    )
