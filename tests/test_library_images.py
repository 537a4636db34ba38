"""Vectors of images in a library: one index a space, whitened by the library's own statistics, gone with a patient."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from app import encoding
from app.cli import app
from retrieval.caches import Indexes
from retrieval.cases import CaseVector
from retrieval.filters import Filters
from retrieval.images import of_embedding, space_of, structure_of
from retrieval.library import CaseLibrary
from retrieval.likeness import sharing
from retrieval.search import Query, Search
from retrieval.weights import WHITENED_FROM, Weights
from tests.library_cases import new_case
from vlm.encoder.embedding import Embedding
from vlm.encoder.registry import Availability
from vlm.encoder.weights import WeightsError
from vlm.encoder.whitening import SHIPPED, shipped

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'tomoscribe[retrieval]'")

NAMES = [f"q{n}" for n in range(12)]
OFFSET = 40.0  # what every raw vector has in common: their cosine is above 0.9 whoever they are of


def raw(seed: int) -> np.ndarray:
    return (np.random.default_rng(seed).standard_normal(24) + OFFSET).astype(np.float32)


def embedded(number: int, *, identity: str = "net-0123-mode", scan: str = "") -> Embedding:
    """Scans lie in a row; livers lie in the opposite one."""
    organs = {"liver": raw(100 - number), "lung": raw(200 + number), "lung_left": raw(300 + number)}
    return Embedding(identity=identity, scan=scan or f"{number:064x}", vector=raw(number), organs=organs)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[CaseLibrary]:
    held = CaseLibrary(tmp_path / "lib")
    for number, name in enumerate(NAMES):
        made = embedded(number)
        held.add(new_case("p6", patient=name, vectors=of_embedding(made), content=made.scan))
    yield held
    held.close()


def named(library: CaseLibrary, patient: str) -> str:
    return library._name(patient, "p6-study", "")


def near(vectors: tuple[CaseVector, ...]) -> tuple[CaseVector, ...]:
    """The same scan again, with noise."""
    rng = np.random.default_rng(9)
    return tuple(
        CaseVector(kind=v.kind, space=v.space, part=v.part, values=v.values + 0.2 * rng.standard_normal(24))
        for v in vectors
    )


def test_the_same_scan_again_comes_first_by_its_image_alone(library: CaseLibrary) -> None:
    for number in (0, 7):
        found = Search(library).similar(Query(vectors=near(of_embedding(embedded(number)))), 3)
        assert found[0].case.name == named(library, NAMES[number])
        assert list(found[0].ranks) == ["scan net"]


def test_an_organ_is_compared_with_that_organ_alone(library: CaseLibrary) -> None:
    asked = embedded(3)
    other = Embedding(identity=asked.identity, scan="", vector=asked.vector, organs={"liver": raw(100 - 8)})
    query = Query(vectors=near(of_embedding(other)))
    assert Search(library).similar(query, 1)[0].case.name == named(library, NAMES[3])
    by_liver = Search(library).similar(query, 1, Filters(organ="liver"))[0]
    assert by_liver.case.name == named(library, NAMES[8])
    assert list(by_liver.ranks) == ["organ liver net"]
    assert structure_of("pleura") == "lung"
    assert Search(library).similar(query, 1, Filters(organ="thyroid")) == []


def test_one_side_of_a_pair_is_not_kept_beside_both() -> None:
    kept = of_embedding(embedded(0))
    assert [(v.kind, v.part) for v in kept] == [("scan", ""), ("organ", "lung"), ("organ", "liver")]
    assert {v.space for v in kept} == {"net-0123-mode", "net-0123-mode-lung", "net-0123-mode-liver"}


def test_vectors_of_two_recipes_never_meet(library: CaseLibrary) -> None:
    other = of_embedding(embedded(0, identity="net-0123-other"))
    library.add(new_case("p6", patient="else", vectors=other))
    indexes = Indexes(library)
    opened = indexes.get("scan", "net-0123-mode")
    assert opened is not None
    assert len(opened.index) == len(NAMES)
    assert indexes.get("scan", "net-0123-other") is None  # one vector: nothing to whiten it with
    assert Search(library, indexes).similar(Query(vectors=other), 3) == []


def test_too_few_scans_are_not_compared(tmp_path: Path) -> None:
    library = CaseLibrary(tmp_path / "lib")
    for number in range(WHITENED_FROM - 1):
        library.add(new_case("p6", patient=f"a{number}", vectors=of_embedding(embedded(number))))
    Indexes(library).refresh(anew=True)
    assert Search(library).similar(Query(vectors=of_embedding(embedded(1))), 3) == []
    library.add(new_case("p6", patient="last", vectors=of_embedding(embedded(99))))
    assert Search(library).similar(Query(vectors=of_embedding(embedded(1))), 1)[0].case.name == named(library, "a1")


def test_few_scans_are_compared_by_the_statistics_that_ship(tmp_path: Path) -> None:
    known = shipped(encoding.IMAGE_SPACE)
    assert known is not None
    assert SHIPPED.stat().st_size < 3_000_000
    library, rng = CaseLibrary(tmp_path / "lib"), np.random.default_rng(2)
    looks = [(known.mean + rng.standard_normal(len(known.mean)) * 0.1).astype(np.float32) for _ in range(3)]
    copies = [look + 3 * known.directions[0] for look in looks]  # as another copy of a scan differs from it
    for number, look in enumerate(looks):
        made = Embedding(identity=encoding.IMAGE_SPACE, scan=f"{number:064x}", vector=look)
        library.add(new_case("p6", patient=f"a{number}", vectors=of_embedding(made), content=made.scan))
    search = Search(library)
    for number, copied in enumerate(copies):
        asked = of_embedding(Embedding(identity=encoding.IMAGE_SPACE, scan="", vector=copied))
        assert search.similar(Query(vectors=asked), 1)[0].case.name == named(library, f"a{number}")
    opened = search.indexes.get("scan", encoding.IMAGE_SPACE)
    assert opened is not None
    assert opened.weights.version == known.version
    search.close()
    library.close()


def test_statistics_have_a_version_and_are_fitted_anew(library: CaseLibrary) -> None:
    def versions() -> dict[str, str]:
        return {row["name"]: row["statistics"] for row in library.tables.rows("select name, statistics from indexes")}

    indexes = Indexes(library)
    indexes.refresh()
    first = versions()
    scan = f"scan {space_of('net-0123-mode')} faiss"
    assert len(first[scan]) == 12
    assert first["sentence " + next(s for k, s, _ in library.spaces() if k == "sentence") + " faiss"] == ""
    again = Indexes(library)
    kept = again.get("scan", "net-0123-mode")
    assert kept is not None
    assert kept.weights.version == first[scan]
    library.add(new_case("p6", patient="one more", vectors=of_embedding(embedded(50))))
    indexes.refresh()
    assert versions()[scan] == first[scan]  # one of twelve does not move them
    indexes.refresh(anew=True)
    assert versions()[scan] != first[scan]


def test_statistics_forget_a_removed_patient_also_where_they_are_open(library: CaseLibrary) -> None:
    indexes = Indexes(library)
    indexes.refresh()
    before = indexes.get("scan", "net-0123-mode")
    library.remove_patient(NAMES[0])
    after = indexes.get("scan", "net-0123-mode")
    assert before is not None
    assert after is not None
    assert after.weights.version != before.weights.version
    assert after.weights.statistics is not None
    assert after.weights.statistics.count == len(NAMES) - 1


def test_weights_are_kept_as_they_are(library: CaseLibrary) -> None:
    opened = Indexes(library).get("organ", "net-0123-mode-liver")
    assert opened is not None
    again = Weights.of(opened.weights.kept())
    np.testing.assert_array_equal(again.prepared(raw(5)[None]), opened.weights.prepared(raw(5)[None]))
    assert again.version == opened.weights.version


def test_vectors_of_a_removed_patient_leave_the_cache_too(
    library: CaseLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "embeddings_folder", lambda: tmp_path / "cache")
    for number in (0, 1):
        made = embedded(number)
        made.save(tmp_path / "cache" / f"{made.scan}-{made.identity}.npz")
    assert encoding.cached(embedded(0).scan, ["net-0123-mode"])[0].values[0] == raw(0)[0]
    encoding.remove_patient(library, NAMES[0])
    assert [path.name[:64] for path in (tmp_path / "cache").iterdir()] == [embedded(1).scan]
    assert encoding.cached(embedded(0).scan, ["net-0123-mode"]) == ()


def test_what_cannot_be_encoded_is_said(library: CaseLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    off = Availability(name="astra", on=False, reason="not installed: torch", remedy="pip install torch")
    monkeypatch.setattr(encoding, "availability", lambda: off)
    monkeypatch.setattr(encoding, "embeddings_folder", lambda: tmp_path / "cache")
    assert "only the report" in encoding.asked_of(library, "0" * 64, None).missing
    assert "not installed: torch" in encoding.asked_of(library, "0" * 64, lambda: ()).missing
    plain = CaseLibrary(tmp_path / "plain")
    assert encoding.asked_of(plain, "0" * 64, lambda: ()) == encoding.Encoded()
    done = CliRunner().invoke(app, ["index", "add", str(tmp_path), "--encode", "--library", str(tmp_path / "plain")])
    assert isinstance(done.exception, WeightsError)
    assert "not installed: torch" in str(done.exception)


@pytest.mark.parametrize("alike", [True, False])
def test_a_likeness_says_how_many_neighbours_share_a_finding(alike: bool, tmp_path: Path) -> None:
    # 32 cases, half with a stone, half with an effusion; their images lie in two heaps, by finding or by chance.
    held = CaseLibrary(tmp_path / "lib")
    reports = ("Kidney stone. No pleural effusion.", "Pleural effusion. No kidney stone.")
    heaps = np.random.default_rng(4).permutation(32) % 2
    for number in range(32):
        heap = number % 2 if alike else heaps[number]
        values = raw(number) + 3 * np.where(np.arange(24) < 12, heap, 1 - heap).astype(np.float32)
        made = Embedding(identity="net-0123-mode", scan=f"{number:064x}", vector=values)
        report = f"Findings: {reports[number % 2]}"
        held.add(new_case("p6", patient=f"s{number}", report=report, vectors=of_embedding(made), content=made.scan))
    search = Search(held)
    means = sharing(search)
    assert means.blind == pytest.approx(0.5, abs=0.1)
    image = means.curves["scan net"]
    near_by = float(np.interp(0.9, image.votes, image.shares))
    assert (near_by > 0.8) if alike else (near_by < 0.75)
    assert sharing(search) == means  # as it was kept
    own = held.by_name(held._name("s0", "p6-study", ""))
    found = search.similar(Query(facts=own.facts, own=own.patient), 3)
    assert all(0 <= share <= 1 for similar in found for share in means.of(similar).values())
    assert list(means.of(found[0])) == ["scan findings"]
    held.close()
