"""The figures of a cohort as a Markdown table: the tool beside the trivial baseline."""

from __future__ import annotations

from typing import Any

from app.measuring.matching import Row
from vlm.evidence import UNIT_WORDS

HEAD = (
    "tool", "finding", "truths / scans", "found (95 %)", "smallest at 0.9", "by size", "false a scan (95 %)",
    "size error", "volume error", "place, mm", "F1 of scans",
)  # fmt: skip


def markdown(document: dict[str, Any]) -> str:
    """A table of every tool and finding, and how it was made; trivial baselines stand in brackets."""
    lines = [f"| {' | '.join(HEAD)} |", f"|{'---|' * len(HEAD)}"]
    for tool, findings in document["tools"].items():
        lines += [f"| {tool}{_how(row)} | {finding} | {' | '.join(_cells(row))} |" for finding, row in findings.items()]
    failed = "".join(f"\n- {name} was left out: {reason}" for name, reason in document["failed"].items())
    failed += "".join(f"\n- the tool {name} failed in {n} cases" for name, n in document["tools_failed"].items())
    notes = (
        f"{document['cases']} cases. Intervals by bootstrap over patients. In square brackets the trivial baseline: "
        "the cohort's median size, its mean place, every scan called ill. Left out are findings in scans where "
        "the tool says itself that it cannot judge, or that have the same already."
    )
    return "\n".join(lines) + f"\n\n{notes}{failed}\n\n{document['made_by']}{_apart(document)}"


def _apart(document: dict[str, Any]) -> str:
    """Which tools' rows another run measured, and which run that was."""
    runs: dict[str, list[str]] = {}
    for tool, findings in document["tools"].items():
        for made_by in {row["made_by"] for row in findings.values()} - {document["made_by"]}:
            runs.setdefault(made_by, []).append(tool)
    return "".join(f"\n\n{', '.join(tools)}: {made_by}" for made_by, tools in sorted(runs.items()))


def _how(row: Row) -> str:
    """That the structures were outlined as they were drawn, not found by an engine."""
    return ", outlined" if row.get("outlined") else ""


def _cells(row: Row) -> list[str]:
    truths = f"{row['n']} / {row['scans']}" + (f" ({row['not_judged']} left out)" if row["not_judged"] else "")
    if not row["n"]:
        return [truths, "", "", "", f"{row['false_positives_per_scan']:.2f}", "", "", "", ""]
    trivial = row["trivial"]
    return [
        truths,
        f"{row['found']:.2f}{_interval(row['found_interval'])}",
        "not reached"
        if row["smallest"] is None
        else f"{row['smallest']:g} {UNIT_WORDS[row['unit']] or row['quantity']}",
        ", ".join(f"{size}: {share}" for size, share in sorted(row["by_size"].items(), key=lambda one: float(one[0]))),
        f"{row['false_positives_per_scan']:.2f}{_interval(row['false_interval'])}",
        _median(row, "error", "{:.0%}", trivial["median_error"]),
        _median(row, "volume_error", "{:.0%}", None),
        _median(row, "place_mm", "{:.0f}", trivial["median_place_mm"]),
        f"{row['f1']:.2f} [{trivial['f1']:.2f}]",
    ]


def _interval(bounds: list[float] | None, style: str = "{:.2f}") -> str:
    return "" if bounds is None else f" ({style.format(bounds[0])}-{style.format(bounds[1])})"


def _median(row: Row, name: str, style: str, trivial: float | None) -> str:
    value = row[f"median_{name}"]
    if value is None:
        return ""
    beside = "" if trivial is None else f" [{style.format(trivial)}]"
    return style.format(value) + _interval(row[f"median_{name}_interval"], style) + beside
