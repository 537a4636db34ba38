"""Many jobs, several processes: results as they come, and no process that outlives the run.

A run that is killed takes its workers with it, so that a second run finds nobody at work in its folders. A
worker that dies (of memory, mostly) costs its job a second try among fewer workers, not the run.
"""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import wait
from typing import TypeVar

J = TypeVar("J")
R = TypeVar("R")
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
    left = list(jobs)
    count = max(1, min(workers or os.cpu_count() or 1, len(left)))
    context = multiprocessing.get_context("spawn")  # threads of this process may not be forked
    while left:
        with ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent) as pool:
            # Alone, one at a time: then it is known whose process died.
            begun = {pool.submit(function, job): job for job in (left if count > 1 else left[:1])}
            try:
                for future in as_completed(begun):
                    result = future.result()
                    left.remove(begun[future])
                    yield begun[future], result
            except BrokenProcessPool:
                if count == 1:
                    yield left.pop(0), DIED
                count = max(1, count // 2)


def _end_with_parent() -> None:
    """End this process when the one that started it ends."""
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
