"""Lesions of liver and spleen: cysts in every phase, solid ones where contrast shows them.

In: the outline of the organ and the contrast phase. Out: an Observation for each lesion with its size, density and
place, and a Search. Without contrast only what is clearly darker than blood is told; while the veins of the liver
are not filled yet they look like lesions, so that only fluid is told then.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.ball import grown
from vlm.anatomy.contrast import contrast
from vlm.anatomy.skeleton import spine
from vlm.anatomy.structures import structure
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.lesions import Lesion, Tissue, blurred, crop_of, spots, tissue, within
from vlm.tools.organs import SITES, Organ, organ, phase, sought
from vlm.tools.registry import tool

NAME = "liver_lesions"
BLOOD_HU = 32.0  # without contrast: darker than blood, so no vessel
FLUID_PHASE_HU = 30.0  # while veins are empty: only what is darker
SURE_INSIDE, LEAST_INSIDE = 0.75, 0.65  # of a lesion's surface within the organ
DEEP = 0.95  # so much of it, and it is no gallbladder
MOST_FAT = 0.05  # of its surface: more is the hilum, a fissure or the border of the organ
BALL_FAT, BALL = 0.15, 0.8  # of the surface of fluid so round: a cyst below the capsule, as no cleft is
SOLID_MM, SOLID_SLICES = 12.0, 3.2  # least size of what is no fluid, mm and slices: vessels cut across look alike
FLUID_SLICES = 2.5  # of fluid: fat of a cleft mixed with liver is as dense as water in the slice or two that it fills
# Width of the widest ball over the longest extent: 0.7 to 1 in drawn cysts, below 0.55 in veins and clefts.
ROUND = 0.6
VEIN_HU = 20.0  # without contrast: what noise takes off blood still lies above
SMALL_MM = 10.0  # too small to characterise (Berland, ACR white paper, J Am Coll Radiol 2010;7:754)
CAVA_MM = (24.0, 47.0)  # right and in front of the canal
CANTLIE, SIDE_VEIN = 0.3, 0.15  # to the right for each mm to the front; to the back for each mm to the right
MOST = 12  # more are not lesions but a noisy or badly outlined organ
DOUBT_MM = 3.0
NEIGHBOURS = ("gallbladder", "stomach", "inferior_vena_cava", "colon", "duodenum", "kidney_right", "kidney_left")
AWAY_MM = 3.0  # from a neighbour's outline
# Where the gallbladder lies in the liver's box, as shares: from the right, from the back, from below; it is a pear.
FOSSA_LEFT, FOSSA_FRONT, FOSSA_UP, PEAR = (0.15, 0.65), 0.35, 0.6, 1.3
FOSSA_NOTE = "the gallbladder was not found: a cyst as long as it in its place is not told"
BLOOD_STEP_HU = 8.0  # without contrast: darker than the patient's own blood by this, at least
NO_TISSUE_HU = (-40.0, 400.0)  # fat of the hilum and of clefts, gas in ducts, clips and stents
KINDS = {"liver": ("liver_cyst", "liver_hypodensity", "liver_lesion"), "spleen": ("splenic_lesion",) * 3}


@tool(
    NAME,
    observes=("liver_cyst", "liver_hypodensity", "liver_lesion", "splenic_lesion"),
    needs=("liver", "spleen"),
)
def liver_lesions(case: Case) -> list[Evidence]:
    """Look for cysts and solid lesions of liver and spleen."""
    return [record for name in ("liver", "spleen") for record in _of(case, name)]


def _of(case: Case, name: str) -> list[Evidence]:
    seen, findings = organ(case, name), dict.fromkeys(KINDS[name])
    if seen.mask is None or not seen.measurable:
        return [sought(case, NAME, finding, seen) for finding in findings]
    when = phase(case)
    found = dark_lesions(case, seen)
    if len(found) > MOST:
        return [sought(case, NAME, finding, seen, failed=("noise",)) for finding in findings]
    unseen = name == "liver" and organ(case, "gallbladder").mask is None
    if unseen:
        found = [lesion for lesion in found if not like_gallbladder(lesion, seen.voxels)]
    out: list[Evidence] = [_observed(case, seen, lesion, number) for number, lesion in enumerate(found, 1)]
    told = [record.finding for record in out if isinstance(record, Observation)]
    for finding in findings:
        solid = finding != "liver_cyst"
        failed = ("no_contrast",) if solid and when == "none" else ("phase",) if solid and when != "venous" else ()
        note = FOSSA_NOTE if unseen and not solid else ""
        out.append(sought(case, NAME, finding, seen, found=told.count(finding), failed=failed, note=note))
    return out


def like_gallbladder(lesion: Lesion, liver: NDArray[np.bool_]) -> bool:
    """Whether fluid lies where the gallbladder does and is a pear, or is cut by the lower edge of the scan.

    What is no pear and is surrounded by the liver as far as it is seen is none. Arrays are
    (Z, Y, X) on the working grid; x grows to the patient's right.
    """
    if lesion.hu > VEIN_HU:
        return False
    inside, own = np.argwhere(liver), np.argwhere(lesion.mask)
    low, high = np.percentile(inside, (2, 98), axis=0)
    up, front, right = (own.mean(axis=0) - low) / np.maximum(1.0, high - low)
    cut = int(own[:, 0].min()) == 0 and lesion.inside < DEEP
    pear = lesion.length_mm >= PEAR * min(lesion.short_mm, lesion.long_mm)
    placed = FOSSA_LEFT[0] <= 1.0 - right <= FOSSA_LEFT[1] and front >= FOSSA_FRONT and up <= FOSSA_UP
    return bool(placed and (pear or cut))


def dark_lesions(case: Case, seen: Organ) -> list[Lesion]:
    """What is darker than the organ, round and within it; masks on the organ's grid."""
    grid, box = seen.grid, crop_of(seen.voxels, seen.grid)
    own = seen.voxels[box]
    smooth = blurred(case.working.hu.T[box], grid)
    normal = tissue(smooth, own, grid)
    place = within(own, grid)
    for name in NEIGHBOURS:
        beside = structure(case, name).mask
        if beside is not None:
            place &= ~grown(beside.on(case.working.grid).voxels.T[box], AWAY_MM, grid)
    place &= ~grown((smooth < NO_TISSUE_HU[0]) | (smooth > NO_TISSUE_HU[1]), AWAY_MM, grid)
    wanted = smooth < limit_hu(normal, phase(case), contrast(case).blood_hu)
    found = spots(smooth, own, place, wanted, normal, grid, least_inside=LEAST_INSIDE)
    step_mm, plain = case.volume.grid.spacing_mm[2], phase(case) == "none"
    return [lesion.placed(seen.voxels, box) for lesion in found if _is_lesion(lesion, step_mm, plain=plain)]


