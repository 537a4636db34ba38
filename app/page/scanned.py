"""A scan as the page keeps it: on screen while its tools still work, beside another as a prior, cut into slices.

Written by the process that reads, as soon as the scan is in its memory, in RAS millimetres:

    ct.nii               int16 HU, not packed: slices are cut from it without loading it
    preview.nii          the same in blocks of about 3 mm, on screen before the scan is
    scan.json            how the scan was made: numbers and closed lists, and its day, for the order of two scans
    draft.json           the sentences that stand so far: those of sections whose tools have ended, at last all
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, TypeAdapter

from vlm.ct import Grid, Point, Scan, Volume
from vlm.report import Sentence

SCAN_FILES = ("ct.nii", "preview.nii", "scan.json")
PREVIEW_MM = 3.0


def write_scan(folder: Path, volume: Volume) -> None:
    """Write the scan's files into ``folder``; the last one, scan.json, says that they are whole."""
    folder.mkdir(parents=True, exist_ok=True)
    _write_volume(folder / "preview.nii", volume.coarse(target_mm=PREVIEW_MM))
    _write_volume(folder / "ct.nii", volume)
    (folder / "scan.json").write_bytes(TypeAdapter(Scan).dump_json(volume.scan))


def is_written(folder: Path) -> bool:
    """Whether a scan stands in ``folder``, whole."""
    return (folder / "scan.json").is_file()


class Draft(BaseModel):
    """What a reading that is under way can say."""

    sentences: tuple[Sentence, ...]
    waiting: tuple[str, ...] = ()  # sections that are still looked for; the impression waits with them


def write_draft(folder: Path, draft: Draft) -> None:
    """Put what can be said beside the scan, whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    new = folder / ".draft"
    new.write_text(draft.model_dump_json(), encoding="utf-8")
    new.replace(folder / "draft.json")


def drafted(folder: Path) -> Draft | None:
    """What a reading that is under way can say, once it can."""
    path = folder / "draft.json"
    return Draft.model_validate_json(path.read_text(encoding="utf-8")) if path.is_file() else None


def geometry_of(scanned: Scanned) -> dict[str, Any]:
    """What a viewer must know of a grid."""
    grid = scanned.grid
    return {
        "shape": list(grid.shape),
        "spacing_mm": [round(step, 6) for step in grid.spacing_mm],
        "affine": [[float(value) for value in row] for row in grid.affine],
    }


def kept_volume(folder: Path) -> Volume:
    """The scan in ``folder``, as it was read.

    Raises:
        ValueError: its files are damaged.
    """
    scanned = Scanned(folder)
    scan = TypeAdapter(Scan).validate_json((folder / "scan.json").read_bytes())
    return Volume(np.asfortranarray(scanned.hu), scanned.grid, scan)


def _write_volume(path: Path, volume: Volume) -> None:
    """Write HU as an unpacked NIfTI-1 file, z slowest."""
    with path.open("wb") as stream:
        _image(volume).to_stream(stream)


def nifti_of(volume: Volume) -> bytes:
    """HU as an unpacked NIfTI-1 file, z slowest."""
    return bytes(_image(volume).to_bytes())


def _image(volume: Volume) -> nibabel.Nifti1Image:
    image = nibabel.Nifti1Image(volume.hu, volume.grid.affine, dtype=np.int16)
    image.header.set_xyzt_units("mm")
    image.header.set_slope_inter(1, 0)
    image.set_qform(volume.grid.affine, code=1)
    image.set_sform(volume.grid.affine, code=1)
    return image


@dataclass(frozen=True, slots=True, kw_only=True)
class Spot:
    """What lies at a point: HU, the masks of evidence there, and the structure."""

    hu: int | None  # None outside the scan
    labels: tuple[int, ...]  # of the masks there, the topmost first
    structure: str


class Scanned:
    """A scan on disk; nothing has been found in it yet."""

    def __init__(self, folder: Path) -> None:
        """Open ``folder`` as ``write_scan`` wrote it."""
        self.folder = folder
        self.legend: Sequence[dict[str, Any]] = ()
        self.stacks: Sequence[Sequence[int]] = ()  # labels of the legend, the lowest first

    @functools.cached_property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        header = nibabel.load(self.folder / "ct.nii")
        x, y, z = header.shape
        return Grid((x, y, z), np.asarray(header.affine, dtype=np.float64))

    @functools.cached_property
    def hu(self) -> NDArray[np.int16]:
        """(X, Y, Z) int16 HU, on disk."""
        return self.array("ct.nii")

    @functools.cached_property
    def labels(self) -> NDArray[np.uint8]:
        """(X, Y, Z) uint8, numbers of the stacks; zeros that take no memory."""
        return np.broadcast_to(np.uint8(0), self.grid.shape)

    def array(self, name: str) -> NDArray[Any]:
        """(X, Y, Z) voxels of one of the folder's files.

        Raises:
            ValueError: it has another shape than the scan.
        """
        array: NDArray[Any] = np.asanyarray(nibabel.load(self.folder / name).dataobj)
        if array.shape != self.grid.shape:
            raise ValueError(f"{name} is {array.shape}, the scan is {self.grid.shape}")
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
            return Spot(hu=None, labels=(), structure="")
        number = int(self.labels[index])
        labels = tuple(reversed(self.stacks[number - 1])) if number else ()
        return Spot(hu=int(self.hu[index]), labels=labels, structure=self.structure_at(index))

    def evidence_at(self, spot: Spot) -> list[str]:
        """Ids of the evidence whose masks lie at a spot, the topmost first."""
        entries = {entry["label"]: entry for entry in self.legend}
        return [name for label in spot.labels for name in entries[label]["evidence"]]

    def structure_at(self, _: tuple[int, int, int]) -> str:
        """The structure at a voxel; none is known yet."""
        return ""

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
        """Mean, spread, least and most HU in a box with corners in RAS mm, and its size; None outside the scan.

        A box that is one slice thick has an area, ``mm2``, too: that of its voxels.
        """
        block = self.block(low_mm, high_mm)
        if block is None:
            return None
        values = self.hu[block].astype(np.float64)
        found = {
            "mean_hu": round(float(values.mean()), 1),
            "sd_hu": round(float(values.std()), 1),
            "least_hu": float(values.min()),
            "most_hu": float(values.max()),
            "ml": round(values.size * self.grid.voxel_ml, 2),
        }
        if 1 in values.shape:
            thin = self.grid.spacing_mm[values.shape.index(1)]
            found["mm2"] = round(values.size * self.grid.voxel_ml * 1000.0 / thin, 1)
        return found
