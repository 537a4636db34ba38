"""What a person made of a report: each sentence accepted, edited or rejected, each step undone if wished.

Steps are only ever added; what stands is the report with its steps applied in order. An edited
sentence goes through the same checker as every other, as typed, and is marked as a human's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from app.reopen import Opened
from app.store import Store, now
from vlm.errors import UsageError
from vlm.grounding import Statement, Verdict, check
from vlm.report import SECTIONS, Report, Sentence

ACTIONS = ("accept", "edit", "reject", "undo")
MOST_CHARACTERS = 1000  # of a sentence
STATES = {"accept": "accepted", "edit": "edited", "reject": "rejected"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that a person did."""

    sentence: str
    action: str
    text: str = ""
    verdict: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewed:
    """A sentence as it stands now."""

    sentence: Sentence
    state: str  # "", accepted, edited, rejected
    was: str  # the text before it was edited, or ""


def judged(opened: Opened, current: Sequence[Sentence], name: str, text: str) -> Verdict:
    """What the checker says of a sentence if it read ``text``, among the others that stand.

    Raises:
        UsageError: no sentence has this id, or the text is empty or too long.
    """
    text = " ".join(text.split())
    if not text or len(text) > MOST_CHARACTERS:
        raise UsageError(f"E_USAGE: the sentence has {len(text)} characters, expected 1 to {MOST_CHARACTERS}.")
    if name not in {sentence.id for sentence in current}:
        raise UsageError("E_USAGE: there is no sentence of this id.")
    statements = [
        Statement(id=s.id, section=s.section, text=text if s.id == name else s.text, cites=s.cites) for s in current
    ]
    return check(statements, opened.ledger, context=opened.context)[name]


def steps_of(store: Store, case_id: str) -> list[Step]:
    """The steps that stand: what was undone is gone."""
    query = "select sentence, action, text, verdict, reason from reviews where case_id = ? order by seq"
    steps: list[Step] = []
    for row in store.rows(query, (case_id,)):
        if row["action"] != "undo":
            steps.append(Step(**dict(row)))
        elif steps:
            steps.pop()
    return steps


def review(store: Store, case_id: str, opened: Opened, *, author: str, name: str, action: str, text: str) -> None:
    """Take one step, or take the last one back.

    Raises:
        UsageError: the action is unknown, or there is nothing to undo.
    """
    if action not in ACTIONS:
        raise UsageError(f"E_USAGE: action is {action!r}, expected one of {', '.join(ACTIONS)}.")
    verdict = Verdict("neutral", "G1", "")
    if action == "undo":
        if not steps_of(store, case_id):
            raise UsageError("E_USAGE: there is nothing to undo.")
    else:
        standing = [entry.sentence for entry in applied(opened.report.sentences, steps_of(store, case_id))]
        if action == "edit":
            text = " ".join(text.split())
            verdict = judged(opened, standing, name, text)
        elif name not in {sentence.id for sentence in standing}:
            raise UsageError("E_USAGE: there is no sentence of this id.")
    kept = (case_id, name, action, text if action == "edit" else "", verdict.name, verdict.reason, author, now())
    with store.write() as db:
        db.execute(
            "insert into reviews (case_id, sentence, action, text, verdict, reason, author, at) "
            "values (?, ?, ?, ?, ?, ?, ?, ?)",
            kept,
        )


def applied(sentences: Sequence[Sentence], steps: Sequence[Step]) -> list[Reviewed]:
    """Every sentence of a report as it stands after the steps."""
    last: dict[str, Step] = {}
    words: dict[str, Step] = {}
    for step in steps:
        last[step.sentence] = step
        if step.action == "edit":
            words[step.sentence] = step
    return [_reviewed(sentence, last.get(sentence.id), words.get(sentence.id)) for sentence in sentences]


def _reviewed(sentence: Sentence, last: Step | None, words: Step | None) -> Reviewed:
    if last is None:
        return Reviewed(sentence=sentence, state="", was="")
    if words is None:
        return Reviewed(sentence=sentence, state=STATES[last.action], was="")
    edited = sentence.model_copy(
        update={"text": words.text, "author": "human", "verdict": words.verdict, "reason": words.reason}
    )
    return Reviewed(sentence=edited, state=STATES[last.action], was=sentence.text)


def by_section(standing: Sequence[Reviewed]) -> list[dict[str, Any]]:
    """Sentences as the page shows them, section by section; sections that say nothing are left out."""
    sections = [
        {"key": key, "title": title, "sentences": [
            {**entry.sentence.model_dump(mode="json"), "state": entry.state, "was": entry.was}
            for entry in standing if entry.sentence.section == key
        ]}
        for key, title in SECTIONS.items()
    ]  # fmt: skip
    return [part for part in sections if part["sentences"]]


def reviewed_report(opened: Opened, steps: Sequence[Step]) -> Report:
    """The report as a person left it: without what was rejected, with what was edited."""
    standing = [entry.sentence for entry in applied(opened.report.sentences, steps) if entry.state != "rejected"]
    return opened.report.model_copy(update={"sentences": tuple(standing)})
