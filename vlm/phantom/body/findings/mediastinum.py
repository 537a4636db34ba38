"""Findings of nodes, gullet and thyroid: enlarged nodes by station, hiatal hernia, varices, nodules of the thyroid."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.findings.drawing import FAR_MM, Bools, Drawing
from vlm.phantom.body.findings.lumps import ball_ml, ball_rank, lump, sizes
from vlm.phantom.body.findings.registry import Size, finding
from vlm.phantom.body.labels import LOBES, NUMBER
from vlm.phantom.body.wishes import Wish, refuse

STATIONS = {  # site: (centres on the right side or in the middle, reference mm), how far round them
    "mediastinum": ([(12, 4, 425), (4, -24, 392), (-16, 8, 412), (14, -10, 445)], 24.0),
    "hilum": ([(50, -16, 384)], 20.0),
    "axilla": ([(135, 2, 425)], 28.0),
    "retroperitoneum": ([(-14, -14, 100), (4, -10, 110), (30, -22, 105)], 28.0),
    "mesentery": ([(0, 40, 60)], 45.0),
    "inguinal": ([(78, 66, -120)], 28.0),
    "pelvis": ([(60, 0, -60)], 28.0),
    "neck": ([(48, -14, 520)], 24.0),
    "abdomen": ([(-14, -14, 100)], 30.0),
}  # fmt: skip
NODE_ROOM = ("torso_fat", "subcutaneous_fat", "skeletal_muscle")


@finding("lymph_node", example="mediastinal lymph node 12 mm", size=Size("short_axis", 9.0, 3.0, 60.0), side="may",
         sites=(*STATIONS, "lymph_node"), attributes=("pathological_size", "round"), many=True)  # fmt: skip
@finding("lymphadenopathy", example="three enlarged mediastinal lymph nodes, 16 mm", side="may", many=True,
         size=Size("short_axis", 16.0, 10.0, 60.0), sites=(*STATIONS, "lymph_node"),
         attributes=("pathological_size", "round"))  # fmt: skip
def lymph_nodes(drawing: Drawing, wish: Wish) -> None:
    """Nodes 1.4 times as long as wide, in the fat of a station."""
    station = wish.site if wish.site in STATIONS else "mediastinum"
    centres, reach = STATIONS[station]
    rng = drawing.rng(wish)
    for number, mm in enumerate(sizes(drawing, wish, drawing.size(wish))):
        x, y, z = centres[number % len(centres)]
        side = wish.side or ("right" if rng.random() < 0.5 else "left")
        paired = station in ("hilum", "axilla", "inguinal", "pelvis", "neck")
        at = drawing.world([(x * (1 if side == "right" or not paired else -1), y, z)])[0]
        allowed = drawing.voxels(NODE_ROOM if station != "hilum" else (*NODE_ROOM, *LOBES, "lung_vessels"))
        window, u, v, w = drawing.around(at, reach)
        ball = (u * u + v * v + w * w < reach**2) & allowed[window]
        if station not in ("axilla", "neck", "inguinal", "hilum"):
            ball &= drawing.made_of(("fat", "fat_inside"))[window]
        near = np.zeros(allowed.shape, dtype=bool)
        near[window] = ball
        if not near.any():
            raise refuse(wish.words, f"there is no fat of the {station} in the field of view.")
        centre = drawing.centre(wish, near, 0.35 * mm)
        window, u, v, w = drawing.around(centre, 1.3 * mm + 5)
        rank = np.sqrt(u * u + v * v + (w / 1.4) ** 2).astype(np.float32)
        beside = drawing.voxels((*NODE_ROOM, *LOBES, "lung_vessels", "pericardium", "small_bowel"))
        drawing.fill(wish, beside, window, rank, 1.4 * ball_ml(mm), "node", site=station, size=("short_axis", mm))


@finding("hiatal_hernia", example="hiatal hernia 50 mm", size=Size("diameter", 45.0, 20.0, 120.0),
         sites=("hiatus", "oesophagus", "stomach", "diaphragm"), attributes=("sliding",))  # fmt: skip
def hiatal_hernia(drawing: Drawing, wish: Wish) -> None:
    """A pouch of the stomach above the diaphragm, behind the heart, with fluid and gas."""
    scene, mm = drawing.scene, drawing.size(wish)
    gullet = drawing.voxels(("esophagus",))
    window = drawing.box(wish, gullet)
    dome = scene.on_voxels("dome")
    above = gullet & (dome < -2)
    low = np.flatnonzero(above.any(axis=(1, 2)))
    if len(low) < 2:
        raise refuse(wish.words, "the hiatus is not in the field of view.")
    y, x = np.argwhere(gullet[low[0]]).mean(axis=0)
    centre = scene.grid.to_mm(np.array([x, y, low[0]])) + np.array([0.0, 2.0, 0.32 * mm])
    window, u, v, w = drawing.around(centre, 0.9 * mm + 6)
    rank = np.sqrt(u * u + (v / 0.8) ** 2 + (w / 1.15) ** 2).astype(np.float32)
    free = drawing.voxels((*LOBES, "lung_vessels", "torso_fat", "esophagus", "diaphragm", "pericardium", "stomach"))
    name = drawing.fill(wish, free & (dome < 6), window, rank, 0.92 * ball_ml(mm), "gut_wall", site="hiatus",
                        size=("diameter", mm))  # fmt: skip
    pouch = drawing.masks[name][window]
    depth = drawing.away(~pouch)
    gas = v + 0 * w + 0 * u > 0.12 * mm
    drawing.paint(window, pouch & (depth > 3.5), "stomach_content")
    drawing.paint(window, pouch & (depth > 3.5) & gas, "gut_gas")


@finding("oesophageal_thickening", example="oesophageal wall thickening 9 mm", size=Size("thickness", 8.0, 5.0, 20.0),
         sites=("oesophagus",), attributes=("diffuse", "focal"))  # fmt: skip
def oesophageal_thickening(drawing: Drawing, wish: Wish) -> None:
    """Wall of a thickness round a stretch of the gullet's middle line."""
    scene, mm = drawing.scene, drawing.size(wish)
    gullet = drawing.voxels(("esophagus",))
    levels = np.flatnonzero(gullet.any(axis=(1, 2)))
    if len(levels) < 5:
        raise refuse(wish.words, "the oesophagus is not in the field of view.")
    levels = levels[int(0.35 * len(levels)) : int(0.75 * len(levels)) + 1]
    line = [[*scene.grid.to_mm(np.array([*np.argwhere(gullet[k]).mean(axis=0)[::-1], k])), mm + 1.5] for k in levels]
    window, away = drawing.tube(np.array(line), reach_mm=4.0)
    free = drawing.voxels((*LOBES, "torso_fat", "esophagus", "lung_vessels"))[window]
    whole = free & (away < 0)
    scene.labels[window][whole] = NUMBER["esophagus"]
    drawing.paint(window, whole & (away < -mm), "gut_content")
    drawing.put(wish, window, whole & (away >= -mm), "gut_wall", site="oesophagus", size=("thickness", mm))


