"""Findings put into a painted body, one small function each, by organ system; ``FINDINGS`` holds them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vlm.errors import UsageError
from vlm.phantom.body.findings import (  # noqa: F401  each enters its findings
    airways,
    belly,
    bones,
    devices,
    heart,
    liver,
    lung,
    mediastinum,
    organs,
    pleura,
    urinary,
    vessels,
)  # fmt: skip
from vlm.phantom.body.findings.drawing import Drawing
from vlm.phantom.body.findings.incidental import note_incidental
from vlm.phantom.body.findings.registry import FINDINGS, Entry, Size
from vlm.phantom.body.patient import Patient
from vlm.phantom.body.scene import Scene
from vlm.phantom.body.wishes import Wish, read_wish

__all__ = ["FINDINGS", "Entry", "Size", "note_incidental", "numbered", "put_in", "sicken"]


def numbered(findings: Sequence[str | Wish]) -> list[Wish]:
    """Findings in words, read, checked as far as can be before anything is drawn, and numbered in the order of asking.

    What was read before keeps its number.

    Raises:
        UsageError: one of them is not understood or cannot be.
    """
    known = frozenset(FINDINGS)
    wishes = [
        replace(read_wish(each, known), number=number) if isinstance(each, str) else each
        for number, each in enumerate(findings)
    ]
    for wish in wishes:
        FINDINGS[wish.finding].check(wish)
    return wishes


def sicken(patient: Patient, wishes: Sequence[Wish], refused: list[str] | None = None) -> Patient:
    """Change a person as findings ask that change whole organs, before the body is drawn.

    ``refused`` takes the reason of each finding that this person cannot have.

    Raises:
        UsageError: this person cannot have one of them, and nobody takes the reason.
    """
    for wish in wishes:
        prepare = FINDINGS[wish.finding].prepare
        if prepare is not None:
            try:
                prepare(patient, wish)
            except UsageError as error:
                _tell(error, refused)
                patient.cannot.add(wish)
    return patient


def put_in(scene: Scene, patient: Patient, wishes: Sequence[Wish], refused: list[str] | None = None) -> Drawing:
    """Put findings into a painted body: fluids and free air first, then the rest in order. Masks are (Z, Y, X).

    Args:
        refused: takes the reason of each finding that is impossible; the others are put in all the same.

    Raises:
        UsageError: one of them is impossible in this person, phase or field of view, and nobody takes the reason.
    """
    drawing = Drawing(scene, patient.person)
    for wish in sorted(wishes, key=lambda wish: not FINDINGS[wish.finding].room):
        if wish in patient.cannot:
            continue
        try:
            FINDINGS[wish.finding].paint(drawing, wish)
        except UsageError as error:
            _tell(error, refused)
    return drawing


def _tell(error: UsageError, refused: list[str] | None) -> None:
    """Hand the reason of a refusal to who takes it; raise it when nobody does."""
    if refused is None:
        raise error
    refused.append(str(error))
