"""What a search is for: words, a report of ours, or a scan, which is read first."""

from __future__ import annotations

from pathlib import Path

from app.encoding import asked_of, of_case, words_asked_of
from app.reopen import ledger_of
from retrieval.facts import from_ledger, from_text
from retrieval.library import CaseLibrary
from retrieval.search import Query
from vlm.errors import UsageError, shown
from vlm.evidence import Case
from vlm.report import Report


def query_of(what: str, library: CaseLibrary, patient: str = "") -> tuple[Query, str]:
    """The query of a command line's PATH or TEXT, and why images have no part in it where the library has some.

    Raises:
        UsageError: it names a file that is not there.
        IntakeError: it is a scan that is refused.
    """
    path = Path(what)
    try:
        there = path.exists()
    except OSError:  # longer than a file name may be: words
        there = False
    if not there:
        if "/" in what and " " not in what:
            raise UsageError(f"E_USAGE: {shown(path.name)} is missing, expected a scan, a report folder or words.")
        return query_of_words(what, library, patient), ""
    written = path / "report.json"
    if path.is_dir() and written.exists():
        return of_report(Report.model_validate_json(written.read_text(encoding="utf-8")), library, patient)
    from app.reading import read_scan  # loads every tool

    return of_case_in(read_scan(path).case, library, patient)


def query_of_words(words: str, library: CaseLibrary, patient: str = "") -> Query:
    """The query of words: what they say of findings, and the words themselves."""
    return Query(text=words, facts=from_text(words), vectors=words_asked_of(library, words), patient=patient)


def of_report(report: Report, library: CaseLibrary, patient: str = "") -> tuple[Query, str]:
    """The query of a report of ours: what was measured and searched, and its scan's vectors if it was encoded here."""
    content = str(report.provenance.get("input_sha256", ""))
    image = asked_of(library, content, None)
    facts = from_ledger(ledger_of(report))
    return Query(facts=facts, content=content, vectors=image.vectors, patient=patient), image.missing


def of_case_in(case: Case, library: CaseLibrary, patient: str = "") -> tuple[Query, str]:
    """The query of an open case: what its ledger holds, and its vectors where the library has some."""
    content = case.volume.sha256
    image = asked_of(library, content, lambda: of_case(case))
    return Query(facts=from_ledger(case.ledger), content=content, vectors=image.vectors, patient=patient), image.missing
