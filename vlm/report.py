"""A report: sentences by section, each with the evidence it rests on and the verdict it got.

Text is made from a template with slots such as ``{E7.diameter}``, filled from the
ledger; nobody types a number. The models here are what report.json holds, and round-trip
through its JSON Schema (``app/export/report.schema.json``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from vlm.evidence import Coverage, Evidence, Ledger, Measured, Measurement, Observation, Region, Search
from vlm.findings import vocabulary

SCHEMA = "tomoscribe-report/1"
NOTICE = "Draft for research use only; not a medical device, not for diagnosis."

Author = Literal["compose", "model", "human"]
DraftKind = Literal["", "present", "several", "absent", "other"]

# Section key -> heading, in the order of a report. Keys are what report.json holds.
SECTIONS: Mapping[str, str] = {
    "technique": "Technique",
    "comparison": "Comparison",
    "lungs_and_pleura": "Lungs and pleura",
    "heart_and_vessels": "Heart and vessels",
    "mediastinum": "Mediastinum",
    "abdomen": "Abdomen",
    "bones": "Bones",
    "soft_tissues_and_devices": "Soft tissues and devices",
    "impression": "Impression",
    "to_review": "To review",
    "not_assessed": "Not assessed",
}
FINDINGS_SECTIONS = vocabulary.SECTIONS


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A sentence before it is rendered and checked: who wrote it, where it belongs, what it cites.

    ``kind`` and ``facts`` say what it states, for who would word it otherwise; without a kind it stays as it is.
    """

    section: str
    template: str  # text with slots {E7.diameter}
    cites: tuple[str, ...] = ()
    author: Author = "compose"
    kind: DraftKind = ""
    facts: Mapping[str, str] = field(default_factory=dict, compare=False)  # as the pattern names them


SLOT = re.compile(r"\{(E\d+)\.([a-z_0-9]+)(#?)\}")


def render(template: str, ledger: Ledger) -> str:
    """Fill the slots of a template from the ledger.

    ``{E7.diameter}`` is a measurement of E7, ``{E7.diameter#}`` the same without its unit, and
    ``{E7.smallest}`` the smallest size that its search finds.

    Raises:
        KeyError: when a slot names evidence or a quantity that does not exist.
    """

    def fill(slot: re.Match[str]) -> str:
        name, quantity, bare = slot.groups()
        record = ledger[name]
        if quantity == "smallest" and isinstance(record, Search):
            measurement = record.smallest
        else:
            measurement = None if isinstance(record, Coverage) else record.measured(quantity)
        if measurement is None:
            raise KeyError(f"{name} has no {quantity}")
        return str(measurement).partition(" ")[0] if bare else str(measurement)

    return SLOT.sub(fill, template)


class Record(BaseModel):
    """Base of what stands in report.json: frozen, and tolerant of keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class MeasurementRecord(Record):
    """One measured number; ``uncertainty`` is half the width of its 95 % interval, null when not known."""

    quantity: str
    value: float
    unit: str
    uncertainty: float | None = None


class RegionRecord(Record):
    """Where evidence lies: RAS millimetres; ``slices`` counts from the feet, both ends included."""

    centroid_mm: tuple[float, float, float]
    box_mm: tuple[tuple[float, float, float], tuple[float, float, float]]
    slices: tuple[int, int]
    mask: str | None = None  # file below the report's folder


class ToolRecord(Record):
    """The tool that made the evidence."""

    name: str
    version: str


class EvidenceRecord(Record):
    """One entry of the ledger, as report.json holds it."""

    kind: Literal["observation", "search", "measurement", "score", "coverage", "similar"]
    finding: str | None = None
    presence: Literal["present", "absent", "uncertain"] | None = None
    probability: float | None = None
    side: Literal["left", "right", "bilateral"] | None = None
    site: str | None = None
    measurements: tuple[MeasurementRecord, ...] = ()
    attributes: dict[str, str] = Field(default_factory=dict)
    region: RegionRecord | None = None
    tool: ToolRecord
    note: str = ""
    covered: float | None = None  # searches and coverage: 0..1
    found: int | None = None  # searches
    smallest: MeasurementRecord | None = None  # searches: the smallest size found at `sensitivity`
    sensitivity: float | None = None
    failed: tuple[str, ...] = ()  # searches: conditions that failed


class Sentence(Record):
    """A sentence as a person reads it, with its evidence and its verdict."""

    id: str
    section: str
    text: str
    cites: tuple[str, ...]
    author: Author
    verdict: Literal["supported", "limited", "unsupported", "contradicted", "neutral"]
    reason: str = ""


class Geometry(Record):
    """Shape (X, Y, Z), spacing in mm and the voxel-to-RAS affine of the volume that was read."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: tuple[tuple[float, float, float, float], ...]


