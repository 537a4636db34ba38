"""Which finding, where, how large, how many: what the words around a finding say of it."""

from __future__ import annotations

import pytest

from vlm.findings.mentions import Mention
from vlm.findings.reader import read_report, read_sentence, split_sentences
from vlm.findings.sections import split_sections
from vlm.findings.sizes import quantities_of


def one(text: str, finding: str) -> Mention:
    """The only mention of a finding."""
    found = [m for m in read_sentence(text).mentions if m.finding == finding]
    assert len(found) == 1, [(m.finding, m.text) for m in read_sentence(text).mentions]
    return found[0]


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("Pleural and pericardial effusion.", {"pleural_effusion", "pericardial_effusion"}),
        ("Fluid in the pericardium.", {"pericardial_effusion"}),
        ("Calcification of the aorta or bronchial dilatation.", {"aortic_calcification", "bronchiectasis"}),
        ("Nodule in the left lung as well as calcification of the aorta.", {"lung_nodule", "aortic_calcification"}),
        ("Effusion is seen in the left pleural space.", {"pleural_effusion"}),
        (
            "Calcified plaques in aorta and coronary arteries.",
            {"aortic_calcification", "coronary_artery_calcification"},
        ),
        ("The bronchial walls are thickened.", {"peribronchial_thickening"}),
        ("The interlobular septa are thickened.", {"interlobular_septal_thickening"}),
        ("Thickening of the gallbladder wall.", {"cholecystitis"}),
        ("Cyst in the left kidney.", {"renal_cyst"}),
        ("Hypodense lesion in the liver.", {"liver_hypodensity"}),
        ("A nodule is seen in the thyroid.", {"thyroid_nodule"}),
        ("A nodule is seen.", {"lung_nodule"}),
        ("Nodule in the right lobe of the liver.", {"liver_lesion"}),
        ("The heart is enlarged.", {"cardiomegaly"}),
        ("The heart is large.", {"cardiomegaly"}),
        ("The heart size is normal with an ectatic tortuous aorta.", {"cardiomegaly", "aortic_dilatation"}),
        ("The left atrium is dilated.", {"chamber_dilatation"}),
        ("The size of the heart is increased.", {"cardiomegaly"}),
        ("The common bile duct is dilated.", {"biliary_dilatation"}),
        ("Free air below the diaphragm.", {"pneumoperitoneum"}),
        ("Gas in the bowel.", {"free_air"}),
        ("Emphysema in the upper lobes.", {"emphysema"}),
        ("Emphysema in the left chest wall.", {"subcutaneous_emphysema"}),
        ("Calcified nodule in the right lung.", {"lung_nodule"}),
        ("Stone of 5 mm in the left kidney.", {"kidney_stone"}),
        ("Loss of height of T8.", {"vertebral_fracture"}),
        ("Atheromatous plaque in the aorta.", {"atherosclerosis"}),
        ("Fibrotic changes in the right humerus.", {"sequela"}),
    ],
)
def test_a_sign_is_the_finding_of_its_site(text: str, findings: set[str]) -> None:
    assert {m.finding for m in read_sentence(text).mentions} == findings


@pytest.mark.parametrize(
    ("text", "finding", "side", "site"),
    [
        ("Nodule in the right upper lobe.", "lung_nodule", "right", "upper_lobe"),
        ("Bilateral pleural effusions.", "pleural_effusion", "bilateral", None),
        ("Emphysema in both upper zones.", "emphysema", "bilateral", "upper_zone"),
        ("Effusion in the right and left pleural space.", "pleural_effusion", "bilateral", "pleura"),
        ("Consolidation in the lingula.", "consolidation", None, "lingula"),
        ("Loss of height of T8.", "vertebral_fracture", None, "T8"),
        ("No left effusion.", "pleural_effusion", "left", None),
    ],
)
def test_side_and_site(text: str, finding: str, side: str | None, site: str | None) -> None:
    mention = one(text, finding)
    assert (mention.side, mention.site) == (side, site)


