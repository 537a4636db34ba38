"""The queue and the store: what waits, runs, ends, is cancelled, and what a stop leaves (faults F3, F4, F12, F15)."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from app.jobs import MOST_OF_ONE, Job, Jobs, Outcome, QueueFullError
from app.store import MissingCaseError, Store
from vlm.errors import UsageError

SOON_S = 10.0


class Bench:
    """A worker whose jobs end when the test says so."""

    def __init__(self) -> None:
        self.began: list[str] = []
        self.go_on = threading.Event()
        self.ended = "done"
        self.tidied = ""

    def run(self, job: Job, on_step: Callable[[str], bool]) -> Outcome:
        self.began.append(job.case_id)
        if self.ended == "a fault":
            self.ended = "done"
            raise MemoryError
        on_step("read")
        self.go_on.wait(SOON_S)
        return Outcome(state=self.ended, summary={"impression": ["Nothing."]})

    def tidy(self, job: Job) -> None:
        self.tidied = job.case_id

    def stop(self) -> None:
        self.ended = "cancelled"
        self.go_on.set()

    close = stop


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "data")
    yield store
    store.close()


def until(true: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    end = time.monotonic() + SOON_S
    while not true():
        assert time.monotonic() < end
        threading.Event().wait(0.01)


def test_jobs_run_in_the_order_in_which_they_came_and_know_their_place(store: Store) -> None:
    bench = Bench()
    jobs = Jobs(store, bench)
    cases = [store.add_case("ann").id for _ in range(3)]
    queued = [jobs.submit(case, "ann", {}) for case in cases]
    assert [jobs.position(job) for job in queued] == [0, 1, 2]
    bench.go_on.set()
    jobs.start()
    until(lambda: all(jobs.job(job.id).state == "done" for job in queued))
    assert bench.began == cases
    assert store.case(cases[0], "ann").state == "ready"
    assert store.case(cases[0], "ann").summary == {"impression": ["Nothing."]}
    until(lambda: bench.tidied == cases[-1])
    jobs.close()


def test_f2_a_job_that_fails_fails_alone(store: Store) -> None:
    bench = Bench()
    bench.ended = "a fault"
    bench.go_on.set()
    jobs = Jobs(store, bench)
    broken, sound = store.add_case("ann").id, store.add_case("ann").id
    first, second = jobs.submit(broken, "ann", {}), jobs.submit(sound, "ann", {})
    jobs.start()
    until(lambda: jobs.job(second.id).state == "done")
    assert jobs.job(first.id).state == "failed"
    assert "MemoryError" in jobs.job(first.id).message
    jobs.close()


def test_f11_the_same_case_is_queued_once(store: Store) -> None:
    jobs = Jobs(store, Bench())
    case = store.add_case("ann").id
    assert jobs.submit(case, "ann", {}).id == jobs.submit(case, "ann", {}).id


def test_t20_the_queue_is_bounded_for_each_owner(store: Store) -> None:
    jobs = Jobs(store, Bench())
    for _ in range(MOST_OF_ONE):
        jobs.submit(store.add_case("ann").id, "ann", {})
    with pytest.raises(QueueFullError):
        jobs.submit(store.add_case("ann").id, "ann", {})
    jobs.submit(store.add_case("bob").id, "bob", {})


def test_f15_a_job_is_cancelled_while_it_waits_or_runs(store: Store) -> None:
    bench = Bench()
    jobs = Jobs(store, bench)
    running, waiting = store.add_case("ann").id, store.add_case("ann").id
    jobs.submit(running, "ann", {})
    jobs.submit(waiting, "ann", {})
    jobs.start()
    until(lambda: bench.began == [running])
    assert jobs.cancel(waiting)
    assert jobs.cancel(running)
    until(lambda: all(store.case(case, "ann").state == "cancelled" for case in (running, waiting)))
    jobs.close()
    assert bench.began == [running]
    assert not jobs.cancel(running)


def test_f3_what_a_stop_cut_off_waits_again_and_is_given_up_when_it_happens_again(tmp_path: Path) -> None:
    for expected in ("waiting", "failed"):
        store = Store(tmp_path / "data")
        jobs = Jobs(store, Bench())
        cases = store.cases("ann")
        case = cases[0].id if cases else store.add_case("ann").id
        job = jobs.submit(case, "ann", {})
        with store.write() as db:  # as a running job stands when the power goes
            db.execute("update jobs set state = 'running', tries = tries + 1 where id = ?", (job.id,))
        store.close()
        store = Store(tmp_path / "data")
        assert Jobs(store, Bench()).job(job.id).state == expected
        assert store.case(case, "ann").state == {"waiting": "reading", "failed": "failed"}[expected]
        store.close()


def test_f12_a_second_page_on_the_same_folder_is_refused(store: Store) -> None:
    with pytest.raises(UsageError, match="another running page"):
        Store(store.folder)


@pytest.mark.parametrize("harm", ["damaged", "version"])
def test_f4_a_store_that_is_damaged_or_of_another_version_is_refused(tmp_path: Path, harm: str) -> None:
    store = Store(tmp_path)
    store.add_case("ann")
    store.close()
    path = tmp_path / "page.sqlite"
    if harm == "version":
        with sqlite3.connect(path) as db:
            db.execute("pragma user_version = 99")
        db.close()
    else:
        path.write_bytes(b"not a database" * 400)
    with pytest.raises(UsageError, match=r"page\.sqlite"):
        Store(tmp_path)


def test_t13_a_removed_case_leaves_nothing(store: Store) -> None:
    case = store.add_case("ann")
    (store.path(case.id) / "upload").mkdir()
    (store.path(case.id) / "upload" / "00001").write_bytes(b"scan")
    store.remove_case(case.id)
    assert not store.path(case.id).exists()
    with pytest.raises(MissingCaseError):
        store.case(case.id, "ann")


def test_t13_what_a_stop_left_is_swept_at_the_next_start(store: Store) -> None:
    (store.folder / "cases" / "orphan").mkdir(parents=True)
    kept, half = store.add_case("ann"), store.add_case("ann")
    for case in (kept, half):
        (store.path(case.id) / "upload").mkdir()
    store.change(kept.id, state="ready")
    store.sweep()
    assert [path.name for path in (store.folder / "cases").iterdir()] == [kept.id]
    assert not (store.path(kept.id) / "upload").exists()  # what was read is kept, the patient's own files are not


def test_the_folder_is_the_users_alone(store: Store) -> None:
    assert store.folder.stat().st_mode & 0o077 == 0
    assert (store.folder / "page.sqlite").stat().st_mode & 0o077 == 0
    assert len(store.add_case("ann").id) == 32
