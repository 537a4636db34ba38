"""Findings of the vessels: calcium in walls, wide and torn aortas, clots that only contrast shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.registry import Painter, Size, finding
from vlm.phantom.body.labels import LOBES, NUMBER
from vlm.phantom.body.wishes import Wish, refuse

ARTERIES = tuple(n for n in NUMBER if n == "aorta" or "artery_" in n or n == "brachiocephalic_trunk")
PLAQUES = 5
VEINS = {  # site in words: label
    "portal": "portal_vein_and_splenic_vein", "splenic": "portal_vein_and_splenic_vein",
    "cava": "inferior_vena_cava", "ivc": "inferior_vena_cava", "hepatic": "hepatic_vein",
}  # fmt: skip


def _plaques(labels: tuple[str, ...], usual: str) -> Painter:
    """Calcium in the wall of arteries, in a few clusters."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        vessel = drawing.voxels(labels)
        if wish.site in RANGES:
            vessel &= _part(drawing, wish.site)
        window = drawing.box(wish, vessel, 2.0)
        inside = vessel[window]
        depth = drawing.away(~inside)
        near = (
            inside if "coronary_arteries" in labels else inside & (depth < max(3.0, float(depth[inside].min()) + 0.1))
        )
        index = np.argwhere(near)
        steps = np.array(drawing.scene.grid.spacing_mm[::-1])
        seeds = index[drawing.rng(wish).integers(len(index), size=PLAQUES)] * steps
        rank = np.full(near.shape, 1e3, dtype=np.float32)
        rank[near] = np.min([np.linalg.norm(index * steps - seed, axis=1) for seed in seeds], axis=0)
        allowed = np.zeros(vessel.shape, dtype=bool)
        allowed[window] = near
        drawing.fill(wish, allowed, window, rank, drawing.size(wish), "calcium", site=wish.site or usual)

    return paint


RANGES = {  # levels of the reference body, mm, and whether in front of the spine's vessels
    "ascending_aorta": (340.0, 410.0), "aortic_arch": (410.0, 460.0), "thoracic_aorta": (200.0, 460.0),
    "descending_aorta": (210.0, 410.0), "abdominal_aorta": (60.0, 200.0),
}  # fmt: skip


def _part(drawing: Drawing, site: str) -> Bools:
    """(Z, Y, X): a stretch of the aorta by its height, and in the chest by front or back."""
    low, high = drawing.world([(0.0, 0.0, z) for z in RANGES[site]])[:, 2]
    x, y, z = drawing.scene.lines
    level = ((z >= low) & (z < high))[:, None, None]
    front = (y > -15)[None, :, None] if site == "ascending_aorta" else (y > -1e3)[None, :, None]
    behind = (y < -20)[None, :, None] if site == "descending_aorta" else front
    return np.asarray(level & front & behind & (x < 1e6)[None, None, :])


AORTA = ("aorta", *RANGES)
CALCIUM = ("calcified", "diffuse", "coarse", "linear")
finding("coronary_artery_calcification", example="coronary artery calcification 0.2 ml", attributes=CALCIUM,
        size=Size("volume", 0.15, 0.002, 6.0, {"mild": 0.04, "moderate": 0.2, "severe": 0.8, "marked": 0.6}),
        sites=("coronary_arteries", "heart"))(_plaques(("coronary_arteries",), "coronary_arteries"))  # fmt: skip
finding("aortic_calcification", example="aortic calcification 0.8 ml", size=Size("volume", 0.5, 0.01, 30.0),
        sites=AORTA, attributes=CALCIUM)(_plaques(("aorta",), "aorta"))  # fmt: skip
finding("arterial_wall_calcification", example="arterial wall calcification 0.8 ml", attributes=CALCIUM,
        size=Size("volume", 0.8, 0.01, 30.0), sites=("arteries", *AORTA))(_plaques(ARTERIES, "arteries"))  # fmt: skip
finding("atherosclerosis", example="atherosclerosis 1.5 ml", size=Size("volume", 1.2, 0.01, 40.0), attributes=CALCIUM,
        sites=("arteries", *AORTA),
        )(_plaques(("aorta", "iliac_artery_left", "iliac_artery_right"), "arteries"))  # fmt: skip


def _line(drawing: Drawing, wish: Wish, part: Bools) -> NDArray[np.float64]:
    """(N, 4) the middle line of a stretch of the aorta that runs along z: x, y, z and radius, world mm."""
    scene = drawing.scene
    rows = []
    for k in np.flatnonzero(part.any(axis=(1, 2))):
        index = np.argwhere(part[k])
        radius = float(np.sqrt(len(index) * scene.grid.spacing_mm[0] * scene.grid.spacing_mm[1] / np.pi))
        y, x = index.mean(axis=0)
        rows.append((*scene.grid.to_mm(np.array([x, y, k])), radius))
    if len(rows) < 3:
        raise refuse(wish.words, "this part of the aorta is not in the field of view.")
    return np.array(rows)


