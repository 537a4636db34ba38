"""Fatty liver: the density of the liver without contrast, or against the spleen with it.

In: the outline of liver and spleen; the rough liver of a Case where nobody outlined it well. Out: an Observation
where it is too dark, or a Search with its attenuation.
"""

from __future__ import annotations

import numpy as np

from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.liver import liver
from vlm.anatomy.skeleton import opened_by
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Region
from vlm.tools.ground import search, withheld
from vlm.tools.organs import inner_hu, kept, organ, phase
from vlm.tools.registry import tool

NAME = "liver_density"
FATTY_HU = 40.0  # moderate to severe steatosis at 120 kV, unenhanced (Kodama, AJR 2007;188:1307; Pickhardt 2012)
DARKER_HU = -9.0  # liver minus spleen, unenhanced: specific for 30 % fat (Park, Radiology 2006;239:105)
# Portal venous phase: liver minus spleen (Jacobs, AJR 1998;171:659) and liver (Lawrence, AJR 2012;198:1146).
PORTAL_DARKER_HU, PORTAL_HU = -20.5, 80.0
DOUBT_HU = 3.0
INNER_MM = 8.0  # the rough outline errs at its border
EDGE_MM = 6.0  # of a good outline


@tool(NAME, observes=("hepatic_steatosis",), needs=("liver", "spleen"))
def hepatic_steatosis(case: Case) -> list[Evidence]:
    """Measure the liver's attenuation; with contrast a fatty liver is only ever possible."""
    site = "liver"
    if "density_withheld" in withheld(case):
        return [search(case, NAME, "hepatic_steatosis", site=site)]
    outlined = organ(case, "liver")
    if outlined.mask is not None and outlined.measurable:
        return _outlined(case)
    found = liver(case)
    if not found.found:
        reason = () if coverage(case).of(site) <= 0 else ("not_found",)
        return [search(case, NAME, "hepatic_steatosis", site=site, failed=reason)]
    if contrast(case).enhanced is not False:
        return [search(case, NAME, "hepatic_steatosis", site=site, covered=0.0, failed=("contrast",))]
    core = opened_by(found.mask.voxels.T, found.mask.grid, INNER_MM)
    mean = float(np.median(case.working.hu.T[core]))
    region = case.keep(Mask("liver", found.mask.voxels, found.mask.grid))
    return _told(case, (_attenuation(mean),), region, fatty=mean < FATTY_HU, sure=mean < FATTY_HU - DOUBT_HU)


def _outlined(case: Case) -> list[Evidence]:
    """Judge a liver whose outline is good, in the phases that allow it."""
    outlined, spleen, when = organ(case, "liver"), organ(case, "spleen"), phase(case)
    own = float(np.median(inner_hu(case, outlined, EDGE_MM)))
    measures = [_attenuation(own)]
    gap: float | None = None
    if spleen.mask is not None and spleen.measurable:
        gap = own - float(np.median(inner_hu(case, spleen, EDGE_MM)))
        measures.append(Measurement(quantity="attenuation_difference", value=gap, plus_minus=2 * DOUBT_HU))
    region = kept(case, outlined)
    if when == "none":
        fatty = own < FATTY_HU or (gap is not None and gap < DARKER_HU)
        sure = own < FATTY_HU - DOUBT_HU
        return _told(case, tuple(measures), region, fatty=fatty, sure=sure)
    if when == "venous" and gap is not None:
        fatty = gap < PORTAL_DARKER_HU and own < PORTAL_HU
        return _told(case, tuple(measures), region, fatty=fatty, sure=False) if fatty else [_hidden(case)]
    return [_hidden(case)]


def _hidden(case: Case) -> Evidence:
    return search(case, NAME, "hepatic_steatosis", site="liver", covered=0.0, failed=("contrast",))


def _attenuation(mean: float) -> Measurement:
    return Measurement(quantity="attenuation", value=mean, plus_minus=DOUBT_HU)


def _told(
    case: Case, measures: tuple[Measurement, ...], region: Region | None, *, fatty: bool, sure: bool
) -> list[Evidence]:
    """The Observation where the liver is fatty, and the Search. Patches of fat are not looked for."""
    out: list[Evidence] = []
    if fatty:
        out.append(
            Observation(
                tool=NAME, finding="hepatic_steatosis", presence="present" if sure else "uncertain", site="liver",
                measurements=measures, region=region, note="" if sure else "the density lies at the limit",
            )
        )  # fmt: skip
    out.append(
        search(
            case, NAME, "hepatic_steatosis", site="liver", covered=1.0, found=int(fatty), measurements=measures,
            region=region,
        )
    )  # fmt: skip
    return out
