"""Weights in eight bits, for a small model on a processor that multiplies them (AVX-512 VNNI, AVX-VNNI).

A linear layer keeps int8 weights with a scale for each output; what comes in is rounded to int8 with a scale for each
token (Dettmers et al. 2022, LLM.int8(), vector-wise). Sums are exact, so a row's answer does not depend on the rows
beside it. Embeddings, norms and attention stay in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LEAST = 1e-8  # the scale of a token that is all zeros


class Int8Linear(nn.Module):
    """A linear layer without its floats."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        whole, self.scale = rounded(linear.weight.detach().float())  # (out, in), (out, 1)
        self.scale = self.scale.T
        self.weight = whole.T  # a view: the multiplication wants its second factor in columns
        self.bias = None if linear.bias is None else linear.bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        """(..., in) float32 -> (..., out) float32."""
        tokens, scale = rounded(x.reshape(-1, x.shape[-1]))
        y = torch._int_mm(tokens, self.weight) * scale * self.scale
        return (y if self.bias is None else y + self.bias).reshape(*x.shape[:-1], -1)


def rounded(x: Tensor) -> tuple[Tensor, Tensor]:
    """(N, K) float32 -> int8 and (N, 1) scales, so that int8 times scale is nearly x."""
    scale = x.abs().amax(1, keepdim=True).clamp(min=LEAST) / 127
    return (x / scale).round().to(torch.int8), scale


def fast_here() -> bool:
    """Whether this processor multiplies eight bits faster than floats."""
    return bool(torch.cpu._is_vnni_supported())


def in_int8(net: nn.Module) -> nn.Module:
    """The same network with every linear layer in eight bits and the rest in float32."""
    for module in list(net.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Linear):
                setattr(module, name, Int8Linear(child))
    return net.float()
