"""The skeleton and, first of all, the spinal canal: the one structure that runs through every trunk scan.

The canal is found without the rest of the anatomy: a soft spot that bone surrounds, followed from
slice to slice by dynamic programming. What comes in is a Case; what goes out are the canal's course
and a bone mask from which enhanced blood and metal were kept out, both on ``case.working``.
Arrays here are (Z, Y, X) views, C order, of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import grown, opened
from vlm.anatomy.body import body
from vlm.ct.volume import Grid, Mask, Volume
from vlm.evidence import Case, once

BONE_HU = 180  # above soft tissue, stool and plain blood; cancellous bone of the old may be lower
CORTEX_HU = 250  # cortical shell at a voxel size of 2 mm
METAL_HU = 2000  # denser than cortical bone (at most about 1900 HU)
CANAL_HU = (-60, 130)  # cord, cerebrospinal fluid, epidural fat, with noise
CANAL_RAYS_MM = (6.0, 26.0)  # bone lies this far from the middle of the canal (adult canal 15-25 mm wide)
SEARCH_MM = 4.0  # in-plane step of the search for the canal
BODY_FORWARD_MM = 24.0  # canal to the middle of the vertebral body, towards the front
BODY_RADIUS_MM = 16.0  # radius of a thoracolumbar vertebral body
SMOOTH_BLOB_MM = 6.0  # enhanced heart, aorta and kidneys hold a ball of this radius; cortical bone does not
RIM_MM = 5.0  # trabeculated rim of enhanced heart chambers that the opening leaves
STREAM_MM = 3.0  # what an enhanced aorta leaves of a blob beside a vertebral body, radius
STREAM_RIM_MM = 3.0
BEFORE_CANAL_MM = 5.0  # no aorta lies further back
MINIMUM_BONE_ML = 1.0  # smaller dense components are calcifications, stones or bowel content
SURE_SCORE = 0.5  # of a true canal on 15 real scans: 0.7-1.0; of humerus, femur or skull: below 0.35
LEAST_SPINE_MM = 30.0  # about one vertebra with its discs
MARROW_MM = 7.0  # radius of the disc of marrow in the middle of a body
EVEN_SHARE = 0.1  # of the slices, those through the most even marrow: apart from end plates, gas and osteophytes
UNEVEN_HU = 150.0  # their spread is 9 to 48 HU on 15 real scans, 270 to 480 where white noise was taken for a spine
OFF_MIDLINE = 0.25  # what being 50 mm beside the middle of all bone costs; the score is 0 to 1
RAYS = 12

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Spine:
    """The course of the spinal canal through the scan.

    ``canal_mm`` (Z, 3) RAS mm, one point per slice of the working grid; ``score`` (Z,) 0..1, how
    well bone surrounds it; ``found`` False when there is no spine worth the name. Beyond the skull
    or the sacrum the points mean nothing: ask ``good``.
    """

    grid: Grid
    canal_mm: Floats
    score: Floats
    found: bool

    @functools.cached_property
    def good(self) -> Bools:
        """(Z,) where the canal is sure."""
        sure: Bools = self.score >= SURE_SCORE
        return sure

    @functools.cached_property
    def bodies_mm(self) -> Floats:
        """(Z, 3) RAS mm, about the middle of the vertebral bodies."""
        middles: Floats = self.canal_mm + np.array([0.0, BODY_FORWARD_MM, 0.0])
        return middles

    def at(self, z_mm: float) -> Floats:
        """The canal at a height, (3,) RAS mm; the nearest end beyond the ends."""
        return np.array([np.interp(z_mm, self.canal_mm[:, 2], self.canal_mm[:, axis]) for axis in range(3)])


@once
def spine(case: Case) -> Spine:
    """The spinal canal, slice by slice of the working grid."""
    volume = case.working
    path, score = _trace(volume)
    points = volume.grid.to_mm(path[:, ::-1])
    weight = np.maximum(score, 0.05)
    window = max(1, round(16.0 / volume.grid.spacing_mm[2]))
    for axis in range(2):  # a moving mean: the canal bends slowly, single slices err by a voxel or two
        top = ndimage.uniform_filter1d(points[:, axis] * weight, window, mode="nearest")
        points[:, axis] = top / ndimage.uniform_filter1d(weight, window, mode="nearest")
    steady = ndimage.uniform_filter1d(score, window, mode="nearest")
    found = Spine(volume.grid, points, steady, found=True)
    sure = np.flatnonzero(found.good)
    enough = sure.size * volume.grid.spacing_mm[2] >= LEAST_SPINE_MM
    spreads = marrow(volume, found.bodies_mm, sure)[1]
    even = enough and float(np.quantile(spreads, EVEN_SHARE)) <= UNEVEN_HU
    return Spine(volume.grid, points, steady, found=bool(even))


def marrow(volume: Volume, bodies_mm: Floats, slices: NDArray[np.intp]) -> tuple[Floats, Floats, Bools]:
    """Mean and spread (HU) of the disc of marrow in each of some slices, and the discs as (X, Y, Z) bool.

    Args:
        volume: with axial slices.
        bodies_mm: (Z, 3) RAS mm, the middles of the vertebral bodies slice by slice.
        slices: of the volume.
    """
    ijk = volume.grid.to_ijk(bodies_mm)
    step_x, step_y, _ = volume.grid.spacing_mm
    voxels = np.zeros(volume.grid.shape, dtype=bool, order="F")
    x, y = np.arange(volume.grid.shape[0])[:, None], np.arange(volume.grid.shape[1])[None, :]
    means, spreads = np.zeros(slices.size), np.full(slices.size, 1e3)  # beyond the picture: as uneven as can be
    for number, k in enumerate(slices):
        disc = ((x - ijk[k, 0]) * step_x) ** 2 + ((y - ijk[k, 1]) * step_y) ** 2 <= MARROW_MM**2
        values = volume.hu[:, :, k][disc]
        if values.size:
            means[number], spreads[number] = float(values.mean()), float(values.std())
            voxels[:, :, k] = disc
    return means, spreads, voxels


def _trace(volume: Volume) -> tuple[Floats, Floats]:
    """(Z, 3) k, j, i of the working grid and (Z,) score of the best path from bottom to top."""
    step_x, step_y, step_z = volume.grid.spacing_mm
    hu = volume.hu.T
    fx = min(max(1, round(SEARCH_MM / step_x)), hu.shape[2])
    fy = min(max(1, round(SEARCH_MM / step_y)), hu.shape[1])
    nz, ny, nx = hu.shape[0], hu.shape[1] // fy, hu.shape[2] // fx
    blocks = hu[:, : ny * fy, : nx * fx].reshape(nz, ny, fy, nx, fx)
    densest = blocks.max(axis=(2, 4))
    mean = blocks.mean(axis=(2, 4), dtype=np.float32)
    score = _canal_score(densest > CORTEX_HU, mean, (fy * step_y, fx * step_x))
    mass = np.cumsum((densest > CORTEX_HU).sum(axis=(0, 1)))
    middle = float(np.searchsorted(mass, mass[-1] / 2)) if mass[-1] else nx / 2  # bone is symmetric
    score -= OFF_MIDLINE * (np.abs(np.arange(nx) - middle) * fx * step_x / 50.0).astype(np.float32) ** 2
    reach = max(1, round(step_z * 1.0 / SEARCH_MM + 0.4))  # the canal leans at most about 45 degrees
    path = _best_path(score, reach)
    values = np.clip(score[np.arange(nz), path[:, 0], path[:, 1]], 0, 1)
    full = np.stack([np.arange(nz), (path[:, 0] + 0.5) * fy - 0.5, (path[:, 1] + 0.5) * fx - 0.5], axis=1)
    return full.astype(np.float64), values.astype(np.float64)


def _canal_score(bone: Bools, mean_hu: NDArray[np.float32], step_mm: tuple[float, float]) -> NDArray[np.float32]:
    """(Z, Y, X) 0..1: how much a voxel looks like the middle of a canal: soft, and bone on every ray around it."""
    hits = np.zeros(bone.shape, dtype=np.float32)
    near, far = CANAL_RAYS_MM
    for ray in range(RAYS):
        angle = 2 * np.pi * ray / RAYS
        seen = np.zeros_like(bone)
        offsets = {
            (round(np.sin(angle) * r / step_mm[0]), round(np.cos(angle) * r / step_mm[1]))
            for r in np.arange(near, far, min(step_mm) / 2)
        }
        for dy, dx in sorted(offsets):
            _or_shifted(seen, bone, dy, dx)
        hits += seen
    hits /= RAYS
    forward = round(BODY_FORWARD_MM / step_mm[0])
    size = (1, max(1, round(2 * BODY_RADIUS_MM / step_mm[0])), max(1, round(2 * BODY_RADIUS_MM / step_mm[1])))
    dense = ndimage.uniform_filter(np.clip(mean_hu, -100, 400), size, mode="nearest")
    body = np.full_like(dense, -100.0)
    rows = body.shape[1] - forward  # none where the field of view is smaller than a vertebra
    if rows > 0:
        body[:, :rows] = dense[:, forward:]
    soft = (mean_hu > CANAL_HU[0]) & (mean_hu < CANAL_HU[1])
    score = hits**2 * (0.3 + 0.7 * np.clip((body - 50.0) / 70.0, 0, 1))
    return np.asarray(np.where(soft, score, 0.5 * score), dtype=np.float32)


def _or_shifted(target: Bools, source: Bools, dy: int, dx: int) -> None:
    """target[k, y, x] |= source[k, y + dy, x + dx], in place, where that lies inside."""
    ny, nx = source.shape[1:]
    y0, y1, x0, x1 = max(0, -dy), min(ny, ny - dy), max(0, -dx), min(nx, nx - dx)
    if y0 < y1 and x0 < x1:
        target[:, y0:y1, x0:x1] |= source[:, y0 + dy : y1 + dy, x0 + dx : x1 + dx]


def _best_path(score: NDArray[np.float32], reach: int) -> NDArray[np.intp]:
    """(Z, Y, X) scores -> (Z, 2) j, i of the path with the largest sum; a step costs a little."""
    nz, ny, nx = score.shape
    moves = [(dy, dx) for dy in range(-reach, reach + 1) for dx in range(-reach, reach + 1)]
    moves.sort(key=lambda m: m[0] ** 2 + m[1] ** 2)  # ties keep straight
    best = score[0].astype(np.float32)
    came = np.zeros((nz, ny, nx), dtype=np.int8 if len(moves) < 128 else np.int16)
    padded = np.empty((ny + 2 * reach, nx + 2 * reach), dtype=np.float32)
    for k in range(1, nz):
        padded.fill(-1e9)
        padded[reach : reach + ny, reach : reach + nx] = best
        best = np.full((ny, nx), -1e9, dtype=np.float32)
        for number, (dy, dx) in enumerate(moves):
            candidate = padded[reach + dy : reach + dy + ny, reach + dx : reach + dx + nx]
            candidate = candidate - 0.08 * float(np.hypot(dy, dx)) / reach
            better = candidate > best
            best[better] = candidate[better]
            came[k][better] = number
        best += score[k]
    path = np.zeros((nz, 2), dtype=np.intp)
    path[-1] = np.unravel_index(int(np.argmax(best)), best.shape)
    for k in range(nz - 1, 0, -1):
        dy, dx = moves[int(came[k][tuple(path[k])])]
        path[k - 1] = path[k] + (dy, dx)
    return path


@once
def skeleton(case: Case) -> Mask:
    """Bone on the working grid, without enhanced blood, metal, calcifications and dense bowel; may be empty."""
    volume = case.working
    hu = volume.hu.T
    dense = (hu > BONE_HU) & (hu < METAL_HU) & body(case).voxels.T
    blobs = opened_by(dense, volume.grid, SMOOTH_BLOB_MM)
    beside = _beside_bodies(case)
    streams = opened_by(blobs & beside, volume.grid, STREAM_MM)
    keep_smooth = spine_region(case) & ~(grown(streams, STREAM_RIM_MM, volume.grid) & beside)
    dense &= ~grown(blobs, RIM_MM, volume.grid) | keep_smooth
    labels, count = cc3d.connected_components(dense, connectivity=6, return_N=True)
    if count == 0:
        return Mask("skeleton", np.zeros(volume.grid.shape, dtype=bool, order="F"), volume.grid)
    sizes = np.bincount(labels.ravel(), minlength=count + 1).astype(np.float64) * volume.grid.voxel_ml
    keep = sizes >= MINIMUM_BONE_ML
    # A component with a cortical peak is bone; diluted bowel contrast and noise have none.
    keep &= np.bincount(labels[hu > CORTEX_HU + 50], minlength=count + 1) > 0
    keep[0] = False
    return Mask("skeleton", keep[labels].T, volume.grid)


@once
def spine_region(case: Case) -> Bools:
    """(Z, Y, X): the cylinder of the vertebral bodies and arches around the canal."""
    volume = case.working
    nz, ny, nx = volume.hu.T.shape
    found = spine(case)
    out = np.zeros((nz, ny, nx), dtype=bool)
    if not found.found:
        return out
    ijk = volume.grid.to_ijk(found.bodies_mm)
    step_x, step_y, _ = volume.grid.spacing_mm
    y, x = np.mgrid[:ny, :nx]
    for k in range(nz):
        dx, dy = (x - ijk[k, 0]) * step_x, (y - ijk[k, 1]) * step_y
        body = dx**2 + dy**2 < (BODY_RADIUS_MM + 5.0) ** 2
        arch = (np.abs(dx) < 45.0) & (dy < -5.0) & (dy > -75.0)
        out[k] = body | arch
    return out


def _beside_bodies(case: Case) -> Bools:
    """(Z, Y, X): what lies beside and before the vertebral bodies, where an enhanced aorta touches them."""
    volume, axis = case.working, spine(case)
    body_ijk, canal_ijk = (volume.grid.to_ijk(points) for points in (axis.bodies_mm, axis.canal_mm))
    step_x, step_y, _ = volume.grid.spacing_mm
    nz, ny, nx = volume.hu.T.shape
    out = np.zeros((nz, ny, nx), dtype=bool)
    y, x = np.ogrid[:ny, :nx]
    for k in range(nz):
        away = ((x - body_ijk[k, 0]) * step_x) ** 2 + ((y - body_ijk[k, 1]) * step_y) ** 2
        out[k] = (away > BODY_RADIUS_MM**2) & ((y - canal_ijk[k, 1]) * step_y > BEFORE_CANAL_MM)
    return out


def opened_by(mask: Bools, grid: Grid, radius_mm: float) -> Bools:
    """(Z, Y, X) opening by a ball in mm."""
    return opened(mask, radius_mm, grid)


def bone_near_spine(case: Case) -> Mask:
    """The vertebrae with the roots of the ribs: skeleton within the cylinder of the spine."""
    bones = skeleton(case)
    return Mask("spine", bones.voxels & spine_region(case).T, bones.grid)
