"""Findings of bowel, peritoneum and the body's wall: free fluid and air, thick walls, blocked loops, oedema."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.lung import field
from vlm.phantom.body.findings.organs import wanted
from vlm.phantom.body.findings.registry import Painter, Size, finding
from vlm.phantom.body.patient import Patient
from vlm.phantom.body.wishes import Wish, refuse

STRETCH_MM = 55.0  # how far a thick-walled stretch of bowel reaches from its middle
SKIN_LAYER_MM = 1.5  # mucosa and outer coat on both sides of a swollen submucosa
COLLAPSED = 0.62  # width of the colon beyond a blocked bowel, of its usual one


def _cavity(drawing: Drawing) -> Bools:
    """The fat of the peritoneal cavity: in front of the spine's organs, inside the wall, below the diaphragm."""
    wall, dome = (drawing.scene.on_voxels(name) for name in ("wall", "dome"))
    return np.asarray(drawing.voxels(("torso_fat",)) & (wall < -3) & (dome > 4))


def _fluid(drawing: Drawing, wish: Wish) -> None:
    """Fluid along the wall, lower places first: gutters, round the liver, pelvis."""
    rank = np.asarray(0.35 * drawing.height() - drawing.scene.on_voxels("wall"), dtype=np.float32)
    drawing.fill(wish, _cavity(drawing), drawing.whole(), rank, drawing.size(wish), "effusion", site="peritoneum")


FREE = ("abdomen", "peritoneum", "pelvis", "abdominal_cavity")
for _key, _words in (("ascites", "ascites 500 ml"), ("free_fluid", "free fluid 200 ml")):
    finding(_key, example=_words, size=Size("volume", 400.0, 5.0, 8000.0), sites=FREE, room=True,
            attributes=("fluid_density",))(_fluid)  # fmt: skip


@finding("pneumoperitoneum", example="free intraperitoneal air 40 ml", size=Size("volume", 30.0, 0.5, 2000.0),
         sites=FREE, room=True)  # fmt: skip
def pneumoperitoneum(drawing: Drawing, wish: Wish) -> None:
    """Air where it rises to: in front of the bowel and of the liver."""
    rank = -drawing.height()
    drawing.fill(wish, _cavity(drawing), drawing.whole(), rank, drawing.size(wish), "air", site="peritoneum")


