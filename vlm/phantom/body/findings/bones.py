"""Findings of bones: broken vertebrae and ribs, holes and dense islands."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vlm.phantom.body.findings.drawing import Drawing
from vlm.phantom.body.findings.lumps import lump, sizes
from vlm.phantom.body.findings.registry import Size, finding
from vlm.phantom.body.labels import NUMBER
from vlm.phantom.body.wishes import Wish, refuse

LEVELS = ("C7", *(f"T{n}" for n in range(1, 13)), *(f"L{n}" for n in range(1, 6)))
USUAL_LEVELS = ("T12", "L1", "T8", "T11", "L2", "T7")  # where compression is most often
SPINE = ("spine", "vertebra", "bone", *LEVELS)
HEIGHT_LOSS = Size("height_loss", 35.0, 10.0, 85.0, {"mild": 22.0, "moderate": 33.0, "severe": 50.0, "marked": 45.0})
AGE = ("acute", "chronic", "healing", "nondisplaced")
BONES = {  # site: labels
    "vertebra": "vertebrae_", "spine": "vertebrae_", "rib": "rib_", "sternum": "sternum", "scapula": "scapula_",
    "clavicle": "clavicula_", "humerus": "humerus_", "femur": "femur_", "hip": "hip_", "pelvic_bone": "hip_",
}  # fmt: skip


def _level(drawing: Drawing, wish: Wish) -> str:
    """The vertebra that a wish names, or one by chance that lies whole in the field of view."""
    if wish.site in LEVELS:
        return str(wish.site)
    labels = drawing.scene.labels
    present = np.setdiff1d(np.unique(labels[3:-3]), np.unique(labels[[0, -1]]))
    able = [name for name in USUAL_LEVELS if NUMBER[f"vertebrae_{name}"] in present]
    if not able:
        raise refuse(wish.words, "no vertebra is whole in the field of view.")
    return able[int(drawing.rng(wish).integers(len(able)))]


@finding("vertebral_fracture", example="T8 compression fracture 40 %", size=HEIGHT_LOSS, sites=SPINE,
         attributes=AGE)  # fmt: skip
def vertebral_fracture(drawing: Drawing, wish: Wish) -> None:
    """The upper endplate sinks in front by a share of the height; bone below it is denser, the disc fills the room."""
    scene, loss = drawing.scene, drawing.size(wish)
    name = _level(drawing, wish)
    number = NUMBER[f"vertebrae_{name}"]
    bone = scene.labels == number
    window = drawing.box(wish, bone)
    part = bone[window]
    if window[0].start == 0 or window[0].stop == len(scene.labels):
        raise refuse(wish.words, f"{name} is not whole in the field of view.")
    canal = scene.labels[window] == NUMBER["spinal_cord"]
    y = scene.lines[1][window[1]]
    behind = float(y[np.flatnonzero(canal.any(axis=(0, 2)))].max()) if canal.any() else float(y[0]) + 25
    body = part & (y > behind + 1)[None, :, None]
    column = body.any(axis=0)
    top = len(body) - 1 - body[::-1].argmax(axis=0)
    bottom = body.argmax(axis=0)
    front = float(y[np.flatnonzero(body.any(axis=(0, 2)))].max())
    depth = np.clip((front - y) / max(front - behind, 1.0), 0, 1)[:, None]
    share = loss / 100 * (1 - 0.75 * np.clip(depth - 0.35, 0, 1) / 0.65)
    height = np.where(column, np.median((top - bottom + 1)[column]), 0)
    sunk = top - share * height
    k = np.arange(len(body))[:, None, None]
    lost = body & (k > sunk[None])
    scene.labels[window][lost] = NUMBER["intervertebral_discs"]
    drawing.paint(window, lost, "disc")
    step = scene.grid.spacing_mm[2]
    dense = body & ~lost & (k > sunk[None] - max(1.0, 3.0 / step)) & column[None]
    drawing.paint(window, dense, "cortical_thin")
    drawing.note(wish, scene.labels == number, site=name, size=("height_loss", loss))


@finding("rib_fracture", example="left rib fracture", side="must", sites=("rib", "chest", "chest_wall"),
         attributes=(*AGE, "displaced"), many=True)  # fmt: skip
def rib_fracture(drawing: Drawing, wish: Wish) -> None:
    """A cleft across the side of a rib, with callus round it when it heals; a mask of the rib's ends."""
    scene = drawing.scene
    for _ in range(wish.count):
        ribs = [n for n in range(4, 11) if (scene.labels == NUMBER[f"rib_{wish.side}_{n}"]).any()]
        if not ribs:
            raise refuse(wish.words, "no rib of that side is in the field of view.")
        rng = drawing.rng(wish)
        rib = drawing.voxels((f"rib_{wish.side}_{ribs[int(rng.integers(len(ribs)))]}",))
        points = drawing.points(rib)
        outer = points[np.abs(points[:, 0]) > np.quantile(np.abs(points[:, 0]), 0.6)]
        at = outer[int(rng.integers(len(outer)))]
        near = points[np.linalg.norm(points - at, axis=1) < 22]
        along = np.linalg.svd(near - near.mean(axis=0), full_matrices=False)[2][0]
        window, x, y, z = drawing.around(at, 13.0)
        t = x * along[0] + y * along[1] + z * along[2]
        bone = rib[window]
        ends = bone & (np.abs(t) < 9.0)
        cleft = bone & (np.abs(t) < max(1.0, 0.6 * scene.edge_mm))
        if wish.attributes & {"chronic", "healing"}:
            callus = ndimage.binary_dilation(bone, iterations=2) & (np.abs(t) < 6) & ~bone
            drawing.paint(window, callus & ~drawing.taken[window], "callus")
            cleft &= np.abs(t) < 0.5
        drawing.paint(window, cleft, "muscle")
        mask = np.zeros(rib.shape, dtype=bool)
        mask[window] = ends
        drawing.taken[mask] = True
        drawing.note(wish, mask, site="rib")


