"""``tomoscribe segment``: the structures that were found, as one label map on the scan's own grid."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import numpy as np

from app.export import check_folder, staged
from app.export.masks import write_labels
from app.running import silent
from vlm.anatomy.structures import structures
from vlm.ct import ReadScan, read
from vlm.evidence import Case

WRITTEN = ("labels.nii.gz", "names.json")


class Segmented(TypedDict):
    """What was written: volumes in mL by structure, and where."""

    structures: dict[str, float]
    missing: dict[str, str]
    labels: str
    names: str


def segment_scan(
    path: Path, out: Path, *, series: str | None = None, progress: Callable[[str], None] = silent
) -> Segmented:
    """Find every structure and write ``labels.nii.gz`` and ``names.json`` below ``out``.

    Label numbers start at 1 in the order of ``names.json``; where two structures claim a voxel
    the later one has it. The array has the axes of the file that was read.

    Raises:
        IntakeError: the input is refused.
        UsageError: the folder cannot be written.
    """
    check_folder(out)
    progress("read")
    scan = read(path, series=series)
    case = Case(scan.volume)
    progress("anatomy")
    found = structures(case)
    labels = np.zeros(scan.volume.grid.shape, dtype=np.uint8, order="F")
    names: dict[str, str] = {}
    for mask in found.masks:
        number = len(names) + 1
        labels[mask.on(scan.volume.grid).voxels] = number
        names[str(number)] = mask.name
    progress("write")
    with staged(out, WRITTEN) as staging:
        write_labels(staging / WRITTEN[0], labels, scan.volume.grid, axes=file_axes(scan))
        (staging / WRITTEN[1]).write_text(json.dumps(names, indent=1) + "\n", encoding="utf-8")
    return Segmented(
        structures={mask.name: round(mask.volume_ml, 1) for mask in found.masks},
        missing=dict(found.missing),
        labels=str(out / "labels.nii.gz"),
        names=str(out / "names.json"),
    )


def file_axes(scan: ReadScan) -> str:
    """Where the axes of the file that was read run, such as "LPS"."""
    return next((series.orientation for series in scan.inventory.series if series.chosen), "RAS")
