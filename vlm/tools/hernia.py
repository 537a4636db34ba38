"""Hiatal hernia: a pouch of stomach with gas behind the heart.

In: spine, lungs, airways and the dome of a Case. Out: an Observation where gas lies in a wall of soft tissue in front
of the spine at the hiatus or above, with the width of the pouch that holds it; or a Search. A hernia without gas is
not seen, for heart and oesophagus beside it are as dense, and the search says so.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case; x grows to the patient's right.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.airways import airways
from vlm.anatomy.ball import closed, grown, opened
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.lesions import blurred
from vlm.tools.registry import tool

NAME = "hernia"
GAS_HU, SOFT_HU = -400, (-30, 250)
AROUND_DOME_MM = (-45.0, 75.0)  # of the right dome; the hiatus lies below it
BEFORE_MM, DEEP_MM = 34.0, 110.0  # in front of the canal: from the vertebral bodies to the heart
ASIDE_MM = 65.0  # of the canal; gas that reaches farther is the stomach's below the diaphragm
LUNG_MM, LUNG_SHARE = 90.0, 0.3  # from the canal to the left lung; beside the stomach it lies farther out
CENTRED_MM = 8.0  # right of the canal, the middle of a hernia at most
GAS_MM, GAS_HEIGHT_MM = 8.0, 10.0  # inscribed width: an oesophagus with air is narrower; or it is short
WALL_HU, WALL_SHARE = -150, 0.8  # of the gas's border that is soft tissue: lung and bronchi have none
SURE_MM = 23.0  # width of a pouch; an oesophagus is narrower
REACH_MM = 18.0  # from the gas to the wall of its pouch
GAP_MM = 3.0
SEEN_SHARE = 0.6  # of hernias; those without gas are not seen
LIMIT = "only hernias that hold gas are looked for"

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pouch:
    """What holds gas in front of the spine: where, and how wide (mm, its widest ball)."""

    mask: Mask
    width_mm: float


@tool(NAME, observes=("hiatal_hernia",), needs=("lungs", "spine"))
def hiatal_hernia(case: Case) -> list[Evidence]:
    """Look for gas with a wall of soft tissue between heart and spine."""
    axis, dome, site = spine(case), coverage(case).dome_mm, "hiatus"
    share = coverage(case).of("diaphragm") * SEEN_SHARE
    if not axis.found or dome is None or not lungs(case).present:
        reason = () if share <= 0 else ("not_found",)
        return [search(case, NAME, "hiatal_hernia", site=site, covered=share, failed=reason)]
    z = axis.canal_mm[:, 2]
    inside = np.flatnonzero((z >= dome + AROUND_DOME_MM[0]) & (z <= dome + AROUND_DOME_MM[1]) & axis.good)
    if inside.size == 0:
        return [search(case, NAME, "hiatal_hernia", site=site, covered=0.0, failed=("not_covered",))]
    found = pouch(case, slice(int(inside[0]), int(inside[-1]) + 1))
    if found is None:
        return [search(case, NAME, "hiatal_hernia", site=site, covered=share, note=LIMIT)]
    sure = found.width_mm >= SURE_MM
    seen = Observation(
        tool=NAME, finding="hiatal_hernia", presence="present" if sure else "uncertain", site=site,
        measurements=(
            Measurement(quantity="diameter", value=found.width_mm, plus_minus=12.0),
            Measurement(quantity="volume", value=found.mask.volume_ml),
        ),
        region=case.keep(found.mask),
        note="" if sure else "small: a wide oesophagus with air looks alike",
    )  # fmt: skip
    return [seen, search(case, NAME, "hiatal_hernia", site=site, covered=share, found=1, note=LIMIT)]


def pouch(case: Case, part: slice) -> Pouch | None:
    """The widest pouch with gas in some slices of the working grid."""
    grid, hu = case.working.grid, case.working.hu.T[part]
    dx, dy = _from_canal(case, part)
    window = (dy > BEFORE_MM) & (dy < DEEP_MM) & body(case).voxels.T[part]
    left = np.where(lungs(case).both.voxels.T[part] & (dx < 0), -dx, np.float32(1e3)).min(axis=2)[:, :, None]
    aside = np.abs(dx) < ASIDE_MM
    gas = _gas(case, part, window & aside, left < LUNG_MM)
    if not gas.any():
        return None
    smooth = blurred(hu, grid)
    full = (smooth > SOFT_HU[0]) & (smooth < SOFT_HU[1]) & window & aside & ~lungs(case).both.voxels.T[part]
    near = grown(gas, REACH_MM, grid) & (full | gas)
    return _piece(case, part, opened(closed(near, GAP_MM, grid), GAP_MM, grid) | gas, dx)


def _from_canal(case: Case, part: slice) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Millimetres right of the canal, (slices, 1, X), and in front of it, (slices, Y, 1)."""
    grid = case.working.grid
    canal = grid.to_ijk(spine(case).canal_mm)[part].astype(np.float32)
    step_x, step_y, _ = (np.float32(step) for step in grid.spacing_mm)
    dx = (np.arange(grid.shape[0], dtype=np.float32) - canal[:, :1]) * step_x
    dy = (np.arange(grid.shape[1], dtype=np.float32) - canal[:, 1:2]) * step_y
    return dx[:, None, :], dy[:, :, None]


def _gas(case: Case, part: slice, window: Bools, beside: Bools) -> Bools:
    """(slices, Y, X) gas with a wall of soft tissue, all of it within a window, some of it ``beside`` lung."""
    grid, hu = case.working.grid, case.working.hu.T[part]
    air = (hu < GAS_HU) & body(case).voxels.T[part]
    air &= ~lungs(case).both.voxels.T[part] & ~airways(case).mask.voxels.T[part]
    labels, count = cc3d.connected_components(air, connectivity=6, return_N=True)
    keep = np.zeros(count + 1, dtype=bool)
    outside = np.bincount(labels[air & ~window], minlength=count + 1)
    near = np.bincount(labels[air & beside], minlength=count + 1) / np.maximum(1, np.bincount(labels.ravel()))
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32), max_label=count), start=1):
        if box is None or outside[number] or near[number] < LUNG_SHARE:
            continue
        if (box[0].stop - box[0].start) * grid.spacing_mm[2] < GAS_HEIGHT_MM:
            continue
        around = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
        piece = labels[around] == number
        if 2.0 * float(depth_mm(piece, grid).max()) < GAS_MM:
            continue
        shell = ndimage.binary_dilation(piece, np.ones((1, 7, 7))) & ~ndimage.binary_dilation(piece, np.ones((1, 5, 5)))
        keep[number] = float(np.mean(hu[around][shell] > WALL_HU)) > WALL_SHARE
    return np.asarray(keep[labels])


def _piece(case: Case, part: slice, wide: Bools, dx: NDArray[np.float32]) -> Pouch | None:
    """The widest connected piece; None where it lies right of the spine."""
    grid = case.working.grid
    labels = cc3d.connected_components(wide, connectivity=6)
    depth = depth_mm(wide, grid)
    number = int(labels[np.unravel_index(int(np.argmax(depth)), depth.shape)])
    piece = labels == number
    width = 2.0 * float(depth.max())
    aside = float(np.broadcast_to(dx, piece.shape)[piece].mean())
    if aside > CENTRED_MM:
        return None
    out = np.zeros(case.working.hu.T.shape, dtype=bool)
    out[part] = piece
    return Pouch(mask=Mask("hiatal_hernia", out.T, grid), width_mm=width)
