"""The vocabulary holds together: keys, parents, sites, packs, published thresholds, names that read back."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.resources import files
from typing import Any

import pytest

from vlm.errors import UsageError
from vlm.evidence import QUANTITIES
from vlm.findings.lexicon import load_lexicon
from vlm.findings.packs import load_pack, pack_names, parse_pack
from vlm.findings.reader import read_sentence
from vlm.findings.spelling import normalise, tokens_of
from vlm.findings.vocabulary import build_vocabulary, load_vocabulary

VOCABULARY = load_vocabulary()


def _files() -> tuple[dict[str, Any], dict[str, Any]]:
    folder = files("prompts")
    return tuple(tomllib.loads((folder / name).read_text()) for name in ("findings.toml", "words.toml"))  # type: ignore[return-value]


def test_every_finding_has_prompts_that_name_no_placeholder() -> None:
    for finding in VOCABULARY.findings.values():
        assert len(finding.positive) >= 3, finding.key
        assert len(finding.negative) >= 2, finding.key
        assert not any("{" in prompt for prompt in finding.positive + finding.negative), finding.key


@pytest.mark.parametrize("key", sorted(VOCABULARY.findings))
def test_the_name_of_a_finding_reads_back_as_that_finding(key: str) -> None:
    name = VOCABULARY.findings[key].name
    anywhere = all(sites == ("*",) for _, sites in VOCABULARY.findings[key].when) and VOCABULARY.findings[key].when
    found = {m.finding for m in read_sentence(f"There is {name}{' of the muscle' if anywhere else ''}.").mentions}
    assert any(VOCABULARY.is_a(f, key) or VOCABULARY.is_a(key, f) for f in found), (name, found)


@pytest.mark.parametrize("name", ["ct-rate-18", "merlin-30"])
def test_prompts_of_pack_findings_read_back_present_and_absent(name: str) -> None:
    for column in load_pack(name).columns:
        finding = VOCABULARY.findings[column.findings[0]]
        for prompt in finding.negative[:2]:
            said = [m for m in read_sentence(prompt).mentions if m.presence == "present"]
            assert not any(VOCABULARY.is_a(m.finding, finding.key) for m in said), prompt
        said = [m for m in read_sentence(finding.positive[0]).mentions if m.presence != "absent"]
        assert any(VOCABULARY.is_a(m.finding, key) for m in said for key in column.findings), finding.positive[0]


def test_grades_use_known_quantities_and_name_their_source() -> None:
    for finding in VOCABULARY.findings.values():
        if finding.grades:
            assert finding.grades.quantity in QUANTITIES, finding.key
            assert QUANTITIES[finding.grades.quantity][0] == finding.grades.unit, finding.key
            assert len(finding.grades.source) > 20, finding.key


@pytest.mark.parametrize(
    ("finding", "value", "grade"),
    [
        ("coronary_artery_calcification", 5.0, "minimal"),
        ("coronary_artery_calcification", 100.0, "mild"),
        ("coronary_artery_calcification", 250.0, "moderate"),
        ("coronary_artery_calcification", 401.0, "severe"),
        ("pleural_effusion", 120.0, "small"),
        ("pleural_effusion", 1500.0, "large"),
        ("cardiomegaly", 0.45, None),
        ("vertebral_fracture", 30.0, "moderate"),
        ("hiatal_hernia", 1.0, None),
    ],
)
def test_grades_follow_published_thresholds(finding: str, value: float, grade: str | None) -> None:
    assert VOCABULARY.grade_of(finding, value) == grade


def test_kinds_and_places_nest() -> None:
    assert VOCABULARY.is_a("lung_nodule", "lung_lesion")
    assert not VOCABULARY.is_a("lung_lesion", "lung_nodule")
    assert VOCABULARY.is_a("port", "medical_material")
    assert not VOCABULARY.is_a("metal_artefact", "medical_material")
    assert VOCABULARY.site_contains("lung", "upper_lobe")
    assert VOCABULARY.site_contains("aorta", "aortic_arch")
    assert VOCABULARY.site_contains("spine", "T8")
    assert not VOCABULARY.site_contains("upper_lobe", "lung")


def test_snomed_codes_pass_their_check_digit_and_are_used_once() -> None:
    codes = [f.snomed for f in VOCABULARY.findings.values() if f.snomed]
    assert len(codes) == len(set(codes))
    assert all(_verhoeff(code) for code in codes), [c for c in codes if not _verhoeff(c)]


def _verhoeff(code: str) -> bool:
    """SNOMED CT identifiers end in a Verhoeff check digit (dihedral group D5)."""
    state = 0
    for place, digit in enumerate(reversed(code)):
        value = int(digit)
        for _ in range(place % 8):
            value = (1, 5, 7, 6, 2, 8, 3, 0, 9, 4)[value]
        flipped = state >= 5
        turn = (state % 5 - value % 5 if flipped else state % 5 + value % 5) % 5
        state = turn + 5 * (flipped != (value >= 5))
    return state == 0


def test_american_british_plural_and_hyphen_are_one_word() -> None:
    assert normalise("Oedema") == normalise("edema")
    assert normalise("tumours") == normalise("tumor")
    assert normalise("ground-glass opacities") == normalise("ground glass opacity")
    assert normalise("vertebrae") == normalise("vertebra")
    assert normalise("thrombus") == ("thrombus",)
    assert normalise("sizes") == ("size",)


def test_a_slip_of_the_pen_is_read_but_stays_unknown() -> None:
    reading = read_sentence("There is consolodation in the right lung.")
    assert [m.finding for m in reading.mentions] == ["consolidation"]
    assert reading.unknown == ("consolodation",)
    assert load_lexicon().correction("infusions") is None
    assert load_lexicon().correction("obstructong") != "obstruction"
    assert load_lexicon().correction("atelectasys") == "atelectasis"
    assert load_lexicon().correction("pnuemothorax") == "pneumothorax"


def test_tokens_keep_their_place() -> None:
    text = "Left-sided effusion, 3.5 cm (L4-L5)."
    assert all(text[token.start : token.end] for token in tokens_of(text))
    assert [token.word for token in tokens_of(text)][:3] == ["left", "sided", "effusion"]


def test_a_faulty_vocabulary_is_refused_with_its_entry_named() -> None:
    data, words = _files()
    data["finding"]["lung_nodule"]["parents"] = ["no_such_finding"]
    with pytest.raises(ValueError, match="no_such_finding"):
        build_vocabulary(data, words)
    data, words = _files()
    data["finding"]["lung_lesion"]["parents"] = ["lung_nodule"]
    with pytest.raises(ValueError, match="above itself"):
        build_vocabulary(data, words)
    data, words = _files()
    data["finding"]["ascites"]["when"] = ["fluid @ nowhere"]
    with pytest.raises(ValueError, match="nowhere"):
        build_vocabulary(data, words)


def test_an_unknown_finding_is_refused_with_near_ones() -> None:
    with pytest.raises(UsageError, match="lung_nodule"):
        VOCABULARY.finding("lung_nodul")


def test_packs_have_their_columns_in_the_pack_s_spelling() -> None:
    assert set(pack_names()) == {"ct-rate-18", "merlin-30"}
    chest = [column.name for column in load_pack("ct-rate-18").columns]
    assert len(chest) == 18
    assert {"Medical material", "Coronary artery wall calcification", "Mosaic attenuation pattern"} <= set(chest)
    abdomen = [column.name for column in load_pack("merlin-30").columns]
    assert len(abdomen) == 30
    assert {"surgically_absent_gallbladder", "free_air", "biliary_ductal_dilation"} <= set(abdomen)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"name": "x"}, "at least one"),
        ({"name": "x", "column": [{"name": "a", "findings": ["ascitis"]}]}, "did you mean 'ascites'"),
        ({"name": "x", "column": [{"name": "a", "findings": []}]}, "names no finding"),
        ({"name": "x", "column": [{"name": "a", "findings": ["ascites"], "colour": 1}]}, "unknown field"),
        ({"name": "x", "column": [{"name": "a", "findings": ["ascites"], "uncertain": "maybe"}]}, "uncertain"),
        ({"name": "x", "column": [{"name": "a", "findings": ["ascites"]}] * 2}, "two columns"),
    ],
)
def test_a_faulty_pack_is_refused(data: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_pack(data)


def test_reading_reports_loads_no_arrays_and_no_network() -> None:
    heavy = "('torch', 'scipy', 'SimpleITK', 'pydicom')"
    code = f"import sys; import vlm.findings.labels; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# Words that mean a finding only beside a site, or by default another finding: "dilatation", "increased density".
GENERIC = {
    *("abnormality", "opacity", "nodule", "dilatation", "stenosis", "atrophy", "hernia", "free_air", "enlargement"),
    *("sequela", "absent_organ"),
}


@pytest.mark.parametrize("key", sorted(set(VOCABULARY.findings) - GENERIC))
def test_a_name_is_read_as_its_finding_and_as_nothing_else(key: str) -> None:
    for text in (VOCABULARY.findings[key].name, f"No {VOCABULARY.findings[key].name}."):
        reading = read_sentence(text)
        assert {mention.finding for mention in reading.mentions} == {key}, text
        assert not reading.unknown, text


@pytest.mark.parametrize("key", sorted(GENERIC))
def test_a_generic_name_holds_no_unknown_word(key: str) -> None:
    assert not read_sentence(f"No {VOCABULARY.findings[key].name}.").unknown
