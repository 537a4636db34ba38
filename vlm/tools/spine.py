"""Density of the vertebrae.

In: the spine of a Case. Out: the trabecular attenuation of L1, or of the bodies about the diaphragm where L1
cannot be counted or is not covered; an Observation where it is low, and a Search. Judged at 120 kV or where
the voltage is not known; contrast in the blood lifts the attenuation by about 10 HU, which the search says.
"""

from __future__ import annotations

import numpy as np

from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.levels import levels
from vlm.anatomy.skeleton import Spine, marrow, spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search, withheld
from vlm.tools.registry import tool

NAME = "spine"
LOW_HU = 100.0  # osteoporosis likely: Jang, Radiology 2019;291:360 (L1); lower thoracic bodies are 10-20 HU denser
DOUBT_HU = 110.0  # the more than 90 % specific limit of Pickhardt, Ann Intern Med 2013;158:588
LEVEL_MM = (10.0, -185.0)  # from the right dome: about T9 to L2
MARROW_SHARE = 0.5  # slices through end plates and discs are left out: the middle half by density spread
LEAST_SLICES_MM = 30.0
HALF_BODY_MM = 11.0  # of L1, from its middle
LEAST_BODY_MM = 15.0
KILOVOLT = (110.0, 130.0)


@tool(NAME, observes=("osteopenia",), needs=("spine",))
def bone_density(case: Case) -> list[Evidence]:
    """Measure the marrow of the vertebral bodies about the diaphragm."""
    axis, dome, site = spine(case), coverage(case).dome_mm, "spine"
    voltage = case.volume.scan.tube_voltage_kv
    other = voltage is not None and not KILOVOLT[0] <= voltage <= KILOVOLT[1]
    if not axis.found or dome is None or other or "density_withheld" in withheld(case):
        reason = ("density_withheld",) if other else ("not_found",)
        return [search(case, NAME, "osteopenia", site=site, covered=0.0 if other else 1.0, failed=reason)]
    level, chosen = _chosen(case, axis, dome)
    if chosen.size == 0:
        return [search(case, NAME, "osteopenia", site=site, covered=0.0, failed=("not_covered",))]
    means, spreads, voxels = marrow(case.working, axis.bodies_mm, chosen)
    # Mid-body slices are even; end plates, discs with gas and osteophytes are not.
    even = spreads <= np.quantile(spreads, MARROW_SHARE)
    value = float(np.median(means[even]))
    mask = Mask("marrow", voxels, case.working.grid)
    if not mask:
        return [search(case, NAME, "osteopenia", site=site, covered=0.0, failed=("not_found",))]
    region = case.keep(mask)
    measure = Measurement(quantity="attenuation", value=value, plus_minus=15.0)
    enhanced = contrast(case).enhanced is not False
    failed = ("contrast",) if enhanced else ()
    out: list[Evidence] = []
    if value < DOUBT_HU:
        low = value < LOW_HU
        out.append(
            Observation(
                tool=NAME, finding="osteopenia", presence="present" if low else "uncertain",
                site=level, measurements=(measure,), region=region,
                note="; ".join(
                    part
                    for part in (
                        levels(case).note if level != site else "", "" if low else "between clearly low and normal",
                    )
                    if part
                ),
            )
        )  # fmt: skip
    out.append(
        search(
            case, NAME, "osteopenia", site=site, covered=1.0, found=len(out), failed=failed, measurements=(measure,),
            region=region,
        )
    )  # fmt: skip
    return out


def _chosen(case: Case, axis: Spine, dome_mm: float) -> tuple[str, np.ndarray]:
    """Site and working slices to be measured: L1, else the spine about the diaphragm; none where not covered."""
    step = case.working.grid.spacing_mm[2]
    first = next((body.middle_mm[2] for body in levels(case).bodies if body.name == "L1"), None)
    if first is not None:
        chosen = np.flatnonzero(axis.good & (np.abs(axis.canal_mm[:, 2] - first) <= HALF_BODY_MM))
        if chosen.size * step >= LEAST_BODY_MM:
            return "L1", chosen
    heights = axis.canal_mm[:, 2] - dome_mm
    chosen = np.flatnonzero(axis.good & (heights <= LEVEL_MM[0]) & (heights >= LEVEL_MM[1]))
    return "spine", chosen if chosen.size * step >= LEAST_SLICES_MM else chosen[:0]
