"""How other radiologists put it: wordings the checker must understand, and what it must not pass over in them."""

from __future__ import annotations

import pytest

from tests.grounding_ledger import LEDGER, seen, verdict
from vlm.evidence import Measurement
from vlm.grounding import Context, Prior
from vlm.grounding.changes import split_changes
from vlm.grounding.limits import split_limits

MATCHES = {"E1": seen("lung_nodule", Measurement(quantity="diameter", value=10.0, plus_minus=1.0), side="right")}

PASSES = [
    ("method words", "No proof of a pneumothorax.", "E6 E7"),
    ("nothing", "Nothing to suggest a pneumothorax.", "E6 E7"),
    ("nil", "Nil pneumothorax.", "E6 E7"),
    ("absent before", "Absent lung mass.", "E9"),
    ("no after a colon", "Lung mass: no.", "E9"),
    ("there", "A lung mass is not there.", "E9"),
    ("one as a writer", "One notes a nodule of 17 mm in the right upper lobe.", "E1"),
    ("evident as seen", "A kidney stone is evident on the left.", "E14"),
    ("large beside a number", "A nodule, 17 mm large, in the right upper lobe.", "E1"),
    ("list numbers", "1. A nodule of 17 mm in the right upper lobe. 2. There is ascites.", "E1 E25"),
    ("both ... and", "Both a nodule in the right upper lobe and ascites are seen.", "E1 E25"),
    ("free before a site", "Free abdominal fluid, about 1.2 l, is seen.", "E25"),
    ("distance before its number", "Nodule in the right upper lobe (distance to the pleura 6 mm).", "E1"),
    ("calcium score", "Moderate coronary artery calcification, calcium score 200.", "E12"),
    ("calcium", "Coronary artery calcium, Agatston 200.", "E12"),
    ("plaque", "Calcified coronary plaque.", "E12"),
    ("in addition to", "Coronary artery calcification, Agatston 200 in addition to ascites.", "E12 E25"),
    ("hand side", "A kidney stone on the left hand side.", "E14"),
    ("node beside its place", "A possible pathologically enlarged lymph node in the left axilla.", "E21"),
    ("no more", "No more nodules of 6 mm or more.", "E8"),
    ("size in a denial", "No lung mass of not less than 30 mm.", "E9"),
    ("whether", "Whether there is pulmonary embolism cannot be judged (no contrast given).", "E15"),
    ("neither ... nor", "Pulmonary embolism can neither be confirmed nor excluded (native scan).", "E15"),
    ("not diagnostic", "The study is nondiagnostic for pulmonary embolism (lack of contrast).", "E15"),
    ("embolism of the lung", "Thromboembolism of the lung: assessment not possible (unenhanced CT).", "E15"),
    ("no tool", "Pericardial effusion was not assessed (no tool available).", "E24"),
    ("limit unknown", "No hiatal hernia (detection limit unknown).", "E22"),
    ("cover", "No consolidation in the right lung (incomplete coverage).", "E10"),
    ("field of view", "No consolidation in the right lung within the field of view.", "E10"),
    ("outside", "The pelvis is outside of the imaged volume.", "E17"),
    ("does not include", "The scan does not include the pelvis.", "E17"),
    ("part of", "Part of the upper abdomen is not covered.", "E18"),
    ("in full", "The upper abdomen is not covered in full.", "E18"),
    ("insertion", "Enlarged lymph node in the left axilla, with a short axis of 13 mm, is suspected.", "E21"),
    ("place of the next", "A moderate effusion on the right as well as coronary artery calcification.", "E3 E12"),
    ("might be", "An enlarged lymph node in the left axilla might be present.", "E21"),
    ("section area", "The pelvis is not within the section area.", "E17"),
    ("within the section area", "No consolidation in the right lung within the section area.", "E10"),
    ("both of two places", "Both a stone of the left kidney and ascites are seen.", "E14 E25"),
    ("both before a lower place", "Both a nodule in the right upper lobe of 17 mm and ascites.", "E1 E25"),
    ("as a possibility", "An enlarged lymph node in the left axilla as a possibility.", "E21"),
    ("as one possibility", "An enlarged lymph node in the left axilla, as one possibility.", "E21"),
    ("one hand", "A kidney stone on the left on the one hand, ascites on the other.", "E14 E25"),
    ("remains outside", "The pelvis remains outside the study.", "E17"),
    ("see part of", "We see only part of the upper abdomen.", "E18"),
]

