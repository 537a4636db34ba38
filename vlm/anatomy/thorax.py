"""The thoracic cavity of each side: what lies inside the ribs, above the diaphragm and beside the mediastinum.

In: an open case. Out: one mask a side on the working grid that holds the aerated lung and
whatever took its place: fluid, air, collapse, masses. Where lung is left, the cavity is the
closed lung and what lies between it and the ribs. Where none is left on a ray from the middle
of the chest, the other lung, mirrored, says where the mediastinum ends.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import closed_mm
from vlm.anatomy.airways import airways
from vlm.anatomy.ball import grown, opened
from vlm.anatomy.body import body
from vlm.anatomy.lungs import SIDES, Lungs, LungSide, lungs
from vlm.ct.volume import Mask
from vlm.evidence import Case, once

BONE_HU = 180  # ribs in 2 mm blocks
ANGLES = 180  # rays a slice, one every 2 degrees
RAY_MM = 240.0  # from the middle of the chest to beyond any rib
RIB_WINDOW_MM = 24.0  # ribs run obliquely: within this height each ray meets one
HALF_MEDIASTINUM_MM = 35.0  # half width of spine and mediastinum where no lung shows it
HALF_HEART_MM = 80.0  # to the left of the midline, below the carina
SHELL_MM = 3.0  # half of a layer between lung and ribs that is chest wall, not pleural space
FAT_HU = -30  # mediastinal and extrapleural fat lies below
FLUID_HU = 35  # under the level of the lung only what is looser than liver and spleen is the pleural space
BELOW_MM = 60.0  # depth of the costophrenic recess under the lowest lung


@dataclass(frozen=True, slots=True, kw_only=True)
class Thorax:
    """The cavity of each side; empty where the side is not in the scan."""

    right: Mask
    left: Mask

    def of(self, side: LungSide) -> Mask:
        """The cavity of one side."""
        return self.right if side == "right" else self.left


@dataclass(frozen=True, slots=True)
class _Rays:
    """Polar coordinates of the voxels of a slice around the middle of the chest."""

    angle: NDArray[np.intp]  # (Y, X) ray of each voxel
    radius: NDArray[np.float32]  # (Y, X) mm
    y: NDArray[np.intp]  # (ANGLES, R) voxel of each sample
    x: NDArray[np.intp]
    valid: NDArray[np.bool_]  # (ANGLES, R) inside the slice
    step_mm: float


@once
def thoracic_cavity(case: Case) -> Thorax:
    """The cavity of each side: lung, and what fills the space that lung should fill."""
    found = lungs(case)
    grid = found.right.grid
    if not found.present:
        return Thorax(
            right=Mask("cavity_right", found.right.voxels, grid), left=Mask("cavity_left", found.left.voxels, grid)
        )
    wall = _wall(case, found)
    cavities = {side: _cavity(case, found, side, wall) for side in SIDES}
    cavities["left"] &= ~cavities["right"]
    return Thorax(
        right=Mask("cavity_right", cavities["right"].T, grid), left=Mask("cavity_left", cavities["left"].T, grid)
    )


def _rays(found: Lungs) -> _Rays:
    """Rays of one slice from the midline, halfway between the front and the back of the lungs."""
    grid = found.right.grid
    x_mm, y_mm, _ = grid.spacing_mm
    rows = np.flatnonzero(found.both.voxels.any(axis=(0, 2)))
    centre_y = (rows[0] + rows[-1]) / 2
    centre_x = float(grid.to_ijk([found.midline_mm, 0.0, 0.0])[0])
    yy, xx = np.mgrid[: grid.shape[1], : grid.shape[0]]
    dy, dx = (yy - centre_y) * y_mm, (xx - centre_x) * x_mm
    angle = np.floor((np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * ANGLES).astype(np.intp) % ANGLES
    step = min(x_mm, y_mm)
    r = np.arange(0.0, RAY_MM, step)
    theta = (np.arange(ANGLES) + 0.5) / ANGLES * 2 * np.pi - np.pi
    y = np.rint(centre_y + np.outer(np.sin(theta), r) / y_mm).astype(np.intp)
    x = np.rint(centre_x + np.outer(np.cos(theta), r) / x_mm).astype(np.intp)
    valid = (y >= 0) & (y < grid.shape[1]) & (x >= 0) & (x < grid.shape[0])
    return _Rays(
        angle=angle,
        radius=np.hypot(dy, dx).astype(np.float32),
        y=y.clip(0, grid.shape[1] - 1),
        x=x.clip(0, grid.shape[0] - 1),
        valid=valid,
        step_mm=step,
    )


def _first(hit: NDArray[np.bool_], step_mm: float) -> NDArray[np.float32]:
    """(Z, A, R) bool -> (Z, A) float32: mm to the first hit on each ray; infinite where there is none."""
    return np.where(hit.any(axis=2), hit.argmax(axis=2) * step_mm, np.inf).astype(np.float32)


def _last(hit: NDArray[np.bool_], step_mm: float) -> NDArray[np.float32]:
    """(Z, A, R) bool -> (Z, A) float32: mm to the last hit on each ray; -1 where there is none."""
    last = hit.shape[2] - 1 - hit[:, :, ::-1].argmax(axis=2)
    return np.where(hit.any(axis=2), last * step_mm, -1.0).astype(np.float32)


def _wall(case: Case, found: Lungs) -> NDArray[np.float32]:
    """(Z, A) float32: mm from the middle of the chest to the inside of the ribs on each ray."""
    rays = _rays(found)
    grid = found.right.grid
    lung = found.both.voxels.T
    bone = (case.working.hu.T > BONE_HU) & body(case).voxels.T
    lung_last = _last(lung[:, rays.y, rays.x] & rays.valid, rays.step_mm)
    hit = bone[:, rays.y, rays.x] & rays.valid
    # Bright vessels and heart lie inside the outermost lung; ribs lie beyond it.
    r = np.arange(rays.y.shape[1], dtype=np.float32) * rays.step_mm
    height = max(1, round(RIB_WINDOW_MM / grid.spacing_mm[2]))
    outer = ndimage.maximum_filter(lung_last, size=(2 * height + 1, 9), mode=("nearest", "wrap"))
    hit &= r > np.maximum(0.6 * outer, HALF_MEDIASTINUM_MM)[:, :, None]
    ribs = _first(hit, rays.step_mm)
    ribs = ndimage.minimum_filter(ribs, size=(height, 5), mode=("nearest", "wrap"))
    known = np.where(np.isfinite(ribs), ribs, outer)
    smooth = ndimage.median_filter(known, size=(height, 7), mode="nearest")
    wall: NDArray[np.float32] = np.maximum(smooth, lung_last)
    return wall


def _cavity(case: Case, found: Lungs, side: LungSide, wall: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: the cavity of one side."""
    grid = found.right.grid
    opposite: LungSide = "left" if side == "right" else "right"
    own, other = found.of(side).voxels.T, found.of(opposite).voxels.T
    space = found.space(side).voxels.T
    if not own.any():
        return space.copy()
    rays = _rays(found)
    beyond = _beyond(own, other, side, rays, _carina_level(case, found))  # (Z, A)
    hu = ndimage.uniform_filter(case.working.hu.T, size=(1, 3, 3))
    inside = body(case).voxels.T
    lowest = int(np.flatnonzero(own.any(axis=(1, 2)))[0])
    top = int(np.flatnonzero((own | other).any(axis=(1, 2)))[-1])
    deepest = max(0, lowest - round(BELOW_MM / grid.spacing_mm[2]))
    extra = np.zeros_like(own)
    floor = _floor(own)
    for k in range(deepest, top + 1):
        between = (rays.radius > beyond[k][rays.angle]) & (rays.radius <= wall[k][rays.angle])
        below = k < floor
        between &= (hu[k] > FAT_HU) & (~below | (hu[k] < FLUID_HU))
        extra[k] = between
    extra &= inside & ~other & ~space & ~found.space(opposite).voxels.T & (case.working.hu.T < BONE_HU)
    extra = opened(extra, SHELL_MM, grid)  # thin layers of chest wall go
    # What does not lie against the lung's own space is something else: stomach, spleen, muscle.
    # Blur between lung and fluid belongs to neither, so "against" is within the closing that joins them.
    labels: NDArray[np.uint32] = cc3d.connected_components(extra, connectivity=6)
    keep = np.zeros(int(labels.max()) + 1, dtype=bool)
    keep[np.unique(labels[grown(space, 2 * SHELL_MM, grid)])] = True
    keep[0] = False
    joined: NDArray[np.bool_] = closed_mm(keep[labels] | space, 2 * SHELL_MM, grid) & ~other & inside
    return joined


