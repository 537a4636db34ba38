"""Pure ground-glass nodules: compact places of the lung that are denser than it and nowhere solid.

In: the part of the scan in which nodules are looked for. Out: a mask a little larger than each. Vessels are
longer or solid; ground glass that is larger or spreads is found by ``consolidation``.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vlm.ct.volume import Mask
from vlm.tools.nodule_candidates import Lump, lumps
from vlm.tools.nodule_measure import Nodule
from vlm.tools.nodule_scene import Scene, near_mask

AERATED_HU = -700.0  # lung without vessels and disease lies below
ABOVE_LUNG_HU = 110.0  # halfway to ground glass of -620; noise after the blur is a fifth of it
TISSUE_HU = -300.0  # blurred: solid tissue is no ground glass
BLUR_MM = 1.2
LEAST_RADIUS_MM = 2.4  # of the inscribed ball of a nodule of 6 mm after the blur
MOST_RADIUS_MM = 15.0
ELONGATION = 1.95  # a vessel beside it lengthens a lump
SMALL_MM, SMALL_ELONGATION = 3.3, 1.5  # of a smaller inscribed radius, where a blurred vessel looks the same
AIR = 0.68  # share of the shell that is clear lung
ROUND = ((3.6, 1.3), (4.6, 1.5))  # inscribed radius and elongation: as round as no vessel with its blur
ROUND_AIR, ROUND_SOLID = 0.5, 0.25  # of such a one: vessels go through it and on
WALL = 0.1  # share outside the space: beside it, blur looks like ground glass
MIDDLE_HU = (-760.0, -400.0)  # median
SOLID_HU, SOLID_SHARE = -450.0, 0.1  # more of it solid: a vessel with its blur, or a part-solid nodule
DENSEST_HU = -500.0  # upper decile
LEAST_MM = 6.0  # Fleischner 2017: smaller ones need no follow-up
SLICES = 1.6  # wider than so many slices are thick: a vessel across one slice is blurred to this density
COMPACT = 0.62  # diameter of the ball of the same volume over the longest diameter


def glass_nodules(scene: Scene) -> list[Mask]:
    """Masks of places that may be pure ground-glass nodules; each a little larger than its nodule."""
    clear = scene.space & (scene.hu < AERATED_HU)
    if not clear.any():
        return []
    step = scene.grid.spacing_mm[::-1]
    hu = ndimage.gaussian_filter(scene.hu, [BLUR_MM / s for s in step], truncate=2.0)
    dense = scene.space & (hu > float(np.median(scene.hu[clear])) + ABOVE_LUNG_HU)
    found = lumps(
        dense, scene.space, ~dense, step, least_mm=LEAST_RADIUS_MM, most_mm=MOST_RADIUS_MM, elongation=ELONGATION
    )
    return [near_mask(lump, scene.grid, scene.space, capped=False) for lump in found if _is_glass(lump, scene)]


def _is_glass(lump: Lump, scene: Scene) -> bool:
    """Whether a lump lies in clear lung and is ground glass all through."""
    rounded = any(lump.radius_mm >= radius and lump.elongation <= most for radius, most in ROUND)
    if lump.tight or lump.air < (ROUND_AIR if rounded else AIR) or lump.wall > WALL:
        return False
    if lump.radius_mm < SMALL_MM and lump.elongation > SMALL_ELONGATION:
        return False
    values = scene.hu[lump.box][lump.voxels]
    if not MIDDLE_HU[0] < float(np.median(values)) < MIDDLE_HU[1]:
        return False
    solid = float((values > SOLID_HU).mean())
    if rounded:
        return solid < ROUND_SOLID
    return solid < SOLID_SHARE and float(np.percentile(values, 90)) < DENSEST_HU


def is_sound(nodule: Nodule, slice_mm: float) -> bool:
    """Whether what was measured is large and compact enough and still ground glass."""
    ball_mm = 2.0 * (nodule.volume_ml * 1000.0 * 3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
    large = nodule.diameter_mm >= max(LEAST_MM - 0.5, SLICES * slice_mm)
    return large and ball_mm >= COMPACT * nodule.diameter_3d_mm and nodule.density == "ground_glass"
