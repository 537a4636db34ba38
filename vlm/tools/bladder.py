"""The urinary bladder: how full it is, and stones in it.

In: the outline of the bladder and the contrast phase. Out: its volume, an Observation for each stone, and a Search.
Excreted contrast looks like stone. The wall is not judged: on this grid the wall of a full bladder of normal width
and one of 9 mm read alike.
"""

from __future__ import annotations

from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measured, Measurement, Observation
from vlm.tools.gallbladder import stones_in
from vlm.tools.organs import Organ, kept, organ, phase, sought
from vlm.tools.registry import tool

NAME = "bladder"
FINDING = "bladder_stone"
STONE_HU = 250.0  # peak: stones 300 HU and more, contrast that begins to be excreted less
MOST = 20


@tool(NAME, observes=(FINDING,), needs=("urinary_bladder",))
def bladder(case: Case) -> list[Evidence]:
    """Measure the bladder, and look for stones in it."""
    seen = organ(case, "urinary_bladder")
    if seen.mask is None or not seen.measurable:
        return [sought(case, NAME, FINDING, seen)]
    return [*_filling(case, seen), *_stones(case, seen)]


def _filling(case: Case, seen: Organ) -> list[Evidence]:
    if not seen.whole:
        return []
    volume = Mask(seen.name, seen.voxels.T, seen.grid).volume_ml
    doubt = (1.0 - seen.quality) * volume if seen.quality else None
    measure = Measurement(quantity="volume", value=volume, plus_minus=doubt)
    return [Measured(tool=NAME, site="bladder", measurements=(measure,), region=kept(case, seen))]


def _stones(case: Case, seen: Organ) -> list[Evidence]:
    if phase(case) != "none":
        return [sought(case, NAME, FINDING, seen, failed=("contrast",))]
    assert seen.mask is not None
    spots = [spot for spot in stones_in(case, seen.mask) if spot[2] >= STONE_HU]
    if len(spots) > MOST:
        return [sought(case, NAME, FINDING, seen, failed=("noise",))]
    out: list[Evidence] = [
        Observation(
            tool=NAME, finding=FINDING, presence="present", site="bladder",
            measurements=(Measurement(quantity="diameter", value=length, plus_minus=2.0),),
            region=case.keep(Mask(f"bladder_stone_{number}", spot.voxels, spot.grid)),
        )
        for number, (spot, length, _) in enumerate(spots, 1)
    ]  # fmt: skip
    return [*out, sought(case, NAME, FINDING, seen, found=len(spots))]
