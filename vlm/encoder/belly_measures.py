"""Numbers of the belly: liver, spleen, kidneys, and what lies free between its organs."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vlm.encoder.forms import ball, bends
from vlm.encoder.gut_measures import gut
from vlm.encoder.scene import (
    CROSS,
    GRID_MM,
    NOTHING,
    Bools,
    Numbers,
    Scene,
    away,
    deep,
    inner,
    largest,
    ml,
    opened,
    percentile,
    share,
    span_mm,
    wider,
    window_of,
)  # fmt: skip

WATER_HU = (-8.0, 25.0)  # urine, cysts and ascites, after smoothing
DARKER_HU = 15.0  # than the organ around it, after smoothing
FREE_GAS_HU = -450.0
TUBE_MM, LESION_MM, PIT_MM = 4.0, 7.0, 3.5  # Gaussians: wide ducts, lesions of the liver, small ones of a kidney
STRAND_HU = (-85.0, -25.0)  # fat with fluid in it
LEAST_ML = {"liver": 100.0, "spleen": 15.0, "kidney": 30.0}
SINUS_STEPS = 5  # voxels: the kidney closed by these holds its sinus
ORGANS = ("liver", "spleen", "kidney_right", "kidney_left", "stomach", "gallbladder", "pancreas", "urinary_bladder",
          "aorta", "inferior_vena_cava", "heart", "heart_region", "vertebrae", "colon", "small_bowel", "hip", "sacrum",
          "ribs", "autochthon", "iliopsoas", "gluteus", "femur", "prostate", "portal_vein_and_splenic_vein", "skeleton",
          "lung_right", "lung_left", "esophagus")  # fmt: skip


def belly(seen: Scene, blood: float) -> Numbers:
    """Everything of this page; ``blood`` is the density of the aorta, HU."""
    told = {**spleen(seen), **kidneys(seen), **free(seen)}
    return told | liver(seen, blood, told.get("spleen.hu", NOTHING))


def _water(smooth: np.ndarray) -> Bools:
    return np.asarray((smooth > WATER_HU[0]) & (smooth < WATER_HU[1]))


def liver(seen: Scene, blood: float, spleen_hu: float) -> Numbers:
    """Size and density of the liver, and what is darker in it."""
    organ = seen.of("liver")
    if organ is None or ml(organ) < LEAST_ML["liver"]:
        return {}
    at = window_of(organ, 3)
    part, smooth = organ[at], seen.smooth[at]
    core = deep(part) > 5
    values = smooth[core]
    middle = percentile(values, 50)
    dark, water = (smooth < middle - DARKER_HU) & core, _water(smooth) & (smooth < middle - DARKER_HU) & core
    wide = ndimage.gaussian_filter(seen.hu[at], 2.5)[deep(part) > 9]
    near = np.where(part, np.clip(seen.hu[at], middle - 80, middle + 80), middle).astype(np.float32)
    told = {
        "ml": ml(organ), "height": span_mm(organ, 0), "hu": middle,
        "sd": float(values.std()) if values.size else NOTHING, "p2": percentile(values, 2) - middle,
        "p98": percentile(values, 98) - middle, "dark": ml(dark),
        "dark_big": ml(largest(opened(dark))), "water": ml(water), "water_thin": ml(water & ~opened(water)),
        "pit": percentile(wide, 50) - percentile(wide, 1), "over_blood": middle - blood,
        "over_spleen": middle - spleen_hu,
        "tubes": percentile(bends(near, core, TUBE_MM)[:, 1], 99.5), "ball": ball(near, core, LESION_MM, dark=True),
    }  # fmt: skip
    return {f"liver.{name}": value for name, value in told.items()}


def spleen(seen: Scene) -> Numbers:
    """Size and density of the spleen."""
    organ = seen.of("spleen")
    if organ is None or ml(organ) < LEAST_ML["spleen"]:
        return {}
    core = inner(organ, 2)
    return {"spleen.ml": ml(organ), "spleen.height": span_mm(organ, 0), "spleen.radius": float(deep(organ).max()),
            "spleen.hu": percentile(seen.smooth[core if core.sum() > 40 else organ], 50)}  # fmt: skip


def kidneys(seen: Scene) -> Numbers:
    """Of both kidneys: the larger, the smaller, and how far they are apart."""
    if not seen.covers("kidney"):
        return {}
    each = [kidney(seen, side) for side in ("right", "left")]
    told: Numbers = {}
    for name in {name for one in each for name in one}:
        values = np.array([one[name] for one in each if np.isfinite(one.get(name, NOTHING))])
        if values.size:
            told |= {f"kidney.max.{name}": float(values.max()), f"kidney.min.{name}": float(values.min())}
        if values.size == 2:
            told[f"kidney.apart.{name}"] = float(np.ptp(values))
    return told


def kidney(seen: Scene, side: str) -> Numbers:
    """Of one kidney: size, dark places, water in its sinus and beside it."""
    organ = seen.of(f"kidney_{side}")
    if organ is None or ml(organ) < LEAST_ML["kidney"]:
        return {}
    at = window_of(organ, 8)
    part, smooth = organ[at], seen.smooth[at]
    depth = deep(part)
    values = smooth[depth > 4]
    middle = percentile(values, 65)
    closed = ndimage.binary_closing(part, CROSS, iterations=SINUS_STEPS)
    water = _water(smooth) & (smooth < middle - 12)
    others = wider(seen.union(*(name for name in ORGANS if name != f"kidney_{side}"))[at])
    beside = water & (away(part) < 16) & ~closed & ~others
    piece = largest(opened(water & closed))
    fine = ndimage.gaussian_filter(seen.hu[at], 1.6)[depth > 6]
    values_near = np.where(part, np.clip(seen.hu[at], middle - 120, middle + 60), middle).astype(np.float32)
    return {
        "ball": ball(values_near, depth > 4, PIT_MM, dark=True),
        "ml": ml(organ), "hu": middle, "sd": float(values.std()) if values.size else NOTHING,
        "dark": percentile(values, 2) - middle, "dark_ml": ml((smooth < middle - 25) & (smooth > -20) & (depth > 5)),
        "pit": middle - percentile(fine, 1), "water": ml(water & closed), "water_open": ml(opened(water & closed)),
        "water_radius": float(deep(water & closed).max()), "water_big": ml(piece), "beside": ml(beside),
        "beside_big": ml(largest(opened(beside))),
        "water_deep": float(deep(closed)[piece].mean()) if piece.any() else NOTHING,
    }  # fmt: skip


def free(seen: Scene) -> Numbers:
    """Fat of the belly, and water, strands and gas in it that belong to no organ."""
    if seen.dome_mm is None or not seen.covers("abdomen"):
        return {}
    within, heights = seen.parts["within"], seen.heights_mm
    under_wall = deep(within)
    region = within & (heights < seen.dome_mm - 10) & (under_wall > 7)
    if np.count_nonzero(region) < 2000:
        return {}
    chest = wider(seen.union("lung_right", "lung_left", "cavity_right", "cavity_left"), 2)
    organs = seen.union(*ORGANS)
    room = region & ~organs & ~chest
    water, fat = opened(_water(seen.smooth) & room), inner(room & ~wider(organs))
    strands = fat & (seen.smooth < STRAND_HU[1])
    told = {
        "fat": ml((seen.smooth < -50) & (seen.smooth > -140) & region), "water": ml(_water(seen.smooth) & room),
        "open": ml(water), "thick": ml(opened(water, 2)), "big": ml(largest(water)),
        "at_wall": ml(water & (under_wall < 22)), "strands": share(seen.smooth > STRAND_HU[0], strands),
    }  # fmt: skip
    if (organ := seen.of("liver")) is not None:
        told["at_liver"] = ml(water & (away(organ) < 12))
    ends = [heights.ravel()[kidney.any(axis=(1, 2))][0] for kidney in map(seen.of, ("kidney_right", "kidney_left"))
            if kidney is not None]  # fmt: skip
    if ends:
        right = (np.arange(within.shape[2]) - np.argwhere(within.any(axis=(0, 1))).mean())[None, None, :] * GRID_MM
        low = room & ~wider(organs) & (heights < min(ends))
        wet = (seen.smooth > -80) & (seen.smooth < 60)
        told["right_low"] = share(wet, low & (right > 15)) - share(wet, low & (right < -15))
    hollow = wider(seen.union("small_bowel", "colon", "stomach", "esophagus"))
    gas = (seen.hu < FREE_GAS_HU) & within & (heights < seen.dome_mm + 35) & (under_wall > 3) & ~chest & ~hollow
    told |= {"gas": ml(gas), "gas_big": ml(largest(opened(gas))), "gas_front": ml(gas & (under_wall < 16))}
    return {f"belly.{name}": value for name, value in told.items()} | gut(seen, room & ~wider(organs), region)
