"""Hernias of the abdominal wall that hold bowel or other soft tissue: a lump that stands out of the wall in front.

In: body, spine and heights of a Case. Out: an Observation of each lump that stands out of the contour of the wall's
muscles, and a Search. A hernia that holds fat alone is not seen, so that nothing is denied; a lump without gas in it
may be a tumour, a haematoma or a scar as well. Arrays here are (Z, Y, X) on the working grid; the contour is
(slice, angle), angles from straight in front to the right.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.polynomial.legendre import legvander2d
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import grown, opened, shrunk
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.lesions import axes_mm
from vlm.tools.own_voxels import Bools
from vlm.tools.registry import tool

NAME = "wall_hernia"
FINDING = "abdominal_hernia"
SITE = "body_wall"
SOFT_HU, GAS_HU = -20, -400
SKIN_MM = 8.0  # skin and its folds, the umbilicus
THIN_MM = 2.5  # radius: vessels and scars are thinner than 5 mm, muscles are not
THICK_MM = 7.0  # radius: a lump is at least 14 mm thick somewhere
BEFORE_CANAL_MM = 50.0  # the middle from which the contour is measured
ANGLES = np.deg2rad(np.arange(-48, 49, 3))  # farther to the side stand ribs, iliac crests and arms
STEP_MM, REACH_MM = 2.0, 260.0
NEAR_MM, DENT_MM = 90.0, 20.0  # what lies so much behind its neighbours is no muscle: the linea alba, a gap
LEAST_HEIGHT_MM = 90.0  # of the wall in view
DEGREES = (4, 4)  # of the polynomial along the body and round it that the contour follows
BEND_MM, ROUNDS = 4.0, 8  # what lies farther from the contour counts less and less
OUT_MM = 15.0  # more than a muscle stands out of its neighbours
CLEAR_MM = 4.0  # of the contour, left to the wall
LEAST_ML = 4.0
HEIGHTS_MM = (-310.0, -120.0)  # of the dome: above the groins, below breasts and ribs
GAS_ML = 0.5
LOOKED_SHARE = 0.2  # hernias of fat alone, the most, are not seen
NOTE = "only hernias that hold more than fat are looked for, in front and above the groins"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Front:
    """The front of the wall in some slices: what is firm, and angle and distance of its voxels from the middle."""

    first: int  # slice of the working grid
    firm: Bools  # (Z, Y, X)
    angle: Floats  # (Z, Y, X) radians, 0 in front, to the right above 0
    away: Floats  # (Z, Y, X) mm
    radius: Floats  # (Z, A) mm of the farthest firm voxel; 0 where there is none


@tool(NAME, observes=(FINDING,), needs=("spine",))
def wall_hernia(case: Case) -> list[Evidence]:
    """Look for bowel or other soft tissue that stands out of the front of the abdominal wall."""
    view = coverage(case)
    share = view.of("abdomen") * LOOKED_SHARE
    front = front_of(case) if share > 0 else None
    if front is None:
        return [search(case, NAME, FINDING, site=SITE, covered=0.0)]
    lumps = bulges(front, case.working.grid)
    out: list[Evidence] = [_observed(case, front, lump, number) for number, lump in enumerate(lumps, 1)]
    return [*out, search(case, NAME, FINDING, site=SITE, covered=share, found=len(lumps), note=NOTE)]


def front_of(case: Case) -> Front | None:
    """The front of the wall between ribs and groins; None where too little of it is in view."""
    dome, grid, axis = coverage(case).dome_mm, case.working.grid, spine(case)
    if dome is None or not axis.found:
        return None
    z = axis.canal_mm[:, 2]
    levels = np.flatnonzero((z > dome + HEIGHTS_MM[0]) & (z < dome + HEIGHTS_MM[1]))
    if levels.size * grid.spacing_mm[2] < LEAST_HEIGHT_MM:
        return None
    part = slice(int(levels[0]), int(levels[-1]) + 1)
    hu = case.working.hu.T[part]
    gas = grown(hu < GAS_HU, float(max(grid.spacing_mm)), grid)  # its border is half wall, and as dense as fat
    firm = opened(((hu > SOFT_HU) | gas) & shrunk(body(case).voxels.T[part], SKIN_MM, grid), THIN_MM, grid)
    firm = np.asarray(cc3d.largest_k(firm, k=1, connectivity=6) > 0)
    middle = grid.to_ijk(axis.canal_mm[part] + [0.0, BEFORE_CANAL_MM, 0.0])
    x = (np.arange(hu.shape[2]) - middle[:, 0, None])[:, None, :] * grid.affine[0, 0]
    y = (np.arange(hu.shape[1]) - middle[:, 1, None])[:, :, None] * grid.affine[1, 1]
    angle, away = np.arctan2(x, y), np.hypot(x, y)
    return Front(part.start, firm, angle, away, _farthest(firm, middle, grid))


def _farthest(firm: Bools, middle: Floats, grid: Grid) -> Floats:
    """(Z, A) mm: the farthest firm voxel along each ray from the middle of each slice; 0 where there is none."""
    reach = np.arange(0.0, REACH_MM, STEP_MM)
    dx = np.sin(ANGLES)[:, None] * reach / grid.affine[0, 0]
    dy = np.cos(ANGLES)[:, None] * reach / grid.affine[1, 1]
    out = np.zeros((len(firm), len(ANGLES)))
    for k, one in enumerate(firm):
        i, j = np.rint(middle[k, 0] + dx).astype(int), np.rint(middle[k, 1] + dy).astype(int)
        inside = (i >= 0) & (i < one.shape[1]) & (j >= 0) & (j < one.shape[0])
        met = inside & one[np.where(inside, j, 0), np.where(inside, i, 0)]
        out[k] = (met * reach).max(axis=1)
    return out


def bulges(front: Front, grid: Grid) -> list[Bools]:
    """(Z, Y, X) of the front's slices: each lump that stands out of the contour of the wall, the largest first."""
    contour = wall_of(front.radius, grid.spacing_mm[2])
    column = np.clip(np.rint((front.angle - ANGLES[0]) / (ANGLES[1] - ANGLES[0])), 0, len(ANGLES) - 1).astype(int)
    within = np.abs(front.angle) <= ANGLES[-1]
    limit = contour[np.arange(len(contour))[:, None, None], column]
    beyond = front.firm & within & (front.away > limit + CLEAR_MM)
    labels: NDArray[np.uint32] = cc3d.connected_components(opened(beyond, THICK_MM, grid), connectivity=6)
    out = []
    for number in range(1, int(labels.max()) + 1):
        lump = labels == number
        stands_out = float((front.away - limit)[lump].max())
        if stands_out >= OUT_MM and np.count_nonzero(lump) * grid.voxel_ml >= LEAST_ML:
            out.append(lump)
    return sorted(out, key=np.count_nonzero, reverse=True)


