"""The command line as a user meets it: what it prints, where, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import jsonschema
import nibabel
import numpy as np
import pytest

from vlm.phantom.chest import chest

COMMAND = str(Path(sys.executable).with_name("tomoscribe"))
VERBS = (
    "info", "read", "ask", "query", "segment", "label", "tools", "doctor", "phantom", "measure", "serve", "mcp", "tune",
)  # fmt: skip


def tomoscribe(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small chest with a 14 mm nodule on the right and 300 mL on the left, as NIfTI in LPS."""
    phantom = chest(
        seed=5, spacing_mm=(1.6, 1.6, 2.0), nodules=(("right", "upper", 14.0, 40.0),), effusion_left_ml=300.0
    )
    grid = phantom.volume.grid
    image = nibabel.Nifti1Image(phantom.volume.hu[::-1, ::-1, :], grid.affine @ _turn(grid.shape))
    image.header.set_xyzt_units("mm")
    path = tmp_path_factory.mktemp("scan") / "chest.nii.gz"
    nibabel.save(image, path)
    return path


def _turn(shape: tuple[int, int, int]) -> np.ndarray:
    turn = np.diag([-1.0, -1.0, 1.0, 1.0])
    turn[:2, 3] = shape[0] - 1, shape[1] - 1
    return turn


