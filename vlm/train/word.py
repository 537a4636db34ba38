"""Teach the embedded model to word evidence: a LoRA on pairs that the phrase grammar makes and the checker passes.

Read it from top to bottom: sampled evidence becomes rows, rows become sentences in one of many wordings, a sentence
that the checker does not pass is thrown away, and what is left trains the adapter. No report is read. A run stopped
at any moment goes on from its last checkpoint and takes the same steps, because a step's pairs are drawn by its number.

    python -m vlm.train.word OUT [--steps 80] [--seed 1]
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from vlm.grounding import PASSES, Context, Statement, check
from vlm.language.asking_rows import ask_for
from vlm.language.compose import ScanFacts, compose
from vlm.language.embedded_weights import SHA256, model_folder, offline
from vlm.language.prompting import load_prompt
from vlm.language.restyle import say
from vlm.language.rows import STYLES, Row, Style, row_of
from vlm.report import render
from vlm.train.evidence_tables import sample

SCAN = ScanFacts(slices=300, step_mm=1.0, kernel="soft", contrast=False, regions=("chest",))
OPENING = '{"R1":"'  # a grammar forces it, so it is given, not learned


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What decides the adapter."""

    steps: int = 80
    batch: int = 12
    rank: int = 16
    alpha: int = 32
    rate: float = 1.5e-3
    warm: int = 5
    seed: int = 1
    every: int = 10  # steps between checkpoints


@dataclass(frozen=True, slots=True)
class Pair:
    """A row with a sentence that is true of it."""

    row: Row
    style: Style
    sentence: str


def pairs(rng: random.Random) -> Iterator[Pair]:
    """Rows of sampled evidence, each with one wording that the checker passes; without end."""
    while True:
        ledger, prior = sample(rng)
        context = Context(prior=prior)
        for draft in compose(ledger, SCAN, prior=prior, prior_given=prior is not None):
            style = rng.choice(STYLES)
            row = row_of(draft, ledger, style)
            if row is None:
                continue
            sentence = say(row, style, rng=rng)
            text = render(row.filled(sentence), ledger)
            statement = Statement(id="S1", section=draft.section, text=text, cites=draft.cites)
            if check([statement], ledger, context=context)["S1"].name in PASSES:
                yield Pair(row, style, sentence)


def drawn(recipe: Recipe, step: int) -> list[Pair]:
    """The pairs of one step: a few of each ledger's, so that a batch is varied."""
    rng = random.Random(f"word-{recipe.seed}-{step}")
    source = pairs(rng)
    return [next(source) for _ in range(recipe.batch)]


def coded(pair: Pair, tokenizer: Any) -> tuple[list[int], list[int]]:
    """Tokens of the prompt with its opening, and tokens of the answer, which are learned."""
    ask = ask_for([pair.row], pair.style, taught=True)
    turns = [{"role": message.role, "content": message.text} for message in ask.messages]
    prompt = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    before = tokenizer.encode(prompt, add_special_tokens=False) + tokenizer.encode(OPENING, add_special_tokens=False)
    answer = [*tokenizer.encode(f'{pair.sentence}"}}', add_special_tokens=False), tokenizer.eos_token_id]
    return before, answer


def batch_of(pairs: list[Pair], tokenizer: Any) -> tuple[Tensor, Tensor, Tensor]:
    """(B, L) tokens, (B, L) what is attended to, (B, L) targets with -100 where nothing is learned."""
    both = [coded(pair, tokenizer) for pair in pairs]
    length = max(len(before) + len(answer) for before, answer in both)
    tokens = torch.full((len(both), length), int(tokenizer.pad_token_id))
    seen, targets = torch.zeros_like(tokens), torch.full_like(tokens, -100)
    for n, (before, answer) in enumerate(both):
        end = len(before) + len(answer)
        tokens[n, :end] = torch.tensor(before + answer)
        seen[n, :end] = 1
        targets[n, len(before) : end] = torch.tensor(answer)
    return tokens, seen, targets


