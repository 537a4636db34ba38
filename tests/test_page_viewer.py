"""The viewer in a real Chromium: planes, windows, masks, measuring by dragging, a prior beside, a scan being read."""

from __future__ import annotations

import itertools
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
from playwright.sync_api import Page

from app.page.desk import Desk
from app.page.routes import STATIC
from app.page.scanned import SCAN_FILES, Draft, write_draft
from app.page.seal import seal
from app.reopen import Opened
from app.store import now
from tests.page_case import Finished, put_case
from tests.page_site import DRAWN_MS, IN_CHROMIUM, Site, Visit, axe, crosshair, entry, near, needs_npm, pixels

pytestmark = IN_CHROMIUM
WINDOW = {"width": 1000, "height": 720}
PICTURE = "#viewer canvas, #viewer .axial img"
BOTH = pytest.mark.parametrize("query", ["?slices", pytest.param("", marks=needs_npm)], ids=["slices", "webgl"])
COLOURED = 40  # spread of a pixel's channels from which it is no grey


def drawn(page: Page) -> None:
    """Wait for what was asked of WebGL."""
    page.evaluate("() => new Promise((ok) => requestAnimationFrame(() => requestAnimationFrame(ok)))")


def coloured(page: Page) -> int:
    found: int = np.count_nonzero(np.ptp(pixels(page, "#viewer .stage"), axis=-1) > COLOURED)
    return found


@needs_npm
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_the_viewer_draws_with_webgl_and_follows_sentences(visit: Visit, site: Site, large: bool) -> None:
    page = visit(case=False, query="", viewport={"width": 800, "height": 560})
    if large:  # every scan counts as a large one: a preview first
        script = (STATIC / "niivue_view.js").read_text("utf-8").replace("PREVIEW_FROM = 24e6", "PREVIEW_FROM = 0")
        page.route("**/own/niivue_view.js", lambda route: route.fulfill(body=script, content_type="text/javascript"))
    page.locator("button:has-text('Open') >> nth=-1").evaluate("node => node.click()")
    page.wait_for_selector("#viewer .stage[data-ready=webgl2]", timeout=DRAWN_MS)
    page.wait_for_selector("#viewer .stage[data-full]", timeout=DRAWN_MS)
    page.wait_for_selector("#viewer .stage[data-masks]", timeout=DRAWN_MS)
    assert page.evaluate("tomoscribe.viewer.view.nv.volumes.map((one) => one.name)") == ["ct.nii", "labels.nii.gz"]
    assert page.evaluate("tomoscribe.viewer.view.state().range") == [-1350, 150]  # it opened at the nodule
    page.locator("#report button.sentence:has-text('pleural effusion, about')").evaluate("node => node.click()")
    assert near(page, entry(site, "pleural_effusion")["mm"], 0.2)
    assert page.evaluate("tomoscribe.viewer.view.state().range") == [-160, 240]
    page.evaluate("tomoscribe.viewer.setWindow('lung')")
    assert page.evaluate("tomoscribe.viewer.view.state().range") == [-1350, 150]
    page.evaluate("document.querySelector('#to-worklist').click()")
    page.wait_for_selector("#viewer canvas", state="detached")  # the context is given back, and nothing draws anew


