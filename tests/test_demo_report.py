"""The report that the demo shows agrees with what was drawn into its phantom: all of it, and nothing else."""

from __future__ import annotations

import math
import re

import pytest

from app.reading import read_scan
from vlm.phantom.chest import Truth, demo_case
from vlm.phantom.dicom_series import write_dicom_series
from vlm.report import FINDINGS_SECTIONS, EvidenceRecord, Report

# What a report may differ by from what was drawn: quantity -> share of it.
TOLERANCE = {"diameter": 0.15, "volume": 0.15}
PLACE_MM = 12.0
WORDS = {"lung_nodule": "nodule", "pleural_effusion": "pleural effusion", "coronary_artery_calcification": "coronary"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, tuple[Truth, ...]]:
    folder = tmp_path_factory.mktemp("demo")
    phantom = demo_case(seed=7)
    write_dicom_series(phantom.volume, folder, seed=7)
    return read_scan(folder).report, tuple(phantom.truth)


def observed(report: Report) -> dict[str, EvidenceRecord]:
    return {name: record for name, record in report.evidence.items() if record.kind == "observation"}


def the(report: Report, truth: Truth) -> tuple[str, EvidenceRecord]:
    found = [(name, record) for name, record in observed(report).items() if record.finding == truth.finding]
    assert len(found) == 1, truth.finding
    return found[0]


def test_everything_that_was_drawn_is_seen_on_its_side_and_in_its_place(
    demo: tuple[Report, tuple[Truth, ...]],
) -> None:
    report, truths = demo
    for truth in truths:
        _, record = the(report, truth)
        assert record.presence == "present"
        assert record.side == truth.side
        assert record.region is not None
        if truth.quantity == "diameter":
            assert math.dist(record.region.centroid_mm, truth.centre_mm) < PLACE_MM


def test_nothing_is_seen_that_was_not_drawn(demo: tuple[Report, tuple[Truth, ...]]) -> None:
    report, truths = demo
    assert sorted(record.finding or "" for record in observed(report).values()) == sorted(t.finding for t in truths)
    assert not report.section("to_review")


def test_sizes_agree(demo: tuple[Report, tuple[Truth, ...]]) -> None:
    report, truths = demo
    for truth in truths:
        _, record = the(report, truth)
        value = next(m.value for m in record.measurements if m.quantity == truth.quantity)
        if truth.finding == "coronary_artery_calcification":  # blur spreads what is smaller than it over 130 HU
            assert truth.value < value < 3 * truth.value
        else:
            assert value == pytest.approx(truth.value, rel=TOLERANCE[truth.quantity])


def test_findings_and_impression_say_all_of_it_with_its_side_and_deny_none_of_it(
    demo: tuple[Report, tuple[Truth, ...]],
) -> None:
    report, truths = demo
    for truth in truths:
        name, _ = the(report, truth)
        for sections in (FINDINGS_SECTIONS, ("impression",)):
            told = [s.text for key in sections for s in report.section(key) if name in s.cites]
            assert len(told) == 1
            assert WORDS[truth.finding] in told[0].lower()
            assert truth.side is None or truth.side in told[0].lower()


def test_every_other_sentence_of_the_findings_is_a_denial(demo: tuple[Report, tuple[Truth, ...]]) -> None:
    report, _ = demo
    seen = set(observed(report))
    others = [s.text for key in FINDINGS_SECTIONS for s in report.section(key) if not seen & set(s.cites)]
    assert others
    assert not [text for text in others if not re.match(r"No |The heart is not ", text)]
    assert len(report.section("impression")) == len(seen)
