"""Tune a local model on the user's own reports and conversations: a LoRA adapter, the base stays as it is.

Read it from top to bottom. Data is split by patient; each step draws its examples by its number; the adapter is saved
by peft with a note of its base, and refused on another. One machine, or several GPUs by ``accelerate launch``.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlm.errors import UsageError
from vlm.language.embedded_weights import base_of, offline
from vlm.train.report_data import Example, load_examples
from vlm.train.resumable import Course, follow


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What decides the adapter."""

    steps: int = 300
    batch: int = 4
    rank: int = 16
    rate: float = 2e-4
    longest: int = 1024  # tokens; what is longer is cut at the front
    every: int = 50
    seed: int = 1
    samples: int = 2  # answers written at each checkpoint, of patients not trained on


def tune(data: Path, model: Path, out: Path, tuning: Tuning, *, told: Callable[[str], None] = print) -> Path:
    """Tune, or go on with a run that was stopped; gives back the folder of the adapter.

    Raises:
        UsageError: no data, no patient left for a split, or ``out`` holds another run.
    """
    from accelerate import Accelerator

    examples = load_examples(data)
    train = [example for example in examples if example.split == "train"]
    apart = [example for example in examples if example.split != "train"]
    if not train:
        raise UsageError(f"E_USAGE: --data {data.name} has no patient in the training split, expected more patients.")
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    net, tokenizer = prepared(model, tuning)
    net = accelerator.prepare(net)
    inner = accelerator.unwrap_model(net)
    learned = {name: p for name, p in inner.named_parameters() if p.requires_grad}
    adapter = out / "adapter"

    def loss_at(step: int) -> Tensor:
        rng = random.Random(f"{tuning.seed}-{step}-{accelerator.process_index}")
        chosen = [rng.choice(train) for _ in range(tuning.batch)]
        tokens, seen, targets = (part.to(accelerator.device) for part in batch_of(chosen, tokenizer, tuning.longest))
        loss: Tensor = net(input_ids=tokens, attention_mask=seen, labels=targets, use_cache=False).loss
        return loss

    def kept(step: int) -> None:
        inner.save_pretrained(adapter, safe_serialization=True)
        named(adapter, model, step, tuning)
        write_samples(out / f"samples-{step}.jsonl", inner, tokenizer, apart[: tuning.samples])
        told(f"step {step} of {tuning.steps}")

    recipe = asdict(tuning) | {"data": digest_of(examples), "base": base_of(model)}
    recipe.pop("samples")
    try:
        follow(out, Course(steps=tuning.steps, rate=tuning.rate, every=tuning.every), learned, loss_at,
               recipe=recipe, accelerator=accelerator, kept=kept)  # fmt: skip
    except ValueError as error:
        raise UsageError(f"E_USAGE: --out: {error}.") from None
    return adapter


def prepared(model: Path, tuning: Tuning) -> tuple[Any, Any]:
    """The frozen base in its own precision with a fresh adapter in float32, and the tokenizer."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(tuning.seed)
    with offline():
        base = AutoModelForCausalLM.from_pretrained(model, local_files_only=True, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(model, local_files_only=True, trust_remote_code=False)
    base.config.use_cache = False
    base.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    base.enable_input_require_grads()
    config = LoraConfig(r=tuning.rank, lora_alpha=2 * tuning.rank, task_type="CAUSAL_LM", target_modules="all-linear")
    net = get_peft_model(base, config)
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return net.train(), tokenizer


def batch_of(examples: Sequence[Example], tokenizer: Any, longest: int) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L) tokens, (B, L) what is attended to, (B, L) targets: the last turn, -100 elsewhere."""
    coded = [_coded(example, tokenizer, longest) for example in examples]
    length = max(len(tokens) for tokens, _ in coded)
    tokens = torch.full((len(coded), length), int(tokenizer.pad_token_id or 0))
    seen, targets = torch.zeros_like(tokens), torch.full_like(tokens, -100)
    for n, (line, learned) in enumerate(coded):
        tokens[n, : len(line)] = torch.tensor(line)
        seen[n, : len(line)] = 1
        targets[n, len(line) - learned : len(line)] = torch.tensor(line[len(line) - learned :])
    return tokens, seen, targets


def _coded(example: Example, tokenizer: Any, longest: int) -> tuple[list[int], int]:
    """Tokens of a conversation, and how many at its end are learned."""
    turns = [dict(turn) for turn in example.messages]
    before = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
    prompt = tokenizer.encode(before, add_special_tokens=False)
    answer = [*tokenizer.encode(turns[-1]["content"], add_special_tokens=False), int(tokenizer.eos_token_id)]
    answer = answer[: longest - 1]
    return [*prompt[len(prompt) - min(len(prompt), longest - len(answer)) :], *answer], len(answer)


def write_samples(path: Path, net: Any, tokenizer: Any, examples: Sequence[Example]) -> None:
    """What the model answers now to a few patients it was not trained on, beside what was written."""
    was_training = net.training
    net.eval()
    with path.open("w", encoding="utf-8") as file, torch.inference_mode():
        for example in examples:
            turns = [dict(turn) for turn in example.messages]
            text = tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True)
            prompt = torch.tensor([tokenizer.encode(text, add_special_tokens=False)]).to(net.device)
            made = net.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=64, do_sample=False,
                pad_token_id=int(tokenizer.eos_token_id),
            )[0, prompt.shape[1] :]  # fmt: skip
            answer = tokenizer.decode(made, skip_special_tokens=True)
            file.write(json.dumps({"written": turns[-1]["content"], "model": answer}, ensure_ascii=False) + "\n")
    net.train(was_training)


def named(adapter: Path, model: Path, step: int, tuning: Tuning) -> None:
    """What the adapter belongs to, without a path of this machine."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = model.name
    (adapter / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (adapter / "README.md").unlink(missing_ok=True)
    note = {"base": base_of(model), "base_name": model.name, "steps": step, "tuning": asdict(tuning)}
    (adapter / "tomoscribe.json").write_text(json.dumps(note, indent=1), encoding="utf-8")


def digest_of(examples: Sequence[Example]) -> str:
    """sha256 over the data, so that a run goes on with the data it began with."""
    told = json.dumps([[e.patient, [dict(m) for m in e.messages]] for e in examples], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()
