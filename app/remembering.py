"""Similar cases beside a report, and the checks that they propose.

Retrieval proposes, the tools decide: what similar cases have and this one is not known to have becomes a check. A
check names the tools' answer, or that no tool looks for it. Nothing of a similar case enters the ledger, so
no sentence can rest on it; its words enter neither report nor prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.case_queries import of_case_in
from app.running import failed_search
from retrieval.caches import Indexes
from retrieval.library import CaseLibrary
from retrieval.proposals import Proposal, propose
from retrieval.search import Difference, Search, Similar
from vlm.encoder.weights import EXTRA
from vlm.errors import TomoscribeError
from vlm.evidence import CONDITIONS, Case, Ledger
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.denials import usable
from vlm.report import CapabilityOff, EvidenceRecord, Sentence, ToolRecord
from vlm.tools import Tool

SHOWN = 5  # similar cases beside a report
ASKED = 10  # neighbours that propose
CAPABILITY = "similar cases"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A proposal, and what came of it."""

    proposal: Proposal
    outcome: str  # "found", "uncertain", "searched, none", "searched within limits: …", "not assessed: …"
    evidence: tuple[str, ...]  # ids of the searches and observations that say so
    tools: tuple[str, ...] = ()  # tools that ran because of it


@dataclass(frozen=True, slots=True)
class Memory:
    """What a library had to say of a case."""

    similar: tuple[Similar, ...] = ()
    checks: tuple[Check, ...] = ()
    cases: int = 0  # in the library
    generation: int = 0
    off: CapabilityOff | None = None  # why there is nothing
    images_off: CapabilityOff | None = None  # why images were not compared, where the library has some

    def records(self, after: int) -> dict[str, EvidenceRecord]:
        """Records of kind "similar" for report.json, with ids that follow ``after`` entries of the ledger.

        They are not in the ledger: a sentence that cites one cites nothing.
        """
        return {f"E{after + n}": _record(similar) for n, similar in enumerate(self.similar, start=1)}

    def provenance(self) -> dict[str, object]:
        """What report.json says of the library."""
        checks = [
            {"finding": c.proposal.finding, "similar_cases_with_it": c.proposal.cases,
             "similar_cases": c.proposal.among, "share_of_library": c.proposal.base,
             "outcome": c.outcome, "evidence": list(c.evidence),
             "tools_run_for_it": list(c.tools)}
            for c in self.checks
        ]  # fmt: skip
        return {"cases": self.cases, "generation": self.generation, "checks": checks}


def nothing(reason: str, remedy: str) -> Memory:
    """No similar cases, and why."""
    return Memory(off=CapabilityOff(capability=CAPABILITY, reason=reason, remedy=remedy))


def remember(case: Case, tools: Mapping[str, Tool], folder: Path | None, *, patient: str = "") -> Memory:
    """Find cases like this one, and let tools that have not looked yet look for what they propose.

    Args:
        case: the scan, its ledger filled by the tools that ran.
        tools: every tool; one that observes a proposed finding and has left no record of it runs now.
        folder: the library; None: without one.
        patient: whose cases never come back.

    A library that is missing, empty or damaged turns the capability off; it never fails a reading.
    """
    if folder is None:
        return nothing(
            "no case library was asked", "Name one by --library; make one with: tomoscribe index add FOLDER."
        )
    try:
        library = CaseLibrary(folder, make=False)
    except TomoscribeError as error:
        return nothing(str(error).removeprefix("E_USAGE: "), "tomoscribe index add FOLDER")
    indexes = Indexes(library)
    try:
        query, images = of_case_in(case, library, patient)
        found = Search(library, indexes).similar(query, ASKED)
        if not found:
            return nothing("the library holds no case like this one", "tomoscribe index add FOLDER")
        proposals = propose(library, query.facts, found)
        checks = tuple(carry_out(case, proposal, tools) for proposal in proposals)
        off = CapabilityOff(capability="similar images", reason=images, remedy=EXTRA) if images else None
        return Memory(tuple(found[:SHOWN]), checks, library.count(), library.generation, images_off=off)
    except TomoscribeError as error:
        return nothing(str(error).removeprefix("E_USAGE: "), "tomoscribe index check")
    finally:
        indexes.close()
        library.close()


def carry_out(case: Case, proposal: Proposal, tools: Mapping[str, Tool]) -> Check:
    """Let the tools that observe a finding look for it, where none has, and say what the ledger then holds."""
    ran = []
    for tool in tools.values():
        if proposal.finding in tool.observes and not _looked_by(case.ledger, tool.name):
            ran.append(tool.name)
            try:
                found = tool.run(case)
            except Exception as fault:  # the edge of a tool, as in a reading
                found = [failed_search(tool, proposal.finding, type(fault).__name__)]
            for record in found:
                case.ledger.add(record)
    outcome, evidence = outcome_of(case.ledger, proposal.finding)
    return Check(proposal=proposal, outcome=outcome, evidence=evidence, tools=tuple(ran))


def _looked_by(ledger: Ledger, tool: str) -> bool:
    return any(record.tool == tool for _, record in ledger)


def outcome_of(ledger: Ledger, finding: str) -> tuple[str, tuple[str, ...]]:
    """What a ledger says of a finding, and the ids that say so."""
    vocabulary = load_vocabulary()
    seen = {n: o for n, o in ledger.observations().items() if vocabulary.is_a(o.finding, finding)}
    for presence, word in (("present", "found"), ("uncertain", "uncertain")):
        if names := tuple(n for n, o in seen.items() if o.presence == presence):
            return word, names
    searches = {n: s for n, s in ledger.searches().items() if vocabulary.is_a(finding, s.finding)}
    good = {n: s for n, s in searches.items() if usable(s)}
    limits = dict.fromkeys(CONDITIONS[key] for s in (good or searches).values() for key in s.failed)
    if not good:
        return f"not assessed: {', '.join(limits) or 'no tool looks for it yet'}", tuple(searches)
    return (f"searched within limits: {', '.join(limits)}" if limits else "searched, none"), tuple(good)


def difference(without: Sequence[Sentence], with_it: Sequence[Sentence]) -> list[str]:
    """The sentences that a library takes away ("- …") and adds ("+ …"), in the order of the report."""
    before, after = [(s.section, s.text) for s in without], [(s.section, s.text) for s in with_it]
    return [f"- {text}" for section, text in before if (section, text) not in after] + [
        f"+ {text}" for section, text in after if (section, text) not in before
    ]


def _record(similar: Similar) -> EvidenceRecord:
    return EvidenceRecord(
        kind="similar",
        tool=ToolRecord(name="case_library", version="1"),
        attributes={
            "case": similar.case.name,
            "likeness": "" if similar.likeness is None else f"{similar.likeness:.2f}",
            "shared": ", ".join(similar.shared),
            "only_there": ", ".join(told(d) for d in similar.only_there),
            "only_here": ", ".join(told(d) for d in similar.only_here),
        },
        note="a case of the library; it carries no sentence",
    )


def told(found: Difference) -> str:
    """A difference as report.json keeps it: "pleural_effusion=absent"."""
    return f"{found.finding}={found.other or 'not_assessed'}"
