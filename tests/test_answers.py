"""How the answers to whole packs are judged on bodies of known truth."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import answers
from vlm.encoder.calibration import auroc
from vlm.evidence import Ledger
from vlm.findings.packs import load_pack
from vlm.findings.vocabulary import load_vocabulary
from vlm.language.query import queries_of_pack

COLUMN = {query.words: query for name in answers.PACKS for query in queries_of_pack(load_pack(name))}


def saw(*found: tuple[str, str], searched: tuple[str, ...] = (), failed: tuple[str, ...] = ()) -> Ledger:
    """What tools saw, as ``tomoscribe measure`` keeps it, and the ledger made of it."""
    common = {"tool": "x", "side": None, "site": None}
    return answers.ledger_of({
        "observations": [
            {**common, "finding": finding, "presence": presence, "attributes": {}, "measured": {"diameter": 8.0}}
            for finding, presence in found
        ],
        "searches": [{**common, "finding": finding, "covered": 1.0, "failed": list(failed)} for finding in searched],
    })  # fmt: skip


@pytest.mark.parametrize(("seen", "status"), [
    (saw(("lung_nodule", "uncertain"), searched=("lung_nodule",)), "uncertain"),
    (saw(("lung_nodule", "uncertain"), ("lung_nodule", "present")), "present"),
    (saw(("lung_cyst", "present"), searched=("lung_nodule",), failed=("partly_covered",)), "limited"),
    (saw(("lung_cyst", "present"), searched=("lung_nodule",), failed=("poor_outline",)), ""),
    (saw(searched=("pleural_effusion",)), ""),
])  # fmt: skip
def test_a_column_is_answered_as_the_product_answers_it(seen: Ledger, status: str) -> None:
    assert answers.status(COLUMN["Lung nodule"], seen) == status


@pytest.mark.parametrize(("doubt", "status"), [((), "absent"), (("not_measured",), "limited"), (("often_missed",), "")])
def test_what_a_denial_is_worth_is_what_was_measured_last(
    doubt: tuple[str, ...], status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answers, "doubts", lambda *_: doubt)
    told = saw(searched=("lung_nodule",), failed=("often_missed", "not_measured"))
    assert answers.status(COLUMN["Lung nodule"], told) == status
    assert answers.status(COLUMN["Lung nodule"], saw(searched=("lung_nodule",))) == "absent"  # it was not in doubt


def test_what_a_phase_hides_is_neither_there_nor_not() -> None:
    told = {"findings": [{"finding": "pericardial_effusion", "visible": False}, {"finding": "lung_nodule"}]}
    row = dict(zip(COLUMN, answers.truths(told, [load_pack(name) for name in answers.PACKS]), strict=True))
    assert (row["Pericardial effusion"], row["Lung nodule"], row["Emphysema"]) == (-1, 1, 0)


def test_a_probability_is_of_other_bodies_and_says_nothing_where_nobody_looked() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, (200, 3))
    said = np.where(truth == 1, "present", "absent")
    said[:, 2] = ""
    chance, usual = answers.chances(said, truth)
    assert usual == pytest.approx(np.broadcast_to(truth.mean(axis=0), truth.shape), abs=0.05)
    assert np.isnan(chance[:, 2]).all()
    assert np.abs(chance[:, :2] - truth[:, :2]).max() < 0.1
    flipped = truth.copy()
    flipped[0] = 1 - flipped[0]
    assert answers.chances(said, flipped)[0][0, :2] == pytest.approx(chance[0, :2])


def test_a_tool_that_says_the_same_of_everybody_is_worth_a_coin_and_one_that_knows_all_is_worth_all() -> None:
    truth = (np.random.default_rng(5).random((100, 1)) < 0.07).astype(int)
    blind, _ = answers.chances(np.full((100, 1), "absent"), truth)
    every = np.arange(100)
    assert auroc(blind[:, 0], truth[:, 0]) < 0.4  # folds with more of it saw less of it elsewhere
    assert answers.macro(blind, truth, every, [0]) == 0.5
    assert answers.macro(truth.astype(float), truth, every, [0]) == 1.0
    hidden = np.where(np.arange(100)[:, None] < 50, -1, truth)
    assert answers.macro(truth.astype(float), hidden, every, [0]) == 1.0


def test_every_column_has_words_of_a_patient_that_stand_in_no_list() -> None:
    words = answers.paraphrases()
    assert {name.lower().replace("_", " ") for name in COLUMN} == set(words)
    listed = {text for finding in load_vocabulary().findings.values() for text in (*finding.words, *finding.lay)}
    assert not listed & set(words.values())
