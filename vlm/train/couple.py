"""Couple the image encoder to a language model: a projector from organ vectors to the model's embeddings, then LoRA.

Read it from top to bottom. In: cases, each a few organ vectors (raw, of one encoder) with a text that is true of them.
Stage one trains the projector alone, stage two the projector with a LoRA of the language model (Liu et al., Visual
Instruction Tuning, NeurIPS 2023). What such a model says of an image is an impression, never evidence: it is compared
with what tools measured, and disagreement goes to review. No coupled weights are shipped.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vlm.train.resumable import Course, follow

Stage = Literal["projector", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupled:
    """One case: its organs' vectors, and what is true of it."""

    patient: str
    organs: NDArray[np.float32]  # (K, D): K organs, at least one
    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Coupling:
    """What decides the projector."""

    tokens: int = 8  # embeddings that the model reads in place of the image
    hidden: int = 256
    heads: int = 4
    stage: Stage = "projector"
    steps: int = 200
    batch: int = 4
    rate: float = 1e-3
    rank: int = 8
    every: int = 50
    seed: int = 1


class Projector(nn.Module):
    """A small perceiver: learned queries look at the organs and become embeddings (Jaegle et al., ICML 2021)."""

    def __init__(self, features: int, width: int, coupling: Coupling, scale: float) -> None:
        """``features`` of an organ vector, ``width`` of the model's embeddings, ``scale`` their standard deviation."""
        super().__init__()
        self.enter = nn.Sequential(nn.LayerNorm(features), nn.Linear(features, coupling.hidden))
        self.queries = nn.Parameter(torch.randn(coupling.tokens, coupling.hidden) * 0.1)
        self.look = nn.MultiheadAttention(coupling.hidden, coupling.heads, batch_first=True)
        self.leave = nn.Sequential(nn.LayerNorm(coupling.hidden), nn.Linear(coupling.hidden, width))
        self.scale = scale

    def forward(self, organs: Tensor, absent: Tensor) -> Tensor:
        """(B, K, D) organ vectors, (B, K) True where there is none -> (B, tokens, width)."""
        seen = self.enter(organs)  # (B, K, H)
        queries = self.queries.expand(len(organs), -1, -1)  # (B, T, H)
        found, _ = self.look(queries, seen, seen, key_padding_mask=absent, need_weights=False)
        told: Tensor = self.leave(queries + found)  # (B, T, width), about unit variance after the norm
        return told * self.scale


def stacked(cases: Sequence[Coupled]) -> tuple[Tensor, Tensor]:
    """(B, K, D) vectors, zero where a case has fewer organs, and (B, K) True there."""
    most = max(len(case.organs) for case in cases)
    organs = torch.zeros(len(cases), most, cases[0].organs.shape[1])
    absent = torch.ones(len(cases), most, dtype=torch.bool)
    for n, case in enumerate(cases):
        organs[n, : len(case.organs)] = torch.from_numpy(case.organs)
        absent[n, : len(case.organs)] = False
    return organs, absent


def spliced(cases: Sequence[Coupled], net: Any, tokenizer: Any, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Image embeddings, question and answer in one line.

    Returns:
        (B, L, W) embeddings, (B, L) what is attended to, (B, L) targets: the answer, -100 elsewhere.
    """
    coded = []
    for case in cases:
        turns = [{"role": "user", "content": case.question}]
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer.encode(text, add_special_tokens=False)
        answer = [*tokenizer.encode(case.answer, add_special_tokens=False), int(tokenizer.eos_token_id)]
        coded.append((prompt, answer))
    first = image.shape[1]
    length = first + max(len(prompt) + len(answer) for prompt, answer in coded)
    tokens = torch.full((len(cases), length), int(tokenizer.eos_token_id))
    seen, targets = torch.zeros_like(tokens), torch.full_like(tokens, -100)
    for n, (prompt, answer) in enumerate(coded):
        end = first + len(prompt) + len(answer)
        tokens[n, first:end] = torch.tensor([*prompt, *answer])
        targets[n, end - len(answer) : end] = torch.tensor(answer)
        seen[n, :end] = 1
    words = net.get_input_embeddings()(tokens)  # (B, L, W)
    return torch.cat([image.to(words.dtype), words[:, first:]], dim=1), seen, targets


def couple(
    cases: Sequence[Coupled], net: Any, tokenizer: Any, out: Path, coupling: Coupling, *, start: Path | None = None
) -> Projector:
    """Train one stage, or go on with it; gives back the projector, which also lies in ``out``.

    Args:
        cases: of training patients only; the caller splits.
        net: a causal model of transformers; its own weights stay as they are.
        tokenizer: with a chat template.
        out: folder of the checkpoint, ``projector.safetensors`` and, of stage two, ``adapter``.
        coupling: stage and size.
        start: the folder of stage one, for stage two.
    """
    torch.manual_seed(coupling.seed)
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    words = net.get_input_embeddings().weight
    projector = Projector(cases[0].organs.shape[1], words.shape[1], coupling, float(words.float().std()))
    if start is not None:
        load_projector(projector, start)
    learned: dict[str, Any] = {f"projector.{name}": p for name, p in projector.named_parameters()}
    if coupling.stage == "both":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=coupling.rank, lora_alpha=2 * coupling.rank, target_modules="all-linear")
        net = get_peft_model(net, config)
        learned |= {name: p for name, p in net.named_parameters() if p.requires_grad}

    def loss_at(step: int) -> Tensor:
        rng = random.Random(f"{coupling.seed}-{step}")
        chosen = [rng.choice(cases) for _ in range(coupling.batch)]
        embeddings, seen, targets = spliced(chosen, net, tokenizer, projector(*stacked(chosen)))
        loss: Tensor = net(inputs_embeds=embeddings, attention_mask=seen, labels=targets).loss
        return loss

    def kept(_: int) -> None:
        save_projector(projector, out, coupling)
        if coupling.stage == "both":
            net.save_pretrained(out / "adapter", safe_serialization=True)

    course = Course(steps=coupling.steps, rate=coupling.rate, every=coupling.every)
    follow(out, course, learned, loss_at, recipe=asdict(coupling), kept=kept)
    return projector


def save_projector(projector: Projector, out: Path, coupling: Coupling) -> None:
    """Weights and what they are made for."""
    from safetensors.torch import save_file

    out.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().cpu().contiguous() for name, value in projector.state_dict().items()}
    save_file(state, out / "projector.safetensors", metadata={"coupling": json.dumps(asdict(coupling))})


def load_projector(projector: Projector, folder: Path) -> None:
    """Put saved weights into a projector; keys that are missing, unknown or misshapen are an error."""
    from safetensors.torch import load_file

    projector.load_state_dict(load_file(folder / "projector.safetensors"), strict=True)
