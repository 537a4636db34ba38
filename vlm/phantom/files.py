"""Files of a scan whose truth is known: the scan itself, and beside it masks, labels and truth.json.

``Place(scan)`` says where each goes: ``OUT.truth.json`` beside the folder ``OUT`` of a single scan,
``truth.json`` beside the folder ``scan`` of a case in a cohort. The same content gives the same bytes.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Grid, Mask, Volume
from vlm.errors import UsageError
from vlm.evidence import QUANTITIES
from vlm.phantom.calcium import perfect_score
from vlm.phantom.chest import Truth
from vlm.phantom.dicom_series import write_dicom_series

FORMATS = ("dicom", "nifti")
PARTS = ("labels.nii.gz", "labels.json", "findings.nii.gz", "findings.json")
GZIP_LEVEL = 3  # half the time of the usual 6 for a tenth more bytes
MASKS = 32  # bits of a voxel


@dataclass(frozen=True, slots=True)
class Place:
    """Where a scan goes, and what lies beside it."""

    scan: Path  # a folder
    prefix: str

    @classmethod
    def of(cls, out: Path) -> Place:
        """A single scan in ``out``: its truth is ``out.truth.json``."""
        return cls(out, f"{out.name}.")

    def beside(self, name: str) -> Path:
        """A file beside the scan."""
        return self.scan.with_name(self.prefix + name)

    @property
    def truth(self) -> Path:
        return self.beside("truth.json")

    def check(self, file_format: str) -> None:
        """Refuse an unknown format, and a folder with files that are no sample of ours.

        Raises:
            UsageError: nothing was touched.
        """
        if file_format not in FORMATS:
            raise UsageError(f"E_USAGE: --format is {file_format!r}, expected one of {', '.join(FORMATS)}.")
        if self.scan.is_dir() and any(self.scan.iterdir()) and not self.truth.exists():
            raise UsageError(
                "E_USAGE: OUT holds files that are no sample, expected an empty folder. Name a new folder."
            )

    def clear(self) -> None:
        """Remove an older sample of ours, whole."""
        for path in (*self.scan.glob("IM*.dcm"), self.scan / "ct.nii.gz", *map(self.beside, PARTS)):
            path.unlink(missing_ok=True)
        self.scan.mkdir(parents=True, exist_ok=True)


def save_scan(volume: Volume, place: Place, *, seed: int, file_format: str, visit: int = 0) -> None:
    """Write a volume as slices or as one NIfTI."""
    if file_format == "nifti":
        save(volume.grid, volume.hu, place.scan / "ct.nii.gz")
    else:
        write_dicom_series(volume, place.scan, seed=seed, visit=visit)


def save_masks(masks: Mapping[str, Mask], place: Place) -> None:
    """One bit a finding in one NIfTI beside the series; the bits' names in a JSON.

    Raises:
        UsageError: there are more findings than bits.
    """
    if not masks:
        return
    if len(masks) > MASKS:
        raise UsageError(f"E_USAGE: {len(masks)} masks of findings, expected at most {MASKS}. Ask for fewer.")
    grid = next(iter(masks.values())).grid
    bits = np.zeros(grid.shape, dtype=np.uint32, order="F")
    for bit, mask in enumerate(masks.values()):
        bits |= mask.voxels.astype(np.uint32) << np.uint32(bit)
    save(grid, bits, place.beside("findings.nii.gz"))
    save_json({str(1 << bit): name for bit, name in enumerate(masks)}, place.beside("findings.json"))


def load_masks(place: Place) -> dict[str, Mask]:
    """The masks of findings that lie beside a scan, by name; none where nothing was drawn."""
    import nibabel

    names = place.beside("findings.json")
    if not names.is_file():
        return {}
    image = nibabel.load(place.beside("findings.nii.gz"))
    bits, grid = np.asarray(image.dataobj), Grid(image.shape, image.affine)
    known = json.loads(names.read_text(encoding="utf-8"))
    return {name: Mask(name, (bits & np.uint32(bit)) > 0, grid) for bit, name in known.items()}


def record(truth: Truth, mask: Mask | None) -> dict[str, Any]:
    """What truth.json says of one finding: side, site, size, and where its voxels lie."""
    out = asdict(truth) | {"unit": QUANTITIES[truth.quantity][0], "attributes": list(truth.attributes)}
    if truth.finding.endswith("calcification"):  # tools tell a score
        out["graded"] = {"quantity": "score", "value": perfect_score(1000 * truth.value)}
    if mask is not None and mask:
        box = mask.box
        out["volume_ml"] = round(mask.volume_ml, 4)
        out["region"] = {
            "centroid_mm": _rounded(mask.centre_mm), "low_mm": _rounded(box.low_mm), "high_mm": _rounded(box.high_mm),
            "slices": list(mask.slices),
        }  # fmt: skip
    return out


def records(truth: Iterable[Truth], masks: Mapping[str, Mask]) -> list[dict[str, Any]]:
    """The entries of truth.json, in the order in which they were drawn."""
    return [record(entry, masks.get(entry.mask)) for entry in truth]


def _rounded(point: Sequence[float]) -> list[float]:
    return [round(float(value), 3) for value in point]


def save(grid: Grid, voxels: NDArray[np.generic], path: Path) -> None:
    """Write (X, Y, Z) voxels as gzipped NIfTI, without the time or the name that gzip would note."""
    import nibabel

    image = nibabel.Nifti1Image(voxels, grid.affine)
    image.header.set_xyzt_units("mm")
    with path.open("wb") as raw, gzip.GzipFile("", "wb", compresslevel=GZIP_LEVEL, fileobj=raw, mtime=0) as packed:
        image.to_stream(packed)


def save_json(content: Mapping[str, object], path: Path) -> None:
    """Write a JSON document."""
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")
