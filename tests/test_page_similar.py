"""The panel of similar cases: cards, pictures, a scan beside this one, and a checker that knows their words."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import nibabel
import numpy as np
import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from app.asking import ask_scan, opened
from app.known import know
from app.page.desk import Desk
from app.page.similar import NO_LIBRARY
from app.page.similar_routes import similar_routes
from app.page.users import LOCAL
from app.store import MissingCaseError
from retrieval.cases import PREVIEW, THUMBNAIL
from retrieval.library import CaseLibrary
from tests.library_cases import make_library, new_case
from tests.page_case import Finished, put_case
from tests.test_agents import call
from vlm.errors import UsageError
from vlm.language.conversation import Conversation
from vlm.language.events import Question

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'tomoscribe[retrieval]'")


def preview() -> bytes:
    hu = np.full((6, 5, 4), -800, dtype=np.int16)
    hu[3:] = 40
    return gzip.compress(nibabel.Nifti1Image(hu, np.diag([3.0, 3.0, 3.0, 1.0])).to_bytes())


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk whose library knows a few cases, one of them with a scan."""
    library = make_library(tmp_path / "lib")
    library.add(new_case("p1", stamp="2", pictures={PREVIEW: preview(), THUMBNAIL: b"\x89PNG small"}))
    library.add(new_case("p2", patient="p7", report="Findings: Right upper lobe nodule. <b>x</b>"))
    library.close()
    held = Desk(tmp_path / "data", library=library.folder)
    yield held
    held.close()


@pytest.fixture
def client(desk: Desk) -> TestClient:
    """The panel's routes, as user "a"."""
    app = FastAPI()

    @app.middleware("http")
    async def known(request: Request, pass_on):  # type: ignore[no-untyped-def]  # starlette's own types
        request.state.user = "a"
        return await pass_on(request)

    app.include_router(similar_routes(desk))
    return TestClient(app)


def test_cards_say_what_is_shared_and_what_differs(desk: Desk, client: TestClient, finished: Finished) -> None:
    case = put_case(desk, "a", finished)
    found = client.get(f"/api/cases/{case}/similar").json()
    assert found["off"] == ""
    assert found["cases"] == 7
    first = next(card for card in found["cards"] if card["beside"])
    assert "lung nodule" in first["shared"]
    assert {"name": "emphysema", "other": "searched, none"} in first["only_there"]
    assert {"name": "pleural effusion", "other": "searched, none"} in first["only_here"]
    assert first["thumbnail"]
    assert first["beside"]["shape"] == [6, 5, 4]
    assert first["beside"]["base"] == f"/api/similar/{first['case']}"
    assert "12 mm solid nodule" in first["report"]


def test_a_scan_is_served_for_the_viewer_beside(desk: Desk, client: TestClient, finished: Finished) -> None:
    case = put_case(desk, "a", finished)
    card = next(c for c in client.get(f"/api/cases/{case}/similar").json()["cards"] if c["beside"])
    base = card["beside"]["base"]
    image = nibabel.Nifti1Image.from_bytes(client.get(f"{base}/picture/ct.nii").content)
    assert image.shape == (6, 5, 4)
    assert client.get(f"{base}/slice/axial/2").content.startswith(b"\x89PNG")
    assert client.post(f"{base}/point", json={"mm": [12, 3, 3]}).json()["hu"] == 40
    assert client.get(f"{base}/thumbnail.png").content.startswith(b"\x89PNG")
    assert client.get(f"{base}/picture/labels.nii.gz").status_code == 404


def test_words_of_a_similar_case_cannot_be_typed_into_the_report(
    desk: Desk, finished: Finished, tmp_path: Path
) -> None:
    case = put_case(desk, "a", finished)
    opened = desk.opened(case, "a")
    told = next(s for s in opened.report.sentences if "nodule of" in s.text)
    library = CaseLibrary(tmp_path / "lib")
    library.add(new_case("p2", patient="p8", report=f"Findings: {told.text} No effusion."))
    library.close()
    before = desk.judge(case, "a", sentence=told.id, text=told.text)
    desk.similar.cards(opened)
    after = desk.judge(case, "a", sentence=told.id, text=told.text)
    assert before["verdict"] == "supported"
    assert (after["verdict"], after["rule"]) == ("unsupported", "G14")


def test_programs_and_agents_search_the_library(desk: Desk, finished: Finished, tmp_path: Path) -> None:
    case = put_case(desk, LOCAL, finished)
    alike = desk.search(LOCAL, case=case)
    assert "lung_nodule" in alike[0]["shared"]
    by_words = desk.search(LOCAL, words="right upper lobe nodule")
    assert any("Right upper lobe nodule" in row["report"] for row in by_words)
    for wrong in ({}, {"case": case, "words": "nodule"}):
        with pytest.raises(UsageError, match="a case or words"):
            desk.search(LOCAL, **wrong)
    with pytest.raises(MissingCaseError):
        desk.search("bob", case=case)
    failed, said = call(desk, tmp_path, "search", words="right upper lobe nodule")
    assert not failed
    assert "Right upper lobe nodule" in said


def test_a_page_without_a_library_says_so(tmp_path: Path, finished: Finished) -> None:
    desk = Desk(tmp_path / "data")
    try:
        found = desk.similar.cards(desk.opened(put_case(desk, "a", finished), "a"))
    finally:
        desk.close()
    assert found == {"cards": [], "cases": 0, "off": NO_LIBRARY}


def test_the_chat_asks_the_library_and_never_its_words(desk: Desk, finished: Finished) -> None:
    case = put_case(desk, LOCAL, finished)
    events = list(desk.talks.of(desk.opened(case, LOCAL), case).answer(Question(text="Are there similar cases?")))
    looks = [event for event in events if event["kind"] == "call"]
    assert [look["name"] for look in looks] == ["similar"] and not looks[0]["error"]
    assert "both have" in looks[0]["result"] and "Right upper lobe" not in str(events)
    checked = desk.talks.of(desk.opened(case, LOCAL), case).conversation.case.context
    assert any("Right upper lobe nodule" in words for words in checked.retrieved)


def test_ask_takes_a_library_and_says_what_is_wrong_with_it(finished: Finished, desk: Desk, tmp_path: Path) -> None:
    assert desk.similar.folder is not None
    known, asked = know(finished.reading), Question(text="Are there similar cases?")
    found = ask_scan(known, asked, Conversation(opened(known, library=desk.similar.folder)))
    assert "both have" in found["calls"][0]["result"]
    none = ask_scan(known, asked, Conversation(opened(known, library=tmp_path / "nowhere")))
    assert none["calls"][0]["error"] == "off"
