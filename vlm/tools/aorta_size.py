"""The width of the aorta at named stations, and whether it is an aneurysm.

In: the descending and abdominal aorta, the ascending aorta at the pulmonary bifurcation and the arch of a Case,
each where it was traced. Out: a width each, an Observation where it is too wide, and a Search for each station;
one that was not traced says so.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vlm.anatomy.aorta import Aorta, aorta
from vlm.anatomy.arch import arch
from vlm.anatomy.coverage import coverage
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measured, Measurement, Observation, Region
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "aorta_size"
ASCENDING_MM, ARCH_MM = 45.0, 40.0  # aneurysm from here (Isselbacher, ACC/AHA guideline 2022)
THORACIC_MM = 40.0  # descending aorta: dilated from here (Erbel, ESC guideline 2014)
ABDOMINAL_MM = 30.0  # Chaikof, SVS guideline 2018
DOUBT_MM = 3.0  # circles are fitted in steps of 1.5 mm of radius; so near to a limit neither side of it is sure
LENGTH_MM = 20.0  # a width counts where it holds for so long
ROUND = 0.65
DESCENDING_SHARE = 0.5  # of the thoracic aorta's length lies below the arch
SPLIT_MM = -40.0  # aortic hiatus, from the right dome


@tool(NAME, observes=("aortic_aneurysm", "abdominal_aortic_aneurysm"), needs=("aorta",))
def aorta_size(case: Case) -> list[Evidence]:
    """Measure the descending and abdominal aorta where they can be traced."""
    traced, dome = aorta(case), coverage(case).dome_mm
    out: list[Evidence] = []
    parts = (
        ("aortic_aneurysm", "descending_aorta", "thoracic_aorta", THORACIC_MM, True),
        ("abdominal_aortic_aneurysm", "abdominal_aorta", "abdominal_aorta", ABDOMINAL_MM, False),
    )
    for finding, site, region, limit, above in parts:
        share = coverage(case).of(region)
        if not traced.found or dome is None:
            reason = () if share <= 0 else ("not_found",)
            out.append(search(case, NAME, finding, site=site, covered=share, failed=reason))
            continue
        height = traced.centres_mm[:, 2] - dome
        chosen = traced.sure & ((height > SPLIT_MM) if above else (height <= SPLIT_MM))
        out += _judged(case, traced, chosen, finding, site, limit, share * (DESCENDING_SHARE if above else 1.0))
    return out + _upper(case)


def _upper(case: Case) -> list[Evidence]:
    """Width and verdict of the ascending aorta at the pulmonary bifurcation and of the arch."""
    found = arch(case)
    out: list[Evidence] = []
    for site, width, mask, limit in (
        ("ascending_aorta", found.ascending_mm, found.ascending.mask, ASCENDING_MM),
        ("aortic_arch", found.arch_mm, found.arch, ARCH_MM),
    ):
        share = coverage(case).of(site)
        if width is None:
            reason = () if share <= 0 else ("not_found",)
            out.append(search(case, NAME, "aortic_aneurysm", site=site, covered=share, failed=reason))
            continue
        measure = Measurement(quantity="diameter", value=width, plus_minus=DOUBT_MM)
        region = case.keep(Mask(site, mask.voxels, mask.grid))
        out.append(Measured(tool=NAME, site=site, measurements=(measure,), region=region))
        wide = width >= limit - DOUBT_MM
        if wide:
            out.append(_aneurysm("aortic_aneurysm", site, measure, region, sure=width >= limit + DOUBT_MM))
        out.append(
            search(
                case, NAME, "aortic_aneurysm", site=site, covered=min(1.0, max(share, 0.1)), found=int(wide),
                measurements=(measure,), region=region,
            )
        )  # fmt: skip
    return out


def _aneurysm(finding: str, site: str, measure: Measurement, region: Region, *, sure: bool) -> Observation:
    return Observation(
        tool=NAME, finding=finding, presence="present" if sure else "uncertain", site=site,
        measurements=(measure,), region=region, note="" if sure else "the width lies at the limit",
    )  # fmt: skip


def _judged(
    case: Case, traced: Aorta, chosen: np.ndarray, finding: str, site: str, limit: float, share: float
) -> list[Evidence]:
    """Width and verdict of one part; ``chosen`` (Z,) bool, its slices."""
    step = traced.grid.spacing_mm[2]
    seen = chosen & (traced.roundness >= ROUND)
    if np.count_nonzero(seen) * step < LENGTH_MM:
        reason = () if share <= 0 else ("not_found",)
        return [search(case, NAME, finding, site=site, covered=share, failed=reason)]
    widths = 2.0 * np.where(seen, traced.radii_mm, 0.0)
    run = max(1, round(LENGTH_MM / step))
    lasting = ndimage.minimum_filter1d(np.where(chosen, 2.0 * traced.radii_mm, 0.0), run)
    widest = float(max(lasting.max(), np.median(widths[seen])))
    measure = Measurement(quantity="diameter", value=widest, plus_minus=DOUBT_MM)
    voxels = np.zeros(traced.grid.shape, dtype=bool, order="F")
    voxels[:, :, chosen] = traced.mask.voxels[:, :, chosen]
    region = case.keep(Mask(site, voxels, traced.grid))
    out: list[Evidence] = [Measured(tool=NAME, site=site, measurements=(measure,), region=region)]
    wide = widest >= limit - DOUBT_MM
    if wide:
        out.append(_aneurysm(finding, site, measure, region, sure=widest >= limit + DOUBT_MM))
    length = np.count_nonzero(chosen) * step
    expected = 200.0 if site == "descending_aorta" else 150.0
    looked = min(share, length / expected) if share > 0 else 0.0
    out.append(
        search(case, NAME, finding, site=site, covered=looked, found=int(wide), measurements=(measure,), region=region)
    )
    return out
