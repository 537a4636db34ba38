"""One open case as a conversation sees it: its ledger, its report, and the voxels and masks where they are at hand.

Whoever opens a case (the command line, the page) fills this in; tools of a conversation look at nothing else. What is
not at hand is None, and the tool that needs it says so. A conversation measures into a branch of the ledger: the report
stays as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vlm.ct.volume import Mask, Point, Volume
from vlm.evidence import Evidence, Ledger, Side
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Context
from vlm.report import Sentence

SIDES: tuple[Side, ...] = ("left", "right")
MARKED = "marked_place"  # the site of what was measured where somebody pointed and no structure is known


@dataclass(frozen=True, slots=True, kw_only=True)
class Likeness:
    """A case of a library that is like this one. Its words never come with it."""

    case: str
    likeness: float | None
    shared: tuple[str, ...]  # names of findings that both have
    only_there: tuple[str, ...]


@dataclass
class OpenCase:
    """What the tools of a conversation may look at."""

    ledger: Ledger
    context: Context
    sentences: Sequence[Sentence] = ()  # the report as it stands
    volume: Callable[[], Volume] | None = None
    structures: Callable[[], Mapping[str, Mask]] | None = None  # by name, such as "lung_left"
    marks: Callable[[], Mapping[str, Mask]] | None = None  # masks of the evidence, by the name in its region
    evidence_at: Callable[[Point], tuple[str, ...]] | None = None  # ids of what lies there; faster than the masks
    words: Callable[[str, Side | None], dict[str, Any]] | None = None  # an image encoder's words: finding, side
    heads: Callable[[str], dict[str, Any]] | None = None  # a trained head: finding
    similar: Callable[[int], list[Likeness]] | None = None
    why_off: Mapping[str, str] = field(default_factory=dict)  # name of what is None above -> why, and the remedy

    def site_at(self, point: Point) -> tuple[str, Side | None]:
        """The structure at a point as a site of the vocabulary and a side; a marked place where none is known."""
        for name, mask in (self.structures() if self.structures else {}).items():
            if holds(mask, point) and (named := site_of(name))[0] in load_vocabulary().sites:
                return named
        return MARKED, None

    def lying_at(self, point: Point) -> tuple[str, ...]:
        """Ids of the evidence whose masks hold a point; of boxes where no mask is at hand."""
        if self.evidence_at is not None:
            return self.evidence_at(point)
        masks = self.marks() if self.marks else {}
        return tuple(name for name, record in self.ledger if _lies(record, point, masks))


def site_of(structure: str) -> tuple[str, Side | None]:
    """A structure's name as a site and a side: ("lung_left" -> "lung", "left")."""
    bare, _, last = structure.rpartition("_")
    side = next((side for side in SIDES if side == last), None)
    name = bare if side else structure
    if name.startswith("vertebrae_"):
        return name.removeprefix("vertebrae_"), None
    return {"skeleton": "bone"}.get(name, name), side


def holds(mask: Mask, point: Point) -> bool:
    """Whether a mask has the voxel at a point, RAS mm."""
    index = tuple(round(float(at)) for at in mask.grid.to_ijk(point))
    inside = all(0 <= at < n for at, n in zip(index, mask.grid.shape, strict=True))
    return inside and bool(mask.voxels[index])


def _lies(record: Evidence, point: Point, masks: Mapping[str, Mask]) -> bool:
    if record.region is None:
        return False
    mask = masks.get(record.region.mask or "")
    return holds(mask, point) if mask is not None else record.region.box_mm.contains(point)
