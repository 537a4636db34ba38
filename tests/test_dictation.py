"""Reference reports: worded in many ways, each read back as what was drawn, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from vlm.findings.labels import label
from vlm.findings.reader import read_report
from vlm.findings.vocabulary import load_vocabulary
from vlm.phantom.body.findings import FINDINGS
from vlm.phantom.body.wishes import read_wish
from vlm.phantom.cohort import labels_of
from vlm.phantom.dictation import dictate
from vlm.phantom.plans import plan
from vlm.phantom.requests import request

KNOWN = frozenset(FINDINGS)


def entry(words: str, number: int) -> dict[str, Any]:
    """What truth.json would hold of a request."""
    wish = read_wish(words, KNOWN)
    sizes = (("diameter", wish.mm), ("volume", wish.ml), ("fraction", wish.percent), ("volume", 5.0))
    quantity, value = next((name, size) for name, size in sizes if size is not None)
    return {
        "finding": wish.finding, "side": wish.side, "site": wish.site, "quantity": quantity, "value": value,
        "volume_ml": wish.ml or 5.0, "attributes": sorted(wish.attributes), "mask": f"{wish.finding}_{number}",
    }  # fmt: skip


def case(words: list[str], region: str = "trunk") -> dict[str, Any]:
    return {"findings": [entry(each, n) for n, each in enumerate(words)], "asked": {"phase": "plain", "region": region}}


def present(text: str) -> set[tuple[str, str | None]]:
    """Findings that can be drawn and that a report says are there, with their sides."""
    vocabulary = load_vocabulary()
    mentions = [mention for reading in read_report(text) for mention in reading.mentions]
    return {
        (key, mention.side)
        for mention in mentions
        if mention.presence == "present" and mention.status == "current"
        for key in {mention.finding, *vocabulary.ancestors(mention.finding)} & KNOWN
    }


@pytest.mark.parametrize("finding", sorted(KNOWN))
def test_a_finding_is_read_back_in_every_wording(finding: str) -> None:
    import numpy as np

    vocabulary = load_vocabulary()
    texts = set()
    for seed in range(30):
        truth = case([request(finding, np.random.default_rng(seed))])
        text = dictate(truth, seed=seed)
        texts.add(text)
        said = present(text)
        assert finding in {key for key, _ in said}, text
        assert all(vocabulary.is_a(finding, key) or vocabulary.is_a(key, finding) for key, _ in said), text
        side = truth["findings"][0]["side"]
        assert {told for _, told in said} <= ({side, None} if side else {"bilateral", None}), text
        assert side is None or side in {told for _, told in said}, text
    assert len(texts) == 30


@pytest.mark.parametrize("prevalence", ["ct-rate", "graded"])
def test_a_report_has_the_labels_of_its_case(prevalence: str) -> None:
    for seed in range(60):
        wanted = plan(prevalence, seed, known=KNOWN)
        truth = case(list(wanted.findings), wanted.region)
        text = dictate(truth, seed=seed)
        keys = [each["finding"] for each in truth["findings"]]
        assert label([text], "ct-rate-18") == [labels_of(keys)], text


def test_sizes_are_those_that_were_drawn() -> None:
    for seed in range(30):
        text = dictate(case(["17 mm solid nodule, left upper lobe"]), seed=seed)
        told = {
            quantity.value * (10 if quantity.unit == "cm" else 1)
            for reading in read_report(text)
            for mention in reading.mentions
            for quantity in mention.quantities
        }
        assert told == {17.0}, text


@pytest.mark.parametrize("change", ["new", "larger", "smaller", "unchanged"])
def test_a_change_is_told_and_the_finding_stays_present(change: str) -> None:
    truth = case(["12 mm solid nodule, right lower lobe"])
    before = None if change == "new" else 8.0
    truth["changes"] = [
        {"mask": truth["findings"][0]["mask"], "change": change, "before": before, "quantity": "diameter"}
    ]
    for seed in range(20):
        assert ("lung_nodule", "right") in present(dictate(truth, seed=seed))


def test_what_is_gone_is_not_present() -> None:
    truth = case([])
    truth["changes"] = [{"finding": "pleural_effusion", "side": "left", "mask": None, "change": "resolved"}]
    for seed in range(20):
        text = dictate(truth, seed=seed)
        assert not present(text), text
        changes = {mention.change for reading in read_report(text) for mention in reading.mentions}
        assert "resolved" in changes, text


def test_the_same_seed_gives_the_same_words() -> None:
    truth = case(["left pleural effusion 200 ml"])
    assert dictate(truth, seed=4) == dictate(truth, seed=4) != dictate(truth, seed=5)


@pytest.mark.parametrize("mm", [8, 11, 18])
def test_articles_fit_their_numbers(mm: int) -> None:
    texts = [dictate(case([f"{mm} mm solid nodule, left upper lobe"]), seed=seed) for seed in range(40)]
    assert not any(f" a {mm} mm" in text.lower() for text in texts)
    assert any(f"an {mm} mm" in text.lower() for text in texts)


def test_a_nodule_of_no_known_zone_is_said_of_its_lung() -> None:
    truth = case(["11 mm solid nodule, left upper lobe"])
    truth["findings"][0]["site"] = None
    for seed in range(20):
        text = dictate(truth, seed=seed)
        assert "left lung" in text.lower(), text
        assert ("lung_nodule", "left") in present(text)
