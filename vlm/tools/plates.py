"""Plates of airless lung: bands and discs with aerated lung on both faces, the commonest look of atelectasis.

In: an open case. Out: one record for each plate, on the working grid. Linear atelectasis is a
focal band or disc of subsegmental airless lung (Hansell, Radiology 2008;246:697). A plate is
thin one way and wide both others. Vessels are wide one way only; the dome of the diaphragm,
the heart and what lies on the pleura have lung on one face only; a fissure is thinner than a
voxel and its blur; folds of fat at the base are fat. Arrays are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from vlm.anatomy.airways import airways
from vlm.anatomy.ball import Slices, box_of, grown
from vlm.anatomy.lungs import LungSide, lungs
from vlm.evidence import Case, once
from vlm.tools.effusion import pleural_fluid
from vlm.tools.lung_field import Bools, Floats

WINDOW_MM = 8.0  # sigma of the ball in which the shape of the tissue is asked for
FILLED = 0.1  # of that ball is tissue at least; vessels of a few mm fill less
FLAT = 0.3  # variance across over the lesser variance along; of a half space it is 0.36
THICK_MM = 16.0  # from lung to lung across the plate, blur included
STEP_MM = 1.5  # of the way from its middle to its faces
WIDE_MM = 26.0  # area of its face over its longest extent; forks of vessels in clear lungs reach 24
WHOLE_FACE = 0.6  # of the hull of its face that it fills; nets of vessels fill half
FACE_MM = 3.0  # cells of the face
LEAST_ML = 1.5
TISSUE_HU = (0.0, 160.0)  # of its densest tenth: folds of fat and walls of airways lie below, enhanced vessels above
DENSEST = 90.0  # percentile
EXPIRED_HU = -350.0  # the border of a plate lies halfway to its lung, but no higher
AIRWAY_MM = 3.0  # from the lumen: the walls of large bronchi are plates, too

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Plate:
    """One plate in one lung."""

    side: LungSide
    voxels: Bools  # (Z, Y, X) on the working grid
    volume_ml: float
    densest_hu: float  # what its densest tenth reaches: lung and blur take from the rest


@once
def plates(case: Case) -> tuple[Plate, ...]:
    """The plates of both lungs, largest first."""
    found = [plate for side in lungs(case).present for plate in _plates(case, side)]
    return tuple(sorted(found, key=lambda plate: -plate.volume_ml))


def _plates(case: Case, side: LungSide) -> list[Plate]:
    grid, lung = case.working.grid, lungs(case).of(side).voxels.T
    step = np.array(grid.spacing_mm[::-1])
    box = box_of(lungs(case).space(side).voxels.T, WINDOW_MM, grid)
    tissue, air = _parted(case, side, box)
    index, across = _flat(tissue, step)
    faced = index[_between_lung(index, across, air, step)]
    middle = np.zeros_like(tissue)
    middle[tuple(faced.T)] = True
    labels: NDArray[np.uint32] = cc3d.connected_components(middle, connectivity=26)
    size_ml = np.bincount(labels.ravel()) * grid.voxel_ml
    size_ml[0] = 0.0
    hu = case.working.hu.T[box]
    out = []
    for name in np.flatnonzero(size_ml >= LEAST_ML / 2):
        here = labels == name
        whole = here | (ndimage.binary_dilation(here, iterations=2) & tissue)
        ml = int(np.count_nonzero(whole)) * grid.voxel_ml
        densest_hu = float(np.percentile(hu[whole], DENSEST))
        if ml < LEAST_ML or not TISSUE_HU[0] <= densest_hu <= TISSUE_HU[1]:
            continue
        if not _is_wide(np.argwhere(whole) * step):
            continue
        voxels = np.zeros_like(lung)
        voxels[box] = whole
        out.append(Plate(side, voxels, ml, densest_hu))
    return out


def _parted(case: Case, side: LungSide, box: Slices) -> tuple[Bools, Bools]:
    """Tissue in the space of a lung, and its air, in a box; the border lies halfway between lung and tissue."""
    found, grid = lungs(case), case.working.grid
    lung, space = found.of(side).voxels.T[box], found.space(side).voxels.T[box]
    hu = case.working.hu.T[box]
    border = min(float(np.median(hu[lung])) / 2, EXPIRED_HU)
    tissue = space & (hu > border) & ~grown(airways(case).mask.voxels.T, AIRWAY_MM, grid)[box]
    fluid = pleural_fluid(case).get(side)
    if fluid is not None:
        tissue &= ~fluid[1][box]
    return tissue, space & (hu <= border)


def _flat(tissue: Bools, step: Points) -> tuple[NDArray[np.intp], Floats]:
    """(N, 3) voxels of tissue that is flat around them, and the (N, 3) directions across it.

    The moments of the tissue within the window are taken on blocks of two voxels: they change
    slowly, and take an eighth of the time.
    """
    share = _halved(tissue)
    sigma = WINDOW_MM / (2 * step)
    z, y, x = (((np.arange(n) - n / 2) * 2 * s).astype(np.float32) for n, s in zip(share.shape, step, strict=True))
    axes = (z[:, None, None], y[None, :, None], x[None, None, :])

    def mean(values: Floats) -> Floats:
        return np.asarray(ndimage.gaussian_filter(values, sigma, truncate=2.5))

    total = mean(share)
    here = total > FILLED
    first = [mean(share * axis)[here] / total[here] for axis in axes]
    spread = np.empty((int(here.sum()), 3, 3), dtype=np.float32)
    for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)):
        second = mean(share * axes[i] * axes[j])[here] / total[here]
        spread[:, i, j] = spread[:, j, i] = second - first[i] * first[j]
    values, vectors = np.linalg.eigh(spread)
    across = np.zeros((*share.shape, 3), dtype=np.float32)
    across[here] = np.where((values[:, 0] < FLAT * values[:, 1])[:, None], vectors[:, :, 0], 0)
    index = np.argwhere(tissue)
    of_voxel = across[tuple((index // 2).T)]
    flat = of_voxel.any(axis=1)
    return index[flat], of_voxel[flat]


def _halved(mask: Bools) -> Floats:
    """(Z, Y, X) bool -> the share of each block of two voxels along every axis that is set."""
    padded = np.pad(mask, [(0, n % 2) for n in mask.shape])
    z, y, x = (n // 2 for n in padded.shape)
    return np.asarray(padded.reshape(z, 2, y, 2, x, 2).mean(axis=(1, 3, 5), dtype=np.float32))


def _between_lung(index: NDArray[np.intp], across: Floats, air: Bools, step: Points) -> Bools:
    """(N,) bool: whether air of the same lung lies on both sides of each voxel, not too far apart."""
    thick = np.zeros(len(index))
    last = np.array(air.shape) - 1
    for sign in (1.0, -1.0):
        reach = np.full(len(index), np.inf)
        for mm in np.arange(THICK_MM - STEP_MM, 0, -STEP_MM):  # the nearest air is written last
            at = np.rint(index + sign * across * mm / step).astype(np.intp)
            inside = ((at >= 0) & (at <= last)).all(axis=1)
            reach[inside & air[tuple(np.clip(at, 0, last).T)]] = mm
        thick += reach
    return np.asarray(thick <= THICK_MM)


def _is_wide(points_mm: Points) -> bool:
    """Whether (N, 3) places of one piece are wide both ways and fill the hull of their face."""
    centred = points_mm - points_mm.mean(axis=0)
    _, vectors = np.linalg.eigh(centred.T @ centred)
    along = centred @ vectors[:, :0:-1]  # longest first; across is left out
    low, high = np.percentile(along[:, 0], (2, 98))
    cells = np.unique(np.floor(along / FACE_MM).astype(int), axis=0)
    if len(cells) * FACE_MM**2 < WIDE_MM * (high - low):
        return False
    corners = (cells[:, None] + np.array([[0, 0], [0, 1], [1, 0], [1, 1]])).reshape(-1, 2)
    try:
        return len(cells) >= WHOLE_FACE * float(ConvexHull(corners).volume)  # of two axes, its area
    except QhullError:
        return False
