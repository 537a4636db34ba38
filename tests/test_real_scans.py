"""Real scans whose visible findings are known: found where listed, silent where clear, honest where not covered.

Misses that we know of are listed here by name, so that a new one fails and a mended one is noticed.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import cache

import pytest

from app.reading import read_scan
from benchmarks.real_scans import judge_scan, scan_path
from tests.conftest import SHARED
from vlm.evidence import Ledger
from vlm.findings.packs import load_pack
from vlm.language.query import queries_of_pack
from vlm.language.standing import stands
from vlm.report import FINDINGS_SECTIONS, Report

KNOWN = SHARED / "ct" / "findings.json"
SCANS = [name for name in json.loads(KNOWN.read_text("utf-8")) if name[0] != "_"] if KNOWN.is_file() else ["none"]
DENIALS = ("no ", "the heart is not")

# (scan, finding) -> why it is missed.
MISSES = {
    ("cptac-pda-00189", "biliary stent"): "75 mm long, and the list names one point on it: its middle lies 13 mm off",
    ("cptac-pda-00189", "renal hypodense lesion"): "in one slice of 5 mm, where it joins a calyx",
    ("cptac-pda-00189", "pancreatic mass"): "no tool for the pancreas",
    ("lidc-idri-0314", "hilar and mediastinal soft tissue"): "nodes that merge with a mass are not told apart",
    ("lidc-idri-0314", "mass"): "told as a possible mass: no border shows between it and the collapsed lobe",
    ("lung-pet-ct-dx-a0002", "atelectasis"): "collapse beside the mediastinum lies outside the cavity that is found",
    (
        "totalseg-abdomen-3mm",
        "distended bladder",
    ): "told as possible: a large cyst looks like a bladder nobody outlined",
    ("rider-pilot-0117", "nodule"): "one lobulated nodule of 22 x 24 mm comes out 5 mm too small",
}


@cache
def told_of(name: str) -> tuple[Report, Ledger]:
    reading = read_scan(scan_path(name))
    return reading.report, reading.case.ledger


def report_of(name: str) -> Report:
    return told_of(name)[0]


@pytest.mark.realct
@pytest.mark.parametrize("name", SCANS)
def test_listed_findings_are_found_and_clear_lungs_stay_clear(name: str) -> None:
    listed = json.loads(KNOWN.read_text("utf-8"))[name]
    rows = judge_scan(name, listed, report_of(name))
    missed = Counter((row.scan, row.finding) for row in rows if row.outcome == "miss")
    assert not [row for row in rows if row.outcome == "false"]
    assert missed == {key: 1 for key in MISSES if key[0] == name}


@pytest.mark.realct
@pytest.mark.parametrize("name", SCANS)
def test_what_enters_the_report_is_borne_out(name: str) -> None:
    report = report_of(name)
    for sentence in report.sentences:
        if sentence.section != "to_review":
            assert sentence.verdict in ("supported", "neutral"), sentence.text
            assert set(sentence.cites) <= set(report.evidence)


@pytest.mark.realct
@pytest.mark.parametrize("name", ["totalseg-abdomen-3mm", "acrin-flt-breast-001-day4-abdomen"])
def test_an_abdomen_is_not_denied_what_only_a_chest_could_show(name: str) -> None:
    report = report_of(name)
    for sentence in report.sentences:
        if sentence.section in FINDINGS_SECTIONS and sentence.text.lower().startswith(DENIALS):
            assert "nodule" not in sentence.text
            assert "covered" in sentence.text or "pneumothorax" not in sentence.text


@pytest.mark.realct
@pytest.mark.parametrize("name", ["totalseg-abdomen-3mm", "acrin-flt-breast-001-day4-abdomen", "cptac-pda-00189"])
def test_each_of_the_30_findings_of_an_abdomen_is_answered_or_says_why_not(name: str) -> None:
    ledger = told_of(name)[1]
    told = {query.words: stands(query, ledger) for query in queries_of_pack(load_pack("merlin-30"))}
    assert len(told) == 30
    assert not [words for words, standing in told.items() if standing.status == "not_assessed" and not standing.why]
    clear = (
        "ascites",
        "pleural_effusion",
        "splenomegaly",
        "free_air",
        "hydronephrosis",
        "bowel_obstruction",
        "fracture",
    )
    assert not [words for words in clear if told[words].status in ("present", "uncertain")]
    assert "not covered" not in told["hepatic_steatosis"].why
