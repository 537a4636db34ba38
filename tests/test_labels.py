"""Labels of reports: what counts for a pack, files in and out, and the score on reports that were never tuned on."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import pytest

from vlm.errors import IntakeError, UsageError
from vlm.findings.labels import label, label_csv
from vlm.findings.packs import load_pack

REPORTS = [
    "There is a small right pleural effusion. No nodule. Possible bronchiectasis.",
    "Heart size is normal. Small lymph nodes in the mediastinum. Consistent with emphysema.",
    "No enlarged lymph nodes. History of pneumothorax. Central venous catheter.",
]


def row(text: str, pack: str = "ct-rate-18", **options: bool) -> set[str]:
    """Names of the columns that are 1."""
    return {name for name, value in label([text], pack, **options)[0].items() if value}


def test_a_report_gets_the_labels_that_it_states() -> None:
    assert [sum(r.values()) for r in label(REPORTS, "ct-rate-18")] == [2, 2, 1]
    assert row(REPORTS[0]) == {"Pleural effusion", "Bronchiectasis"}
    assert row(REPORTS[1]) == {"Lymphadenopathy", "Emphysema"}
    assert row(REPORTS[2]) == {"Medical material"}


def test_a_pack_says_what_doubt_counts_for() -> None:
    assert row("Possible nodule in the lung.") == set()
    assert row("Possible nodule in the lung.", uncertain_positive=True) == {"Lung nodule"}
    assert row("Possible bronchiectasis.", pack="merlin-30") == set()


def test_a_pack_keeps_its_own_kinds_apart() -> None:
    assert row("Calcified plaques in the coronary arteries.") == {"Coronary artery wall calcification"}
    assert row("Calcified plaques in the aorta.") == {"Arterial wall calcification"}
    assert row("Stent in the common bile duct.") == set()
    assert row("Small mediastinal lymph nodes.", pack="merlin-30") == set()
    assert row("Enlarged mediastinal lymph nodes.", pack="merlin-30") == {"lymphadenopathy"}


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("The gallbladder is surgically absent.", "surgically_absent_gallbladder"),
        ("Status post cholecystectomy.", "surgically_absent_gallbladder"),
        ("Free intraperitoneal air.", "free_air"),
        ("Dilated bile ducts.", "biliary_ductal_dilation"),
        ("Subcentimetre low-density lesions in both kidneys.", "renal_hypodensities"),
        ("The prostate is enlarged.", "prostatomegaly"),
        ("Infrarenal abdominal aortic aneurysm of 4.2 cm.", "abdominal_aortic_aneurysm"),
    ],
)
def test_abdominal_findings(text: str, column: str) -> None:
    assert column in row(text, pack="merlin-30")


def write(path: Path, rows: list[list[str]]) -> Path:
    """A CSV file, gzipped when its name says so."""
    stream = gzip.open(path, "wt", newline="") if path.suffix == ".gz" else path.open("w", newline="")  # noqa: SIM115
    with stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.mark.parametrize("name", ["reports.csv", "reports.csv.gz"])
def test_a_file_of_reports_becomes_a_file_of_labels(tmp_path: Path, name: str) -> None:
    rows = [["AccessionNo", "text"], *([f"a{i}", text] for i, text in enumerate(REPORTS))]
    out = tmp_path / "new" / f"labels_{name}"
    seen: list[int] = []
    assert label_csv(write(tmp_path / name, rows), "text", "ct-rate-18", out, progress=seen.append) == 3
    assert seen == [1, 2, 3]
    opened = gzip.open(out, "rt") if name.endswith(".gz") else out.open()  # noqa: SIM115
    with opened as stream:
        written = list(csv.DictReader(stream))
    assert [r["AccessionNo"] for r in written] == ["a0", "a1", "a2"]
    assert [r["Pleural effusion"] for r in written] == ["1", "0", "0"]
    assert list(written[0])[1:] == [column.name for column in load_pack("ct-rate-18").columns]
    assert {p.name for p in out.parent.iterdir()} == {out.name}


def test_without_an_id_the_rows_are_numbered(tmp_path: Path) -> None:
    path = write(tmp_path / "r.csv", [["text"], ["Emphysema."], [""]])
    label_csv(path, "text", "ct-rate-18", tmp_path / "out.csv")
    assert [line.split(",")[0] for line in (tmp_path / "out.csv").read_text().splitlines()] == ["row", "1", "2"]


def test_a_user_s_pack_is_taken_by_path(tmp_path: Path) -> None:
    pack = tmp_path / "mine.toml"
    pack.write_text('name = "mine"\n[[column]]\nname = "Fluid"\nfindings = ["pleural_effusion", "ascites"]\n')
    assert label(["Ascites.", "No ascites."], str(pack)) == [{"Fluid": 1}, {"Fluid": 0}]


def test_what_cannot_be_meant_is_said_in_one_line(tmp_path: Path) -> None:
    good = write(tmp_path / "r.csv", [["report", "id"], ["Emphysema.", "1"]])
    cases = [
        (good, "reprot", "ct-rate-18", "did you mean 'report'"),
        (good, "report", "ct-rate-19", "did you mean 'ct-rate-18'"),
        (good, "report", str(tmp_path / "none.toml"), "cannot be read"),
        (tmp_path / "none.csv", "report", "ct-rate-18", "is not a file"),
    ]
    for path, column, pack, message in cases:
        with pytest.raises(UsageError, match=message) as caught:
            label_csv(path, column, pack, tmp_path / "out.csv")
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x1f\x8b\x08 not gzip at all",
        b"report\n\xff\xfe\xfa",
        gzip.compress(b"report\nEmphysema and more\n", mtime=0)[:-9],
    ],
)
def test_a_damaged_file_is_refused_in_one_line_and_leaves_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "r.csv.gz"
    path.write_bytes(content)
    with pytest.raises((IntakeError, UsageError)) as caught:
        label_csv(path, "report", "ct-rate-18", tmp_path / "out.csv")
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {"r.csv.gz"}


@pytest.mark.realct
def test_reports_never_tuned_on_are_read_at_least_this_well(shared: Path) -> None:
    from benchmarks.reader import ABDOMEN, abdomen_reports, chest_reports, score

    pack = load_pack("ct-rate-18")
    held = chest_reports(shared / "reports", pack).part(False)
    found = score(held.truth, label(held.texts, pack))
    assert found.macro >= 0.945
    assert found.micro >= 0.945
    pack = load_pack(str(ABDOMEN))
    held = abdomen_reports(shared / "reports", pack).part(False)
    found = score(held.truth, label(held.texts, pack))
    assert found.macro >= 0.74
    assert found.micro >= 0.79
