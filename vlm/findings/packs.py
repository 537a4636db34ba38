"""Packs: sets of labels that others use, each column mapped to findings of the vocabulary.

``load_pack("ct-rate-18")`` loads one that is shipped, ``load_pack("my.toml")`` a user's
own. A pack states its own way of counting: which kinds a column leaves out, whether
"possible" counts, whether the past does.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from vlm.errors import UsageError
from vlm.findings.mentions import Mention
from vlm.findings.vocabulary import Vocabulary, did_you_mean, load_vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One label of a pack."""

    name: str  # as the pack spells it
    findings: tuple[str, ...]  # keys; their kinds count, too
    without: tuple[str, ...]  # kinds that do not count
    uncertain: Literal["positive", "likely", "negative"]  # counts: also what is possible, what is likely, neither
    history: bool  # whether the past counts
    also: tuple[tuple[str, str], ...] = ()  # (finding, attribute): counts only when it is described so

    def counts(self, mention: Mention, vocabulary: Vocabulary, *, uncertain_positive: bool = False) -> bool:
        """Whether a mention makes the column 1."""
        if not mention.assessed or mention.presence == "absent":
            return False
        if mention.status not in (("current", "historical") if self.history else ("current",)):
            return False
        counted = "positive" if uncertain_positive else self.uncertain
        if mention.presence == "uncertain" and counted != "positive":
            return False
        if mention.certainty != "definite" and counted == "negative":
            return False
        kinds = vocabulary.ancestors(mention.finding) | {mention.finding}
        if not kinds.isdisjoint(self.without):
            return False
        described = any(finding in kinds and attribute in mention.attributes for finding, attribute in self.also)
        return described or not kinds.isdisjoint(self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """A named set of labels."""

    name: str
    title: str
    columns: tuple[Column, ...]

    def row(self, mentions: Iterable[Mention], *, uncertain_positive: bool = False) -> dict[str, int]:
        """The 0/1 labels of one report."""
        vocabulary, seen = load_vocabulary(), tuple(mentions)
        return {
            column.name: int(any(column.counts(m, vocabulary, uncertain_positive=uncertain_positive) for m in seen))
            for column in self.columns
        }


def pack_names() -> tuple[str, ...]:
    """Names of the packs that are shipped."""
    folder = files("prompts") / "packs"
    return tuple(sorted(entry.name[: -len(".toml")] for entry in folder.iterdir() if entry.name.endswith(".toml")))


@functools.cache
def load_pack(name: str) -> Pack:
    """A shipped pack by name, or a user's by path. A fault in it is an error of one line."""
    if name in pack_names():
        text = (files("prompts") / "packs" / f"{name}.toml").read_text(encoding="utf-8")
    elif name.endswith(".toml"):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(
                f"E_USAGE: pack {name!r} cannot be read: {type(error).__name__}. Give the path of a TOML file."
            ) from None
    else:
        raise UsageError(
            f"E_USAGE: pack {name!r} is unknown{did_you_mean(name, pack_names())}; known: {', '.join(pack_names())}, "
            "or the path of a .toml file"
        )
    try:
        return parse_pack(tomllib.loads(text))
    except (tomllib.TOMLDecodeError, ValueError) as error:
        raise UsageError(f"E_USAGE: pack {name!r} is faulty: {error}".replace("\n", " ")) from None


def parse_pack(data: Mapping[str, Any]) -> Pack:
    """A pack from its parsed file; a ValueError names what is wrong."""
    if strange := set(data) - {"name", "title", "uncertain", "column"}:
        raise ValueError(f"unknown field {min(strange)!r}; known: name, title, uncertain, column")
    entries = data.get("column")
    if not isinstance(data.get("name"), str) or not isinstance(entries, list) or not entries:
        raise ValueError("a pack has a name and at least one [[column]]")
    columns = tuple(_column(entry, data.get("uncertain", "negative")) for entry in entries)
    names = [column.name for column in columns]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ValueError(f"two columns are named {min(twice)!r}")
    return Pack(name=data["name"], title=str(data.get("title", data["name"])), columns=columns)


def _column(entry: Any, uncertain: object) -> Column:  # parsed TOML from outside
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise ValueError("every [[column]] has a name")
    name = entry["name"]
    if strange := set(entry) - {"name", "findings", "without", "also", "uncertain", "history"}:
        raise ValueError(f"column {name!r}: unknown field {min(strange)!r}")
    vocabulary = load_vocabulary()
    lists: dict[str, tuple[str, ...]] = {}
    for field in ("findings", "without"):
        keys = entry.get(field, [])
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
            raise ValueError(f"column {name!r}: {field} is a list of findings")
        for key in keys:
            if key not in vocabulary.findings:
                raise ValueError(f"column {name!r}: {key!r} is not a finding{did_you_mean(key, vocabulary.findings)}")
        lists[field] = tuple(keys)
    if not lists["findings"]:
        raise ValueError(f"column {name!r} names no finding")
    counted = entry.get("uncertain", uncertain)
    if counted not in ("positive", "likely", "negative"):
        raise ValueError(f'column {name!r}: uncertain is "positive", "likely" or "negative", not {counted!r}')
    return Column(
        name=name,
        findings=lists["findings"],
        without=lists["without"],
        uncertain=counted,
        history=bool(entry.get("history", False)),
        also=tuple(_described(name, text, vocabulary) for text in entry.get("also", [])),
    )


def _described(name: str, text: str, vocabulary: Vocabulary) -> tuple[str, str]:
    finding, _, attribute = (part.strip() for part in str(text).partition("+"))
    if finding not in vocabulary.findings or attribute not in vocabulary.attributes:
        raise ValueError(f"column {name!r}: also is a list of 'finding + attribute', not {text!r}")
    return finding, attribute
