"""The query that words, a report of ours or an open case put to a library."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.encoding import asked_of, of_case, words_asked_of
from app.reopen import ledger_of
from retrieval.facts import Fact, from_ledger, from_text, regions_of
from retrieval.library import CaseLibrary
from retrieval.search import Query
from vlm.evidence import Case, Presence
from vlm.language.query import read_query
from vlm.report import Report

if TYPE_CHECKING:
    from vlm.encoder import Encoder


def query_of_words(words: str, library: CaseLibrary, patient: str = "") -> Query:
    """The query of words: what they say of findings, be it in a patient's words, and the words themselves."""
    return Query(
        text=words, facts=from_text(words) or _meant(words), vectors=words_asked_of(library, words), patient=patient
    )


def _meant(words: str) -> tuple[Fact, ...]:
    """What a patient's words mean, where the reader of reports finds nothing in them."""
    query = read_query(words)
    presence: Presence = "absent" if query.denied else "present"
    side = query.side if query.side in ("left", "right", "bilateral") else None
    return tuple(Fact(finding=key, presence=presence, side=side, origin="report") for key in query.findings)


def of_report(report: Report, library: CaseLibrary, patient: str = "") -> tuple[Query, str]:
    """The query of a report of ours: what was measured and searched, and its scan's vectors if it was encoded here."""
    content = str(report.provenance.get("input_sha256", ""))
    image = asked_of(library, content, None)
    ledger = ledger_of(report)
    return Query(
        facts=from_ledger(ledger), content=content, vectors=image.vectors, patient=patient, regions=regions_of(ledger)
    ), image.missing  # fmt: skip


def of_case_in(
    case: Case, library: CaseLibrary, patient: str = "", encoder: Encoder | None = None
) -> tuple[Query, str]:
    """The query of an open case: what its ledger holds, and its vectors where the library has some."""
    content = case.volume.sha256
    image = asked_of(library, content, lambda: of_case(case, encoder))
    return Query(
        facts=from_ledger(case.ledger), content=content, vectors=image.vectors, patient=patient,
        regions=regions_of(case.ledger),
    ), image.missing  # fmt: skip
