"""A flap in the descending and abdominal aorta: a thin dark line between two streams of enhanced blood.

In: the contours of the aorta's wall and the voxels of the scan itself. Out: an Observation of a dissection where such
a line divides the lumen over a length, and a Search for each part of the aorta. Without contrast there is no flap to
see; the root, the ascending aorta and the arch move with each beat of the heart, and the doubled border that this makes
is not told from a flap: they are not assessed. A false lumen that holds clot alone is not found.
Arrays here are (X, Y) of one slice, resampled to 1 mm.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.aortic_wall import Course, Section, descending, outlined
from vlm.anatomy.coverage import coverage
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Observation
from vlm.tools.aorta_size import (
    FORK_MM,
    LOST,
    LOST_MM,
    LUMEN_WALL_MM,
    SPLIT_MM,
    abdominal_widths,
    longest_gap_mm,
    top_mm,
)
from vlm.tools.ground import search
from vlm.tools.organs import phase
from vlm.tools.registry import tool

NAME = "dissection"
SLICE_MM = 5.0  # thicker slices blur a flap that winds
BLOOD_HU = 45.0  # without contrast
SIDE_HU = 100.0  # enhanced blood on both sides of a flap, at least
DEPTH_HU, DEPTH_SHARE = 25.0, 0.2  # a flap is so much darker than both sides: HU, and of what contrast adds
WALL_MM = 2.0  # of the contour that is wall
OFF_CENTRE = 0.35  # of the width: the middle of a line lies so near to that of the aorta; beyond is its border
ALIKE = 1.25  # a contour that is wider than this share of an engine's outline, or of the lumen, holds more than aorta
BLOOD_SHARE = 1.5  # of the blood's density: denser sides are bone or calcium
REACH_MM = 5  # half the width of the patch a line is looked for in
LINE_MM = (0.75, 4.0)  # half the thickness and half the length of the piece of line in that patch
BESIDE_MM = (3.0, 5.0)  # where the blood beside it is read
TURNS = 12  # directions
LENGTH_SHARE, LENGTH_MM = 0.4, 8.0  # of the width of the aorta: the line, less what its ends lose beside the wall
LASTING_MM = 15.0  # along the aorta
SHIFT_MM = 6.0  # a flap moves less from slice to slice
ROUND = 0.7  # short over long width of a section that is judged

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@tool(NAME, observes=("aortic_dissection",), needs=("aorta",))
def dissection(case: Case) -> list[Evidence]:
    """Look for a flap in the enhanced descending and abdominal aorta."""
    moving = [_unjudged(case, site, coverage(case).of(site), "motion") for site in ("ascending_aorta", "aortic_arch")]
    dome = coverage(case).dome_mm
    if dome is None or _reason(case):
        sites = ("descending_aorta", "thoracic_aorta"), ("abdominal_aorta", "abdominal_aorta")
        return [*moving, *(_unjudged(case, site, coverage(case).of(covered)) for site, covered in sites)]
    split, course = dome + SPLIT_MM, descending(case)
    believed = np.flatnonzero(abdominal_widths(case, course, split))
    below = Course(course.grid, {k: course.sections[k] for k in map(int, believed)})
    return [
        *moving,
        *_part(case, "descending_aorta", course, (split, top_mm(case, dome))),
        *_part(case, "abdominal_aorta", below, (dome + FORK_MM, split)),
    ]


def _reason(case: Case) -> tuple[str, ...]:
    """The key of CONDITIONS that says why a flap cannot be seen; empty where it can."""
    if phase(case) == "none":
        return ("no_contrast",)
    if phase(case) not in ("arterial", "venous"):  # the aorta is not filled yet, or nobody knows
        return ("phase",)
    return ("thick_slices",) if case.volume.grid.spacing_mm[2] > SLICE_MM else ()


def _unjudged(case: Case, site: str, covered: float, why: str = "not_found", note: str = "") -> Evidence:
    """A Search for a part that could not be judged."""
    failed = (_reason(case) or (why,)) if covered > 0 else ()
    return search(case, NAME, "aortic_dissection", site=site, covered=0.0, failed=failed, note=note)


def _part(case: Case, site: str, course: Course, ends_mm: tuple[float, float]) -> list[Evidence]:
    """What is seen of a flap between two heights."""
    grid = case.volume.grid
    height = grid.affine[2, 3] + grid.affine[2, 2] * np.arange(grid.shape[2])
    low, high = max(ends_mm[0], float(height.min())), min(ends_mm[1], float(height.max()))
    covered = float(np.clip((high - low) / (ends_mm[1] - ends_mm[0]), 0.0, 1.0))
    judged: dict[int, Line | None] = {}
    for k in (int(k) for k in np.flatnonzero((height >= low) & (height <= high))):
        at = round((float(height[k]) - course.grid.affine[2, 3]) / course.grid.affine[2, 2])
        section = course.sections.get(at)
        if section is not None and clear(case, at, section):
            judged[k] = flap(case, k, section)
    step = grid.spacing_mm[2]
    found = longest_run({k: line for k, line in judged.items() if line is not None}, step)
    if len(found) * step >= LASTING_MM:
        voxels = np.zeros(grid.shape, dtype=bool, order="F")
        for k in found:
            voxels[(*found[k].index.T, k)] = True
        region = case.keep(Mask(f"{site}_flap", voxels, grid))
        seen = Observation(tool=NAME, finding="aortic_dissection", presence="present", site=site, region=region)
        return [seen, search(case, NAME, "aortic_dissection", site=site, covered=covered, found=1, region=region)]
    if covered <= 0 or longest_gap_mm(height[sorted(judged)], low, high) > LOST_MM:
        return [_unjudged(case, site, covered, note=LOST)]
    return [search(case, NAME, "aortic_dissection", site=site, covered=covered)]


def clear(case: Case, k: int, section: Section) -> bool:
    """Whether the section of a working slice is round, its lumen enhanced, and its contour that of the aorta alone."""
    if section.lumen_mm is None or section.short_mm < ROUND * section.long_mm:
        return False
    _, outline = outlined(case).get(k, (None, 0.0))
    return section.short_mm <= ALIKE * max(outline, section.lumen_mm + LUMEN_WALL_MM)


@dataclass(frozen=True, slots=True)
class Line:
    """A dark line across the lumen of one slice: its middle (2,) mm, and its voxels (N, 2) of the volume."""

    middle_mm: NDArray[np.float64]
    index: NDArray[np.intp]


def flap(case: Case, k: int, section: Section) -> Line | None:
    """The longest dark line with enhanced blood on both sides, within the wall of the aorta in one slice."""
    grid, half = case.volume.grid, section.long_mm / 2 + 2 * REACH_MM
    offset = np.arange(-round(half), round(half) + 1.0)
    x, y = (section.centre_mm[axis] + offset for axis in range(2))
    at = [(mm - grid.affine[axis, 3]) / grid.affine[axis, axis] for axis, mm in enumerate((x, y))]
    hu = np.asarray(case.volume.hu[:, :, k], dtype=np.float32)
    patch = ndimage.map_coordinates(hu, np.meshgrid(*at, indexing="ij"), order=1, mode="nearest")
    inside = within(section, x, y, WALL_MM)
    if not inside.any():
        return None
    blood = float(np.median(patch[inside]))
    depth, least = valley_hu(patch, BLOOD_SHARE * blood), max(DEPTH_HU, DEPTH_SHARE * (blood - BLOOD_HU))
    labels, count = ndimage.label((depth >= least) & inside, np.ones((3, 3)))
    best: tuple[float, NDArray[np.intp]] | None = None
    for number in range(1, count + 1):
        index = np.argwhere(labels == number)
        length = float(np.ptp(index @ _directions(), axis=0).max()) + 1.0
        if best is None or length > best[0]:
            best = length, index
    if best is None or best[0] < max(LENGTH_MM, LENGTH_SHARE * section.short_mm):
        return None
    points = np.stack([x[best[1][:, 0]], y[best[1][:, 1]]], axis=1)
    if np.hypot(*(points.mean(axis=0) - section.centre_mm)) > OFF_CENTRE * section.short_mm:
        return None
    voxels = np.rint([(points[:, a] - grid.affine[a, 3]) / grid.affine[a, a] for a in range(2)]).T.astype(np.intp)
    return Line(points.mean(axis=0), np.clip(voxels, 0, np.array(grid.shape[:2]) - 1))


def within(section: Section, x: NDArray[np.float64], y: NDArray[np.float64], inward_mm: float) -> Bools:
    """(X, Y) what the contour holds at these evenly spaced mm, without so much along its border."""
    from skimage.draw import polygon2mask

    share = max(0.0, 1 - 2 * inward_mm / section.short_mm)
    inner = section.centre_mm + (section.points_mm - section.centre_mm) * share
    steps = np.array([x[1] - x[0], y[1] - y[0]])
    return np.asarray(polygon2mask((x.size, y.size), (inner - (x[0], y[0])) / steps), dtype=bool)


def valley_hu(patch: NDArray[np.float32], most_hu: float) -> Floats:
    """(X, Y) by how much a short line through each mm is darker than the enhanced blood on both of its sides, HU.

    0 where one of its sides is no enhanced blood, or denser than ``most_hu``; its darkest direction counts.
    """
    size = 2 * REACH_MM + 1
    padded = np.pad(patch, REACH_MM, mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, (size, size)).reshape(*patch.shape, size * size)
    line, right, left = (around @ kernel for kernel in _kernels())  # each (X, Y, TURNS)
    darker, blood = np.minimum(right, left), np.maximum(right, left) <= most_hu
    return np.asarray(np.where((darker >= SIDE_HU) & blood, darker - line, 0.0).max(axis=-1), dtype=np.float32)


@functools.cache
def _kernels() -> tuple[Floats, Floats, Floats]:
    """Weights (patch, TURNS) of a piece of line through the middle, and of the blood on either side of it."""
    offset = np.arange(-REACH_MM, REACH_MM + 1.0)
    x, y = (part.ravel() for part in np.meshgrid(offset, offset, indexing="ij"))
    along = np.outer(x, _directions()[0]) + np.outer(y, _directions()[1])
    across = np.outer(x, -_directions()[1]) + np.outer(y, _directions()[0])
    near = np.abs(along) <= LINE_MM[1]
    parts = (
        near & (np.abs(across) <= LINE_MM[0]),
        near & (across >= BESIDE_MM[0]) & (across <= BESIDE_MM[1]),
        near & (across <= -BESIDE_MM[0]) & (across >= -BESIDE_MM[1]),
    )
    line, right, left = (np.asarray(part / part.sum(axis=0), dtype=np.float32) for part in parts)
    return line, right, left


@functools.cache
def _directions() -> NDArray[np.float64]:
    """(2, TURNS) unit vectors over half a turn."""
    turn = np.arange(TURNS) * np.pi / TURNS
    return np.stack([np.cos(turn), np.sin(turn)])


def longest_run(lines: Mapping[int, Line], step_mm: float) -> dict[int, Line]:
    """The longest run of lines that go on from slice to slice; a single slice may miss."""
    best: dict[int, Line] = {}
    run: dict[int, Line] = {}
    for k in sorted(lines):
        if run:
            last = max(run)
            away = float(np.hypot(*(lines[k].middle_mm - run[last].middle_mm)))
            if k - last > 2 or away > SHIFT_MM + 0.5 * (k - last) * step_mm:
                run = {}
        run[k] = lines[k]
        best = run if len(run) > len(best) else best
    return best