@pytest.fixture(scope="module")
def report(scan: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    folder = tmp_path_factory.mktemp("out") / "report"
    done = tomoscribe("read", str(scan), "--out", str(folder), "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, object] = json.loads(done.stdout)
    return folder, document


@pytest.mark.parametrize("verb", VERBS)
def test_every_verbs_help_ends_in_a_line_that_can_be_pasted(verb: str) -> None:
    done = tomoscribe(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.strip().splitlines()[-1].strip().startswith(f"tomoscribe {verb}")


def test_a_read_writes_report_masks_and_key_images(report: tuple[Path, dict[str, object]]) -> None:
    folder, document = report
    assert json.loads((folder / "report.json").read_text(encoding="utf-8")) == document
    assert (folder / "report.md").is_file()
    assert not list(folder.glob(".new-*"))
    evidence: dict[str, dict[str, object]] = document["evidence"]  # type: ignore[assignment]
    pointed = [e["region"]["mask"] for e in evidence.values() if e["region"] and e["region"]["mask"]]  # type: ignore[index]
    assert pointed
    for name in pointed:
        assert (folder / str(name)).is_file()
    assert sorted(path.suffix for path in (folder / "key").iterdir()) == [".png"] * len(
        list((folder / "key").iterdir())
    )


def test_the_report_fits_the_shipped_schema(report: tuple[Path, dict[str, object]]) -> None:
    schema = json.loads((Path(__file__).parents[1] / "app" / "export" / "report.schema.json").read_text("utf-8"))
    jsonschema.validate(report[1], schema)


def test_the_report_tells_the_nodule_and_the_effusion_on_their_sides(report: tuple[Path, dict[str, object]]) -> None:
    sentences: list[dict[str, object]] = report[1]["sentences"]  # type: ignore[assignment]
    told = " ".join(str(s["text"]) for s in sentences if s["section"] == "lungs_and_pleura").lower()
    assert "nodule" in told
    assert "right upper zone" in told
    assert "left pleural effusion, about" in told
    assert all(s["verdict"] in ("supported", "neutral") for s in sentences if s["section"] != "to_review")


def test_info_runs_no_tool_and_names_the_geometry(scan: Path) -> None:
    done = tomoscribe("info", str(scan), "--json")
    assert done.returncode == 0
    document = json.loads(done.stdout)
    assert set(document) >= {"series", "geometry", "intake"}
    assert document["geometry"]["spacing_mm"] == pytest.approx([1.6, 1.6, 2.0], abs=1e-3)


def test_segment_keeps_the_files_own_axes(scan: Path, tmp_path: Path) -> None:
    done = tomoscribe("segment", str(scan), "--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    labels, source = nibabel.load(tmp_path / "labels.nii.gz"), nibabel.load(scan)
    assert labels.shape == source.shape
    assert np.allclose(labels.affine, source.affine, atol=1e-3)
    names = json.loads((tmp_path / "names.json").read_text("utf-8"))
    right = next(int(number) for number, name in names.items() if name == "lung_right")
    where = np.argwhere(np.asarray(labels.dataobj) == right).mean(axis=0)
    assert nibabel.affines.apply_affine(labels.affine, where)[0] > 0  # RAS: the patient's right


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("read",), 2),
        (("nonsense",), 2),
        (("read", "missing-folder", "--out", "x"), 3),
        (("info", "missing-folder"), 3),
        (("serve", "--host", "0.0.0.0", "--data", "x"), 2),
        (("serve", "--port", "99999", "--data", "x"), 2),
        (("mcp", "--root", "missing-folder", "--data", "x"), 2),
        (("label", "missing.csv", "--text-column", "t", "--out", "x.csv"), 2),
    ],
)
def test_errors_are_one_line_and_an_exit_code(words: tuple[str, ...], code: int, tmp_path: Path) -> None:
    done = subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == code
    assert "Traceback" not in done.stderr
    if code == 3 or words[0] == "label":
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_file_that_is_no_scan_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a scan", encoding="utf-8")
    done = tomoscribe("read", str(tmp_path / "notes.txt"), "--out", str(tmp_path / "out"))
    assert done.returncode == 3
    assert not (tmp_path / "out").exists()


def test_tools_and_doctor_answer_in_json() -> None:
    tools = json.loads(tomoscribe("tools", "--json").stdout)
    assert {"name", "observes", "limits"} <= set(tools[0])
    checks = json.loads(tomoscribe("doctor", "--json").stdout)
    assert any(check["state"] == "off" for check in checks)


def test_a_report_never_replaces_somebody_elses_folders(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "mine.nii.gz").write_text("mine", encoding="utf-8")
    done = tomoscribe("read", str(scan), "--out", str(tmp_path))
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert (tmp_path / "masks" / "mine.nii.gz").read_text(encoding="utf-8") == "mine"


def test_output_that_is_a_file_is_a_usage_error(scan: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    assert tomoscribe("read", str(scan), "--out", str(tmp_path / "taken")).returncode == 2
    reports = tmp_path / "reports.csv"
    reports.write_text("text\nNo effusion.\n", encoding="utf-8")
    for out in (reports, tmp_path / "taken" / "x.csv"):
        assert tomoscribe("label", str(reports), "--text-column", "text", "--out", str(out)).returncode == 2
    assert reports.read_text(encoding="utf-8") == "text\nNo effusion.\n"


@pytest.mark.parametrize(
    "words",
    [("read", "{scan}", "--out", "{bad}"), ("segment", "{scan}", "--out", "{bad}"), ("phantom", "{bad}")],
)
@pytest.mark.parametrize("bad", ["taken", "taken/below"])
def test_every_verb_refuses_a_bad_place_in_one_line(
    words: tuple[str, ...], bad: str, scan: Path, tmp_path: Path
) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    done = tomoscribe(*(word.format(scan=scan, bad=tmp_path / bad) for word in words))
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "E_INTERNAL" not in done.stderr


def test_the_version_is_told() -> None:
    assert tomoscribe("--version").stdout == f"tomoscribe {version('tomoscribe')}\n"


def test_a_series_of_a_prior_without_a_prior_is_a_usage_error(scan: Path, tmp_path: Path) -> None:
    done = tomoscribe("read", str(scan), "--out", str(tmp_path / "out"), "--prior-series", "1.2.3")
    assert done.returncode == 2


def test_the_scan_itself_is_no_prior(scan: Path, tmp_path: Path) -> None:
    done = tomoscribe("read", str(scan), "--out", str(tmp_path / "out"), "--prior", str(scan))
    assert done.returncode == 2
    assert not (tmp_path / "out").exists()


def test_info_of_what_would_be_refused_says_so_and_ends_with_3(tmp_path: Path, scan: Path) -> None:
    done = tomoscribe("info", str(tmp_path), "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["refusal"]["code"] == "E_NO_IMAGES"
    assert tomoscribe("info", str(scan), "--series", "1.2.3", "--json").returncode == 3
    assert tomoscribe("read", str(scan), "--series", "1.2.3", "--out", str(tmp_path / "out")).returncode == 3


def test_tables_fit_80_columns_without_cutting_words(scan: Path) -> None:
    narrow = {**os.environ, "COLUMNS": "80"}
    for words in (("tools",), ("info", str(scan))):
        done = subprocess.run([COMMAND, *words], capture_output=True, text=True, check=False, env=narrow)
        assert done.returncode == 0
        assert "…" not in done.stdout
        assert max(map(len, done.stdout.splitlines())) <= 80