def test_a_size_in_brackets_or_commas_does_not_hide_the_site() -> None:
    text = "A nodule of 23 mm in the right upper lobe, a part-solid nodule, 9 mm in the left lower lobe."
    nodules = [m for m in read_sentence(text).mentions if m.finding == "lung_nodule"]
    assert [(m.side, m.site) for m in nodules] == [("right", "upper_lobe"), ("left", "lower_lobe")]
    assert one("A nodule (9 mm) in the left lower lobe, next to the aorta.", "lung_nodule").site == "lower_lobe"


def test_each_of_two_findings_keeps_its_own_side() -> None:
    text = "Pleural effusion on the right, and a nodule is seen in the left lung."
    listed = read_sentence(
        "A renal stone, 4 mm, on the left side as well as a renal stone, 5 mm, on the right."
    ).mentions
    assert [m.side for m in listed] == ["left", "right"]
    assert one(text, "pleural_effusion").side == "right"
    assert one(text, "lung_nodule").side == "left"


@pytest.mark.parametrize(
    ("text", "grade"),
    [
        ("Moderate pleural effusion.", "moderate"),
        ("Large pleural effusion.", "large"),
        ("There is a pleural effusion.", None),
    ],
)
def test_grade(text: str, grade: str | None) -> None:
    assert one(text, "pleural_effusion").grade == grade


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("A nodule in the lung.", 1),
        ("Two nodules in the lung.", 2),
        ("Several nodules in the lung.", "few"),
        ("Multiple nodules in the lung.", "multiple"),
        ("Nodules in the lung.", None),
    ],
)
def test_count(text: str, count: int | str | None) -> None:
    assert one(text, "lung_nodule").count == count


def test_attributes_and_others() -> None:
    assert one("Spiculated solid nodule in the lung.", "lung_nodule").attributes == ("spiculated", "solid")
    assert one("A ground-glass lung nodule.", "lung_nodule").attributes == ("ground_glass",)
    assert one("Ground-glass density in the lung.", "ground_glass_opacity").attributes == ()
    assert one("A calcified nodule in the lung.", "lung_nodule").attributes == ("calcified",)
    assert one("No other nodule.", "lung_nodule").other
    assert not one("No nodule.", "lung_nodule").other


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("17 x 14 mm", [(17.0, "mm", 0), (14.0, "mm", 0)]),
        ("17x14x9 mm", [(17.0, "mm", 0), (14.0, "mm", 0), (9.0, "mm", 0)]),
        ("1.7 cm and 420 ml", [(1.7, "cm", 0), (420.0, "ml", 1)]),
        ("3-4 mm", [(3.0, "mm", 0), (4.0, "mm", 0)]),
        ("about 8 % of the lung", [(8.0, "%", 0)]),
        ("-950 HU", [(-950.0, "HU", 0)]),
        ("12 millimetres", [(12.0, "mm", 0)]),
        ("series 5 of 12.03.2020", [(5.0, "", 0)]),
        ("L4-L5 and T8", []),
        ("on 2019", []),
    ],
)
def test_numbers(text: str, numbers: list[tuple[float, str, int]]) -> None:
    assert [(q.value, q.unit, q.group) for q in quantities_of(text)] == numbers


def test_limits_that_a_sentence_states() -> None:
    assert read_sentence("Liver lesions: not assessed without contrast.").limits == ("no_contrast",)
    assert "partly_covered" in read_sentence("The upper abdomen is only partly covered.").limits


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("There is a small nodule in the right upper lobe.", ()),
        ("There is a zorbified nodule in the lung.", ("zorbified",)),
        ("Moderate right pleural effusion, about 420 ml, with passive atelectasis of the lower lobe.", ()),
    ],
)
def test_words_that_nothing_accounts_for(text: str, unknown: tuple[str, ...]) -> None:
    assert read_sentence(text).unknown == unknown


