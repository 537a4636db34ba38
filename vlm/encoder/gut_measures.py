"""Numbers of the belly that lie in no outlined organ: bile, calm water, bowel, the bed of the pancreas, free gas."""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage

from vlm.encoder.forms import ball
from vlm.encoder.scene import (
    GRID_MM,
    NOTHING,
    Bools,
    Numbers,
    Scene,
    away,
    deep,
    largest,
    ml,
    opened,
    percentile,
    share,
    wider,
    window_of,
)  # fmt: skip

BILE_HU = (-8.0, 28.0)  # bile and effusion, after smoothing
CALM_HU = 25.0  # a step of 3 mm, after smoothing: where fat meets muscle it is up to 60
GAS_HU, FLUID_HU = -450.0, -40.0
BILE_MM, DUCT_MM = 24.0, ((0.0, 60.0), (25.0, 105.0))  # from the liver; to the right of the canal and before it
BED_MM = ((-75.0, 60.0), (0.0, 55.0), (-45.0, 45.0))  # of the pancreas: to the right, before and above the aorta
SOFT_HU = (5.0, 150.0)
LEAST_GAS_ML = 3.0
SHELL_MM = (5.0, 10.0)  # from the gas: past a wall of usual thickness
STONE_MM, SMALL_MM, STONE_HU = 9.0, 3.0, (-20.0, 300.0)
PELVIS_MM = 70.0  # the lowest part of what is in view


def gut(seen: Scene, room: Bools, region: Bools) -> Numbers:
    """Everything of this page.

    Args:
        seen: a scene whose belly is in view.
        room: what no organ that was found fills.
        region: the belly below the dome, inside its wall.
    """
    return {**bile(seen, room), **water(seen, room), **bowel(seen, region), **bed(seen, room), **gas_before(seen)}


def _watery(seen: Scene) -> Bools:
    return np.asarray((seen.smooth > BILE_HU[0]) & (seen.smooth < BILE_HU[1]))


def _axes(seen: Scene) -> tuple[np.ndarray, np.ndarray]:
    """Millimetres to the right of the canal and before it, each broadcast over (Z, Y, X)."""
    middle = np.median(seen.canal_mm, axis=0) if len(seen.canal_mm) else np.zeros(3)
    front = seen.origin_mm[1] + np.arange(seen.hu.shape[1]) * GRID_MM - middle[1]
    right = seen.origin_mm[0] + np.arange(seen.hu.shape[2]) * GRID_MM - middle[0]
    return right[None, None, :], front[None, :, None]


def bile(seen: Scene, room: Bools) -> Numbers:
    """The thickest water beside the liver, what is bright in it, and water where the common duct runs."""
    liver = seen.of("liver")
    if liver is None:
        return {}
    near = away(liver)
    pool = opened(_watery(seen) & (room | liver) & (near < BILE_MM) & ~_stomach(seen))
    depth = deep(pool)
    labels, number = cc3d.connected_components(pool, connectivity=6, return_N=True)
    told: Numbers = {"radius": 0.0, "ml": 0.0, "stone": NOTHING, "bright": NOTHING}
    if number:
        piece = np.asarray(labels == labels[np.unravel_index(int(depth.argmax()), depth.shape)])
        at = window_of(piece, 5)
        round_ = away(piece[at]) < STONE_MM  # a stone lies on the floor and dents the bile that is seen
        told = {"radius": float(depth.max()), "ml": ml(piece),
                "stone": ball(np.clip(seen.hu[at], *STONE_HU), round_, SMALL_MM),
                "bright": percentile(seen.hu[at][round_ & ~liver[at]], 99)}  # fmt: skip
    if len(seen.canal_mm) >= 5:
        right, front = _axes(seen)
        (least, most), (behind, before) = DUCT_MM
        held = np.asarray(liver.any(axis=(1, 2)))[:, None, None]
        way = (right > least) & (right < most) & (front > behind) & (front < before) & held
        told |= {"duct": ml(pool & way), "duct_thin": ml(pool & way & ~opened(pool, 3))}
    return {f"bile.{name}": value for name, value in told.items()}


def _stomach(seen: Scene) -> Bools:
    return wider(seen.union("stomach", "kidney_right", "kidney_left"))