@needs_npm
def test_every_layout_draws_something_of_its_own(visit: Visit) -> None:
    page = visit(query="", viewport=WINDOW)
    seen = []
    for layout in ("large", "grid", "axial", "coronal", "sagittal", "solid"):
        page.select_option("select[aria-label=Layout]", layout)
        drawn(page)
        seen.append(pixels(page, "#viewer canvas"))
        bright = seen[-1].max(axis=-1) > 60
        assert 0.02 < bright.mean() < 0.98, layout
    for one, other in itertools.pairwise(seen):
        assert np.abs(one - other).mean() > 2.0
    rows, columns = (n // 2 for n in seen[1].shape[:2])
    for part in (np.s_[:rows, :columns], np.s_[:rows, columns:], np.s_[rows:, :columns], np.s_[rows:, columns:]):
        assert seen[1][part].max() > 100  # the grid: three planes and 3D
    page.keyboard.press("l")
    assert page.locator("select[aria-label=Layout]").input_value() == "large"


@needs_npm
def test_windows_come_by_key_and_button_and_the_wheel_scrolls(visit: Visit) -> None:
    page = visit(query="", viewport=WINDOW)
    for key, name, window in (
        ("1", "lung", [-1350, 150]), ("2", "mediastinum", [-160, 240]), ("3", "bone", [-500, 1300]),
        ("4", "liver", [15, 165]), ("5", "brain", [0, 80]),
    ):  # fmt: skip
        page.keyboard.press(key)
        assert page.evaluate("tomoscribe.viewer.view.state().range") == window
        assert page.locator(f"#viewer [data-name={name}]").get_attribute("aria-pressed") == "true"
        assert f"W {window[1] - window[0]}" in page.inner_text("#viewer .corner")
    page.click("#viewer [data-name=lung]")
    assert page.evaluate("tomoscribe.viewer.view.state().range") == [-1350, 150]
    before = crosshair(page)
    page.locator("#viewer canvas").hover(position={"x": 200, "y": 150})
    page.mouse.wheel(0, 100)
    page.wait_for_function(f"() => Math.abs(tomoscribe.viewer.view.mm()[2] - {before[2]}) > 1")


@BOTH
def test_the_legend_fades_hides_and_lights_masks(visit: Visit, query: str) -> None:
    page = visit(query=query, viewport=WINDOW)
    page.locator("#report button.sentence:has-text('pleural effusion, about')").first.click()
    settle = "() => [...document.querySelectorAll('.stage img')].every((image) => image.complete)"

    def seen() -> int:
        page.wait_for_function(settle)
        drawn(page)
        return coloured(page)

    full = seen()
    page.click(".legend-box summary")
    page.fill("input[aria-label='How strong masks are']", "0")
    crosshair_alone = seen()
    assert crosshair_alone < full / 2
    page.fill("input[aria-label='How strong masks are']", "0.9")
    assert seen() > 2 * crosshair_alone
    page.uncheck(".legend li:has-text('pleural effusion') input")
    page.locator("#report button.sentence:has-text('nodule of')").first.click()  # another one is lit
    hidden = page.evaluate("[...tomoscribe.viewer.look.off]")
    assert page.evaluate(
        "(off) => tomoscribe.case.legend.some((e) => e.finding === 'pleural_effusion' && off.includes(e.label))", hidden
    )
    page.keyboard.press("m")
    assert seen() <= crosshair_alone * 1.5


@needs_npm
def test_3d_shows_bones_whatever_window_the_planes_have(visit: Visit) -> None:
    page = visit(query="", viewport={"width": 800, "height": 560})
    window = "() => tomoscribe.viewer.view.state().range"
    page.evaluate("tomoscribe.viewer.setWindow('lung')")
    page.select_option("select[aria-label=Layout]", "solid")
    assert page.evaluate(window) == [50, 750]
    assert "L 400  W 700" in page.inner_text("#viewer .corner")
    page.evaluate("tomoscribe.viewer.setWindow('bone')")  # as a click on a sentence does
    assert page.evaluate(window) == [50, 750]
    page.evaluate("tomoscribe.viewer.setWindow('mediastinum')")
    assert page.evaluate(window) == [-160, 240]
    page.select_option("select[aria-label=Layout]", "large")
    assert page.evaluate(window) == [-160, 240]
    page.select_option("select[aria-label=Layout]", "solid")
    page.evaluate("tomoscribe.viewer.setWindow('lung')")
    page.select_option("select[aria-label=Layout]", "large")
    assert page.evaluate(window) == [-1350, 150]


def dragged(page: Page, start: tuple[int, int], end: tuple[int, int]) -> tuple[list[float], list[float]]:
    """Drag over the picture; the points that both ends have, as the crosshair tells them."""
    box = page.locator(PICTURE).bounding_box()
    assert box is not None
    ends = [(box["x"] + x, box["y"] + y) for x, y in (start, end)]
    told = []
    page.keyboard.press("c")
    for x, y in ends:
        page.mouse.click(x, y)
        drawn(page)
        told.append(page.evaluate("tomoscribe.viewer.view.mm()"))
    page.evaluate("document.activeElement.blur()")
    page.wait_for_function("() => / HU |outside/.test(document.querySelector('#where').textContent)")
    return told[0], told[1]


def drag(page: Page, start: tuple[int, int], end: tuple[int, int]) -> None:
    box = page.locator(PICTURE).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + start[0], box["y"] + start[1])
    page.mouse.down()
    page.mouse.move(box["x"] + (start[0] + end[0]) / 2, box["y"] + (start[1] + end[1]) / 2)
    page.mouse.move(box["x"] + end[0], box["y"] + end[1])
    page.mouse.up()


