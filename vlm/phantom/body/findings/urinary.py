"""Findings of kidneys, ureters and bladder. What blocks a ureter dilates what lies upstream of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vlm.phantom.body.findings.drawing import Drawing
from vlm.phantom.body.findings.liver import LOOKS
from vlm.phantom.body.findings.lumps import ball_ml, lesion, sizes
from vlm.phantom.body.findings.registry import Size, finding
from vlm.phantom.body.wishes import Wish, refuse

KIDNEY = ("kidney_{side}",)
OUTSIDE = ("torso_fat", "renal_vessels")
PELVIS_MM = {"mild": 12.0, "moderate": 20.0, "severe": 32.0, "marked": 28.0}  # width of the renal pelvis
HILUM_MM = 14.0  # the kidney closed by this holds its sinus
STONE_LOOKS = ("nonobstructing", "obstructing", "calcified")

finding("renal_cyst", example="left renal cyst 35 mm", size=Size("diameter", 22.0, 3.0, 150.0), side="must",
        sites=("kidney",), attributes=(*LOOKS, "exophytic"), many=True,
        )(lesion(KIDNEY, "cyst", beyond=OUTSIDE, rough=0.02, site="kidney"))  # fmt: skip
finding("renal_lesion", example="right renal mass 40 mm", size=Size("diameter", 28.0, 3.0, 150.0), side="must",
        sites=("kidney",), attributes=(*LOOKS, "exophytic"), many=True,
        )(lesion(KIDNEY, "tumour", beyond=OUTSIDE, site="kidney"))  # fmt: skip
finding("renal_hypodensity", example="right renal hypodensity 8 mm", size=Size("diameter", 8.0, 2.0, 60.0),
        side="must", sites=("kidney",), attributes=LOOKS, many=True,
        )(lesion(KIDNEY, "hypodense", site="kidney"))  # fmt: skip


@finding("kidney_stone", example="right kidney stone 6 mm", size=Size("diameter", 6.0, 1.0, 50.0), side="must",
         sites=("kidney", "renal_pelvis"), attributes=STONE_LOOKS, many=True)  # fmt: skip
def kidney_stone(drawing: Drawing, wish: Wish) -> None:
    """A stone in a calyx; an obstructing one lies in the renal pelvis, and the calyces are wide."""
    if "obstructing" in wish.attributes and wish.count == 1:
        _obstruct(drawing, wish, stop=0.06)
        return
    for mm in sizes(drawing, wish, drawing.size(wish)):
        kidney = drawing.voxels((f"kidney_{wish.side}",))
        hollow = kidney & drawing.made_of(("urine",))
        centre = drawing.centre(wish, hollow if hollow.any() else kidney, 0.3 * mm)
        window, x, y, z = drawing.around(centre, 1.2 * mm + 5)
        rank = np.sqrt(x * x + y * y + z * z).astype(np.float32)
        allowed = kidney | drawing.voxels(("torso_fat",))
        drawing.fill(wish, allowed, window, rank, ball_ml(mm), "stone", site="kidney", size=("diameter", mm))


def _ureter(drawing: Drawing, wish: Wish) -> NDArray[np.float64]:
    """(N, 3) world points from the renal pelvis to the bladder."""
    from vlm.phantom.body.shapes import smooth_line

    sign = 1.0 if wish.side == "right" else -1.0
    kidney = drawing.points(drawing.voxels((f"kidney_{wish.side}",)))
    if not len(kidney):
        raise refuse(wish.words, "the kidney is not in the field of view.")
    middle = kidney.mean(axis=0)
    level = kidney[np.abs(kidney[:, 2] - middle[2]) < 8.0]
    hilum = np.array([sign * np.quantile(sign * level[:, 0], 0.12), middle[1] + 6.0, middle[2] - 2.0])
    spine = drawing.world([(sign * 40, -24, 90), (sign * 40, -20, 20), (sign * 48, -34, -50), (sign * 22, -10, -100)])
    spine = spine[spine[:, 2] < hilum[2] - 15]
    return np.asarray(smooth_line(np.vstack([hilum[None], spine]), 6))


def _widen(drawing: Drawing, wish: Wish, pelvis_mm: float, stop: float, finding_: str) -> NDArray[np.float64]:
    """Dilate renal pelvis, calyces and the ureter down to a share of its way; where the ureter is blocked."""
    scene = drawing.scene
    way = _ureter(drawing, wish)
    kidney = drawing.voxels((f"kidney_{wish.side}",))
    window = drawing.box(wish, kidney, 6.0 + pelvis_mm)
    hollow = kidney & drawing.made_of(("urine",))
    x, y, z = (scene.lines[a][window[2 - a]] - np.float32(way[0][a]) for a in range(3))
    pelvis = np.sqrt((x[None, None, :] * 0.9) ** 2 + (1.25 * y[None, :, None]) ** 2 + (0.75 * z[:, None, None]) ** 2)
    near = drawing.away(kidney[window]) < HILUM_MM
    depth = drawing.away(~near) - HILUM_MM  # from the outer border, not from the hilum
    calyces = drawing.away(hollow[window]) - 0.22 * pelvis_mm
    field = np.minimum(pelvis - 0.5 * pelvis_mm, np.maximum(calyces, 5.0 - depth))
    room = drawing.voxels((f"kidney_{wish.side}", "torso_fat", "renal_vessels", f"iliopsoas_{wish.side}"))
    inside = (field < 0) & room[window]
    drawing.paint(window, inside, "urine", np.clip(0.5 - field / np.float32(scene.edge_mm), 0, 1) * room[window])
    mask = np.zeros(scene.labels.shape, dtype=bool)
    mask[window] = inside
    last = max(2, round(stop * len(way)))
    wide = min(3.0 + 0.15 * pelvis_mm, 8.0) / 2 + 0.5
    tube, away = drawing.tube(np.column_stack([way[:last], np.full(last, wide)]))
    free = drawing.voxels(("torso_fat", "renal_vessels", "small_bowel", "colon", f"iliopsoas_{wish.side}"))[tube]
    ureter = (away < 0) & free
    drawing.paint(tube, ureter, "urine", np.clip(0.5 - away / np.float32(scene.edge_mm), 0, 1) * free)
    mask[tube] |= ureter
    drawing.taken[mask] = True
    drawing.note(wish, mask, finding=finding_, site="kidney", size=("diameter", pelvis_mm))
    return np.asarray(way[last - 1])


def _obstruct(drawing: Drawing, wish: Wish, stop: float) -> None:
    """A stone at a share of the ureter's way, and everything upstream of it wide."""
    mm = drawing.size(wish)
    at = _ureter(drawing, wish)
    at = at[max(1, round(stop * len(at)) - 1)]
    window, x, y, z = drawing.around(at, 1.2 * mm + 5)
    rank = np.sqrt(x * x + y * y + z * z).astype(np.float32)
    own = (f"{name}_{wish.side}" for name in ("kidney", "iliopsoas", "iliac_artery", "iliac_vena"))
    room = drawing.voxels(("torso_fat", "renal_vessels", "small_bowel", "colon", *own))
    site = "ureter" if wish.finding == "ureter_stone" else "kidney"
    drawing.fill(wish, room, window, rank, ball_ml(mm), "stone", site=site, size=("diameter", mm))
    _widen(drawing, wish, PELVIS_MM[wish.grade or ""] if wish.grade in PELVIS_MM else 18.0, stop, "hydronephrosis")


