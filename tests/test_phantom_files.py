"""A phantom on disk: valid DICOM, one geometry for every reader, the same bytes from the same seed."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from vlm.ct import read
from vlm.ct.volume import Grid, Volume
from vlm.errors import UsageError
from vlm.phantom.body import numbered
from vlm.phantom.chest import Phantom, chest
from vlm.phantom.dicom_series import Syntax, write_dicom_series
from vlm.phantom.files import Place, load_masks
from vlm.phantom.prior import with_changes
from vlm.phantom.sample import write_body

COARSE_MM = (5.0, 5.0, 9.0)
ILL = (
    "20 mm solid nodule, left upper lobe, larger than before",
    "right pleural effusion, 300 ml",
    "new consolidation, right middle lobe, 60 ml",
    "resolved left pneumothorax, 200 ml",
)


def sums(folder: Path) -> dict[str, str]:
    """sha256 of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def small() -> Phantom:
    return chest(seed=3, spacing_mm=(5.0, 4.0, 7.0), nodules=(("left", "upper", 25.0, 40.0),))


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A body with an earlier scan."""
    out = tmp_path_factory.mktemp("followed") / "ct"
    write_body(out, seed=9, region="chest", spacing_mm=COARSE_MM, findings=ILL, prior=True)
    return out


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy: apt-get install dicom3tools")
@pytest.mark.parametrize("syntax", ["explicit", "implicit", "jpeg_lossless", "jpeg2000", "rle"])
@pytest.mark.parametrize("twelve", [True, False])
def test_the_series_is_valid_ct_image_storage(small: Phantom, tmp_path: Path, syntax: Syntax, twelve: bool) -> None:
    volume = small.volume if twelve else Volume(small.volume.hu * np.int16(2), small.volume.grid, small.volume.scan)
    path = write_dicom_series(volume, tmp_path, syntax=syntax)[0]
    said = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
    assert said.returncode == 0 and "Error" not in said.stdout + said.stderr, said.stderr


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy: apt-get install dicom3tools")
def test_a_body_with_contrast_and_its_prior_are_valid(followed: Path) -> None:
    for folder in (followed, followed.with_name("ct.prior")):
        said = subprocess.run(["dciodvfy", "-new", folder / "IM0001.dcm"], capture_output=True, text=True, check=False)
        assert said.returncode == 0 and "Error" not in said.stdout + said.stderr, said.stderr


@pytest.mark.parametrize("tilted", [False, True])
def test_simpleitk_highdicom_and_our_reader_agree_on_geometry(small: Phantom, tmp_path: Path, tilted: bool) -> None:
    import highdicom
    import pydicom
    import SimpleITK

    grid = small.volume.grid
    if tilted:  # the whole head end turned about x: still a right-angled grid
        turn = np.eye(4)
        c, s = np.cos(0.2), np.sin(0.2)
        turn[1:3, 1:3] = [[c, -s], [s, c]]
        grid = Grid(grid.shape, turn @ grid.affine)
    paths = write_dicom_series(Volume(small.volume.hu, grid, small.volume.scan), tmp_path)
    ours = read(tmp_path).volume
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path)))
    itk = reader.Execute()
    geometry = highdicom.get_volume_from_series([pydicom.dcmread(path) for path in paths])
    corners = np.array([[0, 0, 0], [n - 1 for n in grid.shape], [grid.shape[0] - 1, 0, 3], [1, 5, 2]])
    for corner in corners:
        point = grid.to_mm(corner)
        hu = small.volume.hu[tuple(corner)]
        lps = point * [-1, -1, 1]
        assert itk[itk.TransformPhysicalPointToIndex(lps.tolist())] == hu
        assert np.allclose(itk.TransformContinuousIndexToPhysicalPoint(
            itk.TransformPhysicalPointToContinuousIndex(lps.tolist())), lps, atol=1e-3)  # fmt: skip
        index = geometry.map_reference_to_indices(lps[None], round_output=True)[0]
        assert np.allclose(geometry.map_indices_to_reference(index[None])[0], lps, atol=1e-3)
        assert geometry.array[tuple(index)] == hu
        mine = ours.grid.to_ijk(point)
        assert np.allclose(mine, np.rint(mine), atol=1e-3)
        assert ours.hu[tuple(np.rint(mine).astype(int))] == hu


@pytest.mark.parametrize("file_format", ["dicom", "nifti"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, file_format: str) -> None:
    made = []
    for name in ("one", "two", "other"):
        folder = tmp_path / name
        folder.mkdir()
        write_body(folder / "ct", seed=8 if name == "other" else 9, region="chest", spacing_mm=COARSE_MM,
                   findings=ILL[:2], file_format=file_format, prior=True)  # fmt: skip
        made.append(sums(folder))
    assert made[0] == made[1]
    assert made[0].keys() & made[2].keys() and not set(made[0].values()) & set(made[2].values()) - {
        digest for name, digest in made[0].items() if name.endswith(("labels.json", "findings.json"))
    }


def test_masks_read_back_have_the_volume_that_truth_tells(followed: Path) -> None:
    truth = json.loads((followed.parent / "ct.truth.json").read_text())
    masks = load_masks(Place.of(followed))
    grid = read(followed).volume.grid
    assert len(truth["findings"]) == len(masks) >= 3
    for entry in truth["findings"]:
        mask = masks[entry["mask"]]
        assert mask.volume_ml == pytest.approx(entry["volume_ml"], rel=0.001)
        assert mask.grid.same_as(grid)
        assert list(mask.slices) == entry["region"]["slices"]
        if entry["quantity"] == "volume":
            assert entry["volume_ml"] == pytest.approx(entry["value"], rel=0.02)


def test_the_change_that_was_said_is_the_change_that_was_drawn(followed: Path) -> None:
    truth = json.loads((followed.parent / "ct.truth.json").read_text())
    before = json.loads((followed.parent / "ct.prior.truth.json").read_text())
    told = {change["finding"]: change for change in truth["changes"]}
    assert told["lung_nodule"]["change"] == "larger"
    assert told["consolidation"]["change"] == "new" and told["consolidation"]["prior_mask"] is None
    assert told["pneumothorax"]["change"] == "resolved" and told["pneumothorax"]["mask"] is None
    was = {entry["finding"]: entry for entry in before["findings"]}
    assert was["lung_nodule"]["value"] < 0.75 * 20.0
    assert "consolidation" not in was and "pneumothorax" in was
    assert "pneumothorax" not in {entry["finding"] for entry in truth["findings"]}


def test_the_prior_is_an_earlier_study_of_the_same_patient(followed: Path) -> None:
    import pydicom

    now, before = (pydicom.dcmread(f / "IM0001.dcm") for f in (followed, followed.with_name("ct.prior")))
    assert now.PatientID == before.PatientID and now.StudyDate > before.StudyDate
    for name in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
        assert now[name].value != before[name].value


def test_the_same_person_lies_in_the_prior(followed: Path) -> None:
    # Laid over each other by what truth says of one finding, bones agree: they lie elsewhere on the table.
    now, before = (
        json.loads((followed.parent / name).read_text()) for name in ("ct.truth.json", "ct.prior.truth.json")
    )
    assert now["person"] == before["person"]
    one, other = (
        next(entry for entry in truth["findings"] if entry["finding"] == "pleural_effusion")["centre_mm"]
        for truth in (now, before)
    )
    assert np.linalg.norm(np.subtract(one, other)) > 1.0


def test_a_word_of_change_needs_a_prior(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs an earlier scan"):
        write_body(tmp_path / "ct", seed=1, findings=["new 6 mm nodule, right lower lobe"])


def test_calcium_and_emphysema_do_not_heal_by_chance() -> None:
    wishes = numbered(["aortic calcification 0.3 ml", "emphysema 10 %", "6 mm nodule, left upper lobe"])
    drawn = [wish for seed in range(200) for wish in with_changes(wishes, seed)]
    lasting = {wish.change for wish in drawn if wish.finding != "lung_nodule"}
    assert lasting == {"larger", "new", "unchanged"}
    assert {wish.change for wish in drawn if wish.finding == "lung_nodule"} == {*lasting, "smaller", "resolved"}
