"""How an encoder wants its scan: orientation, spacing, HU window, crop, padding. Stated once, applied once.

A Recipe takes a Volume, whose numbers are Hounsfield units already, and gives back a Prepared array
whose numbers are not: there is no way to scale twice. What the crop left out is kept beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vlm.ct.volume import Grid, Mask, Volume

Triple = tuple[float, float, float]
WORTH_TELLING_MM = 5.0  # a thinner rim that a crop cuts off is not told

AXES = {"R": (0, 1), "L": (0, -1), "A": (1, 1), "P": (1, -1), "S": (2, 1), "I": (2, -1)}  # letter -> RAS axis, way


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an encoder's network was trained on. Lengths run along R, A, S whatever ``axes`` says."""

    key: str  # part of the identity of every vector: vectors of two recipes never meet
    shape: tuple[int, int, int]  # voxels the network sees, along R, A, S
    spacing_mm: Triple | None  # what the scan is resampled to; None: its box is resized to ``shape``
    window_hu: tuple[float, float] | None  # clipped to this; None: the scan's own least and most
    out: tuple[float, float] = (0.0, 1.0)  # what the window becomes
    fill: float = 0.0  # what stands where there is no scan, in units of ``out``
    above_hu: float | None = None  # cut to the box of voxels above this first; None: the whole scan
    resize: Literal["linear", "area"] = "linear"
    aligned: Literal["corners", "cells", "middle"] = "corners"  # what old and new voxels share: first centres, outer
    # edges, or the middle of the scan
    clip_first: bool = False  # clip to the window before resampling, not after
    axes: str = "RAS"  # order and direction of the array's axes, such as "SPL"

    def __post_init__(self) -> None:
        if sorted(AXES[letter][0] for letter in self.axes) != [0, 1, 2]:
            raise ValueError(f"axes is {self.axes!r}, expected one letter of each of RL, AP, SI")
        if self.resize == "area" and self.spacing_mm is not None:
            raise ValueError("area is for a box that is resized, not for a spacing")


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How much of a scan an encoder sees."""

    fraction: float  # 0..1 of the scan's box
    lost_mm: tuple[tuple[float, float], ...]  # along R, A, S: what its crop cuts off at the low and the high end

    @property
    def note(self) -> str:
        """The crop in words; empty when nothing was cut off."""
        ends = (("left", "right"), ("back", "front"), ("bottom", "top"))
        cut = [
            f"{lost:.0f} mm at the {end}"
            for names, both in zip(ends, self.lost_mm, strict=True)
            for end, lost in zip(names, both, strict=True)
            if lost >= WORTH_TELLING_MM
        ]
        return f"the encoder sees {self.fraction:.0%} of the scan; it leaves out {', '.join(cut)}" if cut else ""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as a network gets it: no Hounsfield units any more."""

    values: NDArray[np.float32]  # C-ordered, axes as the recipe says
    axes: str
    scale: Triple  # voxel index of the scan = start + index * scale, along R, A, S
    start: Triple
    seen: Seen

    def index_of(self, ijk: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) voxel indices of the scan -> (N, 3) indices into the network's input, along R, A, S."""
        return np.asarray((ijk - np.asarray(self.start)) / np.asarray(self.scale))


@dataclass(frozen=True)
class _Line:
    """One axis of the way from scan to network: a sparse matrix and where its rows go."""

    weights: sparse.csr_matrix  # (rows, scan) float32
    at: int  # index of the first row in the network's input
    scale: float
    start: float
    lost: tuple[float, float]  # voxels of the scan beyond either end


def prepare(volume: Volume, recipe: Recipe) -> Prepared:
    """Resample, cut or pad, and scale a scan as a recipe says."""
    lines = _lines(volume, recipe)
    values = np.full(recipe.shape, recipe.fill, dtype=np.float32, order="F")
    x, y, z = (slice(line.at, line.at + line.weights.shape[0]) for line in lines)
    clip = recipe.window_hu if recipe.clip_first else None
    values[x, y, z] = _windowed(_resampled(volume.hu, lines, clip), volume.hu, recipe)
    turned = values.transpose([AXES[letter][0] for letter in recipe.axes])
    turned = turned[tuple(slice(None, None, AXES[letter][1]) for letter in recipe.axes)]
    spacing, lost = volume.grid.spacing_mm, [line.lost for line in lines]
    kept = [1 - sum(cut) / n for cut, n in zip(lost, volume.grid.shape, strict=True)]
    seen = Seen(
        fraction=float(np.prod(kept)),
        lost_mm=tuple((low * mm, high * mm) for (low, high), mm in zip(lost, spacing, strict=True)),
    )
    return Prepared(
        np.ascontiguousarray(turned),
        recipe.axes,
        (lines[0].scale, lines[1].scale, lines[2].scale),
        (lines[0].start, lines[1].start, lines[2].start),
        seen,
    )


def _lines(volume: Volume, recipe: Recipe) -> tuple[_Line, _Line, _Line]:
    grid, box = volume.grid, _box(volume, recipe.above_hu)
    made = []
    for axis in range(3):
        if recipe.spacing_mm is None:
            made.append(_resized(box[axis], grid.shape[axis], recipe.shape[axis], recipe.resize))
        else:
            step = recipe.spacing_mm[axis] / grid.spacing_mm[axis]
            made.append(_spaced(box[axis], grid.shape[axis], recipe.shape[axis], step, recipe.aligned))
    return made[0], made[1], made[2]


