"""Enlarged heart and fluid in the pericardium.

In: the heart region of a Case. Out: the cardiothoracic ratio on axial slices, and fluid around the
heart where its density tells it from heart muscle and blood.
"""

from __future__ import annotations

import numpy as np

from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import Heart, heart
from vlm.anatomy.lungs import lungs
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.pericardial_fluid import LEAST_MM, fat_share, layer_between_fat, layer_within, surroundings
from vlm.tools.pericardial_layer import is_fine, layer_round
from vlm.tools.registry import tool

NAME = "heart"
ENLARGED_RATIO = 0.5  # Danzer 1919 on radiographs; on axial CT Gollub 2012 found the same limit
PLAIN_MM, PLAIN_ML, SURE_ML = 8.0, 60.0, 120.0  # without contrast fat in the grooves looks like thin layers of fluid
FAT_SHARE = 0.5  # of the heart's surface under fat: with less, fluid is judged with contrast only
DOUBT = 0.02  # one working voxel each on heart and chest changes the ratio by this


@tool(NAME, observes=("cardiomegaly",), needs=("heart", "thoracic_cavity"))
def heart_size(case: Case) -> list[Evidence]:
    """Compare the widest heart with the widest inner chest on axial slices."""
    found = heart(case)
    site = "heart"
    if not found.found or found.ratio is None or found.width_mm is None or found.thorax_mm is None:
        reason = () if coverage(case).of(site) <= 0 else ("not_found",)
        return [search(case, NAME, "cardiomegaly", site=site, failed=reason)]
    ratio = Measurement(quantity="ratio", value=found.ratio, plus_minus=DOUBT)
    width = Measurement(quantity="diameter", value=found.width_mm, plus_minus=case.working.grid.spacing_mm[0] * 2)
    covered, failed = _coverage(case, found)
    enlarged = found.ratio > ENLARGED_RATIO + DOUBT
    # Of a heart or a chest that is cut, a ratio at the limit says nothing.
    unsure = not enlarged and not failed and found.ratio > ENLARGED_RATIO - DOUBT
    region = case.keep(Mask("heart", found.mask.voxels, found.mask.grid))
    out: list[Evidence] = []
    if enlarged and "partly_covered" not in failed:
        grade = "marked" if found.ratio >= 0.6 else "moderate" if found.ratio >= 0.55 else "mild"
        out.append(
            Observation(
                tool=NAME,
                finding="cardiomegaly",
                presence="present",
                site=site,
                measurements=(ratio, width),
                attributes={"severity": grade},
                region=region,
            )
        )
    elif enlarged or unsure:
        out.append(
            Observation(
                tool=NAME,
                finding="cardiomegaly",
                presence="uncertain",
                site=site,
                measurements=(ratio, width),
                region=region,
                note="the ratio lies at the limit, or the chest is cut",
            )
        )
    out.append(
        search(
            case,
            NAME,
            "cardiomegaly",
            site=site,
            found=len(out),
            covered=covered,
            failed=failed,
            measurements=(ratio,),
            region=region,
        )
    )
    return out


def _coverage(case: Case, found: Heart) -> tuple[float, tuple[str, ...]]:
    """How far the ratio can be relied on: the widest heart and the widest chest must both be in the scan."""
    pair = lungs(case)
    top = case.working.grid.shape[2] - 1
    at_edge = found.widest_k is not None and (found.widest_k >= top - 1 or found.widest_k <= 1)
    # The chest is widest just above the diaphragm: the base must be seen, or the slices reach 40 mm below the heart.
    chest_seen = all(pair.base_covered.values()) or not found.cut_below
    if at_edge or not chest_seen:
        return 0.6, ("partly_covered",)
    return 1.0, ()


@tool("pericardium", observes=("pericardial_effusion",), needs=("heart",))
def pericardium(case: Case) -> list[Evidence]:
    """Look for a layer of fluid around the heart: between fat with and without contrast, else by contrast alone."""
    name, finding, site = "pericardium", "pericardial_effusion", "pericardium"
    found = heart(case)
    if not found.found:
        reason = () if coverage(case).of(site) <= 0 else ("not_found",)
        return [search(case, name, finding, site=site, failed=reason)]
    around = surroundings(case, found)
    plain = contrast(case).enhanced is not True
    hidden = plain and fat_share(around) < FAT_SHARE  # fluid, muscle and blood are alike, and no fat parts them
    limits: tuple[str, ...] = ("no_contrast",) if hidden else ()
    if found.cut_below or (found.cut_above and not _top_seen(case)):
        limits = ("partly_covered", *limits)
    mask, thickness = layer_between_fat(case, around)
    sure = mask is not None and thickness is not None and thickness >= LEAST_MM
    if mask is None:
        mask, thickness = layer_round(case, found, around.blood_hu, plain=plain)
        sure = mask is not None and not plain and is_fine(case.volume.grid)
    if mask is None:
        mask, thickness = (
            layer_within(case, around, least_mm=PLAIN_MM, least_ml=PLAIN_ML) if plain else layer_within(case, around)
        )
        sure = mask is not None and (not plain or mask.volume_ml >= SURE_ML)
    if mask is None or thickness is None:
        note = "no fat on the heart and no contrast: fluid cannot be told from muscle" if hidden else ""
        return [search(case, name, finding, site=site, failed=limits, note=note)]
    seen = Observation(
        tool=name,
        finding=finding,
        presence="present" if sure else "uncertain",
        site=site,
        measurements=(
            Measurement(quantity="thickness", value=thickness, plus_minus=2.0),
            Measurement(quantity="volume", value=mask.volume_ml),
            Measurement(
                quantity="attenuation", value=float(np.mean(case.working.hu[mask.on(case.working.grid).voxels]))
            ),
        ),
        region=case.keep(mask),
    )
    return [seen, search(case, name, finding, site=site, found=1, failed=limits)]


def _top_seen(case: Case) -> bool:
    return all(lungs(case).apex_covered.values())