@finding("fracture", example="fracture of the left femur", side="may", attributes=(*AGE, "displaced"),
         sites=("rib", "femur", "sternum", "clavicle", "scapula", "hip", "pelvic_bone", "humerus", *SPINE),
         size=HEIGHT_LOSS)  # fmt: skip
def fracture(drawing: Drawing, wish: Wish) -> None:
    """A broken vertebra, rib, or a cleft through another bone; a rib when no bone is named."""
    if wish.site in SPINE and wish.site != "bone":
        vertebral_fracture(drawing, wish)
        return
    if wish.percent is not None:
        raise refuse(wish.words, "the loss of height is that of a vertebra. Name one, T8.")
    if wish.site in (None, "rib", "bone"):
        from dataclasses import replace

        rib_fracture(drawing, wish if wish.side else replace(wish, side="left"))
        return
    bone = drawing.voxels(_labels(wish))
    points = drawing.points(bone)
    if len(points) < 50:
        raise refuse(wish.words, "this bone is not in the field of view.")
    along = np.linalg.svd((points - points.mean(axis=0))[:: max(1, len(points) // 4000)], full_matrices=False)[2][0]
    at = points[int(np.argmin(np.abs((points - np.median(points, axis=0)) @ along)))]
    window, x, y, z = drawing.around(at, 40.0)
    wave = 2.0 * np.sin(x / 5.0) * np.sin(y / 6.0)
    t = x * along[0] + y * along[1] + z * along[2] + wave
    cleft = bone[window] & (np.abs(t) < max(1.2, 0.6 * drawing.scene.edge_mm))
    mask = np.zeros(bone.shape, dtype=bool)
    mask[window] = bone[window] & (np.abs(t) < 10.0)
    drawing.paint(window, cleft, "muscle")
    drawing.taken[mask] = True
    drawing.note(wish, mask, site=wish.site)


def _labels(wish: Wish) -> list[str]:
    """The labels of the bone that a wish names."""
    if wish.site in LEVELS:
        return [f"vertebrae_{wish.site}"]
    stem = BONES.get(wish.site or "", "vertebrae_L" if wish.site in (None, "bone") else "vertebrae_")
    names = [n for n in NUMBER if n.startswith(stem)]
    if wish.side and any(wish.side in n for n in names):
        names = [n for n in names if wish.side in n]
    return names


@finding("bone_lesion", example="sclerotic bone lesion L3 15 mm", size=Size("diameter", 14.0, 3.0, 80.0), side="may",
         sites=(*BONES, *SPINE), many=True, attributes=("focal", "round", "irregular"))  # fmt: skip
def bone_lesion(drawing: Drawing, wish: Wish) -> None:
    """A hole filled with soft tissue; a dense island when it is called sclerotic or blastic."""
    tissue = "sclerosis" if wish.says("scler", "blastic", "island") else "tumour"
    for mm in sizes(drawing, wish, drawing.size(wish)):
        whole = wish.site in (None, "bone", "vertebra", "spine")
        bone = drawing.voxels([f"vertebrae_{_level(drawing, wish)}"] if whole else _labels(wish))
        lump(drawing, wish, bone, tissue, mm, rough=0.06, site=wish.site or "bone")
