"""Couple the image encoder to a language model: a projector from organ vectors to the model's embeddings, then LoRA.

Read it from top to bottom. In: cases, each a few tokens of organs (one encoder's vectors, centred; ``Basis``) with
statements that are true of them. Stage one trains the projector alone, stage two the projector with a LoRA of the
language model (Liu et al., Visual Instruction Tuning, NeurIPS 2023). It takes any causal model of transformers;
``vlm.train.impressions`` is how the embedded one is coupled. What such a model says of an image is an impression, never
evidence.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vlm.language.projector import Basis, Projector, Shape, load, save
from vlm.train.resumable import Course, follow

Stage = Literal["projector", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupled:
    """One case: its organs' vectors, and what is true of it."""

    patient: str
    organs: NDArray[np.float32]  # (K, F): K organs, at least one
    question: str
    answer: tuple[str, ...]  # statements, joined as they are
    instead: tuple[str, ...] = ()  # of each statement what a grammar has instead, where it leaves a choice of two


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """What decides the projector."""

    shape: Shape = field(default_factory=Shape)
    stage: Stage = "projector"
    steps: int = 200
    batch: int = 4
    rate: float = 1e-3
    rank: int = 8
    targets: str | tuple[str, ...] = "all-linear"  # layers that get a LoRA
    every: int = 50
    seed: int = 1


def stacked(cases: Sequence[Coupled]) -> tuple[Tensor, Tensor]:
    """(B, K, D) vectors, zero where a case has fewer organs, and (B, K) True there."""
    most = max(len(case.organs) for case in cases)
    organs = torch.zeros(len(cases), most, cases[0].organs.shape[1])
    absent = torch.ones(len(cases), most, dtype=torch.bool)
    for n, case in enumerate(cases):
        organs[n, : len(case.organs)] = torch.from_numpy(case.organs)
        absent[n, : len(case.organs)] = False
    return organs, absent


def spliced(cases: Sequence[Coupled], net: Any, tokenizer: Any, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Image embeddings, question and statements in one line.

    Returns:
        (B, L, W) embeddings, (B, L) what is attended to, (B, L) targets: what is learned, -100 elsewhere, and (B, L)
        what a grammar has instead of a target, -100 where it leaves every token.
    """
    coded = [_coded(case, tokenizer) for case in cases]
    first = image.shape[1]
    length = first + max(len(line) for line, _, _ in coded)
    tokens = torch.full((len(cases), length), int(tokenizer.eos_token_id))
    seen, targets, others = torch.zeros_like(tokens), torch.full_like(tokens, -100), torch.full_like(tokens, -100)
    for n, (line, target, other) in enumerate(coded):
        end = first + len(line)
        for row, values in ((tokens, line), (targets, target), (others, other)):
            row[n, first:end] = torch.tensor(values)
        seen[n, :end] = 1
    words = net.get_input_embeddings()(tokens)  # (B, L, W)
    return torch.cat([image.to(words.dtype), words[:, first:]], dim=1), seen, targets, others


def _coded(case: Coupled, tokenizer: Any) -> tuple[list[int], list[int], list[int]]:
    """Tokens of a case, what is learned of them, and what stands against it.

    Where a grammar leaves a choice of two, their first token is all that is learned: it forces the rest.
    """
    line = tokenizer.encode(case.question, add_special_tokens=False)
    target, other = [-100] * len(line), [-100] * len(line)
    for n, text in enumerate(case.answer):
        said = tokenizer.encode(text, add_special_tokens=False)
        if case.instead:
            unsaid = tokenizer.encode(case.instead[n], add_special_tokens=False)
            target += [said[0], *([-100] * (len(said) - 1))]
            other += [unsaid[0], *([-100] * (len(said) - 1))]
        else:
            said += [int(tokenizer.eos_token_id)] if n + 1 == len(case.answer) else []
            target, other = target + said, other + [-100] * len(said)
        line += said
    return line, target, other


def loss_of(net: Any, embeddings: Tensor, seen: Tensor, targets: Tensor, others: Tensor) -> Tensor:
    """Mean cross-entropy of what is learned, among all words or among the two that a grammar leaves."""
    hidden = net.model(inputs_embeds=embeddings, attention_mask=seen, use_cache=False).last_hidden_state  # (B, L, W)
    learned = targets[:, 1:] != -100
    scores = net.lm_head(hidden[:, :-1][learned]).float()  # (N, words)
    wanted, unwanted = targets[:, 1:][learned][:, None], others[:, 1:][learned][:, None]
    chosen = unwanted >= 0
    margin = scores.gather(1, wanted) - scores.gather(1, unwanted.clamp(min=0))
    free = torch.nn.functional.cross_entropy(scores, wanted[:, 0], reduction="none")[:, None]
    return torch.where(chosen, torch.nn.functional.softplus(-margin), free).mean()


def couple(
    cases: Sequence[Coupled],
    net: Any,
    tokenizer: Any,
    out: Path,
    coupling: Coupling,
    *,
    start: Path | None = None,
    basis: Basis | None = None,
    note: Mapping[str, Any] | None = None,
) -> Projector:
    """Train one stage, or go on with it; gives back the projector, ready to be used, which also lies in ``out``.

    Args:
        cases: of training patients only; the caller splits.
        net: a causal model of transformers; its own weights stay as they are.
        tokenizer: its own.
        out: folder of the checkpoint, ``projector.safetensors`` and, of stage two, ``adapter``.
        coupling: stage and size.
        start: the folder of stage one, for stage two.
        basis: what the cases' tokens were made with, to be kept beside the projector.
        note: what else is kept of it.
    """
    torch.manual_seed(coupling.seed)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    words = net.get_input_embeddings().weight
    scale = float(words.float().std())
    projector = Projector(cases[0].organs.shape[1], words.shape[1], coupling.shape, scale)
    if start is not None:
        projector.load_state_dict(load(start)[0], strict=True)
    learned: dict[str, Any] = {f"projector.{name}": p for name, p in projector.named_parameters()}
    inner, adapted = net, None
    if coupling.stage == "both":
        from peft import LoraConfig, get_peft_model

        targets = coupling.targets if isinstance(coupling.targets, str) else list(coupling.targets)
        config = LoraConfig(r=coupling.rank, lora_alpha=2 * coupling.rank, target_modules=targets)
        adapted = get_peft_model(net, config)
        inner = adapted.get_base_model()
        learned |= {name: p for name, p in adapted.named_parameters() if p.requires_grad}

    def loss_at(step: int) -> Tensor:
        rng = random.Random(f"{coupling.seed}-{step}")
        torch.manual_seed(step)  # of what is dropped
        chosen = [rng.choice(cases) for _ in range(coupling.batch)]
        image = projector(*stacked(chosen))
        return loss_of(inner, *spliced(chosen, inner, tokenizer, image))

    def kept(_: int) -> None:
        told = {"shape": asdict(coupling.shape), "scale": scale, "coupling": asdict(coupling), **(note or {})}
        save(out, projector.state_dict(), basis, told)
        if adapted is not None:
            adapted.save_pretrained(out / "adapter", safe_serialization=True)

    course = Course(steps=coupling.steps, rate=coupling.rate, every=coupling.every)
    follow(out, course, learned, loss_at, recipe=asdict(coupling), kept=kept)
    projector.eval()
    return projector
