"""Liver, spleen, stomach, gut, pancreas, kidneys, vessels of the belly, and the organs of the pelvis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.spatial import cKDTree

from vlm.phantom.body.scene import Box, Field, Place, Scene
from vlm.phantom.body.shapes import Floats, Triple, ellipsoid, join, meet, smooth_line
from vlm.phantom.body.trunk import Trunk
from vlm.phantom.trees import grow

Line = Sequence[tuple[float, float, float, float]]
SIDES = (("right", 1.0), ("left", -1.0))
UNDER: Box = ((-150, 150), (-115, 130), (90, 310))


class Abdomen:
    """Draws the belly and the pelvis of one person."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk, self.person = scene, trunk, trunk.person
        self.gap = 0.4 + 4.5 * self.person.visceral  # fat between neighbours, mm

    def draw(self) -> None:
        """Large organs first; those that follow press into them; gut fills what is left."""
        self._liver()
        self._spleen()
        for side, sign in SIDES:
            self._kidney(side, sign)
        self._pelvis()
        self._colon()
        self._stomach()
        self._pancreas()
        self._gallbladder()
        self._vessels()
        self._small_bowel()

    def _moved(self, name: str, point: Triple) -> Triple:
        move = self.person.moved.get(name, (0.0, 0.0, 0.0))
        return point[0] + move[0], point[1] + move[1], point[2] + move[2]

    def _line(self, name: str, line: Line, size: float = 1.0, step_mm: float = 6.0) -> Floats:
        points = smooth_line([(*self._moved(name, (x, y, z)), r * size) for x, y, z, r in line], step_mm)  # type: ignore[misc]
        return points

    def _press(self, field: Field, label: str, tissue: str, gap: float | None = None) -> Field:
        """Paint an organ with fat round it."""
        gap = self.gap if gap is None else gap
        if gap > 0.8:
            self.scene.paint(field + -gap, "torso_fat", "fat_inside")
        return self.scene.paint(field, label, tissue)

    # upper belly -----------------------------------------------------------------------------------------------------

    def _liver(self) -> None:
        scene, trunk, person = self.scene, self.trunk, self.person
        s = person.organs["liver"]
        b = 0.9 * person.breath_mm
        tail, low = person.variants["beaver_tail"], person.variants["caudal_liver"]

        def shape(p: Place) -> Floats:
            z = p.z - b
            right = ellipsoid(p.x, p.y, z, (66, -4, 206 - (14 if low else 0)), (84 * s, 100, (98 + (22 if low else 0)) * s), (10, 12, 0))
            left = ellipsoid(p.x, p.y, z, (-24 if not tail else -44, 46, 236), ((82 if not tail else 104) * s, 50, 44), (-10, -14, 0))
            whole = join(right, left, 26)
            under = 152 + 0.62 * (80 - p.x) + 0.20 * (40 - p.y) - z  # the under side rises to the left
            tip = np.maximum(np.abs(p.x - 98) - 60, -z + 112)
            whole = meet(whole, np.minimum(under * 0.8, tip * 1.0 - 4).astype(np.float32), 14)
            wave = 1.6 * np.sin(p.x / 17) * np.sin(p.y / 15 + 1) * np.sin(z / 19)
            return meet(whole + wave, trunk.abdomen(p) + 1.5, 6)

        field = scene.paint(shape, "liver", "liver", box=UNDER)
        del field
        ligament = scene.field(lambda p: np.maximum(np.abs(p.x + 6 - 0.12 * p.y) - 1.2, np.maximum(24 - p.y, p.z - 262 - b)), ((-30, 30), (20, 120), (150, 275)))
        scene.paint(ligament, "torso_fat", "fat_inside", on=("liver",))
        hilum = scene.tube(self._line("", ((60, -4, 208 + b, 5), (34, 6, 203 + b, 8), (12, 18, 206 + b, 6))), reach_mm=6)
        scene.paint(hilum, "torso_fat", "fat_inside", on=("liver",))
        self._liver_trees(b)

    def _liver_trees(self, b: float) -> None:
        scene, rng = self.scene, self.scene.rng("liver trees")
        many = 130 if scene.edge_mm < 1.6 else 50
        for label, tissue, root, size in (
            ("hepatic_vein", "blood_hepatic", (27.0, -24.0, 262.0 + b), 5.0), ("portal_vein_and_splenic_vein", "blood_portal", (34.0, 6.0, 205.0 + b), 5.2),
        ):  # fmt: skip
            tips = rng.uniform((-70, -90, 130), (140, 90, 280), (many * 2, 3)) + (0, 0, b)
            tips = tips[(tips[:, 0] > 0) | (tips[:, 2] > 215)]
            scene.paint_branches(grow(root, tips, tip_radius_mm=1.0, root_radius_mm=size), label, tissue, on=("liver",))

    def _spleen(self) -> None:
        scene, trunk, s = self.scene, self.trunk, self.person.organs["spleen"]
        at = self._moved("spleen", (-102, -46, 207 + 0.8 * self.person.breath_mm))

        def shape(p: Place) -> Floats:
            ball = ellipsoid(p.x, p.y, p.z, at, (33 * s, 56 * s, 55 * s), (24, -18, 20))
            hollow = ellipsoid(p.x, p.y, p.z, (at[0] + 42, at[1] + 22, at[2] - 6), (38, 46, 58))
            notch = 2.2 * np.sin(p.z / 8.0 + p.y / 11)
            return meet(meet(ball + notch * 0.6, -hollow, 8), trunk.abdomen(p) + 1.5, 6)

        box = tuple((v - 85, v + 85) for v in at)
        self._press(scene.field(shape, box), "spleen", "spleen")  # type: ignore[arg-type]
        if self.person.variants["accessory_spleen"]:
            small = (at[0] + 30, at[1] + 30, at[2] - 42)
            ball = scene.solid(small, (12, 12, 12), lambda u, v, w: ellipsoid(u, v, w, (0, 0, 0), (6, 6, 6.5)))
            scene.paint_voxels(ball, "spleen", "spleen")

    def _kidney(self, side: str, sign: float) -> None:
        scene, person = self.scene, self.person
        name = f"kidney_{side}"
        s = person.organs[name]
        b = 0.5 * person.breath_mm - (22 if side == "right" and person.variants["one_kidney_ptotic"] else 0)
        spine = self.trunk.spine.at(150)
        at = self._moved(name, (sign * (66 if sign > 0 else 64), spine - 4, (144 if sign > 0 else 158) + b))
        turn = (10.0, sign * 13.0, sign * 32.0)
        radii = (30 * s, 24 * s, 56 * s)

        def bean(p: Place) -> Floats:
            whole = ellipsoid(p.x, p.y, p.z, at, radii, turn)
            lobes = 0.9 * np.sin((p.z - at[2]) / 7.0) * np.sin(p.x / 9.0) * np.sin(p.y / 8.0)
            return meet(whole + lobes, -self._sinus(p, at, s, sign, 0.0), 6)

        box = tuple((v - r - 45, v + r + 45) for v, r in zip(at, (30, 30, 56), strict=True))
        field = scene.field(bean, box)  # type: ignore[arg-type]
        bed = 2.0 + 15.0 * person.visceral
        scene.paint(Field(field.window, np.maximum(field.mm - bed, scene.place(field.window)["wall"] + 1.0)), "torso_fat", "fat_inside")
        scene.paint(field, name, "kidney_cortex")
        p = scene.place(field.window)
        along = np.sin((p.z - at[2]) / (5.2 * s)) * 3.0
        medulla = np.maximum(field.mm + 6.0, self._pyramids(p, at) + along - 1.0)
        scene.paint(Field(field.window, medulla.astype(np.float32)), name, "kidney_medulla", on=(name,))
        pelvis = ellipsoid(p.x, p.y, p.z, (at[0] - sign * 9 * s, at[1] + 5, at[2]), (11 * s, 5 * s, 15 * s), turn)
        calyx = np.maximum(self._sinus(p, at, s, sign, -4.0), np.abs(np.mod(p.z - at[2], 14) - 7) - 2.0)
        scene.paint(Field(field.window, np.minimum(pelvis, calyx).astype(np.float32)), name, "urine")
        self._adrenal(side, sign, at, radii[2])
        ureter = smooth_line([(at[0] - sign * 22, at[1] + 8, at[2] - 8), (sign * 42, spine + 14, 90), (sign * 40, -20, 20), (sign * 48, -34, -50), (sign * 22, -10, -100)], 6)
        scene.paint_tube(np.column_stack([ureter, np.full(len(ureter), 2.0)]), "torso_fat", "soft", on=("torso_fat",))

    def _sinus(self, p: Place, at: Triple, s: float, sign: float, grow: float) -> Floats:
        middle = (at[0] - sign * 20 * s, at[1] + 11 * s, at[2])
        return ellipsoid(p.x, p.y, p.z, middle, ((21 + grow) * s, (12 + grow) * s, (30 + grow) * s), (10, sign * 13, sign * 32))

    @staticmethod
    def _pyramids(p: Place, at: Triple) -> Floats:
        angle = np.arctan2(p.y - at[1], p.x - at[0])
        return np.asarray(3.2 * np.sin(angle * 5.0), dtype=np.float32)

    def _adrenal(self, side: str, sign: float, kidney: Triple, half: float) -> None:
        top = kidney[2] + half * 0.8
        x, y = (sign * 40.0, self.trunk.spine.at(195) + 8) if sign > 0 else (-44.0, self.trunk.spine.at(195) + 14)
        for dx, dy in ((-9.0, -16.0), (10.0, -18.0)):
            for dz in range(-9, 12, 4):
                limb = np.array([(x, y, top + 10 + dz, 2.6), (x + sign * dx * 0.5, y + dy * 0.5, top + 7 + dz, 2.3), (x + sign * dx, y + dy, top + 4 + dz, 1.6)])
                self.scene.paint_tube(limb, f"adrenal_gland_{side}", "adrenal", on=("torso_fat", "liver", "spleen", f"adrenal_gland_{side}"))

    def _stomach(self) -> None:
        scene, person, s = self.scene, self.person, self.person.organs["stomach"]
        s *= 1.15 if person.variants["full_stomach"] else 0.9
        b = 0.8 * person.breath_mm
        line = self._line("stomach", ((-56, -36, 250 + b, 20), (-68, -14, 242 + b, 29), (-76, 18, 220 + b, 33), (-68, 50, 192 + b, 28), (-38, 60, 170, 23), (2, 52, 162, 19), (26, 34, 166, 14), (38, 22, 166, 10)))
        line[:, 3] *= s
        field = scene.tube(line, reach_mm=10)
        p = scene.place(field.window)
        folds = 1.4 * np.sin(p.z / 4.5 + p.x / 9) * np.sin(p.y / 5.0 + p.x / 7)
        field = Field(field.window, np.maximum(field.mm + 2 * np.sin(p.x / 21) * np.sin(p.z / 18), self.trunk.abdomen(p) + 2))
        self._press(field, "stomach", "gut_wall")
        inside = Field(field.window, field.mm + 4.2 + folds.astype(np.float32))
        scene.paint(inside, "stomach", "oral_contrast" if person.variants["oral_contrast"] else "stomach_content")
        rng = scene.rng("stomach level")
        level = float(rng.uniform(25, 60)) + person.moved["stomach"][1]
        gas = Field(field.window, np.maximum(inside.mm, (level - p.y).astype(np.float32)))
        scene.paint(gas, "stomach", "gut_gas")

    def _pancreas(self) -> None:
        scene, s = self.scene, self.person.organs["pancreas"]
        spine = self.trunk.spine.at(150) + 17
        duodenum = self._line("pancreas", ((38, 22, 166, 11), (50, 6, 170, 14), (56, 2, 140, 14), (50, spine + 16, 108, 13), (15, spine + 27, 98, 12), (-18, spine + 26, 110, 12), (-30, spine + 34, 128, 13)))
        field = scene.tube(duodenum)
        self._press(field, "duodenum", "gut_wall")
        scene.paint(field + 2.6, "duodenum", "gut_content")
        line = self._line("pancreas", ((40, 8, 136, 14), (30, 12, 152, 15), (8, spine + 36, 163, 9), (-22, spine + 34, 172, 10.5), (-52, spine + 12, 186, 11), (-78, -22, 198, 9)), s)
        field = scene.tube(line, reach_mm=9)
        p = scene.place(field.window)
        lobules = (1.0 + 0.02 * max(self.person.age - 40, 0)) * np.sin(p.x / 2.9) * np.sin(p.y / 2.6 + 1) * np.sin(p.z / 3.1)
        field = Field(field.window, field.mm + 1.6 * lobules.astype(np.float32))
        self._press(field, "pancreas", "pancreas", max(self.gap, 1.5))
        duct = line.copy()
        duct[:, 3] = 0.9
        scene.paint_tube(duct, "pancreas", "water", on=("pancreas",))

    def _gallbladder(self) -> None:
        if self.person.variants["no_gallbladder"]:
            return
        b = 0.8 * self.person.breath_mm
        line = self._line("gallbladder", ((66, 52, 154 + b, 12), (62, 46, 160 + b, 14.5), (52, 34, 176 + b, 12), (42, 20, 194 + b, 5), (36, 12, 200 + b, 2.5)), self.person.organs["gallbladder"])
        field = self.scene.tube(line, reach_mm=4)
        self._press(field, "gallbladder", "gut_wall", 1.2)
        self.scene.paint(field + 1.4, "gallbladder", "bile")

    # gut -------------------------------------------------------------------------------------------------------------

    def _colon(self) -> None:
        scene, person = self.scene, self.person
        rng = scene.rng("colon")
        size = person.organs["colon"] * (1.12 if person.variants["gas_filled_colon"] else 1.0)
        w = 6.0 + 8.0 * person.visceral
        frame: Line = (
            (80, 10, 2, 20), (90, 8, 25, 24), (96 + w / 2, -8, 65, 21), (100 + w / 2, -22, 105, 20), (94, -2, 132, 20), (78, 42, 128, 19), (48, 74, 108, 19),
            (5, 84, 112 - 14 * person.visceral, 19), (-45, 80, 130, 20), (-84, 58, 168, 20), (-104, 10, 196, 20), (-108 - w / 2, -28, 172, 16), (-110 - w / 2, -30, 120, 15), (-106, -24, 65, 14),
            (-96, 4, 22, 14), (-74, 24, -5, 14), (-40, 26, -24, 15), (-8, 10, -6, 16), (18, -12, -24, 16), (8, -46, -48, 17), (0, -66, -75, 19), (0, -60, -104, 19), (0, -42, -128, 12), (0, -46, -148, 8),
        )  # fmt: skip
        line = self._line("", frame, size, 5.0)
        line[:, :3] += _wander(rng, len(line), 5.0)
        field = scene.tube(line, reach_mm=7)
        p = scene.place(field.window)
        haustra = 2.6 * np.sin(p.z / 6.5 + p.x / 7.5) * np.sin(p.y / 8.0 + p.x / 11.0)
        field = Field(field.window, np.maximum(field.mm + haustra, self.trunk.abdomen(p) + 2).astype(np.float32))
        for label, half in (("colon", -62 - p.z), ("rectum", p.z + 62)):
            name = "colon" if label == "colon" else "rectum"
            part = Field(field.window, np.maximum(field.mm, half))
            self._press(part, name, "gut_wall")
            scene.paint(part + 2.2, name, "stool" if not person.variants["oral_contrast"] else "oral_contrast")
        tree = cKDTree(line[:, :3])
        gas = _wander(rng, len(line), 1.0)[:, 0] + (0.55 if person.variants["gas_filled_colon"] else -0.1)
        inside = np.flatnonzero(field.mm < 0)
        points = np.stack([axis.ravel()[inside] for axis in (p.x, p.y, p.z)], axis=1)
        _, nearest = tree.query(points, workers=1)
        level = np.full(field.mm.size, 60.0, dtype=np.float32)  # gas rises to the front of each loop
        level[inside] = line[nearest, 1] - points[:, 1] - 14.0 * gas[nearest]
        bubble = Field(field.window, np.maximum(field.mm + 3.0, level.reshape(field.mm.shape)))
        scene.paint(bubble, None, "gut_gas", on=("colon", "rectum"))

    def _small_bowel(self) -> None:
        """Loops of one long tube wander through what room is left and touch wall to wall."""
        scene, person = self.scene, self.person
        rng = scene.rng("small bowel")
        radius = float(rng.uniform(10.5, 13.5))
        low = np.array([-105.0, -45.0, -75.0])
        high = np.array([105.0, 92.0, 160.0])
        tries = rng.uniform(low, high, (2600, 3))
        q = self.trunk.at_points(tries)
        room = np.maximum(q["wall"] + radius + 3, tries[:, 2] - 150 + 0.4 * np.maximum(tries[:, 0], -0.4 * tries[:, 0]))
        spine = self.trunk.spine(tries[:, 2].astype(np.float32)) + 34 + 10 * (np.abs(tries[:, 0]) < 30)
        keep = (room < 0) & (tries[:, 1] > np.where(tries[:, 2] > -10, spine, -60))
        keep &= np.abs(tries[:, 0]) < 90 - 40 * person.visceral * (tries[:, 2] < 60)
        chosen: list[Floats] = []
        for point in tries[keep]:
            if all(np.linalg.norm(point - other) > radius * 1.6 for other in chosen):
                chosen.append(point)
        if len(chosen) < 8:
            return
        path = _walk(np.array(chosen))
        line = np.column_stack([path, radius * (0.85 + 0.3 * rng.random(len(path)))])
        line = smooth_line(line, 4.0)
        line[:, :3] += _wander(rng, len(line), 3.0)
        box = tuple((float(a) - 30, float(b) + 30) for a, b in zip(low, high, strict=True))
        window = scene.window(box)  # type: ignore[arg-type]
        if any(part.stop - part.start < 2 for part in window):
            return
        p = scene.place(window)
        points = np.stack([axis.ravel() for axis in (p.x, p.y, p.z)], axis=1)
        free = np.flatnonzero(p["wall"].ravel() < 0)
        first, between = _loops(line, points[free], radius)
        mm = np.full(p.x.size, 30.0, dtype=np.float32)
        mm[free] = first
        wall = np.full(p.x.size, 30.0, dtype=np.float32)
        wall[free] = between
        field = Field(window, np.maximum(mm.reshape(p.x.shape), p["wall"] + 2.0))
        scene.paint(field, "small_bowel", "gut_wall", on=("torso_fat",))
        folds = 0.9 * np.sin(p.x / 1.9 + p.z / 2.3) * np.sin(p.y / 2.1)
        inner = np.maximum(field.mm + 2.2 + folds, 2.0 - wall.reshape(p.x.shape))
        scene.paint(Field(window, inner.astype(np.float32)), "small_bowel", "oral_contrast" if person.variants["oral_contrast"] else "gut_content", on=("small_bowel",))
        gas = np.sin(p.x / 21 + 1) * np.sin(p.z / 25 + 2) * np.sin(p.y / 30)
        front = np.maximum(inner, np.maximum((0.55 - gas) * 20, 45 - p.y))
        scene.paint(Field(window, front.astype(np.float32)), "small_bowel", "gut_gas", on=("small_bowel",))

    # vessels and pelvis ----------------------------------------------------------------------------------------------

    def _vessels(self) -> None:
        scene = self.scene
        b = 0.8 * self.person.breath_mm
        s = self.trunk.spine.at
        front = {z: s(z) + 17 for z in (80, 100, 130, 150, 170, 190)}
        old = 1 + 0.003 * max(self.person.age - 50, 0)
        groups: tuple[tuple[str, str, tuple[Line, ...]], ...] = (
            ("portal_vein_and_splenic_vein", "blood_portal", (
                ((-84, -34, 204, 3.6), (-50, front[190] + 6, 188, 4.4), (-22, front[170] + 22, 172, 4.8), (8, front[170] + 26, 166, 5.6), (24, 4, 188 + b, 6.4), (34, 6, 204 + b, 6.2), (62, -6, 214 + b, 5)),
                ((34, 6, 204 + b, 5.5), (12, 20, 210 + b, 4.5), (-6, 34, 226 + b, 4)), ((8, front[170] + 26, 166, 5.4), (10, front[130] + 24, 130, 5), (14, front[100] + 30, 80, 4)),
            )),
            ("mesenteric_vessels", "blood_artery", (
                ((0, front[170] + 10, 172, 3.6), (-2, front[150] + 24, 158, 3.4), (-2, front[130] + 26, 125, 3.2), (2, front[100] + 32, 80, 2.4)),
                ((-2, front[190] + 12, 184, 3.8), (0, front[190] + 24, 186, 3.5)), ((0, front[190] + 24, 186, 2.8), (24, 8, 186, 2.6), (34, 8, 204 + b, 2)),
                ((0, front[190] + 24, 186, 2.9), (-30, front[170] + 18, 182, 2.6), (-84, -30, 206, 2.2)),
            )),
            ("renal_vessels", "blood_artery", (
                ((4, front[150] + 10, 156, 3.0), (28, front[150] - 2, 154, 2.8), (50, s(150) + 4, 148, 2.4)), ((-6, front[150] + 10, 158, 3.0), (-46, s(150) + 4, 160, 2.5)),
            )),
            ("renal_vessels", "blood_renal_vein", (
                ((22, front[150] + 12, 152, 5), (50, s(150) + 8, 144, 4.2)), ((20, front[150] + 14, 156, 4.8), (0, front[150] + 22, 157, 3.6), (-24, front[150] + 10, 159, 5), (-48, s(150) + 8, 158, 4.2)),
            )),
        )  # fmt: skip
        for label, tissue, lines in groups:
            for line in lines:
                scene.paint_tube(smooth_line(list(line), 5), label, tissue)  # type: ignore[arg-type]
        for x0, y0, z0, tip in ((26, -22, 262 + b, 4.2),):
            for there in ((82, -30, 238 + b), (40, 30, 250 + b), (-12, 36, 246 + b)):
                scene.paint_tube(np.array([(x0, y0, z0, tip), (*there, 3.0)]), "hepatic_vein", "blood_hepatic", on=("liver", "hepatic_vein"))
        for side, sign in SIDES:
            artery = ((sign * 3, front[80] + 8, 84, 6.2 * old), (sign * 26, s(40) + 30, 42, 5.6), (sign * 46, -6, 2, 5.2), (sign * 62, 16, -35, 4.8), (sign * 80, 52, -88, 4.6), (sign * 82, 62, -130, 4.4), (sign * 74, 44, -270, 3.6))
            vein = ((14, front[80] + 4, 80, 8), (sign * 28 + 4, s(40) + 20, 40, 7), (sign * 48, -18, 0, 6.6), (sign * 62, 2, -38, 6.4), (sign * 72, 44, -90, 6.2), (sign * 72, 54, -130, 6), (sign * 68, 36, -270, 4.6))
            for label, tissue, line in (("iliac_vena", "blood_vein", vein), ("iliac_artery", "blood_artery", artery)):
                scene.paint_tube(smooth_line(list(line), 6), f"{label}_{side}", tissue)  # type: ignore[arg-type]
            for z in (-5, -45):
                scene.paint_tube(smooth_line([(sign * 46, -8, 4, 3.5), (sign * 50, -40, -40, 3), (sign * 40, -48, z - 40, 2)], 6), f"iliac_artery_{side}", "blood_artery")
        rng = scene.rng("mesentery")
        tips = rng.uniform((-85, 10, -30), (85, 75, 120), (90, 3))
        scene.paint_branches(grow((4.0, front[130] + 30, 120.0), tips, tip_radius_mm=0.9, root_radius_mm=3.0), "mesenteric_vessels", "blood_portal", on=("torso_fat",))

    def _pelvis(self) -> None:
        scene, person = self.scene, self.person
        s = person.organs["bladder"]
        at = self._moved("bladder", (0, 14, -98 + 10 * s))
        fundus = (0.0, -14.0, -100.0)

        def bladder(p: Place) -> Floats:
            ball = ellipsoid(p.x, p.y, p.z, at, (38 * s, 30 * s, 27 * s), (-12, 0, 0))
            return meet(ball, p["wall"] + 6, 8)

        del fundus
        if person.sex == "female" and not person.variants["no_uterus"]:
            self._uterus(at)
        elif person.sex == "male":
            size = person.organs["prostate"] * (1 + 0.008 * max(person.age - 50, 0))

            def prostate(p: Place) -> Floats:
                return ellipsoid(p.x, p.y, p.z, (0, 4, -132), (24 * size, 18 * size, 19 * size))

            self._press(scene.field(prostate, ((-50, 50), (-40, 50), (-175, -90))), "prostate", "prostate", 1.5)
            for sign in (1, -1):
                vesicle = np.array([(sign * 6, -16, -110, 5), (sign * 30, -24, -102, 5)])
                scene.paint_tube(vesicle, "skeletal_muscle", "soft")
        box = tuple((v - 70, v + 70) for v in at)
        field = scene.field(bladder, box)  # type: ignore[arg-type]
        self._press(field, "urinary_bladder", "gut_wall", 1.0)
        scene.paint(field + 3.0, "urinary_bladder", "urine")
        for sign in (1, -1):  # floor of the pelvis
            floor = smooth_line([(sign * 8, 30, -142, 6), (sign * 26, 0, -138, 6), (sign * 28, -35, -128, 6), (sign * 6, -66, -128, 6)], 6)  # type: ignore[list-item]
            scene.paint(scene.tube(floor), "skeletal_muscle", "muscle", on=("torso_fat", "skeletal_muscle"))

    def _uterus(self, bladder: Triple) -> None:
        scene, person = self.scene, self.person
        s = person.organs["uterus"] * float(np.interp(person.age, [20, 48, 58, 90], [1.0, 1.08, 0.8, 0.65]))
        x, y, _ = person.moved["uterus"]
        tip = (x, y + 2, bladder[2] + 44)
        line = smooth_line([(0, -22, -118, 10 * s), (0, -20, -98, 13 * s), (x * 0.6, -12 + y * 0.5, -82, 19 * s), (*tip, 24 * s)], 5)  # type: ignore[list-item]
        field = scene.tube(line)
        self._press(field, "uterus", "uterus")
        cavity = line[len(line) // 2 :].copy()
        cavity[:, 3] = 2.4
        scene.paint_tube(cavity, "uterus", "soft", on=("uterus",))
        for sign in (1, -1):  # ovaries
            ball = scene.solid((sign * 42 + x, -14, -66), (20, 20, 20), lambda u, v, w: ellipsoid(u, v, w, (0, 0, 0), (14, 9, 11)))
            scene.paint_voxels(ball, "uterus", "soft", on=("torso_fat",))


def _wander(rng: np.random.Generator, count: int, mm: float) -> Floats:
    """(count, 3) smooth random steps aside."""
    knots = rng.normal(0, mm, (max(count // 8, 3), 3))
    return np.stack([np.interp(np.linspace(0, len(knots) - 1, count), np.arange(len(knots)), knots[:, a]) for a in range(3)], axis=1)


def _walk(points: Floats) -> Floats:
    """Points in the order of a walk that always goes to the nearest one not yet seen."""
    left = list(range(1, len(points)))
    order = [0]
    while left:
        away = np.linalg.norm(points[left] - points[order[-1]], axis=1)
        order.append(left.pop(int(np.argmin(away))))
    return points[order]


def _loops(line: Floats, points: Floats, radius: float) -> tuple[Floats, Floats]:
    """Distance of points to a winding tube, and how far each is from the border to the tube's next loop."""
    tree = cKDTree(line[:, :3])
    away, index = tree.query(points, k=10, distance_upper_bound=radius * 2.6, workers=1)
    nearest = index[:, 0]
    ok = nearest < len(line)
    apart = np.abs(index - nearest[:, None]) > 9
    other = np.where(apart & (index < len(line)), away, 60.0).min(axis=1)
    own = np.where(ok, line[np.minimum(nearest, len(line) - 1), 3], 0.0)
    first = np.where(ok, away[:, 0] - own, 30.0)
    between = np.where(ok, 0.5 * (other - away[:, 0]), 30.0)
    return np.asarray(first, dtype=np.float32), np.asarray(between, dtype=np.float32)