@finding("ureter_stone", example="left ureteral stone 5 mm", size=Size("diameter", 5.0, 1.0, 20.0), side="must",
         sites=("ureter",), attributes=STONE_LOOKS)  # fmt: skip
def ureter_stone(drawing: Drawing, wish: Wish) -> None:
    """A stone halfway down the ureter; kidney and ureter above it are wide."""
    _obstruct(drawing, wish, stop=0.55)


@finding("hydronephrosis", example="left hydronephrosis, 20 mm", size=Size("diameter", 20.0, 8.0, 60.0, PELVIS_MM),
         side="must", sites=("kidney", "renal_pelvis", "ureter"))  # fmt: skip
def hydronephrosis(drawing: Drawing, wish: Wish) -> None:
    """Wide renal pelvis and calyces; of the ureter the upper half, or all of it when the ureter is named."""
    whole = 1.0 if wish.site == "ureter" or wish.says("hydroureter") else 0.5
    _widen(drawing, wish, drawing.size(wish), whole, "hydronephrosis")


@finding("bladder_stone", example="bladder stone 12 mm", size=Size("diameter", 12.0, 2.0, 60.0), sites=("bladder",),
         attributes=("calcified",), many=True)  # fmt: skip
def bladder_stone(drawing: Drawing, wish: Wish) -> None:
    """Stones on the floor of the bladder."""
    for mm in sizes(drawing, wish, drawing.size(wish)):
        urine = drawing.voxels(("urinary_bladder",)) & drawing.made_of(("urine",))
        window = drawing.box(wish, urine)
        x, y, z = drawing.points(urine).T
        floor = np.array([np.median(x), np.quantile(y, 0.03) + mm / 2, np.median(z)])
        floor[0] += drawing.rng(wish).normal(0, 0.12) * (x.max() - x.min())
        window, u, v, w = drawing.around(floor, 1.5 * mm + 6)
        rank = np.sqrt(u * u + v * v + w * w).astype(np.float32)
        drawing.fill(wish, urine, window, rank, ball_ml(mm), "stone", site="bladder", size=("diameter", mm))


@finding("bladder_wall_thickening", example="bladder wall thickening 9 mm", size=Size("thickness", 8.0, 5.0, 20.0),
         sites=("bladder",), attributes=("diffuse",))  # fmt: skip
def bladder_wall_thickening(drawing: Drawing, wish: Wish) -> None:
    """The wall grows inwards."""
    bladder = drawing.voxels(("urinary_bladder",))
    window = drawing.box(wish, bladder)
    mm = drawing.size(wish)
    depth = drawing.away(~bladder[window])
    if float(depth.max()) < mm + 3:
        raise refuse(wish.words, f"this bladder has no room for a wall of {mm:g} mm.")
    drawing.put(wish, window, bladder[window] & (depth < mm), "gut_wall", site="bladder", size=("thickness", mm))
