"""What a tool may do with an organ: its mask, whether it may be measured, and if not, why.

In: a structure of ``vlm.anatomy`` by TotalSegmentator's name. Out: an Organ on the working grid, and the Search
for a finding of it, whose conditions say what stood in the way. An organ whose outline was never shown to be good
enough says where to look and is never measured; one that is cut by the edge of the scan is partly covered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.aorta import blood_hu
from vlm.anatomy.ball import shrunk
from vlm.anatomy.contrast import ARTERIAL_HU, ENHANCED_HU, PLAIN_BLOOD_HU, PULMONARY_STEP_HU, Phase, contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.structures import structure
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Measurement, Region, Search, Side, once
from vlm.tools.ground import search

SITES: Mapping[str, tuple[str, Side | None]] = {
    "liver": ("liver", None),
    "spleen": ("spleen", None),
    "kidney_right": ("kidney", "right"),
    "kidney_left": ("kidney", "left"),
    "pancreas": ("pancreas", None),
    "gallbladder": ("gallbladder", None),
    "adrenal_gland_right": ("adrenal", "right"),
    "adrenal_gland_left": ("adrenal", "left"),
    "urinary_bladder": ("bladder", None),
    "prostate": ("prostate", None),
    "aorta": ("abdominal_aorta", None),
    "small_bowel": ("bowel", None),
    "colon": ("colon", None),
    "common_bile_duct": ("bile_ducts", None),
    "pancreatic_duct": ("pancreatic_duct", None),
    "uterus": ("uterus", None),
    "appendix": ("appendix", None),
    "esophagus": ("oesophagus", None),
}
CUT_COVER = 0.9  # an organ that touches the edge of the scan is never whole

BLOOD_MM = 3.0  # from the wall, whose calcium is left out

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Organ:
    """An organ of a case. ``mask`` lies on the working grid; None where there is nothing to look at."""

    name: str
    mask: Mask | None
    measurable: bool  # the outline is good enough for a volume or a density
    covered: float  # 0..1, of the organ
    failed: tuple[str, ...]  # keys of CONDITIONS
    note: str = ""
    quality: float = 0.0  # measured Dice of who drew it
    absent: bool = False  # its place was looked at, and nothing of it is there

    @property
    def whole(self) -> bool:
        """Whether it lies within the scan from end to end."""
        return self.mask is not None and self.covered >= 1.0

    @property
    def voxels(self) -> Bools:
        """(Z, Y, X) bool on the working grid; ``ValueError`` where nothing was found."""
        if self.mask is None:
            raise ValueError(f"{self.name} was not found")
        return self.mask.voxels.T

    @property
    def grid(self) -> Grid:
        """The working grid of the mask; ``ValueError`` where nothing was found."""
        if self.mask is None:
            raise ValueError(f"{self.name} was not found")
        return self.mask.grid


def organ(case: Case, name: str) -> Organ:
    """An organ by its name, once a case."""
    return case.part(f"organ {name}", lambda: _organ(case, name))  # type: ignore[return-value]


def _organ(case: Case, name: str) -> Organ:
    found, (site, side) = structure(case, name), SITES[name]
    if found.mask is None or not found.mask:
        share = coverage(case).of(site, side)
        reason = "not_covered" if share <= 0 else "not_found" if found.state == "absent" else "poor_outline"
        return Organ(
            name=name, mask=None, measurable=False, covered=0.0, failed=(reason,), note=found.reason,
            absent=found.state == "absent" and share > 0,
        )  # fmt: skip
    cut = found.state == "cut"
    covered = min(CUT_COVER, max(coverage(case).of(site, side), 0.1)) if cut else 1.0
    return Organ(
        name=name, mask=found.mask.on(case.working.grid), measurable=found.reliable, covered=covered,
        failed=() if found.reliable else ("poor_outline",), note=found.reason, quality=found.quality or 0.0,
    )  # fmt: skip


def sought(
    case: Case,
    tool: str,
    finding: str,
    seen: Organ,
    *,
    found: int = 0,
    failed: tuple[str, ...] = (),
    share: float = 1.0,
    measurements: tuple[Measurement, ...] = (),
    region: Region | None = None,
    note: str = "",
) -> Search:
    """The Search for a finding of one organ; ``share`` (0..1) of what is covered that the tool can judge."""
    site, side = SITES[seen.name]
    conditions = tuple(dict.fromkeys((*seen.failed, *failed)))
    looked = 0.0 if seen.mask is None else seen.covered * share
    return search(
        case, tool, finding, site=site, side=side, found=found, failed=conditions, covered=looked,
        measurements=measurements, region=region, note=note or seen.note,
    )  # fmt: skip


def kept(case: Case, seen: Organ) -> Region | None:
    """The organ's region, its mask kept once a case whichever tool asks first."""
    if seen.mask is None:
        return None
    mask = seen.mask
    return case.part(f"region {seen.name}", lambda: case.keep(Mask(seen.name, mask.voxels, mask.grid)))  # type: ignore[return-value]


def inner_hu(case: Case, seen: Organ, away_mm: float) -> NDArray[np.int16]:
    """HU of the organ's voxels more than ``away_mm`` inside its border; of all where none is so deep."""
    core = shrunk(seen.voxels, away_mm, seen.grid)
    return np.asarray(case.working.hu.T[core if core.any() else seen.voxels])


@once
def phase(case: Case) -> Phase:
    """The contrast phase, told from an aorta that is outlined well; else as ``vlm.anatomy.contrast`` tells it."""
    aorta = organ(case, "aorta")
    if aorta.mask is None or not aorta.measurable:
        return contrast(case).phase
    core = shrunk(aorta.voxels, BLOOD_MM, aorta.grid)
    blood = blood_hu(case.working, Mask("aorta", (core if core.any() else aorta.voxels).T, aorta.grid))
    if blood >= ENHANCED_HU:
        heart = contrast(case).heart_hu
        if heart is not None and heart > blood + PULMONARY_STEP_HU:
            return "pulmonary"
        return "arterial" if blood >= ARTERIAL_HU else "venous"
    return "none" if blood <= PLAIN_BLOOD_HU else "unknown"
