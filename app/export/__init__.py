"""A report on disk: report.md, report.json, masks and key images, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

from app.export.key_images import window_for, write_key_images
from app.export.markdown import to_markdown
from app.export.masks import write_masks
from app.export.place import check_folder, check_report_folder, staged, write_text
from vlm.evidence import Case, Observation, Region
from vlm.report import Report

__all__ = ["check_folder", "check_report_folder", "staged", "to_markdown", "write_report", "write_text"]


def write_report(folder: Path, report: Report, case: Case, sections: dict[str, str]) -> None:
    """Write a report and what it points at below ``folder``; an older report there is replaced.

    Args:
        folder: made when missing.
        report: what was read.
        case: the scan and its masks.
        sections: evidence id -> section, which chooses the window of its key image.

    Raises:
        UsageError: the folder cannot be written; an older report in it stays as it was.
    """
    check_report_folder(folder)
    with staged(folder) as staging:
        write_masks(staging / "masks", case.masks, case.volume.grid)
        write_key_images(staging / "key", case.volume, case.masks, _marked(case, sections))
        (staging / "report.md").write_text(to_markdown(report), encoding="utf-8")
        document = json.dumps(report.model_dump(mode="json", by_alias=True), indent=1)
        (staging / "report.json").write_text(document + "\n", encoding="utf-8")


def _marked(case: Case, sections: dict[str, str]) -> dict[str, tuple[Region, str]]:
    """Observations that have a mask, with the window in which they are shown."""
    return {
        name: (record.region, window_for(record.finding, sections.get(name, "")))
        for name, record in case.ledger
        if isinstance(record, Observation) and record.region is not None and record.region.mask
    }