STOPS = [
    ("both of a pair", "Nodules of both upper lobes and ascites.", "E1 E25"),
    ("as a possibility", "A kidney stone on the left as a possibility.", "E14"),
    ("exchanged hands", "A kidney stone of 17 mm on the one hand, a nodule of 5 mm on the other.", "E14 E1"),
    ("doubt after an insertion", "A kidney stone on the left, with a size of 5 mm, is suspected.", "E14"),
    ("doubt after a participle", "A kidney stone on the left, measuring 5 mm, may be present.", "E14"),
    ("might be", "A kidney stone on the left might be present.", "E14"),
    ("question mark", "A kidney stone on the left, its size being 5 mm?", "E14"),
    ("doubt at the end", "A kidney stone on the left is conceivable.", "E14"),
    ("count after one", "One notes two kidney stones on the left.", "E14"),
    ("a number of", "A number of kidney stones on the left.", "E14"),
    ("part is not none", "Part of the upper abdomen lies outside the field of view.", "E17"),
    ("not in full is not none", "The pelvis is not covered in full.", "E17"),
    ("outside is not part", "The upper abdomen is outside of the imaged volume.", "E18"),
    ("limit that nobody checked", "No pneumothorax (marked noise).", "E6 E7"),
    ("limit in a second part", "No pneumothorax; images are noisy.", "E6 E7"),
    ("limit unread", "No pneumothorax, the native phase considered.", "E6 E7"),
    ("known limit is none", "No hiatal hernia (detection limit known).", "E22"),
    ("nowhere", "Nowhere is there a nodule.", "E8"),
    ("unseen", "A nodule is unseen.", "E8"),
    ("no more beside a number", "No more nodules of 3 mm or more.", "E8"),
    ("history", "Previously treated nodule of 17 mm in the right upper lobe.", "E1"),
    ("known", "Nodule of 17 mm in the right upper lobe, known.", "E1"),
    ("pathologic fracture", "Pathologic vertebral fracture of T8.", "E13"),
    ("narrower place after", "Probable consolidated lung in the left upper lobe.", "E23"),
    ("in addition to", "Coronary artery calcification, Agatston 300 in addition to ascites.", "E12 E25"),
    ("list numbers", "1. A nodule of 19 mm in the right upper lobe. 2. There is ascites.", "E1 E25"),
    ("nothing", "Nothing to suggest ascites.", "E25"),
    ("obvious is no size", "No obvious pleural effusion on the right.", "E4"),
    ("evident is no size", "No pleural effusion is evident on the right.", "E4"),
]


@pytest.mark.parametrize(("what", "text", "cites"), PASSES, ids=[what for what, *_ in PASSES])
def test_a_true_sentence_in_another_wording_is_supported(what: str, text: str, cites: str) -> None:
    found = verdict(text, *cites.split())
    assert found.name == "supported", f"{what}: {found}"


@pytest.mark.parametrize(("what", "text", "cites"), STOPS, ids=[what for what, *_ in STOPS])
def test_a_false_sentence_in_that_wording_is_stopped(what: str, text: str, cites: str) -> None:
    found = verdict(text, *cites.split())
    assert found.name not in ("supported", "neutral"), f"{what}: {found}"


@pytest.mark.parametrize(
    ("said", "change"),
    [
        ("larger than previously", "larger"),
        ("increased in size compared to the previous CT", "larger"),
        ("with growth since the prior scan", "larger"),
        ("which is bigger than before", "larger"),
        ("reduced in comparison with the prior examination", "smaller"),
        ("which has become smaller", "smaller"),
        ("unaltered", "unchanged"),
        ("as on the prior scan", "unchanged"),
        ("similar to the prior scan", "unchanged"),
        ("which was not present before", "new"),
        ("new compared with the previous CT", "new"),
    ],
)
def test_words_of_change(said: str, change: str) -> None:
    assert split_changes(f"Nodule, {said}.")[1] == change
    text = f"Nodule of 17 mm in the right upper lobe, {said}."
    assert verdict(text, "E1").name == "unsupported"
    wanted = "supported" if change == "larger" else "unsupported"
    assert verdict(text, "E1", context=Context(prior=Prior(matches=MATCHES))).name == wanted


def test_a_node_which_is_enlarged_has_not_grown() -> None:
    assert split_changes("A node which is enlarged.")[1] is None


@pytest.mark.parametrize(
    ("said", "limit"),
    [
        ("limited assessment due to image noise", "noise"),
        ("image noise hampers the assessment", "noise"),
        ("artefacts from metal", "metal"),
        ("contrast was not given", "no_contrast"),
        ("no contrast was administered", "no_contrast"),
        ("as far as included", "partly_covered"),
        ("the sensitivity is unknown", "not_measured"),
        ("laterality is uncertain", "side_unsure"),
        ("the organ could not be found", "not_found"),
        ("not implemented", "not_implemented"),
        ("not part of the examination", "not_covered"),
    ],
)
def test_words_of_a_limit(said: str, limit: str) -> None:
    assert split_limits(f"No nodule ({said}).")[1] == (limit,)


def test_atelectatic_lung_is_a_finding_and_no_limit() -> None:
    assert split_limits("Free of emphysema, atelectatic lung, nodules or masses.")[1] == ()


def test_the_ledger_is_the_known_one() -> None:
    assert len(LEDGER) == 25
