"""Enlarged lymph nodes of the groins: compact lumps of soft tissue that the fat of the groin sets apart.

In: body, bones and heights of a Case. Out: a possible node for each lump with a short axis over 15 mm, and a Search for
each side. Lumps that touch muscle or vessels over more than a part of their surface are not seen, most of those of lean
people, and a lump may be a hernia, a testis or a haematoma as well: nothing is sure and nothing is denied.
Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.air import distance_mm
from vlm.anatomy.ball import box_of, grown, opened, shrunk
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.skeleton import skeleton
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Side
from vlm.tools.ground import search
from vlm.tools.lesions import axes_mm
from vlm.tools.registry import tool

NAME = "groin_nodes"
FINDING, SITE = "lymphadenopathy", "inguinal"
HEIGHTS_MM = (-430.0, -335.0)  # of the dome: from below the lesser trochanter to above the femoral head
LEAST_HEIGHT_MM = 40.0  # of that in view
ASIDE_MM = (25.0, 110.0)  # of the midline: between the root of the penis and the hip
SKIN_MM = 6.0
SOFT_HU = (-10, 150)
NODE_HU = (10.0, 120.0)  # plain to portal venous
THIN_MM, BULKY_MM, CLEAR_MM = 4.0, 12.0, 3.0  # radii: vessels are thinner, muscles hold such a ball and lie so near
# Of 77 healthy people at most 13.6 mm (Bontumasi, Surg Radiol Anat 2014, 10.1007/s00276-014-1255-0).
SHORT_MM = (15.0, 45.0)
ROUND = 2.0  # long axis or height over short axis, at most: vessels and the cord go on
SHELL_MM, FAT_HU, FAT_SHARE = (2.5, 6.0), (-150, -30), 0.7
LOOKED_SHARE = 0.25
DOUBT_MM = 3.0

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Lump:
    """A lump of the groin: its voxels on the slices looked at, and its axes in the slice where it is largest, mm."""

    voxels: Bools
    long_mm: float
    short_mm: float
    hu: float


@tool(NAME, observes=(FINDING,), needs=())
def groin_nodes(case: Case) -> list[Evidence]:
    """Look for lumps of soft tissue in the fat of the groins, from a short axis of 15 mm.

    Where no groin is in view it says nothing: ``lymph_nodes`` says of every scan where nodes were not looked for.
    """
    part = _levels(case)
    if part is None:
        return []
    grid = case.working.grid
    share = (part.stop - part.start) * grid.spacing_mm[2] / (HEIGHTS_MM[1] - HEIGHTS_MM[0])
    out: list[Evidence] = []
    found: dict[Side, int] = {"right": 0, "left": 0}
    middle = _middle(case, part)
    for number, lump in enumerate(lumps(case, part, middle), 1):
        whole = np.zeros(case.working.hu.T.shape, dtype=bool)
        whole[part] = lump.voxels
        mask = Mask(f"groin_node_{number}", whole.T, grid)
        side: Side = "right" if mask.centre_mm[0] > middle else "left"
        found[side] += 1
        out.append(
            Observation(
                tool=NAME, finding=FINDING, presence="uncertain", site=SITE, side=side,
                measurements=(
                    Measurement(quantity="short_axis", value=lump.short_mm, plus_minus=DOUBT_MM),
                    Measurement(quantity="diameter", value=lump.long_mm, plus_minus=DOUBT_MM),
                    Measurement(quantity="attenuation", value=lump.hu),
                ),
                region=case.keep(mask), note="a lump in the fat of the groin: a node, a hernia or a haematoma",
            )
        )  # fmt: skip
    looked, levels = min(share, 1.0) * LOOKED_SHARE, np.zeros(case.working.hu.T.shape, dtype=bool)
    levels[part] = body(case).voxels.T[part]
    region = case.keep(Mask("groins", levels.T, grid))
    for side, count in found.items():
        out.append(search(case, NAME, FINDING, site=SITE, side=side, covered=looked, found=count, region=region))
    return out


def _levels(case: Case) -> slice | None:
    """Slices of the working grid at the height of the groins; None where hardly any is in view."""
    dome, grid = coverage(case).dome_mm, case.working.grid
    if dome is None:
        return None
    z = grid.to_mm(np.c_[np.zeros((grid.shape[2], 2)), np.arange(grid.shape[2])])[:, 2]
    levels = np.flatnonzero((z > dome + HEIGHTS_MM[0]) & (z < dome + HEIGHTS_MM[1]))
    if levels.size * grid.spacing_mm[2] < LEAST_HEIGHT_MM:
        return None
    return slice(int(levels[0]), int(levels[-1]) + 1)


def _middle(case: Case, part: slice) -> float:
    """x of the midline between the thighs, mm: as much of the body lies on its left as on its right."""
    columns = body(case).voxels.T[part].sum(axis=(0, 1)).cumsum()
    return float(case.working.grid.to_mm([np.searchsorted(columns, columns[-1] / 2), 0, 0])[0])


def lumps(case: Case, part: slice, middle_mm: float) -> list[Lump]:
    """Compact lumps that fat surrounds, in front of the middle of the bones on both sides, the largest first.

    Args:
        part: slices of the working grid.
        middle_mm: x of the midline.
    """
    grid, hu = case.working.grid, case.working.hu.T[part]
    bone = skeleton(case).voxels.T[part]
    soft = (hu > SOFT_HU[0]) & (hu < SOFT_HU[1]) & shrunk(body(case).voxels.T[part], SKIN_MM, grid)
    bulky = opened(soft | bone, BULKY_MM, grid)
    large = list(_nodes(bulky & soft, hu, grid))  # alone in fat, so no muscle
    small = soft & ~grown(bulky, CLEAR_MM, grid)
    aside = np.abs(grid.to_mm(np.c_[np.arange(hu.shape[2]), np.zeros((hu.shape[2], 2))])[:, 0] - middle_mm)
    place = np.broadcast_to(((aside > ASIDE_MM[0]) & (aside < ASIDE_MM[1]))[None, None, :] & _in_front(bone), hu.shape)
    found = [*large, *_nodes(opened(small, THIN_MM, grid), hu, grid)]
    return sorted((lump for lump in found if place[lump.voxels].mean() > 0.5), key=lambda lump: -lump.short_mm)


def _nodes(soft: Bools, hu: NDArray[np.int16], grid: Grid) -> Iterator[Lump]:
    """The pieces that may be nodes."""
    labels: NDArray[np.uint32] = cc3d.connected_components(soft, connectivity=6)
    sizes = np.bincount(labels.ravel())
    for number in np.flatnonzero(sizes[1:] * grid.voxel_ml >= 1.0) + 1:
        lump = _as_node(labels == number, hu, grid)
        if lump is not None:
            yield lump


def _in_front(bone: Bools) -> Bools:
    """(1, Y, 1): rows in front of the middle of the bones; rows rise to the front."""
    rows = np.flatnonzero(bone.any(axis=(0, 2)))
    middle = float(np.average(rows, weights=bone.sum(axis=(0, 2))[rows])) if rows.size else bone.shape[1] / 2
    return (np.arange(bone.shape[1]) > middle)[None, :, None]


def _as_node(piece: Bools, hu: NDArray[np.int16], grid: Grid) -> Lump | None:
    """The lump with its measures where it is large, compact, whole, set apart by fat and as dense as a node."""
    if piece[0].any() or piece[-1].any():
        return None
    long_mm, short_mm = axes_mm(piece, grid)
    height_mm = float(np.count_nonzero(piece.any(axis=(1, 2)))) * grid.spacing_mm[2]
    density = float(np.median(hu[piece]))
    compact = max(long_mm, height_mm) <= ROUND * min(short_mm, height_mm)
    if not (SHORT_MM[0] <= short_mm <= SHORT_MM[1] and compact and NODE_HU[0] <= density <= NODE_HU[1]):
        return None
    box = box_of(piece, SHELL_MM[1] + 2.0, grid)
    away = distance_mm(piece[box], grid)
    around = hu[box][(away > SHELL_MM[0]) & (away <= SHELL_MM[1])]
    fatty = float(np.mean((around > FAT_HU[0]) & (around < FAT_HU[1])))
    return Lump(piece, long_mm, short_mm, density) if fatty >= FAT_SHARE else None
