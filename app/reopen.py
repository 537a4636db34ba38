"""A finished report opened again: the ledger back from report.json, voxels from the files beside it.

What comes back is what the checker needs to judge a sentence that a person types, and what the
viewer needs to say what lies under the crosshair. Nothing is read anew.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.page.pictures import by_label, read_json
from app.page.scanned import Scanned, geometry_of
from vlm.ct import Box, Grid
from vlm.evidence import Coverage, Evidence, Ledger, Measured, Measurement, Observation, Region, Search
from vlm.grounding import Context, Prior
from vlm.report import EvidenceRecord, MeasurementRecord, RegionRecord, Report, evidence_record


def ledger_of(report: Report) -> Ledger:
    """The ledger that a report was written from; ids are the same.

    Raises:
        ValueError: the report's evidence is not E1, E2 … in order: it was edited by hand.
    """
    ledger = Ledger()
    for name, record in report.evidence.items():
        if record.kind == "similar":  # stands after the ledger, and carries nothing
            continue
        if ledger.add(evidence_of(record)) != name:
            raise ValueError(f"evidence {name} is out of order")
    return ledger


def write_prior(folder: Path, prior: Prior | None) -> None:
    """Keep what a comparison found, so that the checker knows it when a sentence is edited; nothing without one."""
    if prior is None:
        return

    def kept(seen: Observation | None) -> dict[str, Any] | None:
        record = None if seen is None else evidence_record(seen, version="", mask_file=None)
        return None if record is None else record.model_dump(mode="json", by_alias=True)

    told = {
        "matches": {name: kept(old) for name, old in prior.matches.items()},
        "resolved": [kept(old) for old in prior.resolved],
    }
    (folder / "prior.json").write_text(json.dumps(told), encoding="utf-8")


def prior_of(folder: Path) -> Prior | None:
    """What ``write_prior`` kept."""
    if not (folder / "prior.json").is_file():
        return None
    told = read_json(folder / "prior.json")

    def seen(record: Any) -> Observation:
        found = evidence_of(EvidenceRecord.model_validate(record))
        if not isinstance(found, Observation):
            raise ValueError("prior.json holds what is no observation")
        return found

    matches = {name: None if old is None else seen(old) for name, old in told["matches"].items()}
    return Prior(matches=matches, resolved=tuple(seen(old) for old in told["resolved"]))


def context_of(report: Report, prior: Prior | None = None) -> Context:
    """What the checker needs beside the ledger: the true numbers of the technique, and the prior."""
    geometry = report.case.geometry
    numbers = ((float(geometry.shape[2]), ""), (float(f"{geometry.spacing_mm[2]:.3g}"), "mm"))
    return Context(technique=numbers, prior=prior)


def evidence_of(record: EvidenceRecord) -> Evidence:
    """An entry of report.json as the ledger holds it."""
    shared: dict[str, Any] = {  # Any: the dataclasses check what they are given
        "tool": record.tool.name, "side": record.side, "note": record.note,
        "region": None if record.region is None else _region(record.region),
    }  # fmt: skip
    if record.kind == "coverage":
        return Coverage(site=record.site or "", covered=record.covered or 0.0, **shared)
    shared["measurements"] = tuple(_measurement(m) for m in record.measurements)
    if record.kind == "measurement":
        return Measured(site=record.site or "", **shared)
    shared |= {"finding": record.finding, "site": record.site, "attributes": record.attributes}
    if record.kind == "observation":
        return Observation(presence=record.presence or "uncertain", probability=record.probability, **shared)
    if record.kind != "search":
        raise ValueError(f"evidence of kind {record.kind!r} cannot be opened by this version")
    return Search(
        covered=record.covered or 0.0,
        found=record.found or 0,
        smallest=None if record.smallest is None else _measurement(record.smallest),
        sensitivity=record.sensitivity,
        failed=record.failed,
        **shared,
    )


def _measurement(record: MeasurementRecord) -> Measurement:
    return Measurement(quantity=record.quantity, value=record.value, plus_minus=record.uncertainty)


def _region(record: RegionRecord) -> Region:
    low, high = record.box_mm
    return Region(
        centroid_mm=record.centroid_mm,
        box_mm=Box(low_mm=low, high_mm=high),
        slices=record.slices,
        mask=Path(record.mask).name.removesuffix(".nii.gz") if record.mask else None,
    )


class Opened(Scanned):
    """A finished reading on disk."""

    def __init__(self, folder: Path) -> None:
        """Open ``folder`` as ``app.child`` wrote it.

        Raises:
            ValueError: what stands there is damaged or of another version.
        """
        super().__init__(folder)
        self.report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
        self.ledger = ledger_of(self.report)
        self.context = context_of(self.report, prior_of(folder))
        self.legend = read_json(folder / "legend.json")
        stacks = folder / "stacks.json"  # readings made before it have one mask at each voxel
        self.stacks = read_json(stacks) if stacks.is_file() else [[entry["label"]] for entry in self.legend]
        self.structures: list[dict[str, Any]] = read_json(folder / "structures.json")

    @functools.cached_property
    def grid(self) -> Grid:
        """Where the voxels lie, as the report says."""
        geometry = self.report.case.geometry
        return Grid(geometry.shape, np.array(geometry.affine))

    @functools.cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(X, Y, Z) uint8, numbers of the stacks."""
        return self.array("labels.nii.gz")

    @functools.cached_property
    def structure_labels(self) -> NDArray[np.uint8]:
        """(X, Y, Z) uint8, numbers of the structures."""
        return self.array("structures.nii.gz")

    def structure_at(self, index: tuple[int, int, int]) -> str:
        """The structure at a voxel, in words."""
        name = by_label(self.structures).get(int(self.structure_labels[index]), {}).get("name", "")
        return str(name).replace("_", " ")


def summary_of(opened: Opened) -> Mapping[str, object]:
    """What the page shows of a case before anything is asked of it."""
    return {
        **geometry_of(opened),
        "scan": dict(opened.report.case.scan),
        "legend": opened.legend,
        "stacks": opened.stacks,
        "structures": opened.structures,
    }
