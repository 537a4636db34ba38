"""What a question is about: findings, places and a side, read by the reader of reports and by people's everyday words.

A question names things as a report does, or as people speak (``prompts/everyday.toml``: "is my heart too big", "water
around the lung"). A word that may mean several findings ("the stone") stands for all of them.
"""

from __future__ import annotations

import functools
import re
import tomllib
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from itertools import pairwise, zip_longest
from typing import NamedTuple

from vlm.findings.mentions import Reading, Span
from vlm.findings.reader import read_sentence
from vlm.findings.spelling import Token, tokens_of
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.coordination import another_place, readings, words_of

# "How wide is the aorta" asks for a number; to a reader of reports a wide aorta is a finding.
_HOW = re.compile(r"\bhow (wide|large|big|thick|long|tall|small|dense|narrow|deep)\b", re.I)
# "How far is the nodule from the pleura": two things, which a reader of reports takes for a nodule of the pleura.
_APART = re.compile(r"\b(far|distance|close|gap|touch\w*|reach\w*|abut\w*)\b", re.I)
_BETWEEN = re.compile(r"\b(from|to|and|touch\w*|reach\w*|abut\w*)\b", re.I)
ANYTHING = "abnormality"  # "is the thyroid normal?" asks of the thyroid, not of every finding there is
_SMALL = {"the", "a", "an", "my", "his", "her", "its", "your", "our", "their", "this", "that", "these", "some", "any"}
_PART = re.compile(r"heads?|necks?|bases?|apex|lobes?|segments?|hilum|foot|feet|hands?|corpus", re.I)
_OF = re.compile(r"\s+of(?: (?:the|my|his|her|your|left|right|a))*\s+", re.I)
_CLAUSE = re.compile(r"[?!.;]|\b(?:and|or|but)\s+(?=(?:is|are|was|do|does|did|has|have|can|how|what|where)\b)", re.I)
_MARKS = set(",;.?!()/&+")
_THE_ONE = re.compile(r"\b(the|this|that|these|those|it)\b", re.I)


@dataclass(frozen=True)
class Topic:
    """What a question is about."""

    findings: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    side: str | None = None
    unknown: tuple[str, ...] = field(default=(), compare=False)  # words that no vocabulary has

    def narrowed(self, text: str, last: tuple[str, ...]) -> tuple[str, ...]:
        """The findings, or of several that one word means ("the fluid") those that were spoken of before."""
        both = tuple(key for key in self.findings if key in last)
        general = any(set(self.findings) == set(kinds) for kinds in _everyday().general.values())
        return both if both and general and _THE_ONE.search(text) else self.findings


class Named(NamedTuple):
    """A finding in a question: where it stands, and whether everyday words name it."""

    span: Span
    finding: str
    everyday: bool


class _Everyday(NamedTuple):
    idioms: re.Pattern[str]
    patterns: tuple[tuple[str, re.Pattern[str]], ...]
    general: Mapping[str, tuple[str, ...]]
    places: tuple[tuple[str, re.Pattern[str]], ...]


def topic_of(text: str) -> Topic:
    """Read a question with the reader of reports, and with the words that people use."""
    reading = _read(text)
    found = dict.fromkeys(named.finding for named in names_in(text))
    if not found:
        plain = f" {_plain(text)} "
        found = dict.fromkeys(key for words, key in _lay_words().items() if f" {words} " in plain)
    wider = _everyday().general
    sides = {place.side for place in reading.places if place.side} | {m.side for m in reading.mentions if m.side}
    return Topic(
        findings=tuple(dict.fromkeys(key for name in found for key in wider.get(name, (name,)))),
        sites=_sites(site for _, site in sorted(_placed(text))),
        side=sides.pop() if len(sides) == 1 else None,
        unknown=reading.unknown,
    )


def names_in(text: str) -> list[Named]:
    """The findings that a question names, from left to right; everyday words go before a reading that overlaps them."""
    mentioned = [(span, finding) for span, finding in _mentioned(text) if not _says_nothing_more(finding)]
    told = [each for each in _in_everyday_words(text) if not any(_holds(span, each[0]) for span, _ in mentioned)]
    everyday = list(dict.fromkeys(named for named, _ in told))
    spans = [span for _, words in told for span in words]
    read = [
        Named(span, finding, False)
        for span, finding in _mentioned(text)
        if finding != ANYTHING
        and (not within(span, spans) or _is_elsewhere(text, finding, everyday))
        and not (_says_nothing_more(finding) and _beside(text, span, everyday))
    ]
    return sorted(everyday + read)


def _is_elsewhere(text: str, finding: str, everyday: Iterable[Named]) -> bool:
    """Whether a reader's finding is at another of the places that share a word: "in the kidney or the ureter"."""
    vocabulary = load_vocabulary()
    akin = any(vocabulary.is_a(finding, n.finding) or vocabulary.is_a(n.finding, finding) for n in everyday)
    return not akin and vocabulary.finding(finding).site is not None and len(_readings(text)) > 1


def _beside(text: str, span: Span, everyday: Iterable[Named]) -> bool:
    """Whether everyday words stand in the same clause."""
    edges = [0, *(match.end() for match in _CLAUSE.finditer(text)), len(text)]
    clause = next((low, high) for low, high in pairwise(edges) if low <= span[0] < high)
    return any(within(clause, [named.span]) for named in everyday)


