"""The phrase grammar: a row of evidence in one of many wordings, by style. No model, no number.

``prompts/wordings/LANGUAGE.toml`` holds the patterns. The first of a style words a report without a model; a random
choice among all of them makes the pairs that the embedded model learns from.
"""

from __future__ import annotations

import functools
import random
import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from vlm.language.phrases import capital
from vlm.language.rows import Row, Style

ASIDE = {"on the left": "left", "on the right": "right"}  # a place that is said better as an adjective
BESIDE = {"present": ("size", "diameter", "short_axis"), "several": ("diameter", "short_axis")}  # next to the finding


@functools.cache
def load_wordings(language: str = "en") -> Mapping[str, Any]:
    """The phrase grammar of a language; ``FileNotFoundError`` when there is no such file."""
    return tomllib.loads((files("prompts") / "wordings" / f"{language}.toml").read_text(encoding="utf-8"))


def say(row: Row, style: Style, *, rng: random.Random | None = None, language: str = "en") -> str:
    """A sentence for the row, with the row's slots; the plainest one without ``rng``."""
    grammar = load_wordings(language)

    def choice(options: Sequence[str]) -> str:
        return rng.choice(options) if rng else options[0]

    pattern = choice(grammar[style][row.kind])
    before = row.where in ASIDE and (rng is None or rng.random() < 0.6)  # "right effusion", "effusion on the right"
    subject = _subject(row, choice(grammar["names"].get(row.finding, [row.subject])), before)
    a = subject if row.kind == "several" or row.finding in grammar["grammar"]["uncountable"] else _article(subject)
    beside = next((name for name in BESIDE.get(row.kind, ("smallest",)) if name in row.slots), "")
    sizes = grammar["sizes_of_several" if row.kind == "several" else "size"]
    slots = {name: choice((sizes if name == beside else grammar["extra"])[name]).replace("{n}", f"{{{name}}}")
             for name in row.slots if name == beside or name in grammar["extra"]}  # fmt: skip
    extra = "".join(text for name, text in slots.items() if name != beside)
    where = f" {row.where}" if row.where and not before else ""
    listed = f"{row.subject}{'' if row.kind == 'present' else slots.get(beside, '')}"
    parts = {
        "a": a, "A": capital(a), "subject": subject, "Subject": capital(subject), "list": listed,
        "size": slots.get(beside, ""), "first": slots.get(beside, ""), "extra": extra, "where": where,
        "change": f", {row.change}" if row.change else "",
        "limits": _limits(row), "aside": f" ({row.aside})" if row.aside else "",
    }  # fmt: skip
    text = re.sub(r"\{(a|A|subject|Subject|list|size|first|extra|where|change|limits|aside)\}",
                  lambda part: parts[part.group(1)], pattern)  # fmt: skip
    return " ".join(text.split()).replace(" ,", ",").rstrip(".") + "."


def _subject(row: Row, name: str, side_before: bool) -> str:
    """The finding with its adjectives: "large right pleural effusion"."""
    side = [ASIDE[row.where]] if side_before else []
    return " ".join([*row.qualities, *side, name if row.kind == "present" else row.subject])


def _article(subject: str) -> str:
    return f"{'an' if subject[:1].lower() in 'aeiou' else 'a'} {subject}"


def _limits(row: Row) -> str:
    """Where it was looked, then what limited the look."""
    return row.limits if row.limits.startswith(",") else f" {row.limits}" if row.limits else ""
