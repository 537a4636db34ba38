"""The evidence below a report: what it is, where it lies, how sure it is, and who measured it.

One footnote holds what one sentence cites. Searches that differ in their side alone share a line, and
those that looked at nothing share one for each reason, so that they do not bury what was measured.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from vlm.evidence import CONDITIONS, UNIT_WORDS, Measurement
from vlm.report import EvidenceRecord, MeasurementRecord

BLIND = frozenset({"not_found", "not_covered", "not_implemented", "tool_failed"})  # conditions of having seen nothing
SAID = ("not_measured", "partly_covered")  # a line says these by its numbers
Named = tuple[str, EvidenceRecord]


def footnotes(marks: Mapping[str, int], evidence: Mapping[str, EvidenceRecord]) -> list[str]:
    """A Markdown list with an entry for each number.

    Args:
        marks: evidence id -> number of its footnote.
        evidence: the ledger of the report.
    """
    by_number: dict[int, list[Named]] = defaultdict(list)
    for name, number in marks.items():
        by_number[number].append((name, evidence[name]))
    lines: list[str] = []
    for number, records in sorted(by_number.items()):
        told = [footnote(*group) for group in grouped(records)]
        lines += [f"{number}. {told[0]}"] + [f"    - {line}" for line in told[1:]]
    return lines


def grouped(records: Sequence[Named]) -> list[list[Named]]:
    """Records that share a line: all blind searches of one reason, and searches alike but for their side."""
    groups: dict[object, list[Named]] = defaultdict(list)
    for name, record in records:
        if record.kind != "search":
            key: object = name
        elif blind(record):
            key = record.failed
        else:
            key = (record.finding, record.tool.name, record.site, record.failed, _sensitivity(record), record.note)
        groups[key].append((name, record))
    return list(groups.values())


def blind(record: EvidenceRecord) -> bool:
    """True for a search that looked at nothing."""
    return record.kind == "search" and (record.covered == 0 or bool(BLIND & set(record.failed)))


def footnote(*records: Named) -> str:
    """One line for evidence that shares it."""
    names, first = ", ".join(name for name, _ in records), records[0][1]
    tools = ", ".join(dict.fromkeys(f"{record.tool.name} {record.tool.version}" for _, record in records))
    if blind(first):
        reason = ", ".join(CONDITIONS[key] for key in first.failed if key != "not_measured")
        return f"**{names}** not searched: {reason or CONDITIONS['not_covered']} — {tools}"
    what = (first.finding or first.site or "").replace("_", " ")
    sides = " and ".join(dict.fromkeys(record.side for _, record in records if record.side))
    place = " ".join(part.replace("_", " ") for part in (sides, first.site) if part and part != what)
    parts = [f"**{names}** {first.kind}", what + (f" ({place})" if place else "")]
    parts += [f"{key}: {value}".replace("_", " ") for key, value in sorted(first.attributes.items())]
    parts += _measured([record for _, record in records])
    if first.covered is not None:
        least = min(record.covered or 0.0 for _, record in records)
        parts.append(f"{least:.0%} of the place covered")
    if first.kind == "search":
        parts.append(_sensitivity(first))
        parts += [
            f"limited: {CONDITIONS[key]}" for key in first.failed if key not in ("not_measured", "partly_covered")
        ]
    parts += _region(records[0]) if len(records) == 1 else []
    parts.append(first.note)
    return "; ".join(part for part in parts if part) + f" — {tools}"


def _measured(records: Sequence[EvidenceRecord]) -> list[str]:
    """Every number, with its side where several records share the line."""
    many = len(records) > 1
    return [
        f"{record.side} {_number(m)}" if many and record.side else _number(m)
        for record in records
        for m in record.measurements
    ]


def _region(named: Named) -> list[str]:
    name, record = named
    if record.region is None:
        return []
    x, y, z = record.region.centroid_mm
    first, last = record.region.slices
    parts = [f"slices {first}-{last}, at ({x:.0f}, {y:.0f}, {z:.0f}) mm"]
    if record.region.mask:
        parts.append(f"`{record.region.mask}`")
        parts += [f"`key/{name}.png`"] if record.kind == "observation" else []
    return parts


def _number(measurement: MeasurementRecord) -> str:
    spread = "" if measurement.uncertainty is None else f" ± {measurement.uncertainty:.2g}"
    unit = UNIT_WORDS.get(measurement.unit, measurement.unit)
    value = f"{measurement.value:.3g}" if abs(measurement.value) >= 0.1 else f"{measurement.value:.1f}"
    return f"{measurement.quantity.replace('_', ' ')} {value}{spread} {unit}".rstrip()


def _sensitivity(record: EvidenceRecord) -> str:
    if record.smallest is None or record.sensitivity is None:
        return "smallest size found: not measured" if "not_measured" in record.failed else ""
    smallest = Measurement(quantity=record.smallest.quantity, value=record.smallest.value)
    return f"found {record.sensitivity:.0%} of those of {smallest} or more where the truth was known"
