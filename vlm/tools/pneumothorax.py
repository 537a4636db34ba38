"""Pneumothorax: free air between lung and ribs, its side, volume and thickness.

In: an open case. Out: an Observation for each side with free air and a Search for each side.
Free air is even and as dark as air, thicker than the walls of bullae leave it, and lies
along the ribs. In very dark lung (emphysema) more of it is asked for.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.airways import airways
from vlm.anatomy.ball import grown, shrunk
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.lung_field import Bools, field, search, smooth
from vlm.tools.pleural_shell import Shell, shell
from vlm.tools.registry import tool

NAME = "pneumothorax"
AIR_HU = (-985.0, -960.0)  # air is below the second, in dark lung below the first; healthy lung is above -950
BELOW_LUNG_HU = 70.0  # free air is so much darker than the middle of the lung of its side
BLUR_MM = 1.0
CORE_MM = 2.5  # free air is at least twice as thick; healthy lung has no such place
WALL_MM = 10.0  # what lies this near to the ribs is along them
WALL_SHARE = 0.25  # of a pocket; 0.3 to 0.5 of free air, below 0.1 of most bullae
LEAST_ML = 2.0  # of a pocket's core
DARK_LUNG_HU = -925.0  # median of a lung; darker means emphysema or air trapping
DARK_LEAST_ML, DARK_WALL_SHARE = 40.0, 0.35  # asked for there: bullae lie along the ribs, too
HOLES_ML = 4.0  # of air away from the ribs: the lung has bullae, as in dark lung
RIM_MM = 4.0  # what core and blur left of free air lies so near
LAYER_MM = 20.0  # thin air along the ribs is followed so far


@tool(NAME, observes=("pneumothorax",), needs=("lungs", "thoracic_cavity", "airways"))
def pneumothorax(case: Case) -> list[Evidence]:
    """Find free air in the pleural space of each side, with volume and thickness."""
    out: list[Evidence] = []
    for side in SIDES:
        seen = field(case, side)
        outline = shell(case, side) if seen.seen else None
        found: Observation | None = None
        failed: tuple[str, ...] = ()
        if seen.seen and (outline is None or np.isfinite(outline.wall_mm).mean() < 0.1):
            failed = ("not_found",)
        elif outline is not None and "density_withheld" not in seen.failed:
            found = _observed(case, side, outline)
        if found is not None:
            out.append(found)
        out.append(search(NAME, "pneumothorax", seen, found=int(found is not None), site="pleura", failed=failed))
    return out


def _observed(case: Case, side: LungSide, outline: Shell) -> Observation | None:
    """The free air of a side, or None."""
    grid = case.working.grid
    lung = lungs(case).of(side).voxels.T
    tree = ndimage.binary_dilation(airways(case).mask.voxels.T, iterations=2)
    place = (lung | thoracic_cavity(case).of(side).voxels.T) & ~tree
    middle = float(np.median(case.working.hu.T[lung]))
    limit = float(np.clip(middle - BELOW_LUNG_HU, *AIR_HU))
    air = place & (smooth(case, BLUR_MM) < limit)
    core = shrunk(air, CORE_MM, grid)
    if not core.any():
        return None
    pockets = _pockets(air & grown(core, CORE_MM, grid), outline, grid.voxel_ml, dark=middle < DARK_LUNG_HU)
    if not pockets.any():
        return None
    free = _with_rim(case, pockets, place, outline, middle)
    mask = Mask(f"pneumothorax_{side}", free.T, grid)
    levels = np.flatnonzero(free.any(axis=(1, 2)))
    cut = int(levels[0]) == 0 or int(levels[-1]) == len(free) - 1
    return Observation(
        tool=NAME,
        finding="pneumothorax",
        presence="present",
        side=side,
        site="pleura",
        measurements=(
            Measurement(quantity="volume", value=mask.volume_ml),
            Measurement(quantity="thickness", value=2.0 * float(depth_mm(free, grid).max())),
        ),
        region=case.keep(mask),
        note="cut by the end of the scan" if cut else "",
    )


def _pockets(air: Bools, outline: Shell, voxel_ml: float, *, dark: bool) -> Bools:
    """(Z, Y, X) bool: the pieces of air that are large enough and lie along the ribs."""
    labels: NDArray[np.uint32] = cc3d.connected_components(air, connectivity=6)
    size = np.bincount(labels.ravel()).astype(np.float64)
    size[0] = 0.0
    along = np.bincount(labels[air & outline.along_wall(WALL_MM)], minlength=size.size)
    inside_ml = float(size[along < WALL_SHARE * size].sum()) * voxel_ml
    holes = dark or inside_ml > HOLES_ML
    least_ml, least_share = (DARK_LEAST_ML, DARK_WALL_SHARE) if holes else (LEAST_ML, WALL_SHARE)
    keep: Bools = ((size * voxel_ml >= least_ml) & (along >= least_share * size))[labels]
    return keep


def _with_rim(case: Case, pockets: Bools, place: Bools, outline: Shell, lung_hu: float) -> Bools:
    """The pockets with the rim that blur took, up to halfway to lung, and with thin air along the ribs."""
    grid = case.working.grid
    sheet, near, halfway_hu = smooth(case, 0.8), grown(pockets, RIM_MM, grid), (lung_hu - 1000.0) / 2
    along = outline.along_wall(WALL_MM)
    rim = near & place & (sheet < halfway_hu)
    edge = near & along & outline.inside_wall() & (case.working.hu.T < -500)  # mixed with the chest wall
    layer = grown(pockets, LAYER_MM, grid) & place & along & (sheet < halfway_hu)
    filled = pockets | rim | edge | layer
    filled |= ndimage.binary_dilation(filled) & place & (sheet < lung_hu)  # air and visceral pleura in one voxel
    labels: NDArray[np.uint32] = cc3d.connected_components(filled, connectivity=6)
    keep: Bools = np.isin(labels, np.unique(labels[pockets]))
    return keep
