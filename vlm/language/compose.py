"""The writer that needs no model: evidence in, slot sentences out, as a radiologist orders them.

Each section tells what was found, most urgent first, then what was searched and not
found; limits are said once, beside the sentences they limit. What nobody could look
for is told as "not assessed". Wording stands in ``prompts/phrases``, never here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from vlm.evidence import CONDITIONS, Coverage, Ledger, Measurement, Observation, Search, Side
from vlm.findings.vocabulary import Vocabulary, load_vocabulary
from vlm.grounding import Prior
from vlm.grounding.rules_absent import limits_of
from vlm.grounding.rules_change import change_between
from vlm.grounding.world import FULL_COVER
from vlm.language.phrases import Phrases, capital, fill, load_phrases
from vlm.report import FINDINGS_SECTIONS, Draft

ONE_BY_ONE = 5  # lesions of a kind that get a sentence each; the rest share one
IN_IMPRESSION = 8  # lines; a longer impression is not read
IN_DENIAL = 4  # findings that an impression without findings denies
QUIET_RANK = 50  # from this rank on a finding stays out of the impression
LOOKED_ENOUGH = 0.3  # fraction of a place below which its search says nothing worth reading
REGIONS = frozenset({"chest", "upper_abdomen", "pelvis"})  # whose coverage a reader wants to hear of

# Conditions under which a search says nothing; the others limit what it says.
HARD = frozenset(CONDITIONS) - {
    "partly_covered",
    "not_measured",
    "thick_slices",
    "noise",
    "metal",
    "collapse",
    "side_unsure",
}


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
    ledger: Ledger, scan: ScanFacts, *, prior: Prior | None = None, prior_given: bool = False, language: str = "en"
) -> list[Draft]:
    """Word the whole ledger, in the order in which the report is read.

    Args:
        ledger: what may be said.
        scan: how the scan was made.
        prior: what became of each finding since an earlier scan; None when nothing can be compared.
        prior_given: an earlier scan was given, aligned or not.
        language: a file of ``prompts/phrases``.
    """
    writer = Composer(ledger, load_vocabulary(), load_phrases(language), prior)
    drafts = [*writer.technique(scan), *writer.comparison(given=prior_given)]
    for section in FINDINGS_SECTIONS:
        drafts += writer.found(section)
        drafts += writer.not_found(section)
    return [*drafts, *writer.impression(), *writer.to_review(), *writer.not_assessed()]


def usable(search: Search) -> bool:
    """True when the search carries a statement, if perhaps a limited one."""
    return search.looked and search.covered >= LOOKED_ENOUGH and not HARD & set(search.failed)


def trivial(measurement: Measurement) -> bool:
    """True for a distance that rounds to nothing: "0 mm from the pleura" is no way to say that it touches."""
    return measurement.quantity == "distance" and measurement.rounded == 0


class Composer:
    """Words a ledger in one language."""

    def __init__(self, ledger: Ledger, vocabulary: Vocabulary, phrases: Phrases, prior: Prior | None = None) -> None:
        self.ledger = ledger
        self.prior = prior
        self.vocabulary = vocabulary
        self.phrases = phrases

    # ---- technique

    def sentence(self, key: str) -> str:
        """A fixed sentence of the technique part."""
        return fill(self.phrases.technique[key], {})

    def technique(self, scan: ScanFacts) -> list[Draft]:
        """How the scan was made, what it covers in part, and whether its sides are sure."""
        words = self.phrases.technique
        contrast = {None: "", True: words["contrast_yes"], False: words["contrast_no"]}[scan.contrast]
        facts = {
            "regions": self.phrases.listed([self.site_name(key) for key in scan.regions]),
            "count": str(scan.slices),
            "step": f"{scan.step_mm:.3g}",
            "kernel": words.get(f"kernel_{scan.kernel}", ""),
            "contrast": contrast,
        }
        drafts = [Draft(section="technique", template=fill(words["scan"], facts))]
        for name, record in self.ledger:
            if isinstance(record, Coverage) and record.site in REGIONS and 0 < record.covered < FULL_COVER:
                text = fill(words["partly"], {"site": self.place(record.side, record.site)})
                drafts.append(Draft(section="technique", template=text, cites=(name,)))
        if not scan.sides_confirmed:
            drafts.append(Draft(section="technique", template=self.sentence("sides")))
        return drafts

    def comparison(self, *, given: bool) -> list[Draft]:
        """Whether there is a prior, and what of it is gone."""
        key = "comparison_prior" if self.prior else "comparison_unaligned" if given else "comparison_none"
        drafts = [Draft(section="comparison", template=self.sentence(key))]
        for old in self.prior.resolved if self.prior else ():
            cites = tuple(n for n, s in self.ledger.searches(old.finding).items() if s.found == 0)
            facts = {"name": self.vocabulary.finding(old.finding).name, "place": self.place(old.side, old.site)}
            text = fill(self.phrases.technique["resolved"], facts)
            drafts.append(Draft(section=self.vocabulary.section_of(old.finding), template=text, cites=cites))
        return drafts

    def change(self, name: str) -> str:
        """ "new", "larger", "smaller" or "unchanged" in this language; nothing when it cannot be said."""
        now = self.ledger[name]
        if self.prior is None or name not in self.prior.matches or not isinstance(now, Observation):
            return ""
        change = change_between(self.prior.matches[name], now)
        return self.phrases.technique.get(f"change_{change}", "")

    # ---- what was found

    def found(self, section: str) -> list[Draft]:
        """Present observations of a section: most urgent first, the larger before the smaller."""
        present = {
            name: seen
            for name, seen in self.ledger.observations().items()
            if seen.presence == "present" and self.vocabulary.section_of(seen.finding) == section
        }
        drafts: list[Draft] = []
        for finding in sorted({o.finding for o in present.values()}, key=lambda f: (self.phrases.rank(f), f)):
            names = self.by_size({n: o for n, o in present.items() if o.finding == finding})
            drafts += self.told(finding, names, section)
        return drafts

    def by_size(self, seen: Mapping[str, Observation]) -> list[str]:
        """Ids, largest first; ids that arrived earlier first among equals."""

        def size(name: str) -> float:
            values = [m.value for q in ("diameter", "volume", "score") if (m := seen[name].measured(q))]
            return -(values[0] if values else 0.0)

        return sorted(seen, key=size)

    def told(self, finding: str, names: Sequence[str], section: str, *, kind: str = "present") -> list[Draft]:
        """A sentence for each of the largest, and one for the rest of their kind."""
        several = self.phrases.pattern(finding, "several")
        alone = names if several is None or len(names) <= ONE_BY_ONE + 1 else names[:ONE_BY_ONE]
        drafts = [self.draft(section, self.phrases.pattern(finding, kind), name) for name in alone]
        rest = names[len(alone) :]
        if rest and several is not None:
            drafts.append(self.rest(section, several, rest))
        return drafts

    def draft(self, section: str, pattern: str | None, name: str) -> Draft:
        """One observation in one sentence, with what became of it since the prior."""
        return Draft(section=section, template=fill(f"{pattern}[, {{change}}]", self.facts(name)), cites=(name,))

    def facts(self, name: str) -> dict[str, str]:
        """What a pattern may say of an observation or a search; measured facts as slots."""
        record = self.ledger[name]
        if not isinstance(record, Observation | Search):
            raise TypeError(f"{name} is a {type(record).__name__}; only observations and searches are worded")
        words = {key: self.attribute(key, value) for key, value in record.attributes.items()}
        words |= {m.quantity: f"{{{name}.{m.quantity}}}" for m in record.measurements if not trivial(m)}
        site = self.vocabulary.finding(record.finding).site if record.site is None else record.site
        return words | {
            "name": self.vocabulary.finding(record.finding).name,
            "grade": self.grade(record),
            "change": self.change(name),
            "side": record.side or "",
            "site": self.site_name(site) if site else "",
            "place": self.place(record.side, site),
            "within": self.within(record.side, site),
        }

    def attribute(self, key: str, value: str) -> str:
        """("density", "part_solid") -> "part-solid"; ("loculated", "yes") -> "loculated"; a doubt is not told."""
        if value in ("yes", "no", "likely", "possible"):
            return self.phrases.attributes.get(key, key.replace("_", " ")) if value == "yes" else ""
        return self.phrases.attributes.get(value, value.replace("_", " "))

    def grade(self, record: Observation | Search) -> str:
        """The published class of the measured value, or else the severity a tool gave."""
        published = self.vocabulary.finding(record.finding).grades
        measured = record.measured(published.quantity) if published else None
        if published and measured:
            return published.of(measured.value) or ""
        return record.attributes.get("severity", "")

    def site_name(self, key: str) -> str:
        """What a report calls a site."""
        return self.vocabulary.sites[key].name

    def place(self, side: Side | None, site: str | None) -> str:
        """("left", "upper_zone") -> "left upper zone"; ("bilateral", "lung") -> "both lungs"; "" without a site."""
        if site is None:
            return ""
        name = self.site_name(site)
        if side == "bilateral":
            return f"{self.phrases.words['both']} {name}s"
        return name if side is None else f"{side} {name}"

    def within(self, side: Side | None, site: str | None) -> str:
        """The place with its preposition: "in the left lung", "in both lungs"."""
        words = self.phrases.words
        if site is None and side is not None:
            pattern: str = words["on_both" if side == "bilateral" else "on_side"]
            return pattern.replace("{side}", side)
        pattern = words["within_both" if side == "bilateral" else "within"]
        place = self.place(side, site)
        return pattern.replace("{place}", place) if place else ""

    def shared_side(self, names: Iterable[str]) -> str:
        """The side of several lesions, with its preposition; nothing when it is not known of all."""
        sides = {record.side for name in names if isinstance(record := self.ledger[name], Observation)}
        if None in sides:
            return ""
        return self.within("bilateral" if len(sides) > 1 else next(iter(sides)), "lung")

    # ---- what was searched and not found

    def not_found(self, section: str) -> list[Draft]:
        """What was looked for and is not there: together where the limits are the same."""
        groups: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = defaultdict(list)
        drafts: list[Draft] = []
        for finding, searches in self.searched(section).items():
            for item, names in self.denied(finding, searches):
                first = self.ledger[names[0]]
                limits = limits_of(first) if isinstance(first, Search) else ()
                special = self.special(finding, item, names, limits)
                if special is not None:
                    drafts.append(special)
                else:
                    groups[limits].append((item, names))
        for limits, items in groups.items():
            listed = self.phrases.listed([item for item, _ in items], "or")
            facts = {"list": listed, "limits": ", ".join(CONDITIONS[key] for key in limits)}
            pattern = self.phrases.words["no_limited" if limits else "no"]
            cites = tuple(name for _, names in items for name in names)
            drafts.append(Draft(section=section, template=fill(pattern, facts), cites=cites))
        return drafts

    def searched(self, section: str) -> dict[str, dict[str, Search]]:
        """Usable searches by finding, without those whose absence nobody asks for."""
        by_finding: dict[str, dict[str, Search]] = defaultdict(dict)
        for name, search in self.ledger.searches().items():
            if (
                not self.phrases.quiet(search.finding)
                and usable(search)
                and self.vocabulary.section_of(search.finding) == section
            ):
                by_finding[search.finding][name] = search
        return dict(sorted(by_finding.items(), key=lambda entry: (self.phrases.rank(entry[0]), entry[0])))

    def denied(self, finding: str, searches: Mapping[str, Search]) -> list[tuple[str, tuple[str, ...]]]:
        """("left pleural effusion", ids) for each place without the finding; both sides as one."""
        seen = self.ledger.observations(finding).values()
        empty = {n: s for n, s in searches.items() if s.found == 0 and not self.seen_there(s, seen)}
        name = self.searched_for(finding, empty.values())
        by_side = {search.side: found for found, search in empty.items()}
        if {"left", "right"} <= set(by_side) and limits_of(empty[by_side["left"]]) == limits_of(
            empty[by_side["right"]]
        ):
            both = (by_side.pop("left"), by_side.pop("right"))
            return [(name, both)] + [(self.sided(name, side), (n,)) for side, n in by_side.items()]
        return [(self.sided(name, side), (n,)) for side, n in by_side.items()]

    def searched_for(self, finding: str, searches: Iterable[Search]) -> str:
        """The finding's name, with the place where it was looked for when that is only a part of its own."""
        entry = self.vocabulary.finding(finding)
        sites = {search.site for search in searches}
        site = next(iter(sites)) if len(sites) == 1 else None
        if site is None or entry.site is None or self.vocabulary.site_contains(site, entry.site):
            return entry.name
        own: str = self.phrases.findings.get(finding, {}).get("absent", "")
        return own.replace("{site}", self.site_name(site)) or f"{entry.name} {self.within(None, site)}"

    @staticmethod
    def seen_there(search: Search, seen: Iterable[Observation]) -> bool:
        """True when the finding was seen, or suspected, on the side that was searched."""
        everywhere = (None, "bilateral")
        return any(o.side == search.side or o.side in everywhere or search.side in everywhere for o in seen)

    @staticmethod
    def sided(name: str, side: Side | None) -> str:
        return f"{side} {name}" if side in ("left", "right") else name

    def special(self, finding: str, item: str, names: Sequence[str], limits: tuple[str, ...]) -> Draft | None:
        """The finding's own normal sentence, or the size from which it would have been seen."""
        section = self.vocabulary.section_of(finding)
        facts = self.facts(names[0])
        facts["limits"] = ", ".join(CONDITIONS[key] for key in limits)
        normal = self.phrases.findings.get(finding, {}).get("normal", {}).get("sentence")
        if normal:
            return Draft(section=section, template=fill(normal, facts), cites=tuple(names))
        if self.phrases.pattern(finding, "several") and "not_measured" not in limits:
            facts |= {"list": item, "smallest": f"{{{names[0]}.smallest}}"}
            return Draft(section=section, template=fill(self.phrases.words["no_sized"], facts), cites=tuple(names))
        return None

    # ---- impression, doubts, and what nobody looked at

    def impression(self) -> list[Draft]:
        """The most important findings, a line each."""
        present = {n: o for n, o in self.ledger.observations().items() if o.presence == "present"}
        told = {n: o for n, o in present.items() if self.phrases.rank(o.finding) < QUIET_RANK}
        drafts: list[Draft] = []
        for finding in sorted({o.finding for o in told.values()}, key=lambda f: (self.phrases.rank(f), f)):
            names = self.by_size({n: o for n, o in told.items() if o.finding == finding})
            short = self.phrases.pattern(finding, "short")
            drafts += self.in_short(short, names)
        return drafts[:IN_IMPRESSION] or self.nothing_found()

    def in_short(self, pattern: str | None, names: Sequence[str]) -> list[Draft]:
        """One line for each of a few, one line for the rest where their kind has one."""
        record = self.ledger[names[0]]
        several = self.phrases.pattern(record.finding, "several") if isinstance(record, Observation) else None
        alone = names if several is None and len(names) == 2 else names[:1] if len(names) > 2 else names
        drafts = [self.draft("impression", pattern, name) for name in alone]
        rest = names[len(alone) :]
        if rest and several is not None:
            drafts.append(self.rest("impression", several, rest))
        return drafts

    def rest(self, section: str, several: str, names: Sequence[str]) -> Draft:
        """One sentence for many lesions: how many, on which side, how large the largest is."""
        facts = self.facts(names[0]) | {"count": self.phrases.number(len(names)), "within": self.shared_side(names)}
        return Draft(section=section, template=fill(several, facts), cites=tuple(names))

    def nothing_found(self) -> list[Draft]:
        """The most urgent findings that were searched without a limit and are not there, in one line."""
        denied: list[tuple[str, tuple[str, ...]]] = []
        for section in FINDINGS_SECTIONS:
            for finding, searches in self.searched(section).items():
                clean = {name: s for name, s in searches.items() if not limits_of(s)}
                if len(clean) == len(self.ledger.searches(finding)):
                    denied += self.denied(finding, clean)[:1]
        if not denied:
            return []
        told = denied[:IN_DENIAL]
        text = fill(self.phrases.words["no"], {"list": self.phrases.listed([item for item, _ in told], "or")})
        return [Draft(section="impression", template=text, cites=tuple(n for _, names in told for n in names))]

    def to_review(self) -> list[Draft]:
        """Observations that a tool is not sure of."""
        drafts = []
        for name, seen in self.ledger.observations().items():
            if seen.presence == "uncertain":
                told = fill(self.phrases.pattern(seen.finding, "short") or "", self.facts(name)).rstrip(".")
                listed = told if told.startswith("{") else told[:1].lower() + told[1:]
                text = fill(self.phrases.words["uncertain"], {"list": listed})
                drafts.append(Draft(section="to_review", template=text, cites=(name,)))
        return drafts

    def not_assessed(self) -> list[Draft]:
        """Findings that nothing looked for, and regions that the scan does not hold, by reason."""
        groups: dict[str, list[tuple[str, str]]] = defaultdict(list)
        for name, record in self.ledger:
            if isinstance(record, Coverage) and record.site in REGIONS and record.covered == 0:
                groups[CONDITIONS["not_covered"]].append((self.place(record.side, record.site), name))
            elif isinstance(record, Search) and not usable(record) and self.missed(record):
                groups[self.reason(record)].append((self.unassessed(record), name))
        drafts = []
        for reason, items in groups.items():
            listed = self.phrases.listed(list(dict.fromkeys(label for label, _ in items)))
            text = fill(self.phrases.words["not_assessed"], {"list": capital(listed), "limits": reason})
            drafts.append(Draft(section="not_assessed", template=text, cites=tuple(n for _, n in items)))
        return drafts

    def missed(self, search: Search) -> bool:
        """Whether a reader wants to hear that this was not assessed: not of what was seen all the same."""
        told = search.finding in self.phrases.not_assessed
        return told and not self.seen_there(search, self.ledger.observations(search.finding).values())

    def unassessed(self, search: Search) -> str:
        """The finding, with its side where the other side could be judged."""
        sides = {s.side for s in self.ledger.searches(search.finding).values() if not usable(s)}
        name = self.vocabulary.finding(search.finding).name
        return name if {"left", "right"} <= sides else self.sided(name, search.side)

    @staticmethod
    def reason(search: Search) -> str:
        hard = [key for key in search.failed if key in HARD] or list(search.failed)
        return CONDITIONS[hard[0]] if hard else CONDITIONS["not_covered"]
