"""How the command line shows a library and the cases that a search found."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Column, Table

from retrieval.caches import Indexes, least
from retrieval.cases import THUMBNAIL
from retrieval.library import CaseLibrary
from retrieval.likeness import Sharing
from retrieval.search import Difference, Similar
from vlm.findings.vocabulary import load_vocabulary

KNOWN = {"absent": "searched, none", "uncertain": "uncertain", "present": "present", None: "not assessed"}


def library_stats(indexes: Indexes) -> dict[str, Any]:
    """What a library holds, as ``index stats --json`` prints it."""
    library = indexes.library
    rows = library.tables.rows(
        "select finding, count(distinct case_id) n from facts where presence = 'present' and origin != 'words' "
        "group by finding order by n desc, finding"
    )
    found = []
    for kind, space, count in library.spaces():
        opened = indexes.get(kind, space)
        facts = asdict(opened.index.facts()) if opened else {}
        told = (
            {"statistics": opened.weights.version} if opened else {"layout": f"not searched below {least(kind, space)}"}
        )
        found.append({"kind": kind, "space": space, "vectors": count, **facts, **told})
    sources = library.tables.rows("select source, count(*) n from cases group by source order by source")
    return {
        "cases": library.count(), "patients": library.count("patients"), "sentences": library.count("sentences"),
        "generation": library.generation, "sources": {row["source"]: row["n"] for row in sources},
        "findings": {row["finding"]: row["n"] for row in rows}, "indexes": found,
        "megabytes": round(sum(p.stat().st_size for p in library.folder.rglob("*") if p.is_file()) / 1e6, 1),
    }  # fmt: skip


def show_stats(found: dict[str, Any]) -> None:
    """Print what a library holds."""
    console = Console()
    console.print(
        f"{found['cases']} cases of {found['patients']} patients, {found['sentences']} sentences, "
        f"{found['megabytes']} MB, generation {found['generation']}"
    )
    table = Table(
        "kind",
        Column("space", overflow="fold"),
        "vectors",
        "engine",
        "layout",
        "recall@10",
        Column("statistics", overflow="fold"),
    )
    for row in found["indexes"]:
        recall = row.get("recall")
        values = (row["kind"], row["space"], str(row["vectors"]), row.get("engine", ""), row.get("layout", ""))
        told = "" if "engine" not in row else "exact" if recall is None else f"{recall:.3f}"
        table.add_row(*values, told, row.get("statistics", ""))
    console.print(table)
    common = ", ".join(f"{escape(name_of(key))} {n}" for key, n in list(found["findings"].items())[:12])
    console.print(f"Most frequent: {common or 'none'}")


def similar_rows(found: list[Similar], means: Sharing | None = None) -> list[dict[str, Any]]:
    """The cases that came back, as ``search --json`` prints them and as the page shows them.

    Args:
        found: what came back.
        means: what a likeness means in this library; without it ``sharing`` is empty.
    """
    return [
        {
            "case": similar.case.name, "likeness": similar.likeness, "ranks": dict(similar.ranks),
            "scores": dict(similar.scores), "sharing": means.of(similar) if means else {},
            "shared": list(similar.shared), "only_there": _differences(similar.only_there),
            "only_here": _differences(similar.only_here), "sentence": similar.sentence,
            "regions": list(similar.case.regions), "phase": similar.case.phase, "age": similar.case.age,
            "sex": similar.case.sex, "source": similar.case.source, "folded": list(similar.folded),
            "report": similar.case.report,
        }
        for similar in found
    ]  # fmt: skip


def write_thumbnails(library: CaseLibrary, found: list[Similar], rows: list[dict[str, Any]], folder: Path) -> None:
    """Write the key image of each case that has one, and name it in its row."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for similar, row in zip(found, rows, strict=True):
        body = library.picture(similar.case.id, THUMBNAIL)
        row["thumbnail"] = None
        if body is not None:
            path = folder / f"{similar.case.name}.png"
            path.touch(mode=0o600)
            path.write_bytes(body)
            row["thumbnail"] = str(path)


def _differences(found: tuple[Difference, ...]) -> list[dict[str, str | None]]:
    return [{"finding": d.finding, "other": d.other} for d in found]


def show_similar(rows: list[dict[str, Any]], *, by_words: bool, blind: float | None = None) -> None:
    """Print the cases that came back as a table; what they differ in only where a case was searched for."""
    if not rows:
        Console().print("No case of the library fits.")
        return
    differ = () if by_words else ("both have", "they have", "here only")
    table = Table(Column("case", no_wrap=True), "like", *differ, *(("sentence", "present") if by_words else ()))
    for row in rows:
        like = "" if row["likeness"] is None else f"{row['likeness']:.2f}"
        like += "".join(f"\n{by_what(way)}: {share:.0%}" for way, share in row["sharing"].items())
        both = [name_of(key) for key in row["shared"]]
        there = [f"{name_of(d['finding'])} (here {KNOWN[d['other']]})" for d in row["only_there"]]
        here = [f"{name_of(d['finding'])} (there {KNOWN[d['other']]})" for d in row["only_here"]]
        present = [*both, *(name_of(d["finding"]) for d in row["only_there"])]
        told = [row["sentence"], ", ".join(present)] if by_words else ["\n".join(part) for part in (both, there, here)]
        name = f"{row['case']}\n{row['thumbnail'] or 'no image is kept'}" if "thumbnail" in row else row["case"]
        table.add_row(escape(name), like, *(escape(part) for part in told), end_section=True)
    Console().print(table)
    if any(row["sharing"] for row in rows):
        means = "%: of neighbours at such a score in this library, how many share a finding of the case"
        Console().print(f"{means}; of any cases, {blind:.0%}." if blind is not None else f"{means}.")


def by_what(way: str) -> str:
    """What was compared, in a word: "scan astra" -> "image"."""
    return "findings" if way.endswith("findings") else "image"


def name_of(finding: str) -> str:
    """What a person calls a finding."""
    entry = load_vocabulary().findings.get(finding)
    return entry.name if entry else finding
