"""Lungs with lobes, airways and vessels; heart with chambers; great vessels; mediastinum and neck."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import numpy as np

from vlm.phantom.body.labels import LOBES
from vlm.phantom.body.scene import Place, Scene
from vlm.phantom.body.shapes import Floats, Triple, both, ellipsoid, join, smooth_line
from vlm.phantom.body.trunk import Trunk
from vlm.phantom.trees import grow

Line = list[tuple[float, float, float, float]]
SIDES = (("right", 1.0), ("left", -1.0))


class Thorax:
    """Draws the chest of one person."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk = scene, trunk
        person = trunk.person
        self.size = 1.03 * person.organs["heart"] * (1 + 0.08 * person.visceral)
        dx, dy, dz = person.moved["heart"]
        self.at: Triple = (-20 + dx, 24 + dy, 322 + dz + 0.55 * person.breath_mm)
        self.wide = person.organs["aorta"] * (1 + 0.004 * (person.age - 50))

    # shapes ----------------------------------------------------------------------------------------------------------

    def chambers(self, p: Place) -> dict[str, Floats]:
        """Distances to the four cavities and to the muscle of the left ventricle."""
        s = self.size
        x, y, z = (p.x - self.at[0]) / s, (p.y - self.at[1]) / s, (p.z - self.at[2]) / s
        turn = (-28.0, 0.0, 38.0)
        left = ellipsoid(x, y, z, (-30, 2, -8), (19, 34, 21), turn)
        muscle = ellipsoid(x, y, z, (-31, 3, -9), (29, 45, 31), turn)
        right = ellipsoid(x, y, z, (8, 32, -10), (44, 21, 33), (-10, 8, 22))
        outflow = ellipsoid(x, y, z, (2, 32, 22), (17, 14, 26), (24, 0, 0))
        right = np.maximum(join(right, outflow, 12), 1.0 - muscle)
        atrium_right = np.maximum(ellipsoid(x, y, z, (50, 6, 0), (23, 26, 33)), 2.5 - np.minimum(right, muscle))
        atrium_left = np.maximum(
            ellipsoid(x, y, z, (10, -30, 24), (36, 18, 24), (0, 8, 0)), 3.0 - np.minimum(muscle, atrium_right)
        )
        return {
            "left": left * s,
            "muscle": muscle * s,
            "right": right * s,
            "atrium_right": atrium_right * s,
            "atrium_left": atrium_left * s,
        }

    def heart(self, p: Place) -> Floats:
        """The heart with its fat, as the pericardium holds it."""
        c = self.chambers(p)
        whole = join(join(c["muscle"], c["right"] - 4, 18), join(c["atrium_right"] - 2, c["atrium_left"] - 2, 14), 20)
        fat = 1.5 + 5.0 * self.trunk.person.visceral
        return whole - fat

    def vessels(self) -> dict[str, tuple[str, list[Line]]]:
        """Label -> tissue and lines (reference mm and radius) of the great vessels."""
        spine, ax, ay, az = self.trunk.spine.at, *self.at
        w = self.wide
        bovine = self.trunk.person.variants["left_bovine_arch"]
        descend: Line = [(-24 + 18 * max(0.0, (330 - z) / 250), spine(z) + 12 + 13 * max(0.0, (360 - z) / 150), z,
            (12.5 - 0.012 * (400 - z)) * w)
                         for z in (395, 360, 320, 280, 240, 200, 160, 120, 84)]  # fmt: skip
        cava: Line = [
            (24 - 0.05 * (180 - min(z, 180)), spine(z) + 17 + (10 if z < 230 else 16), z, 10.0)
            for z in (78, 110, 150, 190, 225, 262)
        ]
        return {
            "pulmonary_artery": ("blood_pulmonary", [
                [(ax + 2, ay + 32, az + 30, 14), (ax - 2, ay + 20, az + 52, 14), (ax + 2, ay - 8, 398, 12.5)],
                [(ax + 4, ay - 10, 398, 11), (10, 4, 396, 10), (44, -8, 390, 9), (60, -14, 376, 7)],
                [(ax + 2, ay - 8, 400, 11), (-38, -16, 404, 10), (-54, -28, 390, 8), (-60, -32, 372, 6.5)],
            ]),
            "superior_vena_cava": ("blood_vein_neck", [[(26, 14, az + 28, 9), (27, 12, 400, 8.5), (28, 12, 440, 8)]]),
            "inferior_vena_cava": ("blood_vein", [[*cava, (28, 2, 285, 11), (ax + 50, ay + 2, az - 22, 11)]]),
            "brachiocephalic_vein_right": ("blood_vein_neck", [[(28, 12, 438, 7.5), (38, 12, 468, 7),
                (36, -6, 510, 6), (34, -8, 610, 5.5)]]),
            "brachiocephalic_vein_left": ("blood_vein_neck", [
                [(28, 14, 442, 7), (0, 20, 450, 6.2), (-32, 12, 468, 6.8), (-36, -6, 510, 6), (-34, -8, 610, 5)],
                [(-32, 12, 468, 6), (-62, 4, 482, 5), (-105, -2, 474, 4.5)], [(38, 12, 468, 6), (64, 4, 482, 5),
                    (105, -2, 474, 4.5)],
            ]),
            "aorta": ("blood_artery", [
                [(ax + 10, ay + 2, az + 22, 15 * w), (16, 22, 372, 15.5 * w), (18, 18, 402, 15 * w),
                    (8, 2, 428, 13.5 * w),
                 (-8, -22, 438, 13 * w), (-21, -42, 428, 12.7 * w), (-25, spine(408) + 12, 410, 12.5 * w), *descend],
            ]),
            "brachiocephalic_trunk": ("blood_artery", [[(8, 2, 436, 6.5), (18, 2, 464, 6)]]),
            "subclavian_artery_right": ("blood_artery", [[(18, 2, 464, 4.6), (46, -10, 492, 4.4),
                (98, -12, 478, 3.8)]]),
            "common_carotid_artery_right": ("blood_artery", [[(18, 2, 464, 4), (24, -10, 520, 3.6),
                (27, -8, 612, 3.4)]]),
            "common_carotid_artery_left": ("blood_artery", [[(6 if bovine else -6, -2 if bovine else -8, 438, 4),
                (-14, -4, 474, 3.8), (-24, -10, 520, 3.6), (-27, -8, 612, 3.4)]]),
            "subclavian_artery_left": ("blood_artery", [[(-14, -24, 440, 5), (-26, -26, 486, 4.6),
                (-56, -14, 494, 4.4), (-100, -14, 478, 3.8)]]),
            "pulmonary_vein": ("blood_pulmonary", [
                [(ax + 40, ay - 30, az + 30, 7), (48, -14, 372, 6)], [(ax + 40, ay - 34, az + 14, 7),
                    (50, -34, az + 4, 6)],
                [(ax - 16, ay - 28, az + 34, 7), (-52, -10, 380, 6)], [(ax - 18, ay - 34, az + 16, 7),
                    (-50, -36, az + 4, 6)],
            ]),
        }  # fmt: skip

    OESOPHAGUS: ClassVar[Line] = [
        (-5, -14, 600, 6.5), (-6, -20, 500, 6.5), (-4, -36, 430, 6.5), (-3, -34, 380, 6.5), (-8, -30, 320, 7),
        (-16, -24, 268, 7), (-30, -16, 250, 9),
    ]  # fmt: skip
    TRACHEA: ClassVar[Line] = [(0, 4, 610, 9), (0, 0, 540, 9), (0, -6, 495, 9), (2, -16, 450, 8.8), (3, -20, 425, 9)]
    BRONCHI: tuple[Line, ...] = (
        [(3, -20, 426, 8), (28, -22, 406, 7), (42, -24, 388, 5.5), (50, -34, 355, 4.5)], [(3, -20, 426, 7.5),
            (-22, -21, 408, 6.2), (-44, -26, 394, 6), (-54, -38, 360, 4.5)],
        [(28, -22, 406, 5.5), (46, -18, 416, 4.5)], [(-44, -26, 394, 5), (-54, -14, 406, 4)],
    )  # fmt: skip

    def _middle(self, p: Place, tubes: list[Floats]) -> Floats:
        """What lies between the lungs, with its fat."""
        front = np.clip(p.y / 40, 0, 1)
        width = np.interp(p.z, [200, 260, 330, 390, 410, 450, 480, 505], [20, 20, 20, 28, 31, 32, 30, 34]).astype(
            np.float32
        )
        narrow = np.interp(p.z, [260, 300, 350, 400, 450, 480], [10, 8, 6, 5, 16, 28]).astype(np.float32) * (
            1 + 0.5 * self.trunk.person.visceral
        )
        slab = np.abs(p.x - self.trunk.side(p.z)) - (width * (1 - front) + narrow * front)
        behind = p.y < self.trunk.spine(p.z) + 4
        slab = np.where(
            behind, np.abs(p.x - self.trunk.side(p.z)) - np.interp(p.z, [190, 300, 500], [27, 21, 20]), slab
        ).astype(np.float32)
        out = join(slab, self.heart(p) - 2.0, 6)
        for tube in tubes:
            out = join(out, tube, 6)
        return out

    # drawing ---------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Lungs first, then what lies between them, then what runs through both."""
        scene, trunk = self.scene, self.trunk
        box = ((-150, 150), (-125, 125), (140, 512))
        gap = scene.field(
            lambda p: np.maximum(p["wall"], np.abs(p["dome"] - 1.5) - 1.6), ((-150, 150), (-125, 125), (120, 310))
        )
        scene.paint(gap, "diaphragm", "muscle")
        lung = scene.field(lambda p: trunk.thorax(p) + 1.2, box)
        for name in LOBES:
            scene.paint(partial(self._lobe, name=name), name, "lung", box=box)
        scene.paint(lambda p: np.maximum(trunk.thorax(p) + 2, self._fissures(p)), None, "fissure", box=box, on=LOBES)
        lines = self.vessels()
        thick = [[line[0]] for name, (_, line) in lines.items() if name in ("aorta", "superior_vena_cava")]
        tubes = []
        whole = scene.place(lung.window)
        for (line,) in thick:
            field = scene.tube(_grown(line, 3.0), reach_mm=9.0)
            tubes.append(_onto(field, lung))
        middle = self._middle(whole, tubes)
        inside = np.maximum(trunk.thorax(whole), middle).astype(np.float32)
        scene.paint(type(lung)(lung.window, inside), "torso_fat", "fat_inside", on=LOBES)
        beside = scene.field(self._beside_spine, ((-45, 45), (-125, -20), (150, 512)))
        scene.paint(beside, "skeletal_muscle", "muscle", on=("torso_fat",))
        self._neck()
        self._heart()
        self._great_vessels(lines)
        self._trees()

    def _fissure(self, p: Place, side: float) -> Floats:
        """Above 0 above the oblique fissure."""
        wave = 5 * np.sin(p.x / 26.0 + side) + 3 * np.sin(p.y / 18.0)
        return np.asarray((p.z - (322 - 1.12 * p.y + wave + 0.12 * np.abs(p.x))) * np.float32(0.66), dtype=np.float32)

    def _lobe(self, p: Place, *, name: str) -> Floats:
        return both(self.trunk.thorax(p) + 1.2, self._share(p, name))

    def _share(self, p: Place, name: str) -> Floats:
        sign = 1.0 if name.endswith("right") else -1.0
        above = self._fissure(p, sign)
        half = -sign * p.x
        if "lower" in name:
            return both(half, above)
        if sign < 0:
            return both(half, -above)
        minor = 350 + 4 * np.sin(p.x / 30.0) + 0.1 * p.y - p.z
        return both(np.maximum(half, -above), minor if "upper" in name else -minor)

    def _fissures(self, p: Place) -> Floats:
        right, left = self._fissure(p, 1.0), self._fissure(p, -1.0)
        minor = np.maximum(np.abs(350 + 4 * np.sin(p.x / 30.0) + 0.1 * p.y - p.z), -right)
        return np.where(p.x > 0, np.minimum(np.abs(right), minor), np.abs(left)).astype(np.float32) - 0.5

    def _beside_spine(self, p: Place) -> Floats:
        """What fills the room between the arches, the heads of the ribs and the lung: muscle, not fat."""
        room = both(np.abs(p.x - self.trunk.side(p.z)) - 36, p.y - self.trunk.spine(p.z) + 13)
        return both(room, p["wall"])

    def _neck(self) -> None:
        scene = self.scene
        fat = scene.field(
            lambda p: np.maximum(
                ellipsoid(p.x, p.y, p.z, (0, 0, 540), (52, 30, 200)), np.maximum(488 - p.z, p["hull"] + 7)
            ),
            ((-60, 60), (-40, 50), (486, 630)),
        )
        scene.paint(fat, "torso_fat", "fat_inside")
        for sign in (1, -1):
            for line in (
                [(sign * 12, 26, 462, 7), (sign * 40, 12, 530, 9), (sign * 48, -14, 610, 9)],
                [(sign * 30, -20, 480, 9), (sign * 32, -24, 610, 12)],
                [(sign * 12, -19, 440, 5), (sign * 13, -18, 610, 7)],
            ):
                scene.paint(scene.tube(smooth_line(line, 8)), "skeletal_muscle", "muscle")
            lobe = smooth_line([(sign * 17, 0, 500, 6), (sign * 19, 0, 520, 8.5), (sign * 20, -4, 545, 5)], 6)
            lobe[:, 3] *= self.trunk.person.organs["thyroid"]
            scene.paint(scene.tube(lobe), "thyroid_gland", "thyroid")
        scene.paint(
            scene.tube(smooth_line([(-16, 8, 512, 4.5), (0, 14, 510, 4), (16, 8, 512, 4.5)], 6)),
            "thyroid_gland",
            "thyroid",
        )

    def _heart(self) -> None:
        scene, s = self.scene, self.size
        x, y, z = self.at
        box = ((x - 95 * s, x + 95 * s), (y - 75 * s, y + 75 * s), (z - 70 * s, z + 75 * s))
        room = scene.field(lambda p: np.maximum(np.maximum(self.heart(p), p["wall"] + 3.0), p["dome"] + 1.0), box)
        scene.paint(room + -1.2, "pericardium", "pericardium")
        scene.paint(room, "heart", "fat_inside")
        p = scene.place(room.window)
        shapes = self.chambers(p)
        limit = room.mm + 1.5

        def put(shape: Floats, label: str, tissue: str) -> None:
            scene.paint(type(room)(room.window, np.maximum(shape, limit).astype(np.float32)), label, tissue)

        put(shapes["right"] - 2.5, "heart_myocardium", "myocardium")
        put(shapes["atrium_right"] - 1.5, "heart_myocardium", "myocardium")
        put(shapes["atrium_left"] - 1.5, "heart_myocardium", "myocardium")
        put(shapes["muscle"], "heart_myocardium", "myocardium")
        rough = 1.2 * np.sin(p.x / 2.9) * np.sin(p.y / 3.1) * np.sin(p.z / 3.7)  # trabeculae
        put(shapes["right"] + rough, "heart_ventricle_right", "blood_right")
        put(shapes["atrium_right"], "heart_atrium_right", "blood_right")
        put(shapes["atrium_left"], "heart_atrium_left", "blood_artery")
        put(shapes["left"] + rough, "heart_ventricle_left", "blood_artery")
        groove = (
            [
                (x + 2, y + 8, z + 32, 2.2),
                (x - 14, y + 30, z + 22, 2),
                (x - 30, y + 45, z - 5, 1.7),
                (x - 48, y + 44, z - 30, 1.1),
            ],
            [(x + 2, y + 8, z + 32, 2.0), (x - 25, y - 12, z + 20, 1.8), (x - 48, y - 20, z + 2, 1.2)],
            [
                (x + 18, y + 18, z + 24, 2.0),
                (x + 40, y + 34, z + 8, 1.8),
                (x + 44, y + 26, z - 28, 1.5),
                (x + 20, y - 4, z - 40, 1.1),
            ],
        )
        for line in groove:
            points = smooth_line([tuple(v) for v in line], 4)
            points[:, :3] = (points[:, :3] - self.at) * s + self.at
            scene.paint_tube(points, None, "fat_inside", grow_mm=2.5)
            scene.paint_tube(points, "coronary_arteries", "blood_artery")

    def _great_vessels(self, lines: dict[str, tuple[str, list[Line]]]) -> None:
        scene = self.scene
        gullet = smooth_line(self.OESOPHAGUS, 8)
        scene.paint(scene.tube(gullet, reach_mm=3), "esophagus", "gut_wall")
        air = gullet[(gullet[:, 2] > 300) & (np.sin(gullet[:, 2] / 17) > 0.3)].copy()
        for point in air:
            scene.paint_tube(
                np.array([[*point[:3], 2.2], [point[0], point[1] + 1, point[2] + 4, 1.6]]),
                None,
                "gut_gas",
                on=("esophagus",),
            )
        for label, (tissue, group) in lines.items():
            for line in group:
                points = smooth_line(line, 8)
                field = scene.tube(points, reach_mm=4.0)
                if label == "aorta":
                    scene.paint(field, label, "blood_aorta_wall")
                    scene.paint(field + 1.3, label, tissue)
                else:
                    scene.paint(field, label, tissue)
        for line in self.BRONCHI:
            points = smooth_line(line, 6)
            scene.paint_tube(points, "bronchi", "soft", grow_mm=1.2)
        scene.paint_tube(smooth_line(self.TRACHEA, 8), "trachea", "soft", grow_mm=1.5)
        for line in self.BRONCHI:
            scene.paint_tube(smooth_line(line, 6), "bronchi", "air")
        scene.paint_tube(smooth_line(self.TRACHEA, 8), "trachea", "air")

    def _trees(self) -> None:
        """Arteries, veins and bronchi from the hilum to tips spread through each lung."""
        scene, rng = self.scene, self.scene.rng("lung trees")
        many = 1.0 if scene.edge_mm < 1.6 else 0.3
        for _, sign in SIDES:
            tips = self._tips(sign, int(1500 * many), rng)
            third = len(tips) // 16
            roots = {"artery": (sign * 58, -18, 384), "vein": (sign * 52, -18, 368), "bronchus": (sign * 50, -26, 386)}
            parts = {"bronchus": tips[:third], "artery": tips[third : 8 * third], "vein": tips[8 * third :]}
            for kind, group in parts.items():
                radius = 5.6 if kind != "bronchus" else 4.3
                tip = (0.7 if kind != "bronchus" else 0.75) / many**0.33
                tree = grow(roots[kind], np.asarray(group, dtype=np.float64), tip_radius_mm=tip, root_radius_mm=radius)
                if kind == "bronchus":
                    scene.paint_branches(tree, "bronchi", "soft", grow_mm=0.6, on=(*LOBES, "bronchi"))
                    scene.paint_branches(tree, "bronchi", "air", on=(*LOBES, "bronchi"))
                else:
                    scene.paint_branches(tree, "lung_vessels", "blood_pulmonary", on=LOBES)

    def _tips(self, sign: float, number: int, rng: np.random.Generator) -> Floats:
        """(N, 3) reference points inside the lung, at least 3 mm from its surface."""
        out: list[Floats] = []
        while sum(map(len, out)) < number:
            tries = rng.uniform((4, -100, 175), (140, 90, 500), (6000, 3)) * (sign, 1, 1)
            p = self.trunk.at_points(tries)
            inside = np.maximum(self.trunk.thorax(p), -self._middle(p, []))
            out.append(tries[inside < -3.0])
        return np.concatenate(out)[:number]


def _grown(line: Line, mm: float) -> Floats:
    points = smooth_line(line, 8)
    points[:, 3] += mm
    return points


def _onto(field: object, target: object) -> Floats:
    """A field of distances on the window of another."""
    out = np.full(target.mm.shape, 60.0, dtype=np.float32)  # type: ignore[attr-defined]
    inner, outer = [], []
    for own, other in zip(field.window, target.window, strict=True):  # type: ignore[attr-defined]
        low, high = max(own.start, other.start), min(own.stop, other.stop)
        inner.append(slice(low - other.start, max(high - other.start, 0)))
        outer.append(slice(low - own.start, max(high - own.start, 0)))
        if high <= low:
            return out
    out[tuple(inner)] = field.mm[tuple(outer)]  # type: ignore[attr-defined]
    return out
