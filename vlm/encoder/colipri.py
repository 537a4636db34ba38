"""COLIPRI: an encoder of chest CT and reports, by a checkpoint that the user has. Our own implementation.

Image: patches of 8 x 8 x 8 voxels of 2 mm, 16 blocks of attention that turn query and key by where a patch lies, one
1 x 1 x 1 head, and a pooling in which the mean of all patches asks each of them. Text: CXR-BERT, pooled the same way.
Wald et al., arXiv 2510.15042; the image tower is Primus M of arXiv 2503.01835. MIT, for research as its card says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlm.encoder.bert import Bert, mean_of, words_of
from vlm.encoder.protocol import Features, Identity, Vector
from vlm.encoder.recipe import Prepared, Recipe
from vlm.encoder.speed import batch_of, where

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHARED, MOST_TOKENS = 768, 512
LONGEST = 10000.0  # of the waves that tell patches apart: the slowest turns once in about so many patches

RECIPE = Recipe(
    key="colipri", shape=(192, 192, 192), spacing_mm=(2.0, 2.0, 2.0), window_hu=(-1000.0, 1000.0), out=(-1.0, 1.0),
    fill=-1.0, aligned="middle",
)  # fmt: skip


class TurnedAttention(nn.Module):
    """Attention in which query and key are turned by where their patch lies; normed before it leaves."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj, self.v_proj = nn.Linear(width, width), nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """(B, T, C), two of (T, C / heads) -> (B, T, C)."""
        batch, tokens, width = x.shape
        q, k, v = (
            part(x).view(batch, tokens, self.heads, -1).transpose(1, 2)
            for part in (self.q_proj, self.k_proj, self.v_proj)
        )
        seen = functional.scaled_dot_product_attention(turned(q, turns), turned(k, turns), v)
        return self.proj(self.norm(seen.transpose(1, 2).reshape(batch, tokens, width)))


class Gated(nn.Module):
    """Two linear layers, one the gate of the other, normed, and a third."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.fc1_g, self.fc1_x = nn.Linear(width, inner), nn.Linear(width, inner)
        self.norm = nn.LayerNorm(inner)
        self.fc2 = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> the same."""
        return self.fc2(self.norm(functional.silu(self.fc1_g(x)) * self.fc1_x(x)))


class Block(nn.Module):
    """Attention and a gated step, each scaled channel by channel and added to what came before."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn, self.mlp = TurnedAttention(width, heads), Gated(width, width * 8 // 3)
        self.gamma_1, self.gamma_2 = nn.Parameter(torch.ones(width)), nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """(B, T, C) -> the same."""
        x = x + self.gamma_1 * self.attn(self.norm1(x), turns)
        return x + self.gamma_2 * self.mlp(self.norm2(x))


