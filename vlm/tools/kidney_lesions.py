"""Cysts, solid lesions and hydronephrosis: what is dark in a kidney, by where it lies.

In: the outline of each kidney and the contrast phase. Out: an Observation for each lesion, one for a collecting
system that is wide, and a Search for each. Fluid in the middle, open to the hilum, is urine in the collecting
system; fluid at the outer border is a cyst. Solid lesions are told in the portal venous phase only. An outline that
is not good enough to be measured says where to look in enhanced kidneys for cysts and for wide collecting systems;
it never licenses "no cyst". Without contrast fat of the sinus mixed with vessels is as dense as urine: large cysts
are told, and whether the renal pelvis is wide is left open.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import cc3d
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import closed, grown, opened, shrunk
from vlm.anatomy.structures import structure
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.lesions import SMOOTH_MM, Lesion, Tissue, blurred, crop_of, full_ball, spots, tissue, within
from vlm.tools.liver_lesions import DOUBT_MM, SMALL_MM, measures
from vlm.tools.organs import SITES, Organ, organ, phase, sought
from vlm.tools.registry import tool

NAME = "kidney_lesions"
KIDNEYS = ("kidney_right", "kidney_left")
FINDINGS = ("renal_cyst", "renal_hypodensity", "renal_lesion", "hydronephrosis")
URINE_HU = (-12.0, 25.0)
DARK_SHARE = 0.6  # of the density of enhanced tissue: lower is a solid lesion, cortex and medulla lie above
SOLID_MM = 25.0  # smaller dark spots in enhanced kidneys are medulla, columns, scars and calyces
BALL = 0.7  # without contrast fat of the sinus mixed with vessels is as dense as a cyst, but ragged
CYST_MM, PLAIN_CYST_MM = 11.0, 15.0  # smaller ones are calyces and fat of the sinus as often; without contrast
LEAST_INSIDE = 0.15  # exophytic cysts are mostly surrounded by fat
SURE_INSIDE = 0.3
ROUGH_INSIDE = 0.5  # in a kidney whose outline is not sure
MEDIAL_MM = 3.0  # towards the midline from the kidney's middle: where the sinus lies
# A renal pelvis is wide from 10 mm (customary); the widest ball reads less where calyces join, and noise more.
PELVIS_MM = 12.0
PLAIN_MM = 2.2  # deviation of the blur without contrast, where urine is only 20 HU darker than the kidney
SURE_MM = 14.0
LEAST_ML = 3.0
BRANCHED = 0.64  # diameter of the widest ball over that of the ball of the same volume: a cyst is a ball
HILAR = 0.75  # of the kidney lies farther from the midline than a ball that may be the renal pelvis
HILUM_MM = 16.0  # the kidney closed by this holds its hilum
FAT_HU, BLUR_MM = -40.0, 2.5
GAP_MM = 2.5  # noise leaves gaps in what is as dense as urine
SPREAD_HU = (15.0, 5.0)  # with contrast and without: cortex and medulla differ by more, but not by noise
MOST = 12
CYST_TO_FAT_HU = -45.0  # half way
REACH_MM = 40.0  # around a kidney: a cyst that hangs out of it lies within
BESIDE = ("liver", "spleen", "colon", "small_bowel", "duodenum", "stomach", "pancreas")
CYST_HU = 23.0


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A collecting system filled with urine: where, how wide (mm, its widest ball), how much."""

    mask: NDArray[np.bool_]  # (Z, Y, X)
    width_mm: float
    volume_ml: float
    round: bool = False  # one ball at the hilum without calyces: a cyst beside the renal pelvis looks alike


@tool(NAME, observes=FINDINGS, needs=KIDNEYS)
def kidney_lesions(case: Case) -> list[Evidence]:
    """Look for cysts, solid lesions and hydronephrosis."""
    return [record for name in KIDNEYS for record in _of(case, name)]


def _of(case: Case, name: str) -> list[Evidence]:
    seen = organ(case, name)
    when = phase(case)
    if seen.mask is None or (not seen.measurable and when in ("none", "unknown")):
        return [sought(case, NAME, finding, seen) for finding in FINDINGS]
    system, lesions = dark_parts(case, seen)
    plain = when == "none"
    if not seen.measurable:
        lesions = [lesion for lesion in lesions if lesion.hu <= CYST_HU and lesion.inside >= ROUGH_INSIDE]
    if len(lesions) > MOST:
        return [sought(case, NAME, finding, seen, failed=("noise",)) for finding in FINDINGS]
    out: list[Evidence] = [_observed(case, seen, lesion, number) for number, lesion in enumerate(lesions, 1)]
    if system is not None and not plain:
        out.append(_wide(case, seen, system))
    told = [record.finding for record in out if isinstance(record, Observation)]
    for finding in FINDINGS:
        failed: tuple[str, ...] = ("phase",) if finding == "renal_lesion" and when not in ("none", "venous") else ()
        if plain and finding in ("renal_lesion", "hydronephrosis"):
            failed = ("no_contrast",)
        out.append(sought(case, NAME, finding, seen, found=told.count(finding), failed=failed))
    return out


