"""A query in anyone's words: which finding, where, how big, and whether it is asked for or denied.

Read by the reader of reports, then by patients' words, then by meaning where the extra ``encoder`` is installed.
What nobody understands comes back with the words that stood in the way; nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from vlm.encoder.words import meant_by, near_to
from vlm.findings.mentions import Mention, Quantity, Side
from vlm.findings.packs import Pack
from vlm.findings.reader import presence_of, read_sentence
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.topic import Topic, topic_of

LIKE = 0.2  # "a 5 mm nodule" is one of 4 to 6 mm
SURELY_ALIKE = 0.7  # cosine from which a meaning stands above what the reader of reports found
MOST_CHARACTERS = 200  # of a query
# unit of a reader -> (quantities that can answer it, what one is in their unit)
UNITS: dict[str, tuple[tuple[str, ...], float]] = {
    "mm": (("diameter", "short_axis", "thickness", "height", "diameter_3d"), 1.0),
    "cm": (("diameter", "short_axis", "thickness", "height", "diameter_3d"), 10.0),
    "ml": (("volume",), 1.0),
    "l": (("volume",), 1000.0),
    "HU": (("attenuation",), 1.0),
    "%": (("fraction", "height_loss"), 1.0),
}
_MORE = re.compile(r"(>=?|≥|at least|(larger|bigger|greater|more|longer|wider) than|over|above|exceeding)\s*$", re.I)
_LESS = re.compile(r"(<=?|≤|at most|(smaller|less|shorter|fewer) than|under|below|up to)\s*$", re.I)
# Which side it is on is no part of what it is: "water on the left lung" means what "water on the lung" does.
_SIDE = re.compile(r"\b(on|at|to) the (left|right)( side)?$|\b(left|right|both|bilateral)\b", re.I)
_INSTEAD = re.compile(r"\b(instead of|rather than|in place of)\b.*", re.I)  # denies what follows, not what is asked
_NO = re.compile(r"^\s*(no|not|without|absence of|absent)\b", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A size that is asked for."""

    quantities: tuple[str, ...]  # keys of vlm.evidence.QUANTITIES; the first that was measured answers
    low: float  # in their unit
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What is asked for. Nothing is understood where ``findings`` and ``sites`` are both empty."""

    words: str
    findings: tuple[str, ...] = ()  # keys; their kinds count, too
    without: tuple[str, ...] = ()  # kinds that do not count
    sites: tuple[str, ...] = ()
    side: Side | None = None
    sizes: tuple[Size, ...] = ()
    grade: str | None = None
    attributes: tuple[str, ...] = ()
    denied: bool = False  # "no effusion": it holds when the finding is not there
    read_by: str = ""  # "vocabulary", "lay words", "meaning 0.83", "pack"
    unknown: tuple[str, ...] = ()
    either: tuple[str, ...] = ()  # findings that words of no vocabulary may mean, nobody knows which; none is claimed

    @property
    def understood(self) -> bool:
        """Whether anything can be looked up."""
        return bool(self.findings)


def read_query(words: str) -> Query:
    """Read one query. Never raises: what is not understood says which words were strange."""
    text = words[:MOST_CHARACTERS]
    reading, topic = read_sentence(text), topic_of(text)
    if reading.mentions:
        return _of_mention(text, reading.mentions[0], topic)
    findings, read_by = topic.findings, "lay words"
    if not findings:
        meant = meant_by(_bare(text))
        findings, read_by = ((meant.finding,), f"meaning {meant.alike:.2f}") if meant else ((), "")
    either = () if findings else tuple(near.finding for near in near_to(_bare(text)))
    return Query(
        words=words, findings=findings, sites=_narrower(findings, topic.sites), side=_side(topic),
        sizes=_sizes(text, reading.quantities),
        denied=_denied(text),
        read_by=read_by, unknown=() if findings else reading.unknown, either=either,
    )  # fmt: skip


def _of_mention(text: str, mention: Mention, topic: Topic) -> Query:
    if _is_other(text, mention):
        kind = meant_by(_bare(text))
        if kind is None:  # near two findings that have nothing in common
            return Query(
                words=text, unknown=topic.unknown, side=mention.side or _side(topic),
                denied=_denied(text), either=tuple(near.finding for near in near_to(_bare(text))),
            )  # fmt: skip
        return Query(
            words=text, findings=(kind.finding,), sites=_narrower((kind.finding,), topic.sites),
            side=mention.side or _side(topic), sizes=_sizes(text, mention.quantities),
            denied=_denied(text), read_by=f"meaning {kind.alike:.2f}",
        )  # fmt: skip
    return Query(
        words=text, findings=(mention.finding,), sites=_sites((mention.finding,), mention.sites or topic.sites),
        side=mention.side or _side(topic), sizes=_sizes(text, mention.quantities), grade=mention.grade,
        attributes=mention.attributes, denied=mention.presence == "absent", read_by="vocabulary", unknown=topic.unknown,
    )  # fmt: skip


def _is_other(text: str, mention: Mention) -> bool:
    """Whether the whole text is surely near to something else, where the reader found what can be anywhere.

    "Liquid around the heart" is free fluid to the reader of reports, and a pericardial effusion to anybody else.
    """
    if load_vocabulary().finding(mention.finding).site is not None:
        return False
    near = near_to(_bare(text))
    return bool(near) and near[0].alike >= SURELY_ALIKE and mention.finding not in {meant.finding for meant in near}


def _denied(text: str) -> bool:
    """Whether words that no vocabulary has deny what they mean."""
    asked = _INSTEAD.sub("", text)
    return presence_of(asked, (0, len(asked))) == "absent" or bool(_NO.match(text))


def _bare(text: str) -> str:
    """What is asked about, without its side and its denial."""
    return _SIDE.sub("", _NO.sub("", text))


def _sites(findings: tuple[str, ...], sites: tuple[str, ...]) -> tuple[str, ...]:
    """Sites that say more than the findings do by themselves: "lung" says nothing more of a lung nodule."""
    vocabulary = load_vocabulary()
    homes = [vocabulary.finding(key).site for key in findings]
    return tuple(
        site for site in sites if any(home is None or not vocabulary.site_contains(site, home) for home in homes)
    )


def _narrower(findings: tuple[str, ...], sites: tuple[str, ...]) -> tuple[str, ...]:
    """Sites within the finding's own: the lung of "water on the lung" is part of the words, no place to look at."""
    vocabulary = load_vocabulary()
    homes = {vocabulary.finding(key).site for key in findings} - {None}
    return tuple(s for s in sites if any(home != s and vocabulary.site_contains(str(home), s) for home in homes))


