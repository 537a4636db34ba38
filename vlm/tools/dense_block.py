"""Blocks of airless lung that a tumour may fill: as large as a mass, and without a border of their own.

In: an open case. Out: for each such block the side and a mask on the working grid. A mass that
has closed the bronchus of its lobe lies in the collapse and against the mediastinum; on plain
CT none of these borders shows. The block is followed from the airless place in the cavity to
where tissue gets thin, or to the great vessels. Whether it is mass or collapse stays open.
"""

from __future__ import annotations

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import grown, shrunk
from vlm.anatomy.lungs import LungSide, lungs
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Mask
from vlm.evidence import Case
from vlm.tools.dense_lung import Dense, dense_places
from vlm.tools.effusion import pleural_fluid
from vlm.tools.lung_field import Bools, smooth
from vlm.tools.pleural_shell import shell

BALL_MM = 12.0  # inscribed radius; collapsed segments and layers behind are flatter
LEAST_ML = 14.0  # a ball of 30 mm, from which on a nodule is a mass (Fleischner glossary, Hansell 2008)
MEAN_HU = (10.0, 90.0)  # of tumour and airless lung; fat and aerated parts lie below, enhanced collapse above
TISSUE_HU = (-20.0, 110.0)  # blurred: no fat, no bone
BLUR_MM = 2.0
OPENING_MM = 6.0  # what is thinner than twice this is vessel or chest wall
FREE_MM = 25.0  # from the midline: nearer lie the great veins and the trachea


def blocks(case: Case) -> list[tuple[LungSide, Mask]]:
    """The blocks of both lungs, largest place first."""
    places = [place for place in dense_places(case) if _is_block(case, place)]
    return [(place.side, Mask("block", _followed(case, place).T, case.working.grid)) for place in places]


def _is_block(case: Case, place: Dense) -> bool:
    """Whether an airless place is thick and dense enough for a mass, and no collapse by its place."""
    if place.round or place.collapsed or place.volume_ml < LEAST_ML:
        return False
    if not MEAN_HU[0] <= place.mean_hu <= MEAN_HU[1]:
        return False
    return float(depth_mm(place.voxels, case.working.grid).max()) >= BALL_MM


def _followed(case: Case, place: Dense) -> Bools:
    """(Z, Y, X) bool: the place and the tissue it goes on into, inside the ribs and beside the great vessels."""
    grid, found = case.working.grid, lungs(case)
    tissue = _tissue(case, place.side)
    deep = shrunk(tissue, OPENING_MM, grid)
    labels: NDArray[np.uint32] = cc3d.connected_components(deep, connectivity=6)
    shared = np.bincount(labels[place.voxels], minlength=int(labels.max()) + 1)
    shared[0] = 0
    if not shared.any():
        return place.voxels
    levels = np.asarray(thoracic_cavity(case).of(place.side).voxels.any(axis=(0, 1)))
    whole: Bools = tissue & grown(labels == int(shared.argmax()), OPENING_MM, grid)
    whole &= levels[:, None, None]
    filled: Bools = ndimage.binary_fill_holes(whole)  # bronchi inside
    return np.asarray(filled & ~found.both.voxels.T)


def _tissue(case: Case, side: LungSide) -> Bools:
    """(Z, Y, X) bool: soft tissue of one half of the chest inside the ribs, without lung and fluid."""
    grid, found = case.working.grid, lungs(case)
    blurred = smooth(case, BLUR_MM)
    away = (np.arange(grid.shape[0]) - grid.to_ijk([found.midline_mm, 0, 0])[0]) * grid.spacing_mm[0]
    own = away > FREE_MM if side == "right" else away < -FREE_MM
    tissue = (blurred > TISSUE_HU[0]) & (blurred < TISSUE_HU[1]) & own[None, None, :] & ~found.both.voxels.T
    outline = shell(case, side)
    if outline is not None:
        tissue &= outline.inside_wall()
    fluid = pleural_fluid(case).get(side)
    if fluid is not None:
        tissue &= ~fluid[1]
    return np.asarray(tissue)
