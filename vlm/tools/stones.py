"""Stones of the kidneys where a kidney is found.

In: kidneys, outlined well or found by rules, the contrast phase, and the scan itself. Out: an Observation for each
dense spot in a kidney, and a Search for each side. Excreted contrast looks like stone, so only scans without
contrast are judged. Calcium of the renal arteries within the sinus looks like stone as well: small spots are told
as uncertain.
"""

from __future__ import annotations

from typing import Literal

import cc3d
import numpy as np
from scipy import ndimage

from vlm.anatomy.coverage import coverage
from vlm.anatomy.kidneys import SIDES, kidneys
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.lesions import within
from vlm.tools.organs import Organ, organ, phase
from vlm.tools.registry import tool

NAME = "stones"
STONE_HU = 200.0  # uric acid 200-450, other stones above (Mostafavi, J Urol 1998;159:673)
ABOVE_NOISE = 4.5  # deviations above the middle of the kidney: in one kidney of 40 a voxel of 3 mm is so by chance
SURE_HU = 300.0  # at the peak
LEAST_MM, SURE_MM = 3.0, 4.0
THICK_MM = 5.01  # thicker slices hide stones of 5 mm
SEEN_SHARE = 0.8  # of a kidney lies within the mask that is found; a pole that touches bowel may be missed
OWN_SHARE, AROUND_MM = 0.6, 6.0  # of what is dense lies within the kidney; a rib beside a poor border goes on outside
MOST = 20  # more dense spots than this are excreted contrast or noise


@tool(NAME, observes=("kidney_stone",), needs=("kidney_right", "kidney_left"))
def stones(case: Case) -> list[Evidence]:
    """Look for dense spots within kidneys."""
    return [record for side in SIDES for record in _kidney(case, side)]


def _kidney(case: Case, side: Literal["right", "left"]) -> list[Evidence]:
    """Stones of one kidney and the search for them."""
    outlined, share = organ(case, f"kidney_{side}"), coverage(case).of("kidney", side)
    mask = closed_outline(outlined) if outlined.measurable else kidneys(case)[side]
    if outlined.measurable:
        share = max(share, outlined.covered)
    reason: str | None = None
    if share > 0 and mask is None:
        reason = "not_found"
    elif share > 0 and phase(case) != "none":
        reason = "contrast"
    elif share > 0 and case.volume.grid.spacing_mm[2] > THICK_MM:
        reason = "thick_slices"
    if mask is None or reason is not None or share <= 0:
        covered = 0.0 if share > 0 else None
        failed = () if reason is None else (reason,)
        return [search(case, NAME, "kidney_stone", site="kidney", side=side, covered=covered, failed=failed)]
    least_hu = _least_hu(case, mask)
    spots = _spots(case, mask, least_hu)
    if len(spots) > MOST:
        return [search(case, NAME, "kidney_stone", site="kidney", side=side, covered=0.0, failed=("noise",))]
    out: list[Evidence] = []
    for number, (spot, length, peak) in enumerate(spots, 1):
        sure = length >= SURE_MM and peak >= max(SURE_HU, least_hu + SURE_HU - STONE_HU)
        out.append(
            Observation(
                tool=NAME, finding="kidney_stone", presence="present" if sure else "uncertain", site="kidney",
                side=side, region=case.keep(Mask(f"kidney_stone_{side}_{number}", spot.voxels, spot.grid)),
                measurements=(Measurement(quantity="diameter", value=length, plus_minus=1.5),),
                note="" if sure else "small or faint: stone, or calcium of an artery",
            )
        )  # fmt: skip
    seen = SEEN_SHARE * share
    limits = ("noise",) if least_hu > STONE_HU else ()
    out.append(
        search(case, NAME, "kidney_stone", site="kidney", side=side, covered=seen, found=len(spots), failed=limits)
    )
    return out


def closed_outline(kidney: Organ) -> Mask:
    """The kidney with its sinus, in which stones lie, too."""
    return Mask(kidney.name, within(kidney.voxels, kidney.grid).T, kidney.grid)


def _least_hu(case: Case, kidney: Mask) -> float:
    """From where on a voxel of a kidney is a stone and not noise, HU; the fainter stones are missed where it rises."""
    hu = case.volume.hu[kidney.on(case.volume.grid).voxels].astype(np.float32)
    middle = float(np.median(hu))
    return max(STONE_HU, middle + ABOVE_NOISE * 1.4826 * float(np.median(np.abs(hu - middle))))


def _spots(case: Case, kidney: Mask, least_hu: float) -> list[tuple[Mask, float, float]]:
    """Dense spots of a kidney on the scan's own voxels, each with its length in the slice (mm) and its peak (HU)."""
    volume = case.volume
    low, high = (volume.grid.to_ijk(point) for point in (kidney.box.low_mm, kidney.box.high_mm))
    reach = AROUND_MM / np.asarray(volume.grid.spacing_mm)
    start = np.maximum(0, np.floor(low - reach)).astype(int)
    stop = np.minimum(volume.grid.shape, np.ceil(high + reach) + 1).astype(int)
    part = tuple(slice(int(a), int(b)) for a, b in zip(start, stop, strict=True))
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm(start)
    grid = Grid((int(stop[0] - start[0]), int(stop[1] - start[1]), int(stop[2] - start[2])), affine)
    hu = volume.hu[part].T
    inside = kidney.on(grid).voxels.T
    whole = np.bincount(np.ravel(every := cc3d.connected_components(hu > least_hu, connectivity=26)))
    share = np.bincount(every[inside], minlength=whole.size) / np.maximum(whole, 1)
    dense = (every > 0) & inside & (share >= OWN_SHARE)[every]
    labels, count = cc3d.connected_components(dense, connectivity=26, return_N=True)
    out: list[tuple[Mask, float, float]] = []
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32), max_label=count), 1):
        if box is None:
            continue
        piece = labels[box] == number
        area = float(piece.sum(axis=(1, 2)).max()) * grid.spacing_mm[0] * grid.spacing_mm[1]
        length = 2.0 * float(np.sqrt(area / np.pi))
        if length >= LEAST_MM:
            voxels = np.zeros(hu.shape, dtype=bool)
            voxels[box] = piece
            out.append((Mask("spot", voxels.T, grid), length, float(hu[box][piece].max())))
    return out
