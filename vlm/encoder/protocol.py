"""What an encoder is to the rest of the product: a prepared scan goes in, a feature map comes out.

Vectors of two identities (encoder, weights, recipe) are never compared. ``vlm.encoder.embedding`` makes vectors of a
scan and of its organs. Nothing here loads a network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlm.encoder.recipe import Prepared, Recipe

Vector = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """What two vectors share when they can be compared."""

    encoder: str  # "astra"
    weights: str  # sha256 of the published file, hex
    recipe: str  # key of the recipe

    def __str__(self) -> str:
        return f"{self.encoder}-{self.weights[:12]}-{self.recipe}"


@dataclass(frozen=True, eq=False)
class Features:
    """A feature map: ``values`` (C, x, y, z) float32 along R, A, S; cell i lies at input voxel offset + i * stride."""

    values: NDArray[np.float32]
    stride: tuple[int, int, int]
    whole: Vector | None = None  # the scan's vector among words, where it is no projection of the map's mean
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    parts: bool = False  # whether cells lie among words, too, where the scan has a vector of its own

    @property
    def pooled(self) -> Vector:
        """(C,) mean over space."""
        return np.asarray(self.values.mean(axis=(1, 2, 3)))


class TextTower(Protocol):
    """Words in the space of the same checkpoint's images."""

    def embed(self, texts: Iterable[str]) -> Vector:
        """(N, D) float32, one unit vector a text."""


class Encoder(Protocol):
    """A network that has looked at many scans."""

    @property
    def identity(self) -> Identity:
        """Which encoder, weights and recipe its vectors are of."""

    @property
    def recipe(self) -> Recipe:
        """How it wants a scan; ``vlm.encoder.embedding`` applies it, nobody else does."""

    @property
    def licence(self) -> str:
        """The licence of the weights, as a user should see it."""

    @property
    def text(self) -> TextTower | None:
        """The words' side of the checkpoint, or None where it has none."""

    def features(self, prepared: Prepared) -> Features:
        """The last feature map of a prepared scan."""

    def project(self, features: Vector, organ: str = "") -> Vector:
        """Features in the space of ``text``; themselves where there is no such space.

        Args:
            features: (N, C) pooled over the scan, or under the masks of one organ.
            organ: its structure; "" for the scan.

        Returns:
            (N, D), of length one where there is such a space.
        """
