"""Altered copies of a scan: the same patient and findings, another noise, slice thickness, field of view or window.

In: a Volume. Out: another one. What an encoder's vector changes by between them says nothing of the patient.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Grid, Volume

LOWEST_HU, HIGHEST_HU = -1024, 3071


def noisy(volume: Volume, noise_hu: float, seed: int = 0) -> Volume:
    """White noise added."""
    noise = np.random.default_rng(seed).normal(0, noise_hu, volume.hu.shape)
    return _like(volume, np.clip(volume.hu + noise, LOWEST_HU, HIGHEST_HU))


def cut(volume: Volume, low: float, high: float) -> Volume:
    """The slices between two shares of the scan's height, 0 at the feet."""
    first, last = (int(part * volume.hu.shape[2]) for part in (low, high))
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm([0, 0, first])
    hu = volume.hu[:, :, first:last]
    return _like(volume, hu, Grid((hu.shape[0], hu.shape[1], hu.shape[2]), affine))


def thick(volume: Volume, slice_mm: float) -> Volume:
    """Slices of about this thickness, at least two in one."""
    factor = max(2, round(slice_mm / volume.grid.spacing_mm[2]))
    grid = volume.grid.coarser((1, 1, factor))
    whole = volume.hu[:, :, : grid.shape[2] * factor]
    return _like(volume, whole.reshape(*grid.shape[:2], grid.shape[2], factor).mean(axis=3), grid)


def clipped(volume: Volume, highest_hu: int) -> Volume:
    """Saved through a window that ends at this."""
    return _like(volume, np.clip(volume.hu, -1000, highest_hu))


def _like(volume: Volume, hu: NDArray[np.generic], grid: Grid | None = None) -> Volume:
    return Volume(np.asfortranarray(np.rint(hu).astype(np.int16)), grid or volume.grid, volume.scan)
