"""The page under way: seconds to image and first sentence, milliseconds of a click, and many users at once.

    python -m benchmarks.page [--write-docs] [--fresh]

A phantom series of 250 slices is uploaded, and read from the worklist in Chromium; clicks are timed there, with the
viewer's own redraw apart; five small cases are used by twenty simulated users while reads wait in the queue.
Everything runs on this machine, for a bounded time. Phantoms and what was measured at this commit are kept in
benchmarks/out/page, so that a run that was cut off goes on where it was; --fresh measures anew.
"""

from __future__ import annotations

import argparse
import base64
import json
import os
import random
import shutil
import statistics
import tempfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import Browser, Page, sync_playwright

from app.page.desk import Desk
from app.page.users import add_user
from app.server import free_port, running
from app.settings import Settings
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.phantom.chest import chest
from vlm.phantom.dicom_series import write_dicom_series

OUT = ROOT / "benchmarks" / "out" / "page"
OWNERS, SESSIONS, SECONDS = 5, 4, 30.0
PAUSE_S = (0.3, 1.2)  # between two acts of one session
RUNS = 3  # of the reading
MOST_CLICKS = 12
PASSWORD = "a long password"
FLAGS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist"]
LONG_MS = 400_000
VIEWERS = {"slices from the server": "?slices", "NiiVue on software WebGL2": ""}
LARGE = {"shape": (512, 512, 250), "spacing_mm": (0.72, 0.72, 1.2)}
SMALL = {"spacing_mm": (2.0, 2.0, 3.0)}
STAGES = {  # of a reading: where it shows, and what the table calls it
    "image": ("#viewer .stage[data-ready]", "scan on screen"),
    "sentence": ("#report .sentence", "first sentence, how the scan was made"),
    "lungs": ("#report .section-lungs_and_pleura .sentence", "first sentence of the findings"),
    "impression": ("#report .section-impression .sentence", "impression"),
    "report": ("#undo", "finished report"),
}
CLICKS = """async (most) => {
  const view = tomoscribe.viewer.view, all = [];
  const move = view.moveTo.bind(view);
  let redraw = 0;
  view.moveTo = (mm) => { const t = performance.now(); move(mm); redraw += performance.now() - t; };
  for (const node of [...document.querySelectorAll('#report button.sentence')].slice(0, most)) {
    redraw = 0;
    const start = performance.now();
    node.click();
    all.push([performance.now() - start, redraw]);
    await new Promise((ok) => setTimeout(ok, 600));
  }
  return all;
}"""


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


def zipped(name: str, **phantom: Any) -> Path:
    """A phantom's DICOM series as a zip, made once."""
    path = OUT / f"{name}.zip"
    if path.is_file():
        return path
    OUT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        write_dicom_series(
            chest(seed=3, nodules=(("right", "upper", 14.0, 40.0),), effusion_left_ml=250.0, **phantom).volume,
            Path(folder), seed=3,
        )  # fmt: skip
        new = path.with_suffix(".new")
        with zipfile.ZipFile(new, "w") as archive:
            for slice_file in sorted(Path(folder).iterdir()):
                archive.write(slice_file, slice_file.name)
    new.replace(path)
    return path


def upload(http: httpx.Client, path: Path) -> str:
    """Send a zip as the page does; the case's id."""
    data = path.read_bytes()
    case: str = http.post("/api/cases", json={"files": 1, "bytes": len(data)}).json()["id"]
    http.put(f"/api/cases/{case}/files/1", content=data).raise_for_status()
    http.post(f"/api/cases/{case}/look").raise_for_status()
    return case


def visit(browser: Browser, site: Site, rest: str) -> Page:
    page = browser.new_context(viewport={"width": 1440, "height": 900}, extra_http_headers=headers("user0")).new_page()
    page.set_default_timeout(LONG_MS)
    page.goto(f"{site.url}/{rest}")
    return page


def from_read_to_report(site: Site, browser: Browser, path: Path, query: str) -> dict[str, float]:
    """From pressing Read: seconds until each of STAGES is on screen."""
    with httpx.Client(base_url=site.url, headers=headers("user0"), timeout=120) as http:
        case = upload(http, path)
    page = visit(browser, site, query)
    page.wait_for_selector("#cases tr[data-state=arrived]")
    page.wait_for_timeout(3000)  # the child that reads is loaded ahead of need
    start = time.perf_counter()
    page.click(f"#cases tr[data-case='{case}'] button:has-text('Read')")
    seen = {}
    for what, (selector, _) in STAGES.items():
        page.wait_for_selector(selector)
        seen[what] = time.perf_counter() - start
    page.context.close()
    return seen


def clicks_ms(site: Site, browser: Browser, path: Path, query: str) -> list[list[float]]:
    """Of each sentence's click: milliseconds until the crosshair stands anew, and those of the redraw alone."""
    case = next((row["id"] for row in site.desk.worklist("user0") if row["state"] == "ready"), None)
    if case is None:
        with httpx.Client(base_url=site.url, headers=headers("user0"), timeout=120) as http:
            case = upload(http, path)
        site.desk.read_and_wait(case, "user0")
    page = visit(browser, site, f"{query}#{case}")
    page.wait_for_selector("#viewer .stage[data-masks]")
    page.wait_for_selector("#viewer .stage[data-full]")
    page.wait_for_timeout(2000)
    found: list[list[float]] = page.evaluate(CLICKS, MOST_CLICKS)
    page.context.close()
    return found


