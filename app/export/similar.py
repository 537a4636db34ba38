"""Similar cases in report.md: findings by name and what differs both ways, never a word of another report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vlm.findings.vocabulary import load_vocabulary
from vlm.report import EvidenceRecord


def similar_lines(evidence: Mapping[str, EvidenceRecord], provenance: Mapping[str, Any]) -> list[str]:
    """The part of report.md about similar cases: findings by name, never a word of their reports."""
    rows = [record.attributes for record in evidence.values() if record.kind == "similar"]
    if not rows:
        return []
    library = provenance.get("library") or {}
    lines = [
        "## Similar cases",
        "",
        f"From a library of {library.get('cases', 0)} cases. They carry no sentence above.",
        "",
    ]
    for row in rows:
        parts = [f"both have {_names(row['shared'])}"] if row["shared"] else []
        parts += [f"they have {_differences(row['only_there'], 'here')}"] if row["only_there"] else []
        parts += [f"here only {_differences(row['only_here'], 'there')}"] if row["only_here"] else []
        lines.append(
            f"- {row['case']} ({row['likeness'] or 'by words'}): {'; '.join(parts) or 'nothing found in either'}."
        )
    checks = library.get("checks", [])
    if checks:
        lines += ["", "Checks that the nearest proposed, and what the tools say:", ""]
        lines += [
            f"- {_name(c['finding'])} ({c['similar_cases_with_it']} of {c['similar_cases']} of them): {c['outcome']}."
            for c in checks
        ]
    return [*lines, ""]


def _names(keys: str) -> str:
    return ", ".join(_name(key) for key in keys.split(", "))


KNOWN = {"absent": "searched, none", "not_assessed": "not assessed", "uncertain": "uncertain", "present": "present"}


def _differences(keys: str, where: str) -> str:
    pairs = [entry.partition("=") for entry in keys.split(", ")]
    return ", ".join(f"{_name(key)} ({where} {KNOWN.get(known, known)})" for key, _, known in pairs)


def _name(key: str) -> str:
    entry = load_vocabulary().findings.get(key)
    return entry.name if entry else key
