"""Lungs: lobes with fissures, and in each lobe arteries, veins and airways that fork down to a millimetre."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vlm.phantom.body.labels import LOBES
from vlm.phantom.body.scene import Field, Place, Scene
from vlm.phantom.body.shapes import Floats, Triple, both
from vlm.phantom.body.trunk import Trunk
from vlm.phantom.trees import fork

BOX = ((-150, 150), (-125, 125), (140, 512))
PLEURA_MM = 1.2  # between the inner wall and the lung
CLEAR_MM = 4.0  # below the pleura no vessel is seen
AIRWAYS = 6  # forks down to which an airway is seen beside its artery


class Gate(NamedTuple):
    """Where the artery and the airway of a lobe come in (reference mm), and how many tips its trees have."""

    artery: Triple
    airway: Triple
    tips: int


GATES = {
    "lung_upper_lobe_right": Gate((54, -14, 394), (46, -20, 408), 1024),
    "lung_middle_lobe_right": Gate((60, -14, 376), (52, -20, 362), 512),
    "lung_lower_lobe_right": Gate((60, -14, 376), (50, -30, 360), 1024),
    "lung_upper_lobe_left": Gate((-56, -18, 396), (-52, -20, 400), 1024),
    "lung_lower_lobe_left": Gate((-60, -32, 372), (-52, -34, 366), 1024),
}


class Lungs:
    """Draws the lungs of one person."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk = scene, trunk
        rng = scene.rng("fissures")
        self.wave = rng.uniform(0, 2 * np.pi, 6)
        self.tilt, self.minor = rng.normal(1.12, 0.10, 2), float(rng.normal(350, 7))

    def draw(self) -> Field:
        """Fill the chest with lobes; what lies between them takes its room later. Returns the space."""
        scene, trunk = self.scene, self.trunk
        space = scene.field(lambda p: trunk.thorax(p) + PLEURA_MM, BOX)
        p = scene.place(space.window)
        above = self._above(p)
        for name in LOBES:
            scene.paint(Field(space.window, both(space.mm, self._share(p, name, *above))), name, "lung")
        right, left, minor = above
        plane = np.where(p.x > 0, np.minimum(np.abs(right), np.maximum(np.abs(minor), -right)), np.abs(left)) - 0.45
        scene.paint(Field(space.window, both(space.mm + 0.8, plane)), None, "fissure", on=LOBES)
        return space

    def _above(self, p: Place) -> tuple[Floats, Floats, Floats]:
        """How far a point lies above the right oblique, left oblique and minor fissure, mm."""
        wave, bow = self.wave, 0.12 * np.abs(p.x)
        ripple = 3 * np.sin(p.y / 18.0 + wave[0])
        sides = [p.z - (322 - self.tilt[n] * p.y + 5 * np.sin(p.x / 26.0 + wave[1 + n]) + ripple + bow) for n in (0, 1)]
        minor = p.z - (self.minor + 5 * np.sin(p.x / 30.0 + wave[3]) + 3 * np.sin(p.y / 25 + wave[4]) + 0.1 * p.y)
        right, left = (np.asarray(side * np.float32(0.66), dtype=np.float32) for side in sides)
        return right, left, np.asarray(minor, dtype=np.float32)

    @staticmethod
    def _share(p: Place, name: str, right: Floats, left: Floats, minor: Floats) -> Floats:
        """Below 0 where a lobe is, if its lung is there."""
        if name.endswith("left"):
            return both(p.x, left if "lower" in name else -left)
        if "lower" in name:
            return both(-p.x, right)
        return both(np.maximum(-p.x, -right), -minor if "upper" in name else minor)

    # vessels and airways ---------------------------------------------------------------------------------------------

    def trees(self, between: Callable[[Place], Floats], veins: Mapping[str, Triple]) -> None:
        """Arteries with airways beside them, and veins between them.

        ``between`` is what parts the lungs, ``veins`` where the vein of each lobe reaches the heart's.
        """
        for name, gate in GATES.items():
            rng = self.scene.rng(f"trees of {name}")
            tips = self._tips(name, 2 * gate.tips, between, rng)
            if tips is None:
                continue
            thick = (4.6 if gate.tips > 512 else 3.6) * float(rng.normal(1, 0.05))
            artery = fork(gate.artery, tips[::2], root_radius_mm=thick, tip_radius_mm=0.55)
            vein = fork(veins[name], tips[1::2], root_radius_mm=thick, tip_radius_mm=0.5)
            airway = artery.beside(AIRWAYS, share=0.8, gap_mm=1.0, root=gate.airway).pieces()
            scene = self.scene
            scene.paint_pieces(vein.pieces(), "lung_vessels", "blood_pulmonary", on=LOBES)
            scene.paint_pieces(artery.pieces(), "lung_vessels", "blood_pulmonary", on=LOBES)
            wall = airway[:, [3, 7]] * 0.22 + 0.3
            outer = airway.copy()
            outer[:, [3, 7]] += wall
            scene.paint_pieces(outer, "bronchi", "soft", on=(*LOBES, "bronchi"))
            scene.paint_pieces(airway, "bronchi", "air", on=(*LOBES, "bronchi"))

    def _tips(
        self, name: str, number: int, between: Callable[[Place], Floats], rng: np.random.Generator
    ) -> NDArray[np.float64] | None:
        """(number, 3) reference points spread through a lobe; None where the body has hardly room for it."""
        out: list[NDArray[np.float64]] = []
        low, high = ((4, -100, 175), (140, 90, 500)) if name.endswith("right") else ((-140, -100, 175), (-4, 90, 500))
        for _ in range(12):
            tries = rng.uniform(low, high, (9000, 3))
            p = self.trunk.at_points(tries)
            inside = np.maximum(self.trunk.thorax(p), self._share(p, name, *self._above(p)))
            tries = tries[inside < -CLEAR_MM]
            out.append(tries[between(self.trunk.at_points(tries)) > 2.0])
            if sum(map(len, out)) >= number:
                return np.concatenate(out)[:number]
        return None
