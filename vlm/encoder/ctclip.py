"""CT-CLIP: an encoder of chest CT and reports, by a checkpoint that the user has. Our own implementation.

Image: patches of 20 x 20 x 10 voxels, four layers of attention within a slab, four along the slabs, each token then
replaced by its nearest entry of a codebook; the mean over slabs through one linear layer. Text: CXR-BERT's first
token through another. Hamamci et al., arXiv 2403.17834. The weights are CC-BY-NC-SA: not for commercial use.

What its published scripts do twice it gets once: they apply a header's slope and intercept to numbers that the
reader had scaled already. A Recipe takes Hounsfield units, whoever wrote the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlm.encoder.bert import Bert, words_of
from vlm.encoder.protocol import Features, Identity, Vector
from vlm.encoder.recipe import Prepared, Recipe
from vlm.encoder.speed import batch_of, where

if TYPE_CHECKING:
    from tokenizers import Tokenizer

MOST_TOKENS = 512
SCALE = 8.0  # of the cosine between query and key, as published

# Voxels run along L and P, as ITK writes files; that the training files did is presumed, not checked.
RECIPE = Recipe(
    key="ctclip", shape=(480, 480, 240), spacing_mm=(0.75, 0.75, 1.5), window_hu=(-1000.0, 1000.0), out=(-1.0, 1.0),
    fill=-1.0, axes="SLP", aligned="cells", clip_first=True,
)  # fmt: skip


class Norm(nn.Module):
    """Layer norm without a bias; ``beta`` stands in the files and is zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(width))
        self.register_buffer("beta", torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        return functional.layer_norm(x, x.shape[-1:], self.gamma, self.beta)


class Places(nn.Module):
    """A depthwise convolution that tells tokens where they are; along slabs it looks back, not ahead."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dsconv = nn.Conv3d(width, width, 3, groups=width)

    def forward(self, x: Tensor, shape: tuple[int, int, int, int]) -> Tensor:
        """(N, T, C) -> the same. Tokens along slabs are read in (B, t, h, w) without being turned, as trained."""
        grid = x.reshape(*shape, -1).movedim(-1, 1)
        grid = self.dsconv(functional.pad(grid, (1, 1, 1, 1, 2, 0)))
        return grid.movedim(1, -1).reshape(x.shape)


class CosineAttention(nn.Module):
    """Attention by the cosine of query and key."""

    def __init__(self, width: int, heads: int, head: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm, self.context_norm = Norm(width), Norm(width)
        self.null_kv = nn.Parameter(torch.zeros(heads, 0, head))
        self.to_q = nn.Linear(width, heads * head, bias=False)
        self.to_kv = nn.Linear(width, heads * head * 2, bias=False)
        self.q_scale, self.k_scale = nn.Parameter(torch.ones(head)), nn.Parameter(torch.ones(head))
        self.to_out = nn.Linear(heads * head, width, bias=False)

    def forward(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """(N, T, C), (heads, T, T) -> (N, T, C). Keys and values are of the input before its norm, as trained."""
        count, tokens, _ = x.shape
        parts = (self.to_q(self.norm(x)), *self.to_kv(x).chunk(2, dim=-1))
        q, k, v = (part.view(count, tokens, self.heads, -1).transpose(1, 2) for part in parts)
        q = functional.normalize(q, dim=-1) * self.q_scale
        k = functional.normalize(k, dim=-1) * self.k_scale
        mask = None if bias is None else bias[None].to(q.dtype)
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=SCALE)
        return self.to_out(seen.transpose(1, 2).reshape(count, tokens, -1))


class Gate(nn.Module):
    """Half of the channels open or close the other half."""

    def forward(self, x: Tensor) -> Tensor:
        value, gate = x.chunk(2, dim=-1)
        return functional.gelu(gate) * value


class Transformer(nn.Module):
    """Layers of places, attention and a gated step, each added to what came before."""

    def __init__(self, width: int, depth: int, heads: int, head: int) -> None:
        super().__init__()
        inner = int(4 * 2 / 3 * width)
        step = [lambda: nn.LayerNorm(width), lambda: nn.Linear(width, inner * 2, bias=False), Gate, nn.Identity,
                lambda: nn.Linear(inner, width, bias=False)]  # fmt: skip
        # The third place was for cross attention and is empty; it keeps the numbers of the parts as in the files.
        self.layers = nn.ModuleList(
            nn.ModuleList([Places(width), CosineAttention(width, heads, head), nn.Identity(), _sequence(step)])
            for _ in range(depth)
        )
        self.norm_out = Norm(width)

    def forward(self, x: Tensor, shape: tuple[int, int, int, int], bias: Tensor | None = None) -> Tensor:
        """(N, T, C) -> (N, T, C)."""
        for places, attention, _, step in self.layers:
            x = places(x, shape) + x
            x = attention(x, bias) + x
            x = step(x) + x
        return self.norm_out(x)


def _sequence(makers: Sequence[Callable[[], nn.Module]]) -> nn.Sequential:
    return nn.Sequential(*(make() for make in makers))


class PositionBias(nn.Module):
    """What a head adds for tokens so many rows and columns apart: a small network of their log distance."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.net = nn.ModuleList(
            [
                nn.Sequential(nn.Linear(2, width), nn.LeakyReLU(0.1)),
                nn.Sequential(nn.Linear(width, width), nn.LeakyReLU(0.1)),
                nn.Linear(width, heads),
            ]
        )

    def forward(self, rows: int, columns: int) -> Tensor:
        """-> (heads, rows * columns, rows * columns)."""
        device = self.net[2].weight.device
        grid = torch.cartesian_prod(torch.arange(rows, device=device), torch.arange(columns, device=device)).float()
        apart = grid[:, None] - grid[None]
        x = torch.sign(apart) * torch.log(apart.abs() + 1)
        for layer in self.net:
            x = layer(x)
        return x.permute(2, 0, 1)


