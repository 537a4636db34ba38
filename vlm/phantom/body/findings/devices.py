"""Medical material: lines along the veins, boxes under the skin, wires, clips, tubes, prostheses; metal streaks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.registry import finding
from vlm.phantom.body.labels import NUMBER
from vlm.phantom.body.shapes import smooth_line
from vlm.phantom.body.wishes import Wish, refuse

Way = Sequence[Sequence[float]]
# reference mm; the right side's, where a side is chosen
JUGULAR: Way = ((34, -8, 560), (36, -6, 510), (38, 12, 468), (28, 12, 438), (27, 12, 400), (27, 14, 365))
SUBCLAVIAN: Way = ((105, -2, 474), (64, 4, 482), (38, 12, 468), (28, 12, 438), (27, 12, 400), (27, 14, 365))
LEFT_LINE: Way = ((-105, -2, 474), (-62, 4, 482), (-32, 12, 468), (0, 20, 450), (28, 14, 440), (27, 12, 400),
                  (27, 14, 365))  # fmt: skip
TO_VENTRICLE: Way = ((29, 20, 345), (22, 34, 322), (2, 48, 306), (-22, 58, 300))  # from the cava to the apex


def _draw(drawing: Drawing, way: Way | np.ndarray, radius_mm: float, tissue: str, world: bool = False) -> Bools:
    """Paint a line through reference (or world) points; thin ones take one voxel at least. Their voxels."""
    line = np.asarray(way, dtype=np.float64) if world else drawing.world(way)
    line = smooth_line(line, 3.0)
    return _tube(drawing, np.column_stack([line[:, :3], np.full(len(line), radius_mm)]), tissue)


def _tube(drawing: Drawing, line: np.ndarray, tissue: str) -> Bools:
    least = 0.55 * max(drawing.scene.grid.spacing_mm)
    line = line.copy()
    line[:, 3] = np.maximum(line[:, 3], least)
    window, away = drawing.tube(line)
    mask = np.zeros(drawing.scene.labels.shape, dtype=bool)
    if not away.size:
        return mask
    inside = away < 0
    drawing.paint(window, inside, tissue)
    mask[window] = inside
    return mask


def _note(drawing: Drawing, wish: Wish, mask: Bools, site: str) -> None:
    if not mask.any():
        raise refuse(wish.words, "the place where it would lie is not in the field of view.")
    drawing.taken[mask] = True
    drawing.note(wish, mask, site=site)


def _pocket(drawing: Drawing, wish: Wish, side: str, half_mm: tuple[float, float, float]) -> Bools:
    """A box of metal with round corners under the skin in front of the chest's muscle."""
    sign = 1.0 if side == "right" else -1.0
    fat = drawing.points(drawing.voxels(("subcutaneous_fat",)))
    at = drawing.world([(sign * 80.0, 60.0, 445.0)])[0]
    near = fat[(np.abs(fat[:, 0] - at[0]) < 12) & (np.abs(fat[:, 2] - at[2]) < 12) & (fat[:, 1] > 0)]
    if not len(near):
        raise refuse(wish.words, "the front of the chest is not in the field of view.")
    at[1] = float(np.median(near[:, 1]))
    window, x, y, z = drawing.around(at, max(half_mm) + 6)
    shape = (np.abs(x) / half_mm[0]) ** 4 + (np.abs(y) / half_mm[1]) ** 4 + (np.abs(z) / half_mm[2]) ** 4
    inside = (shape < 1) & (drawing.scene.labels[window] > 0)
    drawing.paint(window, inside, "metal")
    mask = np.zeros(drawing.scene.labels.shape, dtype=bool)
    mask[window] = inside
    return mask


@finding("central_venous_catheter", example="right central venous catheter", side="may",
         sites=("superior_vena_cava", "vein", "neck"))  # fmt: skip
def central_venous_catheter(drawing: Drawing, wish: Wish) -> None:
    """A line from the neck to where the upper cava meets the heart."""
    way = LEFT_LINE if wish.side == "left" else JUGULAR
    _note(drawing, wish, _draw(drawing, way, 1.2, "catheter"), "superior_vena_cava")


@finding("catheter", example="catheter in the superior vena cava", side="may", sites=("superior_vena_cava", "vein"))
def catheter(drawing: Drawing, wish: Wish) -> None:
    """A line in the upper cava."""
    central_venous_catheter(drawing, wish)


