"""Which lumps in the lung are nodules, and which are parts of vessels, the chest wall or the mediastinum.

In: a lump of tissue with what surrounds it, or what was measured of it. Out: yes or no. Thresholds were set on phantoms
and on nodules put into real scans, so that the limits of ``docs/limits.md`` hold with few false ones.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm.tools.nodule_candidates import ELONGATION, Lump
from vlm.tools.nodule_measure import Nodule

LEAST_MM = 4.0  # Fleischner 2017 starts at 6 mm; smaller than 4 mm are not reported
SOLID_HU = -250.0  # upper quartile of a solid lump of a few mm, after blur
COMPACT = 0.62  # diameter of the ball of the same volume over the longest diameter; an ellipsoid 1:1:2 has 0.63
SMALL_MM = 10.0  # below, borders of two voxels leave little to judge a shape by, so the rest is judged harder
SMALL_ROUND = 0.6  # short over long axis
SMALL_HU = -130.0  # core of a small solid nodule with its partial volume; crossing vessels lie below
SOLID_CORE_HU = -100.0
SLICES = 1.3  # a small nodule is wider than so many slices are thick, else one slice shows it
PLAIN_HU = 90.0  # upper quartile: no vessel of an enhanced lung is as dark
BLOOD_MARGIN_HU = 70.0  # below enhanced blood by this, it is no vessel
OPEN_AIR = 0.45  # share of a nodule's shell that is air of the lung
OPEN_TISSUE = 0.45  # share that is tissue which goes on: beyond, it is a crossing of vessels
TIGHT_TISSUE = 0.36  # the same against a vessel that only a large opening cuts off
HILUM_TISSUE = 0.25  # the same near the hilum, where vessels crowd
ROUND_MM, ROUND = 3.0, 1.4  # no vessel there is as round as this at such an inscribed radius
DOME_AIR, DOME_WALL, DOME_HU = 0.5, 0.3, 300.0  # a flat dome stands free, and is no spur of bone
LONE_CORE_HU, LONE_LEAST_MM = -200.0, 5.5  # where no vessel goes on, blur may take more of its density
THINNED_MM = 7.0  # of a larger one blur leaves some of the density
FREE = 0.75  # of the inscribed radius: thinner vessels that go on do not make a lump
FREE_CORE_HU, FREE_ROUND, FREE_MM, FREE_SLICES = -240.0, 0.75, 5.0, 1.1  # a free round lump, however blurred
BROAD_MM = 9.0  # inscribed radius beyond any vessel of the lung (interlobar artery: to 8 mm, Sharma 2004)
WAYS = (1.05, 0.45)  # of the inscribed radius: thickest and second vessel that go on from such a place
LEAST_BALL_MM = 3.6  # diameter of the ball of the same volume, for LEAST_MM less a rim of partial volume
BROAD_ELONGATION = 1.9  # the trunk of a hilum is longer


def is_nodule(lump: Lump, hu: float, blood: float | None, *, near_hilum: bool, free: bool) -> bool:
    """Whether a compact lump is a nodule and not a part of a vessel, the chest wall or the mediastinum.

    Args:
        hu: its upper quartile, HU.
        blood: enhanced blood, HU; None without contrast.
        near_hilum: it lies where vessels crowd.
        free: no vessel goes on from it, or a thin one.
    """
    if hu < SOLID_HU and not free:
        return False
    if blood is not None and lump.radius_mm > 2.5 and hu > blood - BLOOD_MARGIN_HU:
        return False
    if lump.radius_mm >= BROAD_MM:
        return lump.wall < 0.2 and lump.elongation < BROAD_ELONGATION
    if blood is not None and near_hilum and lump.radius_mm > 2.5 and hu < PLAIN_HU:
        return lump.air >= 0.5 and lump.tissue <= OPEN_TISSUE  # not as bright as vessels, so lymph node or nodule
    if lump.elongation > ELONGATION and (lump.air < DOME_AIR or lump.wall > DOME_WALL or hu > DOME_HU):
        return False
    if free:
        return lump.air >= OPEN_AIR  # the tissue beside it is its own rim
    crowded = near_hilum and (lump.radius_mm < ROUND_MM or lump.elongation > ROUND)
    most = HILUM_TISSUE if crowded else TIGHT_TISSUE if lump.tight else OPEN_TISSUE
    return lump.air >= OPEN_AIR and lump.tissue <= most


def is_way(lump: Lump, radii_mm: Sequence[float]) -> bool:
    """Whether a vessel goes through a thin lump: two ways lead on, or one as thick as the lump."""
    return any(r > share * lump.radius_mm for r, share in zip(radii_mm, WAYS, strict=False))


def is_dense_and_round(nodule: Nodule, slice_mm: float, *, way: float, thin: bool) -> bool:
    """Whether what was measured is as compact and as dense as a nodule of its size.

    Args:
        way: the thickest vessel that goes on from it, as a share of its radius; 0 where none does.
        thin: it is thinner than a nodule of 4 mm, unless blur made it so.
    """
    long = nodule.diameter_mm
    sphere_mm = 2.0 * (nodule.volume_ml * 1000.0 * 3.0 / (4.0 * np.pi)) ** (1.0 / 3.0)
    if long < LEAST_MM or sphere_mm < max(LEAST_BALL_MM, COMPACT * nodule.diameter_3d_mm):
        return False
    if long >= SMALL_MM:
        return nodule.core_hu > SOLID_CORE_HU
    held = max(long, nodule.solid_mm)  # however blurred, it holds as much as a solid ball of that size
    blurred = way <= FREE and nodule.core_hu >= FREE_CORE_HU and nodule.short_axis_mm >= FREE_ROUND * long
    blurred = blurred and long < THINNED_MM and held >= max(FREE_MM, FREE_SLICES * slice_mm)
    if blurred or thin:
        return blurred
    dense = nodule.core_hu >= (LONE_CORE_HU if way == 0 and long >= LONE_LEAST_MM else SMALL_HU)
    if way == 0:
        dense, long = dense or (nodule.solid_mm >= LEAST_MM and long < THINNED_MM), held
    # A vessel that crosses one thick slice looks like a smaller one.
    return dense and nodule.short_axis_mm >= SMALL_ROUND * nodule.diameter_mm and long >= SLICES * slice_mm
