"""What a path holds and what would be read of it: the answer of ``tomoscribe info``.

Filled from headers alone. Holds numbers and closed words; series are named by pseudonym,
so it can be shown, logged and kept.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from vlm.ct.intake import Note
from vlm.ct.volume import Grid


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NoteRecord(_Record):
    """A Note as it is written out."""

    code: str
    severity: Literal["refuse", "limit", "repair"]
    message: str
    limits: tuple[str, ...] = ()

    @classmethod
    def of(cls, note: Note) -> NoteRecord:
        """From a Note."""
        return cls(code=note.code, severity=note.severity, message=note.message, limits=note.limits)


class Geometry(_Record):
    """A grid as it is written out; affine from voxel index to RAS mm, row by row."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: tuple[tuple[float, float, float, float], ...]

    @classmethod
    def of(cls, grid: Grid) -> Geometry:
        """From a Grid."""
        rows = tuple((float(r[0]), float(r[1]), float(r[2]), float(r[3])) for r in grid.affine)
        return cls(shape=grid.shape, spacing_mm=grid.spacing_mm, affine=rows)


class SeriesRecord(_Record):
    """One series, or one phase of it."""

    series: str  # pseudonym; --series takes it, or the UID
    patient: int  # 1, 2 … within this input
    kind: str  # "CT"
    chosen: bool
    verdict: str  # "read", "could be read", or the code that speaks against it
    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float] | None = None  # between columns, between rows, between slices
    extent_mm: tuple[float, float, float] | None = None
    orientation: str = ""  # where columns, rows and slices run, such as "LPS"
    plane: Literal["axial", "coronal", "sagittal", "oblique", ""] = ""
    tilt_degrees: float = 0.0
    kernel: Literal["soft", "sharp", "unknown"] = "unknown"
    contrast: bool | None = None
    phase: bool = False
    lossy: bool = False
    notes: tuple[NoteRecord, ...] = ()


class SkippedRecord(_Record):
    """Files that were not read, by kind."""

    kind: str
    files: int


class RefusalRecord(_Record):
    """Why nothing would be read, or why a file was not."""

    code: str
    message: str
    files: int = 1


class Inventory(_Record):
    """What is in a path, what would be read, and why."""

    source: Literal["dicom", "nifti"]
    series: tuple[SeriesRecord, ...] = ()
    chosen: str | None = None
    why: str = ""
    skipped: tuple[SkippedRecord, ...] = ()
    refused_files: tuple[RefusalRecord, ...] = ()
    intake: tuple[NoteRecord, ...] = ()
    refusal: RefusalRecord | None = None
    geometry: Geometry | None = None

    def to_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return self.model_dump(mode="json")
