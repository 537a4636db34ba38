"""Search: what is alike comes first, what must not come back does not."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from retrieval.cases import CaseVector
from retrieval.facts import Fact, from_text
from retrieval.filters import Filters, filters_of
from retrieval.library import CaseLibrary
from retrieval.search import Query, Search, compared
from tests.library_cases import REPORTS, make_library, new_case
from vlm.errors import UsageError


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaseLibrary]:
    held = make_library(tmp_path_factory.mktemp("search") / "lib")
    yield held
    held.close()


@pytest.fixture(scope="module")
def names(library: CaseLibrary) -> dict[str, str]:
    """Patient -> the name of its case."""
    return {patient: library._name(patient, f"{patient}-study", "") for patient in REPORTS}


def found(library: CaseLibrary, query: Query, k: int = 6, filters: Filters | None = None) -> list[str]:
    return [similar.case.name for similar in Search(library).similar(query, k, filters)]


def test_the_case_with_the_same_findings_comes_first(library: CaseLibrary, names: dict[str, str]) -> None:
    query = Query(facts=from_text("Nodule of 13 mm in the right upper lobe. No pneumothorax."))
    assert set(found(library, query)[:2]) == {names["p1"], names["p2"]}
    kidney = Query(facts=from_text("Left kidney stone of 5 mm."))
    assert found(library, kidney)[:2] == [names["p4"], names["p5"]]


def test_words_find_sentences_and_denials_do_not_count(library: CaseLibrary, names: dict[str, str]) -> None:
    text = "pleural effusion on the left"
    results = Search(library).similar(Query(text=text, facts=from_text(text)), 6)
    assert results[0].case.name == names["p3"]
    assert "effusion" in results[0].sentence
    denying = next((r for r in results if r.case.name == names["p6"]), None)
    assert denying is None or "No pleural effusion" not in denying.sentence


def test_the_querys_own_patient_never_comes_back(library: CaseLibrary, names: dict[str, str]) -> None:
    query = Query(facts=from_text(REPORTS["p1"]), text="lung nodule", patient="p1")
    assert names["p1"] not in found(library, query)


def test_a_copy_of_the_same_voxels_never_comes_back(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    copy = library.add(new_case("p1", patient="somebody else", content="abc"))
    facts = from_text(REPORTS["p1"])
    assert copy in found(library, Query(facts=facts))
    assert copy not in found(library, Query(facts=facts, content="abc"))


def test_reconstructions_of_one_study_come_back_as_one(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    second = library.add(new_case("p1", series="sharp kernel"))
    results = Search(library).similar(Query(facts=from_text(REPORTS["p1"])), 6)
    both = [r for r in results if second in (r.case.name, *r.folded)]
    assert len(both) == 1
    assert len(both[0].folded) == 1


@pytest.mark.parametrize(
    ("filters", "patients"),
    [
        (Filters(region="abdomen"), {"p4", "p5"}),
        (Filters(findings=("kidney_stone",)), {"p4", "p5"}),
        (Filters(findings=("kidney_stone",), side="left"), {"p4"}),
        (Filters(findings=("lung_lesion",)), {"p1", "p2"}),  # a nodule is one
        (Filters(findings=("lung_nodule",), size_mm=(13, 20)), {"p2"}),
        (Filters(age=(60, 70)), {"p1", "p2", "p5"}),
        (Filters(phase="portal"), {"p4", "p5"}),
        (Filters(before=datetime.date(2021, 6, 1)), set(REPORTS)),
        (Filters(before=datetime.date(2019, 12, 1)), set()),
    ],
)
def test_filters_hold(library: CaseLibrary, names: dict[str, str], filters: Filters, patients: set[str]) -> None:
    text = "nodule effusion stone heart emphysema liver"
    came = found(library, Query(text=text, facts=from_text("Lung nodule. Kidney stone. Pleural effusion.")), 9, filters)
    assert set(came) <= {names[p] for p in patients}
    assert bool(came) == bool(patients)


def test_an_organ_is_compared_alone(library: CaseLibrary, names: dict[str, str]) -> None:
    facts = from_text("Fatty liver. Nodule in the right upper lobe. Emphysema. Coronary artery calcification.")
    assert found(library, Query(facts=facts))[0] in (names["p1"], names["p2"])
    assert found(library, Query(facts=facts), 1, Filters(organ="liver")) == [names["p4"]]


def test_what_differs_is_told_both_ways() -> None:
    # fmt: off
    here = [Fact(finding="lung_nodule", presence="present"), Fact(finding="lung_lesion", presence="present"),
            Fact(finding="pleural_effusion", presence="absent"), Fact(finding="emphysema", presence="present")]
    there = [Fact(finding="lung_mass", presence="present"), Fact(finding="pleural_effusion", presence="present"),
             Fact(finding="gallstone", presence="present"), Fact(finding="emphysema", presence="absent"),
             Fact(finding="lymph_node", presence="present"), Fact(finding="lymphadenopathy", presence="present")]
    # fmt: on
    shared, only_there, only_here = compared(here, there)
    assert shared == ("lung_lesion",)  # their mass is one, and so is the nodule here
    assert {(d.finding, d.other) for d in only_there} == {
        ("pleural_effusion", "absent"),
        ("gallstone", None),
        ("lymphadenopathy", None),
    }
    assert {(d.finding, d.other) for d in only_here} == {("lung_nodule", None), ("emphysema", "absent")}


def test_sentences_of_an_encoder_that_only_deny_do_not_count(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    towards = np.eye(4, dtype=np.float32)
    said = CaseVector(kind="sentence", space="words", part="Moderate left pleural effusion.", values=towards[0])
    denied = CaseVector(kind="sentence", space="words", part="No pleural effusion.", values=towards[0] + 0.1)
    named = library.add(new_case("p3", stamp="2", vectors=(said,)))
    library.add(new_case("p6", stamp="2", vectors=(denied,)))
    asked = CaseVector(kind="sentence", space="words", values=towards[0])
    results = Search(library).similar(Query(text="pleural effusion", vectors=(asked,)), 6)
    by_meaning = [r.case.name for r in results if "sentence words" in r.ranks]
    assert by_meaning == [named]


@pytest.mark.parametrize(
    ("words", "named"),
    [({"organ": "livver"}, "liver"), ({"side": "up"}, "left, right"), ({"size": "big"}, "5-20"),
     ({"before": "May"}, "day"), ({"findings": ("nodul",)}, "nodule"),
     ({"phase": "late"}, "portal"), ({"region": "leg"}, "chest")],
)  # fmt: skip
def test_a_filter_that_means_nothing_is_an_error(words: dict[str, object], named: str) -> None:
    none = dict.fromkeys(("organ", "region", "side", "size", "age", "phase", "before"))
    with pytest.raises(UsageError, match=named):
        filters_of(**{**none, "findings": (), **words})  # type: ignore[arg-type]  # as words of a command line


def test_a_library_without_cases_finds_nothing(tmp_path: Path) -> None:
    assert Search(CaseLibrary(tmp_path / "lib")).similar(Query(text="nodule", facts=from_text("nodule"))) == []
