"""What is known of a scan when questions start: it was just read, or its written report is opened again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from app.reading import Reading, read_scan
from app.reopen import context_of, ledger_of
from app.running import Progress, silent
from vlm.errors import UsageError
from vlm.evidence import Case, Ledger
from vlm.grounding import Context
from vlm.report import Report


@dataclass(frozen=True)
class Known:
    """A scan that has been read: its report and its evidence."""

    report: Report
    ledger: Ledger
    context: Context
    case: Case | None = None  # voxels and masks; None when a report was opened
    folder: Path = Path()  # of a report that was opened


def know(path: Path, *, series: str | None = None, prior: Path | None = None, progress: Progress = silent) -> Known:
    """Open a report that was written, or read a scan; nothing is written.

    Raises:
        IntakeError: the scan is refused.
        UsageError: the folder's report is damaged, or of another version.
    """
    written = path / "report.json"
    if not written.is_file():
        return known_of(read_scan(path, series=series, prior=prior, progress=progress))
    if series is not None or prior is not None:
        option = "--series" if series is not None else "--prior"
        raise UsageError(f"E_USAGE: {option} is for a scan; PATH holds a report already. Leave {option} out.")
    try:
        report = Report.model_validate_json(written.read_text(encoding="utf-8"))
        return Known(report, ledger_of(report), context_of(report), folder=path)
    except (ValueError, OSError) as error:
        why = type(error).__name__
        raise UsageError(
            f"E_USAGE: {path.name}/report.json cannot be opened ({why}), expected one that tomoscribe read wrote. "
            "Read the scan again."
        ) from None


def known_of(reading: Reading) -> Known:
    """What a reading that was just made knows."""
    context = context_of(reading.report, reading.prior)
    return Known(reading.report, ledger_of(reading.report), context, reading.case)
