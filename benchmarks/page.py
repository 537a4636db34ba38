"""The page under way: seconds to the first sentence, milliseconds of a click, and many users at once.

    python -m benchmarks.page [--write-docs]

One phantom series of 250 slices is uploaded and read; five small cases are asked for by twenty simulated
users while reads wait in the queue; clicks are timed in Chromium, from the event to the crosshair's new place.
Everything runs on this machine, for a bounded time.
"""

from __future__ import annotations

import argparse
import base64
import random
import shutil
import statistics
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

from app.page.desk import Desk
from app.page.users import add_user
from app.server import free_port, running
from app.serving import Settings
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.phantom.chest import chest
from vlm.phantom.dicom_series import write_dicom_series

OWNERS, SESSIONS, SECONDS = 5, 4, 30.0
PAUSE_S = (0.3, 1.2)  # between two acts of one session
PASSWORD = "a long password"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]


@dataclass(frozen=True, slots=True)
class Site:
    """A page that is being served."""

    url: str
    desk: Desk


def headers(owner: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{owner}:{PASSWORD}".encode()).decode()}


@contextmanager
def site() -> Iterator[Site]:
    """A page with a user for each owner, in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        for n in range(OWNERS):
            add_user(Path(folder, "users"), f"user{n}", PASSWORD)
        settings = Settings(data=Path(folder, "data"), port=free_port(), users=Path(folder, "users"))
        with running(settings) as desk:
            yield Site(f"http://127.0.0.1:{settings.port}", desk)


def zipped(folder: Path, **phantom: Any) -> Path:
    """A phantom's DICOM series as a zip."""
    series = folder / "series"
    series.mkdir(parents=True)
    write_dicom_series(chest(seed=3, nodules=(("right", "upper", 14.0, 40.0),), **phantom).volume, series, seed=3)
    path = folder / "series.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for slice_file in sorted(series.iterdir()):
            archive.write(slice_file, slice_file.name)
    return path


def upload(http: httpx.Client, path: Path) -> str:
    """Send a zip as the page does; the case's id."""
    data = path.read_bytes()
    case: str = http.post("/api/cases", json={"files": 1, "bytes": len(data)}).json()["id"]
    http.put(f"/api/cases/{case}/files/1", content=data).raise_for_status()
    http.post(f"/api/cases/{case}/look").raise_for_status()
    return case


def seconds_to_first_sentence(site: Site, path: Path) -> tuple[str, float]:
    """From pressing Read to the report in the browser's hands."""
    with httpx.Client(base_url=site.url, headers=headers("user0"), timeout=60) as http:
        case = upload(http, path)
        start = time.perf_counter()
        http.post(f"/api/cases/{case}/read", json={}).raise_for_status()
        while next(row for row in http.get("/api/cases").json() if row["id"] == case)["state"] == "reading":
            time.sleep(0.25)
        assert http.get(f"/api/cases/{case}").json()["sections"]
        return case, time.perf_counter() - start


def one_session(site: Site, owner: str, case: str, seed: int, until: float) -> list[tuple[str, float, int]]:
    """What one person does: (act, seconds, status) of each request."""
    chance, done = random.Random(seed), []
    acts: dict[str, tuple[str, str, dict[str, Any] | None]] = {
        "worklist": ("GET", "/api/cases", None),
        "open a case": ("GET", f"/api/cases/{case}", None),
        "point": ("POST", f"/api/cases/{case}/point", {"mm": [20.0, 0.0, 0.0]}),
        "slice": ("GET", f"/api/cases/{case}/slice/axial/40", None),
        "question": ("POST", f"/api/cases/{case}/ask", {"text": "Is there a nodule?"}),
    }
    with httpx.Client(base_url=site.url, headers=headers(owner), timeout=30) as http:
        while time.monotonic() < until:
            act = chance.choices(list(acts), weights=[4, 3, 6, 6, 1])[0]
            method, path, body = acts[act]
            start = time.perf_counter()
            status = http.request(method, path, json=body).status_code
            done.append((act, time.perf_counter() - start, status))
            threading.Event().wait(chance.uniform(*PAUSE_S))
    return done


def many_users(site: Site, small: Path, reading: Path) -> list[tuple[str, float, int]]:
    """Every request of all sessions, while two reads of each owner wait in the queue."""
    cases = {}
    for n in range(OWNERS):
        case = site.desk.store.add_case(f"user{n}")
        shutil.copytree(reading, site.desk.store.path(case.id) / "reading")
        site.desk.store.change(case.id, state="ready")
        cases[f"user{n}"] = case.id
        with httpx.Client(base_url=site.url, headers=headers(f"user{n}"), timeout=60) as http:
            for _ in range(2):
                http.post(f"/api/cases/{upload(http, small)}/read", json={}).raise_for_status()
    until = time.monotonic() + SECONDS
    with ThreadPoolExecutor(OWNERS * SESSIONS) as pool:
        sessions = [
            pool.submit(one_session, site, owner, case, n * SESSIONS + k, until)
            for n, (owner, case) in enumerate(cases.items())
            for k in range(SESSIONS)
        ]
        return [request for session in sessions for request in session.result()]


def clicks_ms(site: Site, case: str, *, webgl: bool) -> list[float]:
    """Milliseconds from each sentence's click to the crosshair's new place, without painting."""
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        page = browser.new_context(extra_http_headers=headers("user0")).new_page()
        page.goto(f"{site.url}/{'' if webgl else '?slices'}#{case}")
        page.wait_for_selector("#viewer .stage[data-ready]", timeout=120_000)
        found: list[float] = page.evaluate(
            """async () => { const all = [];
            for (const node of document.querySelectorAll('#report button.sentence')) {
              node.click(); all.push(tomoscribe.viewer.took); await new Promise((ok) => setTimeout(ok, 400)); }
            return all; }"""
        )
        browser.close()
    return found


def table(site: Site, large: Path, small: Path) -> str:
    """Everything that was measured, as Markdown."""
    case, first = seconds_to_first_sentence(site, large)
    lines = [
        "| what | figure |", "|---|---|",
        f"| Read pressed to report on the page, 250 slices of 512 x 512 | {first:.1f} s |",
    ]  # fmt: skip
    for name, webgl in (("NiiVue, software WebGL2", True), ("slices from the server", False)):
        found = clicks_ms(site, case, webgl=webgl)
        told = f"{statistics.median(found):.0f} ms median, {max(found):.0f} ms most, of {len(found)}"
        lines.append(f"| click on a sentence to crosshair set, {name} | {told} |")
    requests = many_users(site, small, site.desk.store.path(case) / "reading")
    for act in sorted({act for act, _, _ in requests}):
        taken = sorted(seconds for name, seconds, _ in requests if name == act)
        p95 = taken[min(len(taken) - 1, round(0.95 * len(taken)))]
        lines.append(
            f"| {act}, p95 of {len(taken)} by {OWNERS * SESSIONS} users while reads wait | {p95 * 1000:.0f} ms |"
        )
    faults = sum(status >= 400 for _, _, status in requests)
    lines += [f"| requests that failed | {faults} of {len(requests)} |", "", stamp("python -m benchmarks.page")]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, site() as served:
        large = zipped(Path(folder, "large"), shape=(512, 512, 250), spacing_mm=(0.72, 0.72, 1.2))
        small = zipped(Path(folder, "small"), spacing_mm=(2.0, 2.0, 3.0))
        text = table(served, large, small)
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "page.md", "page", text)


if __name__ == "__main__":
    main()
