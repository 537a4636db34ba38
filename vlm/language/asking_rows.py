"""Rows of evidence as a question to a model: the messages, and the JSON Schema that its answer must fit.

The schema allows letters, and the row's slots once each; digits only in names such as T8. A model that was taught on
the phrase grammar is held to its words and the row's, names what the row names, and denies what the row denies. That
is form, never truth: the checker judges what came.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence

from vlm.language.models import Ask, Budget, Message, Schema
from vlm.language.phrases import capital
from vlm.language.prompting import load_prompt
from vlm.language.restyle import load_wordings
from vlm.language.rows import SLOT_NAME, STYLES, Row, Style

FREE = "[A-Za-z ,()'-]"  # what may stand between slots
MOST_FREE = 120  # characters between two slots
MOST_BEFORE, MOST_WORDS = 6, 16  # words before the finding's name and between two slots, of a taught model
DENIALS = ("absent", "other")
PART = re.compile(r"\{\w+\}")  # of a wording
WORD = re.compile(r"[A-Za-z][A-Za-z'-]*")
TOKENS_A_ROW = 64


def ask_for(rows: Sequence[Row], style: Style, *, taught: bool, wrong: Mapping[str, str] | None = None) -> Ask:
    """The question that words some rows.

    Args:
        rows: at most five; they are named R1, R2 ….
        style: how the sentences should read.
        taught: whether the model has learned this very form and needs neither rules nor examples.
        wrong: of rows worded before, by name: what the checker had against the sentence.
    """
    prompt = load_prompt("word")
    system = prompt.parts["system"]
    if not taught:
        system = f"{system}\n\n{prompt.parts['rules']}\n\nExamples:\n{prompt.parts['examples']}"
    lines = [style, *(f"{name} {row.text}" for name, row in named(rows).items())]
    if wrong:
        lines += [f"{name} was refused: {reason}" for name, reason in wrong.items()]
    return Ask(
        messages=(Message(role="system", text=system), Message(role="user", text="\n".join(lines))),
        schema=schema_of(rows, taught=taught),
        budget=Budget(most_tokens=TOKENS_A_ROW * len(rows) + 16),
    )


def named(rows: Sequence[Row]) -> dict[str, Row]:
    """R1, R2 … in the order of the rows."""
    return {f"R{n}": row for n, row in enumerate(rows, start=1)}


def schema_of(rows: Sequence[Row], *, taught: bool = False) -> Schema:
    """An object with one sentence a row."""
    pattern = taught_pattern_of if taught else pattern_of
    sentences = {name: {"type": "string", "pattern": pattern(row)} for name, row in named(rows).items()}
    return {"type": "object", "properties": sentences, "required": list(sentences), "additionalProperties": False}


def pattern_of(row: Row) -> str:
    """A regular expression of the sentences that a row allows: its slots once each, in any order, no other digit."""
    words = "|".join([FREE, *map(re.escape, row.literals)])
    free = f"(?:{words}){{0,{MOST_FREE}}}"
    bodies = [free.join(["", *slots, ""]) for slots in _orders(row)]
    return f"^[A-Z\\{{](?:{'|'.join(bodies)})\\.$" if not row.slots else f"^(?:{'|'.join(bodies)})\\.$"


def taught_pattern_of(row: Row) -> str:
    """The sentences of ``pattern_of`` that hold a name of the finding and, around it, known words and the row's own.

    What a row denies is denied first, as the phrase grammar begins a denial.
    """
    words = sorted(
        {*_frame_words(row.kind), *WORD.findall(SLOT_NAME.sub("", row.text.partition(":")[2])), *row.literals}
    )
    word = f"(?:,? \\(?(?:{_any_of(words)})\\)?)"
    free = f"{word}{{0,{MOST_WORDS}}}"
    rest = "|".join(free.join(["", *(rf",? \(?{slot}\)?" for slot in slots), ""]) for slots in _orders(row))
    names = [row.subject]
    if row.kind in DENIALS:
        return f"^(?:{_any_of(_openings(row.kind))}){_any_of(names)}(?:{rest})\\.$"
    if row.kind == "present":
        names += load_wordings()["names"].get(row.finding, [])
    begun = f"(?:{_any_of(map(capital, words))}){word}{{0,{MOST_BEFORE}}},? (?:{_any_of(names)})"
    return f"^(?:{_any_of(map(capital, names))}|{begun})(?:{rest})\\.$"


def _orders(row: Row) -> list[list[str]]:
    """The row's slots, in each order in which they may come."""
    orders = itertools.permutations(row.slots) if len(row.slots) <= 3 else [tuple(row.slots)]
    return [[rf"\{{{name}\}}" for name in order] for order in orders]


@functools.cache
def _frame_words(kind: str) -> frozenset[str]:
    """The words that the phrase grammar has for a kind of row around names and slots."""
    grammar = load_wordings()
    frames = [pattern for style in STYLES for pattern in grammar[style][kind]]
    for part in ("size", "sizes_of_several", "extra"):
        frames += [words for wordings in grammar[part].values() for words in wordings]
    return frozenset(word for frame in frames for word in WORD.findall(PART.sub("", frame).lower())) | {"a", "an"}


@functools.cache
def _openings(kind: str) -> tuple[str, ...]:
    """How a denial begins: "No ", "There is no other "."""
    patterns = [pattern for style in STYLES for pattern in load_wordings()[style][kind]]
    return tuple(dict.fromkeys(pattern.partition("{list}")[0] for pattern in patterns))


def _any_of(texts: Iterable[str]) -> str:
    return "|".join(re.sub(r"([.^$*+?{}()|\[\]\\])", r"\\\1", text) for text in dict.fromkeys(texts))
