"""Emphysema: how much of the lung is darker than -950 HU, and where.

In: an open case. Out: an Observation when that share is above what healthy lung shows, and
a Search of each side with its share. The share is taken on 2 mm blocks, not on raw voxels:
noise of low dose and sharp kernels spreads raw voxels below -950 HU in any lung. Blocks that
are still noisy are blurred as far as that needs, and no further: a blur hides small holes. Where lung
measures less than air, the scale of the scan is shifted: emphysema is then possible, without a share.
"""

from __future__ import annotations

from collections.abc import Mapping

import cc3d
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.ball import shrunk
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Presence
from vlm.tools.lung_field import Bools, Floats, field, noise_hu, search, smooth, zones
from vlm.tools.registry import tool

NAME = "emphysema"
EMPHYSEMA_HU = -950  # Gevenois, AJRCCM 1996;154:187
BLURS_MM = ((21.0, 0.0), (26.0, 1.0), (np.inf, 1.5))  # noise of the blocks up to, HU -> sigma; leaves 10 to 21 HU,
PRESENT_PERCENT = 5.0  # upper limit of healthy non-smokers: Zach, Invest Radiol 2012;47:596
TRACE_PERCENT = 2.0  # from here on "possible"; the clear lungs of eight real scans show 0.0 to 0.8
ZONE_PERCENT = 5.0  # of one zone, where centrilobular emphysema is confined to it: present
SEVERITY = ((20.0, "severe"), (10.0, "moderate"), (5.0, "mild"), (0.0, "trace"))  # Castaldi, Thorax 2014;69:415
NOISE_LIMIT_HU = 45.0  # of 2 mm blocks: after the blur about 15 HU, six of them from healthy lung to -950
LESS_THAN_AIR_HU, LESS_THAN_AIR_PERCENT = -1010, 2.0  # air is -1000: so much lung below it, and the scale is shifted
FREE_AIR_BLUR_MM = 1.5  # sigma
FREE_AIR_HU = -985  # a large even place below is free air (bowel, pneumothorax, giant bulla) and no sponge
FREE_AIR_MM = 10.0  # and is this deep

SHIFTED = "part of the lung measures less than air: its densities are shifted, and no share of dark lung is valid"


@tool(NAME, observes=("emphysema",), needs=("lungs",))
def emphysema(case: Case) -> list[Evidence]:
    """Measure the share of lung below -950 HU, in all and in the upper and lower zones."""
    found, grid = lungs(case), case.working.grid
    fields = {side: field(case, side) for side in SIDES}
    seen = [side for side in SIDES if fields[side].seen]
    masks = {side: found.of(side).voxels.T for side in seen}
    failed = ("noise",) if noise_hu(case) > NOISE_LIMIT_HU else ()
    out: list[Evidence] = []
    shares: dict[str, float] = {}
    sides: list[str] = []
    shifted = False
    if seen:
        lung = np.logical_or.reduce(list(masks.values()))
        lung &= ~_free_air(case, lung)
        quiet = _quiet(case)
        dark = lung & (quiet < EMPHYSEMA_HU)
        shifted = _percent(lung & (quiet < LESS_THAN_AIR_HU), lung) > LESS_THAN_AIR_PERCENT
        failed = (*failed, *(("density_withheld",) if shifted else ()))
        shares = {side: _percent(dark & masks[side], lung & masks[side]) for side in seen}
        share = _percent(dark, lung)
        upper, lower = (_zone_percent(case, dark, masks, lung, zone) for zone in (2, 0))
        presence = _presence(share, upper)
        if presence and not any("density_withheld" in fields[side].failed for side in seen):
            sides = [side for side in seen if shares[side] >= 0.25 * max(shares.values())]
            out.append(
                Observation(
                    tool=NAME,
                    finding="emphysema",
                    presence="uncertain" if failed else presence,
                    side="bilateral" if len(sides) == 2 else "right" if "right" in sides else "left",
                    site=_site(upper, lower),
                    measurements=() if shifted else (Measurement(quantity="fraction", value=share),),
                    attributes={} if shifted else _extent(share, upper, lower),
                    region=case.keep(Mask("emphysema", dark.T, grid)),
                    note=SHIFTED if shifted else "noise may imitate it" if failed else "",
                )
            )
    for side in SIDES:
        size = (Measurement(quantity="fraction", value=shares[side]),) if side in shares and not shifted else ()
        number = int(bool(out) and side in sides)
        out.append(search(NAME, "emphysema", fields[side], found=number, site="lung", failed=failed, measurements=size))
    return out


def _extent(share: float, upper: float, lower: float) -> dict[str, str]:
    """Grade and shares (percent) of an Observation."""
    return {
        "severity": next(grade for least, grade in SEVERITY if share >= least),
        "upper_zone_percent": f"{upper:.0f}",
        "lower_zone_percent": f"{lower:.0f}",
    }


def _quiet(case: Case) -> Floats:
    """(Z, Y, X) the working grid, HU, blurred as little as its noise allows."""
    noise = noise_hu(case)
    sigma_mm = next(sigma for limit, sigma in BLURS_MM if noise <= limit)
    return smooth(case, sigma_mm) if sigma_mm else case.working.hu.T.astype(np.float32)


def _presence(share: float, upper: float) -> Presence | None:
    """What the shares (percent) of both lungs and of their upper zones mean; None for healthy lung."""
    if share >= PRESENT_PERCENT or upper >= ZONE_PERCENT:
        return "present"
    return "uncertain" if share >= TRACE_PERCENT else None


def _site(upper: float, lower: float) -> str:
    """The zone in which it is twice as dense as in the other; the lung where neither is or no zone is known."""
    if upper == lower:
        return "lung"
    if upper >= 2 * lower:
        return "upper_zone"
    return "lower_zone" if lower >= 2 * upper else "lung"


def _percent(part: Bools, whole: Bools) -> float:
    """Share of a mask in another, percent; 0 of an empty one."""
    return 100.0 * int(np.count_nonzero(part)) / max(1, int(np.count_nonzero(whole)))


def _zone_percent(case: Case, dark: Bools, masks: Mapping[LungSide, Bools], lung: Bools, zone: int) -> float:
    """Share of dark lung in one zone of both lungs, percent."""
    part = whole = 0
    for side, mask in masks.items():
        levels = zones(case, side) == zone
        here = mask[levels] & lung[levels]
        whole += int(np.count_nonzero(here))
        part += int(np.count_nonzero(here & dark[levels]))
    return 100.0 * part / max(1, whole)


def _free_air(case: Case, lung: Bools) -> Bools:
    """(Z, Y, X) bool: large even places of air inside the lung mask, which are no lung."""
    air = lung & (smooth(case, FREE_AIR_BLUR_MM) < FREE_AIR_HU)
    deep = shrunk(air, FREE_AIR_MM, case.working.grid)
    if not deep.any():
        return deep
    labels: NDArray[np.uint32] = cc3d.connected_components(air, connectivity=6)
    chosen = np.zeros(int(labels.max()) + 1, dtype=bool)
    chosen[np.unique(labels[deep])] = True
    chosen[0] = False
    free: Bools = chosen[labels]
    return free
