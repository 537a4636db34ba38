"""Numbers written as words before a unit, as digits: "eight millimetres", "half a centimetre", "two hundred ml".

Text goes in and comes out; only a number that a unit follows is touched, so that "one nodule" stays as it is.
"""

from __future__ import annotations

import re

_ONES = [
    "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "thirteen",
    "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_VALUE = {word: n for n, word in enumerate(_ONES, 1)} | {word: 10 * n for n, word in enumerate(_TENS, 2)} | {"a": 1}
_BELOW_HUNDRED = rf"(?:(?:{'|'.join(_TENS)})(?:[ -](?:{'|'.join(_ONES[:9])}))?|{'|'.join(reversed(_ONES))})"
_UNIT = r"(?:(?:mm|cm|ml|cc|l|hu)\b|millim|centim|millil|litre|liter|per ?cent|hounsfield)"
_NUMBER = re.compile(
    rf"\b(?:(?P<hundreds>{_BELOW_HUNDRED}|a) hundred(?:(?: and)? (?P<rest>{_BELOW_HUNDRED}))?"
    rf"|(?P<small>{_BELOW_HUNDRED}))"
    rf"(?P<half> and a half)?(?=[ -]{_UNIT})",
    re.I,
)
_HALF = re.compile(rf"\bhalf an? (?={_UNIT})", re.I)
_SINGLE = re.compile(rf"\b(?P<before>of|than|at least|about) an? (?={_UNIT})", re.I)


def in_digits(text: str) -> str:
    """The text with its spelled measures in digits."""
    text = _HALF.sub("0.5 ", text)
    text = _SINGLE.sub(r"\g<before> 1 ", text)
    return _NUMBER.sub(_digits, text)


def _digits(found: re.Match[str]) -> str:
    hundreds, rest, small = (_value(found[name]) for name in ("hundreds", "rest", "small"))
    return f"{100 * hundreds + rest + small}{'.5' if found['half'] else ''}"


def _value(words: str | None) -> int:
    return sum(_VALUE[word] for word in re.split(r"[ -]", words.lower())) if words else 0
