"""Fatty liver: the density of the liver without contrast.

In: the rough liver of a Case. Out: an Observation where it is too dark, or a Search with its attenuation.
"""

from __future__ import annotations

import numpy as np

from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.liver import liver
from vlm.anatomy.skeleton import opened_by
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search, withheld
from vlm.tools.registry import tool

NAME = "liver_density"
FATTY_HU = 40.0  # moderate to severe steatosis at 120 kV, unenhanced (Kodama, AJR 2007;188:1307; Pickhardt 2012)
DOUBT_HU = 3.0
INNER_MM = 8.0  # the rough outline errs at its border


@tool(NAME, observes=("hepatic_steatosis",), needs=("liver",))
def hepatic_steatosis(case: Case) -> list[Evidence]:
    """Measure the liver's attenuation; judged on scans without contrast only."""
    found, site = liver(case), "liver"
    if not found.found or "density_withheld" in withheld(case):
        reason = () if coverage(case).of(site) <= 0 else ("not_found",)
        return [search(case, NAME, "hepatic_steatosis", site=site, failed=reason)]
    if contrast(case).enhanced is not False:
        return [search(case, NAME, "hepatic_steatosis", site=site, covered=0.0, failed=("contrast",))]
    core = opened_by(found.mask.voxels.T, found.mask.grid, INNER_MM)
    values = case.working.hu.T[core]
    mean = Measurement(quantity="attenuation", value=float(np.median(values)), plus_minus=DOUBT_HU)
    region = case.keep(Mask("liver", found.mask.voxels, found.mask.grid))
    fatty = mean.value < FATTY_HU
    out: list[Evidence] = []
    if fatty:
        sure = mean.value < FATTY_HU - DOUBT_HU
        out.append(
            Observation(
                tool=NAME, finding="hepatic_steatosis", presence="present" if sure else "uncertain", site=site,
                measurements=(mean,), region=region, note="" if sure else "the density lies at the limit",
            )
        )  # fmt: skip
    # Patches of fat are not looked for; one density stands for the whole liver.
    out.append(
        search(
            case, NAME, "hepatic_steatosis", site=site, covered=1.0, found=int(fatty), measurements=(mean,),
            region=region,
        )
    )  # fmt: skip
    return out
