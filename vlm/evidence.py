"""What was seen, what was looked for, and where: the only things a report may speak of.

A tool returns Observations, Searches and Measured; the Ledger gives each an id
(E1, E2 …) that is never used again. A Search is the only record that can license
"no X"; a structure outside the field of view is said by a Coverage. A Case is one
open scan with its ledger, its masks and whatever was computed on the way.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

import numpy as np

from vlm.ct.volume import Box, Mask, Point, Volume

Presence = Literal["present", "absent", "uncertain"]
Side = Literal["left", "right", "bilateral"]  # always the patient's

# quantity -> (UCUM unit, the step to which a reader sees it rounded, below and from 100)
QUANTITIES: Mapping[str, tuple[str, float, float]] = {
    "diameter": ("mm", 1, 1),  # longest axis in the axial plane
    "short_axis": ("mm", 1, 1),  # longest axis perpendicular to the diameter, same slice
    "diameter_3d": ("mm", 1, 1),  # longest distance within the region
    "height": ("mm", 1, 1),  # extent along z
    "thickness": ("mm", 1, 1),
    "distance": ("mm", 1, 1),  # to the pleura, unless the note says otherwise
    "volume": ("mL", 1, 10),
    "attenuation": ("[hnsf'U]", 1, 10),  # mean Hounsfield units
    "attenuation_sd": ("[hnsf'U]", 1, 10),
    "attenuation_difference": ("[hnsf'U]", 1, 10),  # between the means of two parts
    "fraction": ("%", 1, 1),  # share of the organ named by the site
    "height_loss": ("%", 5, 5),
    "ratio": ("1", 0.01, 0.01),
    "score": ("1", 1, 10),  # Agatston-style
    "count": ("1", 1, 1),
    "angle": ("deg", 1, 1),
}
UNIT_WORDS = {"mm": "mm", "mL": "ml", "[hnsf'U]": "HU", "%": "%", "1": "", "deg": "degrees"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """A number that a sentence may print. It is printed here and nowhere else."""

    quantity: str  # a key of QUANTITIES
    value: float  # in `unit`, not rounded
    plus_minus: float | None = None  # half width of the 95 % interval, in `unit`; None when not known

    def __post_init__(self) -> None:
        if self.quantity not in QUANTITIES:
            raise ValueError(f"quantity {self.quantity!r} is unknown; known: {', '.join(QUANTITIES)}")
        if not np.isfinite(self.value):
            raise ValueError(f"{self.quantity} is {self.value}; a measurement is a finite number")

    @property
    def unit(self) -> str:
        """UCUM unit of the value."""
        return QUANTITIES[self.quantity][0]

    @property
    def rounded(self) -> float:
        """The value as a reader sees it."""
        _, fine, wide = QUANTITIES[self.quantity]
        step = wide if abs(self.value) >= 100 else fine
        return round(round(self.value / step) * step, 6)

    def __str__(self) -> str:
        number = f"{self.rounded:.2f}" if QUANTITIES[self.quantity][1] < 1 else f"{self.rounded:.0f}"
        return f"{number} {UNIT_WORDS[self.unit]}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """Where evidence lies, in the space and the slices of the case's volume."""

    centroid_mm: Point  # a voxel inside the region, nearest to its centroid; RAS
    box_mm: Box
    slices: tuple[int, int]  # first and last k of the volume, both included
    mask: str | None = None  # name of a mask the case keeps


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """A finding that a tool measured somewhere."""

    tool: str
    finding: str  # key of the vocabulary
    presence: Presence
    probability: float | None = None  # calibrated, or None: nothing is calibrated
    side: Side | None = None
    site: str | None = None  # key of a site of the vocabulary
    measurements: tuple[Measurement, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)  # "density": "solid", "severity": "mild" …
    region: Region | None = None
    note: str = ""  # why there is no region, or what limits the observation

    def __post_init__(self) -> None:
        if self.region is None and not self.note:
            raise ValueError(f"{self.finding}: an observation has a region, or a note that says why not")

    def measured(self, quantity: str) -> Measurement | None:
        """The measurement of this quantity, or None."""
        return next((m for m in self.measurements if m.quantity == quantity), None)