def _is_lesion(lesion: Lesion, step_mm: float, *, plain: bool) -> bool:
    """Not a vein, nor the fat of a cleft mixed with liver: round, with little fat around it, in several slices."""
    longest = max(lesion.long_mm, lesion.height_mm)
    ball = lesion.fluid and lesion.width_mm >= BALL * longest and lesion.inside >= SURE_INSIDE
    if lesion.fat > (BALL_FAT if ball else MOST_FAT) or lesion.width_mm < ROUND * longest:
        return False
    if lesion.fluid and not (plain and lesion.hu > VEIN_HU):
        return min(lesion.ball_mm, lesion.height_mm) >= FLUID_SLICES * step_mm
    return lesion.ball_mm >= max(SOLID_MM, SOLID_SLICES * step_mm)


def limit_hu(normal: Tissue, when: str, blood_hu: float | None = None) -> float:
    """HU below which a lesion stands out in a phase; ``blood_hu`` is the density of the patient's own blood."""
    limit = normal.hu - normal.step
    if when == "none":
        return min(limit, BLOOD_HU if blood_hu is None else min(BLOOD_HU, blood_hu - BLOOD_STEP_HU))
    return limit if when == "venous" else min(limit, FLUID_PHASE_HU)


def _observed(case: Case, seen: Organ, lesion: Lesion, number: int) -> Observation:
    cyst, small, other = KINDS[seen.name]
    finding = small if lesion.long_mm < SMALL_MM else cyst if lesion.fluid else other
    if finding == other and phase(case) != "venous" and seen.name == "liver":
        finding = small  # without the right phase a dark spot is a dark spot
    site, _ = SITES[seen.name]
    attributes = {"density": "fluid_density" if lesion.fluid else "hypodense"}
    if seen.name == "liver" and seen.whole:
        attributes["segment"] = segment_of(case, seen.voxels, lesion.mask)
    note = ""
    if lesion.inside < SURE_INSIDE:
        note = "at the border of the organ: a cleft or a neighbour looks alike"
    elif seen.name == "liver" and lesion.fluid and lesion.inside < DEEP and organ(case, "gallbladder").mask is None:
        note = "the gallbladder was not found: it looks alike where the liver surrounds it"
    return Observation(
        tool=NAME, finding=finding, presence="uncertain" if note else "present", site=site,
        measurements=measures(lesion), attributes=attributes, note=note,
        region=case.keep(Mask(f"{seen.name}_lesion_{number}", lesion.mask.T, seen.grid)),
    )  # fmt: skip


