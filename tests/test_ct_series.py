"""A DICOM series is read as it was written, whatever its encoding, order, tilt or padding."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import dcmread

from vlm.ct import AIR_HU, Grid, Scan, Volume, read, survey
from vlm.errors import IntakeError
from vlm.phantom.dicom_series import UIDS, Syntax, write_dicom_series


def body(shape: tuple[int, int, int] = (20, 24, 12), *, step: float = 5.0, tilt_mm: float = 0.0) -> Volume:
    """(X, Y, Z) noisy tissue in air; no two slices, rows or columns alike. ``tilt_mm`` shifts each slice backwards."""
    hu = np.full(shape[::-1], -1000, dtype=np.int16)
    hu[:, 4:-4, 4:-4] = np.random.default_rng(0).integers(-300, 400, hu[:, 4:-4, 4:-4].shape)
    affine = np.array([[0.7, 0, 0, -31.5], [0, 0.9, tilt_mm, -12.25], [0, 0, step, 1044.5], [0, 0, 0, 1]])
    return Volume(hu.T, Grid(shape, affine), Scan(source="phantom"))


def broken(path: Path) -> None:
    data = bytearray(path.read_bytes())
    start = data.index(b"\xff\xd8\xff")
    data[start + 20 : start + 60] = bytes(40)
    path.write_bytes(data)


def edit(path: Path, **values: object) -> None:
    """Overwrite tags of a file by keyword; None deletes."""
    dataset = dcmread(path)
    for keyword, value in values.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)


def codes(path: Path) -> set[str]:
    return {note.code for note in read(path).notes}


def refused(path: Path) -> str:
    with pytest.raises(IntakeError) as caught:
        read(path)
    return caught.value.code


@pytest.mark.parametrize("syntax", UIDS)
def test_every_encoding_reads_as_written(tmp_path: Path, syntax: Syntax) -> None:
    volume = body()
    write_dicom_series(volume, tmp_path, syntax=syntax)
    scan = read(tmp_path)
    assert np.array_equal(scan.volume.hu, volume.hu)
    assert scan.volume.grid.same_as(volume.grid)
    assert scan.notes == ()


@given(
    shape=st.tuples(st.integers(8, 20), st.integers(8, 20), st.integers(10, 14)),
    step=st.floats(0.5, 9.0),
    tilt_mm=st.sampled_from([0.0, 0.5, -1.5]),
    reverse=st.booleans(),
    syntax=st.sampled_from(["explicit", "implicit", "big_endian", "deflated"]),
)
@settings(max_examples=25)
def test_any_grid_reads_as_written(
    tmp_path_factory: pytest.TempPathFactory,
    shape: tuple[int, int, int],
    step: float,
    tilt_mm: float,
    reverse: bool,
    syntax: Syntax,
) -> None:
    volume, folder = body(shape, step=step, tilt_mm=tilt_mm), tmp_path_factory.mktemp("series")
    write_dicom_series(volume, folder, syntax=syntax, reverse=reverse)
    scan = read(folder)
    assert np.array_equal(scan.volume.hu, volume.hu)
    assert scan.volume.grid.same_as(volume.grid)
    assert ("W_TILT" in {note.code for note in scan.notes}) == (tilt_mm != 0)
    assert ("reformat" in scan.volume.scan.limits) == (tilt_mm != 0)


@pytest.mark.parametrize("syntax", ["explicit", "jpeg_lossless"])
def test_the_same_voxels_and_places_as_simpleitk(tmp_path: Path, syntax: Syntax) -> None:
    write_dicom_series(body(), tmp_path, syntax=syntax)
    volume = read(tmp_path).volume
    image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path)))
    assert np.array_equal(sitk.GetArrayFromImage(image)[:, ::-1, ::-1], volume.hu.T)
    x, y, _ = volume.hu.shape
    for index in ((0, 0, 0), (3, 5, 7)):
        theirs = np.array(image.TransformIndexToPhysicalPoint(index)) * [-1, -1, 1]
        assert volume.grid.to_mm([x - 1 - index[0], y - 1 - index[1], index[2]]) == pytest.approx(theirs, abs=1e-4)


AXES = {
    "coronal": ([1, 0, 0, 0, 0, -1], (0, 2, 1)),
    "sagittal": ([0, 1, 0, 0, 0, -1], (1, 2, 0)),
    "prone": ([-1, 0, 0, 0, -1, 0], (0, 1, 2)),
    "head down": ([1, 0, 0, 0, -1, 0], (0, 1, 2)),
}


@pytest.mark.parametrize("syntax", ["explicit", "jpegls"])
@pytest.mark.parametrize("name", AXES)
def test_slices_in_any_plane_are_turned_to_ras(tmp_path: Path, name: str, syntax: Syntax) -> None:
    orientation, _ = AXES[name]
    axes = np.array(orientation, dtype=float)
    normal = np.cross(axes[:3], axes[3:])
    stored = np.random.default_rng(1).integers(-1000, 400, (12, 24, 20)).astype(np.int16)
    stored[:, :4] = -1000
    volume = Volume(stored[:, ::-1, ::-1].T.copy(order="F"), body().grid, Scan(source="phantom"))
    first = np.array([3.0, -7.0, 50.0])
    for k, path in enumerate(write_dicom_series(volume, tmp_path, syntax=syntax)):
        position = first + normal * 5.0 * k
        edit(path, ImagePositionPatient=[*position], ImageOrientationPatient=orientation)
    got = read(tmp_path).volume
    for k, row, column in ((0, 0, 0), (3, 10, 4), (11, 23, 19)):
        point = first + axes[:3] * 0.7 * column + axes[3:] * 0.9 * row + normal * 5.0 * k
        index = np.rint(got.grid.to_ijk(point * [-1, -1, 1])).astype(int)
        assert got.hu[tuple(index)] == stored[k, row, column]
    assert np.all(np.diag(got.grid.affine) > 0)


def test_order_comes_from_positions_alone(tmp_path: Path) -> None:
    volume = body()
    paths = write_dicom_series(volume, tmp_path)
    for number, path in enumerate(paths):
        edit(path, InstanceNumber=(number * 7) % 12, SliceLocation="0")
        path.rename(path.with_name(f"z{(number * 5) % 12}"))
    scan = read(tmp_path)
    assert np.array_equal(scan.volume.hu, volume.hu)
    assert {note.code for note in scan.notes} == {"W_ORDER_TAGS"}


def test_padding_becomes_air_and_a_mask(tmp_path: Path) -> None:
    volume = body()
    volume.hu[:3, :3] = -3024
    volume.hu[10, 12, 5] = -2000  # metal streak inside: not padding
    write_dicom_series(volume, tmp_path)
    got = read(tmp_path).volume
    assert got.padding is not None
    assert got.padding.sum() == 9 * 12
    assert (got.hu[got.padding] == AIR_HU).all()
    assert got.hu[10, 12, 5] == -2000


def test_each_slice_uses_its_own_rescale(tmp_path: Path) -> None:
    volume = body()
    paths = write_dicom_series(volume, tmp_path)
    edit(paths[4], RescaleIntercept="-1000")
    got = read(tmp_path)
    assert np.array_equal(got.volume.hu[:, :, 4], volume.hu[:, :, 4] + 24)
    assert "density_withheld" in got.volume.scan.limits


def test_fractional_slope_is_rounded(tmp_path: Path) -> None:
    volume = body()
    for path in write_dicom_series(volume, tmp_path):
        edit(path, RescaleSlope="0.5", RescaleIntercept="-512")
    assert np.abs(read(tmp_path).volume.hu - np.rint(volume.hu / 2)).max() <= 0.5


def test_missing_slices_are_filled_from_their_neighbours_or_refused(tmp_path: Path) -> None:
    volume = body((20, 24, 44), step=2.0)
    paths = write_dicom_series(volume, tmp_path)
    paths[10].unlink()
    scan = read(tmp_path)
    assert scan.volume.hu.shape == (20, 24, 44)
    between = np.rint((volume.hu[:, :, 9].astype(np.float32) + volume.hu[:, :, 11]) / 2)
    assert np.array_equal(scan.volume.hu[:, :, 10], between)
    assert np.array_equal(scan.volume.hu[:, :, 11:], volume.hu[:, :, 11:])
    assert "volume_across_slices" in scan.volume.scan.limits
    paths[20].unlink()
    paths[30].unlink()
    assert refused(tmp_path) == "E_MISSING_SLICES"


def test_a_hole_that_a_thick_slice_would_not_be_measured_across_is_refused(tmp_path: Path) -> None:
    for name, step in (("thin", 4.8), ("thick", 5.2)):
        write_dicom_series(body((20, 24, 44), step=step), tmp_path / name)[10].unlink()
    assert "W_MISSING_SLICES" in {note.code for note in read(tmp_path / "thin").notes}
    assert refused(tmp_path / "thick") == "E_MISSING_SLICES"


def test_no_note_names_a_file(tmp_path: Path) -> None:
    paths = write_dicom_series(body((20, 24, 44), step=2.0), tmp_path)
    cut = paths[10].with_name("DOE_JANE_10.dcm")
    cut.write_bytes(paths[10].read_bytes()[:-500])
    paths[10].unlink()
    scan = read(tmp_path)  # its notes stand in the report, which goes to others
    assert "1 file refused: E_TRUNCATED (1)." in {note.message for note in scan.notes}
    assert not [note for note in scan.notes if "DOE" in note.message]
    assert "DOE_JANE_10" in scan.inventory.refused_files[0].message  # for who has the folder


def test_uneven_gaps_keep_the_longest_even_block(tmp_path: Path) -> None:
    volume = body((20, 24, 30), step=2.0)
    paths = write_dicom_series(volume, tmp_path)
    for k in range(18, 30):
        edit(paths[k], ImagePositionPatient=[18.2, -8.45, 1044.5 + 2 * 17 + 3.3 * (k - 17)])
    scan = read(tmp_path)
    assert "W_UNEVEN_SPACING" in {note.code for note in scan.notes}
    assert np.array_equal(scan.volume.hu, volume.hu[:, :, :18])


def test_a_slice_beside_the_line_is_refused(tmp_path: Path) -> None:
    paths = write_dicom_series(body(), tmp_path)
    edit(paths[5], ImagePositionPatient=[22.2, -8.45, 1044.5 + 25])
    assert refused(tmp_path) == "E_MIXED_GEOMETRY"


def test_copies_are_dropped_and_conflicts_refused(tmp_path: Path) -> None:
    volume = body()
    paths = write_dicom_series(volume, tmp_path)
    shutil.copy(paths[3], tmp_path / "copy")
    assert codes(tmp_path) == {"R_DUPLICATE_DROPPED"}
    assert np.array_equal(read(tmp_path).volume.hu, volume.hu)
    data = bytearray((tmp_path / "copy").read_bytes())
    data[-200] ^= 1
    (tmp_path / "copy").write_bytes(data)
    assert refused(tmp_path) == "E_DUPLICATE_CONFLICT"


def test_two_phases_at_one_place_are_asked_for(tmp_path: Path) -> None:
    early, late = body(), body()
    late.hu[8:12, 8:12] += 100
    write_dicom_series(early, tmp_path / "a")
    for number, path in enumerate(write_dicom_series(late, tmp_path / "b")):
        edit(path, AcquisitionNumber=2, SOPInstanceUID=f"1.2.3.{number}")
    assert refused(tmp_path) == "E_PHASES"
    shown = [entry for entry in survey(tmp_path).series if entry.phase]
    assert len(shown) == 2
    volumes = [read(tmp_path, series=entry.series).volume.hu for entry in shown]
    assert {int(v[9, 9].sum()) for v in volumes} == {int(v.hu[9, 9].sum()) for v in (early, late)}


def test_two_series_are_asked_for_and_either_can_be_had(tmp_path: Path) -> None:
    write_dicom_series(body(), tmp_path / "a", seed=1)
    write_dicom_series(body((20, 24, 14)), tmp_path / "b", seed=2)
    assert refused(tmp_path) == "E_CHOOSE_SERIES"
    first, second = survey(tmp_path).series
    assert (first.slices, second.slices) == (14, 12)  # best first
    assert read(tmp_path, series=second.series).volume.hu.shape[2] == 12
    uid = str(dcmread(tmp_path / "b/IM0001.dcm").SeriesInstanceUID)
    assert read(tmp_path, series=uid).volume.hu.shape[2] == 14


def test_other_objects_are_skipped_and_listed(tmp_path: Path) -> None:
    paths = write_dicom_series(body((20, 24, 14)), tmp_path)
    edit(paths[0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], SeriesInstanceUID="1.2.3")
    (tmp_path / "notes.txt").write_text("nothing")
    inventory = survey(tmp_path)
    assert {entry.kind: entry.files for entry in inventory.skipped} == {
        "localizer": 1,
        "neither DICOM nor NIfTI": 1,
    }
    assert codes(tmp_path) >= {"R_SERIES_CHOSEN"}


def test_a_zip_reads_as_its_folder(tmp_path: Path) -> None:
    volume = body()
    paths = write_dicom_series(volume, tmp_path / "series", syntax="jpeg_lossless")
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            archive.write(path, f"study/{path.name}")
    assert np.array_equal(read(tmp_path / "study.zip").volume.hu, volume.hu)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.80"])
def test_a_multi_frame_file_reads_as_its_slices(tmp_path: Path, syntax: str) -> None:
    volume = body()
    slices = [dcmread(path) for path in write_dicom_series(volume, tmp_path / "slices")]
    made = LegacyConvertedEnhancedCTImage(
        slices[::-1], series_instance_uid="1.2.3", series_number=2, sop_instance_uid="1.2.4", instance_number=1,
        transfer_syntax_uid=syntax,
    )  # fmt: skip
    made.save_as(tmp_path / "enhanced.dcm")
    scan = read(tmp_path / "enhanced.dcm")
    assert np.array_equal(scan.volume.hu, volume.hu)
    assert scan.volume.grid.same_as(volume.grid)
    assert scan.volume.scan.slice_thickness_mm == 5.0


def test_survey_gives_the_geometry_that_read_gives(tmp_path: Path) -> None:
    write_dicom_series(body(tilt_mm=1.0), tmp_path)
    inventory = survey(tmp_path)
    assert inventory.geometry == read(tmp_path).inventory.geometry
    (series,) = inventory.series
    assert (series.chosen, series.plane, series.orientation) == (True, "axial", "LPS")
    assert inventory.chosen == series.series
    assert inventory.to_dict()["intake"]


@pytest.mark.parametrize("what", ["PatientName", "PatientID", "SeriesDescription", "ConvolutionKernel"])
def test_no_text_of_a_header_comes_out(tmp_path: Path, what: str) -> None:
    for path in write_dicom_series(body(), tmp_path):
        edit(path, **{what: "ZZTEST^CANARY"})
    scan = read(tmp_path)
    assert "CANARY" not in repr((scan.volume.scan, scan.notes, scan.inventory))
    (tmp_path / "IM0003.dcm").unlink()
    with pytest.raises(IntakeError) as caught:
        read(tmp_path)
    assert "CANARY" not in str(caught.value)


def test_a_broken_codestream_is_refused_in_one_line(tmp_path: Path) -> None:
    paths = write_dicom_series(body(), tmp_path, syntax="jpeg_lossless")
    broken(paths[5])
    assert refused(tmp_path) == "E_CORRUPT"


@pytest.mark.parametrize("where", [[7], [7, 20], [0]])
def test_a_slice_that_does_not_decode_is_a_missing_slice(where: list[int], tmp_path: Path) -> None:
    volume = body((20, 24, 45))
    paths = write_dicom_series(volume, tmp_path, syntax="jpeg_lossless")
    heights = [float(dcmread(path).ImagePositionPatient[2]) for path in paths]
    for index in where:
        broken(paths[index])
    scan = read(tmp_path)
    assert {note.code for note in scan.notes} >= {"W_FILE_REFUSED"} | ({"W_MISSING_SLICES"} if where != [0] else set())
    grid, gone = scan.volume.grid, {round(heights[index], 2) for index in where}
    for k in range(grid.shape[2]):
        z = float(grid.to_mm([0, 0, k])[2])
        true_k = round(float(volume.grid.to_ijk((0.0, 0.0, z))[2]))
        if round(z, 2) in gone:  # its neighbours are there
            around = volume.hu[:, :, true_k - 1 : true_k + 2 : 2]
            assert np.array_equal(scan.volume.hu[:, :, k], np.rint(around.astype(np.float32).mean(axis=2)))
        else:
            assert np.array_equal(scan.volume.hu[:, :, k], volume.hu[:, :, true_k])


def test_three_slices_that_do_not_decode_are_a_refusal_that_names_the_first(tmp_path: Path) -> None:
    paths = write_dicom_series(body((20, 24, 70)), tmp_path, syntax="jpeg_lossless")
    for index in (7, 20, 30):
        broken(paths[index])
    with pytest.raises(IntakeError, match=r"E_CORRUPT IM00"):
        read(tmp_path)


def test_a_folder_of_a_report_is_no_scan(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "report.json").write_text("{}", encoding="utf-8")
    for name in ("a", "b"):
        (tmp_path / "masks" / f"{name}.nii.gz").write_bytes(gzip.compress(bytes(344) + b"n+1\0" + bytes(100)))
    found = survey(tmp_path).refusal
    assert found is not None
    assert found.code == "E_NO_CT"
    with pytest.raises(IntakeError, match="E_NO_CT: input is a report"):
        read(tmp_path)


def test_rescale_that_was_lost_is_named(tmp_path: Path) -> None:
    for path in write_dicom_series(body(), tmp_path):
        edit(path, RescaleIntercept="0")
    with pytest.raises(IntakeError, match=r"E_NOT_HU.*HU \+ 1024"):
        read(tmp_path)
    for path in tmp_path.iterdir():
        edit(path, RescaleIntercept=None)
    assert refused(tmp_path) == "E_NOT_HU"


def test_metadata_is_numbers_and_closed_words(tmp_path: Path) -> None:
    for path in write_dicom_series(body(), tmp_path):
        edit(path, ContrastBolusAgent="OMNIPAQUE 350", ConvolutionKernel="B70f", Exposure="96")
    scan = read(tmp_path).volume.scan
    assert (scan.kernel, scan.contrast, scan.tube_voltage_kv, scan.exposure_mas) == ("sharp", True, 120.0, 96.0)
    assert scan.patient_position == "HFS"
