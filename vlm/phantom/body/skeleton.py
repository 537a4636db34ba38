"""Bones: spine with discs and canal, ribs with cartilage, sternum, shoulder girdle, pelvis, femora, humeri."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np

from vlm.phantom.body.scene import Place, Scene
from vlm.phantom.body.shapes import Floats, Triple, both, ellipsoid, join, smooth_line, squircle
from vlm.phantom.body.trunk import Trunk

# name: (height of its lower face, height with its disc, half width, half depth of the body), mm
VERTEBRAE: dict[str, tuple[float, float, float, float]] = {}
_bottom = 2.0
for _name, _height, _width, _depth in (
    ("L5", 35, 26, 17.5), ("L4", 37, 25, 17.5), ("L3", 37, 24, 17.5), ("L2", 36, 23, 17), ("L1", 35, 22, 16.5),
    ("T12", 33, 21, 16), ("T11", 31, 20, 16), ("T10", 29, 18.5, 16), ("T9", 28, 17.5, 15.5), ("T8", 27, 16.5, 15),
    ("T7", 26, 16, 15), ("T6", 25.5, 15.5, 14.5), ("T5", 25, 15, 14), ("T4", 24.5, 14.5, 13), ("T3", 24, 14.5, 12),
    ("T2", 23, 15, 10.5), ("T1", 22, 16, 9.5), ("C7", 20, 15, 9), ("C6", 18, 14, 8.5), ("C5", 18, 13, 8.5),
    ("C4", 18, 13, 8.5),
    ("C3", 18, 13, 8.5),
):  # fmt: skip
    VERTEBRAE[_name] = (_bottom, float(_height), float(_width), float(_depth))
    _bottom += _height
# drop from the joint to the front end, mm, and how far round the chest the bone goes, degrees
RIBS = (
    (24, 150), (42, 152), (58, 152), (72, 152), (84, 150), (94, 148), (102, 146), (104, 140), (102, 130),
    (92, 118), (60, 88), (34, 54),
)  # fmt: skip
STERNAL_MM = (452, 432, 410, 388, 366, 348, 334)  # where cartilages 1 to 7 meet the sternum
HIP: Triple = (88.0, -12.0, -95.0)  # centre of the right hip joint


class Skeleton:
    """Draws the bones of one person."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk = scene, trunk

    def draw(self) -> None:
        """Everything, from the spine outwards."""
        for side, sign in (("right", 1.0), ("left", -1.0)):
            self._hip(side, sign)
            self._femur(side, sign)
            self._shoulder(side, sign)
        self._sacrum()
        self._spine()
        self._sternum()
        for side, sign in (("right", 1.0), ("left", -1.0)):
            for number in range(1, 13):
                self._rib(side, sign, number)

    def centre(self, name: str) -> Triple:
        """Middle of a vertebral body."""
        bottom, height, _, _ = VERTEBRAE[name]
        z = bottom + height / 2
        return self.trunk.side.at(z), self.trunk.spine.at(z), z

    # spine -----------------------------------------------------------------------------------------------------------

    def _spine(self) -> None:
        scene, trunk = self.scene, self.trunk

        def discs(p: Place) -> Floats:
            width = np.clip(25 - (p.z - 20) * 0.026, 13, 25)
            inside = squircle(p.x - trunk.side(p.z), p.y - trunk.spine(p.z), width, width * 0.72, 0.3)
            return both(np.maximum(inside, -4 - p.z), p.z - 585)

        scene.paint(discs, "intervertebral_discs", "disc", box=((-32, 32), (-110, 0), (-6, 590)))
        for name in VERTEBRAE:
            self._vertebra(name)
        canal = [(*self._canal(z), 8.6 if z > 30 else 7.5) for z in range(-60, 600, 12)]
        line = np.array(canal)
        scene.paint_tube(line, "spinal_cord", "csf")
        cord = line[line[:, 2] > 172].copy()
        cord[:, 3] = 4.6
        scene.paint_tube(cord, "spinal_cord", "cord")

    def _canal(self, z: float) -> Triple:
        depth = float(np.interp(z, [-60, 0, 180, 330, 480, 590], [14, 17.5, 16.5, 15, 9.5, 8.5]))
        y = self.trunk.spine.at(max(z, -20)) - depth - 8.0 + 0.45 * min(z, 0.0)
        return self.trunk.side.at(z), y, z

    def _vertebra(self, name: str) -> None:
        _, height, width, depth = VERTEBRAE[name]
        thoracic, cervical = name[0] == "T", name[0] == "C"
        z = self.centre(name)[2]
        ahead = self.trunk.spine.at(z + 8) - self.trunk.spine.at(z - 8)
        # along a spine that leans, vertebrae are farther apart than their heights: the bodies take that, not the discs
        half = height * (0.43 if not cervical else 0.40) * float(np.hypot(ahead, 16.0)) / 16.0
        room = self.trunk.hull[2].at(z - (16 if thoracic else 4)) - 14 + self.trunk.spine.at(z) - depth - 8.0 - 11.0
        spinous = float(np.clip(room, 8.0, 22.0 if cervical else 30.0))
        slope = 0.75 if thoracic else 0.25
        reach = 22.0 if cervical else (30.0 if thoracic else 38.0)
        back = -(depth + 8.0)

        def body(u: Floats, v: Floats, w: Floats) -> Floats:
            waist = 1 - 0.11 * (1 - np.minimum((w / half) ** 2, 1))
            out = squircle(u, v, width * waist, depth * waist, 0.35)
            out = np.maximum(out, -depth * 0.84 - v + 1.2 * np.abs(u) / width)
            return both(out, np.abs(w) - half)

        def arch(u: Floats, v: Floats, w: Floats) -> Floats:
            side = np.abs(u)
            ring = np.maximum(squircle(u, v - back, 16.5, 14.5, 0.2), np.abs(w - 1) - 0.30 * height)
            drop = w + slope * np.maximum(back - v - 6, 0) * 0.8
            process = np.maximum(side - 3.2 - 0.03 * np.maximum(back - v - 20, 0), np.abs(drop) - 0.24 * height)
            process = np.maximum(process, np.maximum(v - back, back - 11 - spinous - v))
            lateral = (
                np.sqrt((v - back + 0.35 * np.maximum(side - 14, 0) * (1 if thoracic else 0.3)) ** 2 + (w - 3) ** 2)
                - 4.6
            )
            lateral = np.maximum(lateral, side - reach)
            facets = np.minimum(
                ellipsoid(side, v, w, (15.5, back - 7, half), (5.5, 5.0, 9.0)),
                ellipsoid(side, v, w, (14.5, back - 10, -half), (5.5, 4.0, 9.0)),
            )
            out = join(join(ring, process, 4.0), join(lateral, facets, 3.0), 4.0)
            return both(out, 1.0 - squircle(u, v - back, 11.0, 8.6, 0.2))

        def whole(u: Floats, v: Floats, w: Floats) -> Floats:
            return join(body(u, v, w), arch(u, v, w), 2.5)

        tilt = -float(np.rad2deg(np.arctan2(ahead, 16.0)))
        box = (reach + 8.0, depth + 62.0, height * 0.5 + 24.0)
        bone = self.scene.solid(self.centre(name), box, whole, tilt_degrees=tilt)
        self.scene.paint_voxels(bone, f"vertebrae_{name}", "cortical_thin")
        self.scene.paint_voxels(bone + 1.1, None, "trabecular", on=(f"vertebrae_{name}",))

    def _sacrum(self) -> None:
        def bone(p: Place) -> Floats:
            down = np.clip(-p.z / 110.0, -0.1, 1.2)
            middle = -64 - 34 * np.sin(np.clip(down, 0, 1.1) * 2.2) - 4 * np.clip(p.x / 40, -1, 1) ** 2
            wide = 54 * (1 - np.clip(down, 0, 1) ** 1.4) + 7
            deep = 17 * (1 - 0.68 * np.clip(down, 0, 1)) + 3 * np.exp(-((p.x / 14) ** 2))
            out = squircle(p.x, p.y - middle, wide, deep, 0.1)
            top = p.z + 0.35 * (p.y + 50) - 4
            return both(np.maximum(out, top), -124 - p.z)

        box = ((-66, 66), (-125, -25), (-128, 14))
        field = self.scene.paint(bone, "sacrum", "cortical_thin", box=box)
        self.scene.paint(field + 1.6, None, "trabecular", on=("sacrum",))
        for z in (-22, -45, -66):
            for sign in (1, -1):
                y = -64 - 34 * float(np.sin(-z / 110 * 2.2))
                self.scene.paint_tube(
                    np.array([(sign * 24, y - 20, z, 4.0), (sign * 21, y + 22, z - 4, 4.5)]),
                    "torso_fat",
                    "fat_inside",
                    on=("sacrum",),
                )

    # chest -----------------------------------------------------------------------------------------------------------

    def _wall_point(self, sign: float, degrees: float, z: float, out_mm: float) -> Triple:
        """A point on the wall of the chest, ``degrees`` round from the back."""
        a, f, b = (radius.at(z) + out_mm for radius in self.trunk.inner)
        middle, half = 0.5 * (f - b), 0.5 * (f + b)
        s, c = float(np.sin(np.deg2rad(degrees))), float(-np.cos(np.deg2rad(degrees)))
        q = max(self.trunk.boxy.at(z) * s * s * c * c, 1e-6)
        t = np.sqrt((1 - np.sqrt(1 - 4 * q)) / (2 * q))
        return sign * max(a, 4) * t * s, middle + max(half, 4) * t * c, z

    def rib_line(self, sign: float, number: int) -> list[Triple]:
        """The middle line of a rib from its head to its front end."""
        bottom, height, width, depth = VERTEBRAE[f"T{number}"]
        floating = number >= 11  # its head meets its own body alone, and its neck leans back as the arch does
        z = bottom + height * {11: 0.65, 12: 0.5}.get(number, 0.8)
        x, y = self.trunk.side.at(z), self.trunk.spine.at(z)
        drop, end = RIBS[number - 1]
        out = 5.0
        start = 17.0  # the neck leans back along the transverse process, so that no lung lies behind the rib
        lean = (self.trunk.spine.at(z + 8) - self.trunk.spine.at(z - 8)) / 16 * (depth + 6) if floating else 1.0
        line: list[Triple] = [
            (x + sign * (width + 2), y - depth * 0.6, z), (x + sign * (width + 12), y - depth - 6, z + lean),
        ]  # fmt: skip
        for degrees in np.linspace(start, end, 14):
            s = (degrees - start) / (end - start)
            line.append(self._wall_point(sign, float(degrees), z - 3 - drop * s**1.12, out))
        return line

    def _rib(self, side: str, sign: float, number: int) -> None:
        line = self.rib_line(sign, number)
        name = f"rib_{side}_{number}"
        size = 4.6 if number in (1, 11, 12) else 5.8
        points = smooth_line(line, 8.0)
        radius = np.full(len(points), size)
        radius[:3] *= 0.85
        tube = np.column_stack([points, radius])
        outer = self.scene.tube(tube, flat=0.62, reach_mm=self.scene.edge_mm, fine=True)
        self.scene.paint_voxels(outer, name, "cortical")
        self.scene.paint_voxels(outer + 1.25, None, "trabecular", on=(name,))
        if number <= 10:
            for bar in self._cartilage(line[-1], sign, number):
                self.scene.paint_tube(bar, "costal_cartilages", "cartilage", flat=0.75)

    def _cartilage(self, end: Triple, sign: float, number: int) -> Iterator[Floats]:
        if number <= 7:
            z = float(STERNAL_MM[number - 1])
            there: Triple = (sign * (18 if number > 1 else 24), self.trunk.inner[1].at(z) + 8.0, z)
        else:
            there = self._wall_point(sign, 150 - 4.0 * (number - 7), end[2] + 20, 6.0)
        middle = tuple((a + b) / 2 for a, b in zip(end, there, strict=True))
        bent = (middle[0], middle[1] + 3.0, min(middle[2], end[2] + 4.0))
        points = smooth_line([end, bent, there], 5.0)
        yield np.column_stack([points, np.full(len(points), 5.6)])

    def _sternum(self) -> None:
        trunk = self.trunk

        def bone(p: Place) -> Floats:
            width = np.interp(p.z, [282, 300, 330, 380, 418, 430, 455, 466], [5, 9, 17, 15, 13, 20, 27, 22]).astype(
                np.float32
            )
            return both(squircle(p.x, p.y - trunk.inner[1](p.z) - 9, width, 6.0, 0.7), np.maximum(p.z - 462, 284 - p.z))

        box = ((-32, 32), (10, 130), (278, 468))
        field = self.scene.paint(bone, "sternum", "cortical_thin", box=box)
        self.scene.paint(field + 1.2, None, "trabecular", on=("sternum",))

    def _shoulder(self, side: str, sign: float) -> None:
        scene, person, trunk = self.scene, self.trunk.person, self.trunk
        up = person.arms == "up"
        head: Triple = (sign * (158 if up else 166), -34, 478 if up else 452)
        triangle = [(62, 462), (84, 335), (146, 458)] if not up else [(78, 462), (112, 340), (146, 476)]

        def blade(p: Place) -> Floats:
            x = sign * p.x
            edge = None
            for (ax, az), (bx, bz) in zip(triangle, triangle[1:] + triangle[:1], strict=True):
                length = float(np.hypot(bx - ax, bz - az))
                line = ((bx - ax) * (p.z - az) - (bz - az) * (x - ax)) / length
                edge = -line if edge is None else np.maximum(edge, -line)
            assert edge is not None
            away = np.abs(p["wall"] - 22 - 6 * np.clip((p.z - 430) / 40, 0, 1))
            sheet = away - 1.6 - 2.4 * np.clip(1 + edge / 14, 0, 1)
            glenoid = ellipsoid(x, p.y, p.z, (abs(head[0]) - 20, head[1] - 4, head[2] - 2), (9, 13, 18))
            return join(np.maximum(np.maximum(sheet, edge), p.y + 8), glenoid, 8)

        box = ((50, 175), (-150, 10), (325, 495)) if sign > 0 else ((-175, -50), (-150, 10), (325, 495))
        field = scene.paint(blade, f"scapula_{side}", "cortical", box=box)
        scene.paint(field + 2.4, None, "trabecular", on=(f"scapula_{side}",))
        back = trunk.inner[2].at(445) + 17
        spine = smooth_line(
            [
                (sign * 78, -back + 6, 440),
                (sign * 120, -back + 22, 462),
                (abs(head[0]) * sign, head[1] - 22, head[2] + 24),
            ],
            5,
        )
        self._long(spine, 4.4, f"scapula_{side}", 1.6)
        front = trunk.inner[1].at(462) + 8
        clavicle = smooth_line(
            [
                (sign * 22, front, 464),
                (sign * 60, front - 2, 476),
                (sign * 105, -18, 486),
                (abs(head[0]) * sign * 0.97, head[1] + 4, head[2] + 28),
            ],
            5,
        )
        self._long(clavicle, 6.2, f"clavicula_{side}", 2.2)
        if up:
            arm = [head, (sign * 172, -38, 560), (sign * 168, -40, 700)]
        else:
            out = 34 + 0.6 * person.fat_mm
            arm = [head, (sign * (182 + out * 0.3), -36, 400), (sign * (186 + out), -42, 200)]
        self._long(smooth_line([arm[0], *arm[1:]], 6), 11.5, f"humerus_{side}", 4.2, inside="marrow_fat")
        ball = scene.solid(head, (34, 34, 34), lambda u, v, w: ellipsoid(u, v, w, (0, 0, 0), (22.5, 22.5, 23)))
        scene.paint_voxels(ball, f"humerus_{side}", "cortical_thin")
        scene.paint_voxels(ball + 1.5, None, "trabecular", on=(f"humerus_{side}",))

    def _long(self, points: Floats, radius: float, name: str, cortex: float, inside: str = "trabecular") -> None:
        tube = np.column_stack([points, np.full(len(points), radius)])
        self.scene.paint_tube(tube, name, "cortical")
        self.scene.paint_tube(tube, None, inside, grow_mm=-cortex, on=(name,))

    # pelvis ----------------------------------------------------------------------------------------------------------

    def _hip(self, side: str, sign: float) -> None:
        wide = 4.0 if self.trunk.person.sex == "female" else 0.0

        def bone(p: Place) -> Floats:
            x = sign * p.x - wide
            low = np.clip((10 - p.z) / 100, 0, 1)
            ax, ay = 40 + 16 * low, -84 + 26 * low
            bx, by = 122 - 26 * low, 46 - 22 * low
            length = np.hypot(bx - ax, by - ay)
            along = ((x - ax) * (bx - ax) + (p.y - ay) * (by - ay)) / length / length
            off = ((x - ax) * (by - ay) - (p.y - ay) * (bx - ax)) / length
            bow = 9 * np.sin(np.clip(along, 0, 1) * np.pi)  # the blade is hollow inside
            crest = 70 - 62 * ((along - 0.42) / 0.58) ** 2
            thick = 4.2 + 4.0 * np.clip(1 - (crest - p.z) / 14, 0, 1) + 8 * low**2 + 5 * np.clip(1 - along * 4, 0, 1)
            blade = np.maximum(
                np.maximum(np.abs(off - bow) - thick, (p.z - crest) * 0.7), np.maximum(-along, along - 1) * length
            )
            blade = np.maximum(blade, -102 - p.z)
            notch = np.hypot((along - 0.06) * length, p.z + 66) - 36
            blade = np.maximum(blade, -notch)
            cup = np.maximum(ellipsoid(x, p.y, p.z, (83.0, HIP[1], HIP[2]), (31, 34, 34)), x - HIP[0] - 6)
            out = join(blade, cup, 16)
            for line, radius in (
                (((82, -28, -112), (66, -48, -150)), 14.5), (((80, 14, -92), (52, 34, -104),
                (13, 42, -116)), 9.5), (((12, 42, -122), (36, 16, -146), (62, -40, -154)), 7.0),
            ):  # fmt: skip
                for a, b in itertools.pairwise(line):
                    out = join(out, _capsule(x, p.y, p.z, a, b, radius), 8)
            return both(out, 25.5 - np.sqrt((x - HIP[0]) ** 2 + (p.y - HIP[1]) ** 2 + (p.z - HIP[2]) ** 2))

        box = ((2, 140), (-110, 66), (-175, 78)) if sign > 0 else ((-140, -2), (-110, 66), (-175, 78))
        field = self.scene.paint(bone, f"hip_{side}", "cortical", box=box)
        self.scene.paint(field + 2.0, None, "trabecular", on=(f"hip_{side}",))

    def _femur(self, side: str, sign: float) -> None:
        wide = 4.0 if self.trunk.person.sex == "female" else 0.0
        head: Triple = (sign * (HIP[0] + wide), HIP[1], HIP[2])
        joint = self.scene.solid(head, (30, 30, 30), lambda u, v, w: ellipsoid(u, v, w, (0, 0, 0), (26, 26, 26)))
        self.scene.paint_voxels(joint, "skeletal_muscle", "cartilage", on=("torso_fat", "skeletal_muscle"))

        def top(u: Floats, v: Floats, w: Floats) -> Floats:
            u = sign * u
            ball = ellipsoid(u, v, w, (0, 0, 0), (23.5, 23.5, 23.5))
            neck = _capsule(u, v, w, (0, 0, 0), (40, -8, -32), 15.0)
            trochanter = ellipsoid(u, v, w, (50, -14, -22), (13, 17, 25))
            shaft = _capsule(u, v, w, (42, -8, -46), (24, 6, -240), 15.5)
            return join(join(join(ball, neck, 4), trochanter, 10), shaft, 8)

        name = f"femur_{side}"
        bone = self.scene.solid(head, (80, 60, 240), top)
        self.scene.paint_voxels(bone, name, "cortical")
        self.scene.paint_voxels(bone + 1.8, None, "trabecular", on=(name,))

        def marrow(u: Floats, v: Floats, w: Floats) -> Floats:
            return both(top(u, v, w) + 5.0, w + 66)

        def cortex(u: Floats, v: Floats, w: Floats) -> Floats:
            return both(top(u, v, w), w + 60)

        self.scene.paint_voxels(self.scene.solid(head, (80, 60, 240), cortex), name, "cortical")
        self.scene.paint_voxels(self.scene.solid(head, (80, 60, 240), marrow), None, "marrow_fat", on=(name,))


def _capsule(x: Floats, y: Floats, z: Floats, a: Triple, b: Triple, radius: float) -> Floats:
    """A straight tube with round ends."""
    u, v, w = x - a[0], y - a[1], z - a[2]
    d = [q - p for p, q in zip(a, b, strict=True)]
    t = np.clip((u * d[0] + v * d[1] + w * d[2]) / (d[0] ** 2 + d[1] ** 2 + d[2] ** 2), 0, 1)
    return np.asarray(np.sqrt((u - t * d[0]) ** 2 + (v - t * d[1]) ** 2 + (w - t * d[2]) ** 2) - radius)
