"""Consolidation and ground glass: parts of the lung that hold too little air.

In: an open case. Out: an Observation for each such part and, for each side, Searches for
consolidation, ground glass and both together. What is told as a nodule or a mass is not told
again here; airless places of a lung that has lost volume belong to ``atelectasis``. Ground
glass is measured against the median of its own lung, because lung in expiration is as dense
everywhere as ground glass is in inspiration. Borders lie halfway between a place and its lung.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import grown, shrunk
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.ct.volume import Mask, as_point
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.dense_lung import DENSE_HU, Dense, dense_places, volume_lost, whole_of
from vlm.tools.lung_field import Bools, Field, Floats, field, search, site_of, smooth
from vlm.tools.nodules import is_told
from vlm.tools.registry import tool

NAME = "consolidation"
LEAST_ML = 4.0  # a ball of 20 mm
VESSEL_ML = 6.0  # so much airless tissue may be vessels side by side: up to 5.6 in clear lungs of real scans
FREE_RIM = 0.45  # but not where so much of its rim is lung: of the vessels of a hilum it is 0.05 to 0.40
HILAR = 0.1  # nor away from the central airways
MASS_ML = 14.0  # a ball of 30 mm; so large a round place is a mass
CONSOLIDATED_HU = (-30.0, 160.0)  # blocks of airless lung, with contrast, too
GROUND_GLASS_HU = (-700.0, -250.0)  # Fleischner glossary 2008 gives no number; -700 to -300 is customary
ABOVE_LUNG_HU = 150.0  # and so much denser than its lung: halfway to ground glass of -550
GLASS_BLUR_MM = 2.0
GLASS_CORE_MM = 4.0  # a patch is at least twice as thick: partial volume round vessels is not
GLASS_LEAST_ML = 4.0  # a ball of 20 mm
EXPIRED_HU = -780.0  # median of a lung; above it breathing and gravity make places like ground glass:
EXPIRED_LEAST_ML = 60.0  # it is larger than what is denser only by gravity (44 mL in a clear lung),
LEVEL_LEAST_ML = 8.0  # or this large and denser than the lung at its own height; the moving dome gives up to 6
VESSELS_SHARE = 0.1  # of a patch that is denser; vessels and the blur round them hold more (0.1 to 0.2 in clear lungs)
LEVEL_MM = 6.0
NARROW_HU = 100.0  # a lung so dense that less is left between it and tissue shows no ground glass
EDGE_MM = 7.0  # from airless tissue, where blur makes ground glass


@tool(
    NAME,
    observes=("consolidation", "ground_glass_opacity", "lung_opacity"),
    needs=("lungs", "thoracic_cavity", "airways", "skeleton"),
)
def consolidation(case: Case) -> list[Evidence]:
    """Find consolidation and ground glass with side, zone, volume and share of the lung."""
    out: list[Evidence] = []
    for side in SIDES:
        seen = field(case, side)
        dense: list[Observation] = []
        glass: list[Observation] = []
        if seen.seen and "density_withheld" not in seen.failed:
            places = [place for place in dense_places(case) if place.side == side and _consolidated(case, place)]
            dense = [_airless(case, place, seen, n) for n, place in enumerate(places, 1)]
            glass = _glass(case, side, seen)
        out += [*dense, *glass]
        out.append(search(NAME, "consolidation", seen, found=len(dense), site="lung"))
        out.append(search(NAME, "ground_glass_opacity", seen, found=len(glass), site="lung"))
        out.append(search(NAME, "lung_opacity", seen, found=len(dense) + len(glass), site="lung"))
    return out


def _consolidated(case: Case, place: Dense) -> bool:
    """Whether an airless place is consolidation rather than nodule, collapse or fat."""
    low, high = CONSOLIDATED_HU
    if place.collapsed or volume_lost(case, place.side) or not low <= place.mean_hu <= high:
        return False
    if place.volume_ml < VESSEL_ML and (place.lung_rim < FREE_RIM or place.hilar > HILAR):
        return False
    if place.volume_ml >= MASS_ML and place.round:
        return False
    if place.volume_ml < MASS_ML and is_told(case, place.side, place.centre_mm):
        return False
    return float(np.count_nonzero(whole_of(case, place))) * case.working.grid.voxel_ml >= LEAST_ML


def _airless(case: Case, place: Dense, seen: Field, number: int) -> Observation:
    """The Observation of one consolidation."""
    voxels = whole_of(case, place)
    ml = float(np.count_nonzero(voxels)) * case.working.grid.voxel_ml
    sure = "thick_slices" not in seen.failed
    return Observation(
        tool=NAME,
        finding="consolidation",
        presence="present" if sure else "uncertain",
        side=place.side,
        site=site_of(case, place.side, Mask("", voxels.T, case.working.grid)),
        measurements=(
            Measurement(quantity="volume", value=ml),
            Measurement(quantity="fraction", value=_percent(case, place.side, ml)),
            Measurement(quantity="attenuation", value=place.mean_hu),
        ),
        region=case.keep(Mask(f"consolidation_{place.side}_{number}", voxels.T, case.working.grid)),
    )


def _glass(case: Case, side: LungSide, seen: Field) -> list[Observation]:
    """Patches of ground glass in one lung."""
    grid = case.working.grid
    out = []
    patches = [voxels for voxels in _patches(case, side) if not _is_nodule(case, side, voxels)]
    for number, voxels in enumerate(patches, 1):
        ml = float(np.count_nonzero(voxels)) * grid.voxel_ml
        out.append(
            Observation(
                tool=NAME,
                finding="ground_glass_opacity",
                presence="uncertain" if "thick_slices" in seen.failed else "present",
                side=side,
                site=site_of(case, side, Mask("", voxels.T, grid)),
                measurements=(
                    Measurement(quantity="volume", value=ml),
                    Measurement(quantity="fraction", value=_percent(case, side, ml)),
                    Measurement(quantity="attenuation", value=float(case.working.hu.T[voxels].mean())),
                ),
                region=case.keep(Mask(f"ground_glass_{side}_{number}", voxels.T, grid)),
            )
        )
    return out


def _is_nodule(case: Case, side: LungSide, voxels: Bools) -> bool:
    """Whether a patch is no larger than a nodule and is told as one."""
    grid = case.working.grid
    if np.count_nonzero(voxels) * grid.voxel_ml >= MASS_ML:
        return False
    return is_told(case, side, as_point(grid.to_mm(np.argwhere(voxels).mean(axis=0)[::-1])))


def _patches(case: Case, side: LungSide) -> list[Bools]:
    """(Z, Y, X) bool of each patch of ground glass in a lung, measured against the middle of the lung."""
    lung = lungs(case).of(side).voxels.T
    middle = float(np.median(case.working.hu.T[lung]))
    if middle < EXPIRED_HU:
        return _even(case, lung, middle, GLASS_LEAST_ML)
    wide = _even(case, lung, middle, EXPIRED_LEAST_ML)
    return wide or _even(case, lung, _at_height(case, lung), LEVEL_LEAST_ML)


def _even(case: Case, lung: Bools, middle: float | Floats, least_ml: float) -> list[Bools]:
    """(Z, Y, X) bool of each patch that is denser than ``middle`` all over, without vessels that would explain it."""
    grid, hu = case.working.grid, case.working.hu.T
    low = np.maximum(GROUND_GLASS_HU[0], np.asarray(middle) + ABOVE_LUNG_HU)
    blurred = smooth(case, GLASS_BLUR_MM)
    glass = lung & (blurred > low) & (blurred < GROUND_GLASS_HU[1]) & (low < GROUND_GLASS_HU[1] - NARROW_HU)
    airless = ndimage.binary_opening(smooth(case, 1.0) > DENSE_HU, iterations=1)
    glass &= ~grown(airless, EDGE_MM, grid)
    core = shrunk(glass, GLASS_CORE_MM, grid)
    if not core.any():
        return []
    labels: NDArray[np.uint32] = cc3d.connected_components(glass & grown(core, GLASS_CORE_MM + 2, grid), connectivity=6)
    size_ml = np.bincount(labels.ravel()) * grid.voxel_ml
    vessels_ml = np.bincount(labels[hu > GROUND_GLASS_HU[1]], minlength=size_ml.size) * grid.voxel_ml
    even = (size_ml >= least_ml) & (vessels_ml < VESSELS_SHARE * size_ml)
    even[0] = False
    return [labels == name for name in np.flatnonzero(even)]


def _at_height(case: Case, lung: Bools) -> Floats:
    """(1, Y, 1) the median of a lung within LEVEL_MM of each coronal plane, HU: gravity makes the lower one denser."""
    hu = case.working.hu.T
    reach = max(1, round(LEVEL_MM / case.working.grid.spacing_mm[1]))
    rows = [hu[:, y][lung[:, y]] for y in range(lung.shape[1])]
    near = [np.concatenate(rows[max(0, y - reach) : y + reach + 1]) for y in range(len(rows))]
    levels = [float(np.median(values)) if values.size else 0.0 for values in near]
    return np.asarray(levels, dtype=np.float32)[None, :, None]


def _percent(case: Case, side: LungSide, ml: float) -> float:
    """Share of the lung of a side, percent."""
    whole = lungs(case).of(side).volume_ml
    return 100.0 * ml / max(whole, ml)
