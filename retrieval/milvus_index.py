"""The index in a Milvus server, by pymilvus; a path that ends in .db is Milvus Lite, one file in the process.

The same search, the same ids. Milvus chooses its own layout for large collections; its recall is Milvus's to say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import numpy as np

from retrieval.index import EXACT_UP_TO, Block, Facts, Ids, Vectors, in_blocks, missing
from vlm.errors import UsageError, shown

MOST_AT_ONCE = 5_000  # rows of one request; gRPC messages end at 64 MB
MOST_NEIGHBOURS = 16_000  # what Milvus gives to one query


class MilvusIndex:
    """One collection of a Milvus server."""

    def __init__(self, place: str, name: str, dimension: int) -> None:
        """Open the collection ``name``, and make it where there is none.

        Raises:
            UsageError: pymilvus is not installed, or the server does not answer.
        """
        try:
            from pymilvus import MilvusClient
            from pymilvus.exceptions import MilvusException
        except ImportError:
            raise missing("pymilvus", "an index in Milvus", "milvus") from None
        uri = place.replace("milvus://", "http://", 1)
        if uri.startswith("http") and not re.search(r":\d+$", uri):
            uri += ":19530"
        try:
            self._client: Any = MilvusClient(uri=uri)
        except MilvusException as error:
            raise UsageError(
                f"E_USAGE: --index {shown(place)} does not answer ({shown(error.message)}), expected a Milvus server."
            ) from None
        self.name = re.sub(r"\W", "_", name)
        self.dimension = dimension
        if not self._client.has_collection(self.name):
            self._make(0)

    def _make(self, count: int) -> None:
        """An empty collection, laid out for so many vectors."""
        from pymilvus import DataType

        schema = self._client.create_schema(auto_id=False, enable_dynamic_field=False)
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=self.dimension)
        index = self._client.prepare_index_params()
        layout = "FLAT" if count <= EXACT_UP_TO else "HNSW"
        more = {} if layout == "FLAT" else {"M": 32, "efConstruction": 200}
        index.add_index("vector", index_type=layout, metric_type="IP", params=more)
        self._client.create_collection(self.name, schema=schema, index_params=index, consistency_level="Strong")

    def __len__(self) -> int:
        found = self._client.query(self.name, filter="id >= 0", output_fields=["count(*)"])
        return int(found[0]["count(*)"])

    def ids(self) -> Ids:
        """The ids held, rising."""
        rows = self._client.query_iterator(self.name, filter="id >= 0", output_fields=["id"], batch_size=MOST_AT_ONCE)
        held: list[int] = []
        while batch := rows.next():
            held += [int(row["id"]) for row in batch]
        rows.close()
        return np.sort(np.array(held, dtype=np.int64))

    def build(self, blocks: Iterable[Block], count: int) -> None:
        """Replace everything."""
        self._client.drop_collection(self.name)
        self._make(count)
        for ids, vectors in blocks:
            self.add(ids, vectors)

    def add(self, ids: Ids, vectors: Vectors) -> None:
        """Add vectors (n, dimension) under ids that are not held."""
        for part in in_blocks(np.arange(len(ids)), MOST_AT_ONCE):
            rows = [{"id": int(ids[n]), "vector": vectors[n]} for n in part]
            self._client.insert(self.name, rows)

    def remove(self, ids: Ids) -> None:
        """Take vectors out; compaction then frees what they took."""
        for part in in_blocks(ids, MOST_AT_ONCE):
            self._client.delete(self.name, ids=[int(name) for name in part])

    def search(self, queries: Vectors, k: int, *, among: Ids | None = None) -> tuple[Vectors, Ids]:
        """The k nearest of each query; see VectorIndex."""
        wanted = min(k, MOST_NEIGHBOURS)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        names = np.full((len(queries), k), -1, dtype=np.int64)
        limits = [""] if among is None else [f"id in {part.tolist()}" for part in in_blocks(among, MOST_AT_ONCE)]
        for limit in limits:
            found = self._client.search(
                self.name,
                data=list(np.asarray(queries, dtype=np.float32)),
                filter=limit,
                limit=wanted,
                search_params={"metric_type": "IP", "params": {}},
                consistency_level="Strong",
            )
            for row, hits in enumerate(found):
                mine = np.array([hit["distance"] for hit in hits], dtype=np.float32)
                its = np.array([hit["id"] for hit in hits], dtype=np.int64)
                both, either = np.concatenate([scores[row], mine]), np.concatenate([names[row], its])
                best = np.argsort(-both, kind="stable")[:k]
                scores[row], names[row] = both[best], either[best]
        return scores, names

    def facts(self) -> Facts:
        """What it is; Milvus keeps its own counsel on bytes and recall."""
        described = self._client.describe_index(self.name, index_name="vector")
        layout = str(described.get("index_type", "unknown"))
        return Facts(engine="milvus", layout="exact" if layout == "FLAT" else layout, count=len(self))

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()
