"""What an encoder is to the rest of the product: a scan goes in, vectors come out, with what they leave out.

``embed`` gives one vector of the whole scan and one of each structure whose mask is given. Vectors of two
identities (encoder, weights, recipe) are never compared. Nothing here loads a network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Mask, Volume
from vlm.encoder.recipe import Prepared, Recipe, prepare

Vector = NDArray[np.float32]
LEAST_SEEN = 0.05  # share of a structure below which its vector would be of something else


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
        """How it wants a scan; ``embed`` applies it, nobody else does."""

    @property
    def licence(self) -> str:
        """The licence of the weights, as a user should see it."""

    @property
    def text(self) -> TextTower | None:
        """The words' side of the checkpoint, or None where it has none."""

    def features(self, prepared: Prepared) -> Features:
        """The last feature map of a prepared scan."""

    def project(self, features: Vector) -> Vector:
        """(N, C) pooled features -> (N, D) in the space of ``text``; themselves where there is no such space."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """A scan, and parts of it, as raw vectors: compare them only through ``vlm.encoder.whitening``."""

    identity: str
    scan: str  # sha256 of the volume
    vector: Vector  # (D,) of the whole scan
    organs: Mapping[str, Vector] = field(default_factory=dict)  # name of a mask -> (D,)
    seen: Mapping[str, float] = field(default_factory=dict)  # name -> share of the mask that the encoder saw
    note: str = ""  # what the encoder's crop leaves out of the scan, in words

    def save(self, path: Path) -> None:
        """Write it as one .npz of plain arrays."""
        told = {"identity": self.identity, "scan": self.scan, "seen": dict(self.seen), "note": self.note}
        organs = {f"organ:{name}": vector for name, vector in self.organs.items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        unready = path.with_suffix(".part.npz")
        arrays: dict[str, NDArray[np.generic]] = {"vector": self.vector, "told": np.array(json.dumps(told)), **organs}
        with unready.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # its stub takes the arrays for its own flag
        unready.replace(path)

    @classmethod
    def load(cls, path: Path) -> Embedding:
        """Read what ``save`` wrote; pickled content is refused."""
        with np.load(path, allow_pickle=False) as file:
            told = json.loads(str(file["told"]))
            organs = {name.removeprefix("organ:"): file[name] for name in file.files if name.startswith("organ:")}
            return cls(vector=file["vector"], organs=organs, **told)


def embed(volume: Volume, encoder: Encoder, masks: Iterable[Mask] = (), *, folder: Path | None = None) -> Embedding:
    """The vectors of a scan; those of a mask are the feature map pooled under it.

    Args:
        volume: the scan.
        encoder: whose recipe is applied, here and nowhere else.
        masks: structures on any grid in the scan's space; one that the encoder hardly sees gets no vector.
        folder: a case's folder: what was computed once is read from it, by the scan's content.
    """
    masks = tuple(masks)
    kept = None if folder is None else folder / f"embedding-{encoder.identity}-{volume.sha256[:16]}.npz"
    if kept is not None and kept.is_file():
        known = Embedding.load(kept)
        if set(known.seen) == {mask.name for mask in masks}:
            return known
    prepared = prepare(volume, encoder.recipe)
    features = encoder.features(prepared)
    weights = {mask.name: _weights(mask, volume, prepared, features) for mask in masks}
    flat = features.values.reshape(features.values.shape[0], -1)
    inside = {name: share for name, (share, _) in weights.items()}
    rows = {"": features.pooled} | {n: flat @ cells for n, (share, cells) in weights.items() if share >= LEAST_SEEN}
    vectors = dict(zip(rows, encoder.project(np.stack(list(rows.values()))), strict=True))
    if features.whole is not None:  # then parts of the map have no place among words
        vectors = {"": features.whole}
    made = Embedding(
        identity=str(encoder.identity), scan=volume.sha256, vector=vectors.pop(""), organs=vectors, seen=inside,
        note=prepared.seen.note,
    )  # fmt: skip
    if kept is not None:
        made.save(kept)
    return made


def _weights(mask: Mask, volume: Volume, prepared: Prepared, features: Features) -> tuple[float, Vector]:
    """The share of a mask that the encoder saw, and (cells,) float32 weights of the map's cells, summing to 1."""
    shape = features.values.shape[1:]
    voxels = np.argwhere(mask.voxels)
    at = prepared.index_of(volume.grid.to_ijk(mask.grid.to_mm(voxels)))
    cells = np.rint((at - np.asarray(features.offset)) / np.asarray(features.stride)).astype(np.intp)
    inside = ((cells >= 0) & (cells < np.asarray(shape))).all(axis=1)
    if not inside.any():
        return 0.0, np.zeros(int(np.prod(shape)), dtype=np.float32)
    index = np.ravel_multi_index(tuple(cells[inside].T), shape)
    counted = np.bincount(index, minlength=int(np.prod(shape))).astype(np.float32)
    return float(inside.mean()), counted / counted.sum()
