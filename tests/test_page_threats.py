"""Faults and threats that reach the page: each test carries its number, F for what breaks and T for who means harm."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import httpx
import nibabel
import numpy as np
import pytest
from fastapi.testclient import TestClient

from app.page.desk import Desk
from app.page.exports import to_html, to_json, to_markdown
from app.page.routes import MOST_ASKED
from app.page.scanned import kept_volume, write_scan
from app.page.seal import seal
from app.reopen import Opened
from app.server import application, free_port, running
from app.settings import Settings
from app.store import Store
from app.worker import Child
from tests.model_server import Behaviour, dies, says, sends, serving, stalls
from tests.page_case import Finished, put_case
from tests.page_site import IN_CHROMIUM, SOON_MS, Browser, Site, Visit, login, show_tab
from vlm.ct import Scan, Volume
from vlm.errors import UsageError
from vlm.language.models import Budget
from vlm.language.servers import ServerModel, parse_address

pytestmark = pytest.mark.xdist_group("page")
OWNER = "ann"
SOON_S = 240.0
BRACES = ("${alert(1)}", "{{alert(1)}}", "`${alert(1)}`", "<%= alert(1) %>", "#{alert(1)}", "' onmouseover='alert(1)")
ALERTS = (
    "<img src=x onerror={}>", "<svg onload={}>", "<script>{}</script>", "</textarea><script>{}</script>",
    '"><img src=x onerror={}>', "javascript:{}", "[x](javascript:{})", "<a href=javascript:{}>x</a>",
    "<iframe srcdoc='<script>{}</script>'>", "<math><mtext><img src=x onerror={}></mtext></math>",
    "<details open ontoggle={}>", "<body onload={}>", "<input autofocus onfocus={}>", "\u202e<b>\u0000{}</b>",
    "{{{{constructor.constructor('{}')()}}}}", "<!--<img src=x onerror={}>-->", "<object data=javascript:{}>",
)  # fmt: skip
PAYLOADS = (
    *BRACES, *(one.format(act) for one in ALERTS for act in ("alert(1)", "location='http://127.0.0.1:9'")),
    "![x](http://127.0.0.1:9/x.png)",
)  # fmt: skip


@pytest.fixture
def case(desk: Desk, finished: Finished) -> str:
    return put_case(desk, OWNER, finished)


def until_ended(desk: Desk, name: str, owner: str = OWNER) -> str:
    """Wait until a case is no longer being read; its state."""
    end = time.monotonic() + SOON_S
    while (state := desk.store.case(name, owner).state) == "reading":
        assert time.monotonic() < end
        threading.Event().wait(0.05)
    return state


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    desk = Desk(tmp_path_factory.mktemp("page") / "data")
    settings = Settings(data=desk.store.folder)
    app = application(settings, desk)
    app.state.desk = desk
    yield TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)
    desk.close()


def sent(client: TestClient, data: bytes) -> dict[str, object]:
    """Upload one file; the intake's verdict."""
    name = client.post("/api/cases", json={"files": 1, "bytes": len(data)}).json()["id"]
    client.put(f"/api/cases/{name}/files/1", content=data)
    verdict: dict[str, object] = client.post(f"/api/cases/{name}/look", json={}).json()
    return verdict


def test_f2_t6_a_child_that_dies_takes_one_job_with_it(desk: Desk, finished: Finished) -> None:
    desk.start()
    doomed, sound = (desk.add_path(OWNER, finished.scan).id for _ in range(2))
    desk.read(doomed, OWNER)
    desk.read(sound, OWNER)
    end = time.monotonic() + SOON_S
    while desk.jobs.latest(doomed).steps < 2:  # type: ignore[union-attr]
        assert time.monotonic() < end
        threading.Event().wait(0.02)
    child: Child = desk.jobs.worker._at_work  # type: ignore[attr-defined]  # as a decoder that crashes would
    os.kill(child._process.pid, signal.SIGSEGV)
    assert until_ended(desk, doomed) == "failed"
    assert "decoder crashed" in desk.worklist(OWNER)[1]["job"]["message"]
    assert not (desk.store.path(doomed) / "scan").exists()
    assert until_ended(desk, sound) == "ready"


@pytest.mark.parametrize(
    "behave", [sends(b"", status=503), stalls(), dies, sends(b"<html>502</html>", kind="text/html"), says("nonsense")],
    ids=["f5 loading", "f6 silent", "f7 dies", "f7 html", "f8 nonsense"],
)  # fmt: skip
def test_f5_f6_f7_f8_t17_a_model_that_fails_is_said_to_be_off_and_the_rules_answer(
    tmp_path: Path, finished: Finished, behave: Behaviour
) -> None:
    quick = Budget(connect_s=1.0, first_token_s=0.25, between_tokens_s=0.25, total_s=2.0, most_bytes=20_000)
    with serving(behave) as server:
        desk = Desk(tmp_path / "data", model=ServerModel(parse_address(server.url), budget=quick))
        try:
            case = put_case(desk, OWNER, finished)
            events = list(desk.ask(case, OWNER, "How big is the nodule?"))
        finally:
            desk.close()
    assert [e for e in events if e["kind"] == "note" and e["about"] == "off"]
    said = [e for e in events if e["kind"] == "said"]
    assert any("nodule" in e["text"].lower() and e["cites"] for e in said)
    assert all(e["verdict"] in ("supported", "limited", "neutral") for e in said)


