"""The organs of the pelvis."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.organs import Organs
from vlm.phantom.body.scene import Place
from vlm.phantom.body.shapes import Floats, Triple, around, ellipsoid, meet, smooth_line


class Pelvis(Organs):
    """Draws bladder, prostate or uterus, and the floor of the pelvis."""

    def draw(self) -> None:
        """Everything."""
        scene, person = self.scene, self.person
        s = person.organs["bladder"]
        at = self.moved("bladder", (0, 14, -98 + 10 * s))

        def bladder(p: Place) -> Floats:
            ball = ellipsoid(p.x, p.y, p.z, at, (38 * s, 30 * s, 27 * s), (-12, 0, 0))
            return meet(ball, p["wall"] + 6, 8)

        if person.sex == "female" and not person.variants["no_uterus"]:
            self._uterus(at)
        elif person.sex == "male":
            size = person.organs["prostate"] * (1 + 0.008 * max(person.age - 50, 0))

            def prostate(p: Place) -> Floats:
                return ellipsoid(p.x, p.y, p.z, (0, 4, -132), (24 * size, 18 * size, 19 * size))

            self.press(scene.field(prostate, ((-50, 50), (-40, 50), (-175, -90))), "prostate", "prostate", 1.5)
            for sign in (1, -1):
                vesicle = np.array([(sign * 6, -16, -110, 5), (sign * 30, -24, -102, 5)])
                scene.paint_tube(vesicle, "skeletal_muscle", "soft")
        box = around(at, 70)
        field = scene.field(bladder, box)
        self.press(field, "urinary_bladder", "gut_wall", 1.0)
        scene.paint(field + 3.0, "urinary_bladder", "urine")
        for sign in (1, -1):  # floor of the pelvis
            floor = smooth_line(
                [(sign * 8, 30, -142, 6), (sign * 26, 0, -138, 6), (sign * 28, -35, -128, 6), (sign * 6, -66, -128, 6)],
                6,
            )
            scene.paint(scene.tube(floor), "skeletal_muscle", "muscle", on=("torso_fat", "skeletal_muscle"))

    def _uterus(self, bladder: Triple) -> None:
        scene, person = self.scene, self.person
        s = person.organs["uterus"] * float(np.interp(person.age, [20, 48, 58, 90], [1.0, 1.08, 0.8, 0.65]))
        x, y, _ = person.moved["uterus"]
        tip = (x, y + 2, bladder[2] + 44)
        line = smooth_line(
            [(0, -22, -118, 10 * s), (0, -20, -98, 13 * s), (x * 0.6, -12 + y * 0.5, -82, 19 * s), (*tip, 24 * s)], 5
        )
        field = scene.tube(line)
        self.press(field, "uterus", "uterus")
        cavity = line[len(line) // 2 :].copy()
        cavity[:, 3] = 2.4
        scene.paint_tube(cavity, "uterus", "soft", on=("uterus",))
        for sign in (1, -1):  # ovaries
            ball = scene.solid(
                (sign * 42 + x, -14, -66), (20, 20, 20), lambda u, v, w: ellipsoid(u, v, w, (0, 0, 0), (14, 9, 11))
            )
            scene.paint_voxels(ball, "uterus", "soft", on=("torso_fat",))
