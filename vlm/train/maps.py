"""Scans through the frozen part of an encoder, once: what training asks again and again is kept in a folder.

In: pairs and an encoder. Out: for each its vectors, and with LoRA the map before the last stage and which of the last
map's cells each structure covers, in half precision. One look gives both: the encoder is what takes the time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vlm.ct.read import read
from vlm.ct.volume import Mask, Volume
from vlm.encoder.adapter import Towered
from vlm.encoder.astra import STRIDE
from vlm.encoder.embedding import Embedding, cell_weights, embed, holder, organ_masks, with_pairs
from vlm.encoder.minilm import minilm
from vlm.encoder.protocol import Encoder, Features, Vector
from vlm.encoder.recipe import Prepared, prepare
from vlm.encoder.speed import batch_of
from vlm.errors import TomoscribeError
from vlm.evidence import Case
from vlm.findings.reader import read_report
from vlm.train.pairs import Pair

if TYPE_CHECKING:
    from torch import Tensor

Halves = NDArray[np.float16]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Seen:
    """One scan as training sees it."""

    patient: str
    labels: Mapping[str, int]
    vectors: Mapping[str, Vector]  # structure, "" for the whole scan -> (D,)
    report: Vector | None = None  # (384,) of what its report says, of length one
    kept: Path | None = None  # the map before the last stage
    cells: Mapping[str, Halves] = field(default_factory=dict)  # structure -> (cells,) weights of the last map

    def embedding(self) -> Embedding:
        """As the encoder gave it."""
        return Embedding(
            identity="", scan="", vector=self.vectors[""], organs={n: v for n, v in self.vectors.items() if n}
        )

    def organ_of(self, site: str | None) -> str:
        """The structure that holds a site; "" for the scan."""
        return holder(site, self.vectors)

    def vector(self, organ: str) -> Vector:
        """(D,) of a structure."""
        return self.vectors[organ]

    def map(self) -> Halves:
        """(C, z, x, y) before the last stage."""
        assert self.kept is not None
        with np.load(self.kept, allow_pickle=False) as file:
            found: Halves = file["map"]
        return found

    def cells_of(self, organ: str) -> Halves:
        """(cells,) weights of a structure; of the scan, all alike."""
        some = next(iter(self.cells.values()))
        return self.cells[organ] if organ else np.full(some.shape, 1 / some.size, dtype=np.float16)


def seen(
    pairs: Sequence[Pair], encoder: Encoder, folder: Path, *, maps: bool, say: Callable[[str], None]
) -> Iterator[Seen]:
    """Each pair that can be read, as training sees it; what cannot be read is told and left out.

    Args:
        folder: where what was computed is kept.
        maps: also the map before the last stage; the encoder's tower is an I3ResNet then.
    """
    for number, pair in enumerate(pairs, start=1):
        try:
            case = Case(read(pair.scan).volume)
        except TomoscribeError as error:
            say(f"left out: {error}")
            continue
        yield seen_in(case.volume, organ_masks(case), pair, encoder, folder, maps=maps)
        say(f"{number} of {len(pairs)} scans")


def seen_in(volume: Volume, masks: Sequence[Mask], pair: Pair, encoder: Encoder, folder: Path, *, maps: bool) -> Seen:
    """One scan as training sees it, its structures given.

    Args:
        pair: whose it is and what is known of it; its file is not opened.
        folder: where what was computed is kept.
        maps: also the map before the last stage; the encoder's tower is an I3ResNet then.
    """
    masks = with_pairs({mask.name: mask for mask in masks})
    kept: Path | None = None
    cells: dict[str, Halves] = {}
    if maps:
        with _entering(encoder) as before:  # type: ignore[arg-type]
            told = embed(volume, encoder, masks, folder=folder)
        kept, cells = _map(volume, masks, encoder, folder, before)  # type: ignore[arg-type]
    else:
        told = embed(volume, encoder, masks, folder=folder)
    return Seen(
        patient=pair.patient, labels=pair.labels, vectors={"": told.vector, **told.organs}, report=said(pair.text),
        kept=kept, cells=cells,
    )  # fmt: skip


def said(text: str) -> Vector | None:
    """(384,) mean of the sentences of a report that state a finding, of length one; None where none does."""
    if not text:
        return None
    mentions = [mention for reading in read_report(text) for mention in reading.mentions]
    sentences = list(dict.fromkeys(mention.text for mention in mentions if mention.assessed))
    if not sentences:
        return None
    mean = minilm().embed(sentences).mean(axis=0)
    return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)


@contextmanager
def _entering(encoder: Towered) -> Iterator[list[Tensor]]:
    """What goes into the last stage while the encoder looks at a scan; nothing where it need not look."""
    held: list[Tensor] = []
    hook = encoder.tower.layer4.register_forward_pre_hook(lambda _, given: held.append(given[0]))
    try:
        yield held
    finally:
        hook.remove()


def _map(
    volume: Volume, masks: Sequence[Mask], encoder: Towered, folder: Path, before: Sequence[Tensor]
) -> tuple[Path, dict[str, Halves]]:
    """The map before the last stage, and the cells of each structure in the last one."""
    path = folder / f"{volume.sha256}-{encoder.identity}-map.npz"
    if not path.is_file():
        prepared = prepare(volume, encoder.recipe)
        entered = before[0] if before else _entered(prepared, encoder)
        shape = tuple(-(-n // step) for n, step in zip(encoder.recipe.shape, STRIDE, strict=True))
        last = Features(np.zeros((1, *shape), dtype=np.float32), STRIDE)
        cells = {mask.name: cell_weights(mask, volume, prepared, last)[1].astype(np.float16) for mask in masks}
        unready = path.with_suffix(".part.npz")
        halves = entered[0].half().cpu().numpy()
        np.savez(unready, map=halves, **{f"cells:{n}": v for n, v in cells.items()})  # type: ignore[arg-type]
        unready.replace(path)
    with np.load(path, allow_pickle=False) as file:
        cells = {name.removeprefix("cells:"): file[name] for name in file.files if name != "map"}
    return path, cells


def _entered(prepared: Prepared, encoder: Towered) -> Tensor:
    """(1, C, z, x, y) before the last stage, of a scan whose vectors were known already."""
    import torch

    values = batch_of(prepared, encoder.device, encoder.dtype)
    with torch.inference_mode():
        return encoder.tower(values, ("layer3",))["layer3"]
