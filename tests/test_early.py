"""What a reading says before it has ended: sections that stand, in the words of the finished report, and no others."""

from __future__ import annotations

from itertools import pairwise

from app.early import Early, Teller, sections_of
from app.reopen import Opened
from app.running import LATE, LONGEST, turn
from tests.page_case import Finished
from vlm.evidence import Ledger, Search
from vlm.report import FINDINGS_SECTIONS, Sentence
from vlm.tools import Tool, load_tools


def test_what_is_told_early_stands_in_the_finished_report(finished: Finished) -> None:
    report = Opened(finished.reading).report
    finished_words = {(s.section, s.text, s.verdict) for s in report.sentences}
    for early in finished.early[1:]:
        told = {s.section for s in early.sentences}
        assert not told & {*early.waiting, "impression", "to_review", "not_assessed", "comparison"}
        assert {(s.section, s.text, s.verdict) for s in early.sentences if s.section != "technique"} <= finished_words


def test_sections_come_one_after_the_other_until_all_of_them_stand(finished: Finished) -> None:
    waiting = [set(early.waiting) for early in finished.early]
    assert waiting[0] == set(FINDINGS_SECTIONS)  # how the scan was made is told before any tool
    assert [s.section for s in finished.early[0].sentences] == ["technique"]
    assert all(later < earlier for earlier, later in pairwise(waiting))
    assert waiting[-1] == set()


def test_the_tools_of_the_abdomen_begin_last() -> None:
    ordered = [tool for tool in sorted(load_tools().values(), key=turn) if tool.name not in LONGEST]
    abdomen = [sections_of(tool) == {LATE} for tool in ordered]
    assert any(abdomen) and not all(abdomen)
    assert abdomen == sorted(abdomen)


def test_a_section_waits_for_each_of_its_tools() -> None:
    def tool(name: str, *observes: str) -> Tool:
        return Tool(name=name, observes=observes, needs=(), version="1", run=lambda _: [])

    def looked(name: str, finding: str) -> Search:
        return Search(tool=name, finding=finding, covered=1.0)

    tools = {t.name: t for t in (tool("a", "lung_nodule"), tool("b", "pleural_effusion", "ascites"))}
    told: list[Early] = []
    ledgers: list[Ledger] = []

    def compose(ledger: Ledger) -> list[Sentence]:
        ledgers.append(ledger)
        return []

    teller = Teller(tools, compose, told.append)
    teller.hear({})
    teller.hear({"a": [looked("a", "lung_nodule")]})  # the lungs wait for the other tool
    assert [set(early.waiting) for early in told] == [{"lungs_and_pleura", "abdomen"}]
    teller.hear({"b": [looked("b", "ascites")], "a": [looked("a", "lung_nodule")]})
    assert told[-1].waiting == ()
    assert [record.tool for _, record in ledgers[-1]] == ["a", "b"]
