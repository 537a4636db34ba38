"""Put a finding of known size, site and density into a real scan, in the scan's own blur and noise.

``implant(case, [Implant(...)], seed=3)`` gives back the changed scan, the exact mask of each
finding, and its truth. The rest of the scan stays as it is, voxel for voxel: what a tool says
of the result, less what it said before, is what it can see in this very scan.

A shape is a signed distance in mm (below 0 inside). What takes the place of lung is mixed in
by the share of each voxel that it fills, blurred as the scan blurs; ground glass adds weight
to the lung that is there, so that vessels stay visible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from vlm.anatomy.air import depth_mm
from vlm.anatomy.airways import airways
from vlm.anatomy.lungs import LungSide, lungs
from vlm.ct.volume import AIR_HU, Grid, Mask, Point, Volume, as_point
from vlm.evidence import Case
from vlm.phantom.chest import Phantom, Truth
from vlm.phantom.texture import Texture, blurred_cover, texture

Floats = NDArray[np.floating[Any]]
Shape = Callable[[Floats], Floats]  # (..., 3) RAS mm -> (...) signed distance, mm
Window = tuple[slice, slice, slice]  # of (X, Y, Z) arrays
Kind = Literal["lung_nodule", "pleural_effusion", "pneumothorax", "consolidation", "ground_glass_opacity", "emphysema"]
Zone = Literal["upper", "middle", "lower"]
NoduleTexture = Literal["solid", "ground_glass", "part_solid", "calcified"]
Margin = Literal["smooth", "lobulated", "spiculated"]

FINEST_MM = 0.5  # shapes are evaluated about so finely
FINE_POINTS = 12_000_000  # and no finer than this many points allow
# Hounsfield units, non-contrast: Radiopaedia and the ranges of FINDINGS (fluid 0-20, collapsed or filled lung 20-60)
SOLID_HU, CALCIFIED_HU, FLUID_HU, FILLED_HU, AIR_SPACE_HU, HOLE_HU = 35, 350, 8, 35, -1000, -985
HAZE_HU = 300  # what ground glass adds to lung: about -550 over -850
TISSUE_HU = 40  # chest wall, for voxels that hold some of it and some lung
PLEURA_HU, PLEURA_MM = -450, 0.7  # the visceral line beside free air
CLEAR_HU, CLEAR_SHARE = -600, 0.12  # room for a nodule: at most this share of what it replaces is denser
BESIDE_MM, BESIDE_SHARE = 3.0, 0.45  # at the pleura: so far around a nodule, at least this share is clear lung
SUNK_MM = 2.5  # a nodule at the pleura reaches so far into the wall, and by no more than a quarter of it
PATCH_AXES = (0.65, 1.0, 1.5)  # filled lung is no ball: a round one would rightly be called a mass
PATCH_EDGE_MM = 6.0  # from full to clear: filled lung fades, a mass does not
RIM_MM = 4.0  # chest wall within this of the lung that may hold some lung


@dataclass(frozen=True, slots=True, kw_only=True)
class Implant:
    """What to put in. ``size``: diameter in mm (nodule), volume in mL, or share of the lungs in % (emphysema)."""

    finding: Kind
    size: float
    side: LungSide | None = None
    zone: Zone | None = None
    texture: NoduleTexture = "solid"
    margin: Margin = "smooth"
    place: Literal["inside", "pleural"] = "inside"
    centre_mm: Point | None = None  # RAS; chosen when None


def implant(case: Case, wanted: Sequence[Implant], *, seed: int = 0, refused: list[str] | None = None) -> Phantom:
    """Put findings into an open scan.

    Args:
        case: the scan; its lungs and airways are found by ``vlm.anatomy``.
        wanted: in this order; a later one keeps off the earlier ones. Fluid and free air come first, as
            they take whatever lies there.
        refused: takes the reason of each that there is no room for; the others are put in all the same.

    Returns:
        A Phantom: a new Volume on the same grid, and a mask and a truth for each implant.

    Raises:
        ValueError: there is no room for one of them, no lung on its side, or nothing to
            measure blur and noise from.
    """
    work = _Work(case, texture(case.volume), np.random.default_rng([seed, 11]))
    for number, each in enumerate(wanted, 1):
        try:
            work.put(f"{each.finding}_{number}", each)
        except ValueError as error:
            if refused is None:
                raise
            work.masks.pop(f"{each.finding}_{number}", None)
            refused.append(str(error))
    masks = {name: Mask(name, voxels, case.volume.grid) for name, voxels in work.masks.items()}
    hu = np.asfortranarray(np.clip(np.rint(work.hu), AIR_HU, 32767).astype(np.int16))
    return Phantom(Volume(hu, case.volume.grid, case.volume.scan, case.volume.padding), masks, work.truth)


def border_mm(look: Texture) -> float:
    """How far beyond its mask an implant may change a scan, mm: blur, half a slice, and a rim that held some lung."""
    return max(RIM_MM + 1.0, 3 * look.blur_mm, 0.75 * look.slice_mm)


class _Work:
    """A scan while findings are put into it."""

    def __init__(self, case: Case, look: Texture, rng: np.random.Generator) -> None:
        self.case, self.look, self.rng = case, look, rng
        self.border = border_mm(look)
        self.grid: Grid = case.volume.grid
        self.hu = case.volume.hu.astype(np.float32, order="F")
        self.masks: dict[str, NDArray[np.bool_]] = {}
        self.truth: list[Truth] = []
        inside = lungs(case).both.voxels
        self.lung_hu = float(np.median(case.working.hu[inside])) if inside.any() else float(HOLE_HU)
        self.taken: list[tuple[NDArray[np.float64], float]] = []  # centre and reach of earlier ones, mm
        self.layers = np.zeros(inside.T.shape, dtype=bool)  # (Z, Y, X) on the working grid: fluid and free air

    # -- where --------------------------------------------------------------------------------------------------

    def side_of(self, each: Implant) -> LungSide:
        """The side asked for, or one of those with lung in the scan."""
        present = lungs(self.case).present
        if not present or (each.side and each.side not in present):
            raise ValueError(f"{each.finding}: no {each.side or ''} lung in this scan".replace("  ", " "))
        return each.side or present[int(self.rng.integers(len(present)))]

    def lung_depth(self, side: LungSide) -> Floats:
        """(Z, Y, X) float32 on the working grid: signed distance to the surface of a lung, below 0 inside."""
        inside = lungs(self.case).of(side).voxels.T
        grid = self.case.working.grid
        return np.where(inside, -depth_mm(inside, grid), depth_mm(~inside, grid)).astype(np.float32)

    def in_zone(self, side: LungSide, zone: Zone | None) -> NDArray[np.bool_]:
        """(Z, 1, 1) bool: levels of a third of this lung, counted from its base."""
        inside = lungs(self.case).of(side).voxels.T
        levels = np.flatnonzero(inside.any(axis=(1, 2)))
        third = {"lower": 0, "middle": 1, "upper": 2}
        part = (np.arange(len(inside)) - levels[0]) * 3 // (levels[-1] - levels[0] + 1)
        chosen = (part >= 0) & (part < 3) if zone is None else part == third[zone]
        return np.asarray(chosen[:, None, None])

    def room(self, each: Implant, side: LungSide, radius: float) -> NDArray[np.float64]:
        """A place (3,) RAS mm where a ball of ``radius`` lies in clear lung, off earlier implants."""
        if each.centre_mm is not None:
            return np.asarray(each.centre_mm, dtype=np.float64)
        depth, work = self.lung_depth(side), self.case.working
        size = [max(1, int(np.ceil(2 * (radius + 1) / step)) | 1) for step in work.grid.spacing_mm[::-1]]
        inside = lungs(self.case).of(side).voxels.T
        dense = ndimage.uniform_filter((inside & (work.hu.T > CLEAR_HU)).astype(np.float32), size)
        depth = depth + 0.5 * work.grid.spacing_mm[0]  # it counts to the middle of the first voxel outside
        good = self.in_zone(side, each.zone) & inside
        if each.place == "inside":
            good &= (dense <= CLEAR_SHARE) & (depth < -radius - 4.0)
        else:  # a coarse voxel there is half wall, so clear lung is counted: at a hilum or in a cleft is little
            wide = [max(1, int(np.ceil(2 * (radius + BESIDE_MM) / step)) | 1) for step in work.grid.spacing_mm[::-1]]
            clear = ndimage.uniform_filter((inside & (work.hu.T < CLEAR_HU)).astype(np.float32), wide)
            good &= (clear >= BESIDE_SHARE) & (depth > -radius) & (depth < -max(radius / 2, radius - SUNK_MM))
        if self.layers.any():
            good &= depth_mm(~self.layers, work.grid) > 2 * radius + 5
        places = work.grid.to_mm(np.argwhere(good)[:, ::-1])
        for centre, reach in self.taken:
            places = places[np.linalg.norm(places - centre, axis=1) > reach + radius + 5]
        if not len(places):
            raise ValueError(f"{each.finding}: no room of {2 * radius:.0f} mm in clear lung, {side} {each.zone or ''}")
        return np.asarray(places[int(self.rng.integers(len(places)))])

    def window(self, low: Floats, high: Floats, margin_mm: float) -> Window:
        """The voxels of a box in mm with a margin, cut by the scan."""
        corners = np.stack(np.meshgrid(*zip(low, high, strict=True)), axis=-1).reshape(-1, 3)
        ijk = self.grid.to_ijk(corners)
        pad = np.array([margin_mm / step + 1 for step in self.grid.spacing_mm])
        first = np.maximum(np.floor(ijk.min(axis=0) - pad), 0).astype(int)
        last = np.minimum(np.ceil(ijk.max(axis=0) + pad) + 1, self.grid.shape).astype(int)
        if (last <= first).any():
            raise ValueError("the implant lies outside the scan")
        x, y, z = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return x, y, z

    # -- how it is put in ---------------------------------------------------------------------------------------

    def points(self, window: Window, fine: tuple[int, int, int]) -> Floats:
        """(X fx, Y fy, Z fz, 3) RAS mm of a window's points on a grid finer by odd factors."""
        lines = [
            np.arange((part.stop - part.start) * f) / f + part.start - (f // 2) / f
            for part, f in zip(window, fine, strict=True)
        ]
        return self.grid.to_mm(np.stack(np.meshgrid(*lines, indexing="ij"), axis=-1)).astype(np.float32)

    def cover(self, shape: Shape, window: Window) -> tuple[Floats, NDArray[np.bool_]]:
        """Share of each voxel that a shape takes as the scan shows it, and the voxels whose centre lies inside."""
        counts = [part.stop - part.start for part in window]
        fine = [1, 1, 1]
        while True:  # refine the coarsest axis first
            steps = [step / f for step, f in zip(self.grid.spacing_mm, fine, strict=True)]
            axis = int(np.argmax(steps))
            if steps[axis] <= FINEST_MM:
                break
            fine[axis] += 2
            if np.prod([n * f for n, f in zip(counts, fine, strict=True)]) > FINE_POINTS:
                fine[axis] -= 2
                break
        factors = (fine[0], fine[1], fine[2])
        distance = np.asarray(shape(self.points(window, factors)), dtype=np.float32)
        share = blurred_cover(distance, factors, self.grid, self.look)
        inside = distance[fine[0] // 2 :: fine[0], fine[1] // 2 :: fine[1], fine[2] // 2 :: fine[2]] < 0
        return self.bounded(share, inside), inside

    def bounded(self, share: Floats, inside: NDArray[np.bool_]) -> Floats:
        """The share without what lies further than the border from the mask (X, Y, Z) of the same window."""
        away = edt.edt(np.asfortranarray(~inside), anisotropy=self.grid.spacing_mm, black_border=False, parallel=2)
        return np.asarray(share * (away <= self.border))

    def mix(self, window: Window, share: Floats, hu: float, *, noise: float = 1.0) -> None:
        """Replace what is there by ``hu`` with the scan's noise, as far as ``share`` says."""
        part = self.hu[window]
        texture_hu = self.look.noise((part.shape[0], part.shape[1], part.shape[2]), self.rng)
        part += share * (hu + noise * texture_hu - part)

    def fill(self, window: Window, share: Floats, hu: float) -> None:
        """Replace the air-holding part of each voxel: wall and vessels in it stay."""
        part = self.hu[window]
        share = share * self._lung_share(window)
        part += share * (hu - self.lung_hu + self.look.noise((part.shape[0], part.shape[1], part.shape[2]), self.rng))

    def note(self, name: str, each: Implant, side: LungSide | None, quantity: str, value: float) -> None:
        """Remember what was put in."""
        index = np.argwhere(self.masks[name])
        if not len(index):
            raise ValueError(f"{each.finding}: {each.size:g} is smaller than a voxel")
        centre = as_point(self.grid.to_mm(index.mean(axis=0)))
        self.truth.append(
            Truth(
                finding=each.finding, side=side, site=f"{each.zone}_zone" if each.zone else None, centre_mm=centre,
                quantity=quantity, value=value, mask=name,
                attributes=(each.texture, each.margin, each.place) if each.finding == "lung_nodule" else (),
            )
        )  # fmt: skip

    def keep(self, name: str, window: Window, voxels: NDArray[np.bool_]) -> float:
        """Keep a mask; its volume in mL."""
        whole = np.zeros(self.grid.shape, dtype=bool, order="F")
        whole[window] = voxels
        self.masks[name] = whole
        return float(np.count_nonzero(voxels)) * self.grid.voxel_ml

    # -- what ---------------------------------------------------------------------------------------------------

    def put(self, name: str, each: Implant) -> None:
        """Put one finding in under a name."""
        if each.finding == "lung_nodule":
            self.nodule(name, each)
        elif each.finding in ("pleural_effusion", "pneumothorax"):
            self.layer(name, each)
        elif each.finding == "emphysema":
            self.holes(name, each)
        else:
            self.patch(name, each)

    def nodule(self, name: str, each: Implant) -> None:
        """A ball, bumpy or with spicules, of the volume of a sphere of its diameter."""
        side, radius = self.side_of(each), each.size / 2
        centre = self.room(each, side, radius)
        self.taken.append((centre, radius))
        shape = _ball(centre, radius, each.margin, self.rng)
        window = self.window(centre - 1.7 * radius, centre + 1.7 * radius, self.border)
        share, inside = self.cover(shape, window)
        if each.texture in ("ground_glass", "part_solid"):
            self.hu[window] += share * HAZE_HU
        if each.texture == "part_solid":
            core, _ = self.cover(_ball(centre, 0.5 * radius, "smooth", self.rng), window)
            self.mix(window, core, SOLID_HU)
        if each.texture in ("solid", "calcified"):
            self.mix(window, share, SOLID_HU if each.texture == "solid" else CALCIFIED_HU)
        self.keep(name, window, inside)
        self.note(name, each, side, "diameter", each.size)

    def patch(self, name: str, each: Implant) -> None:
        """A ragged part of a lung, filled or hazy; bronchi in it keep their air."""
        side = self.side_of(each)
        size = (each.size * 1000 * 3 / 4 / np.pi) ** (1 / 3)
        centre = self.room(each, side, 0.6 * size)
        reach = 2.2 * size + 6
        window = self.window(centre - reach, centre + reach, self.border)
        at = self.points(window, (1, 1, 1))
        lung = self._of_lung(side)
        turned = (at - centre) @ Rotation.random(random_state=self.rng).as_matrix().astype(at.dtype)
        rank = np.linalg.norm(turned / np.asarray(PATCH_AXES, at.dtype), axis=-1)
        rank += 0.2 * size * _bumps(at, 0.5 * size, self.rng)
        inside_lung = lung(at) < 0
        level = _level(rank[inside_lung], each.size / self.grid.voxel_ml, each)
        self.taken.append((centre, float(level)))
        share = np.clip(0.5 + (level - rank) / PATCH_EDGE_MM, 0, 1) * (lung(at) < RIM_MM)
        share = self.bounded(share, inside_lung & (rank < level))
        if each.finding == "ground_glass_opacity":
            self.hu[window] += share * HAZE_HU * self._lung_share(window)
        else:
            self.fill(window, share, FILLED_HU)
        volume = self.keep(name, window, inside_lung & (rank < level))
        self.note(name, each, side, "volume", volume)

    def layer(self, name: str, each: Implant) -> None:
        """Fluid at the lowest part of a side, or air at its highest, with the pleura as a line."""
        side, lowest = self.side_of(each), each.finding == "pleural_effusion"
        mask = lungs(self.case).of(side)
        box = mask.box
        window = self.window(np.asarray(box.low_mm), np.asarray(box.high_mm), RIM_MM + 1)
        at = self.points(window, (1, 1, 1))
        depth = self._of_lung(side)(at)
        height = _height(at, np.asarray(box.low_mm), np.asarray(box.high_mm), self.case.volume.scan.patient_position)
        rank = height if lowest else -height
        inside = depth < 0
        level = _level(rank[inside], each.size / self.grid.voxel_ml, each)
        taken = inside & (rank < level)
        share = self.bounded(np.clip(0.5 + (level - rank) / 1.5, 0, 1) * (depth < RIM_MM), taken)
        if lowest:
            self.fill(window, share, FLUID_HU)
        else:
            rim = share * (depth > -RIM_MM)
            self.hu[window] += rim * self._lung_share(window) * (AIR_SPACE_HU - self.lung_hu)
            self.mix(window, share * (depth <= -RIM_MM), AIR_SPACE_HU, noise=0.5)
            line = self.bounded(np.clip(1.5 - np.abs(rank - level) / PLEURA_MM, 0, 1) * inside, taken)
            self.hu[window] += line * np.maximum(PLEURA_HU - self.hu[window], 0)
        self.note(name, each, side, "volume", self.keep(name, window, taken))
        grid = self.case.working.grid
        self.layers |= Mask(name, self.masks[name], self.grid).on(grid).voxels.T

    def holes(self, name: str, each: Implant) -> None:
        """Holes of a few mm in both lungs, more of them at the top."""
        both = lungs(self.case).both
        window = self.window(np.asarray(both.box.low_mm), np.asarray(both.box.high_mm), 1.0)
        at = self.points(window, (1, 1, 1))
        inside = both.on(self.grid).voxels[window] if both.grid.same_as(self.grid) else self._on_grid(both, at)
        top, bottom = both.box.high_mm[2], both.box.low_mm[2]
        rank = -_bumps(at, 6.0, self.rng) - (at[..., 2] - bottom) / (top - bottom)
        level = _level(rank[inside], each.size / 100 * np.count_nonzero(inside), each)
        share = self.bounded(np.clip(0.5 + 4 * (level - rank), 0, 1) * inside, inside & (rank < level))
        self.mix(window, share * (self.hu[window] < CLEAR_HU), HOLE_HU, noise=0.7)
        self.keep(name, window, inside & (rank < level))
        self.note(name, each, None, "fraction", each.size)

    # -- the lung on the scan's own grid ------------------------------------------------------------------------

    def _of_lung(self, side: LungSide) -> Shape:
        """The signed distance to a lung anywhere, mm."""
        depth, grid = self.lung_depth(side), self.case.working.grid

        def distance(at: Floats) -> Floats:
            where = grid.to_ijk(at)[..., ::-1]
            return np.asarray(ndimage.map_coordinates(depth, np.moveaxis(where, -1, 0), order=1, mode="nearest"))

        return distance

    def _on_grid(self, mask: Mask, at: Floats) -> NDArray[np.bool_]:
        """A mask of the working grid at points (..., 3)."""
        index = np.rint(mask.grid.to_ijk(at)).astype(int)
        index = np.clip(index, 0, np.array(mask.grid.shape) - 1)
        return np.asarray(mask.voxels[tuple(np.moveaxis(index, -1, 0))])

    def _lung_share(self, window: Window) -> Floats:
        """Share of each voxel that is lung and not wall or vessel, about 0..1, by its density; airways are kept."""
        # A little above 1 is let through: then the noise of the lung that is replaced goes with it.
        share = np.clip((TISSUE_HU - self.hu[window]) / (TISSUE_HU - self.lung_hu), 0, 1.25)
        tree = airways(self.case)
        if tree.found:
            share = share * ~self._on_grid(tree.mask, self.points(window, (1, 1, 1)))
        return np.asarray(share, dtype=np.float32)


def _ball(
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
