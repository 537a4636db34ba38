"""Words that turn or stretch what a sentence says, and that no claim took: denial, whole and part, cause, rank.

The reader passes over plain words. A word that changes the truth of a sentence may not be passed over: either it
was read into a claim, a limit or a change, or the sentence is not understood and does not stand.
"""

from __future__ import annotations

import re

from vlm.grounding.changes import split_changes
from vlm.grounding.claims import Claim, Parsed
from vlm.grounding.verdict import NEUTRAL_SECTIONS, Verdict
from vlm.grounding.world import World

_DENYING = re.compile(
    r"\b(not(?! only)|no(?! doubt)|never|nowhere|hardly|scarcely|barely|lack(s|ing|ed)?|neither|nor"
    r"|without(?! doubt)|cannot|absent|absence"
    r"|denies|denied|fails?|failed|free of|devoid|instead of|rather than|excluded|ruled out|contrary)\b",
    re.I,
)
_TWICE = re.compile(
    r"\bno no\b|\bnot (?:\w+ )?(?:no|without|absent|free)\b|\bwithout (?:no|any lack)\b"
    r"|\bno [\w -]{2,60} (?:cannot|(?:is|are|was|were|can|could|has|have) not)\b"
    r"|\b(?:not|never|cannot|untrue|false|wrong)\b[\w ]{0,30}\b(?:that|say|said|claim|claimed)\b",
    re.I,
)
_WHOLE = re.compile(
    r"\b(throughout|entire(?:ly|ty)?|whole|everywhere|all(?! likelihood| probability)|every"
    r"|total(?:ly)?(?! (?:agatston|calcium|score|lung|volume)))\b",
    re.I,
)
_RELATIVE_SIDE = re.compile(
    r"\b(opposite|contralateral\w*|ipsilateral\w*|homolateral\w*|(?:same|other|either|neither|no) side"
    r"|unilateral\w*)\b",
    re.I,
)
_RANK = re.compile(
    r"\b(?:the|its|their) (?:larger|smaller|bigger|greater|lesser|former|latter)\b(?! curvature)|\brespectively\b", re.I
)
_CAUSE = re.compile(
    r"\b(?:caused by|resulting from|as a result of|in the setting of|attributable to|following|after"
    r"|(?<!apart )(?<!aside )from an?"
    r"(?! (?:fissure|pleura|vessel|bronchus|rib|wall)))\b",
    re.I,
)
_ANY_SIZE = re.compile(
    r"\b(?:any size|all sizes|however small|no matter how small|even the smallest|whatever size)\b", re.I
)
_SPELLED = re.compile(r"\b(?:half|quarter|third|twice|double[ds]?|tripled?|halved|fold)\b", re.I)


def operators_are_read(parsed: Parsed, _: World) -> Verdict | None:
    """G3, G4, G5, G9 and G14: what denies, widens, ranks or explains was understood, or the sentence does not stand."""
    if parsed.statement.section in NEUTRAL_SECTIONS:
        return None
    for reading in parsed.readings:
        claims = [claim for claim in parsed.claims if claim.text == reading.text and claim.mention.assessed]
        if claims and (found := _unread(split_changes(reading.text)[0], claims)):
            return found
    return None


def _unread(text: str, claims: list[Claim]) -> Verdict | None:
    shown = [claim for claim in claims if claim.mention.presence != "absent"]
    denied = [claim for claim in claims if claim.mention.presence == "absent"]
    asked = (
        (_TWICE, "G3", denied),
        (_RELATIVE_SIDE, "G4", shown),
        (_RANK, "G4", claims),
        (_ANY_SIZE, "G9", denied),
        (_CAUSE, "G14", shown),
        (_WHOLE, "G4", shown),
        (_SPELLED, "G5", shown),
    )
    for pattern, rule, of in asked:
        if of and (found := pattern.search(text)):
            return Verdict("unsupported", rule, f"{found.group(0)!r} is said of nothing that can be checked")
    sure = all(
        c.mention.presence == "present" and c.mention.certainty == "definite" and not c.mention.hedged for c in claims
    )
    if sure and (found := _DENYING.search(text)):
        return Verdict("unsupported", "G3", f"{found.group(0)!r} denies nothing that can be checked")
    return None
