"""Where tests find the shared scans and reports, and which tests run together."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser

    from app.page.desk import Desk
    from tests.page_case import Finished
    from tests.page_site import Site, Visit

settings.register_profile("busy", deadline=None)  # a test judges what comes out, never how busy the machine was
settings.load_profile("busy")

SHARED = Path(os.environ.get("TOMOSCRIBE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``realct`` where the shared data is missing, and say so; keep those of one scan together."""
    missing = pytest.mark.skip(reason="needs the shared scans: put them beside the checkout or set TOMOSCRIBE_SHARED")
    there = {folder.name for folder in (SHARED / "ct").glob("*/")}
    for item in items:
        if not item.get_closest_marker("realct"):
            continue
        if not there:
            item.add_marker(missing)
        values = getattr(item, "callspec", None)
        scan = next((value for value in values.params.values() if value in there), None) if values else None
        if scan:  # one worker has read it and knows its anatomy
            item.add_marker(pytest.mark.xdist_group(scan))
    items.sort(key=lambda item: _scan_of(item))


def _scan_of(item: pytest.Item) -> str:
    """The scan a test is about, or nothing; sorting by it is stable, so tests of one scan follow one another."""
    marker = item.get_closest_marker("xdist_group")
    return str(marker.args[0]) if marker else ""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with ``ct/``, ``odd/`` and ``reports/``."""
    return SHARED


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A small scan and its reading, for the page."""
    from tests.page_case import make_finished  # loads the whole reading: only where a test wants it

    return make_finished(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, finished: Finished) -> Iterator[Site]:
    """A served page; ann has a finished case there."""
    from tests.page_site import serving

    with serving(tmp_path_factory.mktemp("site"), finished) as site:
        yield site


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, for one module: while it runs, nothing else in the process can run an event loop."""
    from tests.page_site import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Browser, site: Site) -> Iterator[Visit]:
    """Open the page as a user; afterwards nothing may have failed on it, and nothing gone off the machine."""
    from tests.page_site import visiting

    with visiting(browser, site) as visit:
        yield visit


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """The page's desk with a data folder of its own."""
    from app.page.desk import Desk

    desk = Desk(tmp_path / "data")
    yield desk
    desk.close()
