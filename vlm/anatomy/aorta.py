"""The aorta beside the spine, followed as a round thing from slice to slice, with contrast and without.

In: the canal of the spine and the working grid. Out: one circle per slice where the trace is sure.
It is searched on both sides of the spine alike, so that its side tells whether left is left.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.skeleton import bone_near_spine, spine
from vlm.ct.volume import Grid, Mask, Volume
from vlm.evidence import Case, once

SIDEWAYS_MM = 62.0  # the descending aorta lies within this of the canal, either side
FORWARD_MM = (10.0, 82.0)  # in front of the canal's middle
RADII_MM = np.arange(7.0, 27.0, 1.5)  # 14 to 52 mm wide
EDGE_HU = 30.0  # blood against fat, lung or bone, over 5 mm
FAT_HU = -100.0
BRIGHTEST_HU = 350.0
RAYS = 16
BEST = 20  # candidates kept a slice
MOVE_COST = 0.05  # per mm sideways beyond what a 30 degree course explains
WIDTH_COST = 0.04  # per mm of radius between slices
SURE_ROUND = 0.6  # share of the wall that shows an edge, averaged over 20 mm
LEAST_LENGTH_MM = 30.0
MARROW_MM = 13.0  # the middle of a vertebral body out to this radius is bone whatever its density
ABOVE_CARINA_MM = 35.0  # the top of the arch lies 20-40 mm above the carina; above it are its branches
JUMP_MM = 7.0  # a course that leaps more than this between slices 5 mm apart or less has left the aorta

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Aorta:
    """The descending and abdominal aorta as circles on the working grid.

    ``centres_mm`` (Z, 3) RAS, ``radii_mm`` (Z,), ``roundness`` (Z,) 0..1 share of the wall seen,
    ``sure`` (Z,) where the trace holds; ``found`` False when it holds nowhere for 30 mm.
    """

    grid: Grid
    centres_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]
    roundness: NDArray[np.float64]
    sure: Bools
    found: bool
    blood_hu: float | None  # median over the sure slices of the densest quarter of the inner half of the lumen

    @functools.cached_property
    def mask(self) -> Mask:
        """The discs of the sure slices as a mask on the working grid."""
        out = np.zeros(self.grid.shape, dtype=bool, order="F")
        centre = self.grid.to_ijk(self.centres_mm)
        step_x, step_y, _ = self.grid.spacing_mm
        x, y = np.arange(self.grid.shape[0])[:, None], np.arange(self.grid.shape[1])[None, :]
        for k in np.flatnonzero(self.sure):
            away = ((x - centre[k, 0]) * step_x) ** 2 + ((y - centre[k, 1]) * step_y) ** 2
            out[:, :, k] = away <= self.radii_mm[k] ** 2
        return Mask("aorta", out, self.grid)


@once
def aorta(case: Case) -> Aorta:
    """The descending thoracic and abdominal aorta; ``found`` says whether it could be followed."""
    volume, axis = case.working, spine(case)
    nz = volume.grid.shape[2]
    nothing = Aorta(volume.grid, axis.canal_mm, np.zeros(nz), np.zeros(nz), np.zeros(nz, dtype=bool), False, None)
    if not axis.found:
        return nothing
    centre = volume.grid.to_ijk(axis.canal_mm)
    window, corner = _window(case, centre)
    candidates = round_candidates(window, volume.grid)
    path = follow_rounds(candidates, corner, volume.grid)
    ijk = np.stack([path[:, 2] + corner[:, 1], path[:, 1] + corner[:, 0], np.arange(nz)], axis=1)
    centres = volume.grid.to_mm(ijk)
    run = max(1, round(20.0 / volume.grid.spacing_mm[2]))
    steady = ndimage.uniform_filter1d(path[:, 0], run, mode="nearest")
    sure = (steady >= SURE_ROUND) & axis.good
    carina = airways(case).carina_mm
    if carina is not None:
        sure &= centres[:, 2] <= carina[2] + ABOVE_CARINA_MM
    sure = _longest(sure, _leaps(centres, path[:, 3], volume.grid.spacing_mm[2]))
    if np.count_nonzero(sure) * volume.grid.spacing_mm[2] < LEAST_LENGTH_MM:
        return nothing
    for part in range(2):
        centres[:, part] = ndimage.gaussian_filter1d(centres[:, part], 4.0 / volume.grid.spacing_mm[2])
    radii = ndimage.median_filter(path[:, 3], size=2 * round(3.0 / volume.grid.spacing_mm[2]) + 1, mode="nearest")
    core = Aorta(volume.grid, centres, 0.6 * radii, path[:, 0], sure, True, None)
    return Aorta(volume.grid, centres, radii, path[:, 0], sure, True, blood_hu(volume, core.mask))


def blood_hu(volume: Volume, core: Mask) -> float:
    """Density of the blood within an aorta, HU: every slice counts alike, and in each the densest quarter.

    An aneurysm holds most of the voxels of an aorta, and most of them are clot.
    """
    smooth: Floats = ndimage.uniform_filter(volume.hu.astype(np.float32), (3, 3, 1))  # noise is no contrast
    slices = np.flatnonzero(core.voxels.any(axis=(0, 1)))
    return float(np.median([np.percentile(smooth[:, :, k][core.voxels[:, :, k]], 75) for k in slices]))


def _window(case: Case, canal_ijk: NDArray[np.float64]) -> tuple[Floats, NDArray[np.intp]]:
    """(Z, H, W) float32 HU before the spine, bone as fat, and (Z, 2) its corner j, i on the working grid."""
    volume = case.working
    hu = np.clip(volume.hu.T.astype(np.float32), FAT_HU, BRIGHTEST_HU)
    step_x, step_y, _ = volume.grid.spacing_mm
    bone = bone_near_spine(case).voxels.T
    body_ijk = volume.grid.to_ijk(spine(case).bodies_mm)
    y, x = np.ogrid[: hu.shape[1], : hu.shape[2]]
    for k in range(hu.shape[0]):  # with the marrow, which is as round and as grey as blood
        within = ((x - body_ijk[k, 0]) * step_x) ** 2 + ((y - body_ijk[k, 1]) * step_y) ** 2 < MARROW_MM**2
        hu[k][ndimage.binary_fill_holes(bone[k]) | within] = FAT_HU
    margin = RADII_MM[-1] + 5.0
    width = round(2 * (SIDEWAYS_MM + margin) / step_x)
    height = round((FORWARD_MM[1] - FORWARD_MM[0] + 2 * margin) / step_y)
    corner = np.stack(
        [
            np.rint(canal_ijk[:, 1] + (FORWARD_MM[0] - margin) / step_y),
            np.rint(canal_ijk[:, 0] - (SIDEWAYS_MM + margin) / step_x),
        ],
        axis=1,
    ).astype(np.intp)
    out = np.full((hu.shape[0], height, width), FAT_HU, dtype=np.float32)
    for k, (j, i) in enumerate(corner):
        j0, j1 = max(0, j), min(hu.shape[1], j + height)
        i0, i1 = max(0, i), min(hu.shape[2], i + width)
        if j0 < j1 and i0 < i1:
            out[k, j0 - j : j1 - j, i0 - i : i1 - i] = hu[k, j0:j1, i0:i1]
    return ndimage.gaussian_filter(out, (0, 1.2 / step_y, 1.2 / step_x)), corner


def round_candidates(window: Floats, grid: Grid) -> NDArray[np.float64]:
    """(Z, BEST, 4): roundness, y, x (of the window), radius in mm of the roundest discs of each slice."""
    step_x, step_y, _ = grid.spacing_mm
    nz, height, width = window.shape
    edge_y, edge_x = round((RADII_MM[-1] + 5.0) / step_y), round((RADII_MM[-1] + 5.0) / step_x)
    inner = window[:, edge_y : height - edge_y, edge_x : width - edge_x]
    core = ndimage.uniform_filter(inner, (0, 3, 3))
    blood = (core > 5.0) & (core < BRIGHTEST_HU + 1)
    best = np.zeros(inner.shape, dtype=np.float32)
    size = np.zeros(inner.shape, dtype=np.float32)

    def shifted(radius: float, angle: float) -> Floats:
        y = edge_y + round(np.sin(angle) * radius / step_y)
        x = edge_x + round(np.cos(angle) * radius / step_x)
        return window[:, y : y + inner.shape[1], x : x + inner.shape[2]]

    for radius in RADII_MM:
        seen = np.zeros(inner.shape, dtype=np.float32)
        for angle in np.arange(RAYS) * 2 * np.pi / RAYS:
            inside, outside = shifted(radius - 2.5, angle), shifted(radius + 2.5, angle)
            # A wall: inside like the core, or brighter where calcified; outside darker.
            seen += (inside > core - EDGE_HU) & (inside - outside > EDGE_HU)
        seen /= RAYS
        better = seen > best
        best[better] = seen[better]
        size[better] = radius
    best[~blood] = 0.0
    best[best < ndimage.maximum_filter(best, (0, 3, 3))] = 0.0
    flat = best.reshape(nz, -1)
    order = np.argsort(-flat, axis=1, kind="stable")[:, :BEST]
    y, x = np.unravel_index(order, inner.shape[1:])
    rows = np.arange(nz)[:, None]
    return np.stack([flat[rows, order], y + edge_y, x + edge_x, size.reshape(nz, -1)[rows, order]], axis=2).astype(
        np.float64
    )


def follow_rounds(candidates: NDArray[np.float64], corner: NDArray[np.intp], grid: Grid) -> NDArray[np.float64]:
    """(Z, 4) one candidate a slice: the smooth course with the most wall."""
    step_x, step_y, step_z = grid.spacing_mm
    nz, many, _ = candidates.shape
    y = (candidates[:, :, 1] + corner[:, :1]) * step_y
    x = (candidates[:, :, 2] + corner[:, 1:]) * step_x
    total = candidates[0, :, 0].copy()
    came = np.zeros((nz, many), dtype=np.intp)
    for k in range(1, nz):
        away = np.hypot(y[k][:, None] - y[k - 1][None], x[k][:, None] - x[k - 1][None])
        cost = MOVE_COST * np.maximum(0.0, away - 0.6 * step_z)
        cost += WIDTH_COST * np.abs(candidates[k, :, 3][:, None] - candidates[k - 1, :, 3][None])
        value = total[None] - np.minimum(cost, 1.5)
        came[k] = np.argmax(value, axis=1)
        total = value[np.arange(many), came[k]] + candidates[k, :, 0]
    pick = int(np.argmax(total))
    path = np.zeros((nz, 4))
    for k in range(nz - 1, -1, -1):
        path[k] = candidates[k, pick]
        pick = int(came[k, pick])
    return path


def _leaps(centres_mm: NDArray[np.float64], radii_mm: NDArray[np.float64], step_mm: float) -> Bools:
    """(Z,) True where the course has left what it followed one slice below."""
    away = np.hypot(np.diff(centres_mm[:, 0]), np.diff(centres_mm[:, 1]))
    wider = np.abs(np.diff(radii_mm))
    return np.concatenate([[False], (away > JUMP_MM + max(0.0, step_mm - 5.0)) | (wider > 0.6 * JUMP_MM)])


def _longest(flags: Bools, leaps: Bools) -> Bools:
    """(Z,) only the longest run of True that no leap breaks."""
    run = np.cumsum(leaps | ~flags) + 1
    run[~flags] = 0
    if not flags.any():
        return flags
    counts = np.bincount(run)
    counts[0] = 0
    return np.asarray(run == int(np.argmax(counts)))
