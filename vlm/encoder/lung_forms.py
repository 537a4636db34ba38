"""Numbers of one lung by form: sheets, lines and balls, holes and tubes, what lies along its rind, its dense core."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vlm.encoder.forms import ball, shapes
from vlm.encoder.scene import CROSS, NOTHING, Bools, Floats, Numbers, deep, inner, largest, ml, percentile, share, wider

FORM_MM, WIDE_MM = 3.0, 6.0  # Gaussians that forms are looked at with
BRIGHT_HU, SOLID_HU, CLEAREST_HU = -780.0, -300.0, -1000.0
TUBE_WALL_HU = -650.0
HOLE_DROP_HU = 70.0  # below the median of the lung: four times the noise of a voxel of 3 mm
RIND_MM, DEEP_MM = (5.0, 18.0), 6.0
EDGE_MM = 4.0  # of the lung: there a voxel is half wall, and the wall would be a sheet
CLOSED = 4  # voxels: vessels and nodules belong to the lung


def lung_forms(hu: Floats, smooth: Floats, air: Bools, room: Bools, beside: Bools) -> Numbers:
    """Of one lung.

    Args:
        hu: (Z, Y, X), HU.
        smooth: the same, smoothed.
        air: what was found of the lung.
        room: the place of lung, filled or not.
        beside: organs and bones, some voxels wide.
    """
    closed = ndimage.binary_closing(np.pad(air, CLOSED), CROSS, iterations=CLOSED)
    closed = closed[CLOSED:-CLOSED, CLOSED:-CLOSED, CLOSED:-CLOSED]
    depth = deep(closed)
    within, clear = (depth > DEEP_MM) & ~beside, inner(air)
    if np.count_nonzero(clear) < 100:
        return {}
    middle = percentile(hu[clear], 50)
    values = np.where(depth > EDGE_MM, np.clip(hu, CLEAREST_HU, 100.0), middle).astype(np.float32)
    rind = closed & (depth > RIND_MM[0]) & (depth < RIND_MM[1]) & ~beside
    told = shapes(values, within & (smooth > BRIGHT_HU), rind, FORM_MM)
    told["knob_wide"] = ball(values, within & (smooth > BRIGHT_HU), WIDE_MM)
    along = rind & (smooth > TUBE_WALL_HU)
    holes, walls = (hu < middle - HOLE_DROP_HU) & (depth > DEEP_MM), wider((hu > TUBE_WALL_HU) & within)
    level = np.flatnonzero(air.any(axis=(1, 2)))
    high = (np.arange(len(air)) > level.mean())[:, None, None]
    free = holes & ~walls
    top, low = (share(free, closed & (depth > DEEP_MM) & part) for part in (high, ~high))
    solid = (smooth > SOLID_HU) & room & ~beside
    core = deep(solid)
    thickest = core > max(3.0, 0.7 * float(core.max()))
    return {**told, "rind": share(along, rind), "rind_big": ml(largest(along)), "tubes": share(holes & walls, within),
            "pits": share(free, closed & (depth > DEEP_MM)), "pits_top": top - low, "core": float(core.max()),
            "core_hu": float(smooth[thickest].mean()) if thickest.any() else NOTHING}  # fmt: skip
