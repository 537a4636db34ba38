"""What a claim that something is there must rest on: G2, G3, G4 to G8 over the cited evidence, and G6."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping

from vlm.evidence import Observation, Search
from vlm.grounding.claims import Claim, Number, Parsed
from vlm.grounding.numbers import carrying, prints
from vlm.grounding.places import record_side
from vlm.grounding.rules_record import RECORD_RULES, place_agrees
from vlm.grounding.verdict import Verdict, worst
from vlm.grounding.world import FULL_COVER, World

# How many regions a word of number stands for.
COUNT_WORDS: Mapping[str, tuple[int, float]] = {
    "few": (2, 9),
    "single": (1, 1),
    "multiple": (2, math.inf),
    "innumerable": (20, math.inf),
}
_ONLY = re.compile(r"\b(?:the|its|their) (?:only|sole|one and only)\b[^.;,]*$", re.I)
_SINGLE = re.compile(r"\b(single|solitary|only|sole|one)\b", re.I)

Cited = dict[str, Observation]


def present(claim: Claim, parsed: Parsed, world: World) -> list[Verdict]:
    """All that is wrong with a claim of presence; empty when the cited evidence carries it."""
    cited = carriers(claim, parsed, world)
    if not cited:
        return [finding_agrees(claim, parsed, world)]
    trials = {name: judge_one(claim, name, record, world) for name, record in cited.items()}
    fitting = {name: cited[name] for name, wrong in trials.items() if not wrong}
    if fitting and not means_many(claim):
        wrong = count_agrees(claim, fitting, parsed, world)
        return [wrong] if wrong else []
    alone = claim.mention.count == 1 or any(c is not claim and c.finding == claim.finding for c in parsed.claims)
    if means_many(claim) or (len(cited) > 1 and not alone):
        return many(claim, cited, parsed, world)
    return worst(min(trials.values(), key=_badness))


def carriers(claim: Claim, parsed: Parsed, world: World) -> Cited:
    """Cited observations of the claimed finding or of a kind of it, seen or doubtful."""
    return {
        name: record
        for name, record in parsed.cited.items()
        if isinstance(record, Observation)
        and record.presence != "absent"
        and world.vocabulary.is_a(record.finding, claim.finding)
    }


def finding_agrees(claim: Claim, parsed: Parsed, world: World) -> Verdict:
    """G2 and G3 for a claim that no cited observation carries: not said by it, or ruled out."""
    said = claim.mention.text
    for name, record in world.ledger:
        ruled_out = (
            isinstance(record, Search)
            and record.looked
            and record.covered >= FULL_COVER
            and record.found == 0
            and not record.failed
        ) or (isinstance(record, Observation) and record.presence == "absent")
        if not ruled_out or not isinstance(record, Search | Observation):
            continue
        if world.vocabulary.is_a(claim.finding, record.finding) and _lies_in(claim, record, world):
            return Verdict("contradicted", "G3", f"says {said}; {name} looked there and found none")
    other = next((n for n, r in world.seen(claim.finding) if world.may_be_at(claim.mention.side, claim.sites, r)), None)
    if other:
        return Verdict("unsupported", "G2", f"{said} is {other}, which is not cited")
    about = ", ".join(f"{n} is {getattr(r, 'finding', r.site)}" for n, r in parsed.cited.items()) or "nothing is cited"
    return Verdict("unsupported", "G2", f"no cited evidence is {said}: {about}")


def judge_one(claim: Claim, name: str, record: Observation, world: World) -> list[Verdict]:
    """What the rules on one record say against a claim."""
    return [wrong for rule in RECORD_RULES if (wrong := rule(claim, name, record, world)) is not None]


def means_many(claim: Claim) -> bool:
    """True when the claim speaks of more than one region."""
    count = claim.mention.count
    return (isinstance(count, int) and count > 1) or isinstance(count, str)


def many(claim: Claim, cited: Cited, parsed: Parsed, world: World) -> list[Verdict]:
    """A claim over several observations: each must be where it is said, and together they carry the rest."""
    side, sites = claim.mention.side, claim.sites
    if len(parsed.claims) == 1:  # "two nodules, one in X and one in Y": every place of the sentence is theirs
        sites = tuple(dict.fromkeys(p.site for p in claim.places if p.site and not claim.is_distance_to(p)))
    wrong: list[Verdict] = []
    members: Cited = {}
    for name, record in cited.items():
        if (misplaced := _misplaced(claim, sites, name, record, world)) is None:
            members[name] = record
        else:
            wrong.append(misplaced)
    if not members:
        return worst(wrong)[:1]
    sides = {record_side(record) for record in members.values()}
    if side == "bilateral" and not ("bilateral" in sides or {"left", "right"} <= sides):
        return [Verdict("contradicted", "G4", f"says bilateral; {', '.join(members)} is {', '.join(map(str, sides))}")]
    verdicts = [v for v in (_numbers_of_many(claim, members, world), count_agrees(claim, members, parsed, world)) if v]
    rest = [rule for rule in RECORD_RULES if rule.__name__ in ("attributes_agree", "grade_agrees", "certainty_agrees")]
    for rule in rest:
        found = [rule(claim, name, record, world) for name, record in members.items()]
        if all(found) or (found and any(found) and rule.__name__ != "certainty_agrees"):
            verdicts += [v for v in found if v][:1]
    return worst(verdicts)


def count_agrees(claim: Claim, members: Cited, parsed: Parsed, world: World) -> Verdict | None:
    """G6: "a", "two", "multiple" and "innumerable" agree with the number of regions."""
    count = claim.mention.count
    if _ONLY.search(claim.text[: claim.mention.span[0]]):
        others = [name for name, _ in world.seen(claim.finding) if name not in members]
        if others:
            return Verdict("contradicted", "G6", f"says the only one; {', '.join(others)} is another")
    total = sum(_regions(record) for record in members.values())
    if isinstance(count, str):
        low, high = COUNT_WORDS.get(count, (1, math.inf))
        if not low <= total <= high:
            return Verdict("contradicted", "G6", f"says {count}; {', '.join(members)} are {total}")
    elif count is not None and count > 1 and total != count:
        return Verdict("contradicted", "G6", f"says {count}; {', '.join(members)} are {total}")
    elif count == 1:
        rivals = [c for c in parsed.claims if c is not claim and c.finding == claim.finding]
        if total > 1 and not rivals and all(_regions(record) > 1 for record in members.values()):
            return Verdict("contradicted", "G6", f"says one; {', '.join(members)} are {total}")
        if total > 1 and not rivals and len(members) > 1:
            return Verdict("contradicted", "G6", f"says one; {', '.join(members)} are {total}")
        if _SINGLE.search(claim.text[max(0, claim.mention.span[0] - 24) : claim.mention.span[0]]):
            side, sites = claim.mention.side, claim.sites
            others = [n for n, r in world.seen(claim.finding) if n not in members and world.is_at(side, sites, r)]
            if others:
                return Verdict("contradicted", "G6", f"says a single one; {', '.join(others)} is another")
    return None


def _numbers_of_many(claim: Claim, members: Cited, world: World) -> Verdict | None:
    """G5 over several observations: each number is one of theirs, beside the place that it stands with."""
    for number in claim.numbers:
        if number.kind in ("bare", "slice"):
            continue
        near = _beside(claim, number, members, world)
        able = [m for r in near.values() for m in carrying(_alone(number), r.measurements, r.finding)]
        if number.of > 1 and not number.crossed:
            ends = sorted(m.rounded for m in able)
            good = bool(ends) and number.in_ledger_unit == (ends[0] if number.order == 0 else ends[-1])
        elif number.bound == "up_to":
            good = bool(able) and max(m.rounded for m in able) == max(
                (m.rounded for m in able if prints(number, m)), default=None
            )
        elif number.bound in ("at_least", "at_most"):
            good = bool(able) and all(prints(number, m) for m in able)
        else:
            good = any(prints(number, m) for m in able)
        if not good:
            shown = ", ".join(str(m) for m in able) or "no such measurement"
            return Verdict("contradicted", "G5", f"says {number}; {', '.join(near)}: {shown}")
    return None


def _alone(number: Number) -> Number:
    """An end of a range, looked at by itself."""
    return number if number.crossed else dataclasses.replace(number, of=1)


def _beside(claim: Claim, number: Number, members: Cited, world: World) -> Cited:
    """The members at the place that stands in the number's own part of the sentence, or all of them."""
    cuts = [0, *(m.end() for m in re.finditer(r",|;|\band\b|\(|\)", claim.text)), len(claim.text)]
    first = max(cut for cut in cuts if cut <= number.span[0])
    last = min(cut for cut in cuts if cut > number.span[0])
    near = [p for p in claim.places if first <= p.span[0] < last]
    if not near or len({(p.site, p.side) for p in claim.places}) < 2:
        return members
    sites = [p.site for p in near if p.site]
    side = next((p.side for p in near if p.side), None)
    chosen = {n: r for n, r in members.items() if world.is_at(side, sites, r)}
    return chosen or members


def _misplaced(claim: Claim, sites: tuple[str, ...], name: str, record: Observation, world: World) -> Verdict | None:
    """G4 for one of several: it is at one of the sites, on one of the sides."""
    if claim.mention.side != "bilateral" and len(sites) < 2:
        return place_agrees(claim, name, record, world)
    side = None if claim.mention.side == "bilateral" else claim.mention.side
    if not sites or any(world.is_at(side, (site,), record) for site in sites):
        return None
    return place_agrees(claim, name, record, world)


def _lies_in(claim: Claim, record: Search | Observation, world: World) -> bool:
    """True when the claimed place lies within the place of the record."""
    if record.side not in (None, "bilateral", claim.mention.side):
        return False
    sites = world.sites_claimed(claim.finding, claim.sites)
    held = world.site_of(record)
    return held is None or all(site == held or world.vocabulary.site_contains(held, site) for site in sites)


def _regions(record: Observation) -> int:
    count = record.measured("count")
    return int(count.rounded) if count else 1


def _badness(verdicts: list[Verdict]) -> tuple[int, int]:
    heavy = sum(v.name in ("contradicted", "unsupported") for v in verdicts)
    return heavy, len(verdicts)