@finding("port", example="right port catheter", side="may", sites=("chest_wall", "superior_vena_cava", "chest"))
def port(drawing: Drawing, wish: Wish) -> None:
    """A chamber under the skin and a line into the upper cava."""
    side = wish.side or "right"
    way = LEFT_LINE if side == "left" else SUBCLAVIAN
    mask = _draw(drawing, way, 1.2, "catheter") | _pocket(drawing, wish, side, (13.0, 5.0, 13.0))
    _note(drawing, wish, mask, "chest_wall")


@finding("pacemaker", example="pacemaker", side="may", sites=("chest_wall", "heart", "chest"))
def pacemaker(drawing: Drawing, wish: Wish) -> None:
    """A box under the skin, left when no side is named, and a lead to the right ventricle."""
    side = wish.side or "left"
    way = (*(LEFT_LINE if side == "left" else SUBCLAVIAN), *TO_VENTRICLE)
    mask = _draw(drawing, way, 1.1, "metal") | _pocket(drawing, wish, side, (25.0, 4.5, 22.0))
    _note(drawing, wish, mask, "chest_wall")


@finding("sternotomy_wires", example="sternotomy wires", sites=("sternum", "chest"))
def sternotomy_wires(drawing: Drawing, wish: Wish) -> None:
    """Six loops of wire round the sternum."""
    sternum = drawing.points(drawing.voxels(("sternum",)))
    if len(sternum) < 50:
        raise refuse(wish.words, "the sternum is not in the field of view.")
    mask = np.zeros(drawing.scene.labels.shape, dtype=bool)
    for z in np.quantile(sternum[:, 2], np.linspace(0.2, 0.95, 6)):
        level = sternum[np.abs(sternum[:, 2] - z) < 4.0]
        centre, half = level.mean(axis=0), np.ptp(level, axis=0) / 2
        half = np.array([min(half[0], 16.0), half[1] + 1.0, 0.0])
        turn = np.linspace(0, 2 * np.pi, 25)
        ring = centre + np.stack([np.cos(turn) * half[0], np.sin(turn) * half[1], 0 * turn], axis=1)
        mask |= _tube(drawing, np.column_stack([ring, np.full(len(ring), 0.5)]), "metal")
    _note(drawing, wish, mask, "sternum")


@finding("surgical_clip", example="surgical clips", sites=("gallbladder", "liver", "abdomen", "mediastinum"), many=True)
def surgical_clip(drawing: Drawing, wish: Wish) -> None:
    """Short clips of metal at the hilum of the liver, or in the mediastinum when it is named."""
    home = (20.0, 30.0, 420.0) if wish.site == "mediastinum" else (44.0, 24.0, 190.0)
    rng = drawing.rng(wish)
    mask = np.zeros(drawing.scene.labels.shape, dtype=bool)
    for _ in range(max(2, wish.count)):
        at = np.asarray(home) + rng.normal(0, 7, 3)
        mask |= _draw(drawing, np.array([at, at + np.array([6, 1, 2])]), 0.7, "metal")
    _note(drawing, wish, mask, wish.site or "liver")


