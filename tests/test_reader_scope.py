"""Denied, doubted, past or asked: for every rule of scope a sentence it decides and one it leaves alone."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm.findings.mentions import Mention
from vlm.findings.reader import presence_of, read_report, read_sentence

ABSENT, PRESENT, UNCERTAIN = "absent", "present", "uncertain"


def presences(text: str) -> dict[str, str]:
    """Presence of every finding of a sentence."""
    return {m.finding: m.presence for m in read_sentence(text).mentions}


def one(text: str, finding: str) -> Mention:
    """The only mention of a finding."""
    found = [m for m in read_sentence(text).mentions if m.finding == finding]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a denial before its finding reaches over a list
        ("No pneumothorax.", {"pneumothorax": ABSENT}),
        ("No effusion, pneumothorax or consolidation.", dict.fromkeys(["pleural_effusion", "pneumothorax"], ABSENT)),
        ("Neither pneumothorax nor pleural effusion.", dict.fromkeys(["pleural_effusion", "pneumothorax"], ABSENT)),
        ("The lungs are free of nodules.", {"lung_nodule": ABSENT}),
        ("No evidence of pulmonary embolism.", {"pulmonary_embolism": ABSENT}),
        ("Lungs without consolidation.", {"consolidation": ABSENT}),
        ("Negative for ascites.", {"ascites": ABSENT}),
        # ... and ends with its clause
        ("No effusion, but there is atelectasis.", {"pleural_effusion": ABSENT, "atelectasis": PRESENT}),
        (
            "No mass is seen, and several small nodules are observed in both lungs.",
            {"mass": ABSENT, "lung_nodule": PRESENT},
        ),
        ("No effusion, the heart is enlarged.", {"pleural_effusion": ABSENT, "cardiomegaly": PRESENT}),
        ("No effusion, pneumothorax or nodule is seen.", {"pleural_effusion": ABSENT, "lung_nodule": ABSENT}),
        ("Distended gallbladder without stones or wall thickening.", {"gallbladder_distension": PRESENT}),
        ("No nodule; small pleural effusion.", {"lung_nodule": ABSENT, "pleural_effusion": PRESENT}),
        ("Emphysema without pneumothorax.", {"emphysema": PRESENT, "pneumothorax": ABSENT}),
        ("No consolidation except atelectasis at the base.", {"consolidation": ABSENT, "atelectasis": PRESENT}),
        ("No consolidation, a small nodule in the lingula.", {"consolidation": ABSENT, "lung_nodule": PRESENT}),
        # a denial after its finding reaches back to the beginning of the clause
        ("Pericardial effusion was not observed.", {"pericardial_effusion": ABSENT}),
        ("Pleural effusion and pneumothorax were not detected.", {"pleural_effusion": ABSENT, "pneumothorax": ABSENT}),
        ("Pneumothorax: none.", {"pneumothorax": ABSENT}),
        ("Ascites is absent.", {"ascites": ABSENT}),
        ("Stone of the gallbladder is not seen.", {"gallstone": ABSENT}),
        ("The right catheter, which was seen before, was removed.", {"catheter": ABSENT}),
        ("The right catheter, which was seen before, is in place.", {"catheter": PRESENT}),
        (
            "Consolidation is seen on the right, pleural effusion is not seen.",
            {"consolidation": PRESENT, "pleural_effusion": ABSENT},
        ),
        # "not" before what follows
        ("The liver is not enlarged.", {"hepatomegaly": ABSENT}),
        ("The scan does not show consolidation.", {"consolidation": ABSENT}),
        ("The spleen is not enlarged, with a cyst inside.", {"splenomegaly": ABSENT, "splenic_lesion": PRESENT}),
        ("Lymph nodes are not enlarged.", {"lymph_node": PRESENT, "lymphadenopathy": ABSENT}),
        ("No enlarged lymph nodes.", {"lymphadenopathy": ABSENT}),
        # what looks like a denial and is none
        ("No change in the nodule of the right lung.", {"lung_nodule": PRESENT}),
        ("Not only emphysema is seen.", {"emphysema": PRESENT}),
        ("Evaluation is limited due to pleural effusion.", {"pleural_effusion": UNCERTAIN}),
        # doubt
        ("Possible atelectasis at the left base.", {"atelectasis": UNCERTAIN}),
        ("Consolidation cannot be excluded.", {"consolidation": UNCERTAIN}),
        ("This may represent pneumonia.", {"pneumonia": UNCERTAIN}),
        ("Atelectasis?", {"atelectasis": UNCERTAIN}),
        ("Atelectasis or consolidation at the base.", dict.fromkeys(["atelectasis", "consolidation"], UNCERTAIN)),
        ("Nodule, suspicious for metastasis.", {"lung_nodule": PRESENT, "metastatic_disease": UNCERTAIN}),
        ("Atelectasis due to pleural effusion.", {"atelectasis": PRESENT, "pleural_effusion": PRESENT}),
        # the words of health deny
        ("Heart size is normal.", {"cardiomegaly": ABSENT}),
        ("The liver is of normal size.", {"hepatomegaly": ABSENT}),
        ("Vertebral heights are preserved.", {"vertebral_fracture": ABSENT}),
        ("The aorta is of normal calibre.", {"aortic_dilatation": ABSENT}),
    ],
)
def test_presence(text: str, expected: dict[str, str]) -> None:
    found = presences(text)
    assert {key: found.get(key) for key in expected} == expected, found


@pytest.mark.parametrize(
    ("text", "finding", "certainty"),
    [
        ("Findings consistent with emphysema.", "emphysema", "likely"),
        ("Probable atelectasis.", "atelectasis", "likely"),
        ("There is emphysema.", "emphysema", "definite"),
        ("There may be emphysema.", "emphysema", "possible"),
    ],
)
def test_certainty(text: str, finding: str, certainty: str) -> None:
    assert one(text, finding).certainty == certainty


@pytest.mark.parametrize(
    ("text", "finding", "status"),
    [
        ("History of pneumonia.", "pneumonia", "historical"),
        ("With a history of lymphoma, there is a pleural effusion.", "pleural_effusion", "current"),
        ("Mother had emphysema.", "emphysema", "other_person"),
        ("Clinical correlation if pneumonia is suspected.", "pneumonia", "hypothetical"),
        ("If symptoms persist, CT for pneumonia is recommended.", "pneumonia", "hypothetical"),
        ("Rule out pulmonary embolism.", "pulmonary_embolism", "hypothetical"),
        ("There is pneumonia.", "pneumonia", "current"),
        ("Consolidation was seen there in the previous examination.", "consolidation", "historical"),
        ("Consolidation was also seen in the previous examination.", "consolidation", "current"),
    ],
)
def test_status(text: str, finding: str, status: str) -> None:
    assert one(text, finding).status == status


@pytest.mark.parametrize(
    ("text", "assessed"),
    [
        ("Liver lesions: not assessed without contrast.", False),
        ("Pulmonary embolism could not be evaluated.", False),
        ("No liver lesion is seen.", True),
    ],
)
def test_what_nobody_looked_at_is_not_assessed(text: str, assessed: bool) -> None:
    mentions = [m for m in read_sentence(text).mentions if m.finding in ("liver_lesion", "pulmonary_embolism")]
    assert [m.assessed for m in mentions] == [assessed]
    assert assessed or mentions[0].presence == UNCERTAIN


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("The nodule in the right lung is unchanged.", "unchanged"),
        ("New nodule in the left lung.", "new"),
        ("The pleural effusion has increased.", "larger"),
        ("The pleural effusion has decreased.", "smaller"),
        ("The consolidation has resolved.", "resolved"),
        ("There is a nodule in the left lung.", None),
    ],
)
def test_change(text: str, change: str | None) -> None:
    assert read_sentence(text).mentions[0].change == change


def test_sections_carry_their_scope() -> None:
    text = (
        "INDICATION: Pneumonia? TECHNIQUE: CT of the chest. FINDINGS: Small nodule in the lingula. IMPRESSION: Nodule."
    )
    by_section = {reading.section: reading for reading in read_report(text)}
    assert by_section["indication"].mentions[0].status == "indication"
    assert by_section["findings"].mentions[0].status == "current"
    assert by_section["impression"].mentions[0].presence == PRESENT


def test_a_condition_of_no_vocabulary_is_judged_by_the_same_grammar() -> None:
    text = "She denies any dysuria but has a rash."
    assert presence_of(text, (15, 22)) == ABSENT
    assert presence_of(text, (33, 37)) == PRESENT


FINDINGS = st.sampled_from(
    ["pneumothorax", "consolidation", "pleural effusion", "emphysema", "ascites", "hydronephrosis"]
)


@given(FINDINGS)
def test_no_in_front_flips_a_finding(name: str) -> None:
    assert [m.presence for m in read_sentence(f"There is {name}.").mentions] == [PRESENT]
    assert [m.presence for m in read_sentence(f"There is no {name}.").mentions] == [ABSENT]
    assert [m.presence for m in read_sentence(f"{name.capitalize()} was not seen.").mentions] == [ABSENT]


@given(FINDINGS, FINDINGS, FINDINGS)
def test_a_list_is_denied_as_a_whole(a: str, b: str, c: str) -> None:
    assert {m.presence for m in read_sentence(f"There is no {a}, {b} or {c}.").mentions} == {ABSENT}


@settings(max_examples=300)
@given(st.text(max_size=200))
def test_any_text_is_read_and_every_span_lies_in_it(text: str) -> None:
    for reading in read_report(text):
        assert text[reading.start : reading.start + len(reading.text)] == reading.text
        for mention in reading.mentions:
            first, last = mention.span
            assert 0 <= first < last <= len(reading.text)
            assert reading.text[first:last] == mention.text


WORDS = (
    "no not without the nodule effusion pleural liver is are seen , . ; : ( ) ? and or 5 mm x right normal size with"
)


@settings(max_examples=300)
@given(st.lists(st.sampled_from(WORDS.split()), max_size=40))
def test_any_order_of_report_words_is_read(words: list[str]) -> None:
    text = " ".join(words)
    assert read_sentence(text) == read_sentence(text)


@pytest.mark.parametrize(
    "text",
    [
        "Fluid-filled loops of small bowel in the abdomen.", "There is fluid in the small bowel.",
        "Abdominal bowel loops contain fluid.", "The stomach is filled with fluid.", "Intraluminal fluid, abdomen.",
        "Fluid content in the intestinal loops in the upper abdominal sections.",
    ],
)  # fmt: skip
def test_fluid_inside_a_hollow_organ_is_no_free_fluid(text: str) -> None:
    assert not {"ascites", "free_fluid"} & presences(text).keys()


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("Free fluid between the bowel loops.", "free_fluid"), ("Fluid around bowel loops.", "free_fluid"),
        ("Fluid along the paracolic gutter.", "ascites"), ("Perihepatic fluid.", "ascites"),
        ("Dilated bowel loops and free fluid in the pelvis.", "ascites"),
    ],
)  # fmt: skip
def test_fluid_beside_a_hollow_organ_is_free_fluid(text: str, finding: str) -> None:
    assert presences(text).get(finding) == PRESENT
