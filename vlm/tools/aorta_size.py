"""The width of the aorta at named stations, and whether it is wide or an aneurysm.

In: the contours of the wall of the aorta (``vlm.anatomy.aortic_wall``), and the arch between its limbs. Out: a width
for each station, an Observation where a part is too wide, and a Search for each part. A part with a stretch in the
scan whose wall was not followed is not said to be free of an aneurysm: one may be what broke the course. Widths run
from wall to wall, clot included: where contrast tells the lumen, more than a wall around it is clot only where there
is much of it, since the crura of the diaphragm lie as close. The sinuses are not told from the heart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import aorta
from vlm.anatomy.aortic_wall import Course, Section, ascending, descending, outlined
from vlm.anatomy.arch import BIFURCATION_MM, arch
from vlm.anatomy.coverage import coverage
from vlm.anatomy.structures import structure
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measured, Measurement, Observation, Region
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "aorta_size"
# Aneurysm from here. Root and ascending aorta 45 mm, dilated from 40 mm; abdominal aorta below the renal arteries 30 mm
# (Isselbacher, ACC/AHA guideline, Circulation 2022;146:e334; Chaikof, SVS guideline, J Vasc Surg 2018;67:2).
ASCENDING_MM, ASCENDING_WIDE_MM, ARCH_MM = 45.0, 40.0, 40.0
THORACIC_MM = 40.0  # descending aorta: dilated from here (Erbel, ESC guideline, Eur Heart J 2014;35:2873)
ABDOMINAL_MM = 30.0
SUPRARENAL_MM = 40.0  # one and a half times its usual 26 mm (Johnston, J Vasc Surg 1991;13:452)
DOUBT_MM = 3.0  # so near to the limit of an aneurysm neither side of it is sure
WIDE_DOUBT_MM = 2.0  # a wide aorta is told only from so much above its limit; below it is left to review
LENGTH_MM = 20.0  # a part is measured where so much of its length is seen
LASTING_MM = 12.0  # a width counts where it holds for so long
LOST_MM = 20.0  # a stretch in view that is as long and whose wall was not followed may hide an aneurysm
LUMEN_WALL_MM = 5.0  # least and half-way widths of a lumen are less than the width of its wall by this
CLOT_MM = 16.0  # more than this beyond the lumen is clot; less may be the crura or a vein beside it
BELOW_CARINA_MM = 5.0  # above, the aorta turns into the arch and is cut along
PLAIN_SEEN = 0.7  # of a wall without contrast
CIRCLE_MM = 4.0  # without contrast: so much wider than the circle that fits best, and a neighbour is in the contour
ROUND = 0.7  # short over long width of a section that counts in the abdomen
OUTLINE_SHARE = 0.25  # of the width: an engine's outline that differs more is of something else
LEAP_MM = (4.0, 1.0)  # in the abdomen a course that leaps more than this, and so much a mm of height, has left it
SPLIT_MM = -40.0  # aortic hiatus, from the right dome
HIATUS_MM = 10.0  # half the length of that station
RENAL_MM = -130.0  # origin of the renal arteries from there, where no kidney tells it
TOP_MM, FORK_MM = 105.0, -200.0  # ends of the descending aorta, from the right dome
SHORT = "its wall is not seen over a length that suffices"
BESIDE = "clot or a neighbour lies around its lumen, and the two are not told apart"
LOST = "its wall was lost on the way, and what lies there was not measured"

Line = NDArray[np.float64]  # (Z,) mm, by working slice; 0 where no width is told


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A part of the aorta that is judged by itself. Limits in mm; ``wide_mm`` None: none is published."""

    site: str
    finding: str  # what too wide a part is called
    aneurysm_mm: float
    wide_mm: float | None = None

    @property
    def findings(self) -> tuple[str, ...]:
        """What a width of this part can mean."""
        return (self.finding,) if self.wide_mm is None else (self.finding, "aortic_dilatation")


ASCENDING = Part(
    site="ascending_aorta", finding="aortic_aneurysm", aneurysm_mm=ASCENDING_MM, wide_mm=ASCENDING_WIDE_MM
)  # fmt: skip
ABDOMINAL = Part(site="abdominal_aorta", finding="abdominal_aortic_aneurysm", aneurysm_mm=ABDOMINAL_MM)


