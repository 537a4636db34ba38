"""Heads over measures: ``vlm.encoder.measures`` as an encoder of one vector, and the adapter that ships for it.

No network runs: what anatomy found of a case is measured, and each head is a weighted sum of those numbers. The shipped
heads learned from synthetic bodies (``vlm/train/measured.py``) and say so; a scan unlike those gets a score and no
probability until ``tomoscribe finding calibrate`` has seen cases of the user's.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm.encoder.adapter import Adapted, load_adapter
from vlm.encoder.embedding import Embedding
from vlm.encoder.measures import GRID_MM, NAMES, VERSION, measures
from vlm.encoder.protocol import Features, Identity, Vector
from vlm.encoder.recipe import Prepared, Recipe
from vlm.encoder.weights import WeightsError
from vlm.evidence import Case

SHIPPED = Path(__file__).with_name("measured.safetensors")


class Measures:
    """A fixed list of numbers of a case as a vector; NaN where its anatomy was not found."""

    recipe = Recipe(key=f"{GRID_MM:g}mm", shape=(0, 0, 0), spacing_mm=(GRID_MM,) * 3, window_hu=None)
    licence = "Apache-2.0"
    text = None
    identity = Identity(
        encoder=f"measures{VERSION}", weights=hashlib.sha256(" ".join(NAMES).encode()).hexdigest(), recipe=recipe.key
    )

    @classmethod
    def of_case(cls, case: Case) -> Embedding:
        """The vector of a case."""
        return cls.embedding(measures(case), case.volume.sha256)

    @classmethod
    def embedding(cls, vector: NDArray[np.floating], scan: str = "") -> Embedding:
        """Numbers that were measured before, in the order of NAMES."""
        return Embedding(identity=str(cls.identity), scan=scan, vector=np.asarray(vector, dtype=np.float32))

    def features(self, prepared: Prepared) -> Features:  # noqa: ARG002  the protocol's
        """None: measures are of a case with its anatomy, not of a prepared scan."""
        raise WeightsError(f"E_WEIGHTS: {self.identity.encoder} has no feature map. Take --encoder astra for it.")

    def project(self, features: Vector, organ: str = "") -> Vector:  # noqa: ARG002  the protocol's
        """Themselves: there are no words."""
        return features


@functools.cache
def shipped() -> Adapted | None:
    """The heads that ship; None where they do not.

    Raises:
        WeightsError: the file belongs to another list of measures, or is damaged.
    """
    return Adapted(Measures(), [load_adapter(SHIPPED)]) if SHIPPED.is_file() else None
