"""BERT: the text tower of MiniLM, CXR-BERT and M3D-CLIP, and of Merlin's Longformer on short texts.

In: token ids and a mask of which count. Out: a vector for each token. Names of its parts are those of the published
files. Devlin et al., NAACL 2019. A Longformer's window of 256 tokens to either side is all of a text of 256 tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from vlm.encoder.protocol import Vector

if TYPE_CHECKING:
    from tokenizers import Tokenizer

NORM_EPS = 1e-12  # as published; RoBERTa and Longformer have 1e-5


class SelfAttention(nn.Module):
    """Every token looks at every token that counts."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """(B, T, C), (B, T) bool -> (B, T, C)."""
        batch, tokens, width = x.shape
        q, k, v = (
            part(x).view(batch, tokens, self.heads, -1).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        seen = functional.scaled_dot_product_attention(q, k, v, attn_mask=counts[:, None, None, :])
        return seen.transpose(1, 2).reshape(batch, tokens, width)


class Added(nn.Module):
    """A linear layer whose output is added to what came before, then normed."""

    def __init__(self, into: int, out: int, eps: float) -> None:
        super().__init__()
        self.dense = nn.Linear(into, out)
        self.LayerNorm = nn.LayerNorm(out, eps=eps)

    def forward(self, x: Tensor, before: Tensor) -> Tensor:
        """(B, T, into), (B, T, out) -> (B, T, out)."""
        return self.LayerNorm(self.dense(x) + before)


class Layer(nn.Module):
    """Attention, then two linear layers."""

    def __init__(self, width: int, heads: int, inner: int, eps: float) -> None:
        super().__init__()
        self.attention = nn.ModuleDict({"self": SelfAttention(width, heads), "output": Added(width, width, eps)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(width, inner)})
        self.output = Added(inner, width, eps)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """(B, T, C), (B, T) bool -> (B, T, C)."""
        x = self.attention["output"](self.attention["self"](x, counts), x)
        return self.output(functional.gelu(self.intermediate["dense"](x)), x)


class Embeddings(nn.Module):
    """Word, place and segment of each token, summed."""

    def __init__(self, words: int, width: int, places: int, segments: int, first_place: int, eps: float) -> None:
        super().__init__()
        self.first_place = first_place
        self.word_embeddings = nn.Embedding(words, width)
        self.position_embeddings = nn.Embedding(places, width)
        self.token_type_embeddings = nn.Embedding(segments, width)
        self.LayerNorm = nn.LayerNorm(width, eps=eps)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, C); all tokens are of the first segment."""
        places = self.position_embeddings.weight[self.first_place : self.first_place + ids.shape[1]]
        return self.LayerNorm(self.word_embeddings(ids) + places + self.token_type_embeddings.weight[0])


class Bert(nn.Module):
    """The encoder without its heads."""

    def __init__(
        self,
        *,
        words: int,
        width: int,
        layers: int,
        heads: int,
        inner: int,
        places: int = 512,
        segments: int = 2,
        first_place: int = 0,
        eps: float = NORM_EPS,
    ) -> None:
        super().__init__()
        self.embeddings = Embeddings(words, width, places, segments, first_place, eps)
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(Layer(width, heads, inner, eps) for _ in range(layers))})

    def forward(self, ids: Tensor, counts: Tensor) -> Tensor:
        """(B, T) int64, (B, T) bool -> (B, T, C)."""
        x = self.embeddings(ids)
        for layer in self.encoder["layer"]:
            x = layer(x, counts)
        return x


def mean_of(x: Tensor, counts: Tensor) -> Tensor:
    """(B, T, C), (B, T) bool -> (B, C): the mean over the tokens that count."""
    weight = counts.unsqueeze(-1).to(x.dtype)
    return torch.sum(x * weight, dim=1) / weight.sum(dim=1)


class BertWords:
    """The words' side of a checkpoint whose text tower is a BERT."""

    def __init__(
        self, text: Callable[[Tensor, Tensor], Tensor], tokenizer: Tokenizer, most: int, device: torch.device
    ) -> None:
        """``text`` makes unit vectors (N, D) of ids (N, T) and which of them count; cut at ``most`` tokens."""
        self._text, self._tokenizer, self._device = text, tokenizer, device
        tokenizer.enable_truncation(most)
        tokenizer.enable_padding()

    def embed(self, texts: Iterable[str]) -> Vector:
        """(N, D) unit vectors."""
        coded = self._tokenizer.encode_batch(list(texts))
        ids = torch.tensor([code.ids for code in coded], device=self._device)
        counts = torch.tensor([code.attention_mask for code in coded], dtype=torch.bool, device=self._device)
        with torch.inference_mode():
            return np.asarray(self._text(ids, counts).cpu().numpy())


def words_of(
    text: Callable[[Tensor, Tensor], Tensor], tokenizer: Tokenizer | None, most: int, device: torch.device
) -> BertWords | None:
    """The words' side, as ``BertWords`` takes it; None where no tokenizer lies beside the checkpoint."""
    return None if tokenizer is None else BertWords(text, tokenizer, most, device)
