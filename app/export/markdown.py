"""report.md: plain radiology prose, with a footnote for every sentence."""

from __future__ import annotations

from vlm.evidence import UNIT_WORDS
from vlm.report import FINDINGS_SECTIONS, SECTIONS, EvidenceRecord, MeasurementRecord, Report, Sentence

NO_IMPRESSION = "No impression: nothing was found, and too little could be searched without a limit to deny it."


def to_markdown(report: Report) -> str:
    """The report as Markdown. Text from outside never reaches it: sentences are checked, names are keys."""
    marks = _marks(report)
    lines = ["# CT report (draft)", "", f"> {report.notice}", ""]
    for key in ("technique", "comparison"):
        if text := _paragraph(report, key, marks):
            lines += [f"**{SECTIONS[key]}.** {text}", ""]
    lines += ["## Findings", ""]
    for key in FINDINGS_SECTIONS:
        if text := _paragraph(report, key, marks):
            lines += [f"**{SECTIONS[key]}.** {text}", ""]
    lines += ["## Impression", ""]
    impression = report.section("impression")
    lines += [f"{n}. {_marked(s, marks)}" for n, s in enumerate(impression, start=1)] or [NO_IMPRESSION]
    for key in ("to_review", "not_assessed"):
        if sentences := report.section(key):
            lines += ["", f"## {SECTIONS[key]}", ""]
            lines += [f"- {_marked(s, marks)}{_why(s) if key == 'to_review' else ''}" for s in sentences]
    lines += ["", *_limits(report), "## Evidence", ""]
    lines += [f"{mark}. {footnote(name, report.evidence[name])}" for name, mark in marks.items()]
    lines += ["", "---", "", _provenance(report), ""]
    return "\n".join(lines)


def _marks(report: Report) -> dict[str, int]:
    """Evidence id -> footnote number, in the order in which a reader meets them."""
    marks: dict[str, int] = {}
    for sentence in report.sentences:
        for name in sentence.cites:
            if name in report.evidence:
                marks.setdefault(name, len(marks) + 1)
    return marks


def _marked(sentence: Sentence, marks: dict[str, int]) -> str:
    numbers = sorted(marks[name] for name in sentence.cites if name in marks)
    return sentence.text + (f" [{_ranges(numbers)}]" if numbers else "")


def _ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _paragraph(report: Report, key: str, marks: dict[str, int]) -> str:
    return " ".join(_marked(sentence, marks) for sentence in report.section(key))


def _why(sentence: Sentence) -> str:
    return f" — *{sentence.reason}*" if sentence.reason else ""


def _limits(report: Report) -> list[str]:
    lines = [f"- {note.message} ({note.code})" for note in report.intake]
    lines += [f"- {off.capability}: {off.reason}. {off.remedy}" for off in report.capabilities_off]
    return ["## Limits of this reading", "", *lines, ""] if lines else []


def footnote(name: str, record: EvidenceRecord) -> str:
    """One line that says what evidence is, where it lies, how sure it is, and who measured it."""
    what = (record.finding or record.site or "").replace("_", " ")
    place = " ".join(part.replace("_", " ") for part in (record.side, record.site) if part and part != what)
    parts = [f"**{name}** {record.kind}", what + (f" ({place})" if place else "")]
    parts += [f"{key}: {value}".replace("_", " ") for key, value in sorted(record.attributes.items())]
    parts += [_number(m) for m in record.measurements]
    if record.kind in ("search", "coverage") and record.covered is not None:
        parts.append(f"{record.covered:.0%} of the place covered")
    if record.kind == "search":
        parts.append(_sensitivity(record))
        parts += [f"limited: {condition.replace('_', ' ')}" for condition in record.failed]
    if record.region is not None:
        x, y, z = record.region.centroid_mm
        parts.append(f"slices {record.region.slices[0]}-{record.region.slices[1]}, at ({x:.0f}, {y:.0f}, {z:.0f}) mm")
        if record.region.mask:
            parts.append(f"`{record.region.mask}`")
    if record.note:
        parts.append(record.note)
    return "; ".join(part for part in parts if part) + f" — {record.tool.name} {record.tool.version}"


def _number(measurement: MeasurementRecord) -> str:
    spread = "" if measurement.uncertainty is None else f" ± {measurement.uncertainty:.2g}"
    unit = UNIT_WORDS.get(measurement.unit, measurement.unit)
    return f"{measurement.quantity.replace('_', ' ')} {measurement.value:.3g}{spread} {unit}".rstrip()


def _sensitivity(record: EvidenceRecord) -> str:
    if record.smallest is None or record.sensitivity is None:
        return "smallest size found: not measured"
    return f"finds {record.sensitivity:.0%} of those of {_number(record.smallest)} or more"


def _provenance(report: Report) -> str:
    versions = ", ".join(f"{key} {value}" for key, value in report.provenance.items() if isinstance(value, str))
    return f"Case {report.case.id}. {versions}."
