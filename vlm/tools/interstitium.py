"""Interstitium and small airways: mosaic attenuation; septal thickening and fibrotic sequelae are not judged.

In: an open case. Out: an Observation of a lung that is a patchwork of denser and darker regions
larger than lobules, a Search of each side with how far these regions differ, and Searches that
say that nobody looks for thick septa and scars: no rule tried here told them from vessels,
fissures and dependent density.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import box_of
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, once
from vlm.tools.lung_field import Field, Floats, field, search
from vlm.tools.registry import tool

NAME = "interstitium"
MOSAIC = "mosaic_attenuation"  # a patchwork of regions of differing attenuation: Hansell, Radiology 2008;246:697
UNJUDGED = ("interlobular_septal_thickening", "pulmonary_fibrotic_sequela")
SEPTA_MM = 2.0  # septa are 0.1 to 1 mm thick

LOBULE_MM = 4.0  # sigma: averages over most of a lobule of 10 to 25 mm
REGION_MM = 90.0  # width of a box: gravity, breathing and the fissures change the lung over larger distances
EDGE_MM = 4.0  # from the lung's surface, where partial volume is
PARENCHYMA_HU = -600.0  # denser blocks hold vessels
DIFFER_HU = 70.0  # between the means of the denser and the darker part; 24 lungs of real scans without it: 20 to 53
BOTH_HU = 57.0  # in both lungs at once: patches that differ by 90 HU; in no real scan without it are both above 50
SURE_HU = 90.0  # patches of 2 cm that differ by 140 HU; blur takes a third of it
LEAST_SHARE = 0.15  # of the lung that is the smaller of the two parts
HOLES_HU = -940.0  # mean of the darker part; below, it is emphysema
LEAST_ML = 300.0  # of parenchyma; a smaller piece of lung shows no pattern


@dataclass(frozen=True, slots=True, kw_only=True)
class Patchwork:
    """How a lung parts into a denser and a darker half at the scale of lobules."""

    differ_hu: float  # between the means of the two
    denser_share: float  # 0..1
    darker_hu: float  # mean of the darker part
    denser: Mask


@tool(NAME, observes=(MOSAIC, *UNJUDGED), needs=("lungs",))
def interstitium(case: Case) -> list[Evidence]:
    """Find lungs that are a patchwork of attenuation; say that septa and scars are not assessed."""
    out: list[Evidence] = []
    for side in SIDES:
        out += _mosaic(case, field(case, side))
        thin = field(case, side, thick_mm=SEPTA_MM)
        out += [search(NAME, finding, thin, site="lung", failed=("not_implemented",)) for finding in UNJUDGED]
    return out


def _mosaic(case: Case, seen: Field) -> list[Evidence]:
    """Mosaic attenuation of one side."""
    parts = patchwork(case, seen.side) if seen.seen and "density_withheld" not in seen.failed else None
    if parts is None:
        failed = () if set(seen.failed) & {"not_covered", "density_withheld"} else ("not_found",)
        return [search(NAME, MOSAIC, seen, site="lung", failed=failed)]
    out: list[Evidence] = []
    size = Measurement(quantity="attenuation_difference", value=parts.differ_hu)
    other = patchwork(case, "left" if seen.side == "right" else "right")
    both = other is not None and _is_mosaic(other, BOTH_HU)
    if _is_mosaic(parts, BOTH_HU if both else DIFFER_HU):
        sure = parts.differ_hu >= SURE_HU and not seen.failed
        out.append(
            Observation(
                tool=NAME,
                finding=MOSAIC,
                presence="present" if sure else "uncertain",
                side=seen.side,
                site="lung",
                measurements=(size,),
                region=case.keep(parts.denser),
            )
        )
    return [*out, search(NAME, MOSAIC, seen, found=len(out), site="lung", measurements=(size,))]


def _is_mosaic(parts: Patchwork, least_hu: float) -> bool:
    """Whether two parts of a lung differ enough, and both are lung."""
    large = LEAST_SHARE <= parts.denser_share <= 1 - LEAST_SHARE
    return parts.differ_hu >= least_hu and large and parts.darker_hu > HOLES_HU


def patchwork(case: Case, side: LungSide) -> Patchwork | None:
    """Part one lung by its attenuation at the scale of lobules (Otsu 1979); None when there is too little of it."""
    return _patchworks(case)[side]


@once
def _patchworks(case: Case) -> dict[LungSide, Patchwork | None]:
    return {side: _parted(case, side) for side in SIDES}


def _parted(case: Case, side: LungSide) -> Patchwork | None:
    lung, grid = lungs(case).of(side), case.working.grid
    if not lung:
        return None
    box = box_of(lung.voxels.T, 3 * LOBULE_MM, grid)
    inside, hu = lung.voxels.T[box], case.working.hu.T[box]
    parenchyma = inside & (depth_mm(inside, grid) > EDGE_MM) & (hu < PARENCHYMA_HU)
    if int(np.count_nonzero(parenchyma)) * grid.voxel_ml < LEAST_ML:
        return None
    step_mm = np.array(grid.spacing_mm[::-1])
    total: Floats = np.where(parenchyma, hu, 0).astype(np.float32)
    weight: Floats = parenchyma.astype(np.float32)
    sigma, width = LOBULE_MM / step_mm, np.ceil(REGION_MM / step_mm).astype(int)
    lobular = _ratio(*(ndimage.gaussian_filter(part, sigma, truncate=2.5) for part in (total, weight)))
    regional = _ratio(*(ndimage.uniform_filter(part, width, mode="constant") for part in (total, weight)))
    residual = lobular - regional
    values = residual[parenchyma]
    split = _otsu(values)
    dense = parenchyma & (residual > split)
    voxels = np.zeros(lung.voxels.T.shape, dtype=bool)
    voxels[box] = dense
    return Patchwork(
        differ_hu=float(values[values > split].mean() - values[values <= split].mean()),
        denser_share=float((values > split).mean()),
        darker_hu=float(lobular[parenchyma & ~dense].mean()),
        denser=Mask(f"{MOSAIC}_{side}", voxels.T, grid),
    )


def _ratio(total: Floats, weight: Floats) -> Floats:
    """Mean of the voxels inside a mask round each voxel, HU."""
    return np.asarray(total / np.maximum(weight, 1e-3), dtype=np.float32)


def _otsu(values: Floats) -> float:
    """The value that parts a sample into two with the least spread within them."""
    count, edges = np.histogram(values, bins=200)
    middle = (edges[1:] + edges[:-1]) / 2
    below, total = np.cumsum(count), count.sum()
    moment = np.cumsum(count * middle)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (moment[-1] * below / total - moment) ** 2 / (below * (total - below))
    return float(edges[1 + int(np.nanargmax(between[:-1]))])
