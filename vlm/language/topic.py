"""What a question is about: findings, places and a side, read by the reader of reports and by patients' words."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from vlm.findings.reader import read_sentence
from vlm.findings.spelling import tokens_of
from vlm.findings.vocabulary import load_vocabulary

# "How wide is the aorta" asks for a number; to a reader of reports a wide aorta is a finding.
_HOW = re.compile(r"\bhow (wide|large|big|thick|long|tall|small|dense|narrow|deep)\b", re.I)


@dataclass(frozen=True)
class Topic:
    """What a question is about."""

    findings: tuple[str, ...] = ()
    sites: tuple[str, ...] = ()
    side: str | None = None
    unknown: tuple[str, ...] = field(default=(), compare=False)  # words that no vocabulary has


def topic_of(text: str) -> Topic:
    """Read a question with the reader of reports, and with the words that patients use."""
    plain = f" {_plain(text)} "
    reading = read_sentence(_HOW.sub("what size", text))
    found = dict.fromkeys(mention.finding for mention in reading.mentions)
    if not found:
        found = dict.fromkeys(key for words, key in _lay_words().items() if f" {words} " in plain)
    sides = {place.side for place in reading.places if place.side} | {m.side for m in reading.mentions if m.side}
    return Topic(
        findings=tuple(found),
        sites=_sites(place.site for place in reading.places if place.site),
        side=sides.pop() if len(sides) == 1 else None,
        unknown=reading.unknown,
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
