"""What a question and its answer are made of, whoever answers: events, in the order in which they happen.

A Call is a look into the case, a Said a cited and checked sentence, a Note words that claim nothing of the patient, a
Show a place that a viewer can go to, an Understood what a question was taken for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vlm.ct.volume import Point

MOST_CHARACTERS = 2000  # of a question
About = Literal["", "declined", "clarify", "not_understood", "off", "because", "meaning"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a person asks, and what they point at; points in RAS mm."""

    text: str
    evidence: tuple[str, ...] = ()  # ids of the ledger that lie where the person points; asked for beside the text
    point: Point | None = None
    box: tuple[Point, Point] | None = None
    line: tuple[Point, Point] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """What a question was taken for, by whom, and how surely."""

    intent: str
    slots: Mapping[str, str]
    by: str  # "rules", "head 0.93", "model", "follow-up"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A look into the case: what was asked for, what came back, how long it took."""

    name: str
    arguments: Mapping[str, str]
    result: str
    seconds: float
    cites: tuple[str, ...] = ()  # the evidence that it gave or found
    error: str = ""  # a code of vlm.language.looks, where it could not look
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """A sentence of an answer, cited and checked."""

    text: str
    cites: tuple[str, ...]
    verdict: str
    reason: str = ""
    author: Literal["compose", "model"] = "compose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """Words that claim nothing about the patient."""

    text: str
    about: About = ""
    cites: tuple[str, ...] = ()  # of a reason given: the evidence that it describes


@dataclass(frozen=True, slots=True, kw_only=True)
class Show:
    """A place to go to, RAS mm of the scan; slices are counted from 0."""

    evidence: str
    mm: Point
    slices: tuple[int, int] | None = None
    mask: str | None = None


Event = Understood | Call | Said | Note | Show
