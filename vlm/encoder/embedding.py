"""A scan and its organs as vectors, computed once: ``embedding(case, encoder)``.

The encoder's feature map is pooled over the whole scan and under the mask of each structure that anatomy found, and of
each pair of them ("lung" is both lungs). What was computed is kept below the user's cache folder by the scan's content,
the encoder, its weights and its recipe; ``forget`` removes it. Raw vectors: compare them through ``whitening`` only.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Mask, Volume
from vlm.encoder.protocol import Encoder, Features, Vector
from vlm.encoder.recipe import Prepared, prepare
from vlm.encoder.weights import cache_folder
from vlm.evidence import Case
from vlm.findings.vocabulary import load_vocabulary

LEAST_SEEN = 0.05  # share of a structure below which its vector would be of something else
# Organs that are pooled as one, beside each of their structures.
PAIRS: Mapping[str, tuple[str, str]] = {
    "lung": ("lung_left", "lung_right"), "kidney": ("kidney_left", "kidney_right"),
    "adrenal": ("adrenal_gland_left", "adrenal_gland_right"),
}  # fmt: skip
# Site of the vocabulary -> structures that hold it, for either side and for none.
MASKS: Mapping[str, Mapping[str, str]] = {
    "lung": {"left": "lung_left", "right": "lung_right", "": "lung"},
    "pleura": {"left": "lung_left", "right": "lung_right", "": "lung"},
    "bronchi": {"left": "lung_left", "right": "lung_right", "": "lung"},
    "kidney": {"left": "kidney_left", "right": "kidney_right", "": "kidney"},
    "adrenal": {"left": "adrenal_gland_left", "right": "adrenal_gland_right", "": "adrenal"},
    "heart": {"": "heart"}, "pericardium": {"": "heart"}, "coronary_arteries": {"": "heart"}, "aorta": {"": "aorta"},
    "trachea": {"": "trachea"}, "spine": {"": "skeleton"}, "rib": {"": "skeleton"}, "bone": {"": "skeleton"},
    "liver": {"": "liver"}, "bile_ducts": {"": "liver"}, "spleen": {"": "spleen"}, "pancreas": {"": "pancreas"},
    "gallbladder": {"": "gallbladder"}, "stomach": {"": "stomach"}, "bladder": {"": "urinary_bladder"},
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embedding:
    """A scan, and parts of it, as raw features: compare them through ``whitening``, or with words by ``project``."""

    identity: str
    scan: str  # sha256 of the volume
    vector: Vector  # (D,) of the whole scan
    organs: Mapping[str, Vector] = field(default_factory=dict)  # structure or key of PAIRS -> (D,)
    seen: Mapping[str, float] = field(default_factory=dict)  # structure -> share of it that the encoder saw
    sizes_ml: Mapping[str, float] = field(default_factory=dict)  # structure -> volume of the mask that was pooled under
    note: str = ""  # what the encoder's crop leaves out of the scan, in words

    def of(self, site: str | None, side: str | None = None) -> tuple[Vector, str]:
        """The vector of the organ that holds a site of the vocabulary, and its structure; the scan's and "" without."""
        name = holder(site, self.organs, side)
        return (self.organs[name], name) if name else (self.vector, "")

    def save(self, path: Path) -> None:
        """Write it as one .npz of plain arrays, whole or not at all."""
        told = {name: dict(getattr(self, name)) for name in ("seen", "sizes_ml")}
        text = json.dumps({"identity": self.identity, "scan": self.scan, "note": self.note, **told})
        organs = {f"organ:{name}": vector for name, vector in self.organs.items()}
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        unready = path.with_suffix(".part.npz")
        arrays: dict[str, NDArray[np.generic]] = {"vector": self.vector, "told": np.array(text), **organs}
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


def holder(site: str | None, there: Container[str], side: str | None = None) -> str:
    """The structure, of those that are there, that holds a site of the vocabulary; "" where none does."""
    return next((name for name in _holders(site, side) if name in there), "")


@functools.cache
def _holders(site: str | None, side: str | None) -> tuple[str, ...]:
    """Structures that hold a site, the one of its side first."""
    vocabulary = load_vocabulary()
    home = next((s for s in MASKS if site and vocabulary.site_contains(s, site)), None)
    sides = MASKS[home] if home else {}
    return tuple(sides[key] for key in dict.fromkeys((side or "", "")) if key in sides)


