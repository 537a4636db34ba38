"""Files that break readers: each is read, limited or refused as its table says."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import SHARED
from vlm.ct import read, survey
from vlm.ct.archive import opened
from vlm.ct.dicom import read_header
from vlm.ct.geometry import Turn
from vlm.ct.image import Image
from vlm.ct.pixels import load
from vlm.ct.series import Slice, candidates
from vlm.errors import IntakeError

pytestmark = pytest.mark.realct
AS_STORED = Turn((0, 1, 2), (False, False, False))
TABLE: dict[str, dict[str, Any]] = (
    json.loads((SHARED / "odd/expected.json").read_text()) if (SHARED / "odd/expected.json").is_file() else {}
)
REFUSED = [name for name, entry in TABLE.items() if "read" not in entry]
READ = [name for name, entry in TABLE.items() if "read" in entry and "refuse" not in entry]
DECODED = [name for name, entry in TABLE.items() if "decode" in entry]


def hu_as_stored(path: Path) -> np.ndarray:
    """(slices, rows, columns) int16 HU along the normal, padding not replaced."""
    with opened(path) as entries:
        headers = [read_header(entry.path, entry.name) for entry in entries]
        images = [image for image in headers if isinstance(image, Image)]
        best = candidates(images)[0]
        order = best.stacking.order if best.stacking else range(len(best.slices))
        slots = tuple(best.slices[index] for index in order if index is not None)
        return load(slots, AS_STORED, replace_padding=False).hu


def sha16(hu: np.ndarray) -> str:
    return hashlib.sha256(hu.astype("<i2").tobytes()).hexdigest()[:16]


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_a_code_of_the_table_in_one_line(shared: Path, name: str) -> None:
    with pytest.raises(IntakeError) as caught:
        read(shared / "odd" / name)
    assert caught.value.code in TABLE[name]["refuse"]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [name for name in REFUSED if "codes" in TABLE[name]])
def test_a_refused_file_still_says_its_limits(shared: Path, name: str) -> None:
    seen = {note.code for note in survey(shared / "odd" / name).intake}
    assert set(TABLE[name]["codes"]) <= seen


@pytest.mark.parametrize("name", READ)
def test_read_with_its_codes_and_values(shared: Path, name: str) -> None:
    scan = read(shared / "odd" / name)
    truth = TABLE[name]["read"]
    assert set(TABLE[name].get("codes_if_read", [])) <= {note.code for note in scan.notes}
    low, high = truth["hu_range"]
    assert int(scan.volume.hu.min()) == max(low, -1024)
    assert int(scan.volume.hu.max()) == high
    assert survey(shared / "odd" / name).geometry == scan.inventory.geometry


@pytest.mark.parametrize("name", [name for name in READ if "first_ipp" in TABLE[name]["read"]])
def test_geometry_is_that_of_the_slices(shared: Path, name: str) -> None:
    truth, volume = TABLE[name]["read"], read(shared / "odd" / name).volume
    columns, rows, slices = volume.hu.shape
    assert (slices, rows, columns) == (truth["slices"], truth["rows"], truth["cols"])
    to_lps = np.array([-1, -1, 1])
    assert volume.grid.to_mm([columns - 1, rows - 1, 0]) * to_lps == pytest.approx(truth["first_ipp"], abs=1e-3)
    assert volume.grid.to_mm([columns - 1, rows - 1, slices - 1]) * to_lps == pytest.approx(truth["last_ipp"], abs=1e-3)
    assert volume.grid.spacing_mm[:2] == pytest.approx([truth["pixel_spacing"]] * 2, rel=1e-5)
    normal = np.cross(volume.grid.affine[:3, 0], volume.grid.affine[:3, 1])
    across = abs(normal @ volume.grid.affine[:3, 2]) / np.linalg.norm(normal)
    assert across == pytest.approx(truth["normal_gaps"][0], abs=2e-3)
    assert volume.scan.tilt_degrees == pytest.approx(truth["tilt_deg"], abs=0.1)


@pytest.mark.parametrize("name", [name for name in READ if "hu_sha16" in TABLE[name]["read"]])
def test_values_are_those_of_the_scanner(shared: Path, name: str) -> None:
    assert sha16(hu_as_stored(shared / "odd" / name)) == TABLE[name]["read"]["hu_sha16"]


@pytest.mark.parametrize("name", DECODED)
def test_every_encoding_decodes_to_the_same_values(shared: Path, name: str) -> None:
    hu, truth = hu_as_stored(shared / "odd" / name), TABLE[name]["decode"]
    assert list(hu.shape[1:]) == truth["shape"]
    assert [int(hu.min()), int(hu.max())] == truth["hu_range"]
    assert sha16(hu) == truth["hu_sha16"]


@pytest.mark.parametrize(("name", "most"), [("j2k_lossy", 5), ("jpegls_near", 1), ("jpeg_extended_12bit_lossy", 36)])
def test_lossy_error_stays_within_what_is_known(shared: Path, name: str, most: int) -> None:
    lossless = hu_as_stored(shared / "odd/syntaxes/deflated.dcm").astype(int)
    lossy = hu_as_stored(shared / f"odd/syntaxes/{name}.dcm").astype(int)
    assert np.abs(lossy - lossless)[lossless > -1100].max() <= most


def test_nifti_variants_hold_the_same_body(shared: Path) -> None:
    names = ("ok_reference", "axes_permuted_reversed", "big_endian", "scl_slope_zero", "scl_slope_nan", "units_metre")
    volumes = [read(shared / f"odd/nifti/{name}.nii.gz").volume for name in names]
    for other in volumes[1:]:
        assert other.grid.same_as(volumes[0].grid)
        assert np.array_equal(other.hu, volumes[0].hu)


def test_one_series_of_three_patients_can_be_chosen(shared: Path) -> None:
    path = shared / "odd/tiny/dicomdir_three_patients.zip"
    offered = {entry.verdict: entry.series for entry in survey(path).series}
    assert read(path, series=offered["could be read"]).volume.hu.shape == (16, 16, 5)
    with pytest.raises(IntakeError, match="E_MISSING_SLICES"):
        read(path, series=offered["E_MISSING_SLICES"])
    with pytest.raises(IntakeError, match="E_NO_SUCH_SERIES"):
        read(path, series="1.2.3")


def test_sign_of_the_tag_wins_over_the_codestream(shared: Path) -> None:
    header = read_header(shared / "odd/tiny/J2K_pixelrep_mismatch.dcm", "file")
    assert isinstance(header, Image)
    stack = load((Slice(header, header.frames[0]),), AS_STORED, replace_padding=False)
    assert [note.code for note in stack.notes] == ["R_SIGN"]


@pytest.mark.parametrize("name", ["zip_bomb_256MiB.zip", "deflate_bomb_256MiB.dcm", "huge_declared_size.dcm"])
def test_bombs_take_little_memory(shared: Path, name: str) -> None:
    child = os.fork()
    if child == 0:
        import resource

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read(shared / "odd/hostile" / name)
        except IntakeError:
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
            os._exit(0 if grown < 100 * 1024 else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_an_unsafe_archive_writes_nothing_outside(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in ("zip_path_traversal.zip", "zip_symlink.zip", "zip_bomb_256MiB.zip", "zip_truncated.zip"):
        with pytest.raises(IntakeError):
            read(shared / "odd/hostile" / name)
    assert list(tmp_path.iterdir()) == []
