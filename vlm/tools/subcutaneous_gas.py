"""Subcutaneous emphysema: streaks of gas in the fat below the skin of the chest.

In: body, lungs and airways of a Case. Out: an Observation with its volume for each side that holds gas between skin
and muscle, and a Search. A fold of skin is open to the room, a pocket of air is thick, and beside metal a scan shows
gas where none is: none of them is told. Gas between muscles, in the head, in the wall of the belly and within the
chest, and the few bubbles of an injection, are not looked for. Arrays here are (Z, Y, X) views of the Case's arrays.
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.air import depth_mm
from vlm.anatomy.airways import airways
from vlm.anatomy.ball import box_of, grown
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.fat import FAT_HU, enclosed
from vlm.anatomy.kidneys import SIDES
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import METAL_HU
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "subcutaneous_gas"
FINDING, SITE = "subcutaneous_emphysema", "chest_wall"
GAS_HU = -250  # halfway between fat and what thin streaks of gas measure in blocks of 2 mm
AIR_HU = -600  # of a way into a fold of skin
CORE_HU = -450  # somewhere in each piece: what the blur of skin or of lung never is
PURE_HU, PLAIN_HU = -1000.0, -100.0  # gas and fat: what lies between is as much of either
SKIN_MM = 4.0  # below the surface: the blur of skin, and hair and cloth on it
FOLD_MM, LUNG_MM, METAL_MM = 4.0, 8.0, 30.0  # so near to these a piece is theirs
SHOULDER_MM = 40.0  # above the lungs begins the neck
THICK_MM = 14.0
FAT_SHARE, RING_MM = 0.5, (2.0, 6.0)  # fat or gas, of what is around a piece beyond its blur
PIECE_ML = 0.2
LEAST_ML, SURE_ML = 2.0, 5.0  # of a side

Bools = NDArray[np.bool_]


@tool(NAME, observes=(FINDING,), needs=("body", "lungs"))
def subcutaneous_gas(case: Case) -> list[Evidence]:
    """Look for gas in the fat below the skin of the chest."""
    found, inside, grid = lungs(case), body(case).voxels.T, case.working.grid
    if not found.present:
        return [search(case, NAME, FINDING, site=SITE, covered=0.0)]
    gas = gas_below_skin(case)
    right = np.arange(grid.shape[0]) > np.nonzero(inside)[2].mean()  # x grows to the right
    out: list[Evidence] = []
    for side in SIDES:
        own = gas & (right if side == "right" else ~right)
        share = (PLAIN_HU - case.working.hu.T[own]) / (PLAIN_HU - PURE_HU)
        ml = float(np.clip(share, 0.0, 1.0).sum()) * grid.voxel_ml
        if ml >= LEAST_ML:
            out.append(
                Observation(
                    tool=NAME, finding=FINDING, presence="present" if ml >= SURE_ML else "uncertain", side=side,
                    site=SITE, measurements=(Measurement(quantity="volume", value=ml),),
                    region=case.keep(Mask(f"subcutaneous_gas_{side}", own.T, grid)),
                )
            )  # fmt: skip
    return [*out, search(case, NAME, FINDING, site=SITE, covered=coverage(case).of("chest"), found=len(out))]


def gas_below_skin(case: Case) -> Bools:
    """(Z, Y, X) bool: streaks of gas between the skin and the muscles of the chest."""
    hu, grid, inside = case.working.hu.T, case.working.grid, body(case).voxels.T
    lung, tree = lungs(case).right.voxels.T | lungs(case).left.voxels.T, airways(case)
    levels, dome = np.flatnonzero(lung.any(axis=(1, 2))), coverage(case).dome_mm
    low = levels[0] if dome is None else max(levels[0], round(float(grid.to_ijk((0.0, 0.0, dome))[2])))
    top = levels[-1] + round(SHOULDER_MM / grid.spacing_mm[2])
    within = grown(lung | tree.mask.voxels.T if tree.found else lung, LUNG_MM, grid)
    barred = within | grown(hu > METAL_HU, METAL_MM, grid)
    gas = (hu < GAS_HU) & inside & ~barred
    layer = np.zeros_like(inside)
    for k in range(low, min(top + 1, len(hu))):
        if gas[k].any():
            depth = edt.edt(inside[k], anisotropy=grid.spacing_mm[1::-1], black_border=False)
            layer[k] = (depth > SKIN_MM) & ~enclosed(hu[k], inside[k], *grid.spacing_mm[1::-1])
    pieces = cc3d.connected_components(gas & layer & ~_folds(hu, inside, within, grid), connectivity=26)
    return np.isin(pieces, [n for n, piece in cc3d.each(pieces, binary=True) if streak(piece, hu, grid)])


def _folds(hu: NDArray[np.int16], inside: Bools, within: Bools, grid: Grid) -> Bools:
    """Air inside the body that comes from the room, and what is near to it."""
    labels, number = cc3d.connected_components(hu < AIR_HU, connectivity=26, return_N=True)
    from_room = np.zeros(number + 1, dtype=bool)
    from_room[np.unique(labels[~inside])] = True
    from_room[0] = False
    return grown(from_room[labels] & inside & ~within, FOLD_MM, grid)


def streak(piece: Bools, hu: NDArray[np.int16], grid: Grid) -> bool:
    """Whether a piece of gas is thin, and lies in fat."""
    if np.count_nonzero(piece) * grid.voxel_ml < PIECE_ML or hu[piece].min() > CORE_HU:
        return False
    box = box_of(piece, RING_MM[1] + 1.0, grid)
    own, around = piece[box], hu[box]
    if 2 * float(depth_mm(own, grid).max()) > THICK_MM:
        return False
    ring = grown(own, RING_MM[1], grid) & ~grown(own, RING_MM[0], grid)
    return bool(ring.any()) and float(np.mean(around[ring] <= FAT_HU[1])) >= FAT_SHARE
