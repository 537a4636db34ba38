"""Wide bile ducts within the liver: dark tubes in a liver that portal contrast brightens.

In: the outline of the liver and the contrast phase. Out: the tubes, or the condition that stands in the way. Clefts
of the liver hold fat that blurs to the density of bile: they are sheets, and lie against fat. Without contrast ducts
stand out too little from vessels and noise; while the veins of the liver fill they look alike. Arrays are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.distance import pdist

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import grown, shrunk
from vlm.anatomy.structures import structure
from vlm.ct.volume import Mask
from vlm.evidence import Case
from vlm.tools.lesions import tissue, within
from vlm.tools.liver_lesions import NEIGHBOURS, NO_TISSUE_HU
from vlm.tools.organs import Organ, phase
from vlm.tools.own_voxels import Bools, Part, own_voxels

BILE_HU = 10.0  # -5 to 15; a tube's border lies half way from it to the liver
CORE_HU = 40.0  # of its middle, blurred with liver: veins that are not filled yet lie above
NOISES = 4.0  # deviations of the blurred liver between it and such a core
SLICE_MM = 5.01
SMOOTH_MM = 1.0  # deviation of the blur in the slice
RIM_MM, BESIDE_MM = 4.0, 3.0  # from the liver's border; from a neighbour's outline
FAT_HU, FAT_MM = -10.0, 4.0  # from what may be fat of the hilum or of a cleft, from gas, clips and stents
NEAR_MM, MOST_NEAR = 2.5, 0.25  # of a tube, so near to what was left out for its fat
LEAST_ML = 0.15
LONG_MM = 20.0  # from end to end
# Share of a tube's voxels around which it goes on in one direction: what is spread across is less than this share
# of what is spread along, within so many mm. In drawn ducts 0.5 to 1; in clefts and bowel 0.0 to 0.5.
REACH_MM, ACROSS, TUBULAR = 8.0, 0.3, 0.5
SAMPLES, CLOUD = 200, 8  # places on a tube; voxels that have a direction


@dataclass(frozen=True, slots=True, kw_only=True)
class Tubes:
    """Dark tubes of a liver, each a mask in a box of the scan. Lengths in mm."""

    part: Part
    mask: Bools
    lengths_mm: tuple[float, ...]


def liver_ducts(case: Case, liver: Organ) -> Tubes | str | None:
    """Wide ducts of a liver that is outlined well; None where none is seen, or the key of the condition that failed.

    Normal ducts within the liver measure 2 mm (Liddell, Radiology 1990;176:633) and are lost here: only ducts of
    about 5 mm and more are told.
    """
    assert liver.mask is not None
    if phase(case) != "venous":
        return "no_contrast" if phase(case) == "none" else "phase"
    if case.volume.grid.spacing_mm[2] > SLICE_MM:
        return "thick_slices"
    part = own_voxels(case, Mask("liver", within(liver.voxels, liver.grid).T, liver.grid))
    if part is None:
        return "coarse_pixels"
    grid = part.grid
    blur = [SMOOTH_MM / step for step in grid.spacing_mm[::-1]]
    smooth = ndimage.gaussian_filter(part.hu.astype(np.float32), blur)
    normal = tissue(smooth, liver.mask.on(grid).voxels.T, grid)
    if normal.hu - CORE_HU < NOISES * normal.spread:
        return "noise"
    left_out = grown((smooth < FAT_HU) | (smooth > NO_TISSUE_HU[1]), FAT_MM, grid)
    place = shrunk(part.voxels, RIM_MM, grid) & ~left_out
    for name in NEIGHBOURS:
        beside = structure(case, name).mask
        if beside is not None:
            place &= ~grown(beside.on(grid).voxels.T, BESIDE_MM, grid)
    return _tubes(part, smooth, place & (smooth < (normal.hu + BILE_HU) / 2), left_out)


def _tubes(part: Part, smooth: NDArray[np.float32], dark: Bools, left_out: Bools) -> Tubes | None:
    """The pieces of what is dark that are long, thin and away from fat."""
    grid, mask = part.grid, np.zeros(dark.shape, dtype=bool)
    labels = cc3d.connected_components(dark, connectivity=26)
    told = cc3d.statistics(labels)
    lengths: list[float] = []
    for number in np.flatnonzero(told["voxel_counts"] * grid.voxel_ml >= LEAST_ML):
        if number == 0:
            continue
        box = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in told["bounding_boxes"][number])
        piece = labels[box] == number
        depth = np.asarray(depth_mm(piece, grid))
        core = float(np.median(smooth[box][depth > 0.6 * depth.max()]))
        if core > CORE_HU or float(np.mean(grown(left_out[box], NEAR_MM, grid)[piece])) > MOST_NEAR:
            continue
        points = np.argwhere(piece) * np.asarray(grid.spacing_mm[::-1])
        length = float(pdist(points[:: max(1, len(points) // 500)]).max())
        if length >= LONG_MM and tubular(points) >= TUBULAR:
            mask[box] |= piece
            lengths.append(length)
    return Tubes(part=part, mask=mask, lengths_mm=tuple(lengths)) if lengths else None


def tubular(points_mm: NDArray[np.float64]) -> float:
    """Share (0..1) of the points (N, 3), mm, around which the others lie along a line, not on a sheet or in a lump."""
    near = cKDTree(points_mm).query_ball_point(points_mm[:: max(1, len(points_mm) // SAMPLES)], REACH_MM)
    clouds = [points_mm[at] for at in near]
    spread = [np.linalg.eigvalsh(np.cov(cloud.T)) for cloud in clouds if len(cloud) >= CLOUD]
    return sum(1 for each in spread if each[1] < ACROSS * each[2]) / max(1, len(clouds))
