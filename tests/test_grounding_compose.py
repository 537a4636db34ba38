"""The composer's wording passes the checker: no false alarm, nothing left out, on random ledgers."""

from __future__ import annotations

import random

import pytest

from benchmarks.scenes import sample
from vlm.evidence import Ledger
from vlm.grounding import Context, Statement, check, omissions
from vlm.language.compose import ScanFacts, compose
from vlm.report import render

SCAN = ScanFacts(slices=300, step_mm=1.0, kernel="soft", contrast=False, regions=("chest", "upper_abdomen"))


@pytest.mark.parametrize("kernel", ["soft", "sharp", "unknown"])
@pytest.mark.parametrize("contrast", [True, False, None])
def test_how_a_scan_was_made_is_told_in_words_that_the_checker_accounts_for(kernel: str, contrast: bool | None) -> None:
    facts = ScanFacts(slices=225, step_mm=3.0, kernel=kernel, contrast=contrast, regions=("chest", "pelvis"))
    told = compose(Ledger(), facts)[0]
    statement = Statement(id="S1", section=told.section, text=told.template, cites=())
    assert check([statement], Ledger(), context=Context(technique=((225.0, ""), (3.0, "mm"))))["S1"].name == "neutral"


def test_composed_sentences_are_supported_and_nothing_certain_is_left_out() -> None:
    for seed in range(60):
        scene = sample(random.Random(seed))
        drafts = compose(scene.ledger, SCAN, prior=scene.prior, prior_given=scene.prior is not None)
        statements = [
            Statement(id=f"S{n}", section=d.section, text=render(d.template, scene.ledger), cites=d.cites)
            for n, d in enumerate(drafts)
        ]
        context = Context(prior=scene.prior)
        found = check(statements, scene.ledger, context=context)
        for statement in statements:
            if statement.section != "to_review":
                assert found[statement.id].name in ("supported", "neutral"), (seed, statement, found[statement.id])
        seen = scene.ledger.observations()
        left_out = omissions(statements, scene.ledger, context=context)
        assert not [name for name in left_out if seen[name].presence == "present"], seed
