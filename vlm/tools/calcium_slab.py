"""The box of a scan in which calcium is scored: slices of about 3 mm, its noise, and Agatston's score.

In: an open case and the region to look at; then pieces of calcium, (Z, Y, X) masks on the slab. Out: a Slab; the score
and the volume of a piece. Score: at each slice of 3 mm, area of at least 1 mm2 above 130 HU times a weight of its peak
(Agatston, J Am Coll Cardiol 1990;15:827).
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case

CALCIUM_HU = 130.0  # Agatston 1990
STANDARD_MM = 3.0  # slice thickness of the score
LEAST_MM2 = 1.0
NOISE_FACTOR = 4.0  # calcium must stand this many standard deviations of the noise above blood
FAINT_SHARE = 0.1  # of calcium in a voxel beside a plaque; below, it is noise

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """A box of the scan at about 3 mm slices: (Z, Y, X) HU, its grid, and the noise in blood."""

    hu: Floats
    grid: Grid
    noise_hu: float
    blood_hu: float

    @property
    def threshold_hu(self) -> float:
        return max(CALCIUM_HU, self.blood_hu + NOISE_FACTOR * self.noise_hu)


def slab_around(case: Case, region: Mask) -> Slab | None:
    """The scan in a box around the region, slices averaged to about 3 mm."""
    volume = case.volume
    if not region:
        return None
    box = region.box
    corners = volume.grid.to_ijk(np.array([box.low_mm, box.high_mm]))
    margin = 10.0 / np.array(volume.grid.spacing_mm)
    low = np.maximum(0, np.floor(corners.min(axis=0) - margin)).astype(int)
    high = np.minimum(volume.grid.shape, np.ceil(corners.max(axis=0) + margin + 1)).astype(int)
    part = volume.hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]].T
    step = volume.grid.spacing_mm[2]
    thick = STANDARD_MM if step < 0.9 * STANDARD_MM else step
    hu = _thickened(part, step, thick)
    if hu.shape[0] == 0:
        return None
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm(low + np.array([0.0, 0.0, (thick / step - 1) / 2]))
    affine[:3, 2] *= thick / step
    grid = Grid((part.shape[2], part.shape[1], hu.shape[0]), affine)
    noise, blood = _noise(hu, region.on(grid).voxels.T)
    return Slab(hu=hu, grid=grid, noise_hu=noise, blood_hu=blood)


def _thickened(part: NDArray[np.int16], step_mm: float, thick_mm: float) -> Floats:
    """(Z, Y, X) slices -> (Z', Y, X) their means over ``thick_mm``, a slice that is cut counted by its share."""
    if thick_mm == step_mm:
        return part.astype(np.float32)
    edges = np.arange(0.0, part.shape[0] * step_mm + 1e-6, thick_mm) / step_mm
    out = np.empty((max(0, len(edges) - 1), *part.shape[1:]), dtype=np.float32)
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        first, last = int(low), min(part.shape[0], int(np.ceil(high - 1e-9)))
        shares = np.minimum(np.arange(first, last) + 1, high) - np.maximum(np.arange(first, last), low)
        out[number] = np.tensordot((shares / shares.sum()).astype(np.float32), part[first:last], axes=1)
    return out


def _noise(hu: Floats, inside: Bools) -> tuple[float, float]:
    """Standard deviation and median of soft voxels within a region, HU."""
    values = hu[inside]
    soft = values[(values > -60) & (values < 800)]
    if soft.size < 50:
        return 0.0, 45.0
    middle = float(np.median(soft))
    # Calcium and fat stand in the tails: the spread comes from the middle half alone.
    low, high = np.percentile(soft, [25, 75])
    return float((high - low) / 1.35), middle


def filled_ml(slab: Slab, piece: Bools) -> float:
    """Volume (mL) of one piece of calcium, its edge voxels counted by the share that calcium fills.

    Counting voxels above the threshold doubles the volume of a plaque of 4 mm on slices of 3 mm.
    """
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in ndimage.find_objects(piece.astype(np.uint8))[0])
    inside, hu = piece[box], slab.hu[box]
    near = ndimage.binary_dilation(inside, np.ones((3, 3, 3), dtype=bool))
    full, empty = float(hu[inside].max()), float(np.median(hu[near & ~inside]))
    share = np.clip((hu - empty) / max(full - empty, 1.0), 0.0, 1.0)
    return float(share[near & (inside | (share > FAINT_SHARE))].sum()) * slab.grid.voxel_ml


def agatston(hu: Floats, calcium: Bools, grid: Grid) -> float:
    """Agatston score of (Z, Y, X) calcium on slices of about 3 mm; corrected to 3 mm by the slice's thickness."""
    pixel_mm2 = grid.spacing_mm[0] * grid.spacing_mm[1]
    total = 0.0
    for k in np.flatnonzero(calcium.any(axis=(1, 2))):
        labels, count = ndimage.label(calcium[k], np.ones((3, 3)))
        numbers = np.arange(1, count + 1)
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] * pixel_mm2
        peaks = np.atleast_1d(np.asarray(ndimage.maximum(hu[k], labels, numbers)))
        weights = np.clip(np.floor(peaks / 100.0), 1, 4)
        total += float((areas * weights)[areas >= LEAST_MM2].sum())
    return total * grid.spacing_mm[2] / STANDARD_MM
