"""From slice positions to one grid: sort along the normal, judge the gaps, turn LPS into RAS.

The affine is built here from Image Position and Orientation alone. Slice thickness, spacing
tags, instance numbers and file names never take part. In: positions and orientations in
DICOM's LPS millimetres. Out: the order of slices, the step between them, holes, the notes,
and how array axes are permuted and flipped to come closest to RAS+.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from vlm.ct.intake import Note, note, refusal

Floats = NDArray[np.float64]

UNIT_TOLERANCE = 1e-3  # norm and dot of the axes of a slice (highdicom uses the same)
SAME_POSITION_MM = 0.01  # two slices nearer than this lie at one position (OHIF)
EVEN_SHARE, EVEN_MM = 0.01, 0.02  # gaps even: 1 % (highdicom) or 0.02 mm, whichever is wider
JITTER_SHARE, JITTER_MM = 0.05, 0.2  # gaps nearly even: 5 % (dicom2nifti) or 0.2 mm (dcm2niix)
HOLE_SHARE = 0.10  # a gap within 10 % of a multiple of the median is missing slices
MISSING_SLICES, MISSING_SHARE = 2, 0.05  # as many may be missing
SIDEWAYS_MM = 0.2  # a slice may stand this far beside the line of the others
TILT_DEGREES = 0.1  # angle between step and normal from which a stack counts as tilted
THICK_MM, VERY_THICK_MM = 5.0, 10.0
ROUNDING_MM = 0.01  # of positions: two slices of 5 mm are 10 mm apart
SHORT_SLICES, SHORT_MM = 10, 50.0
EVEN_BLOCK_SLICES = 10  # the shortest even block that is read out of an uneven stack
FEWEST_POSITIONS = 3
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0])


@dataclass(frozen=True, eq=False)
class Stacking:
    """Slices in order: ``order[k]`` is the index of the k-th slice from the first, or None for a hole."""

    order: tuple[int | None, ...]
    first_lps_mm: Floats  # (3,) position of slice 0
    step_lps_mm: Floats  # (3,) from a slice to the next
    tilt_degrees: float
    notes: tuple[Note, ...]


def normal_of(orientation: Floats) -> Floats:
    """(6,) row and column axis -> (3,) unit normal, LPS."""
    normal: Floats = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / np.linalg.norm(normal))


def is_orientation(orientation: Floats) -> bool:
    """True for two unit vectors at a right angle, within UNIT_TOLERANCE."""
    row, column = orientation[:3], orientation[3:]
    norms = abs(float(np.linalg.norm(row)) - 1), abs(float(np.linalg.norm(column)) - 1)
    return bool(np.isfinite(orientation).all()) and max(*norms, abs(float(row @ column))) <= UNIT_TOLERANCE


def stack(positions_lps_mm: Floats, orientation: Floats) -> Stacking:
    """Order slices along their normal and judge the gaps.

    Args:
        positions_lps_mm: (n, 3), one per slice, in any order; no two at one position
            unless all are.
        orientation: (6,) row and column axis of every slice.

    Raises:
        IntakeError: E_SAME_POSITION, E_TOO_FEW_SLICES, E_MISSING_SLICES, E_UNEVEN_SPACING.
    """
    normal = normal_of(orientation)
    along = positions_lps_mm @ normal
    order = np.argsort(along, kind="stable")
    sorted_along, sorted_points = along[order], positions_lps_mm[order]
    if len(order) > 1 and sorted_along[-1] - sorted_along[0] <= SAME_POSITION_MM:
        raise refusal(
            "E_SAME_POSITION",
            tag="Image Position (0020,0032)",
            found=f"one position in {len(order)} slices",
            expected="slices along a line",
            remedy="These are repeated images of one slice, such as contrast monitoring; read the volume's series.",
        )
    if len(order) < FEWEST_POSITIONS:
        raise refusal(
            "E_TOO_FEW_SLICES",
            tag="series",
            found=f"{len(order)} slice" + "s" * (len(order) > 1),
            expected=f"at least {FEWEST_POSITIONS} slice positions",
            remedy="Give the folder that holds the whole series.",
        )
    _along_one_line(sorted_points)
    notes: list[Note] = []
    first, last, kept = 0, len(order) - 1, [int(i) for i in order]
    slots: list[int | None] = [*kept]
    gaps = np.diff(sorted_along)
    median = float(np.median(gaps))
    deviation = float(np.abs(gaps - median).max())
    if deviation > max(EVEN_SHARE * median, EVEN_MM):
        if deviation <= max(JITTER_SHARE * median, JITTER_MM):
            notes.append(note("W_JITTER", f"Gaps {gaps.min():.2f}–{gaps.max():.2f} mm; the mean step is used."))
        elif (counts := _multiples(gaps)) is not None:
            slots = _with_holes(kept, counts)
            notes.append(_missing(sorted_along, gaps, counts))
        else:
            first, last = _even_block(gaps)
            slots = [*kept[first : last + 1]]
            notes.append(_uneven(sorted_along, gaps, first, last))
    step = (sorted_points[last] - sorted_points[first]) / (len(slots) - 1)
    tilt = float(np.degrees(np.arccos(np.clip(abs(step @ normal) / np.linalg.norm(step), 0, 1))))
    if tilt > TILT_DEGREES:
        notes.append(
            note("W_TILT", f"Slices tilted {tilt:.1f}°; lengths use the true geometry, reformats are resampled.")
        )
    notes += size_notes(len(slots), float(abs(step @ normal)))
    return Stacking(tuple(slots), sorted_points[first], step, tilt if tilt > TILT_DEGREES else 0.0, tuple(notes))


def _along_one_line(points: Floats) -> None:
    """E_MIXED_GEOMETRY when a slice stands beside the line of its neighbours; ``points`` in order along the normal."""
    steps = np.diff(points, axis=0)
    lengths = np.linalg.norm(steps, axis=1)
    direction = np.median(steps / lengths[:, None], axis=0)
    direction /= np.linalg.norm(direction)
    beside = np.linalg.norm(steps - (steps @ direction)[:, None] * direction, axis=1)
    if float(beside.max()) > SIDEWAYS_MM:
        raise refusal(
            "E_MIXED_GEOMETRY",
            tag="Image Position (0020,0032)",
            found=f"a slice {float(beside.max()):.1f} mm beside the line of the others",
            expected="slices along one line",
            remedy="Export the original series again.",
        )


def size_notes(slices: int, spacing_mm: float) -> list[Note]:
    """What is said about a short or thick stack; ``spacing_mm`` is across slices."""
    notes: list[Note] = []
    extent = slices * spacing_mm
    if slices < SHORT_SLICES or extent < SHORT_MM:
        notes.append(note("W_SHORT_STACK", f"Only {slices} slices over {extent:.0f} mm."))
    if spacing_mm > THICK_MM:
        more = ("volume_across_slices",) if spacing_mm > VERY_THICK_MM else ()
        notes.append(note("W_THICK", f"Slices are {spacing_mm:.1f} mm apart.", limits=more))
    return notes


def _multiples(gaps: Floats) -> NDArray[np.int64] | None:
    """(n,) gaps -> how many steps each is, where each is a whole number of the common step; else None."""
    median = float(np.median(gaps))
    counts = np.rint(gaps / median).astype(np.int64)
    whole = (counts >= 1) & (np.abs(gaps - counts * median) <= HOLE_SHARE * median)
    return counts if bool(whole.all()) and bool((counts >= 2).any()) else None


def _with_holes(order: list[int], counts: NDArray[np.int64]) -> list[int | None]:
    slots: list[int | None] = [order[0]]
    for index, count in zip(order[1:], counts, strict=True):
        slots += [None] * (int(count) - 1) + [index]
    return slots


def _missing(along: Floats, gaps: Floats, counts: NDArray[np.int64]) -> Note:
    """The note on missing slices, or the refusal when too many are missing."""
    missing = int((counts - 1).sum())
    worst = int(np.argmax(counts))
    text = (
        f"{missing} of {int(counts.sum()) + 1} slices missing, "
        f"between {along[worst]:.1f} and {along[worst + 1]:.1f} mm along the stack"
    )
    # A hole is filled, but not where a thick slice would not be measured across.
    wide = float(gaps[worst]) > VERY_THICK_MM + ROUNDING_MM
    if wide or missing > MISSING_SLICES or missing > MISSING_SHARE * (int(counts.sum()) + 1):
        raise refusal(
            "E_MISSING_SLICES",
            tag="Image Position (0020,0032)",
            found=text,
            expected=f"gaps of {float(np.median(gaps)):.2f} mm",
            remedy="Export the series again with all of its slices.",
        )
    return note("W_MISSING_SLICES", f"{text}; filled from the slices around them.")


def _even_block(gaps: Floats) -> tuple[int, int]:
    """First and last slice of the longest run of even gaps."""
    best, start = (0, 0), 0
    for end in range(1, len(gaps) + 1):
        run = gaps[start:end]
        while np.ptp(run) > max(EVEN_SHARE * float(np.median(run)), EVEN_MM):
            start += 1
            run = gaps[start:end]
        if end - start > best[1] - best[0]:
            best = (start, end)
    return best


def _uneven(along: Floats, gaps: Floats, first: int, last: int) -> Note:
    """The note on the block that is read, or the refusal when it is too short."""
    if last - first + 1 < EVEN_BLOCK_SLICES:
        raise refusal(
            "E_UNEVEN_SPACING",
            tag="gaps between slices",
            found=f"{gaps.min():.2f} to {gaps.max():.2f} mm",
            expected="even gaps",
            remedy="Export one reconstruction with even spacing.",
        )
    return note(
        "W_UNEVEN_SPACING",
        f"Gaps {gaps.min():.2f}–{gaps.max():.2f} mm; {last - first + 1} even slices from {along[first]:.1f} to "
        f"{along[last]:.1f} mm are read, {len(along) - (last - first + 1)} are not.",
    )


def ras_affine(
    first_lps_mm: Floats, orientation: Floats, spacing_mm: tuple[float, float], step_lps_mm: Floats
) -> Floats:
    """(4, 4) from (column index, row index, slice index) to RAS mm.

    ``spacing_mm`` is (between rows, between columns), the order of Pixel Spacing.
    """
    affine = np.eye(4)
    affine[:3, 0] = LPS_TO_RAS @ orientation[:3] * spacing_mm[1]
    affine[:3, 1] = LPS_TO_RAS @ orientation[3:] * spacing_mm[0]
    affine[:3, 2] = LPS_TO_RAS @ step_lps_mm
    affine[:3, 3] = LPS_TO_RAS @ first_lps_mm
    return affine


@dataclass(frozen=True, eq=False)
class Turn:
    """How stored axes become RAS axes: RAS axis a is stored axis ``axes[a]``, reversed where ``flips[a]``."""

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    @property
    def keeps_axes(self) -> bool:
        """True when slices stay slices: nothing is transposed, at most reversed."""
        return self.axes == (0, 1, 2)


def turn_to_ras(affine: Floats) -> Turn:
    """The permutation and reversals that bring the axes of ``affine`` closest to RAS+."""
    steps = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    axes = max(permutations(range(3)), key=lambda order: sum(abs(float(steps[a, order[a]])) for a in range(3)))
    flips = tuple(bool(steps[a, axes[a]] < 0) for a in range(3))
    return Turn((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def turned_affine(affine: Floats, shape: tuple[int, int, int], turn: Turn) -> Floats:
    """The affine of the array after ``turn``; ``shape`` is that of the stored axes."""
    out = affine.copy()
    for axis in range(3):
        stored = turn.axes[axis]
        column = affine[:3, stored]
        if turn.flips[axis]:
            out[:3, 3] = out[:3, 3] + column * (shape[stored] - 1)
            column = -column
        out[:3, axis] = column
    return out


def orientation_code(affine: Floats) -> str:
    """Where stored axes point, such as "LPS": one letter per axis, the patient's nearest direction."""
    turn = turn_to_ras(affine)
    letters = [""] * 3
    for axis, (minus, plus) in enumerate((("L", "R"), ("P", "A"), ("I", "S"))):
        letters[turn.axes[axis]] = minus if turn.flips[axis] else plus
    return "".join(letters)
