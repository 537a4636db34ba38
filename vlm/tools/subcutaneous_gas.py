"""Subcutaneous emphysema: streaks of gas in the fat below the skin of the chest.

In: body, lungs and airways of a Case. Out: an Observation with its volume for each side that holds gas between skin
and muscle, and a Search. A fold of skin is open to the room, a pocket of air is thick, and beside metal a scan shows
gas where none is: none of them is told. Gas between muscles, in the head, over the lowest ribs and in the wall of the
belly, and the few bubbles of an injection, are not looked for, and the search covers a part. Arrays here are (Z, Y, X)
views of the Case's arrays.
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.airways import airways
from vlm.anatomy.ball import box_of, grown, opened
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.fat import FAT_HU, enclosed
from vlm.anatomy.kidneys import SIDES
from vlm.anatomy.lungs import lungs
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.metal_parts import metal_pieces, piece_mask
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
THICK_MM, BESIDE_MM = 14.0, 4.0  # gas so wide is no streak, nor what is so near to it
FAT_SHARE, RING_MM = 0.5, (2.0, 6.0)  # fat or gas, of what is around a piece beyond its blur
PIECE_ML = 0.2
LEAST_ML, SURE_ML = 2.0, 5.0  # of a side
LOOKED_SHARE = 0.7  # of the chest's wall: from the dome to the shoulders

Bools = NDArray[np.bool_]


@tool(NAME, observes=(FINDING,), needs=("body", "lungs"))
def subcutaneous_gas(case: Case) -> list[Evidence]:
    """Look for gas in the fat below the skin of the chest."""
    found, grid = lungs(case), case.working.grid
    levels = _levels(case)
    if not levels.size:
        return [search(case, NAME, FINDING, site=SITE, covered=0.0)]
    metal = metal_pieces(case)
    barred = grown(piece_mask(case, "metal", list(metal)).voxels.T, METAL_MM, grid) if metal else None
    gas = gas_below_skin(case, levels, barred)
    right = grid.to_mm(np.eye(3)[0] * np.arange(grid.shape[0])[:, None])[:, 0] > found.midline_mm
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
    looked = LOOKED_SHARE * coverage(case).of("chest")
    failed = ("metal",) if metal else ()
    return [*out, search(case, NAME, FINDING, site=SITE, covered=looked, found=len(out), failed=failed)]


def _levels(case: Case) -> NDArray[np.intp]:
    """Slices of the chest from the dome of the diaphragm to the shoulders; none where there is no lung."""
    found, grid = lungs(case), case.working.grid
    held = np.flatnonzero(found.both.voxels.any(axis=(0, 1)))
    dome = coverage(case).dome_mm
    if not held.size or dome is None:
        return held[:0]
    top = held[-1] + round(SHOULDER_MM / grid.spacing_mm[2])
    low = max(int(held[0]), round(float(grid.to_ijk((0.0, 0.0, dome))[2])))
    return np.arange(low, min(top + 1, grid.shape[2]))


def gas_below_skin(case: Case, levels: NDArray[np.intp], barred: Bools | None = None) -> Bools:
    """(Z, Y, X) bool: streaks of gas between the skin and the muscles of the chest.

    Args:
        levels: slices to look at.
        barred: (Z, Y, X) where gas is not believed.
    """
    hu, grid, inside = case.working.hu.T, case.working.grid, body(case).voxels.T
    lung, tree = lungs(case).both.voxels.T, airways(case)
    within = grown(lung | tree.mask.voxels.T if tree.found else lung, LUNG_MM, grid)
    gas = (hu < GAS_HU) & inside & ~within
    if barred is not None:
        gas &= ~barred
    layer = np.zeros_like(inside)
    for k in levels:
        if gas[k].any():
            depth = edt.edt(inside[k], anisotropy=grid.spacing_mm[1::-1], black_border=False)
            layer[k] = (depth > SKIN_MM) & ~enclosed(hu[k], inside[k], *grid.spacing_mm[1::-1])
    thin = gas & layer & ~_folds(hu, inside, within, grid)
    thin &= ~grown(opened(thin, THICK_MM / 2, grid), BESIDE_MM, grid)
    least = max(1, int(np.ceil(PIECE_ML / grid.voxel_ml)))
    pieces = cc3d.connected_components(cc3d.dust(thin, threshold=least, connectivity=26), connectivity=26)
    return np.isin(pieces, [n for n, piece in cc3d.each(pieces, binary=True) if in_fat(piece, inside, hu, grid)])


def _folds(hu: NDArray[np.int16], inside: Bools, within: Bools, grid: Grid) -> Bools:
    """Air inside the body that comes from the room, and what is near to it."""
    labels, number = cc3d.connected_components(hu < AIR_HU, connectivity=26, return_N=True)
    from_room = np.zeros(number + 1, dtype=bool)
    from_room[np.unique(labels[~inside])] = True
    from_room[0] = False
    return grown(from_room[labels] & inside & ~within, FOLD_MM, grid)


def in_fat(piece: Bools, inside: Bools, hu: NDArray[np.int16], grid: Grid) -> bool:
    """Whether a piece holds gas for sure, and lies in fat with other streaks."""
    if hu[piece].min() > CORE_HU:
        return False
    box = box_of(piece, RING_MM[1] + 1.0, grid)
    own, around = piece[box], hu[box]
    ring = grown(own, RING_MM[1], grid) & ~grown(own, RING_MM[0], grid) & inside[box]
    return bool(ring.any()) and float(np.mean(around[ring] <= FAT_HU[1])) >= FAT_SHARE
