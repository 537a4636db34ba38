"""Fat below the skin, fat around the organs, and the muscles of the back.

In: body, bones and the dome of a Case. Out: masks on the working grid; visceral fat below the diaphragm
only. The wall between the two is the ring of muscle and bone, closed over its gaps.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, once

FAT_HU = (-190, -30)  # Yoshizumi, Radiology 1999;211:283
MUSCLE_HU = (-29, 150)  # Mitsiopoulos, J Appl Physiol 1998;85:115
WALL_GAP_MM = 14.0  # gaps between muscles that the wall is closed over
BACK_MM = (70.0, 90.0)  # paraspinal muscles lie so far beside and behind the canal


@dataclass(frozen=True, slots=True, kw_only=True)
class Fat:
    """Masks on the working grid; ``visceral`` is None where the abdomen is not in the scan."""

    subcutaneous: Mask
    within: Mask  # the wall of muscle and bone, and all that it encloses
    visceral: Mask | None
    paraspinal: Mask  # muscle beside and behind the spine


@once
def fat(case: Case) -> Fat:
    """Subcutaneous and visceral fat, and paraspinal muscle."""
    volume = case.working
    grid, hu = volume.grid, volume.hu.T
    inside = body(case).voxels.T
    fatty = (hu >= FAT_HU[0]) & (hu <= FAT_HU[1]) & inside
    step_x, step_y, _ = grid.spacing_mm
    within = np.zeros_like(inside)
    for k in range(inside.shape[0]):
        within[k] = enclosed(hu[k], inside[k], step_y, step_x)
    under_skin = fatty & ~within
    visceral = None
    dome = coverage(case).dome_mm
    if dome is not None and coverage(case).of("abdomen") > 0.1:
        z = grid.to_mm(np.stack([np.zeros(grid.shape[2])] * 2 + [np.arange(grid.shape[2])], axis=1))[:, 2]
        visceral = Mask("visceral_fat", (fatty & within & (z < dome)[:, None, None]).T, grid)
    return Fat(
        subcutaneous=Mask("subcutaneous_fat", under_skin.T, grid),
        within=Mask("within_wall", within.T, grid),
        visceral=visceral,
        paraspinal=Mask("paraspinal_muscle", _paraspinal(case), grid),
    )


def enclosed(hu: NDArray[np.int16], inside: NDArray[np.bool_], step_y: float, step_x: float) -> NDArray[np.bool_]:
    """(Y, X) of one slice: the wall of muscle and bone, and all that it encloses; steps in mm."""
    ry, rx = (max(1, round(WALL_GAP_MM / 2 / step)) for step in (step_y, step_x))
    y, x = np.mgrid[-ry : ry + 1, -rx : rx + 1]
    disk = (y * step_y) ** 2 + (x * step_x) ** 2 <= (WALL_GAP_MM / 2) ** 2
    firm = ndimage.binary_opening((hu > FAT_HU[1]) & inside, np.ones((3, 3)))
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(firm, ((ry, ry), (rx, rx))), disk))
    return np.asarray(filled[ry:-ry, rx:-rx])


def _paraspinal(case: Case) -> np.ndarray:
    """(X, Y, Z) muscle beside and behind the canal; empty without a spine."""
    volume, axis = case.working, spine(case)
    out = np.zeros(volume.grid.shape, dtype=bool, order="F")
    if not axis.found:
        return out
    ijk = volume.grid.to_ijk(axis.canal_mm)
    step_x, step_y, _ = volume.grid.spacing_mm
    dx, dy = BACK_MM[0] / step_x, BACK_MM[1] / step_y
    for k in np.flatnonzero(axis.good):
        i0, i1 = max(0, round(ijk[k, 0] - dx)), max(0, round(ijk[k, 0] + dx))
        j0, j1 = max(0, round(ijk[k, 1] - dy)), max(0, round(ijk[k, 1] + 15.0 / step_y))
        patch = volume.hu[i0:i1, j0:j1, k]
        out[i0:i1, j0:j1, k] = (patch >= MUSCLE_HU[0]) & (patch <= MUSCLE_HU[1])
    return out
