"""The cohort of what the other cohorts lack: its recipe, and how tools are measured in outlines that were drawn."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from app.measuring import markdown, measure
from benchmarks.alone import CASES, PLAIN, PORTAL, TIMES, Group, words
from tests.bodies import person
from vlm.phantom.body.findings import numbered
from vlm.phantom.files import Place
from vlm.phantom.sample import save_body

KEYS = ("diverticulosis", "varices", "biliary_dilatation", "lymphadenopathy")


@pytest.mark.parametrize(
    ("group", "first", "keys"), [(PORTAL, 0, KEYS), (PLAIN, PORTAL.cases, ("ureter_stone",))], ids=["portal", "plain"]
)
def test_every_size_is_drawn_equally_often_and_some_bodies_hold_none_of_it(
    group: Group, first: int, keys: tuple[str, ...]
) -> None:
    recipes = [words(number) for number in range(first, first + group.cases)]
    assert {phase for phase, _ in recipes} == {group.phase}
    bodies = [[wish for wish in numbered(said) if wish.finding in keys] for _, said in recipes]
    sizes = Counter((wish.finding, wish.mm) for body in bodies for wish in body)
    assert sizes == {
        (key, mm): TIMES for key, levels in zip(keys, group.findings.values(), strict=True) for mm in levels
    }  # fmt: skip
    assert not any(bodies[-group.clear :])
    for key in keys:
        assert sum(key not in {wish.finding for wish in body} for body in bodies) >= group.clear


def test_nodes_are_of_either_groin_and_every_other_body_with_stones_holds_calcium_that_is_none() -> None:
    wishes = [numbered(words(number)[1]) for number in range(CASES)]
    nodes = [wish for body in wishes for wish in body if wish.finding == "lymphadenopathy"]
    assert {wish.site for wish in nodes} == {"inguinal"}
    assert min(Counter(wish.side for wish in nodes).values()) >= 5
    calcified = [any(wish.finding == "arterial_wall_calcification" for wish in body) for body in wishes]
    assert calcified == [False] * PORTAL.cases + [False, True] * (PLAIN.cases // 2)


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("outlined")
    drawn = person(1, "plain", "calcified gallstone 12 mm")
    save_body(drawn, Place(out / "case-0000" / "scan", ""), {}, file_format="nifti")
    return out


def test_a_tool_that_needs_an_outline_is_measured_in_that_which_was_drawn_and_the_row_says_so(cohort: Path) -> None:
    given = measure(cohort, command="", tools=frozenset({"gallbladder"}), outlined=True, workers=1)
    row = given["tools"]["gallbladder"]["gallstone"]
    assert (row["n"], row["found"], row["outlined"]) == (1, 1.0, True)
    assert "| gallbladder, outlined | gallstone | 1 / 1 | 1.00" in markdown(given)
