"""Reports and conversations to tune a model on: the user's own data, in three layouts, split by patient.

- CT-RATE: a CSV with ``VolumeName``, ``Findings_EN``, ``Impressions_EN``; ``train_12_a_1`` is of patient ``train_12``.
- Merlin: a CSV with ``study id`` and ``Findings`` (a part headed IMPRESSION is the answer).
- ours: a JSON Lines file of ``{"patient": …, "messages": [{"role": …, "content": …}]}``, for reports and for chat.

A patient is in one split by a hash of the name, whatever else the folder holds.
"""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from vlm.errors import UsageError

Split = Literal["train", "tune", "test"]
INSTRUCTION = "Write the impression of this CT report from its findings."
ROLES = ("system", "user", "assistant")
MOST_CHARACTERS = 20_000
IMPRESSION = re.compile(r"\bimpression\s*:", re.I)
CT_RATE_PATIENT = re.compile(r"^([a-z]+_\d+)_[a-z]+_\d+", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One conversation whose last turn is learned."""

    patient: str
    messages: tuple[Mapping[str, str], ...]

    @property
    def split(self) -> Split:
        """Eight in ten patients train, one tunes, one tests."""
        tenth = int(hashlib.sha256(self.patient.encode()).hexdigest(), 16) % 10
        return "train" if tenth < 8 else "tune" if tenth == 8 else "test"


def load_examples(data: Path) -> list[Example]:
    """Every example below a folder or in a file, in a fixed order.

    Raises:
        UsageError: there is none, or a file is of no known layout.
    """
    files = [data] if data.is_file() else sorted([*data.rglob("*.csv"), *data.rglob("*.jsonl")])
    examples = [example for path in files for example in (_csv(path) if path.suffix == ".csv" else _lines(path))]
    if not examples:
        raise UsageError(f"E_USAGE: --data {data.name} holds no example, expected CSV of CT-RATE or Merlin, or .jsonl.")
    return examples


def _csv(path: Path) -> Iterator[Example]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        columns = set(rows.fieldnames or ())
        if {"VolumeName", "Findings_EN", "Impressions_EN"} <= columns:
            for row in rows:
                name = row["VolumeName"]
                patient = match.group(1) if (match := CT_RATE_PATIENT.match(name)) else name
                yield from _pair(patient, row["Findings_EN"], row["Impressions_EN"])
        elif {"study id", "Findings"} <= columns:
            for row in rows:
                findings, *answer = IMPRESSION.split(row["Findings"] or "", maxsplit=1)
                yield from _pair(row.get("patient id") or row["study id"], findings, "".join(answer))
        else:
            found = ", ".join(sorted(columns))[:80]
            raise UsageError(f"E_USAGE: {path.name} has columns {found}, expected those of CT-RATE or Merlin.")


def _pair(patient: str, findings: str | None, impression: str | None) -> Iterator[Example]:
    question, answer = (findings or "").strip()[:MOST_CHARACTERS], (impression or "").strip()[:MOST_CHARACTERS]
    if question and answer:
        messages = (
            {"role": "system", "content": INSTRUCTION}, {"role": "user", "content": question},
            {"role": "assistant", "content": answer},
        )  # fmt: skip
        yield Example(patient=patient, messages=messages)


def _lines(path: Path) -> Iterator[Example]:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            told = json.loads(line)
            turns = [{"role": turn["role"], "content": str(turn["content"])} for turn in told["messages"]]
            patient = str(told["patient"])
        except (ValueError, KeyError, TypeError):
            raise UsageError(
                f"E_USAGE: {path.name} line {number} is no example, expected patient and messages."
            ) from None
        if not turns or turns[-1]["role"] != "assistant" or any(turn["role"] not in ROLES for turn in turns):
            raise UsageError(f"E_USAGE: {path.name} line {number} does not end with the assistant's turn.")
        yield Example(patient=patient, messages=tuple(turns))
