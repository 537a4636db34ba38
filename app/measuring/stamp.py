"""Every measured table says which commit made it, when, and by which command."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def stamp(command: str) -> str:
    """One line: date, commit (marked when the tree has changes) and the command."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown commit"
    dirty = " with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
    return f"{datetime.now(UTC):%Y-%m-%d}, commit {commit}{dirty}: `{command}`"


def _git(*words: str) -> str:
    """What git says of the folder that the code lies in; nothing where it is no checkout."""
    if not (ROOT / ".git").exists():
        return ""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()
