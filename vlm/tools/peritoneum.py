"""Free fluid beside the liver.

In: the rough liver, lungs and body of a Case. Out: an Observation of ascites where a layer of fluid lies
between liver and abdominal wall, or a Search. Fluid elsewhere (pelvis, between loops) is not looked for, and
the search says that it covered a part.
"""

from __future__ import annotations

import edt
import numpy as np
from scipy import ndimage

from vlm.anatomy.ball import grown
from vlm.anatomy.coverage import coverage
from vlm.anatomy.liver import liver
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import opened_by, skeleton
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "peritoneum"
FLUID_HU = (-8.0, 26.0)  # serous ascites 0-20 HU; bloody or infected fluid is denser and is missed
DARKER_HU = 18.0  # than the liver, at least
REACH_MM = 30.0  # from the liver
LAYER_MM = 6.0  # least thickness
LEAST_ML = 60.0
FAT_HU = -18.0  # fat mixed with muscle has the density of fluid: no fat within a voxel or two
LOOKED_SHARE = 0.4  # of the peritoneal space lies around the liver
BELOW_LUNG_MM = 8.0  # above the lowest lung it might be pleural fluid


@tool(NAME, observes=("ascites",), needs=("liver", "lungs"))
def ascites(case: Case) -> list[Evidence]:
    """Look for a layer of fluid around the liver."""
    found, site, grid = liver(case), "peritoneum", case.working.grid
    share = coverage(case).of("liver") * LOOKED_SHARE
    if not found.found or found.mean_hu is None:
        reason = () if coverage(case).of(site) <= 0 else ("not_found",)
        return [search(case, NAME, "ascites", site=site, failed=reason)]
    whole = found.mask.voxels.T
    last = int(found.mask.slices[1])
    lung = np.flatnonzero(lungs(case).both.voxels.any(axis=(0, 1)))
    if lung.size:
        last = min(last, int(lung[0] - BELOW_LUNG_MM / grid.spacing_mm[2]))
    first = int(found.mask.slices[0])
    if (last - first) * grid.spacing_mm[2] < 15.0 or found.mean_hu < FLUID_HU[1] + DARKER_HU - 10.0:
        return [search(case, NAME, "ascites", site=site, covered=share * 0.5, failed=("partly_covered",))]
    part = slice(max(0, first - 5), last + 1)
    share *= (last - first) / max(1, int(found.mask.slices[1]) - first)  # beside lung nothing is looked for
    spacing = grid.spacing_mm[::-1]
    hu = ndimage.gaussian_filter(case.working.hu.T[part].astype(np.float32), [1.5 / s for s in spacing])
    near = grown(whole[part], REACH_MM, grid)
    around = np.zeros(whole.shape, dtype=bool)
    around[part] = near
    looked = case.keep(Mask("around_liver", around.T, grid))
    fatless = ndimage.minimum_filter(hu, (1, 5, 5)) > FAT_HU
    low, high = FLUID_HU
    fluid = near & fatless & (hu > low) & (hu < min(high, found.mean_hu - DARKER_HU)) & ~whole[part]
    fluid &= ~ndimage.binary_dilation(skeleton(case).voxels.T[part], np.ones((1, 5, 5)))
    layer = opened_by(fluid, grid, LAYER_MM / 2)
    # Gallbladder, cysts and bowel are round; ascites wraps the liver: it is wide for its thickness.
    volume = float(np.count_nonzero(layer)) * grid.voxel_ml
    if volume >= LEAST_ML:
        thick = float(edt.edt(layer, anisotropy=spacing, black_border=False, parallel=2).max()) * 2.0
        wraps = volume * 1000.0 / max(thick, 1.0) > 30.0 * thick
    else:
        wraps = False
    if not wraps:
        return [search(case, NAME, "ascites", site=site, covered=share, region=looked)]
    out = np.zeros(whole.shape, dtype=bool)
    out[part] = layer
    seen = Observation(
        tool=NAME, finding="ascites", presence="present" if volume > 2 * LEAST_ML else "uncertain", site=site,
        measurements=(Measurement(quantity="volume", value=volume),), region=case.keep(Mask("ascites", out.T, grid)),
    )  # fmt: skip
    return [seen, search(case, NAME, "ascites", site=site, covered=share, found=1, region=looked)]
