"""What an engine of anatomy is: a case in, for each structure by TotalSegmentator's name what it found.

An engine that is a program or a network gives one label map a case (``MapEngine``); the rules give one structure at a
time. A plug-in is a ``Segmenter`` under the entry point group ``tomoscribe.anatomy``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.coverage import coverage
from vlm.ct.volume import Grid, Mask, Volume
from vlm.evidence import Case

State = Literal["there", "absent", "cut", "not believed", "not looked for"]

CUT_SHARE = 0.05  # of its largest cross-section: so much at the border of the field of view, and the structure is cut

# Structures that a map may tell in parts: name -> beginnings of the names of its parts.
PARTS: Mapping[str, tuple[str, ...]] = {
    "vertebrae": ("vertebrae_",), "ribs": ("rib_left_", "rib_right_"), "hip": ("hip_",), "femur": ("femur_",),
    "gluteus": ("gluteus_",), "autochthon": ("autochthon_",), "iliopsoas": ("iliopsoas_",),
    "heart": ("heart_", "coronary_arteries"), "liver": ("hepatic_vein",), "colon": ("rectum",),
    "lung_right": ("lung_upper_lobe_right", "lung_middle_lobe_right", "lung_lower_lobe_right"),
    "lung_left": ("lung_upper_lobe_left", "lung_lower_lobe_left"),
}  # fmt: skip

# Structure -> the site by whose height ``coverage`` tells whether it can be in the field of view.
SITES: Mapping[str, str] = {
    "liver": "liver", "spleen": "spleen", "stomach": "stomach", "gallbladder": "gallbladder", "pancreas": "pancreas",
    "kidney_right": "kidney", "kidney_left": "kidney", "adrenal_gland_right": "adrenal",
    "adrenal_gland_left": "adrenal", "urinary_bladder": "bladder", "prostate": "prostate", "heart": "heart",
    "lung_right": "lung", "lung_left": "lung", "esophagus": "oesophagus", "colon": "bowel", "small_bowel": "bowel",
    "duodenum": "pancreas", "hip": "pelvis", "sacrum": "pelvis", "femur": "hip", "gluteus": "pelvis",
    "thyroid_gland": "thyroid", "trachea": "mediastinum", "inferior_vena_cava": "upper_abdomen",
    "portal_vein_and_splenic_vein": "pancreas", "common_bile_duct": "bile_ducts", "pancreatic_duct": "pancreas",
    "uterus": "uterus", "appendix": "appendix",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Off:
    """Why an engine cannot run here, and what turns it on."""

    reason: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What an engine says of one structure; ``mask`` is there when it is "there" or "cut" with a part in view."""

    state: State
    mask: Mask | None = None
    reason: str = ""


class Engine(Protocol):
    """Someone who finds structures in a case."""

    @property
    def name(self) -> str:
        """By which a user names it and a report tells it."""

    @property
    def version(self) -> str:
        """Of its code, weights or file."""

    @property
    def vouched(self) -> bool:
        """The user brings it: a map or a model of their own, which we do not measure."""

    def off(self) -> Off | None:
        """None when it can run; looks at files only, starts nothing."""

    def names(self) -> frozenset[str]:
        """Structures that it tells, by TotalSegmentator's names; empty before it ran where only its map says so."""

    def find(self, case: Case, name: str) -> Found:
        """One structure of ``names``.

        Raises:
            UsageError: the engine is set up wrongly; one line says how.
        """


class Segmenter(Protocol):
    """What a plug-in is: a scan in, a label map out."""

    name: str
    version: str
    structures: tuple[str, ...]  # what it tells, by TotalSegmentator's names

    def off(self) -> Off | None:
        """None when it can run."""

    def segment(self, volume: Volume) -> LabelMap:
        """The label map of a scan, on a grid whose axes are parallel to the scan's."""


