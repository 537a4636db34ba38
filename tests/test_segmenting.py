"""``segment`` and ``read`` with engines: what is written of each structure, and who found it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from app.doctor import engine_checks
from app.records import anatomy_record
from app.segmenting import painted, segment_scan
from vlm.anatomy.engines.registry import named
from vlm.anatomy.structures import Structure, structure, use
from vlm.ct.read import read
from vlm.ct.volume import Grid, Mask
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.phantom.body import NAME, body


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The abdomen of a synthetic body as NIfTI in LPS, with its true label map beside it."""
    folder = tmp_path_factory.mktemp("abdomen")
    made = body(seed=5, phase="portal", region="abdomen", spacing_mm=(4.0, 4.0, 6.0))
    for name, voxels in (("ct", made.volume.hu), ("truth", made.labels.astype(np.uint8))):
        affine = made.volume.grid.affine @ np.diag([-1.0, -1.0, 1.0, 1.0])
        affine[:2, 3] = made.volume.grid.to_mm(np.array(made.volume.grid.shape) - 1)[:2]
        nibabel.save(nibabel.Nifti1Image(voxels[::-1, ::-1], affine), folder / f"{name}.nii.gz")
    (folder / "truth.json").write_text(json.dumps({str(n): name for n, name in NAME.items()}), encoding="utf-8")
    return folder


def test_a_label_map_is_written_back_with_its_names_on_its_own_side(scan: Path, tmp_path: Path) -> None:
    told = segment_scan(scan / "ct.nii.gz", tmp_path, anatomy=f"labels:{scan / 'truth.nii.gz'}")
    true, written = (nibabel.load(path) for path in (scan / "truth.nii.gz", tmp_path / "labels.nii.gz"))
    assert np.allclose(true.affine, written.affine)
    names = json.loads((tmp_path / "names.json").read_text("utf-8"))
    numbers = {name: int(n) for n, name in names.items()}
    truth, labels = np.asarray(true.dataobj), np.asarray(written.dataobj)
    for number, name in NAME.items():
        if name in ("kidney_left", "kidney_right", "spleen", "vertebrae_L3", "gallbladder", "aorta"):
            assert np.array_equal(labels == numbers[name], truth == number), name
    assert told["told"]["spleen"]["measurable"]
    assert told["told"]["lung_right"]["state"] == "cut"
    assert told["told"]["thyroid_gland"]["state"] == "cut" and told["told"]["thyroid_gland"]["label"] is None
    assert json.loads((tmp_path / "structures.json").read_text("utf-8")) == told["told"]


def test_without_a_word_the_rules_tell_what_they_can_and_the_rest_is_not_looked_for(scan: Path, tmp_path: Path) -> None:
    told = segment_scan(scan / "ct.nii.gz", tmp_path, anatomy="rules")["told"]
    assert told["liver"]["engine"].startswith("rules")
    assert told["pancreas"]["state"] == "not looked for"
    assert told["kidney_left"]["state"] in ("there", "cut", "not believed")  # a rule never says that none is there


def test_a_whole_of_which_its_parts_leave_nothing_has_no_number() -> None:
    grid = Grid((4, 4, 4), np.eye(4))
    whole, upper = np.zeros(grid.shape, dtype=bool), np.zeros(grid.shape, dtype=bool)
    whole[:2], upper[:2] = True, True
    every = [Structure(name=name, state="there", mask=Mask(name, voxels, grid), vouched=name == "mine")
             for name, voxels in (("mine", upper), ("lung_left", whole), ("spleen", ~whole))]  # fmt: skip
    labels, numbers = painted(every, grid)
    assert numbers == {"spleen": 1, "mine": 2}
    assert set(np.unique(labels)) == {1, 2}


def test_a_report_says_who_found_what(scan: Path) -> None:
    case = Case(read(scan / "ct.nii.gz").volume)
    use(case, named(f"labels:{scan / 'truth.nii.gz'}"))
    structure(case, "spleen")
    anatomy = anatomy_record(case)
    assert anatomy["structures"] == {
        "spleen": {"state": "there", "engine": "labels truth.nii.gz", "quality": None, "measurable": True}
    }
    assert str(anatomy["otherwise"]).startswith("rules")


def test_an_engine_that_is_off_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    off = [check["name"].split()[1] for check in engine_checks() if check["state"] == "off"]
    off = [name for name in off if ":" not in name]
    for name in off:
        with pytest.raises(UsageError, match=f"--anatomy {name} is off"):
            segment_scan(tmp_path / "nothing", tmp_path / "out", anatomy=name)
    assert "rules" not in off
    assert all(check["remedy"] for check in engine_checks() if check["state"] == "off")
