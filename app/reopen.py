"""A finished report opened again: the ledger back from report.json, voxels from the files beside it.

What comes back is what the checker needs to judge a sentence that a person types, and what the
viewer needs to say what lies under the crosshair. Nothing is read anew.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from app.page.pictures import by_label, read_json
from vlm.ct import Box, Grid, Point
from vlm.evidence import Coverage, Evidence, Ledger, Measured, Measurement, Observation, Region, Search
from vlm.grounding import Context
from vlm.report import EvidenceRecord, MeasurementRecord, RegionRecord, Report


def ledger_of(report: Report) -> Ledger:
    """The ledger that a report was written from; ids are the same.

    Raises:
        ValueError: the report's evidence is not E1, E2 … in order: it was edited by hand.
    """
    ledger = Ledger()
    for name, record in report.evidence.items():
        if ledger.add(_evidence(record)) != name:
            raise ValueError(f"evidence {name} is out of order")
    return ledger


def context_of(report: Report) -> Context:
    """What the checker needs beside the ledger: the true numbers of the technique."""
    geometry = report.case.geometry
    numbers = ((float(geometry.shape[2]), ""), (float(f"{geometry.spacing_mm[2]:.3g}"), "mm"))
    return Context(technique=numbers)


def _evidence(record: EvidenceRecord) -> Evidence:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """What lies at a point: HU, labels of the evidence there and of the structure."""

    hu: int | None  # None outside the scan
    label: int
    structure: str


class Opened:
    """A finished reading on disk."""

    def __init__(self, folder: Path) -> None:
        """Open ``folder`` as ``app.child`` wrote it.

        Raises:
            ValueError: what stands there is damaged or of another version.
        """
        self.folder = folder
        self.report = Report.model_validate_json((folder / "report.json").read_text(encoding="utf-8"))
        self.ledger = ledger_of(self.report)
        self.context = context_of(self.report)
        self.legend: list[dict[str, Any]] = read_json(folder / "legend.json")
        self.structures: list[dict[str, Any]] = read_json(folder / "structures.json")
        geometry = self.report.case.geometry
        self.grid = Grid(geometry.shape, np.array(geometry.affine))

    @functools.cached_property
    def hu(self) -> NDArray[np.int16]:
        """(X, Y, Z) int16 HU, on disk."""
        return self._array("ct.nii")

    @functools.cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(X, Y, Z) uint8, numbers of the legend."""
        return self._array("labels.nii.gz")

    @functools.cached_property
    def structure_labels(self) -> NDArray[np.uint8]:
        """(X, Y, Z) uint8, numbers of the structures."""
        return self._array("structures.nii.gz")

    def _array(self, name: str) -> NDArray[Any]:
        array: NDArray[Any] = np.asanyarray(nibabel.load(self.folder / name).dataobj)
        if array.shape != self.grid.shape:
            raise ValueError(f"{name} is {array.shape}, the report says {self.grid.shape}")
        return array

    def index_of(self, mm: Point) -> tuple[int, int, int] | None:
        """The voxel at a point in RAS mm, or None outside the scan."""
        i, j, k = (round(float(value)) for value in self.grid.to_ijk(mm))
        inside = all(0 <= at < n for at, n in zip((i, j, k), self.grid.shape, strict=True))
        return (i, j, k) if inside else None

    def at(self, mm: Point) -> Spot:
        """What lies at a point in RAS mm."""
        index = self.index_of(mm)
        if index is None:
            return Spot(hu=None, label=0, structure="")
        names = by_label(self.structures)
        structure = names.get(int(self.structure_labels[index]), {}).get("name", "")
        return Spot(hu=int(self.hu[index]), label=int(self.labels[index]), structure=str(structure).replace("_", " "))

    def block(self, low_mm: Point, high_mm: Point) -> tuple[slice, slice, slice] | None:
        """Index slices of the voxels in a box with corners in RAS mm; None outside the scan."""
        corners = self.grid.to_ijk(np.array([low_mm, high_mm]))
        low = np.maximum(np.floor(corners.min(axis=0) + 0.5).astype(int), 0)
        high = np.minimum(np.floor(corners.max(axis=0) + 0.5).astype(int), np.array(self.grid.shape) - 1)
        if (high < low).any():
            return None
        x, y, z = (slice(int(a), int(b) + 1) for a, b in zip(low, high, strict=True))
        return x, y, z

    def region(self, low_mm: Point, high_mm: Point) -> dict[str, float] | None:
        """Mean, spread, least and most HU in a box with corners in RAS mm, and its size; None outside the scan."""
        block = self.block(low_mm, high_mm)
        if block is None:
            return None
        values = self.hu[block].astype(np.float64)
        return {
            "mean_hu": round(float(values.mean()), 1),
            "sd_hu": round(float(values.std()), 1),
            "least_hu": float(values.min()),
            "most_hu": float(values.max()),
            "ml": round(values.size * self.grid.voxel_ml, 2),
        }

    def evidence_in(self, low_mm: Point, high_mm: Point) -> tuple[str, ...]:
        """Ids of the evidence whose masks reach into a box with corners in RAS mm."""
        block = self.block(low_mm, high_mm)
        labels = set() if block is None else set(np.unique(self.labels[block]).tolist())
        return tuple(name for entry in self.legend if entry["label"] in labels for name in entry["evidence"])


def summary_of(opened: Opened) -> Mapping[str, object]:
    """What the page shows of a case before anything is asked of it."""
    report = opened.report
    return {
        "shape": list(opened.grid.shape),
        "spacing_mm": list(report.case.geometry.spacing_mm),
        "affine": [list(row) for row in report.case.geometry.affine],
        "scan": dict(report.case.scan),
        "legend": opened.legend,
        "structures": opened.structures,
    }
