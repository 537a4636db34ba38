"""A case opened for a conversation: a scan that was just read, a folder that ``read`` wrote, or a case of the page.

Voxels and masks are loaded when the first look asks for them. What is not at hand says why, and how to have it.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TypeVar

from app.page.scanned import kept_volume
from app.reopen import Opened
from vlm.anatomy.structures import structures
from vlm.ct import Grid, Mask, Point
from vlm.evidence import Case, Ledger
from vlm.grounding import Context
from vlm.language.scene import OpenCase
from vlm.report import Report

T = TypeVar("T")
REPORT_ONLY = "a report was opened, not its scan: give the scan itself to measure in it"
WHY_OFF: Mapping[str, str] = {
    "words": "no image encoder that knows words is open: see tomoscribe query --encoder",
    "heads": "no adapter with heads is open: see tomoscribe query",
    "similar": "no case library is open: see tomoscribe index add, and tomoscribe search",
}


def open_read(report: Report, ledger: Ledger, context: Context, case: Case) -> OpenCase:
    """A scan that was read in this process: its voxels and masks are in memory."""
    return OpenCase(
        ledger=ledger.branch(given=len(report.evidence)), context=context, sentences=report.sentences,
        volume=lambda: case.volume, structures=once(lambda: {mask.name: mask for mask in structures(case).masks}),
        marks=lambda: case.masks, why_off=WHY_OFF,
    )  # fmt: skip


def open_report(report: Report, ledger: Ledger, context: Context, folder: Path) -> OpenCase:
    """A folder that ``read`` wrote: masks are in its files, voxels are not."""
    names = {r.region.mask for _, r in ledger if r.region is not None and r.region.mask}
    return OpenCase(
        ledger=ledger.branch(given=len(report.evidence)), context=context, sentences=report.sentences,
        marks=once(lambda: kept_masks(folder / "masks", names)),
        why_off={**WHY_OFF, "volume": REPORT_ONLY, "structures": REPORT_ONLY},
    )  # fmt: skip


def open_page(opened: Opened) -> OpenCase:
    """A case of the page: everything is in its folder."""
    return OpenCase(
        ledger=opened.ledger.branch(given=len(opened.report.evidence)), context=opened.context,
        sentences=opened.report.sentences, volume=once(lambda: kept_volume(opened.folder)),
        structures=once(lambda: label_masks(opened)), evidence_at=lambda mm: evidence_at(opened, mm), why_off=WHY_OFF,
    )  # fmt: skip


def once(compute: Callable[[], T]) -> Callable[[], T]:
    """The same function, computed at its first call."""
    return functools.cache(compute)


def label_masks(opened: Opened) -> dict[str, Mask]:
    """The structures of a case of the page, by name."""
    labels = opened.structure_labels
    return {str(e["name"]): Mask(str(e["name"]), labels == int(e["label"]), opened.grid) for e in opened.structures}


def evidence_at(opened: Opened, mm: Point) -> tuple[str, ...]:
    """Ids of the evidence whose mask lies at a point."""
    return tuple(opened.evidence_at(opened.at(mm)))


def kept_masks(folder: Path, names: Collection[str]) -> dict[str, Mask]:
    """Masks that ``read`` wrote, by name; those whose file is gone or damaged are left out."""
    import nibabel
    import numpy as np

    found: dict[str, Mask] = {}
    for name in sorted(names):
        path = folder / f"{Path(name).name}.nii.gz"
        try:
            image = nibabel.as_closest_canonical(nibabel.load(path))
            voxels = np.asarray(image.dataobj) > 0
        except (OSError, ValueError, nibabel.filebasedimages.ImageFileError):
            continue
        x, y, z = voxels.shape
        found[name] = Mask(name, voxels, Grid((x, y, z), np.asarray(image.affine, dtype=np.float64)))
    return found
