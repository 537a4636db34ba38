"""``tomoscribe index`` and ``search``: layouts found, bad studies skipped, runs resumed, answers printed."""

from __future__ import annotations

import csv
import json
import shutil
import stat
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.studies import find_studies
from retrieval.library import CaseLibrary
from tests.library_cases import REPORTS, new_case
from tests.page_case import Finished
from vlm.errors import UsageError

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'tomoscribe[retrieval]'")


def run(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def table(path: Path, rows: list[dict[str, str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def reports(tmp_path: Path) -> Path:
    rows = [{"patient": key, "study": f"{key}-s", "report": text, "age": "50"} for key, text in REPORTS.items()]
    return table(tmp_path / "reports.csv", rows)


def test_a_table_goes_in_once(reports: Path, tmp_path: Path) -> None:
    library = tmp_path / "lib"
    first = json.loads(run("index", "add", reports, "--library", library, "--workers", 1, "--json").stdout)
    assert (first["added"], first["held"], first["cases"]) == (6, 0, 6)
    again = json.loads(run("index", "add", reports, "--library", library, "--workers", 1, "--json").stdout)
    assert (again["added"], again["held"], again["cases"]) == (0, 6, 6)
    stats = json.loads(run("index", "stats", "--library", library, "--json").stdout)
    assert stats["patients"] == 6
    assert stats["findings"]["lung_nodule"] == 2
    assert {entry["kind"] for entry in stats["indexes"]} == {"scan", "organ", "sentence"}
    assert run("index", "check", "--library", library).exit_code == 0
    assert run("index", "rebuild", "--library", library).exit_code == 0


def test_search_by_words_and_by_a_report_of_ours(reports: Path, tmp_path: Path, finished: Finished) -> None:
    library = tmp_path / "lib"
    run("index", "add", reports, "--library", library, "--workers", 1)
    found = json.loads(run("search", "kidney stone, left", "--library", library, "--json").stdout)
    assert "left kidney" in found[0]["sentence"]
    like = json.loads(run("search", finished.reading, "--library", library, "--json").stdout)
    assert "lung_nodule" in like[0]["shared"] or "pleural_effusion" in like[0]["shared"]
    only = json.loads(run("search", finished.reading, "--finding", "gallstone", "--library", library, "--json").stdout)
    assert all("Gallstones" in row["report"] for row in only)
    assert "case" in run("search", "nodule", "--library", library).stdout


def test_search_writes_thumbnails(reports: Path, tmp_path: Path) -> None:
    library = tmp_path / "lib"
    run("index", "add", reports, "--library", library, "--workers", 1)
    held = CaseLibrary(library)
    held.add(new_case("p4", study="pictured", pictures={"thumbnail.png": b"\x89PNG small"}))
    held.close()
    words = ("search", "kidney stone", "--library", library, "--thumbnails", tmp_path / "small", "--json")
    rows = json.loads(run(*words).stdout)
    written = [Path(row["thumbnail"]) for row in rows if row["thumbnail"]]
    assert [path.read_bytes() for path in written] == [b"\x89PNG small"]
    assert stat.S_IMODE(written[0].stat().st_mode) == 0o600
    assert "no image is kept" in run(*words[:-1]).stdout  # of the others


def test_our_own_reports_go_in_with_what_was_measured(finished: Finished, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(finished.reading, source / "one")
    (source / "two").mkdir()
    (source / "two" / "report.json").write_text("{}")
    done = json.loads(run("index", "add", source, "--library", tmp_path / "lib", "--json").stdout)
    assert done["added"] == 1
    assert [entry["study"] for entry in done["skipped"]] == ["two"]
    stats = json.loads(run("index", "stats", "--library", tmp_path / "lib", "--json").stdout)
    assert stats["findings"]["lung_nodule"] == 1


def test_a_removed_patient_is_not_found(reports: Path, tmp_path: Path) -> None:
    library = tmp_path / "lib"
    run("index", "add", reports, "--library", library, "--workers", 1)
    assert json.loads(run("index", "remove", "--patient", "p3", "--library", library, "--json").stdout) == {
        "removed": 1
    }
    found = json.loads(run("search", "pleural effusion", "--library", library, "--json").stdout)
    assert not [row for row in found if "Moderate left pleural effusion" in row["report"]]
    assert isinstance(run("index", "remove", "--patient", "p3", "--library", library).exception, UsageError)


def test_what_was_planted_is_found_nowhere_after_a_removal(reports: Path, tmp_path: Path) -> None:
    """In no file: tables, write-ahead file, full-text index, indexes; neither as it was given nor as it was kept."""
    library = tmp_path / "lib"
    words = "Findings: Zyxquark nodule in the left upper lobe of 17 mm, tethered wumblefrotz. MRN 99887766."
    row = {"patient": "ZZPLANTED^NAME", "study": "1.2.826.0.1.987654321", "report": words, "age": "50"}
    other = [{"patient": key, "study": f"{key}-s", "report": text, "age": "50"} for key, text in REPORTS.items()]
    table(reports, [*other, row])
    run("index", "add", reports, "--library", library, "--workers", 1)
    kept = b"".join(path.read_bytes() for path in library.rglob("*") if path.is_file())
    opened = CaseLibrary(library)
    (case,) = opened.tables.rows("select * from cases where report like '%wumblefrotz%'")
    (patient,) = opened.tables.rows("select token from patients where id = ?", (case["patient"],))
    rows = opened.tables.rows("select case_id = ? mine, body from vectors", (case["id"],))
    others = {row["body"] for row in rows if not row["mine"]}
    own = [row["body"] for row in rows if row["mine"] and row["body"] not in others]
    opened.close()
    never = [b"ZZPLANTED", b"987654321", b"99887766"]
    traces = [b"wumblefrotz", patient["token"].encode(), case["name"].encode(), case["study"].encode(), *own]
    assert not [trace for trace in never if trace in kept]
    assert all(trace in kept for trace in traces)
    assert own
    assert run("index", "remove", "--patient", "ZZPLANTED^NAME", "--library", library).exit_code == 0
    kept = b"".join(path.read_bytes() for path in library.rglob("*") if path.is_file())
    assert not [trace for trace in (*never, *traces, b"zyxquark", b"Zyxquark") if trace in kept]
    assert run("index", "check", "--library", library).exit_code == 0


def test_ct_rate_is_known_by_its_names(tmp_path: Path) -> None:
    rows = [
        {"VolumeName": f"valid_1_a_{n}.nii.gz", "Findings_EN": "Lung nodule.", "Impressions_EN": "Nodule."}
        for n in (1, 2)
    ]
    table(tmp_path / "validation_reports.csv", rows)
    about = {"VolumeName": "valid_1_a_1.nii.gz", "PatientAge": "058Y", "PatientSex": "F", "StudyDate": "20210304.0"}
    table(tmp_path / "validation_metadata.csv", [about])
    (tmp_path / "valid_1_a_2.nii.gz").touch()
    first, second = find_studies(tmp_path)
    assert (first.patient, first.study, first.series, first.source) == ("valid_1", "valid_1_a", "1", "ct-rate")
    assert (first.age, first.sex, str(first.date)) == (58, "F", "2021-03-04")
    assert second.study == first.study
    assert second.volume == tmp_path / "valid_1_a_2.nii.gz"
    assert first.text == "Findings: Lung nodule.\nImpression: Nodule."


def test_merlin_is_known_by_its_columns(tmp_path: Path) -> None:
    table(tmp_path / "reports.csv", [{"study id": "AC42", "Findings": "Gallstones.", "Age": "61"}])
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "AC42.nii.gz").touch()
    (study,) = find_studies(tmp_path)
    assert (study.study, study.source, study.age) == ("AC42", "merlin", 61)
    assert study.volume == tmp_path / "images" / "AC42.nii.gz"


def test_what_holds_no_study_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no report\.json and no CSV"):
        find_studies(tmp_path)
    with pytest.raises(UsageError, match="missing"):
        find_studies(tmp_path / "none")
