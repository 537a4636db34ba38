"""Indexes of a library, kept as caches: loaded by checksum, brought up to date, built again when in doubt.

Each kind and space of vectors has one index. The library's table names its file, the file's sha256, the
generation it was made from, and the weights that its vectors went through; a query goes through the same.
A file that is missing, cut or changed is noticed and built again.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from retrieval import features
from retrieval.cases import Kind
from retrieval.engines import open_index
from retrieval.faiss_index import FaissIndex
from retrieval.index import EXACT_UP_TO, Block, Facts, Ids, VectorIndex
from retrieval.library import CaseLibrary
from retrieval.weights import (
    FITTED_ON,
    WHITENED_FROM,
    Project,
    Weights,
    among_words,
    as_shipped,
    plain,
    rare,
    whitened,
)
from vlm.errors import UsageError

WORDS_MARK = "-among-words"  # of the index of an encoder's vectors brought among its words
MOVED = 0.3  # share of vectors that may come or go before weights and lists are made anew

Log = Callable[[str], None]


@dataclass
class Opened:
    """An index ready to be searched."""

    index: VectorIndex
    weights: Weights
    generation: int
    removals: int  # of the library when the weights were made: they hold traces of everybody who was there


class Indexes:
    """The indexes of one library."""

    def __init__(self, library: CaseLibrary, place: str | None = None, log: Log = lambda _: None) -> None:
        """``place`` is None for FAISS files beside the library, or that of a Milvus server."""
        self.library, self.place, self.log = library, place, log
        self.folder = library.folder / "index"
        self._open: dict[tuple[str, str, bool], Opened] = {}

    def close(self) -> None:
        """Let go of every index."""
        for opened in self._open.values():
            opened.index.close()
        self._open.clear()

    def get(self, kind: Kind, space: str) -> Opened | None:
        """The index of a kind and space, up to date with the library.

        None where the library has no such vector, or too few of an encoder's to compare them.
        """
        return self._kept_open(kind, space, None)

    def among_words(self, kind: Kind, space: str, project: Project) -> Opened | None:
        """The index of an encoder's vectors brought among its words; written as soon as it is made.

        ``index add`` and ``rebuild`` do not make it, as they may not have the encoder that knows the way.
        """
        known = self._open.get((kind, space, True))
        opened = self._kept_open(kind, space, project)
        if opened is not None and opened is not known:
            with self.library.alone():
                self.folder.mkdir(mode=0o700, exist_ok=True)
                self._save(kind, space, opened, opened.removals)
        return opened

    def _kept_open(self, kind: Kind, space: str, project: Project | None) -> Opened | None:
        generation, key = self.library.generation, (kind, space, project is not None)
        opened = self._open.get(key)
        if opened is None or opened.generation != generation:
            opened = self._current(kind, space, opened, generation, project)
            if opened is None:
                return None
            self._open[key] = opened
        return opened

    def _current(
        self, kind: Kind, space: str, held: Opened | None, generation: int, project: Project | None
    ) -> Opened | None:
        removals, wanted = self.library.removals, self._ids(kind, space)
        if len(wanted) < (least(kind, space) if project is None else 1):
            return None
        opened = held or self._loaded(kind, space, project)
        if opened is None or opened.removals != removals:
            return self._built(kind, space, len(wanted), generation, project)
        if opened.generation != generation:
            there = opened.index.ids()
            gone, new = np.setdiff1d(there, wanted), np.setdiff1d(wanted, there)
            outgrown = isinstance(opened.index, FaissIndex) and opened.index.is_exact and len(wanted) > EXACT_UP_TO
            if len(gone) + len(new) > MOVED * len(wanted) or outgrown:
                return self._built(kind, space, len(wanted), generation, project)
            opened.index.remove(gone)
            for ids, vectors in self._blocks(kind, space, opened.weights, new):
                opened.index.add(ids, vectors)
        return Opened(opened.index, opened.weights, generation, removals)

    def refresh(self, *, anew: bool = False) -> dict[str, Facts]:
        """Bring every index up to date and write it; what each is. ``anew``: build all of them again."""
        found: dict[str, Facts] = {}
        with self.library.alone():
            self.folder.mkdir(mode=0o700, exist_ok=True)
            for kind, space, count in self.library.spaces():
                if count < least(kind, space):
                    continue
                removals, generation = self.library.removals, self.library.generation
                opened = self._built(kind, space, count, generation) if anew else self.get(kind, space)
                if opened is not None:
                    self._open[kind, space, False] = opened
                    self._save(kind, space, opened, removals)
                    found[f"{kind}-{space}"] = opened.index.facts()
            self.library.sweep()
        return found

    # ---- making

    def _ids(self, kind: Kind, space: str) -> Ids:
        rows = self.library.tables.rows(
            "select id from vectors where kind = ? and space = ? order by id", (kind, space)
        )
        return np.array([row["id"] for row in rows], dtype=np.int64)

    def _raw(self, kind: Kind, space: str, among: Ids | None = None) -> Iterator[Block]:
        """Vectors as they are kept, in blocks; of these ids only when they are given."""
        query = "select id, body from vectors where kind = ? and space = ?"
        if among is not None:
            if not len(among):
                return
            query += f" and id between {int(among.min())} and {int(among.max())}"
        for rows in self.library.tables.stream(query + " order by id", (kind, space)):
            chosen = rows
            if among is not None:
                inside = np.isin([row["id"] for row in rows], among)
                chosen = [row for row, wanted in zip(rows, inside, strict=True) if wanted]
            if chosen:
                ids = np.array([row["id"] for row in chosen], dtype=np.int64)
                yield ids, np.stack([decoded(space, row["body"]) for row in chosen])

    def _blocks(self, kind: Kind, space: str, weights: Weights, among: Ids | None = None) -> Iterator[Block]:
        for ids, vectors in self._raw(kind, space, among):
            yield ids, weights.prepared(vectors)

    def _weights(self, kind: Kind, space: str, count: int) -> Weights:
        if space == features.space():
            counts = np.zeros(features.dimension(), dtype=np.int64)
            for _, vectors in self._raw(kind, space):
                counts += (vectors > 0).sum(axis=0)
            return rare(features.rarity(counts, count))
        if not is_whitened(kind, space):
            return plain()
        if count < WHITENED_FROM and (known := as_shipped(space)) is not None:
            return known
        step = -(-count // FITTED_ON)
        return whitened(np.concatenate([vectors[::step] for _, vectors in self._raw(kind, space)]), space)

    def _built(self, kind: Kind, space: str, count: int, generation: int, project: Project | None = None) -> Opened:
        self.log(f"index of {count} {kind} vectors, {space}{' among words' if project else ''}")
        removals = self.library.removals
        weights = self._weights(kind, space, count) if project is None else among_words(project)
        dimension = weights.prepared(next(iter(self._raw(kind, space)))[1][:1]).shape[1]
        index = open_index(self.place or self.folder, self._collection(kind, space, weights), dimension)

        def blocks() -> Iterator[Block]:
            return self._blocks(kind, space, weights)

        if isinstance(index, FaissIndex) and count > EXACT_UP_TO:
            index.build_lists(blocks, count)
        else:
            index.build(blocks(), count)
        return Opened(index, weights, generation, removals)

    def _collection(self, kind: Kind, space: str, weights: Weights) -> str:
        """The name of a collection in a server that several libraries may share."""
        return f"tomoscribe_{self.library.token('library', '')[:8]}_{kind}_{space}{_mark(weights)}"

    # ---- files

    def _row_name(self, kind: Kind, space: str, mark: str) -> str:
        return f"{kind} {space}{mark} {self.place or 'faiss'}"

    def _loaded(self, kind: Kind, space: str, project: Project | None) -> Opened | None:
        """The index as it was written; None where there is none or it is not what was written."""
        name = self._row_name(kind, space, "" if project is None else WORDS_MARK)
        rows = self.library.tables.rows("select * from indexes where name = ?", (name,))
        if not rows or rows[0]["generation"] < 0:
            return None
        row, weights = rows[0], replace(Weights.of(rows[0]["weights"]), project=project)
        told = json.loads(row["facts"])
        dimension = told.pop("dimension")
        if row["engine"] != "faiss":
            index = open_index(self.place or "", self._collection(kind, space, weights), dimension)
            return Opened(index, weights, row["generation"], self.library.removals) if len(index) else None
        path = self.folder / row["file"]
        try:
            with path.open("rb") as stream:
                whole = hashlib.file_digest(stream, "sha256").hexdigest() == row["sha256"]
            if not whole:
                raise ValueError("its checksum is another")
            loaded = FaissIndex(dimension)
            loaded.load(path, ids=_ids_of(row["ids"]), told=Facts(**told))
        except (OSError, ValueError) as error:
            self.log(f"index file {row['file']} cannot be used ({error}); it is built again")
            return None
        return Opened(loaded, weights, row["generation"], self.library.removals)

    def _save(self, kind: Kind, space: str, opened: Opened, removals: int) -> None:
        """Write an index, unless a patient was removed since it was begun: it may hold what is gone."""
        name, file, digest = self._row_name(kind, space, _mark(opened.weights)), "", ""
        if isinstance(opened.index, FaissIndex):
            file = f"{kind}-{space}{_mark(opened.weights)}-{secrets.token_hex(6)}.faiss"
            digest = _written(opened.index, self.folder / file)
        dimension = getattr(opened.index, "dimension", 0)
        facts = json.dumps({**asdict(opened.index.facts()), "dimension": dimension})
        with self.library.tables.write() as db:
            if self.library.removals != removals:
                return
            db.execute(
                "insert or replace into indexes "
                "(name, engine, file, sha256, generation, ids, weights, facts, statistics) "
                "values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, opened.index.facts().engine, file, digest, opened.generation,
                 _ids_kept(opened.index.ids()) if file else b"", opened.weights.kept(), facts, opened.weights.version),
            )  # fmt: skip

    def damaged(self) -> list[str]:
        """Index files that are missing or not what was written."""
        bad = []
        for row in self.library.tables.rows("select name, file, sha256 from indexes where file != ''"):
            path: Path = self.folder / row["file"]
            try:
                with path.open("rb") as stream:
                    whole = hashlib.file_digest(stream, "sha256").hexdigest() == row["sha256"]
            except OSError:
                whole = False
            if not whole:
                bad.append(str(row["name"]))
        return bad


def _mark(weights: Weights) -> str:
    return WORDS_MARK if weights.how == "among words" else ""


def _written(index: FaissIndex, path: Path) -> str:
    """Write an index to the disk; the sha256 of its file.

    Raises:
        UsageError: the disk is full, or the folder cannot be written; nothing is left of the file.
    """
    try:
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))
        index.save(path)
        with path.open("rb+") as stream:
            os.fsync(stream.fileno())
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError:
        path.unlink(missing_ok=True)
        raise UsageError(
            "E_USAGE: --library cannot keep its index: the disk is full or the folder cannot be written. Free space, "
            "then run tomoscribe index rebuild; the cases are as they were."
        ) from None


def _ids_kept(ids: Ids) -> bytes:
    """Rising ids as they are kept: their steps, packed; most are 1."""
    return zlib.compress(np.diff(ids, prepend=0).astype("<i8").tobytes(), 1)


def _ids_of(kept: bytes) -> Ids:
    """Ids from ``_ids_kept``."""
    return np.cumsum(np.frombuffer(zlib.decompress(kept), dtype="<i8")).astype(np.int64)


def is_whitened(kind: Kind, space: str) -> bool:
    """Whether vectors of a space are an image encoder's: without its library's mean all of them are alike."""
    return kind != "sentence" and not space.startswith("findings-")


def least(kind: Kind, space: str) -> int:
    """How many vectors a space must have to be searched."""
    return WHITENED_FROM if is_whitened(kind, space) and as_shipped(space) is None else 1


def decoded(space: str, body: bytes) -> NDArray[np.float32]:
    """(dimension,) float32 of a vector as the library keeps it."""
    if space.startswith("findings-"):
        return features.unpacked(body)
    return np.frombuffer(body, dtype="<f4").astype(np.float32)
