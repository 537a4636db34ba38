"""The panel of similar cases in a real Chromium: key image, what differs both ways, its scan beside this one, axe."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image

from retrieval.cases import PREVIEW, THUMBNAIL
from tests.library_cases import make_library, new_case
from tests.page_site import IN_CHROMIUM, Site, Visit, axe, needs_npm, show_tab

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'tomoscribe[retrieval]'")
pytestmark = IN_CHROMIUM


@pytest.fixture(autouse=True)
def library(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A library for the page that is served: one case of it with a key image and a coarse scan."""
    picture = io.BytesIO()
    Image.new("RGB", (40, 30), (90, 120, 150)).save(picture, "PNG")
    hu = np.full((20, 18, 16), -800, dtype=np.int16)
    hu[8:12] = 40
    scan = gzip.compress(nibabel.Nifti1Image(hu, np.diag([6.0, 6.0, 6.0, 1.0])).to_bytes())
    held = make_library(tmp_path / "lib")
    held.add(new_case("p1", stamp="2", pictures={PREVIEW: scan, THUMBNAIL: picture.getvalue()}))
    held.close()
    monkeypatch.setattr(site.desk.similar, "folder", held.folder)


@needs_npm
def test_a_similar_case_is_shown_compared_and_opened_beside(visit: Visit, site: Site) -> None:
    page = visit()
    try:
        show_tab(page, "Similar cases")
        card = page.locator(".similar-card:has(img)")
        card.wait_for()
        assert (
            page.locator("section[aria-label='Similar cases'] [role=status]").inner_text().startswith("From a library")
        )
        page.wait_for_function("() => document.querySelector('.similar-card img').naturalWidth === 40")
        assert "lung nodule" in card.locator(".similar-shared").inner_text()
        assert "emphysema (here: searched, none)" in card.locator(".similar-there").inner_text()
        assert "pleural effusion (there: searched, none)" in card.locator(".similar-here").inner_text()
        card.locator("summary").click()
        assert "12 mm solid nodule" in card.locator(".similar-report").inner_text()
        assert axe(page) == []
        card.locator("[data-action=beside]").focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("section.beside[data-ready]")
        assert "Similar case" in str(page.locator("section.beside").get_attribute("aria-label"))
        page.click("section.beside button:has-text('Close')")
        page.wait_for_selector("section.beside", state="detached")
    finally:
        site.desk.similar.close()
