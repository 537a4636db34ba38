"""Findings of the lung put into a real scan: nodules, filled and hazy patches, fluid, free air, holes.

A shape is a signed distance in mm (below 0 inside). What takes the place of lung is mixed in
by the share of each voxel that it fills, blurred as the scan blurs; ground glass adds weight
to the lung that is there, so that vessels stay visible.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from vlm.anatomy.air_level import air_hu
from vlm.anatomy.lungs import LungSide, lungs
from vlm.ct.volume import Mask
from vlm.phantom.body.findings.lumps import ball_ml
from vlm.phantom.host import CLEAR_HU, HOLE_HU, RIM_MM, Floats, Host, Implant, Margin, Shape, Window

# Hounsfield units, non-contrast: Radiopaedia and the ranges of FINDINGS (fluid 0-20, collapsed or filled lung 20-60)
SOLID_HU, CALCIFIED_HU, FLUID_HU, FILLED_HU = 35, 350, 8, 35
HAZE_HU = 300  # what ground glass adds to lung: about -550 over -850
PLEURA_HU, PLEURA_MM = -450, 0.7  # the visceral line beside free air
EMPHYSEMA_HU = -950  # Gevenois, AJRCCM 1996;154:187
HOLE_MM = 9.0  # period of the pattern: most holes are 4 to 10 mm wide, as centrilobular ones (Radiology 2008;246:697)
PATCH_AXES = (0.65, 1.0, 1.5)  # filled lung is no ball: a round one would rightly be called a mass
SPARE_MM = 8.0  # a level found on the coarse grid is true to so much
PATCH_EDGE_MM = 6.0  # from full to clear: filled lung fades, a mass does not


def nodule(host: Host, name: str, each: Implant) -> None:
    """A ball, bumpy or with spicules, of the volume of a sphere of its diameter."""
    side, radius = host.side_of(each), each.size / 2
    centre = host.room(each, side, radius)
    host.taken.append((centre, radius))
    shape = ball(centre, radius, each.margin, host.rng)
    window = host.window(centre - 1.7 * radius, centre + 1.7 * radius, host.border)
    ml = ball_ml(each.size)
    share, inside = host.cover(shape, window, ml)
    if each.texture in ("ground_glass", "part_solid"):
        host.hu[window] += share * HAZE_HU
    if each.texture == "part_solid":
        core, _ = host.cover(ball(centre, 0.5 * radius, "smooth", host.rng), window, ml / 8)
        host.mix(window, core, SOLID_HU)
    if each.texture in ("solid", "calcified"):
        host.mix(window, share, SOLID_HU if each.texture == "solid" else CALCIFIED_HU)
    host.keep(name, window, inside)
    host.note(name, each, side, "diameter", each.size)


def patch(host: Host, name: str, each: Implant) -> None:
    """A ragged part of a lung, filled or hazy; bronchi in it keep their air."""
    side = host.side_of(each)
    size = (each.size * 1000 * 3 / 4 / np.pi) ** (1 / 3)
    centre = host.room(each, side, 0.6 * size)
    reach = 2.2 * size + 6
    window = host.window(centre - reach, centre + reach, host.border)
    at = host.points(window, (1, 1, 1))
    lung = host.of_lung(side)
    turned = (at - centre) @ Rotation.random(random_state=host.rng).as_matrix().astype(at.dtype)
    rank = np.linalg.norm(turned / np.asarray(PATCH_AXES, at.dtype), axis=-1)
    rank += 0.2 * size * _bumps(at, 0.5 * size, host.rng)
    inside_lung = lung(at) < 0
    level = _level(rank[inside_lung], each.size / host.grid.voxel_ml, each)
    host.taken.append((centre, float(level)))
    share = np.clip(0.5 + (level - rank) / PATCH_EDGE_MM, 0, 1) * (lung(at) < RIM_MM)
    share = host.bounded(share, inside_lung & (rank < level))
    if each.finding == "ground_glass_opacity":
        host.hu[window] += share * HAZE_HU * host.lung_share(window)
    else:
        host.fill(window, share, FILLED_HU)
    volume = host.keep(name, window, inside_lung & (rank < level))
    host.note(name, each, side, "volume", volume)


def layer(host: Host, name: str, each: Implant) -> None:
    """Fluid at the lowest part of a side, or air at its highest, with the pleura as a line."""
    side, lowest = host.side_of(each), each.finding == "pleural_effusion"
    window = _near_level(host, each, side, lowest)
    at = host.points(window, (1, 1, 1))
    depth = host.of_lung(side)(at)
    rank = _rank(host, at, side, lowest)
    inside = depth < 0
    level = _level(rank[inside], each.size / host.grid.voxel_ml, each)
    taken = inside & (rank < level)
    share = host.bounded(np.clip(0.5 + (level - rank) / 1.5, 0, 1) * (depth < RIM_MM), taken)
    if lowest:
        host.fill(window, share, FLUID_HU)
    else:
        rim, air = share * (depth > -RIM_MM), air_hu(host.case)  # as dark as air is in this scan
        host.hu[window] += rim * host.lung_share(window) * (air - host.lung_hu)
        host.mix(window, share * (depth <= -RIM_MM), air, noise=0.5)
        line = host.bounded(np.clip(1.5 - np.abs(rank - level) / PLEURA_MM, 0, 1) * inside, taken)
        host.hu[window] += line * np.maximum(PLEURA_HU - host.hu[window], 0)
    host.note(name, each, side, "volume", host.keep(name, window, taken))
    grid = host.case.working.grid
    host.layers |= Mask(name, host.masks[name], host.grid).on(grid).voxels.T


def _rank(host: Host, at: Floats, side: LungSide, lowest: bool) -> Floats:
    """How late a fluid, or air, that fills one side of the chest comes to a point, mm."""
    box = lungs(host.case).of(side).box
    position = host.case.volume.scan.patient_position
    height = _height(at, np.asarray(box.low_mm), np.asarray(box.high_mm), position)
    return height if lowest else -height


def _near_level(host: Host, each: Implant, side: LungSide, lowest: bool) -> Window:
    """The window of what a layer will take, found on the coarse grid, and a little more."""
    mask = lungs(host.case).of(side)
    at = np.asarray(mask.grid.to_mm(np.argwhere(mask.voxels)))
    rank = _rank(host, at, side, lowest)
    level = _level(rank, each.size / mask.grid.voxel_ml, each)
    near = at[rank < level + SPARE_MM]
    return host.window(near.min(axis=0), near.max(axis=0), RIM_MM + 1)


def holes(host: Host, name: str, each: Implant) -> None:
    """Holes in both lungs, more of them at the top; the size is the share of lung that the scan shows below -950 HU."""
    both = lungs(host.case).both
    window = host.window(np.asarray(both.box.low_mm), np.asarray(both.box.high_mm), 1.0)
    at = host.points(window, (1, 1, 1))
    inside = host.on_window(both, window)
    top, bottom = both.box.high_mm[2], both.box.low_mm[2]
    rank = np.full(inside.shape, np.inf, dtype=np.float32)
    rank[inside] = -_bumps(at[inside], HOLE_MM, host.rng) - (at[inside][:, 2] - bottom) / (top - bottom)
    level = _level(rank[inside], each.size / 100 * np.count_nonzero(inside), each)
    dark = float(np.clip((EMPHYSEMA_HU - host.lung_hu) / (HOLE_HU - host.lung_hu), 0.0, 1.0))
    share = host.bounded(np.clip(dark + 4 * (level - rank), 0, 1) * inside, inside & (rank < level))
    host.mix(window, share * (host.hu[window] < CLEAR_HU), HOLE_HU, noise=0.7)
    host.keep(name, window, inside & (rank < level))
    host.note(name, each, None, "fraction", each.size)


def ball(
    centre: NDArray[np.float64], radius: float, margin: Margin,
    rng: np.random.Generator,
) -> Shape:  # fmt: skip
    """A sphere, one with bumps, or one with thin spicules; its volume is that of the sphere."""
    tips = rng.standard_normal((24, 3))
    tips /= np.linalg.norm(tips, axis=1, keepdims=True)
    heights = rng.uniform(-0.2, 0.2, 24) if margin == "lobulated" else rng.uniform(0.2, 0.6, 24)
    sharp = 4.0 if margin == "lobulated" else 60.0

    def surface(directions: Floats) -> Floats:
        """Radius along unit vectors, in radii of the sphere."""
        if margin == "smooth":
            return np.ones(directions.shape[:-1], dtype=np.float32)
        out = np.ones(directions.shape[:-1], dtype=np.float32)
        for tip, height in zip(tips, heights, strict=True):
            out += height * np.exp(sharp * (directions @ tip.astype(directions.dtype) - 1))
        return out

    sample = rng.standard_normal((4000, 3))
    sample /= np.linalg.norm(sample, axis=1, keepdims=True)
    scale = radius / float(np.mean(surface(sample) ** 3) ** (1 / 3))

    def distance(at: Floats) -> Floats:
        away = at - centre.astype(at.dtype)
        length = np.linalg.norm(away, axis=-1)
        return np.asarray(length - scale * surface(away / np.maximum(length, 1e-6)[..., None]))

    return distance


def _bumps(at: Floats, size_mm: float, rng: np.random.Generator) -> Floats:
    """Smooth random values, mean 0 and deviation about 1, that vary over ``size_mm``: a sum of plane waves."""
    out = np.zeros(at.shape[:-1], dtype=np.float32)
    number = 16
    for _ in range(number):
        wave = rng.standard_normal(3) / size_mm
        out += np.cos(at @ wave.astype(at.dtype) * 2.0 + rng.uniform(0, 2 * np.pi)).astype(np.float32)
    return np.asarray(out * np.sqrt(2 / number), dtype=np.float32)


def _level(rank: Floats, voxels: float, each: Implant) -> float:
    """The value below which ``voxels`` of the ranks lie."""
    if voxels > len(rank):
        raise ValueError(f"{each.finding}: {each.size:g} is more than the lung holds")
    return float(np.partition(rank, int(voxels))[int(voxels)]) if int(voxels) < len(rank) else float(rank.max())


def _height(at: Floats, low: Floats, high: Floats, position: str) -> Floats:
    """Height of points for a fluid, mm: the person lies on the back unless the header says on the front."""
    up = -1.0 if position.endswith("P") else 1.0
    middle = (low[0] + high[0]) / 2
    climb = 10.0 * ((at[..., 0] - middle) / max(1.0, (high[0] - low[0]) / 2)) ** 4  # a meniscus up the side wall
    return np.asarray(up * at[..., 1] + 0.10 * at[..., 2] - climb, dtype=np.float32)
