"""Where in a scan a score comes from: the share of each cell of the encoder's last map.

A head is linear and works on a mean, so a cell's share of its score is exact (class activation mapping: Zhou, CVPR
2016). Words work on directions: there a cell is scored as if it were the whole organ. Cells are as wide as the stride
of the encoder (48 mm of astra): a heat map says which part of the lung, not which vessel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Grid, Mask, Volume
from vlm.encoder.adapter import Adapted
from vlm.encoder.embedding import LEAST_SEEN, cell_weights, holder, organ_masks
from vlm.encoder.protocol import Encoder, Features
from vlm.encoder.recipe import Prepared, network_grid, prepare
from vlm.encoder.zeroshot import prompts
from vlm.evidence import Case
from vlm.findings.vocabulary import load_vocabulary

HALF = 0.5  # of the greatest share: what the mask keeps


@dataclass(frozen=True, kw_only=True, eq=False)
class Heat:
    """``values`` (x, y, z) float32, 0..1, on a coarse ``grid`` in the scan's space; what speaks against it is 0."""

    finding: str
    values: NDArray[np.float32]
    grid: Grid
    source: str  # "head" or "words"
    organ: str  # the structure that was asked; empty: the whole scan

    @property
    def mask(self) -> Mask:
        """Cells with at least half of the greatest share; empty where nothing speaks for it."""
        return Mask(f"heat_{self.finding}", (self.values >= HALF) & (self.values > 0), self.grid)


def heat(case: Case, encoder: Encoder, finding: str, side: str | None = None) -> Heat | str:
    """The heat map of one finding, by the head that knows it, else by words; or why there is none."""
    return next(iter(heats(case, encoder, [finding], side)))


def heats(case: Case, encoder: Encoder, findings: Iterable[str], side: str | None = None) -> Iterator[Heat | str]:
    """The heat map of each finding, or why there is none; the encoder sees the scan once."""
    prepared = prepare(case.volume, encoder.recipe)
    features = encoder.features(prepared)
    for finding in findings:
        yield _heat(case, encoder, prepared, features, finding, side)


def _heat(
    case: Case, encoder: Encoder, prepared: Prepared, features: Features, finding: str, side: str | None
) -> Heat | str:
    if features.whole is not None and not features.parts:
        return f"{encoder.identity.encoder} gives the scan one vector that hangs on where each patch lies"
    organ, weights = _asked(case, prepared, features, finding, side)
    flat = np.ascontiguousarray(features.values.reshape(features.values.shape[0], -1).T)  # (cells, C)
    scored = _scored(encoder, finding, flat, organ)
    if scored is None:
        return "no head knows it, and the encoder knows no words"
    source, each = scored
    shares = np.maximum(each, 0) * (weights > 0)
    shape = features.values.shape[1:]
    top = float(shares.max())
    values = (shares / top if top > 0 else shares).reshape(shape).astype(np.float32)
    grid = _cells(network_grid(case.volume, prepared), features)
    return Heat(finding=finding, values=values, grid=grid, source=source, organ=organ)


def _asked(
    case: Case, prepared: Prepared, features: Features, finding: str, side: str | None
) -> tuple[str, NDArray[np.float32]]:
    """The structure that can hold a finding, and its (cells,) weights; "" and all alike where it was not found."""
    site = load_vocabulary().finding(finding).site
    masks = {mask.name: mask for mask in organ_masks(case)} if site else {}
    name = holder(site, masks, side)
    if name:
        share, cells = cell_weights(masks[name], case.volume, prepared, features)
        if share >= LEAST_SEEN:
            return name, cells
    return "", _within(case.volume, prepared, features)


def _within(volume: Volume, prepared: Prepared, features: Features) -> NDArray[np.float32]:
    """(cells,) 1 where the middle of a cell lies in the scan, 0 in the padding."""
    index = np.indices(features.values.shape[1:]).reshape(3, -1).T * np.asarray(features.stride) + features.offset
    ijk = index * np.asarray(prepared.scale) + np.asarray(prepared.start)
    inside = ((ijk >= -0.5) & (ijk <= np.asarray(volume.grid.shape) - 0.5)).all(axis=1)
    return np.asarray(inside, dtype=np.float32)


def _scored(
    encoder: Encoder, finding: str, cells: NDArray[np.float32], organ: str
) -> tuple[str, NDArray[np.float32]] | None:
    """(cells, C) -> who scores, and a score of each cell."""
    if isinstance(encoder, Adapted) and (head := encoder.adapter.head_of([finding])) is not None:
        at = encoder.adapter.heads.index(head)
        return "head", np.asarray(encoder.adapter.whitened(cells, organ) @ encoder.adapter.weight[at])
    if encoder.text is None:
        return None
    entry = load_vocabulary().finding(finding)
    says, denies = prompts(encoder.text, entry.positive, entry.negative)
    return "words", np.asarray(encoder.project(cells, organ) @ (says - denies))


def _cells(grid: Grid, features: Features) -> Grid:
    """Where the cells of a map lie, from where the voxels of the network's input do."""
    affine = grid.affine.copy()
    affine[:3, :3] = grid.affine[:3, :3] * np.asarray(features.stride)
    affine[:3, 3] = grid.to_mm(features.offset)
    shape = features.values.shape[1:]
    return Grid((shape[0], shape[1], shape[2]), affine)
