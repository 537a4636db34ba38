"""One bounded queue for long work: position, named steps, cancel; what was waiting survives a restart.

A job is a row of the store and at most one child process. The queue starts the oldest waiting
job when the one before it has ended, in a child of its own (``app.worker``): a
decoder that dies takes one job with it, not the page. A job that a restart cut off
waits again, and is given up after MOST_TRIES; it is never told as done.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from app.store import Store, now

MOST_WAITING = 20  # jobs of everybody together
MOST_OF_ONE = 10  # jobs of one owner
MOST_TRIES = 2
ACTIVE = ("waiting", "running")


class QueueFullError(Exception):
    """No more work is taken for now; the message is for the person who asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A piece of long work."""

    id: str
    case_id: str
    owner: str
    state: str  # waiting, running, done, failed, refused, cancelled
    created: str
    step: str
    steps: int  # steps that have begun
    tries: int
    settings: dict[str, Any]
    message: str  # what went wrong, in one line for a person
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a job ended."""

    state: str  # done, failed, refused, cancelled
    message: str = ""
    summary: dict[str, Any] | None = None


class Worker(Protocol):
    """What does the work of a job."""

    def run(self, job: Job, on_step: Callable[[str], bool]) -> Outcome:
        """Work until the job has ended or ``stop`` was called; ``on_step`` says whether to go on."""

    def stop(self) -> None:
        """End the job that runs now; ``run`` then returns "cancelled"."""

    def tidy(self, job: Job) -> None:
        """Remove what a job that is done leaves behind."""

    def close(self) -> None:
        """End, whatever runs."""


class Jobs:
    """The queue of one page."""

    def __init__(self, store: Store, worker: Worker) -> None:
        self.store = store
        self.worker = worker
        self._wake = threading.Condition()
        self._closing = False
        self._recover()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def close(self) -> None:
        """Stop; what runs now will wait again at the next start."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self.worker.close()
        if self._thread.is_alive():
            self._thread.join(timeout=10)

    def _recover(self) -> None:
        """Jobs that a stop cut off wait again, or are given up when it happened too often."""
        lost = "interrupted more than once: the reading ended with the page, perhaps for want of memory"
        with self.store.write() as db:
            gone = ("failed", lost, MOST_TRIES)
            db.execute("update jobs set state = ?, message = ? where state = 'running' and tries >= ?", gone)
            db.execute("update jobs set state = 'waiting', step = 'interrupted', steps = 0 where state = 'running'")
            db.execute(
                "update cases set state = 'failed' where state = 'reading' and id not in "
                "(select case_id from jobs where state = 'waiting')"
            )

    # ---- what people ask of it

    def submit(self, case_id: str, owner: str, settings: dict[str, Any]) -> Job:
        """Queue the reading of a case; a case that is queued already keeps its place.

        Raises:
            QueueFullError: too much is waiting.
        """
        with self.store.write() as db:
            busy = db.execute("select id, case_id, owner from jobs where state in ('waiting', 'running')").fetchall()
            same = [row["id"] for row in busy if row["case_id"] == case_id]
            if not same:
                if len(busy) >= MOST_WAITING:
                    raise QueueFullError(f"{len(busy)} scans are waiting already. Try again when some are read.")
                if sum(row["owner"] == owner for row in busy) >= MOST_OF_ONE:
                    raise QueueFullError(f"{MOST_OF_ONE} of your scans are waiting already. Let some be read first.")
                same = [secrets.token_hex(16)]
                values = (same[0], case_id, owner, "waiting", now(), json.dumps(settings))
                db.execute(
                    "insert into jobs (id, case_id, owner, state, created, settings) values (?, ?, ?, ?, ?, ?)", values
                )
                db.execute("update cases set state = 'reading' where id = ?", (case_id,))
        with self._wake:
            self._wake.notify()
        return self.job(same[0])

    def cancel(self, case_id: str) -> bool:
        """End the waiting or running job of a case; False when there is none."""
        with self.store.write() as db:
            rows = db.execute(
                "select id, state from jobs where case_id = ? and state in ('waiting', 'running')", (case_id,)
            ).fetchall()
            for row in rows:
                db.execute("update jobs set state = 'cancelled' where id = ?", (row["id"],))
                db.execute("update cases set state = 'cancelled' where id = ?", (case_id,))
        if any(row["state"] == "running" for row in rows):
            self.worker.stop()
        return bool(rows)

    def job(self, name: str) -> Job:
        """A job by its id."""
        return _job(self.store.rows("select * from jobs where id = ?", (name,))[0])

    def latest(self, case_id: str) -> Job | None:
        """The newest job of a case."""
        rows = self.store.rows("select * from jobs where case_id = ? order by rowid desc limit 1", (case_id,))
        return _job(rows[0]) if rows else None

    def position(self, job: Job) -> int:
        """How many jobs come before it; 0 is next, or at work."""
        query = (
            "select count(*) from jobs where state in ('waiting', 'running') "
            "and rowid < (select rowid from jobs where id = ?)"
        )
        return int(self.store.rows(query, (job.id,))[0][0])

    # ---- the thread that works

    def _work(self) -> None:
        while True:
            job = self._next()
            if job is None:
                return
            start = time.monotonic()
            outcome = self._run(job)
            if self._closing and outcome.state != "done":
                return  # it stands as running, and waits again at the next start
            self._end(job, outcome, time.monotonic() - start)
            if outcome.state == "done":
                self.worker.tidy(job)

    def _run(self, job: Job) -> Outcome:
        try:
            return self.worker.run(job, lambda step: self._step(job.id, step))
        except Exception as fault:  # the edge of a job: it fails, and the queue goes on
            return Outcome(
                state="failed", message=f"E_INTERNAL: {type(fault).__name__}. This is a fault of tomoscribe."
            )

    def _next(self) -> Job | None:
        """The oldest waiting job, marked as running; None when the queue closes."""
        while True:
            with self._wake:
                if self._closing:
                    return None
                rows = self.store.rows("select id from jobs where state = 'waiting' order by rowid limit 1")
                if not rows:
                    self._wake.wait(timeout=5.0)
                    continue
            with self.store.write() as db:
                taken = db.execute(
                    "update jobs set state = 'running', tries = tries + 1, step = 'start', steps = 0 "
                    "where id = ? and state = 'waiting'",
                    (rows[0]["id"],),
                )
            if taken.rowcount:
                return self.job(rows[0]["id"])

    def _step(self, name: str, step: str) -> bool:
        """Write down a step; False when the job was cancelled meanwhile."""
        with self.store.write() as db:
            query = "update jobs set step = ?, steps = steps + 1 where id = ? and state = 'running'"
            return db.execute(query, (step, name)).rowcount > 0

    def _end(self, job: Job, outcome: Outcome, seconds: float) -> None:
        """Write down how a job ended, unless it was cancelled or its case removed meanwhile."""
        case_state = "ready" if outcome.state == "done" else outcome.state
        with self.store.write() as db:
            changed = db.execute(
                "update jobs set state = ?, message = ?, seconds = ? where id = ? and state = 'running'",
                (outcome.state, outcome.message, round(seconds, 2), job.id),
            )
            if changed.rowcount:
                db.execute(
                    "update cases set state = ?, summary = ? where id = ?",
                    (case_state, json.dumps(outcome.summary or {}), job.case_id),
                )


def _job(row: Any) -> Job:
    return Job(**{**dict(row), "settings": json.loads(row["settings"])})
