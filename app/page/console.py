"""The findings console: every finding of the vocabulary with what this scan says of it.

One row a finding: present, uncertain, searched and not found, or not assessed and why; its side, size,
probability and tool; and where a click leads. Free words are read by the vocabulary's own reader.
"""

from __future__ import annotations

from typing import Any

from app.asking import answer
from app.page.scored import Scores, scores_of
from app.reopen import Opened
from vlm.evidence import Evidence, Observation, Search
from vlm.findings.packs import load_pack, pack_names
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.query import read_query
from vlm.language.standing import SIZES, STATUSES, size_of, status_of
from vlm.language.topic import topic_of
from vlm.report import SECTIONS


def rows(opened: Opened) -> list[dict[str, Any]]:
    """A row for each finding that the ledger knows, present ones first."""
    vocabulary = load_vocabulary()
    by_finding: dict[str, dict[str, Observation | Search]] = {}
    for name, record in opened.ledger:
        if isinstance(record, Observation | Search):
            by_finding.setdefault(record.finding, {})[name] = record
    scores = scores_of(opened.folder)
    made = [_row(key, found, opened, scores) for key, found in by_finding.items()]
    order = {section: n for n, section in enumerate(SECTIONS)}
    return sorted(
        made, key=lambda row: (STATUSES.index(row["status"]), order[vocabulary.section_of(row["key"])], row["name"])
    )


def _row(key: str, found: dict[str, Observation | Search], opened: Opened, scores: Scores) -> dict[str, Any]:
    finding = load_vocabulary().finding(key)
    seen = {name: r for name, r in found.items() if isinstance(r, Observation) and r.presence != "absent"}
    searches = {name: r for name, r in found.items() if isinstance(r, Search)}
    status, why = status_of(seen, searches)
    told = {n: r for n, r in seen.items() if r.presence == status} or found
    first = min(told, key=lambda name: -_size_value(told[name]))
    record = told[first]
    sides = {r.side for r in told.values() if r.side}
    return {
        "key": key, "name": finding.name, "section": SECTIONS[finding.section], "status": status, "why": why,
        "count": len(told) if seen else 0,
        "side": "both" if len(sides) > 1 or "bilateral" in sides else next(iter(sides), ""),
        "size": size_of(record) if seen else "",
        "probability": record.probability if isinstance(record, Observation) else None,
        **scores.beside(key, status), "tool": record.tool, "cites": list(told),
        "words": [finding.name, *finding.words, *finding.lay],
        "parents": sorted(load_vocabulary().ancestors(key)), **(place(opened, first) if seen else {}),
    }  # fmt: skip


def _size_value(record: Evidence) -> float:
    measured = [m.value for q in SIZES if isinstance(record, Observation) and (m := record.measured(q))]
    return measured[0] if measured else 0.0


def place(opened: Opened, name: str) -> dict[str, Any]:
    """Where evidence lies: a point in RAS mm, the label of its mask and the window to see it in; {} when nowhere."""
    record = opened.ledger[name]
    if record.region is None:
        return {}
    entry = next((e for e in opened.legend if name in e["evidence"]), None)
    mm = entry["mm"] if entry else list(record.region.centroid_mm)
    return {"mm": mm, "label": entry["label"] if entry else 0, "window": entry["window"] if entry else ""}


def query(opened: Opened, words: str) -> dict[str, Any]:
    """Free words against the console, read as ``tomoscribe query`` reads them: their rows, and how they stand.

    The name of an organ means every finding of it; then nothing is answered, the rows are shown.
    """
    asked, vocabulary = read_query(words), load_vocabulary()
    wanted = {k for k in vocabulary.findings if any(vocabulary.is_a(k, f) for f in asked.findings)}
    if not wanted and (sites := topic_of(words).sites):
        wanted = {
            k
            for k, f in vocabulary.findings.items()
            if f.site and any(vocabulary.site_contains(site, f.site) for site in sites)
        }
    found = [row for row in rows(opened) if row["key"] in wanted]
    told = answer(asked, opened.ledger) if asked.understood else None
    leads = next((p for name in (told or {"cites": ()})["cites"] if (p := place(opened, name))), {})
    return {
        "words": words, "keys": [row["key"] for row in found], "understood": bool(wanted), "rows": found,
        "answer": told, **leads,
    }  # fmt: skip


def packs() -> dict[str, dict[str, list[str]]]:
    """Each pack's columns and the findings they count."""
    return {name: {column.name: list(column.findings) for column in load_pack(name).columns} for name in pack_names()}
