"""Findings put into a scan: true to size and place, in the scan's own blur and noise, and nothing else changed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import edt
import numpy as np
import pytest

from tests.conftest import SHARED
from tests.scans import real_case
from vlm.anatomy.lungs import lungs
from vlm.ct.read import read
from vlm.ct.volume import Mask
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.phantom.body import NUMBER, Exposure, body
from vlm.phantom.chest import Phantom, chest
from vlm.phantom.dicom_series import write_dicom_series
from vlm.phantom.implant import SOLID_HU, Implant, border_mm, implant
from vlm.phantom.into import read_organs, wanted, write_into
from vlm.phantom.texture import texture

ONE_OF_EACH = (
    Implant(finding="lung_nodule", size=16.0, side="right", zone="middle", margin="spiculated"),
    Implant(finding="lung_nodule", size=14.0, side="left", texture="ground_glass"),
    Implant(finding="consolidation", size=25.0, side="left", zone="middle"),
    Implant(finding="ground_glass_opacity", size=25.0, side="left", zone="upper"),
    Implant(finding="pleural_effusion", size=180.0, side="right"),
    Implant(finding="pneumothorax", size=90.0, side="left"),
    Implant(finding="emphysema", size=5.0),
)


@pytest.fixture(scope="module")
def host() -> Case:
    """A chest with what a scanner writes outside its circle: values far below air."""
    volume = chest(spacing_mm=(1.6, 1.6, 2.0), noise_hu=16.0, seed=12).volume
    x, y = (np.linspace(-1, 1, n) for n in volume.grid.shape[:2])
    outside = np.hypot(x[:, None], y[None, :]) > 1.0
    volume.hu[outside] = np.random.default_rng(5).integers(-3024, -1024, (int(outside.sum()), 1))
    return Case(volume)


@pytest.mark.parametrize("each", ONE_OF_EACH, ids=lambda each: f"{each.finding}-{each.texture}")
def test_nothing_changes_beyond_the_border_and_the_size_is_true(host: Case, each: Implant) -> None:
    made = implant(host, [each], seed=4)
    ((name, mask),) = made.masks.items()
    changed = made.volume.hu != host.volume.hu
    away = edt.edt(~mask.voxels, anisotropy=mask.grid.spacing_mm, black_border=False)
    assert away[changed].max() <= border_mm(texture(host.volume))
    assert changed[mask.voxels].mean() > 0.5
    (truth,) = made.truth
    assert truth.mask == name and truth.finding == each.finding and truth.side == each.side
    if truth.quantity == "volume":
        assert mask.volume_ml == pytest.approx(each.size, rel=0.02)
    elif truth.quantity == "diameter":
        assert mask.volume_ml == pytest.approx(np.pi / 6 * each.size**3 / 1000, rel=0.02)
    else:
        assert mask.volume_ml == pytest.approx(each.size / 100 * lungs(host).both.volume_ml, rel=0.02)


IN_ORGANS = (
    Implant(finding="liver_lesion", size=24.0, margin="lobulated"), Implant(finding="liver_cyst", size=18.0),
    Implant(finding="splenic_lesion", size=14.0), Implant(finding="renal_lesion", size=26.0, side="left"),
    Implant(finding="renal_cyst", size=22.0, side="right"), Implant(finding="kidney_stone", size=9.0, side="left"),
    Implant(finding="coronary_artery_calcification", size=0.12), Implant(finding="aortic_calcification", size=0.8),
    Implant(finding="ascites", size=40.0), Implant(finding="pneumoperitoneum", size=10.0),
)  # fmt: skip


@pytest.fixture(scope="module")
def person() -> tuple[Case, dict[str, Mask]]:
    """A whole body as a host, and where its organs lie."""
    drawn = body(seed=10, region="trunk", spacing_mm=(2.2, 2.2, 3.0), exposure=Exposure(noise_hu=12.0))
    organs = {name: drawn.mask(name) for name in ("liver", "spleen", "kidney_left", "kidney_right", "aorta")}
    parts = [number for name, number in NUMBER.items() if name.startswith("heart") or name == "coronary_arteries"]
    organs["heart"] = Mask("heart", np.isin(drawn.labels, parts), drawn.volume.grid)
    return Case(drawn.volume), organs


@pytest.mark.parametrize("each", IN_ORGANS, ids=lambda each: each.finding)
def test_a_finding_in_an_organ_is_true_and_changes_nothing_else(
    person: tuple[Case, dict[str, Mask]], each: Implant
) -> None:
    case, organs = person
    made = implant(case, [each], seed=2, organs=organs)
    (mask,) = made.masks.values()
    changed = made.volume.hu != case.volume.hu
    away = edt.edt(~mask.voxels, anisotropy=mask.grid.spacing_mm, black_border=False)
    assert away[changed].max() <= border_mm(texture(case.volume))
    (truth,) = made.truth
    asked = np.pi / 6 * each.size**3 / 1000 if truth.quantity == "diameter" else each.size
    assert mask.volume_ml == pytest.approx(asked, rel=0.02, abs=0.6 * mask.grid.voxel_ml)
    assert each.side in (None, truth.side)
    before, after = (float(np.median(volume.hu[mask.voxels])) for volume in (case.volume, made.volume))
    assert truth.contrast_hu is not None and np.sign(after - before) == np.sign(truth.contrast_hu)
    home = {"liver_lesion": "liver", "liver_cyst": "liver", "splenic_lesion": "spleen"}.get(each.finding)
    if home:
        assert organs[home].voxels[mask.voxels].mean() > 0.95


def test_an_organ_that_nobody_knows_is_refused(person: tuple[Case, dict[str, Mask]]) -> None:
    with pytest.raises(ValueError, match="spleen of this scan lies is not known"):
        implant(person[0], [Implant(finding="splenic_lesion", size=10.0)])
    with pytest.raises(ValueError, match="no room of 90 mm"):
        implant(person[0], [Implant(finding="splenic_lesion", size=90.0)], organs=person[1])


@pytest.mark.realct
def test_a_real_belly_takes_each_of_them() -> None:
    case = real_case("cptac-pda-00189")
    organs = read_organs(SHARED / "ct" / "cptac-pda-00189" / "organs_drawn.nii.gz", case.volume.grid)
    refused: list[str] = []
    balls = [replace(each, size=min(each.size, 15.0)) for each in IN_ORGANS]
    made = implant(case, balls, seed=3, organs=organs, refused=refused)
    assert not refused and len(made.truth) == len(IN_ORGANS)
    for truth in made.truth:
        shown = float(np.median(made.volume.hu[made.masks[truth.mask].voxels]))
        assert np.sign(shown - float(np.median(case.volume.hu[made.masks[truth.mask].voxels]))) == np.sign(
            truth.contrast_hu or 0
        )


def test_the_same_seed_gives_the_same_scan_and_another_seed_another(host: Case) -> None:
    one, same, other = (implant(host, [Implant(finding="lung_nodule", size=10.0)], seed=s) for s in (1, 1, 2))
    assert np.array_equal(one.volume.hu, same.volume.hu) and one.truth == same.truth
    assert one.truth != other.truth


def test_a_solid_implant_has_its_density_and_the_noise_of_the_scan(host: Case) -> None:
    made = implant(host, [Implant(finding="lung_nodule", size=34.0, side="right")], seed=3)
    (mask,) = made.masks.values()
    depth = edt.edt(mask.voxels, anisotropy=mask.grid.spacing_mm, black_border=False)
    core = made.volume.hu[depth > 6.0].astype(float)
    assert core.mean() == pytest.approx(SOLID_HU, abs=4.0)
    assert core.std() == pytest.approx(16.0, rel=0.25)


def test_blur_and_noise_of_a_scan_are_measured() -> None:
    quiet, loud = (texture(chest(spacing_mm=(1.6, 1.6, 2.0), noise_hu=n, seed=2).volume) for n in (8.0, 24.0))
    assert quiet.noise_hu == pytest.approx(8.0, rel=0.3) and loud.noise_hu == pytest.approx(24.0, rel=0.3)
    drawn = loud.noise((64, 64, 20), np.random.default_rng(0))
    assert drawn.std() == pytest.approx(loud.noise_hu, rel=0.1) and abs(drawn.mean()) < 1.5


def test_fluid_lies_behind_and_air_in_front(host: Case) -> None:
    made: Phantom = implant(host, ONE_OF_EACH[4:6], seed=1)
    fluid, air = (truth.centre_mm[1] for truth in made.truth)
    middle = lungs(host).both.centre_mm[1]
    assert fluid < middle - 20 and air > middle + 20


def test_a_nodule_keeps_off_fluid_that_was_put_in_before(host: Case) -> None:
    fluid = Implant(finding="pleural_effusion", size=180.0, side="right")
    nodule = Implant(finding="lung_nodule", size=8.0, side="right", zone="lower", place="pleural")
    for seed in range(4):
        made = implant(host, [fluid, nodule], seed=seed)
        wet, solid = made.masks.values()
        assert edt.edt(~wet.voxels, anisotropy=wet.grid.spacing_mm, black_border=False)[solid.voxels].min() > 4.0


@pytest.mark.parametrize(
    "impossible",
    [
        Implant(finding="pleural_effusion", size=9000.0, side="left"),
        Implant(finding="lung_nodule", size=140.0),
    ],
)
def test_what_cannot_be_is_refused(host: Case, impossible: Implant) -> None:
    with pytest.raises(ValueError, match="lung"):
        implant(host, [impossible])


@pytest.mark.realct
@pytest.mark.parametrize("name", ["nlst-101287", "acrin-flt-breast-001-day1-chest"])
def test_a_real_scan_takes_each_of_them(name: str) -> None:
    case = real_case(name)
    made = implant(case, ONE_OF_EACH, seed=5)
    assert [truth.finding for truth in made.truth] == [each.finding for each in ONE_OF_EACH]
    assert made.volume.grid is case.volume.grid


def test_a_finding_in_words_becomes_what_is_put_in() -> None:
    nodule = wanted("8 mm spiculated ground-glass nodule in the right lower zone")
    assert (nodule.size, nodule.side, nodule.zone) == (8.0, "right", "lower")
    assert (nodule.texture, nodule.margin, nodule.place) == ("ground_glass", "spiculated", "inside")
    assert wanted("left pleural effusion, 0.4 l").size == 400.0
    assert wanted("6 mm subpleural nodule").place == "pleural"
    stone = wanted("left kidney stone 7 mm")
    assert (stone.finding, stone.size, stone.side) == ("kidney_stone", 7.0, "left")
    assert wanted("coronary artery calcification 0.2 ml").size == 0.2
    assert wanted("45 mm lobulated lung mass, left lower zone").margin == "lobulated"


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ("12 mm nodule in the left upper lobe", "upper lobe of this scan"),
        ("pleural effusion of 20 mm", "given in ml"),
        ("8 mm lobulated spiculated nodule", "at once"),
        ("no nodule", "absent"),
        ("pancreatic mass", "What can be drawn"),
        ("left liver cyst 9 mm", "has no left side"),
        ("three liver cysts", "one at a time"),
    ],
)
def test_words_that_cannot_be_put_in_are_refused_in_one_line(words: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as error:
        wanted(words)
    assert "\n" not in str(error.value)


def test_a_scan_with_a_finding_is_written_with_its_truth(host: Case, tmp_path: Path) -> None:
    write_dicom_series(host.volume, tmp_path / "ct")
    made = write_into(tmp_path / "new", tmp_path / "ct", ["14 mm nodule, left"], seed=2)
    again = read(tmp_path / "new").volume
    truth = json.loads(Path(made["truth"]).read_text("utf-8"))["findings"]
    assert [entry["finding"] for entry in truth] == ["lung_nodule"]
    changed = (again.hu != host.volume.hu) & (host.volume.hu >= -1024)  # below air is padding to the reader
    centre = again.grid.to_mm(np.argwhere(changed).mean(axis=0))
    assert 0 < changed.sum() < 0.001 * changed.size
    assert np.linalg.norm(centre - truth[0]["centre_mm"]) < 4.0


def test_an_earlier_scan_has_the_known_change_and_lies_elsewhere(host: Case, tmp_path: Path) -> None:
    write_dicom_series(host.volume, tmp_path / "ct")
    asked = [
        "14 mm nodule, left, larger than before",
        "new 10 mm nodule, right",
        "resolved right pleural effusion 150 ml",
    ]
    made = write_into(tmp_path / "new", tmp_path / "ct", asked, seed=2, prior=True)
    told = json.loads(Path(made["truth"]).read_text("utf-8"))
    then = json.loads((tmp_path / "new.prior.truth.json").read_text("utf-8"))["findings"]
    assert [c["change"] for c in told["changes"] if c["finding"] == "pleural_effusion"] == ["resolved"]
    assert sorted(change["change"] for change in told["changes"]) == ["larger", "new", "resolved"]
    now, before = (read(tmp_path / name).volume for name in ("new", "new.prior"))
    shift = before.grid.affine[:3, 3] - now.grid.affine[:3, 3]
    assert np.linalg.norm(shift) > 1.0
    nodule, old = (next(e for e in f if e["finding"] == "lung_nodule" and e["side"] == "left")
                   for f in (told["findings"], then))  # fmt: skip
    assert 0.4 * nodule["value"] <= old["value"] <= 0.7 * nodule["value"]
    assert np.subtract(old["centre_mm"], shift) == pytest.approx(nodule["centre_mm"], abs=1.5)
    with pytest.raises(UsageError, match="needs an earlier scan"):
        write_into(tmp_path / "other", tmp_path / "ct", asked[:1], seed=2)
