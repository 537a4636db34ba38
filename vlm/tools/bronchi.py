"""Bronchi: wider than their arteries, or with thick walls.

In: an open case. Out: an Observation of a side where several bronchi beyond the lobar ones are
wider than the artery beside them, or where the walls of all of them are thick, and a Search of
each side with the median of what was measured; wide bronchi are not assessed on a side with fewer
measured bronchi than segments, unless some are wide. Thick walls are only ever called possible: blur
thickens every wall. Thick slices, coarse pixels and a tree that
could not be followed give a Search that says so: nothing was looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from vlm.anatomy.airway_sections import Section, sections
from vlm.anatomy.bronchial_tree import Bronchus, bronchial_tree
from vlm.anatomy.lungs import SIDES, LungSide
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Presence, Search, once
from vlm.tools.lung_field import Field, field, search, site_of
from vlm.tools.registry import tool

NAME = "bronchi"
WIDTH_VOXEL_MM = (1.6, 2.0)  # in the plane and between slices, at most: a lumen of 3 mm is still measured
WALL_VOXEL_MM = (0.8, 1.5)  # blur and voxels of more make every wall look 2 mm thick (Reinhardt 1997)
GENERATION = 3  # from here on segmental bronchi and smaller ones
LUMEN_MM = (2.5, 9.0)  # inner diameters that are measured well enough, and are no lobar bronchi
SECTIONS = 3  # of a branch, on which its median rests
SEGMENTS = {"right": 10, "left": 8}  # none is denied on fewer bronchi: it is often one lobe's alone
BRANCHES = {"bronchiectasis": 4, "peribronchial_thickening": 6}  # measured on a side; fewer say nothing of it
WIDE = 1.5  # broncho-arterial ratio. Above 1 is called dilated (Hansell, Radiology 2008;246:697), but lungs of
# the old without disease reach 1.5 (Matsuoka, AJR 2003;180:513)
SEVERAL = 3  # wide branches of a side; one or two are errors of the measure as often
SHARE = 0.33  # of the measured branches that are wide; several among many more are only possible
THICK_PI10_MM = 6.0  # root of the wall area at an inner perimeter of 10 mm (Nakano, AJRCCM 2005;171:244); a wall of
# 2.1 mm. Walls of 1 mm come out up to half as thick again at these voxels (Oguma, PLoS ONE 2013;8:e76381): 4.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibre:
    """One bronchus as measured: medians of its sections; None where too few sections show it."""

    branch: Bronchus
    lumen_mm: float
    ratio: float | None  # lumen over artery
    wall_mm: float | None


@tool(NAME, observes=("bronchiectasis", "peribronchial_thickening"), needs=("lungs", "bronchial_tree"))
def bronchi(case: Case) -> list[Evidence]:
    """Compare bronchi with their arteries, and measure their walls, in each lung."""
    out: list[Evidence] = []
    for side in SIDES:
        seen = field(case, side, thick_mm=WIDTH_VOXEL_MM[1])
        out += _widened(case, seen)
        out += _thickened(case, seen)
    return out


def _widened(case: Case, seen: Field) -> list[Evidence]:
    """Bronchiectasis of one side: bronchi with a broncho-arterial ratio of ``WIDE`` and more."""
    finding = "bronchiectasis"
    measured = [(c.branch, c.ratio) for c in calibres(case, seen.side) if c.ratio is not None]
    blind = _blind(case, seen, finding, len(measured), WIDTH_VOXEL_MM)
    if blind:
        return [blind]
    wide = [(branch, ratio) for branch, ratio in measured if ratio >= WIDE]
    out: list[Evidence] = []
    if len(wide) >= SEVERAL:
        size = Measurement(quantity="ratio", value=float(np.median([ratio for _, ratio in wide])))
        presence: Presence = "present" if len(wide) >= SHARE * len(measured) else "uncertain"
        branches = [branch for branch, _ in wide]
        out.append(_seen(case, seen.side, finding, presence, branches, size, {"branches": str(len(wide))}))
    if not out and len(measured) < SEGMENTS[seen.side]:
        return [_too_few(seen, finding, len(measured), SEGMENTS[seen.side])]  # those of a whole lobe may be wide
    middle = Measurement(quantity="ratio", value=float(np.median([ratio for _, ratio in measured])))
    return [*out, _looked(seen, finding, len(out), len(measured), middle)]


def _thickened(case: Case, seen: Field) -> list[Evidence]:
    """Thick walls of one side, by the wall area that its bronchi have at an inner perimeter of 10 mm."""
    finding = "peribronchial_thickening"
    measured = [(c.branch, c.lumen_mm, c.wall_mm) for c in calibres(case, seen.side) if c.wall_mm is not None]
    blind = _blind(case, seen, finding, len(measured), WALL_VOXEL_MM)
    if blind:
        return [blind]
    pi10 = pi10_mm([lumen for _, lumen, _ in measured], [wall for _, _, wall in measured])
    size = Measurement(quantity="thickness", value=float(np.median([wall for _, _, wall in measured])))
    out: list[Evidence] = []
    if pi10 >= THICK_PI10_MM:
        branches = [branch for branch, _, _ in measured]
        out.append(_seen(case, seen.side, finding, "uncertain", branches, size, {"pi10_mm": f"{pi10:.1f}"}))
    return [*out, _looked(seen, finding, len(out), len(measured), size)]


def pi10_mm(lumen_mm: Sequence[float], wall_mm: Sequence[float]) -> float:
    """Root of the wall area (mm) that a line through all bronchi gives one with an inner perimeter of 10 mm."""
    inner, wall = np.asarray(lumen_mm, dtype=np.float64), np.asarray(wall_mm, dtype=np.float64)
    root = np.sqrt(np.pi * ((inner / 2 + wall) ** 2 - (inner / 2) ** 2))
    perimeter = np.pi * inner
    slope = float(np.cov(perimeter, root)[0, 1] / np.var(perimeter, ddof=1)) if np.ptp(perimeter) > 1.0 else 0.0
    return float(root.mean() + slope * (10.0 - perimeter.mean()))


def calibres(case: Case, side: LungSide) -> list[Calibre]:
    """The bronchi of a side that could be measured."""
    return [calibre for calibre in _calibres(case) if calibre.branch.side == side]


@once
def _calibres(case: Case) -> tuple[Calibre, ...]:
    """Every bronchus from the segmental ones on; none in a scan too coarse for it."""
    if _coarse(case, WIDTH_VOXEL_MM):
        return ()
    branches = [branch for branch in bronchial_tree(case).branches if branch.generation >= GENERATION]
    found = (_calibre(branch, sections(case.volume, branch)) for branch in branches)
    return tuple(calibre for calibre in found if calibre is not None)


def _calibre(branch: Bronchus, cuts: Sequence[Section]) -> Calibre | None:
    """Medians of the sections of a branch; None where too few were measured, or of another size."""
    if len(cuts) < SECTIONS:
        return None
    lumen = float(np.median([cut.lumen_mm for cut in cuts]))
    if not LUMEN_MM[0] <= lumen <= LUMEN_MM[1]:
        return None
    return Calibre(
        branch=branch,
        lumen_mm=lumen,
        ratio=_median([cut.ratio for cut in cuts]),
        wall_mm=_median([cut.wall_mm for cut in cuts]),
    )


def _median(values: Sequence[float | None]) -> float | None:
    """Median of what was measured, when it was in ``SECTIONS`` sections."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if len(known) >= SECTIONS else None


