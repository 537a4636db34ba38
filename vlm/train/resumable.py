"""A training that can be killed at any moment and goes on as if it had not been.

A step's data is drawn by the step's number, so a resumed run takes the same steps. A checkpoint is written whole or not
at all; losses of steps after it are dropped and made again.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

LOSSES, STATE = "losses.jsonl", "state.pt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a training runs."""

    steps: int
    rate: float
    every: int = 50  # steps between checkpoints
    warm: int = 5
    clip: float = 1.0


def follow(
    out: Path,
    course: Course,
    learned: Mapping[str, Any],
    loss_at: Callable[[int], Tensor],
    *,
    recipe: Mapping[str, object],
    accelerator: Any = None,
    kept: Callable[[int], None] = lambda _: None,
) -> list[float]:
    """Train ``learned``, or go on; gives back the loss of every step.

    Args:
        out: folder of ``losses.jsonl`` and ``state.pt``.
        course: how long, how fast.
        learned: parameters by name; they are changed in place.
        loss_at: the loss of a step, drawn by its number alone.
        recipe: what the checkpoint belongs to; another recipe's is refused.
        accelerator: of ``accelerate``, for several GPUs; None: this process alone.
        kept: called with the step after each checkpoint: save an adapter, write samples.

    Raises:
        ValueError: the checkpoint in ``out`` is of another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    optimizer: Any = torch.optim.AdamW(list(learned.values()), lr=course.rate, weight_decay=0.0)
    if accelerator is not None:
        optimizer = accelerator.prepare(optimizer)
    first = _resumed(out, learned, optimizer, recipe)
    for step in range(first, course.steps):
        for group in optimizer.param_groups:
            group["lr"] = course.rate * _pace(step, course)
        loss = loss_at(step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward() if accelerator is None else accelerator.backward(loss)
        torch.nn.utils.clip_grad_norm_(list(learned.values()), course.clip)
        optimizer.step()
        if accelerator is None or accelerator.is_main_process:
            with (out / LOSSES).open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, "loss": loss.item()}) + "\n")
            if (step + 1) % course.every == 0 or step + 1 == course.steps:
                _save(out, step + 1, learned, optimizer, recipe)
                kept(step + 1)
    return losses(out)


def losses(out: Path) -> list[float]:
    """The loss of every step so far."""
    path = out / LOSSES
    return [json.loads(line)["loss"] for line in path.read_text().splitlines()] if path.is_file() else []


def _pace(step: int, course: Course) -> float:
    """Warm up, then a half cosine down to a tenth."""
    if step < course.warm:
        return (step + 1) / course.warm
    done = (step - course.warm) / max(1, course.steps - course.warm)
    return 0.1 + 0.45 * (1 + math.cos(math.pi * done))


def _save(out: Path, step: int, learned: Mapping[str, Any], optimizer: Any, recipe: Mapping[str, object]) -> None:
    state = {
        "recipe": json.dumps(recipe, sort_keys=True), "step": step,
        "learned": {name: p.detach().cpu() for name, p in learned.items()}, "optimizer": optimizer.state_dict(),
    }  # fmt: skip
    unready = out / f"{STATE}.{os.getpid()}"
    torch.save(state, unready)
    unready.replace(out / STATE)


def _resumed(out: Path, learned: Mapping[str, Any], optimizer: Any, recipe: Mapping[str, object]) -> int:
    """Put a checkpoint back; the step to go on from."""
    if not (out / STATE).is_file():
        (out / LOSSES).unlink(missing_ok=True)
        return 0
    state = torch.load(out / STATE, weights_only=True, map_location="cpu")
    if state["recipe"] != json.dumps(recipe, sort_keys=True):
        raise ValueError(f"{out.name} holds a run of another recipe or of other data: choose an empty --out")
    missing = sorted(set(learned) - set(state["learned"]))
    if missing:
        raise ValueError(f"the checkpoint lacks {len(missing)} of {len(learned)} parameters, first {missing[0]}")
    with torch.no_grad():
        for name, parameter in learned.items():
            parameter.copy_(state["learned"][name])
    optimizer.load_state_dict(state["optimizer"])
    step = int(state["step"])
    lines = (out / LOSSES).read_text(encoding="utf-8").splitlines(keepends=True)
    (out / LOSSES).write_text("".join(lines[:step]), encoding="utf-8")
    return step