def _floor(own: NDArray[np.bool_]) -> NDArray[np.intp]:
    """(Z, Y, X) bool -> (Y, X): lowest slice with lung in each column, or in the nearest that has lung."""
    has = own.any(axis=0)
    lowest = own.argmax(axis=0)
    _, (y, x) = ndimage.distance_transform_edt(~has, return_indices=True)
    near: NDArray[np.intp] = lowest[y, x]
    return near


def _carina_level(case: Case, found: Lungs) -> int:
    """Slice of the working grid above which the mediastinum is narrow: the carina, or two thirds of the lungs."""
    carina = airways(case).carina_mm
    if carina is not None:
        return round(float(found.right.grid.to_ijk(carina)[2]))
    levels = np.flatnonzero(found.both.voxels.any(axis=(0, 1)))
    return int(levels[0] + 0.66 * (levels[-1] - levels[0]))


def _beyond(
    own: NDArray[np.bool_], other: NDArray[np.bool_], side: LungSide, rays: _Rays, carina: int
) -> NDArray[np.float32]:
    """(Z, A) float32: mm along each ray beyond which everything up to the ribs belongs to the cavity.

    Beyond the last lung of a ray; on a ray without lung, from where the other lung, mirrored,
    begins, but outside the usual mediastinum; infinite on rays to the other side.
    """
    lung_last = _last(own[:, rays.y, rays.x] & rays.valid, rays.step_mm)
    mirrored = _first(other[:, rays.y, rays.x] & rays.valid, rays.step_mm)
    flip = (ANGLES // 2 - 1 - np.arange(ANGLES)) % ANGLES  # the ray on the other side of the midline
    theta = (np.arange(ANGLES) + 0.5) / ANGLES * 2 * np.pi - np.pi
    across = np.maximum(np.abs(np.cos(theta)), 1e-3)
    least = np.full(mirrored.shape, HALF_MEDIASTINUM_MM, dtype=np.float32) / across
    if side == "left":
        front = np.sin(theta) > -0.3  # the heart lies in front of the spine
        least[:carina] = np.where(front, HALF_HEART_MM, HALF_MEDIASTINUM_MM) / across
    expected = np.maximum(mirrored[:, flip], least)  # infinite where the other side has no lung either
    beyond = np.where(lung_last >= 0, lung_last, expected)
    to_side = np.cos(theta) > 0 if side == "right" else np.cos(theta) < 0
    return np.where(to_side, beyond, np.inf).astype(np.float32)
