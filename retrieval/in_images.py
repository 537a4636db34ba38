"""Text to image: words asked of the images themselves, by an encoder that knows both.

The library's vectors of that encoder are brought among its words once, into an index of their own; a score there is a
cosine of an image with words, never with another image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from retrieval.cases import Kind
from retrieval.images import space_of
from retrieval.weights import Project


@dataclass(frozen=True, slots=True, kw_only=True)
class InImages:
    """Words as an encoder asks them of images."""

    identity: str  # of the encoder whose vectors are asked
    structure: str  # whose vector is asked; "" the whole scan's
    wanted: NDArray[np.float32]  # (W,) among words: what an image that fits points to
    project: Project  # brings (n, D) raw vectors of the structure among words

    @property
    def kind(self) -> Kind:
        """Of the vectors."""
        return "organ" if self.structure else "scan"

    @property
    def space(self) -> str:
        """Of the vectors."""
        return space_of(self.identity, self.structure)

    @property
    def name(self) -> str:
        """Of the ranking."""
        return f"words in images {self.identity.partition('-')[0]}"
