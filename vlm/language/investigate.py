"""Looking into a case, a look at a time: by whoever answers, or by a language model that calls tools.

Every look is a Call that says what was asked, what came back or why not, and which evidence it left. A budget of
calls and seconds ends it. A model sees allow-listed numbers and words of the vocabulary, and the question as quoted
data; what it says at the end passes the checker, sentence by sentence, or is not said.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlm.evidence import CONDITIONS, Coverage, Evidence, Ledger, Observation, Search
from vlm.grounding import PASSES, Statement, Verdict, check
from vlm.language.events import Call, Event, Note, Question, Said, Show
from vlm.language.looks import offers, take
from vlm.language.models import Ask, Budget, LanguageModel, Message, ToolOffer
from vlm.language.prompting import load_prompt, quoted
from vlm.language.register import LookError, Seen, Shown
from vlm.language.scene import OpenCase
from vlm.report import FINDINGS_SECTIONS

MOST_TOLD = 600  # characters of a look's result
MOST_ROWS = 60  # of evidence that a model reads before it looks
# Of one choice of looks, and of the sentences: somebody waits for them.
LOOKS, WORDS = Budget(most_tokens=512, total_s=120.0), Budget(total_s=180.0)
# What a model's answer is: sentences with the evidence each rests on.
ANSWER: Mapping[str, Any] = {
    "type": "object",
    "properties": {
        "sentences": {
            "type": "array",
            "maxItems": 12,
            "items": {
                "type": "object",
                "properties": {
                    "text": {"type": "string", "maxLength": 400},
                    "cites": {"type": "array", "items": {"type": "string", "maxLength": 12}, "maxItems": 20},
                },
                "required": ["text", "cites"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["sentences"],
    "additionalProperties": False,
}


@dataclass
class Looking:
    """Looks into one case within a budget."""

    case: OpenCase
    most_calls: int = 8
    most_seconds: float = 60.0
    clock: Callable[[], float] = time.perf_counter
    calls: list[Call] = field(default_factory=list)
    _began: float | None = None

    def call(self, name: str, **arguments: Any) -> tuple[Call, Seen | None]:
        """Take one look; None where it could not be taken, and the call says why."""
        start = self.clock()
        self._began = start if self._began is None else self._began
        seen, error, told = None, "", ""
        try:
            if len(self.calls) >= self.most_calls or start - self._began > self.most_seconds:
                raise LookError("budget", f"at most {self.most_calls} looks in {self.most_seconds:.0f} s for an answer")
            seen = take(self.case, name, arguments)
            told = seen.told
        except LookError as fault:
            error, told = fault.code, str(fault)
        made = Call(
            name=name[:40], arguments={key[:40]: _shown(value) for key, value in arguments.items()},
            result=told[:MOST_TOLD], seconds=self.clock() - start, error=error,
            cites=seen.cites if seen else (), data=seen.data if seen else {},
        )  # fmt: skip
        self.calls.append(made)
        return made, seen

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return any(call.error == "budget" for call in self.calls)


def places(seen: Sequence[Shown]) -> Iterator[Show]:
    """Places as a viewer takes them."""
    for place in seen:
        yield Show(evidence=place.evidence, mm=place.mm, slices=place.slices, mask=place.mask)


def investigate(case: OpenCase, question: Question, model: LanguageModel, looking: Looking) -> Iterator[Event]:
    """Answer a question with a model that calls tools; what the checker does not pass goes back once, then away.

    Raises:
        ModelError: the model gave nothing that can be used; nothing was said.
    """
    messages = [Message(role="system", text=_prompt("system")), Message(role="user", text=_asked(case, question))]
    tools = tuple(ToolOffer(name=name, description=told, parameters=schema) for name, told, schema in offers())
    while not looking.spent:
        answer = model.complete(Ask(messages=tuple(messages), tools=tools, budget=LOOKS))
        if not answer.calls:
            break
        messages.append(Message(role="assistant", text=answer.text, calls=answer.calls))
        for wanted in answer.calls:
            made, seen = looking.call(wanted.name, **wanted.arguments)
            yield made
            yield from places(seen.places if seen else ())
            messages.append(Message(role="tool", text=_result(case, made), answers=wanted.id))
    yield from _worded(case, model, messages)


def _worded(case: OpenCase, model: LanguageModel, messages: list[Message]) -> Iterator[Event]:
    """The model's sentences that the checker passes; those that it stops go back once, with the reason."""
    messages = [*messages, Message(role="user", text=_prompt("answer"))]
    kept: list[tuple[Statement, Verdict]] = []
    for _ in range(2):
        answer = model.complete(Ask(messages=tuple(messages), schema=ANSWER, budget=WORDS))
        judged = _judged(answer.data, case)
        known = {statement.text for statement, _ in kept}
        kept += [(s, v) for s, v in judged if v.name in PASSES and s.text not in known]
        stopped = [f"{s.text!r}: {v.reason}" for s, v in judged if v.name not in PASSES]
        if not stopped:
            break
        messages += [
            Message(role="assistant", text=answer.text),
            Message(role="user", text=_prompt("revise").format(stopped="\n".join(stopped)[:2000])),
        ]
    for statement, verdict in kept:
        yield Said(text=statement.text, cites=statement.cites, verdict=verdict.name, author="model")
    if not kept:
        yield Note(text="Nothing that the language model said is borne out by the evidence.", about="not_understood")


