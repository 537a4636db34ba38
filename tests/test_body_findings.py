"""Findings in a body: every entry of the registry is drawn as large as it was asked for, where it was, or refused."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
from scipy import ndimage

from benchmarks.drawable import table
from benchmarks.stamp import ROOT
from vlm.errors import UsageError
from vlm.evidence import QUANTITIES
from vlm.findings.packs import load_pack
from vlm.findings.vocabulary import load_vocabulary
from vlm.phantom.body import NUMBER, Body, Exposure, body
from vlm.phantom.body.body import draw, grid_of
from vlm.phantom.body.findings import FINDINGS, numbered, put_in, sicken
from vlm.phantom.body.findings.drawing import Drawing
from vlm.phantom.body.findings.lumps import ball_ml
from vlm.phantom.body.patient import Patient
from vlm.phantom.body.person import Person
from vlm.phantom.body.scene import Scene
from vlm.phantom.body.tissues import Phase
from vlm.phantom.body.wishes import read_wish

QUIET = Exposure(noise_hu=6.0)
SPACING_MM = (4.0, 4.0, 4.0)
MAN, WOMAN = 2, 1  # seeds
BALLS = {
    "lung_nodule", "lung_mass", "lung_cyst", "cavity", "liver_lesion", "liver_cyst", "liver_hypodensity",
    "metastatic_disease", "splenic_lesion", "pancreatic_lesion", "adrenal_lesion", "renal_cyst", "renal_lesion",
    "renal_hypodensity", "kidney_stone", "ureter_stone", "bladder_stone", "bile_duct_stone", "gallstone",
    "thyroid_nodule", "mediastinal_mass", "bone_lesion",
}  # fmt: skip
WHOLE = sorted(key for key, entry in FINDINGS.items() if entry.prepare is not None)
LOCAL = sorted(set(FINDINGS) - set(WHOLE))
TOGETHER = [key for key in WHOLE if key not in ("pneumothorax", "lobar_collapse", "gallstone", "pleural_effusion")]
Draw = Callable[..., Drawing]


@pytest.fixture(scope="session")
def healthy() -> Callable[[int, Phase], Scene]:
    """Scenes of whole persons, drawn once; each use works on a copy."""
    made: dict[tuple[int, Phase], Scene] = {}

    def scene(seed: int, phase: Phase) -> Scene:
        if (seed, phase) not in made:
            person = Person.of(seed)
            made[seed, phase] = draw(person, grid_of(person, "all", SPACING_MM), phase)
        own = copy.copy(made[seed, phase])
        own.hu, own.labels, own.tissue = own.hu.copy(), own.labels.copy(), own.tissue.copy()
        return own

    return scene


@pytest.fixture(scope="session")
def ill(healthy: Callable[[int, Phase], Scene]) -> Draw:
    """Puts findings, in words, into a person that is drawn once."""

    def put(*words: str, seed: int = MAN, phase: Phase = "portal") -> Drawing:
        return put_in(healthy(seed, phase), Patient(Person.of(seed), phase), numbered(words))

    return put


@pytest.fixture(scope="session")
def changed() -> Drawing:
    """A man with every finding that changes whole organs, drawn once."""
    wishes = numbered([FINDINGS[key].example for key in TOGETHER])
    ailing = sicken(Patient(Person.of(MAN), "plain"), wishes)
    scene = draw(ailing.person, grid_of(ailing.person, "all", SPACING_MM), "plain", ailing=ailing)
    return put_in(scene, ailing, wishes)


def check(drawing: Drawing, key: str) -> None:
    """The truth of a finding is what was asked for, and its mask is as large as that says."""
    entry = FINDINGS[key]
    (wish,) = numbered([entry.example])
    truth = next(truth for truth in drawing.truth if truth.finding == key)
    mask, voxel_ml = drawing.masks[truth.mask], drawing.scene.grid.voxel_ml
    ml = float(np.count_nonzero(mask)) * voxel_ml
    assert ml > 0 and truth.quantity in QUANTITIES
    assert wish.side is None or (truth.centre_mm[0] > 0) == (wish.side == "right")
    if entry.size is None:
        return
    asked = entry.size.of(wish)
    if truth.quantity == "ratio" and key == "cardiomegaly":
        assert truth.value == pytest.approx(asked, abs=0.04)  # what the drawn heart measures
    elif truth.quantity == entry.size.quantity:
        assert truth.value == pytest.approx(asked, rel=0.02, abs=voxel_ml)
    if truth.quantity == "volume":
        assert ml == pytest.approx(truth.value, rel=0.02)
    elif key in BALLS:
        assert ml == pytest.approx(ball_ml(truth.value), rel=0.02, abs=voxel_ml)


@pytest.mark.parametrize("key", LOCAL)
def test_a_finding_is_drawn_as_it_was_asked_for(key: str, ill: Draw) -> None:
    check(ill(FINDINGS[key].example, seed=WOMAN if key == "breast_implant" else MAN), key)


@pytest.mark.parametrize("key", TOGETHER)
def test_an_organ_is_changed_as_it_was_asked_for(key: str, changed: Drawing) -> None:
    check(changed, key)


def test_densities_of_whole_organs_are_those_asked_for(changed: Drawing) -> None:
    for key, tissue in (("hepatic_steatosis", "liver"), ("osteopenia", "trabecular")):
        asked = numbered([FINDINGS[key].example])[0].hu
        assert changed.scene.tissues.hu(tissue) == pytest.approx(asked, abs=0.5)


def test_a_blocked_bowel_is_wide_and_the_colon_beyond_it_narrow(
    changed: Drawing, healthy: Callable[[int, Phase], Scene]
) -> None:
    def depth(scene: Scene, label: str) -> float:
        return float(ndimage.distance_transform_edt(scene.labels == NUMBER[label], sampling=SPACING_MM).max())

    before = healthy(MAN, "portal")
    assert depth(changed.scene, "colon") < 0.85 * depth(before, "colon")
    assert depth(changed.scene, "small_bowel") > 1.1 * depth(before, "small_bowel")


def test_every_label_of_both_packs_can_be_drawn() -> None:
    is_a = load_vocabulary().is_a
    for pack in ("ct-rate-18", "merlin-30"):
        for column in load_pack(pack).columns:
            assert any(is_a(key, wanted) for key in FINDINGS for wanted in column.findings), column.name


def test_every_finding_is_a_key_of_the_vocabulary_and_its_example_is_read_as_it() -> None:
    assert set(FINDINGS) <= set(load_vocabulary().findings)
    for key, entry in FINDINGS.items():
        assert numbered([entry.example])[0].finding == key


def test_the_table_of_the_docs_is_that_of_the_registry() -> None:
    assert table() in (ROOT / "docs" / "phantom.md").read_text("utf-8")


def test_what_blocks_a_duct_widens_what_lies_upstream(ill: Draw) -> None:
    ureter = ill("left ureteral stone 6 mm")
    stone, dilated = ureter.truth
    assert dilated.finding == "hydronephrosis" and dilated.centre_mm[2] > stone.centre_mm[2]
    levels = np.flatnonzero(ureter.masks[dilated.mask].any(axis=(1, 2)))
    at = np.flatnonzero(ureter.masks[stone.mask].any(axis=(1, 2)))
    assert levels.min() >= at.min() - 2  # nothing is wide below the stone
    duct = ill("bile duct stone 8 mm")
    stone, dilated = duct.truth
    assert dilated.finding == "biliary_dilatation" and dilated.centre_mm[2] > stone.centre_mm[2]


@pytest.mark.parametrize(
    ("words", "toward"),
    [("left lower lobe collapse", -1), ("right upper lobe collapse", 1), ("right pleural effusion, 1800 ml", -1),
     ("left pneumothorax, 1800 ml", 1)],
)  # fmt: skip
def test_lost_lung_draws_the_heart_and_a_large_volume_pushes_it(words: str, toward: int) -> None:
    person = Person.of(MAN)
    wishes = numbered([words])
    ailing = sicken(Patient(person, "plain"), wishes)
    grid = grid_of(person, "chest", (8.0, 8.0, 8.0))

    def heart(patient: Patient) -> float:
        scene = draw(patient.person, grid, "plain", ailing=patient)
        beats = np.isin(scene.labels, [n for name, n in NUMBER.items() if name.startswith("heart")])
        return float((beats * scene.lines[0]).sum() / beats.sum())

    assert toward * (heart(ailing) - heart(Patient(person, "plain"))) > 4.0


@pytest.mark.parametrize(
    ("words", "phase", "visible"),
    [
        ("right pulmonary embolism 2 ml", "plain", False), ("right pulmonary embolism 2 ml", "arterial", True),
        ("dissection of the descending aorta", "plain", False),
        ("dissection of the descending aorta", "arterial", True),
        ("portal vein thrombosis 3 ml", "plain", False), ("portal vein thrombosis 3 ml", "portal", True),
        ("liver cyst 3 cm", "plain", True), ("liver metastasis 2 cm", "portal", True),
        ("liver haemangioma 3 cm", "arterial", True),
    ],
)  # fmt: skip
def test_the_phase_decides_what_is_visible(words: str, phase: Phase, visible: bool, ill: Draw) -> None:
    truth = ill(words, phase=phase).truth[0]
    assert truth.visible is visible and truth.contrast_hu is not None


def test_several_findings_differ_and_share_no_voxel(ill: Draw) -> None:
    drawing = ill("multiple liver metastases", "three renal cysts, left", "kidney stone 6 mm, left")
    lesions = [truth for truth in drawing.truth if truth.finding == "liver_lesion"]
    assert len(lesions) == 6 and len({round(truth.value, 2) for truth in lesions}) == 6
    assert len([truth for truth in drawing.truth if truth.finding == "renal_cyst"]) == 3
    whole = [mask for name, mask in drawing.masks.items() if name in {truth.mask for truth in drawing.truth}]
    assert np.sum(whole, axis=0).max() == 1


# -- through the scanner --------------------------------------------------------------------------------------------

CHEST = (
    "20 mm solid nodule, left upper lobe", "right pleural effusion, 400 ml", "pneumothorax left 200 ml",
    "consolidation right middle lobe 40 ml", "emphysema 5 %", "24 mm part-solid nodule, right upper lobe",
    "liver cyst 3 cm",
)  # fmt: skip


@pytest.fixture(scope="session")
def chest() -> Body:
    return body(seed=9, phase="portal", region="chest", spacing_mm=(3.0, 3.0, 3.0), exposure=QUIET, findings=CHEST)


def test_findings_lie_where_they_were_asked_for(chest: Body) -> None:
    inside = chest.labels[chest.findings["lung_nodule_1"].voxels]
    assert np.mean(inside == NUMBER["lung_upper_lobe_left"]) > 0.95
    assert {truth.wish for truth in chest.truth} == set(range(len(CHEST)))


def test_fluid_sinks_and_air_rises(chest: Body) -> None:
    y = {name: mask.centre_mm[1] for name, mask in chest.findings.items()}
    assert y["pleural_effusion_1"] < y["atelectasis_1"] < y["pneumothorax_1"]


def test_findings_have_their_density(chest: Body) -> None:
    for name, low, high in (
        ("lung_nodule_1", 20, 110), ("pleural_effusion_1", -8, 25), ("consolidation_1", 50, 130),
        ("pneumothorax_1", -1024, -960), ("liver_cyst_1", -5, 25),
    ):  # fmt: skip
        assert low <= float(np.median(chest.volume.hu[chest.findings[name].voxels])) <= high, name


def test_a_part_solid_nodule_is_solid_in_the_middle(chest: Body) -> None:
    whole, core = chest.findings["lung_nodule_2"], chest.findings["lung_nodule_2_solid"]
    assert core.volume_ml == pytest.approx(whole.volume_ml / 8, rel=0.05)
    assert not (core.voxels & ~whole.voxels).any()
    hu = chest.volume.hu
    assert np.median(hu[core.voxels]) > -120 > -350 > np.median(hu[whole.voxels & ~core.voxels])


def test_a_body_without_findings_has_no_truth_of_disease() -> None:
    clear = body(seed=9, region="chest", spacing_mm=(9.0, 9.0, 9.0))
    assert clear.truth == [] and clear.findings == {}


def test_what_nobody_asked_for_is_true_all_the_same() -> None:
    wired = body(seed=4, region="chest", spacing_mm=(6.0, 6.0, 6.0), findings=("pacemaker",), exposure=QUIET)
    (streaks,) = (truth for truth in wired.truth if truth.finding == "metal_artefact")
    assert streaks.wish is None and wired.findings[streaks.mask].voxels.any()


def test_a_collapsed_lobe_leaves_a_smaller_lung() -> None:
    lung = [name for name in NUMBER if name.startswith("lung_") and name.endswith("_left")]

    def air_ml(*findings: str) -> float:
        made = body(seed=9, region="chest", spacing_mm=(9.0, 9.0, 9.0), findings=findings, exposure=QUIET)
        full = np.isin(made.labels, [NUMBER[name] for name in lung]) & (made.volume.hu < -500)
        return float(np.count_nonzero(full)) * made.volume.grid.voxel_ml

    assert air_ml("left lower lobe collapse") < 0.8 * air_ml()


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("no nodule", "absent"),
        ("a fine day", "What can be drawn"),
        ("6 mm lung nodule and gallstone", "its own --finding"),
        ("bilateral pleural effusion 100 ml", "both sides"),
        ("12 x 9 mm lung nodule", "two sizes"),
    ],
)
def test_words_that_cannot_be_drawn_are_refused(words: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        read_wish(words, frozenset(FINDINGS))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("pleural effusion 100 ml", "names no side"),
        ("cardiomegaly 12 mm", "given in a ratio"),
        ("left gallstone", "has no left side"),
        ("lung nodule in the spleen", "cannot be in the spleen"),
        ("spiculated liver cyst", "cannot be spiculated"),
        ("splenomegaly 90 l", "not possible"),
        ("pacemaker 12 mm", "no size"),
        ("three pacemakers", "there is one"),
    ],
)
def test_what_no_body_can_have_is_refused_before_anything_is_drawn(words: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        numbered([words])


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("12 mm nodule, left middle lobe", "no middle lobe"),
        ("45 mm lung nodule", "lung mass"),
        ("right pleural effusion, 5.9 l", "room for"),
        ("breast implant left", "is a man"),
    ],
)
def test_the_impossible_is_refused(words: str, why: str, ill: Draw) -> None:
    with pytest.raises(UsageError, match=why):
        ill(words)


def test_a_woman_has_no_prostate_and_the_rest_is_drawn_all_the_same() -> None:
    asked = {"seed": WOMAN, "region": "abdomen", "spacing_mm": (9.0, 9.0, 9.0)}
    words = ("prostatomegaly 80 ml", "liver cyst 6 cm")
    with pytest.raises(UsageError, match="is a woman"):
        body(findings=words, **asked)  # type: ignore[arg-type]
    made = body(findings=words, skip_impossible=True, **asked)  # type: ignore[arg-type]
    assert [truth.finding for truth in made.truth] == ["liver_cyst"] and len(made.refused) == 1


def test_an_organ_outside_the_field_of_view_is_refused() -> None:
    person = Person.of(MAN)
    scene = draw(person, grid_of(person, "chest", (9.0, 9.0, 9.0)), "plain")
    for words in ("bladder stone 12 mm", "prostatomegaly 80 ml", "appendicitis 12 mm", "left ureteral stone 9 mm"):
        with pytest.raises(UsageError, match="field of view"):
            put_in(scene, Patient(person, "plain"), numbered([words]))
