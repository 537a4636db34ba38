"""Impressions of the image: a closed choice of statements, compared with the tools, and never part of the findings."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from app.impressions import REASON, Opinion, reviewed, told
from tests.grounding_ledger import looked, seen
from vlm.encoder.astra import Astra
from vlm.evidence import Ledger, Side
from vlm.language import embedded_weights
from vlm.language.impressions import ASKED, COUPLED, Impression, question, standing_of, statement
from vlm.report import Sentence


def said(finding: str, score: float, side: Side | None = None) -> Impression:
    return Impression(organ="heart", finding=finding, side=side, score=score)


def test_agreement_is_told_and_each_disagreement_with_its_side() -> None:
    lines = told(
        [
            (said("pneumothorax", 1.0, "left"), False), (said("pleural_effusion", -1.0, "right"), True),
            (said("cardiomegaly", 2.0), True), (said("ascites", -2.0), False), (said("emphysema", 1.0, "left"), None),
        ]
    )  # fmt: skip
    assert lines == [
        "From the image alone the language model says the same as the tools in 2 of 4 statements.",
        "The model suggests pneumothorax on the left, which no measurement supports.",
        "The model does not see pleural effusion on the right, which was measured.",
    ]
    assert told([(said("emphysema", 1.0), None)]) == []


def test_the_tools_are_asked_for_the_side_of_an_impression() -> None:
    ledger = Ledger()
    ledger.add(seen("pleural_effusion", side="left", site="pleura"))
    ledger.add(looked("pleural_effusion", side="right", site="pleura"))
    sides: tuple[Side, Side] = ("left", "right")
    assert [standing_of(said("pleural_effusion", 1.0, side), ledger) for side in sides] == ["present", "absent"]
    assert standing_of(said("ascites", 1.0), ledger) == "not_assessed"


def test_impressions_stand_under_to_review_and_change_no_other_sentence() -> None:
    def sentence(section: str) -> Sentence:
        return Sentence(id="S9", section=section, text="x.", cites=("E1",), author="compose", verdict="supported")

    before = [sentence("abdomen"), sentence("impression"), sentence("not_assessed")]
    after = reviewed(before, Opinion(sentences=["The model suggests ascites, which no measurement supports."]))
    assert [s.section for s in after] == ["abdomen", "impression", "to_review", "not_assessed"]
    assert [s.id for s in after] == ["S1", "S2", "S3", "S4"]
    late = after[2]
    assert (late.author, late.verdict, late.reason, late.cites) == ("model", "unsupported", REASON, ())
    assert [s.text for s in after if s.section != "to_review"] == [s.text for s in before]


def test_the_two_statements_of_a_finding_differ_in_their_first_word() -> None:
    for findings in ASKED.values():
        for finding in findings:
            there, not_there = (statement(finding, present=present) for present in (True, False))
            assert not_there.startswith(" No ") and there.split()[0] != "No"


def test_axes_inside_the_first_layer_are_the_same_map() -> None:
    torch = pytest.importorskip("torch")
    from vlm.language.projector import Basis, Projector, Shape, folded

    rng = np.random.default_rng(0)
    vectors = {"heart": rng.normal(size=(30, 12)).astype(np.float32)}
    basis, shape = Basis.of(vectors, 5), Shape(tokens=2, hidden=8, heads=2)
    small = Projector(5, 6, shape, 0.1).eval()
    weights, plain = folded(small.state_dict(), basis)
    whole = Projector(12, 6, shape, 0.1).eval()
    whole.load_state_dict(weights)
    token, vector = torch.zeros(1, 1, dtype=torch.bool), rng.normal(size=12).astype(np.float32)
    outs = [
        net(torch.from_numpy(one.coordinates("heart", vector))[None], token)
        for net, one in ((small, basis), (whole, plain))
    ]
    assert torch.allclose(*outs, atol=1e-5)


def test_a_later_statement_is_chosen_after_those_before_it(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from tests.tiny_model import tiny_model
    from vlm.language.impressions import choose

    tiny_model(tmp_path)
    net, tokenizer = AutoModelForCausalLM.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    image = torch.zeros(1, 2, net.get_input_embeddings().weight.shape[1])
    with torch.inference_mode():
        found = choose(net, tokenizer, image, question("heart"), ASKED["heart"], 0.0)
        lower = choose(net, tokenizer, image, question("heart"), ASKED["heart"], found[0] + 1.0)
        text = "".join(statement(f, present=s > 0) for f, s in zip(ASKED["heart"][:2], found, strict=False))
        line = tokenizer.encode(question("heart") + text, add_special_tokens=False)
        words = net.get_input_embeddings()(torch.tensor([line]))
        last = net(inputs_embeds=torch.cat([image, words], 1)).logits[0, -1]
    there, not_there = (
        tokenizer.encode(statement(ASKED["heart"][2], present=present), add_special_tokens=False)[0]
        for present in (True, False)
    )
    assert found[2] == pytest.approx(float(last[there] - last[not_there]), abs=1e-3)
    assert lower[0] == pytest.approx(-1.0, abs=1e-3)


def test_the_shipped_weights_are_of_this_base_and_this_encoder_and_small() -> None:
    pytest.importorskip("safetensors")
    from vlm.language.projector import load

    weights, basis, note = load(COUPLED)
    assert basis is not None and set(basis.centres) == set(ASKED) and basis.axes is None and weights
    assert note["base"] == embedded_weights.SHA256 and note["encoder"] == str(Astra.identity)
    assert sum(path.stat().st_size for path in COUPLED.rglob("*") if path.is_file()) < 2e6
    config = json.loads((COUPLED / "adapter" / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "SmolLM2-135M-Instruct"
