"""What can be put into a body: every finding with its parameters and words that ask for it.

python -m benchmarks.drawable [--write-docs]
"""

from __future__ import annotations

import argparse

from benchmarks.stamp import ROOT, write_section
from vlm.evidence import QUANTITIES, UNIT_WORDS
from vlm.findings.vocabulary import load_vocabulary
from vlm.phantom.body.findings import FINDINGS, Entry


def table() -> str:
    """One row a finding, by section of a report, as Markdown."""
    vocabulary = load_vocabulary()
    lines = ["| finding | asked for as | size | side | where | how it looks |", "| --- | --- | --- | --- | --- | --- |"]
    order = sorted(FINDINGS, key=lambda key: list(vocabulary.findings).index(key))
    lines += [_row(FINDINGS[key]) for key in order]
    return "\n".join(lines)


def _row(entry: Entry) -> str:
    size = "-"
    if entry.size is not None:
        unit = UNIT_WORDS[QUANTITIES[entry.size.quantity][0]]
        high = "" if entry.size.high >= 1e3 and unit == "mm" else f" to {entry.size.high:g}"
        size = f"{entry.size.quantity.replace('_', ' ')} {entry.size.low:g}{high} {unit}".strip()
        size += f", usual {entry.size.usual:g}"
    side = {"must": "left or right", "may": "may be said", "none": "-"}[entry.side]
    words = f'"{entry.example}"' + (", also several" if entry.many else "")
    sites, looks = (", ".join(names).replace("_", " ") or "-" for names in (entry.sites, entry.attributes))
    return f"| {entry.finding} | {words} | {size} | {side} | {sites} | {looks} |"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--write-docs", action="store_true")
    text = table()
    print(text)
    if parser.parse_args().write_docs:
        write_section(ROOT / "docs" / "phantom.md", "drawable", text)


if __name__ == "__main__":
    main()
