"""Pleural effusion: fluid between lung and ribs, its side, volume, density and thickness.

In: an open case. Out: an Observation for each side with fluid and a Search for each side.
Fluid is known by its density and its place: in an axial slice it lies beyond the last lung
of a ray that runs from the middle of that half of the chest to the ribs. From there it is
followed to where it has the same density, in front of the liver too. Liver, spleen and
stomach have lung or nothing between them and such a ray, and are no seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import grown, shrunk
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.ct.volume import Grid, Mask, Point, as_point
from vlm.evidence import Case, Evidence, Measurement, Observation, once
from vlm.tools.lung_field import Bools, field, search, smooth
from vlm.tools.pleural_shell import Shell, shell
from vlm.tools.registry import tool

NAME = "effusion"
FLUID_HU = (-15.0, 30.0)  # simple and protein-rich fluid (Abramowitz, AJR 2009;192:618), blurred; blood is denser
BLUR_MM = 1.5
CORE_MM = 2.0  # fluid is at least twice as thick; muscle between ribs and borders of fat are not
LOWEST = 0.5  # of the way from the middle of a side down to its lowest lung: where a little fluid gathers
LOWEST_BLUR_MM, LOWEST_CORE_MM = 1.0, 1.5  # a thinner layer counts there: of 20 mL, 10 mm, wall and blur leave half
WALL_MM = 2.0  # parietal pleura and the fascia inside the ribs
RIM_WALL_MM = 1.0  # once fluid is sure: half a voxel of the rib's own rim
SEED_ML = 2.0  # of core on rays from lung to ribs; at most 1.2, of the thin core 0.7, in 27 clear sides of real scans
MIDLINE_MM = 10.0  # a side begins this far from the midline
LUNG_EDGE_HU = -430.0  # halfway between lung and fluid
EDGE_HU = (-70.0, 50.0)  # what the rim may be: fluid mixed with fat, noise
RIM_MM = 4.0  # how far from the core the rim may lie: the core lost CORE_MM and the blur
LAYER_HU = (-60.0, 45.0)  # fluid thinner than the core, beyond the lung
LAYER_MM = 25.0  # and so near to it
CUT_SHARE = 0.3  # of the largest level, at the end of the scan
DENSEST_HU = 27.0  # mean of fluid; above it blood, pus, collapsed lung and tumour cannot be told apart
ANTERIOR_SHARE = 0.25  # more of it in front of the middle than this: fluid that does not layer


@tool(NAME, observes=("pleural_effusion",), needs=("lungs", "skeleton"))
def effusion(case: Case) -> list[Evidence]:
    """Find fluid in the pleural space of each side, with volume, density and thickness."""
    out: list[Evidence] = []
    for side in SIDES:
        seen = field(case, side)
        outline = shell(case, side) if seen.seen else None
        failed: tuple[str, ...] = ()
        found: Observation | None = None
        if seen.seen and (outline is None or np.isfinite(outline.wall_mm).mean() < 0.1):
            failed = ("not_found",)
        elif outline is not None and "density_withheld" not in seen.failed:
            found = _observed(case, side, outline)
            failed = ("collapse",) if found is None and side in pleural_fluid(case) else ()
        if found is not None:
            out.append(found)
        out.append(search(NAME, "pleural_effusion", seen, found=int(found is not None), site="pleura", failed=failed))
    return out


@once
def pleural_fluid(case: Case) -> Mapping[LungSide, tuple[Bools, Bools] | None]:
    """(Z, Y, X) core and whole of the fluid of each side; None where something too dense to be called fluid lies."""
    out: dict[LungSide, tuple[Bools, Bools] | None] = {}
    for side in SIDES:
        outline = shell(case, side)
        core = _core(case, side, outline) if outline is not None else None
        if core is None or outline is None:
            continue
        sure = float(case.working.hu.T[core].mean()) <= DENSEST_HU
        out[side] = (core, _with_rim(case, side, outline, core)) if sure else None
    return out


def _observed(case: Case, side: LungSide, outline: Shell) -> Observation | None:
    """The effusion of a side, or None."""
    both = pleural_fluid(case).get(side)
    if both is None:
        return None
    core, fluid = both
    grid = case.working.grid
    density = float(case.working.hu.T[core].mean())
    spread = float(case.working.hu.T[core].std())
    per_level = fluid.sum(axis=(1, 2))
    thickness = 2.0 * float(depth_mm(fluid, grid).max())
    rows = np.arange(fluid.shape[1])
    per_row = fluid.sum(axis=(0, 2))
    anterior = float(per_row[rows > outline.centre[0]].sum() / max(1, per_row.sum()))
    attributes = {"loculated": "likely"} if anterior > ANTERIOR_SHARE else {}
    volume = Mask(f"effusion_{side}", fluid.T, grid)
    region = replace(case.keep(volume), centroid_mm=_middle(fluid, grid))
    cut = max(int(per_level[0]), int(per_level[-1])) > CUT_SHARE * int(per_level.max())
    return Observation(
        tool=NAME,
        finding="pleural_effusion",
        presence="present",
        side=side,
        site="pleura",
        measurements=(
            Measurement(quantity="volume", value=volume.volume_ml),
            Measurement(quantity="thickness", value=thickness),
            Measurement(quantity="attenuation", value=density),
            Measurement(quantity="attenuation_sd", value=spread),
        ),
        attributes=attributes,
        region=region,
        note="cut by the end of the scan" if cut else "",
    )


def _middle(fluid: Bools, grid: Grid) -> Point:
    """The middle of fluid, RAS mm: the voxel of it nearest to its mean place, weighted by depth.

    Thin layers reach far round the lung; where a reader points is where the fluid is thick.
    """
    depth = depth_mm(fluid, grid)
    index = np.argwhere(fluid)
    places = grid.to_mm(index[:, ::-1])
    mean = np.average(places, axis=0, weights=depth[fluid])
    return as_point(places[np.argmin(((places - mean) ** 2).sum(axis=1))])


def _core(case: Case, side: LungSide, outline: Shell) -> Bools | None:
    """(Z, Y, X) bool: surely fluid in the pleural space of a side; None when there is too little."""
    found, grid = lungs(case), case.working.grid
    x_mm = grid.to_mm(np.c_[np.arange(grid.shape[0]), np.zeros((grid.shape[0], 2))])[:, 0] - found.midline_mm
    own = x_mm > MIDLINE_MM if side == "right" else x_mm < -MIDLINE_MM
    space = outline.inside_wall(WALL_MM) & ~found.both.voxels.T & own[None, None, :]
    seen = outline.outside_lung() & outline.sidewards()
    deep = shrunk(_fluid(case, BLUR_MM) & space, CORE_MM, grid)
    core = _seeded(grown(deep, CORE_MM, grid), deep & seen, grid)
    if core is None:
        thin = shrunk(_fluid(case, LOWEST_BLUR_MM) & space & _lowest(case, side), LOWEST_CORE_MM, grid)
        core = _seeded(grown(thin, LOWEST_CORE_MM, grid), thin & seen, grid)
    return core


def _seeded(fluid: Bools, seeds: Bools, grid: Grid) -> Bools | None:
    """The pieces of a (Z, Y, X) mask that hold enough seeds; None when none does."""
    labels: NDArray[np.uint32] = cc3d.connected_components(fluid, connectivity=6)
    seed_ml = np.bincount(labels[seeds], minlength=int(labels.max()) + 1) * grid.voxel_ml
    seed_ml[0] = 0.0
    if seed_ml.max() < SEED_ML:
        return None
    keep: Bools = (seed_ml >= SEED_ML / 2)[labels]
    return keep


def _fluid(case: Case, blur_mm: float) -> Bools:
    """(Z, Y, X) bool: what has the density of fluid in a blurred scan."""
    blurred = smooth(case, blur_mm)
    return np.asarray((blurred > FLUID_HU[0]) & (blurred < FLUID_HU[1]))


def _lowest(case: Case, side: LungSide) -> Bools:
    """(1, Y, 1) bool: rows in the lowest part of a side; the person lies on the back unless the header says prone."""
    rows = np.flatnonzero(lungs(case).of(side).voxels.any(axis=(0, 2)))
    height = (np.arange(case.working.grid.shape[1]) - (rows[0] + rows[-1]) / 2) / max(1.0, (rows[-1] - rows[0]) / 2)
    up = -1.0 if case.volume.scan.patient_position.endswith("P") else 1.0
    return np.asarray(up * height < -LOWEST)[None, :, None]


def _with_rim(case: Case, side: LungSide, outline: Shell, core: Bools) -> Bools:
    """The core with the rim that blur and partial volume took from it, to lung on one side and ribs on the other."""
    grid, hu = case.working.grid, case.working.hu.T
    near = grown(core, RIM_MM, grid)
    sheet = smooth(case, 0.8)
    rim = near & outline.inside_wall(RIM_WALL_MM) & (hu > LUNG_EDGE_HU) & (sheet < EDGE_HU[1])
    inner = grown(lungs(case).of(side).voxels.T, RIM_MM, grid)  # beside lung, mixed with it
    rim &= (sheet > EDGE_HU[0]) | inner
    layer = outline.outside_lung() & outline.sidewards() & outline.inside_wall(RIM_WALL_MM)
    layer &= (sheet > LAYER_HU[0]) & (sheet < LAYER_HU[1]) & grown(core, LAYER_MM, grid)
    filled = core | rim | layer
    # The thin ends of the crescent between lung and ribs hold fluid in part of a voxel.
    filled |= (
        ndimage.binary_dilation(filled)
        & outline.inside_wall(RIM_WALL_MM)
        & inner
        & (hu > LUNG_EDGE_HU)
        & (sheet < EDGE_HU[1])
    )
    labels: NDArray[np.uint32] = cc3d.connected_components(filled, connectivity=6)
    keep: Bools = np.isin(labels, np.unique(labels[core]))
    return keep
