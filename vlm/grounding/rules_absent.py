"""What a claim that something is not there must rest on: G3 and G9.

Only a Search licenses "no X". It must have looked for X (or for what includes X) in the whole
of the stated place. A condition that failed, a part that was not covered or a limit that
nobody measured must be said in the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from vlm.evidence import Observation, Search, Side
from vlm.grounding.claims import Claim, Parsed
from vlm.grounding.numbers import carrying, printed_by, prints
from vlm.grounding.rules_record import grades_of, held_attributes
from vlm.grounding.verdict import Verdict, worst
from vlm.grounding.world import FULL_COVER, World

BOTH: tuple[Side, Side] = ("left", "right")
Searches = dict[str, Search]
_TINY = re.compile(
    r"\b(?:sub-?centimet\w+|tiny|minute|punctate|pin-?point|millimetric|micro-?\w+|a few millimet\w+)\b", re.I
)  # a size below what any search finds, without a number
TINY_REACH = 24  # characters between such a word and what it is said of
_PLAIN_TO_SEE = re.compile(r"\b(obvious(ly)?|evident(ly)?)\b", re.I)  # says how it is seen, not how large it is


def absent(claim: Claim, parsed: Parsed, world: World) -> list[Verdict]:
    """All that is wrong with a claim of absence; empty when searches license it as it stands."""
    if seen := nothing_seen(claim, parsed, world):
        return [seen]
    searches = licences(claim, parsed, world)
    if not searches:
        return [_no_search(claim, parsed, world)]
    if gap := every_kind_searched(claim, searches, world):
        return [gap]
    wrong = [searched_everywhere(claim, searches, world), searches_found_none(claim, searches, world)]
    wrong += [smallest_size(claim, searches), other_numbers(claim, searches), limits_said(claim, searches, world)]
    return worst([verdict for verdict in wrong if verdict is not None])


def nothing_seen(claim: Claim, parsed: Parsed, world: World) -> Verdict | None:
    """G3: an observation anywhere in the ledger beats a denial of it, cited or not.

    "No other X" spares what was told before; where the sentence tells one itself, the others are those not cited.
    """
    told_here = any(
        c.mention.presence != "absent" and world.vocabulary.is_a(c.finding, claim.finding) for c in parsed.claims
    )
    for name, record in world.seen(claim.finding):
        if claim.mention.other and (not told_here or name in parsed.cited):
            continue
        if spared(claim, record, world):
            continue
        sites = claim.sites or ()
        if not world.may_be_at(claim.mention.side, sites, record):
            continue
        if world.is_at(claim.mention.side, sites, record) and record.presence == "present":
            return Verdict("contradicted", "G3", f"denies {claim.mention.text}; {name} shows it")
        return Verdict("unsupported", "G3", f"denies {claim.mention.text}; {name} may be it")
    return None


def spared(claim: Claim, record: Observation, world: World) -> bool:
    """True when a denial is too narrow to touch an observation: "no large …", "no … of 10 mm or more"."""
    mention = claim.mention
    for number in claim.numbers:
        able = carrying(number, record.measurements, record.finding)
        if able and all(measurement.rounded < number.in_ledger_unit for measurement in able):
            return True
    narrowed = mention.grade and not _PLAIN_TO_SEE.search(claim.text)
    if narrowed and (grades := grades_of(record, world)) and mention.grade not in grades:
        return True
    held = held_attributes(record)
    return any(attribute not in held for attribute in mention.attributes) and bool(held)


def licences(claim: Claim, parsed: Parsed, world: World) -> Searches:
    """The cited searches for the claimed finding that have to do with the claimed place.

    A cited observation of absence brings the searches of its tool with it. A claim that is wider
    than any one search ("no abnormality") rests on every search below it in that place.
    """
    records = dict(parsed.cited)
    for record in parsed.cited.values():
        if isinstance(record, Observation) and record.presence == "absent":
            records |= {n: s for n, s in world.ledger.searches(record.finding).items() if s.tool == record.tool}
    found = dict(world.searches_for(claim.finding, records))
    if not found and any(isinstance(r, Search) and _below(claim, r, world) for r in parsed.cited.values()):
        found = {n: s for n, s in world.ledger.searches().items() if _below(claim, s, world)}
    sites = world.sites_claimed(claim.finding, claim.sites)
    return {n: s for n, s in found.items() if world.may_be_at(claim.mention.side, sites, s)}


def every_kind_searched(claim: Claim, searches: Searches, world: World) -> Verdict | None:
    """G9: "no lesion", "normal" need a search for every kind of it that the vocabulary has for that place."""
    is_a = world.vocabulary.is_a
    if any(is_a(claim.finding, search.finding) for search in searches.values()):
        return None
    looked_for = {search.finding for search in searches.values() if search.looked}
    for kind in world.vocabulary.findings:
        home = world.home(kind)
        if kind == claim.finding or not is_a(kind, claim.finding) or (claim.sites and not home):
            continue
        inside = any(world.vocabulary.site_contains(site, str(home)) for site in claim.sites) or not claim.sites
        if inside and not any(is_a(kind, found) for found in looked_for):
            said = kind.replace("_", " ")
            return Verdict("unsupported", "G9", f"denies {claim.mention.text}; nothing that is cited looked for {said}")
    return None


def searched_everywhere(claim: Claim, searches: Searches, world: World) -> Verdict | None:
    """G9: the searches looked at the whole stated place, on every stated side, with tools that find what they seek."""
    blind = [name for name, search in searches.items() if not search.looked]
    if blind:
        why = ", ".join(searches[blind[0]].failed) or "nothing was covered"
        return Verdict(
            "unsupported", "G9", f"{blind[0]} did not look for {claim.mention.text}: {why}", ("not_covered",)
        )
    often = next((name for name, search in searches.items() if not search.denies), None)
    if often:
        return Verdict("unsupported", "G9", f"{often} missed most of what it was tested on")
    sides: Iterable[Side | None] = (claim.mention.side,)
    if claim.mention.side in (None, "bilateral") and any(s.side in BOTH for s in searches.values()):
        sides = BOTH
    for site in world.sites_claimed(claim.finding, claim.sites) or (None,):
        for side in sides:
            if not any(_covers(search, side, site, claim, world) for search in searches.values()):
                missed = " ".join(word for word in (side or "", (site or "").replace("_", " ")) if word)
                return Verdict(
                    "unsupported", "G9", f"{', '.join(searches)} did not look at the whole {missed or 'place'}"
                )
    return None


def searches_found_none(claim: Claim, searches: Searches, world: World) -> Verdict | None:
    """G9: what the searches found lies elsewhere or is too small or too slight to be denied."""
    if claim.mention.other:
        return None
    for name, search in searches.items():
        if search.found == 0:
            continue
        known = [
            r
            for _, r in world.seen(search.finding)
            if world.is_at(search.side, (search.site,) if search.site else (), r)
        ]
        harmless = [
            r
            for r in known
            if spared(claim, r, world)
            or not world.may_be_at(claim.mention.side, claim.sites, r)
            or not world.vocabulary.is_a(r.finding, claim.finding)
        ]
        if len(harmless) < search.found:
            return Verdict("contradicted", "G9", f"denies {claim.mention.text}; {name} found {search.found}")
    return None


def smallest_size(claim: Claim, searches: Searches) -> Verdict | None:
    """G5 and G9: a size in a denial is not below what the searches can find."""
    for number in claim.numbers:
        if number.kind not in ("size", "volume", "fraction"):
            continue
        if printed_by(number, [m for s in searches.values() for m in s.measurements], claim.finding):
            continue
        if number.bound == "at_most":
            return Verdict("unsupported", "G9", f"denies what is under {number}; no search can")
        for name, search in searches.items():
            able = carrying(number, [search.smallest], search.finding) if search.smallest else []
            if not able and number.kind == "size" and search.smallest and search.smallest.unit == "mm":
                able = [search.smallest]
            if not able:
                return Verdict("unsupported", "G9", f"says {number}; the smallest size of {name} is not known")
            if number.in_ledger_unit < able[0].rounded:
                return Verdict("contradicted", "G9", f"says {number}; {name} finds no less than {able[0]}")
    first, last = claim.mention.span
    if tiny := _TINY.search(claim.text[max(0, first - TINY_REACH) : last + TINY_REACH]):
        return Verdict("unsupported", "G9", f"denies what is {tiny.group()}; {', '.join(searches)} may miss it")
    return None


def other_numbers(claim: Claim, searches: Searches) -> Verdict | None:
    """G5: a ratio, score or density in a denial is one that its search measured."""
    held = [m for search in searches.values() for m in search.measurements]
    for number in claim.numbers:
        if number.kind in ("size", "volume", "fraction", "slice"):
            continue
        if not any(prints(number, m) for m in carrying(number, held, claim.finding)):
            shown = ", ".join(str(m) for m in held) or "nothing"
            return Verdict("contradicted", "G5", f"says {number}; {', '.join(searches)} measured {shown}")
    return None


def limits_of(search: Search) -> tuple[str, ...]:
    """What a denial that rests on this search must say."""
    limits = list(search.failed)
    if search.covered < FULL_COVER and "partly_covered" not in limits and "not_covered" not in limits:
        limits.append("partly_covered")
    doubted = {"not_measured", "often_missed"} & set(limits)
    if search.smallest is None and not search.measurements and not doubted:
        limits.append("not_measured")
    return tuple(limits)


def limits_said(claim: Claim, searches: Searches, world: World) -> Verdict | None:
    """G9: every limit of the searches is said, and none that they do not have."""
    owed = tuple(dict.fromkeys(limit for search in searches.values() for limit in limits_of(search)))
    unsaid = tuple(limit for limit in owed if limit not in claim.limits)
    if unsaid:
        return Verdict("limited", "G9", f"{', '.join(searches)}: {', '.join(unsaid)} must be said", unsaid)
    invented = [limit for limit in claim.limits if limit not in owed and not _known_limit(limit, claim, world)]
    if invented:
        return Verdict("unsupported", "G9", f"no evidence gives the limit {invented[0]!r}")
    return None


def _known_limit(limit: str, claim: Claim, world: World) -> bool:
    """True for a limit that is so, though this claim does not owe it."""
    searches = [s for s in world.ledger.searches().values() if world.vocabulary.is_a(claim.finding, s.finding)]
    if limit == "not_measured" and any(s.smallest is None for s in searches):
        return True
    if limit in ("partly_covered", "not_covered"):
        sites = world.sites_claimed(claim.finding, claim.sites)
        if any(s.covered < 1.0 for s in searches):
            return True
        return any(c.covered < 1.0 for site in sites for _, c in world.coverage(claim.mention.side, site))
    return any(limit in s.failed for s in searches)


def _covers(search: Search, side: Side | None, site: str | None, claim: Claim, world: World) -> bool:
    if side is not None and search.side not in (None, "bilateral", side):
        return False
    if side is None and search.side in BOTH:
        return False
    held, home = world.site_of(search), world.home(claim.finding)
    if site is not None and home is not None and world.vocabulary.site_contains(site, home):
        site = home  # "no effusion in the chest" speaks of the pleura, which is all of it that can hold one
    if held is None or site is None or world.vocabulary.site_contains(held, site):
        return True
    return search.finding != claim.finding and world.vocabulary.is_a(search.finding, claim.finding)


def _below(claim: Claim, search: Search, world: World) -> bool:
    """True for a search of a kind of the claimed finding within the claimed place."""
    if search.finding == claim.finding or not world.vocabulary.is_a(search.finding, claim.finding):
        return False
    if not claim.sites:
        return world.home(claim.finding) is not None
    return world.is_at(None, claim.sites, search)


def _no_search(claim: Claim, parsed: Parsed, world: World) -> Verdict:
    said = claim.mention.text
    other = next((name for name, _ in world.searches_for(claim.finding, dict(iter(world.ledger)))), None)
    if other and other not in parsed.cited:
        return Verdict("unsupported", "G9", f"denies {said}; {other} looked for it and is not cited")
    return Verdict("unsupported", "G9", f"denies {said}; no cited search looked for it")
