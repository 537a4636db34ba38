"""How the command line shows what functions give back: tables on stdout, by rich."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypedDict

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from vlm.language.events import Event, Note, Said, Show

if TYPE_CHECKING:
    from app.doctor import Check
    from app.segmenting import Segmented
    from vlm.ct import Inventory

UNMEASURED, MISSED = "not measured", "missed too often in tests"


class ToolRow(TypedDict):
    """A tool as ``tomoscribe tools`` lists it."""

    name: str
    version: str
    summary: str
    observes: list[str]
    needs: list[str]
    limits: dict[str, str]  # finding -> "finds 90 % from 6 mm", or why it says none


def tool_rows() -> list[ToolRow]:
    """Every tool with what it observes and its measured limits."""
    from vlm.tools import load_tools
    from vlm.tools.registry import doubts, measured_limit

    rows = []
    for tool in load_tools().values():
        limits = {}
        for finding in tool.observes:
            smallest, sensitivity = measured_limit(tool.name, finding)
            known = smallest is not None and sensitivity is not None
            unknown = MISSED if "often_missed" in doubts(tool.name, finding) else UNMEASURED
            limits[finding] = f"finds {sensitivity:.0%} from {smallest}" if known else unknown
        rows.append(
            ToolRow(
                name=tool.name,
                version=tool.version,
                summary=tool.summary,
                observes=list(tool.observes),
                needs=list(tool.needs),
                limits=limits,
            )
        )
    return rows


def show_tools(rows: list[ToolRow]) -> None:
    """Print the tools as a table that fits 80 columns: measured limits a line each, the others together."""
    table = Table(Column("tool", no_wrap=True), "what it does, and the size from which it was measured to find what")
    for row in rows:
        limits = row["limits"].items()
        lines = [
            row["summary"],
            *(f"{finding}: {limit}" for finding, limit in limits if limit not in (UNMEASURED, MISSED)),
        ]
        for why, said in ((UNMEASURED, "limit not measured"), (MISSED, "missed too often in tests to be denied")):
            those = [finding for finding, limit in limits if limit == why]
            lines += [f"{said}: {', '.join(those)}"] if those else []
        table.add_row(row["name"], escape("\n".join(lines)), end_section=True)
    Console().print(table)


def show_segmented(told: Segmented) -> None:
    """Print each structure with its state; its volume where the engine that found it is good enough for one."""
    table = Table("structure", Column("ml", justify="right"), "state", "found by", "Dice", box=SIMPLE_HEAD)
    for name, one in told["told"].items():
        if one["state"] == "not looked for":
            continue
        quality = "" if one["quality"] is None else f"{one['quality']:.2f}"
        volume = f"{one['ml']:.1f}" if one["measurable"] else ""
        table.add_row(name, volume, escape(one["reason"] or one["state"]), escape(one["engine"]), quality)
    console = Console()
    console.print(table)
    nobody = [name for name, one in told["told"].items() if one["state"] == "not looked for"]
    if nobody:
        console.print(escape(f"Not looked for, since no engine that is on tells them: {', '.join(nobody)}."))
    console.print("No volume is told where not all is in view, or the engine is not good enough on other patients.")


SAID = {
    "present": "[bold]present[/bold]", "uncertain": "[yellow]uncertain[/yellow]", "absent": "not found",
    "limited": "not found, with limits", "not_assessed": "not assessed",
}  # fmt: skip


def show_queries(told: Mapping[str, Any]) -> None:
    """Print what each query came to; what is off for all of them stands once, below."""
    table = Table("query", "answer", "what it rests on", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for row in told["answers"]:
        holds = {True: "true", False: "false", None: "cannot say"}[row["holds"]]
        said = f"{SAID[row['status']]}, so {holds}" if row["denied"] else SAID[row["status"]]
        read = [f"read as {', '.join(row['findings'])}"] if row["read_by"] not in ("vocabulary", "pack", "") else []
        parts = [*row["found"].values(), row["why"], row["limit"], *read, " ".join(row["cites"][:8])]
        parts += [_scored(name, row["columns"][name]) for name in ("zero_shot", "heads")]
        parts.append(_voted(row["columns"]["neighbours"]))
        table.add_row(escape(row["words"]), said, escape("; ".join(part for part in parts if part)))
    console = Console()
    console.print(table)
    if told["answers"]:
        columns = told["answers"][0]["columns"]
        off = [
            f"{name.replace('_', '-')}: {state['why']}" for name, state in columns.items() if state["state"] == "off"
        ]
        console.print(escape(f"Off: {'; '.join(off)}."))
    if drawn := told.get("heatmap"):
        console.print(escape(f"Written to {drawn['file']}, {drawn['mask']}, by {drawn['source']}"), soft_wrap=True)


def _scored(name: str, column: Mapping[str, Any]) -> str:
    """What an image encoder says: a probability where it is calibrated, else a score and why it is no more."""
    if column["state"] == "off":
        return ""
    said = f"{name.replace('_', '-')}: score {column['score']:.2f}"
    if column["probability"] is None:
        return f"{said} ({column['why']})"
    likely, low, high = column["probability"]
    return f"{said}, probability {likely:.2f} ({low:.2f}-{high:.2f}; {column['why']})"


def _voted(column: Mapping[str, Any]) -> str:
    """What neighbours say, apart from what tools measured; nothing where they do not vote."""
    if column["state"] == "off":
        return ""
    likely = "" if column["probability"] is None else f", probability {column['probability']:.2f}"
    return f"similar cases: {column['with_it']} with it, {column['without_it']} without{likely}"


def show_event(event: Event) -> None:
    """Print what a person reads of an answer: sentences with their citations, notes, places to look at."""
    console = Console()
    if isinstance(event, Said):
        by = " (worded by the language model)" if event.author == "model" else ""
        doubt = "" if event.verdict in ("supported", "neutral") else f" ({event.verdict}: {event.reason})"
        console.print(escape(f"{event.text} [{', '.join(event.cites)}]{doubt}{by}"), soft_wrap=True)
    elif isinstance(event, Note):
        console.print(escape(event.text), style="dim", soft_wrap=True)
    elif isinstance(event, Show):
        at = ", ".join(f"{value:.1f}" for value in event.mm)
        slices = f", slices {event.slices[0] + 1} to {event.slices[1] + 1}" if event.slices else ""
        console.print(escape(f"{event.evidence or event.mask or 'marked'}: at ({at}) mm{slices}"), style="dim")


def show_doctor(checks: list[Check]) -> None:
    """Print what is on and what is off."""
    table = Table("part", "state", Column("found", overflow="fold"), Column("to turn it on", overflow="fold"))
    for check in checks:
        colour = "green" if check["state"] == "on" else "yellow"
        state = f"[{colour}]{check['state']}[/{colour}]"
        table.add_row(check["name"], state, escape(check["found"]), check["remedy"])
    Console().print(table)


def show_weights(told: Mapping[str, Any]) -> None:
    """Print what a file of weights is, and the first keys that do not fit."""
    console = Console()
    console.print(escape(f"{told['file']}: {told['kind'] or 'not known'}, {told['format']}, {told['tensors']} tensors, "
                         f"{told['parameters']:,} numbers, sha256 {told['sha256'][:16]}…"))  # fmt: skip
    if told["licence"]:
        console.print(escape(f"Licence: {told['licence']}"))
    for what in ("missing", "unknown", "misshapen"):
        if names := told[what]:
            more = f", and {len(names) - 5} more" if len(names) > 5 else ""
            console.print(escape(f"{what}: {len(names)}: {', '.join(names[:5])}{more}"))
    if told["renamed"]:
        console.print(f"renamed: {told['renamed']} keys had a wrapper's name before their own")
    verdict = "It fits: query --encoder can use it." if told["usable"] else "It cannot be used."
    console.print(escape(" ".join(part for part in (verdict, told["note"]) if part)))


def show_inventory(inventory: Inventory) -> None:
    """Print the series, the one that would be read, and everything that speaks for or against it."""
    console = Console()
    table = Table(
        Column("series", no_wrap=True),
        "kind",
        "slices",
        "size",
        Column("spacing mm", no_wrap=True),
        "plane",
        "kernel",
        Column("verdict", no_wrap=True),
        box=SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
    )
    for series in inventory.series:
        spacing = " x ".join(f"{step:.3g}" for step in series.spacing_mm or ())
        name = f"[bold]{series.series}[/bold]" if series.chosen else series.series
        size = f"{series.columns} x {series.rows}"
        row = (
            name,
            series.kind,
            str(series.slices),
            size,
            spacing,
            series.plane,
            series.kernel,
            escape(series.verdict),
        )
        table.add_row(*row)
    console.print(table)
    if inventory.why:
        console.print(escape(inventory.why))
    for skipped in inventory.skipped:
        console.print(f"Left out: {skipped.files} x {escape(skipped.kind)}")
    for broken in inventory.refused_files if inventory.refusal is None else ():
        console.print(f"Not readable: {broken.files} x {escape(broken.message)}")
    for note in inventory.intake:
        console.print(f"{note.severity}: {escape(note.message)} ({note.code})")
    if inventory.refusal:
        console.print(f"[red]refused:[/red] {escape(inventory.refusal.message)}")
    if inventory.geometry:
        shape = " x ".join(str(n) for n in inventory.geometry.shape)
        spacing = " x ".join(f"{step:.4g}" for step in inventory.geometry.spacing_mm)
        console.print(f"Volume: {shape} voxels of {spacing} mm, axes RAS")


def show_learned(told: Mapping[str, Any]) -> None:
    """Print what an adapter is worth on patients that took no part."""
    table = Table("finding", "with it", "AUROC (95 %)", "before", "shuffled", box=SIMPLE_HEAD)
    for row in told["rows"]:
        auroc, low, high, before, shuffled = (
            "-" if row[name] is None else f"{row[name]:.3f}" for name in ("auroc", "low", "high", "before", "shuffled")
        )
        spread = "too few" if row["auroc"] is None else f"{auroc} ({low}-{high})"
        table.add_row(row["column"], f"{row['positives']} of {row['cases']}", spread, before, shuffled)
    console = Console()
    console.print(table)
    for column, why in told["uncalibrated"].items():
        console.print(escape(f"{column}: not calibrated, {why}"), style="dim", soft_wrap=True)
    console.print(escape(f"Written to {told['saved']}, {told['bytes'] / 1e6:.2f} MB"), soft_wrap=True)


def show_calibrations(told: Mapping[str, Any]) -> None:
    """Print each column's calibration, or why it has none."""
    table = Table("column", "with it", "AUROC (95 %)", "threshold", "sensitivity", "specificity", box=SIMPLE_HEAD)
    for row in told["columns"]:
        if "why" in row:
            table.add_row(row["column"], "", row["why"], "", "", "")
            continue
        auroc, sensitivity, specificity = (
            f"{row[name][0]:.2f} ({row[name][1]:.2f}-{row[name][2]:.2f})"
            for name in ("auroc", "sensitivity", "specificity")
        )
        found = f"{row['positives']} of {row['patients']}"
        table.add_row(row["column"], found, auroc, f"{row['threshold']:.2f}", sensitivity, specificity)
    console = Console()
    console.print(table)
    for skipped in told["skipped"]:
        console.print(escape(f"skipped {skipped['study']}: {skipped['reason']}"), style="dim", soft_wrap=True)
    if told["written"]:
        console.print(escape(f"Written to {told['written']}"), soft_wrap=True)
