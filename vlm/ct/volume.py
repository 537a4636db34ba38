"""A CT as the rest of the product sees it: a grid in space, Hounsfield units on it, masks on it.

Arrays are (X, Y, Z) in RAS+: x grows to the patient's right, y to the front, z to
the head. In memory z is slowest (Fortran order), so a slice ``hu[:, :, k]`` is one
contiguous block and ``hu.T`` is a C-ordered (Z, Y, X) view for libraries that
want one. DICOM's LPS is turned into RAS once, by the readers, and nowhere else.
"""

from __future__ import annotations

import datetime
import functools
import hashlib
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

AIR_HU = -1024  # what padding is set to; the lowest value of a 12-bit CT

Point = tuple[float, float, float]


@dataclass(frozen=True, eq=False)
class Grid:
    """Where voxels lie: ``shape`` (X, Y, Z) and the affine from voxel index to RAS millimetres.

    The affine is orthogonal, or sheared by the disclosed gantry tilt; every length in
    millimetres goes through it.
    """

    shape: tuple[int, int, int]
    affine: NDArray[np.float64]  # (4, 4)

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbouring voxels along each axis, mm."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, mL."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def extent_mm(self) -> tuple[float, float, float]:
        """Length of the grid along each axis, mm."""
        x, y, z = (n * step for n, step in zip(self.shape, self.spacing_mm, strict=True))
        return x, y, z

    def to_mm(self, ijk: object) -> NDArray[np.float64]:
        """(..., 3) voxel indices -> (..., 3) RAS mm."""
        points = np.asarray(ijk, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def to_ijk(self, mm: object) -> NDArray[np.float64]:
        """(..., 3) RAS mm -> (..., 3) voxel indices, not rounded."""
        points = np.asarray(mm, dtype=np.float64) - self.affine[:3, 3]
        return np.asarray(points @ np.linalg.inv(self.affine[:3, :3]).T)

    def coarser(self, factors: tuple[int, int, int]) -> Grid:
        """The grid whose voxels are whole blocks of ``factors`` voxels; a rest at the end is dropped."""
        shape = tuple(n // f for n, f in zip(self.shape, factors, strict=True))
        affine = self.affine.copy()
        affine[:3, :3] = self.affine[:3, :3] * np.asarray(factors, dtype=np.float64)
        affine[:3, 3] = self.to_mm([(f - 1) / 2 for f in factors])
        return Grid((shape[0], shape[1], shape[2]), affine)

    def same_as(self, other: Grid) -> bool:
        """True when both grids put every voxel at the same place, to 0.001 mm."""
        return self.shape == other.shape and bool(np.allclose(self.affine, other.affine, atol=1e-3))


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A box along the axes of the patient, RAS mm, both corners included."""

    low_mm: Point
    high_mm: Point

    def contains(self, point_ras_mm: Point) -> bool:
        inside = zip(self.low_mm, point_ras_mm, self.high_mm, strict=True)
        return all(low <= value <= high for low, value, high in inside)

    def overlap(self, other: Box) -> float:
        """Share of the smaller of two boxes that lies in the other, 0 to 1; a flat box counts as 1 mm thick."""
        low, high = np.maximum(self.low_mm, other.low_mm), np.minimum(self.high_mm, other.high_mm)
        if (high < low).any():
            return 0.0
        own, others = (np.maximum(np.subtract(box.high_mm, box.low_mm), 1.0).prod() for box in (self, other))
        return float(min(1.0, np.maximum(high - low, 1.0).prod() / min(own, others)))


@dataclass(frozen=True, eq=False)
class Mask:
    """A named set of voxels: ``voxels`` (X, Y, Z) bool on ``grid``, never without it."""

    name: str
    voxels: NDArray[np.bool_]
    grid: Grid

    def __post_init__(self) -> None:
        if self.voxels.shape != self.grid.shape:
            raise ValueError(f"mask {self.name!r} is {self.voxels.shape} on a grid of {self.grid.shape}")

    def __bool__(self) -> bool:
        return bool(self.voxels.any())

    @property
    def volume_ml(self) -> float:
        return int(np.count_nonzero(self.voxels)) * self.grid.voxel_ml

    @property
    def bounds(self) -> tuple[slice, slice, slice]:
        """Index slices of the smallest block that holds the mask; ``ValueError`` when it is empty."""
        z = np.flatnonzero(self.voxels.any(axis=(0, 1)))
        if z.size == 0:
            raise ValueError(f"mask {self.name!r} is empty")
        shadow: NDArray[np.bool_] = np.asarray(self.voxels[:, :, z[0] : z[-1] + 1].any(axis=2))
        x, y = np.flatnonzero(shadow.any(axis=1)), np.flatnonzero(shadow.any(axis=0))
        along = [slice(int(held[0]), int(held[-1]) + 1) for held in (x, y, z)]
        return along[0], along[1], along[2]

    @property
    def slices(self) -> tuple[int, int]:
        """First and last k with a voxel; ``ValueError`` when the mask is empty."""
        along = self.bounds[2]
        return along.start, along.stop - 1

    @property
    def box(self) -> Box:
        """The voxels' centres in a box, RAS mm; ``ValueError`` when the mask is empty."""
        bounds = self.bounds
        ends = [[along.start, along.stop - 1] for along in bounds]
        corners = self.grid.to_mm(np.stack(np.meshgrid(*ends), axis=-1).reshape(-1, 3))
        return Box(low_mm=as_point(corners.min(axis=0)), high_mm=as_point(corners.max(axis=0)))

    @property
    def centre_mm(self) -> Point:
        """The voxel of the mask that lies nearest to its centroid, RAS mm: always inside the mask."""
        bounds = self.bounds
        index = np.argwhere(self.voxels[bounds]) + [along.start for along in bounds]
        nearest = np.argmin(((self.grid.to_mm(index) - self.grid.to_mm(index.mean(axis=0))) ** 2).sum(axis=1))
        return as_point(self.grid.to_mm(index[nearest]))

    def on(self, grid: Grid) -> Mask:
        """The same region on another grid, nearest neighbour; False outside. Itself when the grid is the same."""
        if grid.same_as(self.grid):
            return self
        return Mask(self.name, _nearest(self, grid), grid)


def _nearest(mask: Mask, target: Grid) -> NDArray[np.bool_]:
    """(X, Y, Z) bool of a mask on the grid ``target``; grids that share axes only."""
    relative = np.linalg.inv(mask.grid.affine) @ target.affine
    if np.count_nonzero(np.abs(relative[:3, :3]) > 1e-6) > 3:
        raise ValueError("grids must share their axes")
    out = np.zeros(target.shape, dtype=bool, order="F")
    if not mask:
        return out
    where: list[slice] = []
    picks: list[NDArray[np.intp]] = []
    for axis, held in enumerate(mask.bounds):
        index = np.rint(np.arange(target.shape[axis]) * relative[axis, axis] + relative[axis, 3]).astype(np.intp)
        kept = np.flatnonzero((index >= held.start) & (index < held.stop))  # one run: the index only grows, or falls
        if kept.size == 0:
            return out
        where.append(slice(int(kept[0]), int(kept[-1]) + 1))
        picks.append(index[kept])
    part = mask.voxels.T  # (Z, Y, X), C-ordered
    # The axis that shrinks most goes first, the one that grows most last: each pass moves as little as it can.
    for axis in sorted(range(3), key=lambda n: picks[n].size / mask.grid.shape[n]):
        part = np.take(part, picks[axis], axis=2 - axis)
    out.T[where[2], where[1], where[0]] = part
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What the header says about how the scan was made: numbers and closed lists only, no free text.

    Free text from tags is data of strangers; it stays out of every type that a report,
    a prompt or a page can reach.
    """

    source: Literal["dicom", "nifti", "phantom"]
    series: str = ""  # a pseudonym of the series: 12 hex digits of a hash
    kernel: Literal["soft", "sharp", "unknown"] = "unknown"
    contrast: bool | None = None  # intravenous, as the header says; None when it says nothing
    slice_thickness_mm: float | None = None
    tube_voltage_kv: float | None = None
    exposure_mas: float | None = None
    tilt_degrees: float = 0.0
    patient_position: str = ""  # "HFS", "FFS" …: closed list of DICOM C.7.3.1.1.2
    lossy: bool = False
    acquired: datetime.date | None = None  # for the order of two scans only: no report or message shows it
    limits: frozenset[str] = field(default_factory=frozenset)  # what intake withholds, keys of intake.LIMITS


@dataclass(frozen=True, eq=False)
class Volume:
    """One CT: ``hu`` (X, Y, Z) int16 in Hounsfield units on ``grid``, and how it was made.

    ``padding`` is True where the scanner measured nothing (outside the reconstruction
    circle); those voxels hold ``AIR_HU`` in ``hu``. None when there is no padding.
    """

    hu: NDArray[np.int16]
    grid: Grid
    scan: Scan
    padding: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        if self.hu.dtype != np.int16 or self.hu.shape != self.grid.shape:
            raise ValueError(f"hu is {self.hu.dtype} {self.hu.shape}, expected int16 {self.grid.shape}")
        if not self.hu.flags.f_contiguous:
            raise ValueError("hu must be Fortran-ordered: z slowest, slices contiguous")

    @functools.cached_property
    def sha256(self) -> str:
        """Hex digest over voxels and geometry: the same scan has the same one wherever it lies."""
        digest = hashlib.sha256(np.ascontiguousarray(np.round(self.grid.affine, 6)).tobytes())
        digest.update(np.ascontiguousarray(self.hu.T).data)
        return digest.hexdigest()

    def coarse(self, *, target_mm: float) -> Volume:
        """Block means on the grid of whole blocks nearest to ``target_mm``; this volume when blocks are single voxels.

        Returns a Volume whose ``hu`` is (X // fx, Y // fy, Z // fz). Its padding is where
        more than half of a block is padding.
        """
        x, y, z = (max(1, round(target_mm / step)) for step in self.grid.spacing_mm)
        if (x, y, z) == (1, 1, 1):
            return self
        grid = self.grid.coarser((x, y, z))
        hu = np.rint(_block_means(self.hu, (x, y, z))).astype(np.int16)
        padding = None if self.padding is None else _block_means(self.padding, (x, y, z)) > 0.5
        return Volume(np.asfortranarray(hu), grid, self.scan, padding)


def _block_means(values: NDArray[np.generic], factors: tuple[int, int, int]) -> NDArray[np.float32]:
    """(X, Y, Z) -> (X // fx, Y // fy, Z // fz) float32 means of whole blocks, Fortran-ordered."""
    shape = [n // f for n, f in zip(values.shape, factors, strict=True)]
    flat = values.T  # (Z, Y, X), C-ordered
    fx, fy, fz = factors
    out = np.empty((shape[2], shape[1], shape[0]), dtype=np.float32)
    for k in range(shape[2]):  # a slab at a time: the sums stay in cache
        slab = flat[k * fz : (k + 1) * fz, : shape[1] * fy, : shape[0] * fx].sum(axis=0, dtype=np.int32)
        rows = slab[0::fy].copy()
        for step in range(1, fy):
            rows += slab[step::fy]
        columns = rows[:, 0::fx].copy()
        for step in range(1, fx):
            columns += rows[:, step::fx]
        out[k] = columns
    out /= fx * fy * fz
    return out.T


def as_point(values: NDArray[np.float64]) -> Point:
    """(3,) array -> a tuple of three floats."""
    return float(values[0]), float(values[1]), float(values[2])
