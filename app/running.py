"""Anatomy and tools, run side by side and timed; a tool that fails is told and costs no report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field

from vlm.anatomy.aorta import aorta
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import heart
from vlm.anatomy.laterality import laterality
from vlm.anatomy.skeleton import skeleton
from vlm.anatomy.thorax import thoracic_cavity
from vlm.evidence import Case, Evidence, Search, without_side, without_withheld
from vlm.tools import Tool

Progress = Callable[[str], None]  # called with the name of each step as it begins
WORKERS = 2  # tools run side by side; the libraries under them free the interpreter
LONGEST = frozenset({"nodules"})  # begins first, so that it is not left to run alone at the end


def silent(_: str) -> None:
    """A progress that nobody watches."""


@dataclass
class Clock:
    """Seconds by step, and a word to whoever watches."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def find_anatomy(case: Case) -> None:
    """Find what nearly every tool needs; lungs and bones know little of each other, so they go side by side.

    What cannot be found is not told here: it fails again, and is told, where it is needed.
    """
    finders: tuple[Callable[[Case], object], ...] = (thoracic_cavity, skeleton, aorta, heart, coverage)
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        for find in finders:
            pool.submit(find, case)


def run_tools(case: Case, tools: dict[str, Tool], clock: Clock) -> dict[str, str]:
    """Run every tool and put its evidence into the ledger, in the fixed order of the tools.

    A tool that fails leaves a search that failed for each of its findings, never silence.

    Returns:
        tool -> kind of exception, for each that failed.
    """
    failures: dict[str, str] = {}

    def run(tool: Tool) -> tuple[list[Evidence], float]:
        clock.progress(f"tool {tool.name}")
        start = time.perf_counter()
        try:
            found = tool.run(case)
        except Exception as fault:  # the edge of a tool: its findings become "not assessed", in the open
            if os.environ.get("TOMOSCRIBE_DEBUG"):
                raise
            failures[tool.name] = type(fault).__name__
            found = [failed_search(tool, key, failures[tool.name]) for key in tool.observes]
        return found, round(time.perf_counter() - start, 3)

    flipped = laterality(case).verdict == "contradicted"
    with clock.step("tools"), ThreadPoolExecutor(max_workers=WORKERS) as pool:
        begun = {name: pool.submit(run, tools[name]) for name in sorted(tools, key=lambda name: name not in LONGEST)}
        for tool in tools.values():
            found, seconds = begun[tool.name].result()
            clock.seconds[f"tool {tool.name}"] = seconds
            for record in found:
                record = without_withheld(record, case.volume.scan.limits)
                case.ledger.add(without_side(record) if flipped else record)
    return dict(sorted(failures.items()))


def failed_search(tool: Tool, finding: str, kind: str) -> Search:
    """What stands in the ledger for a finding whose tool failed."""
    note = f"the tool {tool.name} failed: {kind}"
    return Search(tool=tool.name, finding=finding, covered=0.0, failed=("tool_failed",), note=note)
