"""The page in a real Chromium: what a person does with it, by mouse and by keys, and what axe finds."""

from __future__ import annotations

import base64
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pydicom
import pytest
from gradio_client import Client
from gradio_client.exceptions import AppError
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from app.page.desk import Desk
from app.page.routes import NIIVUE, STATIC
from app.page.users import add_user
from app.server import free_port, running
from app.serving import Settings
from tests.page_case import Finished, put_case
from vlm.phantom.chest import chest
from vlm.phantom.dicom_series import write_dicom_series

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.xdist_group("page"),
]

FLAGS = [
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
]
AXE = STATIC.parent / "node_modules" / "axe-core" / "axe.min.js"
SOON_MS = 30_000
Visit = Callable[..., Page]
needs_npm = pytest.mark.skipif(not (STATIC.parent / NIIVUE).is_file(), reason="needs NiiVue and axe: make viewer")


@dataclass
class Site:
    """A page that is being served, with one finished case of ann's."""

    url: str
    desk: Desk
    case: str


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, finished: Finished) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    for name in ("ann", "bob"):
        add_user(folder / "users", name, f"{name} password")
    settings = Settings(data=folder / "data", port=free_port(), users=folder / "users")
    with running(settings) as desk:
        url = f"http://127.0.0.1:{settings.port}"
        yield Site(url=url, desk=desk, case=put_case(desk, "ann", finished))


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@dataclass
class Watched:
    """What went wrong on a page, and where it sent requests."""

    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """Open the page as a user; afterwards nothing may have failed on it, and nothing gone off the machine."""
    contexts: list[BrowserContext] = []
    watched = Watched()

    def open_page(*, user: str = "ann", case: bool = True, query: str = "?slices", **look: Any) -> Page:
        token = base64.b64encode(f"{user}:{user} password".encode()).decode()
        context = browser.new_context(
            viewport=look.pop("viewport", {"width": 1440, "height": 900}),
            extra_http_headers={"Authorization": f"Basic {token}"},
            **look,
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SOON_MS)
        page.on("console", lambda m: watched.faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: watched.faults.append(str(error)))
        page.on("request", lambda request: watched.asked.append(request.url))
        page.goto(site.url + "/" + query + (f"#{site.case}" if case else ""))
        page.wait_for_selector("#report .sentence" if case else ".worklist h2")
        if case:
            page.wait_for_selector("#viewer .stage[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not watched.faults
    assert not [url for url in watched.asked if not url.startswith((site.url, "data:", "blob:"))]


def crosshair(page: Page) -> list[float]:
    return [round(value, 1) for value in page.evaluate("tomoscribe.viewer.view.mm()")]


def near(page: Page, mm: list[float], tolerance_mm: float) -> bool:
    return all(abs(a - b) <= tolerance_mm for a, b in zip(crosshair(page), mm, strict=True))


def entry(site: Site, finding: str) -> dict[str, Any]:
    found: dict[str, Any] = next(e for e in site.desk.document(site.case, "ann")["legend"] if e["finding"] == finding)
    return found


def axe(page: Page) -> list[tuple[str, str]]:
    """Serious violations of WCAG A and AA: (rule, first element)."""
    page.evaluate(AXE.read_text("utf-8"))
    run = "() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
    found = page.evaluate(run)["violations"]
    return [(v["id"], str(v["nodes"][0]["target"])) for v in found if v["impact"] in ("serious", "critical")]


def test_a_sentence_moves_the_crosshair_to_its_finding(visit: Visit, site: Site) -> None:
    page = visit()
    effusion = entry(site, "pleural_effusion")
    page.click("#report button.sentence:has-text('pleural effusion, about')")
    assert near(page, effusion["mm"], 0.1)
    page.wait_for_function("() => document.querySelector('#where').textContent.includes('pleural effusion')")
    assert page.locator("#findings-table tr.here").get_attribute("data-key") == "pleural_effusion"


def test_an_answer_leads_to_the_crosshair(visit: Visit, site: Site) -> None:
    page = visit()
    page.click("#tabs button[role=tab]:has-text('Questions')")
    page.fill("#ask", "How big is the nodule?")
    page.keyboard.press("Enter")
    page.click(".answer:has-text('nodule of') button.cite")
    assert near(page, entry(site, "lung_nodule")["mm"], 0.1)
    page.reload()
    page.click("#tabs button[role=tab]:has-text('Questions')")
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
    page.wait_for_selector("#report .sentence", timeout=240_000)  # it opens by itself when it is read
    page.wait_for_selector("#viewer .stage[data-ready]")
    assert "ZZTEST" not in page.content() + page.title() + page.url
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


def test_t12_two_users_see_only_their_own(visit: Visit) -> None:
    assert visit(user="ann", case=False).locator("#cases tbody tr").count() >= 1
    assert visit(user="bob", case=False).locator("#cases tbody tr").count() == 0


def test_t15_what_a_person_types_is_never_markup(visit: Visit) -> None:
    page = visit()
    page.on("dialog", lambda _: pytest.fail("a script ran"))
    page.click("#tabs button[role=tab]:has-text('Questions')")
    for text in ("<img src=x onerror=alert(1)>", "${alert(1)} {{alert(1)}}", "<script>alert(1)</script>"):
        page.fill("#ask", text)
        page.keyboard.press("Enter")
        page.wait_for_selector(".question >> text=alert(1)")
        page.wait_for_selector("#chat-log li:last-child .note")
    assert page.locator("#chat img, #chat-log script").count() == 0


@needs_npm
@pytest.mark.parametrize("mode", ["dark", "light"])
def test_axe_finds_nothing_serious(visit: Visit, mode: str) -> None:
    page = visit()
    if mode == "light":
        page.click("#theme")
    assert page.evaluate("document.body.classList.contains('dark')") == (mode == "dark")
    assert axe(page) == []
    page.click("#tabs button[role=tab]:has-text('Questions')")
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
    page.tap("#report button.sentence >> nth=0")


@needs_npm
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_the_viewer_draws_with_webgl_and_follows_sentences(visit: Visit, site: Site, large: bool) -> None:
    page = visit(case=False, query="", viewport={"width": 800, "height": 560})
    if large:  # every scan counts as a large one: a preview first
        script = (STATIC / "niivue_view.js").read_text("utf-8").replace("PREVIEW_FROM = 24e6", "PREVIEW_FROM = 0")
        page.route("**/own/niivue_view.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    page.locator("button:has-text('Open') >> nth=-1").evaluate("node => node.click()")
    page.wait_for_selector("#viewer .stage[data-ready=webgl2]", timeout=120_000)
    if large:
        page.wait_for_selector("#viewer .stage[data-full]", timeout=120_000)
        assert page.evaluate("tomoscribe.viewer.view.nv.volumes.map((one) => one.name)") == ["ct.nii", "labels.nii.gz"]
    page.locator("#report button.sentence:has-text('pleural effusion, about')").evaluate("node => node.click()")
    assert near(page, entry(site, "pleural_effusion")["mm"], 0.2)
    page.evaluate("tomoscribe.viewer.setWindow('lung')")
    assert page.evaluate("tomoscribe.viewer.view.state().range") == [-1350, 150]
    page.evaluate("document.querySelector('#to-worklist').click()")
    page.wait_for_selector("#viewer canvas", state="detached")  # the context is given back, and nothing draws anew


def test_f16_without_niivue_the_server_draws_and_the_page_says_so(visit: Visit) -> None:
    page = visit(case=False, query="")
    page.route("**/own/niivue.js", lambda route: route.fulfill(body="", content_type="text/javascript"))
    page.click("button:has-text('Open') >> nth=-1")
    page.wait_for_selector("#viewer .stage[data-ready=slices]")
    assert "NiiVue did not start" in page.inner_text("#complaint")


def client_of(site: Site, user: str = "ann") -> Client:
    token = base64.b64encode(f"{user}:{user} password".encode()).decode()
    return Client(site.url, headers={"Authorization": f"Basic {token}"}, verbose=False)


def test_programs_ask_and_query_with_the_same_rights(site: Site) -> None:
    client = client_of(site)
    assert client.predict(site.case, api_name="/read")["schema"] == "tomoscribe-report/1"
    events = client.predict(site.case, "Is there an effusion?", api_name="/ask")
    assert any("effusion" in event.get("text", "") and event.get("cites") for event in events)
    assert "pleural_effusion" in client.predict(site.case, "fluid around the lung", api_name="/query")["keys"]
    with pytest.raises(AppError, match="There is no such case"):
        client_of(site, "bob").predict(site.case, "Is there an effusion?", api_name="/ask")


@pytest.mark.parametrize("named", ["/etc/passwd", "../../page.sqlite", "", "http://127.0.0.1:{trap}/x"])
def test_t3_t16_a_program_can_name_no_file_and_no_address(site: Site, named: str) -> None:
    token = base64.b64encode(b"ann:ann password").decode()
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.settimeout(0.2)
        body = {"data": [{"path": named.format(trap=trap.getsockname()[1]), "meta": {"_type": "gradio.FileData"}}]}
        with httpx.Client(base_url=site.url, headers={"Authorization": f"Basic {token}"}, timeout=20) as http:
            event = http.post("/gradio_api/call/read", json=body).json()["event_id"]
            answer = http.get(f"/gradio_api/call/read/{event}").text
        with pytest.raises(TimeoutError):
            trap.accept()
    assert "event: error" in answer
    assert "root:" not in answer
    assert not [path for path in (site.desk.store.folder / "scratch" / "gradio").rglob("*") if path.is_file()]
