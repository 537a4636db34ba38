"""Rows of evidence as a question to a model: the messages, and the JSON Schema that its answer must fit.

The schema allows letters, and the row's slots once each; digits only in names such as T8. It gives form, never truth:
the checker judges what came.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from vlm.language.models import Ask, Budget, Message, Schema
from vlm.language.prompting import load_prompt
from vlm.language.rows import Row, Style

FREE = "[A-Za-z ,()'-]"  # what may stand between slots
MOST_FREE = 120  # characters between two slots
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
        schema=schema_of(rows),
        budget=Budget(most_tokens=TOKENS_A_ROW * len(rows) + 16),
    )


def named(rows: Sequence[Row]) -> dict[str, Row]:
    """R1, R2 … in the order of the rows."""
    return {f"R{n}": row for n, row in enumerate(rows, start=1)}


def schema_of(rows: Sequence[Row]) -> Schema:
    """An object with one sentence a row."""
    sentences = {name: {"type": "string", "pattern": pattern_of(row)} for name, row in named(rows).items()}
    return {"type": "object", "properties": sentences, "required": list(sentences), "additionalProperties": False}


def pattern_of(row: Row) -> str:
    """A regular expression of the sentences that a row allows: its slots once each, in any order, no other digit."""
    words = "|".join([FREE, *map(re.escape, row.literals)])
    free = f"(?:{words}){{0,{MOST_FREE}}}"
    orders = itertools.permutations(row.slots) if len(row.slots) <= 3 else [tuple(row.slots)]
    bodies = [free.join(["", *(rf"\{{{name}\}}" for name in order), ""]) for order in orders]
    return f"^[A-Z\\{{](?:{'|'.join(bodies)})\\.$" if not row.slots else f"^(?:{'|'.join(bodies)})\\.$"
