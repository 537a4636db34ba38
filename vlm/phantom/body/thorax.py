"""What lies between the lungs: great vessels, windpipe, gullet, the fat round them; the diaphragm and the neck."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from scipy.spatial.distance import cdist

from vlm.phantom.body.heart import Heart
from vlm.phantom.body.labels import LOBES
from vlm.phantom.body.lungs import Lungs
from vlm.phantom.body.scene import Field, Place, Scene, Window
from vlm.phantom.body.shapes import Floats, Triple, ellipsoid, join, meet, smooth_line, squircle
from vlm.phantom.body.trunk import Trunk

ROPES = ("aorta", "superior_vena_cava", "pulmonary_artery")  # the first line of each
NECK_ROPES = ("brachiocephalic", "subclavian", "common_carotid")  # all lines
Line = list[tuple[float, float, float, float]]
SIDES = (("right", 1.0), ("left", -1.0))


class Thorax:
    """Draws the chest of one person."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk = scene, trunk
        person = trunk.person
        self.heart = Heart(scene, trunk)
        self.at = self.heart.at
        self.wide = person.organs["aorta"] * (1 + 0.004 * (person.age - 50))
        self.thymus = 6.0 * max(0.0, (45 - person.age) / 25)  # it turns to fat with age
        self.lines = self.vessels()
        self.ropes = self._ropes()

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
                [(ax + 4, ay - 10, 398, 11), (10, 4, 396, 10), (44, -8, 390, 7.8), (60, -14, 376, 5.2)],
                [(ax + 2, ay - 8, 400, 11), (-38, -16, 404, 10), (-54, -28, 390, 8), (-60, -32, 372, 5.5)],
            ]),
            "superior_vena_cava": ("blood_vein_neck", [[(26, 14, az + 28, 9), (27, 12, 400, 8.5), (28, 12, 440, 8)]]),
            "inferior_vena_cava": ("blood_vein", [[*cava, (28, 2, 285, 10.5), (ax + 50, ay + 2, az - 22, 10.5)]]),
            "brachiocephalic_vein_right": ("blood_vein_neck", [[(28, 12, 438, 7.5), (32, 12, 468, 6.5),
                (36, -6, 510, 6), (34, -8, 610, 5.5)]]),
            "brachiocephalic_vein_left": ("blood_vein_neck", [
                [(28, 14, 442, 7), (0, 20, 450, 6.2), (-32, 12, 468, 6.8), (-36, -6, 510, 6), (-34, -8, 610, 5)],
                [(-32, 12, 468, 6), (-62, 4, 482, 5), (-105, -2, 474, 4.5)], [(32, 12, 468, 6), (64, 4, 482, 5),
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
                [(ax + 40, ay - 30, az + 30, 6.5), (48, -14, 372, 4.4)], [(ax + 40, ay - 34, az + 14, 6.5),
                    (50, -34, az + 4, 4.4)],
                [(ax - 16, ay - 28, az + 34, 6.5), (-52, -10, 380, 4.4)], [(ax - 18, ay - 34, az + 16, 6.5),
                    (-50, -36, az + 4, 4.4)],
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

    def _ropes(self) -> Sequence[Floats]:
        """What runs through the mediastinum, with the fat round it: (N, 4) lines of reference mm and radius."""
        fat = 1.5 + 2.5 * self.trunk.person.visceral
        lines = [(group[0], fat) for name, (_, group) in self.lines.items() if name in ROPES]
        for name, (_, group) in self.lines.items():
            lines += [(line, fat) for line in group] if name.startswith(NECK_ROPES) else []
        lines += [(self.OESOPHAGUS, fat), (self.TRACHEA, fat)]
        lines.append((self.lines["inferior_vena_cava"][1][0], 0.5))  # the lung lies against it
        ropes = []
        for line, around in lines:
            rope = smooth_line(line, 8)
            rope[:, 3] += around
            ropes.append(rope)
        for line in self.lines["pulmonary_artery"][1][1:]:  # the fat of the hilum thins out along its arteries
            root = smooth_line(line, 8)
            root[:, 3] += np.linspace(fat + 1.5, 0.0, len(root))
            ropes.append(root)
        return ropes

    def _between(self, p: Place) -> Floats:
        """What parts the lungs, but for its ropes and the heart: the spine, the folds before and behind the heart."""
        trunk, visceral = self.trunk, self.trunk.person.visceral
        away = np.abs(p.x - trunk.side(p.z))
        back = np.interp(p.z, [180, 230, 300, 420, 500], [25, 22, 17.5, 16.5, 21]).astype(np.float32)
        spine = squircle(p.x - trunk.side(p.z), p.y - trunk.spine(p.z) + 8, back + 4, back + 6, 0.4)
        front = trunk.inner[1](p.z)
        depth = np.clip((p.y - 10) / np.maximum(front - 10, 12), 0, 1.2)
        top = np.clip((p.z - 400) / 50, 0, 1)  # widens to the vessels of the neck
        fold = 1.5 + 2 * visceral + (9 + 10 * visceral + self.thymus) * (1 - depth) ** 2 + 25 * top
        septum = np.maximum(away - fold, np.maximum(4 - p.y, p.y - front - 6))
        behind = np.abs(p.x + 9) - 12 - 4 * visceral  # round gullet and aorta, behind the heart
        behind = np.maximum(behind, np.maximum(p.y - 6, np.maximum(trunk.spine(p.z) - p.y, p.z - 405)))
        cone = np.maximum(away - 24, np.maximum(476 - p.z, np.abs(p.y + 8) - 40))
        out = join(join(spine, behind.astype(np.float32), 8), septum.astype(np.float32), 22)
        return np.asarray(np.minimum(out, cone), dtype=np.float32)

    def parted(self, p: Place) -> Floats:
        """Distance at single points to what parts the lungs."""
        points = np.stack([p.x, p.y, p.z], axis=1)
        out = join(self._between(p), self.heart.whole(p) - 2.0, 18)
        for rope in self.ropes:
            near = cdist(points, rope[:, :3]) - rope[:, 3]
            out = np.minimum(out, near.min(axis=1).astype(np.float32))
        return out

    # drawing ---------------------------------------------------------------------------------------------------------

    def draw(self) -> None:
        """Lungs first, then what lies between them, then what runs through both."""
        scene, trunk = self.scene, self.trunk
        gap = scene.field(
            lambda p: np.maximum(p["wall"], np.abs(p["dome"] - 1.5) - 1.6), ((-150, 150), (-125, 125), (120, 310))
        )
        scene.paint(gap, "diaphragm", "muscle")
        lungs = Lungs(scene, trunk)
        space = lungs.draw()
        middle = self._between(scene.place(space.window)) if space.mm.size else space.mm
        add_to(middle, space.window, scene.field(self.heart.whole, self.heart.box) + -2.0, blend_mm=18.0)
        for rope in self.ropes:
            add_to(middle, space.window, scene.tube(rope, reach_mm=16.0), blend_mm=14.0)
        inside = Field(space.window, np.maximum(space.mm - 1.0, middle).astype(np.float32))
        scene.paint(inside, "torso_fat", "fat_inside", on=LOBES)
        beside = scene.field(self._beside_spine, ((-45, 45), (-125, -20), (150, 512)))
        scene.paint(beside, "skeletal_muscle", "muscle", on=("torso_fat", *LOBES))
        self._neck()
        self.heart.draw()
        self._nodes()
        self._great_vessels()
        lungs.trees(self.parted, self._pulmonary_veins())

    def _pulmonary_veins(self) -> dict[str, Triple]:
        """Where the veins of each lobe end that come from the heart."""
        ends = [line[-1][:3] for line in self.lines["pulmonary_vein"][1]]
        return {
            "lung_upper_lobe_right": ends[0], "lung_middle_lobe_right": ends[0], "lung_lower_lobe_right": ends[1],
            "lung_upper_lobe_left": ends[2], "lung_lower_lobe_left": ends[3],
        }  # fmt: skip

    def _nodes(self) -> None:
        """Lymph nodes of usual size beside the windpipe and below its fork, and the azygos vein."""
        rng = self.scene.rng("lymph nodes")
        for place in ((18, -12, 440), (20, -14, 424), (-24, -14, 418), (6, -30, 398), (-2, -28, 392), (24, -2, 456)):
            if rng.random() < 0.7:
                at = tuple(np.add(place, rng.normal(0, 3, 3)))
                radius = rng.uniform(1.8, 3.2)
                node = np.array([(*at, radius), (at[0] + 1, at[1] - 1, at[2] + rng.uniform(2, 7), radius)])
                self.scene.paint_tube(node, None, "soft", on=("torso_fat",))
        side, spine = self.trunk.side.at, self.trunk.spine.at
        azygos = [(side(z) + 7, spine(z) + 19.5, z, 2.6) for z in (190, 250, 310, 370, 405)]
        azygos += [(20, -34, 418, 3.4), (25, -12, 424, 3.8), (27, 6, 420, 4.2)]
        self.scene.paint_tube(smooth_line(azygos, 8), None, "blood_vein", on=("torso_fat", *LOBES))

    def _beside_spine(self, p: Place) -> Floats:
        """What fills the room between the arches, the heads of the ribs and the lung: muscle, not fat."""
        behind = self.trunk.spine(p.z) - 9 - p.y  # the lung's gutter reaches back beside the body, along the ribs
        room = meet(0.8 * (np.abs(p.x - self.trunk.side(p.z)) - 19 - 0.75 * behind), -behind, 5)
        return meet(room, p["wall"], 4)

    def _neck(self) -> None:
        scene = self.scene
        fat = scene.field(
            lambda p: np.maximum(
                ellipsoid(p.x, p.y, p.z, (0, 0, 540), (52, 30, 200)), np.maximum(488 - p.z, p["hull"] + 7)
            ),
            ((-60, 60), (-40, 50), (486, 630)),
        )
        scene.paint(fat, "torso_fat", "fat_inside")
        manubrium = self.trunk.inner[1].at(466) + 8
        for sign in (1, -1):
            for line in (  # sternomastoid from the top of the sternum, scalenes, long muscle before the spine
                [(sign * 17, manubrium, 466, 4.5), (sign * 28, 24, 496, 7), (sign * 40, 12, 534, 9),
                 (sign * 48, -14, 610, 9)],
                [(sign * 30, -20, 480, 9), (sign * 32, -24, 610, 12)],
                [(sign * 8, self.trunk.spine.at(455) + 13, 455, 3), (sign * 10, self.trunk.spine.at(520) + 13, 520, 5),
                 (sign * 13, -16, 610, 7)],
            ):  # fmt: skip
                scene.paint(scene.tube(smooth_line(line, 8)), "skeletal_muscle", "muscle", off=LOBES)
            lobe = smooth_line([(sign * 17, 0, 500, 6), (sign * 19, 0, 520, 8.5), (sign * 20, -4, 545, 5)], 6)
            lobe[:, 3] *= self.trunk.person.organs["thyroid"]
            scene.paint(scene.tube(lobe), "thyroid_gland", "thyroid")
        scene.paint(
            scene.tube(smooth_line([(-16, 8, 512, 4.5), (0, 14, 510, 4), (16, 8, 512, 4.5)], 6)),
            "thyroid_gland",
            "thyroid",
        )

    def _great_vessels(self) -> None:
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
        for label, (tissue, group) in self.lines.items():
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


def add_to(mm: Floats, window: Window, shape: Field, *, blend_mm: float) -> None:
    """Join a field of distances, in place, with a shape whose own window may be another."""
    inner, outer = [], []
    for own, other in zip(shape.window, window, strict=True):
        low, high = max(own.start, other.start), min(own.stop, other.stop)
        if high <= low or not shape.mm.size:
            return
        inner.append(slice(low - other.start, high - other.start))
        outer.append(slice(low - own.start, high - own.start))
    part = mm[tuple(inner)]
    part[...] = join(part, shape.mm[tuple(outer)], blend_mm)
