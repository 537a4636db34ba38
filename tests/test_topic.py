"""What a question is about: a report's words, people's everyday words, and what only sounds like a finding."""

from __future__ import annotations

import tomllib
from importlib.resources import files

import pytest

from vlm.findings.vocabulary import load_vocabulary
from vlm.language.router import route, without_names
from vlm.language.topic import Topic, topic_of


@pytest.mark.parametrize(
    ("question", "findings"),
    [
        ("Why is there water around my lung?", ("pleural_effusion",)),
        ("Has water gathered in the sac around her heart?", ("pericardial_effusion",)),
        ("is my heart too big", ("cardiomegaly",)),
        ("How wide across is the spot in the liver?", ("liver_lesion",)),
        ("PTX left?", ("pneumothorax",)),
        ("PE?", ("pulmonary_embolism",)),
        ("my wife says there may be a lump in my lung, true?", ("lung_lesion",)),
        ("How worn out is my spine?", ("degenerative_change",)),
        ("is the collapsed lung a serious one", ("atelectasis", "pneumothorax")),
        ("what is that tube in my bile duct?", ("biliary_stent",)),
        ("any hiatal hernia", ("hiatal_hernia",)),
        ("Is there a hernia?", ("abdominal_hernia", "hiatal_hernia")),
        ("which side has more fluid", ("pleural_effusion", "pericardial_effusion", "ascites")),
    ],
)
def test_people_name_findings_in_their_own_words(question: str, findings: tuple[str, ...]) -> None:
    assert topic_of(question).findings == findings


@pytest.mark.parametrize(
    ("question", "findings"),
    [
        ("Is there fluid in the belly? Is the lung normal?", {"ascites"}),
        ("Is there any fluid in the abdomen? And is the heart big?", {"ascites", "cardiomegaly"}),
        ("Is there water in the chest but not in the belly?", {"pleural_effusion"}),
        ("Is there a spot in the lung and not in the liver?", {"lung_lesion"}),
        ("Do my lungs have fluid, and is my heart swollen?", {"pleural_effusion", "cardiomegaly"}),
        ("Is there a stone or is my heart too big?", {"kidney_stone", "gallstone", "ureter_stone", "cardiomegaly"}),
        ("Is the fluid in the belly more than the fluid around the lung?", {"ascites", "pleural_effusion"}),
        ("Are the ribs fine? Is anything broken?", {"fracture"}),
    ],
)
def test_words_of_one_clause_do_not_reach_into_the_next(question: str, findings: set[str]) -> None:
    assert set(topic_of(question).findings) == findings


@pytest.mark.parametrize(
    ("question", "findings"),
    [
        ("Any spot on the liver or the kidney?", {"liver_lesion", "renal_lesion"}),
        ("Is there a stone in the gallbladder or the kidney?", {"gallstone", "kidney_stone"}),
        ("Water in the heart sac or round the lungs?", {"pericardial_effusion", "pleural_effusion"}),
        ("Is there neither fluid in the chest nor in the belly?", {"pleural_effusion", "ascites"}),
        ("Are my heart, liver and spleen too large?", {"cardiomegaly", "hepatomegaly", "splenomegaly"}),
        ("Is there a growth in the left lobe of the liver or the tail of the pancreas?",
         {"liver_lesion", "pancreatic_lesion"}),
        ("Shadow on lung/liver?", {"lung_lesion", "liver_lesion"}),
        ("Is there fluid or air around the lung?", {"pleural_effusion", "pneumothorax"}),
        ("Any stones or cysts in the kidney?", {"kidney_stone", "renal_cyst"}),
        ("Any stone in the kidney or the ureter?", {"kidney_stone", "ureter_stone"}),
        ("Is my spine worn or collapsed?", {"degenerative_change", "vertebral_fracture"}),
        ("Is air trapped between the lung and the chest wall?", {"pneumothorax"}),
    ],
)  # fmt: skip
def test_what_shares_a_word_is_asked_of_each(question: str, findings: set[str]) -> None:
    assert set(topic_of(question).findings) == findings


