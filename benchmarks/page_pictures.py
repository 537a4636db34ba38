"""Pictures of the page for the README and docs/page.md, taken of the demo phantom in Chromium.

    python -m benchmarks.page_pictures

Writes page.png (dark), page_light.png and page_phone.png to docs/images.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, sync_playwright

from app.page.users import LOCAL
from app.server import free_port, running
from app.settings import Settings
from benchmarks.page import FLAGS
from benchmarks.stamp import ROOT
from vlm.phantom.sample import write_sample

LONG_MS = 400_000  # software WebGL on a busy machine
LOOKS: dict[str, dict[str, Any]] = {
    "page": {"viewport": {"width": 1440, "height": 900}},
    "page_light": {"viewport": {"width": 1440, "height": 900}},
    "page_phone": {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True},
}


def take(browser: Browser, url: str, name: str) -> None:
    """One picture of the page at ``url``."""
    page = browser.new_context(**LOOKS[name]).new_page()
    page.set_default_timeout(LONG_MS)
    page.goto(url)
    page.wait_for_selector("#viewer .stage[data-full][data-masks]")
    page.wait_for_function("() => document.querySelector('#where').textContent.includes('HU')")
    if name == "page_light":
        page.locator("#theme").evaluate("node => node.click()")
    page.wait_for_timeout(1500)  # the last redraw of software WebGL
    page.screenshot(path=ROOT / "docs" / "images" / f"{name}.png", timeout=LONG_MS)
    page.context.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_sample(Path(folder, "ct"), preset="demo", seed=7)
        settings = Settings(data=Path(folder, "data"), port=free_port())
        with running(settings) as desk, sync_playwright() as p:
            case = desk.add_path(LOCAL, Path(folder, "ct")).id
            desk.read_and_wait(case, LOCAL)
            browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
            for name in LOOKS:
                take(browser, f"http://127.0.0.1:{settings.port}/#{case}", name)
            browser.close()


if __name__ == "__main__":
    main()