def _aneurysm(usual_site: str) -> Painter:
    """A spindle on a stretch of the aorta, with clot on its wall from 40 mm on."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        scene, mm = drawing.scene, drawing.size(wish)
        site = wish.site if wish.site in RANGES else usual_site
        vessel = drawing.voxels(("aorta",))
        line = _line(drawing, wish, vessel & _part(drawing, site))
        if mm / 2 <= float(line[:, 3].max()):
            raise refuse(wish.words, f"this aorta is {2 * line[:, 3].max():.0f} mm wide already.")
        z = line[:, 2]
        middle, length = 0.5 * (z[0] + z[-1]) - 0.1 * (z[-1] - z[0]), max(1.4 * mm, 35.0)
        bulge = np.exp(-(((z - middle) / (0.45 * length)) ** 4))
        wide = line.copy()
        wide[:, 3] = line[:, 3] + (mm / 2 - line[:, 3]) * bulge
        wide = wide[bulge > 0.05]
        wide[:, 1] += 0.5 * (wide[:, 3] - line[bulge > 0.05, 3])  # it grows to the front, the spine is behind
        window, away = drawing.tube(wide, reach_mm=5.0)
        bones = scene.labels[window]
        free = ~np.isin(bones, [n for name, n in NUMBER.items() if name.startswith(("vertebrae", "rib", "interv"))])
        whole = (away < 0) & free
        scene.labels[window][whole] = NUMBER["aorta"]
        edge = np.float32(scene.edge_mm)
        drawing.paint(window, whole, "blood_aorta_wall", np.clip(0.5 - away / edge, 0, 1) * free)
        clot = 0.0 if mm < 40 else 0.18 * mm
        shift = np.float32(0.4 * clot) * np.sign(scene.lines[1][window[1]] - wide[:, 1].mean())[None, :, None]
        lumen = away + 1.3 + np.maximum(clot + shift, 0) * (away < 0)
        drawing.paint(window, whole & (lumen < 0), "blood_artery", np.clip(0.5 - lumen / edge, 0, 1) * free)
        if clot:
            thrombus = whole & (lumen >= 0) & (away < -1.3)
            drawing.paint(window, thrombus, "clot")
        mask = np.zeros(vessel.shape, dtype=bool)
        mask[window] = whole
        drawing.taken[window] |= whole
        drawing.note(wish, mask, site=site, size=("diameter", mm))

    return paint


finding("abdominal_aortic_aneurysm", example="abdominal aortic aneurysm 52 mm", size=Size("diameter", 48.0, 30.0,
        100.0), sites=("abdominal_aorta", "aorta"), attributes=("fusiform",))(_aneurysm("abdominal_aorta"))  # fmt: skip
finding("aortic_aneurysm", example="aneurysm of the descending aorta 55 mm", size=Size("diameter", 55.0, 40.0, 100.0),
        sites=AORTA, attributes=("fusiform",))(_aneurysm("descending_aorta"))  # fmt: skip
finding("aortic_dilatation", example="dilatation of the ascending aorta 44 mm", size=Size("diameter", 44.0, 38.0, 60.0),
        sites=AORTA, attributes=("fusiform",))(_aneurysm("ascending_aorta"))  # fmt: skip


@finding("aortic_dissection", example="dissection of the descending aorta", sites=AORTA,
         attributes=("acute", "chronic"))  # fmt: skip
def aortic_dissection(drawing: Drawing, wish: Wish) -> None:
    """A flap winds through the lumen; the false lumen is larger and enhances later. Plain scans do not show it."""
    scene = drawing.scene
    vessel = drawing.voxels(("aorta",)) & drawing.made_of(("blood_artery",))
    site = wish.site if wish.site in RANGES else "thoracic_aorta" if wish.says("type a") else "descending_aorta"
    vessel &= _part(drawing, site)
    window = drawing.box(wish, vessel, 2.0)
    x, y, z = (scene.lines[a][window[2 - a]] for a in range(3))
    inside = vessel[window]
    centre = np.zeros((len(z), 2))
    for k in range(len(z)):
        index = np.argwhere(inside[k])
        centre[k] = (y[index[:, 0]].mean(), x[index[:, 1]].mean()) if len(index) else centre[k - 1]
    turn = z / 55.0 + drawing.rng(wish).uniform(0, 6)
    along = (x[None, None, :] - centre[:, 1, None, None]) * np.cos(turn)[:, None, None]
    along = along + (y[None, :, None] - centre[:, 0, None, None]) * np.sin(turn)[:, None, None]
    flap = inside & (np.abs(along + 1.5) < max(0.9, 0.45 * scene.edge_mm))
    false = inside & ~flap & (along > -1.5)
    drawing.paint(window, flap, "flap")
    before = scene.tissues.hu("blood_artery")
    drawing.paint(window, false, "blood_false")
    mask = np.zeros(vessel.shape, dtype=bool)
    mask[window] = false
    contrast = scene.tissues.hu("blood_false") - before
    if abs(contrast) < 8:
        contrast = scene.tissues.hu("flap") - before
    drawing.taken[window] |= false | flap
    drawing.note(wish, mask, site=site, contrast=contrast)


def _clot(drawing: Drawing, wish: Wish, vessel: Bools, site: str) -> None:
    """A clot that fills a stretch of a vessel's lumen."""
    centre = drawing.centre(wish, vessel, 3.0)
    window, x, y, z = drawing.around(centre, 60.0)
    rank = np.sqrt(x * x + y * y + z * z).astype(np.float32)
    drawing.fill(wish, vessel, window, rank, drawing.size(wish), "clot", site=site)