def one_session(site: Site, owner: str, case: str, seed: int, until: float) -> list[tuple[str, float, int]]:
    """What one person does: (act, seconds, status) of each request."""
    chance, done = random.Random(seed), []
    acts: dict[str, tuple[str, str, dict[str, Any] | None]] = {
        "the page": ("GET", "/", None),
        "worklist": ("GET", "/api/cases", None),
        "open a case": ("GET", f"/api/cases/{case}", None),
        "point": ("POST", f"/api/cases/{case}/point", {"mm": [20.0, 0.0, 0.0]}),
        "slice": ("GET", f"/api/cases/{case}/slice/axial/40", None),
        "question": ("POST", f"/api/cases/{case}/ask", {"text": "Is there a nodule?"}),
    }
    with httpx.Client(base_url=site.url, headers=headers(owner), timeout=30) as http:
        http.get(f"/api/cases/{case}")  # as the page does before anybody can ask
        while time.monotonic() < until:
            act = chance.choices(list(acts), weights=[1, 4, 3, 6, 6, 1])[0]
            method, path, body = acts[act]
            start = time.perf_counter()
            status = http.request(method, path, json=body).status_code
            done.append((act, time.perf_counter() - start, status))
            threading.Event().wait(chance.uniform(*PAUSE_S))
    return done


def many_users(site: Site, small: Path) -> list[tuple[str, float, int]]:
    """Every request of all sessions, while two reads of each owner wait in the queue; each owner has one case open."""
    with httpx.Client(base_url=site.url, headers=headers("user0"), timeout=300) as http:
        first = upload(http, small)
    site.desk.read_and_wait(first, "user0")
    cases = {}
    for n in range(OWNERS):
        case = site.desk.store.add_case(f"user{n}")
        shutil.copytree(site.desk.store.path(first) / "reading", site.desk.store.path(case.id) / "reading")
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


class Kept:
    """What was measured at this commit, in a file: a run that was cut off goes on where it was."""

    def __init__(self, fresh: bool) -> None:
        self.path = OUT / "measured.json"
        self.commit = stamp("").partition("commit ")[2].partition(":")[0]
        kept = json.loads(self.path.read_text("utf-8")) if self.path.is_file() and not fresh else {}
        self.found: dict[str, Any] = kept if kept.get("commit") == self.commit else {"commit": self.commit}

    def measured(self, name: str, measure: Callable[[], Any]) -> tuple[Any, float]:
        """What ``measure`` gives, and the machine's load in the minute before it."""
        if name not in self.found:
            load = os.getloadavg()[0]
            self.found[name] = [measure(), round(load, 1)]
            self.path.write_text(json.dumps(self.found), encoding="utf-8")
        value, load = self.found[name]
        return value, load


def table(site: Site, browser: Browser, kept: Kept) -> str:
    """Everything that was measured, as Markdown."""
    large, small = zipped("large", **LARGE), zipped("small", **SMALL)
    lines = ["| what | figure | load before |", "|---|---|---|"]
    for name, query in VIEWERS.items():
        runs, load = kept.measured(
            f"read {query}", lambda q=query: [from_read_to_report(site, browser, large, q) for _ in range(RUNS)]
        )
        for what, (_, words) in STAGES.items():
            seconds = [run[what] for run in runs]
            lines.append(
                f"| 250 slices of 512 x 512, {name}: from Read to {words} | "
                f"{statistics.median(seconds):.1f} s, median of {RUNS} ({min(seconds):.1f} to {max(seconds):.1f}) | "
                f"{load} |"
            )
    for name, query in VIEWERS.items():
        clicks, load = kept.measured(f"click {query}", lambda q=query: clicks_ms(site, browser, large, q))
        own, redraw = [total - drawn for total, drawn in clicks], [drawn for _, drawn in clicks]
        lines.append(
            f"| click on a sentence, {name}: until the crosshair stands, without the redraw | "
            f"{statistics.median(own):.0f} ms median, {max(own):.0f} ms most, of {len(own)}; redraw "
            f"{statistics.median(redraw):.0f} ms | {load} |"
        )
    requests, load = kept.measured("users", lambda: many_users(site, small))
    for act in [*sorted({act for act, _, _ in requests}), "all"]:
        taken = sorted(seconds for name, seconds, _ in requests if act in (name, "all"))
        p95 = taken[min(len(taken) - 1, round(0.95 * len(taken)))]
        lines.append(
            f"| {act}: p95 of {len(taken)} requests by {OWNERS * SESSIONS} users on {OWNERS} cases while reads wait | "
            f"{p95 * 1000:.0f} ms | {load} |"
        )
    faults = sum(status >= 400 for _, _, status in requests)
    lines += [f"| requests that failed | {faults} of {len(requests)} | {load} |", ""]
    lines += [f"{os.cpu_count()} processors; load is that of the minute before, of everything on the machine."]
    return "\n".join([*lines, "", stamp("python -m benchmarks.page")])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--fresh", action="store_true", help="measure anew what was measured at this commit")
    options = parser.parse_args()
    zipped("large", **LARGE)
    zipped("small", **SMALL)
    with site() as served, sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        text = table(served, browser, Kept(options.fresh))
        browser.close()
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "page.md", "page", text)


if __name__ == "__main__":
    main()
