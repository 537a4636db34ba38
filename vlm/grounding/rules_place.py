"""Statements on what was not looked at, on what is not covered, and on structures: G9, G11, G4 and G5."""

from __future__ import annotations

import re

from vlm.evidence import Coverage, Evidence, Observation, Search, Side
from vlm.findings.mentions import Place
from vlm.grounding.claims import Claim, Number, Parsed
from vlm.grounding.numbers import carrying, prints
from vlm.grounding.phrasing import plainly
from vlm.grounding.places import named_sites, record_side, site_fit, where
from vlm.grounding.rules_absent import limits_of
from vlm.grounding.verdict import NEUTRAL_SECTIONS, Verdict
from vlm.grounding.world import FULL_COVER, World

MARKED = "marked_place"  # the site of what was measured where a person pointed, and no structure is known
_REACHED = (
    r"(?:cover(?:ed|s|age)?|includ(?:ed?|es)|imaged?|images of|scanned|captured?|depict(?:ed)?|visuali[sz]ed"
    r"|examined|taken|acquired"
    r"|encompass(?:ed|es)?|comprised?|reach(?:ed|es)?|contain(?:ed|s)?|recorded|obtained|shown|seen|extend(?:s"
    r"|ed)? (?:to|into)"
    r"|incorporated|represented|sampled|co-imaged|visible|displayed|explored|studied|enter(?:ed)?|exploration"
    r"|available|on the (?:scan|images?)|got|in view|inclusion|there)"
)
_WHOLLY = re.compile(r"\b(?:fully|completely|entirely|wholly|in full|whole|entire|totally|all of)\b", re.I)
_NOT_COVERED = re.compile(
    rf"\bnot (?:\w+ ){{0,2}}{_REACHED}\b|\bnot (?:\w+ )?(?:in the field|part of)|does not form part of"
    r"|(outside|beyond|out)( of)? the (?:\w+ )?(scan|field|imag|cover|examin|acquisition|range|volume|study)"
    r"|\buncovered\b"
    r"|not (?:be )?(?:on|in|within) (?:this |the )(?:\w+ )?(scan|examin|study|image|field|range|section area)"
    r"|\b(no|without) (coverage|images of)\b|images of [\w ]+ not available|did not enter|off the scan|(stops?"
    r"|ends?) (short of|above|below|before)|outside the|(is|was|are|were) excluded|(excluded from"
    r"|excludes) (the )?(scan|field|study|exam|image)?|(absent|missing) from the (field|scan|image)"
    r"|not lie (with)?in the field|\bnon-?visuali[sz]ed\b",
    re.I,
)
_PARTLY = re.compile(
    r"\b(part(ly|ially)|partial|(only )?in part|parts? of (?!(the|this) (scan|examination|study|ct))|cut(-"
    r"| )?off|cut|truncated"
    r"|(portions?|sections?|(?<!no )slices|segments?|some|bits?) of|in sections|incomplete(ly)?|limited|clipped"
    r"|not (fully|completely|entirely|wholly)"
    r"|not all of|not (the )?(whole|entire)|cropped|extends? beyond|not \w+ (fully|completely|entirely|wholly"
    r"|in full))\b",
    re.I,
)
_COVERED = re.compile(
    rf"\b({_REACHED}|(?:stops?|ends?) (?:short of|above|below|before)|outside the|excludes|excluded"
    rf"|excluded from the (scan|field|study|exam|image)|cut(-| )?off|truncated|clipped|cropped|cut"
    r"|(partial|partially|partly|incomplete|incompletely) (?:in|within|on) the (field|scan|study)"
    r"|(with)?in the (field of view|scan|range|study)|: (?:only )?partial(?:ly)?)\b",
    re.I,
)


