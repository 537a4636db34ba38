"""The urinary bladder: how full it is, how thick its wall is, and stones in it.

In: the outline of the bladder and the contrast phase. Out: its volume, an Observation of a distended bladder, of a
thick wall and of each stone, and a Search for each. Excreted contrast looks like stone. Where no engine outlines the
bladder well, one that is full is told as possible from densities alone (``full_bladder.py``); nothing is denied then.
"""

from __future__ import annotations

from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measured, Measurement, Observation
from vlm.tools.bladder_wall import wall_of
from vlm.tools.full_bladder import full_bladder
from vlm.tools.gallbladder import stones_in
from vlm.tools.organs import Organ, kept, organ, phase, sought
from vlm.tools.registry import tool

NAME = "bladder"
STONE, FULL, WALL = "bladder_stone", "bladder_distension", "bladder_wall_thickening"
STONE_HU = 250.0  # peak: stones 300 HU and more, contrast that begins to be excreted less
MOST = 20
FULL_ML = 400.0  # customary: a bladder holds 300 to 500 mL before it urges
ROUGH = 0.2  # of a volume told without an outline
# A filled bladder's wall is up to 3 mm thick, an empty one's up to 5 mm (Jequier, AJR 1987;149:563; sonography, 410
# children and 10 adults); from 5 mm on it goes with obstruction in men (Manieri, J Urol 1998;159:761).
THICK_MM, DOUBT_MM = 5.0, 1.5
DENIED_SHARE = 0.5  # of the lumen's border must speak for a wall that is told to be thin


@tool(NAME, observes=(STONE, FULL, WALL), needs=("urinary_bladder",))
def bladder(case: Case) -> list[Evidence]:
    """Measure the bladder and its wall, and look for stones in it."""
    seen = organ(case, "urinary_bladder")
    if seen.mask is None or not seen.measurable:
        return [*_full(case, seen), sought(case, NAME, STONE, seen), sought(case, NAME, WALL, seen)]
    return [*_filling(case, seen), *_wall(case, seen), *_stones(case, seen)]


def _full(case: Case, seen: Organ) -> list[Evidence]:
    """What may be a bladder, told without an outline, for it is so full."""
    ball = full_bladder(case)
    if ball is None or ball.volume_ml < FULL_ML:
        return [sought(case, NAME, FULL, seen)]
    measure = Measurement(quantity="volume", value=ball.volume_ml, plus_minus=ROUGH * ball.volume_ml)
    one = Observation(
        tool=NAME, finding=FULL, presence="uncertain", site="bladder", measurements=(measure,), region=case.keep(ball),
        note="told from its density and place, not from an outline: a large cyst or a pouch of fluid looks alike",
    )  # fmt: skip
    return [one, sought(case, NAME, FULL, seen, found=1)]


def _filling(case: Case, seen: Organ) -> list[Evidence]:
    """The volume of an outlined bladder, and whether it is distended; one that is cut can be told to be, never not."""
    volume = Mask(seen.name, seen.voxels.T, seen.grid).volume_ml
    doubt = (1.0 - seen.quality) * volume if seen.quality else None
    told, region = (Measurement(quantity="volume", value=volume, plus_minus=doubt),), kept(case, seen)
    if volume >= FULL_ML:
        one = Observation(
            tool=NAME, finding=FULL, presence="present", site="bladder", measurements=told, region=region
        )  # fmt: skip
        return [one, sought(case, NAME, FULL, seen, found=1, measurements=told, region=region)]
    if not seen.whole:
        return [sought(case, NAME, FULL, seen, failed=("organ_cut",))]
    measured = Measured(tool=NAME, site="bladder", measurements=told, region=region)
    return [measured, sought(case, NAME, FULL, seen, measurements=told, region=region)]


def _wall(case: Case, seen: Organ) -> list[Evidence]:
    assert seen.mask is not None
    wall = wall_of(case, seen.mask)
    if isinstance(wall, str):
        return [sought(case, NAME, WALL, seen, share=0.0, failed=(wall,))]
    width = wall.thin_mm
    told, region = (Measurement(quantity="thickness", value=width, plus_minus=DOUBT_MM),), kept(case, seen)
    if width < THICK_MM:
        thin = width + DOUBT_MM < THICK_MM and wall.thick_mm < THICK_MM and wall.speaks >= DENIED_SHARE
        if thin:
            return [sought(case, NAME, WALL, seen, measurements=told, region=region)]
        return [sought(case, NAME, WALL, seen, share=0.0, failed=("not_even",))]
    sure = width >= THICK_MM + DOUBT_MM
    one = Observation(
        tool=NAME, finding=WALL, presence="present" if sure else "uncertain", site="bladder", measurements=told,
        region=region, note="" if sure else "the thickness lies at the limit",
    )  # fmt: skip
    return [one, sought(case, NAME, WALL, seen, found=1, measurements=told, region=region)]


def _stones(case: Case, seen: Organ) -> list[Evidence]:
    if phase(case) != "none":
        return [sought(case, NAME, STONE, seen, failed=("contrast",))]
    assert seen.mask is not None
    spots = [spot for spot in stones_in(case, seen.mask) if spot[2] >= STONE_HU]
    if len(spots) > MOST:
        return [sought(case, NAME, STONE, seen, failed=("noise",))]
    out: list[Evidence] = [
        Observation(
            tool=NAME, finding=STONE, presence="present", site="bladder",
            measurements=(Measurement(quantity="diameter", value=length, plus_minus=2.0),),
            region=case.keep(Mask(f"bladder_stone_{number}", spot.voxels, spot.grid)),
        )
        for number, (spot, length, _) in enumerate(spots, 1)
    ]  # fmt: skip
    return [*out, sought(case, NAME, STONE, seen, found=len(spots))]