@tool(NAME, observes=("aortic_aneurysm", "abdominal_aortic_aneurysm", "aortic_dilatation"), needs=("aorta",))
def aorta_size(case: Case) -> list[Evidence]:
    """Measure the aorta from wall to wall at its stations, and tell where it is wide or an aneurysm."""
    return [*_ascending(case), *_arch(case), *_descending(case), *_abdominal(case)]


def verdict(part: Part, width: float) -> tuple[str, str]:
    """The finding that a width is, and whether it is "present" or "uncertain"; "" where the part is not wide."""
    if width >= part.aneurysm_mm + DOUBT_MM:
        return part.finding, "present"
    if part.wide_mm is None or width >= part.aneurysm_mm:
        return (part.finding, "uncertain") if width >= part.aneurysm_mm - DOUBT_MM else ("", "")
    if width >= part.wide_mm + WIDE_DOUBT_MM:
        return "aortic_dilatation", "present"
    return ("aortic_dilatation", "uncertain") if width >= part.wide_mm else ("", "")


def width_mm(seen: Section, *, clot: bool = True) -> float:
    """From wall to wall. Without much clot the lumen tells it, since a crus or a vein is as grey as clot."""
    if seen.lumen_mm is None or (clot and seen.short_mm - seen.lumen_mm >= CLOT_MM):
        return seen.short_mm
    return min(seen.short_mm, seen.lumen_mm + LUMEN_WALL_MM)


def _ascending(case: Case) -> list[Evidence]:
    """The ascending aorta about the pulmonary bifurcation: its wall, or where that is not seen the fitted circles."""
    share, carina = coverage(case).of("ascending_aorta"), airways(case).carina_mm
    course, traced = ascending(case), arch(case)
    if carina is None or traced.ascending_mm is None:
        return _unseen(case, ASCENDING, share)
    level = [k for k, z in _heights(course).items() if BIFURCATION_MM[0] <= z - carina[2] <= BIFURCATION_MM[1]]
    width, region = traced.ascending_mm, Mask("ascending_aorta", traced.ascending.mask.voxels, traced.ascending.grid)
    if len(level) * course.grid.spacing_mm[2] >= LASTING_MM:  # clot is rare there, and neighbours are close
        width, whole = (
            float(np.median([width_mm(course.sections[k], clot=clot) for k in level])) for clot in (False, True)
        )
        region = course.mask("ascending_aorta", level)
        if whole >= ASCENDING_MM > width:
            return _unseen(case, ASCENDING, share, BESIDE)
    return _told(case, ASCENDING, width, case.keep(region), min(1.0, max(share, 0.1)))


def _arch(case: Case) -> list[Evidence]:
    """The arch between its limbs."""
    part = Part(site="aortic_arch", finding="aortic_aneurysm", aneurysm_mm=ARCH_MM)
    share, found = coverage(case).of("aortic_arch"), arch(case)
    if found.arch_mm is None:
        return _unseen(case, part, share)
    region = case.keep(Mask("aortic_arch", found.arch.voxels, found.arch.grid))
    return _told(case, part, found.arch_mm, region, min(1.0, max(share, 0.1)))


def _descending(case: Case) -> list[Evidence]:
    """The descending aorta from below the carina to the hiatus, and the width at the hiatus."""
    part = Part(site="descending_aorta", finding="aortic_aneurysm", aneurysm_mm=THORACIC_MM)
    dome, course = coverage(case).dome_mm, descending(case)
    if dome is None:
        return _unseen(case, part, coverage(case).of("thoracic_aorta"))
    line, height = _thoracic_widths(case, course), _z_mm(course)
    out = judged(case, part, course, line, (dome + SPLIT_MM, top_mm(case, dome)), np.full(line.shape, THORACIC_MM))
    at = np.flatnonzero((np.abs(height - dome - SPLIT_MM) <= HIATUS_MM) & (line > 0))
    if at.size * course.grid.spacing_mm[2] >= LASTING_MM:
        region, width = case.keep(_mask(case, course, "aortic_hiatus", at)), _measure(float(np.median(line[at])))
        out.append(Measured(tool=NAME, site="aortic_hiatus", measurements=(width,), region=region))
    return out


def top_mm(case: Case, dome: float) -> float:
    """Height below which the descending aorta is cut across and not along."""
    carina = airways(case).carina_mm
    return dome + TOP_MM if carina is None else carina[2] - BELOW_CARINA_MM


