"""A prior scan: read, laid onto today's, and what became of each finding since.

The order of both scans is checked where both say a day; no day enters a report. What was compared with
what, and how well both lie on each other, stands in the report's provenance.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from app.running import Clock, run_tools
from vlm.ct import Note, Volume, read
from vlm.errors import IntakeError, UsageError
from vlm.evidence import Case
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Prior
from vlm.tools import Tool

if TYPE_CHECKING:
    from vlm.anatomy.registration import Alignment

WHOLE = 0.95  # share of today's height under the prior from which the overlap is not worth a word


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a prior gave: changes that may be told, and the record of how they came about."""

    changes: Prior | None  # None: it could not be aligned
    part: bool  # only a part of today's scan lies on the prior
    record: dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Earlier:
    """A prior that was read, and what its intake noted."""

    volume: Volume
    notes: tuple[Note, ...] = ()


def read_prior(prior: Path | Volume, series: str | None) -> Earlier:
    """Read a prior where it is a path.

    Raises:
        IntakeError: it is refused; the message names it.
    """
    if isinstance(prior, Volume):
        return Earlier(volume=prior)
    try:
        scan = read(prior, series=series)
    except IntakeError as error:
        raise error.of("the prior") from None
    return Earlier(volume=scan.volume, notes=scan.notes)


def compare_with(case: Case, prior: Earlier, order: str, tools: dict[str, Tool], clock: Clock) -> Comparison:
    """Lay a prior onto the case, and say what became of each finding; ``order`` is what ``order_of`` said of both."""
    from vlm.anatomy.registration import register  # brings SimpleITK and scipy.signal, which only a prior needs
    from vlm.grounding.prior import compare

    with clock.step("prior"):
        before = prior.volume
        case.prior = Case(before)
        failures = run_tools(case.prior, tools, Clock(clock.progress))
        alignment = register(case, case.prior)
        usable = alignment is not None and alignment.accepted
        changes = compare(case, case.prior, alignment, load_vocabulary()) if alignment and usable else None
    record: dict[str, object] = {
        "input_sha256": before.sha256,
        "source": before.scan.source,
        "series": before.scan.series,
        "order": order,
        "intake": [note.code for note in prior.notes],
        "tools_failed": failures,
        "alignment": None if alignment is None else alignment_record(alignment),
        "matches": {} if changes is None else matches_record(changes),
        "resolved": [] if changes is None else [old.finding for old in changes.resolved],
    }
    height_mm = case.volume.grid.extent_mm[2]
    part = alignment is not None and alignment.overlap_mm < WHOLE * height_mm
    return Comparison(changes=changes, part=part, record=record)


def order_of(now: Volume, before: Volume) -> str:
    """How it is known that the prior is the earlier scan.

    Raises:
        UsageError: it is the scan itself, or a later one.
    """
    if before.sha256 == now.sha256:
        raise UsageError("E_USAGE: --prior is the scan itself, expected an earlier one.")
    first, second = before.scan.acquired, now.scan.acquired
    if first is None or second is None or first == second:
        return "as given: the days of both scans are not known, or the same"
    if first > second:
        raise UsageError("E_USAGE: --prior was made after the scan, expected an earlier one. Exchange the two.")
    return "by the days in both headers"


def alignment_record(alignment: Alignment) -> dict[str, object]:
    """The transform and its quality, beside what is asked of it."""
    from vlm.anatomy.registration import ACCEPTED_CORRELATION, ACCEPTED_OVERLAP_MM

    return {
        "accepted": alignment.accepted,
        "to_current_mm": [[round(float(value), 4) for value in row] for row in alignment.to_current],
        "correlation": round(alignment.correlation, 3),
        "correlation_asked": ACCEPTED_CORRELATION,
        "overlap_mm": round(alignment.overlap_mm, 1),
        "overlap_asked_mm": ACCEPTED_OVERLAP_MM,
    }


def matches_record(changes: Prior) -> dict[str, object]:
    """Today's evidence -> what it continues, with its place in the prior; null: looked for there and not found."""
    return {
        name: None
        if old is None
        else {
            "finding": old.finding,
            "centroid_mm": None if old.region is None else [round(v, 1) for v in old.region.centroid_mm],
            "measurements": {m.quantity: round(m.value, 2) for m in old.measurements},
        }
        for name, old in changes.matches.items()
    }
