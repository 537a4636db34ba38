"""A finding in words -> what to draw: side, place, size, number and texture, read by the vocabulary, or a refusal."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from vlm.ct.volume import Point
from vlm.errors import UsageError
from vlm.findings.mentions import Change, Mention
from vlm.findings.reader import read_sentence
from vlm.findings.vocabulary import load_vocabulary

Side = Literal["left", "right"]
PER_UNIT = {
    "mm": ("mm", 1.0), "cm": ("mm", 10.0), "ml": ("ml", 1.0), "l": ("ml", 1000.0), "%": ("%", 1.0),
    "HU": ("HU", 1.0), "": ("", 1.0),
}  # fmt: skip
MANY = {"single": 1, "few": 3, "multiple": 6, "innumerable": 20}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """One finding that was asked for. A size that was not said is None."""

    words: str
    finding: str  # a key of the vocabulary
    side: Side | None = None
    site: str | None = None
    mm: float | None = None
    ml: float | None = None
    percent: float | None = None
    hu: float | None = None
    ratio: float | None = None
    count: int = 1
    grade: str | None = None
    attributes: frozenset[str] = field(default_factory=frozenset)
    change: Change | None = None  # since an earlier scan
    number: int = 0  # among those asked for
    centre_mm: Point | None = None  # RAS; chosen when None

    def says(self, *words: str) -> bool:
        """Whether one of these words, or a word that begins so, was said."""
        said = self.words.lower()
        return any(word in said for word in words)


def refuse(words: str, why: str) -> UsageError:
    """The error that says why a finding cannot be drawn."""
    return UsageError(f"E_USAGE: --finding {words!r} cannot be drawn: {why}")


def read_wish(words: str, known: frozenset[str]) -> Wish:
    """Read one finding; ``known`` are the keys that can be drawn.

    Raises:
        UsageError: nothing, several things or something unknown is asked for, or a finding is denied.
    """
    reading = read_sentence(words)
    mention = _mention(words, reading.mentions, known)
    if mention.presence != "present" and mention.change != "resolved":
        raise refuse(words, f"it says that {mention.finding} is {mention.presence}. Say what is there.")
    if reading.unknown:
        raise refuse(words, f"the words {', '.join(reading.unknown)} are not understood. Leave them out.")
    if mention.side == "bilateral":
        raise refuse(words, "it names both sides. Give one --finding a side.")
    sizes: dict[str, float] = {}
    bare = [q for q in reading.quantities if not q.unit and q.value % 1]  # a ratio, wherever it stands
    for quantity in dict.fromkeys([*mention.quantities, *bare]):
        if quantity.unit not in PER_UNIT:
            raise refuse(words, f"the unit of {quantity.value:g} is not mm, cm, ml, l, % or HU.")
        unit, factor = PER_UNIT[quantity.unit]
        if not unit and float(quantity.value) == mention.count:
            continue  # "three metastases"
        if unit in sizes:
            raise refuse(words, f"it gives two sizes in {unit}. Give the longest diameter or the volume.")
        if quantity.value <= 0 and unit != "HU":
            raise refuse(words, f"{quantity.value:g} {quantity.unit} is no size.")
        sizes[unit] = quantity.value * factor
    return Wish(
        words=words,
        finding=mention.finding,
        side=mention.side,
        site=mention.site,
        mm=sizes.get("mm"),
        ml=sizes.get("ml"),
        percent=sizes.get("%"),
        hu=sizes.get("HU"),
        ratio=sizes.get(""),
        count=MANY.get(mention.count, 1) if isinstance(mention.count, str) else max(1, mention.count or 1),
        grade=mention.grade,
        attributes=frozenset(mention.attributes),
        change=mention.change,
    )


def _mention(words: str, mentions: tuple[Mention, ...], known: frozenset[str]) -> Mention:
    """The one finding that is named; "enlarged axillary node" names it twice, once more closely."""
    able = [mention for mention in mentions if mention.finding in known]
    if not able:
        found = ", ".join(dict.fromkeys(mention.finding for mention in mentions)) or "no finding"
        raise refuse(words, f"it names {found}. What can be drawn: {', '.join(sorted(known))}.")
    is_a = load_vocabulary().is_a
    closest = next((m for m in able if all(is_a(m.finding, other.finding) for other in able)), None)
    if closest is None:
        raise refuse(words, f"it names {', '.join(mention.finding for mention in able)}. Give each its own --finding.")

    def first(name: str) -> Any:
        return next((value for m in (closest, *able) if (value := getattr(m, name))), None)

    said = {name: first(name) for name in ("side", "site", "grade", "count")}
    return replace(closest, **said, quantities=first("quantities") or (), attributes=first("attributes") or ())
