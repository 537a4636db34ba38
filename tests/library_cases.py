"""A small fixed library: cases with known findings, for the tests of retrieval and of the page's panel."""

from __future__ import annotations

import datetime
from pathlib import Path

from retrieval.cases import NewCase
from retrieval.library import CaseLibrary

REPORTS = {  # patient -> report; findings are told in words
    "p1": "Findings: 12 mm solid nodule in the right upper lobe. Emphysema. No pleural effusion. Impression: Nodule.",
    "p2": "Findings: 14 mm nodule in the right upper lobe. Coronary artery calcification. No pneumothorax.",
    "p3": "Findings: Moderate left pleural effusion. Atelectasis of the left lower lobe. The heart is enlarged.",
    "p4": "Findings: 5 mm stone in the left kidney. Gallstones. No hydronephrosis. Fatty liver.",
    "p5": "Findings: 8 mm cyst of the liver. Kidney stone on the right. No ascites.",
    "p6": "Findings: No lung nodule. No pleural effusion. No pneumothorax. The heart is not enlarged.",
}  # fmt: skip
AGES = {"p1": 61, "p2": 70, "p3": 55, "p4": 43, "p5": 66, "p6": 30}


def new_case(patient: str, /, **more: object) -> NewCase:
    """The case of one of REPORTS; its study is the patient's only one."""
    chest = patient in ("p1", "p2", "p3", "p6")
    told: dict[str, object] = {
        "patient": patient, "study": f"{patient}-study", "source": "table", "report": REPORTS[patient],
        "regions": ("chest",) if chest else ("abdomen",), "phase": "plain" if chest else "portal",
        "age": AGES[patient], "date": datetime.date(2020, 1, 1), "stamp": "1",
    }  # fmt: skip
    return NewCase(**{**told, **more})  # type: ignore[arg-type]  # each is of its field's type


def make_library(folder: Path) -> CaseLibrary:
    """A library of all of them."""
    library = CaseLibrary(folder)
    for patient in REPORTS:
        library.add(new_case(patient))
    return library
