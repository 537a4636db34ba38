"""The real scans read with the right side, place and values."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.conftest import SHARED
from vlm.ct import AIR_HU, Volume, read, survey

pytestmark = pytest.mark.realct
SCANS = sorted(path for path in (SHARED / "ct").glob("*/*") if path.name in ("ct.nii.gz", "dicom.zip"))


@pytest.mark.parametrize("path", SCANS, ids=lambda path: path.parent.name)
def test_reads_with_a_plausible_body_and_the_surveyed_geometry(path: Path) -> None:
    scan = read(path)
    volume = scan.volume
    assert np.all(np.diag(volume.grid.affine) > 0)
    assert survey(path).geometry == scan.inventory.geometry
    if volume.padding is not None:
        assert (volume.hu[volume.padding] == AIR_HU).all()
        assert volume.padding.mean() < 0.5


@pytest.mark.parametrize(
    "path", [path for path in SCANS if path.name == "ct.nii.gz"], ids=lambda path: path.parent.name
)
def test_voxels_stand_where_nibabel_puts_them(path: Path) -> None:
    volume = read(path).volume
    image = nib.as_closest_canonical(nib.load(path))
    assert volume.grid.affine == pytest.approx(image.affine, abs=1e-3)
    theirs = np.asarray(image.dataobj)
    tissue = theirs > -1000
    assert np.array_equal(volume.hu[tissue], theirs[tissue].astype(np.int16))


def organ_hu(volume: Volume, folder: Path, file: str, name: str) -> float:
    """Mean HU of an organ whose map lies beside the scan, found through millimetres."""
    labels = nib.load(folder / f"{file}.nii.gz")
    names = json.loads((folder / f"{file}.json").read_text())
    names = names.get("labels", names)
    number = next(int(key) for key, value in names.items() if value == name)
    index = np.argwhere(np.asarray(labels.dataobj) == number)
    mm = nib.affines.apply_affine(labels.affine, index)
    ijk = np.rint(volume.grid.to_ijk(mm)).astype(int)
    return float(volume.hu[tuple(ijk.T)].mean())


def test_organ_map_lies_on_the_compressed_dicom_series(shared: Path) -> None:
    folder = shared / "ct/totalseg-dicom-j2k"
    volume = read(folder / "dicom.zip").volume
    assert organ_hu(volume, folder, "organs", "liver") == pytest.approx(89, abs=8)
    assert organ_hu(volume, folder, "organs", "aorta") == pytest.approx(177, abs=15)


def test_the_mass_of_the_thick_series_is_on_the_right(shared: Path) -> None:
    folder = shared / "ct/lung-pet-ct-dx-a0002"
    volume = read(folder / "dicom.zip").volume
    labels = nib.load(folder / "organs_drawn.nii.gz")
    assert volume.grid.affine == pytest.approx(nib.as_closest_canonical(labels).affine, abs=1e-2)
    assert "small_findings" in volume.scan.limits
