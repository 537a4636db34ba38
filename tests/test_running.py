"""Anatomy and tools run side by side: what fails early is told where it is needed, and the ledger keeps its order."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest

import app.running
from app.running import LONGEST, Clock, find_anatomy, run_tools, silent
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case, Coverage, Evidence
from vlm.tools import Tool


@pytest.fixture
def case() -> Case:
    """A small box of air."""
    hu = np.full((24, 20, 12), -1000, dtype=np.int16, order="F")
    return Case(Volume(hu, Grid((24, 20, 12), np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom")))


def test_anatomy_that_fails_does_not_end_the_reading_before_somebody_needs_it(
    case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Case] = []

    def fails(one: Case) -> None:
        asked.append(one)
        raise ArithmeticError

    monkeypatch.setattr(app.running, "thoracic_cavity", fails)
    find_anatomy(case)
    assert asked == [case]


def test_evidence_stands_in_the_order_of_the_tools_whichever_ends_first(case: Case) -> None:
    last = threading.Event()

    def tool(name: str, act: Callable[[], object]) -> Tool:
        def run(_: Case) -> list[Evidence]:
            act()
            return [Coverage(tool=name, site="lung", covered=0.0)]

        return Tool(name=name, observes=(), needs=(), version="1", run=run)

    (longest,) = LONGEST
    waits, ends = (lambda: last.wait(20)), last.set
    tools = {t.name: t for t in (tool("a", waits), tool(longest, lambda: None), tool("z", ends))}
    assert run_tools(case, tools, Clock(silent)) == {}
    assert [record.tool for _, record in case.ledger] == ["a", longest, "z"]


def test_the_working_grid_is_made_once_however_many_ask_at_once(case: Case) -> None:
    seen: list[int] = []
    threads = [threading.Thread(target=lambda: seen.append(id(case.working))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(seen)) == 1
