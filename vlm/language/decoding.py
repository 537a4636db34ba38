"""Greedy decoding of several prompts together, each held by its own grammar.

A pass through a small model costs nearly the same for one row as for eight, so rows are decoded side by side, and a
finished row leaves the batch. The text that a grammar forces at the start is read with the prompt, not generated; what
all prompts begin with is read once, and kept for the next call (``Preamble``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from vlm.language.models import Budget, ModelAnswerError

WORTH = 8  # tokens that prompts must have in common beyond what is kept, before they are read apart

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
    late: bool = False  # the time was up before its end

    @property
    def start(self) -> list[int]:
        """What is read before the first token is made."""
        return [*self.prompt, *self.opening]


class Preamble:
    """What the prompts of one model begin with, as keys and values: read at one call, taken up by the next."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self._layers: list[tuple[Tensor, Tensor]] = []  # (1, heads, tokens, width) each

    def begun(self, net: Any, starts: Sequence[Sequence[int]]) -> tuple[Any, int]:
        """A cache for as many lines, and how many of their tokens it holds already."""
        import torch
        from transformers import DynamicCache

        common = list(starts[0][: alike([start[:-1] for start in starts])])
        held = alike([common, self.tokens])
        if len(starts) > 1 and len(common) - held >= WORTH:
            cache = DynamicCache(config=net.config)
            net(input_ids=torch.tensor([common], device=net.device), past_key_values=cache, logits_to_keep=1)
            plain = all(type(layer).__name__ == "DynamicLayer" for layer in cache.layers)  # no window, no state
            self._layers = [(layer.keys, layer.values) for layer in cache.layers] if plain else []
            self.tokens = common if plain else []
            held = len(self.tokens)
        cache = DynamicCache(config=net.config)
        for n, (keys, values) in enumerate(self._layers if held else ()):
            shape = (len(starts), -1, -1, -1)
            cache.update(keys[:, :, :held].expand(shape), values[:, :, :held].expand(shape), n)
        return cache, held


def alike(texts: Sequence[Sequence[int]]) -> int:
    """How many tokens all begin with."""
    columns = zip(*texts, strict=False)  # as far as the shortest
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def decode(
    net: Any,
    lines: Sequence[Line],
    *,
    end: frozenset[int],
    budget: Budget,
    heard: Callable[[Line], bool] | None = None,
    preamble: Preamble | None = None,
) -> None:
    """Fill ``made`` of every line; those that the time does not suffice for are ``late``.

    Args:
        net: a causal model of transformers.
        lines: decoded together.
        end: tokens that end an answer.
        budget: ``most_tokens`` a line, ``total_s`` for all of them.
        heard: called after each token of a line; True ends it.
        preamble: what was read for this model before.

    Raises:
        ModelAnswerError: a grammar allows nothing any more.
    """
    import torch

    deadline, alive = time.monotonic() + budget.total_s, list(lines)
    with torch.inference_mode():
        cache, held = (preamble or Preamble()).begun(net, [line.start for line in lines])
        tokens, seen = (part.to(net.device) for part in _padded([line.start[held:] for line in lines]))
        seen = torch.cat([seen.new_ones(len(lines), held), seen], dim=1)
        places = (seen.cumsum(1) - 1).clamp(min=0)[:, held:]
        while alive:
            out = net(
                input_ids=tokens, attention_mask=seen, position_ids=places, past_key_values=cache,
                use_cache=True, logits_to_keep=1,
            )  # fmt: skip
            if time.monotonic() > deadline:
                for line in alive:
                    line.late = True
                return
            scores = out.logits[:, -1].float()  # (B, words)
            _mask(scores, alive)
            for line, token in zip(alive, scores.argmax(-1).tolist(), strict=True):
                _take(line, token, end, budget, heard)
            kept = [n for n, line in enumerate(alive) if not line.done]
            if 0 < len(kept) < len(alive):
                rows = torch.tensor(kept, device=net.device)
                cache.batch_select_indices(rows)
                seen, places = seen[rows], places[rows]
            alive = [alive[n] for n in kept]
            tokens = torch.tensor([[line.made[-1]] for line in alive], device=net.device)
            if alive:
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
