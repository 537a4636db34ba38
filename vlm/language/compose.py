"""The writer that needs no model: evidence in, slot sentences out, as a radiologist orders them.

Each section tells what was found, most urgent first, then what was searched and not
found; limits are said once, beside the sentences they limit. What nobody could look
for is told as "not assessed". Wording stands in ``prompts/phrases``, never here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vlm.evidence import Coverage, Ledger, Observation
from vlm.grounding import Prior
from vlm.grounding.world import FULL_COVER
from vlm.language.denials import not_found, nothing_found
from vlm.language.phrases import fill
from vlm.language.unassessed import REGIONS, not_assessed
from vlm.language.wording import Wording
from vlm.report import FINDINGS_SECTIONS, Draft

IN_IMPRESSION = 8  # lines; a longer impression is not read
MOST_OF_A_KIND = 3  # lines of one finding that has no sentence for many
QUIET_RANK = 50  # from this rank on a finding stays out of an impression that has anything else to say
ONE_PLACE = 0.5  # share of the smaller box of two doubts that lies in the other: two readings of one place
LEAST_RANK = 58  # from this rank on it stays out of every one


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanFacts:
    """What the technique sentence says of the scan; numbers are the geometry's."""

    slices: int
    step_mm: float
    kernel: str  # "soft", "sharp" or "unknown"
    contrast: bool | None
    regions: tuple[str, ...]  # sites that are covered, keys of the vocabulary, head to foot
    sides_confirmed: bool = True


def compose(
    ledger: Ledger,
    scan: ScanFacts,
    *,
    prior: Prior | None = None,
    prior_given: bool = False,
    prior_part: bool = False,
    language: str = "en",
) -> list[Draft]:
    """Word the whole ledger, in the order in which the report is read.

    Args:
        ledger: what may be said.
        scan: how the scan was made.
        prior: what became of each finding since an earlier scan; None when nothing can be compared.
        prior_given: an earlier scan was given, aligned or not.
        prior_part: the earlier scan shows a part of this one only.
        language: a file of ``prompts/phrases``.
    """
    words = Wording(ledger, prior=prior, language=language)
    drafts = [*technique(words, scan), *comparison(words, given=prior_given, part=prior_part)]
    for section in FINDINGS_SECTIONS:
        drafts += found(words, section)
        drafts += resolved(words, section)
        drafts += not_found(words, section)
    return [*drafts, *impression(words), *to_review(words), *not_assessed(words)]


def technique(words: Wording, scan: ScanFacts) -> list[Draft]:
    """How the scan was made, what it covers in part, and whether its sides are sure."""
    phrases = words.phrases.technique
    contrast = {None: "", True: phrases["contrast_yes"], False: phrases["contrast_no"]}[scan.contrast]
    facts = {
        "regions": words.phrases.listed([words.site_name(key) for key in scan.regions]),
        "count": str(scan.slices),
        "step": f"{scan.step_mm:.3g}",
        "kernel": phrases.get(f"kernel_{scan.kernel}", ""),
        "contrast": contrast,
    }
    drafts = [Draft(section="technique", template=fill(phrases["scan"], facts))]
    partly = {
        record.site: (words.place(record.side, record.site), name)
        for name, record in words.ledger
        if isinstance(record, Coverage) and record.site in REGIONS and 0 < record.covered < FULL_COVER
    }
    if partly:
        sites, cites = zip(*(partly[key] for key in REGIONS if key in partly), strict=True)
        pattern = phrases["partly" if len(sites) == 1 else "partly_many"]
        text = fill(pattern, {"site": words.phrases.listed(sites)})
        drafts.append(Draft(section="technique", template=text, cites=cites))
    if not scan.sides_confirmed:
        drafts.append(Draft(section="technique", template=fill(phrases["sides"], {})))
    return drafts


def comparison(words: Wording, *, given: bool, part: bool) -> list[Draft]:
    """Whether there is a prior, and whether it can be compared."""
    aligned = "comparison_part" if part else "comparison_prior"
    key = aligned if words.prior else "comparison_unaligned" if given else "comparison_none"
    return [Draft(section="comparison", template=fill(words.phrases.technique[key], {}))]


def present(ledger: Ledger) -> dict[str, Observation]:
    """Observations of what is there, by id."""
    return {name: seen for name, seen in ledger.observations().items() if seen.presence == "present"}


def by_finding(words: Wording, seen: Mapping[str, Observation]) -> list[tuple[str, list[str]]]:
    """Ids by finding: the most urgent finding first, the larger before the smaller."""
    return [
        (finding, words.by_size({n: o for n, o in seen.items() if o.finding == finding}))
        for finding in words.by_urgency(o.finding for o in seen.values())
    ]


def found(words: Wording, section: str) -> list[Draft]:
    """Present observations of a section."""
    here = {n: o for n, o in present(words.ledger).items() if words.vocabulary.section_of(o.finding) == section}
    return [draft for finding, names in by_finding(words, here) for draft in words.told(finding, names, section)]