def test_f13_a_prior_that_was_made_later_is_refused_by_the_days_of_both(
    desk: Desk, finished: Finished, tmp_path: Path
) -> None:
    prior = put_case(desk, OWNER, finished)
    folder = desk.store.path(prior) / "reading"
    told = json.loads((folder / "scan.json").read_text("utf-8"))
    (folder / "scan.json").write_text(json.dumps({**told, "acquired": "2031-05-01"}), encoding="utf-8")
    seal(folder)
    volume = kept_volume(folder)
    assert str(volume.scan.acquired) == "2031-05-01"
    from app.comparing import order_of

    before = Scan(source="dicom", acquired=date(2030, 5, 1))
    earlier = Volume(volume.hu + np.int16(1), volume.grid, before)
    with pytest.raises(UsageError, match="made after the scan"):
        order_of(earlier, volume)
    assert "as given" in order_of(Volume(earlier.hu, volume.grid, Scan(source="nifti")), volume)
    with pytest.raises(UsageError, match="scan itself"):
        order_of(volume, volume)
    write_scan(tmp_path / "again", volume)  # what is kept of a scan is what was read
    assert np.array_equal(kept_volume(tmp_path / "again").hu, volume.hu)


def test_t12_nobody_elses_case_can_be_a_prior(desk: Desk, finished: Finished) -> None:
    from app.store import MissingCaseError

    theirs = put_case(desk, "bob", finished)
    mine = desk.add_path(OWNER, finished.scan).id
    with pytest.raises(MissingCaseError):
        desk.read(mine, OWNER, prior=theirs)
    with pytest.raises(UsageError, match="no report"):
        desk.read(mine, OWNER, prior=mine)


@pytest.mark.parametrize(
    "name", ["zip_bomb_256MiB.zip", "zip_nested.zip", "zip_path_traversal.zip", "zip_symlink.zip", "zip_truncated.zip",
             "deflate_bomb_256MiB.dcm", "huge_declared_size.dcm", "sq_nested_400.dcm", "cut_mid_header.dcm"],
)  # fmt: skip
@pytest.mark.realct
def test_t5_t6_t7_a_hostile_file_is_refused_in_words_and_the_page_lives(
    client: TestClient, shared: Path, name: str
) -> None:
    verdict = sent(client, (shared / "odd" / "hostile" / name).read_bytes())
    assert not verdict["accepted"]
    assert str(verdict["title"]).startswith("This cannot be read: ")
    assert client.get("/api/cases").status_code == 200
    folder = client.app.state.desk.store.folder  # type: ignore[attr-defined]
    assert not [path for path in folder.parent.iterdir() if path.name != "data"]  # nothing was written outside


def test_f17_an_empty_file_and_a_name_from_right_to_left(client: TestClient, desk: Desk, tmp_path: Path) -> None:
    answer = client.post("/api/cases", json={"files": 1, "bytes": 0})
    assert answer.status_code == 413
    assert "empty" in answer.json()["message"]
    odd = tmp_path / ("\u202e\u05d0\u05d1 " + "x" * 180 + ".nii.gz")
    odd.write_bytes(b"")
    with pytest.raises(Exception, match="empty"):
        desk.add_path(OWNER, odd)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_f17_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises((UsageError, PermissionError)):
        Store(tmp_path / "data")


@pytest.mark.parametrize("file", ["report.json", "labels.nii.gz", "ct.nii", "legend.json"])
def test_t22_f4_a_reading_with_one_byte_changed_is_not_shown(desk: Desk, case: str, file: str) -> None:
    path = desk.store.path(case) / "reading" / file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(UsageError, match="damaged"):
        desk.document(case, OWNER)


def test_t22_another_scans_image_under_a_report_is_not_shown(desk: Desk, case: str) -> None:
    path = desk.store.path(case) / "reading" / "ct.nii"
    image = nibabel.load(path)
    turned = np.array(image.dataobj)[::-1]  # a copy: the file is about to be written over
    nibabel.save(nibabel.Nifti1Image(turned, image.affine), path)
    with pytest.raises(UsageError, match="damaged"):
        desk.point(case, OWNER, (0.0, 0.0, 0.0))


def test_t23_page_and_exports_say_that_they_are_drafts(desk: Desk, case: str) -> None:
    assert "not for diagnosis" in desk.document(case, OWNER)["notice"]
    report = Opened(desk.store.path(case) / "reading").report
    for text in (to_markdown(report), to_json(report), to_html(report)):
        assert "research use only" in text.lower()
    for sentence in report.sentences:  # a finding without evidence is no finding
        assert sentence.cites or sentence.section in ("technique", "comparison", "not_assessed", "to_review")


