"""Bronchi: thick walls and widened airways. Named, and not yet judged.

In: an open case. Out: Searches that say that nobody has looked. A rule that compares each
bronchus with its artery needs slices of about 1 mm and both traced; none is good enough yet.
"""

from __future__ import annotations

from vlm.anatomy.lungs import SIDES
from vlm.evidence import Case, Evidence
from vlm.tools.lung_field import field, search
from vlm.tools.registry import tool

NAME = "bronchi"
THIN_MM = 2.0  # thicker slices hide walls of bronchi: Kazerooni, AJR 2001;177:501 uses 1 mm


@tool(NAME, observes=("bronchiectasis", "peribronchial_thickening"), needs=("lungs",))
def bronchi(case: Case) -> list[Evidence]:
    """Say that bronchial walls and width are not assessed, and what stood in the way."""
    out: list[Evidence] = []
    for side in SIDES:
        seen = field(case, side, thick_mm=THIN_MM)
        out += [
            search(NAME, finding, seen, site="bronchi", failed=("not_implemented",))
            for finding in ("bronchiectasis", "peribronchial_thickening")
        ]
    return out
