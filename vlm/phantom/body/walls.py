"""Skin, fat and muscles: the layers between the air and the organs."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.scene import Place, Scene
from vlm.phantom.body.shapes import Floats, Triple, around, both, ellipsoid, meet, smooth_line, squircle
from vlm.phantom.body.trunk import Trunk

SIDES = (("right", 1.0), ("left", -1.0))


class Walls:
    """Draws what encloses the cavities of one person."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk = scene, trunk
        self.meat = "muscle_old" if trunk.person.age > 72 and trunk.person.muscle < 1.0 else "muscle"

    def draw(self) -> None:
        """From the skin inwards."""
        scene, person = self.scene, self.trunk.person
        outer = scene.field(lambda p: p["skin"])
        scene.paint(outer, "skin", "skin")
        scene.paint(outer + 1.8, "subcutaneous_fat", "fat")
        if person.sex == "female":
            self._breasts()
        scene.paint(lambda p: p["hull"], "skeletal_muscle", self.meat)
        self._bundles()
        self._back_and_flank()
        self._chest_muscles()
        self._pelvis_muscles()
        self._cavities()

    def _breasts(self) -> None:
        size = 38.0 + 0.45 * self.trunk.person.fat_mm
        share = float(np.clip(1.0 - (self.trunk.person.age - 30) / 60, 0.15, 0.8))
        for sign in (1, -1):

            def gland(p: Place, sign: int = sign) -> Floats:
                ball = ellipsoid(
                    p.x,
                    p.y,
                    p.z,
                    (sign * 84, 96 + 0.3 * size, 350),
                    (size * 0.8 * share, size * 0.55 * share, size * 0.7 * share),
                )
                return np.asarray(
                    np.maximum(ball + 3.5 * np.sin(p.x / 3.7) * np.sin(p.z / 4.3) * np.sin(p.y / 3.3), p["skin"] + 6)
                )

            box = ((sign * 84 - 70, sign * 84 + 70), (60, 190), (280, 420))
            self.scene.paint(gland, "breast", "glandular", box=box)

    def _bundles(self) -> None:
        """Shoulder, neck, buttock and thigh: many muscles side by side, with fat of uneven depth between them."""
        rng, person = self.scene.rng("bundles"), self.trunk.person
        turn = rng.uniform(0, 2 * np.pi, 6)
        fat = 0.05 + 0.10 * person.visceral + 0.10 * max(0.0, 1.1 - person.muscle) + 0.002 * person.fat_mm

        def planes(p: Place) -> Floats:
            u = p.x / 17 + 1.4 * np.sin(p.y / 29 + p.z / 60 + turn[0]) + turn[1]
            v = p.y / 15 + 1.4 * np.sin(p.x / 27 - p.z / 75 + turn[2]) + p.z / 55 + turn[3]
            deep = fat * (1 + 0.8 * np.sin(p.x / 31 + turn[4]) * np.sin(p.z / 37 + turn[5]))
            apart = np.minimum(np.abs(np.sin(u)) * 17, np.abs(np.sin(v)) * 15) - 15 * deep
            trunk = np.minimum(p.z + 55, 425 - p.z)  # the wall of chest and belly has layers of its own
            return both(apart, np.maximum(p["hull"] + 2.5, np.maximum(trunk, 18 - p["wall"])))

        for low, high in ((-240.0, -50.0), (420.0, 640.0)):
            self.scene.paint(
                planes, "torso_fat", "fat", on=("skeletal_muscle",), box=((-230, 230), (-160, 150), (low, high))
            )

    def _back_and_flank(self) -> None:
        """Fat planes of the belly wall, the straight muscles in front, erector spinae, psoas, quadratus lumborum."""
        scene, trunk = self.scene, self.trunk
        thick = trunk.person.muscle

        def depth(p: Place) -> Floats:  # 0 on the hull, 1 on the inner wall
            return np.asarray(p["hull"] / np.minimum(p["hull"] - p["wall"], -4.0))

        def planes(p: Place) -> Floats:
            side = np.abs(p.x)
            belly = np.maximum(np.abs(p.z - 95) - 120, 0)
            t = depth(p)
            room = np.maximum(p["wall"] - p["hull"], 1)
            layers = np.minimum(np.abs(t - 0.36), np.abs(t - 0.72)) * room - 0.5
            lateral = np.maximum(58 - side, -25 - p.y)
            straight = np.maximum(np.abs(np.abs(side - 60) + 0 * p.y) - 2.2, 40 - p.y)  # beside the rectus
            middle = np.maximum(side - 3.0, 40 - p.y)
            return both(
                np.minimum(np.maximum(layers, lateral), np.minimum(straight, middle)),
                np.maximum(belly, p["hull"] + 0.5),
            )

        scene.paint(planes, "torso_fat", "fat", on=("skeletal_muscle",), box=((-175, 175), (-140, 160), (-30, 220)))

        for side, sign in SIDES:

            def erector(p: Place, sign: float = sign) -> Floats:
                spine = trunk.spine(p.z)
                wide = np.interp(p.z, [-90, -30, 60, 150, 300, 460, 560], [16, 34, 37, 38, 27, 22, 20]).astype(
                    np.float32
                )
                back = -trunk.hull[2](p.z)
                front = spine - 30
                middle, half = 0.5 * (back + front) + 1, np.maximum(0.5 * (front - back) - 2.0, 7)
                out = squircle(sign * (p.x - trunk.side(p.z)) - wide - 3.5, p.y - middle, wide * thick, half, 0.35)
                return meet(np.maximum(out, -95 - p.z), p["hull"] + 1.5, 5)

            box = ((-3, 84), (-150, -30), (-100, 600)) if sign > 0 else ((-84, 3), (-150, -30), (-100, 600))
            field = scene.field(erector, box)
            scene.paint(field + -1.2, "torso_fat", "fat")
            scene.paint(field, f"autochthon_{side}", self.meat)

    def _chest_muscles(self) -> None:
        """Outside the ribs: pectorals in front, latissimus and the shoulder's muscles behind, fat between and under."""
        scene, person = self.scene, self.trunk.person
        gap = 0.8 + 1.6 * person.visceral + 0.03 * person.fat_mm
        lift = 0.0 if person.arms == "down" else 14.0
        thin = 1.12 - 0.5 * person.muscle  # mm of fat that a wasted muscle leaves, as a share

        def open_(p: Place) -> Floats:
            chest = np.maximum(205 - p.z, p.z - 470)
            pectoral = np.maximum(34 - 0.10 * (p.z - 345) - p.y, 342 + lift + 0.12 * np.abs(p.x) - p.z)
            back = p.y + 12 - 0.16 * (p.z - 230) + 6 * np.sin(p.z / 33)
            held = np.minimum(pectoral, back)
            free = np.maximum(14.5 + 1.5 * np.sin(p.z / 9) * np.sin(p.y / 16) - p["wall"], 0.5 - held)
            under = np.abs(p["wall"] - 16.5 - 2.5 * np.sin(p.z / 41 + p.y / 37)) - gap * (0.6 + 0.5 * np.sin(p.y / 23))
            between = np.abs(p["hull"] + 9.0 * person.muscle + 2 * np.sin(p.z / 37)) - gap * 0.6 - 2 * thin * (p.y > 20)
            planes = np.maximum(np.minimum(under, between), 13 - p["wall"])
            return both(np.minimum(free, planes), np.maximum(chest, p["hull"] + 0.8))

        box = ((-190, 190), (-150, 140), (195, 475))
        scene.paint(open_, "torso_fat", "fat", on=("skeletal_muscle",), box=box)

        def armpit(p: Place) -> Floats:
            ball = ellipsoid(np.abs(p.x), p.y, p.z, (136, 2, 425), (22, 26, 46), (0, 0, 14))
            return both(ball + 3 * np.sin(p.x / 9) * np.sin(p.y / 8), 15 - p["wall"])

        box = ((-185, 185), (-60, 60), (365, 485))
        scene.paint(armpit, "torso_fat", "fat_inside", on=("skeletal_muscle",), box=box)
        vessels = [(104, -10, 474, 4.2), (136, -8, 450, 4.0), (158, -20, 470, 3.4), (170, -30, 520, 2.8)]
        for _, sign in SIDES if person.arms == "up" else ():
            for shift in (0.0, 7.0):
                line = smooth_line([(sign * x, y + shift, z - shift, r) for x, y, z, r in vessels], 8)
                scene.paint_tube(line, None, "blood_artery" if shift == 0 else "blood_vein")

    def _pelvis_muscles(self) -> None:
        scene, thick = self.scene, self.trunk.person.muscle
        fat = 2.0 + 3.0 * (1.2 - thick)

        def spaces(
            p: Place,
        ) -> Floats:  # groin, fossae beside the anus, bed of the sciatic nerve, cleft between the legs
            x = np.abs(p.x)
            groin = ellipsoid(x, p.y, p.z, (76, 62, -112), (32, 22, 62), (0, 0, -20))
            fossa = ellipsoid(x, p.y, p.z, (30, -70, -128), (24, 30, 40))
            sciatic = ellipsoid(x, p.y, p.z, (84, -58, -96), (34, 10, 60), (0, 0, -24))
            cleft = np.maximum(x - 9, np.maximum(-62 - p.y, p.z + 140))
            return both(np.minimum(np.minimum(groin, fossa), np.minimum(sciatic, cleft)), p["hull"] + 0.5)

        scene.paint(spaces, "torso_fat", "fat", box=((-125, 125), (-120, 100), (-230, -40)))
        for side, sign in SIDES:
            for name, centre, radii, turn in _MUSCLES:
                c: Triple = (sign * centre[0], centre[1], centre[2])
                r: Triple = (radii[0] * thick, radii[1] * thick, radii[2])

                def muscle(p: Place, c: Triple = c, r: Triple = r, turn: Triple = turn, sign: float = sign) -> Floats:
                    ball = ellipsoid(p.x, p.y, p.z, c, r, (turn[0], sign * turn[1], sign * turn[2]))
                    return meet(ball, p["hull"] + 0.6, 4)

                box = around(c, max(radii) * 1.2 + 6)
                label = (
                    f"{name}_{side}"
                    if name in ("gluteus_maximus", "gluteus_medius", "gluteus_minimus")
                    else "skeletal_muscle"
                )
                field = scene.field(muscle, box)
                scene.paint(field + -fat / 2, "torso_fat", "fat")
                scene.paint(field, label, self.meat)

    def _cavities(self) -> None:
        """Fat inside the wall; then the muscles that bulge into the belly from behind."""
        scene, trunk = self.scene, self.trunk
        thick = trunk.person.muscle
        scene.paint(lambda p: p["wall"], "torso_fat", "fat_inside")
        for side, sign in SIDES:

            def quadratus(p: Place, sign: float = sign) -> Floats:
                y = trunk.spine(p.z) - 30
                out = squircle(sign * p.x - 62, p.y - y + 0.15 * (sign * p.x - 62), 22 * thick, 9 * thick, 0.2)
                return both(out, np.abs(p.z - 110) - 75)

            box = ((30, 95), (-100, -30), (30, 190)) if sign > 0 else ((-95, -30), (-100, -30), (30, 190))
            field = scene.field(quadratus, box)
            scene.paint(field + -1.0, "torso_fat", "fat_inside")
            scene.paint(field, "skeletal_muscle", self.meat)
            psoas = smooth_line(
                [(sign * 27, -46, 190, 7), (sign * 34, -48, 130, 15), (sign * 42, -48, 70, 20),
                    (sign * 56, -36, 10, 21), (sign * 78, -2, -45, 19),
                 (sign * 94, 24, -95, 16), (sign * 100, 0, -150, 10)], 8.0)  # fmt: skip
            psoas[:, 3] *= thick
            iliacus = scene.tube(psoas, reach_mm=8.0)
            flat = smooth_line(
                [(sign * 98, -12, 45, 8), (sign * 100, -4, 5, 13), (sign * 98, 12, -45, 13), (sign * 98, 20, -80, 8)],
                8.0,
            )
            scene.paint(iliacus + -1.2, "torso_fat", "fat_inside")
            scene.paint(scene.tube(flat, reach_mm=4.0), f"iliopsoas_{side}", self.meat)
            scene.paint(iliacus, f"iliopsoas_{side}", self.meat)
            wall = smooth_line([(sign * 66, 20, -85, 8), (sign * 70, -8, -100, 10), (sign * 66, -30, -110, 9)], 8.0)
            scene.paint(scene.tube(wall, reach_mm=4.0), "skeletal_muscle", self.meat)  # obturator internus