def test_sentences_end_where_they_end() -> None:
    text = 'Nodule of 3.5 mm (see fig. 2). Effusion? No. "Impression" follows; last one'
    pieces = [text[a:b] for a, b in split_sentences(text)]
    assert pieces == ["Nodule of 3.5 mm (see fig. 2).", "Effusion?", "No.", "Impression", "follows", "last one"]


def test_sections_are_found_by_their_headings() -> None:
    text = "Small nodule.\nImpression: Nodule.\nTechnique: CT."
    assert [name for name, _, _ in split_sections(text)] == ["findings", "impression", "technique"]


def test_an_organ_named_before_is_remembered() -> None:
    readings = read_report("The gallbladder is distended. A stone is seen inside.")
    assert [m.finding for m in readings[1].mentions] == ["gallstone"]
    assert [m.finding for m in read_sentence("A stone is seen inside.").mentions] == ["stone"]


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        ("Solid nodule in the right upper lobe, 8 mm, 5 mm from the pleura.", {"lung_nodule"}),
        ("A nodule 6 mm away from the left pleura.", {"lung_nodule"}),
        ("Nodules on the pleura.", {"pleural_nodule"}),
        ("Effusion in the left pleural space, 33 mm thick at the base.", {"pleural_effusion"}),
        ("Fluid of 526 mL on the left, 33 mm thick, in the pleural space.", {"pleural_effusion"}),
        ("The pleura is thick on the left.", {"pleural_thickening"}),
    ],
)
def test_a_measure_is_no_finding_and_its_far_end_no_site(text: str, findings: set[str]) -> None:
    assert {m.finding for m in read_sentence(text).mentions} == findings


def test_an_item_of_a_list_keeps_its_own_site() -> None:
    read = read_sentence("Not assessed: pulmonary embolism, adrenal lesion and liver lesion (no contrast).").mentions
    assert {m.finding: m.sites for m in read} == {
        "pulmonary_embolism": (), "adrenal_lesion": ("adrenal",), "liver_lesion": ("liver",),
    }  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "## Not assessed\n\n- Adrenal lesion.\n- Pulmonary embolism (no contrast).\n\n## Evidence\n\nA nodule.",
        "**Not assessed.** Adrenal lesion. Pulmonary embolism.\n\nImpression: A nodule.",
        "Findings: Lungs clear.\nNot assessed:\nAdrenal lesion.\nPulmonary embolism.\nImpression: A nodule.",
        "Not assessed: adrenal lesion, pulmonary embolism. There is a nodule.",
    ],
)
def test_what_stands_under_not_assessed_is_said_of_nobody(text: str) -> None:
    read = {m.finding: (m.presence, m.assessed) for reading in read_report(text) for m in reading.mentions}
    assert read["adrenal_lesion"] == read["pulmonary_embolism"] == ("uncertain", False)
    assert read["lung_nodule"] == ("present", True)


@pytest.mark.parametrize("joined", ["alongside", "besides", "next to", "and", "with"])
def test_a_side_after_a_finding_is_its_own_whatever_joins_the_next(joined: str) -> None:
    read = read_sentence(f"Effusion on the left {joined} a nodule in the right upper lobe.").mentions
    assert {m.finding: m.side for m in read} == {"pleural_effusion": "left", "lung_nodule": "right"}


def test_a_list_that_denies_a_kind_and_its_kinds_denies_each() -> None:
    said = read_sentence("No low-density lesion of the kidney, kidney cyst or hydronephrosis.")
    assert {(m.finding, m.presence) for m in said.mentions} == {
        ("renal_hypodensity", "absent"), ("renal_cyst", "absent"), ("hydronephrosis", "absent"),
    }  # fmt: skip
    assert [m.finding for m in read_sentence("A low-density lesion of the kidney, a kidney cyst.").mentions] == [
        "renal_cyst"
    ]