def wall_of(radius: Floats, step_z_mm: float) -> Floats:
    """(Z, A) mm: the contour of the wall, smooth in all directions, as most of it lies, not what stands out."""
    usual = float(np.median(radius[radius > 0])) if (radius > 0).any() else 1.0
    step_mm = usual * float(ANGLES[1] - ANGLES[0])
    window = 2 * round(NEAR_MM / 2 / step_z_mm) + 1, 2 * round(NEAR_MM / 2 / step_mm) + 1
    dented = radius < ndimage.percentile_filter(radius, 70, window, mode="nearest") - DENT_MM
    z, a = np.meshgrid(np.linspace(-1, 1, radius.shape[0]), np.linspace(-1, 1, radius.shape[1]), indexing="ij")
    terms = legvander2d(z, a, DEGREES).reshape(-1, (DEGREES[0] + 1) * (DEGREES[1] + 1))
    wanted = radius.ravel()
    fitted = np.full(wanted.shape, usual)
    weight = 1.0 - dented.ravel()
    for _ in range(ROUNDS):
        fitted = terms @ np.linalg.lstsq(terms * weight[:, None], wanted * weight, rcond=None)[0]
        weight = (1.0 - dented.ravel()) / (1.0 + ((wanted - fitted) / BEND_MM) ** 2)
    return np.asarray(fitted.reshape(radius.shape))


def _observed(case: Case, front: Front, lump: Bools, number: int) -> Observation:
    """One lump; gas in it is bowel's."""
    grid = case.working.grid
    whole = np.zeros(case.working.hu.T.shape, dtype=bool)
    whole[front.first : front.first + len(lump)] = lump
    bowel = np.count_nonzero(whole & (case.working.hu.T < GAS_HU)) * grid.voxel_ml >= GAS_ML
    long_mm, short_mm = axes_mm(whole, grid)
    return Observation(
        tool=NAME, finding=FINDING, presence="present" if bowel else "uncertain", site=SITE,
        measurements=(
            Measurement(quantity="diameter", value=long_mm, plus_minus=4.0),
            Measurement(quantity="short_axis", value=short_mm, plus_minus=4.0),
        ),
        region=case.keep(Mask(f"wall_hernia_{number}", whole.T, grid)),
        note="" if bowel else "a lump of soft tissue: a hernia, a tumour, a haematoma or a scar",
    )  # fmt: skip