@BOTH
def test_a_length_is_measured_by_dragging(visit: Visit, query: str) -> None:
    page = visit(query=query, viewport=WINDOW)
    page.select_option("select[aria-label=Layout]", "axial")
    ends = (200, 150), (320, 230)
    a, b = dragged(page, *ends)
    page.keyboard.press("d")
    drag(page, *ends)
    page.wait_for_function("() => document.querySelector('#where').textContent.includes('Length: ')")
    told = float(page.inner_text("#where").rpartition("Length: ")[2].split()[0])
    assert told == pytest.approx(math.dist(a, b), abs=2.5)  # the crosshair stands on voxels of 2 mm
    assert told > 20.0
    if query:  # it stays on its slice, until it is reset
        beside = page.locator("#viewer .axial .measured")
        assert beside.inner_text() == f"{told:.1f} mm"
        page.keyboard.press("PageUp")
        assert not beside.is_visible()
        page.keyboard.press("PageDown")
        assert beside.is_visible()
        page.keyboard.press("r")
        assert beside.count() == 0


@BOTH
def test_a_box_tells_hu_and_area_and_can_be_asked_about(visit: Visit, finished: Finished, query: str) -> None:
    page = visit(query=query, viewport=WINDOW)
    page.select_option("select[aria-label=Layout]", "axial")
    ends = (250, 160), (310, 200)
    a, b = dragged(page, *ends)
    page.keyboard.press("b")
    drag(page, *ends)
    page.wait_for_function("() => document.querySelector('#where').textContent.includes('Box: ')")
    said = page.inner_text("#where").rpartition("Box: ")[2]
    mean, spread, area = (float(said.replace("±", " ").split()[n]) for n in (0, 1, 3))
    opened = Opened(finished.reading)
    (x0, y0, z), (x1, y1, _) = sorted([opened.index_of(tuple(a)), opened.index_of(tuple(b))])
    values = opened.hu[x0 : x1 + 1, min(y0, y1) : max(y0, y1) + 1, z]
    assert mean == pytest.approx(float(values.mean()), abs=max(15.0, 0.1 * float(values.std())))
    assert spread == pytest.approx(float(values.std()), rel=0.15, abs=10.0)
    assert area == pytest.approx(abs(a[0] - b[0]) * abs(a[1] - b[1]) / 100, rel=0.2)  # cm²
    if not query:  # what is drawn is what was measured: a rectangle has corners
        drawn(page)
        seen = pixels(page, PICTURE)
        for x, y in ends:
            assert np.ptp(seen[y - 2 : y + 3, x - 2 : x + 3], axis=-1).max() > COLOURED
    page.click("#ask-box")
    page.wait_for_selector("#chat-log li:last-child .call >> text=measure box")


