"""The trunk's surfaces: skin, muscle hull, inner wall of chest and belly, diaphragm, spine line.

Heights are reference mm: 0 at the disc L5/S1, 500 at the top of T1. Each surface is an oval a
height whose radii follow smooth curves; ``b`` is measured to the back, ``f`` to the front.
"""

from __future__ import annotations

import itertools

import numpy as np

from vlm.phantom.body.person import Person
from vlm.phantom.body.scene import Place, Scene
from vlm.phantom.body.shapes import Floats, Profile, both, cone, ellipsoid, join, meet, squircle

# height: half width, front, back
HULL = (
    (-420, 140, 70, 100), (-170, 148, 76, 100), (-100, 163, 86, 112), (-40, 150, 90, 110), (0, 143, 92, 106),
    (60, 138, 98, 107),
    (110, 138, 101, 110), (200, 147, 106, 115), (260, 154, 108, 121), (320, 161, 104, 126), (380, 168, 92, 127),
    (420, 172, 80, 124), (450, 170, 62, 117), (475, 140, 45, 107), (500, 92, 34, 98), (520, 64, 42, 90),
    (560, 57, 46, 82), (620, 58, 52, 78),
)  # fmt: skip
INNER = (
    (-170, 12, 8, 40), (-135, 40, 26, 66), (-80, 62, 52, 82), (-40, 84, 76, 76), (0, 111, 86, 64), (60, 120, 90, 70),
    (110, 123, 93, 74), (160, 128, 96, 82), (200, 134, 98, 91), (260, 139, 98, 101), (320, 139, 90, 104),
    (380, 131, 74, 103), (420, 118, 60, 98), (455, 98, 40, 89), (478, 78, 20, 79), (494, 50, 0, 66), (503, 24, -12, 52),
)  # fmt: skip
SPINE = (
    (-20, 62), (18, 46), (54, 37), (91, 34), (128, 37), (163, 43), (198, 50), (230, 57), (260, 62), (288, 66),
    (316, 68),
    (342, 68), (368, 67), (393, 64), (418, 60), (442, 55), (465, 49), (488, 42), (509, 36), (546, 28), (620, 26),
)  # fmt: skip
APEX_MM = 503.0


