"""Findings as a vector: what is there, on which side, how big, and what was searched and not found.

No network: one dimension for each thing that a case can show of each finding. Kept sparse and unweighted in the
library; weighted by how rare a thing is in it (inverse document frequency, Spärck Jones 1972) when the index is
built, so that two cases which share a rare finding are nearer than two which share a common one.
"""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from retrieval.facts import Fact
from vlm.findings.vocabulary import load_vocabulary

ASPECTS = ("present", "left", "right", "small", "large", "absent")
ABSENT = 0.2  # shared absence says little: most cases lack most things
UNCERTAIN = 0.5
PARENT = 0.5  # a mass and a nodule share that both are lesions
SMALL_MM, LARGE_MM = 8.0, 30.0  # Fleischner 2017: follow-up changes at 8 mm; above 30 mm it is a mass


@functools.cache
def space() -> str:
    """The name of this space: another vocabulary makes another one."""
    keys = " ".join([*ASPECTS, *load_vocabulary().findings])
    return f"findings-{hashlib.sha256(keys.encode()).hexdigest()[:8]}"


@functools.cache
def _place() -> dict[str, int]:
    return {key: n * len(ASPECTS) for n, key in enumerate(load_vocabulary().findings)}


def dimension() -> int:
    """How many dimensions the space has."""
    return len(_place()) * len(ASPECTS)


def vector(facts: Iterable[Fact]) -> NDArray[np.float32]:
    """(dimension,) float32 of what the facts say, not weighted; zeros when they say nothing."""
    out = np.zeros(dimension(), dtype=np.float32)
    vocabulary, place = load_vocabulary(), _place()

    def put(finding: str, aspect: str, weight: float) -> None:
        at = place[finding] + ASPECTS.index(aspect)
        out[at] = max(out[at], weight)

    for fact in facts:
        if fact.finding not in place:
            continue
        if fact.presence == "absent":
            put(fact.finding, "absent", ABSENT)
            continue
        weight = 1.0 if fact.presence == "present" else UNCERTAIN
        put(fact.finding, "present", weight)
        for parent in vocabulary.ancestors(fact.finding):
            put(parent, "present", PARENT * weight)
        for side in ("left", "right"):
            if fact.side in (side, "bilateral"):
                put(fact.finding, side, PARENT * weight)
        if fact.size_mm is not None:
            large = np.clip(math.log(max(fact.size_mm, 1.0) / SMALL_MM) / math.log(LARGE_MM / SMALL_MM), 0.0, 1.0)
            put(fact.finding, "large", float(large) * PARENT * weight)
            put(fact.finding, "small", float(1.0 - large) * PARENT * weight)
    return out


def packed(dense: NDArray[np.float32]) -> bytes:
    """A vector as it is kept: places (uint16) and values (float16) of what is not zero."""
    at = np.flatnonzero(dense).astype("<u2")
    return bytes(at.tobytes()) + bytes(dense[at].astype("<f2").tobytes())


def unpacked(kept: bytes) -> NDArray[np.float32]:
    """(dimension,) float32 from ``packed``."""
    half = len(kept) // 2
    out = np.zeros(dimension(), dtype=np.float32)
    out[np.frombuffer(kept[:half], dtype="<u2")] = np.frombuffer(kept[half:], dtype="<f2")
    return out


def rarity(counts: NDArray[np.int64], cases: int) -> NDArray[np.float32]:
    """(dimension,) weight of each dimension: log((1 + N) / (1 + n)) + 1, for n of N vectors that have it.

    Absence weighs 1: that few reports bother to deny something does not make its absence telling.
    """
    weights = np.log((1.0 + cases) / (1.0 + counts)) + 1.0
    weights[ASPECTS.index("absent") :: len(ASPECTS)] = 1.0
    return np.asarray(weights, dtype=np.float32)
