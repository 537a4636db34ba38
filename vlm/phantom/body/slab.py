"""Slices have a thickness: a scene is drawn on thinner slices, and each slice of the scan is the mean of its slab.

A label is that of the middle of its slice; the mask of a finding keeps its volume to one voxel.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Grid
from vlm.phantom.body.shapes import Floats

Bools = NDArray[np.bool_]


def sub_slices(grid: Grid, slice_mm: float | None = None) -> int:
    """How many thin slices to draw for each slice of a scan: 1, 3, 5, so that the middle one is its centre."""
    x, y, z = grid.spacing_mm
    thin = 1.7 * max(x, y, 1.0)  # an oblique border is then seen as softly along z as in the slice
    return 1 + 2 * int(np.ceil(max(0.0, min(z, slice_mm or z) / thin - 1) / 2))


def finer(grid: Grid, count: int) -> Grid:
    """The same place with ``count`` thin slices for each slice."""
    affine = grid.affine.copy()
    affine[:3, 2] /= count
    affine[:3, 3] = grid.affine[:3, 3] - affine[:3, 2] * (count - 1) / 2
    return Grid((grid.shape[0], grid.shape[1], grid.shape[2] * count), affine)


def middles(values: NDArray[np.uint8], count: int) -> NDArray[np.uint8]:
    """(Z * count, Y, X) -> (Z, Y, X): the middle thin slice of each."""
    return np.ascontiguousarray(values[count // 2 :: count])


def slabs(hu: Floats, count: int, *, step_mm: float, slice_mm: float) -> Floats:
    """(Z * count, Y, X) of thin slices, ``step_mm / count`` apart -> (Z, Y, X), each the mean over ``slice_mm``."""
    thin = step_mm / count
    reach = max(0, round((slice_mm / thin - 1) / 2 + 0.49))
    offsets = np.arange(-reach, reach + 1)
    # the share of each thin slice that lies inside the slab
    weights = np.clip((slice_mm / 2 - np.abs(offsets) * thin) / thin + 0.5, 0, 1).astype(np.float32)
    weights /= weights.sum()
    if len(weights) == 1 and count == 1:
        return hu
    centres = np.arange(len(hu) // count) * count + count // 2
    out = np.zeros((len(centres), *hu.shape[1:]), dtype=np.float32)
    for offset, weight in zip(offsets, weights, strict=True):
        out += weight * hu[np.clip(centres + offset, 0, len(hu) - 1)]
    return out


def masks_of(thin: Mapping[str, Bools], count: int) -> dict[str, Bools]:
    """Masks on thin slices -> masks on the slices: the voxels that hold most of a finding, as many as its volume.

    Masks that share no thin voxel share none here; a part of another mask stays a part of it.
    """
    out: dict[str, Bools] = {}
    for name, mask in thin.items():
        if count == 1:
            out[name] = mask
            continue
        share = mask.reshape(-1, count, *mask.shape[1:]).mean(axis=1, dtype=np.float32)
        for other, done in out.items():
            touching = mask & thin[other]
            if not touching.any():
                share[done] = 0
            elif touching.sum() == mask.sum():
                share[~done] = 0
        wanted = round(float(mask.sum()) / count)
        held = np.flatnonzero(share)
        most = held[np.argsort(-share.reshape(-1)[held], kind="stable")[:wanted]]
        chosen = np.zeros(share.size, dtype=bool)
        chosen[most] = True
        out[name] = chosen.reshape(share.shape)
    return out
