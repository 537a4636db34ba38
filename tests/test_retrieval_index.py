"""Both engines give the same neighbours through the same code."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retrieval import faiss_index
from retrieval.engines import open_index
from retrieval.faiss_index import FaissIndex
from retrieval.index import Facts, VectorIndex, exact_neighbours, normalised, recall_of

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'tomoscribe[retrieval]'")

Opener = Callable[[int], VectorIndex]


@pytest.fixture(params=["faiss", "milvus"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opener]:
    """A function that opens an empty index of one engine."""
    if request.param == "milvus":
        pytest.importorskip("pymilvus", reason="needs pymilvus: pip install 'tomoscribe[milvus]'")
        pytest.importorskip("milvus_lite", reason="needs milvus-lite: pip install 'tomoscribe[milvus]'")
    place = tmp_path if request.param == "faiss" else tmp_path / "vectors.db"
    held: list[VectorIndex] = []

    def opener(dimension: int) -> VectorIndex:
        held.append(open_index(place, "scan_findings", dimension))
        return held[-1]

    yield opener
    for index in held:
        index.close()


def some(count: int, dimension: int, seed: int = 0) -> np.ndarray:
    return normalised(np.random.default_rng(seed).standard_normal((count, dimension)).astype(np.float32))


def test_neighbours_are_the_true_ones_nearest_first(opened: Opener) -> None:
    vectors, ids = some(300, 24), np.arange(300, dtype=np.int64) * 7 + 3
    index = opened(24)
    index.build([(ids[:200], vectors[:200]), (ids[200:], vectors[200:])], 300)
    queries = some(5, 24, seed=1)
    scores, found = index.search(queries, 10)
    true_scores, true = exact_neighbours([(ids, vectors)], queries, 10)
    assert found.tolist() == true.tolist()
    np.testing.assert_allclose(scores, true_scores, atol=1e-5)
    assert index.ids().tolist() == ids.tolist()
    assert index.facts().layout == "exact"


def test_what_is_removed_is_found_no_more_and_what_is_added_is(opened: Opener) -> None:
    vectors, ids = some(40, 8), np.arange(40, dtype=np.int64)
    index = opened(8)
    index.build([(ids[:30], vectors[:30])], 30)
    index.add(ids[30:], vectors[30:])
    index.remove(np.array([5, 35, 999], dtype=np.int64))
    assert len(index) == 38
    assert index.search(vectors[5:6], 40)[1][0].tolist().count(5) == 0
    assert index.search(vectors[33:34], 1)[1].tolist() == [[33]]


def test_a_filter_leaves_only_what_it_names(opened: Opener) -> None:
    vectors, ids = some(60, 8), np.arange(60, dtype=np.int64)
    index = opened(8)
    index.build([(ids, vectors)], 60)
    scores, found = index.search(vectors[:2], 5, among=np.array([1, 4, 9], dtype=np.int64))
    assert found[1][0] == 1
    assert set(found[0][:3].tolist()) == {1, 4, 9}
    assert found[0][3:].tolist() == [-1, -1]
    assert np.isneginf(scores[0][3:]).all()
    assert index.search(vectors[:1], 3, among=np.empty(0, dtype=np.int64))[1].tolist() == [[-1, -1, -1]]


def test_lists_of_codes_reach_their_recall_and_say_it(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((50, 32))
    vectors = normalised(
        (centres[rng.integers(0, 50, 6000)] + 0.4 * rng.standard_normal((6000, 32))).astype(np.float32)
    )
    ids = np.arange(6000, dtype=np.int64)
    index = FaissIndex(32)
    index.build_lists(lambda: iter([(ids[:3000], vectors[:3000]), (ids[3000:], vectors[3000:])]), 6000)
    queries = normalised(vectors[:100] + 0.05 * rng.standard_normal((100, 32)).astype(np.float32))
    true = exact_neighbours([(ids, vectors)], queries, 10)[1]
    assert recall_of(index.search(queries, 10)[1], true) > 0.95
    facts = index.facts()
    assert facts.recall is not None
    assert facts.recall > 0.95
    assert facts.probes > 0
    fresh = centres[rng.integers(0, 50, 100)] + 0.4 * rng.standard_normal((100, 32))
    queries = normalised(fresh.astype(np.float32))
    true = exact_neighbours([(ids, vectors)], queries, 10)[1]
    assert recall_of(index.search(queries, 10)[1], true) > facts.recall - 0.03  # what finds itself flatters nothing
    assert index.ids().tolist() == ids.tolist()
    index.save(tmp_path / "index")
    again = FaissIndex(32)
    again.load(tmp_path / "index", ids=ids, told=facts)
    assert again.search(queries, 10)[1].tolist() == index.search(queries, 10)[1].tolist()
    assert again.facts() == facts
    wide = np.arange(0, 6000, 2, dtype=np.int64)
    assert (index.search(queries, 10, among=wide)[1] % 2 == 0).all()
    narrow = np.arange(0, 6000, 100, dtype=np.int64)
    assert index.search(vectors[:1], 60, among=narrow)[1][0].min() >= 0
    index.remove(ids[:10])
    assert not set(range(10)) & set(index.search(vectors[:10], 5)[1].ravel().tolist())


def test_codes_miss_nothing_however_many_are_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faiss_index, "FEW", 500)
    vectors = some(3000, 16)
    vectors[1000:1800] = normalised(vectors[7] + 1e-3 * some(800, 16, seed=3))  # nearer together than codes tell apart
    ids = np.arange(3000, dtype=np.int64)
    index = FaissIndex(16)
    index.build([(ids, vectors)], 3000)
    for query in np.concatenate([vectors[5:9], some(20, 16, seed=4)]):
        scores, found = index.search(query[None], 10)
        true_scores, true = exact_neighbours([(ids, vectors)], query[None], 10)
        np.testing.assert_allclose(scores, true_scores, atol=1e-6)
        assert found[0].tolist() == true[0].tolist() or np.ptp(true_scores) < 1e-5
    assert index._codes is not None
    assert 0 < index._codes.error < 0.05
    index.add(np.array([3000]), vectors[5:6])
    assert set(index.search(vectors[5:6], 2)[1][0].tolist()) == {5, 3000}


@pytest.mark.parametrize("lists", [False, True])
def test_with_a_card_every_vector_is_compared_there(lists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No card is at hand: FAISS's own index of the processor stands for that of the card behind the same calls."""
    package, moved = faiss_index._package(), []

    def to_cards(index: Any, co: Any) -> Any:
        moved.append(co.useFloat16)
        return index

    monkeypatch.setattr(faiss_index, "FEW", 100)
    monkeypatch.setattr(package, "get_num_gpus", lambda: 1)
    monkeypatch.setattr(package, "GpuMultipleClonerOptions", SimpleNamespace, raising=False)
    monkeypatch.setattr(package, "index_cpu_to_all_gpus", to_cards, raising=False)
    vectors, ids = some(3000, 16), np.arange(3000, dtype=np.int64) * 2
    index = FaissIndex(16)
    if lists:
        index.build_lists(lambda: iter([(ids, vectors)]), 3000)
    else:
        index.build([(ids, vectors)], 3000)
    index.search(vectors[:1], 5)
    queries = some(6, 16, seed=9)
    found = index.search(queries, 5)[1]
    assert recall_of(found, exact_neighbours([(ids, vectors)], queries, 5)[1]) > 0.99
    assert moved == [lists]
    index.remove(found[:, 0])
    assert not set(found[:, 0]) & set(index.search(queries, 5)[1].ravel())


def test_a_file_of_another_dimension_is_refused(tmp_path: Path) -> None:
    none, told = np.empty(0, dtype=np.int64), Facts(engine="faiss", layout="exact", count=0)
    FaissIndex(8).save(tmp_path / "index")
    with pytest.raises(ValueError, match="8 dimensions"):
        FaissIndex(9).load(tmp_path / "index", ids=none, told=told)
    (tmp_path / "index").write_bytes(b"not one")
    with pytest.raises(ValueError, match="not an index"):
        FaissIndex(8).load(tmp_path / "index", ids=none, told=told)