def dark_parts(case: Case, seen: Organ) -> tuple[System | None, list[Lesion]]:
    """The collecting system where it is wide, and lesions; masks on the organ's grid."""
    grid, box = seen.grid, crop_of(seen.voxels, seen.grid, REACH_MM)
    own = seen.voxels[box]
    smooth = blurred(case.working.hu.T[box], grid, PLAIN_MM if phase(case) == "none" else SMOOTH_MM)
    normal = tissue(smooth, own, grid)
    normal = replace(normal, spread=min(normal.spread, SPREAD_HU[phase(case) == "none"]))
    place = within(own, grid)
    room = closed(own, HILUM_MM, grid)
    beyond = np.ones_like(own)  # where a cyst may go on outside of the outline
    for name in BESIDE:
        beside = structure(case, name).mask
        if beside is not None:
            away = ~grown(beside.on(case.working.grid).voxels.T[box], 2.0, grid)
            place, room, beyond = place & away, room & away, beyond & away
    fluid = (smooth > URINE_HU[0]) & (smooth < min(URINE_HU[1], normal.hu - 12.0))
    edge = grown(smooth < FAT_HU, BLUR_MM, grid)  # fat blurred with kidney is as dense as urine
    fluid &= ~edge
    system = collecting_system(own, room & fluid, grid, right=seen.name.endswith("right"))
    plain = phase(case) == "none"
    # Without contrast nothing is told of a round renal pelvis, and a cyst must not be lost in it.
    rest = place if system is None or (plain and system.round) else place & ~grown(system.mask, 3.0, grid)
    wanted = (smooth < limit_hu(normal, phase(case))) & (smooth > URINE_HU[0]) & ~edge
    found = spots(smooth, own, rest, wanted, normal, grid, least_inside=LEAST_INSIDE)
    sinus = _sinus(own, place, grid, right=seen.name.endswith("right"))
    kept = [lesion for lesion in found if _is_lesion(lesion, sinus, plain=plain)]
    if not plain:  # bowel and muscle are nearly as dark there as a cyst
        others = [np.any([each.mask for each in kept if each is not one], axis=0) for one in kept]
        kept = [
            _whole(one, smooth, own, beyond & ~other, normal, grid) for one, other in zip(kept, others, strict=True)
        ]
    whole = None if system is None else _placed(system, seen.voxels, box)
    return whole, [lesion.placed(seen.voxels, box) for lesion in kept]


def _whole(
    lesion: Lesion, smooth: NDArray[np.float32], own: NDArray[np.bool_], beyond: NDArray[np.bool_], normal: Tissue,
    grid: Grid,
) -> Lesion:  # fmt: skip
    """A cyst with the part that hangs out of the outline, and without the sinus into which its border runs."""
    if lesion.hu > CYST_HU:
        return lesion
    like = beyond & (smooth > CYST_TO_FAT_HU) & (smooth < (normal.hu + lesion.hu) / 2)
    return full_ball(lesion, like, smooth, own, normal.hu, grid)


def _placed(system: System, whole: NDArray[np.bool_], box: tuple[slice, slice, slice]) -> System:
    mask = np.zeros(whole.shape, dtype=bool)
    mask[box] = system.mask
    return replace(system, mask=mask)


def _is_lesion(lesion: Lesion, sinus: NDArray[np.bool_], *, plain: bool) -> bool:
    """Not urine, fat or vessels of the sinus; solid ones large enough."""
    if float(np.mean(sinus[lesion.mask])) > 0.5:
        return False
    if plain and (lesion.width_mm < BALL * lesion.ball_mm or lesion.inside < SURE_INSIDE):
        return False
    return lesion.ball_mm >= ((PLAIN_CYST_MM if plain else CYST_MM) if lesion.hu <= CYST_HU else SOLID_MM)


def limit_hu(normal: Tissue, when: str) -> float:
    """HU below which a lesion stands out in a phase."""
    limit = min(normal.hu - normal.step, CYST_HU + 7.0)
    return max(limit, DARK_SHARE * normal.hu) if when == "venous" else limit