# name, middle, radii, turn of the right muscle; the left one is its mirror image
_MUSCLES: tuple[tuple[str, Triple, Triple, Triple], ...] = (
    ("gluteus_minimus", (114, -8, -26), (16, 38, 54), (0, 12, 24)),
    ("gluteus_medius", (124, -24, -4), (26, 56, 70), (0, 12, 30)),
    ("gluteus_maximus", (78, -88, -80), (86, 36, 92), (0, 0, -24)),
    ("tensor", (140, 45, -70), (13, 16, 60), (0, 0, 0)),
    ("rectus_abdominis", (32, 78, -40), (26, 8, 80), (0, 0, 0)),
    ("obturator_externus", (60, 20, -135), (34, 18, 20), (0, 0, -20)),
    ("piriformis", (70, -72, -62), (42, 10, 16), (0, 20, -10)),
    ("quadriceps", (112, 22, -255), (36, 32, 130), (0, 4, 0)),
    ("rectus_femoris", (100, 62, -230), (22, 15, 130), (0, 4, 0)),
    ("sartorius", (74, 62, -230), (10, 9, 140), (0, -8, 0)),
    ("adductors", (52, 2, -230), (26, 40, 120), (0, 4, 0)),
    ("gracilis", (22, -10, -240), (9, 20, 110), (0, 0, 0)),
    ("hamstrings", (84, -62, -260), (36, 24, 125), (0, 0, 0)),
    ("vastus_lateralis", (140, -14, -250), (17, 44, 120), (0, 4, 0)),
)
