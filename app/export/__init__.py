"""A report on disk: report.md, report.json, masks and key images, each written whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from pathlib import Path

from app.export.key_images import window_for, write_key_images
from app.export.markdown import to_markdown
from app.export.masks import write_masks
from vlm.errors import UsageError
from vlm.evidence import Case, Observation, Region
from vlm.report import Report

__all__ = ["check_out", "to_markdown", "write_report", "write_text"]


def write_text(path: Path, text: str) -> None:
    """Write a text file so that a reader sees the old one or the new one, never a half."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).replace(path)
    finally:
        Path(name).unlink(missing_ok=True)


def check_out(folder: Path) -> None:
    """Refuse a folder that a report may not be written to: a file, or one with masks or keys that are not ours.

    Raises:
        UsageError: nothing was touched.
    """
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"E_USAGE: --out {folder.name} is a file, expected a folder. Name a new folder.")
    taken = [name for name in ("masks", "key") if (folder / name).exists()]
    if taken and not _is_ours(folder / "report.json"):
        raise UsageError(
            f"E_USAGE: --out {folder.name} holds {' and '.join(taken)} of somebody else, expected an empty folder "
            "or an older report. Name a new folder."
        )


def _is_ours(path: Path) -> bool:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and str(document.get("schema", "")).startswith("tomoscribe-report/")


def write_report(folder: Path, report: Report, case: Case, sections: dict[str, str]) -> None:
    """Write a report and what it points at below ``folder``.

    Everything is made in a hidden folder first; ``report.json`` moves last, so a folder with
    a new report.json is complete. An older report in the same folder is replaced.

    Args:
        folder: made when missing.
        report: what was read.
        case: the scan and its masks.
        sections: evidence id -> section, which chooses the window of its key image.
    """
    check_out(folder)
    folder.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(dir=folder, prefix=".new-"))
    try:
        write_masks(staging / "masks", case.masks, case.volume.grid)
        write_key_images(staging / "key", case.volume, case.masks, _marked(case, sections))
        for name in ("masks", "key"):
            shutil.rmtree(folder / name, ignore_errors=True)
            (staging / name).replace(folder / name)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    write_text(folder / "report.md", to_markdown(report))
    write_text(folder / "report.json", json.dumps(report.model_dump(mode="json", by_alias=True), indent=1) + "\n")


def _marked(case: Case, sections: dict[str, str]) -> dict[str, tuple[Region, str]]:
    """Observations that have a mask, with the window in which they are shown."""
    return {
        name: (record.region, window_for(record.finding, sections.get(name, "")))
        for name, record in case.ledger
        if isinstance(record, Observation) and record.region is not None and record.region.mask
    }