def _side(topic: Topic) -> Side | None:
    return topic.side if topic.side in ("left", "right", "bilateral") else None  # type: ignore[return-value]


def _sizes(text: str, quantities: tuple[Quantity, ...]) -> tuple[Size, ...]:
    """Sizes as intervals; "> 8 mm" is open at the top, "8 mm" is about 8 mm."""
    sizes: dict[str, Size] = {}
    for quantity in quantities:
        if quantity.unit not in UNITS or quantity.unit in sizes:
            continue
        keys, factor = UNITS[quantity.unit]
        value, before = quantity.value * factor, text[: quantity.span[0]]
        low, high = value * (1 - LIKE), value * (1 + LIKE)
        if _MORE.search(before):
            low, high = value, float("inf")
        elif _LESS.search(before):
            low, high = 0.0, value
        sizes[quantity.unit] = Size(quantities=keys, low=low, high=high)
    return tuple(sizes.values())


def queries_of_pack(pack: Pack) -> tuple[Query, ...]:
    """A query for each column of a pack, under the pack's own name for it."""
    return tuple(
        Query(words=column.name, findings=column.findings, without=column.without, read_by="pack")
        for column in pack.columns
    )


def queries_of_vocabulary() -> tuple[Query, ...]:
    """A query for every finding that there is a word for."""
    return tuple(
        Query(words=finding.name, findings=(finding.key,), read_by="vocabulary")
        for finding in load_vocabulary().findings.values()
    )