def test_t14_nothing_of_a_patient_is_in_a_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for path in ("/api/cases/ZZTEST^CANARY", "/own/ZZTEST^CANARY", "/api/cases/ZZTEST/export/ZZTEST"):
            assert client.get(path).status_code == 404
        sent(client, b"ZZTEST^CANARY" * 100)
    ours = [record for record in caplog.records if not record.name.startswith(("httpx", "httpcore", "asyncio"))]
    assert not [record for record in ours if "ZZTEST" in record.getMessage()]


def test_t18_t19_no_login_of_gradios_own_and_no_secret_in_the_code() -> None:
    import app.page

    sources = [path.read_text("utf-8") for path in Path(app.page.__file__).parent.glob("*.py")]
    assert not any("LoginButton" in text or "SessionMiddleware" in text or "share=True" in text for text in sources)


def test_t20_questions_are_counted_and_refused_when_there_are_too_many(client: TestClient, finished: Finished) -> None:
    name = put_case(client.app.state.desk, "local", finished)  # type: ignore[attr-defined]
    path = f"/api/cases/{name}/ask"
    codes = [client.post(path, json={"text": "mass?"}).status_code for _ in range(MOST_ASKED + 2)]
    assert codes == [200] * MOST_ASKED + [429] * 2
    assert client.post(path, json={"text": "x" * 3000}).status_code == 422


def test_t20_a_storm_of_cancels_leaves_one_child(desk: Desk, finished: Finished) -> None:
    desk.start()
    name = desk.add_path(OWNER, finished.scan).id
    for _ in range(5):
        desk.read(name, OWNER)
        desk.cancel(name, OWNER)
    assert desk.store.case(name, OWNER).state == "cancelled"
    desk.read(name, OWNER)
    assert until_ended(desk, name) == "ready"


def test_t15_forty_payloads_in_every_field_stay_text(visit: Visit, site: Site) -> None:
    page = visit()
    page.on("dialog", lambda _: pytest.fail("a script ran"))
    everything = " ".join(PAYLOADS)
    assert len(PAYLOADS) >= 40
    for text in PAYLOADS:
        page.fill("#findings-words", text[:200])
    item = page.locator("#report li:has-text('pleural effusion, about')").first
    item.locator("[data-action=edit]").click()
    page.fill("#report textarea", everything[:1000])
    page.wait_for_selector(".judged .mark")
    page.click("#report .editor button:has-text('Save')")
    page.wait_for_selector("#report li.is-edited")
    show_tab(page, "Questions")
    for n, text in enumerate((everything[:2000], *PAYLOADS[:3])):
        page.fill("#ask", text)
        page.keyboard.press("Enter")
        page.wait_for_selector(f"#chat-log li:nth-child({n + 1}) :is(.note, .answer)")
    page.reload()
    page.wait_for_selector("#report li.is-edited")
    inside = "#report img, #report svg, #report script, #report iframe, #report a[href^=java], #chat img, #chat iframe"
    assert page.locator(inside).count() == 0
    html = httpx.get(f"{site.url}/api/cases/{site.case}/export/report.html", headers=login("ann")).text
    assert "<img" not in html
    assert "<script" not in html
    show_tab(page, "Report")
    page.click("#undo")
    page.wait_for_selector("#report li.is-edited", state="detached")


test_t15_forty_payloads_in_every_field_stay_text.pytestmark = IN_CHROMIUM  # type: ignore[attr-defined]


def test_f3_f10_the_page_lives_through_a_restart_in_the_middle_of_a_reading(
    browser: Browser, tmp_path: Path, finished: Finished
) -> None:
    settings = Settings(data=tmp_path / "data", port=free_port())
    page = browser.new_page()
    page.set_default_timeout(SOON_MS)
    with running(settings) as desk:
        page.goto(f"http://127.0.0.1:{settings.port}/?slices")
        page.wait_for_selector(".worklist h2")
        page.set_input_files("#file", finished.scan)
        page.click("#cases tr[data-state=arrived] button:has-text('Read')")
        name = desk.store.cases("local")[0].id
        page.wait_for_selector("#under-way")
        while desk.jobs.latest(name).steps < 3:  # type: ignore[union-attr]
            page.wait_for_timeout(20)
    page.wait_for_selector("#complaint:has-text('does not answer')")
    page.click("#complaint button")
    with running(settings):
        page.wait_for_selector("#cases tr[data-state=ready]", timeout=240_000)  # nobody loaded the page anew
        page.click("#cases button:has-text('Open')")
        page.wait_for_selector("#report .sentence:has-text('nodule')")
    page.context.close()


test_f3_f10_the_page_lives_through_a_restart_in_the_middle_of_a_reading.pytestmark = IN_CHROMIUM  # type: ignore[attr-defined]
