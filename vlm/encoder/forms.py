"""What stands out of its surroundings as a sheet, a line or a ball: the second derivatives of a scene's densities.

A plate of airless lung bends the densities along one axis, a vessel along two, a nodule along all three (Sato, Med
Image Anal 1998;2:143; Frangi, MICCAI 1998). Arrays are (Z, Y, X) on the grid of ``scene``; a bend is in HU, brought to
one scale: that of a thing as wide as the Gaussian it is looked at with.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.encoder.scene import GRID_MM, NOTHING, Bools, Floats, Numbers, largest, ml

ALIKE = 0.5  # a bend counts as none below this share of the strongest
LEAST_BEND_HU = 120.0  # airless lung 3 mm thick bends the densities by about 390 HU, the wall of a lobule by 80
PAIRS = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))


def bends(values: Floats, at: Bools, wide_mm: float) -> NDArray[np.float32]:
    """(N, 3) bends of the voxels of ``at`` in their order, rising: negative is bright, positive dark.

    Args:
        values: (Z, Y, X), HU.
        at: the same shape, where to look.
        wide_mm: width of the Gaussian.
    """
    sigma = wide_mm / GRID_MM
    found = np.empty((int(np.count_nonzero(at)), 3, 3), dtype=np.float32)
    for one, other in PAIRS:
        order = [int(axis == one) + int(axis == other) for axis in range(3)]
        found[:, one, other] = found[:, other, one] = ndimage.gaussian_filter(values, sigma, order=order)[at]
    return np.asarray(np.linalg.eigvalsh(found) * sigma**2)


def ball(values: Floats, at: Bools, wide_mm: float, *, dark: bool = False) -> float:
    """How much the strongest ball stands out, HU: its weakest bend; NaN where there is nowhere to look."""
    if not at.any():
        return NOTHING
    told = bends(values, at, wide_mm)
    return float(max(0.0, told[:, 0].max() if dark else -told[:, 2].min()))


def shapes(values: Floats, at: Bools, outer: Bools, wide_mm: float) -> Numbers:
    """Bright sheets, lines and balls among voxels: volumes (mL), the largest sheet, lines of the outer part."""
    told = bends(values, at, wide_mm)
    strong = told[:, 0] < -LEAST_BEND_HU
    second, third = (told[:, n] < ALIKE * told[:, 0] for n in (1, 2))

    def part(chosen: Bools) -> Bools:
        out = np.zeros(at.shape, dtype=bool)
        out[at] = chosen
        return out

    sheets, lines, balls = part(strong & ~second), part(strong & second & ~third), part(strong & third)
    return {"sheet": ml(sheets), "sheet_big": ml(largest(sheets)), "sheet_out": ml(sheets & outer),
            "line_out": ml(lines & outer), "round": ml(balls), "round_out": ml(balls & outer),
            "knob": float(max(0.0, -told[:, 2].min())) if len(told) else NOTHING}  # fmt: skip
