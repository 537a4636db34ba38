"""M3D-CLIP: an encoder of CT and reports of any region, by a checkpoint that the user has. Our own implementation.

Image: patches of 4 x 16 x 16 voxels, a plain vision transformer whose first token stands for the scan. Text: BERT's
first token. Both through one linear layer. Bai et al., arXiv 2404.00578. It was trained on pictures from 0 to 1 of one
size: no Hounsfield unit and no millimetre reaches it, so it cannot tell dense from bright or large from near.
"""

from __future__ import annotations

from collections.abc import Mapping
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

MOST_TOKENS = 128

# Published: each scan's own least and most become 0 and 1, cut to what is above 0, 32 x 256 x 256. Slices from below,
# rows to the back, columns to the left, as they are shown: presumed, the files that it was trained on do not say.
RECIPE = Recipe(key="m3dclip", shape=(256, 256, 32), spacing_mm=None, window_hu=None, above_hu=-1024.0, axes="SPL")


class Attention(nn.Module):
    """Every token looks at every token; query, key and value by one matrix without a bias."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> the same."""
        batch, tokens, width = x.shape
        q, k, v = self.qkv(x).view(batch, tokens, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        seen = functional.scaled_dot_product_attention(q, k, v)
        return self.out_proj(seen.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """Attention and two linear layers, each normed before and added to what came in."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.mlp = nn.ModuleDict({"linear1": nn.Linear(width, inner), "linear2": nn.Linear(inner, width)})

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> the same."""
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["linear2"](functional.gelu(self.mlp["linear1"](self.norm2(x))))


class Patches(nn.Module):
    """Scan to tokens, with a learned vector for each place."""

    def __init__(self, width: int, patch: tuple[int, int, int], grid: tuple[int, int, int]) -> None:
        super().__init__()
        self.patch = patch
        self.patch_embeddings = nn.Sequential(nn.Identity(), nn.Linear(int(np.prod(patch)), width))
        self.position_embeddings = nn.Parameter(torch.zeros(1, int(np.prod(grid)), width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, Z, Y, X) -> (B, T, C)."""
        (p, q, r), (_, _, *size) = self.patch, x.shape
        grid = x.view(len(x), size[0] // p, p, size[1] // q, q, size[2] // r, r)
        return (
            self.patch_embeddings(grid.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(1, 3)) + self.position_embeddings
        )


class ImageTower(nn.Module):
    """The vision transformer, under the names of the checkpoint."""

    def __init__(
        self, *, width: int, depth: int, heads: int, inner: int, patch: tuple[int, int, int], size: tuple[int, int, int]
    ) -> None:
        super().__init__()
        self.patch = patch
        self.grid = (size[0] // patch[0], size[1] // patch[1], size[2] // patch[2])
        self.patch_embedding = Patches(width, patch, self.grid)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.blocks = nn.ModuleList(Block(width, heads, inner) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, Z, Y, X) -> (B, 1 + T, C), the scan's token first."""
        tokens = self.patch_embedding(x)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1)
        for block in self.blocks:
            tokens = block(tokens)
        return self.norm(tokens)


SIZES: Mapping[str, Any] = {
    "width": 768, "depth": 12, "heads": 12, "inner": 3072, "patch": (4, 16, 16), "size": (32, 256, 256),
}  # fmt: skip


class M3DCLIPNet(nn.Module):
    """Both towers, under the names of the checkpoint."""

    def __init__(self, *, image: Mapping[str, Any] = SIZES, text: Mapping[str, Any] | None = None) -> None:
        """Full size; smaller sizes are for tests."""
        super().__init__()
        sizes = {"words": 30522, "width": 768, "layers": 12, "heads": 12, "inner": 3072, **(text or {})}
        self.vision_encoder = ImageTower(**image)
        self.language_encoder = Bert(**sizes)
        self.mm_vision_proj = nn.Linear(image["width"], image["width"])
        self.mm_language_proj = nn.Linear(sizes["width"], image["width"])
        self.logit_scale = nn.Parameter(torch.ones([]))

    def image(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, Z, Y, X) -> the scan among words (B, C) of length one, and the tokens (B, T, C)."""
        tokens = self.vision_encoder(x)
        return functional.normalize(self.mm_vision_proj(tokens[:, 0]), dim=-1), tokens[:, 1:]

    def text(self, ids: Tensor, counts: Tensor) -> Tensor:
        """(N, T), (N, T) bool -> (N, C) of length one."""
        return functional.normalize(self.mm_language_proj(self.language_encoder(ids, counts)[:, 0]), dim=-1)


class M3DCLIP:
    """M3D-CLIP with a user's checkpoint; frozen."""

    recipe = RECIPE

    def __init__(
        self, net: M3DCLIPNet, sha256: str, licence: str, tokenizer: Tokenizer | None, *, device: str | None = None
    ) -> None:
        """Take over a loaded net; without a tokenizer there is no text tower."""
        self.identity = Identity(encoder="m3dclip", weights=sha256, recipe=RECIPE.key)
        self.licence = licence
        self.device, self.dtype = where(device)
        self._net = net.eval().to(self.device)
        for part in (self._net.vision_encoder, self._net.mm_vision_proj):
            part.to(self.dtype)
        self.text = words_of(self._net.text, tokenizer, MOST_TOKENS, self.device)

    def features(self, prepared: Prepared) -> Features:
        """(768, 16, 16, 8) along R, A, S, and the scan's own vector: its token alone was trained with words."""
        tower = self._net.vision_encoder
        values = batch_of(prepared, self.device, self.dtype)
        with torch.inference_mode():
            whole, tokens = (part[0].float().cpu() for part in self._net.image(values))
        cells = tokens.T.unflatten(1, tower.grid).numpy()  # (C, along S, along P, along L)
        stride = (tower.patch[2], tower.patch[1], tower.patch[0])
        middle = tuple((step - 1) / 2 for step in stride)
        turned = np.ascontiguousarray(cells[:, :, ::-1, ::-1].transpose(0, 3, 2, 1))
        return Features(turned, stride, whole.numpy(), (middle[0], middle[1], middle[2]))

    def project(self, features: Vector, organ: str = "") -> Vector:  # noqa: ARG002  # the same for all
        """The features of a part have no place among words: themselves."""
        return features
