"""The shell between lung and ribs of one side, seen from the middle of that half of the chest.

In: an open case. Out: for every direction in every axial slice the radius at which the lung
ends and the radius at which the ribs begin. Fluid, free air and thick pleura lie between
the two; in health 2 to 6 mm of pleura, fat and muscle do. Arrays are (Z, Y, X) views of the
working grid, polar maps are (Z, DIRECTIONS).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.lungs import LungSide, lungs
from vlm.anatomy.skeleton import skeleton
from vlm.evidence import Case

DIRECTIONS = 180  # rays in a slice, 2 degrees apart; 0 to the patient's right, 45 to the front
STEP_MM = 1.0  # along a ray
REACH_MM = 170.0  # longer than any half of a chest
NEAREST_WALL_MM = 25.0  # ribs are further from the middle than this
RIB_GAP_MM = 13.0  # half the distance from rib to rib: within it up or down a ray meets one
SIDEWARDS = (-110.0, 80.0)  # degrees from the side: back to the ribs beside the spine and aorta, front to the heart
WIDEST_GAP = 14  # directions (28 degrees) without rib that are bridged

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Shell:
    """Polar maps of one side; radii in mm from ``centre``, NaN where there is no lung or no rib."""

    side: LungSide
    centre: tuple[float, float]  # (y, x) voxels
    lung_mm: Floats  # (Z, DIRECTIONS) the outermost aerated lung
    wall_mm: Floats  # (Z, DIRECTIONS) inner surface of the ribs
    direction: NDArray[np.intp]  # (Y, X) index of the ray a voxel lies on
    radius_mm: Floats  # (Y, X)

    @property
    def thickness_mm(self) -> Floats:
        """(Z, DIRECTIONS) distance from lung to ribs; NaN where one is missing."""
        return self.wall_mm - self.lung_mm

    def inside_wall(self, inset_mm: float = 0.0) -> Bools:
        """(Z, Y, X) bool: voxels nearer to the centre than the ribs."""
        limit = np.nan_to_num(self.wall_mm - inset_mm, nan=-1.0)
        return np.asarray(self.radius_mm[None] < limit[:, self.direction])

    def along_wall(self, within_mm: float) -> Bools:
        """(Z, Y, X) bool: voxels at most so far inside the ribs, or beyond them, where ribs are known."""
        limit = np.nan_to_num(self.wall_mm - within_mm, nan=np.inf)
        return np.asarray(self.radius_mm[None] >= limit[:, self.direction])

    def sidewards(self) -> Bools:
        """(1, Y, X) bool: voxels on rays that meet ribs, not mediastinum or spine."""
        degrees = np.arange(DIRECTIONS) * 360.0 / DIRECTIONS
        from_side = degrees if self.side == "right" else 180.0 - degrees
        from_side = np.mod(from_side + 180.0, 360.0) - 180.0
        rays = (from_side > SIDEWARDS[0]) & (from_side < SIDEWARDS[1])
        return np.asarray(rays[self.direction][None])

    def outside_lung(self) -> Bools:
        """(Z, Y, X) bool: voxels beyond the last lung of their ray, where the ray meets lung."""
        limit = np.nan_to_num(self.lung_mm, nan=np.inf)
        return np.asarray(self.radius_mm[None] > limit[:, self.direction])


def shell(case: Case, side: LungSide) -> Shell | None:
    """The shell of a side; None without lung on it. Computed once a case."""
    return case.part(f"vlm.tools.pleural_shell.{side}", lambda: _shell(case, side))  # type: ignore[return-value]


def _shell(case: Case, side: LungSide) -> Shell | None:
    found, working = lungs(case), case.working
    lung = found.of(side).voxels.T
    if not lung.any():
        return None
    x_mm, y_mm, z_mm = working.grid.spacing_mm
    columns, rows = np.flatnonzero(lung.any(axis=(0, 1))), np.flatnonzero(lung.any(axis=(0, 2)))
    centre = (float(rows[0] + rows[-1]) / 2, float(columns[0] + columns[-1]) / 2)
    y = (np.arange(lung.shape[1]) - centre[0]) * y_mm
    x = (np.arange(lung.shape[2]) - centre[1]) * x_mm
    radius = np.hypot(y[:, None], x[None, :]).astype(np.float32)
    angle = np.arctan2(y[:, None], x[None, :]) / (2 * np.pi) * DIRECTIONS
    direction = np.mod(np.rint(angle), DIRECTIONS).astype(np.intp)
    lines = voxel_rays(centre, (y_mm, x_mm), lung.shape[1:])
    bone = skeleton(case).voxels.T
    lung_mm = last_on_rays(lung, lines)
    wall_mm = _first(bone, lines, np.fmax(lung_mm, NEAREST_WALL_MM))
    up = max(1, round(RIB_GAP_MM / z_mm))
    wall_mm = ndimage.minimum_filter1d(wall_mm, 2 * up + 1, axis=0, mode="nearest")
    wall_mm = np.where(np.isfinite(wall_mm), wall_mm, np.nan)
    wall_mm = _bridged(wall_mm)
    return Shell(side, centre, lung_mm, np.fmax(wall_mm, lung_mm), direction, radius)


def voxel_rays(
    centre: tuple[float, float], step: tuple[float, float], shape: tuple[int, ...]
) -> tuple[NDArray[np.intp], NDArray[np.intp], Bools]:
    """(DIRECTIONS, R) rows and columns of the voxels on each ray, and whether they lie in the slice."""
    angle = np.arange(DIRECTIONS) / DIRECTIONS * 2 * np.pi
    along = np.arange(0.0, REACH_MM, STEP_MM)
    rows = np.rint(centre[0] + np.sin(angle)[:, None] * along / step[0]).astype(np.intp)
    columns = np.rint(centre[1] + np.cos(angle)[:, None] * along / step[1]).astype(np.intp)
    inside = (rows >= 0) & (rows < shape[0]) & (columns >= 0) & (columns < shape[1])
    return np.clip(rows, 0, shape[0] - 1), np.clip(columns, 0, shape[1] - 1), inside


def last_on_rays(mask: Bools, rays: tuple[NDArray[np.intp], NDArray[np.intp], Bools]) -> Floats:
    """(Z, DIRECTIONS) radius of the last voxel of a mask on each ray, mm; NaN where there is none."""
    out = np.full((mask.shape[0], DIRECTIONS), np.nan, dtype=np.float32)
    count = rays[0].shape[1]
    for k in range(mask.shape[0]):
        hit = mask[k][rays[0], rays[1]] & rays[2]
        some = hit.any(axis=1)
        out[k, some] = (count - 1 - hit[some, ::-1].argmax(axis=1)) * STEP_MM
    return out


def _first(mask: Bools, rays: tuple[NDArray[np.intp], NDArray[np.intp], Bools], least_mm: Floats) -> Floats:
    """(Z, DIRECTIONS) radius of the first voxel of a mask beyond ``least_mm``, mm; infinite where there is none."""
    out = np.full((mask.shape[0], DIRECTIONS), np.inf, dtype=np.float32)
    along = np.arange(rays[0].shape[1]) * STEP_MM
    for k in range(mask.shape[0]):
        hit = mask[k][rays[0], rays[1]] & rays[2] & (along >= least_mm[k][:, None])
        some = hit.any(axis=1)
        out[k, some] = hit[some].argmax(axis=1) * STEP_MM
    return out


def _bridged(wall_mm: Floats) -> Floats:
    """Gaps between directions filled from their ends, single outliers replaced by the median of 5 neighbours."""
    out = wall_mm.copy()
    for k in range(len(out)):
        known = np.flatnonzero(np.isfinite(out[k]))
        if known.size < 20:
            out[k] = np.nan
            continue
        line = np.interp(np.arange(DIRECTIONS), known, out[k, known], period=DIRECTIONS)
        gap = np.diff(np.append(known, known[0] + DIRECTIONS))
        for start, width in zip(known[gap > WIDEST_GAP], gap[gap > WIDEST_GAP], strict=True):
            line[np.arange(start + 1, start + width) % DIRECTIONS] = np.nan
        out[k] = line
    middle = ndimage.median_filter(np.nan_to_num(out, nan=1e6), size=(1, 5), mode="wrap")
    return np.where((middle < 1e5) & np.isfinite(out), np.minimum(out, middle + 3.0), np.nan).astype(np.float32)
