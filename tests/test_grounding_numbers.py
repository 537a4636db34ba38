"""Numbers: units, rounding, bounds, which length; limits and words of change in a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.grounding_ledger import verdict
from vlm.evidence import CONDITIONS, Ledger, Measurement, Observation
from vlm.grounding import Statement, check
from vlm.grounding.changes import split_changes
from vlm.grounding.fleischner import months_allowed
from vlm.grounding.limits import split_limits
from vlm.grounding.rules_change import joint_uncertainty
from vlm.grounding.spelled import in_digits

sizes = st.floats(min_value=3.0, max_value=99.0)


def of_nodule(value: float, text: str) -> str:
    ledger = Ledger()
    size = Measurement(quantity="diameter", value=value)
    ledger.add(Observation(tool="t", finding="lung_nodule", presence="present", measurements=(size,), note="by hand"))
    return check([Statement(id="S", section="lungs_and_pleura", text=text, cites=("E1",))], ledger)["S"].name


@given(sizes)
def test_rounded_millimetres_and_centimetres_are_the_measurement(value: float) -> None:
    shown = Measurement(quantity="diameter", value=value).rounded
    assert of_nodule(value, f"Nodule of {shown:.0f} mm.") == "supported"
    assert of_nodule(value, f"Nodule of {shown / 10:.1f} cm.") == "supported"


@given(sizes, st.floats(min_value=0.1, max_value=3.0), st.booleans())
def test_ten_percent_off_is_contradicted(value: float, share: float, more: bool) -> None:
    shown = Measurement(quantity="diameter", value=value).rounded
    step = max(1, round(shown * share))
    wrong = shown + step if more or shown <= step else shown - step
    assert of_nodule(value, f"Nodule of {wrong:.0f} mm.") == "contradicted"
    assert of_nodule(value, f"Nodule of {wrong / 10:.1f} cm.") == "contradicted"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Nodule of 17 millimetres in the right upper lobe.", "supported"),
        ("Nodule of 17 mm in short axis in the right upper lobe.", "contradicted"),
        ("Nodule of 14 mm in short axis in the right upper lobe.", "supported"),
        ("Nodule of 14 mm in the right upper lobe.", "contradicted"),
        ("Nodule of more than 10 mm in the right upper lobe.", "supported"),
        ("Nodule of more than 20 mm in the right upper lobe.", "contradicted"),
        ("Nodule of 14 x 17 mm in the right upper lobe.", "contradicted"),
        ("Nodule of 14-17 mm in the right upper lobe.", "contradicted"),
        ("Nodule of 17 in the right upper lobe.", "contradicted"),
        ("Nodule of 17 ml in the right upper lobe.", "contradicted"),
        ("Nodule of 17 mm in the right upper lobe, code 4711.", "contradicted"),
    ],
)
def test_which_number_is_which(text: str, name: str) -> None:
    found = verdict(text, "E1").name
    assert found == name or (name == "contradicted" and found == "unsupported")


@pytest.mark.parametrize("condition", sorted(CONDITIONS))
def test_the_words_of_every_condition_are_a_limit(condition: str) -> None:
    text = f"No nodule ({CONDITIONS[condition]})."
    plain, limits = split_limits(text)
    assert limits == (condition,)
    assert len(plain) == len(text)
    assert CONDITIONS[condition] not in plain


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("No nodule in the covered part of the lung.", ("partly_covered",)),
        ("No embolus on this unenhanced scan.", ("no_contrast",)),
        ("No embolus without intravenous contrast medium.", ("no_contrast",)),
        ("No nodule, limited by image noise and by thick slices.", ("noise",)),
        ("Metal artefact from a pacemaker.", ()),
        ("Collapsed lung on the right.", ()),
        ("Consolidation with contrast in the vessels.", ()),
    ],
)
def test_limits_are_read_in_passing(text: str, limits: tuple[str, ...]) -> None:
    assert set(limits) <= set(split_limits(text)[1])
    if not limits:
        assert split_limits(text) == (text, ())


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("Nodule, larger than on the prior scan.", "larger"),
        ("Nodule which has increased in size.", "larger"),
        ("Nodule, decreased since the previous examination.", "smaller"),
        ("Nodule without any change since the prior CT.", "unchanged"),
        ("Nodule, not seen on the prior scan.", "new"),
        ("Larger nodule in the right lung.", None),
        ("Enlarged heart.", None),
        ("Increased density.", None),
    ],
)
def test_words_of_change_are_read_before_findings(text: str, change: str | None) -> None:
    plain, found = split_changes(text)
    assert found == change
    assert len(plain) == len(text)


def test_joint_uncertainty_adds_squares() -> None:
    one, other = (Measurement(quantity="diameter", value=10, plus_minus=p) for p in (3.0, 4.0))
    assert joint_uncertainty(one, other) == 5.0
    assert joint_uncertainty(one, Measurement(quantity="diameter", value=10)) is None


@pytest.mark.parametrize(  # MacMahon, Radiology 2017;284:228, tables
    ("density", "single", "size_mm", "months"),
    [
        ("solid", True, 7.0, ((6, 12),)),
        ("solid", True, 9.0, ((3, 3),)),
        ("solid", False, 7.0, ((3, 6),)),
        ("ground_glass", True, 5.0, ()),
        ("ground_glass", True, 6.0, ((6, 12),)),
        ("part_solid", True, 6.0, ((3, 6),)),
    ],
)
def test_intervals_are_fleischners(
    density: str, single: bool, size_mm: float, months: tuple[tuple[int, int], ...]
) -> None:
    assert months_allowed(density, single, size_mm) == months


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("of eight millimetres", "of 8 millimetres"),
        ("of a centimetre", "of 1 centimetre"),
        ("half a centimetre", "0.5 centimetre"),
        ("one and a half centimetres", "1.5 centimetres"),
        ("twenty-five mm", "25 mm"),
        ("two hundred and twelve ml", "212 ml"),
        ("one nodule in two lungs", "one nodule in two lungs"),
    ],
)
def test_a_measure_in_words_is_the_same_in_digits(text: str, said: str) -> None:
    assert in_digits(text) == said


@pytest.mark.parametrize("size", ["twenty millimetres", "a centimetre", "half a centimetre or more", "two centimetres"])
def test_a_denial_in_words_is_no_finer_than_its_search(size: str) -> None:
    assert verdict(f"No lung mass of {size}.", "E9").name == "contradicted"


@pytest.mark.parametrize(
    "text", ["No tiny lung mass.", "No subcentimetre lung mass.", "No lung mass of a few millimetres."]
)
def test_what_is_tiny_is_not_denied(text: str) -> None:
    assert verdict(text, "E9").name == "unsupported"


def test_a_size_in_words_that_the_search_finds_is_denied() -> None:
    assert verdict("No lung mass of thirty millimetres or more.", "E9").name == "supported"


@pytest.mark.parametrize(
    "text",
    [
        "Left coronary artery calcification.",
        "Calcification of the left anterior descending artery.",
        "Calcification of the RCA.",
        "Left main coronary artery calcification.",
    ],
)
def test_calcium_of_an_unknown_coronary_artery_is_of_no_named_one(text: str) -> None:
    assert verdict(text, "E12", section="heart_and_vessels").name == "unsupported"
    assert verdict("Coronary artery calcification.", "E12", section="heart_and_vessels").name == "supported"
