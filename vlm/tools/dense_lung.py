"""Places of the lung that hold no air, and what tells consolidation, collapse, mass and anatomy apart.

In: an open case. Out: one record for each airless place in the thoracic cavity of a side,
without pleural fluid, hilum, diaphragm and plates of atelectasis. Arrays are (Z, Y, X) views of the working grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.airways import airways
from vlm.anatomy.ball import grown, opened, shrunk
from vlm.anatomy.coverage import coverage
from vlm.anatomy.lungs import LungSide, lungs, outline
from vlm.anatomy.skeleton import skeleton
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Point, as_point
from vlm.evidence import Case, once
from vlm.tools.effusion import pleural_fluid
from vlm.tools.lung_field import Bools, smooth
from vlm.tools.plates import plates
from vlm.tools.pleural_shell import shell

DENSE_HU = -200.0  # three quarters of the way from lung to soft tissue, so that vessels of 2 mm stay out
BRIGHT_HU = 160.0  # no airless lung is brighter, enhanced or not; enhanced vessels and bone are
BLUR_MM = 1.0
CORE_MM = 4.0  # an airless place is at least twice as thick; segmental vessels are thinner
LEAST_ML = 1.5
ROUND = 2.4  # volume in balls of its greatest depth: 1 for a ball, 1.8 for a lobulated mass of 44 x 37 x 55 mm
RAGGED = 3.0  # and beyond this it is a patch of lobules
CENTRAL_MM = 75.0  # from the carina: main and lobar bronchi
HILUM_MM = 22.0  # from these, where hilar vessels and nodes lie
HILUM_ML = 25.0  # a larger place is more than hilum
UNSEEN_ML = 60.0  # and where no fork of the trachea says where the hila are; vessels of a sharp kernel reach 28
HILA_MM = (40.0, 150.0)  # above the dome of the diaphragm: there the hila lie; the fork is at 115
GAP_MM = 6.0  # half of the least gap between the lungs that is mediastinum
ON_LUNG = 0.5  # share of a place with lung somewhere below it; the dome of the diaphragm has none
LUNG_RIM = 0.38  # of the rim that is lung: more than of heart, chest wall and fat that bulge into the cavity
FLAT = 8.0  # volume in balls of its greatest depth; so flat a place with little lung round it is chest wall
WALL_MM = 14.0  # what lies this near to the ribs is along them
HINDMOST = 0.35  # of the depth of a lung, from behind
WHOLE = 0.95  # coverage of both lungs for their volumes to be compared
RIGHT_TO_LEFT = 1.15  # aerated volume; 1.06 to 1.38 in seven real scans without disease of one side
LOST = 0.70  # of the volume expected; the clear scans reach 0.77 (right 1.5 times the left)
BONE_SHARE = 0.02  # costal bone within a place: chest wall
RIM_MM = 6.0  # so far from its airless core a place may fade into the lung
RIM_CORE_MM = 2.5  # vessels that lead into it are thinner than twice this


@dataclass(frozen=True, eq=False)
class Dense:
    """An airless place in one lung."""

    side: LungSide
    voxels: Bools  # (Z, Y, X)
    volume_ml: float
    mean_hu: float
    centre_mm: Point
    roundness: float  # see ROUND
    lung_rim: float  # share of its rim that is lung
    hilar: float  # share near the central airways
    along_wall: float  # share near the ribs
    behind: bool  # its middle lies behind the middle of the lung
    lowest: bool  # and in its hindmost third, where lung without air sinks to
    at_fluid: bool

    @property
    def collapsed(self) -> bool:
        """True where airless lung is collapse by its place: beside fluid, or far behind along the ribs."""
        return (self.behind and self.at_fluid) or (self.lowest and self.along_wall > 0.5)

    @property
    def round(self) -> bool:
        """True for nodules and masses."""
        return self.roundness < ROUND

    @property
    def ragged(self) -> bool:
        """True for a patch, whose compact middle is no mass."""
        return self.roundness > RAGGED


@once
def dense_places(case: Case) -> tuple[Dense, ...]:
    """Airless places of both lungs, largest first."""
    found = lungs(case)
    places = [place for side in found.present for place in _places(case, side)]
    return tuple(sorted(places, key=lambda place: -place.volume_ml))


def share_of_expected(case: Case, side: LungSide) -> float | None:
    """Aerated volume of a lung over what the other lung lets expect; None unless both are seen whole."""
    found = lungs(case)
    if min(found.covered.values()) < WHOLE or len(found.present) < 2:
        return None
    right, left = found.right.volume_ml, found.left.volume_ml
    return right / (left * RIGHT_TO_LEFT) if side == "right" else left * RIGHT_TO_LEFT / right


def volume_lost(case: Case, side: LungSide) -> bool:
    """True when a lung is plainly smaller than the other one lets expect."""
    share = share_of_expected(case, side)
    return share is not None and share < LOST


def _places(case: Case, side: LungSide) -> list[Dense]:
    grid, hu = case.working.grid, case.working.hu.T
    lung = lungs(case).of(side).voxels.T
    cavity = thoracic_cavity(case).of(side).voxels.T | lung
    fluid = pleural_fluid(case).get(side)
    wet = fluid[1] if fluid is not None else np.zeros_like(lung)
    blurred = smooth(case, BLUR_MM)
    dense = cavity & ~wet & (blurred > DENSE_HU) & (blurred < BRIGHT_HU)
    for plate in plates(case):
        dense &= ~plate.voxels
    core = shrunk(dense, CORE_MM, grid)
    if not core.any():
        return []
    labels: NDArray[np.uint32] = cc3d.connected_components(grown(core, CORE_MM, grid), connectivity=6)
    size_ml = np.bincount(labels.ravel()) * grid.voxel_ml
    size_ml[0] = 0.0
    aerated = lung & (hu < -400)
    lung_below = np.logical_or.accumulate(aerated, axis=0)
    hilum = near_hilum(case)
    hilum_ml = HILUM_ML if airways(case).carina_mm is not None else UNSEEN_ML
    bone = skeleton(case).voxels.T
    wall = shell(case, side)
    near_wall = wall.along_wall(WALL_MM) & wall.sidewards() if wall is not None else np.zeros_like(lung)
    rows = np.flatnonzero(lung.any(axis=(0, 2)))
    middle_y, third_y = float(rows.mean()), float(np.quantile(rows, HINDMOST))
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    out = []
    for name in np.argsort(-size_ml)[:12]:
        ml = float(size_ml[name])
        if ml < LEAST_ML:
            break
        box = _wider(boxes[name], 4, lung.shape)
        here = labels[box] == name
        count = int(np.count_nonzero(here))
        rim = ndimage.binary_dilation(here, iterations=2) & ~here
        lung_rim = float(np.count_nonzero(aerated[box] & rim)) / max(1, int(np.count_nonzero(rim)))
        on_lung = float(np.count_nonzero(lung_below[box] & here)) / count
        corner = np.array([part.start for part in box])
        z, y, x = np.argwhere(here).mean(axis=0) + corner
        at_fluid = bool((ndimage.binary_dilation(here, iterations=3) & wet[box]).any())
        along = float(np.count_nonzero(near_wall[box] & here)) / count
        behind = bool(y < middle_y)
        if np.count_nonzero(bone[box] & here) > BONE_SHARE * count:
            continue
        hilar = float(np.count_nonzero(hilum[box] & here)) / count
        if ml < hilum_ml and hilar > 0.5:
            continue
        if not (behind and (at_fluid or along > 0.5)):
            if on_lung < ON_LUNG:
                continue  # the dome of the diaphragm
            if lung_rim < (LUNG_RIM if ml < HILUM_ML else LUNG_RIM / 2):
                continue  # heart, fat and chest wall
        depth = float(depth_mm(here, grid).max())
        roundness = ml * 1000 / (4 / 3 * np.pi * depth**3)
        if roundness > FLAT and lung_rim < LUNG_RIM and not behind:
            continue  # muscle and cartilage between the front ends of the ribs
        whole = np.zeros_like(lung)
        whole[box] = here
        out.append(
            Dense(
                side=side,
                voxels=whole,
                volume_ml=ml,
                mean_hu=float(hu[box][here].mean()),
                centre_mm=as_point(grid.to_mm([x, y, z])),
                roundness=roundness,
                lung_rim=lung_rim,
                hilar=hilar,
                along_wall=along,
                behind=behind,
                lowest=bool(y < third_y),
                at_fluid=at_fluid,
            )
        )
    return out


def whole_of(case: Case, place: Dense) -> Bools:
    """(Z, Y, X) bool: an airless place with its border, where the density is halfway between it and its lung.

    Filled lung fades into clear lung over some mm, and blur does the same to a sharp border; halfway lies
    the border of both.
    """
    grid, lung = case.working.grid, lungs(case).of(place.side).voxels.T
    cavity = thoracic_cavity(case).of(place.side).voxels.T | lung
    fluid = pleural_fluid(case).get(place.side)
    if fluid is not None:
        cavity &= ~fluid[1]
    border = (place.mean_hu + float(np.median(case.working.hu.T[lung]))) / 2
    near = grown(place.voxels, RIM_MM, grid) & cavity & (smooth(case, BLUR_MM) > border)
    wide = place.voxels | opened(near, RIM_CORE_MM, grid)
    labels: NDArray[np.uint32] = cc3d.connected_components(wide, connectivity=6)
    own = np.bincount(labels[place.voxels], minlength=2)
    return np.asarray(labels == int(own.argmax()))


@once
def near_hilum(case: Case) -> Bools:
    """(Z, Y, X) bool: what lies around the central airways, where hilar vessels and nodes are.

    Where no fork of the trachea is in the scan or was seen, it is what lies beside the mediastinum at the
    heights of the hila.
    """
    tree, grid = airways(case), case.working.grid
    central = tree.mask.voxels.T.copy()
    if not central.any() or tree.carina_mm is None:
        return beside_mediastinum(case)
    z, y, x = (np.arange(n, dtype=np.float32)[(slice(None), *[None] * (2 - a))] for a, n in enumerate(central.shape))
    i, j, k = grid.to_ijk(tree.carina_mm)
    x_mm, y_mm, z_mm = grid.spacing_mm
    away = np.sqrt(((x - i) * x_mm) ** 2 + ((y - j) * y_mm) ** 2 + ((z - k) * z_mm) ** 2)
    return grown(central & (away < CENTRAL_MM), HILUM_MM, grid)


@once
def beside_mediastinum(case: Case) -> Bools:
    """(Z, Y, X) bool: what lies so near to the gap between the lungs as hilar vessels do; nothing with one lung."""
    found, grid, dome = lungs(case), case.working.grid, coverage(case).dome_mm
    if len(found.present) < 2:
        return np.zeros(grid.shape[::-1], dtype=bool)
    spaces = found.right_space.voxels.T | found.left_space.voxels.T
    gap = opened(outline(case) & ~spaces, GAP_MM, grid)
    if dome is not None:
        z = grid.to_mm(np.c_[np.zeros((len(gap), 2)), np.arange(len(gap))])[:, 2]
        gap &= ((z > dome + HILA_MM[0]) & (z < dome + HILA_MM[1]))[:, None, None]
    return grown(gap, HILUM_MM, grid)


def _wider(box: tuple[slice, slice, slice], by: int, shape: tuple[int, ...]) -> tuple[slice, slice, slice]:
    """A box with a margin of voxels, within an array."""
    z, y, x = (slice(max(0, s.start - by), min(n, s.stop + by)) for s, n in zip(box, shape, strict=True))
    return z, y, x
