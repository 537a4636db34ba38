"""Lumps of soft tissue in the mediastinum and their axes; with contrast also those that touch a vessel.

In: Hounsfield units, the place to look in and the density that blood has at least. Out: Lumps. With contrast a node is
darker than the vessel that it touches: what is as dense as a node is cut out between fat, lung and vessels. The rims of
vessels, where blood and fat share a voxel, are thin; the gullet goes on above and below; recesses hold fluid.
Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.distance import pdist

from vlm.anatomy.air import depth_mm, distance_mm
from vlm.anatomy.ball import opened
from vlm.ct.volume import Grid

SOFT_HU = -20.0  # fat lies below
FAT_HU = (-150.0, -30.0)
AIR_HU = -300.0
SHELL_MM = (2.5, 5.0)  # beyond the blur of its border
BLUR_MM = 1.0  # deviation of the blur against noise
RIM_MM = 3.0  # radius: rims of vessels are thinner on the working grid
TAIL = 0.6  # of a lump's own depth: what is thinner hangs on
LEAST_ML = 0.5  # a ball of 10 mm
LEAST_HU = 30.0  # with contrast nodes are enhanced; fluid in recesses of the pericardium is not
AIR_SHARE = 0.45  # of its shell: more is lung round a nodule
LEAST_FAT = 0.12
GOES_ON = 0.5  # of its shadow above or below: the gullet and vessels go on
BEYOND_MM = (2.0, 7.0)  # so far above and below that is looked at

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lump:
    """Soft tissue set apart: lengths in mm, HU, and the share of its shell that is fat, or with contrast no node."""

    mask: Bools  # (Z, Y, X) within its box
    box: tuple[slice, ...]  # of the working grid
    short_mm: float
    long_mm: float
    height_mm: float
    hu: float
    fat: float

    def overlaps(self, other: Lump) -> bool:
        """Whether two lumps of one grid share a voxel."""
        shared = [slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(self.box, other.box, strict=True)]
        if any(part.stop <= part.start for part in shared):
            return False
        own, its = (
            lump.mask[tuple(slice(s.start - o.start, s.stop - o.start) for s, o in zip(shared, lump.box, strict=True))]
            for lump in (self, other)
        )
        return bool((own & its).any())


def dark_lumps(hu: NDArray[np.int16], place: Bools, vessel_hu: float, grid: Grid) -> list[Lump]:
    """Lumps of ``place`` that are denser than fat and less dense than ``vessel_hu``, whatever touches them."""
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), [BLUR_MM / step for step in grid.spacing_mm[::-1]])
    like = (smooth > SOFT_HU) & (smooth < vessel_hu)
    labels: NDArray[np.uint32] = cc3d.connected_components(opened(like & place, RIM_MM, grid), connectivity=6)
    pad = [int(np.ceil(max(SHELL_MM[1], BEYOND_MM[1]) / step)) + 1 for step in grid.spacing_mm[::-1]]
    out: list[Lump] = []
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), start=1):
        if box is None:
            continue
        near = tuple(slice(max(0, s.start - p), s.stop + p) for s, p in zip(box, pad, strict=True))
        piece = _without_tails(labels[near] == number, grid)
        if np.count_nonzero(piece) * grid.voxel_ml < LEAST_ML or _goes_on(piece, like[near], grid):
            continue
        lump = _dark(smooth[near], piece, vessel_hu, grid)
        if lump is not None:
            out.append(Lump(mask=piece, box=near, **lump))
    return out


def _without_tails(piece: Bools, grid: Grid) -> Bools:
    """The thick part of a piece: rims of vessels hang on it."""
    body = opened(np.pad(piece, 2), TAIL * float(depth_mm(piece, grid).max()), grid)[2:-2, 2:-2, 2:-2]
    labels, count = cc3d.connected_components(body, connectivity=6, return_N=True)
    if count < 2:
        return np.asarray(body)
    return np.asarray(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))


def _goes_on(piece: Bools, like: Bools, grid: Grid) -> bool:
    """Whether something as dense lies above or below in its shadow, or the scan ends there."""
    levels = np.flatnonzero(piece.any(axis=(1, 2)))
    shadow = piece[levels].sum(axis=0) >= 0.5 * piece[levels].sum(axis=0).max()
    near, far = (max(1, round(mm / grid.spacing_mm[2])) for mm in BEYOND_MM)
    for part in (slice(levels[-1] + near, levels[-1] + far + 1), slice(max(0, levels[0] - far), levels[0] - near + 1)):
        beyond = like[part][:, shadow]
        if beyond.size == 0 or float(beyond.mean()) > GOES_ON:
            return True
    return False


def _dark(smooth: Floats, piece: Bools, vessel_hu: float, grid: Grid) -> dict[str, float] | None:
    """Measures of a piece for a Lump; None when it is fluid or lies in the lung."""
    away = distance_mm(piece, grid)
    shell = smooth[(away > SHELL_MM[0]) & (away <= SHELL_MM[1])]
    fat = float(np.mean((shell > FAT_HU[0]) & (shell < FAT_HU[1])))
    air = float(np.mean(shell < AIR_HU))
    core = piece & (depth_mm(piece, grid) > min(grid.spacing_mm[:2]))
    hu = float(smooth[core if core.any() else piece].mean())
    if hu < LEAST_HU or air > AIR_SHARE or fat < LEAST_FAT:
        return None
    step_x, step_y, step_z = grid.spacing_mm
    short_mm, long_mm = axes_mm(piece[int(np.argmax(piece.sum(axis=(1, 2))))], (step_y, step_x))
    return {
        "short_mm": short_mm, "long_mm": long_mm, "hu": hu,
        "height_mm": float(np.count_nonzero(piece.any(axis=(1, 2)))) * step_z,
        "fat": float(np.mean((shell < FAT_HU[1]) | (shell >= vessel_hu))),
    }  # fmt: skip


def axes_mm(slice_mask: Bools, step_mm: tuple[float, float]) -> tuple[float, float]:
    """Short axis (the widest circle inside) and long axis of a piece in one slice, mm; ``step_mm`` is (y, x)."""
    inner = ndimage.distance_transform_edt(np.pad(slice_mask, 1), sampling=step_mm)
    short_mm = 2.0 * float(inner.max()) - min(step_mm)
    border = slice_mask & ~ndimage.binary_erosion(slice_mask)
    spots = np.argwhere(border) * step_mm
    long_mm = (float(pdist(spots).max()) if len(spots) > 1 else 0.0) + min(step_mm)
    return min(short_mm, long_mm), long_mm
