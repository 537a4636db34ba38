"""The size of the uterus, where a user's own expert outlines it.

In: the outline of the uterus. Out: its length and volume; nothing where it is not outlined, for its size alone is no
finding: it depends on age and births (Platt, J Clin Ultrasound 1990;18:15).
"""

from __future__ import annotations

from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measured, Measurement
from vlm.tools.organ_size import length_mm
from vlm.tools.organs import kept, organ
from vlm.tools.registry import tool

NAME = "uterus"


@tool(NAME, observes=(), needs=("uterus",))
def uterus(case: Case) -> list[Evidence]:
    """Measure a uterus that is outlined."""
    seen = organ(case, "uterus")
    if not seen.whole or not seen.measurable:
        return []
    volume = Mask(seen.name, seen.voxels.T, seen.grid).volume_ml
    length = Measurement(quantity="diameter_3d", value=length_mm(seen), plus_minus=2 * float(max(seen.grid.spacing_mm)))
    measures = (length, Measurement(quantity="volume", value=volume))
    return [Measured(tool=NAME, site="uterus", measurements=measures, region=kept(case, seen))]
