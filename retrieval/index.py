"""Nearest neighbours among unit vectors: one protocol, two engines.

FAISS works in the process, Milvus in a server (or in one file, for tests). Both are caches: what they
hold can be built again from the library, and they know vectors by the library's ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlm.errors import UsageError

Vectors = NDArray[np.float32]  # (n, dimension), each row of length 1
Ids = NDArray[np.int64]  # (n,)
Block = tuple[Ids, Vectors]

EXACT_UP_TO = 200_000  # vectors that are compared one by one; beyond, lists of codes
RECALL = 0.98  # of the true ten nearest, what an approximate index must find; told beside it
PROBES = 200  # vectors of the index itself on which its recall is measured
NEIGHBOURS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What an index is, as ``index stats`` tells it."""

    engine: str
    layout: str  # "exact", or how the approximate index is laid out
    count: int
    bytes_per_vector: float | None = None  # None: the engine does not say
    recall: float | None = None  # at NEIGHBOURS, measured on the index's own vectors; None: exact
    probes: int = 0  # lists looked through for each query; 0: exact
    candidates: int = 0  # compared as vectors for each query of NEIGHBOURS; 0: exact


class VectorIndex(Protocol):
    """Vectors by id; the score of two is their inner product, which for unit vectors is the cosine."""

    def __len__(self) -> int: ...

    def ids(self) -> Ids:
        """The ids held, rising."""

    def build(self, blocks: Iterable[Block], count: int) -> None:
        """Replace everything by these vectors; ``count`` says beforehand how many, and chooses the layout."""

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors under ids that are not held yet."""

    def remove(self, ids: Ids) -> None:
        """Take vectors out; an id that is not held is no error."""

    def search(self, queries: Vectors, k: int, *, among: Ids | None = None) -> tuple[Vectors, Ids]:
        """The k nearest of each query, nearest first.

        Args:
            queries: (q, dimension) unit vectors.
            k: how many.
            among: only these ids; None: all.

        Returns:
            (q, k) scores and (q, k) ids; where fewer are held the id is -1 and the score -inf.
        """

    def facts(self) -> Facts:
        """What it is and how well it finds."""

    def close(self) -> None:
        """Let go of files and connections."""


def missing(package: str, what: str, extra: str) -> UsageError:
    """The error for an engine whose package is not installed."""
    return UsageError(f"E_USAGE: {what} needs {package}, which is not installed. pip install 'tomoscribe[{extra}]'")


def exact_neighbours(blocks: Iterable[Block], queries: Vectors, k: int) -> tuple[Vectors, Ids]:
    """The true k nearest of each query by comparing with everything, block by block; for measuring.

    Returns:
        (q, k) scores and ids, nearest first.
    """
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    names = np.full((len(queries), k), -1, dtype=np.int64)
    for ids, vectors in blocks:
        new, theirs = nearest(queries @ vectors.T, ids, k)
        scores, names = np.concatenate([scores, new], axis=1), np.concatenate([names, theirs], axis=1)
        best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores, names = np.take_along_axis(scores, best, 1), np.take_along_axis(names, best, 1)
    return scores, names


def nearest(scores: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """The k best of (q, n) scores with the ids of their columns: (q, k), best first; -inf and -1 where n is less."""
    columns = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else None
    best = scores if columns is None else np.take_along_axis(scores, columns, 1)
    names = np.broadcast_to(ids, scores.shape) if columns is None else ids[columns]
    order = np.lexsort((names, -best), axis=1)
    best, names = np.take_along_axis(best, order, 1), np.take_along_axis(names, order, 1)
    lacking = ((0, 0), (0, max(0, k - best.shape[1])))
    return np.pad(best, lacking, constant_values=-np.inf), np.pad(names, lacking, constant_values=-1)


def recall_of(found: Ids, true: Ids) -> float:
    """Mean share of the true neighbours (q, k) that were found (q, k)."""
    hits = [len(np.intersect1d(mine[mine >= 0], its[its >= 0])) for mine, its in zip(found, true, strict=True)]
    wanted = int((true >= 0).sum())
    return sum(hits) / wanted if wanted else 1.0


def normalised(vectors: Vectors) -> Vectors:
    """Rows scaled to length 1; a row of zeros stays one."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.where(length > 0, length, 1), dtype=np.float32)


def in_blocks(ids: Sequence[int] | Ids, size: int) -> Iterator[Ids]:
    """The ids in runs of at most ``size``."""
    held = np.asarray(ids, dtype=np.int64)
    for start in range(0, len(held), size):
        yield held[start : start + size]
