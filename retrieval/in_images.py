"""Text to image: words asked of the images themselves, by an encoder that knows both.

In: how an encoder scores raw vectors against some words, which it does for each vector of the library by itself. Out:
cases, best first. A score here is a cosine of an image with words, never with another image.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.caches import decoded
from retrieval.images import space_of
from retrieval.library import CaseLibrary, Kind

Scored = tuple[float, int]  # score, case


@dataclass(frozen=True, slots=True, kw_only=True)
class InImages:
    """Words as an encoder asks them of images."""

    identity: str  # of the encoder whose vectors are asked
    structure: str  # whose vector is asked; "" the whole scan's
    score: Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (n, D) raw vectors -> (n,)

    @property
    def kind(self) -> Kind:
        """Of the vectors."""
        return "organ" if self.structure else "scan"

    @property
    def name(self) -> str:
        """Of the ranking."""
        return f"words in images {self.identity.partition('-')[0]}"


def best(library: CaseLibrary, asked: InImages, allowed: NDArray[np.int64] | None, k: int) -> list[Scored]:
    """The k cases whose image agrees most with the words; every vector of the encoder is looked at.

    Args:
        allowed: ids of cases that may come back; None: all.
    """
    space = space_of(asked.identity, asked.structure)
    query = "select case_id, body from vectors where kind = ? and space = ? order by id"
    found: dict[int, float] = {}
    inside = None if allowed is None else set(allowed.tolist())
    for rows in library.tables.stream(query, (asked.kind, space)):
        kept = [row for row in rows if inside is None or row["case_id"] in inside]
        if not kept:
            continue
        scores = asked.score(np.stack([decoded(space, row["body"]) for row in kept]))
        for row, score in zip(kept, scores.tolist(), strict=True):
            found[row["case_id"]] = max(score, found.get(row["case_id"], -np.inf))
    return heapq.nlargest(k, ((score, case) for case, score in found.items()))
