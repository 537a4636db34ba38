"""Gas in the bile ducts: dark branches deep within the liver.

In: the rough liver of a Case. Out: an Observation with side and volume, or a Search.
"""

from __future__ import annotations

import cc3d
import edt
import numpy as np
from scipy import ndimage

from vlm.anatomy.coverage import coverage
from vlm.anatomy.liver import liver
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Side
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "bile"
GAS_HU = -220.0  # mean of a block that gas fills at least in part; fat stands at -110
CLOSE_MM = 10.0  # ducts and the fissure lie within the liver's outline closed by this
DEEP_MM = 7.0  # colon, stomach and lung lie outside of the outline
LEAST_ML = 0.3
AROUND_LIVER = 0.55  # share of soft tissue as dense as liver around a piece of gas
LEFT_OF_MM = 22.0  # right of the canal by this runs the border between the left and the right ducts


@tool(NAME, observes=("pneumobilia",), needs=("liver",))
def pneumobilia(case: Case) -> list[Evidence]:
    """Look for gas in the bile ducts within the liver."""
    found, site = liver(case), "bile_ducts"
    if not found.found or found.mean_hu is None:
        reason = () if coverage(case).of(site) <= 0 else ("not_found",)
        return [search(case, NAME, "pneumobilia", site=site, failed=reason)]
    grid, whole = case.working.grid, found.mask.voxels.T
    box = ndimage.find_objects(whole.astype(np.uint8))[0]
    spacing = grid.spacing_mm[::-1]
    pad = [(1, 1)] + [(round(CLOSE_MM / s) + 1,) * 2 for s in spacing[1:]]
    solid = np.pad(whole[box], pad)
    near = edt.edt(~solid, anisotropy=spacing, black_border=False, parallel=2) <= CLOSE_MM
    outline = edt.edt(near, anisotropy=spacing, black_border=False, parallel=2)
    depth = (outline - CLOSE_MM)[1:-1, pad[1][0] : -pad[1][0], pad[2][0] : -pad[2][0]]
    hu = case.working.hu.T[box]
    gas = (hu < GAS_HU) & (depth > DEEP_MM) & ~lungs(case).both.voxels.T[box]
    labels, count = cc3d.connected_components(gas, connectivity=26, return_N=True)
    keep = np.zeros(count + 1, dtype=bool)
    for number, place in enumerate(ndimage.find_objects(labels.astype(np.int32), max_label=count), start=1):
        if place is None:
            continue
        wide = tuple(slice(max(0, s.start - 3), s.stop + 3) for s in place)
        piece = labels[wide] == number
        shell = ndimage.binary_dilation(piece, np.ones((1, 5, 5)), iterations=1) & ~ndimage.binary_dilation(
            piece, np.ones((1, 3, 3))
        )
        around = hu[wide][shell]
        keep[number] = around.size > 0 and float(np.mean(np.abs(around - found.mean_hu) < 60.0)) > AROUND_LIVER
    air = keep[labels]
    volume = float(np.count_nonzero(air)) * grid.voxel_ml
    if volume < LEAST_ML:
        return [search(case, NAME, "pneumobilia", site=site)]
    out = np.zeros(whole.shape, dtype=bool)
    out[box] = air
    mask = Mask("pneumobilia", out.T, grid)
    points = grid.to_mm(np.argwhere(mask.voxels))
    border = np.interp(points[:, 2], spine(case).canal_mm[:, 2], spine(case).canal_mm[:, 0]) + LEFT_OF_MM
    left = float(np.mean(points[:, 0] < border))
    side: Side = "left" if left > 0.65 else "right" if left < 0.35 else "bilateral"
    seen = Observation(
        tool=NAME, finding="pneumobilia", presence="present", side=side, site=site,
        measurements=(Measurement(quantity="volume", value=volume),), region=case.keep(mask),
    )  # fmt: skip
    return [seen, search(case, NAME, "pneumobilia", site=site, found=1)]
