"""Pouches of gas on the wall of the colon, where a user's own expert outlines the colon.

In: the outline of the colon and the scan's own voxels. Out: an Observation where there are several small round pockets
of gas with fat around them at its border, and a Search. Pouches that hold stool, fluid or contrast are not looked for,
so nothing is denied. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import distance_mm
from vlm.anatomy.ball import grown, opened, shrunk
from vlm.anatomy.structures import structure
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.lesions import axes_mm
from vlm.tools.organs import organ, sought
from vlm.tools.own_voxels import Part, own_voxels
from vlm.tools.registry import tool

NAME = "diverticula"
FINDING = "diverticulosis"
# Oval or round, 5 to 10 mm, filled with gas or stool (radiologykey.com/colonic-diverticulosis-2).
POUCH_MM = (3.5, 12.0)  # of gas, with the blur of its border
STEP_MM, SLICE_MM = 1.3, 3.2  # coarser scans blur such pockets away
GAS_HU = -400.0  # half way between gas and wall
LUMEN_MM = 6.0  # radius: gas that holds such a ball is the lumen's
NECK_MM = 1.0  # what hangs on the lumen by less is no part of it
AT_WALL_MM = (9.0, 6.0)  # inside and outside of the outline, which may take pouches in or leave them out
BESIDE_MM = 12.0  # from gas of the lumen: bubbles in a collapsed colon are its own
ROUND = 2.2  # longest over shortest extent, at most
SHELL_MM = (1.0, 3.5)  # beyond the pouch and its thin wall
FAT_HU = (-150.0, -30.0)
FAT_SHARE = 0.45  # of the shell: fat of the mesocolon, outside of the outline
LUMEN_SHARE = 0.2  # of the shell, at most: a fold parts gas from gas
OTHER_MM = 4.0  # from small bowel, stomach and appendix, which hold gas, too
OTHERS = ("small_bowel", "duodenum", "stomach", "appendix", "urinary_bladder", "lung_right", "lung_left")
SEVERAL, MANY = 3, 5  # pouches: possible, certain
LOOKED_SHARE = 0.25  # a colon without gas shows none
DOUBT_MM = 2.0

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Pouch:
    """A pocket of gas beside the lumen: its voxels within ``box``, and the diameter of the ball of its volume, mm."""

    box: tuple[slice, ...]
    voxels: Bools
    size_mm: float


@tool(NAME, observes=(FINDING,), needs=("colon",))
def diverticula(case: Case) -> list[Evidence]:
    """Look for several pouches of gas on the wall of an outlined colon."""
    colon = organ(case, "colon")
    part = None if colon.mask is None or not colon.measurable else own_voxels(case, colon.mask, AT_WALL_MM[1] + 6.0)
    if part is None:
        return [sought(case, NAME, FINDING, colon)]
    step_x, step_y, step_z = part.grid.spacing_mm
    coarse = (("coarse_pixels",) if max(step_x, step_y) > STEP_MM else ()) + (
        ("thick_slices",) if step_z > SLICE_MM else ()
    )
    if coarse:
        return [sought(case, NAME, FINDING, colon, share=0.0, failed=coarse)]
    found = list(pouches(part, _others(case, part)))
    if len(found) < SEVERAL:
        return [sought(case, NAME, FINDING, colon, share=LOOKED_SHARE)]
    every = np.zeros(part.voxels.shape, dtype=bool)
    for pouch in found:
        every[pouch.box] |= pouch.voxels
    sure = len(found) >= MANY
    one = Observation(
        tool=NAME, finding=FINDING, presence="present" if sure else "uncertain", site="colon",
        measurements=(Measurement(quantity="diameter", value=max(p.size_mm for p in found), plus_minus=DOUBT_MM),),
        attributes={"pouches": str(len(found))}, region=case.keep(part.named("diverticula", every)),
        note="pockets of gas on the wall of the colon" if sure else "a few pockets of gas on the wall of the colon",
    )  # fmt: skip
    return [one, sought(case, NAME, FINDING, colon, found=1, share=LOOKED_SHARE)]


def _others(case: Case, part: Part) -> Bools:
    """What else holds gas, on the voxels of the part."""
    out = np.zeros(part.voxels.shape, dtype=bool)
    for name in OTHERS:
        mask = structure(case, name).mask
        if mask is not None:
            out |= mask.on(part.grid).voxels.T
    return out


def pouches(part: Part, others: Bools) -> Iterator[Pouch]:
    """Small round pockets of gas at the border of the colon that fat surrounds.

    Args:
        part: the colon on the scan's own voxels.
        others: (Z, Y, X) bool, what else holds gas, of the same shape.
    """
    grid, colon = part.grid, part.voxels
    gas = part.hu < GAS_HU
    lumen = grown(opened(gas, LUMEN_MM, grid), NECK_MM, grid) & gas
    rim = grown(colon, AT_WALL_MM[1], grid) & ~shrunk(colon, AT_WALL_MM[0], grid) & ~grown(others, OTHER_MM, grid)
    beside = grown(lumen, BESIDE_MM, grid)
    labels = cc3d.connected_components(gas & ~lumen, connectivity=6)
    fat = (part.hu > FAT_HU[0]) & (part.hu < FAT_HU[1]) & ~colon
    pad = [int(np.ceil(SHELL_MM[1] / step)) + 1 for step in grid.spacing_mm[::-1]]
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1):
        if box is None or max((s.stop - s.start) * d for s, d in zip(box, grid.spacing_mm[::-1], strict=True)) > 18.0:
            continue
        near = tuple(slice(max(0, s.start - p), s.stop + p) for s, p in zip(box, pad, strict=True))
        piece = labels[near] == number
        size = float(np.cbrt(6000.0 * np.count_nonzero(piece) * grid.voxel_ml / np.pi))
        if not POUCH_MM[0] <= size <= POUCH_MM[1] or np.count_nonzero(piece & rim[near]) * 2 < np.count_nonzero(piece):
            continue
        if beside[near][piece].any() and _is_round(piece, part) and _in_fat(piece, fat[near], gas[near], part):
            yield Pouch(near, piece, size)


def _is_round(piece: Bools, part: Part) -> bool:
    long_mm, short_mm = axes_mm(piece, part.grid)
    height = float(np.count_nonzero(piece.any(axis=(1, 2)))) * part.grid.spacing_mm[2]
    return max(long_mm, height) <= ROUND * max(min(short_mm, height), min(part.grid.spacing_mm[:2]))


def _in_fat(piece: Bools, fat: Bools, gas: Bools, part: Part) -> bool:
    away = distance_mm(piece, part.grid)
    shell = (away > SHELL_MM[0]) & (away <= SHELL_MM[1])
    return bool(shell.any() and fat[shell].mean() >= FAT_SHARE and gas[shell].mean() <= LUMEN_SHARE)
