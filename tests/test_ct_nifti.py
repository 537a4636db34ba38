"""A NIfTI is read as nibabel and SimpleITK read it, or refused where they would guess."""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm.ct import AIR_HU, read, survey
from vlm.errors import IntakeError

ORIENTATIONS = ("RAS", "LPS", "LAS", "RSA", "PIR", "ILA", "SPL")


def body(shape: tuple[int, int, int] = (22, 24, 12)) -> np.ndarray:
    """(X, Y, Z) int16: noisy tissue in air, nothing symmetric."""
    hu = np.full(shape, -1000, dtype=np.int16)
    hu[3:-3, 3:-3] = np.random.default_rng(0).integers(-300, 400, hu[3:-3, 3:-3].shape)
    return hu


def write(path: Path, hu: np.ndarray, affine: np.ndarray, *, sform: int = 1, qform: int = 1, **header: Any) -> None:
    image = nib.Nifti1Image(hu, affine)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform)
    image.header.set_xyzt_units("mm")
    data = image.to_bytes()
    if header:  # nibabel writes what it thinks right: put the wrong values in afterwards
        raw = nib.Nifti1Header.from_fileobj(io.BytesIO(data), check=False)
        for key, value in header.items():
            raw[key] = value
        data = raw.binaryblock + data[348:]
    path.write_bytes(gzip.compress(data, 1) if path.suffix == ".gz" else data)


def ras(spacing: tuple[float, float, float] = (2.0, 2.5, 5.0)) -> np.ndarray:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-20.5, 31.0, 1000.25)
    return affine


def refused(path: Path) -> str:
    with pytest.raises(IntakeError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return caught.value.code


@given(
    axes=st.sampled_from(ORIENTATIONS), kind=st.sampled_from(["<i2", ">i2", "<i4", "<f4", "<f8"]), zipped=st.booleans()
)
@settings(max_examples=30)
def test_any_axes_and_type_give_one_volume(
    tmp_path_factory: pytest.TempPathFactory, axes: str, kind: str, zipped: bool
) -> None:
    path = tmp_path_factory.mktemp("nifti") / ("ct.nii.gz" if zipped else "ct.nii")
    image = nib.Nifti1Image(body(), ras())
    turn = nib.orientations.ornt_transform(nib.io_orientation(image.affine), nib.orientations.axcodes2ornt(tuple(axes)))
    turned = image.as_reoriented(turn)
    write(path, np.asarray(turned.dataobj).astype(kind), turned.affine)
    volume = read(path).volume
    assert np.array_equal(volume.hu, body())
    assert volume.grid.affine == pytest.approx(ras(), abs=1e-4)


def test_the_same_places_as_simpleitk(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii.gz"
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.05, 0.03, -0.04)) @ ras()
    write(path, body(), affine)
    volume, image = read(path).volume, sitk.ReadImage(str(path))
    assert np.array_equal(sitk.GetArrayFromImage(image), volume.hu.T)
    for index in ((0, 0, 0), (21, 23, 11), (4, 17, 6)):
        theirs = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert volume.grid.to_mm(index) == pytest.approx(theirs, abs=1e-3)


def test_unsigned_values_with_an_offset_are_scaled_and_said(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    write(path, (body().astype(np.int32) + 1024).astype(np.uint16), ras(), scl_slope=1.0, scl_inter=-1024.0)
    scan = read(path)
    assert np.array_equal(scan.volume.hu, body())
    assert "R_SCALED" in {note.code for note in scan.notes}


def test_padding_becomes_air_and_a_mask(tmp_path: Path) -> None:
    hu = body()
    hu[:2, :2] = -3024
    write(tmp_path / "ct.nii.gz", hu, ras())
    volume = read(tmp_path / "ct.nii.gz").volume
    assert volume.padding is not None
    assert volume.padding.sum() == 4 * 12
    assert (volume.hu[volume.padding] == AIR_HU).all()


@pytest.mark.parametrize(
    ("code", "damage"),
    [
        ("E_TRUNCATED", lambda data: data[: len(data) // 2]),
        ("E_CORRUPT", lambda data: data[:-8] + bytes(8)),
        ("E_CORRUPT", lambda data: data + b"more"),
        ("E_TRUNCATED", lambda data: data[:40]),
    ],
)
def test_a_gzip_is_read_to_its_end(tmp_path: Path, code: str, damage: Any) -> None:
    path = tmp_path / "ct.nii.gz"
    write(path, body(), ras())
    path.write_bytes(damage(path.read_bytes()))
    assert refused(path) == code


def test_a_gzip_of_several_members_is_one_stream(tmp_path: Path) -> None:
    write(tmp_path / "ct.nii", body(), ras())
    data = (tmp_path / "ct.nii").read_bytes()
    path = tmp_path / "ct.nii.gz"
    path.write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]) + bytes(512))
    assert np.array_equal(read(path).volume.hu, body())


def test_a_cut_file_without_gzip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ct.nii"
    write(path, body(), ras())
    path.write_bytes(path.read_bytes()[:-100])
    assert refused(path) == "E_TRUNCATED"


@pytest.mark.parametrize(
    ("code", "header"),
    [
        ("E_NO_ORIENTATION", {"sform": 0, "qform": 0}),
        ("E_PHASES", {"dim": [4, 22, 24, 6, 2, 1, 1, 1]}),
        ("E_TOO_LARGE", {"dim": [3, 32000, 32000, 32000, 1, 1, 1, 1]}),
        ("E_CORRUPT", {"dim": [3, -5, 24, 12, 1, 1, 1, 1]}),
        ("E_CORRUPT", {"vox_offset": 0}),
        ("E_XFORM_CONFLICT", {"pixdim": [1, 2.0, 2.5, 1.0, 1, 1, 1, 1]}),
        ("E_NO_GEOMETRY", {"srow_x": [np.nan, 0, 0, 0]}),
        ("E_NO_GEOMETRY", {"xyzt_units": 3}),
    ],
)
def test_headers_that_make_no_sense_are_refused(tmp_path: Path, code: str, header: dict[str, Any]) -> None:
    path = tmp_path / "ct.nii"
    write(path, body(), ras(), **header)
    assert refused(path) == code
    refusal = survey(path).refusal
    assert refusal is not None
    assert refusal.code == code


def test_voxels_without_a_number_are_padding(tmp_path: Path) -> None:
    hu = body().astype(np.float32)
    hu[5, 5, 5] = np.nan
    hu[6, 5, 5] = np.inf
    write(tmp_path / "ct.nii", hu, ras())
    scan = read(tmp_path / "ct.nii")
    assert {note.code for note in scan.notes} >= {"W_NAN"}
    assert scan.volume.padding is not None
    assert scan.volume.padding[5, 5, 5]
    assert scan.volume.padding[6, 5, 5]
    hu[:, :, :8] = np.nan
    write(tmp_path / "ct.nii", hu, ras())
    assert refused(tmp_path / "ct.nii") == "E_CORRUPT"


@pytest.mark.parametrize("values", ["magnetic resonance", "bytes", "zero to one"])
def test_values_that_are_no_hu_are_refused(tmp_path: Path, values: str) -> None:
    rng = np.random.default_rng(0)
    voxels = {
        "magnetic resonance": rng.integers(0, 900, (22, 24, 12)).astype(np.int16),
        "bytes": rng.integers(0, 256, (22, 24, 12)).astype(np.uint8),
        "zero to one": rng.random((22, 24, 12)).astype(np.float32),
    }[values]
    write(tmp_path / "ct.nii", voxels, ras())
    assert refused(tmp_path / "ct.nii") == "E_NOT_HU"
