"""The table of engines: no weights are measured on patients that they learned from, and how rows become figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import anatomy
from benchmarks.anatomy import FOLDS, Row, learned, summary, together, weights_for
from benchmarks.references import patient_of
from vlm.anatomy.network import WEIGHTS

OTHERS = ("totalseg-dicom-j2k", "elastix-right-lung", "acrin-flt-breast-001-day1-chest", "someone-new")


@pytest.fixture
def trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with weights of every fold, and those for use."""
    for name in ("fold0", "fold1", "fold2", "use", "phantoms"):
        (tmp_path / f"{name}.safetensors").touch()
    monkeypatch.setattr(anatomy, "BUILD", tmp_path)
    return tmp_path


@pytest.mark.parametrize("scan", [*(scan for fold in FOLDS for scan in fold), *OTHERS])
def test_weights_are_never_measured_on_patients_that_they_learned_from(trained: Path, scan: str) -> None:
    weights = weights_for(scan)
    assert weights is not None
    assert weights.parent == trained != WEIGHTS.parent  # neither "use" nor what ships, which learned from all
    assert weights.stem.startswith("fold")
    assert patient_of(scan) not in learned(int(weights.stem.removeprefix("fold")))


def test_a_scan_waits_while_only_weights_that_know_its_patient_are_there(trained: Path) -> None:
    (trained / "fold1.safetensors").unlink()
    assert weights_for(FOLDS[1][0]) is None
    assert weights_for(FOLDS[0][0]) is not None


def test_a_patient_is_in_one_fold_and_days_of_a_patient_are_one() -> None:
    patients = [patient_of(scan) for fold in FOLDS for scan in fold]
    assert len(set(patients)) == len(patients)
    assert patient_of("acrin-flt-breast-001-day1-chest") == patient_of("acrin-flt-breast-001-day4-abdomen")


def test_what_is_not_believed_is_counted_apart_and_a_false_absence_is_zero() -> None:
    rows = [Row("network", "a", "liver", 0.9, 2.0, 1500.0), Row("network", "b", "liver", None, None, 1500.0),
            Row("network", "c", "liver", 0.0, None, 1500.0)]  # fmt: skip
    told = summary(rows)["network"]["liver"]
    assert told == {"dice": 0.45, "least": 0.0, "surface_mm": 2.0, "patients": 2, "of": 3}


def test_together_takes_the_engine_that_does_better_on_the_other_patients() -> None:
    dice = {"rules": (0.9, 0.7, 0.7), "network": (0.85, 0.85, 0.85)}
    rows = [Row(engine, scan, "liver", value, 1.0, 1500.0)
            for engine, values in dice.items() for scan, value in zip("abc", values, strict=True)]  # fmt: skip
    assert [row.dice for row in together(rows)] == [0.85, 0.85, 0.85]  # though the rules do best on the first of them
