"""What a search is for: words, a report of ours, or a scan, which is read first."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.case_queries import of_case_in, of_report, query_of_words
from app.encoding import in_images
from app.reading import read_scan
from retrieval.library import CaseLibrary
from retrieval.search import Query
from vlm.errors import UsageError, shown
from vlm.report import Report

if TYPE_CHECKING:
    from vlm.encoder import Encoder


def query_of(what: str, library: CaseLibrary, patient: str = "", encoder: Encoder | None = None) -> tuple[Query, str]:
    """The query of a command line's PATH or TEXT, and why images have no part in it where the library has some.

    Args:
        encoder: whose vectors the library holds, and whose words are asked of them; the embedded one when None.

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
        asked, missing = (None, "") if encoder is None else in_images(library, what, encoder)
        return replace(query_of_words(what, library, patient), in_images=asked), missing
    written = path / "report.json"
    if path.is_dir() and written.exists():
        return of_report(Report.model_validate_json(written.read_text(encoding="utf-8")), library, patient)
    return of_case_in(read_scan(path).case, library, patient, encoder)
