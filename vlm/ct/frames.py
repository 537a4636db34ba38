"""Where a slice lies and how its values are scaled, from classic tags or from functional groups.

Every value is checked when it is read: three finite numbers for a position, two unit vectors
at a right angle for an orientation, a spacing that a CT can have, a usable rescale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm.ct import tags as tag
from vlm.ct.geometry import is_orientation
from vlm.ct.intake import corrupt, refusal
from vlm.ct.tags import Tags
from vlm.errors import IntakeError

FINEST_MM, COARSEST_MM = 0.05, 5.0  # pixel spacing of a CT
FARTHEST_MM = 1e5
STEEPEST_SLOPE, FARTHEST_INTERCEPT = 1000.0, 1e5  # HU per stored value; HU


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice: its place in space and the rescale of its values."""

    number: int  # within the file, from 0
    position: tuple[float, ...]  # (3,) LPS mm
    orientation: tuple[float, ...]  # (6,)
    spacing: tuple[float, float]  # between rows, between columns, mm
    slope: float
    intercept: float
    phase: tuple[str, ...]  # what may split phases and reconstructions at one position


def classic_frame(tags: Tags, name: str) -> Frame:
    return Frame(
        0,
        *_plane(tags, tags, tags, name),
        *_rescale(tags, name),
        phase=tuple(
            tags.text(key)
            for key in (tag.TEMPORAL, tag.TRIGGER_TIME, tag.NOMINAL_PHASE, tag.ACQUISITION, tag.ACQUISITION_TIME)
        ),
    )


def enhanced_frames(tags: Tags, frames: int, name: str) -> tuple[Frame, ...]:
    """The frames of an enhanced file: each functional group per frame first, then shared."""
    shared = tags.first(tag.SHARED_GROUPS)
    each = tags.items(tag.FRAME_GROUPS)
    if len(each) != frames:
        raise corrupt(name, "Per-frame Functional Groups (5200,9230)", len(each), f"{frames} items")
    out = []
    for number, group in enumerate(each):
        position, orientation, measures, transform, content = (
            group.first(key) or (shared.first(key) if shared else None)
            for key in (
                tag.PLANE_POSITION,
                tag.PLANE_ORIENTATION,
                tag.PIXEL_MEASURES,
                tag.VALUE_TRANSFORM,
                tag.FRAME_CONTENT,
            )
        )
        if position is None or orientation is None or measures is None:
            raise _no_geometry(name, "functional groups", "without position, orientation or spacing")
        if transform is None:
            raise _no_rescale(name)
        phase = content.text(tag.TEMPORAL_INDEX) if content else ""
        out.append(
            Frame(number, *_plane(position, orientation, measures, name), *_rescale(transform, name), phase=(phase,))
        )
    return tuple(out)


def _plane(
    position: Tags, orientation: Tags, measures: Tags, name: str
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, float]]:
    """Position, orientation and spacing of one slice, checked; E_NO_GEOMETRY otherwise."""
    where = position.numbers(tag.POSITION, 3)
    if where is None or max(abs(value) for value in where) > FARTHEST_MM:
        raise _no_geometry(name, tag.NAMES[tag.POSITION], position.shown_numbers(tag.POSITION))
    axes = orientation.numbers(tag.ORIENTATION, 6)
    if axes is None or not is_orientation(np.asarray(axes)):
        raise _no_geometry(name, tag.NAMES[tag.ORIENTATION], orientation.shown_numbers(tag.ORIENTATION))
    spacing = measures.numbers(tag.PIXEL_SPACING, 2)
    if spacing is None or not all(FINEST_MM <= value <= COARSEST_MM for value in spacing):
        raise _no_geometry(name, tag.NAMES[tag.PIXEL_SPACING], measures.shown_numbers(tag.PIXEL_SPACING))
    return where, axes, (spacing[0], spacing[1])


def _rescale(tags: Tags, name: str) -> tuple[float, float]:
    slope, intercept = tags.number(tag.SLOPE), tags.number(tag.INTERCEPT)
    if (
        slope is None
        or intercept is None
        or slope <= 0
        or slope > STEEPEST_SLOPE
        or abs(intercept) > FARTHEST_INTERCEPT
    ):
        raise _no_rescale(name)
    return slope, intercept


def _no_geometry(name: str, what: str, found: str) -> IntakeError:
    return refusal(
        "E_NO_GEOMETRY", file=name, tag=what, found=found, expected="where the slice lies, in millimetres",
        remedy="Export the original axial series.",
    )  # fmt: skip


def _no_rescale(name: str) -> IntakeError:
    return refusal(
        "E_NOT_HU", file=name, tag="Rescale Slope and Intercept", found="absent or out of range",
        expected="slope and intercept to Hounsfield units", remedy="Export with rescale.",
    )  # fmt: skip
