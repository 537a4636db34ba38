"""Greedy decoding of several prompts together, each held by its own grammar.

A pass through a small model costs nearly the same for one row as for eight, so rows are decoded side by side, and a
finished row leaves the batch. The text that a grammar forces at the start is read with the prompt, not generated.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vlm.language.models import Budget, ModelAnswerError, ModelLateError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(slots=True)
class Line:
    """One prompt on its way: its tokens, what must come first, its grammar, and what was generated."""

    prompt: Sequence[int]
    opening: Sequence[int] = ()  # forced by the grammar; part of the answer
    matcher: Any = None  # llguidance.LLMatcher that has consumed the opening; None: free text
    made: list[int] = field(default_factory=list)
    done: bool = False
    cut: bool = False


def decode(
    net: Any, lines: Sequence[Line], *, end: frozenset[int], budget: Budget, heard: Callable[[Line], bool] | None = None
) -> None:
    """Fill ``made`` of every line.

    Args:
        net: a causal model of transformers.
        lines: decoded together.
        end: tokens that end an answer.
        budget: ``most_tokens`` a line, ``total_s`` for all of them.
        heard: called after each token of a line; True ends it.

    Raises:
        ModelLateError: the time is up.
        ModelAnswerError: a grammar allows nothing any more.
    """
    import torch
    from transformers import DynamicCache

    deadline = time.monotonic() + budget.total_s
    tokens, seen = (part.to(net.device) for part in _padded([[*line.prompt, *line.opening] for line in lines]))
    cache, alive = DynamicCache(config=net.config), list(lines)
    places = (seen.cumsum(1) - 1).clamp(min=0)
    with torch.inference_mode():
        while alive:
            out = net(
                input_ids=tokens, attention_mask=seen, position_ids=places, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            if time.monotonic() > deadline:
                raise ModelLateError(f"E_MODEL: no whole answer within {budget.total_s:.0f} s, expected one.")
            scores = out.logits[:, -1].float()  # (B, words)
            _mask(scores, alive)
            for line, token in zip(alive, scores.argmax(-1).tolist(), strict=True):
                _take(line, token, end, budget, heard)
            kept = [n for n, line in enumerate(alive) if not line.done]
            if not kept:
                return
            if len(kept) < len(alive):
                rows = torch.tensor(kept, device=net.device)
                cache.batch_select_indices(rows)
                seen, places = seen[rows], places[rows]
                alive = [alive[n] for n in kept]
            tokens = torch.tensor([[line.made[-1]] for line in alive], device=net.device)
            seen = torch.cat([seen, torch.ones_like(tokens)], dim=1)
            places = places[:, -1:] + 1


def _padded(prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
    """(B, L) tokens and (B, L) mask; prompts end together, so that the next token is in one column."""
    import torch

    length = max(map(len, prompts))
    tokens = torch.zeros((len(prompts), length), dtype=torch.long)
    seen = torch.zeros_like(tokens)
    for n, prompt in enumerate(prompts):
        tokens[n, length - len(prompt) :] = torch.tensor(prompt)
        seen[n, length - len(prompt) :] = 1
    return tokens, seen


def _mask(scores: Tensor, lines: Sequence[Line]) -> None:
    """What a line's grammar does not allow gets no score; by numpy, as llguidance's way through torch compiles C++."""
    import llguidance.numpy
    import numpy as np
    import torch

    bits = llguidance.numpy.allocate_token_bitmask(1, scores.shape[1])
    for n, line in enumerate(lines):
        if line.matcher is None:
            continue
        if error := line.matcher.get_error():
            raise ModelAnswerError(f"E_MODEL: the grammar failed ({str(error)[:60]}).")
        llguidance.numpy.fill_next_token_bitmask(line.matcher, bits)
        allowed = np.unpackbits(bits[0].view(np.uint8), bitorder="little")[: scores.shape[1]]
        scores[n].masked_fill_(torch.from_numpy(allowed == 0).to(scores.device), float("-inf"))


def _take(line: Line, token: int, end: frozenset[int], budget: Budget, heard: Callable[[Line], bool] | None) -> None:
    """One more token of a line, or its end."""
    if token in end:
        line.done = True
        return
    line.made.append(token)
    if line.matcher is not None:
        line.matcher.consume_token(token)
        line.done = line.matcher.is_stopped()
    if heard is not None and heard(line):
        line.done = True
    if not line.done and len(line.made) >= budget.most_tokens:
        line.done = line.cut = True
