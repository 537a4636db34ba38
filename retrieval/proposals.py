"""What similar cases suggest looking for: findings frequent among them that are not known to be here.

A proposal is a question for the tools. It states nothing of this case, and what the tools answer is theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from retrieval.facts import Fact, status
from retrieval.library import CaseLibrary
from retrieval.search import Similar
from vlm.findings.vocabulary import load_vocabulary

LEAST_CASES = 2  # neighbours that must have it
LEAST_SHARE = 0.3  # of the neighbours
LEAST_LIFT = 1.5  # times as frequent among neighbours as in the library


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A finding worth looking for."""

    finding: str
    cases: int  # neighbours that have it
    among: int  # neighbours
    base: float  # share of the whole library that has it


def propose(library: CaseLibrary, here: Iterable[Fact], neighbours: Sequence[Similar]) -> list[Proposal]:
    """Findings that neighbours have and this case is not known to have, most frequent first."""
    vocabulary, total = load_vocabulary(), library.count()
    mine = {key for key, presence in status(here).items() if presence != "absent"}
    counts: dict[str, int] = {}
    for neighbour in neighbours:
        for key, presence in status(neighbour.case.facts).items():
            if presence == "present" and key in vocabulary.findings:
                counts[key] = counts.get(key, 0) + 1
    found = []
    for key, cases in counts.items():
        known = any(vocabulary.is_a(held, key) or vocabulary.is_a(key, held) for held in mine)
        if known or cases < LEAST_CASES or cases < LEAST_SHARE * len(neighbours):
            continue
        base = library.frequency(key) / total if total else 0.0
        if cases / len(neighbours) >= LEAST_LIFT * base or total <= 2 * len(neighbours):  # a small library has no base
            found.append(Proposal(finding=key, cases=cases, among=len(neighbours), base=round(base, 4)))
    return sorted(found, key=lambda proposal: (-proposal.cases, proposal.finding))
