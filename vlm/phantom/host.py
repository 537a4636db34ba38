"""A real scan while findings are put into it: where there is room, how a shape is mixed in, what is remembered.

The scan's own blur and noise (``texture``) go into everything that is put in. Values are worked on in crops; no voxel
further than ``border`` from a mask changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.lungs import LungSide, lungs
from vlm.ct.volume import Grid, Mask, Point, as_point
from vlm.evidence import Case
from vlm.phantom.chest import Truth
from vlm.phantom.texture import Texture, blurred_cover, texture

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]
Shape = Callable[[Floats], Floats]  # (..., 3) RAS mm -> (...) signed distance, mm
Window = tuple[slice, slice, slice]  # of (X, Y, Z) arrays
Kind = Literal[
    "lung_nodule", "lung_mass", "pleural_effusion", "pneumothorax", "consolidation", "ground_glass_opacity",
    "emphysema",
    "liver_lesion", "liver_cyst", "splenic_lesion", "renal_lesion", "renal_cyst", "kidney_stone", "gallstone",
    "coronary_artery_calcification", "aortic_calcification", "ascites", "pneumoperitoneum",
]  # fmt: skip
Zone = Literal["upper", "middle", "lower"]
NoduleTexture = Literal["solid", "ground_glass", "part_solid", "calcified"]
Margin = Literal["smooth", "lobulated", "spiculated"]

FINEST_MM = 0.5  # shapes are evaluated about so finely
FINE_POINTS = 1_500_000  # and no finer than this many points allow
HOLE_HU = -985
TISSUE_HU = 40  # chest wall, for voxels that hold some of it and some lung
CLEAR_HU, CLEAR_SHARE = -600, 0.12  # room for a nodule: at most this share of what it replaces is denser
BESIDE_MM, BESIDE_SHARE = 3.0, 0.45  # at the pleura: so far around a nodule, at least this share is clear lung
SUNK_MM = 2.5  # a nodule at the pleura reaches so far into the wall, and by no more than a quarter of it
NODULES = ("lung_nodule", "lung_mass")
VISIBLE_HU = 8.0  # the least difference that an eye can see at usual noise
RIM_MM = 4.0  # chest wall within this of the lung that may hold some lung


@dataclass(frozen=True, slots=True, kw_only=True)
class Implant:
    """What to put in. ``size``: diameter in mm (ball), volume in mL, or share of the lungs in % (emphysema)."""

    finding: Kind
    size: float
    side: LungSide | None = None
    zone: Zone | None = None
    texture: NoduleTexture = "solid"
    margin: Margin = "smooth"
    place: Literal["inside", "pleural"] = "inside"
    centre_mm: Point | None = None  # RAS; chosen when None


def border_mm(look: Texture) -> float:
    """How far beyond its mask an implant may change a scan, mm: blur, half a slice, and a rim that held some lung."""
    return max(RIM_MM + 1.0, 3 * look.blur_mm, 0.75 * look.slice_mm)


class Host:
    """A scan while findings are put into it. ``organs`` are masks by TotalSegmentator's names, on any grid."""

    def __init__(self, case: Case, rng: np.random.Generator, organs: Mapping[str, Mask] | None = None) -> None:
        self.case, self.rng, self.organs = case, rng, dict(organs or {})
        self.look: Texture = case.part("texture", lambda: texture(case.volume))  # type: ignore[assignment]
        self.border = border_mm(self.look)
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
        inside = np.ascontiguousarray(lungs(self.case).of(side).voxels.T)
        return self.case.part(f"depth of the {side} lung", lambda: signed_mm(inside, self.case.working.grid))  # type: ignore[return-value]

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
            good &= signed_mm(self.layers, work.grid) > 2 * radius + 5
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
        affine = self.grid.affine.astype(np.float32)
        x, y, z = (
            ((np.arange((part.stop - part.start) * f) - f // 2) / f + part.start).astype(np.float32)[:, None] * column
            for part, f, column in zip(window, fine, affine[:3, :3].T, strict=True)
        )
        return np.asarray(x[:, None, None] + (y[:, None] + (z + affine[:3, 3])))

    def on_window(self, mask: Mask, window: Window) -> Bools:
        """A mask of any grid with the scan's axes, in a window of the scan."""
        if mask.grid.same_as(self.grid):
            return np.asarray(mask.voxels[window])
        index, good = [], []
        for axis, part in enumerate(window):
            at = np.tile([float(each.start) for each in window], (part.stop - part.start, 1))
            at[:, axis] = np.arange(part.start, part.stop)
            line = np.rint(mask.grid.to_ijk(self.grid.to_mm(at))[:, axis]).astype(int)
            good.append((line >= 0) & (line < mask.grid.shape[axis]))
            index.append(np.clip(line, 0, mask.grid.shape[axis] - 1))
        inside = mask.voxels[np.ix_(*index)]
        return np.asarray(inside & good[0][:, None, None] & good[1][None, :, None] & good[2][None, None, :])

    def cover(self, shape: Shape, window: Window, ml: float) -> tuple[Floats, Bools]:
        """Share of each voxel that a shape of a volume takes as the scan shows it, and the voxels most inside it."""
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
        middle = distance[fine[0] // 2 :: fine[0], fine[1] // 2 :: fine[1], fine[2] // 2 :: fine[2]]
        flat = np.zeros(middle.size, dtype=bool)
        flat[lowest(middle.ravel(), max(1, round(ml / self.grid.voxel_ml)), f"{ml:.3g} mL")] = True
        inside = flat.reshape(middle.shape)
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
        share = share * self.lung_share(window)
        part += share * (hu - self.lung_hu + self.look.noise((part.shape[0], part.shape[1], part.shape[2]), self.rng))

    def note(
        self, name: str, each: Implant, side: LungSide | None, quantity: str, value: float,
        contrast: float | None = None,
    ) -> None:  # fmt: skip
        """Remember what was put in."""
        index = np.argwhere(self.masks[name])
        if not len(index):
            raise ValueError(f"{each.finding}: {each.size:g} is smaller than a voxel")
        centre = as_point(self.grid.to_mm(index.mean(axis=0)))
        self.truth.append(
            Truth(
                finding=each.finding, side=side, site=f"{each.zone}_zone" if each.zone else None, centre_mm=centre,
                quantity=quantity, value=value, mask=name,
                attributes=(each.texture, each.margin, each.place) if each.finding in NODULES else (),
                contrast_hu=contrast, visible=contrast is None or abs(contrast) >= VISIBLE_HU,
            )
        )  # fmt: skip

    def keep(self, name: str, window: Window, voxels: NDArray[np.bool_]) -> float:
        """Keep a mask; its volume in mL."""
        whole = np.zeros(self.grid.shape, dtype=bool, order="F")
        whole[window] = voxels
        self.masks[name] = whole
        return float(np.count_nonzero(voxels)) * self.grid.voxel_ml

    # -- the lung on the scan's own grid ------------------------------------------------------------------------

    def of_lung(self, side: LungSide) -> Shape:
        """The signed distance to a lung anywhere, mm."""
        depth, grid = self.lung_depth(side), self.case.working.grid

        def distance(at: Floats) -> Floats:
            where = grid.to_ijk(at)[..., ::-1]
            return np.asarray(ndimage.map_coordinates(depth, np.moveaxis(where, -1, 0), order=1, mode="nearest"))

        return distance

    def lung_share(self, window: Window) -> Floats:
        """Share of each voxel that is lung and not wall or vessel, about 0..1, by its density; airways are kept."""
        # A little above 1 is let through: then the noise of the lung that is replaced goes with it.
        share = np.clip((TISSUE_HU - self.hu[window]) / (TISSUE_HU - self.lung_hu), 0, 1.25)
        tree = airways(self.case)
        if tree.found:
            share = share * ~self.on_window(tree.mask, window)
        return np.asarray(share, dtype=np.float32)


def signed_mm(mask: Bools, grid: Grid) -> Floats:
    """(Z, Y, X) signed distance to the surface of a mask, mm, below 0 inside; beyond the array nothing is known."""
    steps = grid.spacing_mm[::-1]
    there, here = (
        edt.edt(np.ascontiguousarray(part), anisotropy=steps, black_border=False, parallel=2) for part in (~mask, mask)
    )
    return np.asarray(there - here, dtype=np.float32)


def lowest(rank: Floats, count: int, what: str) -> NDArray[np.intp]:
    """Indices of the ``count`` lowest of (N,) ranks."""
    if count > len(rank):
        raise ValueError(f"{what} is more than there is room for")
    return np.argpartition(rank, max(0, count - 1))[:count]
