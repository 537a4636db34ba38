"""What the painters of the belly's organs share: the person, where an organ lies, and the fat between neighbours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm.phantom.body.scene import Box, Field, Place, Scene, Shape, smoothly
from vlm.phantom.body.shapes import Floats, Triple, smooth_line
from vlm.phantom.body.trunk import Trunk

Line = Sequence[tuple[float, float, float, float]]  # reference mm and radius
SIDES = (("right", 1.0), ("left", -1.0))


class Organs:
    """A painter of one person's organs."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk, self.person = scene, trunk, trunk.person
        self.gap = 0.4 + 4.5 * self.person.visceral  # fat between neighbours, mm

    def moved(self, name: str, point: Triple) -> Triple:
        """A point of an organ where this person has it."""
        move = self.person.moved.get(name, (0.0, 0.0, 0.0))
        return point[0] + move[0], point[1] + move[1], point[2] + move[2]

    def line_of(self, name: str, line: Line, size: float = 1.0, step_mm: float = 6.0) -> Floats:
        """A smooth line of (x, y, z, radius) through an organ of this person."""
        return smooth_line([(*self.moved(name, (x, y, z)), r * size) for x, y, z, r in line], step_mm)

    def press(
        self, field: Field, label: str, tissue: str, gap: float | None = None, *, off: Sequence[str] = ()
    ) -> Field:
        """Paint an organ with fat round it, here more and there none, so that neighbours touch in places."""
        gap = self.gap if gap is None else gap
        if gap > 0.8 and field.mm.size:
            depth = np.float32(gap) * self.uneven(self.scene.place(field.window), label)
            self.scene.paint(Field(field.window, field.mm - depth), "torso_fat", "fat_inside", off=off)
        return self.scene.paint(field, label, tissue, off=off)

    def uneven(self, p: Place, name: str) -> Floats:
        """A smooth field from 0 to 1.6, mean near 0.8, of its own for every name."""
        turn = self.scene.rng(f"fat round {name}").uniform(0, 2 * np.pi, 3).astype(np.float32)

        def wave(x: Floats, y: Floats, z: Floats) -> Floats:
            found = (
                np.sin(x / 19 + z / 41 + turn[0])
                + np.sin(y / 17 - z / 37 + turn[1])
                + np.sin(z / 21 + x / 47 + turn[2])
            )
            return np.asarray(np.clip(0.8 + 0.45 * found, 0, 1.6), dtype=np.float32)

        return smoothly(wave, p.x, p.y, p.z)

    def sized(self, shape: Shape, box: Box, ml: float) -> Shape:
        """A shape grown or shrunk evenly until it holds a volume in this person, whatever cuts it.

        ``shape`` may use the coordinates and the fields wall and dome.
        """
        lines = [np.arange(low, high, 6.0) for low, high in box]
        points = np.stack([axis.ravel() for axis in np.meshgrid(*lines, indexing="ij")], axis=1)
        mm = np.sort(shape(self.trunk.at_points(points)))
        voxel_ml = 0.216 * float(np.prod(self.person.scale))
        rank = min(max(int(ml / voxel_ml), 1), len(mm) - 1)
        grow = float(np.clip(mm[rank], -20.0, 25.0))
        return lambda p: np.asarray(shape(p) - np.float32(grow), dtype=np.float32)
