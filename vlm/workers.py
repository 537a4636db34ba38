"""Many jobs, several processes: results as they come, and no process that outlives the run.

A run that is killed takes its workers with it, so that a second run finds nobody at work in its folders. A
worker that dies (of memory, mostly) costs its job a second try among fewer workers, not the run. Jobs are taken
as they are needed, and no result is kept behind its back, so that a run of a million needs no more memory than one
of ten.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor
from concurrent.futures import wait as wait_for
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing.connection import wait
from typing import NoReturn, TypeVar

from vlm import scratch

J = TypeVar("J")
R = TypeVar("R")
AHEAD = 3  # jobs handed out for each process: enough to keep it busy, few enough that results stay small
DIED = "its process ended, most likely for want of memory: try fewer --workers"


def in_parallel(function: Callable[[J], R], jobs: Iterable[J], *, workers: int = 0) -> Iterator[tuple[J, R | str]]:
    """Call ``function`` for each job in processes of their own; both must be picklable.

    Args:
        workers: processes; one a processor when 0.

    Yields:
        Each job with what it gave back, in the order in which they end; with DIED where its process died alone.

    Raises:
        Whatever ``function`` raises.
    """
    coming, waiting = iter(jobs), deque[J]()
    count = workers or os.cpu_count() or 1
    context = multiprocessing.get_context("spawn")  # threads of this process may not be forked
    waiting.extend(islice(coming, 1))
    while waiting:
        ahead = AHEAD * count if count > 1 else 1  # alone, one at a time: then it is known whose process died
        running: dict[Future[R], J] = {}
        with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
            try:
                while True:
                    waiting.extend(islice(coming, max(0, ahead - len(running) - len(waiting))))
                    while waiting and len(running) < ahead:
                        running[pool.submit(function, waiting[0])] = waiting[0]
                        waiting.popleft()
                    if not running:
                        return
                    for future in wait_for(running, return_when=FIRST_COMPLETED).done:
                        result = future.result()
                        yield running.pop(future), result
            except (KeyboardInterrupt, SystemExit):  # the run is stopped: nobody waits for what is still at work
                pool.shutdown(wait=False, cancel_futures=True)
                for child in multiprocessing.active_children():
                    child.terminate()
                raise
            except BrokenProcessPool:
                lost = list(running.values())
                if count == 1 and lost:
                    yield lost.pop(), DIED
                waiting.extendleft(reversed(lost))
                count = max(1, count // 2)
        waiting.extend(islice(coming, 0 if waiting else 1))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """A number of torch's threads for a while. A small model on a full machine wants one: each layer waits for all."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _end_with_parent() -> None:
    """End this process when the one that started it ends or stops it, and leave nothing unpacked behind."""
    signal.signal(signal.SIGTERM, lambda *_: _end())
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        _end()

    threading.Thread(target=watch, daemon=True).start()


def _end() -> NoReturn:
    scratch.remove_all()
    os._exit(1)
