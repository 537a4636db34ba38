"""A conversation: what is left out is taken from the turn before, and nothing is said that evidence does not carry."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.asking import ask_scan, load_session, opened, save_session
from app.known import know
from app.opening import open_page
from app.reopen import Opened
from tests.page_case import Finished
from vlm.ct import Box
from vlm.encoder.minilm import installed
from vlm.errors import UsageError
from vlm.evidence import Ledger, Measurement, Observation, Region, Search
from vlm.grounding import Context
from vlm.language import router
from vlm.language.conversation import Conversation
from vlm.language.events import Event, Note, Question, Said, Show, Understood
from vlm.language.replies import REPLIES
from vlm.language.router import intents, route
from vlm.language.scene import OpenCase
from vlm.language.topic import Topic

CONVERSATIONS = Path(__file__).resolve().parents[1] / "benchmarks" / "questions" / "conversations.txt"
pytestmark = pytest.mark.xdist_group("page")


@pytest.fixture
def talk(finished: Finished) -> Conversation:
    return Conversation(open_page(Opened(finished.reading)))


def said(events: list[Event]) -> str:
    return " ".join(e.text for e in events if isinstance(e, Said)).lower()


def notes(events: list[Event]) -> str:
    return " ".join(e.text for e in events if isinstance(e, Note)).lower()


def put(talk: Conversation, text: str, **place: object) -> list[Event]:
    return list(talk.answer(Question(text=text, **place)))  # type: ignore[arg-type]


def test_every_intent_has_an_answer() -> None:
    for intent in intents().values():
        assert intent.declined or intent.key in REPLIES or intent.key == "other_side"


def test_the_other_side_is_that_of_the_turn_before(talk: Conversation) -> None:
    assert "left pleural effusion" in said(put(talk, "Is there an effusion on the left?"))
    other = said(put(talk, "And the other side?"))
    assert "no right pleural effusion" in other
    assert "left" not in other


def test_it_means_what_was_spoken_of(talk: Conversation) -> None:
    put(talk, "Is there a nodule?")
    assert "16 x 16 mm" in said(put(talk, "How big is it?"))
    assert "effusion, about" in said(put(talk, "And the effusion?"))


def test_why_gives_the_evidence_of_the_turn_before(talk: Conversation) -> None:
    first = put(talk, "Is there a nodule?")
    cited = {name for e in first if isinstance(e, Said) for name in e.cites}
    because = [e for e in put(talk, "Why do you say that?") if isinstance(e, Note)]
    assert {name for e in because for name in e.cites} >= cited
    assert "diameter 16 mm" in because[0].text


def test_show_me_leads_to_the_place(talk: Conversation) -> None:
    put(talk, "Is there a nodule?")
    shown = [e for e in put(talk, "Show me") if isinstance(e, Show)]
    assert shown
    assert shown[0].mm[0] > 0  # right of the middle, RAS


def test_a_click_is_measured_and_named(talk: Conversation) -> None:
    place = next(iter(talk.case.ledger.observations("lung_nodule").values())).region
    assert place is not None
    events = put(talk, "What is here?", point=place.centroid_mm)
    assert "nodule" in said(events)
    assert "the marked point" in said(events)
    assert "point at a place first" in notes(put(talk, "What is here?"))


def test_a_patient_and_a_referrer_hear_the_same_impression_in_their_words(talk: Conversation) -> None:
    patient = put(talk, "Can you explain it in plain words for the patient?")
    assert "fluid around the lung" in notes(patient)
    assert "pleural effusion" in said(patient)
    referrer = said(put(talk, "One sentence for the referring doctor please"))
    assert "nodule, 16 mm; " in referrer


@pytest.mark.parametrize(
    "question", ["Is it cancer?", "How long will he live?", "What is her name?", "Does she need an operation?"]
)
def test_what_no_scan_can_answer_is_declined(talk: Conversation, question: str) -> None:
    events = put(talk, question)
    assert not said(events)
    assert [e.about for e in events if isinstance(e, Note)] == ["declined"]


def test_an_unsure_question_is_answered_by_a_question(talk: Conversation) -> None:
    events = put(talk, "florble the wug?")
    assert not said(events)
    assert {e.about for e in events if isinstance(e, Note)} <= {"clarify", "not_understood"}


@pytest.mark.parametrize(
    ("text", "bare"),
    [("Where is the nodule?", "Where is the finding?"), ("How dense is the spleen?", "How dense is the organ?"),
     ("Segment the liver", "Segment the organ"), ("Is it an infection or a tumour?", "Is it an infection or a tumour?"),
     ("What does the classification head say?", "What does the classification head say?")],
)  # fmt: skip
def test_a_name_is_hidden_from_the_head_but_not_a_word_that_tells_what_is_asked(text: str, bare: str) -> None:
    assert router.without_names(text) == bare


@pytest.mark.parametrize(("weak", "declined"), [(True, False), (False, True)])
def test_a_guess_declines_nothing(weak: bool, declined: bool) -> None:
    asked = router.Asked(intent="prognosis", topic=Topic(), by="head", sure=False, weak=weak)
    assert asked.declined is declined


@pytest.mark.parametrize(
    ("text", "intent"),
    [("how big is the nodule?", "size"), ("where is the effusion?", "location"), ("show me the heart", "show"),
     ("what was not assessed?", "not_assessed"), ("is it cancer?", "malignancy"), ("any effusion?", "presence"),
     ("segment the liver", "segment"), ("and the other side?", "other_side")],
)  # fmt: skip
def test_rules_alone_reach_the_intents(monkeypatch: pytest.MonkeyPatch, text: str, intent: str) -> None:
    monkeypatch.setattr(router, "head", lambda: None)
    assert route(text).intent == intent


def test_a_session_goes_on_in_another_process(finished: Finished, tmp_path: Path) -> None:
    known, path = know(finished.reading), tmp_path / "talk.json"
    talk = load_session(known, path)
    ask_scan(known, Question(text="Is there a nodule?"), talk)
    save_session(known, talk, path)
    assert path.stat().st_mode & 0o077 == 0
    again = ask_scan(know(finished.reading), Question(text="how big is it?"), load_session(known, path))
    assert again["understood"]["slots"]["finding"] == "lung_nodule"
    path.write_text(path.read_text().replace(known.report.case.id, "0" * 12))
    with pytest.raises(UsageError, match="another case"):
        load_session(known, path)


def test_a_report_alone_says_that_its_voxels_are_not_at_hand(finished: Finished) -> None:
    talk = Conversation(opened(know(finished.reading)))
    events = put(talk, "how dense is it here?", point=(0.0, 0.0, 0.0))
    assert "give the scan itself" in notes(events)


def test_everything_that_is_said_has_passed_the_checker(talk: Conversation) -> None:
    for question in (
        "what is the impression?",
        "how is the heart?",
        "compare the left and right lung",
        "what is normal?",
    ):
        events = put(talk, question)
        assert [e for e in events if isinstance(e, Understood)]
        assert all(e.verdict in ("supported", "neutral") for e in events if isinstance(e, Said))


# ---- twenty conversations, replayed


def conversations() -> list[tuple[str, list[tuple[str, str]]]]:
    """(title, [(question, what the answer holds)]) of each."""
    told: list[tuple[str, list[tuple[str, str]]]] = []
    for line in CONVERSATIONS.read_text(encoding="utf-8").splitlines():
        if line.startswith("= "):
            told.append((line[2:], []))
        elif not line.startswith("#"):
            question, _, holds = line.rpartition("|")
            told[-1][1].append((question, holds))
    return told


def test_there_are_twenty_conversations_of_five_turns_or_more() -> None:
    assert len(conversations()) >= 20
    assert all(len(turns) >= 5 for _, turns in conversations())


@pytest.mark.skipif(not installed(), reason="needs the extra encoder: the head decides")
@pytest.mark.parametrize(("title", "turns"), conversations(), ids=[title for title, _ in conversations()])
def test_a_conversation_goes_as_it_went(talk: Conversation, title: str, turns: list[tuple[str, str]]) -> None:
    observed = talk.case.ledger.observations()
    for question, holds in turns:
        place: dict[str, object] = {}
        if question.startswith("@"):
            finding, _, question = question[1:].partition(" ")
            record = next(o for o in observed.values() if finding in o.finding and o.region is not None)
            place["point"] = record.region.centroid_mm  # type: ignore[union-attr]
        events = put(talk, question, **place)
        told = f"{said(events)} {notes(events)}"
        assert all(e.verdict in ("supported", "neutral") for e in events if isinstance(e, Said)), (title, question)
        for words in filter(None, holds.split(";")):
            there = words.removeprefix("!").lower() in told
            assert there != words.startswith("!"), (title, question, told)


def test_what_was_found_in_an_organ_is_said_before_what_was_not() -> None:
    ledger = Ledger()
    ledger.add(Search(tool="dissection", finding="aortic_dissection", site="abdominal_aorta", covered=1.0))
    ledger.add(Observation(tool="devices", finding="biliary_stent", presence="present", site="bile_ducts", note="told"))
    told = list(Conversation(OpenCase(ledger=ledger, context=Context())).answer(Question(text="How is the abdomen?")))
    assert next(e.text for e in told if isinstance(e, Said)) == "Biliary stent."


def test_a_doubt_is_told_with_the_impression_and_with_both_of_its_readings() -> None:
    place = Region(centroid_mm=(50, 0, 0), box_mm=Box(low_mm=(20, -30, -30), high_mm=(80, 30, 30)), slices=(4, 30))
    size = (Measurement(quantity="diameter", value=72.0), Measurement(quantity="short_axis", value=50.0))
    doubts = [
        Observation(
            tool="lungs", finding=finding, presence="uncertain", side="right", site="upper_zone", region=place,
            measurements=size if finding == "lung_mass" else (),
        )
        for finding in ("lung_mass", "lobar_collapse")
    ]  # fmt: skip
    ledger = Ledger()
    for doubt in doubts:
        ledger.add(doubt)
    talk = Conversation(OpenCase(ledger=ledger, context=Context()))
    for question in ("What did you find?", "Is there a mass?"):
        assert "possible mass of 72 mm or collapse in the right upper zone" in said(put(talk, question))


def test_without_a_prior_a_change_is_not_answered_with_a_heading(talk: Conversation) -> None:
    put(talk, "How big is the nodule?")
    events = put(talk, "Has it grown?")
    assert not said(events)
    assert "no earlier scan" in notes(events)


def test_after_a_question_about_a_finding_an_organ_is_asked_of_as_such(talk: Conversation) -> None:
    put(talk, "Has the nodule grown?")
    assert "heart is not enlarged" in said(put(talk, "What about the heart?"))


def test_a_report_without_its_scan_tells_what_it_knows_of_an_organ() -> None:
    ledger = Ledger()
    hu = Measurement(quantity="attenuation", value=58.0)
    ledger.add(Search(tool="liver", finding="hepatic_steatosis", site="liver", covered=1.0, measurements=(hu,)))
    ledger.add(
        Observation(
            tool="lungs", finding="lung_volume_loss", presence="present", side="right", site="lung", note="told"
        )
    )
    talk = Conversation(OpenCase(ledger=ledger, context=Context(), why_off={"volume": "the scan is not open"}))
    assert "58 hu" in said(put(talk, "What is the density of the liver?"))
    assert "volume loss of the right lung" in said(put(talk, "Which lung is smaller?"))


def test_why_names_the_method(talk: Conversation) -> None:
    put(talk, "Is there a nodule?")
    assert "nodules version" in notes(put(talk, "Why do you say that?"))