@finding("tube", example="right chest tube", side="may", sites=("pleura", "trachea", "stomach", "oesophagus"))
def tube(drawing: Drawing, wish: Wish) -> None:
    """A chest tube in the pleural space of a side; a gastric or tracheal tube when it is named so."""
    if wish.says("gastric", "enteric", "feeding"):
        gullet = drawing.voxels(("esophagus",))
        levels = np.flatnonzero(gullet.any(axis=(1, 2)))
        if len(levels) < 4:
            raise refuse(wish.words, "the oesophagus is not in the field of view.")
        way = [drawing.points(gullet & _only(gullet, k)).mean(axis=0) for k in levels[:: max(1, len(levels) // 12)]]
        inside = drawing.middle(wish, ("stomach",)) if drawing.voxels(("stomach",)).any() else way[0]
        _note(drawing, wish, _draw(drawing, np.array([inside, *way]), 2.2, "catheter", world=True), "oesophagus")
    elif wish.says("trache"):
        mask = _draw(drawing, ((0, 4, 600), (0, 0, 540), (0, -6, 495), (2, -16, 455)), 4.5, "catheter")
        window = drawing.box(wish, mask)
        drawing.paint(window, mask[window] & (drawing.away(~mask[window]) > 2.0), "air")
        _note(drawing, wish, mask, "trachea")
    else:
        if wish.side is None:
            raise refuse(wish.words, "it names no side. Say left or right.")
        sign = 1.0 if wish.side == "right" else -1.0
        way_ = ((sign * 175, -10, 330), (sign * 132, -20, 340), (sign * 118, -40, 380), (sign * 80, -62, 440))
        mask = _draw(drawing, way_, 3.6, "catheter")
        window = drawing.box(wish, mask)
        drawing.paint(window, mask[window] & (drawing.away(~mask[window]) > 2.0), "air")
        _note(drawing, wish, mask, "pleura")


def _only(mask: Bools, k: int) -> Bools:
    chosen = np.zeros((len(mask), 1, 1), dtype=bool)
    chosen[k] = True
    return chosen


@finding("coronary_stent", example="coronary stent", sites=("coronary_arteries", "heart"))
def coronary_stent(drawing: Drawing, wish: Wish) -> None:
    """Metal along two centimetres of a coronary artery."""
    vessel = drawing.voxels(("coronary_arteries",))
    centre = drawing.centre(wish, vessel, 1.0)
    window, x, y, z = drawing.around(centre, 14.0)
    inside = vessel[window] & (x * x + y * y + z * z < 10.0**2)
    drawing.put(wish, window, inside, "metal", site="coronary_arteries")


@finding("orthopaedic_hardware", example="left hip prosthesis", side="may", sites=("hip", "spine", "femur", "bone"))
def orthopaedic_hardware(drawing: Drawing, wish: Wish) -> None:
    """A hip prosthesis of a side, or screws in the pedicles of L4 and L5 when no side or the spine is named."""
    mask = np.zeros(drawing.scene.labels.shape, dtype=bool)
    if wish.side and wish.site != "spine":
        sign = 1.0 if wish.side == "right" else -1.0
        head, neck, shaft = (sign * 88, -12, -95), (sign * 112, -14, -118), (sign * 122, -14, -230)
        mask |= _draw(drawing, (head, (sign * 90, -12, -96)), 22.0, "metal")
        mask |= _draw(drawing, (head, neck, shaft), 7.0, "metal")
        _note(drawing, wish, mask, "hip")
        return
    for level in ("L4", "L5"):
        bone = drawing.points(drawing.voxels((f"vertebrae_{level}",)))
        if not len(bone):
            raise refuse(wish.words, "L4 and L5 are not in the field of view.")
        middle, front = bone.mean(axis=0), float(np.quantile(bone[:, 1], 0.9))
        for sign in (-1.0, 1.0):
            deep = [middle[0] + sign * 12, front - 8, middle[2] + 3]
            back = [middle[0] + sign * 21, front - 62, middle[2] + 3]
            mask |= _draw(drawing, (deep, back), 2.8, "metal", world=True)
    _note(drawing, wish, mask, "spine")


@finding("breast_implant", example="left breast implant", side="must", sites=("breast",))
def breast_implant(drawing: Drawing, wish: Wish) -> None:
    """A lens of silicone behind the gland."""
    if drawing.person.sex != "female":
        raise refuse(wish.words, "this person is a man. Choose another --seed.")
    gland = drawing.voxels(("breast",)) & drawing.half(wish.side or "")
    points = drawing.points(gland)
    if not len(points):
        raise refuse(wish.words, "the breast is not in the field of view.")
    centre = points.mean(axis=0) - [0, 14, 0]
    window, x, y, z = drawing.around(centre, 62.0)
    inside = ((x / 52) ** 2 + (y / 20) ** 2 + (z / 52) ** 2 < 1) & np.isin(
        drawing.scene.labels[window], [NUMBER["breast"], NUMBER["subcutaneous_fat"]]
    )
    drawing.put(wish, window, inside & ~drawing.taken[window], "silicone", site="breast")


@finding("medical_material", example="medical material", side="may", sites=("chest", "heart", "spine", "vein"))
def medical_material(drawing: Drawing, wish: Wish) -> None:
    """A device by chance: a port, a pacemaker, a venous line or wires of the sternum; hardware when named so."""
    if wish.says("hardware", "screw", "plate") or wish.site == "spine":
        orthopaedic_hardware(drawing, wish)
        return
    able = (port, pacemaker, central_venous_catheter, sternotomy_wires)
    able[int(drawing.rng(wish).integers(len(able)))](drawing, wish)
