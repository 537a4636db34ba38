"""How raw vectors become comparable: centred and whitened with statistics of a library, then of length one.

The raw cosine of two scans is above 0.9 whoever they are of, so it says nothing. Statistics are fitted on the
vectors of a library (the user's own, or those that are shipped), carry the identity of the vectors and a
version, and are stored beside the index that was built with them.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm.encoder.protocol import Vector

SHIPPED = Path(__file__).with_name("astra.npz")  # made by ``python -m vlm.train.likeness``
MOST_DIRECTIONS = 64  # directions of spread that are kept; further ones are noise in a library of ordinary size
WITHIN_FLOOR = 0.1  # of the mean variance between copies: what directions in which copies do not differ are given


@dataclass(frozen=True, eq=False)
class Statistics:
    """Mean and spread of a library's vectors."""

    identity: str  # of the vectors they are fitted on, and may be applied to
    mean: Vector  # (D,)
    directions: Vector  # (R, D) orthonormal, widest first
    variance: Vector  # (R,)
    floor: float  # variance that every other direction is given, and that is added to each
    count: int  # vectors they were fitted on

    @property
    def version(self) -> str:
        """12 hex digits of what they hold: another fit is another version."""
        digest = hashlib.sha256(self.identity.encode())
        for part in (self.mean, self.directions, self.variance):
            digest.update(np.ascontiguousarray(part, dtype=np.float32).tobytes())
        return digest.hexdigest()[:12]

    def apply(self, vectors: Vector, identity: str) -> Vector:
        """(..., D) raw vectors of the same identity -> (..., D) of length one; their dot product is the similarity.

        Raises:
            ValueError: the vectors are of another encoder, weights or recipe.
        """
        if identity != self.identity:
            raise ValueError(f"vectors are of {identity}, the statistics of {self.identity}; index them anew")
        centred = vectors - self.mean
        plain = 1 / np.sqrt(self.floor)
        more = (1 / np.sqrt(self.variance + self.floor) - plain) * (centred @ self.directions.T)
        white = centred * plain + more @ self.directions
        length = np.linalg.norm(white, axis=-1, keepdims=True)
        return np.asarray(white / np.maximum(length, 1e-12), dtype=np.float32)

    def save(self, path: Path) -> None:
        """Write them as one .npz of plain arrays."""
        told = json.dumps({"identity": self.identity, "floor": self.floor, "count": self.count})
        with path.open("wb") as file:
            np.savez(file, mean=self.mean, directions=self.directions, variance=self.variance, told=np.array(told))

    @classmethod
    def load(cls, path: Path) -> Statistics:
        """Read what ``save`` wrote; pickled content is refused."""
        with np.load(path, allow_pickle=False) as file:
            told = json.loads(str(file["told"]))
            arrays = {name: file[name].astype(np.float32) for name in ("mean", "directions", "variance")}
        return cls(**arrays, **told)


def fit(vectors: Vector, identity: str) -> Statistics:
    """Statistics of (N, D) raw vectors, N at least 2.

    A library has fewer scans than a vector has numbers, so the spread is shrunk: every direction is given the
    mean variance of those that are kept, beside its own.
    """
    if vectors.ndim != 2 or len(vectors) < 2:
        raise ValueError(f"vectors are {vectors.shape}, expected at least 2 rows")
    mean: NDArray[np.float32] = vectors.mean(axis=0)
    _, size, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    kept = min(MOST_DIRECTIONS, len(vectors) - 1)
    variance = (size[:kept] ** 2 / (len(vectors) - 1)).astype(np.float32)
    floor = max(float(variance.mean()), 1e-12)
    return Statistics(identity, mean.astype(np.float32), directions[:kept].astype(np.float32), variance, floor,
                      len(vectors))  # fmt: skip


def fit_within(groups: Sequence[Vector], identity: str) -> Statistics:
    """Statistics of groups of copies: in what directions a vector changes although the patient is the same.

    Args:
        groups: (copies, D) raw vectors of one scan each, the scan itself first.
        identity: of the vectors.
    """
    changed = np.concatenate([group[1:] - group[0] for group in groups])
    if len(changed) < 2:
        raise ValueError(f"there are {len(changed)} copies, expected at least 2")
    _, size, directions = np.linalg.svd(changed, full_matrices=False)
    kept = min(MOST_DIRECTIONS, len(changed))
    variance = (size[:kept] ** 2 / len(changed)).astype(np.float32)
    floor = max(WITHIN_FLOOR * float(variance.mean()), 1e-12)
    mean = np.stack([group[0] for group in groups]).mean(axis=0)
    return Statistics(identity, mean.astype(np.float32), directions[:kept].astype(np.float32), variance, floor,
                      len(groups))  # fmt: skip


@functools.cache
def shipped(identity: str) -> Statistics | None:
    """The statistics that ship for whole scans of an encoder, fitted on synthetic bodies; None where there are none."""
    known = Statistics.load(SHIPPED)
    return known if known.identity == identity else None
