"""Findings of the heart: its size, fluid round it, calcium in its arteries and valves."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.registry import FINDINGS, Painter, Size, finding
from vlm.phantom.body.labels import LOBES, NUMBER
from vlm.phantom.body.patient import Patient
from vlm.phantom.body.wishes import Wish, refuse

HEART = tuple(name for name in NUMBER if name.startswith("heart"))
USUAL_RATIO, BY_FAT, BY_SIZE = 0.43, 0.09, 0.47  # cardiothoracic ratio of a heart of size 1, and what changes it

SINKS, SINKS_MM = 0.75, 25.0  # behind the heart a layer is up to seven times as thick as before it


def _enlarge(patient: Patient, wish: Wish) -> None:
    size = FINDINGS["cardiomegaly"].size
    assert size is not None
    person = patient.person
    wanted = 1 + (size.of(wish) - USUAL_RATIO - BY_FAT * person.visceral) / BY_SIZE
    patient.grow("heart", float(np.clip(wanted, 0.9, 1.8)) / person.organs["heart"])


@finding("cardiomegaly", example="cardiomegaly, cardiothoracic ratio 0.58", prepare=_enlarge, sites=("heart",),
         size=Size("ratio", 0.57, 0.5, 0.7, {"mild": 0.53, "moderate": 0.57, "marked": 0.63, "severe": 0.65}),
         attributes=("diffuse",))  # fmt: skip
def cardiomegaly(drawing: Drawing, wish: Wish) -> None:
    """A larger heart; its truth is the ratio that the drawn heart and chest have, as wide as they are."""
    heart = drawing.voxels((*HEART, "pericardium", "coronary_arteries"))
    if not heart.any():
        raise refuse(wish.words, "the heart is not in the field of view.")
    ratio = cardiothoracic_ratio(drawing)
    drawing.note(wish, heart, site="heart", size=("ratio", ratio))


def cardiothoracic_ratio(drawing: Drawing) -> float:
    """Widest heart over widest chest inside the ribs, at any height (Gollub, Acad Radiol 2012)."""
    across = np.isin(drawing.scene.labels, [NUMBER[n] for n in (*HEART, "pericardium")]).any(axis=1)
    chest = np.isin(drawing.scene.labels, [NUMBER[n] for n in LOBES]).any(axis=1)

    def width(rows: Bools) -> int:
        first, last = rows.argmax(axis=1), rows.shape[1] - rows[:, ::-1].argmax(axis=1)
        return int(np.where(rows.any(axis=1), last - first, 0).max())

    return width(np.asarray(across)) / max(1, width(np.asarray(chest)))


@finding("pericardial_effusion", example="pericardial effusion 150 ml", size=Size("volume", 120.0, 5.0, 1500.0),
         sites=("pericardium", "heart"), room=True, attributes=("fluid_density",))  # fmt: skip
def pericardial_effusion(drawing: Drawing, wish: Wish) -> None:
    """Fluid round the heart; it sinks, so that most of it lies behind who lies on the back."""
    heart = drawing.voxels((*HEART, "coronary_arteries"))
    if not heart.any():
        raise refuse(wish.words, "the heart is not in the field of view.")
    window = drawing.box(wish, heart, 45.0)
    rank = drawing.away(heart[window])
    middle = float(drawing.points(heart)[:, 1].mean())
    rank = rank * (1 + SINKS * np.tanh((drawing.scene.lines[1][window[1]] - middle) / SINKS_MM))[None, :, None]
    allowed = drawing.voxels((*LOBES, "pericardium", "lung_vessels", "torso_fat"))
    drawing.fill(wish, allowed, window, rank.astype(np.float32), drawing.size(wish), "effusion", site="pericardium")


def _valve(label_a: str, label_b: str, site: str) -> Painter:
    """A painter of calcium where two cavities meet."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        one, other = drawing.voxels((label_a,)), drawing.voxels((label_b,))
        if not (one.any() and other.any()):
            raise refuse(wish.words, "the heart is not in the field of view.")
        window = drawing.box(wish, one | other, 6.0)
        away = drawing.away(one[window]) + drawing.away(other[window])
        heart = drawing.voxels((*HEART, "aorta"))
        centre = np.unravel_index(int(np.argmin(away)), away.shape)
        z, y, x = np.ogrid[tuple(slice(0, n) for n in away.shape)]
        steps = drawing.scene.grid.spacing_mm[::-1]
        near = np.sqrt(sum(((a - c) * s) ** 2 for a, c, s in zip((z, y, x), centre, steps, strict=True)))
        rank = (away + 0.6 * np.abs(near - 7.0)).astype(np.float32)  # in a ring round the opening
        drawing.fill(wish, heart, window, rank, drawing.size(wish), "calcium", site=site)

    return paint


CALCIUM = Size("volume", 0.3, 0.01, 5.0)
finding("aortic_valve_calcification", example="aortic valve calcification 0.3 ml", size=CALCIUM,
        sites=("aortic_valve", "heart_valve"), attributes=("calcified", "coarse"),
        )(_valve("heart_ventricle_left", "aorta", "aortic_valve"))  # fmt: skip
finding("mitral_calcification", example="mitral annular calcification 0.4 ml", size=CALCIUM,
        sites=("mitral_valve", "heart_valve"), attributes=("calcified", "coarse"),
        )(_valve("heart_ventricle_left", "heart_atrium_left", "mitral_valve"))  # fmt: skip