def _thick(layered: bool) -> Painter:
    """A painter of a stretch of bowel with a thick wall; a swollen submucosa is a dark layer in it."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        mm = drawing.size(wish)
        label = "small_bowel" if wish.site == "small_bowel" else "colon"
        bowel = drawing.voxels((label,))
        lumen = bowel & ~drawing.made_of(("gut_wall",))
        centre = drawing.centre(wish, lumen, 6.0)
        window, x, y, z = drawing.around(centre, STRETCH_MM)
        near = x * x + y * y + z * z < STRETCH_MM**2
        away = drawing.away(lumen[window] & near)
        room = drawing.voxels((label, "torso_fat", "mesenteric_vessels"))[window] & near & ~lumen[window]
        wall = room & (away <= mm) & (away > 0)
        name = drawing.put(wish, window, wall, "gut_wall", site=label, size=("thickness", mm))
        if layered:
            dark = wall & (away > SKIN_LAYER_MM) & (away < mm - SKIN_LAYER_MM)
            if not dark.any():
                dark = wall & (away < 0.7 * mm)
            drawing.paint(window, dark, "oedema")
            part = np.zeros(bowel.shape, dtype=bool)
            part[window] = dark
            drawing.part(f"{name}_submucosa", part)

    return paint


BOWEL = ("bowel", "small_bowel", "colon")
finding("submucosal_edema", example="submucosal edema of the colon 10 mm", size=Size("thickness", 9.0, 4.0, 25.0),
        sites=BOWEL, attributes=("diffuse", "focal"))(_thick(True))  # fmt: skip
finding("bowel_wall_thickening", example="colonic wall thickening 8 mm", size=Size("thickness", 8.0, 4.0, 30.0),
        sites=BOWEL, attributes=("diffuse", "focal"))(_thick(False))  # fmt: skip


def _block(patient: Patient, wish: Wish) -> None:
    """Loops upstream of the block are wide, what lies beyond it is empty."""
    person = patient.person
    organs = {**person.organs, "small_bowel_mm": wanted(wish), "colon": COLLAPSED * person.organs["colon"]}
    variants = {**person.variants, "gas_filled_colon": False}
    patient.person = replace(person, organs=organs, variants=variants)


@finding("bowel_obstruction", example="small bowel obstruction 38 mm", size=Size("diameter", 36.0, 26.0, 55.0),
         sites=("bowel", "small_bowel", "abdomen"), prepare=_block)  # fmt: skip
def bowel_obstruction(drawing: Drawing, wish: Wish) -> None:
    """Small bowel loops of a diameter, with levels of gas over fluid, and an empty colon."""
    loops = drawing.voxels(("small_bowel",))
    drawing.box(wish, loops)
    drawing.note(wish, loops, site="small_bowel", size=("diameter", drawing.size(wish)))


@finding("appendicitis", example="appendicitis 12 mm", size=Size("diameter", 11.0, 7.0, 25.0),
         sites=("appendix", "abdomen"), attributes=("acute",))  # fmt: skip
def appendicitis(drawing: Drawing, wish: Wish) -> None:
    """A thick appendix below the caecum, filled with fluid, in stranded fat."""
    scene, mm = drawing.scene, drawing.size(wish)
    colon = drawing.points(drawing.voxels(("colon",)) & drawing.half("right", 40.0))
    caecum = colon[colon[:, 2] < np.quantile(colon[:, 2], 0.1)] if len(colon) else colon
    if len(caecum) < 5 or scene.lines[2][0] > caecum[:, 2].min() - 5:
        raise refuse(wish.words, "the caecum is not in the field of view.")
    start = caecum.mean(axis=0)
    bends = np.array([[0, 0, 0], [-8, -6, -20], [-26, -10, -30], [-44, -4, -26], [-56, 4, -34]], dtype=float)
    line = np.column_stack([start + bends, np.full(5, mm / 2)])
    window, away = drawing.tube(line, reach_mm=14.0)
    fat = drawing.voxels(("torso_fat",))[window]
    streaks = fat & (np.abs(field(drawing, 1.6, 7)[window]) < 0.9 - away / 18.0) & (away > 0)
    drawing.paint(window, streaks, "stranding")
    room = drawing.voxels(("torso_fat", "small_bowel", "colon", "mesenteric_vessels", "iliopsoas_right"))[window]
    whole = room & (away < 0)
    drawing.put(wish, window, whole, "inflamed_wall", site="appendix", size=("diameter", mm))
    drawing.paint(window, whole & (away < -2.5), "effusion")


POUCHES, APART_MM = 9, 14.0  # of a colon, and how far from one another
POUCH_WALL_MM = 1.0


@finding("diverticulosis", example="diverticulosis 7 mm", size=Size("diameter", 7.0, 3.0, 15.0),
         sites=("colon", "bowel"), many=True)  # fmt: skip
def diverticulosis(drawing: Drawing, wish: Wish) -> None:
    """Pouches of gas on the wall of the left colon, out into the fat; their number where one is said."""
    scene, mm, rng = drawing.scene, drawing.size(wish), drawing.rng(wish)
    colon = drawing.voxels(("colon",))
    fat = drawing.voxels(("torso_fat",))
    window = drawing.box(wish, colon & drawing.half("left"), mm + 4.0)
    depth = drawing.away(~fat[window])  # in the fat, from all that is none
    at_wall = fat[window] & (np.abs(drawing.away(colon[window]) - mm / 2) < scene.edge_mm / 2)
    at_wall &= (depth > 0.4 * mm) & (drawing.half("left")[:, :, window[2]])
    spots = drawing.points(at_wall) if at_wall.any() else np.zeros((0, 3))
    start = scene.grid.to_mm(np.array([part.start for part in window[::-1]])) - scene.grid.to_mm(np.zeros(3))
    chosen: list[np.ndarray] = []
    for spot in spots[rng.permutation(len(spots))] + start:
        if all(np.linalg.norm(spot - other) > max(APART_MM, 2 * mm) for other in chosen):
            chosen.append(spot)
        if len(chosen) == (wish.count if wish.count > 1 else POUCHES):
            break
    if not chosen:
        raise refuse(wish.words, "no fat lies beside the left colon of this person.")
    whole = np.zeros(colon.shape, dtype=bool)
    for spot in chosen:
        part, x, y, z = drawing.around(spot, mm / 2 + 4.0)
        away = np.sqrt(x * x + y * y + z * z)
        for radius, tissue in ((mm / 2 + POUCH_WALL_MM, "gut_wall"), (mm / 2, "gut_gas")):
            cover = np.clip(0.5 + (radius - away) / np.float32(scene.edge_mm), 0, 1) * fat[part]
            drawing.paint(part, (away < radius) & fat[part], tissue, cover)
        whole[part] |= (away < mm / 2) & fat[part]
    drawing.taken[whole] = True
    drawing.note(wish, whole, site="colon", size=("diameter", mm))


@finding("anasarca", example="anasarca 12 %", attributes=("diffuse",),
         size=Size("fraction", 12.0, 2.0, 40.0, {"mild": 6.0, "moderate": 12.0, "severe": 25.0, "marked": 20.0}),
         sites=("subcutaneous_fat", "body_wall"))  # fmt: skip
def anasarca(drawing: Drawing, wish: Wish) -> None:
    """A share of the fat under the skin is a net of fluid, more of it behind."""
    fat = drawing.voxels(("subcutaneous_fat",))
    share = drawing.size(wish)
    rank = np.abs(field(drawing, 2.4, 8)) + np.abs(field(drawing, 5.0, 9)) * 0.4
    rank += (0.006 * (drawing.scene.lines[1] + 120.0))[None, :, None]
    ml = share / 100 * float(np.count_nonzero(fat)) * drawing.scene.grid.voxel_ml
    drawing.fill(wish, fat, drawing.whole(), rank.astype(np.float32), ml, "stranding", site="subcutaneous_fat",
                 size=("fraction", share))  # fmt: skip


@finding("subcutaneous_emphysema", example="subcutaneous emphysema right 60 ml", size=Size("volume", 60.0, 1.0, 1500.0),
         side="must", sites=("chest_wall", "subcutaneous_fat", "neck", "chest"))  # fmt: skip
def subcutaneous_emphysema(drawing: Drawing, wish: Wish) -> None:
    """Streaks of air under the skin of one side of the chest."""
    scene = drawing.scene
    fat = drawing.voxels(("subcutaneous_fat", "torso_fat")) & drawing.half(wish.side or "")
    low, high = drawing.world([(0, 0, 260), (0, 0, 480)])[:, 2]
    fat &= ((scene.lines[2] > low) & (scene.lines[2] < high))[:, None, None] & (scene.on_voxels("wall") > 12)
    rank = np.abs(field(drawing, 2.6, 10)) + 0.02 * scene.on_voxels("wall")
    drawing.fill(wish, fat, drawing.whole(), rank.astype(np.float32), drawing.size(wish), "air", site="chest_wall")
