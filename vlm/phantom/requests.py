"""Findings asked for by chance, in words: "7 mm part-solid nodule, right lower lobe".

``request(finding, rng, where)`` words one finding as a user could have, with a side, a place and a size
drawn at random; ``graded(finding)`` gives the sizes at which a tool's sensitivity is measured. The words are
read by the vocabulary like everybody's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlm.findings.vocabulary import load_vocabulary
from vlm.phantom.body.findings import FINDINGS

Where = Literal["body", "scan"]  # a scan has no known lobes, so zones are named there
LOBES = ("left upper lobe", "left lower lobe", "right upper lobe", "right middle lobe", "right lower lobe")
ZONES = tuple(f"{side} {zone} zone" for side in ("left", "right") for zone in ("upper", "middle", "lower"))
AT_PLEURA = 0.33  # of nodules put into scans
# Words newer than the cohorts that are measured: no chance draws them, so that a seed goes on drawing what it drew.
ASKED_ALONE = frozenset({"diverticulosis", "varices"})
IN_LUNG = frozenset(
    {
        "lung_nodule", "lung_mass", "consolidation", "ground_glass_opacity", "bronchiectasis",
        "pulmonary_fibrotic_sequela",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sizes:
    """How large a finding is: median and spread of a lognormal, what is possible, and the levels of a graded cohort."""

    unit: Literal["mm", "ml", "%"]
    median: float
    spread: float  # standard deviation of the logarithm
    least: float
    most: float
    levels: Sequence[float]


# Medians and spreads are made: the range that reports speak of, most of them small. Levels bracket what tools see.
SIZES: Mapping[str, Sizes] = {
    "lung_nodule": Sizes("mm", 6.0, 0.45, 3.0, 29.0, (3, 4, 5, 6, 8, 10, 12, 16)),
    "lung_mass": Sizes("mm", 45.0, 0.25, 32.0, 80.0, (32, 45, 60)),
    "pleural_effusion": Sizes("ml", 150.0, 1.0, 15.0, 1200.0, (10, 20, 50, 100, 200, 400)),
    "pneumothorax": Sizes("ml", 80.0, 1.0, 8.0, 800.0, (5, 10, 20, 50, 100, 200)),
    "consolidation": Sizes("ml", 20.0, 0.9, 2.0, 200.0, (2, 5, 10, 20, 50)),
    "ground_glass_opacity": Sizes("ml", 20.0, 0.9, 2.0, 200.0, (2, 5, 10, 20, 50)),
    "emphysema": Sizes("%", 5.0, 0.8, 1.0, 35.0, (1, 2, 5, 10, 20)),
    "pericardial_effusion": Sizes("ml", 80.0, 0.7, 25.0, 400.0, (30, 60, 100, 150, 250)),
    "pulmonary_embolism": Sizes("ml", 1.2, 0.6, 0.3, 5.0, (0.3, 1, 3)),
    "coronary_artery_calcification": Sizes("ml", 0.1, 0.9, 0.01, 1.0, (0.01, 0.02, 0.05, 0.1, 0.2)),
    "aortic_calcification": Sizes("ml", 0.4, 0.9, 0.02, 4.0, (0.02, 0.05, 0.1, 0.2, 0.5)),
    "ascites": Sizes("ml", 250.0, 0.9, 20.0, 1500.0, (20, 50, 100, 200, 500)),
    "pneumoperitoneum": Sizes("ml", 20.0, 0.9, 1.0, 200.0, (3, 10, 30, 100)),
    "liver_cyst": Sizes("mm", 16.0, 0.5, 5.0, 60.0, (5, 8, 12, 20, 40)),
    "liver_lesion": Sizes("mm", 18.0, 0.5, 6.0, 60.0, (6, 10, 15, 25, 40)),
    "splenic_lesion": Sizes("mm", 14.0, 0.4, 6.0, 40.0, (6, 10, 15, 25)),
    "pancreatic_lesion": Sizes("mm", 16.0, 0.4, 6.0, 40.0, (6, 10, 15, 25)),
    "adrenal_lesion": Sizes("mm", 17.0, 0.35, 8.0, 50.0, (8, 12, 18, 30)),
    "renal_cyst": Sizes("mm", 18.0, 0.5, 5.0, 80.0, (5, 10, 20, 40)),
    "renal_lesion": Sizes("mm", 24.0, 0.4, 8.0, 80.0, (8, 15, 25, 40)),
    "kidney_stone": Sizes("mm", 5.0, 0.4, 2.5, 15.0, (3, 4, 5, 6, 8, 10)),
    "gallstone": Sizes("mm", 8.0, 0.4, 3.0, 20.0, (4, 6, 8, 12)),
    "bladder_stone": Sizes("mm", 10.0, 0.4, 4.0, 25.0, (4, 6, 10, 15)),
    "lymphadenopathy": Sizes("mm", 14.0, 0.25, 10.0, 35.0, (10, 12, 15, 20)),
    "hiatal_hernia": Sizes("mm", 40.0, 0.35, 20.0, 90.0, (20, 30, 45, 60)),
    "atelectasis": Sizes("ml", 12.0, 0.8, 2.0, 100.0, (2, 5, 10, 20, 50)),
    "lung_cyst": Sizes("mm", 15.0, 0.4, 4.0, 60.0, (5, 10, 20, 40)),
    "cavity": Sizes("mm", 30.0, 0.3, 12.0, 80.0, (15, 25, 40)),
    "pulmonary_fibrotic_sequela": Sizes("ml", 3.0, 0.6, 0.5, 30.0, (1, 3, 10)),
    "interlobular_septal_thickening": Sizes("%", 6.0, 0.4, 1.5, 18.0, (2, 5, 10)),
    "peribronchial_thickening": Sizes("mm", 3.0, 0.2, 1.8, 5.5, (2, 3, 4)),
    "pleural_thickening": Sizes("mm", 5.0, 0.4, 2.5, 15.0, (3, 5, 10)),
    "mediastinal_mass": Sizes("mm", 55.0, 0.3, 25.0, 110.0, (30, 50, 80)),
    "oesophageal_thickening": Sizes("mm", 8.0, 0.2, 5.5, 15.0, (6, 8, 12)),
    "thyroid_nodule": Sizes("mm", 12.0, 0.45, 4.0, 40.0, (5, 10, 15, 25)),
    "aortic_aneurysm": Sizes("mm", 50.0, 0.12, 41.0, 75.0, (42, 50, 60)),
    "abdominal_aortic_aneurysm": Sizes("mm", 42.0, 0.2, 31.0, 80.0, (32, 40, 50, 65)),
    "pulmonary_artery_dilatation": Sizes("mm", 35.0, 0.08, 32.0, 45.0, (32, 36, 42)),
    "aortic_valve_calcification": Sizes("ml", 0.2, 0.8, 0.02, 2.0, (0.03, 0.1, 0.3, 1)),
    "mitral_calcification": Sizes("ml", 0.2, 0.8, 0.02, 2.0, (0.03, 0.1, 0.3, 1)),
    "vertebral_fracture": Sizes("%", 30.0, 0.35, 15.0, 70.0, (15, 20, 25, 40, 60)),
    "bone_lesion": Sizes("mm", 14.0, 0.4, 5.0, 50.0, (6, 10, 15, 25)),
    "subcutaneous_emphysema": Sizes("ml", 60.0, 0.9, 3.0, 600.0, (5, 20, 60, 200)),
    "biliary_dilatation": Sizes("mm", 12.0, 0.2, 9.0, 25.0, (9, 12, 18)),
    "bile_duct_stone": Sizes("mm", 7.0, 0.35, 3.0, 18.0, (4, 6, 10)),
    "pancreatic_duct_dilatation": Sizes("mm", 6.0, 0.3, 4.0, 15.0, (4, 6, 9)),
    "renal_hypodensity": Sizes("mm", 7.0, 0.35, 3.0, 20.0, (4, 6, 10)),
    "hydronephrosis": Sizes("mm", 20.0, 0.35, 10.0, 45.0, (12, 20, 32)),
    "ureter_stone": Sizes("mm", 5.0, 0.35, 2.5, 12.0, (3, 5, 8)),
    "bladder_wall_thickening": Sizes("mm", 8.0, 0.25, 5.5, 15.0, (6, 8, 12)),
    "bowel_wall_thickening": Sizes("mm", 8.0, 0.3, 5.0, 20.0, (6, 9, 14)),
    "submucosal_edema": Sizes("mm", 9.0, 0.25, 5.0, 20.0, (6, 9, 14)),
    "bowel_obstruction": Sizes("mm", 36.0, 0.15, 28.0, 50.0, (28, 36, 45)),
    "appendicitis": Sizes("mm", 11.0, 0.2, 8.0, 20.0, (8, 11, 15)),
    "hepatomegaly": Sizes("ml", 2200.0, 0.15, 1750.0, 3500.0, (1800, 2200, 2800)),
    "splenomegaly": Sizes("ml", 500.0, 0.3, 330.0, 1500.0, (350, 500, 800)),
    "prostatomegaly": Sizes("ml", 55.0, 0.35, 33.0, 180.0, (35, 50, 80)),
    "goitre": Sizes("ml", 45.0, 0.3, 31.0, 120.0, (35, 50, 80)),
}  # fmt: skip


def request(finding: str, rng: np.random.Generator, where: Where = "body", size: float | None = None) -> str:
    """One finding in words; of this size (mm, mL or %, as SIZES says) when one is given."""
    sizes = SIZES.get(finding)
    if sizes is not None and size is None:
        size = float(np.clip(sizes.median * rng.lognormal(0.0, sizes.spread), sizes.least, sizes.most))
    name, look = load_vocabulary().finding(finding).name, ""
    if finding == "lung_nodule":
        name, look = "nodule", _look(rng, size or 0.0)
    measure = "" if sizes is None or size is None else f"{_number(size)} {sizes.unit}"
    words = " ".join(part for part in (look, name) if part)
    words = f"{measure} {words}" if sizes is not None and sizes.unit == "mm" else f"{words} {measure}"
    return ", ".join(part for part in (words.strip(), _place(finding, rng, where)) if part)


def _look(rng: np.random.Generator, mm: float) -> str:
    """What a nodule is made of and how it is edged: mostly solid and smooth, bumps and spicules from 8 mm on."""
    texture = ("solid", "part-solid", "ground-glass", "calcified")[int(rng.choice(4, p=(0.76, 0.06, 0.1, 0.08)))]
    margin = ("", "lobulated ", "spiculated ")[int(rng.choice(3, p=(0.5, 0.2, 0.3)))]
    return f"{margin}{texture}" if mm >= 8 and texture == "solid" else texture


def _place(finding: str, rng: np.random.Generator, where: Where) -> str:
    if finding == "lung_nodule" and where == "scan" and rng.random() < AT_PLEURA:
        return f"subpleural {('left', 'right')[int(rng.integers(2))]} lung"
    if finding in IN_LUNG:
        names = LOBES if where == "body" else ZONES
        return names[int(rng.integers(len(names)))]
    sided = finding in FINDINGS and FINDINGS[finding].side == "must"
    return ("left", "right")[int(rng.integers(2))] if sided else ""


def _number(size: float) -> str:
    """Two digits, as somebody would say it."""
    return f"{float(f'{size:.2g}'):g}"