def water(seen: Scene, room: Bools) -> Numbers:
    """Water whose density does not change from voxel to voxel, mL: in all, and where bowel seldom lies."""
    steps = np.stack([np.gradient(seen.smooth, axis=axis) for axis in range(3)])
    calm = _watery(seen) & (np.sqrt((steps**2).sum(axis=0)) < CALM_HU) & room
    low = np.flatnonzero(room.any(axis=(1, 2)))
    told = {"all": ml(calm)}
    if low.size:
        pelvis = (np.arange(calm.shape[0]) - low[0] < PELVIS_MM / GRID_MM)[:, None, None]
        rows = np.flatnonzero(room.any(axis=(0, 2)))
        back = (np.arange(calm.shape[1]) < rows[0] + 0.4 * (rows[-1] - rows[0]))[None, :, None]
        told |= {"pelvis": ml(calm & pelvis), "back": ml(calm & back)}
    for name in ("liver", "spleen"):
        if (organ := seen.of(name)) is not None:
            told[name] = ml(calm & (away(organ) < 15.0))
    return {f"calm.{name}": value for name, value in told.items()}


def bowel(seen: Scene, region: Bools) -> Numbers:
    """Gas of the bowel, its level surfaces over fluid, and how much of what surrounds it is soft."""
    hollow = region & ~wider(seen.union("stomach", "lung_right", "lung_left"), 2)
    hollow &= ~seen.union("liver", "spleen", "kidney_right", "kidney_left", "aorta", "vertebrae")
    gas = (seen.hu < GAS_HU) & hollow
    told: Numbers = {"gas": ml(gas), "radius": float(deep(gas).max())}
    level = np.zeros(gas.shape, dtype=bool)
    level[:, 1:-2] = gas[:, 2:-1] & (seen.hu[:, :-3] > FLUID_HU) & hollow[:, :-3]
    level = np.asarray(ndimage.binary_opening(level, np.ones((2, 1, 2), dtype=bool)))
    level[:, 1:] &= ~level[:, :-1]  # a sharp surface lies between two voxels
    labels, number = cc3d.connected_components(level, connectivity=26, return_N=True)
    told |= {"levels": float(number), "level": float(np.count_nonzero(level)) * GRID_MM**2 / 100}
    told["level_big"] = float(np.bincount(labels.ravel())[1:].max()) * GRID_MM**2 / 100 if number else 0.0
    far = away(opened(gas))
    shell = (far > SHELL_MM[0]) & (far < SHELL_MM[1]) & hollow
    soft = (seen.smooth > SOFT_HU[0]) & (seen.smooth < SOFT_HU[1])
    told |= {"shell": share(soft, shell), "swollen": share(_watery(seen), shell),
             "swollen_thick": ml(opened(_watery(seen) & (far > 1) & (far < SHELL_MM[1]) & hollow))}  # fmt: skip
    return {f"bowel.{name}": value for name, value in told.items()}


def bed(seen: Scene, room: Bools) -> Numbers:
    """Soft tissue and fat before the aorta between the kidneys, where the pancreas lies."""
    aorta, sides = seen.of("aorta"), [seen.of(f"kidney_{side}") for side in ("right", "left")]
    tops = [seen.heights_mm.ravel()[one.any(axis=(1, 2))][-1] for one in sides if one is not None]
    if aorta is None or not tops:
        return {}
    top = float(np.mean(tops)) - 35.0
    level = aorta & (np.abs(seen.heights_mm - top) < BED_MM[2][1])
    if np.count_nonzero(level) < 20:
        return {}
    index = np.argwhere(level)
    front = (np.arange(room.shape[1]) - np.percentile(index[:, 1], 95))[None, :, None] * GRID_MM
    right = (np.arange(room.shape[2]) - index[:, 2].mean())[None, None, :] * GRID_MM
    (least, most), (behind, before), (low, high) = BED_MM
    box = (right > least) & (right < most) & (front > behind) & (front < before) & room
    box &= (seen.heights_mm > top + low) & (seen.heights_mm < top + high)
    soft = (seen.smooth > SOFT_HU[0]) & (seen.smooth < SOFT_HU[1]) & box
    return {"bed.soft": ml(soft), "bed.fat": share(seen.smooth < -50, box), "bed.thick": ml(largest(opened(soft, 2)))}


def gas_before(seen: Scene) -> Numbers:
    """Gas right before the liver, where free gas rises to: mL."""
    liver = seen.of("liver")
    if liver is None:
        return {}
    before = np.zeros_like(liver)
    for step in range(1, 7):
        before[:, step:] |= liver[:, :-step]
    lung = wider(seen.union("lung_right", "lung_left", "cavity_right", "cavity_left"), 2)
    gas = (seen.hu < GAS_HU) & before & ~liver & ~lung & ~wider(seen.union("stomach"), 2) & seen.parts["within"]
    return {"free.over_liver": ml(gas), "free.over_liver_big": ml(largest(gas))}