class Trunk:
    """Surfaces of one person in reference coordinates."""

    def __init__(self, person: Person) -> None:
        self.person = person
        belly = 22.0 * person.visceral - 9.0
        female = person.sex == "female"

        def bulge(z: float) -> float:  # the belly stands out with fat inside
            return belly * float(np.exp(-(((z - 90) / 110) ** 2)))

        hips = 8.0 if female else 0.0

        def hip(z: float) -> float:  # a woman is wider at the hips and narrower at the shoulders
            return hips * float(np.exp(-(((z + 80) / 70) ** 2))) - (8.0 if female and z > 380 else 0.0)

        self.hull = (
            Profile([(z, a + 0.5 * bulge(z) + hip(z)) for z, a, _, _ in HULL]),
            Profile([(z, f + bulge(z)) for z, _, f, _ in HULL]),
            Profile([(z, b) for z, _, _, b in HULL]),
        )
        self.inner = (
            Profile([(z, a + 0.5 * bulge(z)) for z, a, _, _ in INNER]),
            Profile([(z, f + bulge(z)) for z, _, f, _ in INNER]),
            Profile([(z, b) for z, _, _, b in INNER]),
        )
        bend = person.kyphosis
        self.spine = Profile([(z, -(34 + (y - 34) * bend) if z > 91 else -y) for z, y in SPINE])
        self.side = Profile([(z, person.scoliosis_mm * np.sin((z - 40) / 110.0)) for z in range(-200, 640, 20)])
        rng = np.random.default_rng([person.seed, 21])
        boxy = float(rng.normal(0.0, 0.07))
        self.boxy = Profile([(-170, 0.3), (60, 0.36 + boxy), (200, 0.30 + boxy), (300, 0.16 + boxy), (420, 0.16 + boxy),
            (500, 0.3)])  # fmt: skip
        self.top = {"right": 284.0 + person.breath_mm, "left": 271.0 + person.breath_mm}

    def at_points(self, points: Floats) -> Place:
        """The fields at (N, 3) reference points."""
        x, y, z = points.astype(np.float32).T
        place = Place(x, y, z, (slice(None),), {})
        place.fields["wall"] = self._wall(place)
        place.fields["dome"] = self._dome(place)
        return place

    def _oval(self, p: Place, radii: tuple[Profile, ...]) -> Floats:
        """An oval that is widest at the middle of its depth."""
        a, f, b = (radius(p.z) for radius in radii)
        middle, half = 0.5 * (f - b), 0.5 * (f + b)
        return squircle(p.x, p.y - middle, np.maximum(a, 4), np.maximum(half, 4), self.boxy(p.z))

    def arm_line(self) -> list[tuple[float, float, float, float]]:
        """(x, y, z, radius) along the muscles of the right arm, from the armpit outwards."""
        person = self.person
        line: list[tuple[float, float, float, float]]
        if person.arms == "up":
            line = [(138, -44, 418, 30), (160, -40, 480, 44), (170, -38, 540, 42), (168, -40, 720, 38)]
        else:
            out = 34 + 0.6 * person.fat_mm
            line = [(148, -36, 452, 46), (184 + out * 0.3, -36, 390, 40), (187 + out, -42, 210, 36),
                    (190 + out, -30, 60, 32), (185 + out, -10, -60, 26)]  # fmt: skip
        return [(x, y, z, r * person.muscle) for x, y, z, r in line]

    def _arms(self, p: Place) -> Floats:
        """Distance to the muscles of both arms."""
        x, out = np.abs(p.x), None
        for a, b in itertools.pairwise(self.arm_line()):
            piece = cone(x, p.y, p.z, a, b)
            out = piece if out is None else np.minimum(out, piece)
        assert out is not None
        return out

    def build(self, scene: Scene) -> None:
        """Keep the fields arms, hull, skin, wall (inner wall) and dome."""
        scene.keep("arms", self._arms)
        scene.keep("hull", self._hull)
        scene.keep("wall", self._wall)
        scene.keep("skin", self._skin)
        scene.keep("dome", self._dome)

    def _hull(self, p: Place) -> Floats:
        trunk = self._oval(p, self.hull)
        trunk = np.maximum(trunk, -165 - p.z)
        groove = 9.0 * np.exp(-((p.x / 16.0) ** 2)) * (p.y < 0) * np.exp(-(((p.z - 160) / 190) ** 2))
        trunk = trunk + groove.astype(np.float32)
        thighs = [squircle(p.x - s * (82 - 0.06 * (p.z + 170)), p.y + 12, 70, 76, 0.2) for s in (1, -1)]
        legs = np.maximum(np.minimum(*thighs), p.z + 90)
        body = join(trunk, legs, 30.0)
        return join(body, p["arms"], 34.0 if self.person.arms == "up" else 16.0)

    def _skin(self, p: Place) -> Floats:
        person, hull = self.person, p["hull"]
        fat = person.fat_mm
        height = np.clip((p.z - 120) / 220, 0, 1)
        front = np.clip(p.y / 90, -1, 1)
        thick = fat * (0.62 + 0.36 * front * (1 - height)) * (1 - 0.45 * height) + 2.5
        thick = thick + 0.5 * fat * np.exp(-(((p.z + 90) / 70) ** 2)) * (1 - front) * 0.5  # buttocks
        thick = thick * (1 - 0.6 * np.exp(-((p.x / 22) ** 2)) * (front < -0.2))  # little over the spinous processes
        thick = np.where(p.z > 480, np.minimum(thick, 0.35 * fat + 3), thick)
        thick = np.where(p["arms"] < hull + 6, np.minimum(thick, 3.0 + 0.22 * fat), thick)
        out = (hull - thick).astype(np.float32)
        if person.sex == "female":
            size = 38.0 + 0.45 * fat
            for sign in (1, -1):  # on the back, breasts fall to the sides
                breast = ellipsoid(
                    p.x, p.y, p.z, (sign * 90, 80 + 0.35 * fat, 352), (size * 1.4, size * 0.8, size * 1.4)
                )
                out = join(out, breast, 34.0)
        return out

    def _wall(self, p: Place) -> Floats:
        oval = self._oval(p, self.inner)
        return both(oval, p.z - APEX_MM)

    def _dome(self, p: Place) -> Floats:
        """Below 0 above the diaphragm: two domes, a saddle under the heart between them."""
        surface = None
        for side, sign in (("right", 1.0), ("left", -1.0)):
            u, v = (sign * p.x - 64.0) / 72.0, (p.y - 6.0) / 78.0
            bend = u * u + v * v
            own = self.top[side] - 46.0 * bend / np.sqrt(1 + 0.12 * bend) - 8.0 * np.maximum(-v, 0) ** 2
            surface = own if surface is None else -join(-surface, -own, 34.0)
        assert surface is not None
        surface = surface + 15 * np.exp(-(((p.x + 18) / 46) ** 2) - ((p.y - 28) / 46) ** 2)  # where the heart rests
        # in front, in the middle, it is fixed to the xiphoid
        surface = surface + 46 * np.exp(-(((p.x + 4) / 42) ** 2)) * np.clip((p.y - 30) / 50, 0, 1) ** 2
        hang = np.clip(1 + p["wall"] / 16.0, 0, 1.3)  # close to the ribs it hangs down along the wall
        return np.asarray((surface - 28.0 * hang * hang - p.z) * np.float32(0.72), dtype=np.float32)

    def thorax(self, p: Place) -> Floats:
        """The space above the diaphragm, inside the ribs."""
        return meet(p["wall"], p["dome"], 6.0)

    def abdomen(self, p: Place) -> Floats:
        """The space below the diaphragm, inside the wall."""
        return both(p["wall"], 3.0 - p["dome"])
