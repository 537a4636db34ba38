"""A tool that fails costs its findings, in the open, and no report."""

from __future__ import annotations

import numpy as np
import pytest

from app.records import capabilities_off
from app.running import Clock, run_tools, silent
from vlm.ct import Grid, Volume
from vlm.ct.volume import Scan
from vlm.evidence import Case, Evidence, Search
from vlm.grounding import Context
from vlm.language.compose import ScanFacts, compose
from vlm.language.drafting import checked
from vlm.tools import Tool

FACTS = ScanFacts(slices=20, step_mm=5.0, kernel="soft", contrast=None, regions=("chest",))


@pytest.fixture
def case(monkeypatch: pytest.MonkeyPatch) -> Case:
    monkeypatch.delenv("TOMOSCRIBE_DEBUG", raising=False)
    hu = np.full((30, 30, 20), -1000, dtype=np.int16, order="F")
    return Case(Volume(hu, Grid(hu.shape, np.diag([5.0, 5.0, 5.0, 1.0])), Scan(source="phantom")))


def breaks(_: Case) -> list[Evidence]:
    raise ZeroDivisionError("what stands here may quote a patient")


def works(_: Case) -> list[Evidence]:
    return [Search(tool="works", finding="ascites", covered=1.0, failed=("not_measured",))]


def tool(name: str, run: object, *observes: str) -> Tool:
    return Tool(name=name, observes=observes, needs=(), version="1", run=run)  # type: ignore[arg-type]


def test_its_findings_are_not_assessed_and_the_others_are_told(case: Case) -> None:
    tools = {"breaks": tool("breaks", breaks, "pneumothorax", "lung_nodule"), "works": tool("works", works, "ascites")}
    failures = run_tools(case, tools, Clock(silent))
    assert failures == {"breaks": "ZeroDivisionError"}
    sentences = checked(compose(case.ledger, FACTS), case.ledger, context=Context(), fill=lambda _: [])
    told = {sentence.section: sentence.text for sentence in sentences}
    assert told["not_assessed"] == "Not assessed, the tool failed: pneumothorax and lung nodule."
    assert told["abdomen"] == "No ascites (detection limit not measured)."
    assert not [s for s in sentences if s.section == "to_review"]


def test_the_tool_and_the_kind_of_its_fault_are_named_and_nothing_of_its_message(case: Case) -> None:
    failures = run_tools(case, {"coverage": tool("coverage", breaks)}, Clock(silent))
    (off, *_) = capabilities_off(case, failures)
    assert off.capability == "tool coverage"
    assert "ZeroDivisionError" in off.reason
    everything = off.model_dump_json() + "".join(record.note for _, record in case.ledger)
    assert "patient" not in everything
