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


@pytest.mark.parametrize(
    ("question", "intent"),
    [("What did you find?", "impression"), ("Can an effusion be excluded?", "presence"), ("Any stones?", "presence")],
)
def test_a_question_that_stands_among_the_examples_is_taken_for_them(question: str, intent: str) -> None:
    assert route(question).intent == intent