class ImageTower(nn.Module):
    """Scan to tokens: (B, 1, Z, X, Y) -> (B, t, h, w, C)."""

    def __init__(self, *, width: int, patch: int, slab: int, depth: int, heads: int, head: int, codes: int) -> None:
        super().__init__()
        self.patch, self.slab = patch, slab
        voxels = patch * patch * slab
        self.spatial_rel_pos_bias = PositionBias(width, heads)
        self.to_patch_emb = nn.Sequential(
            nn.Identity(), nn.LayerNorm(voxels), nn.Linear(voxels, width), nn.LayerNorm(width)
        )
        self.enc_spatial_transformer = Transformer(width, depth, heads, head)
        self.enc_temporal_transformer = Transformer(width, depth, heads, head)
        self.vq = nn.ModuleDict({"_codebook": Codebook(codes, width)})

    def forward(self, x: Tensor) -> Tensor:
        batch, p = x.shape[0], self.patch
        t, h, w = x.shape[2] // self.slab, x.shape[3] // p, x.shape[4] // p
        x = x.view(batch, t, self.slab, h, p, w, p).permute(0, 1, 3, 5, 2, 4, 6).reshape(batch, t, h, w, -1)
        x = self.to_patch_emb(x)  # (B, t, h, w, C)
        shape = (batch, t, h, w)
        x = self.enc_spatial_transformer(x.reshape(batch * t, h * w, -1), shape, self.spatial_rel_pos_bias(h, w))
        x = x.view(batch, t, h * w, -1).transpose(1, 2).reshape(batch * h * w, t, -1)
        x = self.enc_temporal_transformer(x, shape)
        x = x.view(batch, h, w, t, -1).permute(0, 3, 1, 2, 4)
        return self.vq["_codebook"](x)


class Codebook(nn.Module):
    """Every token becomes the entry with the greatest cosine."""

    def __init__(self, codes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("embed", torch.zeros(1, codes, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)."""
        entries = self.embed[0]
        nearest = (x.flatten(0, -2) @ functional.normalize(entries, dim=-1).T).argmax(dim=-1)
        return entries[nearest].view(x.shape)


SIZES: Mapping[str, int] = {"width": 512, "patch": 20, "slab": 10, "depth": 4, "heads": 8, "head": 32, "codes": 8192}


class CTCLIPNet(nn.Module):
    """Both towers, under the names of the checkpoint."""

    def __init__(
        self, *, image: Mapping[str, int] = SIZES, text: Mapping[str, Any] | None = None, cells: int = 576
    ) -> None:
        """Full size; smaller sizes are for tests. ``cells`` are the patches of one slab."""
        super().__init__()
        sizes = {"words": 30522, "width": 768, "layers": 12, "heads": 12, "inner": 3072, **(text or {})}
        self.visual_transformer = ImageTower(**image)
        self.text_transformer = Bert(**sizes)
        self.to_visual_latent = nn.Linear(cells * image["width"], 512, bias=False)
        self.to_text_latent = nn.Linear(sizes["width"], 512, bias=False)
        self.temperature = nn.Parameter(torch.ones([]))

    def image(self, tokens: Tensor) -> Tensor:
        """(B, t, h, w, C) -> (B, 512) of length one."""
        return functional.normalize(self.to_visual_latent(tokens.mean(dim=1).flatten(1)), dim=-1)

    def text(self, ids: Tensor, counts: Tensor) -> Tensor:
        """(N, T) -> (N, 512) of length one."""
        return functional.normalize(self.to_text_latent(self.text_transformer(ids, counts)[:, 0]), dim=-1)


class CTCLIP:
    """CT-CLIP with a user's checkpoint; frozen, in float32: its codebook would flip under less."""

    recipe = RECIPE

    def __init__(
        self, net: CTCLIPNet, sha256: str, licence: str, tokenizer: Tokenizer | None, *, device: str | None = None
    ) -> None:
        """Take over a loaded net; without a tokenizer there is no text tower."""
        self.identity = Identity(encoder="ctclip", weights=sha256, recipe=RECIPE.key)
        self.licence = licence
        self.device, _ = where(device)
        self._net = net.eval().to(self.device)
        self.text = words_of(self._net.text, tokenizer, MOST_TOKENS, self.device)

    def features(self, prepared: Prepared) -> Features:
        """(512, 24, 24, 24) of a full-sized scan, and the scan's own vector: it hangs on where each patch lies."""
        with torch.inference_mode():
            tokens = self._net.visual_transformer(batch_of(prepared, self.device))
            whole = self._net.image(tokens)[0].cpu().numpy()
        kept = tokens[0].permute(3, 1, 2, 0).cpu().numpy()  # (C, along L, along P, along S)
        tower = self._net.visual_transformer
        stride = (tower.patch, tower.patch, tower.slab)
        middle = tuple((step - 1) / 2 for step in stride)
        return Features(np.ascontiguousarray(kept[:, ::-1, ::-1]), stride, whole, (middle[0], middle[1], middle[2]))

    def project(self, features: Vector, organ: str = "") -> Vector:  # noqa: ARG002  # the same for all
        """The features of a part have no place among words: themselves."""
        return features
