"""What an encoder is adapted on: scans with what is known of them, and who belongs to which part.

A part is chosen by a hash of the patient: all scans of one are in one part, in every run, whatever else is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vlm.errors import UsageError

Part = Literal["train", "tune", "test"]
PARTS: Mapping[Part, float] = {"train": 0.7, "tune": 0.85, "test": 1.0}  # upper ends


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A scan, its report where there is one, and what is known of it."""

    patient: str
    scan: Path
    text: str = ""
    labels: Mapping[str, int] = field(default_factory=dict)  # column -> 0 or 1; what is not known is not there


def part_of(patient: str) -> Part:
    """The part that a patient belongs to, now and always."""
    at = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:6], "big") / 2**48
    return next(part for part, end in PARTS.items() if at < end)


def check(pairs: Sequence[Pair]) -> None:
    """Refuse what nothing can be learned from.

    Raises:
        UsageError: too few patients, or nothing is known of them.
    """
    patients = {pair.patient for pair in pairs}
    if len(patients) < 10:
        raise UsageError(f"E_USAGE: --data has {len(patients)} patients with a scan, expected at least 10.")
    if not any(pair.labels for pair in pairs):
        raise UsageError("E_USAGE: --data has neither reports nor columns of a pack, expected one of them.")
