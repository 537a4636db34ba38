"""The ascending aorta and the arch, each where it can be measured; neither is guessed from the other.

In: carina, spine, bones and descending aorta of a Case. Out: circles of the ascending aorta about the level of
the pulmonary bifurcation, and the width of the arch across the line that joins both limbs. Without contrast
the ascending aorta often merges with the pulmonary artery in a slice: then that slice is not sure.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import BRIGHTEST_HU, EDGE_HU, FAT_HU, Aorta, aorta, follow_rounds, round_candidates
from vlm.anatomy.skeleton import skeleton, spine
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, once

AROUND_CARINA_MM = (-55.0, 12.0)  # heights in which the ascending aorta is followed
BIFURCATION_MM = (-40.0, -5.0)  # the pulmonary trunk divides here, below the carina
SIDEWAYS_MM, FORWARD_MM = (-35.0, 65.0), (-5.0, 95.0)  # of the canal and of the carina: where it is looked for
LEAST_RADIUS_MM = 11.0
SURE_ROUND = 0.6  # share of the wall that shows an edge
LEAST_MM = 12.0  # length over which that must hold
SPREAD_MM = 3.0  # of the radii over that length
ARCH_MM = (10.0, 40.0)  # above the carina
ARCH_PART = (0.35, 0.65)  # of the way between the limbs: its middle
ARCH_RADIUS_MM = (8.0, 30.0)
ARCH_SPREAD_MM = 5.0  # of the widths across the middle
ARCH_SLICES_MM = 6.0
VAULT_MM = 10.0  # above the highest slice with both borders the arch ends: there lies its vault
EDGE_SHARE = 0.35  # of the way from blood to fat

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Arch:
    """What is above the traced descending aorta; parts that were not found are None or empty.

    ``ascending`` holds circles of the working grid, ``arch`` the voxels between the limbs.
    """

    ascending: Aorta
    ascending_mm: float | None  # diameter at the pulmonary bifurcation
    arch: Mask
    arch_mm: float | None  # width of its middle


@once
def arch(case: Case) -> Arch:
    """The ascending aorta and the arch of a scan that shows carina and spine."""
    grid, carina = case.working.grid, airways(case).carina_mm
    empty = Mask("aortic_arch", np.zeros(grid.shape, dtype=bool, order="F"), grid)
    nz = grid.shape[2]
    none = Aorta(grid, np.zeros((nz, 3)), np.zeros(nz), np.zeros(nz), np.zeros(nz, dtype=bool), False, None)
    if carina is None or not spine(case).found:
        return Arch(none, None, empty, None)
    rising = _ascending(case, carina) or none
    width = 2.0 * float(np.median(rising.radii_mm[rising.sure])) if rising.found else None
    between, across = _between_limbs(case, carina)
    return Arch(rising, width, between if across is not None else empty, across)


def _ascending(case: Case, carina: tuple[float, float, float]) -> Aorta | None:
    """Circles of the ascending aorta, sure where they are round and steady; None where they are so nowhere."""
    volume, grid = case.working, case.working.grid
    step = grid.spacing_mm[2]
    low, high = (round(float(grid.to_ijk([0, 0, carina[2] + by])[2])) for by in AROUND_CARINA_MM)
    slices = np.arange(max(0, low), min(grid.shape[2], high + 1))
    canal = spine(case).at(carina[2])
    corner = grid.to_ijk([canal[0] + SIDEWAYS_MM[0], carina[1] + FORWARD_MM[0], 0.0])
    end = grid.to_ijk([canal[0] + SIDEWAYS_MM[1], carina[1] + FORWARD_MM[1], 0.0])
    i, j, i_end, j_end = (max(0, int(v)) for v in (corner[0], corner[1], end[0], end[1]))
    part = (slice(int(slices[0]), int(slices[-1]) + 1), slice(j, j_end), slice(i, i_end)) if slices.size else None
    if part is None or slices.size * step < LEAST_MM:
        return None
    hu = np.clip(volume.hu.T[part].astype(np.float32), FAT_HU, BRIGHTEST_HU)
    hu[skeleton(case).voxels.T[part]] = FAT_HU
    if min(hu.shape[1:]) * min(grid.spacing_mm[:2]) < 75.0:  # cut by the field of view
        return None
    rounds = round_candidates(hu, grid)
    rounds[..., 0] *= np.where(rounds[..., 3] < LEAST_RADIUS_MM, 0.3, 1.0)
    path = follow_rounds(rounds, np.tile([j, i], (slices.size, 1)), grid)
    centres, radii, roundness = np.zeros((grid.shape[2], 3)), np.zeros(grid.shape[2]), np.zeros(grid.shape[2])
    centres[slices] = grid.to_mm(np.stack([path[:, 2] + i, path[:, 1] + j, slices], axis=1))
    radii[slices], roundness[slices] = path[:, 3], path[:, 0]
    height = centres[:, 2] - carina[2]
    level = (radii > 0) & (height >= BIFURCATION_MM[0]) & (height <= BIFURCATION_MM[1])
    sure = _steady(level, radii, roundness, step)
    return Aorta(grid, centres, radii, roundness, sure, True, None) if sure.any() else None


def _steady(level: Bools, radii: Floats, roundness: Floats, step_mm: float) -> Bools:
    """(Z,) the slices of a level that are round and about as wide as the round ones; none where they are too few."""
    round_ = level & (roundness >= SURE_ROUND)
    if np.count_nonzero(round_) * step_mm < LEAST_MM:
        return np.zeros_like(level)
    usual = float(np.median(radii[round_]))
    sure: Bools = round_ & (np.abs(radii - usual) <= SPREAD_MM)
    enough = np.count_nonzero(sure) * step_mm >= LEAST_MM and np.count_nonzero(sure) >= 0.6 * np.count_nonzero(level)
    return sure if enough else np.zeros_like(level)


def _between_limbs(case: Case, carina: tuple[float, float, float]) -> tuple[Mask, float | None]:
    """The arch between its limbs and the width of its middle (mm); None where its borders are not seen.

    In each slice the arch is the soft strip that runs from in front of the trachea to the left of the spine.
    """
    volume, grid, descending = case.working, case.working.grid, aorta(case)
    out = np.zeros(grid.shape, dtype=bool, order="F")
    widths: list[float] = []
    if not descending.found:
        return Mask("aortic_arch", out, grid), None
    high = int(np.flatnonzero(descending.sure)[-1])
    back = descending.centres_mm[high]
    low, top = (round(float(grid.to_ijk([0, 0, carina[2] + by])[2])) for by in ARCH_MM)
    for k in range(max(0, low), min(grid.shape[2], top + 1)):
        strip = _strip(volume.hu[:, :, k], grid, back, carina)
        if strip is not None:
            widths.append(strip[0])
            out[:, :, k] = strip[1]
    if len(widths) * grid.spacing_mm[2] < ARCH_SLICES_MM:
        return Mask("aortic_arch", out, grid), None
    last = int(np.flatnonzero(out.any(axis=(0, 1)))[-1])
    for k in range(last + 1, min(grid.shape[2], last + 1 + round(VAULT_MM / grid.spacing_mm[2]))):
        out[:, :, k] = out[:, :, k - 1] & (volume.hu[:, :, k] > 5)
    # The highest slices cut the vault, where it is narrower.
    return Mask("aortic_arch", out, grid), float(np.percentile(widths, 75))


def _strip(
    hu: NDArray[np.int16], grid: Grid, back: Floats, carina: tuple[float, float, float]
) -> tuple[float, Bools] | None:
    """Width of the arch in one slice (X, Y) and its voxels; None where it is not parted from what lies beside it."""
    smooth = ndimage.gaussian_filter(hu.astype(np.float32), [1.2 / step for step in grid.spacing_mm[:2]])
    front = np.array([carina[0] - 4.0, carina[1] + 36.0])  # before the trachea, a little to the left
    line = front - back[:2]
    along = line / np.linalg.norm(line)
    across = np.array([-along[1], along[0]])
    ends = [_edges(smooth, grid, back[:2] + part * line, across) for part in np.linspace(*ARCH_PART, 7)]
    widths = np.array([a + b for a, b in ends])
    good = np.isfinite(widths) & (widths >= 2 * ARCH_RADIUS_MM[0]) & (widths <= 2 * ARCH_RADIUS_MM[1])
    if np.count_nonzero(good) < 5 or float(np.ptp(widths[good])) > 2 * ARCH_SPREAD_MM:
        return None
    width = float(np.median(widths[good]))
    offset = float(np.median([(b - a) / 2 for (a, b), fine in zip(ends, good, strict=True) if fine]))
    x, y = (grid.affine[n, 3] + grid.affine[n, n] * np.arange(grid.shape[n]) for n in range(2))
    away = np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1) - (back[:2] + offset * across)
    beside, way = np.abs(away @ across), (away @ along) / np.linalg.norm(line)
    return width, (beside <= width / 2) & (way >= 0.0) & (way <= 1.0) & (smooth > 5.0)


def _edges(smooth: NDArray[np.float32], grid: Grid, middle: Floats, across: Floats) -> tuple[float, float]:
    """How far (mm) the arch reaches from a point on its middle line to either side; infinite where no edge is seen."""
    reach = np.arange(0.0, ARCH_RADIUS_MM[1] + 1.0, 0.75)
    inverse = np.linalg.inv(grid.affine)
    for aside in (0.0, 6.0, 12.0):  # the trachea may lie on the line: then the arch is further to the left
        found: list[float] = []
        for sign in (-1.0, 1.0):
            points = middle - (aside, 0.0) + sign * reach[:, None] * across
            at = [points[:, axis] * inverse[axis, axis] + inverse[axis, 3] for axis in range(2)]
            values = ndimage.map_coordinates(smooth, at, order=1, mode="nearest")
            inside = float(values[:4].mean())
            fallen = np.flatnonzero(values < inside - max(EDGE_HU, EDGE_SHARE * (inside - FAT_HU)))
            found.append(float(reach[fallen[0]]) if fallen.size and values[0] > 5.0 else np.inf)
        if max(found) < np.inf and sum(found) >= 2 * ARCH_RADIUS_MM[0]:
            shift = float(np.dot((-aside, 0.0), across))
            return found[0] - shift, found[1] + shift
    return np.inf, np.inf
