"""The limits that a statement states, and the statement without them.

A limit is said in passing ("in the covered part", "limited by noise", "(no intravenous
contrast)"). Its words deny and name findings by themselves, so they are found first and
blanked out, and the reader sees only what is claimed. Offsets stay as they are.
"""

from __future__ import annotations

import re

from vlm.evidence import CONDITIONS
from vlm.grounding.adjuncts import split_adjuncts

# What leads to a limit, and what may close it.
_BECAUSE = (
    r"(?:(?:is |are |was |were )?(?:limited|restricted|hampered|impaired|degraded|obscured|hidden|reduced) by"
    r"|(?:limited |restricted |impaired )?(?:because of|due to|in spite of|considering)|owing to|despite"
    r"|in view of|given|with(?:in)? the limits of|as far as|although"
    r"|(?:with |and )?(?:an? |the )?(?:limited|reduced|restricted|impaired) (?:assessment|evaluation|sensitivity|view)"
    r"(?: (?:because of|due to|owing to|by|from|of))"
    r"|(?:the )?(?:assessment|evaluation|sensitivity)(?: is| was)? (?:limited|reduced|restricted|impaired)"
    r" (?:because of|due to|owing to|by|from)"
    r"|apart from|outside|hidden in|in|within)"
)
_SMALL = r"(?:\s*\b(?:a|an|the|this|that|these|some|much|marked|severe|considerable|high|strong|given))*"
_CLOSE = r"(?:\s+(?:limits?|limit the|allows?|permits?)(?:\s+(?:the|this))?(?:\s+(?:assessment|evaluation|it))?)?"

_HINDERS = r"(?:limits?|hinders?|hampers?|impairs?|restricts?|reduces?|degrades?|compromises?)"

_SCAN = r"(?:scan|ct|study|examination|exam|series|images?|acquisition)"
_PLAIN = r"(?:unenhanced|non[- ]?enhanced|native|non[- ]?contrast(?:[- ]enhanced)?|plain)"
_FIELD = (
    r"(?:scan(?:ned)?(?: range| volume| area| region| field)?|field of view|fov"
    r"|(?:imaged|covered|examined) (?:range|volume|area|region)"
    r"|examination|study|imaging range|volume)"
)
_CONTRAST = (
    r"(?:intravenous |iv |i\.v\. |the |any )?contrast(?: medium| media| material| agent)?"
    r"(?: enhancement| administration)?"
)
_COVER = r"(?:covered|scanned|imaged|included|visible|visuali[sz]ed|examined|shown)"
_REACHED = r"(?:covered|scanned|imaged|included)"  # "not visible", "not shown" deny what was looked for
_PART = r"(?:partly|partially|incompletely|in part|not fully|not completely|not entirely)"
_GIVEN = r"(?:given|administered|applied|used|injected)"
_STATED = (
    r"(?<!not )(?<!is )(?<!are )(?<!was )(?<!lies )(?<!lie )(?<!ded )(?<!red )(?<!ged )(?<!ely )(?<!lly )(?<!tly )"
)
_LIMIT = r"(?:(?:the )?(?:tool's )?(?:detection limit|limit of detection|sensitivity|smallest detectable size))"
_SIDES = r"(?:left and right|(?:the )?sides?|(?:the )?laterality)"