@pytest.fixture
def under_way(site: Site, finished: Finished) -> Callable[[str], str]:
    """A case whose reading stands still, and goes on to a stage when the test says so: scan, early, draft, ready."""
    desk: Desk = site.desk
    case = desk.store.add_case("ann").id
    folder = desk.store.path(case)
    with desk.store.write() as db:
        values = (case[::-1], case, "ann", "running", now(), "tool nodules", 9)
        columns = "id, case_id, owner, state, created, step, steps, settings"
        db.execute(f"insert into jobs ({columns}) values (?, ?, ?, ?, ?, ?, ?, '{{}}')", values)
    desk.store.change(case, state="reading")

    def go_on(stage: str) -> str:
        if stage == "scan":
            (folder / "scan").mkdir()
            for name in SCAN_FILES:
                shutil.copyfile(finished.reading / name, folder / "scan" / name)
        if stage in ("early", "draft"):
            told = Opened(finished.reading).report.sentences
            lungs = tuple(s for s in told if s.section == "lungs_and_pleura")
            part = Draft(sentences=lungs, waiting=("heart_and_vessels", "abdomen"))
            write_draft(folder / "scan", part if stage == "early" else Draft(sentences=told))
        if stage == "ready":
            shutil.copytree(finished.reading, folder / "reading")
            with desk.store.write() as db:
                db.execute("update jobs set state = 'done' where case_id = ?", (case,))
            desk.store.change(case, state="ready")
        return case

    return go_on


@BOTH
def test_a_scan_is_on_screen_while_it_is_read_and_its_report_arrives_in_place(
    visit: Visit, under_way: Callable[[str], str], query: str
) -> None:
    case = under_way("scan")
    page = visit(case=case, query=query, viewport=WINDOW)
    assert "looking: nodules" in page.inner_text("#under-way")
    assert page.locator("#report .sentence").count() == 0
    page.wait_for_function("() => document.querySelector('#where').textContent.includes('HU')")
    page.keyboard.press("PageUp")
    moved = crosshair(page)
    view = page.evaluate_handle("tomoscribe.viewer.view")
    under_way("early")
    page.wait_for_selector("#report .section-lungs_and_pleura .sentence:has-text('nodule')")
    assert "abdomen" in page.inner_text("#to-come")  # what is still to come is said
    assert page.locator("#report :is(.section-impression, .section-abdomen, .section-not_assessed)").count() == 0
    under_way("draft")
    page.wait_for_selector("#report .section-impression .sentence:has-text('nodule')")
    assert page.locator("#report [data-action=edit]").count() == 0  # not finished, and it says so
    assert page.locator("#under-way").count() == 1
    assert "come with the finished report" in page.inner_text("#findings")
    if query:
        assert axe(page) == []
    under_way("ready")
    page.wait_for_selector("#report [data-action=edit]")
    page.wait_for_selector("#viewer .stage[data-masks]", timeout=DRAWN_MS)
    assert page.evaluate("(view) => tomoscribe.viewer.view === view", view)  # the same picture all the way
    assert crosshair(page) == moved  # and nobody's crosshair is taken from them


@pytest.fixture(scope="module")
def compared(site: Site, finished: Finished) -> tuple[str, str]:
    """Two cases of ann's: one that was compared with the other, which lies 10 mm higher."""
    before = put_case(site.desk, "ann", finished)
    after = put_case(site.desk, "ann", finished)
    folder = site.desk.store.path(after) / "reading"
    report = json.loads((folder / "report.json").read_text("utf-8"))
    shift = np.eye(4)
    shift[2, 3] = -10.0
    report["provenance"]["prior"] = {"alignment": {"accepted": True, "to_current_mm": shift.tolist()}}
    (folder / "report.json").write_text(json.dumps(report), encoding="utf-8")
    seal(folder)
    with site.desk.store.write() as db:
        settings = json.dumps({"series": None, "prior": before})
        values = (after[::-1], after, "ann", "done", now(), settings)
        db.execute("insert into jobs (id, case_id, owner, state, created, settings) values (?, ?, ?, ?, ?, ?)", values)
    return before, after


