"""Interstitium: septal thickening, mosaic attenuation, fibrotic sequelae. Named, and not yet judged.

In: an open case. Out: Searches that say that nobody has looked: no rule tried here told these
patterns from vessels, breathing and dependent density.
"""

from __future__ import annotations

from vlm.anatomy.lungs import SIDES
from vlm.evidence import Case, Evidence
from vlm.tools.lung_field import field, search
from vlm.tools.registry import tool

NAME = "interstitium"
FINDINGS = ("interlobular_septal_thickening", "mosaic_attenuation", "pulmonary_fibrotic_sequela")
THIN_MM = 2.0  # septa are 0.1 to 1 mm thick


@tool(NAME, observes=FINDINGS, needs=("lungs",))
def interstitium(case: Case) -> list[Evidence]:
    """Say that the patterns of the interstitium are not assessed."""
    return [
        search(NAME, finding, field(case, side, thick_mm=THIN_MM), site="lung", failed=("not_implemented",))
        for side in SIDES
        for finding in FINDINGS
    ]