CLOT = ("acute", "chronic", "central", "occlusive", "nonocclusive", "eccentric")


@finding("pulmonary_embolism", example="right pulmonary embolism 2 ml", size=Size("volume", 1.5, 0.02, 40.0),
         side="may", sites=("pulmonary_artery", "segment", "lobe", "lung", *(n for n in ("upper_lobe", "lower_lobe"))),
         attributes=CLOT)  # fmt: skip
def pulmonary_embolism(drawing: Drawing, wish: Wish) -> None:
    """A clot in a pulmonary artery; without contrast it has nearly the density of blood and is not visible."""
    vessel = drawing.voxels(("pulmonary_artery",))
    if wish.side is not None:
        vessel &= drawing.half(wish.side, 18.0)
    if wish.site in ("segment", "lobe", "upper_lobe", "lower_lobe"):
        inside = drawing.voxels(("lung_vessels",))
        vessel = inside & drawing.half(wish.side) if wish.side else inside
        window = drawing.box(wish, vessel)
        near = drawing.away(drawing.voxels(("pulmonary_artery", "pulmonary_vein"))[window])
        vessel[window] &= near < 45
    _clot(drawing, wish, vessel, "pulmonary_artery")


@finding("thrombosis", example="portal vein thrombosis 3 ml", size=Size("volume", 3.0, 0.1, 40.0), side="may",
         sites=("vein", "inferior_vena_cava", "liver", "spleen", "abdomen", "pelvis"), attributes=CLOT)  # fmt: skip
def thrombosis(drawing: Drawing, wish: Wish) -> None:
    """A clot in the portal vein, the lower vena cava, a hepatic vein, or - named "deep" or "iliac" - a pelvic vein."""
    if wish.says("deep", "dvt", "iliac", "femoral"):
        if wish.side is None:
            raise refuse(wish.words, "it names no side. Say left or right.")
        label = f"iliac_vena_{wish.side}"
    else:
        said = next((name for word, name in VEINS.items() if wish.says(word)), None)
        label = "inferior_vena_cava" if wish.site == "inferior_vena_cava" else said or VEINS["portal"]
    vessel = drawing.voxels((label,))
    if not wish.says("hepatic") and label == VEINS["portal"]:  # the stem, not its branches in the liver
        window = drawing.box(wish, vessel)
        thick = drawing.away(~vessel[window])
        vessel[window] &= drawing.away(thick > min(3.0, 0.8 * float(thick.max()))) < 4.0
    _clot(drawing, wish, vessel, "inferior_vena_cava" if "cava" in label else "vein")


@finding("pulmonary_artery_dilatation", example="dilated pulmonary artery 36 mm", size=Size("diameter", 35.0, 31.0,
         50.0), sites=("pulmonary_artery",))  # fmt: skip
def pulmonary_artery_dilatation(drawing: Drawing, wish: Wish) -> None:
    """The pulmonary trunk swells evenly until its widest place has the diameter."""
    scene = drawing.scene
    trunk = drawing.voxels(("pulmonary_artery",))
    window = drawing.box(wish, trunk, 25.0)
    signed = drawing.signed(trunk[window])
    grow = drawing.size(wish) / 2 + float(signed.min())
    if grow < 0:
        raise refuse(wish.words, f"this pulmonary artery is {-2 * float(signed.min()):.0f} mm wide already.")
    near = np.exp(-((drawing.away(signed < float(signed.min()) + 2.0) / 32.0) ** 4)) * grow
    free = drawing.voxels((*LOBES, "pulmonary_artery", "lung_vessels", "torso_fat", "pericardium", "heart"))[window]
    whole = free & (signed - near < 0)
    scene.labels[window][whole] = NUMBER["pulmonary_artery"]
    drawing.paint(window, whole, "blood_pulmonary")
    mask = np.zeros(trunk.shape, dtype=bool)
    mask[window] = whole
    drawing.note(wish, mask, site="pulmonary_artery", size=("diameter", drawing.size(wish)))
