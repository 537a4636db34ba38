"""Parts of a sentence that only set a limit or state a change: "(thick sections)", ", given the noise", ", growing".

A part between commas, brackets or colons, or the end of one that begins with "given", "despite" … , states a
limit when it names its cause and every other word of it is one of the closed class of words that limits are
made of. One word outside of that class, a number or a denial too many, and it is read as text. No order of
words is asked for, so that no list of phrases is needed.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files

from vlm.findings.mentions import Change

_SPLIT = re.compile(r"[,;:()\[\]]|\s[-–—/]\s|(?<=\w)\.(?=\s|$)|[!?]")
_WORD = re.compile(r"[a-z']+|\S", re.I)
_SCANNED = re.compile(r"fields?|volume|ranges?|region|extent|coverage", re.I)


@dataclass(frozen=True, slots=True)
class _Cause:
    """What makes a limit: every one of ``needs`` occurs; ``may`` are words that are allowed beside them."""

    needs: tuple[re.Pattern[str], ...]
    may: re.Pattern[str] | None
    led: bool  # may stand at the end of a part behind a leading word
    weak: bool  # "with", "in", "on" lead to it


@dataclass(frozen=True, slots=True)
class _Words:
    """The classes of ``prompts/adjuncts.toml``."""

    glue: frozenset[str]
    leads: frozenset[str]
    weak_leads: frozenset[str]
    change_glue: frozenset[str]
    causes: dict[str, _Cause]  # in the order in which they are sought
    directions: tuple[tuple[Change, re.Pattern[str]], ...]
    then: re.Pattern[str]


@functools.cache
def _words() -> _Words:
    data = tomllib.loads((files("prompts") / "adjuncts.toml").read_text(encoding="utf-8"))
    directions: tuple[Change, ...] = ("unchanged", "new", "larger", "smaller")
    return _Words(
        glue=frozenset(data["glue"].split()),
        leads=frozenset((data["leads"] + data["weak_leads"]).split()),
        weak_leads=frozenset(data["weak_leads"].split()),
        change_glue=frozenset(data["change_glue"].split()),
        causes={
            key: _Cause(
                needs=tuple(_re(pattern) for pattern in entry["needs"]),
                may=_re(entry["may"]) if "may" in entry else None,
                led=entry.get("led", True),
                weak=entry.get("weak", True),
            )
            for key, entry in data["cause"].items()
        },
        directions=tuple((change, _re(data["change"][change])) for change in directions),
        then=_re(data["change"]["then"]),
    )


def _re(pattern: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w'])(?:{pattern})(?![\w'])", re.I)


def split_adjuncts(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with every part that only states a limit blanked out, and the keys of those limits."""
    found: list[str] = []
    for first, last, mark in parts(text):
        for limit in _words().causes:
            span = _limit_within(text[first:last], limit, marked=bool(mark), bracketed=mark in "(:;[")
            if span is not None:
                found.append(limit)
                start, end = first + span[0], first + span[1]
                text = text[:start] + " " * (end - start) + text[end:]
                break
    return text, tuple(found)


def parts(text: str) -> Iterator[tuple[int, int, str]]:
    """Start and end of every part between marks, and the mark before it; "" where a sentence begins."""
    begin, before = 0, ""
    for mark in (*_SPLIT.finditer(text), None):
        end = mark.start() if mark else len(text)
        if text[begin:end].strip():
            yield begin, end, before
        if mark:
            begin, before = mark.end(), mark.group().strip().strip(".!?")


def _limit_within(part: str, limit: str, *, marked: bool, bracketed: bool) -> tuple[int, int] | None:
    known = _words()
    cause = known.causes[limit]
    if not all(needed.search(part) for needed in cause.needs):
        return None
    accounted = _accounted(part, cause)
    words = list(_WORD.finditer(part))
    good = [accounted[w.start()] or w.group().lower() in known.glue for w in words]
    if (
        marked
        and all(good)
        and (limit != "collapse" or bracketed or any(w.group().lower() in known.leads for w in words))
    ):
        return 0, len(part)  # "emphysema, collapsed lung or nodules": an item of a list is no limit
    if not cause.led:
        return None
    return _led(words, good, cause)


def _accounted(part: str, cause: _Cause) -> list[bool]:
    """Which characters the cause itself accounts for; a pattern with any word between its own accounts for none."""
    taken = [False] * (len(part) + 1)
    closed = (pattern for pattern in cause.needs if ".{" not in pattern.pattern and r"\w+ )" not in pattern.pattern)
    for pattern in (*closed, *((cause.may,) if cause.may else ())):
        for match in pattern.finditer(part):
            taken[match.start() : match.end()] = [True] * (match.end() - match.start())
    return taken


def _led(words: list[re.Match[str]], good: list[bool], cause: _Cause) -> tuple[int, int] | None:
    """The end of a part that begins with a leading word and holds nothing but a limit."""
    begin = len(words)
    while begin and good[begin - 1]:
        begin -= 1
    for n in range(begin, len(words)):
        word = words[n].group().lower()
        if word in _words().leads:
            if word in _words().weak_leads and not (cause.weak and not _SCANNED.search(words[-1].group())):
                continue  # "not in the scanned field" is said of the scan
            rest = words[n:]
            tail = " ".join(w.group() for w in rest)
            if all(needed.search(tail) for needed in cause.needs):
                return rest[0].start(), rest[-1].end()
    return None


def split_change_parts(text: str) -> tuple[str, list[Change]]:
    """The text without the parts that only state a change, and those changes; any other denial of change stays."""
    found: list[Change] = []
    for first, last, mark in parts(text):
        change = _change_of(text[first:last]) if mark else None
        if change is not None:
            found.append(change)
            text = text[:first] + " " * (last - first) + text[last:]
    return text, found


def _change_of(part: str) -> Change | None:
    known = _words()
    taken = [False] * (len(part) + 1)
    kinds: list[Change] = []
    for change, pattern in known.directions:
        for match in pattern.finditer(part):
            if not taken[match.start()]:
                kinds.append(change)
                taken[match.start() : match.end()] = [True] * (match.end() - match.start())
    for match in known.then.finditer(part):
        taken[match.start() : match.end()] = [True] * (match.end() - match.start())
    words = _WORD.finditer(part)
    if len(set(kinds)) != 1 or not all(taken[w.start()] or w.group().lower() in known.change_glue for w in words):
        return None
    return kinds[0]
