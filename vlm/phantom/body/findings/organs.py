"""Organs as a whole: too large, too small, too fatty, too thin a bone. The organ is the mask, its measure the truth.

Sizes are set twice: the person is drawn with about the right size (``Patient.grow``), then the organ's
surface is moved by the millimetre or two that are missing, so that its volume is exact.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.registry import FINDINGS, Preparer, Size, finding
from vlm.phantom.body.labels import NUMBER
from vlm.phantom.body.patient import Patient
from vlm.phantom.body.wishes import Wish, refuse

GUT = ("stomach", "small_bowel", "colon", "duodenum")
BED_MM = 3.5
REACH_MM = 32.0  # an organ's surface is moved by at most so much


def wanted(wish: Wish) -> float:
    """The size that a wish asks for."""
    size = FINDINGS[wish.finding].size
    assert size is not None
    return size.of(wish)


def grown(organ: str, usual_ml: float, power: float, most: float = 1.5, tall: float = 1.0) -> Preparer:
    """A preparer that draws an organ with about the volume asked for.

    The volume goes with the organ's size to a ``power``, and with the person's to the power ``tall``.
    """

    def prepare(patient: Patient, wish: Wish) -> None:
        name = organ.format(side=wish.side)
        own = patient.person.organs[name]
        usual = usual_ml * float(np.prod(patient.person.scale)) ** tall * own**power
        patient.grow(name, float(np.clip((wanted(wish) / usual) ** (1 / power), 1 / most, most)))

    return prepare


def resize(
    drawing: Drawing, wish: Wish, label: str, ml: float, tissue: str, *, into: Sequence[str], site: str | None = None
) -> None:
    """Move the surface of an organ until it has a volume; what it takes comes from ``into``, what it leaves is fat."""
    scene, number = drawing.scene, NUMBER[label]
    organ = scene.labels == number
    whole_in_view(wish, organ)
    window = drawing.box(wish, organ, REACH_MM)
    inside = organ[window]
    signed = drawing.signed(inside)
    beside = [name for name in ("kidney_left", "kidney_right") if name != label]
    free = drawing.away(drawing.voxels(beside)[window]) > BED_MM  # a kidney keeps its bed of fat
    allowed = inside | (drawing.voxels(into)[window] & (signed < REACH_MM) & free)
    count = round(ml / scene.grid.voxel_ml)
    if count > np.count_nonzero(allowed):
        most = np.count_nonzero(allowed) * scene.grid.voxel_ml
        raise refuse(wish.words, f"this person has room for {most:.0f} mL at most.")
    ranks = signed[allowed]
    chosen = np.zeros(len(ranks), dtype=bool)
    chosen[np.argpartition(ranks, count - 1)[:count]] = True
    new = np.zeros(inside.shape, dtype=bool)
    new[allowed] = chosen
    lost, gained = inside & ~new, new & ~inside
    scene.labels[window][lost], scene.labels[window][gained] = NUMBER["torso_fat"], number
    drawing.paint(window, lost, "fat_inside")
    drawing.paint(window, gained, tissue)
    mask = np.zeros(organ.shape, dtype=bool)
    mask[window] = new
    drawing.note(wish, mask, site=site)


def whole_in_view(wish: Wish, organ: Bools) -> None:
    """Refuse what is cut by the first or last slice: its volume would not be the organ's."""
    if not organ.any() or organ[0].any() or organ[-1].any():
        raise refuse(wish.words, "the organ is not there in this person or not whole in the field of view.")


def _density(tissue: str) -> Preparer:
    def prepare(patient: Patient, wish: Wish) -> None:
        patient.set_hu(tissue, wanted(wish))

    return prepare


@finding("hepatic_steatosis", example="hepatic steatosis, 15 HU", sites=("liver",), prepare=_density("liver"),
         size=Size("attenuation", 25.0, -30.0, 48.0, {"mild": 42.0, "moderate": 30.0, "severe": 5.0, "marked": 12.0}),
         attributes=("diffuse",))  # fmt: skip
def hepatic_steatosis(drawing: Drawing, wish: Wish) -> None:
    """A liver of low density; its truth is the density without contrast."""
    liver = drawing.voxels(("liver",))
    drawing.box(wish, liver)
    drawing.note(wish, liver, site="liver", size=("attenuation", wanted(wish)))


