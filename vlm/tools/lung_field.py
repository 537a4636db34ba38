"""What every tool of lung and pleura asks first: how a lung is seen, and which lobe or zone a place is in.

In: an open case. Out: conditions for Searches, noise, zones. Arrays here are (Z, Y, X)
C-ordered views of the working grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.lobes import LOBES, SHARE, lobe_of
from vlm.anatomy.lungs import LUNG_HEIGHT_MM, LungSide, lungs
from vlm.anatomy.structures import structure
from vlm.ct.volume import Mask
from vlm.evidence import Case, Measurement, Search, once
from vlm.tools.registry import doubts, measured_limit

THICK_MM = 5.5  # thicker slices average over what a tool of the lung measures
COVERED_ENOUGH = 0.98  # a lung is whole from here on; the estimate of a cut lung stays below
NOISE_LIMIT_HU = 60.0  # of 2 mm blocks inside the lung; dose too low to judge density
LEAST_LUNG_ML = 40.0  # of one side; less aerated lung shows nothing
CARINA_BELOW_TOP = 0.35  # of the lungs' height; 0.27 to 0.42 in six scans that show whole lungs
ZONES = ("lower_zone", "middle_zone", "upper_zone")  # thirds of the height of a lung, from below

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """How one lung is seen: share of it in the scan, and the conditions that limit every search in it."""

    side: LungSide
    covered: float
    failed: tuple[str, ...]

    @property
    def seen(self) -> bool:
        """True when there is lung to look at."""
        return "not_covered" not in self.failed


def field(case: Case, side: LungSide, *, thick_mm: float = THICK_MM) -> Field:
    """How the lung of a side is seen."""
    found = lungs(case)
    if found.of(side).volume_ml < LEAST_LUNG_ML:
        return Field(side=side, covered=0.0, failed=("not_covered",))
    failed = []
    covered = float(found.covered[side])
    if covered < COVERED_ENOUGH:
        failed.append("partly_covered")
    if case.volume.grid.spacing_mm[2] > thick_mm or (case.volume.scan.slice_thickness_mm or 0.0) > thick_mm:
        failed.append("thick_slices")
    if noise_hu(case) > NOISE_LIMIT_HU:
        failed.append("noise")
    failed += sorted(case.volume.scan.limits & {"density_withheld", "length_withheld"})
    return Field(side=side, covered=covered, failed=tuple(failed))


def search(
    tool: str,
    finding: str,
    seen: Field | None,
    *,
    found: int = 0,
    site: str | None = None,
    failed: tuple[str, ...] = (),
    measurements: tuple[Measurement, ...] = (),
    note: str = "",
) -> Search:
    """The Search of a finding in one lung with its coverage, its conditions and the tool's measured limit."""
    smallest, sensitivity = measured_limit(tool, finding)
    conditions = (*seen.failed, *failed) if seen else failed
    if smallest is None and "not_covered" not in conditions and "not_implemented" not in conditions:
        conditions = (*conditions, *doubts(tool, finding))
    return Search(
        tool=tool,
        finding=finding,
        covered=seen.covered if seen else 0.0,
        found=found,
        side=seen.side if seen else None,
        site=site,
        smallest=smallest,
        sensitivity=sensitivity,
        failed=tuple(dict.fromkeys(conditions)),
        measurements=measurements,
        note=note,
    )


@once
def noise_hu(case: Case) -> float:
    """Standard deviation of the noise of the working grid inside the lungs, HU; 0 without lung.

    From differences of neighbours along x, where noise is and structure is rare: the median
    of their sizes is that of the noise.
    """
    inside = ndimage.binary_erosion(lungs(case).both.voxels.T)
    hu = case.working.hu.T
    three = inside[:, :, 1:-1] & inside[:, :, :-2] & inside[:, :, 2:]
    if np.count_nonzero(three) < 100:
        return 0.0
    bend = hu[:, :, 1:-1][three] - 0.5 * (hu[:, :, :-2][three].astype(np.float32) + hu[:, :, 2:][three])
    return float(1.4826 * np.median(np.abs(bend - np.median(bend))) / np.sqrt(1.5))


def zones(case: Case, side: LungSide) -> NDArray[np.intp]:
    """(Z,) for every level of the working grid its zone as an index of ZONES; -1 where it is not known.

    The height is that of both lungs together, so that fluid or collapse under one of them moves
    no zone. A lung that one end of the scan cuts is completed to LUNG_HEIGHT_MM; of one cut at both
    ends the carina says where it lies, and without a carina nothing does.
    """
    found, grid = lungs(case), case.working.grid
    levels = np.arange(grid.shape[2])
    present = found.present
    if side not in present:
        return np.full(levels.shape, -1)
    first = min(found.of(one).slices[0] for one in present)
    last = max(found.of(one).slices[1] for one in present)
    apex = any(found.apex_covered[one] for one in present if found.of(one).slices[1] == last)
    base = any(found.base_covered[one] for one in present if found.of(one).slices[0] == first)
    usual = max(LUNG_HEIGHT_MM / grid.spacing_mm[2], float(last + 1 - first))
    low, top = float(first), float(last + 1)
    if not apex and not base:
        carina = airways(case).carina_mm
        if carina is None:
            return np.full(levels.shape, -1)
        top = float(grid.to_ijk(carina)[2]) + CARINA_BELOW_TOP * usual
        low = top - usual
    elif not apex:
        top = low + usual
    elif not base:
        low = top - usual
    return np.clip(((levels + 0.5 - low) / (top - low) * 3).astype(np.intp), 0, 2)


def site_of(case: Case, side: LungSide, place: Mask) -> str:
    """The lobe that a place of a lung lies in, else the zone that holds 60 % of it, else ``lung``."""
    lobe = _outlined_lobe(case, side, place) or lobe_of(case, side, place)
    if lobe is not None or not place:
        return lobe or "lung"
    grid = case.working.grid
    first, last = place.slices
    levels = np.rint(grid.to_ijk(place.grid.to_mm([[0, 0, k] for k in range(first, last + 1)]))[:, 2]).astype(int)
    zone = zones(case, side)[np.clip(levels, 0, grid.shape[2] - 1)]
    known = zone >= 0
    per_level = place.voxels[:, :, first : last + 1].sum(axis=(0, 1))
    share = np.bincount(zone[known], weights=per_level[known], minlength=3) / int(per_level.sum())
    best = int(share.argmax())
    return ZONES[best] if share[best] >= 0.6 else "lung"


def _outlined_lobe(case: Case, side: LungSide, place: Mask) -> str | None:
    """The lobe of a place where the user's own engine outlines lobes; None where the place crosses them."""
    held = {}
    for lobe in LOBES[side]:
        seen = structure(case, f"lung_{lobe}_{side}")
        if seen.vouched and seen.mask is not None:
            held[lobe] = int((seen.mask.on(place.grid).voxels & place.voxels).sum())
    best = max(held, key=held.__getitem__, default=None)
    return best if best is not None and held[best] >= SHARE * int(place.voxels.sum()) else None


def smooth(case: Case, sigma_mm: float) -> Floats:
    """(Z, Y, X) the working grid blurred by a Gaussian, HU; computed once for each width."""

    def blurred() -> Floats:
        sigma = [sigma_mm / step for step in case.working.grid.spacing_mm[::-1]]
        return np.asarray(ndimage.gaussian_filter(case.working.hu.T.astype(np.float32), sigma, truncate=3.0))

    return case.part(f"vlm.tools.lung_field.smooth.{sigma_mm}", blurred)  # type: ignore[return-value]  # what it gave
