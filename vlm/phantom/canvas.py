"""What a phantom is drawn on: a grid of Hounsfield units into which shapes are blended.

A shape is a signed distance in mm. A voxel on its edge takes a share of the new value, so
borders have partial volume. Large shapes are evaluated on a 2 mm lattice and interpolated:
distances are smooth. Arrays in here are (Z, Y, X), C-ordered; masks leave as (X, Y, Z).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.ct.volume import Box, Grid
from vlm.phantom.trees import Branch

Floats = NDArray[np.floating[Any]]
Distance = Callable[[Floats, Floats, Floats], Floats]
Window = tuple[slice, slice, slice]  # of a (Z, Y, X) array

LATTICE_MM = 2.0
SMALL_VOXELS = 300_000  # a window up to this size is evaluated voxel by voxel


class Canvas:
    """Hounsfield units ``hu`` (Z, Y, X) float32 on a grid, and the masks of what was drawn."""

    def __init__(self, grid: Grid, background_hu: float) -> None:
        self.grid = grid
        self.hu = np.full(grid.shape[::-1], background_hu, dtype=np.float32)
        self.masks: dict[str, NDArray[np.bool_]] = {}
        origin, step = grid.affine[:3, 3], grid.spacing_mm
        self.x, self.y, self.z = ((origin[a] + step[a] * np.arange(grid.shape[a])).astype(np.float32) for a in range(3))
        self.edge_mm = float(np.cbrt(np.prod(step)))

    def window(self, box: Box | None) -> Window:
        """The part of the arrays that a box in mm touches, one voxel wider."""
        if box is None:
            return tuple(slice(0, n) for n in self.hu.shape)  # type: ignore[return-value]  # three of them
        parts = []
        for axis, line in ((2, self.z), (1, self.y), (0, self.x)):
            first = int(np.searchsorted(line, box.low_mm[axis])) - 1
            last = int(np.searchsorted(line, box.high_mm[axis])) + 1
            parts.append(slice(max(0, first), max(0, min(len(line), last))))
        return parts[0], parts[1], parts[2]

    def cover(self, shape: Distance, window: Window) -> Floats:
        """Share of each voxel of a window that lies inside a shape, 0..1."""
        z, y, x = self.z[window[0]], self.y[window[1]], self.x[window[2]]
        if z.size * y.size * x.size <= SMALL_VOXELS or min(self.grid.spacing_mm) > 0.7 * LATTICE_MM:
            distance = shape(x[None, None, :], y[None, :, None], z[:, None, None])
        else:
            lattice = [_lattice(line) for line in (x, y, z)]
            coarse = shape(lattice[0][None, None, :], lattice[1][None, :, None], lattice[2][:, None, None])
            coarse = np.broadcast_to(coarse, [len(line) for line in lattice[::-1]])
            distance = interpolate(coarse, lattice, (x, y, z))
        distance = np.broadcast_to(distance, (z.size, y.size, x.size))
        share: Floats = np.clip(0.5 - distance / self.edge_mm, 0.0, 1.0, dtype=np.float32)
        return share

    def counted(self, shape: Distance, window: Window, parts: int = 4) -> Floats:
        """Share of each voxel inside a shape by counting ``parts`` x ``parts`` x ``parts`` points in it."""
        steps = (np.arange(parts) + 0.5) / parts - 0.5
        lines = [
            (line[part][:, None] + np.float32(step) * steps.astype(np.float32)).ravel()
            for line, part, step in zip((self.z, self.y, self.x), window, self.grid.spacing_mm[::-1], strict=True)
        ]
        inside = shape(lines[2][None, None, :], lines[1][None, :, None], lines[0][:, None, None]) < 0
        nz, ny, nx = (len(line) // parts for line in lines)
        share = inside.reshape(nz, parts, ny, parts, nx, parts).mean(axis=(1, 3, 5))
        return np.asarray(share, dtype=np.float32)

    def blend(self, window: Window, cover: Floats, hu: float | Floats) -> None:
        """Put ``hu`` into a window, as far as ``cover`` says."""
        part = self.hu[window]
        part += cover * (hu - part)

    def paint(
        self, shape: Distance, hu: float, name: str = "", *, box: Box | None = None, within: str = ""
    ) -> tuple[Window, Floats]:
        """Blend a shape in, inside the mask ``within`` only; keep it as mask ``name``. Returns window and cover."""
        window = self.window(box)
        cover = self.cover(shape, window)
        if within:
            cover = cover * self.masks[within][window]
        self.blend(window, cover, hu)
        if name:
            self.mark(name, window, cover > 0.5)
        return window, cover

    def keep(self, shape: Distance, name: str, *, box: Box | None = None) -> None:
        """Keep the mask of a shape without drawing it."""
        window = self.window(box)
        self.mark(name, window, self.cover(shape, window) > 0.5)

    def mark(self, name: str, window: Window, voxels: NDArray[np.bool_]) -> None:
        """Add voxels of a window to the mask ``name``."""
        mask = self.masks.setdefault(name, np.zeros(self.hu.shape, dtype=bool))
        mask[window] |= voxels

    def draw_branches(
        self,
        branches: Iterable[Branch],
        hu: float,
        *,
        within: str = "",
        name: str = "",
        exact: bool = False,
        keep_hu: bool = False,
    ) -> None:
        """Blend tubes in; a tube thinner than a voxel takes the share of the voxel that it fills.

        ``exact`` counts the parts of a voxel that lie inside; ``keep_hu`` makes the mask only.
        """
        for piece in branches:
            reach = piece.radius_mm + self.edge_mm
            ends = np.sort(np.array([piece.start, piece.end]), axis=0)
            low, high = ends[0] - reach, ends[1] + reach
            window = self.window(Box(low_mm=(low[0], low[1], low[2]), high_mm=(high[0], high[1], high[2])))
            if any(part.stop <= part.start for part in window):
                continue
            if exact:
                cover = self.counted(piece.distance, window)
            else:
                cover = self.cover(piece.distance, window) * min(1.0, (2 * piece.radius_mm / self.edge_mm) ** 2)
            if within:
                cover = cover * self.masks[within][window]
            if not keep_hu:
                self.blend(window, cover, hu)
            if name:
                self.mark(name, window, cover > 0.5)

    def field(self, window: Window, *, sigma_mm: float, seed: list[int]) -> Floats:
        """Smooth random values with mean 0 and deviation 1 in a window, made on the 2 mm lattice."""
        lines = [np.arange(-320.0, 320.0, LATTICE_MM, dtype=np.float32)] * 3  # (Z, Y, X) alike
        first = [max(0, int(np.searchsorted(lines[0], line[part][0])) - 1) for line, part in
                 ((self.z, window[0]), (self.y, window[1]), (self.x, window[2]))]  # fmt: skip
        last = [min(319, int(np.searchsorted(lines[0], line[part][-1])) + 1) for line, part in
                ((self.z, window[0]), (self.y, window[1]), (self.x, window[2]))]  # fmt: skip
        shape = [b - a + 1 for a, b in zip(first, last, strict=True)]
        white = np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)
        values = ndimage.gaussian_filter(white, sigma_mm / LATTICE_MM, mode="reflect")
        values /= float(values.std()) + 1e-9
        lattice = [lines[0][a : b + 1] for a, b in zip(first, last, strict=True)][::-1]
        return interpolate(values, lattice, (self.x[window[2]], self.y[window[1]], self.z[window[0]]))


def _lattice(line: Floats) -> Floats:
    """Points every 2 mm that enclose a line of coordinates."""
    return np.arange(line[0] - LATTICE_MM, line[-1] + 2 * LATTICE_MM, LATTICE_MM, dtype=np.float32)


def interpolate(values: Floats, lattice: list[Floats], lines: tuple[Floats, Floats, Floats]) -> Floats:
    """Linear interpolation of (C, B, A) values at ``lattice`` (a, b, c) onto the grid of ``lines`` (x, y, z)."""
    (ix, tx), (iy, ty), (iz, tz) = (_between(a, line) for a, line in zip(lattice, lines, strict=True))
    out = np.empty((len(lines[2]), len(lines[1]), len(lines[0])), dtype=np.float32)
    for k in range(len(out)):
        plane = values[iz[k]] * (1 - tz[k]) + values[iz[k] + 1] * tz[k]
        rows = plane[iy] * (1 - ty[:, None]) + plane[iy + 1] * ty[:, None]
        out[k] = rows[:, ix] * (1 - tx) + rows[:, ix + 1] * tx
    return out


def _between(lattice: Floats, line: Floats) -> tuple[NDArray[np.intp], Floats]:
    """Index of the lattice point below each coordinate, and how far on it lies, 0..1."""
    place = (line - lattice[0]) / (lattice[1] - lattice[0])
    index = np.clip(place.astype(np.intp), 0, len(lattice) - 2)
    return index, (place - index).astype(np.float32)
