"""Anatomy and tools, run side by side and timed; a tool that fails is told and costs no report."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field

from vlm.anatomy.aorta import aorta
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import heart
from vlm.anatomy.laterality import laterality
from vlm.anatomy.skeleton import skeleton
from vlm.anatomy.thorax import thoracic_cavity
from vlm.evidence import Case, Evidence, Search, without_side, without_withheld
from vlm.findings.vocabulary import load_vocabulary
from vlm.report import FINDINGS_SECTIONS
from vlm.tools import Tool

Progress = Callable[[str], None]  # called with the name of each step as it begins
WORKERS = 2  # tools run side by side; the libraries under them free the interpreter
LONGEST = frozenset({"nodules"})  # begins first, so that it is not left to run alone at the end
LATE = "abdomen"  # its organs are drawn by a network, which takes as long as all other tools


def silent(_: str) -> None:
    """A progress that nobody watches."""


@contextmanager
def side_by_side() -> Iterator[ThreadPoolExecutor]:
    """Threads for the block; a stop of the program neither begins what waits its turn nor waits for what runs."""
    pool, stopped = ThreadPoolExecutor(max_workers=WORKERS), False
    try:
        yield pool
    except (KeyboardInterrupt, SystemExit):
        stopped = True
        raise
    finally:
        pool.shutdown(wait=not stopped, cancel_futures=stopped)


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
    with side_by_side() as pool:
        for find in finders:
            pool.submit(find, case)


def run_tools(
    case: Case,
    tools: dict[str, Tool],
    clock: Clock,
    ended: Callable[[dict[str, list[Evidence]]], object] = lambda _: None,
) -> dict[str, str]:
    """Run every tool and put its evidence into the ledger, in the fixed order of the tools.

    A tool that fails leaves a search that failed for each of its findings, never silence.

    Args:
        case: the scan.
        tools: by name.
        clock: told of each step.
        ended: called each time that a tool has ended, with the evidence of all that have.

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
        found = [without_withheld(record, case.volume.scan.limits) for record in found]
        found = [without_side(record) for record in found] if flipped else found
        return found, round(time.perf_counter() - start, 3)

    flipped = laterality(case).verdict == "contradicted"
    with clock.step("tools"), side_by_side() as pool:
        begun = {pool.submit(run, tool): tool.name for tool in sorted(tools.values(), key=turn)}
        evidence: dict[str, list[Evidence]] = {}
        seconds: dict[str, float] = {}
        for done in as_completed(begun):
            evidence[begun[done]], seconds[begun[done]] = done.result()
            ended(evidence)
    for name in tools:
        clock.seconds[f"tool {name}"] = seconds[name]
        for record in evidence[name]:
            case.ledger.add(record)
    return dict(sorted(failures.items()))


def turn(tool: Tool) -> tuple[bool, int]:
    """When a tool begins: in the order in which a report is read, the abdomen last."""
    sections = (*(key for key in FINDINGS_SECTIONS if key != LATE), LATE)
    found_in = [sections.index(load_vocabulary().section_of(key)) for key in tool.observes]
    return tool.name not in LONGEST, min(found_in, default=-1)


def failed_search(tool: Tool, finding: str, kind: str) -> Search:
    """What stands in the ledger for a finding whose tool failed."""
    note = f"the tool {tool.name} failed: {kind}"
    return Search(tool=tool.name, finding=finding, covered=0.0, failed=("tool_failed",), note=note)
