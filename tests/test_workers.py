"""Jobs in processes: each once, a death costs its job alone, and nobody outlives the run."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm.workers import AHEAD, DIED, in_parallel


def double(number: int) -> int:
    if number == 3:
        os._exit(9)  # as the kernel ends a process for want of memory
    return 2 * number


def wait_long(folder: Path) -> int:
    (folder / str(os.getpid())).touch()
    time.sleep(60)  # longer than the test: the run is killed meanwhile
    return 0


def test_every_job_comes_once_and_one_that_dies_costs_no_other() -> None:
    found = dict(in_parallel(double, range(6), workers=2))
    assert found == {0: 0, 1: 2, 2: 4, 3: DIED, 4: 8, 5: 10}


def test_an_error_of_a_job_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(_divide, [1, 0], workers=1))


def _divide(number: int) -> float:
    return 1 / number


def test_workers_end_when_the_run_is_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from tests.test_workers import wait_long; from vlm.workers import in_parallel\n"
        f"if __name__ == '__main__': list(in_parallel(wait_long, [Path({str(tmp_path)!r})] * 2, workers=2))"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    root = Path(__file__).resolve().parents[1]
    run = subprocess.Popen([sys.executable, script], cwd=root, env={**os.environ, "PYTHONPATH": str(root)})
    workers: list[int] = []
    deadline = time.monotonic() + 60
    while len(workers) < 2 and time.monotonic() < deadline:
        workers = [int(path.name) for path in tmp_path.iterdir() if path.name.isdigit()]
        os.sched_yield()
    run.kill()
    run.wait()
    assert len(workers) == 2
    while any(map(alive, workers)) and time.monotonic() < deadline:
        os.sched_yield()
    assert not any(map(alive, workers))


def alive(process: int) -> bool:
    """Whether a process runs; one that ended and that nobody asked after does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_jobs_are_taken_only_as_they_are_needed() -> None:
    taken: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(1000):
            taken.append(number)
            yield number

    results = in_parallel(abs, jobs(), workers=2)
    next(results)
    assert len(taken) <= 2 * AHEAD + 1
    results.close()  # type: ignore[attr-defined]