def embeddings_folder() -> Path:
    """Where embeddings are kept."""
    return cache_folder().with_name("embeddings")


def embedding(case: Case, encoder: Encoder, *, folder: Path | None = None) -> Embedding:
    """The vectors of a case and of every structure that anatomy finds in it; from the cache where it is known.

    Args:
        case: an open scan.
        encoder: whose vectors; see ``load_encoder``. One that measures what anatomy found has one vector, kept nowhere.
        folder: where embeddings are kept; ``embeddings_folder()`` by default.
    """
    from vlm.encoder.measured import Measures

    if isinstance(getattr(encoder, "base", encoder), Measures):
        return Measures.of_case(case)
    return embed(case.volume, encoder, organ_masks(case), folder=folder or embeddings_folder())


def organ_masks(case: Case) -> tuple[Mask, ...]:
    """The structures that vectors are pooled under, as far as anatomy finds them, and PAIRS of them."""
    from vlm.anatomy.structures import structure

    named = {name for sides in MASKS.values() for name in sides.values()} - set(PAIRS)
    found = (structure(case, name).mask for name in sorted(named))
    return with_pairs({mask.name: mask for mask in found if mask is not None and mask})


def forget(scan: str, folder: Path | None = None) -> int:
    """Remove every embedding of a scan, by the sha256 of its volume; how many there were."""
    held = list((folder or embeddings_folder()).glob(f"{scan}-*.npz"))
    for path in held:
        path.unlink(missing_ok=True)
    return len(held)


def embed(volume: Volume, encoder: Encoder, masks: Iterable[Mask] = (), *, folder: Path | None = None) -> Embedding:
    """The vectors of a scan; those of a mask are the feature map pooled under it.

    Args:
        volume: the scan.
        encoder: whose recipe is applied, here and nowhere else.
        masks: structures on any grid in the scan's space; one that the encoder hardly sees gets no vector.
        folder: where what was computed is kept, and is read from; None: nowhere. Other masks are computed anew.
    """
    masks = with_pairs({mask.name: mask for mask in masks})
    sizes = {mask.name: round(mask.volume_ml, 1) for mask in masks}
    kept = None if folder is None else folder / f"{volume.sha256}-{encoder.identity}.npz"
    if kept is not None and kept.is_file():
        known = Embedding.load(kept)
        if known.sizes_ml == sizes:
            return known
    made = pooled(volume, encoder, masks, sizes)
    if kept is not None:
        made.save(kept)
    return made


def pooled(volume: Volume, encoder: Encoder, masks: Iterable[Mask], sizes: Mapping[str, float]) -> Embedding:
    """Run the encoder and pool its map over the scan and under each mask."""
    prepared = prepare(volume, encoder.recipe)
    features = encoder.features(prepared)
    weights = {mask.name: cell_weights(mask, volume, prepared, features) for mask in masks}
    flat = features.values.reshape(features.values.shape[0], -1)
    organs = {n: flat @ cells for n, (share, cells) in weights.items() if share >= LEAST_SEEN}
    whole = features.pooled if features.whole is None else features.whole
    return Embedding(
        identity=str(encoder.identity), scan=volume.sha256, vector=whole,
        organs=organs if features.whole is None or features.parts else {},  # else parts have no place among words
        seen={name: share for name, (share, _) in weights.items()}, sizes_ml=sizes, note=prepared.seen.note,
    )  # fmt: skip


def with_pairs(masks: Mapping[str, Mask]) -> tuple[Mask, ...]:
    """The masks, and those of PAIRS: of one that is alone, itself."""
    made = dict(masks)
    for name, pair in PAIRS.items():
        held = [masks[one] for one in pair if one in masks]
        if held and name not in masks and all(one.grid.same_as(held[0].grid) for one in held):
            made[name] = Mask(name, np.logical_or.reduce([one.voxels for one in held]), held[0].grid)
    return tuple(made.values())


def cell_weights(mask: Mask, volume: Volume, prepared: Prepared, features: Features) -> tuple[float, Vector]:
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