def turned(x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """(B, heads, T, D): each pair of neighbouring channels turned by its angle; sines and cosines (T, D)."""
    sines, cosines = turns
    quarter = torch.stack([-x[..., 1::2], x[..., ::2]], dim=-1).flatten(-2)
    return x * cosines + quarter * sines


def turns_of(grid: tuple[int, int, int], head: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Sines and cosines (T, head) of every patch of a grid: a third of a head's channels for each axis."""
    bands = LONGEST ** (-torch.arange(head // 6, device=like.device, dtype=torch.float32) / (head // 6))
    axes = (torch.arange(size, device=like.device, dtype=torch.float32) for size in grid)
    places = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)  # (x, y, z, 3)
    angles = (places[..., None] * bands).flatten(3).flatten(0, 2).repeat_interleave(2, dim=-1)
    return angles.sin().to(like.dtype), angles.cos().to(like.dtype)


class AskingPool(nn.Module):
    """The mean of all tokens asks each of them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)

    def forward(self, x: Tensor, counts: Tensor | None = None) -> Tensor:
        """(B, T, C), (B, T) bool -> (B, C)."""
        asks = x.mean(dim=1) if counts is None else mean_of(x, counts)
        ignored = None if counts is None else ~counts
        return self.attn(asks[:, None], x, x, key_padding_mask=ignored, need_weights=False)[0][:, 0]

    def each(self, x: Tensor) -> Tensor:
        """(B, T, C): what the pooling makes of a token that is alone."""
        weight, bias = self.attn.in_proj_weight.chunk(3)[2], self.attn.in_proj_bias.chunk(3)[2]
        return self.attn.out_proj(functional.linear(x, weight, bias))


class ImageTower(nn.Module):
    """Scan to tokens, under the names of the checkpoint."""

    def __init__(self, *, width: int, depth: int, heads: int, patch: int, pool_heads: int, shared: int) -> None:
        super().__init__()
        self.heads, self.patch = heads, patch
        first = nn.Conv3d(1, width, patch, stride=patch)
        eva = nn.ModuleDict(
            {"blocks": nn.ModuleList(Block(width, heads) for _ in range(depth)), "norm": nn.LayerNorm(width)}
        )
        self.backbone = nn.ModuleDict({"down_projection": nn.ModuleDict({"proj": first}), "eva": eva})
        self.projector = nn.Conv3d(width, shared, 1)
        self.pooler = AskingPool(shared, pool_heads)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) -> (B, shared, x, y, z), before the pooling."""
        x = self.backbone["down_projection"]["proj"](x)
        grid = (x.shape[2], x.shape[3], x.shape[4])
        turns = turns_of(grid, x.shape[1] // self.heads, x)
        tokens = x.flatten(2).transpose(1, 2)  # (B, T, C)
        for block in self.backbone["eva"]["blocks"]:
            tokens = block(tokens, turns)
        last = self.backbone["eva"]["norm"](tokens).transpose(1, 2)
        return self.projector(last.unflatten(2, grid))


SIZES: Mapping[str, int] = {"width": 864, "depth": 16, "heads": 12, "patch": 8, "pool_heads": 12, "shared": SHARED}


class COLIPRINet(nn.Module):
    """Both towers, under the names of the checkpoint."""

    def __init__(self, *, image: Mapping[str, int] = SIZES, text: Mapping[str, Any] | None = None) -> None:
        """Full size; smaller sizes are for tests."""
        super().__init__()
        sizes = {"words": 30522, "width": SHARED, "layers": 12, "heads": 12, "inner": 3072, **(text or {})}
        self.image_encoder = ImageTower(**image)
        pooler = AskingPool(sizes["width"], image["pool_heads"])
        self.text_encoder = nn.ModuleDict({"backbone": Bert(**sizes), "pooler": pooler})
        self.register_buffer("softmax_temperature", torch.tensor(1.0))

    def image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, X, Y, Z) -> the scan among words (B, D) of length one, and each patch (B, D, x, y, z), not yet."""
        cells = self.image_encoder(x)
        tokens, pooler = cells.flatten(2).transpose(1, 2), self.image_encoder.pooler
        each = pooler.each(tokens).transpose(1, 2).unflatten(2, cells.shape[2:])
        return functional.normalize(pooler(tokens), dim=-1), each

    def text(self, ids: Tensor, counts: Tensor) -> Tensor:
        """(N, T), (N, T) bool -> (N, D) of length one."""
        tokens = self.text_encoder["backbone"](ids, counts)
        return functional.normalize(self.text_encoder["pooler"](tokens, counts), dim=-1)


class COLIPRI:
    """COLIPRI with a user's checkpoint; frozen. Its patches lie among words, too: organs can be asked."""

    recipe = RECIPE

    def __init__(
        self, net: COLIPRINet, sha256: str, licence: str, tokenizer: Tokenizer | None, *, device: str | None = None
    ) -> None:
        """Take over a loaded net; without a tokenizer there is no text tower."""
        self.identity = Identity(encoder="colipri", weights=sha256, recipe=RECIPE.key)
        self.licence = licence
        self.device, self.dtype = where(device)
        self._net = net.eval().to(self.device)
        self._net.image_encoder.to(self.dtype)
        self.text = words_of(self._net.text, tokenizer, MOST_TOKENS, self.device)

    def features(self, prepared: Prepared) -> Features:
        """(768, 24, 24, 24) of a full-sized scan, cells of 16 mm, and the scan's own vector."""
        values = batch_of(prepared, self.device, self.dtype)
        with torch.inference_mode():
            whole, each = (part[0].float().cpu().numpy() for part in self._net.image(values))
        patch = self._net.image_encoder.patch
        middle = (patch - 1) / 2
        return Features(np.ascontiguousarray(each), (patch,) * 3, whole, (middle,) * 3, parts=True)

    def project(self, features: Vector, organ: str = "") -> Vector:  # noqa: ARG002  # the same for all
        """(N, 768) -> unit vectors in the space of the text tower."""
        return np.asarray(features / np.linalg.norm(features, axis=-1, keepdims=True).clip(1e-12), dtype=np.float32)