def measures(lesion: Lesion) -> tuple[Measurement, ...]:
    """What is told of every lesion."""
    doubt = max(DOUBT_MM, abs(lesion.long_mm - lesion.ball_mm))  # what is not a ball has a neighbour's part
    return (
        Measurement(quantity="diameter", value=lesion.long_mm, plus_minus=doubt),
        Measurement(quantity="short_axis", value=min(lesion.short_mm, lesion.long_mm), plus_minus=doubt),
        Measurement(quantity="diameter_3d", value=max(lesion.length_mm, lesion.long_mm), plus_minus=doubt),
        Measurement(quantity="volume", value=lesion.volume_ml),
        Measurement(quantity="attenuation", value=lesion.hu, plus_minus=5.0),
    )


def segment_of(case: Case, liver: NDArray[np.bool_], lesion: NDArray[np.bool_]) -> str:
    """The Couinaud segment in which a lesion's centre probably lies, "segment_2" to "segment_8".

    Where the veins are not outlined the segments are told from the spine, which a long left lobe does not move: the
    inferior vena cava lies in front of the vertebral body on the right, Cantlie's line runs from it to the gallbladder
    (Bismuth, World J Surg 1982;6:3), the right hepatic vein from it to the side, the falciform ligament in the
    midline; the portal vein divides upper from lower segments at half the height of the side. Without a spine the
    lines stand at shares of the liver's box. Segment 1 is left out: it needs the veins. Arrays are (Z, Y, X) on the
    working grid.
    """
    inside, grid = np.argwhere(liver), case.working.grid
    centre = np.argwhere(lesion).mean(axis=0)
    low, high = np.percentile(inside, (5, 95), axis=0)
    upper = (centre[0] - low[0]) / max(1.0, high[0] - low[0]) > 0.5
    if spine(case).found:
        at, canal = grid.to_mm(centre[::-1]), spine(case).at(float(grid.to_mm(centre[::-1])[2]))
        right, front_mm = float(at[0] - canal[0]), float(at[1] - canal[1]) - CAVA_MM[1]
        lateral, line = right < 0.0, CAVA_MM[0] + CANTLIE * front_mm
        own = inside[inside[:, 2] < grid.to_ijk(canal)[0], 0]  # of the left lobe, which lies high
        if lateral and own.size:
            upper = centre[0] > float(np.median(own))
        left, front = right < line, front_mm > -SIDE_VEIN * (right - CAVA_MM[0])
    else:
        x_low, x_high = np.percentile(inside[:, 2], (2, 98))
        share = (x_high - centre[2]) / max(1.0, x_high - x_low)  # x grows to the patient's right
        lateral, left, front = share > 0.72, share > 0.55, (centre[1] - low[1]) / max(1.0, high[1] - low[1]) > 0.5
    line_x = _cantlie(case, float(centre[1]))
    if line_x is not None:
        left = centre[2] < line_x
    if lateral:
        return "segment_2" if upper else "segment_3"
    if left:
        return "segment_4"
    if front:
        return "segment_8" if upper else "segment_5"
    return "segment_7" if upper else "segment_6"


def _cantlie(case: Case, y: float) -> float | None:
    """Column in which Cantlie's line runs at row ``y``, seen from below; None where an end of it was not drawn."""
    ends = []
    for name in ("gallbladder", "inferior_vena_cava"):
        mask = structure(case, name).mask
        if mask is None or not mask:
            return None
        ends.append(case.working.grid.to_ijk(mask.centre_mm))
    front, back = ends
    if front[1] - back[1] < 10.0:  # voxels; too near to give a direction
        return None
    share = (y - back[1]) / (front[1] - back[1])
    return float(back[0] + np.clip(share, 0.0, 1.5) * (front[0] - back[0]))