def resolved(words: Wording, section: str) -> list[Draft]:
    """What the prior showed in a section and today's searches do not find."""
    drafts = []
    for old in words.prior.resolved if words.prior else ():
        if words.vocabulary.section_of(old.finding) != section:
            continue
        cites = tuple(n for n, s in words.ledger.searches(old.finding).items() if s.found == 0)
        facts = {"name": words.vocabulary.finding(old.finding).name, "place": words.place(old.side, old.site)}
        drafts.append(Draft(section=section, template=fill(words.phrases.technique["resolved"], facts), cites=cites))
    return drafts


def impression(words: Wording) -> list[Draft]:
    """The most important findings, a line each; without any, what is surely not there. New devices come last.

    Where neither can be said, the lesser findings are better than silence.
    """
    seen = present(words.ledger)
    ranks = {name: words.phrases.rank(o.finding) for name, o in seen.items()}
    urgent = lines(words, {n: o for n, o in seen.items() if ranks[n] < QUIET_RANK})[:IN_IMPRESSION]
    new = lines(words, {n: o for n, o in seen.items() if ranks[n] >= QUIET_RANK and words.is_new(n)})
    lesser = {n: o for n, o in seen.items() if QUIET_RANK <= ranks[n] < LEAST_RANK}
    return [*(urgent or nothing_found(words)), *new] or lines(words, lesser)[:IN_IMPRESSION]


def lines(words: Wording, seen: Mapping[str, Observation]) -> list[Draft]:
    """Observations in short, the most urgent first."""
    return [draft for finding, names in by_finding(words, seen) for draft in in_short(words, finding, names)]


def in_short(words: Wording, finding: str, names: Sequence[str]) -> list[Draft]:
    """One line for each of a few, one line for the rest where their kind has one."""
    if grouped := words.by_side(finding, names, "impression"):
        return grouped
    short, several = words.phrases.pattern(finding, "short"), words.phrases.pattern(finding, "several")
    alone = names[:MOST_OF_A_KIND] if several is None or len(names) == 2 else names[:1]
    drafts = [words.draft("impression", short, name) for name in alone]
    rest = names[len(alone) :]
    if rest and several is not None:
        drafts.append(words.rest("impression", several, rest))
    return drafts


def to_review(words: Wording) -> list[Draft]:
    """Observations that a tool is not sure of, the most urgent first."""
    doubts = {name: seen for name, seen in words.ledger.observations().items() if seen.presence == "uncertain"}
    drafts: list[Draft] = []
    told: set[str] = set()
    for finding, names in by_finding(words, doubts):
        for name in names:
            if name in told:
                continue
            readings = [name, *(other for other in doubts if other not in told and one_place(words, name, other))]
            told.update(readings)
            drafts.append(doubt(words, finding, name) if len(readings) == 1 else either(words, readings))
    return drafts


def one_place(words: Wording, name: str, other: str) -> bool:
    """Whether two doubts are two readings of one place: "mass or collapse"."""
    one, two = words.ledger[name], words.ledger[other]
    if not isinstance(one, Observation) or not isinstance(two, Observation) or one.region is None or two.region is None:
        return False
    if one.presence != "uncertain" or two.presence != "uncertain":
        return False
    kinds = {one.finding, two.finding}
    if len(kinds) < 2 or not all(words.phrases.findings.get(kind, {}).get("reading") for kind in kinds):
        return False
    return one.side == two.side and one.site == two.site and one.region.box_mm.overlap(two.region.box_mm) >= ONE_PLACE


def either(words: Wording, names: Sequence[str]) -> Draft:
    """ "Possible mass of 72 mm or collapse in the right upper zone": one sentence for one place."""
    seen = [words.ledger[name] for name in names]
    patterns = [str(words.phrases.findings[o.finding]["reading"]) for o in seen if isinstance(o, Observation)]
    each = [fill(p, words.facts(name)).rstrip(".") for p, name in zip(patterns, names, strict=True)]
    listed = words.phrases.listed([text[:1].lower() + text[1:] for text in each], "or")
    facts = {"list": listed, "within": words.facts(names[0])["within"]}
    return Draft(section="to_review", template=fill(words.phrases.words["either"], facts), cites=tuple(names))


def doubt(words: Wording, finding: str, name: str) -> Draft:
    """ "Possible mass in the right upper zone."; where a measure lies at its limit, what was measured."""
    if unsure := words.phrases.pattern(finding, "unsure"):
        return Draft(section="to_review", template=fill(unsure, words.facts(name)), cites=(name,))
    told = fill(words.phrases.pattern(finding, "short") or "", words.facts(name)).rstrip(".")
    listed = told if told.startswith("{") else told[:1].lower() + told[1:]
    text = fill(words.phrases.words["uncertain"], {"list": listed})
    return Draft(section="to_review", template=text, cites=(name,))