def not_assessed(claim: Claim, parsed: Parsed, world: World) -> list[Verdict]:
    """G9: "X: not assessed" rests on a search that did not look or failed, or on what is not covered."""
    said = claim.mention.text
    side, sites = claim.mention.side, world.sites_claimed(claim.finding, claim.sites)
    for name, seen in world.seen(claim.finding):
        if seen.presence == "present" and world.may_be_at(side, claim.sites, seen):
            return [Verdict("contradicted", "G3", f"calls {said} not assessed; {name} shows it")]
    backing: dict[str, tuple[str, ...]] = {}
    for name, record in parsed.cited.items():
        if isinstance(record, Search) and _about(claim, record, world) and world.may_be_at(side, sites, record):
            backing[name] = limits_of(record)
        elif isinstance(record, Coverage) and any(name in dict(world.coverage(side, site)) for site in sites):
            backing[name] = _coverage_limits(record)
    if not backing:
        return [Verdict("unsupported", "G9", f"no cited search or coverage says that {said} was not assessed")]
    if not any(backing.values()):
        return [Verdict("contradicted", "G9", f"calls {said} not assessed; {', '.join(backing)} looked at all of it")]
    owed = {limit for limits in backing.values() for limit in limits}
    for limit in claim.limits:
        if limit not in owed and not (
            limit in ("not_covered", "partly_covered") and owed & {"not_covered", "partly_covered"}
        ):
            return [Verdict("contradicted", "G9", f"says {limit}; {', '.join(backing)} says {', '.join(sorted(owed))}")]
    return []


def inside_the_scan(claim: Claim, _: Parsed, world: World) -> Verdict | None:
    """G11: nothing is said of an organ outside the field of view, save that it is not covered."""
    named = [place.site for place in claim.places if place.site and not claim.is_distance_to(place)]
    for site in (*world.sites_claimed(claim.finding, claim.sites), *named):
        for name, record in world.coverage(claim.mention.side, site):
            if record.covered == 0.0:
                return Verdict("unsupported", "G11", f"speaks of the {_said(site)}; {name}: it is not covered")
    return None


def places_alone(parsed: Parsed, world: World) -> list[Verdict]:
    """A statement without a finding: what is covered, or what a structure measures. Anything else is not a fact."""
    text = f"{parsed.statement.text} | {plainly(parsed.statement.text)}"
    places = [place for place in parsed.places if place.site]
    if parsed.loose:
        return structure(parsed, world)
    if places and (
        _COVERED.search(text) or _NOT_COVERED.search(text) or set(parsed.limits) & {"not_covered", "partly_covered"}
    ):
        wrong = [coverage_agrees(place, parsed, world) for place in places]
        return [verdict for verdict in wrong if verdict is not None]
    if parsed.limits:
        return limits_alone(parsed, world)
    if parsed.statement.section in NEUTRAL_SECTIONS:
        return []
    if places or parsed.places:
        return [Verdict("unsupported", "G2", "names a place and says nothing that evidence can carry")]
    return []


def coverage_agrees(place: Place, parsed: Parsed, world: World) -> Verdict | None:
    """G11: "covered", "partly covered" and "not covered" are what the coverage says."""
    text = f"{parsed.statement.text} | {plainly(parsed.statement.text)}"
    records = {n: r for n, r in world.coverage(place.side, str(place.site)) if isinstance(r, Coverage)}
    exact = {n: r for n, r in records.items() if r.site == place.site} or records
    if not exact:
        if parsed.statement.section in NEUTRAL_SECTIONS:
            return None
        return Verdict("unsupported", "G11", f"no evidence says how much of the {_said(str(place.site))} is covered")
    covered = min(record.covered for record in exact.values())
    partly = bool(_PARTLY.search(text)) or ("partly_covered" in parsed.limits and not _NOT_COVERED.search(text))
    nothing = bool(_NOT_COVERED.search(text)) or "not_covered" in parsed.limits
    ids = ", ".join(exact)
    if partly:
        right = 0.0 < covered < FULL_COVER
    elif nothing:
        right = covered == 0.0
    else:
        right = covered >= FULL_COVER if _WHOLLY.search(text) else covered > 0.0
    if not right:
        return Verdict("contradicted", "G11", f"{ids}: {covered:.0%} of the {_said(str(place.site))} is covered")
    if parsed.statement.section not in NEUTRAL_SECTIONS and not set(exact) & set(parsed.cited):
        return Verdict("unsupported", "G1", f"{ids} says how much is covered and is not cited")
    return None


