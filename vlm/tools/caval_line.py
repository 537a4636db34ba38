"""Whether dense wall of the ascending aorta is a catheter in the superior vena cava beside it.

In: a piece of calcium in the wall and everything as dense around. Out: "line", "unsure" or "calcium". A plaque may be
as long and thin as a catheter, but it lies in the wall and ends there. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.arch import arch
from vlm.ct.volume import Grid
from vlm.evidence import Case

LINE_MM, LINE_MM2 = 18.0, 14.0  # a catheter: its length along z at least, its section with its blur at most
OUTSIDE_MM = 2.0  # beyond the circle of the aorta: its wall ends there
GOES_ON_MM = 5.0  # above or below the wall that was looked at

Bools = NDArray[np.bool_]


def caval_line(case: Case, piece: Bools, dense: Bools, grid: Grid) -> Literal["line", "unsure", "calcium"]:
    """What a piece of the wall is; ``dense`` holds it and all that is as dense, also outside of the wall.

    "line": thin, right of the ascending aorta, outside of its wall, of a long thing that goes on above or below.
    "unsure": as long itself and going on, but within the wall. Anything else is "calcium", as is all where no
    ascending aorta is traced.
    """
    levels = np.flatnonzero(piece.any(axis=(1, 2)))
    step_x, step_y, step_z = grid.spacing_mm
    limb = arch(case).ascending
    if np.count_nonzero(piece) / len(levels) * step_x * step_y > LINE_MM2 or not limb.found:
        return "calcium"
    labels = cc3d.connected_components(dense, connectivity=26)
    whole = labels == labels[tuple(np.argwhere(piece)[0])]
    run = np.flatnonzero(whole.any(axis=(1, 2)))
    beyond = max(levels[0] - run[0], run[-1] - levels[-1])
    if (run[-1] - run[0] + 1) * step_z < LINE_MM or beyond * step_z < GOES_ON_MM:
        return "calcium"
    points = np.argwhere(whole[levels[0] : levels[-1] + 1]) + np.array([levels[0], 0, 0])
    points_mm = grid.to_mm(points[:, ::-1])
    circles, radii = limb.centres_mm[limb.sure], limb.radii_mm[limb.sure]
    near = np.argmin(np.abs(circles[:, 2] - points_mm[:, 2:]), axis=1)
    offset = points_mm - circles[near]
    if np.abs(offset[:, 2]).min() > LINE_MM or offset[:, 0].mean() <= 0.0:
        return "calcium"
    if float((np.hypot(offset[:, 0], offset[:, 1]) - radii[near]).mean()) > OUTSIDE_MM:
        return "line"
    return "unsure" if len(levels) * step_z >= LINE_MM else "calcium"
