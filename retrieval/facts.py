"""What a case shows, finding by finding: from the ledger of a reading, and from the words of a report.

A Fact says that a finding is present, uncertain, or was looked for and not found. What nobody looked for has
no fact: silence is not "absent".
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from vlm.evidence import Coverage, Ledger, Observation, Presence, Search, Side
from vlm.findings.mentions import Mention
from vlm.findings.reader import read_report
from vlm.findings.vocabulary import load_vocabulary

Origin = Literal["measured", "report", "words"]  # words: of our own report, which only repeats what was measured

# Organs with a vector of their own. A finding belongs to the nearest of them that contains its site.
ORGANS = (
    "lung", "pleura", "bronchi", "trachea", "heart", "pericardium", "coronary_arteries", "aorta", "pulmonary_artery",
    "mediastinum", "oesophagus", "thyroid", "breast", "chest_wall", "liver", "gallbladder", "bile_ducts", "spleen",
    "pancreas", "adrenal", "kidney", "ureter", "bladder", "prostate", "uterus", "stomach", "bowel", "appendix",
    "peritoneum", "vertebra", "spine", "rib", "bone", "subcutaneous_fat",
)  # fmt: skip
REGIONS = ("head", "neck", "chest", "abdomen", "pelvis")
COVERED = 0.3  # covered share from which a region counts as part of the scan
SIZES = ("diameter", "thickness", "short_axis")  # the lengths that a size filter compares, mm, first one measured
MM = {"mm": 1.0, "cm": 10.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that is known of a case."""

    finding: str  # key of the vocabulary
    presence: Presence
    side: Side | None = None
    site: str | None = None
    size_mm: float | None = None
    origin: Origin = "measured"

    @property
    def organ(self) -> str | None:
        """The organ that this belongs to; None where neither site nor finding names one."""
        return organ_of(self.finding, self.site)


@functools.cache
def organ_of(finding: str, site: str | None) -> str | None:
    """The nearest of ORGANS that contains a site, or the finding's own site."""
    vocabulary = load_vocabulary()
    entry = vocabulary.findings.get(finding)
    for start in (site, entry.site if entry else None):
        if start is None:
            continue
        held = [organ for organ in ORGANS if vocabulary.site_contains(organ, start)]
        if held:  # the nearest is inside every other one
            return max(held, key=lambda organ: len(vocabulary.containers(organ)))
    return None


def from_ledger(ledger: Ledger) -> tuple[Fact, ...]:
    """What the tools measured and searched; a search counts as "not found" only where it looked."""
    facts: list[Fact] = []
    for _, record in ledger:
        if isinstance(record, Observation):
            size = next((m.value for quantity in SIZES if (m := record.measured(quantity))), None)
            facts.append(
                Fact(
                    finding=record.finding,
                    presence=record.presence,
                    side=record.side,
                    site=record.site,
                    size_mm=None if size is None else round(size, 1),
                )
            )
        elif isinstance(record, Search) and record.denies and record.found == 0:
            facts.append(Fact(finding=record.finding, presence="absent", side=record.side, site=record.site))
    return without_repeats(facts)


def from_text(text: str) -> tuple[Fact, ...]:
    """What a report says of the patient now: no history, no indication, nothing that was "not assessed"."""
    return without_repeats(fact for reading in read_report(text) for fact in from_mentions(reading.mentions))


def from_mentions(mentions: Iterable[Mention]) -> Iterable[Fact]:
    """The facts of one sentence's mentions."""
    for mention in mentions:
        if mention.status == "current" and mention.assessed:
            sizes = [q.value * MM[q.unit] for q in mention.quantities if q.unit in MM]
            yield Fact(
                finding=mention.finding,
                presence=mention.presence,
                side=mention.side,
                site=mention.site,
                size_mm=max(sizes) if sizes else None,
                origin="report",
            )


def without_repeats(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """The facts, each once; a finding that is there on one side is not "absent" as a whole."""
    held = tuple(dict.fromkeys(facts))
    seen = {(fact.finding, fact.side) for fact in held if fact.presence != "absent"}
    return tuple(
        fact
        for fact in held
        if fact.presence != "absent" or not ({(fact.finding, fact.side), (fact.finding, None)} & seen)
    )


def status(facts: Iterable[Fact]) -> dict[str, Presence]:
    """Finding -> present, uncertain or absent: the strongest that any fact says."""
    order: tuple[Presence, ...] = ("present", "uncertain", "absent")
    held: dict[str, Presence] = {}
    for fact in facts:
        before = held.get(fact.finding)
        if before is None or order.index(fact.presence) < order.index(before):
            held[fact.finding] = fact.presence
    return held


def regions_of(ledger: Ledger) -> tuple[str, ...]:
    """The regions that a scan covers, from the ledger's coverage."""
    covered = {record.site: record.covered for _, record in ledger if isinstance(record, Coverage)}
    return tuple(region for region in REGIONS if covered.get(region, 0.0) >= COVERED)


def regions_in(text: str) -> tuple[str, ...]:
    """The regions whose organs a report speaks of."""
    vocabulary = load_vocabulary()
    spoken = {site for reading in read_report(text) for site in reading.sites}
    spoken |= {entry.site for fact in from_text(text) if (entry := vocabulary.findings[fact.finding]).site is not None}
    return tuple(region for region in REGIONS if any(vocabulary.site_contains(region, site) for site in spoken))


PHASES: Sequence[tuple[str, str]] = (  # first match counts
    ("plain", r"without (?:intravenous |iv )?contrast|non[- ]?contrast|unenhanced|no (?:intravenous |iv )?contrast"),
    ("arterial", r"arterial phase|ct angiogra|\bcta\b|pulmonary angiogra"),
    ("portal", r"portal[- ]venous|venous phase"),
    ("enhanced", r"(?:with|after|following) (?:the )?(?:administration of )?(?:intravenous |iv )?contrast"),
    ("enhanced", r"contrast[- ]enhanced"),
)


def phase_in(text: str) -> str | None:
    """The contrast phase that a report names: plain, arterial, portal or enhanced; None when it names none."""
    low = text.lower()
    return next((phase for phase, pattern in PHASES if re.search(pattern, low)), None)