VEINS, VEIN_LONG_MM = 3, 80.0  # that wind up the gullet, and how far above its lower end
VEIN_OFF_MM, VEIN_OFF = 4.0, 0.62  # of a vein's middle from the gullet's, mm, or of its width: they touch, no more
VEIN_STEP_MM, VEIN_TURN_MM, LINING_MM = 4.0, 9.0, 1.5


@finding("varices", example="oesophageal varices 6 mm", size=Size("diameter", 6.0, 3.0, 12.0), sites=("oesophagus",))
def varices(drawing: Drawing, wish: Wish) -> None:
    """Veins of one width in the wall of the lower gullet, as dense as the portal vein: plain scans show none."""
    scene, mm, rng = drawing.scene, drawing.size(wish), drawing.rng(wish)
    gullet = drawing.voxels(("esophagus",))
    every = max(1, round(VEIN_STEP_MM / scene.grid.spacing_mm[2]))
    levels = np.flatnonzero(gullet.any(axis=(1, 2)))[2 * every :: every][: 1 + round(VEIN_LONG_MM / VEIN_STEP_MM)]
    if len(levels) < 5:
        raise refuse(wish.words, "the oesophagus is not in the field of view.")
    middle = np.array([scene.grid.to_mm(np.array([*np.argwhere(gullet[k]).mean(axis=0)[::-1], k])) for k in levels])
    off, start = max(VEIN_OFF_MM, VEIN_OFF * mm), rng.uniform(0, 2 * np.pi, 1 + VEINS)
    outer = np.column_stack([middle, np.full(len(middle), off + mm / 2 + LINING_MM)])
    window, wall = drawing.tube(outer)
    veins = np.full(wall.shape, FAR_MM, dtype=np.float32)
    for vein in range(VEINS):
        angle = start[0] + 2 * np.pi * vein / VEINS + 0.4 * np.sin(middle[:, 2] / VEIN_TURN_MM + start[1 + vein])
        beside = np.column_stack([off * np.cos(angle), off * np.sin(angle), np.zeros(len(angle))])
        inner, away = drawing.tube(np.column_stack([middle + beside, np.full(len(angle), mm / 2)]), reach_mm=0.0)
        part = tuple(slice(i.start - w.start, i.stop - w.start) for i, w in zip(inner, window, strict=True))
        veins[part] = np.minimum(veins[part], away)
    room = drawing.voxels((*LOBES, "torso_fat", "esophagus", "lung_vessels"))[window]
    drawing.paint(window, room & (wall < 0), "gut_wall")
    scene.labels[window][room & (wall < 0)] = NUMBER["esophagus"]
    cover = np.clip(0.5 - veins / np.float32(scene.edge_mm), 0, 1) * room
    drawing.put(wish, window, room & (veins < 0), "blood_portal", cover=cover, site="oesophagus",
                size=("diameter", mm))  # fmt: skip


