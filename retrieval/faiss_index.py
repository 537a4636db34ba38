"""The index in the process, by FAISS: exact up to EXACT_UP_TO vectors, inverted lists of 8-bit codes beyond.

Lists are trained on a sample, and the number of lists looked through is the smallest that reaches RECALL on
vectors of the index itself; the recall is then measured on others and kept with the index.
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


class FaissIndex:
    """Vectors in memory. ``save`` and ``load`` put them into a file."""

    def __init__(self, dimension: int) -> None:
        """An empty index of vectors of this many dimensions.

        Raises:
            UsageError: faiss is not installed.
        """
        self.dimension = dimension
        self._index: Any = _exact(dimension)
        # Kept here: FAISS hands its own list over through SWIG, whose classes another library may have taken over.
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
        index.train(_sample(blocks(), count, lists * TRAINING_PER_LIST))
        held = [self._ids[:0]]
        for ids, vectors in blocks():
            index.add_with_ids(vectors, ids)
            held.append(ids)
        self._index, self._ids = index, np.sort(np.concatenate(held))
        self._tune(blocks, count)

    def _tune(self, blocks: Callable[[], Iterator[Block]], count: int) -> None:
        """Choose how many lists are looked through on one half of a sample; measure on the other half."""
        sample = _sample(blocks(), count, 2 * PROBES)
        _, true = exact_neighbours(blocks(), sample, NEIGHBOURS)
        tuning, testing = slice(0, PROBES), slice(PROBES, None)
        probes = 1
        while True:
            self._index.nprobe = probes
            _, found = self._index.search(sample[tuning], NEIGHBOURS)
            if recall_of(found, true[tuning]) >= RECALL + (1 - RECALL) / 4 or probes >= self._index.nlist:
                break
            probes = min(self._index.nlist, math.ceil(probes * 1.5))
        _, found = self._index.search(sample[testing], NEIGHBOURS)
        self._recall = round(recall_of(found, true[testing]), 4)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors (n, dimension) under ids that are not held."""
        if len(ids):
            self._index.add_with_ids(np.ascontiguousarray(vectors, dtype=np.float32), np.asarray(ids, dtype=np.int64))
            self._ids = np.union1d(self._ids, ids)

    def remove(self, ids: Ids) -> None:
        """Take vectors out."""
        if len(ids):
            self._index.remove_ids(np.asarray(ids, dtype=np.int64))
            self._ids = np.setdiff1d(self._ids, ids)

    def search(self, queries: Vectors, k: int, *, among: Ids | None = None) -> tuple[Vectors, Ids]:
        """The k nearest of each query; see VectorIndex."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        chosen = None if among is None else _faiss().IDSelectorBatch(np.asarray(among, dtype=np.int64))
        if self.is_exact:
            parameters = None if chosen is None else _faiss().SearchParameters(sel=chosen)
        else:
            narrow = among is not None and len(among) < SELECTIVE * len(self)
            probes = self._index.nlist if narrow else self._index.nprobe
            parameters = _faiss().SearchParametersIVF(nprobe=probes, sel=chosen)
        if among is not None and len(among) == 0:
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        scores, ids = self._index.search(queries, k, params=parameters)
        return np.where(ids < 0, -np.inf, scores).astype(np.float32), ids

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
        if self._index.ntotal != len(ids):
            raise ValueError(f"{self._index.ntotal} vectors, expected {len(ids)}")
        self._ids, self._recall = ids, recall

    def close(self) -> None:
        """Let go of the memory."""
        self._index, self._ids = _exact(self.dimension), self._ids[:0]


def _exact(dimension: int) -> Any:
    return _faiss().IndexIDMap2(_faiss().IndexFlatIP(dimension))


def _sample(blocks: Iterable[Block], count: int, size: int) -> Vectors:
    """About ``size`` of ``count`` vectors, spread evenly over all blocks."""
    step = max(1, count // size)
    return np.concatenate([vectors[::step] for _, vectors in blocks])[:size]
