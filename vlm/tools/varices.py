"""Varices of the oesophagus, where a user's own expert outlines it and contrast fills the portal veins.

In: the outline of the oesophagus and the scan's own voxels, in the portal venous phase. Out: an Observation, never a
sure one, where strands as bright as blood run within the lower oesophagus, and a Search. Veins of the stomach and
spleen are not looked for, and so nothing is denied. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.ball import grown, opened
from vlm.anatomy.contrast import contrast
from vlm.anatomy.structures import structure
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.organs import organ, phase
from vlm.tools.own_voxels import Part, own_voxels, widest_mm
from vlm.tools.registry import tool

NAME = "varices"
# On CT varices of 3 mm and more are large (Kim, AJR 2007;188:139), those of 5 mm and more bled more often (Somsouk,
# Abdom Imaging 2014;39:251). Thinner ones than 4 mm are a voxel or two of enhanced mucosa.
LEAST_MM, LONG_MM = 4.0, 10.0  # across; along the oesophagus
STEP_MM, SLICE_MM = 1.3, 5.01
LOWER_MM = 120.0  # of the outline from its lower end: there the veins of the stomach drain
STANDS_OUT_HU = 50.0  # blood over wall
ROUNDS = 4  # the wall is the middle of what is no blood: veins may fill half of the outline
TOO_BRIGHT_HU = 80.0  # over blood: contrast that was swallowed, or calcium
SMOOTH_MM = 0.8
BESIDE_MM = 2.0  # from great vessels and the heart, whose border blurs into the wall
BESIDES = ("aorta", "inferior_vena_cava", "heart")
LOOKED_SHARE = 0.25
DOUBT_MM = 2.0

Bools = NDArray[np.bool_]


@tool(NAME, observes=("varices",), needs=("esophagus",))
def varices(case: Case) -> list[Evidence]:
    """Look for bright strands within an outlined lower oesophagus."""
    gullet = organ(case, "esophagus")
    if (failed := _unfit(case)) and gullet.failed != ("not_covered",):
        return [_searched(case, 0.0, failed)]
    part = None if gullet.mask is None or not gullet.measurable else own_voxels(case, gullet.mask)
    if part is None:
        return [_searched(case, 0.0, gullet.failed)]
    found = strands(part, _besides(case, part), float(contrast(case).blood_hu or 0.0))
    if found is None:
        return [_searched(case, 0.0, ("phase",))]
    looked = LOOKED_SHARE * gullet.covered
    if not found.any():
        return [_searched(case, looked, gullet.failed)]
    width = Measurement(quantity="diameter", value=widest_mm(found, part.grid), plus_minus=DOUBT_MM)
    one = Observation(
        tool=NAME, finding="varices", presence="uncertain", site="oesophagus", measurements=(width,),
        region=case.keep(part.named("varices", found)),
        note="strands as bright as blood within the oesophagus: swallowed contrast or its lining may look alike",
    )  # fmt: skip
    return [one, _searched(case, looked, gullet.failed, found=1)]


def _searched(case: Case, covered: float, failed: tuple[str, ...], *, found: int = 0) -> Evidence:
    """Of all places of varices, of which the oesophagus is one."""
    return search(case, NAME, "varices", site="upper_abdomen", covered=covered, failed=failed, found=found)


def _unfit(case: Case) -> tuple[str, ...]:
    """What of the scan stands in the way, keys of CONDITIONS."""
    seen, (step_x, step_y, step_z) = phase(case), case.volume.grid.spacing_mm
    reasons = {
        "no_contrast": seen == "none",
        "phase": seen not in ("none", "venous"),
        "coarse_pixels": max(step_x, step_y) > STEP_MM,
        "thick_slices": step_z > SLICE_MM,
    }
    return tuple(name for name, failed in reasons.items() if failed)


def _besides(case: Case, part: Part) -> Bools:
    """The borders of what is as bright as varices, on the voxels of the part."""
    out = np.zeros(part.voxels.shape, dtype=bool)
    for name in BESIDES:
        mask = structure(case, name).mask
        if mask is not None:
            out |= grown(mask.on(part.grid).voxels.T, BESIDE_MM, part.grid)
    return out


def strands(part: Part, besides: Bools, blood_hu: float) -> Bools | None:
    """Strands as bright as blood in the lower oesophagus.

    Args:
        part: the oesophagus on the scan's own voxels.
        besides: (Z, Y, X) bool, what may be bright by its neighbours, of the same shape.
        blood_hu: of the aorta.

    Returns:
        Their voxels; None where blood does not stand out from the wall, or something brighter than blood lies there.
    """
    grid = part.grid
    smooth = ndimage.gaussian_filter(part.hu.astype(np.float32), [SMOOTH_MM / step for step in grid.spacing_mm[::-1]])
    rows = np.flatnonzero(part.voxels.any(axis=(1, 2)))
    lower = part.voxels & ~besides
    lower[rows[0] + round(LOWER_MM / grid.spacing_mm[2]) :] = False
    soft = smooth[lower & (smooth > -50.0)]
    if not soft.size:
        return None
    wall_hu = float(np.median(soft))
    for _ in range(ROUNDS):
        wall_hu = float(np.median(soft[soft <= max(wall_hu, (wall_hu + blood_hu) / 2)]))
    bright = lower & (smooth > (wall_hu + blood_hu) / 2)
    if blood_hu - wall_hu < STANDS_OUT_HU or widest_mm(bright & (smooth > blood_hu + TOO_BRIGHT_HU), grid) > 0:
        return None
    wide = opened(bright, LEAST_MM / 2, grid)
    labels = cc3d.connected_components(bright & grown(wide, LEAST_MM, grid), connectivity=26)
    out: Bools = np.zeros(bright.shape, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1):
        if box is not None and (box[0].stop - box[0].start) * grid.spacing_mm[2] >= LONG_MM:
            piece = labels[box] == number
            if np.any(wide[box] & piece):
                out[box] |= piece
    return out
