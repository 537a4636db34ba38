"""Every piece of metal in a scan, with where it lies: the ground for telling devices apart.

In: the full-resolution volume and bones, lungs and body of a Case. Out: pieces with place, size,
depth below the skin, and what surrounds them.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.body import body
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import skeleton, spine
from vlm.ct.volume import Mask, as_point
from vlm.evidence import Case, once

METAL_HU = 1800  # above cortical bone and undiluted enamel; dense contrast may reach it
PEAK_HU = 2700  # metal saturates a 12-bit scan (3071 HU); sharp kernels lift cortex to 2300 HU at most
LEAST_ML = 0.008
SKIN_MM = 7.0  # metal so near to the skin is clothing, an electrode, a wire on the table
SHELL_MM = 7.0  # what surrounds a piece is looked at within this
FAT_HU = (-160, -20)
MOST_PIECES = 60  # beyond, the scan is full of metal or noise: single pieces say nothing

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """One connected piece of metal; offsets are mm from the spinal canal at its height (x right, y front)."""

    voxels: NDArray[np.intp]  # (N, 3) i, j, k on the working grid
    volume_ml: float
    centre_mm: tuple[float, float, float]
    extent_mm: tuple[float, float, float]
    offset_mm: tuple[float, float] | None  # None without a spine
    depth_mm: float  # below the skin, of its deepest voxel
    bone_share: float  # of its surroundings
    fat_share: float
    lung_level: bool  # lung lies in the same slices
    before_lung: bool  # and behind it, between its own right and left ends

    @property
    def length_mm(self) -> float:
        """Diagonal of its box."""
        return float(np.linalg.norm(self.extent_mm))


@once
def metal_pieces(case: Case) -> tuple[Piece, ...]:
    """All pieces of metal within the body, largest first; clothing and the table are left out."""
    volume, grid = case.volume, case.working.grid
    points = _dense_points(volume.hu)
    if points.shape[0] == 0:
        return ()
    factors = np.rint(np.array(grid.spacing_mm) / np.array(volume.grid.spacing_mm)).astype(np.intp)
    blocks = np.minimum(points // factors, np.array(grid.shape) - 1)
    count = np.zeros(grid.shape, dtype=np.int32, order="F")
    np.add.at(count, tuple(blocks.T), 1)
    peak = np.full(grid.shape, -1024, dtype=np.int16, order="F")
    np.maximum.at(peak, tuple(blocks.T), volume.hu[tuple(points.T)])
    labels = cc3d.connected_components(count > 0, connectivity=26)
    index = np.argwhere(labels > 0)
    number = labels[tuple(index.T)]
    order = np.argsort(number, kind="stable")
    groups = np.split(index[order], np.flatnonzero(np.diff(number[order])) + 1)
    heavy = [
        group
        for group in groups
        if int(peak[tuple(group.T)].max()) >= PEAK_HU
        and int(count[tuple(group.T)].sum()) * volume.grid.voxel_ml >= LEAST_ML
    ]
    heavy.sort(key=lambda group: -int(count[tuple(group.T)].sum()))
    depth = _depth(case)
    pieces = [_piece(case, group, count, depth) for group in heavy[:MOST_PIECES]]
    return tuple(piece for piece in pieces if piece.depth_mm > SKIN_MM)


def _dense_points(hu: NDArray[np.int16]) -> NDArray[np.intp]:
    """(N, 3) voxels above METAL_HU, found slice by slice."""
    found: list[NDArray[np.intp]] = []
    for k in range(hu.shape[2]):
        plane = hu[:, :, k].T
        if int(plane.max()) > METAL_HU:
            j, i = np.nonzero(plane > METAL_HU)
            found.append(np.stack([i, j, np.full(i.shape, k)], axis=1))
    return np.concatenate(found) if found else np.zeros((0, 3), dtype=np.intp)


def _depth(case: Case) -> NDArray[np.float32]:
    """(X, Y, Z) distance to the skin within axial slices, mm; 0 outside of the body."""
    inside = body(case).voxels.T
    step_x, step_y, step_z = case.working.grid.spacing_mm
    # Slices are kept apart by a step no path can afford: the cut ends of the scan are no skin.
    depth = edt.edt(inside, anisotropy=(1e4 * step_z, step_y, step_x), black_border=False, parallel=2)
    return np.asarray(depth.T)


def _piece(case: Case, index: NDArray[np.intp], count: NDArray[np.int32], depth: NDArray[np.float32]) -> Piece:
    grid = case.working.grid
    points = grid.to_mm(index)
    centre = points.mean(axis=0)
    axis = spine(case)
    offset = None
    if axis.found:
        canal = axis.at(float(centre[2]))
        offset = (float(centre[0] - canal[0]), float(centre[1] - canal[1]))
    reach = np.ceil(SHELL_MM / np.array(grid.spacing_mm)).astype(int)
    low = np.maximum(0, index.min(axis=0) - reach)
    high = np.minimum(grid.shape, index.max(axis=0) + reach + 1)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    own = np.zeros(high - low, dtype=bool)
    own[tuple((index - low).T)] = True
    near = edt.edt(~own, anisotropy=grid.spacing_mm, black_border=False) <= SHELL_MM
    shell = near & ~own
    hu = case.working.hu[box][shell]
    bone = skeleton(case).voxels[box][shell]
    total = max(1, hu.size)
    lung = lungs(case).both.voxels[:, :, index[:, 2].min() : index[:, 2].max() + 1]
    behind = np.flatnonzero(lung[index[:, 0].min() : index[:, 0].max() + 1].any(axis=(0, 2)))
    return Piece(
        voxels=index,
        volume_ml=float(count[tuple(index.T)].sum()) * case.volume.grid.voxel_ml,
        centre_mm=as_point(centre),
        extent_mm=as_point((index.max(axis=0) - index.min(axis=0) + 1) * np.array(grid.spacing_mm)),
        offset_mm=offset,
        depth_mm=float(depth[tuple(index.T)].max()),
        bone_share=float(np.count_nonzero(bone)) / total,
        fat_share=float(np.count_nonzero((hu > FAT_HU[0]) & (hu < FAT_HU[1]))) / total,
        lung_level=bool(lung.any()),
        before_lung=bool(behind.size) and float(index[:, 1].mean()) > behind[-1],
    )


def width_mm(case: Case, piece: Piece) -> float:
    """Diameter of the widest ball within a piece; the head of a prosthesis is wide, nails and plates are not."""
    low = piece.voxels.min(axis=0)
    own = np.zeros(piece.voxels.max(axis=0) - low + 1, dtype=bool)
    own[tuple((piece.voxels - low).T)] = True
    spacing = case.working.grid.spacing_mm
    return 2.0 * float(edt.edt(np.pad(own, 1), anisotropy=spacing, black_border=True).max()) - min(spacing)


def piece_mask(case: Case, name: str, pieces: list[Piece]) -> Mask:
    """The pieces as one mask on the working grid."""
    out = np.zeros(case.working.grid.shape, dtype=bool, order="F")
    for piece in pieces:
        out[tuple(piece.voxels.T)] = True
    return Mask(name, out, case.working.grid)
