"""Consolidation and ground glass: parts of the lung that hold too little air.

In: an open case. Out: an Observation for each such part and, for each side, Searches for
consolidation, ground glass and both together. Round airless places are nodules or masses
and belong to another tool; airless places of a lung that has lost volume belong to
``atelectasis``. Ground glass is measured against the median of its own lung, because lung
in expiration is as dense everywhere as ground glass is in inspiration.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import grown, shrunk
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.dense_lung import DENSE_HU, Dense, dense_places, near_hilum, volume_lost
from vlm.tools.lung_field import Bools, Field, field, search, smooth, zone_of
from vlm.tools.registry import tool

NAME = "consolidation"
LEAST_ML = 6.0  # smaller airless places may be vessels side by side: up to 5.6 in clear lungs of real scans
CONSOLIDATED_HU = (-30.0, 160.0)  # blocks of airless lung, with contrast, too
GROUND_GLASS_HU = (-650.0, -250.0)  # Fleischner glossary 2008 gives no number; -700 to -300 is customary
ABOVE_LUNG_HU = 180.0  # and so much denser than the middle of its lung
GLASS_BLUR_MM = 2.0
GLASS_CORE_MM = 4.0  # a patch is at least twice as thick: partial volume round vessels is not
GLASS_LEAST_ML = 8.0
EXPIRED_HU = -780.0  # median of a lung; above it breathing and gravity make places like ground glass
EXPIRED_LEAST_ML = 60.0
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
    apart = place.round or place.collapsed or volume_lost(case, place.side)
    return not apart and place.volume_ml >= LEAST_ML and low <= place.mean_hu <= high


def _airless(case: Case, place: Dense, seen: Field, number: int) -> Observation:
    """The Observation of one consolidation."""
    sure = "thick_slices" not in seen.failed
    return Observation(
        tool=NAME,
        finding="consolidation",
        presence="present" if sure else "uncertain",
        side=place.side,
        site=zone_of(case, place.side, place.voxels),
        measurements=(
            Measurement(quantity="volume", value=place.volume_ml),
            Measurement(quantity="fraction", value=_percent(case, place.side, place.volume_ml)),
            Measurement(quantity="attenuation", value=place.mean_hu),
        ),
        region=case.keep(Mask(f"consolidation_{place.side}_{number}", place.voxels.T, case.working.grid)),
    )


def _glass(case: Case, side: LungSide, seen: Field) -> list[Observation]:
    """Patches of ground glass in one lung."""
    grid = case.working.grid
    lung = lungs(case).of(side).voxels.T
    middle = float(np.median(case.working.hu.T[lung]))
    blurred = smooth(case, GLASS_BLUR_MM)
    low = max(GROUND_GLASS_HU[0], middle + ABOVE_LUNG_HU)
    if low >= GROUND_GLASS_HU[1] - 100:
        return []
    airless = ndimage.binary_opening(smooth(case, 1.0) > DENSE_HU, iterations=1)
    glass = lung & (blurred > low) & (blurred < GROUND_GLASS_HU[1]) & ~grown(airless, EDGE_MM, grid)
    glass &= ~near_hilum(case)
    core = shrunk(glass, GLASS_CORE_MM, grid)
    if not core.any():
        return []
    opened = glass & grown(core, GLASS_CORE_MM + 2, grid)
    labels: NDArray[np.uint32] = cc3d.connected_components(opened, connectivity=6)
    size_ml = np.bincount(labels.ravel()) * grid.voxel_ml
    size_ml[0] = 0.0
    least_ml = GLASS_LEAST_ML if middle < EXPIRED_HU else EXPIRED_LEAST_ML
    out = []
    for number, name in enumerate(np.flatnonzero(size_ml >= least_ml), 1):
        voxels: Bools = labels == name
        ml = float(size_ml[name])
        out.append(
            Observation(
                tool=NAME,
                finding="ground_glass_opacity",
                presence="uncertain" if "thick_slices" in seen.failed else "present",
                side=side,
                site=zone_of(case, side, voxels),
                measurements=(
                    Measurement(quantity="volume", value=ml),
                    Measurement(quantity="fraction", value=_percent(case, side, ml)),
                    Measurement(quantity="attenuation", value=float(case.working.hu.T[voxels].mean())),
                ),
                region=case.keep(Mask(f"ground_glass_{side}_{number}", voxels.T, grid)),
            )
        )
    return out


def _percent(case: Case, side: LungSide, ml: float) -> float:
    """Share of the lung of a side, percent."""
    whole = lungs(case).of(side).volume_ml
    return 100.0 * ml / max(whole, ml)
