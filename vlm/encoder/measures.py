"""A fixed list of numbers of a case, from what anatomy found in it: what the shipped heads look at.

In: a case. Out: ``measures(case)``, (len(NAMES),) float32, NaN where a structure was not found: volumes (mL), densities
(HU), widths (mm), shares (%), each as the logarithm of one plus its size, with its sign: 5 to 10 mL is as far as 500 to
1000. Everything is measured on one grid of 3 mm (``scene``), so that slices and pixels matter little. Behind them
stands what small networks see in the cells of that grid (``cells``). Nothing here is evidence: no number of it enters a
report.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from vlm.anatomy.body import body
from vlm.encoder.belly_measures import belly
from vlm.encoder.cells import cell_numbers, names_of, shipped_nets
from vlm.encoder.chest_measures import STATIONS, chest
from vlm.encoder.scene import GRID_MM, NOTHING, Floats, Numbers, Scene, deep, percentile, scene_of, span_mm
from vlm.evidence import Case, once

__all__ = ["GRID_MM", "NAMES", "PHYSICAL", "VERSION", "as_vector", "measures", "numbers"]

VERSION = "3"
LEAST_MM = 50.0  # of the body in every direction; of a thinner slab no volume is one
BLOOD_MM = 5.0  # from the wall of the aorta, which holds calcium

_LUNG = ("ml", "mean", "sd", "p10", "p50", "p90", "holes", "bulla", "haze", "haze_big", "dense", "dense_big", "thick",
         "fluid", "fluid_big", "solid", "gap", "gap_low", "vessel_out", "vessel_in", "low", "middle", "top",
         "dense_low", "dense_middle", "dense_top", "fine", "medium", "coarse", "mosaic", "patches", "dips", "spots",
         "balls", "ball", "part", "thin", "flat", "height", "sheet", "sheet_big", "sheet_out", "line_out", "round",
         "round_out", "knob", "knob_wide", "rind", "rind_big", "tubes", "pits", "pits_top", "core",
         "core_hu")  # fmt: skip
_HEART = ("ml", "width", "ratio", "share", "water", "water_big", "water_back", "rim", "rim_back", "fat", "calcium",
          "calcium_rim", "calcium_deep", "calcium_max", "bright", "water_radius", "valve")  # fmt: skip
_AORTA = ("radius", "disc", "area", "spread", "calcium", "spots")
_KIDNEY = ("ml", "hu", "sd", "dark", "dark_ml", "pit", "water", "water_open", "water_radius", "water_big", "beside",
           "beside_big", "water_deep", "ball")  # fmt: skip
PHYSICAL: tuple[str, ...] = (
    "blood", "wide", "deep",
    *(f"lung.{way}.{name}" for name in _LUNG for way in ("mean", "max", "apart")),
    "heart.ct_ratio", *(f"heart.{name}" for name in _HEART),
    *(f"aorta.{part}.{name}" for part in ("abdomen", "chest") for name in _AORTA),
    *(f"metal.{name}" for name in ("all_1200", "all_2200", "free_600", "free_1200", "free_2200", "skin", "long",
                                   "inner", "most")),
    *(f"nodes.{name}" for name in (*STATIONS, "soft", "share", "ball", "ball_dark", "knob")),
    *(f"gullet.{name}" for name in ("gas", "gas_big", "stomach", "stomach_top", "soft", "ball")),
    *(f"bone.{name}" for name in ("p10", "p50", "p95", "sd", "gap", "gap_ratio", "bright", "dark", "wedge", "near_gap",
                                  "near_gap_ratio", "near_bright", "near_dark", "near_wedge")),
    *(f"skin.{name}" for name in ("hu", "wet", "air", "p90", "sd", "skew", "back", "front", "soft", "wall_air")),
    *(f"liver.{name}" for name in ("ml", "height", "hu", "sd", "p2", "p98", "dark", "dark_big", "water", "water_thin",
                                   "pit", "over_blood", "over_spleen", "tubes", "ball")),
    *(f"spleen.{name}" for name in ("ml", "height", "radius", "hu")),
    *(f"kidney.{way}.{name}" for name in _KIDNEY for way in ("max", "min", "apart")),
    *(f"belly.{name}" for name in ("fat", "water", "open", "thick", "big", "at_wall", "at_liver", "strands",
                                   "right_low", "gas", "gas_big", "gas_front")),
    *(f"bile.{name}" for name in ("radius", "ml", "stone", "bright", "duct", "duct_thin")),
    *(f"calm.{name}" for name in ("all", "pelvis", "back", "liver", "spleen")),
    *(f"bowel.{name}" for name in ("gas", "radius", "levels", "level", "level_big", "shell", "swollen",
                                   "swollen_thick")),
    *(f"bed.{name}" for name in ("soft", "fat", "thick")),
    *(f"free.{name}" for name in ("over_liver", "over_liver_big")),
)  # fmt: skip
NAMES = (*PHYSICAL, *names_of(shipped_nets().columns))


@once
def measures(case: Case) -> Floats:
    """(len(NAMES),) of a case, in the order of NAMES; all NaN where too little of a body is in view."""
    seen = body(case)
    if not seen or np.ptp([seen.box.low_mm, seen.box.high_mm], axis=0).min() < LEAST_MM:
        return np.full(len(NAMES), NOTHING, dtype=np.float32)
    scene = scene_of(case)
    return as_vector(numbers(scene) | cell_numbers(scene))


def numbers(seen: Scene) -> Numbers:
    """Name -> number, as far as what it measures was found."""
    told = {"wide": span_mm(seen.parts["body"], 2), "deep": span_mm(seen.parts["body"], 1)}
    aorta = seen.of("aorta")
    if aorta is not None:
        told["blood"] = percentile(seen.hu[deep(aorta) >= BLOOD_MM], 50)
    blood = told.get("blood", NOTHING)
    return told | chest(seen, blood) | belly(seen, blood)


def as_vector(told: Mapping[str, float], names: Sequence[str] = NAMES) -> Floats:
    """The numbers in the order of their names, as logarithms with their sign.

    Raises:
        KeyError: a number has no place in NAMES.
    """
    if strange := sorted(set(told) - set(names)):
        raise KeyError(f"measures {strange} are unknown")
    values = np.array([told.get(name, NOTHING) for name in names], dtype=np.float64)
    values[~np.isfinite(values)] = NOTHING
    return np.asarray(np.sign(values) * np.log1p(np.abs(values)), dtype=np.float32)
