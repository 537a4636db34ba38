"""What a search is for: words, a report of ours, or a scan, which is read first."""

from __future__ import annotations

from pathlib import Path

from app.reopen import ledger_of
from retrieval.facts import from_ledger, from_text
from retrieval.search import Query
from vlm.errors import UsageError, shown
from vlm.evidence import Ledger
from vlm.report import Report


def query_of(what: str, patient: str = "") -> Query:
    """The query of a command line's PATH or TEXT.

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
        return Query(text=what, facts=from_text(what), patient=patient)
    kept = path / "report.json"
    if path.is_dir() and kept.exists():
        return of_report(Report.model_validate_json(kept.read_text(encoding="utf-8")), patient)
    from app.reading import read_scan  # loads every tool

    reading = read_scan(path)
    return of_ledger(reading.case.ledger, str(reading.report.provenance["input_sha256"]), patient)


def of_report(report: Report, patient: str = "") -> Query:
    """The query of a report of ours."""
    return of_ledger(ledger_of(report), str(report.provenance.get("input_sha256", "")), patient)


def of_ledger(ledger: Ledger, content: str, patient: str = "") -> Query:
    """The query of a reading: what was measured and searched."""
    return Query(facts=from_ledger(ledger), content=content, patient=patient)