@dataclass(frozen=True, eq=False)
class LabelMap:
    """Numbers by voxel: ``voxels`` (X, Y, Z) unsigned on ``grid``; 0 is nothing; ``names`` says what the rest is."""

    voxels: NDArray[np.unsignedinteger]
    grid: Grid
    names: Mapping[int, str]
    doubts: Mapping[str, str] = field(default_factory=dict)  # structure -> why it is not believed

    def of(self, name: str) -> Mask:
        """The structure with all its parts; empty where there is none."""
        numbers = [n for n, own in self.names.items() if own == name or own.startswith(PARTS.get(name, "\0"))]
        few = self.voxels == numbers[0] if len(numbers) == 1 else np.isin(self.voxels, numbers)
        return Mask(name, few, self.grid)


def with_wholes(names: Iterable[str]) -> frozenset[str]:
    """Names, and those of the wholes that some of them are parts of."""
    own = frozenset(names)
    return own | {whole for whole, parts in PARTS.items() if any(name.startswith(parts) for name in own)}


@dataclass(frozen=True, kw_only=True)
class MapEngine:
    """An engine that makes one label map of a case, once."""

    name: str
    version: str
    label: Callable[[Case], LabelMap]
    structures: frozenset[str]
    vouched: bool = False
    check: Callable[[], Off | None] = lambda: None

    def off(self) -> Off | None:
        return self.check()

    def names(self) -> frozenset[str]:
        return self.structures

    def map_of(self, case: Case) -> LabelMap:
        """The label map of a case; computed once."""
        return case.part(f"{__name__}.{self.name} {self.version}", lambda: self.label(case))  # type: ignore[return-value]  # what label gave

    def find(self, case: Case, name: str) -> Found:
        mapped = self.map_of(case)
        if name in mapped.doubts:
            return Found(state="not believed", reason=mapped.doubts[name])
        found = judged(case, mapped.of(name))
        if found.state == "absent" and not self.vouched:
            return Found(state="not believed", reason="nothing of it was drawn, which says little of what is there")
        return found


def judged(case: Case, mask: Mask) -> Found:
    """There, cut by the field of view, or absent: what a mask and the coverage of its place say."""
    if not mask:
        if beyond(case, mask.name):
            return Found(state="cut", reason="its place lies outside the field of view")
        return Found(state="absent", reason="nothing of it was drawn")
    where = cut_at(case, mask)
    if where:
        return Found(state="cut", mask=mask, reason=f"cut by the field of view {where}")
    return Found(state="there", mask=mask)


def beyond(case: Case, name: str) -> bool:
    """Whether the place of a structure lies outside the field of view, as far as its height tells."""
    site, side = SITES.get(name, ""), "right" if name.endswith("_right") else "left"
    view = coverage(case)
    if site not in view.shares:  # no landmark, or a structure without a place of its own
        return False
    return view.of(site, side if name.endswith(("_right", "_left")) else None) <= 0  # type: ignore[arg-type]  # one of two


def cut_at(case: Case, mask: Mask) -> str:
    """Where the field of view cuts a mask, in words: "above and at the side"; "" where it does not."""
    ends = {2: ("below", "above"), 0: ("at the side", "at the side"), 1: ("behind", "in front")}
    told = []
    for axis, words in ends.items():
        area = mask.voxels.sum(axis=tuple(n for n in range(3) if n != axis))
        least = max(1.0, CUT_SHARE * float(area.max()))
        told += [word for word, at in zip(words, (area[0], area[-1]), strict=True) if at >= least]
    padding = case.working.padding
    if padding is not None:
        coarse = mask.on(case.working.grid).voxels
        rim = _beside(padding) & coarse
        if rim.sum() >= CUT_SHARE * coarse.any(axis=0).sum():
            told.append("at the side")
    return " and ".join(dict.fromkeys(told))


def _beside(padding: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(X, Y, Z): voxels whose neighbour in the slice is padding."""
    out = np.zeros_like(padding)
    out[1:] |= padding[:-1]
    out[:-1] |= padding[1:]
    out[:, 1:] |= padding[:, :-1]
    out[:, :-1] |= padding[:, 1:]
    return out