def _judged(data: Any, case: OpenCase) -> list[tuple[Statement, Verdict]]:
    """Each sentence of an answer with its verdict, read in the section where it stands best."""
    sentences = data.get("sentences", []) if isinstance(data, dict) else []
    out = []
    for sentence in sentences:
        text, cites = str(sentence["text"]).strip(), tuple(dict.fromkeys(map(str, sentence["cites"])))
        section = _section(cites, case.ledger)
        statement = Statement(id="S1", section=section, text=text, cites=cites)
        if text:
            out.append((statement, check([statement], case.ledger, context=case.context)["S1"]))
    return out


def _section(cites: Sequence[str], ledger: Ledger) -> str:
    """Where a sentence belongs: doubts under "To review", what was not looked for under "not assessed"."""
    records = [ledger[name] for name in cites if name in ledger]
    if records and all(isinstance(r, Search) and not r.looked for r in records):
        return "not_assessed"
    if records and all(isinstance(r, Observation) and r.presence == "uncertain" for r in records):
        return "to_review"
    return FINDINGS_SECTIONS[0]


# ---- what a model may read


def _prompt(part: str) -> str:
    return load_prompt("ask").parts[part]


def _asked(case: OpenCase, question: Question) -> str:
    """The question as quoted data, what it points at, and what the reading found; nothing of tags or files."""
    first = sorted(case.ledger, key=lambda entry: _rank(entry[1]))  # what was seen is never what is cut
    rows = [line for name, record in first if (line := row(name, record))]
    pointed = {"point": question.point, "box": question.box, "line": question.line}
    return _prompt("question").format(
        question=quoted(question.text),
        pointed=json.dumps({key: value for key, value in pointed.items() if value}),
        rows="\n".join(rows[:MOST_ROWS]),
    )


def _rank(record: Evidence) -> int:
    """What was seen, then measured, then searched, then what nobody looked for."""
    if isinstance(record, Search):
        return 2 if record.looked else 3
    return 0 if isinstance(record, Observation) else 1


def row(name: str, record: Evidence) -> str:
    """A line of evidence for a model: closed lists and numbers; a record's note stays out, it can hold anything."""
    if isinstance(record, Coverage):
        return ""
    about = record.finding if isinstance(record, Observation | Search) else record.site
    parts = [part for part in (record.side, record.site if record.site != about else None) if part]
    parts += [f"{m.quantity} {m}" for m in record.measurements]
    if isinstance(record, Observation):
        parts = [record.presence, *parts, *record.attributes.values()]
    if isinstance(record, Search):
        parts = ["searched, none" if record.looked and not record.found else "searched", *parts]
        parts += [CONDITIONS[key] for key in record.failed]
    return f"{name} {about}: {'; '.join(parts)}".replace("_", " ")


def _result(case: OpenCase, made: Call) -> str:
    """A look's result for a model, as JSON."""
    rows = [row(name, case.ledger[name]) for name in made.cites[:20] if name in case.ledger]
    found = {"error": made.error, "why": made.result} if made.error else {"result": made.result, "evidence": rows}
    return json.dumps(found, ensure_ascii=False)


def _shown(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text[:120]


__all__ = ["Looking", "investigate", "places", "row"]
