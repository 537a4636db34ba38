"""A served page and a real Chromium, for the tests of the page; fixtures of the same names stand in conftest.py."""

from __future__ import annotations

import base64
import io
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, BrowserContext, Page, Route, sync_playwright
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from app.page.desk import Desk
from app.page.routes import NIIVUE, STATIC
from app.page.users import add_user
from app.server import free_port, running
from app.settings import Settings
from tests.page_case import Finished, put_case

CHROMIUM = shutil.which("chromium")
FLAGS = [
    *("--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run"),
]
PLACES = {"header": "head", "worklist": "worklist", "viewer": "viewer", "findings": "findings", "report": "report"}
IN_TABS = {"chat": "Questions", "similar": "Similar cases"}  # they come up when their tab is opened
AXE = STATIC.parent / "node_modules" / "axe-core" / "axe.min.js"
SOON_MS = 120_000  # a failure waits longer, a loaded machine is not one
DRAWN_MS = 240_000  # software WebGL on a busy machine
Visit = Callable[..., Page]
IN_CHROMIUM = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: apt-get install chromium"),
    pytest.mark.xdist_group("page"),
]
needs_npm = pytest.mark.skipif(not (STATIC.parent / NIIVUE).is_file(), reason="needs NiiVue and axe: make viewer")


@dataclass
class Site:
    """A page that is being served, with one finished case of ann's."""

    url: str
    desk: Desk
    case: str


@contextmanager
def serving(folder: Path, finished: Finished) -> Iterator[Site]:
    """A page with two users, ann and bob, and a case of ann's that has been read."""
    for name in ("ann", "bob"):
        add_user(folder / "users", name, f"{name} password")
    settings = Settings(data=folder / "data", port=free_port(), users=folder / "users")
    with running(settings) as desk:
        url = f"http://127.0.0.1:{settings.port}"
        yield Site(url=url, desk=desk, case=put_case(desk, "ann", finished))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Chromium with software WebGL2."""
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


def login(user: str) -> dict[str, str]:
    """The header of a user of the site."""
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{user} password".encode()).decode()}


@dataclass
class Watched:
    """What went wrong on a page, and where it sent requests."""

    faults: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)


@contextmanager
def visiting(browser: Browser, site: Site) -> Iterator[Visit]:
    """Open the page as a user; afterwards nothing may have failed on it, and nothing gone off the machine."""
    contexts: list[BrowserContext] = []
    watched = Watched()

    def visit(
        *, user: str = "ann", case: bool | str = True, query: str = "?slices", late: tuple[str, ...] = (),
        meanwhile: Callable[[Page], Any] | None = None, **look: Any,
    ) -> Page:  # fmt: skip
        """``late`` parts come up when the others have and ``meanwhile`` is done."""
        context = browser.new_context(
            viewport=look.pop("viewport", {"width": 1440, "height": 900}), extra_http_headers=login(user), **look
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SOON_MS)
        page.on("console", lambda m: watched.faults.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: watched.faults.append(str(error)))
        page.on("request", lambda request: watched.asked.append(request.url))
        held: list[Route] = []
        for part in late:
            page.route(f"**/own/{part}.js", lambda route: held.append(route))  # no builtin is taken
        name = site.case if case is True else case
        page.goto(site.url + "/" + query + (f"#{name}" if name else ""))
        mounted(page, *late)
        if meanwhile:
            meanwhile(page)
        for route in held:
            route.continue_()
        mounted(page)
        if not name:
            return page
        page.wait_for_selector("#viewer .stage[data-ready]", timeout=DRAWN_MS)
        if case is True:
            page.wait_for_selector("#report .sentence")
            page.wait_for_selector("#viewer .stage[data-masks]", timeout=DRAWN_MS)
        return page

    yield visit
    faults = list(watched.faults)  # what a page says while it is torn down is no fault
    for context in contexts:
        context.close()
    assert not faults
    assert not [url for url in watched.asked if not url.startswith((site.url, "data:", "blob:"))]


def mounted(page: Page, *late: str) -> None:
    """Wait until every part is there whose place is on the page, but for those that are held back."""
    for part, place in PLACES.items():
        if part not in late:
            page.wait_for_selector(f"#{place} .slot[data-mounted]", state="attached")


def show_tab(page: Page, name: str) -> None:
    """Bring a tab up; Gradio draws its row of tabs anew while the page settles, and a click may fall into that."""
    button = page.locator(f"#tabs button[role=tab]:has-text('{name}')")
    for _ in range(10):
        button.click()
        try:
            page.wait_for_selector(f"#tabs button[aria-selected=true]:has-text('{name}')", timeout=SOON_MS / 10)
        except PlaywrightTimeoutError:
            continue
        return
    raise AssertionError(f"the tab {name} does not come up")


def crosshair(page: Page) -> list[float]:
    """Where the crosshair stands, RAS mm."""
    return [round(value, 1) for value in page.evaluate("tomoscribe.viewer.view.mm()")]


def near(page: Page, mm: list[float], tolerance_mm: float) -> bool:
    """Whether it stands there."""
    return all(abs(a - b) <= tolerance_mm for a, b in zip(crosshair(page), mm, strict=True))


def entry(site: Site, finding: str) -> dict[str, Any]:
    """The legend's entry of a finding of the site's case."""
    found: dict[str, Any] = next(e for e in site.desk.document(site.case, "ann")["legend"] if e["finding"] == finding)
    return found


def axe(page: Page) -> list[tuple[str, str]]:
    """Serious violations of WCAG A and AA: (rule, first element)."""
    page.evaluate(AXE.read_text("utf-8"))
    run = "() => axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']})"
    found = page.evaluate(run)["violations"]
    return [(v["id"], str(v["nodes"][0]["target"])) for v in found if v["impact"] in ("serious", "critical")]


def pixels(page: Page, selector: str) -> NDArray[np.int64]:
    """(rows, columns, 3) what an element looks like."""
    shot = Image.open(io.BytesIO(page.locator(selector).screenshot()), formats=["PNG"])
    return np.asarray(shot.convert("RGB")).astype(np.int64)