def loss_of(net: Any, tokens: Tensor, seen: Tensor, targets: Tensor) -> Tensor:
    """Mean cross-entropy over the answers; words are scored only where they are learned."""
    base = net.get_base_model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        hidden = base.model(input_ids=tokens, attention_mask=seen, use_cache=False).last_hidden_state  # (B, L, C)
        learned = targets[:, 1:] != -100
        scores = base.lm_head(hidden[:, :-1][learned])  # (N, words)
    return torch.nn.functional.cross_entropy(scores.float(), targets[:, 1:][learned])


def load(recipe: Recipe) -> tuple[Any, Any]:
    """The frozen base with a fresh adapter, and the tokenizer."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(recipe.seed)
    with offline():
        folder = model_folder()
        base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
        tokenizer = AutoTokenizer.from_pretrained(folder)
    config = LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, lora_dropout=0.0, task_type="CAUSAL_LM", target_modules="all-linear"
    )
    net = get_peft_model(base, config)
    for parameter in net.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return net, tokenizer


def train(out: Path, recipe: Recipe) -> Path:
    """Train, or go on; gives back the folder of the adapter.

    ``out`` holds ``state.pt`` (a checkpoint), ``losses.jsonl`` and, in the end, ``adapter``.
    """
    out.mkdir(parents=True, exist_ok=True)
    net, tokenizer = load(recipe)
    learned = {name: p for name, p in net.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(learned.values(), lr=recipe.rate, weight_decay=0.0, betas=(0.9, 0.99))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, total_steps=recipe.steps, pct_start=recipe.warm / recipe.steps, anneal_strategy="cos"
    )
    first = resume(out, recipe, learned, optimizer, schedule)
    net.train()
    for step in range(first, recipe.steps):
        began = time.perf_counter()
        loss = loss_of(net, *batch_of(drawn(recipe, step), tokenizer))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(learned.values(), 1.0)
        optimizer.step()
        schedule.step()
        with (out / "losses.jsonl").open("a") as file:
            seconds = round(time.perf_counter() - began, 2)
            file.write(json.dumps({"step": step, "loss": round(loss.item(), 4), "seconds": seconds}) + "\n")
        if (step + 1) % recipe.every == 0 or step + 1 == recipe.steps:
            save(out, recipe, step + 1, learned, optimizer, schedule)
            net.save_pretrained(out / "adapter", safe_serialization=True)
            note(out / "adapter", recipe, step + 1)
    return out / "adapter"


def save(out: Path, recipe: Recipe, step: int, learned: dict[str, Any], optimizer: Any, schedule: Any) -> None:
    """A checkpoint, whole or not at all."""
    state = {
        "recipe": asdict(recipe), "step": step, "learned": {name: p.data for name, p in learned.items()},
        "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict(),
    }  # fmt: skip
    torch.save(state, out / "state.part")
    (out / "state.part").replace(out / "state.pt")


def resume(out: Path, recipe: Recipe, learned: dict[str, Any], optimizer: Any, schedule: Any) -> int:
    """The step to go on from: 0, or that of the checkpoint; losses written after it are dropped.

    Raises:
        ValueError: the checkpoint is of another recipe.
    """
    if not (out / "state.pt").is_file():
        (out / "losses.jsonl").unlink(missing_ok=True)
        return 0
    state = torch.load(out / "state.pt", weights_only=True)
    if state["recipe"] != asdict(recipe):
        raise ValueError(f"{out.name} was begun with {state['recipe']}, expected {asdict(recipe)}")
    for name, parameter in learned.items():
        parameter.data.copy_(state["learned"][name])
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    lines = (out / "losses.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["step"] < state["step"]]
    (out / "losses.jsonl").write_text("".join(f"{line}\n" for line in kept))
    return int(state["step"])


def note(folder: Path, recipe: Recipe, steps: int) -> None:
    """What the adapter belongs to, without a path of this machine; without it an adapter is refused."""
    config = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = "SmolLM2-135M-Instruct"
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    (folder / "README.md").unlink(missing_ok=True)  # peft's empty form
    told = {
        "base": SHA256,
        "prompt": load_prompt("word").parts_digest("system"),
        "steps": steps,
        "recipe": asdict(recipe),
    }
    (folder / "tomoscribe.json").write_text(json.dumps(told, indent=1), encoding="utf-8")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    train(options.out, Recipe(steps=options.steps, seed=options.seed))


if __name__ == "__main__":
    main()
