"""How patients name findings: read with no model of meaning, so that the same words are read alike everywhere."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from vlm.findings.vocabulary import load_vocabulary
from vlm.language.query import read_query
from vlm.language.standing import kinds_of

# By one author; the half of them was written before the everyday words were looked at, and none stands there.
SAID: Mapping[str, tuple[str, ...]] = {
    "submucosal_edema": (
        "the lining of my gut is swollen",
        "puffy bowel wall",
        "swelling inside the wall of the intestine",
        "the bowel wall is full of water",
        "my intestine's wall looks swollen on the inside",
    ),
    "renal_hypodensity": (
        "a dark area in my kidney",
        "a spot on the kidney that looks darker than the rest",
        "a darker patch on one of my kidneys",
        "some dark spots in the kidneys",
    ),
    "coronary_artery_calcification": (
        "hardened heart arteries",
        "calcium in the blood vessels that feed the heart",
        "clogged up heart arteries",
        "lime deposits in the coronaries",
        "the arteries on my heart are calcified",
    ),
    "thrombosis": (
        "is there a clot in one of my veins",
        "a blood vessel blocked by a clot",
        "blood clots",
        "a vein that is plugged by a clot",
        "a clot in the leg vein",
    ),
    "metastatic_disease": (
        "has my cancer spread",
        "secondary tumours",
        "the tumor has scattered to other organs",
        "the cancer has travelled to other places",
        "daughter tumours elsewhere in the body",
    ),
    "pancreatic_atrophy": (
        "my pancreas has wasted away",
        "small withered pancreas",
        "a pancreas that has shrunk",
        "my pancreas is smaller than it ought to be",
    ),
    "renal_cyst": (
        "a fluid-filled sac on the kidney",
        "water blister in my kidney",
        "a harmless water bubble on the kidney",
        "cysts in my kidneys",
    ),
    "osteopenia": (
        "my bones are weak",
        "brittle bones",
        "loss of bone density",
        "low bone density",
        "not enough calcium in my bones",
    ),
    "surgically_absent_gallbladder": ("gall bladder removed", "the gallbladder is missing after surgery"),
    "atelectasis": (
        "a bit of lung without air in it",
        "lung not fully inflated",
        "a piece of the lung has gone flat",
        "lung tissue that is not opening up",
    ),
    "abdominal_aortic_aneurysm": (
        "a bulge in the big artery in my belly",
        "ballooning of the main blood vessel of the abdomen",
        "the belly artery is too wide",
        "a swelling of the main artery in my abdomen",
    ),
    "anasarca": (
        "swelling all over the body",
        "water under the skin everywhere",
        "my whole body is puffy with fluid",
        "fluid under my skin all over",
        "I am swollen everywhere with water",
    ),
    "hiatal_hernia": (
        "part of my stomach has slipped up into the chest",
        "stomach pushing up through the diaphragm",
        "a bit of stomach sitting in the chest",
        "hole in the diaphragm with the stomach coming through",
    ),
    "lymphadenopathy": (
        "swollen glands",
        "enlarged lymph glands",
        "lymph nodes that are too big",
        "big lymph nodes",
        "lumpy lymph glands",
        "my glands are up",
    ),
    "prostatomegaly": (
        "my prostate is too big",
        "swollen prostate gland",
        "an oversized prostate",
        "the prostate has grown",
    ),
    "biliary_dilatation": (
        "my bile ducts are too wide",
        "stretched bile tubes",
        "backed-up bile",
        "the tubes that carry bile are widened",
        "swollen bile ducts",
    ),
    "cardiomegaly": (
        "my heart is too big",
        "swollen heart",
        "an oversized heart",
        "is my heart enlarged",
        "the heart has grown too large",
    ),
    "splenomegaly": ("my spleen is swollen", "a spleen that is too large", "overgrown spleen"),
    "hepatomegaly": (
        "swollen liver",
        "my liver is larger than normal",
        "a liver that has grown too big",
        "is my liver enlarged",
    ),
    "atherosclerosis": (
        "hardening of the arteries",
        "furred up arteries",
        "plaque in my blood vessels",
        "hardened blood vessels",
        "my arteries are clogged up",
        "fatty deposits in the arteries",
    ),
    "ascites": ("fluid in my belly", "water collecting in the abdomen", "water on the stomach"),
    "pleural_effusion": (
        "fluid around my lungs",
        "water between the lung and the ribs",
        "liquid at the bottom of the chest outside the lung",
        "my lungs have water around them",
        "fluid in the space between lung and chest wall",
    ),
    "hepatic_steatosis": (
        "I have a fatty liver",
        "too much fat in my liver",
        "fat stored in the liver",
        "my liver is fatty",
    ),
    "appendicitis": (
        "my appendix is inflamed",
        "infected appendix",
        "a sore swollen appendix",
        "is it my appendix that is inflamed",
    ),
    "gallstone": (
        "stones in my gallbladder",
        "pebbles in the gall bladder",
        "do I have gall stones",
        "gravel in my gallbladder",
    ),
    "hydronephrosis": (
        "blocked kidney",
        "a kidney that does not drain",
        "urine backing up into the kidney",
        "a kidney stretched by urine",
    ),
    "bowel_obstruction": (
        "my gut is blocked",
        "a blockage in the intestines",
        "nothing can get through the bowel",
        "the intestine is stuck and nothing passes",
        "a twisted blocked bowel",
        "gut blockage",
    ),
    "pneumoperitoneum": (
        "air loose in my belly",
        "gas outside the bowel",
        "air where it should not be in the abdomen",
        "air that has escaped from the bowel",
        "gas floating free in the abdomen",
    ),
    "fracture": ("a broken bone", "cracked bones", "did I break anything", "a bone is broken"),
    "medical_material": ("something metal in my body", "an implant of any kind"),
    "arterial_wall_calcification": (
        "chalk in the walls of my arteries",
        "chalky arteries",
        "calcium deposits in the blood vessel walls",
    ),
    "pericardial_effusion": (
        "fluid around my heart",
        "water in the sac of the heart",
        "fluid in the bag that holds the heart",
    ),
    "emphysema": (
        "smoker's lung",
        "holes in my lungs from smoking",
        "damaged air sacs",
        "my lungs are destroyed by cigarettes",
        "lung tissue full of holes",
        "air sacs that have burst",
    ),
    "lung_nodule": (
        "a small spot on my lung",
        "a little round thing in the lung",
        "a tiny ball in my lung",
        "a small lump in one lung",
        "a pea-sized spot in the lung",
    ),
    "lung_opacity": (
        "a white patch in the lung",
        "cloudy lungs",
        "hazy area in the lung",
        "a foggy area in my lung",
        "something white in my lungs",
        "a cloud on the lung",
    ),
    "pulmonary_fibrotic_sequela": (
        "scarring in my lungs",
        "old scars on the lung",
        "a scar left by an old lung infection",
        "old scar tissue in the lung",
    ),
    "mosaic_attenuation": ("patchy lungs with lighter and darker areas",),
    "peribronchial_thickening": (
        "thick walls of the airways",
        "swollen airway walls",
        "the breathing tubes have thickened walls",
        "the walls of my air tubes are thick",
        "thickened bronchial tubes",
    ),
    "consolidation": ("a solid patch in the lung", "lung filled up with fluid and pus", "my lung is clogged with gunk"),
    "bronchiectasis": (
        "widened airways",
        "my breathing tubes are too wide",
        "stretched bronchial tubes",
        "permanently widened air tubes in the lung",
        "the airways have become too wide",
    ),
    "interlobular_septal_thickening": (
        "thick lines between the small parts of the lung",
        "thickened partitions in the lung",
        "the dividing walls in the lung are thickened",
    ),
    "aortic_valve_calcification": ("calcium on my aortic valve",),
}


@pytest.mark.parametrize(("finding", "words"), [(key, words) for key, every in SAID.items() for words in every])
def test_a_patients_words_name_the_finding(finding: str, words: str) -> None:
    query = read_query(words)
    assert (query.findings, query.denied) == ((finding,), False)


def test_a_patients_words_in_the_vocabulary_name_what_they_stand_for() -> None:
    every = [(finding.key, words) for finding in load_vocabulary().findings.values() for words in finding.lay]
    assert [(key, words) for key, words in every if read_query(words).findings != (key,)] == []


ASKED = (
    "do I have {}?",
    "is there any sign of {}?",
    "did they see {} on my scan?",
    "I'm worried about {}",
    "{} or not?",
)
DENIED = ("there is no {}", "I don't have {}", "I do not have {}", "no sign of {}", "never had {}", "free of {}")


@pytest.mark.parametrize(
    "words", ["swollen bile ducts", "clot in my leg vein", "water bubble in my kidney", "hard arteries"]
)
def test_how_a_patient_asks_changes_no_finding(words: str) -> None:
    named = read_query(words).findings
    for asked, denied in ((ASKED, False), (DENIED, True)):
        for each in asked:
            query = read_query(each.format(words))
            assert (query.findings, query.denied) == (named, denied), each


@pytest.mark.parametrize(
    ("words", "finding"),
    [
        ("there is no blockage in my bowel", "bowel_obstruction"),
        ("I don't have a clot in my vein", "thrombosis"),
        ("no water bubble in my kidney", "renal_cyst"),
        ("there are no pebbles in my gallbladder", "gallstone"),
        ("the cancer did not spread", "metastatic_disease"),
        ("cancer has not spread", "metastatic_disease"),
    ],
)
def test_what_a_patient_denies_is_denied(words: str, finding: str) -> None:
    query = read_query(words)
    assert (query.findings, query.denied) == ((finding,), True)


@pytest.mark.parametrize(
    ("words", "finding"),
    [("isn't my heart too big?", "cardiomegaly"), ("do I not have a clot in my lung?", "pulmonary_embolism")],
)
def test_a_question_whether_it_is_not_so_denies_nothing(words: str, finding: str) -> None:
    query = read_query(words)
    assert (query.findings, query.denied) == ((finding,), False)


@pytest.mark.parametrize(
    "words",
    ["urine cannot drain from my kidney", "a kidney that does not drain", "lung not fully inflated",
     "not enough calcium in my bones", "nothing can get through the bowel"],
)  # fmt: skip
def test_what_does_not_work_is_no_denial(words: str) -> None:
    query = read_query(words)
    assert query.understood
    assert not query.denied


@pytest.mark.parametrize(
    "words",
    ["air in the stomach", "gas in my bowels", "is the small bowel normal", "clear lungs", "is the pancreas fine",
     "breathing tube", "my car is blocked in", "a pouch on the beach", "the light and dark areas of the picture"],
)  # fmt: skip
def test_what_is_normal_or_elsewhere_is_no_disease(words: str) -> None:
    disease = {"pneumoperitoneum", "bowel_obstruction", "emphysema", "pancreatic_atrophy", "bronchiectasis",
               "hydronephrosis", "renal_cyst", "mosaic_attenuation"}  # fmt: skip
    assert not disease & set(read_query(words).findings)


def test_words_around_a_word_of_reports_say_what_it_is_of() -> None:
    assert read_query("the lining of my gut is swollen").findings == ("submucosal_edema",)  # not oedema of whatever
    assert read_query("swollen glands").findings == ("lymphadenopathy",)
    assert read_query("solid nodule in the lung").findings == ("lung_nodule",)  # the word of reports is more exact


@pytest.mark.parametrize(
    ("words", "finding"),
    [
        ("is there a white spot on my lung", "lung_lesion"),
        ("hardened arteries in the heart", "coronary_artery_calcification"),
        ("lymph node is up to 9 mm", "lymph_node"),
        ("air in the bowel escaped into the belly", "pneumoperitoneum"),
        ("swelling everywhere in the bowel wall", "submucosal_edema"),
    ],
)
def test_the_place_and_the_size_of_a_thing_say_which_finding_it_is(words: str, finding: str) -> None:
    assert read_query(words).findings == (finding,)


def test_swelling_beside_the_aorta_is_no_aneurysm() -> None:
    assert not {"abdominal_aortic_aneurysm", "aortic_aneurysm"} & set(
        read_query("swelling beside the aorta in my belly").findings
    )


def test_nodes_are_no_place_of_enlarged_nodes() -> None:
    assert read_query("enlarged lymph glands").sites == ()
    assert read_query("enlarged lymph glands in the axilla").sites == ("axilla",)


def test_what_is_left_by_something_is_on_no_side() -> None:
    assert read_query("a scar left by an old lung infection").side is None
    assert read_query("a scar on the left").side == "left"
    assert read_query("nodule on the left by the heart").side == "left"
    over = read_query("effusion on the left over 300 ml")
    assert over.side == "left" and [size.low for size in over.sizes] == [300.0]


def test_calcium_of_the_aortic_valve_answers_for_a_heart_valve() -> None:
    query = read_query("chalky heart valve")
    assert query.findings == ("heart_valve_calcification",)
    assert "aortic_valve_calcification" in kinds_of(query)
