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
from itertools import accumulate, pairwise
from typing import NamedTuple

from vlm.findings.mentions import Reading, Span
from vlm.findings.reader import read_sentence
from vlm.findings.spelling import tokens_of
from vlm.findings.vocabulary import load_vocabulary

# "How wide is the aorta" asks for a number; to a reader of reports a wide aorta is a finding.
_HOW = re.compile(r"\bhow (wide|large|big|thick|long|tall|small|dense|narrow|deep)\b", re.I)
# "How far is the nodule from the pleura": two things, which a reader of reports takes for a nodule of the pleura.
_APART = re.compile(r"\b(far|distance|close|gap|touch\w*|reach\w*|abut\w*)\b", re.I)
_BETWEEN = re.compile(r"\b(from|to|and|touch\w*|reach\w*|abut\w*)\b", re.I)
ANYTHING = "abnormality"  # "is the thyroid normal?" asks of the thyroid, not of every finding there is
_SMALL = {"the", "a", "an", "my", "his", "her", "its", "your", "our", "their", "this", "that", "these", "some", "any"}
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
    everyday = [named for named in _in_everyday_words(text) if not any(_holds(span, named) for span, _ in mentioned)]
    spans = [named.span for named in everyday]
    read = [
        Named(span, finding, False)
        for span, finding in _mentioned(text)
        if finding != ANYTHING and not within(span, spans) and not (everyday and _says_nothing_more(finding))
    ]
    return sorted(everyday + read)


def _holds(span: Span, named: Named) -> bool:
    """Whether a reader's words are more than the everyday words within: "small lump in the lung"."""
    return span != named.span and span[0] <= named.span[0] and named.span[1] <= span[1]


def places_in(text: str) -> list[Span]:
    """Where the places stand that a question names."""
    return [span for span, _ in _placed(text)]


def _placed(text: str) -> list[tuple[Span, str]]:
    """(span, site) of every place that is named, in a report's words or in everyday ones."""
    plain = _blotted(text)
    everyday = [(match.span(), site) for site, pattern in _everyday().places for match in pattern.finditer(plain)]
    taken = [span for span, _ in everyday]
    read = [(place.span, place.site) for place in _read(text).places if place.site and not within(place.span, taken)]
    return everyday + read


def within(span: Span, others: Iterable[Span]) -> bool:
    """Whether a span overlaps one of others."""
    return any(span[0] < end and start < span[1] for start, end in others)


def _read(text: str) -> Reading:
    """The reader's reading of a question, without idioms and the "wide" of "how wide"."""

    return read_sentence(_HOW.sub(lambda match: "how".ljust(len(match.group())), _blotted(text)))


def _blotted(text: str) -> str:
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


def _in_everyday_words(text: str) -> Iterator[Named]:
    """What people's words name, the longest first; those that stand for two findings give both."""
    tokens = [token for token in tokens_of(_blotted(text)) if token.is_word and token.word not in _SMALL]
    words = [token.word for token in tokens]
    plain = " " + " ".join(words)
    begins = list(accumulate((len(word) + 1 for word in words), initial=1))  # of each word in ``plain``
    fits = [(match.span(), key) for key, pattern in _everyday().patterns for match in pattern.finditer(plain)]
    taken: list[Span] = []
    for span, key in sorted(fits, key=lambda fit: fit[0][0] - fit[0][1]):
        if span in taken or not within(span, taken):
            taken.append(span)
            first, last = (bisect_right(begins, at) - 1 for at in (span[0], span[1] - 1))
            yield Named((tokens[first].start, tokens[last].end), key, True)


@functools.cache
def _everyday() -> _Everyday:
    told = tomllib.loads((files("prompts") / "everyday.toml").read_text(encoding="utf-8"))

    def filled(pattern: str) -> str:
        for name, words in told["words"].items():
            pattern = pattern.replace(f"{{{name}}}", words)
        return rf"(?<= ){pattern}(?![a-z])"

    return _Everyday(
        idioms=re.compile(rf"\b(?:{'|'.join(told['idioms'])})\b", re.I),
        patterns=tuple((key, re.compile(filled(each))) for key, every in told["finding"].items() for each in every),
        general={key: tuple(kinds) for key, kinds in told["general"].items()},
        places=tuple((key, re.compile(rf"\b(?:{'|'.join(every)})\b", re.I)) for key, every in told["place"].items()),
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
