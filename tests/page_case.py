"""A small finished reading and its upload, made once a session for the tests of the page."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel

from app.early import Early
from app.export import write_report
from app.page.desk import Desk
from app.page.pictures import write_pictures
from app.page.scanned import write_scan
from app.page.seal import seal
from app.reading import read_scan
from vlm.phantom.chest import chest


@dataclass(frozen=True)
class Finished:
    """A scan as a person would upload it, the folder that a reading of it wrote, and what it told on its way."""

    scan: Path
    reading: Path
    early: tuple[Early, ...]


def make_finished(folder: Path) -> Finished:
    """A chest with a 16 mm nodule on the right and 300 mL on the left, read and written."""
    phantom = chest(
        seed=5, spacing_mm=(2.0, 2.0, 3.0), nodules=(("right", "upper", 16.0, 40.0),), effusion_left_ml=300.0
    )
    image = nibabel.Nifti1Image(phantom.volume.hu, phantom.volume.grid.affine)
    image.header.set_xyzt_units("mm")
    scan = folder / "chest.nii.gz"
    nibabel.save(image, scan)
    early: list[Early] = []
    reading = read_scan(scan, early=early.append)
    write_report(folder / "reading", reading.report, reading.case, reading.sections)
    write_scan(folder / "reading", reading.case.volume)
    write_pictures(folder / "reading", reading.case)
    seal(folder / "reading")
    return Finished(scan=scan, reading=folder / "reading", early=tuple(early))


def put_case(desk: Desk, owner: str, finished: Finished) -> str:
    """A case of this owner that has been read already; its id."""
    case = desk.store.add_case(owner)
    shutil.copytree(finished.reading, desk.store.path(case.id) / "reading")
    desk.store.change(case.id, state="ready", summary={"impression": ["Right upper zone nodule."]})
    return case.id