def _sinus(own: NDArray[np.bool_], place: NDArray[np.bool_], grid: Grid, *, right: bool) -> NDArray[np.bool_]:
    """The dent of the kidney on its medial side with what borders on it: where vessels and the renal pelvis lie."""
    x = np.arange(own.shape[2])
    middle = float(np.argwhere(own).mean(axis=0)[2])
    inward = (middle - x) * grid.spacing_mm[0] * (1.0 if right else -1.0)  # x grows to the patient's right
    return np.asarray(place & ~shrunk(own, 0.1, grid) & (inward > MEDIAL_MM)[None, None, :])


def collecting_system(own: NDArray[np.bool_], fluid: NDArray[np.bool_], grid: Grid, *, right: bool) -> System | None:
    """Urine in the middle of a kidney, where it is wide; None where it is not.

    Args:
        own: (Z, Y, X) the kidney; ``fluid``: what is as dense as urine within its outline and its dents.
        right: whose kidney it is; the renal pelvis lies towards the midline.
    """
    labels = cc3d.connected_components(opened(closed(fluid, GAP_MM, grid), 2.0, grid), connectivity=6)
    count = int(labels.max())
    if count == 0:
        return None
    at = np.argwhere(own)
    low, high = np.percentile(at, (15, 85), axis=0)
    hilar = np.percentile(at[:, 2], 100 * (1 - HILAR) if right else 100 * HILAR)
    middle = at.mean(axis=0)
    best: System | None = None
    for number in range(1, count + 1):
        piece = labels == number
        volume = float(np.count_nonzero(piece)) * grid.voxel_ml
        if volume < LEAST_ML:
            continue
        centre = np.argwhere(piece).mean(axis=0)
        inward = (middle[2] - centre[2]) * grid.spacing_mm[0] * (1.0 if right else -1.0)
        if not (low[0] <= centre[0] <= high[0] and inward > MEDIAL_MM):
            continue
        width = 2.0 * float(depth_mm(piece, grid).max())
        ball = float(np.cbrt(6000.0 * volume / np.pi))
        whole = width > BRANCHED * ball
        outer = centre[2] > hilar if right else centre[2] < hilar  # not at the hilum, where the renal pelvis lies
        if width < PELVIS_MM or (whole and outer):
            continue
        if best is None or volume > best.volume_ml:
            best = System(mask=piece, width_mm=width, volume_ml=volume, round=whole)
    return best


def _wide(case: Case, seen: Organ, system: System) -> Observation:
    site, side = SITES[seen.name]
    sure = seen.measurable and system.width_mm >= SURE_MM and not system.round
    return Observation(
        tool=NAME, finding="hydronephrosis", presence="present" if sure else "uncertain", site=site, side=side,
        measurements=(
            Measurement(quantity="diameter", value=system.width_mm, plus_minus=DOUBT_MM),
            Measurement(quantity="volume", value=system.volume_ml),
        ),
        region=case.keep(Mask(f"hydronephrosis_{side}", system.mask.T, seen.grid)),
        note="" if sure else "an extrarenal pelvis or a cyst beside it looks alike",
    )  # fmt: skip


def _observed(case: Case, seen: Organ, lesion: Lesion, number: int) -> Observation:
    site, side = SITES[seen.name]
    fluid = lesion.hu <= CYST_HU
    finding = "renal_hypodensity" if lesion.long_mm < SMALL_MM else "renal_cyst" if fluid else "renal_lesion"
    if finding == "renal_lesion" and phase(case) != "venous":
        finding = "renal_hypodensity"
    sure = lesion.inside >= SURE_INSIDE
    attributes = {"density": "fluid_density" if fluid else "hypodense"}
    if seen.whole:
        attributes["pole"] = pole_of(seen.voxels, lesion.mask)
    if lesion.fat > 0.3:
        attributes["exophytic"] = "yes"
    return Observation(
        tool=NAME, finding=finding, presence="present" if sure else "uncertain", site=site, side=side,
        measurements=measures(lesion), attributes=attributes,
        region=case.keep(Mask(f"{seen.name}_lesion_{number}", lesion.mask.T, seen.grid)),
        note="" if sure else "little of its border is kidney: a neighbour looks alike",
    )  # fmt: skip


def pole_of(kidney: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> str:
    """ "upper_pole", "interpolar" or "lower_pole": the third of the kidney's height in which a lesion's centre lies."""
    high = np.flatnonzero(kidney.any(axis=(1, 2)))
    at = (float(np.argwhere(lesion).mean(axis=0)[0]) - high[0]) / max(1, high[-1] - high[0])
    return "lower_pole" if at < 1 / 3 else "upper_pole" if at > 2 / 3 else "interpolar"
