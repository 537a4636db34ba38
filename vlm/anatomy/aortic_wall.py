"""The wall of the aorta, measured on the voxels: closed contours around seeds that only say where to look.

In: seeds of the descending and abdominal aorta and of the ascending aorta, from the trace of rules or from the mask of
an engine. Out: one contour a working slice, with the width of what the wall holds (clot included) and of the lumen that
contrast fills. A contour is the closed course of the best edge against fat, lung or bone in rays from the seed; where a
neighbour touches the wall no edge is seen, and the share of the wall that is seen says so. The width is the least one
between parallel lines, so that a vessel that is cut obliquely is not measured too wide.
Arrays here are (A, R): angles and radii of rays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.aorta import FAT_HU, MARROW_MM, aorta
from vlm.anatomy.arch import arch
from vlm.anatomy.skeleton import bone_near_spine, spine
from vlm.anatomy.structures import structure
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, once

ANGLES = 48
STEP_MM = 0.75
RADII_MM = np.arange(2.0, 50.0, STEP_MM)
SIDE_MM = 1.5  # before and behind an edge
EDGE_HU = 100.0  # soft tissue against fat, blurred: a full edge
SOFT_HU, OUT_HU = 0.0, -25.0  # least of blood; half way from soft tissue to fat
PLAIN_HU = 45.0  # blood without contrast, clot, muscle
LUMEN_STEP_HU = 50.0  # blood above that: then the lumen has an edge of its own
LUMEN_SHARE = 0.3  # of an edge of the lumen, beside one of the wall
SMEAR = (0.5, 0.9, 1.0, 0.9, 0.5)  # an edge counts as far as one and a half mm beside it
SMOOTH_COST = 0.12  # a step of radius between neighbouring rays
MOST_STEPS = 2
EXPECTED, EXPECTED_MM = 0.08, 4.0  # of a full edge, where the last slice had it; so far beside it
SEEN = 0.3  # of a full edge: the wall is seen there
SURE_SEEN, LEAST_SEEN = 0.6, 0.45  # share of the wall: of a section, of one that goes on from another
GAP, LEAST_GAP = 0.28, 0.36  # of the wall that no ray sees, in one piece, at most; likewise
LEAST_SHARE = 10  # per cent of directions: the very least width is as often noise
ROUND = 0.6  # short over long width: flatter is the arch, the fork, or no aorta
LEAST_MM, MOST_MM = 12.0, 95.0
LEAP_MM = (4.0, 1.5)  # between slices: this, and so much a mm of the step
MISSED_MM = 12.0  # so much without a wall that is seen ends a course
LIKE_BLOOD = 0.3  # of its density: voxels that differ less are blood
NECK = 1  # openings that part blood from the bone that it touches
BONE_HU = 150.0
CORE_MM = 6.0  # radius about a seed in which blood is read
RIGHT_MM = 8.0  # of the canal: seeds lie there in no aorta but one that runs on the wrong side
DESCENDING_MM = (75.0, 100.0)  # of the canal's middle, sideways and forward: where a mask's piece is its

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """One contour: ``points_mm`` (A, 2) x and y; widths in mm, clot included; ``lumen_mm`` None without contrast."""

    points_mm: Floats
    short_mm: float
    long_mm: float
    lumen_mm: float | None
    seen: float  # 0..1 of the wall
    gap: float  # 0..1 of the wall: the longest part that is not seen

    @property
    def centre_mm(self) -> Floats:
        """(2,) the middle of the contour."""
        middle: Floats = self.points_mm.mean(axis=0)
        return middle

    @property
    def fits(self) -> bool:
        """Whether it can be the aorta beside a section that is sure."""
        fits = LEAST_MM <= self.short_mm <= MOST_MM and self.short_mm >= ROUND * self.long_mm
        return fits and self.seen >= LEAST_SEEN and self.gap <= LEAST_GAP

    @property
    def sure(self) -> bool:
        """Whether enough of a round wall is seen."""
        return self.fits and self.seen >= SURE_SEEN and self.gap <= GAP


@dataclass(frozen=True, eq=False)
class Course:
    """Sections of one limb by working slice."""

    grid: Grid
    sections: Mapping[int, Section]

    def mask(self, name: str, slices: Iterable[int]) -> Mask:
        """What the wall holds in these slices, on the working grid."""
        out = np.zeros(self.grid.shape, dtype=bool, order="F")
        for k in slices:
            if k in self.sections:
                out[:, :, k] = _filled(self.sections[k].points_mm, self.grid)
        return Mask(name, out, self.grid)


@once
def descending(case: Case) -> Course:
    """The descending and abdominal aorta, followed as far as its wall is seen."""
    return _course(case, _seeds(case))


@once
def ascending(case: Case) -> Course:
    """The ascending aorta where rules are sure of it; it is not followed on into heart and arch."""
    traced = arch(case).ascending
    seeds = {int(k): traced.centres_mm[k, :2] for k in np.flatnonzero(traced.sure)} if traced.found else {}
    return Course(case.working.grid, _at_seeds(case, seeds))


@once
def outlined(case: Case) -> Mapping[int, tuple[Floats, float]]:
    """Middle (2,) mm and width, mm, of the descending and abdominal aorta by working slice, as an engine outlines it.

    Empty where no engine but the rules tells the aorta.
    """
    grid, axis, found = case.working.grid, spine(case), structure(case, "aorta")
    out: dict[int, tuple[Floats, float]] = {}
    if found.mask is None or not axis.found or found.engine.startswith("rules"):
        return out
    voxels = found.mask.on(grid).voxels
    for k in map(int, np.flatnonzero(voxels.any(axis=(0, 1)))):
        labels, count = ndimage.label(voxels[:, :, k])
        for number in range(1, count + 1):
            index = np.argwhere(labels == number)
            middle = grid.to_mm([*index.mean(axis=0), k])[:2]
            aside, ahead = np.abs(middle[0] - axis.canal_mm[k, 0]), middle[1] - axis.canal_mm[k, 1]
            near = aside < DESCENDING_MM[0] and 0.0 < ahead < DESCENDING_MM[1]
            if near and (k not in out or middle[1] < out[k][0][1]):  # of two limbs the one behind
                out[k] = middle, 2 * float(np.sqrt(len(index) * np.prod(grid.spacing_mm[:2]) / np.pi))
    return out


def _seeds(case: Case) -> dict[int, Floats]:
    """(x, y) mm by working slice: of the trace of rules where it is sure, and of an engine, which errs less."""
    axis, traced = spine(case), aorta(case)
    seeds: dict[int, Floats] = {}
    if traced.found:
        seeds |= {int(k): traced.centres_mm[k, :2] for k in np.flatnonzero(traced.sure)}
    seeds |= {k: middle for k, (middle, _) in outlined(case).items()}
    aside = [at[0] - axis.canal_mm[k, 0] for k, at in seeds.items()]
    return seeds if aside and np.median(aside) <= RIGHT_MM else {}  # on the right of the spine it is the vena cava


def _course(case: Case, seeds: Mapping[int, Floats]) -> Course:
    """Sections at the seeds, and on from them in both directions as long as the wall is seen."""
    grid = case.working.grid
    sections = _at_seeds(case, seeds)
    for way in (1, -1):
        for start in sorted(sections, reverse=way < 0):
            _follow(case, sections, start, way)
    return Course(grid, dict(sorted(sections.items())))


def _follow(case: Case, sections: dict[int, Section], start: int, way: int) -> None:
    """Add the sections from one on, up or down, until the wall was not seen over ``MISSED_MM`` or leaps."""
    step, many = case.working.grid.spacing_mm[2], case.working.grid.shape[2]
    k, last, missed = start + way, sections[start], 0.0
    while 0 <= k < many and k not in sections and missed <= MISSED_MM:
        found = _section(case, k, last.centre_mm, last)
        on = found is not None and _goes_on(last, found, step + missed)
        missed += step
        if found is not None and on:
            last = found
            if found.fits:
                sections[k], missed = found, 0.0
        k += way


def _at_seeds(case: Case, seeds: Mapping[int, Floats]) -> dict[int, Section]:
    """The sections at seeds whose wall is seen."""
    found = {k: _section(case, k, at) for k, at in sorted(seeds.items())}
    return {k: seen for k, seen in found.items() if seen is not None and seen.sure}


def _goes_on(last: Section, new: Section, step_mm: float) -> bool:
    """Whether two sections can be of one vessel."""
    most = LEAP_MM[0] + LEAP_MM[1] * step_mm
    return float(np.hypot(*(new.centre_mm - last.centre_mm))) <= most and abs(new.short_mm - last.short_mm) <= most


def _section(case: Case, k: int, seed_mm: Floats, last: Section | None = None) -> Section | None:
    """The contour around a seed in a working slice, bone and the marrow of the spine taken for fat."""
    volume, axis = case.working, spine(case)
    steps = volume.grid.spacing_mm
    at = volume.grid.to_ijk([*seed_mm, 0.0])
    reach = RADII_MM[-1] + CORE_MM
    part = tuple(slice(max(0, int(at[n] - reach / steps[n])), max(1, int(at[n] + reach / steps[n]))) for n in range(2))
    hu = volume.hu[:, :, k][part].astype(np.float32)
    if min(hu.shape) < 2:
        return None
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm([part[0].start, part[1].start, k])
    grid = Grid((*hu.shape, 1), affine)
    bone = _bone(hu, bone_near_spine(case).voxels[:, :, k][part], _lumen(hu, grid, seed_mm))
    if axis.found:
        x, y = (affine[n, 3] + affine[n, n] * np.arange(hu.shape[n]) for n in range(2))
        body = axis.bodies_mm[k]
        bone |= (x[:, None] - body[0]) ** 2 + (y[None] - body[1]) ** 2 < MARROW_MM**2
    hu[bone] = FAT_HU
    smooth = np.asarray(ndimage.gaussian_filter(hu, [1.0 / step for step in steps[:2]]))
    return section(smooth, grid, seed_mm, last)


def _lumen(hu: NDArray[np.float32], grid: Grid, seed_mm: Floats) -> Bools:
    """(X, Y) the enhanced blood around a seed; empty without contrast. It is no bone, however bright it is."""
    at = np.rint(grid.to_ijk([*seed_mm, grid.affine[2, 3]])[:2]).astype(int)
    near = tuple(slice(max(0, at[n] - 2), at[n] + 3) for n in range(2))
    blood = float(np.median(hu[near])) if hu[near].size else 0.0
    if blood < PLAIN_HU + LUMEN_STEP_HU:
        return np.zeros(hu.shape, dtype=bool)
    alike = np.abs(ndimage.uniform_filter(hu, 3) - blood) < LIKE_BLOOD * blood
    labels, _ = ndimage.label(ndimage.binary_opening(alike, np.ones((3, 3)), iterations=NECK))
    mine = np.bincount(labels[near].ravel())[1:]
    if not mine.size:
        return np.zeros(hu.shape, dtype=bool)
    return np.asarray(ndimage.binary_dilation(labels == 1 + int(np.argmax(mine)), iterations=1))


def _bone(hu: NDArray[np.float32], column: Bools, lumen: Bools) -> Bools:
    """(X, Y) the vertebra with what the cylinder of the spine leaves out of it, without enhanced blood within that."""
    labels, _ = ndimage.label((hu > BONE_HU) & ~lumen)
    touched = np.unique(labels[column & ~lumen])
    own = np.isin(labels, touched[touched > 0])
    return np.asarray(ndimage.binary_fill_holes(own) | (column & ~lumen)) if own.any() else column & ~lumen


def section(hu: NDArray[np.float32], grid: Grid, seed_mm: Floats, last: Section | None = None) -> Section | None:
    """The contour around a seed in one slice (X, Y); None where the seed lies in no soft tissue.

    Where no edge is seen the contour keeps to that of the ``last`` slice.
    """
    for _ in range(2):  # the second time from the middle of the first contour, where rays meet the wall straight
        rays = _rays(hu, grid, seed_mm)
        blood = float(np.median(rays[:, RADII_MM <= CORE_MM]))
        if blood < SOFT_HU:
            return None
        wall, inner = _edges(rays, blood)
        course = _closed_course(wall if last is None else wall + _expected(last, seed_mm))
        points, from_mm = _points(seed_mm, course), seed_mm
        seed_mm = points.mean(axis=0)
    seen = wall[np.arange(ANGLES), course] >= SEEN
    lumen = None if inner is None else _widths(_points(from_mm, _closed_course(inner)))[0]
    short, long_ = _widths(points)
    return Section(
        points_mm=points, short_mm=short, long_mm=long_, lumen_mm=lumen, seen=float(seen.mean()), gap=_gap(seen)
    )  # fmt: skip


def _expected(last: Section, seed_mm: Floats) -> Floats:
    """(A, R) a little of an edge where the contour of the last slice lies."""
    away = last.points_mm - seed_mm
    turn, radius = np.arctan2(away[:, 1], away[:, 0]), np.hypot(away[:, 0], away[:, 1])
    order = np.argsort(turn)
    rays = np.arange(ANGLES) * 2 * np.pi / ANGLES
    before = np.interp(rays, turn[order], radius[order], period=2 * np.pi)
    return np.asarray(EXPECTED * np.exp(-(((RADII_MM[None] - before[:, None]) / EXPECTED_MM) ** 2)))


def _rays(hu: NDArray[np.float32], grid: Grid, seed_mm: Floats) -> Floats:
    """(A, R) HU along rays; beyond the scan nothing is known: fat, which makes no edge there."""
    turn = np.arange(ANGLES) * 2 * np.pi / ANGLES
    at = []
    for axis, part in enumerate((np.cos(turn), np.sin(turn))):
        mm = seed_mm[axis] + part[:, None] * RADII_MM[None]
        at.append((mm - grid.affine[axis, 3]) / grid.affine[axis, axis])
    return np.asarray(ndimage.map_coordinates(hu, at, order=1, mode="nearest"), dtype=np.float64)


def _edges(rays: Floats, blood: float) -> tuple[Floats, Floats | None]:
    """(A, R) how much of an edge of the wall is there, and of the lumen alone; None without contrast."""
    outer = _falls(rays, OUT_HU, EDGE_HU)
    inner = None
    if blood >= PLAIN_HU + LUMEN_STEP_HU:
        inner = _falls(rays, (blood + PLAIN_HU) / 2, blood - PLAIN_HU)
    left = np.maximum.accumulate(rays < OUT_HU - 15.0, axis=1)  # the ray is in fat or lung: what comes is another organ
    beyond = 2 * round(SIDE_MM / STEP_MM)
    left = np.roll(left, beyond, axis=1)
    left[:, :beyond] = False
    whole = outer if inner is None else np.maximum(outer, LUMEN_SHARE * inner)
    return np.where(left, -1.0, whole), None if inner is None else np.where(left, -1.0, inner)


def _falls(rays: Floats, level: float, whole_hu: float) -> Floats:
    """(A, R) where rays fall through a level: the fall over ``2 * SIDE_MM`` as a share of ``whole_hu``, at most 1."""
    side = round(SIDE_MM / STEP_MM)
    padded = np.pad(rays, ((0, 0), (side, side)), mode="edge")
    fall = np.clip((padded[:, : -2 * side] - padded[:, 2 * side :]) / whole_hu, 0.0, 1.0)
    through = np.zeros(rays.shape, dtype=bool)
    through[:, :-1] = (rays[:, :-1] >= level) & (rays[:, 1:] < level)
    return np.asarray(ndimage.convolve1d(fall * through, SMEAR, axis=1, mode="constant"))


def _closed_course(edge: Floats) -> NDArray[np.intp]:
    """(A,) index of the radius on each ray: the smooth closed course with the most edge."""
    count, many = edge.shape
    total, came = edge[0].copy(), np.zeros((2 * count, many), dtype=np.intp)
    index = np.arange(many)
    shifts = range(-MOST_STEPS, MOST_STEPS + 1)
    for turn in range(1, 2 * count):  # twice around: the second round closes
        options = np.full((len(shifts), many), -np.inf)
        for row, shift in enumerate(shifts):
            low, high = max(0, -shift), min(many, many - shift)
            options[row, low:high] = total[low + shift : high + shift] - SMOOTH_COST * abs(shift)
        best = np.argmax(options, axis=0)
        came[turn] = index + best - MOST_STEPS
        total = options[best, index] + edge[turn % count]
    course = np.zeros(2 * count, dtype=np.intp)
    course[-1] = int(np.argmax(total))
    for turn in range(2 * count - 1, 0, -1):
        course[turn - 1] = came[turn, course[turn]]
    half = count // 2  # the middle of the two rounds has neighbours on both sides
    return np.roll(course[half : half + count], half)


def _points(seed_mm: Floats, course: NDArray[np.intp]) -> Floats:
    """(A, 2) mm of a course of radii."""
    turn = np.arange(ANGLES) * 2 * np.pi / ANGLES
    radius = RADII_MM[course]
    return np.stack([seed_mm[0] + radius * np.cos(turn), seed_mm[1] + radius * np.sin(turn)], axis=1)


def _widths(points: Floats) -> tuple[float, float]:
    """Least and most distance between parallel lines that hold a contour, mm."""
    turn = np.arange(0.0, np.pi, np.pi / 36)
    across = points @ np.stack([np.cos(turn), np.sin(turn)])
    widths = np.ptp(across, axis=0)
    return float(np.percentile(widths, LEAST_SHARE)), float(widths.max())


def _gap(seen: NDArray[np.bool_]) -> float:
    """The longest run of False around a circle, as a share of it."""
    if not seen.any():
        return 1.0
    at = np.flatnonzero(seen)
    between = np.diff(np.append(at, at[0] + seen.size)) - 1
    return float(between.max()) / seen.size


def _filled(points_mm: Floats, grid: Grid) -> NDArray[np.bool_]:
    """(X, Y) the voxels of a slice whose centres a contour holds."""
    from skimage.draw import polygon2mask

    at = np.stack([(points_mm[:, n] - grid.affine[n, 3]) / grid.affine[n, n] for n in range(2)], axis=1)
    return np.asarray(polygon2mask(grid.shape[:2], at), dtype=bool)
