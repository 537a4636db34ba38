"""What was searched and is not there, in as few sentences as its limits allow.

Both sides share a denial; findings with the same limits share a sentence. A search that nothing
can rest on is told elsewhere as "not assessed" (``unassessed.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from vlm.evidence import CONDITIONS, Search, Side
from vlm.grounding.rules_absent import limits_of
from vlm.language.wording import ONE_BY_ONE, Wording, drafted, seen_there
from vlm.report import FINDINGS_SECTIONS, Draft

IN_DENIAL = 4  # findings that an impression without findings denies
URGENT_RANK = 20  # what stands below is no news when it is not there
LOOKED_ENOUGH = 0.3  # fraction of a place below which its search says nothing worth reading

# Conditions under which a search says nothing; the others limit what it says.
HARD = frozenset(CONDITIONS) - {
    "partly_covered",
    "not_measured",
    "thick_slices",
    "coarse_pixels",
    "noise",
    "metal",
    "collapse",
    "side_unsure",
}
# Limits that leave a part of the place out: said of both sides, they are true of each.
REGIONAL = frozenset({"partly_covered", "collapse"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """One finding that is denied, where, and under which limits."""

    finding: str
    item: str  # what stands after "No": "left pleural effusion"
    side: Side | None
    cites: tuple[str, ...]
    limits: tuple[str, ...]  # keys of CONDITIONS, in their order
    other: bool = False  # "no other": some were found, and each is told by itself


def usable(search: Search) -> bool:
    """True when the search carries a statement, if perhaps a limited one."""
    return search.looked and search.covered >= LOOKED_ENOUGH and not HARD & set(search.failed)


def not_found(words: Wording, section: str) -> list[Draft]:
    """What was looked for in a section and is not there: the least limited first."""
    alone: list[Draft] = []
    groups: dict[tuple[str, ...], list[Denial]] = defaultdict(list)
    for finding, searches in searched(words, section).items():
        for denial in denied(words, finding, searches):
            draft = own_sentence(words, denial, section)
            if draft is not None:
                alone.append(draft)
            else:
                groups[denial.limits].append(denial)
    return alone + [together(words, section, groups[limits]) for limits in sorted(groups, key=len)]


def together(words: Wording, section: str, denials: Iterable[Denial]) -> Draft:
    """One sentence for denials of the same limits; those of one side last, so that the side is theirs alone."""
    ordered = sorted(denials, key=lambda denial: denial.side is not None)
    facts = {"list": words.phrases.listed([denial.item for denial in ordered], "or")}
    facts |= words.limits(ordered[0].limits)
    cites = tuple(name for denial in ordered for name in denial.cites)
    return drafted(section, "absent", words.phrases.words["no"], facts, cites)


def searched(words: Wording, section: str) -> dict[str, dict[str, Search]]:
    """Usable searches by finding, most urgent first, without those whose absence nobody asks for."""
    by_finding: dict[str, dict[str, Search]] = defaultdict(dict)
    for name, search in words.ledger.searches().items():
        quiet = words.phrases.quiet(search.finding) or words.vocabulary.section_of(search.finding) != section
        if not quiet and usable(search):
            by_finding[search.finding][name] = search
    return {finding: by_finding[finding] for finding in words.by_urgency(by_finding)}


def denied(words: Wording, finding: str, searches: Mapping[str, Search]) -> list[Denial]:
    """A denial for each side without the finding; both sides as one where the limits allow it."""
    if (others := no_others(words, finding, searches)) is not None:
        return [others]
    seen = [o for o in words.ledger.observations().values() if words.vocabulary.is_a(o.finding, finding)]
    empty = {n: s for n, s in searches.items() if s.found == 0 and not seen_there(s, seen)}
    name = searched_for(words, finding, empty.values())
    each = [
        Denial(
            finding=finding,
            item=words.sided(name, search.side),
            side=search.side if search.side in ("left", "right") else None,
            cites=(key,),
            limits=in_order(limits_of(search)),
        )
        for key, search in empty.items()
    ]
    left, right = ([d for d in each if d.side == side] for side in ("left", "right"))
    if len(left) == len(right) == 1 and set(left[0].limits) ^ set(right[0].limits) <= REGIONAL:
        both = replace(
            left[0],
            item=name,
            side=None,
            cites=left[0].cites + right[0].cites,
            limits=in_order(left[0].limits + right[0].limits),
        )
        return [both, *(d for d in each if d.side is None)]
    return each


def no_others(words: Wording, finding: str, searches: Mapping[str, Search]) -> Denial | None:
    """ "No other nodule" where a few were found, each is told, and the size from which more would be seen is known."""
    seen = words.ledger.observations(finding).values()
    certain = all(o.presence == "present" for o in seen) and 0 < len(seen) <= ONE_BY_ONE + 1
    limits = in_order(tuple(limit for search in searches.values() for limit in limits_of(search)))
    if not certain or words.phrases.pattern(finding, "several") is None or "not_measured" in limits:
        return None
    sides = {search.side for search in searches.values()}
    uneven = {limit for s in searches.values() for limit in set(limits) ^ set(limits_of(s))} - REGIONAL
    if sides not in ({"left", "right"}, {None}) or uneven or len(searches) != len(words.ledger.searches(finding)):
        return None
    name = searched_for(words, finding, searches.values())
    return Denial(finding=finding, item=name, side=None, cites=tuple(searches), limits=limits, other=True)


def in_order(limits: tuple[str, ...]) -> tuple[str, ...]:
    """Limits once each, in the order of CONDITIONS."""
    return tuple(key for key in CONDITIONS if key in limits)


def searched_for(words: Wording, finding: str, searches: Iterable[Search]) -> str:
    """What is denied, with the place where it was looked for when that is only a part of the finding's own."""
    entry = words.vocabulary.finding(finding)
    own = words.phrases.findings.get(finding, {})
    name = str(own.get("denied", entry.name))
    sites = {search.site for search in searches}
    site = next(iter(sites)) if len(sites) == 1 else None
    if site is None or entry.site is None or words.vocabulary.site_contains(site, entry.site):
        return name
    return str(own.get("absent", "")).replace("{site}", words.site_name(site)) or f"{name} {words.within(None, site)}"


