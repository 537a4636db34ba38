"""What measuring mended: limits of the tools at an earlier commit beside those of today.

    python -m benchmarks.limits_before e50b5f3 [--write-docs]

The earlier figures are those that the package declared then, read from the history of this checkout.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from typing import Any

from app.measuring.intervals import wilson
from benchmarks.limits import COHORTS, TOOLS
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.evidence import UNIT_WORDS

Row = dict[str, Any]
Limits = dict[str, dict[str, Row]]
HEAD = ("cohort", "finding", "found by size, then", "now", "smallest at 0.9, then", "now", "false a scan, then", "now")


def limits_at(commit: str, name: str) -> Limits:
    """What a file of limits said at a commit; nothing where it was not there."""
    path = (TOOLS / name).relative_to(ROOT).as_posix()
    done = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=ROOT, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else {}


def limits_now(name: str) -> Limits:
    """What it says today."""
    path = TOOLS / name
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def compared(commit: str) -> list[str]:
    """A line of the table for each finding that both measured."""
    lines = []
    for cohort, kind in COHORTS.items():
        if kind.limits is None:
            continue
        then, now = limits_at(commit, kind.limits), limits_now(kind.limits)
        for tool in sorted(then.keys() & now.keys()):
            for finding in sorted(then[tool].keys() & now[tool].keys()):
                old, new = then[tool][finding], now[tool][finding]
                if old["n"] and new["n"]:
                    lines.append(f"| {cohort} | {finding} | {' | '.join(cells(old, new))} |")
    return lines


def cells(old: Row, new: Row) -> list[str]:
    """Pairs of then and now."""
    return [
        *(sizes(row) for row in (old, new)),
        *(smallest(row) for row in (old, new)),
        *(f"{row['false_positives_per_scan']:.2f}" for row in (old, new)),
    ]


def smallest(row: Row) -> str:
    """The size from which on nine in ten are found."""
    if row["smallest"] is None:
        return "not reached"
    return f"{row['smallest']:g} {UNIT_WORDS[row['unit']] or row['quantity']}"


def sizes(row: Row) -> str:
    """Found of all by size, the smallest first; bold where the interval lies below nine in ten."""
    shown = []
    for size, share in sorted(row["by_size"].items(), key=lambda item: float(item[0])):
        hits, number = (int(part) for part in share.split("/"))
        shown.append(f"{size}: {share}" if wilson(hits, number)[1] >= 0.9 else f"**{size}: {share}**")
    return ", ".join(shown)


def main() -> None:
    """Print the table, or write it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit")
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    table = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}", *compared(options.commit)]
    note = "Bold: the 95 % interval lies below nine in ten. Where the cohort was drawn anew, sizes differ."
    text = "\n".join([*table, "", note, "", stamp(f"python -m benchmarks.limits_before {options.commit}")])
    if options.write_docs:
        write_section(ROOT / "docs" / "limits.md", "before", text)
    else:
        sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
