"""A wide appendix, where a user's own expert outlines it: no appendix is looked for otherwise.

In: the outline of the appendix. Out: an Observation of one that is wide, and a Search with its width.
"""

from __future__ import annotations

from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.organs import kept, organ, sought
from vlm.tools.own_voxels import own_voxels, widest_mm
from vlm.tools.registry import tool

NAME = "appendix"
FINDING = "appendicitis"
# Normal ones are 6.6 mm wide on CT, deviation 1.5 mm (Charoensak, J Med Assoc Thai 2010;93:1437).
WIDE_MM = 10.0
DOUBT_MM = 1.5
SLICE_MM = 5.0


@tool(NAME, observes=(FINDING,), needs=("appendix",))
def appendix(case: Case) -> list[Evidence]:
    """Measure an appendix that is outlined."""
    seen = organ(case, "appendix")
    part = None if seen.mask is None or not seen.measurable else own_voxels(case, seen.mask)
    if part is None:
        return [sought(case, NAME, FINDING, seen)]
    failed = ("thick_slices",) if case.volume.grid.spacing_mm[2] > SLICE_MM else ()
    width = widest_mm(part.voxels, part.grid)
    measure = Measurement(quantity="diameter", value=width, plus_minus=DOUBT_MM)
    region, wide = kept(case, seen), width >= WIDE_MM
    out: list[Evidence] = []
    if wide:
        note = "a wide appendix: inflamed, or filled with gas or stool"
        out.append(
            Observation(
                tool=NAME, finding=FINDING, presence="uncertain", site="appendix", measurements=(measure,),
                region=region, note=note,
            )
        )  # fmt: skip
    found = sought(case, NAME, FINDING, seen, found=int(wide), failed=failed, measurements=(measure,), region=region)
    return [*out, found]
