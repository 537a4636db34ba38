"""From organ vectors of an image encoder to the embeddings that a language model reads in place of an image.

In: raw vectors of an organ. ``Basis`` centres them on the organ's usual vector and keeps the directions in which bodies
differ; ``Projector`` turns what is left into a few embeddings. Both lie in one file of safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Vectors = NDArray[np.float32]
FILE = "projector.safetensors"
FIRST = "enter.1.weight"  # (hidden, F): what the axes are folded into
DROPPED = 0.3  # share of the features that a case is read without while learning


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Basis:
    """What is usual of each organ, and in which directions bodies differ from it."""

    centres: Mapping[str, Vectors]  # organ -> (D,)
    axes: Vectors | None = None  # (F, D), the first of unit variance; None: they are folded into the projector

    @classmethod
    def of(cls, organs: Mapping[str, Vectors], features: int) -> Basis:
        """Fitted on (N, D) vectors of each organ of training patients: the first ``features`` principal directions."""
        centres = {name: vectors.mean(axis=0) for name, vectors in organs.items()}
        around = np.concatenate([vectors - centres[name] for name, vectors in organs.items()])
        _, size, axes = np.linalg.svd(around, full_matrices=False)
        scale = np.sqrt(len(around)) / size[0]
        return cls(centres=centres, axes=np.asarray(axes[:features] * scale, dtype=np.float32))

    def coordinates(self, organ: str, vector: Vectors) -> Vectors:
        """(1, F) of a vector of an organ, (1, D) without axes: one token, for ``Projector``."""
        away = vector - self.centres[organ]
        return np.asarray(away if self.axes is None else self.axes @ away, dtype=np.float32)[None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """The size of a projector."""

    tokens: int = 4  # embeddings that the model reads in place of the image
    hidden: int = 128
    heads: int = 4


class Projector(nn.Module):
    """A small perceiver: learned queries look at the organs and become embeddings (Jaegle et al., ICML 2021)."""

    def __init__(self, features: int, width: int, shape: Shape, scale: float) -> None:
        """``features`` of an organ's token, ``width`` of the model's embeddings, ``scale`` their standard deviation."""
        super().__init__()
        self.enter = nn.Sequential(nn.Dropout(DROPPED), nn.Linear(features, shape.hidden), nn.GELU())
        self.queries = nn.Parameter(torch.randn(shape.tokens, shape.hidden) * 0.1)
        self.look = nn.MultiheadAttention(shape.hidden, shape.heads, batch_first=True)
        self.leave = nn.Sequential(nn.LayerNorm(shape.hidden), nn.Linear(shape.hidden, width))
        self.scale = scale

    def forward(self, organs: Tensor, absent: Tensor) -> Tensor:
        """(B, K, F) tokens of organs, (B, K) True where there is none -> (B, tokens, width)."""
        seen = self.enter(organs)  # (B, K, H)
        queries = self.queries.expand(len(organs), -1, -1)  # (B, T, H)
        found, _ = self.look(queries, seen, seen, key_padding_mask=absent, need_weights=False)
        told: Tensor = self.leave(queries + found)  # (B, T, width), about unit variance after the norm
        return told * self.scale


def save(folder: Path, weights: Mapping[str, Tensor], basis: Basis | None, note: Mapping[str, Any]) -> None:
    """Weights and what they are made for, in half precision."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    state = {f"projector.{name}": value for name, value in weights.items()}
    if basis is not None:
        state |= {f"centre.{name}": torch.from_numpy(vector) for name, vector in basis.centres.items()}
        if basis.axes is not None:
            state["axes"] = torch.from_numpy(basis.axes)
    small = {name: value.detach().cpu().half().contiguous() for name, value in state.items()}
    save_file(small, folder / FILE, metadata={"made": json.dumps(note)})


def load(folder: Path) -> tuple[dict[str, Tensor], Basis | None, dict[str, Any]]:
    """The projector's weights, its basis where one was saved, and the note."""
    from safetensors import safe_open

    with safe_open(folder / FILE, framework="pt") as file:
        held = {name: file.get_tensor(name).float() for name in file.keys()}  # noqa: SIM118  # no mapping
        note: dict[str, Any] = json.loads(file.metadata()["made"])
    weights = {name.removeprefix("projector."): value for name, value in held.items() if name.startswith("projector.")}
    centres = {name.removeprefix("centre."): held[name].numpy() for name in held if name.startswith("centre.")}
    axes = held["axes"].numpy() if "axes" in held else None
    return weights, Basis(centres=centres, axes=axes) if centres else None, note


def folded(weights: Mapping[str, Tensor], basis: Basis) -> tuple[dict[str, Tensor], Basis]:
    """The same map with the axes inside its first layer: smaller, where there are more axes than hidden units."""
    if basis.axes is None:
        return dict(weights), basis
    first = weights[FIRST] @ torch.from_numpy(basis.axes)
    return {**weights, FIRST: first}, Basis(centres=basis.centres)
