"""Slots come from the ledger, evidence keeps its ids, and a report survives its own JSON Schema."""

from __future__ import annotations

import json
from importlib.resources import files

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.export import to_markdown
from app.export.footnotes import footnote, footnotes
from vlm.ct import Box
from vlm.evidence import QUANTITIES, Coverage, Ledger, Measurement, Observation, Region, Search
from vlm.report import CaseRecord, Geometry, Report, Sentence, evidence_record, render


def ledger() -> Ledger:
    region = Region(
        centroid_mm=(50.0, 10.0, -20.0),
        box_mm=Box(low_mm=(40, 0, -30), high_mm=(60, 20, -10)),
        slices=(3, 9),
        mask="n1",
    )
    book = Ledger()
    book.add(
        Observation(
            tool="nodules",
            finding="lung_nodule",
            presence="present",
            side="right",
            site="upper_zone",
            measurements=(Measurement(quantity="diameter", value=16.6), Measurement(quantity="short_axis", value=13.9)),
            attributes={"density": "solid"},
            region=region,
        )
    )
    smallest = Measurement(quantity="diameter", value=6.0)
    book.add(Search(tool="nodules", finding="lung_nodule", covered=1.0, found=1, smallest=smallest, sensitivity=0.9))
    book.add(Coverage(tool="field_of_view", site="pelvis", covered=0.0))
    return book


def report(book: Ledger) -> Report:
    rows = tuple(tuple(float(i == j) for j in range(4)) for i in range(4))
    evidence = {name: evidence_record(record, version="1", mask_file=None) for name, record in book}
    sentence = Sentence(
        id="S1", section="lungs_and_pleura", text="Nodule.", cites=("E1",), author="compose", verdict="supported"
    )
    geometry = Geometry(shape=(4, 4, 4), spacing_mm=(1, 1, 1), affine=rows)  # type: ignore[arg-type]
    return Report(
        case=CaseRecord(id="0", source="phantom", scan={}, geometry=geometry),
        sentences=(sentence,),
        evidence=evidence,
        provenance={"writer": "compose"},
    )


def test_slots_print_the_ledgers_numbers_and_no_others() -> None:
    assert (
        render("Nodule of {E1.diameter#} x {E1.short_axis}, {E2.smallest}.", ledger()) == "Nodule of 17 x 14 mm, 6 mm."
    )


@pytest.mark.parametrize("template", ["{E9.diameter}", "{E1.volume}", "{E3.diameter}"])
def test_a_slot_without_evidence_is_an_error(template: str) -> None:
    with pytest.raises(KeyError):
        render(template, ledger())


@given(st.sampled_from(sorted(QUANTITIES)), st.floats(-2000, 2000))
def test_rounding_is_within_half_a_step(quantity: str, value: float) -> None:
    measurement = Measurement(quantity=quantity, value=value)
    step = QUANTITIES[quantity][2 if abs(value) >= 100 else 1]
    assert abs(measurement.rounded - value) <= step / 2 + 1e-6


def test_ids_are_never_used_twice() -> None:
    assert [name for name, _ in ledger()] == ["E1", "E2", "E3"]


def test_report_json_fits_its_schema_and_comes_back_the_same() -> None:
    schema = json.loads((files("app.export") / "report.schema.json").read_text(encoding="utf-8"))
    document = report(ledger()).model_dump(mode="json", by_alias=True)
    jsonschema.validate(document, schema)
    assert Report.model_validate_json(json.dumps(document)) == report(ledger())


def test_the_shipped_schema_is_that_of_the_types() -> None:
    shipped = json.loads((files("app.export") / "report.schema.json").read_text(encoding="utf-8"))
    assert shipped == Report.model_json_schema(by_alias=True, mode="serialization")


def test_a_footnote_names_tool_size_and_place() -> None:
    line = footnote(("E1", report(ledger()).evidence["E1"]))
    assert "nodules 1" in line
    assert "16.6 mm" in line
    assert "slices 3-9" in line


def test_markdown_says_that_it_is_a_draft() -> None:
    assert "not for diagnosis" in to_markdown(report(ledger()))


def test_searches_that_looked_at_nothing_share_a_line() -> None:
    book = ledger()
    for finding in ("rib_fracture", "bone_lesion", "splenomegaly"):
        book.add(Search(tool="unseen", finding=finding, covered=0.0, failed=("not_implemented",)))
    evidence = report(book).evidence
    assert footnotes(dict.fromkeys(["E4", "E5", "E6"], 1), evidence) == [
        "1. **E4, E5, E6** not searched: no tool looks for it yet — unseen 1"
    ]


def test_searches_of_both_sides_share_a_line() -> None:
    book = ledger()
    for side in ("left", "right"):
        book.add(Search(tool="pneumothorax", finding="pneumothorax", side=side, covered=1.0))  # type: ignore[arg-type]
    (line,) = footnotes({"E4": 1, "E5": 1}, report(book).evidence)
    assert "(left and right)" in line


def said(*texts: str) -> str:
    plain = report(ledger())
    sentences = tuple(plain.sentences[0].model_copy(update={"id": f"S{n}", "text": t}) for n, t in enumerate(texts))
    return to_markdown(plain.model_copy(update={"sentences": sentences}))


def test_a_limit_that_recurs_is_said_once_below_the_findings() -> None:
    page = said(
        "No ascites (detection limit not measured).",
        "No pneumothorax (slices too thick, detection limit not measured).",
        "No effusion.",
    )
    assert "No ascites.† [1]" in page
    assert "No pneumothorax (slices too thick).† [1]" in page
    assert "No effusion. [1]" in page
    assert page.count("not been measured") == 1


def test_a_limit_that_is_said_once_stays_in_its_sentence() -> None:
    page = said("No ascites (detection limit not measured).", "No effusion.")
    assert "No ascites (detection limit not measured). [1]" in page
    assert "†" not in page


def test_the_impression_points_to_the_first_doubt_and_its_reason_stands_with_it() -> None:
    plain = report(ledger())
    noted = plain.evidence["E1"].model_copy(update={"presence": "uncertain", "note": "cut by the end of the scan"})
    doubt = plain.sentences[0].model_copy(update={"section": "to_review", "text": "Possible nodule."})
    refused = doubt.model_copy(update={"id": "S2", "text": "A carcinoma.", "reason": "nothing accounts for it"})
    evidence = {**plain.evidence, "E1": noted}
    page = to_markdown(plain.model_copy(update={"sentences": (refused, doubt), "evidence": evidence}))
    assert "Not certain, see *To review* (1): Possible nodule. [1]" in page
    assert "- Possible nodule. [1] — *cut by the end of the scan*" in page
    assert "- A carcinoma. [1] — *nothing accounts for it*" in page
