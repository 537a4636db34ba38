"""Words that share another: "a spot on the liver or the kidney" is a spot on the liver, or a spot on the kidney.

A question goes in as tokens; its readings come out, each a list of some of these tokens in which every such group has
been reduced to one of its members. Marks of punctuation stay as words of their own, so that no pattern of words can
reach from one clause into the next.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Sequence
from importlib.resources import files
from itertools import accumulate

from vlm.findings.spelling import Token, normalise
from vlm.findings.vocabulary import load_vocabulary

JOINS = r"(?:,|/|&|\+|and|or|nor|as well as)(?: (?:and|or|also|even|maybe))?"  # between the members of a group
_SMALL = "in|on|around|round|inside|within|at|near|behind|outside|beside|next|to|between|under|over"
_SMALL += "|left|right|upper|lower"
# Of places that are only said more exactly by another one: "in the upper lobe of the lung".
_PARTS = {"lobe", "segment", "apex", "base", "marked_place", "septa", "intralobular", "fissure", "subpleural"}
_WHOLE = ("chest", "thorax", "abdomen", "belly", "tummy")
_VESSELS = frozenset({"artery", "arteries", "arterial", "vessel", "blood vessel", "vascular", "vein", "venous"})
MOST = 12  # readings of one question: nobody lists more places, and a text of a thousand commas must not last minutes
_NO_PLACE = "failure|attack|disease|problem|trouble|condition|rate"  # "heart failure" is no place


def words_of(tokens: Sequence[Token]) -> tuple[str, list[int]]:
    """The words in one line, a space before each, and where each of them begins there."""
    words = [token.word for token in tokens]
    return " " + " ".join(words), list(accumulate((len(word) + 1 for word in words), initial=1))[: len(words)]


def readings(tokens: Sequence[Token]) -> list[list[Token]]:
    """Every reading of a question's words and marks; one, the question itself, where nothing in it is shared."""
    found = [_called(tokens)]
    for group in (_places_joined(), _heads_joined(), _adjectives_joined()):
        found = [each for reading in found for each in _reduced(reading, group)][:MOST]
    return found


def _called(tokens: Sequence[Token]) -> list[Token]:
    """Without the comma after a place that a sentence begins with: "in the liver, any spots?"."""
    plain, begins = words_of(tokens)
    commas = {match.end() - 1 for match in _place_first().finditer(plain)}
    return [token for token, begin in zip(tokens, begins, strict=True) if begin not in commas]


def _reduced(tokens: Sequence[Token], group: re.Pattern[str]) -> list[list[Token]]:
    """The tokens once for each member of the largest group; a smaller one gives its last member again."""
    plain, begins = words_of(tokens)
    groups = [_members(match, begins) for match in group.finditer(plain)]
    out = []
    for number in range(min(MOST, max(map(len, groups), default=1))):
        dropped: set[int] = set()
        for members in groups:
            first, last = members[min(number, len(members) - 1)]
            dropped |= set(range(members[0][0], members[-1][1])) - set(range(first, last))
        out.append([token for at, token in enumerate(tokens) if at not in dropped])
    return out


def _members(group: re.Match[str], begins: Sequence[int]) -> list[tuple[int, int]]:
    """First token and the one after the last, of each member of a group."""
    joins = re.compile(rf"(?<= ){JOINS}(?= )").finditer(group.string, *group.span())
    cuts = [group.start(), *(edge for match in joins for edge in match.span()), group.end()]
    edges = zip(cuts[::2], cuts[1::2], strict=True)
    inside = [[at for at, begin in enumerate(begins) if low <= begin < high] for low, high in edges]
    return [(each[0], each[-1] + 1) for each in inside if each]


@functools.cache
def _place_first() -> re.Pattern[str]:
    return re.compile(rf"(?:^|[?.!;])(?: (?:and|{_SMALL})){{0,4}} (?:{'|'.join(_places())}) ,(?= )")


@functools.cache
def _places_joined() -> re.Pattern[str]:
    """ "Liver or the left kidney", "lung, around the heart and in the belly"; "between" two is one place."""
    place = rf"(?:{'|'.join(_places())}|left|right)(?! (?:{_NO_PLACE}))(?![a-z])"
    return re.compile(rf"(?<= )(?<!between ){place}(?: {JOINS} (?:(?:[a-z]+ of|{_SMALL}) ){{0,4}}{place})+")


@functools.cache
def _heads_joined() -> re.Pattern[str]:
    """ "Fluid or air" around, "stones and small cysts" in: one word each, the later ones with one before them."""
    verbs = "is|are|was|were|do|does|has|have|not|no|and|or|nor|as|of"
    word = rf"(?!(?:{'|'.join(_places())}|{_SMALL}|{verbs})\b)[a-z]+"
    return re.compile(rf"(?<= ){word}(?: {JOINS} (?:{word} )?{word})+(?= (?:of|{_SMALL})\b)")


@functools.cache
def _adjectives_joined() -> re.Pattern[str]:
    """A spine "worn or collapsed", a "swollen or burst" appendix."""
    adjective = rf"(?:{_words()['adjective']})(?![a-z])"
    return re.compile(rf"(?<= ){adjective}(?: {JOINS} {adjective})+")


@functools.cache
def _places() -> tuple[str, ...]:
    """Places as they are named, normalised, the longest first."""
    said = [words for site in load_vocabulary().sites.values() if site.key not in _PARTS for words in site.words]
    plain = {" ".join(normalise(words)) for words in (*said, *_words()["also_place"].split("|"))}
    single = sorted((words for words in plain if " and " not in words), key=lambda words: (-len(words), words))
    return tuple(re.escape(words) for words in single)


def _words() -> dict[str, str]:
    told = tomllib.loads((files("prompts") / "everyday.toml").read_text(encoding="utf-8"))
    return dict(told["words"])


@functools.cache
def another_place() -> str:
    """A regular expression for a word that is another place: neither "X of" nor "in the chest around"."""
    whole = "|".join(_WHOLE)
    places = "|".join(place for place in _places() if place not in _VESSELS and r"\ of\ " not in place)
    return rf"(?:{whole})(?! (?:of|in|on|around|inside)\b)\b|(?!(?:{whole})\b)(?:{places})(?! of\b)\b"
