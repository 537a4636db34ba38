"""Whether contrast flows in the vessels, told from the blood itself and not from the tag alone.

In: aorta and heart of a Case. Out: the state of enhancement, with the attenuation it was told from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import ndimage

from vlm.anatomy.aorta import aorta
from vlm.anatomy.body import body
from vlm.anatomy.heart import heart
from vlm.anatomy.skeleton import opened_by, spine_region
from vlm.evidence import Case, once

Phase = Literal["none", "pulmonary", "arterial", "venous", "enhanced", "unknown"]

PLAIN_BLOOD_HU = 75.0  # blood without contrast: 30-55 HU, up to about 70 at a high haematocrit
ENHANCED_HU = 95.0  # late venous phases still stand at 100-150 HU
ARTERIAL_HU = 200.0  # aorta in the arterial phase: 200-400 HU; portal venous phase: 120-190 HU
PULMONARY_STEP_HU = 60.0  # the right heart is denser than the aorta by this while lung arteries fill
VESSEL_MM = 6.0  # a plain body has no smooth thing of this radius above ENHANCED_HU but bone
ENOUGH_ML = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contrast:
    """``enhanced`` None: cannot be told. ``blood_hu`` is the aorta, or the heart where there is no aorta."""

    phase: Phase
    enhanced: bool | None
    blood_hu: float | None
    heart_hu: float | None
    note: str = ""


@once
def contrast(case: Case) -> Contrast:
    """The phase of intravenous contrast."""
    vessel, chambers = aorta(case), heart(case)
    in_heart = np.empty(0, dtype=np.int16)
    if chambers.found:
        core = opened_by(chambers.mask.voxels.T, chambers.mask.grid, 4.0)
        in_heart = case.working.hu.T[core]
    heart_hu = float(np.median(in_heart)) if in_heart.size else None
    densest = float(np.percentile(in_heart, 90)) if in_heart.size else None
    blood = vessel.blood_hu if vessel.found else heart_hu
    if blood is None:
        return _without_vessels(case)
    if vessel.found and densest is not None and densest > max(ENHANCED_HU + 40.0, blood + PULMONARY_STEP_HU):
        return Contrast(phase="pulmonary", enhanced=True, blood_hu=blood, heart_hu=heart_hu)
    if blood >= ENHANCED_HU:
        phase: Phase = "arterial" if blood >= ARTERIAL_HU else "venous"
        return Contrast(phase=phase, enhanced=True, blood_hu=blood, heart_hu=heart_hu)
    if blood <= PLAIN_BLOOD_HU:
        return Contrast(phase="none", enhanced=False, blood_hu=blood, heart_hu=heart_hu)
    return Contrast(phase="unknown", enhanced=case.volume.scan.contrast, blood_hu=blood, heart_hu=heart_hu)


def _without_vessels(case: Case) -> Contrast:
    """Neither aorta nor heart was found: is there anything smooth and bright that is no bone?"""
    smooth = ndimage.uniform_filter(case.working.hu.T, 3)
    bright = (smooth > ENHANCED_HU) & (smooth < 700) & body(case).voxels.T & ~spine_region(case)
    blobs = opened_by(bright, case.working.grid, VESSEL_MM)
    if np.count_nonzero(blobs) * case.working.grid.voxel_ml < ENOUGH_ML:
        return Contrast(phase="none", enhanced=False, blood_hu=None, heart_hu=None, note="no vessel was found")
    return Contrast(
        phase="unknown", enhanced=case.volume.scan.contrast, blood_hu=None, heart_hu=None, note="no vessel was found"
    )