def limits_alone(parsed: Parsed, world: World) -> list[Verdict]:
    """G9: a limit that stands by itself is one that the cited search for that place has (in the technique: any)."""
    if parsed.statement.section in NEUTRAL_SECTIONS:
        held = {limit for _, record in world.ledger for limit in _limits_of_any(record)}
        strange = [limit for limit in parsed.limits if held and limit not in held]
        return [Verdict("unsupported", "G9", f"no evidence gives the limit {strange[0]!r}")] if strange else []
    places = [place.site for place in parsed.places if place.site]
    if not places:
        return [Verdict("unsupported", "G2", "states a limit of nothing")]
    for place in places:
        near = [r for r in parsed.cited.values() if _touch(place, world.site_of(r) or place, world)]
        held = {limit for record in near for limit in _limits_of_any(record)}
        for limit in parsed.limits:
            if limit not in held:
                return [Verdict("unsupported", "G9", f"no cited evidence gives the {_said(place)} the limit {limit!r}")]
    return []


def structure(parsed: Parsed, world: World) -> list[Verdict]:
    """G4 and G5: numbers that belong to no finding are measures of the structure that is named, or of the technique."""
    section, technique = parsed.statement.section, world.context.technique
    for number, reading in parsed.loose:
        if number.kind == "slice":
            if section not in NEUTRAL_SECTIONS and not _in_region(number, parsed):
                return [Verdict("contradicted", "G5", f"says slice {number}; no cited region reaches it")]
            continue
        if section in NEUTRAL_SECTIONS:
            if technique is not None and not any(abs(number.value - value) < 1e-6 for value, _ in technique):
                return [Verdict("contradicted", "G5", f"says {number}; the scan's technique does not")]
            continue
        places = [place for place in reading.places if place.site]
        held = {
            name: record
            for name, record in parsed.cited.items()
            if not isinstance(record, Coverage) and _named(record, places, world) and _spoken_of(record, parsed, world)
        }
        if not held:
            return [Verdict("unsupported", "G2", f"nothing that is cited and named can measure {number}")]
        able = [m for r in held.values() for m in carrying(number, r.measurements, getattr(r, "finding", ""))]
        if not any(prints(number, m) for m in able):
            shown = ", ".join(str(m) for m in able) or "no such measurement"
            return [Verdict("contradicted", "G5", f"says {number}; {', '.join(held)}: {shown}")]
    return []


def places_are_accounted(parsed: Parsed, world: World) -> Verdict | None:
    """G4: a side or a site that the reader gave to no finding is where something cited lies."""
    held: dict[str, Evidence] = {n: r for n, r in parsed.cited.items() if not isinstance(r, Coverage)}
    for claim in parsed.claims if held else ():
        denied = claim.mention.presence == "absent" or not claim.mention.assessed
        for place in claim.places:
            if claim.is_distance_to(place):
                continue
            site_free = place.site and not any(place.site in c.mention.sites for c in parsed.claims)
            side_free = place.side and not any(c.mention.side in (place.side, "bilateral") for c in parsed.claims)
            lost = (site_free and not _site_held(str(place.site), held, denied=denied, world=world)) or (
                side_free and not _side_held(place.side, held, denied=denied)
            )
            if lost:
                said = where(place.side, place.site)
                return Verdict("contradicted", "G4", f"says {said}; {', '.join(held)} is not there")
    return None


