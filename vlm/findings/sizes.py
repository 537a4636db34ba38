"""Numbers in a sentence: sizes, volumes, densities, shares, counts.

Text goes in, Quantities come out: "17 x 14 mm" is two numbers of one group, a range
"3-4 mm" likewise. Dates, vertebral levels and list numbers are no quantities.
"""

from __future__ import annotations

import re

from vlm.findings.mentions import Quantity

_NUMBER = r"\d+(?:[.,]\d+)?"
_UNIT = (
    r"millimet(?:er|re)s?|centimet(?:er|re)s?|millilit(?:er|re)s?|lit(?:er|re)s?|mm|cm|cc|cm3|ml|l|"
    r"hounsfield units?|hounsfield|hu|percent|%"
)
_UNITS = {"cc": "ml", "cm3": "ml", "percent": "%", "hounsfield": "HU", "hu": "HU", "%": "%", "l": "l"}
_SIZED = re.compile(
    rf"(?<![\w.,])(?P<numbers>-?{_NUMBER}(?:\s*(?:{_UNIT})?\s*(?:x|×|\*|by|-|–|to)\s*{_NUMBER}){{0,2}})"
    rf"\s*[-–]?\s*(?P<unit>{_UNIT})(?![a-z])",
    re.IGNORECASE,
)
_BARE = re.compile(rf"(?<![\w.,/-])(?P<number>{_NUMBER})(?![\w/]|[.,]\d|-\d|\s*(?:st|nd|rd|th)\b)")
# A number of 1900 to 2099 is a year, unless a unit follows it.
_DATE = re.compile(
    rf"\b\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{1,4}}\b|\b(?:19|20)\d\d\b(?!\s*(?:{_UNIT})(?![a-z]))|\*\*\w+\[[^\]]*\]",
    re.IGNORECASE,
)
_DIGITS = re.compile(_NUMBER)


def quantities_of(text: str) -> tuple[Quantity, ...]:
    """Every quantity of a sentence, in order."""
    taken = [match.span() for match in _DATE.finditer(text)]
    found: list[Quantity] = []
    group = 0
    for match in _SIZED.finditer(text):
        if _overlaps(match.span(), taken):
            continue
        taken.append(match.span())
        unit = unit_of(match["unit"])
        start = match.start("numbers")
        for number in _DIGITS.finditer(match["numbers"]):
            negative = unit == "HU" and text[max(0, start + number.start() - 1)] == "-" and number.start() <= 1
            value = float(number[0].replace(",", ".")) * (-1.0 if negative else 1.0)
            span = (start + number.start(), start + number.end())
            found.append(Quantity(value=value, unit=unit, span=span, group=group))
        group += 1
    for match in _BARE.finditer(text):
        if not _overlaps(match.span(), taken):
            value = float(match["number"].replace(",", "."))
            found.append(Quantity(value=value, unit="", span=match.span(), group=group))
            group += 1
    return tuple(sorted(found, key=lambda q: q.span))


def unit_of(written: str) -> str:
    """The unit as a Quantity names it."""
    low = written.lower()
    if low in _UNITS:
        return _UNITS[low]
    for start, unit in (("millim", "mm"), ("centim", "cm"), ("millil", "ml"), ("lit", "l"), ("hounsf", "HU")):
        if low.startswith(start):
            return unit
    return low


def _overlaps(span: tuple[int, int], taken: list[tuple[int, int]]) -> bool:
    return any(span[0] < end and start < span[1] for start, end in taken)
