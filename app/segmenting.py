"""``tomoscribe segment``: the structures that were found, as one label map on the scan's own grid."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from app.export import check_folder, staged
from app.export.masks import write_labels
from app.running import silent
from vlm.anatomy.engines.registry import named
from vlm.anatomy.lobes import NAMES, lobes
from vlm.anatomy.structures import Structure, all_structures, use
from vlm.ct import Grid, ReadScan, read
from vlm.ct.volume import Mask
from vlm.evidence import Case

LABELS, LABEL_NAMES, TOLD = "labels.nii.gz", "names.json", "structures.json"
LOBES, LOBE_NAMES = "lobes.nii.gz", "lobes.json"
WRITTEN = (LABELS, LABEL_NAMES, TOLD, LOBES, LOBE_NAMES)
MOST_LABELS = 255


class Told(TypedDict):
    """One structure: whether it is there, who says so, and what may be made of it."""

    state: str
    label: int | None  # its number in labels.nii.gz
    ml: float | None  # of what is in view
    engine: str
    quality: float | None  # mean Dice of the engine on patients that it never saw
    measurable: bool
    reason: str


class Segmented(TypedDict):
    """What was written: volumes in mL by structure, and where."""

    structures: dict[str, float]
    missing: dict[str, str]
    told: dict[str, Told]
    labels: str
    names: str
    lobes: list[str]  # in lobes.nii.gz


def segment_scan(
    path: Path,
    out: Path,
    *,
    series: str | None = None,
    anatomy: str | None = None,
    progress: Callable[[str], None] = silent,
) -> Segmented:
    """Find every structure and write ``labels.nii.gz``, ``names.json`` and ``structures.json`` below ``out``.

    Label numbers start at 1 in the order of ``names.json``; where two structures claim a voxel
    the later one has it. The lobes that fissures tell lie within the lungs, and so in a map of their own,
    ``lobes.nii.gz`` with ``lobes.json``; both are empty where none is believed, or the engine in use outlines its own.
    Arrays have the axes of the file that was read.

    Args:
        path: DICOM folder or file, zip, or NIfTI.
        out: the folder to write to.
        series: UID or pseudonym of the series to read where there are several.
        anatomy: the engine to prefer; None: the best measured one for each structure.
        progress: called with the name of each step.

    Raises:
        IntakeError: the input is refused.
        UsageError: the folder cannot be written, or the engine cannot run.
    """
    check_folder(out)
    engine = named(anatomy) if anatomy else None
    progress("read")
    scan = read(path, series=series)
    case = Case(scan.volume)
    if engine is not None:
        use(case, engine)
    progress("anatomy")
    found = all_structures(case)
    labels, numbers = painted(found, scan.volume.grid)
    told = {seen.name: _told(seen, numbers.get(seen.name)) for seen in found}
    outlined = {NAMES[seen.name][0] for seen in found if seen.vouched and seen.name in NAMES}
    lobar = [_by_fissures(mask) for name, mask in lobes(case).items() if NAMES[name][0] not in outlined]
    lobe_map, lobe_numbers = painted(lobar, scan.volume.grid)
    progress("write")
    with staged(out, WRITTEN) as staging:
        for file, voxels in ((LABELS, labels), (LOBES, lobe_map)):
            write_labels(staging / file, voxels, scan.volume.grid, axes=file_axes(scan))
        names, lobe_names = ({str(n): name for name, n in own.items()} for own in (numbers, lobe_numbers))
        for file, content in ((LABEL_NAMES, names), (TOLD, told), (LOBE_NAMES, lobe_names)):
            (staging / file).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return Segmented(
        structures={name: told[name]["ml"] or 0.0 for name in numbers},
        missing={seen.name: seen.reason for seen in found if seen.mask is None},
        told=told,
        labels=str(out / LABELS),
        names=str(out / LABEL_NAMES),
        lobes=list(lobe_numbers),
    )


def painted(found: Sequence[Structure], grid: Grid) -> tuple[NDArray[np.uint8], Mapping[str, int]]:
    """(X, Y, Z) label map and number by name; a user's own structures lie over others, parts over their whole.

    A structure of which nothing is left in view has no number.
    """
    drawn = sorted((seen for seen in found if seen.mask is not None), key=lambda seen: seen.vouched)[:MOST_LABELS]
    labels = np.zeros(grid.shape, dtype=np.uint8, order="F")
    for number, seen in enumerate(drawn, start=1):
        labels[seen.mask.on(grid).voxels] = number  # type: ignore[union-attr]  # drawn ones have masks
    count = np.bincount(labels.ravel(order="K"), minlength=len(drawn) + 1)
    kept = [number for number in range(1, len(drawn) + 1) if count[number]]
    renumbered = np.zeros(len(drawn) + 1, dtype=np.uint8)
    renumbered[kept] = np.arange(1, len(kept) + 1)
    return renumbered[labels], {drawn[old - 1].name: n for n, old in enumerate(kept, start=1)}


def _by_fissures(mask: Mask) -> Structure:
    return Structure(name=mask.name, state="there", mask=mask, engine="rules")


def _told(seen: Structure, number: int | None) -> Told:
    ml = None if seen.mask is None else round(seen.mask.volume_ml, 1)
    return Told(
        state=seen.state, label=number, ml=ml, engine=seen.engine, quality=seen.quality, measurable=seen.measurable,
        reason=seen.reason,
    )  # fmt: skip


def file_axes(scan: ReadScan) -> str:
    """Where the axes of the file that was read run, such as "LPS"."""
    return next((series.orientation for series in scan.inventory.series if series.chosen), "RAS")
