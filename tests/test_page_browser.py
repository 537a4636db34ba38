"""The page in a real Chromium: what a person does with it, by mouse and by keys, and what axe finds."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import httpx
import pydicom
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Page

from tests.page_case import Finished, put_case
from tests.page_site import (
    IN_CHROMIUM,
    IN_TABS,
    PLACES,
    SOON_MS,
    Site,
    Visit,
    axe,
    crosshair,
    entry,
    login,
    near,
    needs_npm,
    show_tab,
)
from vlm.phantom.chest import chest
from vlm.phantom.dicom_series import write_dicom_series

pytestmark = IN_CHROMIUM
POINTED = "() => document.querySelector('#where').textContent.includes('%s')"


def test_a_sentence_moves_the_crosshair_to_its_finding(visit: Visit, site: Site) -> None:
    page = visit()
    effusion = entry(site, "pleural_effusion")
    page.click("#report button.sentence:has-text('pleural effusion, about')")
    assert near(page, effusion["mm"], 0.1)
    page.wait_for_function("() => document.querySelector('#where').textContent.includes('pleural effusion')")
    assert page.locator("#findings-table tr.here").get_attribute("data-key") == "pleural_effusion"


def test_an_answer_leads_to_the_crosshair(visit: Visit, site: Site) -> None:
    page = visit()
    show_tab(page, "Questions")
    page.fill("#ask", "How big is the nodule?")
    page.keyboard.press("Enter")
    page.click(".answer:has-text('nodule of') button.cite")
    assert near(page, entry(site, "lung_nodule")["mm"], 0.1)
    page.reload()
    show_tab(page, "Questions")
    page.wait_for_selector("#chat-log .answer")  # kept with the case


def test_what_lies_under_the_crosshair_can_be_asked_about(visit: Visit) -> None:
    page = visit()
    page.click("#report button.sentence:has-text('pleural effusion, about')")
    page.wait_for_function("() => document.querySelector('#where').textContent.includes('pleural effusion')")
    page.click("#ask-point")
    page.wait_for_selector("#chat-log li:last-child .answer:has-text('effusion')")


def test_an_edit_is_judged_as_it_is_typed_and_taken_back(visit: Visit) -> None:
    page = visit()
    item = page.locator("#report li:has-text('pleural effusion, about')").first
    text = item.locator(".text").inner_text()
    item.locator("[data-action=edit]").click()
    page.fill("#report textarea", text.replace("left", "right"))
    page.wait_for_selector(".judged[data-verdict=contradicted]")
    page.click("#report .editor button:has-text('Save')")
    page.wait_for_selector("#report li.is-edited[data-verdict=contradicted]")
    page.reload()
    page.wait_for_selector("#report li.is-edited")
    page.click("#undo")
    page.wait_for_selector("#report li.is-edited", state="detached")


def test_the_findings_console_is_asked_and_sorted(visit: Visit) -> None:
    page = visit()
    page.fill("#findings-words", "fluid around the lung")
    page.wait_for_selector("#findings-table tr[data-key=pneumothorax]", state="detached")
    assert page.locator("#findings-table tr[data-key=pleural_effusion]").get_attribute("data-status") == "present"
    page.fill("#findings-words", "")
    page.wait_for_selector("#findings-table tr[data-key=pneumothorax]")
    page.click("#findings-table [data-key=name]")
    names = page.locator("#findings-table tbody td:nth-child(2)").all_inner_texts()
    assert names == sorted(names, key=str.lower)
    page.click("#findings-table [data-key=name]")
    falling = page.locator("#findings-table tbody td:nth-child(2)").all_inner_texts()
    assert falling == names[::-1]
    page.select_option("select[aria-label=Status]", "present")
    kinds = page.locator("#findings-table tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.status)")
    assert set(kinds) == {"present"}
    page.select_option("select[aria-label='Finding pack']", "ct-rate-18")
    of_pack = page.locator("#findings-table tbody tr").evaluate_all("rows => rows.map((row) => row.dataset.key)")
    assert "pleural_effusion" in of_pack
    assert "pneumothorax" not in of_pack  # no column of that pack


def test_keys_alone_are_enough(visit: Visit, site: Site) -> None:
    page = visit()
    page.keyboard.press("3")
    assert page.locator("#viewer [data-name=bone]").get_attribute("aria-pressed") == "true"
    page.keyboard.press("?")
    page.wait_for_selector("dialog[open] >> text=next and previous sentence")
    page.keyboard.press("Escape")
    page.wait_for_selector("dialog[open]", state="detached")
    before = crosshair(page)
    page.keyboard.press("PageUp")
    assert crosshair(page)[2] > before[2]
    seen = set()
    for _ in range(4):
        page.keyboard.press("n")
        seen.add(tuple(crosshair(page)))
    assert tuple(round(v, 1) for v in entry(site, "lung_nodule")["mm"]) in seen
    page.focus("#report button.sentence")
    page.keyboard.press("Enter")
    assert page.locator("#report .sentence[aria-current]").count() == 1


def test_an_upload_is_explained_when_it_is_refused(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("<img src=x onerror=alert(1)>", encoding="utf-8")
    page = visit(case=False)
    page.set_input_files("#file", tmp_path / "notes.txt")
    page.wait_for_selector("#cases tr[data-state=refused]:has-text('This cannot be read')")
    assert page.locator("#cases img").count() == 0


def test_t14_a_folder_is_uploaded_read_and_opened_and_no_name_stays(visit: Visit, site: Site, tmp_path: Path) -> None:
    phantom = chest(seed=5, spacing_mm=(4.0, 4.0, 5.0), effusion_left_ml=300.0)  # coarse: it is soon read
    (tmp_path / "ZZTEST").mkdir()
    for path in write_dicom_series(phantom.volume, tmp_path / "ZZTEST", seed=5):
        image = pydicom.dcmread(path)
        image.PatientName, image.PatientID, image.StudyDescription = "ZZTEST^CANARY", "ZZTEST1", "ZZTEST chest"
        image.save_as(path)
    page = visit(case=False)
    page.set_input_files("#folder", tmp_path / "ZZTEST")
    row = page.locator("#cases tr[data-state=arrived]").first
    row.wait_for()
    row.locator("button:has-text('Read')").click()
    page.wait_for_selector("#undo", timeout=240_000)  # it opens by itself, and its report arrives
    page.wait_for_selector("#viewer .stage[data-ready]")
    assert "ZZTEST" not in page.content() + page.title() + page.url
    case = site.desk.store.path(page.url.rpartition("#")[2])
    end = time.monotonic() + 30
    while sorted(path.name for path in case.iterdir()) != ["reading"] and time.monotonic() < end:  # tidied behind it
        page.wait_for_timeout(50)
    assert not [path for path in site.desk.store.folder.rglob("*") if path.is_file() and b"ZZTEST" in path.read_bytes()]


def test_an_upload_is_taken_in_and_can_be_removed(visit: Visit, finished: Finished) -> None:
    page = visit(case=False)
    page.set_input_files("#file", finished.scan)
    row = page.locator("#cases tr[data-state=arrived]").first
    row.wait_for()
    assert "Will be read" in row.inner_text()
    page.fill("#worklist-filter", "nothing like this")
    assert page.locator("#cases tbody tr").count() == 0
    page.fill("#worklist-filter", "to be read")
    page.on("dialog", lambda dialog: dialog.accept())
    row.locator("button:has-text('Delete')").click()
    row.wait_for(state="detached")


def test_t12_two_users_see_only_their_own(visit: Visit, site: Site) -> None:
    visit(user="ann", case=False).wait_for_selector("#cases tbody tr")
    theirs = visit(user="bob", case=False)
    assert theirs.request.get(site.url + "/api/cases").json() == []
    theirs.wait_for_selector("text=No cases yet.")
    assert theirs.locator("#cases tbody tr").count() == 0


def test_t15_what_a_person_types_is_never_markup(visit: Visit) -> None:
    page = visit()
    page.on("dialog", lambda _: pytest.fail("a script ran"))
    show_tab(page, "Questions")
    for text in ("<img src=x onerror=alert(1)>", "${alert(1)} {{alert(1)}}", "<script>alert(1)</script>"):
        page.fill("#ask", text)
        page.keyboard.press("Enter")
        page.wait_for_selector(".question >> text=alert(1)")
        page.wait_for_selector("#chat-log li:last-child :is(.note, .answer)")
    assert page.locator("#chat img, #chat-log script").count() == 0


def every_part_shows_the_case(page: Page, site: Site) -> None:
    """What each part has to show of the open case, each key and click acting once."""
    page.wait_for_selector(".case-title:has-text('slices of')")
    assert page.locator("#to-worklist").is_visible()
    page.wait_for_function(POINTED % "lung nodule")  # it opens at its nodule
    page.wait_for_selector("#findings-table tr.here[data-key=lung_nodule]")
    page.wait_for_selector("#report button.sentence.here:has-text('nodule')")
    viewer, findings = (page.locator(f"#{name}").bounding_box() for name in ("viewer", "findings"))
    assert viewer["x"] == findings["x"]
    assert findings["y"] >= viewer["y"] + viewer["height"]  # in view, below the image
    before = crosshair(page)
    page.evaluate("document.activeElement.blur()")  # a tab keeps its own keys
    page.keyboard.press("PageUp")
    assert crosshair(page)[2] - before[2] == pytest.approx(3.0, abs=0.2)  # one slice
    page.click("#report button.sentence:has-text('pleural effusion, about')")
    assert near(page, entry(site, "pleural_effusion")["mm"], 0.1)
    page.wait_for_selector("#findings-table tr.here[data-key=pleural_effusion]")
    page.keyboard.press("?")
    assert page.locator("dialog.keys").count() == 1
    page.keyboard.press("Escape")
    show_tab(page, "Questions")
    page.wait_for_selector("#chat .chip")
    page.click("#ask-point")
    page.wait_for_selector("#chat-log li:last-child .answer:has-text('effusion')")
    assert page.locator("#chat-log li").count() == 1
    show_tab(page, "Similar cases")
    page.wait_for_selector("#similar [role=status]:has-text('No case library')")
    show_tab(page, "Report")


@pytest.fixture
def fresh(site: Site, finished: Finished) -> str:
    """A case that nobody has asked about."""
    return put_case(site.desk, "ann", finished)


@pytest.mark.parametrize("late", [("header", "findings", "report"), ("viewer",), ("worklist",)], ids="-".join)
def test_a_part_that_comes_up_late_shows_the_open_case(
    visit: Visit, site: Site, fresh: str, late: tuple[str, ...]
) -> None:
    """The parts arrive each for itself, in any order: none may have missed what was said before it came."""

    def until_the_case_stands(page: Page) -> None:
        if "header" in late:
            page.wait_for_function(POINTED % "lung nodule")
        if "viewer" in late:  # it is asked for a point before it is there
            page.click("#report button.sentence:has-text('pleural effusion, about')")

    page = visit(case=fresh, late=late, meanwhile=until_the_case_stands)
    if "viewer" in late:
        assert near(page, entry(site, "pleural_effusion")["mm"], 0.1)
        page.click("#report button.sentence:has-text('nodule of')")
    every_part_shows_the_case(page, site)


def test_a_part_whose_place_is_drawn_anew_shows_the_open_case_and_acts_once(
    visit: Visit, site: Site, fresh: str
) -> None:
    page = visit(case=fresh)
    anew = """async ([place, module]) => {
        const slot = Object.assign(document.createElement('div'), {className: 'slot'});
        document.querySelector(`#${place} .slot`).replaceWith(slot);
        (await import(`/own/${module}.js`)).mount(slot);
    }"""
    for module, tab in IN_TABS.items():
        show_tab(page, tab)
        page.wait_for_selector(f"#{module} .slot[data-mounted]")
        page.evaluate(anew, [module, module])
    show_tab(page, "Report")
    for module, place in PLACES.items():
        page.evaluate(anew, [place, module])
    page.wait_for_selector("#viewer .stage[data-ready]")
    every_part_shows_the_case(page, site)


@needs_npm
@pytest.mark.parametrize("mode", ["dark", "light"])
def test_axe_finds_nothing_serious(visit: Visit, mode: str) -> None:
    page = visit()
    if mode == "light":
        page.click("#theme")
    assert page.evaluate("document.body.classList.contains('dark')") == (mode == "dark")
    assert axe(page) == []
    show_tab(page, "Questions")
    page.click(".chip >> nth=0")
    page.wait_for_selector("#chat-log .answer")
    assert axe(page) == []
    page.click("#to-worklist")
    page.wait_for_selector("#cases tbody tr")
    assert axe(page) == []


def test_a_phone_shows_image_and_words_without_sideways_scroll(visit: Visit) -> None:
    page = visit(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    stage = page.locator("#viewer .stage").bounding_box()
    assert stage["x"] >= 0
    assert stage["x"] + stage["width"] <= 390
    assert page.locator(".head").bounding_box()["height"] < stage["height"] / 5  # one row
    assert "research use only" in page.inner_text("#report .notice")
    page.tap("#report button.sentence >> nth=0")
    table = page.locator("#findings-table")  # below the report
    table.scroll_into_view_if_needed()
    assert page.locator("#findings-table tbody tr >> nth=0").inner_text().strip()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    page.evaluate("document.querySelector('#to-worklist').click()")
    page.wait_for_selector(".head .research")


def test_f16_without_niivue_the_server_draws_and_the_page_says_so(visit: Visit) -> None:
    page = visit(case=False, query="")
    page.route("**/own/niivue.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.click("button:has-text('Open') >> nth=-1")
    page.wait_for_selector("#viewer .stage[data-ready=slices]")
    assert "NiiVue did not start" in page.inner_text("#complaint")


def client_of(site: Site, user: str = "ann") -> Client:
    return Client(site.url, headers=login(user), verbose=False)


def test_programs_ask_and_query_with_the_same_rights(site: Site) -> None:
    client = client_of(site)
    assert client.predict(site.case, api_name="/read")["schema"] == "tomoscribe-report/1"
    events = client.predict(site.case, "Is there an effusion?", api_name="/ask")
    assert any("effusion" in event.get("text", "") and event.get("cites") for event in events)
    assert "pleural_effusion" in client.predict(site.case, "fluid around the lung", api_name="/query")["keys"]
    for name, words in (("/ask", "Is there an effusion?"), ("/search", "")):
        with pytest.raises(AppError, match="There is no such case"):
            client_of(site, "bob").predict(site.case, words, api_name=name)
    with pytest.raises(AppError, match="No case library is there"):
        client.predict(site.case, "", api_name="/search")


@pytest.mark.parametrize("named", ["/etc/passwd", "../../page.sqlite", "", "http://127.0.0.1:{trap}/x"])
def test_t3_t16_a_program_can_name_no_file_and_no_address(site: Site, named: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        body = {"data": [{"path": named.format(trap=trap.getsockname()[1]), "meta": {"_type": "gradio.FileData"}}]}
        with httpx.Client(base_url=site.url, headers=login("ann"), timeout=SOON_MS / 1000) as http:
            event = http.post("/gradio_api/call/read", json=body).json()["event_id"]
            answer = http.get(f"/gradio_api/call/read/{event}").text
        with pytest.raises(TimeoutError):
            trap.accept()
    assert "event: error" in answer
    assert "root:" not in answer
    assert not [path for path in (site.desk.store.folder / "scratch" / "gradio").rglob("*") if path.is_file()]
