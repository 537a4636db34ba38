"""Skin, fat and muscles: the layers between the air and the organs."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.scene import Place, Scene
from vlm.phantom.body.shapes import Floats, Triple, around, both, ellipsoid, meet, smooth_line, squircle
from vlm.phantom.body.trunk import Trunk

SIDES = (("right", 1.0), ("left", -1.0))
FAT_PLANE_MM = 1.0  # of fat between two muscles


class Walls:
    """Draws what encloses the cavities of one person."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk = scene, trunk
        self.meat = "muscle_old" if trunk.person.age > 72 and trunk.person.muscle < 1.0 else "muscle"

    def draw(self) -> None:
        """From the skin inwards."""
        scene, person = self.scene, self.trunk.person
        self._arms()
        outer = scene.field(lambda p: p["skin"])
        scene.paint(outer, "skin", "skin")
        scene.paint(outer + 1.8, "subcutaneous_fat", "fat")
        if person.sex == "female":
            self._breasts()
        scene.paint(lambda p: p["hull"], "skeletal_muscle", self.meat)
        self._back_and_flank()
        self._chest_muscles()
        self._pelvis_muscles()
        self._cavities()

    def _arms(self) -> None:
        """Arms beside the trunk, or raised beside the head."""
        scene, person = self.scene, self.trunk.person
        fat = 3.0 + 0.22 * person.fat_mm
        for _side, sign in SIDES:
            if person.arms == "up":
                line = [(sign * 150, -36, 440, 58), (sign * 170, -38, 520, 42), (sign * 168, -40, 700, 38)]
            else:
                out = 34 + 0.6 * person.fat_mm
                line = [(sign * 158, -36, 458, 52), (sign * (184 + out * 0.3), -36, 390, 40),
                    (sign * (187 + out), -42, 210, 36),
                        (sign * (190 + out), -30, 60, 32), (sign * (185 + out), -10, -60, 26)]  # fmt: skip
            points = smooth_line([tuple(p) for p in line], 12.0)
            for grow, label, tissue in (
                (fat, "skin", "skin"),
                (fat - 1.8, "subcutaneous_fat", "fat"),
                (0.0, "skeletal_muscle", self.meat),
            ):
                tube = points.copy()
                tube[:, 3] = tube[:, 3] * person.muscle + grow
                scene.paint(scene.tube(tube, reach_mm=6.0), label, tissue)

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

    def _layer(self, shape: Floats, gap: float = FAT_PLANE_MM) -> Floats:
        return np.abs(shape) - gap / 2

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

        def lats(p: Place) -> Floats:  # latissimus, serratus, trapezius over the chest: thin sheets with fat between
            room = p["hull"]
            inner = np.abs(room + 11.0 * thick) - 0.9
            outside = np.maximum(14.0 - p["wall"], np.maximum(200 - p.z, p.z - 455))
            return both(inner, outside)

        scene.paint(lats, "torso_fat", "fat", on=("skeletal_muscle",), box=((-180, 180), (-150, 120), (195, 460)))
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
        scene, trunk = self.scene, self.trunk
        thick = 8.0 * trunk.person.muscle * (1.5 if trunk.person.sex == "male" else 1.0)

        def pectorals(p: Place) -> Floats:  # two sheets in front of the ribs, fat round them
            sheet = p["hull"]
            front = np.maximum(np.maximum(340 - p.z, p.z - 468), np.maximum(np.abs(p.x) - 150, 22 - np.abs(p.x)))
            front = np.maximum(front, 20 - p.y)
            plane = np.minimum(np.abs(sheet + thick) - 0.8, np.abs(sheet + 1.8 * thick) - 0.7)
            return both(plane, np.maximum(front, 13 - p["wall"]))

        scene.paint(pectorals, "torso_fat", "fat", on=("skeletal_muscle",), box=((-160, 160), (10, 140), (335, 470)))

        def armpit(p: Place) -> Floats:
            fat = ellipsoid(np.abs(p.x), p.y, p.z, (138, 4, 420), (22, 30, 48))
            return both(fat, 14 - p["wall"])

        scene.paint(
            armpit, "torso_fat", "fat_inside", on=("skeletal_muscle",), box=((-185, 185), (-60, 60), (360, 480))
        )
        for z, y, width in ((440, -112, 5), (380, -116, 3.5)):  # planes of trapezius and rhomboids

            def plane(p: Place, z: float = z, y: float = y, width: float = width) -> Floats:
                return both(np.abs(p["hull"] + width * 3.0) - 0.8, np.maximum(np.abs(p.z - z) - 40, p.y - y + 40))

            scene.paint(plane, "torso_fat", "fat", on=("skeletal_muscle",), box=((-150, 150), (-150, -60), (330, 490)))

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
