"""Words asked of images: by an encoder that knows both, of the organ that they are about, denials the other way."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from app import encoding
from app.searching import query_of
from retrieval.filters import Filters
from retrieval.images import of_embedding
from retrieval.library import CaseLibrary
from retrieval.search import Query, Search
from tests.library_cases import new_case
from vlm.encoder.embedding import Embedding
from vlm.encoder.protocol import Identity, Vector
from vlm.findings.vocabulary import load_vocabulary

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'tomoscribe[retrieval]'")

FATTY = load_vocabulary().finding("hepatic_steatosis")
NAMES = [f"w{number}" for number in range(10)]
ILL = 6  # whose liver looks as the words say; another one's whole scan does
IDENTITY = Identity(encoder="net", weights="0123456789abcdef", recipe="mode")


class Words:
    """What says a finding points one way, what denies it the other, and the weather nowhere in between."""

    def embed(self, texts: Iterable[str]) -> Vector:
        says = [-1.0 if text in FATTY.negative else 1.0 for text in texts]
        return np.array([[value, 0.0, 0.0] for value in says], dtype=np.float32)


@dataclass
class Net:
    """An encoder whose vectors lie among words as they are."""

    identity: Identity = IDENTITY
    text: Words | None = field(default_factory=Words)

    projected: int = 0  # vectors that were brought among words

    def project(self, features: Vector, organ: str = "") -> Vector:
        self.projected += len(features)
        return np.asarray(features if organ in ("", "liver") else -features)


@pytest.fixture
def library(tmp_path: Path) -> Iterator[CaseLibrary]:
    held = CaseLibrary(tmp_path / "lib")
    for number, name in enumerate(NAMES):
        looks = np.array([0.1, 1.0, 0.01 * number], dtype=np.float32)
        scan, liver = looks.copy(), looks.copy()
        liver[0] = 0.9 if number == ILL else 0.1
        scan[0] = 0.8 if number == 2 else 0.1
        made = Embedding(identity=str(IDENTITY), scan=f"{number:064x}", vector=scan, organs={"liver": liver})
        region = ("abdomen",) if number % 2 else ("chest",)
        held.add(new_case("p6", patient=name, vectors=of_embedding(made), content=made.scan, regions=region))
    yield held
    held.close()


def first(library: CaseLibrary, words: str, filters: Filters | None = None) -> list[str]:
    """Cases as their image alone ranks them."""
    asked, missing = encoding.in_images(library, words, Net())  # type: ignore[arg-type]  # as much of one as is asked
    assert not missing
    found = Search(library).similar(Query(in_images=asked), 3, filters)
    assert all(list(similar.ranks) == ["words in images net"] for similar in found)
    return [similar.case.name for similar in found]


def named(library: CaseLibrary, number: int) -> str:
    return library._name(NAMES[number], "p6-study", "")


def test_an_image_that_looks_as_the_words_say_comes_first_though_no_report_says_so(library: CaseLibrary) -> None:
    assert first(library, "fatty liver")[0] == named(library, ILL)  # by its liver
    assert first(library, "something else entirely")[0] == named(library, 2)  # no finding: by the whole scan
    assert named(library, ILL) not in first(library, "no fatty liver")
    abdomens = first(library, "fatty liver", Filters(region="abdomen"))
    assert abdomens
    assert named(library, ILL) not in abdomens


def test_vectors_are_brought_among_words_once(library: CaseLibrary) -> None:
    net = Net()
    asked, _ = encoding.in_images(library, "fatty liver", net)  # type: ignore[arg-type]
    search = Search(library)
    before = [s.case.name for s in search.similar(Query(in_images=asked), 3)]
    assert net.projected >= len(NAMES)
    net.projected = 0
    assert [s.case.name for s in search.similar(Query(in_images=asked), 3)] == before
    assert [s.case.name for s in Search(library).similar(Query(in_images=asked), 3)] == before  # from its file
    assert net.projected == 0
    library.remove_patient(NAMES[ILL])  # its file is gone, and what another has open does not find the patient
    assert named(library, ILL) not in [s.case.name for s in search.similar(Query(in_images=asked), 9)]
    assert net.projected >= len(NAMES) - 1


def test_an_encoder_that_cannot_be_asked_says_why(library: CaseLibrary) -> None:
    dumb, other = Net(text=None), Net(identity=Identity(encoder="net", weights="else", recipe="mode"))
    assert "knows no words" in query_of("fatty liver", library, "", dumb)[1]  # type: ignore[arg-type]
    query, missing = query_of("fatty liver", library, "", other)  # type: ignore[arg-type]
    assert "index add --encode" in missing
    assert query.in_images is None
    assert query.text  # reports are searched all the same


def test_lay_words_are_searched_as_the_finding_that_they_mean(library: CaseLibrary) -> None:
    library.add(new_case("p3", patient="wet"))
    query, _ = query_of("fluid around the lung", library)
    assert {fact.finding for fact in query.facts} == {"pleural_effusion"}
    found = Search(library).similar(query, 1)
    assert found[0].case.name == library._name("wet", "p3-study", "")


def test_a_scan_is_not_compared_with_images_of_other_regions(library: CaseLibrary) -> None:
    vectors = of_embedding(
        Embedding(identity=str(IDENTITY), scan="f" * 64, vector=np.array([0.1, 1.0, 0.04], np.float32))
    )
    search = Search(library)
    everywhere = search.similar(Query(vectors=vectors), 9)
    abdomens = search.similar(Query(vectors=vectors, regions=("abdomen", "pelvis")), 9)
    assert {region for similar in everywhere for region in similar.case.regions} == {"chest", "abdomen"}
    assert abdomens
    assert all(similar.case.regions == ("abdomen",) for similar in abdomens)
