"""A small run of the counterfactual suite: what it promises at full size must not break unseen."""

from __future__ import annotations

import collections

import pytest

from benchmarks.counterfactuals import TRUE, Trial, trials, wilson
from benchmarks.wordings import DEVELOPMENT, WIDER, Wording
from benchmarks.wordings_held_out import HELD_OUT


def run(wording: Wording) -> list[Trial]:
    return list(trials(wording, sentences=500, seed=7))


@pytest.mark.parametrize("wording", [DEVELOPMENT, WIDER, HELD_OUT], ids=lambda wording: wording.name)
def test_errors_are_caught(wording: Wording) -> None:
    wrong = [t for t in run(wording) if t.label != TRUE]
    slipped = [(t.label, t.text, t.cites) for t in wrong if t.passed]
    assert len(slipped) <= 0.01 * len(wrong), slipped


def test_true_sentences_pass() -> None:
    found = [t for t in run(DEVELOPMENT) if t.label == TRUE]
    stopped = [(t.text, t.verdict) for t in found if not t.passed]
    assert len(stopped) <= 0.02 * len(found), stopped


def test_invented_words_are_unsupported() -> None:
    names = collections.Counter(t.verdict.name for t in run(DEVELOPMENT) if t.label == "content word invented")
    assert set(names) <= {"unsupported", "contradicted"}


def test_wilson_interval_is_the_published_one() -> None:
    low, high = wilson(9, 10)  # Newcombe, Stat Med 1998;17:857
    assert (round(low, 4), round(high, 4)) == (0.5958, 0.9821)
