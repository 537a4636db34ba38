"""Wide bile and pancreatic ducts: where a user's own expert outlines them or the pancreas, and within a bright liver.

In: the outline of a duct; or of the pancreas or the liver, in a phase in which it stands out from fluid. Out: an
Observation of a duct that is too wide, and a Search. The embedded network outlines the liver alone; what is told from
densities denies nothing. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from scipy import ndimage
from scipy.spatial.distance import pdist

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import closed, grown, shrunk
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.liver_ducts import Tubes, liver_ducts
from vlm.tools.organs import SITES, Organ, organ, phase, sought
from vlm.tools.own_voxels import Bools, Part, own_voxels, widest_mm
from vlm.tools.registry import tool

NAME = "ducts"
DOUBT_MM = 1.5
DOUBT_SHARE = 0.5  # of the volume of tubes in the liver: a blurred border is half of a thin one


@dataclass(frozen=True, slots=True)
class Limit:
    """A duct, and the widths from which it may be and is wide, mm."""

    structure: str
    finding: str
    may_mm: float
    sure_mm: float


LIMITS = (
    # Up to 7 mm, and 10 mm after cholecystectomy: customary (Senturk, Eur J Radiol 2012;81:39).
    Limit("common_bile_duct", "biliary_dilatation", 7.0, 10.0),
    # Up to 3 mm, in the head 3.5 mm (customary; what wide ones mean: Edge, World J Gastroenterol 2007;13:1701).
    Limit("pancreatic_duct", "pancreatic_duct_dilatation", 3.5, 5.0),
)
SLICE_MM = 3.0  # thicker slices blur a duct with the gland
STANDS_OUT_HU = 40.0  # gland over fluid
DUCT_HU = (-5.0, 30.0)  # fluid, with the blur of the gland; fat between lobules is darker somewhere near
FAT_HU, FAT_MM = -25.0, 2.0
CLOSE_MM, RIM_MM = 4.0, 1.5  # dents of the outline; the border of the gland is blurred with fat
LONG_MM, SLIM = 20.0, 3.0  # a duct is so long, and so many times longer than wide: a cyst is not
LOOKED_SHARE = 0.25  # what is told from densities alone denies nothing
# Length of all wide ducts of the liver together from which they may be and are wide, mm; several of them.
MAY_LONG_MM, SURE_LONG_MM, SEVERAL = 40.0, 80.0, 2


@tool(NAME, observes=("biliary_dilatation", "pancreatic_duct_dilatation"),
      needs=("common_bile_duct", "pancreatic_duct", "pancreas", "liver"))  # fmt: skip
def ducts(case: Case) -> list[Evidence]:
    """Look for wide bile and pancreatic ducts where they are outlined, and in an enhanced liver or pancreas."""
    out: list[Evidence] = []
    for limit in LIMITS:
        seen = organ(case, limit.structure)
        outlined = seen.mask is not None and seen.measurable
        told = _outlined(case, seen, limit) if outlined else []
        if limit.structure == "common_bile_duct" and not any(isinstance(each, Observation) for each in told):
            told = _in_liver(case, seen, limit, told)  # a block at the hilum leaves the common duct narrow
        elif limit.structure == "pancreatic_duct" and not outlined:
            told = _in_gland(case, organ(case, "pancreas"), limit)
        out += told
    return out


def _in_liver(case: Case, duct: Organ, limit: Limit, told: list[Evidence]) -> list[Evidence]:
    """Wide ducts within the liver; ``told`` is what the outline of the common duct told, empty where there is none."""
    liver = organ(case, "liver")
    tubes = liver_ducts(case, liver) if liver.mask is not None and liver.measurable else None
    if isinstance(tubes, Tubes) and sum(tubes.lengths_mm) >= MAY_LONG_MM:
        sure = sum(tubes.lengths_mm) >= SURE_LONG_MM and len(tubes.lengths_mm) >= SEVERAL
        ml = float(np.count_nonzero(tubes.mask)) * tubes.part.grid.voxel_ml  # a width would pass for the common duct's
        size = Measurement(quantity="volume", value=ml, plus_minus=DOUBT_SHARE * ml)
        one = Observation(
            tool=NAME, finding=limit.finding, presence="present" if sure else "uncertain", site=SITES[duct.name][0],
            measurements=(size,), region=case.keep(tubes.part.named("liver_ducts", tubes.mask)),
            note="ducts within the liver" if sure else "dark tubes in the liver: clefts or oedema look alike",
        )  # fmt: skip
        return [one, _rough(case, duct, limit, liver, found=1)]
    if told:
        return told
    looked = liver.mask is not None and liver.measurable and not isinstance(tubes, str)
    if looked:
        return [_rough(case, duct, limit, liver)]
    return [sought(case, NAME, limit.finding, duct, failed=(tubes,) if isinstance(tubes, str) else ())]


def _rough(case: Case, duct: Organ, limit: Limit, liver: Organ, *, found: int = 0) -> Evidence:
    """The search where only the liver was looked through."""
    return search(
        case, NAME, limit.finding, site=SITES[duct.name][0], covered=LOOKED_SHARE * liver.covered, found=found,
        failed=duct.failed, note="only wide ducts within the liver were looked for",
    )  # fmt: skip


def _outlined(case: Case, seen: Organ, limit: Limit) -> list[Evidence]:
    """A duct that is outlined, by the widest ball in it."""
    assert seen.mask is not None
    part = own_voxels(case, seen.mask)
    if part is None:
        return [sought(case, NAME, limit.finding, seen, share=0.0, failed=("coarse_pixels",))]
    width = widest_mm(part.voxels, part.grid)
    failed = ("thick_slices",) if case.volume.grid.spacing_mm[2] > SLICE_MM else ()
    measure = Measurement(quantity="diameter", value=width, plus_minus=DOUBT_MM)
    if width < limit.may_mm:
        return [sought(case, NAME, limit.finding, seen, failed=failed, measurements=(measure,))]
    sure = width >= limit.sure_mm
    one = Observation(
        tool=NAME, finding=limit.finding, presence="present" if sure else "uncertain", site=SITES[seen.name][0],
        measurements=(measure,), region=case.keep(part.named(limit.structure, part.voxels)),
        note="" if sure else "the width lies at the limit",
    )  # fmt: skip
    return [one, sought(case, NAME, limit.finding, seen, found=1, failed=failed, measurements=(measure,))]


def _in_gland(case: Case, gland: Organ, limit: Limit) -> list[Evidence]:
    """A dark line along an enhanced pancreas."""
    part = None if gland.mask is None or not gland.measurable else own_voxels(case, gland.mask)
    if part is None:
        return [sought(case, NAME, limit.finding, gland)]
    normal = float(np.median(part.hu[part.voxels]))
    if phase(case) == "none" or normal < DUCT_HU[1] + STANDS_OUT_HU:
        reason = "no_contrast" if phase(case) == "none" else "phase"
        return [sought(case, NAME, limit.finding, gland, failed=(reason,))]
    failed = ("thick_slices",) if case.volume.grid.spacing_mm[2] > SLICE_MM else ()
    duct = dark_line(part, normal, limit.may_mm)
    if duct is None:
        return [sought(case, NAME, limit.finding, gland, failed=failed, share=LOOKED_SHARE)]
    width = Measurement(quantity="diameter", value=_width_mm(duct, part), plus_minus=DOUBT_MM)
    one = Observation(
        tool=NAME, finding=limit.finding, presence="uncertain", site="pancreatic_duct", measurements=(width,),
        region=case.keep(part.named("pancreatic_duct", duct)), note="told from its density within the pancreas",
    )  # fmt: skip
    return [one, sought(case, NAME, limit.finding, gland, found=1, failed=failed, share=LOOKED_SHARE)]


def dark_line(part: Part, normal_hu: float, least_mm: float) -> Bools | None:
    """Fluid along the gland that is long and slim, not a cyst and not fat between lobules; None where there is none."""
    grid = part.grid
    smooth = ndimage.gaussian_filter(part.hu.astype(np.float32), [min(0.8 / s, 0.8) for s in grid.spacing_mm[::-1]])
    inside = shrunk(closed(part.voxels, CLOSE_MM, grid), RIM_MM, grid)
    fluid = inside & (smooth > DUCT_HU[0]) & (smooth < min(DUCT_HU[1], normal_hu - STANDS_OUT_HU))
    fluid &= ~grown(smooth < FAT_HU, FAT_MM, grid)
    labels = cc3d.connected_components(fluid, connectivity=26)
    sizes = np.bincount(labels.ravel())
    for number in (1 + np.argsort(-sizes[1:], kind="stable"))[:3]:
        piece = labels == number
        width = _width_mm(piece, part)
        if width >= least_mm and _length_mm(piece, part) >= max(LONG_MM, SLIM * width):
            return np.asarray(piece)
    return None


def _length_mm(piece: Bools, part: Part) -> float:
    points = np.argwhere(piece)
    points = points[:: max(1, len(points) // 400)] * np.asarray(part.grid.spacing_mm[::-1])
    return float(pdist(points).max()) if len(points) > 1 else 0.0


def _width_mm(piece: Bools, part: Part) -> float:
    """Width along the middle: the upper quartile of the widest ball of each sagittal slice, which the gland crosses."""
    depth = depth_mm(piece, part.grid)
    best = depth.max(axis=(0, 1))
    best = best[best > 0]
    return max(0.0, 2.0 * float(np.quantile(best, 0.75)) - min(part.grid.spacing_mm[:2])) if best.size else 0.0
