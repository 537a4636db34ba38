"""What goes into the checker and what comes out: statements, their context, and verdicts.

A Statement is rendered text, as a person reads it, with the ids it cites. The Context
holds what the ledger does not: a registered prior, retrieved texts, strings that must
never be printed. A Verdict names the rule that decided and says why in one line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from vlm.evidence import CONDITIONS, Observation
from vlm.findings import vocabulary

VerdictName = Literal["contradicted", "unsupported", "limited", "supported", "neutral"]

# Worst first: the verdict of a statement is the worst that any rule gives.
WORST_FIRST: tuple[VerdictName, ...] = ("contradicted", "unsupported", "limited", "supported", "neutral")
PASSES: tuple[VerdictName, ...] = ("supported", "neutral")  # may be said as they stand

FINDINGS_SECTIONS = vocabulary.SECTIONS
NEUTRAL_SECTIONS = ("technique", "comparison")
SECTIONS = (*NEUTRAL_SECTIONS, *FINDINGS_SECTIONS, "impression", "to_review", "not_assessed")

# Words that make a limited sentence true, where the condition's own words would read badly.
LIMIT_WORDS: Mapping[str, str] = {
    "partly_covered": "in the covered part",
    "no_contrast": "without contrast",
    "possible": "possible",
    "likely": "likely",
    "definite": "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One sentence (or a short run of them) to be checked."""

    id: str
    section: str  # a key of SECTIONS
    text: str
    cites: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.section not in SECTIONS:
            raise ValueError(f"section {self.section!r} is unknown; known: {', '.join(SECTIONS)}")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of a statement, and why."""

    name: VerdictName
    rule: str  # a key of RULES
    reason: str
    limits: tuple[str, ...] = ()  # keys of CONDITIONS, or "possible" / "likely": what a limited sentence must add

    @property
    def words(self) -> tuple[str, ...]:
        """The words a writer can add so that a limited sentence becomes a supported one."""
        return tuple(LIMIT_WORDS.get(limit) or CONDITIONS.get(limit, "") for limit in self.limits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """An earlier scan of the same patient, registered to this one.

    ``matches`` maps an id of today's ledger to the earlier observation of the same thing, or
    to None when the earlier scan was searched there and had none. An id that is not in it
    cannot be compared. ``resolved`` are earlier observations that today's searches did not find.
    """

    matches: Mapping[str, Observation | None] = field(default_factory=dict)
    resolved: tuple[Observation, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a check needs beside the ledger."""

    prior: Prior | None = None  # None: no prior is registered
    retrieved: tuple[str, ...] = ()  # texts of retrieved reports: nothing of them may be copied
    identity: tuple[str, ...] = ()  # names, ids, institutions, dates from tags: never printed
    technique: tuple[tuple[float, str], ...] | None = None  # numbers of the technique that are true; None: not checked


def worst(verdicts: list[Verdict]) -> list[Verdict]:
    """The verdicts in order, worst first; rules that say the same keep their order."""
    return sorted(verdicts, key=lambda verdict: WORST_FIRST.index(verdict.name))
