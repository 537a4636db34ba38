"""The thoracic cavity of each side: what lies inside the ribs, above the diaphragm and beside the mediastinum.

In: an open case. Out: one mask a side on the working grid that holds the aerated lung and
whatever took its place: fluid, air, collapse, masses.
"""

from __future__ import annotations

from dataclasses import dataclass

from vlm.anatomy.lungs import LungSide, lungs
from vlm.ct.volume import Mask
from vlm.evidence import Case, once


@dataclass(frozen=True, slots=True, kw_only=True)
class Thorax:
    """The cavity of each side; empty where the side is not in the scan."""

    right: Mask
    left: Mask

    def of(self, side: LungSide) -> Mask:
        """The cavity of one side."""
        return self.right if side == "right" else self.left


@once
def thoracic_cavity(case: Case) -> Thorax:
    """The cavity of each side: lung, and what fills the space that lung should fill."""
    found = lungs(case)
    return Thorax(
        right=Mask("cavity_right", found.right_space.voxels, found.right.grid),
        left=Mask("cavity_left", found.left_space.voxels, found.left.grid),
    )
