"""Hiatal hernia: stomach with gas behind the heart.

In: spine, lungs, airways and the dome of a Case. Out: an Observation where a wide gas-filled thing lies in
front of the spine above the diaphragm, or a Search. A hernia without gas is not seen, and the search says so.
"""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import opened_by, spine
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "hernia"
GAS_HU = -400
WIDE_MM = 7.0  # inscribed radius of the gas; an oesophagus with air is narrower (lumen up to 10-12 mm)
ABOVE_MM = (0.0, 75.0)  # of the right dome
SIDEWAYS_MM = 42.0
FORWARD_MM = (22.0, 85.0)  # in front of the canal: before the spine, behind the heart
LEAST_HEIGHT_MM = 10.0
SEEN_SHARE = 0.6  # of hernias; those without gas are not seen
ONLY_GAS = "only hernias that hold gas are looked for"
WALL_SHARE = 0.8  # of the gas's border that is soft tissue: lung and bronchi have none


@tool(NAME, observes=("hiatal_hernia",), needs=("lungs", "spine"))
def hiatal_hernia(case: Case) -> list[Evidence]:
    """Look for wide gas with a wall of soft tissue between heart and spine."""
    axis, dome, site = spine(case), coverage(case).dome_mm, "hiatus"
    share = coverage(case).of("diaphragm") * SEEN_SHARE
    if not axis.found or dome is None or not lungs(case).present:
        reason = () if share <= 0 else ("not_found",)
        return [search(case, NAME, "hiatal_hernia", site=site, covered=share, failed=reason)]
    grid = case.working.grid
    z = axis.canal_mm[:, 2]
    inside = np.flatnonzero((z >= dome + ABOVE_MM[0]) & (z <= dome + ABOVE_MM[1]) & axis.good)
    if inside.size == 0:
        return [search(case, NAME, "hiatal_hernia", site=site, covered=0.0, failed=("not_covered",))]
    part = slice(int(inside[0]), int(inside[-1]) + 1)
    hu = case.working.hu.T[part]
    gas = (hu < GAS_HU) & body(case).voxels.T[part]
    gas &= ~lungs(case).both.voxels.T[part] & ~airways(case).mask.voxels.T[part]
    ijk = grid.to_ijk(axis.canal_mm)[part]
    step_x, step_y, _ = grid.spacing_mm
    dx = (np.arange(grid.shape[0])[None, None, :] - ijk[:, 0, None, None]) * step_x
    dy = (np.arange(grid.shape[1])[None, :, None] - ijk[:, 1, None, None]) * step_y
    gas &= (np.abs(dx) < SIDEWAYS_MM) & (dy > FORWARD_MM[0]) & (dy < FORWARD_MM[1])
    wide = opened_by(gas, grid, WIDE_MM)
    labels, count = cc3d.connected_components(wide, connectivity=6, return_N=True)
    keep = np.zeros(count + 1, dtype=bool)
    for number, box in enumerate(ndimage.find_objects(labels.astype(np.int32), max_label=count), start=1):
        if box is None or (box[0].stop - box[0].start) * grid.spacing_mm[2] < LEAST_HEIGHT_MM:
            continue
        near = tuple(slice(max(0, s.start - 4), s.stop + 4) for s in box)
        piece = labels[near] == number
        shell = ndimage.binary_dilation(piece, np.ones((1, 7, 7))) & ~ndimage.binary_dilation(piece, np.ones((1, 5, 5)))
        around = hu[near][shell]
        keep[number] = around.size > 0 and float(np.mean(around > -150)) > WALL_SHARE
    found = keep[labels]
    if not found.any():
        return [search(case, NAME, "hiatal_hernia", site=site, covered=share, note=ONLY_GAS)]
    out = np.zeros(case.working.hu.T.shape, dtype=bool)
    out[part] = found
    mask = Mask("hiatal_hernia", out.T, grid)
    seen = Observation(
        tool=NAME, finding="hiatal_hernia", presence="present", site=site,
        measurements=(Measurement(quantity="volume", value=mask.volume_ml),), region=case.keep(mask),
    )  # fmt: skip
    return [seen, search(case, NAME, "hiatal_hernia", site=site, covered=share, found=1, note=ONLY_GAS)]
