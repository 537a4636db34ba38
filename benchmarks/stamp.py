"""Every measured table says which commit made it, when, and by which command."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def stamp(command: str) -> str:
    """One line: date, commit (marked when the tree has changes) and the command."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown commit"
    dirty = " with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}{dirty}: `{command}`"


def write_section(path: Path, name: str, text: str) -> None:
    """Replace what stands between the marks of ``name`` in a page; the marks must be there.

    Raises:
        ValueError: when the page has no such marks.
    """
    page = path.read_text(encoding="utf-8")
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    head, found, rest = page.partition(begin)
    if not found or end not in rest:
        raise ValueError(f"{path.name} has no part between {begin} and {end}")
    tail = rest.partition(end)[2]
    path.write_text(f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}", encoding="utf-8")


def _git(*words: str) -> str:
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
