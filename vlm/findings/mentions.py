"""What a sentence says, once it is read: mentions of findings, and what qualifies them.

Plain frozen records, made by ``vlm.findings.reader`` and read by ``label`` and the
checker. Spans are character offsets (first, one past last) into ``Reading.text``.
"Left" is the patient's. A site is a key of the vocabulary, without its side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Presence = Literal["present", "absent", "uncertain"]
Side = Literal["left", "right", "bilateral"]
Certainty = Literal["definite", "likely", "possible"]
Status = Literal["current", "historical", "indication", "hypothetical", "other_person"]
Change = Literal["new", "larger", "smaller", "unchanged", "resolved"]
Span = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantity:
    """A number that stands in the text."""

    value: float
    unit: str  # "mm", "cm", "ml", "l", "HU", "%", "" for a bare number
    span: Span
    group: int  # the numbers of one "17 x 14 mm" share a group


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A site or side that a sentence names."""

    site: str | None  # key of the vocabulary, or None for a side alone
    side: Side | None
    span: Span


@dataclass(frozen=True, slots=True, kw_only=True)
class Mention:
    """One finding that a sentence speaks of, and how."""

    finding: str  # key of the vocabulary
    presence: Presence
    span: Span
    text: str  # the matched words
    side: Side | None = None
    site: str | None = None  # the most specific of `sites`, or None when the text names none
    sites: tuple[str, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    grade: str | None = None  # key of a grade of the vocabulary
    count: str | int | None = None  # 1 for "a", an int, "few", "multiple", "innumerable"; None when not said
    certainty: Certainty = "definite"
    status: Status = "current"
    change: Change | None = None
    attributes: tuple[str, ...] = ()
    assessed: bool = True  # False for "not assessed", "cannot be judged"
    other: bool = False  # "no other nodule", "a further nodule": beside those already named
    hedged: bool = False  # the text holds a word of doubt on this mention, whatever its presence


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One sentence, read."""

    text: str
    mentions: tuple[Mention, ...] = ()
    quantities: tuple[Quantity, ...] = ()  # every number of the sentence
    places: tuple[Place, ...] = ()  # every site and side of the sentence
    unknown: tuple[str, ...] = ()  # content words that nothing accounts for
    limits: tuple[str, ...] = ()  # keys of vlm.evidence.CONDITIONS that the sentence states
    section: str = "findings"  # "findings", "impression", "indication", "technique", "comparison", "history"
    start: int = 0  # offset of `text` in the report it came from

    @property
    def sites(self) -> tuple[str, ...]:
        """Keys of the sites named anywhere in the sentence, in order, each once."""
        return tuple(dict.fromkeys(place.site for place in self.places if place.site))

    @property
    def sides(self) -> tuple[Side, ...]:
        """Sides named anywhere in the sentence, in order, each once."""
        return tuple(dict.fromkeys(place.side for place in self.places if place.side))
