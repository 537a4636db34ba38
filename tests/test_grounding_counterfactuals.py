"""A small run of the counterfactual suite: what it promises at full size must not break unseen."""

from __future__ import annotations

import collections
import tomllib
from pathlib import Path

import pytest

from benchmarks.counterfactuals import TRUE, Trial, trials, wilson
from benchmarks.wordings import DEVELOPMENT, WIDER, Wording, hands
from benchmarks.wordings_held_out import HELD_OUT
from benchmarks.wordings_varied import VARIED
from tests.grounding_ledger import verdict


def run(wording: Wording) -> list[Trial]:
    return list(trials(wording, sentences=400, seed=7))


HANDS = [hand for name in ("varied", "first", "second", "third") for hand in hands(name)]
MENDED = HANDS[:-3]  # the last three were measured before anything was mended for them


@pytest.mark.parametrize("wording", [DEVELOPMENT, WIDER, VARIED, *HANDS, HELD_OUT], ids=lambda wording: wording.name)
def test_errors_are_caught(wording: Wording) -> None:
    wrong = [t for t in run(wording) if t.label != TRUE]
    slipped = [(t.label, t.text, t.cites) for t in wrong if t.passed]
    assert len(slipped) <= 0.01 * len(wrong), slipped


@pytest.mark.parametrize("wording", [DEVELOPMENT, WIDER, VARIED, *MENDED], ids=lambda wording: wording.name)
def test_true_sentences_pass(wording: Wording) -> None:
    found = [t for t in run(wording) if t.label == TRUE]
    stopped = [(t.text, t.verdict) for t in found if not t.passed]
    assert len(stopped) <= 0.05 * len(found), stopped


FALSE = tomllib.loads((Path(__file__).parents[1] / "benchmarks" / "hands" / "false.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("kind", FALSE)
def test_sentences_written_to_slip_through_are_stopped(kind: str) -> None:
    slipped = [text for text, *cites in FALSE[kind] if verdict(text, *cites).name in ("supported", "neutral")]
    assert not slipped


def test_invented_words_are_unsupported() -> None:
    names = collections.Counter(t.verdict.name for t in run(DEVELOPMENT) if t.label == "content word invented")
    assert set(names) <= {"unsupported", "contradicted"}


def test_wilson_interval_is_the_published_one() -> None:
    low, high = wilson(9, 10)  # Newcombe, Stat Med 1998;17:857
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