@pytest.mark.parametrize(
    ("question", "findings"),
    [
        ("Any spot in the liver near the kidney?", {"liver_lesion"}),
        ("Does the lung next to the heart hold water?", {"pleural_effusion"}),
        ("Is there fluid in the chest around the heart?", {"pericardial_effusion"}),
        ("Is there fat around the liver?", set()),
        ("How far is the spot from the liver?", set()),
        ("Is there a lump between my lungs?", {"mediastinal_mass"}),
        ("Is there a lump in the breast bone?", {"bone_lesion"}),
        ("Is there a big liver cyst?", {"liver_cyst"}),
        ("Do I have a disc hernia?", {"hernia"}),
        ("Is there a hernia in the groin?", {"abdominal_hernia"}),
        ("Is there wear at the back of the heart?", set()),
    ],
)
def test_what_is_near_another_place_or_its_part_is_not_in_it(question: str, findings: set[str]) -> None:
    assert set(topic_of(question).findings) == findings


@pytest.mark.parametrize(
    ("question", "sites"),
    [
        ("What is at the back of the lung?", ("lung",)),
        ("How dense is the back of the liver?", ("liver",)),
        ("Is the back wall of the windpipe smooth?", ("trachea",)),
        ("How is my back?", ("spine",)),
        ("What hurts in my lower back?", ("spine",)),
        ("Does the scan explain the back pain?", ("spine",)),
        ("How big is the head of the pancreas?", ("pancreas",)),
        ("Is the hilum of the kidney ok?", ("kidney",)),
        ("What lies at the base of the left lung?", ("base", "lung")),
    ],
)
def test_a_part_of_a_place_is_no_place_elsewhere(question: str, sites: tuple[str, ...]) -> None:
    assert topic_of(question).sites == sites


@pytest.mark.parametrize(
    ("question", "topic"),
    [
        ("How far is the nodule from the pleura?", Topic(findings=("lung_nodule",), sites=("pleura",))),
        ("What probability does the trained head give for effusion", Topic(findings=("pleural_effusion",))),
        ("On the basis of which measurements?", Topic()),
        ("How big is my heart?", Topic(sites=("heart",))),
        ("Is the thyroid normal?", Topic(sites=("thyroid",))),
        ("what did they find in my belly?", Topic(sites=("abdomen",))),
    ],
)
def test_words_that_only_sound_like_a_finding_or_a_place_are_none(question: str, topic: Topic) -> None:
    assert topic_of(question) == topic


def test_a_word_for_several_findings_means_the_one_that_was_spoken_of() -> None:
    topic = topic_of("has the fluid increased?")
    assert topic.narrowed("has the fluid increased?", ("pleural_effusion",)) == ("pleural_effusion",)
    assert topic.narrowed("has the fluid increased?", ("lung_nodule",)) == topic.findings
    assert len(topic_of("any fluid?").narrowed("any fluid?", ("pleural_effusion",))) == 3


def test_everyday_words_mean_findings_and_places_of_the_vocabulary() -> None:
    told = tomllib.loads((files("prompts") / "everyday.toml").read_text(encoding="utf-8"))
    findings, sites = load_vocabulary().findings, load_vocabulary().sites
    assert set(told["finding"]) | set(told["general"]) <= set(findings)
    assert {kind for kinds in told["general"].values() for kind in kinds} <= set(findings)
    assert set(told["place"]) <= set(sites)


def test_what_is_named_is_hidden_from_the_head_and_what_is_asked_is_not() -> None:
    assert without_names("Is my heart too big, doc?") == "Is my finding, doc?"
    assert without_names("Is the thyroid normal?") == "Is the organ normal?"
    assert without_names("Is there a stone in the gallbladder or the kidney?") == "Is there a finding?"


@pytest.mark.parametrize(
    ("question", "intent"),
    [("What did you find?", "impression"), ("Can an effusion be excluded?", "presence"), ("Any stones?", "presence")],
)
def test_a_question_that_stands_among_the_examples_is_taken_for_them(question: str, intent: str) -> None:
    assert route(question).intent == intent