def _thyroid_half(drawing: Drawing, wish: Wish) -> Bools:
    gland = drawing.voxels(("thyroid_gland",))
    return gland & drawing.half(wish.side) if wish.side else gland


@finding("thyroid_nodule", example="right thyroid nodule 14 mm", size=Size("diameter", 12.0, 3.0, 50.0), side="may",
         sites=("thyroid", "neck"), attributes=("calcified", "cystic", "solid"), many=True)  # fmt: skip
def thyroid_nodule(drawing: Drawing, wish: Wish) -> None:
    """A dark ball in the thyroid."""
    for mm in sizes(drawing, wish, drawing.size(wish)):
        lump(drawing, wish, _thyroid_half(drawing, wish), "hypodense", mm, site="thyroid",
             beyond=drawing.voxels(("torso_fat", "skeletal_muscle")))  # fmt: skip


@finding("mediastinal_mass", example="mediastinal mass 60 mm", size=Size("diameter", 55.0, 20.0, 150.0),
         sites=("mediastinum",), attributes=("heterogeneous", "lobulated", "solid"))  # fmt: skip
def mediastinal_mass(drawing: Drawing, wish: Wish) -> None:
    """A mass of the front mediastinum that bulges into the lungs."""
    mm = drawing.size(wish)
    at = drawing.world([(6.0, 40.0, 405.0)])[0]
    window, x, y, z = drawing.around(at, 1.1 * mm + 8)
    rank = ball_rank(x, y, z, mm, drawing.rng(wish), rough=0.06)
    room = drawing.voxels((*LOBES, "lung_vessels", "torso_fat", "pericardium", "brachiocephalic_vein_left", "heart"))
    drawing.fill(wish, room, window, rank, ball_ml(mm), "tumour", site="mediastinum", size=("diameter", mm))
