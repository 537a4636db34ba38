"""The heart: one smooth body, parted into its chambers, with muscle, fat in its grooves and coronary arteries."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.scene import Box, Field, Place, Scene
from vlm.phantom.body.shapes import Floats, Triple, ellipsoid, join, smooth_line
from vlm.phantom.body.trunk import Trunk

NARROW = 0.84  # across: a heart of usual size takes a little less than half of the chest
SEPTUM_MM = 1.6  # half the wall between two thin chambers
CORONARIES = (  # from the root of the aorta, mm from the heart's middle, and radius
    ((2, 8, 32, 2.1), (-14, 30, 22, 1.9), (-30, 45, -5, 1.6), (-48, 44, -30, 1.1)),
    ((2, 8, 32, 2.0), (-25, -12, 20, 1.7), (-48, -20, 2, 1.2)),
    ((18, 18, 24, 2.0), (40, 34, 8, 1.7), (44, 26, -28, 1.5), (20, -4, -40, 1.1)),
)


class Heart:
    """Draws the heart of one person."""

    def __init__(self, scene: Scene, trunk: Trunk) -> None:
        self.scene, self.trunk = scene, trunk
        person = trunk.person
        self.size = 0.98 * person.organs["heart"] * (1 + 0.08 * person.visceral)
        dx, dy, dz = person.moved["heart"]
        # it rests on the diaphragm and goes with its breath
        self.at: Triple = (-20 + dx, 24 + dy, 318 + 0.4 * dz + 0.85 * person.breath_mm)
        rng = scene.rng("heart")
        self.turn = (float(rng.normal(-28, 5)), 0.0, float(rng.normal(38, 7)))  # steep in the tall, flat in the stout
        self.fat_mm = 1.5 + 5.0 * person.visceral
        low, high = (np.array(self.at) + self.size * np.array(reach) for reach in ((-95, -75, -75), (95, 80, 78)))
        self.box: Box = ((low[0], high[0]), (low[1], high[1]), (low[2], high[2]))

    def parts(self, p: Place) -> dict[str, Floats]:
        """Distances to the cavity and muscle of the left ventricle, and to the regions of the other chambers."""
        s = self.size
        x, y, z = (p.x - self.at[0]) / (NARROW * s), (p.y - self.at[1]) / s, (p.z - self.at[2]) / s
        lift = self.turn[2] - 38
        left = ellipsoid(x, y, z, (-30, 2, -8), (19, 34, 21), self.turn)
        muscle = ellipsoid(x, y, z, (-31, 3, -9), (29, 45, 31), self.turn)
        right = join(
            ellipsoid(x, y, z, (8, 32, -10), (46, 23, 34), (-10, 8, 22 + lift)),
            ellipsoid(x, y, z, (2, 32, 22), (18, 15, 27), (24, 0, 0)), 12,
        )  # fmt: skip
        atrium_right = ellipsoid(x, y, z, (50, 5, 2), (25, 28, 36), (0, -6, 10))
        atrium_left = join(
            ellipsoid(x, y, z, (10, -30, 24), (38, 19, 25), (0, 8, 0)),
            ellipsoid(x, y, z, (-32, -4, 38), (15, 18, 11), (0, 0, 30)), 10,  # with its appendage
        )  # fmt: skip
        atria = {"atrium_right": atrium_right, "atrium_left": atrium_left}
        found = {"left": left, "muscle": muscle, "right": right, **atria}
        return {name: np.asarray(mm * s, dtype=np.float32) for name, mm in found.items()}

    def _muscles(self, c: dict[str, Floats], blend_mm: float = 14.0) -> Floats:
        """The heart without its fat; a wide blend fills its grooves."""
        atria = join(c["atrium_right"] - 2, c["atrium_left"] - 2, blend_mm)
        return join(join(c["muscle"], c["right"] - 3, blend_mm), atria, blend_mm)

    def whole(self, p: Place) -> Floats:
        """The heart with its fat, as the pericardium holds it."""
        bare = self._muscles(self.parts(p), 26.0)
        # the pads lie in front and on the right; the side wall of the left ventricle is nearly bare
        pad = np.clip(0.25 + (p.y - self.at[1]) / 60 + (p.x - self.at[0]) / 160, 0.1, 1.3)
        return np.asarray(bare - self.fat_mm * pad, dtype=np.float32)

    def draw(self) -> None:
        """Pericardium, fat, muscle, blood, coronary arteries."""
        scene = self.scene
        room = scene.field(lambda p: np.maximum(np.maximum(self.whole(p), p["wall"] + 3.0), p["dome"] + 1.0), self.box)
        if not room.mm.size:
            return
        scene.paint(room + -1.2, "pericardium", "pericardium")
        scene.paint(room, "heart", "fat_inside")
        p = scene.place(room.window)
        c = self.parts(p)
        bare = np.maximum(self._muscles(c), room.mm + 1.0)
        thin = {name: c[name] for name in ("right", "atrium_right", "atrium_left")}
        first, second, _ = np.sort(np.stack(list(thin.values())), axis=0)
        # a groove with fat and vessels where the chambers meet at the surface
        groove = np.maximum(np.abs(second - first) * 0.5 - (2.0 + 0.5 * self.fat_mm), -bare - 5.0 - 0.8 * self.fat_mm)
        muscle = np.maximum(bare, np.where(c["muscle"] < 0, bare, -groove))

        def put(mm: Floats, label: str, tissue: str) -> None:
            scene.paint(Field(room.window, mm.astype(np.float32)), label, tissue)

        put(muscle, "heart_myocardium", "myocardium")
        rough = 1.2 * np.sin(p.x / 2.9) * np.sin(p.y / 3.1) * np.sin(p.z / 3.7)  # trabeculae
        for name, label, tissue, wall in (
            ("right", "heart_ventricle_right", "blood_right", 3.2),
            ("atrium_right", "heart_atrium_right", "blood_right", 2.0),
            ("atrium_left", "heart_atrium_left", "blood_artery", 2.0),
        ):
            others = np.minimum(*(mm for other, mm in thin.items() if other != name))
            inside = np.maximum(muscle + wall, 0.5 * (c[name] - others) + SEPTUM_MM)
            inside = np.maximum(inside, 1.5 - c["muscle"])
            put(np.maximum(inside, c[name] - 4.0) + (rough if name == "right" else 0.0), label, tissue)
        put(np.maximum(c["left"], bare + 6.0) + rough, "heart_ventricle_left", "blood_artery")
        self._coronaries()

    def _coronaries(self) -> None:
        scene = self.scene
        for line in CORONARIES:
            points = smooth_line([tuple(v) for v in line], 4)
            points[:, :3] = points[:, :3] * (NARROW * self.size, self.size, self.size) + self.at
            bed = 2.0 + 0.2 * self.fat_mm
            scene.paint_tube(points, None, "fat_inside", grow_mm=bed, on=("heart", "heart_myocardium"))
            scene.paint_tube(points, "coronary_arteries", "blood_artery")
