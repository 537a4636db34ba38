"""The page's side of ``app.child``: start it, give it one order, pass on its steps, end it on demand.

A child is started ahead of need, so that a reading does not wait for libraries to load.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from app.jobs import Job, Outcome
from app.store import Store

ROOT = Path(__file__).resolve().parents[1]
SURVEY_SECONDS = 120.0
LOOKS = threading.BoundedSemaphore(2)  # uploads that are looked at, side by side


class Child:
    """One process of ``app.child``."""

    def __init__(self, scratch: Path, *, warm: bool) -> None:
        """Start it. ``scratch`` is where it unpacks archives: inside the page's own folder."""
        scratch.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "TMPDIR": str(scratch), "PYTHONPATH": os.pathsep.join(paths)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "app.child", *(["--warm"] if warm else [])],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, text=True, encoding="utf-8",
        )  # fmt: skip

    def ask(self, order: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Give the order and yield its lines; the last one has the key "end"."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None and stdout is not None
        with contextlib.suppress(BrokenPipeError):
            stdin.write(json.dumps(order) + "\n")
            stdin.flush()
        for line in stdout:
            said: dict[str, Any] = json.loads(line)
            if "ready" not in said:
                yield said

    def end(self) -> None:
        """End it, whatever it does. Its streams are closed by whoever reads them, or with it."""
        self._process.kill()
        self._process.wait()


class ReadingWorker:
    """Reads one case at a time, each in its own child."""

    def __init__(self, store: Store, encoder: Path | None = None) -> None:
        """``encoder`` is a checkpoint that scores each case; None: no case is scored."""
        self._store, self._encoder = store, encoder
        self._scratch = store.folder / "scratch"
        self._lock = threading.Lock()
        self._closed = False
        self._at_work: Child | None = None
        self._next = Child(self._scratch, warm=True)

    def run(self, job: Job, on_step: Callable[[str], bool]) -> Outcome:
        """Read the case of a job; blocks until it has ended."""
        with self._lock:
            if self._closed:
                return Outcome(state="cancelled")
            child = self._at_work = self._next
        folder = self._store.path(job.case_id)
        order = {
            "verb": "read",
            "upload": str(uploaded(folder)),
            "out": str(folder / "reading"),
            "scan": str(folder / "scan"),
            "series": job.settings.get("series"),
            "encoder": str(self._encoder) if self._encoder else None,
            "prior": str(self._store.path(prior) / "reading") if (prior := job.settings.get("prior")) else None,
        }
        end: dict[str, Any] = {}
        for said in child.ask(order):
            if "step" not in said:
                end = said
            elif not on_step(str(said["step"])):
                child.end()
        child.end()
        with self._lock:
            self._at_work = None
            if not self._closed:
                self._next = Child(self._scratch, warm=True)
        outcome = _outcome(end)
        if outcome.state != "done":
            shutil.rmtree(folder / "scan", ignore_errors=True)
        return outcome

    def tidy(self, job: Job) -> None:
        """Remove the uploaded files of a case that was read: their headers name the patient, its reading does not.

        The voxels that were on screen meanwhile are a part of the reading by now.
        """
        for name in ("upload", "scan"):
            shutil.rmtree(self._store.path(job.case_id) / name, ignore_errors=True)

    def stop(self) -> None:
        """End the reading that is at work."""
        with self._lock:
            if self._at_work is not None:
                self._at_work.end()

    def close(self) -> None:
        """End every child."""
        with self._lock:
            self._closed = True
            for child in (self._at_work, self._next):
                if child is not None:
                    child.end()


def survey_upload(store: Store, case_id: str) -> dict[str, Any]:
    """What an upload holds, looked at in a child: the last line that the child said, or an "end" of "failed"."""
    with LOOKS:
        return _survey(store, case_id)


def _survey(store: Store, case_id: str) -> dict[str, Any]:
    child = Child(store.folder / "scratch", warm=False)
    timer = threading.Timer(SURVEY_SECONDS, child.end)
    timer.start()
    try:
        said = list(child.ask({"verb": "survey", "upload": str(uploaded(store.path(case_id)))}))
    finally:
        timer.cancel()
        child.end()
    return said[-1] if said else {"end": "failed", "message": "E_CORRUPT: the files could not be looked at."}


def uploaded(folder: Path) -> Path:
    """What a reader is given: the one file of an upload, or the folder of its files."""
    files = sorted((folder / "upload").iterdir())
    return files[0] if len(files) == 1 else folder / "upload"


def _outcome(end: Mapping[str, Any]) -> Outcome:
    if not end:  # it died: killed on demand, by the system for want of memory, or by a decoder
        return Outcome(
            state="failed", message="E_CORRUPT: the reading ended without a word; a decoder crashed, or memory ran out."
        )
    return Outcome(state=end["end"], message=str(end.get("message", "")), summary=end.get("summary"))
