"""How dark air is in a scan: scanners, kernels and scatter move it from -1000 HU.

In: an open case. Out: one number, HU.
"""

from __future__ import annotations

import numpy as np

from vlm.anatomy.airways import airways
from vlm.anatomy.ball import shrunk
from vlm.anatomy.body import body
from vlm.evidence import Case, once

PURE_HU = -1000.0  # by definition; where the scan shows too little air
RANGE_HU = (-1040.0, -985.0)  # scatter and small lumina lift the trachea to -950 in scans whose other air is darker
LUMEN_MM, LUMEN_VOXELS = 2.5, 100  # how far from the wall of an airway, and how many such voxels tell
ROOM_MM, ROOM_VOXELS = 6.0, 1000  # the same around the body
ROOM_HU, BIN_HU = (-1100, -950), 10  # cushions and clothes are denser


@once
def air_hu(case: Case) -> float:
    """Attenuation of air: the mean inside the airways, else the commonest value around the body."""
    hu, grid = case.working.hu.T, case.working.grid
    lumen = hu[shrunk(airways(case).mask.voxels.T, LUMEN_MM, grid)]
    if lumen.size >= LUMEN_VOXELS:
        return float(np.clip(lumen.mean(), *RANGE_HU))
    outside = ~body(case).voxels.T
    if case.working.padding is not None:
        outside &= ~case.working.padding.T
    room = hu[shrunk(outside, ROOM_MM, grid)]
    room = room[(room > ROOM_HU[0]) & (room < ROOM_HU[1])]
    if room.size < ROOM_VOXELS:
        return PURE_HU
    commonest = int(np.bincount((room - ROOM_HU[0]) // BIN_HU).argmax())
    return float(np.clip(ROOM_HU[0] + BIN_HU * (commonest + 0.5), *RANGE_HU))
