"""What was searched and is not there, in as few sentences as its limits allow.

Both sides share a denial; findings with the same limits share a sentence. A search that nothing
can rest on is told elsewhere as "not assessed" (``unassessed.py``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from vlm.evidence import CONDITIONS, Search, Side
from vlm.grounding.rules_absent import limits_of
from vlm.language.phrases import fill
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
    denials = [d for finding, searches in searched(words, section).items() for d in denied(words, finding, searches)]
    normal = [draft for denial in denials if (draft := normal_sentence(words, denial, section))]
    rest = [denial for denial in denials if not normal_pattern(words, denial)]
    return [*normal, *shared_sentences(words, section, rest)]


def shared_sentences(words: Wording, section: str, denials: Sequence[Denial]) -> list[Draft]:
    """Denials of the same limits share a sentence: those with a smallest size first, then the least limited."""
    sized: dict[tuple[str, ...], list[Denial]] = defaultdict(list)
    plain: dict[tuple[str, ...], list[Denial]] = defaultdict(list)
    for denial in denials:
        (sized if has_size(words, denial) else plain)[denial.limits].append(denial)
    drafts = [sized_together(words, section, group) for group in sized.values()]
    return [*drafts, *(together(words, section, plain[limits]) for limits in sorted(plain, key=len))]


def sized_together(words: Wording, section: str, denials: Sequence[Denial]) -> Draft:
    """ "No other mass of 32 mm or more and no nodule of 8 mm or more", with the limits that they share."""
    facts = [
        words.facts(denial.cites[0]) | {"list": denial.item, "smallest": f"{{{denial.cites[0]}.smallest}}"}
        for denial in denials
    ]
    limits, phrases = words.limits(denials[0].limits), words.phrases.words
    if len(denials) == 1:
        other = denials[0].other
        pattern = phrases["no_other" if other else "no_sized"]
        return drafted(section, "other" if other else "absent", pattern, facts[0] | limits, denials[0].cites)
    each = [
        fill(phrases["sized_other" if denial.other else "sized"], own).rstrip(".")
        for denial, own in zip(denials, facts, strict=True)
    ]
    listed = words.phrases.listed([each[0], *(text[:1].lower() + text[1:] for text in each[1:])])
    cites = tuple(name for denial in denials for name in denial.cites)
    return Draft(section=section, template=fill(phrases["sized_all"], limits | {"list": listed}), cites=cites)


def together(words: Wording, section: str, denials: Iterable[Denial]) -> Draft:
    """One sentence for denials of the same limits; those of one side last, so that the side is theirs alone."""
    ordered = sorted(denials, key=lambda denial: denial.side is not None)
    facts = {"list": words.phrases.listed(list(dict.fromkeys(denial.item for denial in ordered)), "or")}
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


def normal_pattern(words: Wording, denial: Denial) -> str | None:
    """The finding's own normal sentence, where it has one."""
    pattern: str | None = words.phrases.findings.get(denial.finding, {}).get("normal", {}).get("sentence")
    return pattern


def normal_sentence(words: Wording, denial: Denial, section: str) -> Draft | None:
    """A normal measure told with its number; None: told with others."""
    pattern = normal_pattern(words, denial)
    if pattern is None:
        return None
    facts = words.facts(denial.cites[0]) | words.limits(denial.limits)
    return drafted(section, "absent", pattern, facts, denial.cites)


def has_size(words: Wording, denial: Denial) -> bool:
    """Whether the denial names the size from which the finding would have been seen."""
    return words.phrases.pattern(denial.finding, "several") is not None and "not_measured" not in denial.limits


def nothing_found(words: Wording) -> list[Draft]:
    """The most urgent findings that are surely not there, with no limit but the part that was covered.

    What only one side was searched for is told where nothing was searched for on both.
    """
    denials = [
        denial
        for section in FINDINGS_SECTIONS
        for finding, searches in searched(words, section).items()
        if words.phrases.rank(finding) < URGENT_RANK
        for denial in denied(words, finding, searches)
        if set(denial.limits) <= REGIONAL
        and (denial.side or len(searches) == len(words.ledger.searches(finding)))
        and (has_size(words, denial) or words.phrases.pattern(denial.finding, "several") is None)
    ]
    whole = [denial for denial in denials if denial.side is None] or denials
    urgent = sorted(whole, key=lambda denial: words.phrases.rank(denial.finding))[:IN_DENIAL]
    sized = [denial for denial in urgent if has_size(words, denial)]
    return [
        *shared_sentences(words, "impression", [denial for denial in urgent if denial not in sized]),
        *shared_sentences(words, "impression", sized),
    ]
