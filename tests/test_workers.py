"""Jobs in processes: each once, a death costs its job alone, and nobody outlives the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vlm.scratch import scratch_folder
from vlm.workers import AHEAD, DIED, in_parallel


def double(number: int) -> int:
    if number == 3:
        os._exit(9)  # as the kernel ends a process for want of memory
    return 2 * number


def wait_long(folder: Path) -> int:
    with scratch_folder():
        (folder / str(os.getpid())).touch()
        time.sleep(120)  # longer than the test: the run is stopped meanwhile
    return 0


def test_every_job_comes_once_and_one_that_dies_costs_no_other() -> None:
    found = dict(in_parallel(double, range(6), workers=2))
    assert found == {0: 0, 1: 2, 2: 4, 3: DIED, 4: 8, 5: 10}


def test_an_error_of_a_job_is_raised() -> None:
    with pytest.raises(ZeroDivisionError):
        list(in_parallel(_divide, [1, 0], workers=1))


def _divide(number: int) -> float:
    return 1 / number


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_end_when_the_run_is_stopped_and_leave_no_folder(number: signal.Signals, tmp_path: Path) -> None:
    started, scratch = tmp_path / "started", tmp_path / "scratch"
    started.mkdir()
    scratch.mkdir()
    script = tmp_path / "run.py"
    script.write_text(
        "import signal, sys\nfrom pathlib import Path\n"
        "from tests.test_workers import wait_long\nfrom vlm.workers import in_parallel\n"
        "if __name__ == '__main__':\n"
        "    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        f"    list(in_parallel(wait_long, [Path({str(started)!r})] * 6, workers=2))\n"
    )
    root = Path(__file__).resolve().parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root), "TMPDIR": str(scratch)}
    with subprocess.Popen([sys.executable, script], cwd=root, env=environment, stderr=subprocess.DEVNULL) as run:
        deadline = time.monotonic() + 60
        while len(list(started.iterdir())) < 2 and time.monotonic() < deadline:
            os.sched_yield()
        workers = [int(path.name) for path in started.iterdir()]
        run.send_signal(number)
        run.wait(timeout=30)  # jobs would take six minutes
    assert len(workers) == 2
    while any(map(alive, workers)) and time.monotonic() < deadline:
        os.sched_yield()
    assert not any(map(alive, workers))
    assert not list(scratch.glob("tomoscribe-*"))


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
