"""The desk: a scan is read through the queue, questions and edits are kept, and a restart loses nothing."""

from __future__ import annotations

import io
import json
import shutil
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import app.asking
from app.asking import make_ready
from app.page.console import rows
from app.page.desk import Desk
from app.page.exports import to_html, to_json, to_markdown
from app.page.pictures import stacked
from app.page.reviews import reviewed_report, steps_of
from app.page.scanned import Scanned
from app.page.slices import Look, slice_png
from app.page.uploads import UploadError
from app.page.verdict import verdict_of
from app.reopen import Opened
from app.store import MissingCaseError
from tests.page_case import Finished, put_case
from vlm.ct import Grid, Mask
from vlm.errors import UsageError
from vlm.evidence import Observation
from vlm.report import Report

OWNER = "ann"
SOON_S = 240.0
pytestmark = pytest.mark.xdist_group("page")


@pytest.fixture
def case(desk: Desk, finished: Finished) -> str:
    return put_case(desk, OWNER, finished)


def until_state(desk: Desk, name: str, *states: str) -> str:
    end = time.monotonic() + SOON_S
    while (state := desk.store.case(name, OWNER).state) not in states:
        assert time.monotonic() < end
        threading.Event().wait(0.05)
    return state


def sentence_with(desk: Desk, name: str, words: str) -> dict[str, str]:
    sections = desk.report(name, OWNER)["sections"]
    return next(s for part in sections for s in part["sentences"] if words in s["text"].lower())


def test_f3_f10_a_scan_is_read_although_the_page_restarts_in_the_middle(tmp_path: Path, finished: Finished) -> None:
    desk = Desk(tmp_path / "data")
    desk.start()
    name = desk.add_path(OWNER, finished.scan).id
    desk.read(name, OWNER)
    end = time.monotonic() + SOON_S
    while desk.jobs.latest(name).steps < 3:  # type: ignore[union-attr]  # it is at work
        assert time.monotonic() < end
        threading.Event().wait(0.02)
    desk.close()

    again = Desk(tmp_path / "data")
    row = again.worklist(OWNER)[0]
    assert row["state"] == "reading"
    assert row["job"]["step"] == "interrupted by a restart, waiting again"
    again.start()
    assert until_state(again, name, "ready", "failed", "refused") == "ready"
    document = again.document(name, OWNER)
    assert any("nodule" in s["text"] for part in document["sections"] for s in part["sentences"])
    again.close()  # the case is tidied after it is told to be ready
    assert sorted(path.name for path in again.store.path(name).iterdir()) == ["reading"]  # T13: no upload, no rest