def _abdominal(case: Case) -> list[Evidence]:
    """The abdominal aorta; above the renal arteries another width is an aneurysm than below them."""
    dome, course = coverage(case).dome_mm, descending(case)
    if dome is None:
        return _unseen(case, ABDOMINAL, coverage(case).of("abdominal_aorta"))
    limits = np.where(_z_mm(course) > _renal_mm(case, dome), SUPRARENAL_MM, ABDOMINAL_MM)
    line = abdominal_widths(case, course, dome + SPLIT_MM)
    return judged(case, ABDOMINAL, course, line, (dome + FORK_MM, dome + SPLIT_MM), limits)


def judged(
    case: Case, part: Part, course: Course, line: Line, ends_mm: tuple[float, float], limits_mm: Line
) -> list[Evidence]:
    """Width and verdict of what lies between two heights; ``limits_mm`` (Z,): an aneurysm from here."""
    height, step = _z_mm(course), course.grid.spacing_mm[2]
    line = np.where((height >= ends_mm[0]) & (height <= ends_mm[1]), line, 0.0)
    seen = np.flatnonzero(line)
    low, high = max(ends_mm[0], height[0] - step / 2), min(ends_mm[1], height[-1] + step / 2)
    covered = float(np.clip((high - low) / (ends_mm[1] - ends_mm[0]), 0.0, 1.0))
    if seen.size * step < LENGTH_MM:
        return _unseen(case, part, covered)
    at = widest(np.where(line > 0, line - limits_mm, -np.inf), step)
    if line[at] < limits_mm[at] - DOUBT_MM:  # no aneurysm: the widest place is what a reader asks for
        at = widest(np.where(line > 0, line, -np.inf), step)
    mine = replace(part, aneurysm_mm=float(limits_mm[at]))
    region = case.keep(_mask(case, course, part.site, seen))
    if longest_gap_mm(height[seen], low, high) > LOST_MM and not verdict(mine, line[at])[0]:
        kept = Measured(tool=NAME, site=part.site, measurements=(_measure(line[at]),), region=region)
        return [kept, *_unseen(case, part, covered, LOST)]
    around = seen[(np.abs(seen - at) * step <= LENGTH_MM) & (line[seen] >= line[at] - DOUBT_MM)]
    return _told(case, mine, float(line[at]), region, covered, _mask(case, course, f"{part.site}_wide", around))


