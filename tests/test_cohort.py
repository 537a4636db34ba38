"""A cohort: the findings it was asked to have, resumable, the same bytes however it was made."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.test_phantom_files import sums
from vlm.ct import read
from vlm.errors import UsageError
from vlm.phantom.body.findings import FINDINGS
from vlm.phantom.body.wishes import read_wish
from vlm.phantom.chest import chest
from vlm.phantom.cohort import Settings, drawable, plan_of, write_cohort
from vlm.phantom.dicom_series import write_dicom_series
from vlm.phantom.into import KINDS, wanted
from vlm.phantom.plans import chances, not_drawn, plan, table
from vlm.phantom.requests import ASKED_ALONE, SIZES, request
from vlm.phantom.seeds import split_of

QUICK = Settings(count=2, spacing_mm=(9.0, 9.0, 9.0), phase="plain")


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("cohort") / "c"
    assert write_cohort(out, QUICK, workers=1).failed == {}
    return out


def test_a_cohort_that_was_cut_off_goes_on_to_the_same_bytes(cohort: Path, tmp_path: Path) -> None:
    again = tmp_path / "c"
    shutil.copytree(cohort, again)
    shutil.rmtree(again / "case-0001")
    (again / "cohort.csv").unlink()
    half = again / ".case-0001.new" / "scan"  # what a killed process leaves
    half.mkdir(parents=True)
    (half / "ct.nii.gz").write_bytes(b"half a scan")
    kept = (again / "case-0000" / "truth.json").stat().st_mtime_ns
    write_cohort(again, QUICK, workers=2)
    assert sums(again) == sums(cohort)
    assert (again / "case-0000" / "truth.json").stat().st_mtime_ns == kept  # not drawn again


def test_a_case_holds_scan_truth_masks_and_report(cohort: Path) -> None:
    rows = list(csv.DictReader((cohort / "cohort.csv").open(encoding="utf-8")))
    assert [row["case_id"] for row in rows] == ["case-0000", "case-0001"]
    for row in rows:
        folder = cohort / row["case_id"]
        truth = json.loads((folder / "truth.json").read_text())
        assert split_of(truth["asked"]["seed"]) == truth["split"] == "test"
        assert (folder / "scan" / "ct.nii.gz").is_file() and (folder / "labels.nii.gz").is_file()
        assert {name: int(row[name]) for name in truth["labels"]} == truth["labels"]
        assert all(entry["region"]["centroid_mm"] for entry in truth["findings"])
        assert (folder / "findings.nii.gz").is_file() == bool(truth["findings"])


def test_findings_are_put_into_scans_in_turn_and_the_scans_stay_beside(tmp_path: Path) -> None:
    host = tmp_path / "mine"
    write_sample_chest(host)
    out = tmp_path / "c"
    settings = Settings(count=1, prevalence="graded")
    assert write_cohort(out, settings, scans=[host], workers=1).failed == {}
    truth = json.loads((out / "case-0000" / "truth.json").read_text())
    assert truth["host"] == "1" and truth["findings"]
    whole, changed = (read(out / name / "scan").volume for name in ("hosts/1", "case-0000"))
    assert np.array_equal(whole.hu, read(host).volume.hu)
    assert whole.grid.same_as(changed.grid) and not np.array_equal(whole.hu, changed.hu)
    assert (out / "case-0000" / "report.txt").read_text()


def write_sample_chest(folder: Path) -> None:
    """A chest of somebody, as slices."""
    write_dicom_series(chest(seed=2, spacing_mm=(4.0, 4.0, 4.0)).volume, folder, seed=2)


def test_another_cohort_is_not_mixed_in(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another prevalence"):
        write_cohort(cohort, Settings(count=2, spacing_mm=(9.0, 9.0, 9.0), phase="plain", prevalence="graded"))
    (tmp_path / "mine.txt").write_text("somebody's")
    with pytest.raises(UsageError, match="no cohort"):
        write_cohort(tmp_path, QUICK)


def test_labels_have_the_shares_of_ct_rate() -> None:
    count = 1200
    seen: Counter[str] = Counter()
    labels = {name: set(label["draw"]) for name, label in table()["label"].items()}
    every = frozenset().union(*labels.values())
    for seed in range(count):
        words = plan("ct-rate", seed, known=every).findings
        found = {read_wish(each, every).finding for each in words}
        seen.update(name for name, keys in labels.items() if keys & found)
    for name, label in table()["label"].items():
        error = 4 * np.sqrt(label["share"] * (1 - label["share"]) / count)
        assert seen[name] / count == pytest.approx(label["share"], abs=error), name


def test_findings_keep_company() -> None:
    for name, label in table()["label"].items():
        without, within = chances(label)
        assert 0 < without < within < 1, name


def test_every_request_is_read_as_what_was_meant() -> None:
    rng = np.random.default_rng(5)
    for finding in sorted(FINDINGS):
        for _ in range(20):
            assert read_wish(request(finding, rng), frozenset(FINDINGS)).finding == finding
        for level in SIZES[finding].levels if finding in SIZES else ():
            wish = read_wish(request(finding, rng, size=level), frozenset(FINDINGS))
            assert level in (wish.mm, wish.ml, wish.percent)
    for finding in sorted(KINDS):
        assert wanted(request(finding, rng, "scan")).finding == finding


def test_a_graded_cohort_has_every_finding_at_every_level() -> None:
    settings = Settings(count=2400, prevalence="graded")
    known = drawable(settings)
    levels: Counter[tuple[str, float | None]] = Counter()
    plans = [plan_of(settings, number) for number in range(settings.count)]
    for each in plans:
        for words in each.findings:
            wish = read_wish(words, known)
            levels[wish.finding, wish.mm or wish.ml or wish.percent] += 1
    for finding in known - ASKED_ALONE:
        for level in SIZES[finding].levels if finding in SIZES else (None,):
            assert levels[finding, level] >= 1, (finding, level)
    assert sum(not each.findings for each in plans) == settings.count // 8


def test_labels_that_nothing_can_be_drawn_for_are_told() -> None:
    assert not_drawn(frozenset({"lung_nodule"})) == tuple(name for name in table()["label"] if name != "Lung nodule")
