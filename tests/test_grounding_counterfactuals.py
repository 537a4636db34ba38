"""A small run of the counterfactual suite: what it promises at full size must not break unseen."""

from __future__ import annotations

import collections

import pytest

from benchmarks.counterfactuals import TRUE, Trial, trials, wilson
from benchmarks.wordings import DEVELOPMENT, WIDER, Wording
from benchmarks.wordings_held_out import HELD_OUT
from benchmarks.wordings_varied import VARIED
from benchmarks.wordings_varied_next import VARIED_NEXT


def run(wording: Wording) -> list[Trial]:
    return list(trials(wording, sentences=500, seed=7))


@pytest.mark.parametrize(
    "wording", [DEVELOPMENT, WIDER, VARIED, VARIED_NEXT, HELD_OUT], ids=lambda wording: wording.name
)
def test_errors_are_caught(wording: Wording) -> None:
    wrong = [t for t in run(wording) if t.label != TRUE]
    slipped = [(t.label, t.text, t.cites) for t in wrong if t.passed]
    assert len(slipped) <= 0.01 * len(wrong), slipped


@pytest.mark.parametrize("wording", [DEVELOPMENT, WIDER, VARIED, VARIED_NEXT], ids=lambda wording: wording.name)
def test_true_sentences_pass(wording: Wording) -> None:
    found = [t for t in run(wording) if t.label == TRUE]
    stopped = [(t.text, t.verdict) for t in found if not t.passed]
    assert len(stopped) <= 0.03 * len(found), stopped


def test_invented_words_are_unsupported() -> None:
    names = collections.Counter(t.verdict.name for t in run(DEVELOPMENT) if t.label == "content word invented")
    assert set(names) <= {"unsupported", "contradicted"}


def test_wilson_interval_is_the_published_one() -> None:
    low, high = wilson(9, 10)  # Newcombe, Stat Med 1998;17:857
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
