"""Enlarged lymph nodes of the mediastinum, where fat or contrast sets them apart; not those of the abdomen.

In: lungs, heart, airways, skeleton and contrast of a Case. Out: an Observation for each compact lump of soft
tissue that fat surrounds on all sides, with its short axis, or a Search. With contrast those that touch a vessel are
seen as well, darker than its blood. Nodes that touch bronchi, muscle or one another are not seen, nor are most of those
of the hila: the search covers a small part.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

from dataclasses import replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm, distance_mm
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import heart
from vlm.anatomy.lungs import lungs, outline
from vlm.anatomy.skeleton import opened_by, skeleton, spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, once
from vlm.tools.ground import search
from vlm.tools.node_lumps import FAT_HU, SHELL_MM, SOFT_HU, Lump, axes_mm, dark_lumps
from vlm.tools.registry import tool

NAME = "lymph_nodes"
NODE_HU = (10.0, 80.0)  # plain or little enhanced nodes; calcified ones are denser and are left out
DENSE_HU = 3000.0  # no limit: without contrast nodes and vessels are alike
BELOW_BLOOD_HU = 30.0  # with contrast a vessel is as dense as blood, a node darker
NECK_MM = 1.5  # strands and small vessels thinner than 3 mm do not join two lumps
COARSE_MM = 7.0  # on the working grid, whose opening shaves up to 3 mm off
SHORT_MM = (10.0, 35.0)  # from 10 mm enlarged: Schwartz, RECIST 1.1, Eur J Cancer 2009;45:261
SURE_MM = 12.0
HEIGHT_MM = 25.0  # what is free and longer along z may be a vessel or the oesophagus
TALL_MM = 30.0  # of a node with what blur adds
ROUND = 2.2  # long over short axis and height over short axis, at most
FAT_SHARE = (0.6, 0.8)  # of that shell: uncertain, present
LEAST_FAT_ML = 25.0  # in the mediastinum; with less nothing is set apart
BELOW_APEX_MM = 15.0  # above lie the vessels of the neck, oblique and many
BEFORE_CANAL_MM = 20.0
SEEN_ABDOMEN = 0.5  # of the retroperitoneum in the scan: its nodes are told to be not looked for
LOOKED_SHARE = 0.2  # of enlarged mediastinal nodes are free on all sides

Bools = NDArray[np.bool_]


@tool(NAME, observes=("lymphadenopathy",), needs=("lungs", "heart", "spine"))
def lymph_nodes(case: Case) -> list[Evidence]:
    """Look for lumps of soft tissue in the fat of the mediastinum, from a short axis of 10 mm."""
    return [*_mediastinal(case), *_abdominal(case)]


def _abdominal(case: Case) -> list[Evidence]:
    """Nodes of the abdomen lie against psoas, vessels and bowel, which no engine here outlines."""
    site = "retroperitoneum"
    if coverage(case).of(site) < SEEN_ABDOMEN:
        return []
    return [search(case, NAME, "lymphadenopathy", site=site, covered=0.0, failed=("not_implemented",))]


def _mediastinal(case: Case) -> list[Evidence]:
    site, finding = "mediastinum", "lymphadenopathy"
    place = mediastinum(case)
    if not place.any():
        reason = ("not_covered",) if coverage(case).of(site) < 0.5 else ("not_found",)
        return [search(case, NAME, finding, site=site, covered=0.0, failed=reason)]
    failed = () if contrast(case).enhanced else ("no_contrast",)
    hu = case.working.hu.T
    fat_ml = np.count_nonzero(place & (hu > FAT_HU[0]) & (hu < FAT_HU[1])) * case.working.grid.voxel_ml
    if fat_ml < LEAST_FAT_ML:
        return [search(case, NAME, finding, site=site, covered=0.0, failed=(*failed, "not_found"),
                       note="too little fat in the mediastinum to set nodes apart")]  # fmt: skip
    highest = NODE_HU[1]
    blood = contrast(case).blood_hu
    if contrast(case).enhanced and blood is not None:
        highest = min(NODE_HU[1] + 30.0, blood - BELOW_BLOOD_HU)
    like = [lump for lump in free_lumps(case) if is_node(lump, highest)]
    if contrast(case).enhanced and blood is not None:
        # Overlap counts with nodes alone: a node beside a vessel, both in fat, is part of a free lump that is none.
        beside = [lump for lump in dark_lumps(hu, place, highest, case.working.grid) if is_node(lump, highest)]
        like += [lump for lump in beside if not any(lump.overlaps(other) for other in like)]
    measured = [_measured(case, lump, highest if contrast(case).enhanced else DENSE_HU) for lump in like]
    nodes = [lump for lump in measured if lump.short_mm >= SHORT_MM[0]]
    out: list[Evidence] = [_observed(case, lump, number) for number, lump in enumerate(nodes, start=1)]
    share = coverage(case).of(site) * LOOKED_SHARE
    out.append(search(case, NAME, finding, site=site, covered=share, found=len(nodes), failed=failed))
    return out


@once
def mediastinum(case: Case) -> Bools:
    """(Z, Y, X) between the lungs, in front of the spine, from the heart to the thoracic inlet; may be empty."""
    grid, pair, axis = case.working.grid, lungs(case), spine(case)
    out = np.zeros(case.working.hu.T.shape, dtype=bool)
    if len(pair.present) < 2 or not axis.found:
        return out
    both = pair.both.voxels.T
    held: Bools = np.asarray(pair.right.voxels.any(axis=(0, 1)) & pair.left.voxels.any(axis=(0, 1)))
    levels = np.flatnonzero(held)
    if levels.size == 0:
        return out
    beating = heart(case)
    first = beating.mask.slices[1] + 1 if beating.found else int(levels[0] + 0.5 * levels.size)
    inlet = any(pair.apex_covered.values())  # a scan that ends lower has no neck to leave out
    last = int(levels[-1] - (BELOW_APEX_MM / grid.spacing_mm[2] if inlet else 0.0))
    canal = grid.to_ijk(axis.canal_mm)
    bone = skeleton(case).voxels.T
    for k in range(first, last + 1):
        if not held[k]:
            continue
        part = outline(case)[k] & ~both[k] & ~bone[k]
        part[: max(0, int(canal[k, 1] + BEFORE_CANAL_MM / grid.spacing_mm[1]))] = False
        out[k] = part
    return out


def is_node(lump: Lump, highest_hu: float) -> bool:
    """Compact, large enough, set apart and as dense as a node."""
    compact = lump.long_mm <= ROUND * lump.short_mm and lump.height_mm <= min(TALL_MM, ROUND * lump.short_mm)
    sized = COARSE_MM <= lump.short_mm <= SHORT_MM[1]
    return compact and sized and lump.fat >= FAT_SHARE[0] and NODE_HU[0] <= lump.hu <= highest_hu


def free_lumps(case: Case) -> list[Lump]:
    """Pieces of soft tissue that lie free within the mediastinum, whatever their size."""
    grid, hu, place = case.working.grid, case.working.hu.T, mediastinum(case)
    smooth = ndimage.uniform_filter(hu, (1, 3, 3), output=np.float32) if max(grid.spacing_mm) < 3.0 else hu
    soft = opened_by((smooth > SOFT_HU) & place, grid, NECK_MM)
    labels: NDArray[np.uint32] = cc3d.connected_components(soft, connectivity=6)
    boxes = ndimage.find_objects(labels.astype(np.int32))
    out: list[Lump] = []
    pad = [int(np.ceil(SHELL_MM[1] / step)) + 1 for step in grid.spacing_mm[::-1]]
    for number, box in enumerate(boxes, start=1):
        if box is None or (box[0].stop - box[0].start) * grid.spacing_mm[2] > HEIGHT_MM:
            continue
        inside = all(s.start > p and s.stop < n - p for s, p, n in zip(box, pad, hu.shape, strict=True))
        if not inside or np.count_nonzero(labels[box] == number) * grid.voxel_ml < 0.2:
            continue
        near = tuple(slice(s.start - p, s.stop + p) for s, p in zip(box, pad, strict=True))
        out.append(_lump(case, labels[near] == number, near))
    return out


def _lump(case: Case, piece: Bools, near: tuple[slice, ...]) -> Lump:
    """Measure one piece within its box."""
    grid, hu = case.working.grid, case.working.hu.T[near]
    step_x, step_y, step_z = grid.spacing_mm
    away = distance_mm(piece, grid)
    shell = (away > SHELL_MM[0]) & (away <= SHELL_MM[1])
    fat = float(np.mean((hu[shell] > FAT_HU[0]) & (hu[shell] < FAT_HU[1]))) if shell.any() else 0.0
    short_mm, long_mm = axes_mm(piece[int(np.argmax(piece.sum(axis=(1, 2))))], (step_y, step_x))
    core = piece & (depth_mm(piece, grid) > min(step_x, step_y))
    return Lump(
        mask=piece, box=near, short_mm=short_mm, long_mm=long_mm,
        height_mm=float(np.count_nonzero(piece.any(axis=(1, 2)))) * step_z,
        hu=float(hu[core if core.any() else piece].mean()), fat=fat,
    )  # fmt: skip


def _measured(case: Case, lump: Lump, highest_hu: float) -> Lump:
    """The lump with its axes measured in the scan's own pixels, in the slice where it is largest."""
    grid, working = case.volume.grid, case.working.grid
    level = int(np.argmax(lump.mask.sum(axis=(1, 2))))
    coarse = np.argwhere(lump.mask[level])[:, ::-1] + (lump.box[2].start, lump.box[1].start)  # (N, 2) i, j
    level += lump.box[0].start
    k = round(float(grid.to_ijk(working.to_mm([0, 0, level]))[2]))
    ends = working.to_mm(np.c_[[coarse.min(axis=0) - 3, coarse.max(axis=0) + 3], [level, level]])
    low, high = (np.rint(grid.to_ijk(end)[:2]).astype(int) for end in ends)
    window = case.volume.hu[max(0, low[0]) : high[0] + 1, max(0, low[1]) : high[1] + 1, k].T
    smooth = ndimage.uniform_filter(window, 3, output=np.float32)
    neck = ndimage.binary_opening((smooth > SOFT_HU) & (smooth < highest_hu), np.ones((3, 3)))
    labels, count = ndimage.label(neck)
    if count == 0:
        return lump
    biggest = ndimage.binary_fill_holes(labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:])))
    short_mm, long_mm = axes_mm(biggest, (grid.spacing_mm[1], grid.spacing_mm[0]))
    if not lump.short_mm - 1.0 <= short_mm <= lump.short_mm + 6.0:  # it joined what lies beside it, or noise parts it
        return lump
    return replace(lump, short_mm=short_mm, long_mm=max(short_mm, long_mm))


def _observed(case: Case, lump: Lump, number: int) -> Observation:
    """One node."""
    whole = np.zeros(case.working.grid.shape, dtype=bool, order="F")
    whole.T[lump.box] = lump.mask
    mask = Mask(f"lymph_node_{number}", whole, case.working.grid)
    sure = lump.short_mm >= SURE_MM and lump.fat >= FAT_SHARE[1]
    return Observation(
        tool=NAME, finding="lymphadenopathy", presence="present" if sure else "uncertain", site="mediastinum",
        measurements=(
            Measurement(quantity="short_axis", value=lump.short_mm, plus_minus=2.0),
            Measurement(quantity="diameter", value=lump.long_mm, plus_minus=2.0),
            Measurement(quantity="attenuation", value=lump.hu),
        ),
        region=case.keep(mask),
    )  # fmt: skip