def test_f1_an_upload_that_would_fill_the_disk_is_refused_with_what_it_needs(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    space = shutil.disk_usage(desk.store.folder)._replace(free=20_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: space)
    desk.new_case(OWNER, files=1, size=6_000_000)
    with pytest.raises(UploadError, match="20 MB left, and this needs 21 MB"):
        desk.new_case(OWNER, files=1, size=7_000_000)


def test_t20_uploads_that_never_end_do_not_pile_up(desk: Desk) -> None:
    for _ in range(10):
        desk.new_case(OWNER, files=1, size=10)
    with pytest.raises(UploadError, match="under way"):
        desk.new_case(OWNER, files=1, size=10)
    desk.new_case("bob", files=1, size=10)


def test_a_refusal_is_said_in_words_without_the_code_in_front() -> None:
    said = {"end": "refused", "code": "E_NOT_CT", "message": "E_NOT_CT: Modality is MR, expected CT. Send the CT."}
    verdict = verdict_of(said)
    assert not verdict["accepted"]
    assert verdict["code"] == "E_NOT_CT"
    assert verdict["title"] == "This cannot be read: Modality is MR, expected CT. Send the CT."


def test_a_refusal_of_the_only_file_is_said_once() -> None:
    why = "E_TRUNCATED: pixel data is 10 of 20 bytes, expected all of it. Copy the file again."
    inventory = {
        "series": [],
        "skipped": [{"files": 2, "kind": "text"}],
        "refused_files": [{"files": 1, "message": why}],
        "refusal": {"code": "E_TRUNCATED", "message": why},
    }
    verdict = verdict_of({"end": "done", "inventory": inventory})
    assert "Pixel data is 10 of 20 bytes" in verdict["title"]
    assert verdict["lines"] == ["Left out: 2 × text."]


def test_a_point_tells_hu_structure_and_evidence(desk: Desk, case: str) -> None:
    entry = next(e for e in desk.document(case, OWNER)["legend"] if e["finding"] == "lung_nodule")
    here = desk.point(case, OWNER, tuple(entry["mm"]))
    assert here["labels"][0] == entry["label"]
    assert here["evidence"][: len(entry["evidence"])] == entry["evidence"]
    assert here["hu"] == pytest.approx(40, abs=60)
    assert entry["mm"][0] > 0  # RAS: drawn on the patient's right
    assert desk.point(case, OWNER, (9999.0, 0.0, 0.0))["hu"] is None


def test_a_mask_that_is_an_organ_as_a_whole_is_known_from_one_that_lies_in_it(desk: Desk, case: str) -> None:
    whole = {entry["mask"]: entry["whole"] for entry in desk.document(case, OWNER)["legend"]}
    assert whole["heart"]
    assert not whole["nodule_1"]
    assert not [mask for mask in whole if mask.startswith("effusion") and whole[mask]]


def test_a_box_tells_hu_and_size(desk: Desk, case: str) -> None:
    x, y, z = next(e for e in desk.document(case, OWNER)["legend"] if e["finding"] == "lung_nodule")["mm"]
    found = desk.region(case, OWNER, (x - 3, y - 3, z - 3), (x + 3, y + 3, z + 3))
    assert found is not None
    assert found["mean_hu"] == pytest.approx(40, abs=30)
    assert found["ml"] == pytest.approx(0.5, rel=0.6)
    assert desk.region(case, OWNER, (9000.0, 0.0, 0.0), (9001.0, 1.0, 1.0)) is None


def test_asking_about_a_point_tells_what_lies_there_and_is_kept(desk: Desk, case: str) -> None:
    entry = next(e for e in desk.document(case, OWNER)["legend"] if e["finding"] == "pleural_effusion")
    events = list(desk.ask(case, OWNER, "What is here?", point=tuple(entry["mm"])))
    assert events[1]["name"] == "measure_point"
    assert any("effusion" in event["text"] for event in events if event["kind"] == "said")
    kept = desk.messages(case, OWNER)
    assert kept[0][0] == {"kind": "question", "text": "What is here?"}
    assert kept[0][1:] == json.loads(json.dumps(events))


def test_asking_about_a_box_measures_it_and_tells_what_reaches_into_it(desk: Desk, case: str) -> None:
    x, y, z = next(e for e in desk.document(case, OWNER)["legend"] if e["finding"] == "lung_nodule")["mm"]
    box = ((x - 20, y - 20, z), (x + 20, y + 20, z))
    events = list(desk.ask(case, OWNER, "What is in this box?", box=box))
    assert events[1]["name"] == "measure_box"
    assert "volume" in events[1]["result"]
    assert any("nodule" in event["text"].lower() for event in events if event["kind"] == "said")
    empty = list(desk.ask(case, OWNER, "What is in this box?", box=((9000.0, 0.0, 0.0), (9001.0, 1.0, 1.0))))
    assert [event["kind"] for event in empty] == ["understood", "call", "note"]
    assert empty[1]["error"] == "not_covered"


def test_an_edit_is_checked_marked_human_and_taken_back(desk: Desk, case: str) -> None:
    effusion = sentence_with(desk, case, "pleural effusion, about")
    wrong = effusion["text"].replace("left", "right")
    assert desk.judge(case, OWNER, sentence=effusion["id"], text=wrong)["verdict"] == "contradicted"
    desk.review(case, OWNER, sentence=effusion["id"], action="edit", text=wrong)
    edited = sentence_with(desk, case, "right pleural effusion, about")
    assert (edited["author"], edited["verdict"], edited["state"]) == ("human", "contradicted", "edited")
    assert edited["was"] == effusion["text"]
    desk.review(case, OWNER, sentence=edited["id"], action="accept", text="")
    desk.review(case, OWNER, sentence="", action="undo", text="")
    desk.review(case, OWNER, sentence="", action="undo", text="")
    assert sentence_with(desk, case, "pleural effusion, about")["text"] == effusion["text"]
    with pytest.raises(UsageError):
        desk.review(case, OWNER, sentence="", action="undo", text="")


def test_what_a_person_decided_survives_a_restart_and_goes_into_the_exports(tmp_path: Path, finished: Finished) -> None:
    desk = Desk(tmp_path / "data")
    name = put_case(desk, OWNER, finished)
    nodule, effusion = sentence_with(desk, name, "nodule of"), sentence_with(desk, name, "pleural effusion, about")
    desk.review(name, OWNER, sentence=nodule["id"], action="reject", text="")
    desk.review(name, OWNER, sentence=effusion["id"], action="edit", text="Left <b>effusion</b> & ${1+1}.")
    desk.close()
    again = Desk(tmp_path / "data")
    report = reviewed_report(again.opened(name, OWNER), steps_of(again.store, name))
    again.close()
    assert nodule["id"] not in {sentence.id for sentence in report.sentences}
    assert Report.model_validate_json(to_json(report)) == report
    assert "[edited by hand; " in to_markdown(report)
    html = to_html(report)
    assert "Left &lt;b&gt;effusion&lt;/b&gt; &amp; ${1+1}." in html  # T15: text, never markup
    assert "research use only" in html.lower()


@pytest.mark.parametrize(
    ("words", "key", "status"),
    [("pleural effusion", "pleural_effusion", "present"), ("hiatal hernia", "hiatal_hernia", "limited"),
     ("emphysema", "emphysema", "absent"),
     ("kidney", "kidney_stone", "not_assessed"), ("fluid around the lung", "pleural_effusion", "present")],
)  # fmt: skip
def test_free_words_find_their_findings(desk: Desk, case: str, words: str, key: str, status: str) -> None:
    found = {row["key"]: row["status"] for row in desk.query(case, OWNER, words)["rows"]}
    assert found[key] == status


def test_a_query_is_answered_with_its_size_and_side(desk: Desk, case: str) -> None:
    found = desk.query(case, OWNER, "nodule over 8 mm in the right lung")
    assert found["answer"]["status"] == "present"
    assert found["answer"]["cites"] and found["mm"]
    assert desk.query(case, OWNER, "no nodule over 30 mm")["answer"]["holds"] is True
    assert desk.query(case, OWNER, "kidney")["answer"] is None  # an organ is no question


def test_the_console_counts_what_is_there_apart_from_what_may_be(finished: Finished) -> None:
    opened = Opened(finished.reading)
    sure = next(r for _, r in opened.ledger if isinstance(r, Observation) and r.finding == "lung_nodule")
    before = next(row["count"] for row in rows(opened) if row["key"] == "lung_nodule")
    opened.ledger.add(replace(sure, presence="uncertain"))
    assert next(row["count"] for row in rows(opened) if row["key"] == "lung_nodule") == before


def test_words_that_nobody_knows_are_not_understood(desk: Desk, case: str) -> None:
    assert not desk.query(case, OWNER, "xyzzy")["understood"]


def test_slices_show_the_patients_right_on_the_left(finished: Finished) -> None:
    opened = Opened(finished.reading)
    entry = next(e for e in opened.legend if e["finding"] == "lung_nodule")
    index = opened.index_of(tuple(entry["mm"]))
    assert index is not None
    png = slice_png(opened, "axial", index[2], Look(lit=entry["label"]))
    (finished.reading / "slice.png").write_bytes(png)
    pixels = np.asarray(Image.open(finished.reading / "slice.png")).astype(int)
    assert pixels.shape[:2] == (opened.grid.shape[1], opened.grid.shape[0])
    coloured = np.argwhere(np.ptp(pixels, axis=-1) > 40)
    assert coloured[:, 1].mean() < pixels.shape[1] / 2


def test_a_mask_under_another_is_drawn_whole_when_it_is_lit() -> None:
    grid = Grid((6, 4, 3), np.eye(4))
    large, small = np.zeros(grid.shape, dtype=bool, order="F"), np.zeros(grid.shape, dtype=bool, order="F")
    large[:4], small[2:5] = True, True
    numbers, stacks = stacked([Mask("large", large, grid), Mask("small", small, grid)], grid)
    assert [stacks[n - 1] for n in numbers[:5, 0, 0]] == [(1,), (1,), (1, 2), (1, 2), (2,)]
    scan = Scanned(Path())
    legend = [{"label": 1, "colour": (255, 0, 0), "evidence": ["E1"]}, {"label": 2, "colour": (0, 0, 255)}]
    scan.__dict__ |= {"grid": grid, "hu": np.full(grid.shape, -1000), "labels": numbers}
    scan.__dict__ |= {"legend": legend, "stacks": stacks}

    def drawn(look: Look) -> str:
        row = np.asarray(Image.open(io.BytesIO(slice_png(scan, "axial", 1, look))))[0, ::-1].astype(int)
        return "".join("R" if r > b else "B" if b > r else "-" for r, _, b in row)

    assert drawn(Look()) == "RRBBB-"  # the small one lies on top
    assert drawn(Look(lit=1)) == "RRRRB-"
    assert drawn(Look(hidden=frozenset({2}))) == "RRRR--"
    assert drawn(Look(hidden=frozenset({1}))) == "--BBB-"
    assert scan.at((3.0, 0.0, 0.0)).labels == (2, 1)


def test_more_overlaps_than_numbers_lose_no_mask_that_lies_alone() -> None:
    grid = Grid((300, 1, 1), np.eye(4))
    masks = []
    for n in range(60):  # each reaches over all before it, at its own place: 60 stacks and more
        voxels = np.zeros(grid.shape, dtype=bool, order="F")
        voxels[n * 5 : n * 5 + 30 : 1 + n % 3] = True
        masks.append(Mask(str(n), voxels, grid))
    numbers, stacks = stacked(masks, grid)
    assert len(stacks) <= 255
    for n, mask in enumerate(masks, start=1):
        on_top = ~np.any([later.voxels for later in masks[n:]] or [np.zeros(grid.shape, dtype=bool)], axis=0)
        assert all(stacks[number - 1][-1] == n for number in numbers[mask.voxels & on_top])


def test_a_damaged_reading_is_said_to_be_damaged(desk: Desk, case: str) -> None:
    (desk.store.path(case) / "reading" / "report.json").write_text("{", encoding="utf-8")
    with pytest.raises(UsageError, match="damaged"):
        desk.document(case, OWNER)


def test_t12_somebody_elses_case_is_missing(desk: Desk, case: str) -> None:
    with pytest.raises(MissingCaseError):
        desk.document(case, "bob")


def test_f15_a_reading_is_cancelled_within_two_seconds(desk: Desk, finished: Finished) -> None:
    desk.start()
    name = desk.add_path(OWNER, finished.scan).id
    desk.read(name, OWNER)
    end = time.monotonic() + SOON_S
    while desk.jobs.latest(name).steps < 1:  # type: ignore[union-attr]
        assert time.monotonic() < end
        threading.Event().wait(0.02)
    start = time.monotonic()
    desk.cancel(name, OWNER)
    assert desk.store.case(name, OWNER).state == "cancelled"
    assert time.monotonic() - start < 2.0
    other = desk.add_path(OWNER, finished.scan).id  # and the queue goes on
    desk.read(other, OWNER)
    while desk.jobs.latest(other).state == "waiting":  # type: ignore[union-attr]
        assert time.monotonic() < end
        threading.Event().wait(0.02)
    desk.cancel(other, OWNER)


def test_what_answers_is_loaded_when_a_case_is_opened_once_and_before_the_first_answer(
    desk: Desk, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(app.asking, "route", loaded.append)
    make_ready.cache_clear()
    try:
        desk.worklist("ann")
        assert make_ready.cache_info().currsize == 0  # a page that reads leaves the processors to the reading
        desk.document(case, "ann")
        desk.document(case, "ann")
        assert list(desk.ask(case, "ann", "Is there a nodule?"))
        assert len(loaded) == 1
    finally:
        make_ready.cache_clear()