class CaseRecord(Record):
    """The scan a report is about. ``id`` is a hash of the voxels; no identity of a patient."""

    id: str
    source: str
    scan: dict[str, str | float | bool | None]
    geometry: Geometry


class IntakeRecord(Record):
    """A limit or a repair on the way in."""

    code: str
    severity: str
    message: str


class CapabilityOff(Record):
    """Something the product can do that was off for this report, and how to turn it on."""

    capability: str
    reason: str
    remedy: str


class Report(Record):
    """A whole report: what ``report.json`` holds."""

    schema_: str = Field(default=SCHEMA, alias="schema")
    notice: str = NOTICE
    case: CaseRecord
    intake: tuple[IntakeRecord, ...] = ()
    capabilities_off: tuple[CapabilityOff, ...] = ()
    sentences: tuple[Sentence, ...]
    evidence: dict[str, EvidenceRecord]
    provenance: dict[str, object]
    timings_s: dict[str, float] = Field(default_factory=dict)

    def section(self, key: str) -> tuple[Sentence, ...]:
        """The sentences of one section, in reading order."""
        return tuple(sentence for sentence in self.sentences if sentence.section == key)


def evidence_record(record: Evidence, *, version: str, mask_file: str | None) -> EvidenceRecord:
    """An entry of the ledger in the form that report.json holds.

    Args:
        record: the evidence.
        version: version of the tool that made it.
        mask_file: where the region's mask lies below the report's folder, or None.
    """
    shared: dict[str, Any] = {  # Any: pydantic checks each field when the record is built
        "side": record.side,
        "site": record.site,
        "region": None if record.region is None else _region(record.region, mask_file),
        "tool": ToolRecord(name=record.tool, version=version),
        "note": record.note,
    }
    if isinstance(record, Coverage):
        return EvidenceRecord(kind="coverage", covered=record.covered, **shared)
    shared["measurements"] = tuple(_measurement(m) for m in record.measurements)
    if isinstance(record, Measured):
        return EvidenceRecord(kind="measurement", **shared)
    shared["finding"] = record.finding
    shared["attributes"] = dict(record.attributes)
    if isinstance(record, Observation):
        return EvidenceRecord(kind="observation", presence=record.presence, probability=record.probability, **shared)
    return EvidenceRecord(
        kind="search",
        presence="absent" if record.denies and record.found == 0 else None,
        covered=record.covered,
        found=record.found,
        smallest=None if record.smallest is None else _measurement(record.smallest),
        sensitivity=record.sensitivity,
        failed=record.failed,
        **shared,
    )


def _measurement(measurement: Measurement) -> MeasurementRecord:
    return MeasurementRecord(
        quantity=measurement.quantity,
        value=round(measurement.value, 4),
        unit=measurement.unit,
        uncertainty=measurement.plus_minus,
    )


def _region(region: Region, mask_file: str | None) -> RegionRecord:
    low, high = region.box_mm.low_mm, region.box_mm.high_mm
    return RegionRecord(
        centroid_mm=_tenths(region.centroid_mm),
        box_mm=(_tenths(low), _tenths(high)),
        slices=region.slices,
        mask=mask_file,
    )


def _tenths(point: tuple[float, float, float]) -> tuple[float, float, float]:
    return round(point[0], 1), round(point[1], 1), round(point[2], 1)
