"""Kidneys, found only as a place to look for stones in: a rule that says no rather than guesses.

In: spine, bones and dome of a Case. Out: for each side a mask on the working grid, or None. A kidney is soft
tissue beside the spine, high and wide enough, that fat surrounds; where fat is thin, or liver, spleen or bowel
touch it, it is not told from them and counts as not found. No finding of the kidney itself rests on this mask.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import closed, grown, shrunk
from vlm.anatomy.coverage import coverage
from vlm.anatomy.skeleton import skeleton, spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, once

SIDES: tuple[Literal["right", "left"], ...] = ("right", "left")
HEIGHTS_MM = (-30.0, -260.0)  # of the right dome
SIDEWAYS_MM = (18.0, 115.0)  # of the canal, the place to look in
FORWARD_MM = (-50.0, 75.0)
MIDDLE_MM = (45.0, 92.0)  # of a kidney, beside the canal …
MIDDLE_FORWARD_MM = (-15.0, 45.0)  # … and in front of it
SOFT_HU, FAT_HU = (5.0, 300.0), (-150.0, -30.0)
CORE_MM = 9.0  # radius of the ball that fits into the cortex but not into vessels and bowel wall
RIM_MM = (2.0, 6.0)  # outside of the kidney: perirenal fat
FAT_SHARE = 0.55  # of that rim
VOLUME_ML = (60.0, 350.0)  # adult kidneys: 100-250 mL (Cheong, Clin J Am Soc Nephrol 2007;2:38); less where cut
HEIGHT_MM = (50.0, 150.0)
SINUS_MM = 8.0  # the renal sinus, closed over: stones lie there


@once
def kidneys(case: Case) -> Mapping[str, Mask | None]:
    """Masks by side; None where no kidney was told from what surrounds it."""
    volume, axis, dome = case.working, spine(case), coverage(case).dome_mm
    none: dict[str, Mask | None] = dict.fromkeys(SIDES)
    if not axis.found or dome is None or coverage(case).of("kidney") <= 0:
        return none
    height = axis.canal_mm[:, 2] - dome
    slices = np.flatnonzero((height <= HEIGHTS_MM[0]) & (height >= HEIGHTS_MM[1]))
    if slices.size * volume.grid.spacing_mm[2] < HEIGHT_MM[0]:
        return none
    step = volume.grid.spacing_mm
    middle = np.median(volume.grid.to_ijk(axis.canal_mm)[slices], axis=0)
    reach = (round((SIDEWAYS_MM[1] + 15.0) / step[0]), round((FORWARD_MM[1] + 15.0) / step[1]))
    i, j = (max(0, int(middle[n]) - reach[n]) for n in range(2))
    i_end, j_end = (int(middle[n]) + reach[n] + 1 for n in range(2))
    part = (slice(int(slices[0]), int(slices[-1]) + 1), slice(j, j_end), slice(i, i_end))
    smooth = ndimage.gaussian_filter(volume.hu.T[part].astype(np.float32), [1.0 / s for s in step[::-1]])
    canal = volume.grid.to_ijk(axis.canal_mm)[part[0]]
    x = (i + np.arange(smooth.shape[2])[None, None, :] - canal[:, 0, None, None]) * step[0]
    y = (j + np.arange(smooth.shape[1])[None, :, None] - canal[:, 1, None, None]) * step[1]
    soft = (smooth > SOFT_HU[0]) & (smooth < SOFT_HU[1]) & ~grown(skeleton(case).voxels.T[part], 2.0, volume.grid)
    soft &= (y > FORWARD_MM[0]) & (y < FORWARD_MM[1])
    fat = (smooth > FAT_HU[0]) & (smooth < FAT_HU[1])
    for side, sign in (("right", 1.0), ("left", -1.0)):
        beside = soft & (sign * x > SIDEWAYS_MM[0]) & (sign * x < SIDEWAYS_MM[1])
        found = _kidney(beside, fat, (sign * x, y), case)
        if found is not None:
            out = np.zeros(volume.hu.T.shape, dtype=bool)
            out[part] = closed(found, SINUS_MM, volume.grid)
            none[side] = Mask(f"kidney_{side}", out.T, volume.grid)
    return none


def _kidney(
    soft: NDArray[np.bool_],
    fat: NDArray[np.bool_],
    place_mm: tuple[NDArray[np.float64], NDArray[np.float64]],
    case: Case,
) -> NDArray[np.bool_] | None:
    """The piece of soft tissue that most fat surrounds and that has a kidney's place and size; None without any."""
    grid = case.working.grid
    labels, count = cc3d.connected_components(shrunk(soft, CORE_MM, grid), connectivity=6, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1) * grid.voxel_ml
    best: tuple[float, NDArray[np.bool_]] | None = None
    for number in np.flatnonzero(sizes[1:] >= 2.0) + 1:
        piece = grown(labels == number, CORE_MM + 1.0, grid) & soft
        high = np.flatnonzero(piece.any(axis=(1, 2)))
        k, j, i = (int(v) for v in np.argwhere(piece).mean(axis=0))
        beside, before = float(place_mm[0][k, 0, i]), float(place_mm[1][k, j, 0])
        if not (
            VOLUME_ML[0] <= np.count_nonzero(piece) * grid.voxel_ml <= VOLUME_ML[1]
            and HEIGHT_MM[0] <= high.size * grid.spacing_mm[2] <= HEIGHT_MM[1]
            and MIDDLE_MM[0] <= beside <= MIDDLE_MM[1]
            and MIDDLE_FORWARD_MM[0] <= before <= MIDDLE_FORWARD_MM[1]
        ):
            continue
        rim = grown(piece, RIM_MM[1], grid) & ~grown(piece, RIM_MM[0], grid)
        share = float(fat[rim].mean())
        if share >= FAT_SHARE and (best is None or share > best[0]):
            best = share, piece
    return None if best is None else best[1]
