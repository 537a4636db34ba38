"""The limits that a statement states, and the statement without them.

A limit is said in passing ("in the covered part", "limited by noise", "(no intravenous
contrast)"). Its words deny and name findings by themselves, so they are found first and
blanked out, and the reader sees only what is claimed. Offsets stay as they are.
"""

from __future__ import annotations

import re

from vlm.evidence import CONDITIONS

# What leads to a limit, and what may close it.
_BECAUSE = (
    r"(?:(?:is |are |was |were )?(?:limited|restricted|hampered|impaired|degraded|obscured|hidden|reduced) by"
    r"|because of|due to|owing to|despite|in view of|given|with(?:in)? the limits of|as far as|although"
    r"|apart from|outside|hidden in|in|within)"
)
_SMALL = r"(?:\s+(?:a|an|the|this|that|some|much|marked|severe|considerable))*"
_CLOSE = r"(?:\s+(?:limits?|limit the|allows?|permits?)(?:\s+(?:the|this))?(?:\s+(?:assessment|evaluation|it))?)?"

_SCAN = r"(?:scan|ct|study|examination|exam|series|images?|acquisition)"
_CONTRAST = r"(?:intravenous |iv |i\.v\. |the |any )?contrast(?: medium| material| agent| enhancement| administration)?"
_COVER = r"(?:covered|scanned|imaged|included|visible|visuali[sz]ed|examined|shown)"

# condition -> pattern that stands by itself. The words of CONDITIONS count, too.
_ALONE: dict[str, str] = {
    "partly_covered": (
        rf"(?:in|within|of|for|on) the {_COVER} (?:parts?|portions?|sections?|areas?|range|extent|volume)"
        rf"|(?:in|within) the (?:parts?|portions?|sections?) (?:of the [\w ]{{1,24}}?)?"
        rf"(?:that (?:is|are|was|were) )?{_COVER}"
        rf"|(?:as far as|where|insofar as|in so far as|to the extent)(?: it is| they are| is| are)? {_COVER}"
        rf"|(?:only )?(?:partly|partially|incompletely|not fully|not completely|not entirely) {_COVER}"
    ),
    "not_covered": (
        rf"not {_COVER}(?: (?:by|in|on) (?:the|this) {_SCAN})?"
        r"|(?:lies |lie |is |are )?outside (?:of )?the (?:scan(?:ned (?:range|volume))?|field of view)"
    ),
    "no_contrast": (
        rf"(?:with )?(?:the limits of (?:a |an )?{_SCAN} )?"
        rf"(?:without|no|(?:the )?(?:absence|lack) of|missing) {_CONTRAST}"
        r"|(?:(?:on|in|with) (?:this |the |a |an )?)?"
        rf"(?:unenhanced|non[- ]?enhanced|native|non[- ]?contrast(?:[- ]enhanced)?) {_SCAN}"
    ),
    "contrast": rf"{_CONTRAST} hides (?:it|them)",
    "phase": rf"(?:not the right|wrong|unsuitable|not a suitable) (?:contrast )?phase(?: of {_CONTRAST})?",
    "side_unsure": r"left and right (?:could not be|cannot be|are not|were not|not) (?:confirmed|told apart|certain)",
    "not_found": r"(?:the )?structure (?:was |is )?not (?:found|identified)",
    "not_measured": (
        r"(?:the )?(?:tool's )?detection limit (?:has not been|is not|was not|not|is) (?:measured|known|unknown)"
    ),
    "not_implemented": r"no tool (?:looks|looked) for (?:it|them|this)(?: yet)?",
    "density_withheld": r"(?:the )?pixel values do not allow densities|without (?:usable )?densities",
    "length_withheld": r"(?:the )?geometry does not allow lengths|without (?:usable )?lengths",
}
# condition -> pattern that is a limit only after "limited by", "because of" …, or in brackets or after a colon.
_LED: dict[str, str] = {
    "thick_slices": r"(?:slices too thick|thick(?:er)? slices|(?:large |great )?slice thickness|coarse slices)",
    "noise": r"(?:too much noise|(?:image )?noise|noisy images?)",
    "metal": r"(?:metal(?:lic)?|beam[- ]hardening|streak) art[ei]facts?",
    "collapse": (
        r"(?:hidden by )?(?:collapsed|consolidated|atelectatic)"
        r"(?: (?:or|and) (?:collapsed|consolidated|atelectatic))? (?:lung|lobes?|parts?)"
    ),
    "phase": r"(?:contrast )?phase",
    "contrast": _CONTRAST,
}


def _pattern(limit: str) -> re.Pattern[str]:
    ways = [rf"(?:{_BECAUSE}{_SMALL}\s+)?(?:{_ALONE[limit]})"] if limit in _ALONE else []
    if limit not in _LED:
        ways.append(re.escape(CONDITIONS[limit]))
    if led := _LED.get(limit):
        ways += [rf"{_BECAUSE}{_SMALL}\s+{led}{_CLOSE}", rf"(?<=[(:,]){_SMALL}\s*{led}(?=\s*[).,;]|\s*$)"]
        if limit in ("noise", "thick_slices", "metal"):
            ways.append(rf"{led}\s+limits?(?:\s+(?:the|this)\s+(?:assessment|evaluation|sensitivity))?")
    return re.compile(rf"(?<!\w)(?:{'|'.join(ways)})(?!\w)", re.IGNORECASE)


# A whole sentence is covered before a part of one; "no contrast" is read before "contrast".
_ORDER = ("partly_covered", "not_covered", "no_contrast", *(key for key in CONDITIONS))
PATTERNS: dict[str, re.Pattern[str]] = {limit: _pattern(limit) for limit in dict.fromkeys(_ORDER)}


def split_limits(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with its limits blanked out, and the keys of the limits in the order of CONDITIONS."""
    found: set[str] = set()
    for limit, pattern in PATTERNS.items():
        for match in list(pattern.finditer(text)):
            found.add(limit)
            text = text[: match.start()] + " " * len(match.group()) + text[match.end() :]
    return text, tuple(limit for limit in CONDITIONS if limit in found)
