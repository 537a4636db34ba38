"""nnU-Net models and TotalSegmentator as engines, by a tiny model trained on the spot; and installs that are wrong.

The two packages are heavy: where they are not installed, what needs them is skipped. They may be in any environment
whose commands are on the PATH.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import nibabel
import numpy as np
import pytest

from app.segmenting import segment_scan
from vlm.anatomy.engines import nnunet, totalsegmentator
from vlm.anatomy.engines.outside import program
from vlm.anatomy.engines.protocol import LabelMap
from vlm.anatomy.engines.registry import named
from vlm.anatomy.structures import structure, use
from vlm.ct.volume import Grid, Scan, Volume
from vlm.errors import UsageError
from vlm.evidence import Case

TINY = Path(__file__).with_name("tiny_nnunet.py")
SHAPE = (72, 60, 40)
BLOCKS = {  # name -> (HU, x, y, z from, each 12 voxels long); x grows to the patient's right
    "kidney_right": (400, 48, 24, 10), "kidney_left": (900, 12, 24, 10), "liver": (1800, 44, 38, 22),
}  # fmt: skip
TOTAL = {"kidney_right": 2, "kidney_left": 3, "liver": 5}  # TotalSegmentator's numbers
COMMANDS = {"nnunetv2": nnunet.COMMAND, "TotalSegmentator": totalsegmentator.COMMAND}


def needs(package: str) -> pytest.MarkDecorator:
    where = program(COMMANDS[package])
    return pytest.mark.skipif(where is None, reason=f"{package} is not installed: pip install {package}")


def hu() -> np.ndarray:
    """(X, Y, Z) RAS: water in air, with a block for each organ."""
    out = np.full(SHAPE, -1000, dtype=np.int16, order="F")
    out[6:66, 6:54] = 40
    for level, x, y, z in BLOCKS.values():
        out[x : x + 12, y : y + 12, z : z + 12] = level
    return out


def scan(folder: Path) -> Path:
    """The blocks as NIfTI whose axes run to the left, to the back and to the head."""
    affine = np.diag([-3.0, -3.0, 3.0, 1.0])
    affine[:2, 3] = 100.0, 80.0
    nibabel.save(nibabel.Nifti1Image(hu()[::-1, ::-1], affine), folder / "ct.nii.gz")
    return folder / "ct.nii.gz"


def case() -> Case:
    return Case(Volume(hu(), Grid(SHAPE, np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom")))


def make(command: str, folder: Path, *words: str) -> None:
    """Train the tiny model with the Python that the command belongs to."""
    where = program(command)
    assert where is not None
    subprocess.run([where.with_name("python"), TINY, folder, *words], check=True, capture_output=True, timeout=300)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * float((one & other).sum()) / float(one.sum() + other.sum())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    levels = [f"{number}:{BLOCKS[name][0]}" for number, name in enumerate(BLOCKS, start=1)]
    make(nnunet.COMMAND, folder, "--outputs", "4", "--levels", *levels, "--names", *BLOCKS)
    return folder


@needs("nnunetv2")
def test_an_nnunet_model_lands_on_the_grid_with_names_on_the_right_side(model: Path, tmp_path: Path) -> None:
    told = segment_scan(scan(tmp_path), tmp_path / "out", anatomy=f"nnunet:{model}")["told"]
    written, source = nibabel.load(tmp_path / "out" / "labels.nii.gz"), nibabel.load(tmp_path / "ct.nii.gz")
    assert np.allclose(written.affine, source.affine)
    labels = np.asarray(written.dataobj)[::-1, ::-1]
    for name, (level, *_) in BLOCKS.items():
        assert overlap(labels == told[name]["label"], hu() == level) > 0.9, name
        assert told[name]["engine"] == "nnunet tiny" and told[name]["measurable"]


@needs("nnunetv2")
def test_names_beside_a_model_go_before_its_own(model: Path) -> None:
    (model / "names.json").write_text(json.dumps({"1": "spleen", "3": "liver"}), encoding="utf-8")
    try:
        assert nnunet.nnunet(model).names() == {"spleen", "liver"}
    finally:
        (model / "names.json").unlink()


@needs("TotalSegmentator")
def test_totalsegmentator_runs_without_a_word_where_package_and_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "weights"
    levels = [f"{TOTAL[name]}:{BLOCKS[name][0]}" for name in BLOCKS]
    trainer = "nnUNetTrainer_4000epochs_NoMirroring__nnUNetPlans__3d_fullres"
    make(
        totalsegmentator.COMMAND, weights / totalsegmentator.FAST[0] / trainer, "--outputs", "118", "--levels", *levels
    )
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(weights))
    monkeypatch.setenv("TOTALSEG_HOME_DIR", str(tmp_path / "home"))
    blocks = case()
    for name, (level, *_) in BLOCKS.items():
        found = structure(blocks, name)
        assert found.engine.startswith("totalsegmentator")
        assert found.mask is not None
        assert overlap(found.mask.voxels, hu() == level) > 0.8, name
    assert not (tmp_path / "home").exists()  # settings of the user's own are left alone


def write_model(folder: Path, **changed: object) -> Path:
    """The files of a model, as far as they are looked at before it runs."""
    folder.mkdir(parents=True, exist_ok=True)
    dataset = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(dataset | changed), encoding="utf-8")
    (folder / "plans.json").write_text("{}", encoding="utf-8")
    (folder / "fold_0").mkdir(exist_ok=True)
    (folder / "fold_0" / "checkpoint_final.pth").write_bytes(b"no checkpoint")
    return folder


@pytest.mark.parametrize(
    "changed",
    [{"channel_names": {"0": "T1", "1": "T2"}}, {"labels": {"background": 0}}, {"labels": {"both": [1, 2]}},
     {"labels": {"../x": 1}}],
)  # fmt: skip
def test_a_folder_that_is_no_model_for_a_ct_is_refused_in_one_line(tmp_path: Path, changed: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="no nnU-Net v2 model for a CT") as refusal:
        nnunet.nnunet(write_model(tmp_path / "model", **changed))
    assert "\n" not in str(refusal.value)
    with pytest.raises(UsageError, match="a readable dataset"):
        named(f"nnunet:{tmp_path}")


def test_engines_that_are_not_installed_say_so_and_how_to_install_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nnunet, "program", lambda _: None)
    monkeypatch.setattr(totalsegmentator, "program", lambda _: None)
    with pytest.raises(UsageError, match=r"nnunet is off.*pip install nnunetv2"):
        named(f"nnunet:{write_model(tmp_path / 'model')}")
    with pytest.raises(UsageError, match=r"totalsegmentator is off.*pip install TotalSegmentator"):
        named("totalsegmentator")


def test_totalsegmentator_without_weights_is_never_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(totalsegmentator, "program", lambda _: tmp_path / "TotalSegmentator")
    monkeypatch.setenv("TOTALSEG_WEIGHTS_PATH", str(tmp_path / "weights"))
    (tmp_path / "weights" / "Dataset297_TotalSegmentator_total_3mm_1559subj_v204").mkdir(parents=True)  # an old one
    off = totalsegmentator.off()
    assert off is not None and "no weights" in off.reason and "totalseg_download_weights" in off.remedy
    (tmp_path / "weights" / totalsegmentator.FAST[0]).mkdir()
    assert totalsegmentator.off() is None


def test_a_program_that_fails_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho 'RuntimeError: the model is\tbroken' >&2\nexit 3\n", encoding="utf-8")
    broken.chmod(0o755)
    monkeypatch.setattr(nnunet, "program", lambda _: broken)
    blocks = case()
    use(blocks, nnunet.nnunet(write_model(tmp_path / "model")))
    with pytest.raises(UsageError, match=r"ended with 3.*RuntimeError") as refusal:
        structure(blocks, "liver")
    assert "\n" not in str(refusal.value) and "\t" not in str(refusal.value)


def test_a_program_gets_nothing_of_the_patient_and_reaches_no_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = tmp_path / "seen.txt"
    spy = tmp_path / "spy"
    spy.write_text(
        f'#!/bin/sh\nenv > {seen}\necho "$@" >> {seen}\ncp "$2"/case_0000.nii.gz "$4"/case.nii.gz\n', "utf-8"
    )
    spy.chmod(0o755)
    monkeypatch.setattr(nnunet, "program", lambda _: spy)
    mapped = nnunet.nnunet(write_model(tmp_path / "model")).map_of(case())
    assert isinstance(mapped, LabelMap) and mapped.voxels.shape == SHAPE
    told = seen.read_text("utf-8")
    assert "HTTPS_PROXY=http://127.0.0.1:9" in told
    assert "-device" in told and str(tmp_path / "ct") not in told
