"""Every structure that rules can find, as masks with TotalSegmentator's names where they exist.

In: an open case. Out: the masks in the order in which a label map takes them (later ones
win where two claim a voxel), and for each structure that is not there the reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import aorta
from vlm.anatomy.heart import heart
from vlm.anatomy.lungs import SIDES, lungs
from vlm.anatomy.skeleton import skeleton
from vlm.ct.volume import Mask
from vlm.evidence import Case, once


@dataclass(frozen=True, slots=True, kw_only=True)
class Structures:
    """What was found, and what was not."""

    masks: tuple[Mask, ...]
    missing: Mapping[str, str]  # name -> why


@once
def structures(case: Case) -> Structures:
    """Find all structures of a case."""
    found: list[Mask] = []
    missing: dict[str, str] = {}

    def keep(name: str, mask: Mask, *, there: bool, why: str) -> None:
        if there and mask:
            found.append(Mask(name, mask.voxels, mask.grid))
        else:
            missing[name] = why

    beating, vessel, tree, both = heart(case), aorta(case), airways(case), lungs(case)
    keep("skeleton", skeleton(case), there=True, why="no bone in the field of view")
    keep("heart", beating.mask, there=beating.found, why="not found between the lungs")
    keep("aorta", vessel.mask, there=vessel.found, why="not traceable beside the spine")
    for side in SIDES:
        keep(f"lung_{side}", both.of(side), there=side in both.present, why="no aerated lung in the field of view")
    keep("trachea", tree.trachea, there=tree.found, why="no trachea in the field of view")
    return Structures(masks=tuple(found), missing=missing)