def _box(volume: Volume, above_hu: float | None) -> tuple[slice, slice, slice]:
    """The box of voxels above a value; the whole scan where there are none."""
    whole = tuple(slice(0, n) for n in volume.grid.shape)
    if above_hu is None or not (held := Mask("foreground", volume.hu > above_hu, volume.grid)):
        return whole[0], whole[1], whole[2]
    return held.bounds


def _spaced(box: slice, n: int, wanted: int, step: float, aligned: str) -> _Line:
    """Samples ``step`` voxels apart, held at the border; the middle ``wanted`` of them."""
    inside, lead, upward = box.stop - box.start, 0.0, aligned == "middle"  # of an odd rest, the larger half first
    if aligned == "corners":
        samples = round((inside - 1) / step + 1)
    elif aligned == "middle":  # exactly ``step`` apart, none beyond the scan
        samples = max(1, int(inside / step))
        lead = (inside - 1 - (samples - 1) * step) / 2
    else:  # a whole number of cells fills the scan, so a step is a little more or less than asked for
        samples = max(1, int(inside / step))
        step = inside / samples
        lead = (step - 1) / 2
    first = max(0, samples // 2 - wanted // 2) if samples > wanted else 0
    kept = min(samples, wanted)
    at = (wanted - kept) // 2
    if upward:
        first, at = -(-max(0, samples - wanted) // 2), -(-(wanted - kept) // 2)
    where = box.start + np.clip(lead + (first + np.arange(kept)) * step, 0, inside - 1)
    start = box.start + lead + (first - at) * step
    low = box.start + max(0.0, first * step - step / 2 if first else 0.0)
    high = max(0.0, n - 0.5 - (where[-1] + step / 2)) if first + kept < samples else float(n - box.stop)
    return _Line(_linear(where, n), at, step, start, (low, high))


def _resized(box: slice, n: int, wanted: int, resize: str) -> _Line:
    """The box stretched or shrunk to ``wanted`` voxels."""
    inside = box.stop - box.start
    scale = inside / wanted
    start = box.start + (scale - 1) / 2
    if resize == "linear":
        where = box.start + np.clip((np.arange(wanted) + 0.5) * scale - 0.5, 0, inside - 1)
        weights = _linear(where, n)
    else:  # the mean of every voxel that a new one touches, as adaptive average pooling does
        dense = np.zeros((wanted, n), dtype=np.float32)
        for i in range(wanted):
            first, last = i * inside // wanted, -(-(i + 1) * inside // wanted)
            dense[i, box.start + first : box.start + last] = 1 / (last - first)
        weights = sparse.csr_matrix(dense)
    return _Line(weights, 0, scale, start, (float(box.start), float(n - box.stop)))


def _linear(where: NDArray[np.float64], n: int) -> sparse.csr_matrix:
    """(len(where), n) weights of linear interpolation at positions between 0 and n - 1."""
    low = np.clip(np.floor(where).astype(np.intp), 0, max(n - 2, 0))
    part = (where - low).astype(np.float32)
    rows = np.arange(where.size)
    columns = np.concatenate([low, np.minimum(low + 1, n - 1)])
    weights = sparse.csr_matrix(
        (np.concatenate([1 - part, part]), (np.concatenate([rows, rows]), columns)), shape=(where.size, n)
    )
    weights.eliminate_zeros()
    return weights


def _resampled(
    hu: NDArray[np.int16], lines: tuple[_Line, _Line, _Line], clip: tuple[float, float] | None
) -> NDArray[np.float32]:
    """(X, Y, Z) HU at the samples of three lines; only slices that weigh something are touched."""
    x, y, z = (line.weights for line in lines)
    out = np.zeros((z.shape[0], y.shape[0], x.shape[0]), dtype=np.float32)  # slices first, as in memory
    by_slice = z.tocsc()
    for k in range(hu.shape[2]):
        rows = by_slice.indices[by_slice.indptr[k] : by_slice.indptr[k + 1]]
        if not rows.size:
            continue
        plane = hu.T[k].astype(np.float32)  # (Y, X)
        plane = y @ (plane if clip is None else np.clip(plane, *clip))
        plane = (x @ np.ascontiguousarray(plane.T)).T  # (y, x)
        for row, weight in zip(rows, by_slice.data[by_slice.indptr[k] : by_slice.indptr[k + 1]], strict=True):
            out[row] += weight * plane
    turned: NDArray[np.float32] = out.T
    return turned


def _windowed(values: NDArray[np.float32], hu: NDArray[np.int16], recipe: Recipe) -> NDArray[np.float32]:
    """HU to the units of the network."""
    low, high = recipe.window_hu or (float(hu.min()), float(max(hu.max(), int(hu.min()) + 1)))
    bottom, top = recipe.out
    scaled = (values - np.float32(low)) * np.float32((top - bottom) / (high - low)) + np.float32(bottom)
    return np.asarray(np.clip(scaled, bottom, top))


def network_grid(volume: Volume, prepared: Prepared) -> Grid:
    """Where the voxels of a prepared scan lie in space, along R, A, S; what is padded lies outside the scan."""
    affine = volume.grid.affine.copy()
    affine[:3, :3] = volume.grid.affine[:3, :3] * np.asarray(prepared.scale)
    affine[:3, 3] = volume.grid.to_mm(prepared.start)
    order = [AXES[letter][0] for letter in prepared.axes]
    shape = [prepared.values.shape[order.index(axis)] for axis in range(3)]
    return Grid((shape[0], shape[1], shape[2]), affine)
