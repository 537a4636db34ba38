"""What the painters of the belly's organs share: the person, where an organ lies, and the fat between neighbours."""

from __future__ import annotations

from collections.abc import Sequence

from vlm.phantom.body.scene import Field, Scene
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

    def press(self, field: Field, label: str, tissue: str, gap: float | None = None) -> Field:
        """Paint an organ with fat round it."""
        gap = self.gap if gap is None else gap
        if gap > 0.8:
            self.scene.paint(field + -gap, "torso_fat", "fat_inside")
        return self.scene.paint(field, label, tissue)
