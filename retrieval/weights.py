"""How the vectors of a space become unit vectors that can be compared, as the library keeps it beside an index.

Findings are weighted by how rare they are in this library; an encoder's vectors are centred and whitened with
statistics of this library's own, which carry a version, or brought among words by the encoder itself; sentences are
compared as they are.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from retrieval.index import Vectors, normalised
from vlm.encoder.whitening import Statistics, fit, shipped

WHITENED_FROM = 8  # vectors whose mean and spread say something; fewer of an encoder are not compared
FITTED_ON = 4096  # vectors at most, spread evenly over the library
ARRAYS = ("mean", "directions", "variance")

Project = Callable[[NDArray[np.float32]], NDArray[np.float32]]  # (n, D) raw vectors -> (n, W) among words


@dataclass(frozen=True, eq=False)
class Weights:
    """What raw vectors go through before they are compared."""

    how: Literal["rarity", "whitened", "plain", "among words"]
    values: NDArray[np.float32]  # (dimension,) of "rarity", else empty
    statistics: Statistics | None = None  # of "whitened"
    project: Project | None = None  # of "among words": the encoder's, which is not kept

    def prepared(self, vectors: Vectors) -> Vectors:
        """(n, dimension) raw vectors -> unit vectors."""
        if self.statistics is not None:
            return self.statistics.apply(vectors, self.statistics.identity)
        if self.project is not None:
            return normalised(self.project(vectors))
        return normalised(vectors * self.values if self.how == "rarity" else vectors)

    @property
    def version(self) -> str:
        """The statistics' version; empty where there are none."""
        return self.statistics.version if self.statistics else ""

    def kept(self) -> bytes:
        """As the library keeps it: one .npz of plain arrays."""
        told: dict[str, object] = {"how": self.how}
        arrays = {"values": self.values}
        if self.statistics is not None:
            told |= {key: getattr(self.statistics, key) for key in ("identity", "floor", "count")}
            arrays |= {name: getattr(self.statistics, name) for name in ARRAYS}
        body = io.BytesIO()
        np.savez(body, told=np.array(json.dumps(told)), **arrays)  # type: ignore[arg-type]  # its stub takes the arrays for its own flag
        return body.getvalue()

    @classmethod
    def of(cls, kept: bytes) -> Weights:
        """From ``kept``; pickled content is refused."""
        with np.load(io.BytesIO(kept), allow_pickle=False) as file:
            told, values = json.loads(str(file["told"])), file["values"]
            statistics = None
            if told["how"] == "whitened":
                mean, directions, variance = (file[name] for name in ARRAYS)
                statistics = Statistics(told["identity"], mean, directions, variance, told["floor"], told["count"])
        return cls(told["how"], values, statistics)


def rare(values: NDArray[np.float32]) -> Weights:
    """Each dimension by its weight."""
    return Weights("rarity", values)


def plain() -> Weights:
    """As they are, of length one."""
    return Weights("plain", np.empty(0, dtype=np.float32))


def among_words(project: Project) -> Weights:
    """By an encoder's own way into the space of its words."""
    return Weights("among words", np.empty(0, dtype=np.float32), project=project)


def whitened(vectors: Vectors, space: str) -> Weights:
    """By the statistics of (n, dimension) raw vectors of one space."""
    return Weights("whitened", np.empty(0, dtype=np.float32), fit(vectors, space))


def as_shipped(space: str) -> Weights | None:
    """By the statistics that ship for a space of whole scans, for a library with too few of its own; None without."""
    known = shipped(space)
    return None if known is None else Weights("whitened", np.empty(0, dtype=np.float32), known)
