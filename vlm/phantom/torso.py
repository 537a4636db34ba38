"""The shapes of a chest and what is drawn the same in everyone: body, bones, mediastinum, upper abdomen.

Every shape is a signed distance in mm (below 0 inside) of broadcastable float32
coordinates. RAS mm, x to the patient's right; the carina is at (0, -15, 0).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from vlm.ct.volume import Box, Point
from vlm.phantom.canvas import Canvas, Distance, Floats
from vlm.phantom.trees import Branch

APEX_MM, WIDEST_MM = 95.0, -20.0  # lung apex; below the second height the chest is a tube
WALL_MM = (128.0, 84.0)  # inner radii of the rib cage
BODY_MM = (172.0, 126.0)  # radii of the skin
VERTEBRA_MM, DISC_MM = 24.0, 6.0  # from disc to disc; height of a disc
LAST_RIB_MM = -132.0  # middle of T12; that of T2 is at 108, beside the lung apices

# Hounsfield units of a scan without contrast
AIR, FAT, MUSCLE, SKIN, HEART, LIVER, SPLEEN, CORD, FOOD = -1000, -100, 55, 20, 42, 58, 50, 25, 28
CORTEX, MARROW, CARTILAGE, DISC, FLUID = 620, 190, 95, 75, 8

AORTA: tuple[Point, ...] = (
    (6, 12, -48), (14, 22, -20), (15, 22, 8), (6, 12, 28), (-14, 10, 33), (-28, -14, 34), (-26, -44, 22),
    (-22, -52, -5), (-20, -54, -80), (-12, -50, -220),
)  # fmt: skip
AORTA_RADIUS_MM = 13.0
CORONARY: tuple[Point, ...] = ((-8, 38, -36), (-22, 54, -50), (-36, 62, -72), (-46, 58, -95))
TUBES: tuple[tuple[tuple[Point, ...], float], ...] = (  # vessels of the mediastinum and their radii, mm
    (((-8, 34, -42), (-18, 22, -16), (-12, 2, -12)), 13.0),  # pulmonary trunk
    (((-10, 2, -13), (20, -2, -13), (34, -6, -15)), 9.5),  # right pulmonary artery, thinner towards the hilum
    (((34, -6, -15), (43, -9, -17)), 8.0),
    (((43, -9, -17), (52, -12, -20)), 6.5),
    (((-14, 2, -12), (-34, -7, -13)), 9.5),  # left pulmonary artery
    (((-34, -7, -13), (-43, -9, -16)), 8.0),
    (((-43, -9, -16), (-52, -12, -20)), 6.5),
    (((22, 10, -45), (24, 12, 55), (30, 20, 90)), 8.0),  # superior vena cava
    (((8, 6, 28), (12, 4, 70), (24, 2, 115)), 5.5),  # brachiocephalic artery
    (((-10, -14, 33), (-16, -8, 120)), 4.0),  # left carotid artery
)


def ellipsoid(centre: Point, radii: Point, *, turn_degrees: float = 0.0) -> Distance:
    """An ellipsoid; ``turn_degrees`` turns it about z, counter-clockwise in (x, y)."""
    cosine, sine = float(np.cos(np.deg2rad(turn_degrees))), float(np.sin(np.deg2rad(turn_degrees)))

    def distance(x: Floats, y: Floats, z: Floats) -> Floats:
        u, v, w = x - centre[0], y - centre[1], z - centre[2]
        u, v = u * cosine + v * sine, v * cosine - u * sine
        root = np.sqrt((u / radii[0]) ** 2 + (v / radii[1]) ** 2 + (w / radii[2]) ** 2) + 1e-6
        slope = np.sqrt((u / radii[0] ** 2) ** 2 + (v / radii[1] ** 2) ** 2 + (w / radii[2] ** 2) ** 2)
        return np.asarray((root - 1) * root / (slope + 1e-6), dtype=np.float32)

    return distance


def tube(points: Sequence[Point], radius_mm: float) -> Distance:
    """A tube of one radius along a line of points."""
    pieces = [Branch(a, b, radius_mm) for a, b in pairwise(points)]

    def distance(x: Floats, y: Floats, z: Floats) -> Floats:
        out = pieces[0].distance(x, y, z)
        for piece in pieces[1:]:
            out = np.minimum(out, piece.distance(x, y, z))
        return out

    return distance


def oval(x: Floats, y: Floats, a: float | Floats, b: float | Floats) -> Floats:
    """Distance to an ellipse round the z axis with radii ``a`` and ``b``, mm."""
    root = np.sqrt((x / a) ** 2 + (y / b) ** 2) + 1e-6
    slope = np.sqrt((x / a**2) ** 2 + (y / b**2) ** 2) + 1e-6
    return np.asarray((root - 1) * root / slope, dtype=np.float32)


def width_at(z: Floats) -> Floats:
    """Width of the chest at a height: 1 where it is a tube, 0 at the apex."""
    rise = np.clip((z - WIDEST_MM) / (APEX_MM - WIDEST_MM), 0.0, 0.995)
    return np.asarray(np.sqrt(1 - rise**2), dtype=np.float32)


def wall(x: Floats, y: Floats, z: Floats) -> Floats:
    """Distance to the inner surface of the rib cage."""
    width = width_at(z)
    return oval(np.maximum(np.abs(x) - 50.0 * (1 - width), 0.0), y, WALL_MM[0] * width, WALL_MM[1] * width)


def dome(side: str, raised_mm: float) -> Distance:
    """Below 0 above the diaphragm of a side; the right dome is the higher one."""
    sign, top = (1.0, -68.0) if side == "right" else (-1.0, -80.0)

    def distance(x: Floats, y: Floats, z: Floats) -> Floats:
        bend = ((sign * x - 58.0) / 78.0) ** 2 + ((y - 14.0) / 78.0) ** 2
        return np.asarray((top + raised_mm - 52.0 * np.minimum(bend, 1.6) - z) * 0.75, dtype=np.float32)

    return distance


def heart_shapes(scale: float, fluid_ml: float) -> tuple[Distance, Distance]:
    """The heart with its fat, and the pericardium round it that holds ``fluid_ml`` more, mostly behind."""
    radii = np.array([60.0, 43.0, 50.0]) * scale
    grown = radii * (1 + fluid_ml / (4 / 3 * np.pi * float(np.prod(radii)) / 1000)) ** (1 / 3)
    back = 0.6 * float(grown[1] - radii[1])
    shapes = [
        ellipsoid((-22, 22 - shift, -72), (float(r[0]), float(r[1]), float(r[2])), turn_degrees=-35)
        for shift, r in ((0.0, radii), (back, grown))
    ]
    return shapes[0], shapes[1]


def cavity(side: str, pericardium: Distance, raised_mm: float) -> Distance:
    """One pleural cavity: inside the ribs, beside the mediastinum, above the diaphragm."""
    sign = 1.0 if side == "right" else -1.0
    floor, aorta = dome(side, raised_mm), tube(AORTA, AORTA_RADIUS_MM + 1.5)
    depth = np.array([-90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 85.0], dtype=np.float32)
    half = np.array([24.0, 26.0, 22.0, 27.0, 24.0, 9.0, 12.0], dtype=np.float32)

    def distance(x: Floats, y: Floats, z: Floats) -> Floats:
        out = np.maximum(wall(x, y, z) + 2.0, np.interp(y, depth, half).astype(np.float32) - sign * x)
        out = np.maximum(np.maximum(out, floor(x, y, z)), 4.0 - pericardium(x, y, z))
        return np.asarray(np.maximum(out, -aorta(x, y, z)), dtype=np.float32)

    return distance


def side_box(side: str) -> Box:
    """The half of space in which one lung lies, RAS mm."""
    x = (0.0, 140.0) if side == "right" else (-140.0, 0.0)
    return Box(low_mm=(x[0], -95.0, -190.0), high_mm=(x[1], 95.0, 110.0))


def draw_body(canvas: Canvas, *, table: bool) -> None:
    """Skin, fat, muscle, and fat inside the rib cage; a table below."""

    def shape(inset_mm: float) -> Distance:
        def distance(x: Floats, y: Floats, z: Floats) -> Floats:
            narrow = 1 - 0.25 * np.clip((z - 60) / 80, 0, 1) ** 2
            return oval(x, y + 5, BODY_MM[0] * narrow, BODY_MM[1]) + inset_mm

        return distance

    def muscle(x: Floats, y: Floats, z: Floats) -> Floats:
        width = np.maximum(width_at(z), 0.72)
        return np.maximum(oval(x, y + 5, 152.0 * width, 108.0), shape(6.0)(x, y, z))

    canvas.paint(shape(0.0), SKIN, "body")
    canvas.paint(shape(2.2), FAT)
    canvas.paint(muscle, MUSCLE)
    canvas.paint(wall, FAT)
    if table:
        for inset, hu in ((0.0, -250.0), (2.0, -930.0)):
            canvas.paint(_table(inset), hu)


def _table(inset_mm: float) -> Distance:
    def distance(x: Floats, y: Floats, z: Floats) -> Floats:  # noqa: ARG001  a table has no end
        centre = -BODY_MM[1] - 24.0 + 22.0 * (x / 190.0) ** 2
        return np.maximum(np.abs(y - centre) - 8.0, np.abs(x) - 190.0) + inset_mm

    return distance


def draw_abdomen(canvas: Canvas, raised: dict[str, float]) -> None:
    """Diaphragm, liver, spleen, and a stomach with food below and gas in front."""
    right, left = dome("right", raised["right"]), dome("left", raised["left"])
    lift = raised["left"]

    spleen = ellipsoid((-92, -38, -125 + lift), (30, 36, 42))
    bag = ellipsoid((-66, 34, -122 + lift), (36, 34, 38))

    def below(inset_mm: float) -> Distance:
        return lambda x, y, z: np.maximum(wall(x, y, z), -np.maximum(right(x, y, z), left(x, y, z))) + inset_mm

    def liver(x: Floats, y: Floats, z: Floats) -> Floats:
        left_end = -45.0 - x + 0.45 * (-60 - z)  # the left lobe thins out
        return np.maximum(np.maximum(below(2.0)(x, y, z), left_end), -190 - z)

    def stomach(x: Floats, y: Floats, z: Floats) -> Floats:
        return np.maximum(below(4.0)(x, y, z), bag(x, y, z))

    canvas.paint(below(0.0), MUSCLE)
    canvas.paint(below(3.0), FAT)
    canvas.paint(liver, LIVER, "liver")
    canvas.paint(lambda x, y, z: np.maximum(below(3.5)(x, y, z), spleen(x, y, z)), SPLEEN, "spleen")
    canvas.paint(stomach, FOOD, "stomach")
    canvas.paint(lambda x, y, z: np.maximum(stomach(x, y, z) + 3.0, 40.0 - y), AIR)


def draw_mediastinum(canvas: Canvas, heart: tuple[Distance, Distance], blood_hu: float, fluid_ml: float) -> None:
    """Heart in its fat, pericardial fluid, great vessels and oesophagus."""
    if fluid_ml > 0:
        window, outer = canvas.paint(heart[1], FLUID)
        canvas.mark("pericardial_effusion", window, (outer > 0.5) & (canvas.cover(heart[0], window) <= 0.5))
    canvas.paint(heart[0], FAT, "heart")
    canvas.paint(lambda x, y, z: heart[0](x, y, z) + 3.5, max(HEART, 0.8 * blood_hu))
    for points, radius in TUBES:
        canvas.paint(tube(points, radius), blood_hu, box=around(points, radius))
    canvas.paint(tube(((-6, -34, 130), (-6, -38, -60), (-10, -30, -230)), 6.5), MUSCLE - 15)
    canvas.paint(tube(AORTA, AORTA_RADIUS_MM), MUSCLE, "aorta")
    canvas.paint(tube(AORTA, AORTA_RADIUS_MM - 1.5), blood_hu)


def around(points: Sequence[Point], radius_mm: float) -> Box:
    """The box of a tube."""
    low, high = np.min(points, axis=0) - radius_mm - 3, np.max(points, axis=0) + radius_mm + 3
    return Box(low_mm=(low[0], low[1], low[2]), high_mm=(high[0], high[1], high[2]))


def draw_bones(canvas: Canvas) -> None:
    """Vertebrae with discs and canal, ribs with cartilage, sternum."""
    spine = Box(low_mm=(-40, -128, -400), high_mm=(40, -60, 400))

    def level(z: Floats) -> Floats:  # distance from the middle of the vertebra
        return np.asarray(np.abs(np.mod(z, VERTEBRA_MM) - VERTEBRA_MM / 2))

    def body(inset_mm: float, half_mm: float) -> Distance:
        return lambda x, y, z: np.maximum(oval(x, y + 78, 17.0, 13.0), level(z) - half_mm) + inset_mm

    def arch(x: Floats, y: Floats, z: Floats) -> Floats:
        ring = np.maximum(oval(x, y + 102, 14.0, 12.5), level(z) - 10)
        spinous = np.maximum(np.maximum(np.abs(x) - 3, np.abs(y + 117) - 8), level(z) - 6)
        across = np.maximum(np.maximum(np.abs(x) - 30, np.abs(y + 100 + 0.2 * np.abs(x)) - 4), level(z) - 5)
        return np.asarray(np.minimum(np.minimum(ring, spinous), across))

    canvas.paint(body(0.0, 99.0), DISC, box=spine)
    canvas.paint(body(0.0, (VERTEBRA_MM - DISC_MM) / 2), CORTEX, "vertebrae", box=spine)
    canvas.paint(body(1.5, (VERTEBRA_MM - DISC_MM) / 2), MARROW, box=spine)
    canvas.paint(arch, CORTEX, "vertebrae", box=spine)
    canvas.paint(lambda x, y, z: arch(x, y, z) + 2.0, MARROW + 60, box=spine)
    canvas.paint(lambda x, y, z: oval(x, y + 101, 9.5, 8.5) + 0 * z, CORD, "spinal_canal", box=spine)

    def rib(inset_mm: float, first: float, last: float) -> Distance:
        def distance(x: Floats, y: Floats, z: Floats) -> Floats:
            angle = np.arctan2(np.abs(x) / WALL_MM[0], -y / WALL_MM[1])  # 0 behind, pi in front
            root = z + 62.0 * (angle / np.pi) ** 1.4 + 3.0  # height at the spine
            height = np.mod(root, VERTEBRA_MM) - VERTEBRA_MM / 2
            out = np.hypot((wall(x, y, z) - 5.0) * 1.5, height * 0.95) - 5.6
            side = np.maximum(first - angle, angle - last) * 90.0
            none = LAST_RIB_MM - VERTEBRA_MM / 2 - root
            return np.asarray(np.maximum(np.maximum(out, side), none) + inset_mm, dtype=np.float32)

        return distance

    def neck(x: Floats, y: Floats, z: Floats) -> Floats:  # from the transverse process back to the arc of the rib
        across = np.maximum(np.abs(np.abs(x) - 46.0) - 18.0, np.abs(y + 100 - 0.33 * (np.abs(x) - 28.0)) - 4.0)
        return np.asarray(np.maximum(np.maximum(across, level(z) - 4.5), LAST_RIB_MM - VERTEBRA_MM / 2 - z))

    canvas.paint(rib(0.0, 2.35, 2.98), CARTILAGE)
    canvas.paint(neck, CORTEX, "ribs", box=Box(low_mm=(-70, -120, -400), high_mm=(70, -70, 400)))
    canvas.paint(rib(0.0, 0.28, 2.4), CORTEX, "ribs")
    canvas.paint(rib(1.7, 0.28, 2.4), MARROW)

    def sternum(inset_mm: float) -> Distance:
        def distance(x: Floats, y: Floats, z: Floats) -> Floats:
            front = oval(x, y - WALL_MM[1] * np.maximum(width_at(z), 0.75) - 7.0, 17.0, 5.5)
            return np.asarray(np.maximum(front, np.abs(z + 25) - 75) + inset_mm)

        return distance

    canvas.paint(sternum(0.0), CORTEX - 150, "sternum")
    canvas.paint(sternum(1.6), MARROW - 40)
