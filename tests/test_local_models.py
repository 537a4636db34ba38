"""Local models and adapters: grammar holds a random model, wrong adapters are refused, killed runs go on as if not."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("peft")
pytest.importorskip("accelerate")
pytest.importorskip("llguidance")

from tests.tiny_model import tiny_model
from vlm.errors import UsageError
from vlm.language.asking_rows import ask_for
from vlm.language.calling import called, turns_of
from vlm.language.choice import load_model
from vlm.language.decoding import Line, decode
from vlm.language.embedded import LocalModel, local_model
from vlm.language.models import (
    Ask,
    Budget,
    Message,
    ModelError,
    ModelLateError,
    ModelMissingError,
    ToolOffer,
)
from vlm.language.rows import Row

ROW = Row(
    kind="present", finding="vertebral_fracture", subject="loss of height", qualities=(), where="at T8",
    slots={"height_loss": "{E1.height_loss}"},
)  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "reports.csv"
    rows = [f"train_{n}_a_1.nii.gz,Nodule {n % 3}.,Nodule of kind {n % 3}." for n in range(30)]
    path.write_text("\n".join(["VolumeName,Findings_EN,Impressions_EN", *rows]), encoding="utf-8")
    return path


def test_a_grammar_holds_even_a_random_model(folder: Path) -> None:
    model = local_model(folder)
    asks = [ask_for([ROW], "short", taught=True)]
    for ask, answer in zip(asks, model.complete_all(asks), strict=True):
        if isinstance(answer, ModelError):
            assert "JSON" in str(answer)  # it babbled up to its last token
            continue
        assert set(answer.data) == set(ask.schema["required"])  # type: ignore[index]
        for sentence in answer.data.values():
            assert sentence.count("{height_loss}") == 1
            assert not any(c.isdigit() for c in sentence.replace("T8", ""))


def test_answers_side_by_side_are_the_answers_alone(folder: Path) -> None:
    model = local_model(folder)
    asks = [
        Ask(messages=(Message(role="user", text=text),), budget=Budget(most_tokens=12)) for text in ("a", "of the lung")
    ]
    together = [answer.text for answer in model.complete_all(asks) if not isinstance(answer, ModelError)]
    assert together == [model.complete(ask).text for ask in asks]


def test_eight_bits_are_nearly_the_floats_and_a_row_needs_no_neighbours(folder: Path) -> None:
    import torch

    from vlm.language.int8 import Int8Linear

    torch.manual_seed(0)
    linear, x = torch.nn.Linear(96, 64), torch.randn(5, 3, 96) * torch.tensor([0.01, 1.0, 100.0])[None, :, None]
    with torch.inference_mode():
        exact, near = linear(x), Int8Linear(linear)(x)
        alone = torch.cat([Int8Linear(linear)(row[None]) for row in x])
    assert torch.equal(near, alone)
    assert float(((near - exact).abs().amax(-1) / exact.abs().amax(-1)).max()) < 0.02  # of each token's own range
    model = LocalModel(folder, name="tiny", eight_bits=True)
    asks = [Ask(messages=(Message(role="user", text=text),), budget=Budget(most_tokens=8)) for text in ("a", "of it")]
    together = [answer.text for answer in model.complete_all(asks) if not isinstance(answer, ModelError)]
    assert together == [model.complete(ask).text for ask in asks]


def test_text_is_told_as_it_comes_and_ends_at_a_mark(folder: Path) -> None:
    heard: list[str] = []
    model = local_model(folder)
    ask = Ask(messages=(Message(role="user", text="a"),), budget=Budget(most_tokens=12))
    whole = model.complete(ask, said=heard.append).text
    assert "".join(heard) == whole or "�" in whole
    mark = whole[len(whole) // 2]
    assert model.complete(replace(ask, stop=(mark,))).text == whole.split(mark)[0]


def test_time_is_up_when_it_is_up(folder: Path) -> None:
    with pytest.raises(ModelLateError):
        local_model(folder).complete(Ask(messages=(Message(role="user", text="a"),), budget=Budget(total_s=0.0)))


def test_what_is_done_in_time_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, clock = local_model(folder), count()
    monkeypatch.setattr("vlm.language.decoding.time", SimpleNamespace(monotonic=lambda: float(next(clock))))
    short, long = Line([5, 6, 7]), Line([5, 6, 8])
    decode(model._net, [short, long], end=frozenset(), budget=Budget(total_s=4.0), heard=lambda line: line is short)
    assert short.done and not short.late and len(short.made) == 1
    assert long.late and not long.done and len(long.made) == 4
    ask = Ask(messages=(), budget=Budget(total_s=4.0))
    assert isinstance(model._answer(ask, long, 4.0), ModelLateError)
    assert not isinstance(model._answer(ask, short, 4.0), ModelError)


def test_what_prompts_begin_with_is_read_once_and_changes_no_answer(folder: Path) -> None:
    model, shared = local_model(folder), "a long opening of every prompt, before what is asked: "
    asks = [
        Ask(messages=(Message(role="user", text=shared + text),), budget=Budget(most_tokens=12))
        for text in ("a", "of the lung", "b and c")
    ]
    together = [answer.text for answer in model.complete_all(asks) if not isinstance(answer, ModelError)]
    assert len(model._preamble.tokens) >= len(shared)
    fresh = local_model(folder)
    assert together == [fresh.complete(ask).text for ask in asks]
    assert not fresh._preamble.tokens
    assert together == [model.complete(ask).text for ask in asks]  # taken up again
    other = Ask(messages=(Message(role="user", text="b"),), budget=Budget(most_tokens=12))
    assert model.complete(other).text == fresh.complete(other).text


def test_a_folder_of_pickled_weights_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(ModelMissingError, match="can run code"):
        local_model(tmp_path)


def test_a_killed_tuning_goes_on_as_if_it_had_not_been(folder: Path, data: Path, tmp_path: Path) -> None:
    from vlm.train.resumable import losses
    from vlm.train.tune import Tuning, tune

    class KilledError(Exception):
        pass

    def kill(_: str) -> None:
        raise KilledError

    tuning = Tuning(steps=6, batch=2, rank=4, every=2, longest=96, rate=5e-3)
    adapter = tune(data, folder, tmp_path / "whole", tuning, told=lambda _: None)
    with pytest.raises(KilledError):
        tune(data, folder, tmp_path / "killed", tuning, told=kill)
    assert len(losses(tmp_path / "killed")) == 2
    tune(data, folder, tmp_path / "killed", tuning, told=lambda _: None)
    assert losses(tmp_path / "killed") == pytest.approx(losses(tmp_path / "whole"), rel=1e-5)
    assert losses(tmp_path / "whole")[-1] < losses(tmp_path / "whole")[0]
    assert (tmp_path / "whole" / "samples-6.jsonl").read_text(encoding="utf-8")
    assert str(folder.parent) not in (adapter / "adapter_config.json").read_text(encoding="utf-8")

    model = load_model(str(folder), adapter=adapter)
    assert model is not None and "adapter whole" in model.name
    other = tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(ModelMissingError, match="made for tiny, not for other"):
        load_model(str(other), adapter=adapter)
    (adapter / "tomoscribe.json").unlink()
    wider = tiny_model(tmp_path / "wider", width=48)
    with pytest.raises(ModelMissingError, match="does not fit"):
        load_model(str(wider), adapter=adapter)
    with pytest.raises(UsageError, match="another recipe or of other data"):
        tune(data, folder, tmp_path / "killed", Tuning(steps=6, batch=2, rank=8), told=lambda _: None)


def test_patients_are_split_by_name_and_never_shared(data: Path, tmp_path: Path) -> None:
    from vlm.train.report_data import load_examples

    told = {"patient": "train_1", "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]}
    (tmp_path / "chat.jsonl").write_text(json.dumps(told), encoding="utf-8")
    merlin = "study id,Findings\nAC1,LUNGS: clear. IMPRESSION: Normal chest.\n"
    (tmp_path / "merlin.csv").write_text(merlin, encoding="utf-8")
    examples = load_examples(tmp_path) + load_examples(data)
    by_patient: dict[str, set[str]] = {}
    for example in examples:
        by_patient.setdefault(example.patient, set()).add(example.split)
    assert all(len(splits) == 1 for splits in by_patient.values())
    assert {example.split for example in examples} == {"train", "tune", "test"}
    assert next(e for e in examples if e.patient == "AC1").messages[-1]["content"] == "Normal chest."
    (tmp_path / "odd.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"odd\.csv"):
        load_examples(tmp_path)


def test_a_projector_learns_to_say_what_its_vectors_mean_in_two_stages(folder: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from vlm.language.projector import Shape
    from vlm.train.couple import Coupled, Coupling, couple
    from vlm.train.resumable import losses

    small = Shape(tokens=4, hidden=32, heads=2)
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(2, 16)).astype(np.float32)
    cases = [
        Coupled(
            patient=str(n), organs=(centres[n % 2] + rng.normal(0, 0.1, (1 + n % 3, 16))).astype(np.float32),
            question="?", answer=("yes" if n % 2 else "no",),
        )
        for n in range(20)
    ]  # fmt: skip

    def run(out: Path, coupling: Coupling, start: Path | None = None) -> list[float]:
        net = AutoModelForCausalLM.from_pretrained(folder)
        couple(cases, net, AutoTokenizer.from_pretrained(folder), out, coupling, start=start)
        return losses(out)

    first = Coupling(steps=40, shape=small, batch=8, rate=1e-2, every=20)
    whole = run(tmp_path / "one", first)
    assert np.mean(whole[-5:]) < np.mean(whole[:5]) - 0.5
    second = Coupling(steps=6, shape=small, batch=8, stage="both", every=3, rate=1e-3)
    both = run(tmp_path / "two", second, tmp_path / "one")
    assert both[0] < whole[0]  # stage two begins where stage one ended
    assert (tmp_path / "two" / "adapter" / "adapter_model.safetensors").is_file()


def test_a_choice_of_tools_is_held_by_the_grammar_and_read_as_calls(folder: Path) -> None:
    sizes = ToolOffer(name="size", description="Size.", parameters={
        "type": "object", "properties": {"side": {"enum": ["left", "right"]}}, "required": ["side"],
        "additionalProperties": False,
    })  # fmt: skip
    answer = local_model(folder).complete(Ask(messages=(Message(role="user", text="Left?"),), tools=(sizes,)))
    assert answer.data is None and [call.name for call in answer.calls] in ([], ["size"])
    assert all(set(call.arguments) == {"side"} for call in answer.calls)
    assert called({"tool": "none"}, 0) == ()
    assert called({"tool": "size", "arguments": {"side": "left"}}, 2)[0].id == "call_2"


def test_results_are_the_users_turns_and_no_role_speaks_twice_in_a_row() -> None:
    said = [Message(role="system", text="a"), Message(role="system", text="b"), Message(role="user", text="c")]
    said += [Message(role="assistant", text="d"), Message(role="tool", text="e"), Message(role="user", text="f")]
    assert [turn["role"] for turn in turns_of(said)] == ["system", "user", "assistant", "user"]
    assert turns_of(said)[-1]["content"] == "e\n\nf"
