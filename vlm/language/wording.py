"""How one record of a ledger is worded: names, places, grades, measured facts as slots.

In: a ledger and the patterns of one language. Out: the facts that a pattern may name, and a
sentence for one observation or for many of a kind. What is told, and in which order, is decided elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vlm.evidence import CONDITIONS, Ledger, Measurement, Observation, Search, Side
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Prior
from vlm.grounding.rules_change import change_between
from vlm.language.phrases import Phrases, fill, load_phrases, stated
from vlm.report import Draft, DraftKind

ONE_BY_ONE = 5  # lesions of a kind that get a sentence each; the rest share one
SIZES = ("diameter", "volume", "score")  # what a finding is ordered by, the first that was measured


def trivial(measurement: Measurement) -> bool:
    """True for a distance that rounds to nothing: "0 mm from the pleura" is no way to say that it touches."""
    return measurement.quantity == "distance" and measurement.rounded == 0


def drafted(section: str, kind: DraftKind, pattern: str, facts: Mapping[str, str], cites: tuple[str, ...]) -> Draft:
    """A pattern filled, with the facts that it states."""
    return Draft(section=section, template=fill(pattern, facts), cites=cites, kind=kind, facts=stated(pattern, facts))


class Wording:
    """Words the records of a ledger in one language."""

    def __init__(self, ledger: Ledger, *, prior: Prior | None = None, language: str = "en") -> None:
        self.ledger = ledger
        self.prior = prior
        self.vocabulary = load_vocabulary()
        self.phrases: Phrases = load_phrases(language)

    # ---- sentences

    def draft(self, section: str, pattern: str | None, name: str) -> Draft:
        """One observation in one sentence, with what became of it since the prior."""
        return drafted(section, "present", f"{pattern}[, {{change}}]", self.facts(name), (name,))

    def told(self, finding: str, names: Sequence[str], section: str) -> list[Draft]:
        """A sentence for each of the largest observations of a finding, and one for the rest of their kind."""
        several = self.phrases.pattern(finding, "several")
        if grouped := self.by_side(finding, names, section):
            return grouped
        alone = names if several is None or len(names) <= ONE_BY_ONE + 1 else names[:ONE_BY_ONE]
        drafts = [self.draft(section, self.phrases.pattern(finding, "present"), name) for name in alone]
        rest = names[len(alone) :]
        if rest and several is not None:
            drafts.append(self.rest(section, several, rest))
        return drafts

    def by_side(self, finding: str, names: Sequence[str], section: str) -> list[Draft]:
        """More than two small things of a kind that is told so: "three stones of up to 8 mm in the left kidney"."""
        many = self.phrases.pattern(finding, "many")
        if many is None or len(names) <= 2 or any(self.change(name) for name in names):
            return []
        sides = dict.fromkeys(self.ledger[name].side for name in names)
        groups = [[name for name in names if self.ledger[name].side == side] for side in sides]
        alone = self.phrases.pattern(finding, "present")
        return [self.rest(section, many, g) if len(g) > 1 else self.draft(section, alone, g[0]) for g in groups]

    def rest(self, section: str, several: str, names: Sequence[str]) -> Draft:
        """One sentence for many lesions: how many, on which side, how large the largest is."""
        facts = self.facts(names[0]) | {"count": self.phrases.number(len(names)), "within": self.shared_place(names)}
        return drafted(section, "several", several, facts, tuple(names))

    def by_urgency(self, findings: Iterable[str]) -> list[str]:
        """Findings once each, the most urgent first."""
        return sorted(set(findings), key=lambda finding: (self.phrases.rank(finding), finding))

    @staticmethod
    def by_size(seen: Mapping[str, Observation]) -> list[str]:
        """Ids, largest first; ids that arrived earlier first among equals."""

        def size(name: str) -> float:
            values = [m.value for quantity in SIZES if (m := seen[name].measured(quantity))]
            return -(values[0] if values else 0.0)

        return sorted(seen, key=size)

    # ---- facts

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

    def change(self, name: str) -> str:
        """ "new", "larger", "smaller" or "unchanged" in this language; nothing when it cannot be said."""
        now = self.ledger[name]
        if self.prior is None or name not in self.prior.matches or not isinstance(now, Observation):
            return ""
        change = change_between(self.prior.matches[name], now)
        return self.phrases.technique.get(f"change_{change}", "")

    def is_new(self, name: str) -> bool:
        """True for what the prior was searched for and did not show."""
        return self.prior is not None and name in self.prior.matches and self.prior.matches[name] is None

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

    # ---- places

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

    def shared_place(self, names: Iterable[str]) -> str:
        """The place of several lesions, with its preposition: "in both lungs"; nothing when it is not known of all."""
        seen = [record for name in names if isinstance(record := self.ledger[name], Observation)]
        home = self.vocabulary.finding(seen[0].finding).site
        sites = {record.site or home for record in seen}
        sides = {record.side for record in seen}
        if home and all(site and self.vocabulary.site_contains(home, site) for site in sites):
            sites = {home}
        if len(sites) > 1 or (None in sides and len(sides) > 1):
            return ""
        return self.within("bilateral" if len(sides) > 1 else next(iter(sides)), next(iter(sites)))

    @staticmethod
    def sided(name: str, side: Side | None) -> str:
        """("effusion", "left") -> "left effusion", "lesion of the left kidney"; as it is where no one side is meant."""
        if side not in ("left", "right"):
            return name
        what, of, organ = name.rpartition(" of the ")
        return f"{what}{of}{side} {organ}" if of else f"{side} {name}"

    # ---- limits

    def limits(self, keys: Sequence[str]) -> dict[str, str]:
        """Two facts: `limits`, said in passing ("in the covered part"), and `aside`, said in brackets."""
        own = [self.phrases.limits[key] for key in keys if key in self.phrases.limits]
        where_first = sorted(own, key=lambda words: words.startswith(","))
        aside = [CONDITIONS[key] for key in keys if key not in self.phrases.limits]
        return {"limits": " ".join(where_first), "aside": ", ".join(aside)}


def seen_there(search: Search, seen: Iterable[Observation]) -> bool:
    """True when the finding was seen, or suspected, on the side that was searched."""
    everywhere = (None, "bilateral")
    return any(o.side == search.side or o.side in everywhere or search.side in everywhere for o in seen)
