"""What is true of a drawn body though nobody asked for it: a wide heart, thin bone, streaks of metal.

A person is drawn by chance, and some hearts are wide and some bones thin; a pacemaker leaves streaks. A tool that
tells them is right, so they are truths as those that were asked for, without the number of a wish.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.heart import HEART, cardiothoracic_ratio
from vlm.phantom.body.labels import NUMBER
from vlm.phantom.body.scanner import METAL_HU
from vlm.phantom.body.wishes import Wish

WIDE_RATIO = 0.5  # Gollub, Acad Radiol 2012
THIN_BONE_HU = 100.0  # Jang, Radiology 2019;291:360
STREAKS_ML = 0.2  # the streaks of a clip or a stent are lost in the noise


def note_incidental(drawing: Drawing) -> None:
    """Add what the drawn body shows by itself to the truths, after everything that was asked for."""
    heart = drawing.voxels((*HEART, "pericardium", "coronary_arteries"))
    if heart.any() and (ratio := cardiothoracic_ratio(drawing)) > WIDE_RATIO:
        _note(drawing, "cardiomegaly", heart, "heart", ("ratio", ratio))
    vertebrae = [name for name in NUMBER if name.startswith("vertebrae_")]
    marrow = drawing.voxels(vertebrae) & drawing.made_of(("trabecular",))
    if marrow.any() and (hu := float(np.median(drawing.scene.hu[marrow]))) < THIN_BONE_HU:
        _note(drawing, "osteopenia", marrow, "spine", ("attenuation", hu))
    metal = drawing.scene.hu > METAL_HU
    if np.count_nonzero(metal) * drawing.scene.grid.voxel_ml >= STREAKS_ML:
        _note(drawing, "metal_artefact", metal, None, None)


def _note(drawing: Drawing, finding: str, mask: Bools, site: str | None, size: tuple[str, float] | None) -> None:
    if any(truth.finding == finding for truth in drawing.truth):
        return
    drawing.note(Wish(words=finding, finding=finding), mask, site=site, size=size)
    drawing.truth[-1] = replace(drawing.truth[-1], wish=None)
