"""Liver, spleen, pancreas, kidneys, adrenals, gallbladder and the vessels of the belly."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.gut import Gut
from vlm.phantom.body.organs import SIDES, Line, Organs
from vlm.phantom.body.pelvis import Pelvis
from vlm.phantom.body.scene import Box, Field, Place
from vlm.phantom.body.shapes import Floats, Triple, around, ellipsoid, join, meet, smooth_line
from vlm.phantom.trees import grow

UNDER: Box = ((-150, 150), (-115, 130), (90, 310))


class Abdomen(Organs):
    """Draws the belly and the pelvis of one person."""

    def draw(self) -> None:
        """Large organs first; those that follow press into them; gut fills what is left."""
        gut = Gut(self.scene, self.trunk)
        self._liver()
        Pelvis(self.scene, self.trunk).draw()
        gut.colon()
        gut.stomach()
        self._liver_inside()  # after the stomach, which would lie in the fissures
        self._spleen()
        for side, sign in SIDES:
            self._kidney(side, sign)
        self._pancreas()
        self._gallbladder()
        self._vessels()
        gut.small_bowel()

    def _liver(self) -> None:
        scene, trunk, person = self.scene, self.trunk, self.person
        rng = scene.rng("liver")
        b = 0.9 * person.breath_mm
        tip = float(rng.normal(-72, 16)) - (42 if person.variants["beaver_tail"] else 0)
        low = float(rng.normal(0, 9)) - (16 if person.variants["caudal_liver"] else 0)
        back, lean, under_left = (float(rng.normal(mean, sd)) for mean, sd in ((1, 6), (0.37, 0.09), (184, 9)))
        tilt = float(rng.normal(0.62, 0.07))
        turn = rng.uniform(0, 2 * np.pi, 3)

        def shape(p: Place) -> Floats:
            z = p.z - b
            right = ellipsoid(p.x, p.y, z, (66, -4, 206 + low), (84, 100, 96), (10, 12, 0))
            medial = (9 - p.x + 0.30 * np.minimum(p.y, 0) + 0.25 * np.maximum(-60 - p.y, 0)).astype(np.float32)
            right = meet(right, medial, 22)
            # the left lobe: a wedge below the diaphragm, in front of the stomach, that thins out to the left
            away = 10 - p.x
            wedge = np.maximum(back + lean * away - p.y, 0.8 * (under_left + 0.36 * away - z))
            wedge = np.maximum(wedge, np.maximum(tip - p.x + 0.2 * np.abs(p.y - 60), p.x - 60)).astype(np.float32)
            caudate = ellipsoid(p.x, p.y, z, (9, -16, 214), (20, 19, 30))
            under = (152 + low + tilt * (80 - p.x) + 0.20 * (40 - p.y) - z) * 0.75  # rises to the left
            foot = ellipsoid(p.x, p.y, z, (100, -6, 180 + low), (44, 88, 66))
            if person.variants["caudal_liver"]:  # Riedel's lobe
                foot = join(foot, ellipsoid(p.x, p.y, z, (98, 4, 128), (22, 42, 52)), 20)
            right = meet(join(right, foot, 20), join(np.asarray(under, dtype=np.float32), foot, 30), 14)
            whole = join(join(right, wedge, 20), caudate, 6)
            wave = 2.2 * np.sin(p.x / 17 + turn[0]) * np.sin(p.y / 15 + turn[1]) * np.sin(z / 19 + turn[2])
            return meet(whole + wave.astype(np.float32), trunk.abdomen(p) + 1.5, 6)

        liver_ml = 1620.0 * person.organs["liver"] * float(np.prod(person.scale)) ** 0.7
        taken = ("aorta", "inferior_vena_cava", "esophagus")
        scene.paint(self.sized(shape, UNDER, liver_ml), "liver", "liver", box=UNDER, off=taken)
        self.fissures = (b, back, lean, turn)

    def _liver_inside(self) -> None:
        """Fissures, the hilum and the veins of the liver."""
        scene, (b, back, lean, turn) = self.scene, self.fissures

        def fissures(p: Place) -> Floats:
            z = p.z - b
            venosum = np.maximum(np.abs(p.y - back - lean * (10 - p.x) + 4) - 1.3, np.abs(p.x + 6) - 20)
            venosum = np.maximum(venosum, np.abs(z - 214) - 26)
            teres = np.abs(p.x + 6 - 0.25 * (p.y - 40) + 3 * np.sin(p.y / 14 + turn[0])) - 1.0 - 0.06 * (225 - z)
            teres = np.maximum(teres, np.maximum(34 - p.y, 0.6 * (z - 228)))  # it opens downwards
            return np.asarray(np.minimum(venosum, teres), dtype=np.float32)

        scene.paint(fissures, "torso_fat", "fat_inside", box=((-45, 40), (-30, 125), (150, 260)), on=("liver",))
        hilum = scene.tube(
            self.line_of("", ((60, -4, 208 + b, 5), (34, 6, 203 + b, 8), (12, 18, 206 + b, 6))), reach_mm=6
        )
        scene.paint(hilum, "torso_fat", "fat_inside", on=("liver",))
        self._liver_trees(b)

    def _liver_trees(self, b: float) -> None:
        scene, rng = self.scene, self.scene.rng("liver trees")
        many = 130 if scene.edge_mm < 1.6 else 50
        for label, tissue, root, size in (
            ("hepatic_vein", "blood_hepatic", (27.0, -24.0, 262.0 + b), 5.0),
            ("portal_vein_and_splenic_vein", "blood_portal", (34.0, 6.0, 205.0 + b), 5.2),
        ):  # fmt: skip
            tips = rng.uniform((-70, -90, 130), (140, 90, 280), (many * 2, 3)) + np.array([0, 0, b])
            tips = tips[(tips[:, 0] > 0) | (tips[:, 2] > 215)]
            scene.paint_branches(grow(root, tips, tip_radius_mm=1.0, root_radius_mm=size), label, tissue, on=("liver",))

    def _spleen(self) -> None:
        """It lies on the diaphragm like a shell, thick in its middle, and takes its form from its neighbours."""
        scene, trunk, person = self.scene, self.trunk, self.person
        rng = scene.rng("spleen")
        at = self.moved("spleen", (-98, -42, 196 + 0.8 * person.breath_mm))
        thick, turn = float(rng.normal(42, 5)), (float(rng.normal(24, 8)), -14.0, float(rng.normal(20, 8)))
        long, phase = float(rng.normal(1, 0.1)), float(rng.uniform(0, 6))

        def shape(p: Place) -> Floats:
            under = trunk.abdomen(p)
            ball = ellipsoid(p.x, p.y, p.z, at, (52, 56 * long, 56 / long), turn)
            shell = -(under + thick) * 0.9
            notch = 2.0 * np.sin(p.z / 8.0 + p.y / 11 + phase) * np.sin(p.y / 19)
            return meet(meet(ball + notch.astype(np.float32), shell, 18), under + 1.5, 6)

        box = around(at, 96)
        sized = self.sized(shape, box, 245.0 * person.organs["spleen"] * float(np.prod(person.scale)) ** 0.7)
        self.press(scene.field(sized, box), "spleen", "spleen", off=("liver", "aorta"))
        if person.variants["accessory_spleen"]:
            small = (at[0] + 30, at[1] + 30, at[2] - 42)
            ball = scene.solid(small, (12, 12, 12), lambda u, v, w: ellipsoid(u, v, w, (0, 0, 0), (6, 6, 6.5)))
            scene.paint_voxels(ball, "spleen", "spleen", on=("torso_fat",))

    def _kidney(self, side: str, sign: float) -> None:
        scene, person = self.scene, self.person
        name = f"kidney_{side}"
        s = person.organs[name]
        b = 0.5 * person.breath_mm - (22 if side == "right" and person.variants["one_kidney_ptotic"] else 0)
        spine = self.trunk.spine.at(150)
        at = self.moved(name, (sign * (66 if sign > 0 else 64), spine - 4, (144 if sign > 0 else 158) + b))
        rng = scene.rng(name)
        turn = (float(rng.normal(10, 5)), sign * float(rng.normal(13, 5)), sign * float(rng.normal(32, 14)))
        upper = float(rng.normal(1.0, 0.05))  # one pole is plumper than the other
        radii = (30 * s, 24 * s, 56 * s)

        def bean(p: Place) -> Floats:
            whole = join(
                ellipsoid(p.x, p.y, p.z, (at[0], at[1], at[2] + 9 * s), (radii[0] * upper, radii[1], 46 * s), turn),
                ellipsoid(p.x, p.y, p.z, (at[0], at[1], at[2] - 9 * s), (radii[0] / upper, radii[1], 46 * s), turn), 6,
            )  # fmt: skip
            lobes = 0.9 * np.sin((p.z - at[2]) / 7.0) * np.sin(p.x / 9.0) * np.sin(p.y / 8.0)
            return meet(whole + lobes, -self._sinus(p, at, s, sign, 0.0), 6)

        box = around(at, 92)
        field = scene.field(bean, box)
        p = scene.place(field.window)
        # fat lies behind and towards the spine; in front liver or spleen may touch the kidney
        behind = np.clip((at[1] - p.y) / 40 + sign * (at[0] - p.x) / 60, -0.6, 1)
        bed = (0.3 + 14.0 * person.visceral) * (0.55 + 0.45 * behind) * self.uneven(p, name)
        around_it = np.maximum(field.mm - bed.astype(np.float32), p["wall"] + 1.0)
        scene.paint(Field(field.window, around_it), "torso_fat", "fat_inside", off=("aorta", "inferior_vena_cava"))
        scene.paint(field, name, "kidney_cortex")
        along = np.sin((p.z - at[2]) / (5.2 * s)) * 3.0
        medulla = np.maximum(field.mm + 6.0, self._pyramids(p, at) + along - 1.0)
        scene.paint(Field(field.window, medulla.astype(np.float32)), name, "kidney_medulla", on=(name,))
        pelvis = ellipsoid(p.x, p.y, p.z, (at[0] - sign * 9 * s, at[1] + 5, at[2]), (11 * s, 5 * s, 15 * s), turn)
        calyx = np.maximum(self._sinus(p, at, s, sign, -4.0), np.abs(np.mod(p.z - at[2], 14) - 7) - 2.0)
        scene.paint(Field(field.window, np.minimum(pelvis, calyx).astype(np.float32)), name, "urine")
        self._adrenal(side, sign, at, radii[2])
        ureter = smooth_line(
            [
                (at[0] - sign * 22, at[1] + 8, at[2] - 8),
                (sign * 42, spine + 14, 90),
                (sign * 40, -20, 20),
                (sign * 48, -34, -50),
                (sign * 22, -10, -100),
            ],
            6,
        )
        scene.paint_tube(np.column_stack([ureter, np.full(len(ureter), 2.0)]), "torso_fat", "soft", on=("torso_fat",))

    def _sinus(self, p: Place, at: Triple, s: float, sign: float, grow: float) -> Floats:
        middle = (at[0] - sign * 20 * s, at[1] + 11 * s, at[2])
        return ellipsoid(
            p.x, p.y, p.z, middle, ((21 + grow) * s, (12 + grow) * s, (30 + grow) * s), (10, sign * 13, sign * 32)
        )

    @staticmethod
    def _pyramids(p: Place, at: Triple) -> Floats:
        angle = np.arctan2(p.y - at[1], p.x - at[0])
        return np.asarray(3.2 * np.sin(angle * 5.0), dtype=np.float32)

    def _adrenal(self, side: str, sign: float, kidney: Triple, half: float) -> None:
        top = kidney[2] + half * 0.8
        x, y = (sign * 40.0, self.trunk.spine.at(195) + 8) if sign > 0 else (-44.0, self.trunk.spine.at(195) + 14)
        for dx, dy in ((-9.0, -16.0), (10.0, -18.0)):
            for dz in range(-9, 12, 4):
                limb = np.array(
                    [
                        (x, y, top + 10 + dz, 2.6),
                        (x + sign * dx * 0.5, y + dy * 0.5, top + 7 + dz, 2.3),
                        (x + sign * dx, y + dy, top + 4 + dz, 1.6),
                    ]
                )
                bed = limb + np.array([0.0, 0.0, 0.0, 2.5])  # it lies in fat, not in the liver
                self.scene.paint_tube(bed, "torso_fat", "fat_inside", on=("liver", "spleen"))
                self.scene.paint_tube(
                    limb,
                    f"adrenal_gland_{side}",
                    "adrenal",
                    on=("torso_fat", "liver", "spleen", f"adrenal_gland_{side}"),
                )

    def _pancreas(self) -> None:
        scene, s = self.scene, self.person.organs["pancreas"]
        spine = self.trunk.spine.at(150) + 17
        duodenum = self.line_of(
            "pancreas",
            (
                (38, 22, 166, 11),
                (50, 6, 170, 14),
                (56, 2, 140, 14),
                (50, spine + 16, 108, 13),
                (15, spine + 27, 98, 12),
                (-18, spine + 26, 110, 12),
                (-30, spine + 34, 128, 13),
            ),
        )
        field = scene.tube(duodenum)
        self.press(field, "duodenum", "gut_wall")
        scene.paint(field + 2.6, "duodenum", "gut_content")
        line = self.line_of(
            "pancreas",
            (
                (40, 8, 136, 14),
                (30, 12, 152, 15),
                (8, spine + 36, 163, 9),
                (-22, spine + 34, 172, 10.5),
                (-52, spine + 12, 186, 11),
                (-78, -22, 198, 9),
            ),
            s,
        )
        field = scene.tube(line, reach_mm=9)
        p = scene.place(field.window)
        lobules = (
            (1.0 + 0.02 * max(self.person.age - 40, 0)) * np.sin(p.x / 2.9) * np.sin(p.y / 2.6 + 1) * np.sin(p.z / 3.1)
        )
        field = Field(field.window, field.mm + 1.6 * lobules.astype(np.float32))
        self.press(field, "pancreas", "pancreas", max(self.gap, 1.5))
        duct = line.copy()
        duct[:, 3] = 0.9
        scene.paint_tube(duct, "pancreas", "water", on=("pancreas",))

    def _gallbladder(self) -> None:
        if self.person.variants["no_gallbladder"]:
            return
        b = 0.8 * self.person.breath_mm
        line = self.line_of(
            "gallbladder",
            (
                (66, 52, 154 + b, 12),
                (62, 46, 160 + b, 14.5),
                (52, 34, 176 + b, 12),
                (42, 20, 194 + b, 5),
                (36, 12, 200 + b, 2.5),
            ),
            self.person.organs["gallbladder"],
        )
        field = self.scene.tube(line, reach_mm=4)
        self.press(field, "gallbladder", "gut_wall", 1.2)
        self.scene.paint(field + 1.4, "gallbladder", "bile")

    def _vessels(self) -> None:
        scene = self.scene
        b = 0.8 * self.person.breath_mm
        s = self.trunk.spine.at
        front = {z: s(z) + 17 for z in (80, 100, 130, 150, 170, 190)}
        old = 1 + 0.003 * max(self.person.age - 50, 0)
        groups: tuple[tuple[str, str, tuple[Line, ...]], ...] = (
            ("portal_vein_and_splenic_vein", "blood_portal", (
                ((-84, -34, 204, 3.6), (-50, front[190] + 6, 188, 4.4), (-22, front[170] + 22, 172, 4.8),
                (8, front[170] + 26, 166, 5.6), (24, 4, 188 + b, 6.4), (34, 6, 204 + b, 6.2), (62, -6, 214 + b, 5)),
                ((34, 6, 204 + b, 5.5), (12, 20, 210 + b, 4.5), (-6, 34, 226 + b, 4)),
                ((8, front[170] + 26, 166, 5.4), (10, front[130] + 24, 130, 5), (14, front[100] + 30, 80, 4)),
            )),
            ("mesenteric_vessels", "blood_artery", (
                ((0, front[170] + 10, 172, 3.6), (-2, front[150] + 24, 158, 3.4), (-2, front[130] + 26, 125, 3.2),
                (2, front[100] + 32, 80, 2.4)),
                ((-2, front[190] + 12, 184, 3.8), (0, front[190] + 24, 186, 3.5)),
                ((0, front[190] + 24, 186, 2.8), (24, 8, 186, 2.6), (34, 8, 204 + b, 2)),
                ((0, front[190] + 24, 186, 2.9), (-30, front[170] + 18, 182, 2.6), (-84, -30, 206, 2.2)),
            )),
            ("renal_vessels", "blood_artery", (
                ((4, front[150] + 10, 156, 3.0), (28, front[150] - 2, 154, 2.8), (50, s(150) + 4, 148, 2.4)),
                ((-6, front[150] + 10, 158, 3.0), (-46, s(150) + 4, 160, 2.5)),
            )),
            ("renal_vessels", "blood_renal_vein", (
                ((22, front[150] + 12, 152, 5), (50, s(150) + 8, 144, 4.2)), ((20, front[150] + 14, 156, 4.8),
                (0, front[150] + 22, 157, 3.6), (-24, front[150] + 10, 159, 5), (-48, s(150) + 8, 158, 4.2)),
            )),
        )  # fmt: skip
        for label, tissue, lines in groups:
            for line in lines:
                scene.paint_tube(smooth_line(list(line), 5), label, tissue)
        for x0, y0, z0, tip in ((26, -22, 262 + b, 4.2),):
            for there in ((82, -30, 238 + b), (40, 30, 250 + b), (-12, 36, 246 + b)):
                scene.paint_tube(
                    np.array([(x0, y0, z0, tip), (*there, 3.0)]),
                    "hepatic_vein",
                    "blood_hepatic",
                    on=("liver", "hepatic_vein"),
                )
        for side, sign in SIDES:
            artery = (
                (sign * 3, front[80] + 8, 84, 6.2 * old),
                (sign * 26, s(40) + 30, 42, 5.6),
                (sign * 46, -6, 2, 5.2),
                (sign * 62, 16, -35, 4.8),
                (sign * 80, 52, -88, 4.6),
                (sign * 82, 62, -130, 4.4),
                (sign * 74, 44, -270, 3.6),
            )
            vein = (
                (14, front[80] + 4, 80, 8),
                (sign * 28 + 4, s(40) + 20, 40, 7),
                (sign * 48, -18, 0, 6.6),
                (sign * 62, 2, -38, 6.4),
                (sign * 72, 44, -90, 6.2),
                (sign * 72, 54, -130, 6),
                (sign * 68, 36, -270, 4.6),
            )
            for label, tissue, line in (("iliac_vena", "blood_vein", vein), ("iliac_artery", "blood_artery", artery)):
                scene.paint_tube(smooth_line(list(line), 6), f"{label}_{side}", tissue)
            for z in (-5, -45):
                scene.paint_tube(
                    smooth_line([(sign * 46, -8, 4, 3.5), (sign * 50, -40, -40, 3), (sign * 40, -48, z - 40, 2)], 6),
                    f"iliac_artery_{side}",
                    "blood_artery",
                )
        rng = scene.rng("mesentery")
        tips = rng.uniform((-85, 10, -30), (85, 75, 120), (90, 3))
        scene.paint_branches(
            grow((4.0, front[130] + 30, 120.0), tips, tip_radius_mm=0.9, root_radius_mm=3.0),
            "mesenteric_vessels",
            "blood_portal",
            on=("torso_fat",),
        )
