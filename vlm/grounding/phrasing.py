"""One way of saying a thing for its many: abbreviations written out, and frames of doubt and denial made plain.

Reporters say "not seen" and "not judged" in hundreds of ways that are built from few kinds of words.
Here a frame is a pattern over whole classes of words ("not" + any adverb + any verb of judging), and
its match gives way to the one wording that the reader knows: "not assessed", "possible", "likely", "no".
What is found, where, how large and on which side is never touched. This comes before limits and changes
are looked for, so that lengths may change; nothing before it has offsets.
"""

from __future__ import annotations

import functools
import re
import tomllib
from importlib.resources import files

from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding.spelled import in_digits

Frame = tuple[re.Pattern[str], str]
_ORDER = ("listed", "not_assessed", "doubt", "denial")
_CLASS = re.compile(r"<([a-z_]+)>")


@functools.cache
def _frames() -> tuple[Frame, ...]:
    """The frames of ``prompts/frames.toml``, their classes of words filled in, in the order of seeking."""
    data = tomllib.loads((files("prompts") / "frames.toml").read_text(encoding="utf-8"))
    classes: dict[str, str] = data["class"]

    def fill(pattern: str) -> str:
        return _CLASS.sub(lambda match: fill(classes[match[1]]) if match[1] in classes else match[0], pattern)

    return tuple(
        (re.compile(rf"(?<![\w'])(?:{fill(pattern)})(?![\w'])", re.I), plain)
        for kind in _ORDER
        for pattern, plain in data["frames"][kind]["all"]
    )


# ---------------------------------------------------------------- signs that stand for words
_SIGNS: tuple[Frame, ...] = (
    (re.compile(r"\bcan['’]t\b|\bcan not\b", re.I), "cannot"),
    (re.compile(r"\bwon['’]t\b", re.I), "will not"),
    (re.compile(r"(?<=[a-z])n['’]t\b", re.I), " not"),
    (re.compile(r"\b(?P<who>there|here|that|what|it|this)['’]s\b", re.I), r"\g<who> is"),
    (re.compile(r"\b(?P<who>we|i|they)['’]ve\b", re.I), r"\g<who> have"),
    (re.compile(r"\b(?P<who>we|i)['’]d\b", re.I), r"\g<who> would"),
    (re.compile(r"\b(?P<who>this|that|it)['’]ll\b", re.I), r"\g<who> will"),
    (re.compile(r"^\s*\?\s*(?=\w)"), "possible "),
    (re.compile(r"\s*\(\s*\?\s*\)"), ", possible"),
    (re.compile(r"\s*\(\s*[-–]\s*\)"), ": none"),
    (re.compile(r"\s*\(\s*\+\s*\)"), ""),
    (re.compile(r"^\s*\+\s*(?=\w)"), ""),
    (re.compile(r"(?<=\w)\s*\+\s*(?=(?:an? )?[A-Za-z])|(?<=\))\s*\+\s*(?=[A-Za-z])|\s&\s"), " and "),
    (re.compile(r"\s*[~≈]\s*(?=\d)"), " about "),
    (re.compile(r"\s*=\s*(?=\d)"), " "),
    (re.compile(r"[Øø∅](?=\s)"), "no"),
    (re.compile(r"↑"), "increased"),
    (re.compile(r"↓"), "decreased"),
    (re.compile(r"\boutwith\b", re.I), "outside"),
    (re.compile(r"\boff the (?=field|scan)", re.I), "outside the "),
    (re.compile(r"\bC/?T ratio\b"), "cardiothoracic ratio"),
)


_DOZEN = re.compile(r"\b(?P<half>half )?an? dozen\b", re.I)
_FIELD = re.compile(r"\b(?P<where>outside|in|within|of|beyond|inside) field of view", re.I)


@functools.lru_cache(maxsize=4096)
def plainly(text: str) -> str:
    """The text with its abbreviations written out and its frames of doubt and denial in the reader's own words."""
    text = _without_numbering(text)
    for pattern, plain in _SIGNS:
        text = pattern.sub(plain, text)
    text = _abbreviation().sub(_written_out, text)
    text = in_digits(text)
    text = _DOZEN.sub(lambda found: "six" if found["half"] else "twelve", text)
    text = _FIELD.sub(r"\g<where> the field of view", text)
    for pattern, plain in _frames():
        text = pattern.sub(plain, text)
    return text


def _without_numbering(text: str) -> str:
    """ "1. X 2. Y": the numbers of a list that begins with its first, in order; any other number counts something."""
    at, number = 0, 1
    while found := re.compile(rf"(?<![\w.])\(?{number}[.)](?=\s+[A-Za-z])").search(text, at):
        if number == 1 and text[: found.start()].strip():
            break
        text = f"{text[: found.start()]}{' ; ' if number > 1 else ''}{text[found.end() :]}"
        at, number = found.start(), number + 1
    return text


@functools.cache
def _abbreviation() -> re.Pattern[str]:
    keys = sorted(load_vocabulary().abbreviations, key=len, reverse=True)
    return re.compile(rf"(?<![\w/'.])(?:{'|'.join(map(re.escape, keys))})(?![\w/'])", re.I)


def _written_out(match: re.Match[str]) -> str:
    """An abbreviation in capitals is one only in capitals: "PE", never "pe"; a side is none after a number: "1.2 L"."""
    found, known = match.group(), load_vocabulary().abbreviations
    if found in known:
        after_number = re.search(r"\d\s*$", match.string[: match.start()])
        return found if found in ("L", "R") and after_number else known[found]
    return known.get(found.lower(), found)
