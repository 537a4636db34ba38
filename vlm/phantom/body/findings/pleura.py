"""Findings of the pleural space: fluid that sinks, air that rises, thick pleura."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.lumps import needs_side
from vlm.phantom.body.findings.registry import FINDINGS, Size, finding
from vlm.phantom.body.labels import LOBES
from vlm.phantom.body.patient import Patient, Push
from vlm.phantom.body.shapes import Floats
from vlm.phantom.body.wishes import Wish

PLEURA_HU = 220.0  # what the visceral pleura adds to the voxels that it crosses
PUSH_FROM_ML, ML_A_MM, MOST_MM = 700.0, 60.0, 20.0  # a large volume shifts the mediastinum to the other side
CLIMB = 0.6  # how fast a fluid thins as it climbs along the ribs
PASSIVE = 0.25  # airless lung above a fluid, as a share of it
DENSER = 1.35  # lung beside a fluid or free air is compressed by at most so much


def _push(patient: Patient, wish: Wish) -> None:
    """A large volume on one side pushes the mediastinum to the other."""
    size = FINDINGS[wish.finding].size
    assert size is not None
    mm = float(np.clip((size.of(wish) - PUSH_FROM_ML) / ML_A_MM, 0, MOST_MM))
    if mm > 0:
        sign = -1.0 if wish.side == "right" else 1.0
        patient.pushes.append(Push((0.0, 15.0, 350.0), (75.0, 60.0, 95.0), (sign * mm, 0.0, 0.0)))


def _compress(drawing: Drawing, half: Bools, side: str, lost: Bools) -> None:
    """The lung that is left on a side is denser by what it lost of its room."""
    rest = drawing.voxels(tuple(name for name in LOBES if name.endswith(side))) & half
    before, after = np.count_nonzero(rest) + np.count_nonzero(lost), np.count_nonzero(rest)
    if after:
        factor = np.float32(min(before / after, DENSER))
        drawing.scene.hu[rest] = (drawing.scene.hu[rest] + 1000) * factor - 1000


def _crescent(drawing: Drawing) -> Floats:
    """Rank of free fluid on the back: a sickle along the ribs, thick behind, that thins towards the front."""
    y, z = drawing.scene.lines[1], drawing.scene.lines[2]
    inwards = -drawing.scene.on_voxels("wall")
    return np.asarray(inwards + CLIMB * (y[None, :, None] + 0.15 * z[:, None, None]), dtype=np.float32)


@finding("pleural_effusion", example="right pleural effusion, 400 ml", size=Size("volume", 300.0, 5.0, 6000.0),
         side="must", sites=("pleura",), room=True, prepare=_push,
         attributes=("layering", "fluid_density"))  # fmt: skip
def pleural_effusion(drawing: Drawing, wish: Wish) -> None:
    """Fluid in the lowest part of one pleural space, airless lung above it, denser lung beyond."""
    side, ml = needs_side(wish), drawing.size(wish)
    half = drawing.half(side)
    lung = (*(name for name in LOBES if name.endswith(side)), "lung_vessels", "bronchi")
    rank, whole = _crescent(drawing), drawing.whole()
    name = drawing.fill(wish, drawing.voxels(lung) & half, whole, rank, ml, "effusion", site="pleura", sharp=True)
    drawing.fill(wish, drawing.voxels(lung) & half, whole, rank, PASSIVE * ml, "collapsed", finding="atelectasis",
                 site="lung")  # fmt: skip
    _compress(drawing, half, side, drawing.masks[name])


@finding("pneumothorax", example="left pneumothorax 200 ml", size=Size("volume", 150.0, 2.0, 5000.0), side="must",
         sites=("pleura", "apex", "lung"), room=True, prepare=_push)  # fmt: skip
def pneumothorax(drawing: Drawing, wish: Wish) -> None:
    """Air in front of one lung, where it rises to, with the pleura as a line; the lung shrinks."""
    side = needs_side(wish)
    half = drawing.half(side)
    lobes = tuple(name for name in LOBES if name.endswith(side))
    allowed = drawing.voxels((*lobes, "lung_vessels")) & half
    name = drawing.fill(wish, allowed, drawing.whole(), -drawing.height(), drawing.size(wish), "air", site="pleura")
    air = drawing.masks[name]
    _compress(drawing, half, side, air)
    window = drawing.box(wish, air, 4.0)
    line = ndimage.binary_dilation(air[window]) & allowed[window] & ~air[window]
    drawing.scene.hu[window][line] += PLEURA_HU


@finding("pleural_thickening", example="pleural thickening right 6 mm", size=Size("thickness", 5.0, 2.0, 25.0),
         side="must", sites=("pleura", "apex", "base"), attributes=("calcified", "smooth", "irregular"))  # fmt: skip
def pleural_thickening(drawing: Drawing, wish: Wish) -> None:
    """A plaque along the ribs, of a thickness, on a third of the lung's height."""
    side, mm = needs_side(wish), drawing.size(wish)
    inside = drawing.voxels(tuple(name for name in LOBES if name.endswith(side)))
    window = drawing.box(wish, inside, 6.0)
    levels = np.flatnonzero(inside.any(axis=(1, 2)))
    third = {"apex": 2, "base": 0}.get(wish.site or "", 1)
    edge = np.linspace(levels[0], levels[-1] + 1, 4).astype(int)
    wall = -drawing.scene.on_voxels("wall")
    plaque = inside & (wall < mm + 2.0) & (wall > 0)
    plaque[: edge[third]], plaque[edge[third + 1] :] = False, False
    tissue = "calcium" if "calcified" in wish.attributes else "soft"
    drawing.put(wish, window, plaque[window], tissue, site="pleura", size=("thickness", mm))
