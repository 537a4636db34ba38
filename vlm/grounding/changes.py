"""Words of change in a statement, and the statement without them.

"Larger than on the prior scan" or "not seen before" would be read as a finding or a denial by
themselves. They are found first, remembered, and blanked out; offsets stay as they are.
"""

from __future__ import annotations

import re

from vlm.findings.mentions import Change

_PRIOR = (
    r"(?:before|(?:(?:on|in|at|to|with) )?(?:the |that |an? )?(?:prior|previous|earlier|last|former)"
    r"(?: (?:scan|ct|examination|exam|study|series))?)"
)
_SINCE = rf"(?:,? ?(?:since|than|compared (?:to|with)|when compared (?:to|with)|relative to|from|over|on) {_PRIOR})"
_HAS = r"(?:(?:which |that )?(?:has|have|had) (?:been )?)"
_HOW = r"(?:(?:clearly|slightly|markedly|significantly|somewhat|much) )?"
_IN = r"(?: in (?:size|extent|volume|number|length|width|diameter))?"
_MORE = (
    r"(?:larger|bigger|enlarged|increased|increasing|grown|growing|greater"
    r"|thicker|longer|wider|more extensive|progressed)"
)
_LESS = r"(?:smaller|decreased|decreasing|reduced|shrunk|shrinking|thinner|shorter|less extensive|regressed|diminished)"
_SAME = (
    r"(?:unchanged|stable|constant|(?:without|no)(?: any| significant| relevant)? change|not changed|of the same size)"
)
_NEW = r"(?:new(?:ly)?(?: (?:appeared|developed|seen|detected|visible|occurred|there))?)"

_NOT_BEFORE = rf"(?:not|never) (?:yet )?(?:seen|present|visible|there|detected|known)(?:{_SINCE}| before)"


def _moved(words: str) -> str:
    """Larger or smaller says a change only with "has" before it or "since" after it."""
    return rf"(?:{_HAS}{_HOW}{words}{_IN}{_SINCE}?|{_HOW}{words}{_IN}{_SINCE})"


PATTERNS: tuple[tuple[Change, re.Pattern[str]], ...] = (
    ("new", re.compile(rf"\b{_NOT_BEFORE}\b", re.I)),
    ("larger", re.compile(rf"\b{_moved(_MORE)}\b", re.I)),
    ("smaller", re.compile(rf"\b{_moved(_LESS)}\b", re.I)),
    ("unchanged", re.compile(rf"\b(?:is |are |remains? )?{_HAS}?{_SAME}{_IN}{_SINCE}?\b", re.I)),
    ("new", re.compile(rf"\b(?:is |are )?{_NEW}{_SINCE}?\b", re.I)),
)


def split_changes(text: str) -> tuple[str, Change | None]:
    """The text with its words of change blanked out, and the change; None when it says none, or two that differ."""
    found: list[Change] = []
    for change, pattern in PATTERNS:
        for match in list(pattern.finditer(text)):
            found.append(change)
            text = text[: match.start()] + " " * len(match.group()) + text[match.end() :]
    return text, found[0] if len(set(found)) == 1 else None
