"""Every word of the vocabulary as one search tree, and the items it finds in a text.

A list of tokens goes in; the longest phrases that are known come out, left to right,
each with everything it can mean. One pass, linear in the text.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

from vlm.findings.spelling import Token, normalise
from vlm.findings.vocabulary import LEVELS, Vocabulary, load_vocabulary

LEAST_LETTERS = 8  # shorter words differ by one letter too often


class Sense(NamedTuple):
    """One thing that a phrase can mean."""

    kind: str  # "finding", "sign", "site", "side", "grade", "count", "attribute", "dimension", "direction",
    # "cue" or "plain"
    key: str
    opposite: bool = False  # the phrase says that the sign is not there


class Item(NamedTuple):
    """A known phrase in a text: tokens first to last (one past), and what it can mean."""

    first: int
    last: int
    senses: tuple[Sense, ...]

    def key(self, kind: str) -> str | None:
        """The key of the first sense of a kind."""
        for sense in self.senses:
            if sense.kind == kind:
                return sense.key
        return None

    def has(self, kind: str, key: str) -> bool:
        """Whether the phrase can mean this."""
        return any(sense.kind == kind and sense.key == key for sense in self.senses)


class _Node:
    """A state of the search tree."""

    __slots__ = ("next", "senses")

    def __init__(self) -> None:
        self.next: dict[str, _Node] = {}
        self.senses: list[Sense] = []


class Lexicon:
    """The search tree of a vocabulary."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary
        self._root = _Node()
        self._words: set[str] = set()
        self._corrected: dict[str, str | None] = {}
        for phrase, sense in _phrases(vocabulary):
            self._add(phrase, sense)

    def _add(self, phrase: str, sense: Sense) -> None:
        node = self._root
        for word in normalise(phrase):
            self._words.add(word)
            node = node.next.setdefault(word, _Node())
        if node is not self._root and sense not in node.senses:
            node.senses.append(sense)

    def items(self, tokens: list[Token]) -> list[Item]:
        """The longest known phrases of a text, left to right, without overlap."""
        found: list[Item] = []
        at, end = 0, len(tokens)
        while at < end:
            node, here, best = self._root, at, 0
            senses: list[Sense] = []
            while here < end:
                step = node.next.get(tokens[here].word)
                if step is None and tokens[here].word not in self._words:
                    step = node.next.get(self.correction(tokens[here].word) or "")
                if step is None:
                    break
                node, here = step, here + 1
                if node.senses:
                    best, senses = here, node.senses
            if best:
                found.append(Item(at, best, tuple(senses)))
                at = best
            else:
                at += 1
        return found

    def knows(self, word: str) -> bool:
        """Whether a normalised word occurs in any phrase, as it is spelled."""
        return word in self._words

    def correction(self, word: str) -> str | None:
        """The one known word that differs by a single slip of the pen, for words of eight letters and more.

        A report's typing error should not hide a finding. The checker still sees the word as unknown.
        """
        if len(word) < LEAST_LETTERS or not word.isalpha():
            return None
        if word not in self._corrected:
            near = {near for part in _without_one(word) for near in self._slips.get(part, ()) if _one_slip(word, near)}
            self._corrected[word] = near.pop() if len(near) == 1 else None
        return self._corrected[word]

    @functools.cached_property
    def _slips(self) -> dict[str, set[str]]:
        """Every long word under its spellings with one letter left out."""
        index: dict[str, set[str]] = {}
        for word in self._words:
            if len(word) >= LEAST_LETTERS - 1 and word.isalpha():
                for part in _without_one(word):
                    index.setdefault(part, set()).add(word)
        return index


def _without_one(word: str) -> set[str]:
    """The word, and the word without each of its letters but the first."""
    return {word, *(word[:i] + word[i + 1 :] for i in range(1, len(word)))}


def _one_slip(one: str, two: str) -> bool:
    """Whether two words differ by one letter more, less or other, or by two neighbours swapped."""
    start = 0
    while start < min(len(one), len(two)) and one[start] == two[start]:
        start += 1
    a, b = one[start:], two[start:]
    return a[1:] == b[1:] or a[1:] == b or a == b[1:] or (a[:2] == b[1::-1] and a[2:] == b[2:])


def _phrases(vocabulary: Vocabulary) -> Iterator[tuple[str, Sense]]:
    for key, finding in vocabulary.findings.items():
        yield from ((phrase, Sense("finding", key)) for phrase in finding.words + finding.lay)
    for key, sign in vocabulary.signs.items():
        yield from ((phrase, Sense("sign", key)) for phrase in sign.words)
        yield from ((phrase, Sense("sign", key, True)) for phrase in sign.opposite)
    for key, site in vocabulary.sites.items():
        yield from ((phrase, Sense("site", key)) for phrase in site.words)
    for level in LEVELS:
        if level[0] == "T":
            yield f"D{level[1:]}", Sense("site", level)
    tables = {
        "side": vocabulary.sides,
        "grade": vocabulary.grades,
        "count": vocabulary.counts,
        "attribute": vocabulary.attributes,
        "direction": vocabulary.directions,
        "cue": vocabulary.words,
    }
    for kind, table in tables.items():
        for key, phrases in table.items():
            yield from ((phrase, Sense(kind, key)) for phrase in phrases)
    for key, dimension in vocabulary.dimensions.items():
        yield from ((phrase, Sense("dimension", key)) for phrase in dimension.words)
    yield from ((word, Sense("plain", "")) for word in sorted(vocabulary.plain))


@functools.cache
def load_lexicon() -> Lexicon:
    """The search tree of the shipped vocabulary, built once a process."""
    return Lexicon(load_vocabulary())
