"""How evidence is worded: patterns from ``prompts/phrases/LANGUAGE.toml``, filled with facts and slots.

A pattern is text with facts in braces; a part in square brackets falls away when one of its
facts is missing. Measured facts become slots (``{E7.diameter}``) that the ledger fills later,
so no number is typed here.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

FACT = re.compile(r"\{([a-z_]+)(#?)\}")
OPTIONAL = re.compile(r"\[([^\[\]]*)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrases:
    """One language's patterns and words."""

    findings: Mapping[str, Mapping[str, Any]]  # as the file has them: strings, and an integer `rank`
    default: Mapping[str, Any]
    words: Mapping[str, Any]
    technique: Mapping[str, str]
    attributes: Mapping[str, str]
    measures: Mapping[str, str]  # of a structure or a marked place: by look, else by quantity
    limits: Mapping[str, str]  # conditions that are said in passing; the others stand in brackets
    reasons: Mapping[str, str]  # why something was not assessed, where the condition's own words read badly
    not_assessed: frozenset[str]  # findings whose lack of assessment is told

    def quiet(self, finding: str) -> bool:
        """Whether the absence of a finding is left untold."""
        return bool(self.findings.get(finding, {}).get("quiet", False))

    def pattern(self, finding: str, kind: str) -> str | None:
        """The pattern of this kind for a finding: its own, or for "present" and "short" the default one."""
        own = self.findings.get(finding, {})
        found = own.get(kind) or (own.get("present") if kind == "short" else None) or self.default.get(kind)
        return str(found) if found else None

    def rank(self, finding: str) -> int:
        """How high a finding stands in an impression; 1 is the most urgent, from 50 on it stays out."""
        return int(self.findings.get(finding, {}).get("rank", self.default["rank"]))

    def ranked(self, finding: str) -> bool:
        """Whether the file gives the finding a rank of its own."""
        return "rank" in self.findings.get(finding, {})

    def number(self, count: int) -> str:
        """A count in words as far as the language file has words, then "multiple"."""
        numbers: Sequence[str] = self.words["numbers"]
        return numbers[count] if count < len(numbers) else str(self.words["many"])

    def listed(self, items: Sequence[str], word: str = "and") -> str:
        """["a", "b", "c"] -> "a, b and c"."""
        if len(items) < 2:
            return "".join(items)
        return f"{', '.join(items[:-1])} {self.words[word]} {items[-1]}"


@functools.cache
def load_phrases(language: str = "en") -> Phrases:
    """Read the patterns of a language; ``FileNotFoundError`` when there is no such file."""
    text = (files("prompts") / "phrases" / f"{language}.toml").read_text(encoding="utf-8")
    data = tomllib.loads(text)
    return Phrases(
        findings=data["finding"],
        default=data["default"],
        words=data["words"],
        technique=data["technique"],
        attributes=data["attributes"],
        measures=data["measures"],
        limits=data["limits"],
        reasons=data["reasons"],
        not_assessed=frozenset(data["not_assessed"]["findings"]),
    )


def fill(pattern: str, facts: Mapping[str, str]) -> str:
    """Put facts into a pattern, drop bracketed parts whose facts are missing, and make it a sentence.

    ``{diameter#}`` takes the slot of ``diameter`` without its unit. The first letter becomes a
    capital and the sentence ends in a full stop.

    Raises:
        KeyError: when a fact outside brackets is missing.
    """

    def value(match: re.Match[str]) -> str:
        name, bare = match.groups()
        text = facts[name]
        return text.replace("}", "#}") if bare else text

    def optional(match: re.Match[str]) -> str:
        names = [name for name, _ in FACT.findall(match.group(1))]
        return FACT.sub(value, match.group(1)) if all(facts.get(name) for name in names) else ""

    text = " ".join(FACT.sub(value, OPTIONAL.sub(optional, pattern)).split()).replace(" ,", ",")
    return capital(text).rstrip(".") + "."


def stated(pattern: str, facts: Mapping[str, str]) -> dict[str, str]:
    """The facts that ``fill`` puts into a sentence: those in brackets only where the bracket stands."""
    kept = OPTIONAL.sub(
        lambda part: part.group(1) if all(facts.get(name) for name, _ in FACT.findall(part.group(1))) else "", pattern
    )
    return {name: facts[name] for name, _ in FACT.findall(kept) if facts.get(name)}


def capital(text: str) -> str:
    """The text with a capital first letter, also where a slot stands first."""
    return text if text.startswith("{") else text[:1].upper() + text[1:]
