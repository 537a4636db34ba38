"""A query in anyone's words: which finding, where, how big, and whether it is asked for or denied.

Read by the reader of reports, then by patients' words, then by meaning where the extra ``encoder`` is installed.
What nobody understands comes back with the words that stood in the way; nothing is guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from vlm.encoder.words import meant_by, near_to
from vlm.findings.mentions import Mention, Quantity, Side
from vlm.findings.packs import Pack
from vlm.findings.reader import presence_of, read_sentence
from vlm.findings.spelling import normalise
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.topic import Topic, names_in, topic_of, within, without_idioms

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
# "My heart is not big", "I do not have": what somebody lacks; a lung that "is not opening" is not denied.
_NOT = re.compile(
    r"\b((is|are|was|were)( not| no|n['’]t)|(do|does|did)( not|n['’]t) have|(have|has) no"
    r"|(did|do|does|have|has)( not|n['’]t) spread)\b(?! \w+ing\b)",
    re.I,
)
# "Isn't my heart too big?" and "do I not have a clot?" ask whether it is so.
_ASKS = re.compile(
    r"^\s*((is|are|was|were|do|does|did|have|has)n['’]?t\b|(do|does|did|have|has) \w+( \w+)? not\b)", re.I
)
# "Is the bowel normal?", "clear lungs": nearest in meaning is a disease of the place, which nobody asked of.
_WELL = re.compile(r"\b(normal|healthy|fine|ok|okay|clear|clean|good|alright|all right|unremarkable)\b", re.I)


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
    text = without_idioms(words[:MOST_CHARACTERS])
    reading, topic = read_sentence(text), topic_of(text)
    if reading.mentions and not _said_at_length(text, reading.mentions[0]):
        return replace(_of_mention(text, reading.mentions[0], topic), words=words)
    findings, read_by, well = topic.findings, "lay words", bool(_WELL.search(text))
    if not findings and not well:
        meant = meant_by(_bare(text))
        findings, read_by = ((meant.finding,), f"meaning {meant.alike:.2f}") if meant else ((), "")
    either = () if findings or well else tuple(near.finding for near in near_to(_bare(text)))
    return Query(
        words=words, findings=findings, sites=_narrower(findings, topic.sites), side=_side(topic),
        sizes=_sizes(text, reading.quantities), grade=reading.mentions[0].grade if reading.mentions else None,
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
    keys = (mention.finding,)
    nowhere = all(_in_name(site, keys) for site in mention.sites) and not load_vocabulary().finding(keys[0]).site
    return Query(
        words=text, findings=keys, sites=_sites(keys, topic.sites if nowhere else mention.sites or topic.sites),
        side=mention.side or _side(topic), sizes=_sizes(text, mention.quantities), grade=mention.grade,
        attributes=mention.attributes, denied=mention.presence == "absent", read_by="vocabulary", unknown=topic.unknown,
    )  # fmt: skip


def _said_at_length(text: str, mention: Mention) -> bool:
    """Whether everyday words around what the reader of reports found say something else than it.

    "The wall of my gut is swollen" is oedema for that reader, of whatever; here it is the bowel's.
    """
    vocabulary = load_vocabulary()
    least = mention.span[1] - mention.span[0] + (vocabulary.finding(mention.finding).site is not None)
    around = [name for name in names_in(text) if name.everyday and within(mention.span, [name.span])]
    return bool(around) and all(
        name.span[1] - name.span[0] >= least and not vocabulary.is_a(mention.finding, name.finding) for name in around
    )


def _is_other(text: str, mention: Mention) -> bool:
    """Whether the whole text is surely near to something else, where the reader found what can be anywhere.

    "Liquid around the heart" is free fluid to the reader of reports, and a pericardial effusion to anybody else.
    """
    if load_vocabulary().finding(mention.finding).site is not None or _WELL.search(text):
        return False
    near = near_to(_bare(text))
    return bool(near) and near[0].alike >= SURELY_ALIKE and mention.finding not in {meant.finding for meant in near}


def _denied(text: str) -> bool:
    """Whether words that no vocabulary has deny what they mean; "urine that cannot drain" denies no stasis."""
    if _ASKS.match(text):
        return False
    asked = _INSTEAD.sub("", text)
    named = next((name.span for name in names_in(asked) if name.everyday), None)
    if presence_of(asked, named or (0, len(asked))) == "absent":
        return True
    first = _NO.match(text)
    if named is not None:  # "not enough calcium in the bones" is all one word for it
        return first is not None and first.end() <= named[0]
    return first is not None or _NOT.search(asked) is not None


def _bare(text: str) -> str:
    """What is asked about, without its side and its denial."""
    return _SIDE.sub("", _NO.sub("", text))


def _sites(findings: tuple[str, ...], sites: tuple[str, ...]) -> tuple[str, ...]:
    """Sites that say more than the findings do by themselves: "lung" says nothing more of a lung nodule."""
    vocabulary = load_vocabulary()
    homes = [vocabulary.finding(key).site for key in findings]
    return tuple(
        site
        for site in sites
        if any(home is None or not vocabulary.site_contains(site, home) for home in homes)
        and not _in_name(site, findings)
    )


def _in_name(site: str, findings: tuple[str, ...]) -> bool:
    """Whether a finding is called by the site: the nodes of "enlarged lymph nodes" are what it is, no place of it."""
    vocabulary = load_vocabulary()
    names = [f" {' '.join(normalise(vocabulary.finding(key).name))} " for key in findings]
    words = [f" {' '.join(normalise(each))} " for each in vocabulary.sites[site].words]
    return any(word in name for word in words for name in names)


def _narrower(findings: tuple[str, ...], sites: tuple[str, ...]) -> tuple[str, ...]:
    """Sites within the finding's own: the lung of "water on the lung" is part of the words, no place to look at."""
    vocabulary = load_vocabulary()
    homes = {vocabulary.finding(key).site for key in findings} - {None}
    return tuple(
        s
        for s in sites
        if any(home != s and vocabulary.site_contains(str(home), s) for home in homes) and not _in_name(s, findings)
    )


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