# Why a search cannot be relied on. Key -> the words a report uses.
CONDITIONS: Mapping[str, str] = {
    "not_covered": "not covered by the scan",
    "partly_covered": "only partly covered",
    "no_contrast": "no intravenous contrast",
    "contrast": "intravenous contrast hides it",
    "phase": "not the right contrast phase",
    "thick_slices": "slices too thick",
    "coarse_pixels": "pixels too coarse",
    "noise": "too much noise",
    "motion": "motion of the heart",
    "metal": "metal artefact",
    "not_found": "the structure was not found",
    "organ_cut": "the organ is cut by the edge of the scan",
    "poor_outline": "the organ was not outlined well enough",
    "not_filled": "the organ is not filled enough",
    "not_even": "the wall is not evenly thin where it can be measured",
    "side_unsure": "left and right could not be confirmed",
    "collapse": "hidden by collapsed or consolidated lung",
    "density_withheld": "the pixel values do not allow densities",
    "length_withheld": "the geometry does not allow lengths",
    "not_measured": "detection limit not measured",
    "often_missed": "missed too often in tests",
    "not_implemented": "no tool looks for it yet",
    "tool_failed": "the tool failed",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """A look for a finding: the only record that can license "no X".

    ``found`` is how many Observations of the finding this search made (in the same side and
    site); "no X" needs 0, "no other X" follows a search that found some.
    """

    tool: str
    finding: str
    covered: float  # 0..1: fraction of the place that was looked at
    found: int = 0
    side: Side | None = None
    site: str | None = None  # where it looked
    smallest: Measurement | None = None  # smallest size it finds at `sensitivity`; None: not measured
    sensitivity: float | None = None
    failed: tuple[str, ...] = ()  # keys of CONDITIONS
    measurements: tuple[Measurement, ...] = ()  # "ratio 0.47" of a heart that is not enlarged
    attributes: Mapping[str, str] = field(default_factory=dict)
    region: Region | None = None
    note: str = ""

    def __post_init__(self) -> None:
        unknown = set(self.failed) - set(CONDITIONS)
        if unknown:
            raise ValueError(f"conditions {sorted(unknown)} are unknown; known: {', '.join(CONDITIONS)}")
        if not 0.0 <= self.covered <= 1.0:
            raise ValueError(f"covered is {self.covered}, a fraction is 0 to 1")

    @property
    def looked(self) -> bool:
        """False when nothing at all was looked at: the finding is "not assessed"."""
        return self.covered > 0.0 and not set(self.failed) & {
            "not_found",
            "not_covered",
            "not_implemented",
            "tool_failed",
        }

    @property
    def denies(self) -> bool:
        """True when "none found" says something of the patient: it looked, and its tool finds what it was tested on."""
        return self.looked and "often_missed" not in self.failed

    def measured(self, quantity: str) -> Measurement | None:
        """The measurement of this quantity, or None."""
        return next((m for m in self.measurements if m.quantity == quantity), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """A measure of a structure that is no finding by itself, such as the width of the aorta."""

    tool: str
    site: str
    measurements: tuple[Measurement, ...]
    side: Side | None = None
    region: Region | None = None
    note: str = ""

    def measured(self, quantity: str) -> Measurement | None:
        """The measurement of this quantity, or None."""
        return next((m for m in self.measurements if m.quantity == quantity), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """How much of a body region or organ lies in the field of view."""

    tool: str
    site: str
    covered: float  # 0..1; an estimate unless the whole organ is seen
    side: Side | None = None
    region: Region | None = None
    note: str = ""


Evidence = Observation | Search | Measured | Coverage


def without_side(record: Evidence) -> Evidence:
    """The record without left and right, for a scan whose sides contradict the anatomy."""
    if record.side not in ("left", "right"):
        return record
    note = "; ".join(part for part in (record.note, "side withheld: it contradicts the anatomy") if part)
    if isinstance(record, Search):
        return replace(record, side=None, note=note, failed=(*record.failed, "side_unsure"))
    return replace(record, side=None, note=note)


# What a limit of intake (vlm.ct.intake.LIMITS) takes from every record: quantities that it touches.
WITHHELD: Mapping[str, frozenset[str]] = {
    "density_withheld": frozenset({"attenuation", "attenuation_sd", "attenuation_difference", "score"}),
    "length_withheld": frozenset(
        {"diameter", "short_axis", "diameter_3d", "height", "thickness", "distance", "volume", "height_loss", "score"}
    ),
    "volume_across_slices": frozenset({"volume", "diameter_3d", "height", "height_loss", "score"}),
}


def without_withheld(record: Evidence, limits: frozenset[str]) -> Evidence:
    """The record without the numbers that the limits of the scan touch; its note says which went."""
    taken = frozenset(quantity for limit in limits for quantity in WITHHELD.get(limit, frozenset()))
    if isinstance(record, Coverage) or not taken & {m.quantity for m in record.measurements}:
        return record
    kept = tuple(m for m in record.measurements if m.quantity not in taken)
    gone = sorted({m.quantity for m in record.measurements} & taken)
    note = "; ".join(part for part in (record.note, f"withheld by limits of the scan: {', '.join(gone)}") if part)
    return replace(record, measurements=kept, note=note)


class Ledger:
    """An append-only list of evidence. Ids are E1, E2 … in the order of arrival, never used twice."""

    def __init__(self) -> None:
        self._records: dict[str, Evidence] = {}
        self._given = 0  # the highest number of an id so far
        self._lock = threading.Lock()

    def add(self, record: Evidence) -> str:
        """Keep a record and give back its id."""
        with self._lock:
            self._given += 1
            name = f"E{self._given}"
            self._records[name] = record
        return name

    def branch(self, *, given: int = 0) -> Ledger:
        """The same records in a ledger of its own, for what is measured later; ids up to E``given`` are taken, too."""
        branch = self.part(lambda *_: True)
        branch._given = max(self._given, given)
        return branch

    def __getitem__(self, name: str) -> Evidence:
        return self._records[name]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __len__(self) -> int:
        return len(self._records)

    def __iter__(self) -> Iterator[tuple[str, Evidence]]:
        return iter(tuple(self._records.items()))

    def part(self, wanted: Callable[[str, Evidence], bool]) -> Ledger:
        """The records that are wanted, under their own ids; nothing should be added to a part."""
        part = Ledger()
        part._records = {name: record for name, record in self if wanted(name, record)}
        return part

    def observations(self, finding: str | None = None) -> dict[str, Observation]:
        """Observations by id; of one finding when it is named."""
        return {
            name: record
            for name, record in self
            if isinstance(record, Observation) and finding in (None, record.finding)
        }

    def searches(self, finding: str | None = None) -> dict[str, Search]:
        """Searches by id; for one finding when it is named."""
        return {
            name: record for name, record in self if isinstance(record, Search) and finding in (None, record.finding)
        }


WORKING_MM = 2.0  # voxel size of the grid on which anatomy is found


class Case:
    """One open scan: its volume, what was computed from it, the masks it keeps, and its ledger."""

    def __init__(self, volume: Volume, *, prior: Case | None = None) -> None:
        self.volume = volume
        self.prior = prior
        self.ledger = Ledger()
        self.masks: dict[str, Mask] = {}  # what the report points at; written to masks/NAME.nii.gz
        self._parts: dict[str, object] = {}
        self._locks: dict[str, threading.RLock] = {}
        self._lock = threading.RLock()

    @property
    def working(self) -> Volume:
        """The volume in blocks of about 2 mm: anatomy is found on it, small things are not."""
        return self.part("working", lambda: self.volume.coarse(target_mm=WORKING_MM))  # type: ignore[return-value]

    def keep(self, mask: Mask) -> Region:
        """Keep a mask for the report and give back the region it marks.

        The mask may be on any grid that shares the volume's axes; slices are the volume's.
        """
        if mask.name in self.masks:
            raise ValueError(f"a mask named {mask.name!r} is kept already")
        self.masks[mask.name] = mask
        first, last = mask.slices
        to_volume = np.linalg.inv(self.volume.grid.affine) @ mask.grid.affine
        edges = [float(to_volume[2, 2] * k + to_volume[2, 3]) for k in (first - 0.499, last + 0.499)]
        top = self.volume.grid.shape[2] - 1
        slices = (max(0, min(top, round(edges[0]))), max(0, min(top, round(edges[1]))))
        return Region(centroid_mm=mask.centre_mm, box_mm=mask.box, slices=slices, mask=mask.name)

    def part(self, name: str, compute: Callable[[], object]) -> object:
        """The value of ``compute()``, computed once a case; safe to ask from several threads."""
        if name in self._parts:
            return self._parts[name]
        with self._lock:
            lock = self._locks.setdefault(name, threading.RLock())
        with lock:
            if name not in self._parts:
                self._parts[name] = compute()
            return self._parts[name]


T = TypeVar("T")


def once(function: Callable[[Case], T]) -> Callable[[Case], T]:
    """Make ``function(case)`` run once a case, and remember what it gave back."""
    name = f"{function.__module__}.{function.__qualname__}"

    @functools.wraps(function)
    def remembered(case: Case) -> T:
        return case.part(name, lambda: function(case))  # type: ignore[return-value]  # what compute gave

    return remembered
