"""report.md: plain radiology prose, with a footnote mark for every sentence.

The text of a sentence is what was checked. One thing is folded: a limit that recurs ("detection limit not
measured") is said once below the findings, and a dagger stands for it in the sentences.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from app.export.footnotes import footnotes
from app.export.similar import similar_lines
from vlm.evidence import CONDITIONS
from vlm.report import FINDINGS_SECTIONS, SECTIONS, Report, Sentence

NO_IMPRESSION = (
    "No impression: nothing is told as certain above, and too little could be searched without a limit to deny it."
)
DAGGER = "†"
UNMEASURED = CONDITIONS["not_measured"]
BRACKET = re.compile(rf" \({UNMEASURED}\)|, {UNMEASURED}(?=\))")
BELOW = f"{DAGGER} Searched, but the smallest size that would have been found has not been measured."


def to_markdown(report: Report) -> str:
    """The report as Markdown. Text from outside never reaches it: sentences are checked, names are keys."""
    marks = _marks(report)
    recurs = sum(bool(BRACKET.search(sentence.text)) for sentence in report.sentences) > 1

    def told(sentence: Sentence) -> str:
        return _marked(_folded(sentence.text) if recurs else sentence.text, sentence, marks)

    def paragraphs(keys: Iterable[str]) -> list[str]:
        written = {key: " ".join(told(sentence) for sentence in report.section(key)) for key in keys}
        return [line for key, text in written.items() if text for line in (f"**{SECTIONS[key]}.** {text}", "")]

    lines = ["# CT report (draft)", "", f"> {report.notice}", "", *paragraphs(("technique", "comparison"))]
    lines += ["## Findings", "", *paragraphs(FINDINGS_SECTIONS)]
    lines += [BELOW, ""] if recurs else []
    lines += ["## Impression", ""]
    lines += [f"{n}. {told(s)}" for n, s in enumerate(report.section("impression"), start=1)] or [NO_IMPRESSION]
    doubts = [sentence for sentence in report.section("to_review") if not sentence.reason]
    lines += ["", f"Not certain, see *To review* ({len(doubts)}): {told(doubts[0])}"] if doubts else []
    for key in ("to_review", "not_assessed"):
        if sentences := report.section(key):
            lines += ["", f"## {SECTIONS[key]}", ""]
            lines += [f"- {told(s)}{_why(s, report) if key == 'to_review' else ''}" for s in sentences]
    lines += ["", *similar_lines(report.evidence, report.provenance)]
    lines += [*_limits(report), "## Evidence", "", *footnotes(marks, report.evidence)]
    return "\n".join([*lines, "", "---", "", _provenance(report), ""])


def _marks(report: Report) -> dict[str, int]:
    """Evidence id -> footnote number: one for all that a sentence cites for the first time."""
    marks: dict[str, int] = {}
    for sentence in report.sentences:
        fresh = [name for name in sentence.cites if name in report.evidence and name not in marks]
        number = max(marks.values(), default=0) + 1
        marks |= dict.fromkeys(fresh, number)
    return marks


def _marked(text: str, sentence: Sentence, marks: Mapping[str, int]) -> str:
    numbers = sorted({marks[name] for name in sentence.cites if name in marks})
    return text + (f" [{_ranges(numbers)}]" if numbers else "")


def _folded(text: str) -> str:
    """The sentence with a dagger in place of the limit that is said once below."""
    short = BRACKET.sub("", text)
    return short if short == text else f"{short.rstrip('.')}.{DAGGER}"


def _ranges(numbers: list[int]) -> str:
    """[1, 2, 3, 7] -> "1-3, 7"."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _why(sentence: Sentence, report: Report) -> str:
    """Why a sentence is left to a person: what the checker said, or what the tool noted."""
    notes = [report.evidence[name].note for name in sentence.cites if name in report.evidence]
    reason = sentence.reason or "; ".join(dict.fromkeys(note for note in notes if note))
    return f" — *{reason}*" if reason else ""


def _limits(report: Report) -> list[str]:
    lines = [f"- {note.message} ({note.code})" for note in report.intake]
    lines += [f"- {off.capability}: {off.reason}. {off.remedy}" for off in report.capabilities_off]
    return ["## Limits of this reading", "", *lines, ""] if lines else []


def _provenance(report: Report) -> str:
    versions = ", ".join(f"{key} {value}" for key, value in report.provenance.items() if isinstance(value, str))
    return f"Case {report.case.id}. {versions}."