def own_sentence(words: Wording, denial: Denial, section: str) -> Draft | None:
    """The finding's own normal sentence, or the size from which it would have been seen; None: told with others."""
    facts = words.facts(denial.cites[0]) | words.limits(denial.limits)
    normal = words.phrases.findings.get(denial.finding, {}).get("normal", {}).get("sentence")
    if normal:
        return drafted(section, "absent", normal, facts, denial.cites)
    if words.phrases.pattern(denial.finding, "several") is None or "not_measured" in denial.limits:
        return None
    facts |= {"list": denial.item, "smallest": f"{{{denial.cites[0]}.smallest}}"}
    pattern = words.phrases.words["no_other" if denial.other else "no_sized"]
    return drafted(section, "other" if denial.other else "absent", pattern, facts, denial.cites)


def nothing_found(words: Wording) -> list[Draft]:
    """The most urgent findings that are surely not there, with no limit but the part that was covered."""
    denials = [
        denial
        for section in FINDINGS_SECTIONS
        for finding, searches in searched(words, section).items()
        if len(searches) == len(words.ledger.searches(finding)) and words.phrases.rank(finding) < URGENT_RANK
        for denial in denied(words, finding, searches)
        if set(denial.limits) <= REGIONAL and denial.side is None
    ]
    urgent = sorted(denials, key=lambda denial: words.phrases.rank(denial.finding))[:IN_DENIAL]
    drafts: list[Draft] = []
    groups: dict[tuple[str, ...], list[Denial]] = defaultdict(list)
    for denial in urgent:
        if words.phrases.pattern(denial.finding, "several"):
            sized = own_sentence(words, denial, "impression")
            drafts += [sized] if sized else []
        else:
            groups[denial.limits].append(denial)
    return [together(words, "impression", group) for group in groups.values()] + drafts