# condition -> pattern that stands by itself. The words of CONDITIONS count, too.
_ALONE: dict[str, str] = {
    "partly_covered": (
        rf"(?<!out )(?<!outside )(?<!beyond )(?<!part )(?<!parts )(?:in|within|of|for|on) the {_COVER}"
        r" (?:parts?|portions?|sections?|areas?|range|extent|volume)"
        rf"|(?:in|within) the (?:section|imaged|scanned) area"
        rf"|(?:in|within) (?:the )?(?:area|portion|part|range|sections?|what)(?: is)? {_REACHED}"
        rf"|{_STATED}(?:in|within|inside) the (?:field of view|scan range|{_COVER} (?:field|region))"
        rf"|(?:in|within) the (?:parts?|portions?|sections?) (?:of the [\w ]{{1,24}}?)?"
        rf"(?:that (?:is|are|was|were) )?{_COVER}(?: (?:by|in|on) (?:the|this) {_FIELD})?"
        rf"|(?:as far as|where|insofar as|in so far as|to the extent)(?: it is| they are| is| are)? {_COVER}"
        rf"(?: (?:by|in|on) (?:the|this) {_FIELD})?"
        rf"|(?:which (?:is|are) )?(?:only )?{_PART} {_COVER}"
        rf"|(?:{_COVER}|seen) only {_PART}"
        r"|(?:incomplete|partial|limited) coverage|(?:the )?coverage (?:is |was )?(?:only )?(?:incomplete"
        r"|partial|not complete)"
    ),
    "not_covered": (
        rf"not (?:been )?{_REACHED}(?: (?:by|in|on|within) (?:the|this) {_FIELD})?"
        rf"|(?:lies |lie |is |are )?(?:outside|beyond|out)(?: of)? the {_FIELD}"
        rf"|(?:is |are |was |were )?not (?:a )?part of (?:the|this) {_SCAN}"
        rf"|(?:is |are |was |were )?not (?:with)?in the {_FIELD}"
    ),
    "no_contrast": (
        rf"(?:(?:in|limited|limited by) (?=(?:the absence|without)))?(?:with )?(?:the limits of (?:a |an )?{_SCAN} )?"
        rf"(?:without|no|(?:the )?(?:absence|lack) of|missing) {_CONTRAST}"
        rf"(?: (?:(?:was|is|has been) )?{_GIVEN})?"
        rf"|{_CONTRAST} (?:(?:was|is|has) )?not (?:been )?{_GIVEN}"
        r"|(?:(?:on|in|with) (?:this |the |a |an )?)?"
        rf"{_PLAIN} {_SCAN}"
        rf"|(?<=[(:,;])\s*{_PLAIN}(?=\s*[).,;]|\s*$)"
    ),
    "contrast": rf"{_CONTRAST} hides (?:it|them)",
    "phase": rf"(?:not the right|wrong|unsuitable|not a suitable) (?:contrast )?phase(?: of {_CONTRAST})?",
    "side_unsure": (
        rf"{_SIDES} (?:could not be|cannot be|are not|is not|were not|was not|not)(?: yet)?"
        r" (?:confirmed|told apart|certain)"
        rf"|{_SIDES} (?:are |is |remains? )?(?:uncertain|unconfirmed)"
    ),
    "not_found": (
        r"(?:the )?(?:structure|anatomy|organ|region)(?: itself)? (?:was |is |could |has )?not (?:be |been )?"
        r"(?:found|identified|located|recogni[sz]ed)"
    ),
    "not_measured": (
        rf"{_LIMIT} (?:has not been|is not|was not|being not|not)(?: yet)? (?:measured|known|determined)"
        rf"|{_LIMIT} (?:is |was |remains |being )?(?:unknown|unmeasured)"
        r"|(?:with )?(?:an )?unknown (?:detection limit|limit of detection|sensitivity)"
    ),
    "not_implemented": (
        r"(?:there is )?no (?:automatic |suitable )?(?:tool|method|search|algorithm)(?: is)?"
        r"(?: (?:(?:looks|looked|searches) )?for (?:it|them|this)| available| exists)?(?: yet)?"
        r"|not (?:yet )?implemented"
    ),
    "density_withheld": r"(?:the )?pixel values do not allow densities|without (?:usable )?densities",
    "length_withheld": r"(?:the )?geometry does not allow lengths|without (?:usable )?lengths",
}
# condition -> pattern that is a limit only after "limited by", "because of" …, or in brackets or after a colon.
_LED: dict[str, str] = {
    "thick_slices": (
        r"(?:slices too thick|thick(?:er)? slices(?: only)?|slices (?:are )?(?:too )?thick"
        r"|slice thickness too large|(?:large |great )?slice thickness|coarse slices)"
    ),
    "coarse_pixels": (
        r"(?:pixels too (?:coarse|large|wide)|(?:coarse|large) pixels|pixels (?:are )?(?:too )?(?:coarse|large)"
        r"|(?:low|coarse|limited) in-plane resolution)"
    ),
    "noise": r"(?:too much noise|(?:image )?noise|noisy (?:images?|scan)|images are noisy)",
    "metal": (
        r"(?:(?:metal(?:lic)?|beam[- ]hardening|streak) art[ei]facts?(?: from metal)?"
        r"|art[ei]facts? (?:from|due to|caused by) metal)"
    ),
    "collapse": (
        r"(?:(?:(?:parts? )?hidden by )?(?:the )?(?:collapsed|consolidated|atelectatic)"
        r"(?: (?:or|and) (?:collapsed|consolidated|atelectatic))? (?:lung|lobes?|parts?)"
        r"(?: cannot be (?:assessed|judged|evaluated))?)"
    ),
    "phase": r"(?:contrast )?phase",
    "contrast": _CONTRAST,
}


def _pattern(limit: str) -> re.Pattern[str]:
    ways = [rf"(?:{_BECAUSE}{_SMALL}\s+)?(?:{_ALONE[limit]})"] if limit in _ALONE else []
    if limit not in _LED:
        ways.append(re.escape(CONDITIONS[limit]))
    if led := _LED.get(limit):
        if limit in ("noise", "thick_slices", "coarse_pixels"):
            ways.append(rf"(?:on|with|in)(?: this| these| the)? {led}")
        ways += [
            rf"{_BECAUSE}{_SMALL}\s+{led}{_CLOSE}",
            rf"(?<=[{'(:;' if limit == 'collapse' else '(:;,'}]){_SMALL}\s*{led}(?=\s*[).,;]|\s*$)",
        ]
        if limit in ("noise", "thick_slices", "coarse_pixels", "metal"):
            ways.append(rf"{led}\s+{_HINDERS}(?:\s+(?:the|this)\s+(?:assessment|evaluation|sensitivity))?")
    return re.compile(rf"(?<!\w)(?:{'|'.join(ways)})(?!\w)", re.IGNORECASE)


# A whole sentence is covered before a part of one; "no contrast" is read before "contrast".
_ORDER = ("partly_covered", "not_covered", "no_contrast", *(key for key in CONDITIONS))
PATTERNS: dict[str, re.Pattern[str]] = {limit: _pattern(limit) for limit in dict.fromkeys(_ORDER)}


def split_limits(text: str) -> tuple[str, tuple[str, ...]]:
    """The text with its limits blanked out, and the keys of the limits in the order of CONDITIONS."""
    text, alone = split_adjuncts(text)
    found = set(alone)
    for limit, pattern in PATTERNS.items():
        for match in list(pattern.finditer(text)):
            found.add(limit)
            text = text[: match.start()] + " " * len(match.group()) + text[match.end() :]
    return text, tuple(limit for limit in CONDITIONS if limit in found)
