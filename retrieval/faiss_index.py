"""The index in the process, by FAISS: exact up to EXACT_UP_TO vectors, inverted lists of 4-bit codes beyond.

Both look at short codes first and let the vectors themselves decide. Exact: a scan of 8-bit codes proposes, and the
largest error of any code says which vectors could still be nearer than those proposed; they are compared, too, so
nothing is missed. Lists: product codes of 4 bits (André, Kermarrec and Le Scouarnec 2015) propose, and the vectors in
half precision decide. How many are proposed and how many lists are looked through are the smallest numbers that reach
RECALL on vectors of the index itself; the recall is then measured on others and kept with the index.

Where FAISS is its GPU build and sees a card, the vectors move there at the second question and all are compared.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
def _package() -> Any:
    """The package, loaded when an index is first opened: a reading without a library does not wait for it."""
    try:
        return import_module("faiss")
    except ImportError:
        raise missing("faiss-cpu", "the index of a case library", "retrieval") from None


def _faiss() -> Any:
    """The package, set to one thread: a query is over before a second one has started, and on a busy machine
    OpenMP's threads wait for each other a hundred times longer than the scan takes. The setting is each thread's own.
    """
    package = _package()
    package.omp_set_num_threads(1)
    return package


TRAINING_PER_LIST = 40  # FAISS asks for 39 at least
ITERATIONS = 8  # of k-means; more moves the lists little
FEW = 20_000  # vectors that are compared as they are, without a look at codes first
SELECTIVE = 0.2  # a filter that leaves less than this share looks through every list
AT_ONCE = 64  # queries that are compared in one product
LOST = (1 - RECALL) / 4  # aimed at on the index's own vectors: of others it loses up to 1 % more (benchmarks)
CANDIDATES = (50, 100, 200, 400, 800, 1600)  # that lists may propose for ten neighbours
ON_CARD = 2048  # neighbours that FAISS finds on a card at most
ROUNDING = 1e-5  # of a score, by the order in which its products are added up


class FaissIndex:
    """Vectors in memory. ``save`` and ``load`` put them into a file."""

    def __init__(self, dimension: int) -> None:
        """An empty index of vectors of this many dimensions.

        Raises:
            UsageError: faiss is not installed.
        """
        _package()
        self.dimension = dimension
        self.close()

    def close(self) -> None:
        """Let go of the memory."""
        self._ids: Ids = np.empty(0, dtype=np.int64)  # rising
        self._rows: NDArray[Any] = np.empty((0, self.dimension), np.float32)  # in that order; beside lists float16
        self._lists: Any = None
        self._candidates = 0
        self._recall: float | None = None
        self._changed()

    def _changed(self) -> None:
        self._codes: _Codes | None = None
        self._cards: Any = None
        self._asked = False

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def is_exact(self) -> bool:
        """Whether every vector is compared."""
        return self._lists is None

    def ids(self) -> Ids:
        """The ids held, rising."""
        return self._ids

    # ---- in and out

    def build(self, blocks: Iterable[Block], count: int) -> None:
        """Replace everything; blocks are read once, or kept in memory where lists must be trained."""
        held = list(blocks)
        if count > EXACT_UP_TO:
            self.build_lists(lambda: iter(held), count)
            return
        self.close()
        if held:
            self.add(np.concatenate([ids for ids, _ in held]), np.concatenate([vectors for _, vectors in held]))

    def build_lists(self, blocks: Callable[[], Iterator[Block]], count: int) -> None:
        """Replace everything by inverted lists; ``blocks()`` is gone through four times, so it may read a disk."""
        self.close()
        pairs = self.dimension // 2 if self.dimension % 2 == 0 else self.dimension
        wanted = 2 ** round(math.log2(math.sqrt(count)))
        lists = _faiss().index_factory(self.dimension, f"IVF{wanted},PQ{pairs}x4fs", _faiss().METRIC_INNER_PRODUCT)
        lists.cp.niter = ITERATIONS
        lists.train(_sample(blocks(), count, wanted * TRAINING_PER_LIST)[1])
        ids, rows, at = np.empty(count, np.int64), np.empty((count, self.dimension), np.float16), 0
        for block, values in blocks():
            theirs, vectors = block[: count - at], values[: count - at]  # what was written meanwhile comes later
            lists.add_with_ids(np.ascontiguousarray(vectors), theirs)
            ids[at : at + len(theirs)], rows[at : at + len(theirs)] = theirs, vectors
            at += len(theirs)
        self._lists, self._ids, self._rows = lists, ids[:at], rows[:at]
        self._tune(blocks, count)

    def _tune(self, blocks: Callable[[], Iterator[Block]], count: int) -> None:
        """Choose how many are proposed, and from how many lists, on one half of a sample; measure on the other half.

        The sample is of the index itself. That a vector finds itself says nothing, so it does not count.
        """
        own, sample = _sample(blocks(), count, 2 * PROBES)
        _, nearest_to = exact_neighbours(blocks(), sample, NEIGHBOURS + 1)
        true, tuning, testing = _others(nearest_to, own), slice(0, None, 2), slice(1, None, 2)

        def found(part: slice) -> float:
            return recall_of(_others(self._in_lists(sample[part], NEIGHBOURS + 1, None)[1], own[part]), true[part])

        self._lists.nprobe = self._lists.nlist
        for self._candidates in CANDIDATES:  # what the codes lose with every list looked through
            if found(tuning) >= 1 - LOST / 2:
                break
        probes = self._lists.nprobe = 1
        while found(tuning) < 1 - LOST and probes < self._lists.nlist:
            probes = self._lists.nprobe = min(self._lists.nlist, math.ceil(probes * 1.5))
        self._recall = round(found(testing), 4)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors (n, dimension) under ids that are not held."""
        if not len(ids):
            return
        ids, vectors = np.asarray(ids, dtype=np.int64), np.ascontiguousarray(vectors, dtype=np.float32)
        if self._lists is not None:
            _faiss()
            self._lists.add_with_ids(vectors, ids)
        ids, rows = np.concatenate([self._ids, ids]), np.concatenate([self._rows, vectors.astype(self._rows.dtype)])
        order = np.argsort(ids)
        rising = bool((order[1:] > order[:-1]).all())  # they follow those that are held, as a library's do
        self._ids, self._rows = (ids, rows) if rising else (ids[order], rows[order])
        self._changed()

    def remove(self, ids: Ids) -> None:
        """Take vectors out."""
        if not len(ids):
            return
        kept = ~np.isin(self._ids, ids)
        if self._lists is not None:
            self._lists.remove_ids(self._ids[~kept])
        self._ids, self._rows = self._ids[kept], self._rows[kept]
        self._changed()

    # ---- searching

    def search(self, queries: Vectors, k: int, *, among: Ids | None = None) -> tuple[Vectors, Ids]:
        """The k nearest of each query; see VectorIndex."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if among is not None and (self.is_exact or len(among) <= FEW):
            chosen = np.flatnonzero(np.isin(self._ids, among))
            return self._compared(queries, k, self._rows[chosen], self._ids[chosen])
        if among is None and self._asked and len(self) > max(FEW, k) and k <= ON_CARD and _package().get_num_gpus():
            return self._on_cards(queries, k)
        if self._lists is not None:
            self._asked = True
            return self._in_lists(queries, k, among)
        if len(queries) == 1 and len(self) > max(FEW, k) and self._asked:
            return self._by_codes(queries, k)
        self._asked = True  # codes pay from the second query on
        return self._compared(queries, k, self._rows, self._ids)

    def _compared(self, queries: Vectors, k: int, rows: NDArray[Any], ids: Ids) -> tuple[Vectors, Ids]:
        """The k nearest of some queries by their product with every row."""
        parts = [
            nearest(queries[n : n + AT_ONCE] @ rows.T.astype(np.float32, copy=False), ids, k)
            for n in range(0, len(queries), AT_ONCE)
        ]
        return np.concatenate([scores for scores, _ in parts]), np.concatenate([ids for _, ids in parts])

    def _by_codes(self, query: Vectors, k: int) -> tuple[Vectors, Ids]:
        """The k nearest of one query, none missed: whoever could be among them by its code is compared."""
        if self._codes is None:
            self._codes = _Codes(self._rows)
        at = self._codes.possible(query, k, self._rows)
        return nearest(query @ self._rows[at].T, self._ids[at], k)

    def _on_cards(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """The k nearest among all, compared on the cards; vectors of half precision stay so."""
        if self._cards is None:
            self._cards = _moved(self._rows)
        scores, at = self._cards.search(queries, k)
        return np.asarray(scores, dtype=np.float32), self._ids[at]

    def _in_lists(self, queries: Vectors, k: int, among: Ids | None) -> tuple[Vectors, Ids]:
        """The k nearest of those that the lists propose."""
        narrow = among is not None and len(among) < SELECTIVE * len(self)
        chosen = None if among is None else _faiss().IDSelectorBatch(np.asarray(among, dtype=np.int64))
        probes = self._lists.nlist if narrow else self._lists.nprobe
        how = _faiss().SearchParametersIVF(nprobe=probes, sel=chosen)
        _, proposed = self._lists.search(queries, self._candidates * math.ceil(k / NEIGHBOURS), params=how)
        scores, ids = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
        for n, names in enumerate(proposed):
            at = np.searchsorted(self._ids, names[names >= 0])
            row, its = nearest(queries[n : n + 1] @ self._rows[at].T.astype(np.float32), self._ids[at], k)
            scores[n], ids[n] = row[0], its[0]
        return scores, ids

    # ---- what it is, and its file

    def facts(self) -> Facts:
        """What it is and how well it finds."""
        per_vector = float(self._rows.itemsize * self.dimension + 8)
        if self._lists is None:
            codes = self.dimension if len(self) > FEW else 0
            return Facts(engine="faiss", layout="exact", count=len(self), bytes_per_vector=per_vector + codes)
        per_vector += self._lists.code_size + 8 + 4.0 * self.dimension * self._lists.nlist / max(1, len(self))
        return Facts(
            engine="faiss",
            layout=f"{self._lists.nlist} lists of 4-bit codes, the best {self._candidates} compared",
            count=len(self),
            bytes_per_vector=round(per_vector, 1),
            recall=self._recall,
            probes=int(self._lists.nprobe),
            candidates=self._candidates,
        )

    def save(self, path: Path) -> None:
        """Write the vectors into a file, and the lists after them."""
        with path.open("wb") as stream:
            np.save(stream, self._rows)
            if self._lists is not None:
                np.save(stream, _faiss().serialize_index(self._lists))

    def load(self, path: Path, *, ids: Ids, told: Facts) -> None:
        """Read what ``save`` wrote; the caller has compared its checksum, and kept the ids and what was told of it.

        Raises:
            ValueError: the file is no index of this dimension, or holds another number of vectors.
        """
        self.close()
        try:
            with path.open("rb") as stream:
                rows = np.load(stream, allow_pickle=False)
                lists = np.load(stream, allow_pickle=False) if told.candidates else None
        except (EOFError, ValueError) as error:
            raise ValueError(f"not an index: {str(error)[:80]}") from None
        if rows.ndim != 2 or rows.shape[1] != self.dimension:
            raise ValueError(f"an index of {rows.shape[-1]} dimensions, expected {self.dimension}")
        if len(rows) != len(ids):
            raise ValueError(f"{len(rows)} vectors, expected {len(ids)}")
        if lists is not None:
            self._lists = _faiss().deserialize_index(lists)
            rows = np.load(path, mmap_mode="r")  # few are looked at for a query
        self._rows, self._ids, self._candidates, self._recall = rows, ids, told.candidates, told.recall


def _moved(rows: NDArray[Any]) -> Any:
    """An index of all rows on every card, filled block by block so that the host keeps no copy.

    Not shared out over the cards: FAISS fills shards in one pass only.
    """
    package = _package()
    options = package.GpuMultipleClonerOptions()
    options.useFloat16 = rows.dtype == np.float16
    cards = package.index_cpu_to_all_gpus(package.IndexFlatIP(rows.shape[1]), co=options)
    for start in range(0, len(rows), FEW):
        cards.add(np.ascontiguousarray(rows[start : start + FEW], dtype=np.float32))
    return cards


class _Codes:
    """Vectors in 8 bits a dimension, a quarter of the memory to go through, and how far off any of them is."""

    def __init__(self, rows: Vectors) -> None:
        dimension = rows.shape[1]
        kind = _faiss().ScalarQuantizer.QT_8bit
        self.index = _faiss().IndexScalarQuantizer(dimension, kind, _faiss().METRIC_INNER_PRODUCT)
        self.index.train(rows)  # the range of each dimension: of all rows, so that none lies outside it
        self.error = 0.0  # the longest way from a vector to its code
        for start in range(0, len(rows), FEW):
            part = rows[start : start + FEW]
            self.index.add(part)
            off = part - self.index.reconstruct_n(start, len(part))
            self.error = max(self.error, math.sqrt(float(np.einsum("ij,ij->i", off, off).max())))

    def possible(self, query: Vectors, k: int, rows: Vectors) -> Ids:
        """Rows among which the k nearest of a query (1, dimension) are, whatever the codes have lost.

        A code's score is off by at most ``error`` times the query's length (Cauchy and Schwarz), so a row whose code
        scores lower than the k-th best vector by more than that is not among the k.
        """
        _faiss()
        scores, at = self.index.search(query, max(128, 4 * k))
        reached = np.sort(rows[at[0][at[0] >= 0]] @ query[0])[-k]
        least = float(reached) - self.error * float(np.linalg.norm(query)) - ROUNDING
        if scores[0, -1] <= least:
            return np.asarray(at[0], dtype=np.int64)
        return np.asarray(self.index.range_search(query, least)[2], dtype=np.int64)


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
