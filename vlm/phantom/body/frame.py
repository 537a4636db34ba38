"""From the body as it lies in the scanner to the reference body in which anatomy is written down.

``reference`` maps world to reference: a scale along each axis and a smooth random displacement
that bends every organ a little and opens no gap. ``world`` maps points back.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.phantom.body.shapes import Floats

CELL_MM = 24.0  # of the lattice on which displacements live
LOW_MM, HIGH_MM = np.array([-340.0, -240.0, -420.0]), np.array([340.0, 260.0, 820.0])
BENDS = ((90.0, 4.5), (38.0, 2.6))  # (width of a bend, its deviation), mm
EVEN, ODD = 0.62, 0.34  # how much of the bends both sides share
SPINE_MM, SPINE_Y_MM = 55.0, -60.0  # so near to the spine bone does not bend: the column does, slowly,
SPINE_BEND_MM = 110.0  # over several vertebrae, or one would be drawn crushed between two tall ones


class Frame:
    """One person's map between world and reference, RAS mm."""

    def __init__(self, scale: tuple[float, float, float], seed: int, *, bend: float = 1.0) -> None:
        self.scale = np.asarray(scale)
        shape = tuple(int(n) for n in np.ceil((HIGH_MM - LOW_MM) / CELL_MM) + 1)
        rng = np.random.default_rng([seed, 101])
        self.shift = np.zeros((3, *shape), dtype=np.float32)
        for width, deviation in BENDS:
            for axis in range(3):
                field = ndimage.gaussian_filter(rng.standard_normal(shape), width / CELL_MM / 1.6, mode="wrap")
                self.shift[axis] += bend * deviation * field / field.std()
        # a body is nearly its own mirror image: what bends one side bends the other
        mirror = self.shift[:, ::-1] * np.array([-1, 1, 1], dtype=np.float32).reshape(3, 1, 1, 1)
        self.shift = (EVEN * (self.shift + mirror) + ODD * (self.shift - mirror)).astype(np.float32)
        self._stiffen()
        self.shift = np.clip(self.shift, -18, 18)

    def _stiffen(self) -> None:
        """Let what lies round the spine move little from one vertebra to the next."""
        x, y = (LOW_MM[a] + CELL_MM * np.arange(self.shift.shape[a + 1]) for a in range(2))
        near = np.exp(-((x[:, None] / SPINE_MM) ** 2) - ((y[None, :] - SPINE_Y_MM) / SPINE_MM) ** 2)
        slow = ndimage.gaussian_filter1d(self.shift, SPINE_BEND_MM / CELL_MM, axis=3, mode="nearest")
        self.shift += np.minimum(1.6 * near, 1.0)[:, :, None].astype(np.float32) * (slow - self.shift)

    def push(self, centre: Sequence[float], reach: Sequence[float], mm: Sequence[float]) -> None:
        """Move what lies round a reference point by some mm; the displacement fades over ``reach`` along each axis."""
        lines = [LOW_MM[a] + CELL_MM * np.arange(self.shift.shape[a + 1]) for a in range(3)]
        x, y, z = (((line / self.scale[a] - centre[a]) / reach[a]) ** 2 for a, line in enumerate(lines))
        weight = np.exp(-(x[:, None, None] + y[None, :, None] + z[None, None, :])).astype(np.float32)
        for axis in range(3):
            self.shift[axis] -= np.float32(mm[axis]) * weight

    def reference(self, x: Floats, y: Floats, z: Floats) -> tuple[Floats, Floats, Floats]:
        """Lines x, y, z of a world grid -> three (Z, Y, X) float32 arrays of reference coordinates."""
        out = []
        lines = (x, y, z)
        for axis in range(3):
            moved = self.shift[axis]
            for along in range(3):  # linear interpolation is separable
                place = (lines[along] - LOW_MM[along]) / CELL_MM
                low = np.clip(place.astype(int), 0, moved.shape[along] - 2)
                t = np.clip(place - low, 0, 1).astype(np.float32)
                # a cubic ease keeps the map smooth across cells
                t = (t * t * (3 - 2 * t)).reshape([-1 if a == along else 1 for a in range(3)])
                moved = np.take(moved, low, along) * (1 - t) + np.take(moved, low + 1, along) * t
            own = lines[axis].reshape([-1 if a == axis else 1 for a in range(3)])
            field = (own / np.float32(self.scale[axis]) + moved).astype(np.float32)
            out.append(np.ascontiguousarray(field.transpose(2, 1, 0)))
        return out[0], out[1], out[2]

    def displaced(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) world points -> their reference points."""
        place = (points - LOW_MM) / CELL_MM
        cell = np.floor(place)
        t = place - cell
        at = (cell + t * t * (3 - 2 * t)).T
        moved = [ndimage.map_coordinates(self.shift[a], at, order=1, mode="nearest") for a in range(3)]
        return np.asarray(points / self.scale + np.stack(moved, axis=1))

    def world(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) reference points -> world points, to about 0.1 mm."""
        there = np.asarray(points, dtype=np.float64)
        at = there * self.scale
        for _ in range(4):
            at = at + (there - self.displaced(at)) * self.scale
        return np.asarray(at)
