"""The index in the process, by FAISS: exact up to EXACT_UP_TO vectors, inverted lists of 8-bit codes beyond.

Exact means every vector, by one matrix product over FAISS's own memory: for a single query that takes a half to a
third of its own scan's time. Lists are trained on a sample, and the number of lists looked through is the smallest that
reaches RECALL on vectors of the index itself; the recall is then measured on others and kept with the index.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from retrieval.index import (
    EXACT_UP_TO,
    NEIGHBOURS,
    PROBES,
    RECALL,
    Block,
    Facts,
    Ids,
    Vectors,
    exact_neighbours,
    missing,
    nearest,
    recall_of,
)


@functools.cache
def _faiss() -> Any:
    """The package, loaded when an index is first opened: a reading without a library does not wait for it."""
    try:
        return import_module("faiss")
    except ImportError:
        raise missing("faiss-cpu", "the index of a case library", "retrieval") from None


TRAINING_PER_LIST = 48  # FAISS asks for 39 at least
SELECTIVE = 0.2  # a filter that leaves less than this share looks through every list
AT_ONCE = 64  # queries that are compared in one product


class FaissIndex:
    """Vectors in memory. ``save`` and ``load`` put them into a file."""

    def __init__(self, dimension: int) -> None:
        """An empty index of vectors of this many dimensions.

        Raises:
            UsageError: faiss is not installed.
        """
        self.dimension = dimension
        self._index: Any = _exact(dimension)
        # Kept here, rising, an exact index's in the order of its rows: FAISS hands its own list over through SWIG,
        # whose classes another library may have taken over.
        self._ids: Ids = np.empty(0, dtype=np.int64)
        self._recall: float | None = None

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def is_exact(self) -> bool:
        """Whether every vector is compared."""
        return not isinstance(self._index, _faiss().IndexIVF)

    def ids(self) -> Ids:
        """The ids held, rising."""
        return self._ids

    def build(self, blocks: Iterable[Block], count: int) -> None:
        """Replace everything; blocks are read once, or kept in memory where lists must be trained."""
        self._recall = None
        if count <= EXACT_UP_TO:
            self._index, self._ids = _exact(self.dimension), self._ids[:0]
            for ids, vectors in blocks:
                self.add(ids, vectors)
            return
        held = list(blocks)
        self.build_lists(lambda: iter(held), count)

    def build_lists(self, blocks: Callable[[], Iterator[Block]], count: int) -> None:
        """Replace everything by inverted lists; ``blocks()`` is gone through three times, so it may read a disk."""
        lists = 2 ** round(math.log2(4 * math.sqrt(count)))
        index = _faiss().index_factory(self.dimension, f"IVF{lists},SQ8", _faiss().METRIC_INNER_PRODUCT)
        index.train(_sample(blocks(), count, lists * TRAINING_PER_LIST)[1])
        held = [self._ids[:0]]
        for ids, vectors in blocks():
            index.add_with_ids(vectors, ids)
            held.append(ids)
        self._index, self._ids = index, np.sort(np.concatenate(held))
        self._tune(blocks, count)

    def _tune(self, blocks: Callable[[], Iterator[Block]], count: int) -> None:
        """Choose how many lists are looked through on one half of a sample; measure on the other half.

        The sample is of the index itself. That a vector finds itself says nothing, so it does not count.
        """
        own, sample = _sample(blocks(), count, 2 * PROBES)
        _, nearest_to = exact_neighbours(blocks(), sample, NEIGHBOURS + 1)
        true, tuning, testing = _others(nearest_to, own), slice(0, None, 2), slice(1, None, 2)

        def found(part: slice) -> float:
            _, ids = self._index.search(sample[part], NEIGHBOURS + 1)
            return recall_of(_others(ids, own[part]), true[part])

        probes = self._index.nprobe = 1
        while found(tuning) < RECALL + (1 - RECALL) / 4 and probes < self._index.nlist:
            probes = self._index.nprobe = min(self._index.nlist, math.ceil(probes * 1.5))
        self._recall = round(found(testing), 4)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors (n, dimension) under ids that are not held."""
        if not len(ids):
            return
        ids, vectors = np.asarray(ids, dtype=np.int64), np.ascontiguousarray(vectors, dtype=np.float32)
        if not self.is_exact:
            self._index.add_with_ids(vectors, ids)
            self._ids = np.union1d(self._ids, ids)
            return
        ids = np.concatenate([self._ids, ids])
        order = np.argsort(ids)
        if (order[1:] > order[:-1]).all():  # they follow those that are held, as a library's do
            self._index.add(vectors)
        else:
            every = np.concatenate([self._rows(), vectors])[order]
            self._index = _exact(self.dimension)
            self._index.add(every)
        self._ids = ids[order]

    def remove(self, ids: Ids) -> None:
        """Take vectors out."""
        if len(ids):
            gone = np.isin(self._ids, ids)
            self._index.remove_ids(np.flatnonzero(gone) if self.is_exact else np.asarray(ids, dtype=np.int64))
            self._ids = self._ids[~gone]

    def _rows(self) -> Vectors:
        """(n, dimension) vectors of an exact index in the order of their ids: FAISS's memory, not a copy."""
        held = _faiss().rev_swig_ptr(self._index.get_xb(), len(self) * self.dimension)
        return np.asarray(held, dtype=np.float32).reshape(-1, self.dimension)

    def search(self, queries: Vectors, k: int, *, among: Ids | None = None) -> tuple[Vectors, Ids]:
        """The k nearest of each query; see VectorIndex."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if not len(self) or (among is not None and len(among) == 0):
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        if self.is_exact:
            parts = [self._compared(queries[n : n + AT_ONCE], k, among) for n in range(0, len(queries), AT_ONCE)]
            return np.concatenate([scores for scores, _ in parts]), np.concatenate([ids for _, ids in parts])
        narrow = among is not None and len(among) < SELECTIVE * len(self)
        chosen = None if among is None else _faiss().IDSelectorBatch(np.asarray(among, dtype=np.int64))
        probes = self._index.nlist if narrow else self._index.nprobe
        scores, ids = self._index.search(queries, k, params=_faiss().SearchParametersIVF(nprobe=probes, sel=chosen))
        return np.where(ids < 0, -np.inf, scores).astype(np.float32), ids

    def _compared(self, queries: Vectors, k: int, among: Ids | None) -> tuple[Vectors, Ids]:
        """The k nearest of some queries by their product with every vector."""
        rows, ids = self._rows(), self._ids
        if among is not None:
            chosen = np.flatnonzero(np.isin(ids, among))
            rows, ids = rows[chosen], ids[chosen]
        return nearest(queries @ rows.T, ids, k)

    def facts(self) -> Facts:
        """What it is and how well it finds."""
        if self.is_exact:
            return Facts(engine="faiss", layout="exact", count=len(self), bytes_per_vector=4.0 * self.dimension + 8)
        per_vector = self._index.code_size + 8 + 4.0 * self.dimension * self._index.nlist / max(1, len(self))
        return Facts(
            engine="faiss",
            layout=f"{self._index.nlist} lists of 8-bit codes",
            count=len(self),
            bytes_per_vector=round(per_vector, 1),
            recall=self._recall,
            probes=int(self._index.nprobe),
        )

    def save(self, path: Path) -> None:
        """Write the vectors into a file."""
        _faiss().write_index(self._index, str(path))

    def load(self, path: Path, *, ids: Ids, recall: float | None) -> None:
        """Read what ``save`` wrote; the caller has compared its checksum, and kept the ids and the recall.

        Raises:
            ValueError: the file is no index of this dimension, or holds another number of vectors.
        """
        try:
            self._index = _faiss().read_index(str(path))
        except RuntimeError as error:
            raise ValueError(f"not an index: {str(error)[:80]}") from None
        if self._index.d != self.dimension:
            raise ValueError(f"an index of {self._index.d} dimensions, expected {self.dimension}")
        if not isinstance(self._index, (_faiss().IndexFlat, _faiss().IndexIVF)):
            raise ValueError("an index of an older layout")
        if self._index.ntotal != len(ids):
            raise ValueError(f"{self._index.ntotal} vectors, expected {len(ids)}")
        self._ids, self._recall = ids, recall

    def close(self) -> None:
        """Let go of the memory."""
        self._index, self._ids = _exact(self.dimension), self._ids[:0]


def _exact(dimension: int) -> Any:
    return _faiss().IndexFlatIP(dimension)


def _sample(blocks: Iterable[Block], count: int, size: int) -> Block:
    """About ``size`` of ``count`` vectors with their ids, spread evenly over all blocks."""
    step = max(1, count // size)
    chosen = [(ids[::step], vectors[::step]) for ids, vectors in blocks]
    ids, vectors = (np.concatenate(parts)[:size] for parts in zip(*chosen, strict=True))
    return ids, vectors


def _others(ids: Ids, own: Ids) -> Ids:
    """(q, k + 1) neighbours of vectors of the index -> (q, k) without those themselves."""
    kept = ids != own[:, None]
    kept[kept.all(axis=1), -1] = False
    others: Ids = ids[kept].reshape(len(ids), -1)
    return others
