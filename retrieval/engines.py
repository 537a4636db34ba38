"""The engine that holds an index is chosen by its place."""

from __future__ import annotations

from pathlib import Path

from retrieval.faiss_index import FaissIndex
from retrieval.index import VectorIndex
from retrieval.milvus_index import MilvusIndex


def open_index(place: str | Path, name: str, dimension: int) -> VectorIndex:
    """An index by its place: a folder for FAISS; ``milvus://host:port`` or a ``.db`` file for Milvus.

    Raises:
        UsageError: the engine's package is not installed, or its server does not answer.
    """
    if str(place).startswith("milvus://") or str(place).endswith(".db"):
        return MilvusIndex(str(place), name, dimension)
    return FaissIndex(dimension)
