"""Whose calcium it is: of a coronary artery, of a valve, of the root of the aorta, or of a bone beside its wall.

In: where dense pieces lie, the fat around them, bones, heart and traced ascending aorta. Out: a Place for each.
Coronary arteries lie in the fat of the grooves, valves deep in blood. The root of the aorta is not traced: below the
last circle of the ascending aorta calcium may be of its wall, of the mouths of the coronary arteries or of the valve,
and is told as doubtful. Arrays here are (Z, Y, X).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.arch import arch
from vlm.anatomy.ball import grown
from vlm.anatomy.heart import heart
from vlm.anatomy.skeleton import skeleton
from vlm.ct.volume import Grid, Mask, Point
from vlm.evidence import Case, once

Place = Literal["coronary", "wall", "root_wall", "root", "aortic_valve", "mitral_valve", "unsure"]
PLACES: tuple[Place, ...] = get_args(Place)
FAT_SHARE = 0.04  # of what lies within some mm of a piece, on the mean: coronary arteries lie in fat, valves in blood
DEEP_MM = 7.0  # from the nearest fat: valves lie deeper; shallower without fat it may be either
WALL_MM = 3.5  # the wall of the aorta lies within this of the traced circle
STRAIGHT_MM = 20.0  # so far below its lowest circle the ascending aorta goes on as it was …
ROOT_MM = 60.0  # … and so far its root reaches …
LEAN = 0.7  # … which leans to the left, up to so many mm a mm
ROOT_MARGIN_MM = 2.0
VALVE_BELOW_MM = 25.0  # of the lowest circle: above, calcium deep in the root is of its wall
WITHIN_HEART = 0.9  # of a dense component: it is no bone, however large
BONE_EDGE_MM = 5.0  # dense voxels that go on into bone so near are its edge

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Root:
    """The circles of the traced ascending aorta from below, (N, 3) RAS mm and (N,) mm; its root lies below them."""

    centres_mm: NDArray[np.float64]
    radii_mm: NDArray[np.float64]

    def above_mm(self, point_mm: Point) -> float:
        """How far a point lies above the lowest circle."""
        return float(point_mm[2] - self.centres_mm[0, 2])

    def beside(self, point_mm: Point) -> Place:
        """ "wall" of the aorta, "root_wall" or "root" below what was traced of it, or "coronary" away from all."""
        up = self.above_mm(point_mm)
        nearest = int(np.argmin(np.abs(self.centres_mm[:, 2] - point_mm[2])))
        across, forward, _ = np.subtract(point_mm, self.centres_mm[nearest])
        away, radius = float(np.hypot(across, forward)), float(self.radii_mm[nearest])
        if up >= 0.0:
            return "wall" if away <= radius + WALL_MM else "coronary"
        if up >= -STRAIGHT_MM and abs(away - radius) <= WALL_MM:
            return "root_wall"
        aside = across - np.clip(across, LEAN * up, 0.0)  # x grows to the right
        near = up >= -ROOT_MM and float(np.hypot(aside, forward)) <= radius + ROOT_MARGIN_MM
        return "root" if near else "coronary"


def root(case: Case) -> Root | None:
    """Where the root of the aorta begins; None where no ascending aorta is traced."""
    limb = arch(case).ascending
    return Root(limb.centres_mm[limb.sure], limb.radii_mm[limb.sure]) if limb.found else None


def place_of(point_mm: Point, *, fat_share: float, fat_mm: float, origin: Root | None, heart_mm: Point) -> Place:
    """Whose calcium lies at a point within the heart.

    Args:
        point_mm: its middle, RAS mm.
        fat_share: 0..1, of what lies around it.
        fat_mm: to the nearest fat.
        origin: of the root of the aorta, where it is known.
        heart_mm: the middle of the heart.
    """
    beside = "coronary" if origin is None else origin.beside(point_mm)
    if fat_share >= FAT_SHARE or fat_mm < DEEP_MM:
        return beside
    if origin is None:
        return "aortic_valve" if point_mm[2] > heart_mm[2] else "mitral_valve"
    if beside != "coronary":
        return "aortic_valve" if origin.above_mm(point_mm) < -VALVE_BELOW_MM else beside
    return "mitral_valve" if point_mm[1] < heart_mm[1] else "unsure"


def root_wall(case: Case, grid: Grid) -> Bools:
    """(Z, Y, X) the wall of the aorta just below its lowest traced circle, on a grid."""
    out = np.zeros(grid.shape[::-1], dtype=bool)
    origin = root(case)
    if origin is None:
        return out
    lowest = origin.centres_mm[0]
    i, j = np.meshgrid(np.arange(grid.shape[0]), np.arange(grid.shape[1]))
    first = np.moveaxis(grid.to_mm(np.stack([i, j, np.zeros_like(i)], axis=-1)) - lowest, -1, 0)
    ends = float(first[2].min()), float(first[2].max())
    for k in range(grid.shape[2]):  # slices of a tilted gantry lie one beside the other
        step = k * grid.affine[:3, 2]
        if ends[0] + step[2] < 0 and ends[1] + step[2] >= -STRAIGHT_MM:
            x, y, z = first + step[:, None, None]
            out[k] = (z < 0) & (z >= -STRAIGHT_MM) & (np.abs(np.hypot(x, y) - origin.radii_mm[0]) <= WALL_MM)
    return out


@once
def whole_heart(case: Case) -> Mask:
    """The heart with the holes that lumps of calcium leave in its outline, on the working grid."""
    mask = heart(case).mask
    out = np.zeros_like(mask.voxels)
    for k in np.flatnonzero(mask.voxels.any(axis=(0, 1))):
        out[:, :, k] = ndimage.binary_fill_holes(mask.voxels[:, :, k])
    return Mask("heart", out, mask.grid)


@once
def true_bone(case: Case) -> Mask:
    """The skeleton without what lies within the heart: valves that calcify as one lump are as large as small bones."""
    bones, beating = skeleton(case), whole_heart(case)
    if not beating:
        return bones
    labels, count = cc3d.connected_components(bones.voxels, connectivity=26, return_N=True)
    whole = np.bincount(labels.ravel(), minlength=count + 1)
    within = np.bincount(labels[beating.voxels], minlength=count + 1)
    own = within >= WITHIN_HEART * np.maximum(whole, 1)
    own[0] = True
    return Mask("skeleton", np.asfortranarray(~own[labels]), bones.grid)


def is_bone_edge(piece: Bools, near_bone: Bools, of_bone: Bools) -> bool:
    """Whether most of a piece lies at a bone and is dense without a break as far as into it.

    All are (Z, Y, X): ``near_bone`` within ``BONE_EDGE_MM`` of bone, ``of_bone`` what is dense and goes on into bone.
    """
    return bool((piece & of_bone).any() and np.mean(near_bone[piece]) > 0.5)


def bone_reach(dense: Bools, bones: Mask, grid: Grid) -> tuple[Bools, Bools]:
    """(Z, Y, X) what lies within ``BONE_EDGE_MM`` of bone, and what is dense and goes on into bone."""
    bone = bones.on(grid).voxels.T
    labels = cc3d.connected_components(dense, connectivity=6)
    touching = np.zeros(int(labels.max()) + 1, dtype=bool)
    touching[np.unique(labels[bone])] = True
    touching[0] = False
    return grown(bone, BONE_EDGE_MM, grid), np.asarray(touching[labels])
