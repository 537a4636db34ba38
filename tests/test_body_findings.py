"""Findings in a body: read from words, of the volume that was asked for, where they were asked for, or refused."""

from __future__ import annotations

import numpy as np
import pytest

from vlm.errors import UsageError
from vlm.phantom.body import NUMBER, Body, Exposure, body
from vlm.phantom.body.findings import FINDINGS
from vlm.phantom.body.wishes import read_wish

QUIET = Exposure(noise_hu=6.0)
CHEST = (
    "20 mm solid nodule, left upper lobe", "right pleural effusion, 400 ml", "pneumothorax left 200 ml",
    "consolidation right middle lobe 40 ml", "pericardial effusion 150 ml", "emphysema 5 %",
    "24 mm part-solid nodule, right upper lobe",
)  # fmt: skip
BELLY = (
    "liver cyst 3 cm", "left renal cyst 35 mm", "ascites 500 ml", "free intraperitoneal air 40 ml",
    "left adrenal nodule 20 mm", "splenic lesion 18 mm",
)  # fmt: skip


@pytest.fixture(scope="session")
def chest() -> Body:
    return body(seed=9, phase="portal", region="chest", spacing_mm=(3.0, 3.0, 3.0), exposure=QUIET, findings=CHEST)


@pytest.fixture(scope="session")
def belly() -> Body:
    return body(seed=9, phase="portal", region="abdomen", spacing_mm=(3.0, 3.0, 3.0), exposure=QUIET, findings=BELLY)


@pytest.mark.parametrize(
    ("mask", "ml"),
    [
        ("lung_nodule_1", np.pi / 6 * 8.0), ("pleural_effusion_1", 400.0), ("pneumothorax_1", 200.0),
        ("consolidation_1", 40.0), ("pericardial_effusion_1", 150.0),
    ],
)  # fmt: skip
def test_a_finding_of_the_chest_has_its_volume(chest: Body, mask: str, ml: float) -> None:
    assert chest.findings[mask].volume_ml == pytest.approx(ml, rel=0.02)


@pytest.mark.parametrize(
    ("mask", "ml"),
    [
        ("liver_cyst_1", np.pi / 6 * 27.0), ("renal_cyst_1", np.pi / 6 * 42.875), ("ascites_1", 500.0),
        ("pneumoperitoneum_1", 40.0), ("adrenal_lesion_1", np.pi / 6 * 8.0),
    ],
)  # fmt: skip
def test_a_finding_of_the_belly_has_its_volume(belly: Body, mask: str, ml: float) -> None:
    assert belly.findings[mask].volume_ml == pytest.approx(ml, rel=0.02)


def test_findings_lie_where_they_were_asked_for(chest: Body, belly: Body) -> None:
    inside = chest.labels[chest.findings["lung_nodule_1"].voxels]
    assert np.mean(inside == NUMBER["lung_upper_lobe_left"]) > 0.95
    for truth in [*chest.truth, *belly.truth]:
        if truth.side is not None:
            assert (truth.centre_mm[0] > 0) == (truth.side == "right"), truth


def test_fluid_sinks_and_air_rises(chest: Body) -> None:
    y = {name: mask.centre_mm[1] for name, mask in chest.findings.items()}
    assert y["pleural_effusion_1"] < y["atelectasis_1"] < y["pneumothorax_1"]


def test_findings_have_their_density(chest: Body, belly: Body) -> None:
    for scanned, name, low, high in (
        (chest, "lung_nodule_1", 20, 110), (chest, "pleural_effusion_1", -8, 25), (chest, "consolidation_1", 50, 130),
        (chest, "pneumothorax_1", -1024, -960), (belly, "liver_cyst_1", -5, 25),
        (belly, "pneumoperitoneum_1", -1024, -850),
    ):  # fmt: skip
        assert low <= float(np.median(scanned.volume.hu[scanned.findings[name].voxels])) <= high, name


def test_a_part_solid_nodule_is_solid_in_the_middle(chest: Body) -> None:
    whole, core = chest.findings["lung_nodule_2"], chest.findings["lung_nodule_2_solid"]
    assert core.volume_ml == pytest.approx(whole.volume_ml / 8, rel=0.05)
    assert not (core.voxels & ~whole.voxels).any()
    hu = chest.volume.hu
    assert np.median(hu[core.voxels]) > -120 > -350 > np.median(hu[whole.voxels & ~core.voxels])


def test_findings_do_not_overlap(chest: Body) -> None:
    count = np.sum([mask.voxels for name, mask in chest.findings.items() if not name.endswith("_solid")], axis=0)
    assert count.max() == 1


def test_a_body_without_findings_has_no_truth_of_disease() -> None:
    clear = body(seed=9, region="chest", spacing_mm=(9.0, 9.0, 9.0))
    assert clear.truth == [] and clear.findings == {}


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
    ("words", "phase", "why"),
    [
        ("12 mm nodule, left middle lobe", "plain", "no middle lobe"),
        ("pulmonary embolism", "plain", "without contrast"),
        ("pleural effusion 100 ml", "plain", "names no side"),
        ("45 mm lung nodule", "plain", "lung mass"),
        ("right pleural effusion, 9 l", "plain", "room for"),
        ("bladder stone 9 mm", "plain", "not in the field of view"),
    ],
)
def test_the_impossible_is_refused(words: str, phase: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        body(seed=9, phase=phase, region="chest", spacing_mm=(9.0, 9.0, 9.0), findings=(words,))  # type: ignore[arg-type]


def test_every_finding_is_a_key_of_the_vocabulary() -> None:
    from vlm.findings.vocabulary import load_vocabulary

    assert set(FINDINGS) <= set(load_vocabulary().findings)
