"""What nobody could judge, by reason: findings that nothing looked for, and regions outside the scan."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from vlm.evidence import CONDITIONS, Coverage, Search
from vlm.language.denials import HARD, usable
from vlm.language.phrases import fill
from vlm.language.wording import Wording, seen_there
from vlm.report import Draft

Groups = Mapping[str, Mapping[str, list[str]]]  # reason -> finding -> ids

REGIONS = ("chest", "upper_abdomen", "pelvis")  # whose coverage a reader wants to hear of, head to foot
# Of several reasons for one finding a reader wants that which another scan could mend; the rest as CONDITIONS has them.
FIRST = (
    "no_contrast",
    "contrast",
    "phase",
    "partly_covered",
    "organ_cut",
    "thick_slices",
    "coarse_pixels",
    "not_found",
)


def not_assessed(words: Wording) -> list[Draft]:
    """Whole regions outside the scan, then findings by reason; the most urgent reason first."""
    outside = {
        name: record
        for name, record in words.ledger
        if isinstance(record, Coverage) and record.site in REGIONS and record.covered == 0
    }
    sites = {record.site for record in outside.values()}
    groups: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))  # reason -> finding -> ids
    unseen: dict[str, dict[str, Search]] = defaultdict(dict)  # finding -> id -> search
    for name, search in words.ledger.searches().items():
        if not usable(search) and missed(words, search) and not implied(words, search, sites):
            unseen[search.finding][name] = search
    for finding, searches in unseen.items():
        groups[told_reason(searches.values())][finding] = list(searches)
    drafts = [told(words, reason, findings) for reason, findings in by_urgency(words, groups)]
    if outside:
        head_to_foot = sorted(outside.values(), key=lambda record: REGIONS.index(record.site))
        places = [words.place(record.side, record.site) for record in head_to_foot]
        text = fill(words.phrases.words["outside"], {"list": words.phrases.listed(places)})
        drafts.insert(0, Draft(section="not_assessed", template=text, cites=tuple(outside)))
    return drafts


def by_urgency(words: Wording, groups: Groups) -> list[tuple[str, Mapping[str, list[str]]]]:
    """The groups, that with the most urgent finding first."""
    return sorted(groups.items(), key=lambda entry: min(map(words.phrases.rank, entry[1])))


def told(words: Wording, reason: str, findings: Mapping[str, list[str]]) -> Draft:
    """One sentence for all that was not assessed for one reason."""
    items: list[str] = []
    cites: list[str] = []
    for finding in words.by_urgency(findings):
        searches = words.ledger.searches(finding)
        items += dict.fromkeys(unassessed(words, searches[name]) for name in findings[finding])
        cites += findings[finding]
    said = words.phrases.reasons.get(reason, f", {CONDITIONS[reason]}")
    template = fill(words.phrases.words["not_assessed"], {"list": words.phrases.listed(items), "reason": said})
    return Draft(section="not_assessed", template=template, cites=tuple(cites))


def missed(words: Wording, search: Search) -> bool:
    """Whether a reader wants to hear that this was not assessed: not of what was seen all the same."""
    told_at_all = search.finding in words.phrases.not_assessed
    seen = [o for o in words.ledger.observations().values() if words.vocabulary.is_a(o.finding, search.finding)]
    return told_at_all and not seen_there(search, seen)


def implied(words: Wording, search: Search, outside: Collection[str]) -> bool:
    """Whether the coverage of the regions says it already: not of the chest, nor of what is cut out of a region."""
    if why(search) != "not_covered":
        return False
    site = search.site or words.vocabulary.finding(search.finding).site
    below = {"upper_abdomen", "pelvis"} & set(outside)
    gone = below | ({"abdomen"} if len(below) == 2 else set())
    inside = site is not None and any(words.vocabulary.site_contains(region, site) for region in gone)
    return inside or not words.phrases.ranked(search.finding)


def unassessed(words: Wording, search: Search) -> str:
    """The finding, with its side or its place where the other side or another place could be judged."""
    own = words.phrases.findings.get(search.finding, {})
    name = str(own.get("unassessed", words.vocabulary.finding(search.finding).name))
    others = words.ledger.searches(search.finding).values()
    if search.site and "{site}" in (placed := str(own.get("absent", ""))) and any(map(usable, others)):
        name = placed.replace("{site}", words.site_name(search.site))
    told = [o for o in words.ledger.observations().values() if words.vocabulary.is_a(o.finding, search.finding)]
    sides = {s.side for s in others if not usable(s) and not seen_there(s, told)}
    return name if {"left", "right"} <= sides else words.sided(name, search.side)


def told_reason(searches: Iterable[Search]) -> str:
    """The one reason that is told of a finding that could not be judged in several places."""
    reasons = {why(search) for search in searches}
    return next(key for key in (*FIRST, *CONDITIONS) if key in reasons)


def why(search: Search) -> str:
    """The truest reason, a key of CONDITIONS."""
    hard = [key for key in search.failed if key in HARD] or list(search.failed)
    return hard[0] if hard else "not_covered"
