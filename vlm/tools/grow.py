"""A lesion grown from one point: what is connected to it and about as dense, as far as its own edge.

In: a volume and a point that somebody marked. Out: a mask on a box of the volume's grid, or nothing where the place
has no edge that can be followed. Used when a person asks about a point; no reading rests on it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.ct.volume import Grid, Mask, Point, Volume
from vlm.tools.nodule_measure import box_grid

REACH_MM = 40.0  # from the point to the wall of the box that is looked at: masses of up to 8 cm
SEED_MM = 2.5  # radius of the ball whose density is the lesion's
RING_MM = (1.0, 4.0)  # how far outside a first guess its surroundings are taken
LEAST_STEP_HU = 15.0  # an edge that is lower is noise (a quarter of soft tissue against blood with contrast)
WAIST_MM = 2.0  # what hangs on by a neck of up to twice this is not the lesion: vessels, a wall


def grow(volume: Volume, point_mm: Point) -> Mask | None:
    """The lesion at a point, RAS mm; None outside the scan or where no edge holds it in.

    The border lies halfway between the density at the point and that around a first guess, as it does for nodules.
    """
    if not _inside(volume.grid, point_mm):
        return None
    centre = np.asarray(point_mm, dtype=np.float64)
    slices, grid = box_grid(volume.grid, centre - REACH_MM, centre + REACH_MM)
    hu = ndimage.gaussian_filter(volume.hu[slices].astype(np.float32), [0.7 / step for step in grid.spacing_mm])
    away = _distance(grid, centre)
    seed = away <= max(SEED_MM, float(away.min()))
    own = float(np.median(hu[seed]))
    spread = max(float(hu[seed].std()), 10.0)
    piece = _at(np.abs(hu - own) <= 4.0 * spread, away, grid)
    for _ in range(3):  # the surroundings are better known each time
        beside = _around(hu, piece, grid)
        if beside is None or abs(own - beside) < LEAST_STEP_HU:
            return None
        border = (own + beside) / 2
        piece = _at(hu > border if own > beside else hu < border, away, grid)
    return None if piece is None or _leaks(piece) else Mask("marked", np.asfortranarray(piece), grid)


def _inside(grid: Grid, point_mm: Point) -> bool:
    return all(-0.5 <= at <= n - 0.5 for at, n in zip(grid.to_ijk(point_mm), grid.shape, strict=True))


def _distance(grid: Grid, centre: NDArray[np.float64]) -> NDArray[np.float64]:
    """(X, Y, Z) distance of each voxel from a point, mm."""
    steps = [np.arange(n) for n in grid.shape]
    index = np.stack(np.meshgrid(*steps, indexing="ij"), axis=-1)
    return np.asarray(np.linalg.norm(grid.to_mm(index) - centre, axis=-1))


def _at(alike: NDArray[np.bool_], away: NDArray[np.float64], grid: Grid) -> NDArray[np.bool_] | None:
    """The piece at the point, cut where its neck is narrow, its holes filled; None where the point is not in one."""
    reach = WAIST_MM / np.asarray(grid.spacing_mm)
    labels, _ = ndimage.label(alike)
    whole = _piece(labels, away)
    if whole is None:
        return None
    inner = ndimage.distance_transform_edt(whole, sampling=grid.spacing_mm) > WAIST_MM if min(reach) >= 0.5 else whole
    core = _piece(ndimage.label(inner)[0], np.where(inner, away, np.inf)) if inner.any() else None
    if core is None:
        return np.asarray(ndimage.binary_fill_holes(whole))
    near = ndimage.distance_transform_edt(~core, sampling=grid.spacing_mm) <= WAIST_MM + 0.5 * max(grid.spacing_mm)
    return np.asarray(ndimage.binary_fill_holes(whole & near))


def _piece(labels: NDArray[np.int32], away: NDArray[np.float64]) -> NDArray[np.bool_] | None:
    """The labelled piece nearest to the point, within the seed's reach."""
    held = np.where(labels > 0, away, np.inf)
    nearest = np.unravel_index(int(np.argmin(held)), held.shape)
    if not np.isfinite(held[nearest]) or held[nearest] > 2 * SEED_MM:
        return None
    return np.asarray(labels == labels[nearest])


def _around(hu: NDArray[np.float32], piece: NDArray[np.bool_] | None, grid: Grid) -> float | None:
    """Median density of a shell around a piece; None where there is none."""
    if piece is None or piece.all():
        return None
    away = ndimage.distance_transform_edt(~piece, sampling=grid.spacing_mm)
    shell = (away > RING_MM[0]) & (away <= RING_MM[1] + max(grid.spacing_mm))
    return float(np.median(hu[shell])) if shell.any() else None


def _leaks(piece: NDArray[np.bool_]) -> bool:
    """Whether a piece reaches the wall of the box: no edge held it in."""
    return any(bool(np.take(piece, end, axis=axis).any()) for axis in range(3) for end in (0, -1))