def _coarse(case: Case, voxel_mm: tuple[float, float]) -> bool:
    """Whether pixels or slices are larger than a measure allows."""
    x_mm, y_mm, z_mm = case.volume.grid.spacing_mm
    slice_mm = max(z_mm, case.volume.scan.slice_thickness_mm or 0.0)
    return max(x_mm, y_mm) > voxel_mm[0] or slice_mm > voxel_mm[1]


def _blind(case: Case, seen: Field, finding: str, number: int, voxel_mm: tuple[float, float]) -> Search | None:
    """The Search of a side on which nothing can be said; None where enough bronchi were measured."""
    if not seen.seen:
        reason, note = "not_covered", ""
    elif _coarse(case, voxel_mm):
        wide = max(case.volume.grid.spacing_mm[:2]) > voxel_mm[0]
        reason = "coarse_pixels" if wide else "thick_slices"
        note = f"asks for pixels of {voxel_mm[0]} mm and slices of {voxel_mm[1]} mm at most"
    elif number < BRANCHES[finding]:
        return _too_few(seen, finding, number, BRANCHES[finding])
    elif set(seen.failed) & {"density_withheld", "length_withheld"}:
        reason, note = next(key for key in seen.failed if key.endswith("withheld")), ""
    else:
        return None
    return Search(
        tool=NAME, finding=finding, covered=0.0, side=seen.side, site="bronchi", failed=(reason,), note=note
    )  # fmt: skip


def _too_few(seen: Field, finding: str, number: int, asked: int) -> Search:
    """The Search of a side on which too few bronchi could be measured."""
    note = f"{number} bronchi could be measured, {asked} are asked for"
    return Search(
        tool=NAME, finding=finding, covered=0.0, side=seen.side, site="bronchi", failed=("not_found",), note=note
    )  # fmt: skip


def _looked(seen: Field, finding: str, found: int, number: int, middle: Measurement) -> Search:
    """The Search of a side on which bronchi were measured; their number says how much of it was looked at."""
    record = search(NAME, finding, seen, found=found, site="bronchi", measurements=(middle,))
    share = min(1.0, number / SEGMENTS[seen.side])
    failed = record.failed if share == 1.0 else tuple(dict.fromkeys(("partly_covered", *record.failed)))
    return replace(record, covered=record.covered * share, failed=failed, note=f"{number} bronchi measured")


def _seen(
    case: Case,
    side: LungSide,
    finding: str,
    presence: Presence,
    branches: list[Bronchus],
    size: Measurement,
    attributes: dict[str, str],
) -> Observation:
    """An Observation of some bronchi, with their lumina as its region."""
    mask = _lumina(case, f"{finding}_{side}", branches)
    return Observation(
        tool=NAME,
        finding=finding,
        presence=presence,
        side=side,
        site=site_of(case, side, mask),
        measurements=(size,),
        attributes=attributes,
        region=case.keep(mask),
    )


def _lumina(case: Case, name: str, branches: list[Bronchus]) -> Mask:
    """The lumen round the centrelines of some branches, on the tree's own grid."""
    lumen = bronchial_tree(case).lumen
    assert lumen is not None  # branches come from it
    chosen = np.zeros(lumen.grid.shape, dtype=bool, order="F")
    for branch in branches:
        reach = np.ceil((branch.radius_mm + 1.0) / np.array(lumen.grid.spacing_mm)).astype(int)
        for place in np.rint(lumen.grid.to_ijk(branch.points_mm)).astype(int):
            box = tuple(slice(max(0, p - r), p + r + 1) for p, r in zip(place, reach, strict=True))
            chosen[box] = True
    return Mask(name, chosen & lumen.voxels, lumen.grid)
