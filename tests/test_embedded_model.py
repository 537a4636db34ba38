"""The embedded model: what is shipped fits the base and the prompt, and its report is true and complete."""

from __future__ import annotations

import json
import random

import pytest

from benchmarks.scenes import sample
from tests.test_rewording import SCAN, verdicts
from vlm.grounding import PASSES, Context
from vlm.language.compose import compose
from vlm.language.embedded import ADAPTER
from vlm.language.embedded_weights import SHA256, missing
from vlm.language.prompting import load_prompt
from vlm.language.rewording import reword


def test_the_shipped_adapter_is_of_this_base_and_this_prompt_and_small() -> None:
    note = json.loads((ADAPTER / "tomoscribe.json").read_text(encoding="utf-8"))
    assert note["base"] == SHA256 and note["prompt"] == load_prompt("word").parts_digest("system")
    assert (ADAPTER / "adapter_model.safetensors").stat().st_size < 25e6
    assert (
        json.loads((ADAPTER / "adapter_config.json").read_text())["base_model_name_or_path"] == "SmolLM2-135M-Instruct"
    )


@pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")
def test_the_embedded_model_words_a_report_that_is_true_and_complete() -> None:
    from vlm.language.embedded import embedded_model

    scene = sample(random.Random(3))
    drafts = compose(scene.ledger, SCAN, prior=scene.prior, prior_given=scene.prior is not None)
    context = Context(prior=scene.prior)
    done = reword(drafts, scene.ledger, style="narrative", model=embedded_model(), context=context, most_seconds=600)
    assert set(verdicts(done.drafts, scene)) <= set(PASSES)
    assert [(d.section, d.cites) for d in done.drafts] == [(d.section, d.cites) for d in drafts]
    assert done.worded >= done.rows / 2 and not done.error
    assert done.worded + done.composed == done.rows
