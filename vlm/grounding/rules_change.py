"""G10: change needs a registered prior, and a difference that exceeds the joint uncertainty of two measurements."""

from __future__ import annotations

import math
import re

from vlm.evidence import Measurement, Observation
from vlm.grounding.claims import Claim, Parsed
from vlm.grounding.numbers import LENGTHS
from vlm.grounding.phrasing import plainly
from vlm.grounding.verdict import NEUTRAL_SECTIONS, Verdict
from vlm.grounding.world import World

GROWTH_MM = 2.0  # a nodule that differs by less has not grown (Bankier, Radiology 2017;285:584)
COMPARED = (*LENGTHS, "volume", "fraction", "score", "ratio", "height_loss", "attenuation")

_COMPARISON = re.compile(
    r"\b(compar(ed|ison|able)|prior|previous(ly)?|earlier|former(ly)?|before"
    r"|interval (change|growth|increase|decrease)"
    r"|since|stable|unchanged|(without|no|any|little) (significant |relevant )?change|changed"
    r"|progress\w*|regress\w*|new(ly)?"
    r"|resol(ved|ution)|resolving|again|still|no longer|persist\w*|residual\w*|remnant\w*|any ?more|interim"
    r"|meantime|now(?= \d)|former\w*|remain(?:s|ed|ing)?|develop(ed|ing)|recurren\w+"
    r"|((has|have|had) )?(grown|shrunk|worsen(ed|ing)|improv(ed|ing|ement)|appeared|disappeared)"
    r"|(has|have|had) (slightly |clearly |markedly )?(increased|decreased|enlarged|become))\b",
    re.I,
)
_NONE_GIVEN = re.compile(
    r"\b(none|no (prior|previous|earlier|comparison)|not (available|given)|without (prior|comparison)|unavailable)\b",
    re.I,
)


def change_agrees(parsed: Parsed, world: World) -> Verdict | None:
    """What a statement says of change, or of an earlier scan, is what the registered prior shows."""
    prior, text = world.context.prior, plainly(parsed.statement.text)
    if parsed.statement.section == "comparison":
        return _comparison_line(text, given=prior is not None)
    for claim in parsed.claims:
        if claim.mention.change is not None and (wrong := claim_changed(claim, parsed, world)):
            return wrong
    if parsed.statement.section in NEUTRAL_SECTIONS or not (found := _COMPARISON.search(text)):
        return None
    if parsed.claims and not any(claim.mention.assessed for claim in parsed.claims):
        return None
    if prior is None:
        return Verdict("unsupported", "G10", f"{found.group(0)!r} compares; no prior is registered")
    if not any(claim.mention.change for claim in parsed.claims):
        return Verdict("unsupported", "G10", f"{found.group(0)!r} compares, and no change that can be checked is said")
    return None


def claim_changed(claim: Claim, parsed: Parsed, world: World) -> Verdict | None:
    """G10 for one claim that says new, larger, smaller, unchanged or resolved."""
    prior, said = world.context.prior, claim.mention.change
    if prior is None:
        return Verdict("unsupported", "G10", f"says {said}; no prior is registered")
    if said == "resolved":
        gone = [old for old in prior.resolved if world.vocabulary.is_a(old.finding, claim.finding)]
        if any(world.is_at(claim.mention.side, claim.sites, old) for old in gone):
            return None
        return Verdict("unsupported", "G10", f"says resolved; the prior had no such {claim.mention.text}")
    reasons = []
    for name, now in parsed.cited.items():
        if not isinstance(now, Observation) or not world.vocabulary.is_a(now.finding, claim.finding):
            continue
        if name not in prior.matches:
            reasons.append(f"{name} cannot be compared with the prior")
            continue
        shown = change_between(prior.matches[name], now)
        if shown == said:
            return None
        reasons.append(f"{name} is {shown or 'not comparable'}")
    return Verdict("unsupported", "G10", f"says {said}; {'; '.join(reasons) or 'nothing that is cited can change'}")


def change_between(before: Observation | None, now: Observation) -> str | None:
    """new, larger, smaller or unchanged; None when no measurement with its uncertainty stands on both sides."""
    if before is None:
        return "new"
    for quantity in COMPARED:
        old, fresh = before.measured(quantity), now.measured(quantity)
        if old is not None and fresh is not None and (joint := joint_uncertainty(old, fresh)) is not None:
            difference = fresh.value - old.value
            if abs(difference) <= joint:
                small = quantity not in LENGTHS or abs(difference) < GROWTH_MM
                return "unchanged" if small else None  # it may have grown: neither can be said
            return "larger" if difference > 0 else "smaller"
    return None


def joint_uncertainty(one: Measurement, other: Measurement) -> float | None:
    """Half width of the 95 % interval of a difference of two independent measurements."""
    if one.plus_minus is None or other.plus_minus is None:
        return None
    return math.hypot(one.plus_minus, other.plus_minus)


def _comparison_line(text: str, *, given: bool) -> Verdict | None:
    none_given = bool(_NONE_GIVEN.search(text))
    if given and none_given:
        return Verdict("contradicted", "G10", "says that no prior is given; one is registered")
    if not given and not none_given:
        return Verdict("unsupported", "G10", "speaks of a comparison; no prior is registered")
    return None
