"""A case on one grid of 3 mm: what ``vlm.encoder.measures`` measures on, and the few operations that it is made of.

In: a case with its anatomy. Out: a Scene of densities and structures, whatever slices and pixels the scan had. Arrays
are (Z, Y, X), z upwards, y to the front, x to the patient's right.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.body import body
from vlm.anatomy.classes import ORGANS
from vlm.anatomy.coverage import coverage
from vlm.anatomy.fat import fat
from vlm.anatomy.heart import heart
from vlm.anatomy.lungs import SIDES, lungs
from vlm.anatomy.skeleton import skeleton, spine
from vlm.anatomy.structures import structure
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Mask
from vlm.evidence import Case

GRID_MM = 3.0
VOXEL_ML = GRID_MM**3 / 1000
LEAST_COVERED = 0.6
Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]
Numbers = dict[str, float]
CROSS = ndimage.generate_binary_structure(3, 1)
NOTHING = float("nan")
FEW = 15  # voxels: of fewer nothing is told


@dataclass(frozen=True, eq=False)
class Scene:
    """A case on a grid of GRID_MM: densities, smoothed densities, and structures by name (absent: not found).

    ``top`` and ``bottom`` are the brightest and the darkest voxel of the scan in each cell, HU.
    """

    hu: Floats
    smooth: Floats
    top: Floats
    bottom: Floats
    parts: Mapping[str, Bools]
    origin_mm: tuple[float, float, float]  # RAS, middle of voxel (0, 0, 0)
    dome_mm: float | None
    carina_mm: tuple[float, float, float] | None
    canal_mm: NDArray[np.float64]  # (N, 3) RAS; empty without a spine
    ratio: float | None  # cardiothoracic
    covered: Mapping[str, float]  # site of ``vlm.anatomy.coverage`` -> share in the field of view

    def of(self, name: str) -> Bools | None:
        """A structure; None where nothing of it was found."""
        part = self.parts.get(name)
        return part if part is not None and part.any() else None

    def union(self, *names: str) -> Bools:
        """All of several structures, as far as they were found."""
        out = np.zeros(self.hu.shape, dtype=bool)
        for name in names:
            if name in self.parts:
                out |= self.parts[name]
        return out

    def covers(self, site: str) -> bool:
        """Whether enough of a site is in view for numbers of all of it."""
        return self.covered.get(site, 0.0) >= LEAST_COVERED

    @property
    def heights_mm(self) -> NDArray[np.float64]:
        """(Z, 1, 1) z RAS of the slices."""
        return np.asarray(self.origin_mm[2] + np.arange(self.hu.shape[0]) * GRID_MM)[:, None, None]


def scene_of(case: Case) -> Scene:
    """A case with its anatomy on the grid of this list, cut to the body."""
    found, cavity, wind, beat = lungs(case), thoracic_cavity(case), airways(case), heart(case)
    named = {name: seen.mask for name in ORGANS if (seen := structure(case, name)).mask is not None}
    parts = {name: mask.on(case.working.grid).voxels.T for name, mask in named.items() if mask is not None}
    for side in SIDES:
        parts |= {f"lung_{side}": found.of(side).voxels.T, f"cavity_{side}": cavity.of(side).voxels.T}
        parts |= {f"space_{side}": (found.right_space if side == "right" else found.left_space).voxels.T}
    parts |= {"body": body(case).voxels.T, "airways": wind.mask.voxels.T, "trachea_": wind.trachea.voxels.T,
              "skeleton": skeleton(case).voxels.T, "within": fat(case).within.voxels.T}  # fmt: skip
    if beat.found:
        parts["heart_region"] = beat.mask.voxels.T
    line = spine(case)
    return scene(
        case.working.hu.T, case.working.grid.spacing_mm, case.working.grid.to_mm(np.zeros((1, 3)))[0], parts,
        dome_mm=coverage(case).dome_mm, carina_mm=wind.carina_mm,
        canal_mm=line.canal_mm if line.found else np.zeros((0, 3)), ratio=beat.ratio, covered=coverage(case).shares,
    )  # fmt: skip


def scene(
    hu: NDArray[np.int16], spacing_mm: tuple[float, float, float], origin_mm: NDArray[np.float64],
    parts: Mapping[str, Bools], *, dome_mm: float | None, carina_mm: tuple[float, float, float] | None,
    canal_mm: NDArray[np.float64], ratio: float | None, covered: Mapping[str, float],
) -> Scene:  # fmt: skip
    """Bring (Z, Y, X) arrays to GRID_MM: densities linearly, structures by their nearest voxel."""
    steps = spacing_mm[::-1]
    window, at = _middles(parts["body"], steps)
    starts = [along.start for along in window]
    within = hu[window]
    values = within.astype(np.float32)
    for axis, where in enumerate(at):
        low = np.floor(where).astype(np.intp)
        high = np.minimum(low + 1, values.shape[axis] - 1)
        share = (where - low).astype(np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
        values = np.take(values, low, axis) * (1 - share) + np.take(values, high, axis) * share
    nearest = np.ix_(*(np.rint(where).astype(np.intp) for where in at))
    first = [float(origin + (start + where[0]) * step) for origin, start, where, step in
             zip(origin_mm[::-1], starts, at, steps, strict=True)]  # fmt: skip
    return Scene(
        hu=values, smooth=ndimage.gaussian_filter(values, 1.0), top=extremes(within, np.maximum, at, steps),
        bottom=extremes(within, np.minimum, at, steps), origin_mm=(first[2], first[1], first[0]),
        parts={name: np.ascontiguousarray(part[window][nearest]) for name, part in parts.items()}, dome_mm=dome_mm,
        carina_mm=carina_mm, canal_mm=canal_mm, ratio=ratio, covered=covered,
    )  # fmt: skip


def touched(case: Case, masks: Mapping[str, Mask]) -> dict[str, Bools]:
    """Masks on the grid of ``scene_of(case)``: each cell that a voxel of them lies in, however small."""
    grid = case.working.grid
    steps = grid.spacing_mm[::-1]
    window, at = _middles(body(case).voxels.T, steps)
    whole = {name: mask.on(grid).voxels.T[window].astype(np.uint8) for name, mask in masks.items()}
    return {name: extremes(voxels, np.maximum, at, steps) > 0 for name, voxels in whole.items()}


def _middles(inside: Bools, steps: Sequence[float]) -> tuple[tuple[slice, slice, slice], list[NDArray[np.float64]]]:
    """The window of the body, and along each of its axes the middles of cells, in voxels."""
    window = window_of(inside, 0) if inside.any() else (slice(0, inside.shape[0]), slice(0, inside.shape[1]),
                                                        slice(0, inside.shape[2]))  # fmt: skip
    sizes = [along.stop - along.start for along in window]
    at = [
        np.clip((np.arange(max(8, round(n * step / GRID_MM))) + 0.5) * GRID_MM / step - 0.5, 0, n - 1)
        for n, step in zip(sizes, steps, strict=True)
    ]
    return window, at


def extremes(values: NDArray[Any], most: np.ufunc, at: Sequence[NDArray[np.float64]], steps: Sequence[float]) -> Floats:
    """The extreme voxel of every cell of the grid whose middles lie at these places, in voxels along (Z, Y, X)."""
    for axis, (where, step) in enumerate(zip(at, steps, strict=True)):
        first = np.clip(np.rint(where - GRID_MM / step / 2 + 0.5), 0, values.shape[axis] - 1).astype(np.intp)
        values = most.reduceat(values, first, axis)
    return values.astype(np.float32)


# ---- operations


def ml(part: Bools) -> float:
    """Volume, mL."""
    return float(np.count_nonzero(part)) * VOXEL_ML


def percentile(values: Floats, q: float) -> float:
    """NaN of too few."""
    return float(np.percentile(values, q)) if values.size >= FEW else NOTHING


def share(part: Bools, of: Bools) -> float:
    """Percent of a region."""
    whole = np.count_nonzero(of)
    return 100.0 * float(np.count_nonzero(part & of)) / whole if whole else NOTHING


def deep(part: Bools) -> Floats:
    """Depth in a structure, mm; it ends at the border of the scan."""
    steps = (GRID_MM,) * 3
    return np.asarray(edt.edt(np.ascontiguousarray(part), anisotropy=steps, parallel=1, black_border=True))


def away(part: Bools) -> Floats:
    """Distance to a structure, mm; 0 in it."""
    if not part.any():
        return np.full(part.shape, 1e3, dtype=np.float32)
    return np.asarray(edt.edt(np.ascontiguousarray(~part), anisotropy=(GRID_MM,) * 3, parallel=1))


def opened(part: Bools, steps: int = 1) -> Bools:
    """Without what is thinner than two voxels a step."""
    return np.asarray(ndimage.binary_opening(part, CROSS, iterations=steps))


def wider(part: Bools, steps: int = 1) -> Bools:
    """Grown by voxels."""
    return np.asarray(ndimage.binary_dilation(part, CROSS, iterations=steps))


def inner(part: Bools, steps: int = 1) -> Bools:
    """Shrunk by voxels."""
    return np.asarray(ndimage.binary_erosion(part, CROSS, iterations=steps))


def largest(part: Bools) -> Bools:
    """The largest connected piece; empty of nothing."""
    labels, number = cc3d.connected_components(part, connectivity=6, return_N=True)
    if not number:
        return np.zeros_like(part)
    counts = np.bincount(labels.ravel())
    counts[0] = 0
    return np.asarray(labels == counts.argmax())


def window_of(part: Bools, pad: int) -> tuple[slice, slice, slice]:
    """The box of a structure, some voxels wider."""
    found = ndimage.find_objects(part.astype(np.uint8))[0]
    z, y, x = (
        slice(max(0, along.start - pad), min(size, along.stop + pad))
        for along, size in zip(found, part.shape, strict=True)
    )
    return z, y, x


def span_mm(part: Bools, axis: int) -> float:
    """From end to end along an axis, mm."""
    held = np.flatnonzero(part.any(axis=tuple(n for n in range(3) if n != axis)))
    return float(held[-1] - held[0] + 1) * GRID_MM if held.size else 0.0