def _holds(span: Span, named: Named) -> bool:
    """Whether a reader's words are more than the everyday words within: "small lump in the lung"."""
    return span != named.span and span[0] <= named.span[0] and named.span[1] <= span[1]


def places_in(text: str) -> list[Span]:
    """Where the places stand that a question names."""
    return [span for span, _ in _placed(text)]


def _placed(text: str) -> list[tuple[Span, str]]:
    """(span, site) of every place that is named, in a report's words or in everyday ones."""
    everyday = _in_everyday_places(text)
    taken = [span for span, _ in everyday]
    read = [(place.span, place.site) for place in _read(text).places if place.site and not within(place.span, taken)]
    named = sorted(everyday + read)
    return [place for place, after in zip_longest(named, named[1:]) if not _is_part(text, place, after)]


def _in_everyday_places(text: str) -> list[tuple[Span, str]]:
    plain = without_idioms(text)
    return [(match.span(), site) for site, pattern in _everyday().places for match in pattern.finditer(plain)]


def _is_part(text: str, place: tuple[Span, str], after: tuple[Span, str] | None) -> bool:
    """Whether a place is a part of the one after it, and no place by itself: "the head of the pancreas"."""
    (start, end), site = place
    if after is None or not _PART.fullmatch(text[start:end]) or not _OF.fullmatch(text[end : after[0][0]]):
        return False
    return not load_vocabulary().site_contains(after[1], site)


def within(span: Span, others: Iterable[Span]) -> bool:
    """Whether a span overlaps one of others."""
    return any(span[0] < end and start < span[1] for start, end in others)


def _read(text: str) -> Reading:
    """The reader's reading of a question, without idioms and the "wide" of "how wide"."""

    return read_sentence(_HOW.sub(lambda match: "how".ljust(len(match.group())), without_idioms(text)))


def without_idioms(text: str) -> str:
    """The question without its idioms; every letter stays at its place."""
    return _everyday().idioms.sub(lambda match: " " * len(match.group()), text)


def _mentioned(text: str) -> Iterator[tuple[Span, str]]:
    """(span, finding) as a reader of reports reads them; of a distance each end by itself."""
    if not _APART.search(text):
        yield from ((mention.span, mention.finding) for mention in _read(text).mentions)
        return
    ends = [0, *(match.start() for match in _BETWEEN.finditer(text)), len(text)]
    for start, end in pairwise(ends):
        for mention in _read(text[start:end]).mentions:
            yield (mention.span[0] + start, mention.span[1] + start), mention.finding


def _says_nothing_more(finding: str) -> bool:
    """Whether a finding is only "fluid" or "lesion", which words beside it said better."""
    entry = load_vocabulary().finding(finding)
    return entry.site is None and not entry.words


def _in_everyday_words(text: str) -> Iterator[tuple[Named, list[Span]]]:
    """What people's words name, and each of these words.

    Of each reading of the question the longest first; words that stand for two findings give both.
    """
    for kept in _readings(text):
        plain, begins = words_of(kept)
        fits = [(match.span(), key) for key, pattern in _everyday().patterns for match in pattern.finditer(plain)]
        taken: list[Span] = []
        for span, key in sorted(fits, key=lambda fit: fit[0][0] - fit[0][1]):
            if span in taken or not within(span, taken):
                taken.append(span)
                words = kept[bisect_right(begins, span[0]) - 1 : bisect_right(begins, span[1] - 1)]
                yield Named((words[0].start, words[-1].end), key, True), [(word.start, word.end) for word in words]


@functools.lru_cache(maxsize=64)
def _readings(text: str) -> list[list[Token]]:
    """Readings of words that say something, and of marks that end a clause or join words."""
    every = tokens_of(without_idioms(text))
    return readings([each for each in every if (each.word not in _SMALL if each.is_word else each.word in _MARKS)])


@functools.cache
def _everyday() -> _Everyday:
    told = tomllib.loads((files("prompts") / "everyday.toml").read_text(encoding="utf-8"))

    def filled(pattern: str) -> str:
        for name, words in told["words"].items():
            pattern = pattern.replace(f"{{{name}}}", words.replace("{another_place}", another_place()))
        return pattern

    def of_words(pattern: str) -> re.Pattern[str]:
        return re.compile(rf"(?<= ){filled(pattern)}(?![a-z])")

    def as_written(patterns: Iterable[str]) -> re.Pattern[str]:
        return re.compile(rf"\b(?:{filled('|'.join(patterns))})\b", re.I)

    return _Everyday(
        idioms=as_written(told["idioms"]),
        patterns=tuple((key, of_words(each)) for key, every in told["finding"].items() for each in every),
        general={key: tuple(kinds) for key, kinds in told["general"].items()},
        places=tuple((key, as_written(every)) for key, every in told["place"].items()),
    )


def _sites(named: Iterable[str]) -> tuple[str, ...]:
    """Places once each; "segment the heart" is about the heart."""
    sites = tuple(dict.fromkeys(named))
    return tuple(site for site in sites if site != "segment" or sites == ("segment",))


def _plain(text: str) -> str:
    """Normalised words, one space apart."""
    return " ".join(token.word for token in tokens_of(text) if token.is_word)


@functools.cache
def _lay_words() -> dict[str, str]:
    """A patient's words and the finding they mean, normalised."""
    findings = load_vocabulary().findings.values()
    return {_plain(words): finding.key for finding in findings for words in finding.lay}