def _site_held(site: str, held: dict[str, Evidence], *, denied: bool, world: World) -> bool:
    """A place of what is there may be wider than the evidence's; a place of what is denied may not."""
    contains = world.vocabulary.site_contains
    for record in held.values():
        if isinstance(record, Observation | Search) and site in named_sites(record.finding):
            return True
        own = world.site_of(record)
        if contains(own or site, site) if denied else site_fit(site, own, world.vocabulary) == "within":
            return True
    return False


def _side_held(side: Side | None, held: dict[str, Evidence], *, denied: bool) -> bool:
    good = {side, "bilateral", None} if denied else {side, "bilateral"}
    return any(record_side(record) in good for record in held.values())


def cites_are_used(parsed: Parsed, world: World) -> Verdict | None:
    """G2: a cited id is about something that the statement speaks of."""
    for name, record in parsed.cited.items():
        if not _is_used(record, parsed, world):
            about = record.finding if isinstance(record, Observation | Search) else record.site
            return Verdict("unsupported", "G2", f"{name} is about {_said(about)}; the statement does not speak of it")
    return None


def _is_used(record: Evidence, parsed: Parsed, world: World) -> bool:
    if parsed.statement.section == "not_assessed" and isinstance(record, Search) and limits_of(record):
        return True  # a long list of what nobody looked for may fold some of it into a wider word
    sites = [place.site for place in parsed.places if place.site]
    if isinstance(record, Observation | Search) and parsed.claims:
        return any(_related(claim.finding, record.finding, world) for claim in parsed.claims)
    if isinstance(record, Observation | Search):  # a structure's number, or a limit by itself
        own = world.site_of(record)
        near = not sites or any(_touch(site, own or site, world) for site in sites)
        return near and (bool(parsed.loose) or bool(set(parsed.limits) & set(_limits_of_any(record))))
    homes = [home for claim in parsed.claims if (home := world.home(claim.finding))]
    return any(_touch(site, record.site, world) for site in (*sites, *homes))


def _about(claim: Claim, search: Search, world: World) -> bool:
    """True for the finding and its kin, and where the words are the very name of what was searched for.

    In a list a neighbour's site can bend the meaning of a word: "metastatic disease, rib fracture" is no bone lesion.
    """
    named = world.vocabulary.findings[search.finding].name if search.finding in world.vocabulary.findings else None
    return claim.mention.text.lower() == named or _related(claim.finding, search.finding, world)


def _related(one: str, other: str, world: World) -> bool:
    return world.vocabulary.is_a(one, other) or world.vocabulary.is_a(other, one)


def _touch(one: str, other: str, world: World) -> bool:
    return world.vocabulary.site_contains(one, other) or world.vocabulary.site_contains(other, one)


def _named(record: Evidence, places: list[Place], world: World) -> bool:
    if world.site_of(record) == MARKED:  # nobody knows in which organ: "the marked point in the liver" is too much
        return bool(places) and all(place.site == MARKED for place in places)
    return not places or any(world.is_at(place.side, (str(place.site),), record) for place in places)


def _spoken_of(record: Evidence, parsed: Parsed, world: World) -> bool:
    """A finding's number needs the finding's name: "27 ml on the left" is no effusion."""
    if not isinstance(record, Observation):
        return True
    return any(_related(claim.finding, record.finding, world) for claim in parsed.claims)


def _in_region(number: Number, parsed: Parsed) -> bool:
    regions = [record.region for record in parsed.cited.values() if record.region is not None]
    return any(region.slices[0] <= number.value - 1 <= region.slices[1] for region in regions)


def _coverage_limits(record: Coverage) -> tuple[str, ...]:
    if record.covered == 0.0:
        return ("not_covered",)
    return ("partly_covered",) if record.covered < FULL_COVER else ()


def _limits_of_any(record: Evidence) -> tuple[str, ...]:
    if isinstance(record, Search):
        return limits_of(record)
    return _coverage_limits(record) if isinstance(record, Coverage) else ()


def _said(key: str) -> str:
    return key.replace("_", " ")
