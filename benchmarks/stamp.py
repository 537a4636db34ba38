"""Every measured table says which commit made it, when, and by which command, and stands between marks in its page."""

from __future__ import annotations

from pathlib import Path

from app.measuring.stamp import ROOT, stamp

__all__ = ["ROOT", "stamp", "write_section"]


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
