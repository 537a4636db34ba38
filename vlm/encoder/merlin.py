"""Merlin: Stanford's encoder of abdominal CT and reports, by a checkpoint that the user has. Our own implementation.

Image: the I3ResNet of ``resnet`` with two 1 x 1 x 1 heads on its last map, 512 numbers shared with words and 1692
phenotypes. Text: Clinical-Longformer, its first token through a linear layer. Blankemeier et al., arXiv 2406.06512.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from vlm.encoder.astra import RECIPE, STRIDE
from vlm.encoder.bert import Bert
from vlm.encoder.protocol import Features, Identity, Vector
from vlm.encoder.recipe import Prepared
from vlm.encoder.resnet import I3ResNet, folded
from vlm.encoder.speed import batch_of, where

if TYPE_CHECKING:
    from tokenizers import Tokenizer

PHENOTYPES, SHARED = 1692, 512
MOST_TOKENS = 256  # prompts are short; beyond this a Longformer's window would matter
WORDS = re.compile(r"\w+|[^\w\s]+")  # words and runs of marks, as the published code splits a report


class ImageTower(I3ResNet):
    """The ResNet and its two heads, under the names of the checkpoint."""

    def __init__(self, **sizes: Any) -> None:  # the sizes of I3ResNet, smaller in tests
        super().__init__(**sizes)
        width = self.conv1.out_channels * 8 * 4
        self.classifier = nn.Conv3d(width, PHENOTYPES, 1)
        self.contrastive_head = nn.Conv3d(width, SHARED, 1)


class MerlinNet(nn.Module):
    """Both towers, under the names of the checkpoint."""

    def __init__(self, *, image: Mapping[str, Any] | None = None, text: Mapping[str, Any] | None = None) -> None:
        """Full size; smaller sizes are for tests."""
        super().__init__()
        sizes = {"words": 50265, "width": 768, "layers": 12, "heads": 12, "inner": 3072, "places": 4098, **(text or {})}
        longformer = Bert(segments=1, first_place=2, eps=1e-5, **sizes)
        self.encode_image = nn.ModuleDict({"i3_resnet": ImageTower(**(image or {}))})
        linear = nn.Linear(sizes["width"], SHARED)
        self.encode_text = nn.ModuleDict({"text_encoder": longformer, "linear_layer": linear})
        self.logit_scale = nn.Parameter(torch.ones([]))

    def image(self, pooled: Tensor) -> Tensor:
        """(N, C) pooled features -> (N, 512), not yet of length one."""
        head = self.encode_image["i3_resnet"].contrastive_head
        return nn.functional.linear(pooled, head.weight.flatten(1), head.bias)

    def text(self, ids: Tensor, counts: Tensor) -> Tensor:
        """(N, T) token ids -> (N, 512), not yet of length one."""
        return self.encode_text["linear_layer"](self.encode_text["text_encoder"](ids, counts)[:, 0])


def plain(text: str) -> str:
    """A text as the checkpoint was trained on: lower case, a space between words and marks."""
    return " ".join(WORDS.findall(text.lower()))


class Merlin:
    """Merlin with a user's checkpoint; frozen."""

    recipe = RECIPE

    def __init__(
        self, net: MerlinNet, sha256: str, licence: str, tokenizer: Tokenizer | None, *, device: str | None = None
    ) -> None:
        """Take over a loaded net; without a tokenizer there is no text tower."""
        self.licence = licence
        self.identity = Identity(encoder="merlin", weights=sha256, recipe=RECIPE.key)
        self.device, self.dtype = where(device)
        lean = folded(net.encode_image["i3_resnet"])
        self.tower = lean.to(self.device, self.dtype, memory_format=torch.channels_last_3d)
        self._heads = net.eval()
        self.text = None if tokenizer is None else MerlinText(net, tokenizer)

    def features(self, prepared: Prepared) -> Features:
        """(2048, 7, 7, 10) of a full-sized scan: cells of 48 mm."""
        values = batch_of(prepared, self.device, self.dtype)
        with torch.inference_mode():
            last = self.tower(values)["layer4"][0].permute(0, 2, 3, 1).float().cpu()
        return Features(np.ascontiguousarray(last.numpy()), STRIDE)

    def project(self, features: Vector, organ: str = "") -> Vector:  # noqa: ARG002  # the same for all
        """(N, 2048) -> (N, 512) unit vectors in the space of the text tower."""
        with torch.inference_mode():
            shared = self._heads.image(torch.from_numpy(features))
            return np.asarray(nn.functional.normalize(shared, dim=-1).numpy())


class MerlinText:
    """The words' side, on the CPU."""

    def __init__(self, net: MerlinNet, tokenizer: Tokenizer) -> None:
        self._net, self._tokenizer = net, tokenizer
        tokenizer.enable_truncation(MOST_TOKENS)
        tokenizer.enable_padding(pad_id=1, pad_token="<pad>")

    def embed(self, texts: Iterable[str]) -> Vector:
        """(N, 512) unit vectors."""
        coded = self._tokenizer.encode_batch([plain(text) for text in texts])
        ids = torch.tensor([code.ids for code in coded])
        counts = torch.tensor([code.attention_mask for code in coded], dtype=torch.bool)
        with torch.inference_mode():
            return np.asarray(nn.functional.normalize(self._net.text(ids, counts), dim=-1).numpy())