@finding("osteopenia", example="osteopenia, 80 HU", sites=("bone", "spine", "vertebra"), prepare=_density("trabecular"),
         size=Size("attenuation", 80.0, 10.0, 140.0, {"mild": 120.0, "moderate": 90.0, "severe": 50.0, "marked": 60.0}),
         attributes=("diffuse",))  # fmt: skip
def osteopenia(drawing: Drawing, wish: Wish) -> None:
    """Trabecular bone of low density everywhere; the mask is that of the vertebral bodies."""
    spine = drawing.voxels([n for n in NUMBER if n.startswith("vertebrae_")]) & drawing.made_of(("trabecular",))
    drawing.box(wish, spine)
    drawing.note(wish, spine, site="spine", size=("attenuation", wanted(wish)))


LIVER_ROOM = ("torso_fat", *GUT, "gallbladder", "diaphragm")


@finding("hepatomegaly", example="hepatomegaly 2400 ml", size=Size("volume", 2300.0, 1700.0, 4000.0), sites=("liver",),
         prepare=grown("liver", 1620.0, 1.0, 2.5, 0.7))  # fmt: skip
def hepatomegaly(drawing: Drawing, wish: Wish) -> None:
    """A large liver."""
    resize(drawing, wish, "liver", drawing.size(wish), "liver", into=LIVER_ROOM, site="liver")


@finding("splenomegaly", example="splenomegaly 600 ml", size=Size("volume", 600.0, 320.0, 1800.0), sites=("spleen",),
         prepare=grown("spleen", 245.0, 1.0, 6.0, 0.7))  # fmt: skip
def splenomegaly(drawing: Drawing, wish: Wish) -> None:
    """A large spleen."""
    room = ("torso_fat", *GUT, "pancreas", "diaphragm")
    resize(drawing, wish, "spleen", drawing.size(wish), "spleen", into=room, site="spleen")


def _prostate(patient: Patient, wish: Wish) -> None:
    if patient.person.sex == "female":
        raise refuse(wish.words, "this person is a woman. Choose another --seed.")
    grown("prostate", 34.0 * (1 + 0.008 * max(patient.person.age - 50, 0)) ** 3, 3.0, 1.8)(patient, wish)


@finding("prostatomegaly", example="prostatomegaly 80 ml", size=Size("volume", 70.0, 32.0, 250.0), sites=("prostate",),
         prepare=_prostate)  # fmt: skip
def prostatomegaly(drawing: Drawing, wish: Wish) -> None:
    """A large prostate that pushes into the bladder."""
    room = ("torso_fat", "urinary_bladder", "rectum", "skeletal_muscle")
    resize(drawing, wish, "prostate", drawing.size(wish), "prostate", into=room, site="prostate")


@finding("renal_atrophy", example="left renal atrophy 60 ml", size=Size("volume", 60.0, 20.0, 110.0), side="must",
         sites=("kidney",), prepare=grown("kidney_{side}", 160.0, 3.0, 2.0))  # fmt: skip
def renal_atrophy(drawing: Drawing, wish: Wish) -> None:
    """A small kidney."""
    resize(drawing, wish, f"kidney_{wish.side}", drawing.size(wish), "kidney_cortex", into=("torso_fat",))


@finding("pancreatic_atrophy", example="pancreatic atrophy 30 ml", size=Size("volume", 30.0, 12.0, 50.0),
         sites=("pancreas",), prepare=grown("pancreas", 70.0, 2.0, 2.0), attributes=("diffuse",))  # fmt: skip
def pancreatic_atrophy(drawing: Drawing, wish: Wish) -> None:
    """A thin pancreas with fat between its lobules."""
    resize(drawing, wish, "pancreas", drawing.size(wish), "pancreas", into=("torso_fat",), site="pancreas")


@finding("goitre", example="goitre 60 ml", size=Size("volume", 55.0, 30.0, 150.0), sites=("thyroid", "neck"),
         attributes=("diffuse", "heterogeneous"), prepare=grown("thyroid", 17.0, 2.0, 2.2))  # fmt: skip
def goitre(drawing: Drawing, wish: Wish) -> None:
    """A large thyroid."""
    room = ("torso_fat", "skeletal_muscle")
    resize(drawing, wish, "thyroid_gland", drawing.size(wish), "thyroid", into=room, site="thyroid")
