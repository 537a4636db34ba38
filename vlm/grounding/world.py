"""What every rule may look at beside the statement: ledger, vocabulary, context."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from vlm.evidence import Coverage, Evidence, Ledger, Observation, Search, Side
from vlm.findings.vocabulary import Vocabulary
from vlm.grounding.places import overlaps, place_fit, site_of
from vlm.grounding.verdict import Context

FULL_COVER = 0.98  # fraction from which a place counts as covered: what is lost to voxels cut by its edge


@dataclass(frozen=True, slots=True)
class World:
    """The facts of one check. Nothing in it changes while it runs."""

    ledger: Ledger
    vocabulary: Vocabulary
    context: Context

    def seen(self, finding: str) -> Iterator[tuple[str, Observation]]:
        """Observations, present or uncertain, of the finding or of a kind of it."""
        for name, record in self.ledger.observations().items():
            if record.presence != "absent" and self.vocabulary.is_a(record.finding, finding):
                yield name, record

    def searches_for(self, finding: str, records: dict[str, Evidence]) -> Iterator[tuple[str, Search]]:
        """Of some records, the searches that looked for the finding or for what includes it."""
        for name, record in records.items():
            if isinstance(record, Search) and self.vocabulary.is_a(finding, record.finding):
                yield name, record

    def home(self, finding: str) -> str | None:
        """The site a finding has by itself."""
        entry = self.vocabulary.findings.get(finding)
        return entry.site if entry else None

    def sites_claimed(self, finding: str, sites: Collection[str]) -> tuple[str, ...]:
        """The sites that are named, or the one the finding has by itself."""
        home = self.home(finding)
        return tuple(sites) or ((home,) if home else ())

    def coverage(self, side: Side | None, site: str) -> Iterator[tuple[str, Coverage]]:
        """Records of how much of a site, or of what holds it, lies in the field of view."""
        for name, record in self.ledger:
            if not isinstance(record, Coverage) or (record.side and side and record.side != side):
                continue
            if record.site == site or self.vocabulary.site_contains(record.site, site):
                yield name, record

    def is_at(self, side: Side | None, sites: Collection[str], record: Evidence) -> bool:
        """True when the record lies certainly within the claimed place."""
        return place_fit(side, sites, record, self.vocabulary)[0] == "within"

    def may_be_at(self, side: Side | None, sites: Collection[str], record: Evidence) -> bool:
        """True unless the record lies certainly elsewhere."""
        return overlaps(side, sites, record, self.vocabulary)

    def site_of(self, record: Evidence) -> str | None:
        """The site of a record, or of its finding."""
        return site_of(record, self.vocabulary)
