"""What the composer says, leaves out and orders, from ledgers made by hand."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from vlm.ct import Box
from vlm.evidence import QUANTITIES, Coverage, Evidence, Ledger, Measurement, Observation, Region, Search, without_side
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Context, Prior
from vlm.language.compose import ScanFacts, compose
from vlm.language.drafting import checked
from vlm.language.phrases import fill, load_phrases
from vlm.report import Draft, Sentence

FACTS = ScanFacts(slices=300, step_mm=1.0, kernel="soft", contrast=False, regions=("chest",))
MEASURED = {"smallest": Measurement(quantity="diameter", value=6.0), "sensitivity": 0.92}


def region(x: float = 50.0) -> Region:
    return Region(centroid_mm=(x, 0, 0), box_mm=Box(low_mm=(x - 5, -5, -5), high_mm=(x + 5, 5, 5)), slices=(4, 8))


def nodule(diameter: float, side: str = "right") -> Observation:
    return Observation(
        tool="nodules",
        finding="lung_nodule",
        presence="present",
        side=side,  # type: ignore[arg-type]
        site="upper_zone",
        measurements=(
            Measurement(quantity="diameter", value=diameter),
            Measurement(quantity="short_axis", value=diameter * 0.8),
        ),
        region=region(50.0 if side == "right" else -50.0),
    )


def effusion_search(side: str, **more: object) -> Search:
    limit = Measurement(quantity="volume", value=30.0)
    known = {"covered": 1.0, "smallest": limit, "sensitivity": 0.95} | more
    return Search(tool="effusion", finding="pleural_effusion", side=side, **known)  # type: ignore[arg-type]


def written(*records: Evidence) -> list[Sentence]:
    ledger = Ledger()
    for record in records:
        ledger.add(record)
    return checked(compose(ledger, FACTS), ledger, context=Context(), fill=lambda _: [])


def texts(sentences: list[Sentence], section: str) -> list[str]:
    return [sentence.text for sentence in sentences if sentence.section == section]


def test_a_kind_is_not_denied_where_one_of_it_may_be() -> None:
    size = (Measurement(quantity="diameter", value=12.0), Measurement(quantity="short_axis", value=10.0))
    cyst = Observation(
        tool="liver_lesions",
        finding="liver_cyst",
        presence="uncertain",
        site="liver",
        measurements=size,
        region=region(),
    )
    searches = [Search(tool="liver_lesions", finding=f, covered=1.0) for f in ("liver_lesion", "liver_hypodensity")]
    assert not any("No" in sentence.text and "lesion" in sentence.text for sentence in written(cyst, *searches))
    both = " ".join(sentence.text for sentence in written(*searches) if sentence.section == "abdomen")
    assert "No liver lesion or low-density lesion of the liver" in both


def test_a_nodule_is_told_with_size_and_place_and_stands_in_the_impression() -> None:
    sentences = written(nodule(16.6))
    assert texts(sentences, "lungs_and_pleura") == ["Nodule of 17 x 13 mm in the right upper zone."]
    assert texts(sentences, "impression") == ["Right upper zone nodule, 17 mm."]
    assert all(s.verdict in ("supported", "neutral") for s in sentences)


def test_many_nodules_share_a_sentence_that_counts_them() -> None:
    sentences = written(*(nodule(30.0 - n) for n in range(9)))
    told = texts(sentences, "lungs_and_pleura")
    assert len(told) == 6
    assert told[-1] == "Four further lung nodules of up to 25 mm in the right lung."
    assert not texts(sentences, "to_review")


def test_both_sides_without_effusion_are_one_denial() -> None:
    assert texts(written(effusion_search("left"), effusion_search("right")), "lungs_and_pleura") == [
        "No pleural effusion."
    ]


def test_one_side_is_denied_by_name() -> None:
    seen = Observation(
        tool="effusion",
        finding="pleural_effusion",
        presence="present",
        side="right",
        measurements=(Measurement(quantity="volume", value=420.0),),
        region=region(),
    )
    sentences = written(seen, effusion_search("right", found=1), effusion_search("left"))
    assert "No left pleural effusion." in texts(sentences, "lungs_and_pleura")
    assert not any(text.startswith("No pleural") for text in texts(sentences, "lungs_and_pleura"))


def test_a_search_outside_the_scan_is_not_a_denial() -> None:
    sentences = written(effusion_search("left", covered=0.0, failed=("not_covered",)))
    assert not texts(sentences, "lungs_and_pleura")
    assert texts(sentences, "not_assessed") == ["Not assessed, not covered by the scan: left pleural effusion."]


@pytest.mark.parametrize(
    ("more", "said"),
    [({"covered": 0.7}, "in the covered part"), ({"smallest": None}, "(detection limit not measured)")],
)
def test_a_limited_search_says_its_limit(more: dict[str, object], said: str) -> None:
    told = texts(written(effusion_search("left", **more), effusion_search("right", **more)), "lungs_and_pleura")
    assert len(told) == 1
    assert said in told[0]


def test_what_a_tool_is_not_sure_of_stands_under_to_review() -> None:
    doubt = Observation(tool="hernia", finding="hiatal_hernia", presence="uncertain", region=region(), note="small")
    sentences = written(doubt)
    assert texts(sentences, "to_review") == ["Possible hiatal hernia."]
    assert not texts(sentences, "impression")


def test_a_region_outside_the_scan_is_said_to_be_outside() -> None:
    sentences = written(Coverage(tool="field_of_view", site="pelvis", covered=0.0))
    assert texts(sentences, "not_assessed") == ["Not covered by the scan: pelvis."]


def test_a_bracket_with_a_missing_fact_falls_away() -> None:
    assert fill("[{grade} ]effusion[, about {volume}]", {"volume": "{E1.volume}"}) == "Effusion, about {E1.volume}."
    with pytest.raises(KeyError):
        fill("{side} effusion", {})


def test_sides_that_contradict_the_anatomy_are_withheld_from_evidence() -> None:
    seen = without_side(nodule(14.0))
    assert seen.side is None
    assert "withheld" in seen.note
    searched = without_side(effusion_search("left"))
    assert isinstance(searched, Search)
    assert "side_unsure" in searched.failed
    assert without_side(Coverage(tool="field_of_view", site="pelvis", covered=0.0)).note == ""


def test_a_denial_names_the_part_that_was_searched() -> None:
    limit = Measurement(quantity="score", value=10.0)
    search = Search(
        tool="calcification", finding="arterial_wall_calcification", site="thoracic_aorta", covered=1.0, smallest=limit,
        sensitivity=0.9,
    )  # fmt: skip
    sentences = written(search)
    assert texts(sentences, "heart_and_vessels") == ["No calcification of the thoracic aorta."]


def test_a_doubtful_attribute_is_not_told() -> None:
    seen = Observation(
        tool="effusion", finding="pleural_effusion", presence="present", side="right", region=region(),
        attributes={"loculated": "likely"},
    )  # fmt: skip
    assert texts(written(seen), "lungs_and_pleura") == ["Right pleural effusion."]


def test_a_scan_without_a_known_region_is_still_a_scan() -> None:
    nowhere = ScanFacts(slices=12, step_mm=2.5, kernel="unknown", contrast=None, regions=())
    drafts = compose(Ledger(), nowhere)
    assert drafts[0].template == "CT, 12 slices of 2.5 mm."


def test_what_was_seen_is_not_listed_as_not_assessed() -> None:
    unsure = Search(tool="nodules", finding="lung_nodule", covered=0.1, found=1, failed=("partly_covered",))
    sentences = written(nodule(9.0), unsure)
    assert not texts(sentences, "not_assessed")


@pytest.mark.parametrize("key", ["comparison_none", "comparison_unaligned", "sides"])
def test_fixed_sentences_pass_the_checker(key: str) -> None:
    ledger = Ledger()
    section = "technique" if key == "sides" else "comparison"
    draft = Draft(section=section, template=fill(load_phrases().technique[key], {}))
    sentences = checked([draft], ledger, context=Context(), fill=lambda _: [])
    assert [s.verdict for s in sentences] == ["neutral"]


def test_metal_without_a_known_place_is_on_a_side_and_in_no_lung() -> None:
    nail = Observation(
        tool="devices", finding="orthopaedic_hardware", presence="present", side="left", region=region(-50.0)
    )
    told = " ".join(texts(written(nail), "bones") + texts(written(nail), "soft_tissues_and_devices"))
    assert "left" in told
    assert "lung" not in told


def test_very_many_nodules_are_multiple() -> None:
    sentences = written(*(nodule(30.0 - n) for n in range(22)))
    assert "Multiple further lung nodules of up to 25 mm in the right lung." in texts(sentences, "lungs_and_pleura")
    assert texts(sentences, "impression")[1] == "Multiple further lung nodules of up to 29 mm in the right lung."
    assert not texts(sentences, "to_review")


def test_a_partly_covered_lung_is_denied_nodules_by_size_and_limit() -> None:
    search = Search(tool="nodules", finding="lung_nodule", covered=0.7, **MEASURED)  # type: ignore[arg-type]
    assert texts(written(search), "lungs_and_pleura") == ["No lung nodule of 6 mm or more in the covered part."]


def nodule_search(side: str, **more: object) -> Search:
    known = {"covered": 1.0, **MEASURED} | more
    return Search(tool="nodules", finding="lung_nodule", side=side, **known)  # type: ignore[arg-type]


def test_beside_a_few_nodules_no_other_is_denied() -> None:
    sentences = written(nodule(14.0), nodule_search("right", found=1), nodule_search("left"))
    assert texts(sentences, "lungs_and_pleura")[1:] == ["No other lung nodule of 6 mm or more."]


@pytest.mark.parametrize("doubtful", [True, False])
def test_no_other_nodule_is_denied_where_one_is_doubtful_or_the_limit_is_unknown(doubtful: bool) -> None:
    doubt = replace(nodule(9.0, "left"), presence="uncertain")
    unknown = {} if doubtful else {"smallest": None, "sensitivity": None}
    searches = [nodule_search(side, found=1, **unknown) for side in ("left", "right")]
    sentences = written(nodule(14.0), doubt if doubtful else nodule(9.0, "left"), *searches)
    assert not [text for text in texts(sentences, "lungs_and_pleura") if "other" in text]


def test_a_part_that_one_side_leaves_out_is_said_of_both() -> None:
    sentences = written(nodule_search("left", failed=("collapse",)), nodule_search("right"))
    assert texts(sentences, "lungs_and_pleura") == [
        "No lung nodule of 6 mm or more outside collapsed or consolidated lung."
    ]


def test_a_condition_of_one_side_is_not_said_of_the_other() -> None:
    sentences = written(effusion_search("left", failed=("noise",)), effusion_search("right"))
    assert texts(sentences, "lungs_and_pleura") == [
        "No right pleural effusion.",
        "No left pleural effusion, limited by noise.",
    ]


def test_a_side_stands_last_so_that_it_is_read_with_its_own_finding_alone() -> None:
    whole = Search(tool="lungs", finding="consolidation", covered=1.0, smallest=Measurement(quantity="volume", value=5))
    sentences = written(effusion_search("left", covered=1.0), whole)
    assert texts(sentences, "lungs_and_pleura") == ["No consolidation or left pleural effusion."]


def test_an_impression_without_findings_denies_what_is_urgent_and_says_where() -> None:
    sides = [effusion_search(side, covered=0.8) for side in ("left", "right")]
    assert texts(written(*sides), "impression") == ["No pleural effusion in the covered part."]


def test_what_is_not_covered_is_told_by_region_below_the_chest_and_by_finding_in_it() -> None:
    outside = [Coverage(tool="field_of_view", site=site, covered=0.0) for site in ("chest", "pelvis")]
    unseen = [
        Search(tool="unseen", finding=finding, covered=0.0, failed=("not_covered",))
        for finding in ("pneumothorax", "prostatomegaly")
    ]
    assert texts(written(*outside, *unseen), "not_assessed") == [
        "Not covered by the scan: chest and pelvis.",
        "Not assessed, not covered by the scan: pneumothorax.",
    ]


def test_doubts_stand_in_the_order_of_their_urgency() -> None:
    doubts = [
        Observation(tool="hernia", finding="hiatal_hernia", presence="uncertain", region=region()),
        replace(nodule(9.0), presence="uncertain"),
    ]
    assert texts(written(*doubts), "to_review") == [
        "Possible right upper zone nodule, 9 mm.",
        "Possible hiatal hernia.",
    ]


@pytest.mark.parametrize(
    ("finding", "site", "said"),
    [
        (
            "aortic_aneurysm",
            "descending_aorta",
            "Aneurysm of the descending aorta not excluded, diameter 38 mm.",
        ),
        ("abdominal_aortic_aneurysm", "abdominal_aorta", "Abdominal aortic aneurysm not excluded, diameter 38 mm."),
    ],
)
def test_a_width_at_its_limit_is_told_and_neither_claimed_nor_denied(finding: str, site: str, said: str) -> None:
    width = Measurement(quantity="diameter", value=38.0, plus_minus=3.0)
    seen = Observation(
        tool="aorta_size", finding=finding, presence="uncertain", site=site, measurements=(width,), region=region()
    )
    search = Search(
        tool="aorta_size", finding=finding, covered=1.0, found=1, site=site, measurements=(width,), region=region()
    )
    sentences = written(seen, search)
    assert texts(sentences, "to_review") == [said]
    assert not any(s.text.startswith("No ") and "aneurysm" in s.text for s in sentences)


def test_a_place_that_was_not_judged_is_named_where_another_was() -> None:
    judged = Search(tool="x", finding="aortic_aneurysm", site="descending_aorta", covered=1.0)
    missed = Search(tool="x", finding="aortic_aneurysm", site="ascending_aorta", covered=0.0, failed=("not_found",))
    sentences = written(judged, missed)
    assert "No aneurysm of the descending aorta" in texts(sentences, "heart_and_vessels")[0]
    (told,) = texts(sentences, "not_assessed")
    assert "aneurysm of the ascending aorta" in told and "aortic aneurysm" not in told


@pytest.mark.parametrize(
    "reason", ["thick_slices", "noise", "metal", "contrast", "not_found", "tool_failed", "phase", "often_missed"]
)
def test_every_reason_for_what_was_not_assessed_passes_the_checker(reason: str) -> None:
    search = Search(tool="x", finding="aortic_aneurysm", covered=0.0, failed=(reason,))
    sentences = written(search)
    assert texts(sentences, "not_assessed")
    assert not texts(sentences, "to_review")


def test_what_its_tool_mostly_misses_is_not_denied_but_told_as_not_assessed() -> None:
    sentences = written(Search(tool="x", finding="hiatal_hernia", covered=1.0, failed=("often_missed",)))
    assert not any(s.text.startswith("No ") for s in sentences)
    (told,) = texts(sentences, "not_assessed")
    assert "hernia" in told and "missed too often in tests" in told


def test_a_new_device_stands_in_the_impression_an_old_one_does_not() -> None:
    ledger = Ledger()
    for finding in ("port", "pacemaker"):
        ledger.add(Observation(tool="devices", finding=finding, presence="present", side="left", region=region()))
    prior = Prior(matches={"E1": None})
    drafts = compose(ledger, FACTS, prior=prior, prior_given=True)
    sentences = checked(drafts, ledger, context=Context(prior=prior), fill=lambda _: [])
    assert texts(sentences, "impression") == ["Left port, new since the prior scan."]
    assert texts(sentences, "comparison") == ["Compared with the prior scan."]


@pytest.mark.parametrize("key", ["comparison_prior", "comparison_part"])
def test_the_comparison_with_a_prior_passes_the_checker(key: str) -> None:
    draft = Draft(section="comparison", template=fill(load_phrases().technique[key], {}))
    sentences = checked([draft], Ledger(), context=Context(prior=Prior()), fill=lambda _: [])
    assert [s.verdict for s in sentences] == ["neutral"]


@pytest.mark.parametrize(
    ("finding", "sites", "sides", "told"),
    [
        ("lung_nodule", ("lower_zone",), ("left", "right"), "lung nodules of up to 30 mm in both lungs."),
        ("lung_nodule", ("lower_zone",), ("left",), "lung nodules of up to 30 mm in the left lung."),
        ("lung_mass", ("upper_zone", "lower_zone"), ("right",), "lung masses of up to 30 mm in the right lung."),
        (
            "lymphadenopathy",
            ("mediastinum",),
            (None,),
            "enlarged lymph nodes of up to 30 mm in short axis in the mediastinum.",
        ),
        ("lymphadenopathy", ("mediastinum", "axilla"), (None,), "enlarged lymph nodes of up to 30 mm in short axis."),
        ("lung_mass", ("upper_zone",), (None, "right"), "lung masses of up to 30 mm."),
    ],
)
def test_many_of_a_kind_are_told_where_all_of_them_lie(
    finding: str, sites: tuple[str, ...], sides: tuple[str | None, ...], told: str
) -> None:
    many = [
        Observation(
            tool="x", finding=finding, presence="present", side=sides[n % len(sides)], site=sites[n % len(sites)],  # type: ignore[arg-type]
            measurements=tuple(Measurement(quantity=key, value=35.0 - n) for key in ("diameter", "short_axis")),
            region=region(50.0 + n),
        )
        for n in range(9)
    ]  # fmt: skip
    sentences = written(*many)
    assert [s.text for s in sentences if "further" in s.text and s.section != "impression"] == [f"Four further {told}"]
    assert not texts(sentences, "to_review")


@pytest.mark.parametrize("presence", ["present", "uncertain"])
@pytest.mark.parametrize("finding", sorted(load_phrases().findings))
def test_the_wording_of_every_finding_passes_the_checker(finding: str, presence: str) -> None:
    phrases = load_phrases()
    named = {
        quantity
        for kind in ("present", "short")
        for quantity in re.findall(r"{([a-z_]+)#?}", phrases.pattern(finding, kind) or "")
    }
    measured = tuple(
        Measurement(quantity=quantity, value=0.6 if quantity == "ratio" else 42.0)
        for quantity in sorted(named & set(QUANTITIES))
    )
    entry = load_vocabulary().finding(finding)
    for side in ("left", "right") if entry.side == "sided" else (None,):
        seen = Observation(
            tool="x", finding=finding, presence=presence, side=side, site=entry.site, measurements=measured,  # type: ignore[arg-type]
            region=region(),
        )  # fmt: skip
        sentences = written(seen)
        assert [s.verdict for s in sentences if s.verdict not in ("supported", "neutral")] == []
        assert any("E1" in s.cites for s in sentences)


def test_where_a_search_looked_is_said_before_what_hampered_it() -> None:
    sentences = written(nodule_search("left", failed=("thick_slices", "collapse")))
    (told,) = texts(sentences, "lungs_and_pleura")
    assert told.endswith("outside collapsed or consolidated lung, limited by thick slices.")


def test_an_impression_without_anything_else_holds_the_lesser_findings() -> None:
    nail = Observation(tool="devices", finding="orthopaedic_hardware", presence="present", side="left", region=region())
    assert texts(written(nail), "impression") == ["Orthopaedic hardware on the left."]
    assert len(texts(written(nail, nodule(9.0)), "impression")) == 1


def stone(diameter: float, side: str) -> Observation:
    return Observation(
        tool="stones", finding="kidney_stone", presence="present", side=side, region=region(diameter * 10),  # type: ignore[arg-type]
        measurements=(Measurement(quantity="diameter", value=diameter),),
    )  # fmt: skip


def test_more_than_two_stones_share_a_sentence_for_each_kidney() -> None:
    sentences = written(stone(8.0, "left"), stone(7.5, "left"), stone(6.0, "right"))
    told = ["Two stones of up to 8 mm in the left kidney.", "Stone of 6 mm in the right kidney."]
    assert texts(sentences, "abdomen") == texts(sentences, "impression") == told
    assert texts(written(stone(8.0, "left"), stone(5.0, "left")), "abdomen") == [
        "Stone of 8 mm in the left kidney.",
        "Stone of 5 mm in the left kidney.",
    ]


def test_a_mass_and_a_nodule_are_denied_in_one_sentence_where_their_limits_agree() -> None:
    mass = Search(
        tool="nodules", finding="lung_mass", covered=0.7, smallest=Measurement(quantity="diameter", value=32.0)
    )
    nodules = Search(tool="nodules", finding="lung_nodule", covered=0.7, **MEASURED)  # type: ignore[arg-type]
    told = "No lung mass of 32 mm or more and no lung nodule of 6 mm or more in the covered part."
    sentences = written(mass, nodules)
    assert texts(sentences, "lungs_and_pleura") == [told]
    assert texts(sentences, "impression") == [told]
    assert len(texts(written(mass, replace(nodules, covered=1.0)), "lungs_and_pleura")) == 2


def doubtful(finding: str, x: float, *measurements: Measurement) -> Observation:
    return Observation(
        tool="x", finding=finding, presence="uncertain", side="right", site="upper_zone", region=region(x),
        measurements=measurements,
    )  # fmt: skip


def test_two_readings_of_one_place_are_one_doubt() -> None:
    mass = doubtful("lung_mass", 50.0, Measurement(quantity="diameter", value=72.0))
    told = texts(written(mass, doubtful("lobar_collapse", 52.0)), "to_review")
    assert told == ["Possible mass of 72 mm or collapse in the right upper zone."]
    apart = texts(written(mass, doubtful("lobar_collapse", 90.0)), "to_review")
    assert apart == ["Possible right upper zone mass, 72 mm.", "Possible collapse in the right upper zone."]


def test_what_was_not_assessed_is_told_once_with_one_reason() -> None:
    sides = (("right", "partly_covered"), ("left", "not_found"))
    sentences = written(
        *(Search(tool="x", finding="kidney_stone", covered=0.2, side=side, failed=(why,)) for side, why in sides)  # type: ignore[arg-type]
    )
    assert texts(sentences, "not_assessed") == ["Not assessed, only partly covered: kidney stone."]
    assert len(sentences[-1].cites) == 2


def test_what_is_seen_in_a_part_is_not_called_not_assessed_in_the_whole() -> None:
    seen = Observation(
        tool="x", finding="aortic_calcification", presence="present", site="abdominal_aorta", region=region()
    )
    hidden = Search(tool="x", finding="arterial_wall_calcification", covered=1.0, site="aorta", failed=("contrast",))
    assert not texts(written(seen, hidden), "not_assessed")


def test_a_name_in_a_list_is_not_bent_by_the_site_of_its_neighbour() -> None:
    unseen = ("mediastinal_mass", "metastatic_disease", "pulmonary_fibrotic_sequela", "rib_fracture")
    sentences = written(*(Search(tool="x", finding=f, covered=0.0, failed=("not_implemented",)) for f in unseen))
    assert not texts(sentences, "to_review")
    assert "metastatic disease" in texts(sentences, "not_assessed")[0]


def test_a_scan_of_one_lung_has_an_impression_of_that_lung() -> None:
    gone = effusion_search("left", covered=0.0, smallest=None, sensitivity=None, failed=("not_covered",))
    assert texts(written(effusion_search("right"), gone), "impression") == ["No right pleural effusion."]


def test_a_lytic_lesion_of_bone_is_told_as_one() -> None:
    size = (Measurement(quantity="diameter", value=20.0), Measurement(quantity="short_axis", value=19.0))
    hole = Observation(
        tool="bone_lesions", finding="bone_lesion", presence="present", site="L2", measurements=size, region=region(),
        attributes={"density": "lytic"},
    )  # fmt: skip
    (told,) = [s for s in written(hole) if s.section == "bones"]
    assert told.text == "Lytic bone lesion of 20 x 19 mm, L2." and told.verdict == "supported"


def test_a_side_that_was_not_assessed_is_named_where_something_was_seen_on_the_other() -> None:
    cyst = Observation(
        tool="kidneys", finding="renal_cyst", presence="present", side="right", site="kidney", region=region(),
        measurements=(Measurement(quantity="diameter", value=28.0), Measurement(quantity="short_axis", value=24.0)),
    )  # fmt: skip
    unsure = [
        Search(
            tool="kidneys", finding="renal_hypodensity", side=side, site="kidney", covered=0.5, failed=("often_missed",)
        )  # type: ignore[arg-type]
        for side in ("left", "right")
    ]
    sentences = written(cyst, *unsure)
    assert texts(sentences, "not_assessed") == [
        "Not assessed, missed too often in tests: low-density lesion of the left kidney."
    ]
    assert not texts(sentences, "to_review")