@BOTH
def test_a_prior_stands_beside_the_scan_and_moves_with_it(visit: Visit, compared: tuple[str, str], query: str) -> None:
    page = visit(case=compared[1], query=query, viewport={"width": 1300, "height": 800})
    page.wait_for_selector("#report .sentence")
    page.keyboard.press("o")
    page.wait_for_selector(".beside[data-ready]", timeout=DRAWN_MS)
    second = "tomoscribe.viewer.second.view.mm()"

    def apart() -> float:
        up: float = page.evaluate(f"{second}[2] - tomoscribe.viewer.view.mm()[2]")
        return up

    assert apart() == pytest.approx(10.0, abs=1.6)  # slices of 3 mm
    page.locator("#report button.sentence:has-text('nodule of')").first.click()
    assert apart() == pytest.approx(10.0, abs=1.6)
    page.evaluate("tomoscribe.viewer.second.view.step(0, 0, 2)")  # the prior leads
    assert apart() == pytest.approx(10.0, abs=1.6)
    page.uncheck(".beside input")
    page.evaluate("tomoscribe.viewer.second.view.step(0, 0, 4)")
    assert apart() == pytest.approx(22.0, abs=1.6)
    page.check(".beside input")
    page.keyboard.press("PageUp")
    assert apart() == pytest.approx(22.0, abs=1.6)  # linked again, at the distance that was left
    page.keyboard.press("1")
    assert page.evaluate("tomoscribe.viewer.second.look.window") == "lung"
    if query:
        assert axe(page) == []
    page.keyboard.press("o")
    page.wait_for_selector(".beside", state="detached")


@BOTH
def test_a_heat_map_lies_over_the_scan_where_there_is_one(
    visit: Visit, site: Site, finished: Finished, query: str
) -> None:
    plain = visit(query="?slices")
    plain.click(".legend-box summary")
    assert "off, no image encoder was asked" in plain.inner_text(".heat")

    case = put_case(site.desk, "ann", finished)
    folder = site.desk.store.path(case) / "reading"
    scan = nibabel.load(folder / "ct.nii")
    coarse = scan.affine @ np.diag([8.0, 8.0, 8.0, 1.0])
    values = np.zeros([n // 8 for n in scan.shape], dtype=np.float32)
    values[values.shape[0] // 4 : values.shape[0] // 2, :, :] = 0.9
    nibabel.save(nibabel.Nifti1Image(values, coarse), folder / "heat-lung_nodule.nii.gz")
    told = [{"finding": "lung_nodule", "file": "heat-lung_nodule.nii.gz", "score": 0.83, "tool": "a test"}]
    (folder / "heat.json").write_text(json.dumps(told), encoding="utf-8")
    seal(folder)
    page = visit(case=case, query=query, viewport=WINDOW)
    page.wait_for_selector("#viewer .stage[data-masks]", timeout=DRAWN_MS)
    before = coloured(page)
    page.click("button[aria-label='Heat map of lung nodule']")
    page.wait_for_selector("#viewer .stage[data-heat=lung_nodule]")
    page.wait_for_function("() => [...document.querySelectorAll('.stage img')].every((image) => image.complete)")
    drawn(page)
    assert coloured(page) > before + 2000
    page.click(".legend-box summary")
    page.click(".heat button")
    page.wait_for_selector("#viewer .stage[data-heat='']")


def test_a_case_with_a_prior_is_read_from_the_worklist(visit: Visit, site: Site, tmp_path: Path) -> None:
    """F13: which of both is the earlier one is told by their days where both say one."""
    from vlm.phantom.chest import chest

    made = chest(seed=5, spacing_mm=(2.5, 2.5, 3.0), nodules=(("right", "upper", 11.0, 40.0),))
    image = nibabel.Nifti1Image(made.volume.hu, made.volume.grid.affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "today.nii.gz")
    page = visit(case=False)
    page.set_input_files("#file", tmp_path / "today.nii.gz")
    row = page.locator("#cases tr[data-state=arrived]").first
    row.wait_for()
    row.locator("select.prior").select_option(site.case)
    row.locator("button:has-text('Read')").click()
    page.wait_for_selector("#viewer .stage[data-ready]", timeout=240_000)
    page.wait_for_selector("#undo", timeout=240_000)
    assert "Compared with the prior" in page.inner_text("#report")
    page.click("#viewer [data-name=prior]")
    page.wait_for_selector(".beside[data-ready]")
    item = page.locator("#report li:has-text('prior')").first  # the checker knows the prior when a sentence is edited
    verdict = item.get_attribute("data-verdict")
    item.locator("[data-action=edit]").click()
    page.wait_for_selector(f".judged[data-verdict={verdict}]")
