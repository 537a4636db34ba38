"""Words of change in a statement, and the statement without them.

"Larger than on the prior scan" or "not seen before" would be read as a finding or a denial by
themselves. They are found first, remembered, and blanked out; offsets stay as they are.
"""

from __future__ import annotations

import re

from vlm.findings.mentions import Change
from vlm.grounding.adjuncts import split_change_parts

_PRIOR = (
    r"(?:before(?:hand)?|previously|(?:(?:on|in|at|to|with) )?(?:the |that |an? )?"
    r"(?:prior|previous|earlier|last|former)"
    r"(?: (?:ct )?(?:scan|ct|examination|exam|study|series|imaging|images|time))?)"
)
_SINCE = (
    r"(?:,? ?(?:since|than|compared (?:to|with)|when compared (?:to|with)|in comparison (?:to|with)|relative to"
    rf"|from|over|on|to|as|as (?:on|at|in)) {_PRIOR})"
)
_WHICH = r"(?:(?:which|that) (?:is |are |was |were )?)?(?:now )?"
_HAS = r"(?:(?:which |that )?(?:has|have|had) (?:been |become )?)"
_HOW = r"(?:(?:clearly|slightly|markedly|significantly|somewhat|much) )?"
_IN = r"(?: in (?:size|extent|volume|number|length|width|diameter))?"
_MORE = (
    r"(?:larger|bigger|enlarged|increased|increasing|grown|growing|greater"
    r"|thicker|longer|wider|more extensive|progressed|progressive|with (?:an? |some |interval )*(?:increase"
    r"|growth|progression))"
)
_LESS = (
    r"(?:smaller|decreased|decreasing|reduced|shrunk|shrinking|thinner|shorter|less extensive|regressed|regressive"
    r"|diminished|with (?:an? |some |interval )*(?:decrease|reduction|regression))"
)
_INTERVAL = r"with (?:an? )?interval "
_SAME = (
    r"(?:unchanged|unaltered|stable|constant|(?:without|no)(?: any| significant| relevant| interval)* change"
    r"|not changed|(?:of )?the same size)"
)
_AS_BEFORE = rf"(?:similar|identical|equal)(?: in size)?(?= (?:to|as)){_SINCE}|as (?:on|in|at) {_PRIOR}|as before"
_NEW = r"(?:new(?:ly)?(?: (?:appeared|developed|seen|detected|visible|occurred|there|found))?)"

_NOT_BEFORE = (
    r"(?:which |that )?(?:was |were )?(?:not|never) (?:yet )?(?:seen|present|visible|there|detected|known|identified)"
    rf"(?:{_SINCE}| before| previously)"
)


def _moved(words: str) -> str:
    """Larger or smaller says a change only with "has" or "now" before it or "since" after it."""
    return rf"(?:(?:{_HAS}|now ){_HOW}{words}{_IN}{_SINCE}?|{_WHICH}{_HOW}{words}{_IN}{_SINCE})"


PATTERNS: tuple[tuple[Change, re.Pattern[str]], ...] = (
    ("new", re.compile(rf"\b{_NOT_BEFORE}\b", re.I)),
    (
        "larger",
        re.compile(
            rf"\b(?:{_moved(_MORE)}|{_INTERVAL}(?:increase|growth){_IN}|(?:increasing|growing) in (?:size"
            rf"|extent){_SINCE}?)\b",
            re.I,
        ),
    ),
    (
        "smaller",
        re.compile(
            rf"\b(?:{_moved(_LESS)}|{_INTERVAL}decrease{_IN}|(?:decreasing|shrinking) in (?:size|extent){_SINCE}?)\b",
            re.I,
        ),
    ),
    ("unchanged", re.compile(rf"\b(?:is |are |remains? )?{_HAS}?{_SAME}{_IN}{_SINCE}?\b", re.I)),
    ("unchanged", re.compile(rf"\b(?:{_AS_BEFORE})\b", re.I)),
    ("new", re.compile(rf"\b(?:(?:which |that )?(?:is |are |has |have ))?{_NEW}{_SINCE}?\b", re.I)),
)


def split_changes(text: str) -> tuple[str, Change | None]:
    """The text with its words of change blanked out, and the change; None when it says none, or two that differ."""
    text, found = split_change_parts(text)
    for change, pattern in PATTERNS:
        for match in list(pattern.finditer(text)):
            found.append(change)
            text = text[: match.start()] + " " * len(match.group()) + text[match.end() :]
    return text, found[0] if len(set(found)) == 1 else None
