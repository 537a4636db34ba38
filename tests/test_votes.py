"""Neighbours vote on a finding: by what else a case has, calibrated on labelled cases, their own patient left out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.asking import query_scan
from app.known import know
from retrieval.facts import from_text
from retrieval.library import CaseLibrary
from retrieval.search import Query, Search
from retrieval.votes import (
    LEAST_PAIRS,
    Calibration,
    calibrated,
    expected_error,
    fitted,
    known_of,
    labelled_votes,
    vote_on,
    without,
)
from tests.library_cases import make_library, new_case
from tests.page_case import Finished

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'tomoscribe[retrieval]'")

NONE = Calibration(votes=(), shares=(), pairs=0, error=None, generation=0)
SMOKER = "Emphysema. Coronary artery calcification. "
STONES = "Gallstones. Kidney stone. "


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[CaseLibrary]:
    """Nodules go with emphysema in nine of ten, and with stones in one of ten."""
    held = CaseLibrary(tmp_path_factory.mktemp("votes") / "lib")
    for number in range(40):
        ill = (number % 10 != 0) if number < 20 else (number % 10 == 0)
        words = f"Findings: {SMOKER if number < 20 else STONES}{'Lung nodule.' if ill else 'No lung nodule.'}"
        held.add(new_case("p1", patient=f"v{number}", report=words))
    yield held
    held.close()


def test_neighbours_vote_by_what_else_a_case_has(library: CaseLibrary) -> None:
    search = Search(library)
    smoker = vote_on(search, Query(facts=from_text(SMOKER)), "lung_nodule", NONE)
    stones = vote_on(search, Query(facts=from_text(STONES)), "lung_nodule", NONE)
    assert (smoker.having, smoker.lacking) == (18, 2)
    assert (stones.having, stones.lacking) == (2, 18)
    assert smoker.vote > 0.7
    assert stones.vote < 0.3
    assert smoker.probability is None  # nothing was calibrated


def test_what_is_known_of_the_finding_itself_does_not_echo(library: CaseLibrary) -> None:
    search = Search(library)
    plain = vote_on(search, Query(facts=from_text(STONES)), "lung_nodule", NONE)
    said = vote_on(search, Query(facts=from_text(STONES + "Lung nodule of 20 mm.")), "lung_nodule", NONE)
    assert said == plain
    facts = from_text("Lung mass. Gallstones.")
    assert {f.finding for f in without(facts, "lung_lesion")} == {"gallstone"}  # a mass is a kind of it


def test_a_patients_own_cases_do_not_vote(library: CaseLibrary) -> None:
    case = library.by_name(library._name("v0", "p1-study", ""))
    told = vote_on(Search(library), Query(facts=case.facts, own=case.patient), "lung_nodule", NONE)
    assert case.name not in told.nearest
    assert (told.having, told.lacking) == (18, 2)  # the nineteen others, and one of the next nearest


def test_silence_is_not_absence() -> None:
    assert known_of("lung_nodule", from_text("Gallstones.")) is None
    assert known_of("lung_nodule", from_text("No lung nodule.")) == "absent"
    assert known_of("lung_lesion", from_text("Lung nodule.")) == "present"


def test_a_probability_is_the_share_of_cases_with_such_a_vote() -> None:
    rng = np.random.default_rng(3)
    votes = rng.random(1500)
    truths = rng.random(1500) < votes**2  # votes that promise too much
    made = fitted(votes, truths, 1)
    assert made.error is not None
    assert made.error < 0.06 < expected_error(votes, truths)
    told = [made.of(vote) or 0.0 for vote in np.linspace(0, 1, 30)]
    assert told == sorted(told)
    assert np.abs(np.array(told) - np.linspace(0, 1, 30) ** 2).mean() < 0.06
    assert fitted(votes[: LEAST_PAIRS - 1], truths[: LEAST_PAIRS - 1], 1).of(0.5) is None


def test_a_librarys_calibration_is_kept_until_it_changes(tmp_path: Path) -> None:
    library = make_library(tmp_path / "lib")
    search = Search(library)
    votes, truths = labelled_votes(search)
    assert len(votes) == len(truths) > 0
    first = calibrated(search)
    assert first.pairs == len(votes)
    assert first.of(0.5) is None  # six cases are too few
    assert calibrated(search) == first
    library.add(new_case("p1", patient="new"))
    assert calibrated(search).generation > first.generation
    library.remove_patient("new")
    assert library.tables.rows("select * from meta where key = 'votes'") == []


def test_the_column_stands_beside_the_tools(library: CaseLibrary, finished: Finished) -> None:
    known = know(finished.reading)
    words = ["emphysema", "no emphysema", "xyzzy plugh"]
    rows = query_scan(known, words, library=library.folder)["answers"]
    there, denied, unknown = (row["columns"]["neighbours"] for row in rows)
    assert there["state"] == "on"
    assert there["with_it"] > 0
    assert there["probability"] + denied["probability"] == pytest.approx(1)
    assert there["calibration_error"] is not None
    assert unknown["state"] == "off"
    plain = query_scan(known, words)["answers"]
    assert [row["status"] for row in rows] == [row["status"] for row in plain]  # nothing is blended
    assert plain[0]["columns"]["neighbours"] == {"state": "off", "why": "no library is open"}
    missing = query_scan(known, ["emphysema"], library=library.folder / "none")["answers"][0]
    assert "no case library" in missing["columns"]["neighbours"]["why"]
