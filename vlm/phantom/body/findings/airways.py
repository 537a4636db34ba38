"""Findings of the bronchi: wider than the artery beside them, or thick-walled."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.lung import PLACES, lung
from vlm.phantom.body.findings.registry import Size, finding
from vlm.phantom.body.labels import LOBES
from vlm.phantom.body.shapes import Floats
from vlm.phantom.body.wishes import Wish, refuse
from vlm.phantom.trees import grow

ROOTS = {"right": (50.0, -26.0, 386.0), "left": (-50.0, -26.0, 386.0)}  # where a bronchus enters the lung, reference mm
TIPS = 14


def _tree(drawing: Drawing, wish: Wish) -> list[list[tuple[float, float, float, float]]]:
    """Segmental bronchi and their arteries in the named part of a lung: pieces of (x, y, z, radius), world mm."""
    inside = lung(drawing, wish)
    window = drawing.box(wish, inside)
    depth = drawing.away(~drawing.voxels((*LOBES, "lung_vessels", "bronchi"))[window])
    deep = inside.copy()
    deep[window] &= depth > 9
    points = drawing.points(deep)
    if len(points) < TIPS:
        raise refuse(wish.words, "there is too little lung in the field of view.")
    sides = [wish.side] if wish.side else ["right", "left"]
    pieces = []
    for side in sides:
        own = points[points[:, 0] * (1 if side == "right" else -1) > 0]
        tips = own[drawing.rng(wish).integers(len(own), size=TIPS)]
        root = drawing.world([ROOTS[side]])[0]
        tree = grow(tuple(root), tips, tip_radius_mm=1.0, root_radius_mm=3.0)
        pieces += [[(*piece.start, piece.radius_mm), (*piece.end, piece.radius_mm)] for piece in tree]
    return pieces


def _draw(drawing: Drawing, wish: Wish, lumen: float, wall_mm: float, artery: bool) -> tuple[Bools, Bools]:
    """Draw bronchi whose lumen is so many times the artery beside them; masks of lumen and wall."""
    scene = drawing.scene
    field: Floats = np.full(scene.labels.shape, 1e3, dtype=np.float32)
    beside: Floats = np.full(scene.labels.shape, 1e3, dtype=np.float32)
    reach = wall_mm + 2.0
    for piece in _tree(drawing, wish):
        line = np.array(piece)
        line[:, 3] *= lumen
        window, mm = drawing.tube(line, reach_mm=reach)
        np.minimum(field[window], mm, out=field[window])
        if artery:
            other = np.array(piece)
            other[:, 1] -= line[:, 3] + other[:, 3] + wall_mm + 0.4
            window, mm = drawing.tube(other, reach_mm=2.0)
            np.minimum(beside[window], mm, out=beside[window])
    room = drawing.voxels((*LOBES, "lung_vessels", "bronchi"))
    edge = np.float32(scene.edge_mm)
    for mm, tissue in ((beside, "blood_pulmonary"), (field - np.float32(wall_mm), "soft"), (field, "air")):
        cover = np.clip(0.5 - mm / edge, 0, 1) * room
        inside = cover > 0.5
        drawing.paint(drawing.whole(), inside, tissue, cover)
    return room & (field < 0), room & (field >= 0) & (field < wall_mm)


@finding("bronchiectasis", example="bronchiectasis, right lower lobe, ratio 1.8", size=Size("ratio", 1.8, 1.1, 4.0),
         side="must", sites=(*PLACES, "bronchi"), attributes=("cystic", "focal"))  # fmt: skip
def bronchiectasis(drawing: Drawing, wish: Wish) -> None:
    """Bronchi wider than their arteries by a ratio (broncho-arterial ratio over 1: Hansell, Fleischner 2008)."""
    ratio = drawing.size(wish)
    lumen, _ = _draw(drawing, wish, ratio, 1.1, artery=True)
    drawing.taken[lumen] = True
    drawing.note(wish, lumen, site=wish.site or "lung", size=("ratio", ratio))


@finding("peribronchial_thickening", example="peribronchial thickening, left lower lobe, 3 mm", side="may",
         size=Size("thickness", 3.0, 1.5, 6.0), sites=(*PLACES, "bronchi", "bronchial_wall"),
         attributes=("diffuse",))  # fmt: skip
def peribronchial_thickening(drawing: Drawing, wish: Wish) -> None:
    """Bronchi of usual lumen with thick walls."""
    wall = drawing.size(wish)
    _, thick = _draw(drawing, wish, 0.9, wall, artery=True)
    drawing.taken[thick] = True
    drawing.note(wish, thick, site="bronchial_wall", size=("thickness", wall))
