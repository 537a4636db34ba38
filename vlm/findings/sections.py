"""A report in its sections and sentences.

Text goes in, offsets come out. A heading ("IMPRESSION:", "Technique:") opens a section;
a section without a heading is findings. Sentences end at a full stop, a semicolon or a
bullet, not inside a number, an abbreviation or brackets.
"""

from __future__ import annotations

import re

from vlm.findings.mentions import Span

_HEADINGS = {
    "findings": "findings|finding|report|result|results|observations|chest|abdomen|pelvis|lungs",
    "impression": "impression|impressions|conclusion|conclusions|summary|opinion|assessment|diagnosis",
    "indication": "indication|indications|clinical indication|reason for exam|reason for examination|reason for study|"
    "reason|clinical information|clinical question|clinical data|"
    "preliminary diagnosis|referring diagnosis|prediagnosis",
    "history": "history|clinical history|medical history|past medical history|patient history|anamnesis|family history",
    "technique": "technique|protocol|procedure|examination|method|exam|examination performed|technical information",
    "comparison": "comparison|comparisons|compared with|prior|priors",
}
_HEADING = re.compile(
    r"(?:(?<=^)|(?<=[.\n;?!]))\s*(?P<mark>[*#_]*)(?P<name>"
    + "|".join(sorted("|".join(_HEADINGS.values()).split("|"), key=len, reverse=True))
    + r")[*_]*\s*:",
    re.IGNORECASE,
)
# "Not assessed" heads what follows only on a line of its own or in bold: "Not assessed: A. The heart is normal."
_UNSEEN = re.compile(
    r"(?:^|\n)[ \t]*(?:#+[ \t]*)?[*_]*(?:not|nothing) (?:assessed|evaluated)[.:]?(?:[*_]+|(?=[ \t]*(?:\n|$)))[.:]?",
    re.IGNORECASE,
)
_TITLE = re.compile(r"\n[ \t]*(?:#+[ \t]+[^\n]*|[*_]{2}[^\n*_]+[*_]{2}[ \t]*)(?=\n)")  # any other heading in Markdown
_SECTION_OF = {name: key for key, names in _HEADINGS.items() for name in names.split("|")}
_END = re.compile(r"(?P<stop>[.!])(?=\s|$|[\"”])|[;\n•|]|\s\*\s|\"|(?P<ask>\?)(?=\s+[A-Z\"]|\s*$)")
_ABBREVIATION_WORDS = "dr mr mrs vs approx fig st e.g i.e cf ca max min resp incl"
_ABBREVIATIONS = frozenset(_ABBREVIATION_WORDS.split())


def split_sections(text: str) -> tuple[tuple[str, int, int], ...]:
    """(section, first, one past last) for every part of a report, in order."""
    marks = [(m.start("mark"), m.end(), _SECTION_OF[m["name"].lower()]) for m in _HEADING.finditer(text)]
    if unseen := [(m.start(), m.end(), "not_assessed") for m in _UNSEEN.finditer(text)]:
        others = [(m.start(), m.start(), "findings") for m in _TITLE.finditer(text) if not _UNSEEN.match(m[0])]
        marks = sorted([*marks, *unseen, *others])
    parts: list[tuple[str, int, int]] = []
    begin, section = 0, "findings"
    for start, end, name in marks:
        if text[begin:start].strip():
            parts.append((section, begin, start))
        begin, section = end, name
    if text[begin:].strip():
        parts.append((section, begin, len(text)))
    return tuple(parts)


def split_sentences(text: str) -> tuple[Span, ...]:
    """Offsets of every sentence of a text, without the space around it."""
    spans: list[Span] = []
    begin = 0
    for match in _END.finditer(text):
        if match["stop"] == "." and _is_abbreviation(text, match.start()):
            continue
        end = match.end() if match["stop"] or match["ask"] else match.start()
        _append(spans, text, begin, end)
        begin = match.end()
    _append(spans, text, begin, len(text))
    return tuple(spans)


def _append(spans: list[Span], text: str, begin: int, end: int) -> None:
    piece = text[begin:end]
    stripped = piece.strip()
    if any(character.isalnum() for character in stripped):
        first = begin + len(piece) - len(piece.lstrip())
        spans.append((first, first + len(stripped)))


def _is_abbreviation(text: str, stop: int) -> bool:
    """Whether the full stop belongs to "Dr." or to a list number "1."."""
    start = stop
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] == "."):
        start -= 1
    word = text[start:stop].lower()
    return word in _ABBREVIATIONS