def widest(beyond: Line, step_mm: float) -> int:
    """The slice where a width is most beyond its limit, among those where it is so for ``LASTING_MM``.

    ``beyond`` (Z,) mm, -inf where nothing was measured; without so long a stretch the middle one of all widths.
    """
    smooth = ndimage.median_filter(beyond, 3) if step_mm <= LASTING_MM / 3 else beyond
    lasting = ndimage.minimum_filter1d(smooth, max(1, round(LASTING_MM / step_mm)), mode="constant", cval=-np.inf)
    if not np.isfinite(lasting.max()):
        seen = np.flatnonzero(np.isfinite(beyond))
        return int(seen[np.argsort(beyond[seen])[seen.size // 2]])
    wide = np.flatnonzero(smooth >= lasting.max())
    wide = wide[np.isfinite(beyond[wide])]
    return int(wide[np.argsort(np.abs(beyond[wide] - smooth[wide].max()), kind="stable")[0]])


def longest_gap_mm(heights: NDArray[np.float64], low: float, high: float) -> float:
    """The longest stretch from one height to another without any of these, mm."""
    return float(np.diff([low, *np.sort(heights), high]).max())


def _thoracic_widths(case: Case, course: Course) -> Line:
    """(Z,) widths of the descending aorta: of the wall, or where that is not seen of the circle that fits.

    A circle beside what an engine outlines is another round thing: the oesophagus, or the azygos vein.
    """
    traced, line = aorta(case), np.zeros(course.grid.shape[2])
    circle = np.where(traced.sure, 2 * traced.radii_mm, 0.0) if traced.found else line.copy()
    for k, (middle, width) in outlined(case).items():
        if np.hypot(*(traced.centres_mm[k, :2] - middle)) > width / 2:
            circle[k] = 0.0
    for k, seen in course.sections.items():
        plain = seen.lumen_mm is None
        if plain and circle[k]:
            line[k] = min(width_mm(seen), circle[k] + CIRCLE_MM)
        elif not plain or seen.seen >= PLAIN_SEEN:
            line[k] = width_mm(seen)
    return np.where(line > 0, line, circle)


def abdominal_widths(case: Case, course: Course, top_mm: float) -> Line:
    """(Z,) widths from a height down, as far as the course goes on without a leap and what it holds is round.

    Where an engine outlines an aorta in the same place, the smaller of both widths holds if they are alike, and none
    if they are not: a crus or a vein that touches the wall is taken in by one of them, hardly by both.
    """
    height, line = _z_mm(course), np.zeros(course.grid.shape[2])
    last: int | None = None
    for k in sorted((k for k in course.sections if height[k] <= top_mm), reverse=True):
        seen = course.sections[k]
        if last is not None and _leaps(course.sections[last], seen, height[last] - height[k]):
            break
        last, width = k, width_mm(seen)
        middle, other = outlined(case).get(k, (seen.centre_mm, width))
        alike = _away_mm(seen, middle) < width / 2 and abs(other - width) <= OUTLINE_SHARE * width
        if alike and seen.short_mm >= ROUND * seen.long_mm:
            line[k] = min(width, other)
    return line


def _leaps(upper: Section, lower: Section, step_mm: float) -> bool:
    """Whether a course left its vessel between two sections."""
    most = LEAP_MM[0] + LEAP_MM[1] * step_mm
    return _away_mm(upper, lower.centre_mm) > most or abs(upper.short_mm - lower.short_mm) > most


def _away_mm(seen: Section, point_mm: NDArray[np.float64]) -> float:
    """How far a point of a slice lies from the middle of a section."""
    return float(np.hypot(*(seen.centre_mm - point_mm)))


def _renal_mm(case: Case, dome: float) -> float:
    """Height of the renal arteries, z mm: the middle of the kidneys that are whole, else a usual distance."""
    kidneys = [structure(case, name) for name in ("kidney_right", "kidney_left")]
    middles = [seen.mask.centre_mm[2] for seen in kidneys if seen.state == "there" and seen.mask]
    return float(np.mean(middles)) if middles else dome + RENAL_MM


def _told(
    case: Case, part: Part, width: float, region: Region, looked: float, wide: Mask | None = None
) -> list[Evidence]:
    """The measure, what it means by the limits of the part, and the searches; ``wide``: where it is widest."""
    measure = _measure(width)
    out: list[Evidence] = [Measured(tool=NAME, site=part.site, measurements=(measure,), region=region)]
    finding, presence = verdict(part, width)
    if finding:
        out.append(
            Observation(
                tool=NAME, finding=finding, presence="present" if presence == "present" else "uncertain",
                site=part.site, measurements=(measure,), region=region if wide is None else case.keep(wide),
                note="" if presence == "present" else "the width lies at the limit",
            )
        )  # fmt: skip
    return out + [
        search(
            case, NAME, key, site=part.site, covered=looked, found=int(key == finding), measurements=(measure,),
            region=region,
        )
        for key in part.findings
    ]  # fmt: skip


def _unseen(case: Case, part: Part, covered: float, why: str = SHORT) -> list[Evidence]:
    """Searches for what could not be measured."""
    reason, note = ((), "") if covered <= 0 else (("not_found",), why)
    return [search(case, NAME, key, site=part.site, covered=covered, failed=reason, note=note) for key in part.findings]


def _mask(case: Case, course: Course, name: str, slices: NDArray[np.intp]) -> Mask:
    """What the wall holds in these slices, and the fitted circle in those whose wall is not seen."""
    out = course.mask(name, map(int, slices))
    bare = [k for k in slices if k not in course.sections]
    if bare:
        out.voxels[:, :, bare] = aorta(case).mask.voxels[:, :, bare]
    return out


def _measure(width: float) -> Measurement:
    return Measurement(quantity="diameter", value=width, plus_minus=DOUBT_MM)


def _heights(course: Course) -> Mapping[int, float]:
    """mm RAS of each section of a course, by working slice."""
    height = _z_mm(course)
    return {k: float(height[k]) for k in course.sections}


def _z_mm(course: Course) -> NDArray[np.float64]:
    """(Z,) mm RAS of the working slices."""
    grid = course.grid
    return np.asarray(grid.affine[2, 3] + grid.affine[2, 2] * np.arange(grid.shape[2]), dtype=np.float64)
