"""Findings of liver, bile ducts, pancreas, spleen and adrenals."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.lumps import core, lesion, lump, sizes
from vlm.phantom.body.findings.registry import Size, finding
from vlm.phantom.body.patient import Patient
from vlm.phantom.body.wishes import Wish, refuse
from vlm.phantom.trees import grow

LESION = Size("diameter", 22.0, 2.0, 180.0)
LOOKS = ("solid", "cystic", "round", "lobulated", "irregular", "heterogeneous", "homogeneous", "calcified",
         "enhancing", "nonenhancing", "fluid_density", "smooth", "focal")  # fmt: skip
KINDS = {  # words: (tissue of the rim, of the middle, share of the volume that is middle)
    ("haemangioma", "hemangioma"): ("haemangioma_rim", "haemangioma_core", 0.45),
    ("metasta",): ("metastasis_rim", "metastasis_core", 0.4),
    ("hepatocellular", "hcc"): ("hcc", "hcc_core", 0.08),
    ("hyperdense", "calcif"): ("calcium", "calcium", 0.5),
}
INTRAHEPATIC_TIPS = 10


def _liver_lesion(drawing: Drawing, wish: Wish, kind: tuple[str, str, float] | None) -> None:
    """Balls in the liver; a kind has a rim and a middle that enhance each in its own way."""
    for mm in sizes(drawing, wish, drawing.size(wish)):
        rim, inner, share = kind or ("hypodense", "hypodense", 0.0)
        rough = 0.08 if wish.attributes & {"lobulated", "irregular"} else 0.04
        beyond = drawing.voxels(("hepatic_vein", "portal_vein_and_splenic_vein")) & _near_liver(drawing, wish)
        name = lump(drawing, wish, drawing.voxels(("liver",)), rim, mm, rough=rough, site="liver", beyond=beyond)
        if kind:
            core(drawing, name, share, inner, "middle")


def _near_liver(drawing: Drawing, wish: Wish) -> Bools:
    liver = drawing.voxels(("liver",))
    window = drawing.box(wish, liver)
    out = np.zeros(liver.shape, dtype=bool)
    out[window] = True
    return out


@finding("liver_lesion", example="liver haemangioma 3 cm", size=LESION, sites=("liver",), attributes=LOOKS, many=True)
def liver_lesion(drawing: Drawing, wish: Wish) -> None:
    """A lesion of the liver: as named a haemangioma, a metastasis, a hepatocellular carcinoma, else a dark one."""
    _liver_lesion(drawing, wish, next((kind for words, kind in KINDS.items() if wish.says(*words)), None))


@finding("liver_hypodensity", example="liver hypodensity 9 mm", size=Size("diameter", 10.0, 2.0, 100.0), many=True,
         sites=("liver",), attributes=LOOKS)  # fmt: skip
def liver_hypodensity(drawing: Drawing, wish: Wish) -> None:
    """A dark ball in the liver."""
    _liver_lesion(drawing, wish, None)


finding("liver_cyst", example="liver cyst 3 cm", size=Size("diameter", 20.0, 3.0, 180.0), sites=("liver",), many=True,
        attributes=LOOKS)(lesion(("liver",), "cyst", rough=0.02, site="liver"))  # fmt: skip


@finding("metastatic_disease", example="two pulmonary metastases 12 mm", size=Size("diameter", 18.0, 3.0, 120.0),
         sites=("liver", "lung", "bone", "spine", "adrenal", "peritoneum", "abdomen"), side="may", many=True,
         attributes=LOOKS)  # fmt: skip
def metastatic_disease(drawing: Drawing, wish: Wish) -> None:
    """Metastases in the lung, the bones or - when no site is named - the liver; one number of them each."""
    if wish.site == "lung":
        from vlm.phantom.body.findings.lung import lung

        for mm in sizes(drawing, wish, drawing.size(wish)):
            lump(drawing, wish, lung(drawing, wish), "nodule", mm, rough=0.02, site="lung")
    elif wish.site in ("bone", "spine"):
        from vlm.phantom.body.findings.bones import bone_lesion

        bone_lesion(drawing, wish)
    elif wish.site in ("peritoneum", "abdomen", "adrenal"):
        raise refuse(wish.words, f"metastases of the {wish.site} are not drawn. Name the liver, the lung or bone.")
    else:
        _liver_lesion(drawing, wish, KINDS[("metasta",)])


# -- bile ducts -----------------------------------------------------------------------------------------------------


def _duct(drawing: Drawing, wish: Wish) -> NDArray[np.float64]:
    """(N, 3) world points of the common bile duct, from the hilum of the liver to the duodenum."""
    hilum = drawing.world([(36.0, 14.0, 206.0 + 0.8 * drawing.person.breath_mm)])[0]
    head = drawing.middle(wish, ("pancreas",))
    duodenum = drawing.points(drawing.voxels(("duodenum",)))
    if not len(duodenum):
        raise refuse(wish.words, "the duodenum is not in the field of view.")
    papilla = duodenum[int(np.argmin(np.linalg.norm(duodenum - [head[0] + 34, head[1] - 4, head[2] - 24], axis=1)))]
    bend = 0.5 * (hilum + papilla) + [2.0, -8.0, 4.0]
    t = np.linspace(0, 1, 9)[:, None]
    return np.asarray((1 - t) ** 2 * hilum + 2 * t * (1 - t) * bend + t**2 * papilla)


def _bile_tree(drawing: Drawing, wish: Wish, mm: float) -> Bools:
    """Paint a common duct of a diameter and, upstream, ducts inside the liver; the mask of all of them."""
    scene = drawing.scene
    line = _duct(drawing, wish)
    stem = np.column_stack([line, np.linspace(mm / 2, 0.4 * mm, len(line))])
    liver = drawing.points(drawing.voxels(("liver",)))
    tips = liver[drawing.rng(wish).integers(len(liver), size=INTRAHEPATIC_TIPS)]
    tips = line[0] + 0.75 * (tips - line[0])
    tree = grow(tuple(line[0]), tips, tip_radius_mm=0.12 * mm, root_radius_mm=0.38 * mm)
    twigs = [np.array([[*piece.start, piece.radius_mm], [*piece.end, piece.radius_mm]]) for piece in tree]
    field = np.full(scene.labels.shape, 1e3, dtype=np.float32)
    for piece_line in (stem, *twigs):
        window, away = drawing.tube(piece_line)
        np.minimum(field[window], away, out=field[window])
    room = drawing.voxels(("liver", "torso_fat", "pancreas", "duodenum", "gallbladder", "stomach", "colon"))
    cover = np.clip(0.5 - field / np.float32(scene.edge_mm), 0, 1) * room
    inside = cover > 0.5
    drawing.paint(drawing.whole(), inside, "bile", cover)
    return np.asarray(inside)


@finding("biliary_dilatation", example="biliary dilatation 12 mm", size=Size("diameter", 12.0, 8.0, 30.0),
         sites=("bile_ducts", "liver"), attributes=("diffuse",))  # fmt: skip
def biliary_dilatation(drawing: Drawing, wish: Wish) -> None:
    """A wide common duct, and wide ducts in the liver upstream of it."""
    mm = drawing.size(wish)
    ducts = _bile_tree(drawing, wish, mm)
    drawing.taken[ducts] = True
    drawing.note(wish, ducts, site="bile_ducts", size=("diameter", mm))


@finding("bile_duct_stone", example="bile duct stone 8 mm", size=Size("diameter", 8.0, 2.0, 25.0),
         sites=("bile_ducts",), attributes=("obstructing", "nonobstructing", "calcified"))  # fmt: skip
def bile_duct_stone(drawing: Drawing, wish: Wish) -> None:
    """A stone at the lower end of the common duct, which is wide upstream of it."""
    mm = drawing.size(wish)
    wide = max(mm + 3.0, 9.0)
    ducts = _bile_tree(drawing, wish, wide)
    at = _duct(drawing, wish)[-2]
    window, x, y, z = drawing.around(at, mm + 6)
    rank = np.sqrt(x * x + y * y + z * z).astype(np.float32)
    tissue = "stone" if "calcified" in wish.attributes else "pigment_stone"
    drawing.fill(wish, np.ones(ducts.shape, dtype=bool), window, rank, np.pi / 6 * mm**3 / 1000, tissue,
                 site="bile_ducts", size=("diameter", mm))  # fmt: skip
    ducts &= ~drawing.taken
    drawing.taken[ducts] = True
    drawing.note(wish, ducts, finding="biliary_dilatation", site="bile_ducts", size=("diameter", wide))


# -- gallbladder ----------------------------------------------------------------------------------------------------


def _keep_gallbladder(patient: Patient, _: Wish) -> None:
    patient.vary("no_gallbladder", False)


@finding("gallstone", example="two gallstones 9 mm", size=Size("diameter", 9.0, 1.5, 40.0), sites=("gallbladder",),
         attributes=("calcified", "noncalcified", "layering"), many=True, prepare=_keep_gallbladder)  # fmt: skip
def gallstone(drawing: Drawing, wish: Wish) -> None:
    """Stones that lie in the lowest part of the gallbladder."""
    tissue = "stone" if "calcified" in wish.attributes else "cholesterol"
    for mm in sizes(drawing, wish, drawing.size(wish)):
        bile = drawing.voxels(("gallbladder",)) & drawing.made_of(("bile",))
        window = drawing.box(wish, bile)
        depth = drawing.away(~bile[window])
        floor = np.full(depth.shape, 1e6, dtype=np.float32)
        deep = depth >= min(0.5 * mm, 0.95 * float(depth.max()))
        height = (
            drawing.scene.lines[1][window[1]][None, :, None] + 0.1 * drawing.scene.lines[2][window[0]][:, None, None]
        )
        floor[deep] = np.broadcast_to(height, depth.shape)[deep]
        index = np.unravel_index(int(np.argmin(floor)), floor.shape)
        at = drawing.scene.grid.to_mm(np.array([i + part.start for i, part in zip(index, window, strict=True)])[::-1])
        window, x, y, z = drawing.around(np.asarray(at), 1.2 * mm + 6)
        rank = np.sqrt(x * x + y * y + z * z).astype(np.float32)
        drawing.fill(wish, bile, window, rank, np.pi / 6 * mm**3 / 1000, tissue, site="gallbladder",
                     size=("diameter", mm))  # fmt: skip


@finding("surgically_absent_gallbladder", example="cholecystectomy", sites=("gallbladder",),
         attributes=("postoperative",), prepare=lambda patient, _: patient.vary("no_gallbladder", True))  # fmt: skip
def absent_gallbladder(drawing: Drawing, wish: Wish) -> None:
    """No gallbladder, and two clips of metal in its bed."""
    bed = drawing.world([(50.0, 30.0, 186.0 + 0.8 * drawing.person.breath_mm)])[0]
    liver = drawing.points(drawing.voxels(("liver",)))
    if not len(liver):
        raise refuse(wish.words, "the liver is not in the field of view.")
    near = liver[int(np.argmin(np.linalg.norm(liver - bed, axis=1)))]
    mask = np.zeros(drawing.scene.labels.shape, dtype=bool)
    for shift in (-4.0, 4.0):
        clip = near + np.array([shift, 0.0, shift])
        window, away = drawing.tube(np.array([[clip[0] - 3, *clip[1:], 0.8], [clip[0] + 3, *clip[1:], 0.8]]))
        inside = away < max(0.0, float(away.min()) + 0.1)
        drawing.paint(window, inside, "metal")
        mask[window] |= inside
    drawing.taken[mask] = True
    drawing.note(wish, mask, site="gallbladder")


# -- pancreas, spleen, adrenals -------------------------------------------------------------------------------------

finding("splenic_lesion", example="splenic lesion 18 mm", size=Size("diameter", 14.0, 2.0, 90.0), sites=("spleen",),
        attributes=LOOKS, many=True)(lesion(("spleen",), "hypodense", site="spleen"))  # fmt: skip
finding("pancreatic_lesion", example="pancreatic mass 25 mm", size=Size("diameter", 18.0, 2.0, 100.0),
        sites=("pancreas",), attributes=LOOKS, many=True,
        )(lesion(("pancreas",), "hypodense", beyond=("torso_fat", "duodenum"), site="pancreas"))  # fmt: skip


@finding("pancreatic_duct_dilatation", example="pancreatic duct dilatation 6 mm", size=Size("diameter", 6.0, 4.0, 20.0),
         sites=("pancreas", "pancreatic_duct"))  # fmt: skip
def pancreatic_duct_dilatation(drawing: Drawing, wish: Wish) -> None:
    """A wide duct along the middle of the gland."""
    mm = drawing.size(wish)
    gland = drawing.voxels(("pancreas",))
    points = drawing.points(gland)
    if len(points) < 20:
        raise refuse(wish.words, "the pancreas is not in the field of view.")
    order = np.argsort(points[:, 0])
    parts = [points[part].mean(axis=0) for part in np.array_split(order, 14)][1:-1]
    window, away = drawing.tube(np.column_stack([parts, np.full(len(parts), mm / 2)]))
    inside = (away < 0) & drawing.voxels(("pancreas", "torso_fat", "duodenum"))[window]
    cover = np.clip(0.5 - away / np.float32(drawing.scene.edge_mm), 0, 1) * inside
    drawing.put(wish, window, inside, "water", cover=cover, site="pancreas", size=("diameter", mm))


@finding("adrenal_lesion", example="left adrenal nodule 20 mm", size=Size("diameter", 18.0, 5.0, 120.0), side="must",
         sites=("adrenal",), attributes=LOOKS)  # fmt: skip
def adrenal_lesion(drawing: Drawing, wish: Wish) -> None:
    """An adenoma with fat in it, or a solid mass when it is called a mass, a metastasis or heterogeneous."""
    solid = wish.says("mass", "metasta") or "heterogeneous" in wish.attributes
    gland = drawing.voxels((f"adrenal_gland_{wish.side}",))
    lump(drawing, wish, gland, "tumour" if solid else "adenoma", drawing.size(wish), site="adrenal",
         beyond=drawing.voxels(("torso_fat",)))  # fmt: skip
