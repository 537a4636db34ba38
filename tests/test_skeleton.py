"""Spine, aorta, levels, coverage and left and right on a drawn chest and on real scans."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

from tests.scans import real_case
from vlm.anatomy.aorta import aorta
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.fat import fat
from vlm.anatomy.heart import heart
from vlm.anatomy.laterality import laterality
from vlm.anatomy.levels import levels
from vlm.anatomy.liver import liver
from vlm.anatomy.skeleton import bone_near_spine, skeleton, spine
from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.evidence import Case, Search
from vlm.phantom.body import body
from vlm.phantom.chest import Phantom, chest
from vlm.phantom.torso import LAST_RIB_MM, VERTEBRA_MM
from vlm.tools.bone_lesions import bone_lesions
from vlm.tools.spine import bone_density

SPACING = (1.5, 1.5, 2.0)
CHESTS = (
    "cmb-crc-01068",
    "nlst-101287",
    "acrin-nsclc-042",
    "rider-pilot-0117",
    "pyradiomics-lung2",
    "lidc-idri-0314",
    "acrin-flt-breast-013",
    "acrin-flt-breast-001-day1-chest",
    "acrin-flt-breast-001-day4-abdomen",
    "cptac-pda-00189",
)


def flipped(volume: Volume) -> Volume:
    """The same scan with left and right exchanged and an affine that does not say so."""
    return Volume(np.asfortranarray(volume.hu[::-1]), volume.grid, volume.scan)


def heights(volume: Volume) -> np.ndarray:
    """(Z,) height of each slice, mm."""
    return np.asarray(volume.grid.affine[2, 3] + volume.grid.spacing_mm[2] * np.arange(volume.hu.shape[2]))


def drawn(shared: Path, name: str, label: int) -> Mask:
    """One organ of the drawn maps, in RAS."""
    image = nibabel.as_closest_canonical(nibabel.load(shared / "ct" / name / "organs_drawn.nii.gz"))
    voxels = np.asfortranarray(np.asarray(image.dataobj) == label)
    return Mask(str(label), voxels, Grid((voxels.shape[0], voxels.shape[1], voxels.shape[2]), image.affine))


def dice(one: Mask, other: Mask) -> float:
    there = other.on(one.grid).voxels
    return 2.0 * float(np.count_nonzero(one.voxels & there)) / float(np.count_nonzero(one.voxels) + there.sum())


@pytest.fixture(scope="module")
def plain() -> Phantom:
    return chest(spacing_mm=SPACING, seed=0)


@pytest.fixture(scope="module")
def plain_case(plain: Phantom) -> Case:
    return Case(plain.volume)


def test_canal_runs_within_the_drawn_canal(plain: Phantom, plain_case: Case) -> None:
    found = spine(plain_case)
    assert found.found and found.good.all()
    true = plain.masks["spinal_canal"].on(plain_case.working.grid)
    ijk = np.rint(plain_case.working.grid.to_ijk(found.canal_mm)).astype(int)
    assert true.voxels[tuple(ijk.T)].mean() > 0.95


def test_skeleton_holds_the_ribs_and_no_soft_tissue(plain: Phantom, plain_case: Case) -> None:
    bones = skeleton(plain_case)
    ribs = plain.masks["ribs"].on(bones.grid).voxels
    assert np.count_nonzero(bones.voxels & ribs) > 0.6 * np.count_nonzero(ribs)
    liver_voxels = plain.masks["liver"].on(bones.grid).voxels
    assert np.count_nonzero(bones.voxels & liver_voxels) < 0.002 * np.count_nonzero(liver_voxels)


def test_every_vertebra_is_named_by_the_ribs(plain_case: Case) -> None:
    found = levels(plain_case)
    assert found.anchor == "both ends of the ribs"
    truth = {f"T{n}": LAST_RIB_MM + (12 - n) * VERTEBRA_MM for n in range(2, 13)} | {"L1": LAST_RIB_MM - VERTEBRA_MM}
    for name, z_mm in truth.items():
        assert found.site_at(z_mm) == name


def test_without_an_end_of_the_ribs_no_vertebra_is_named(plain: Phantom) -> None:
    z = plain.volume.grid.to_mm(np.c_[np.zeros((plain.volume.hu.shape[2], 2)), np.arange(plain.volume.hu.shape[2])])[
        :, 2
    ]
    inner = np.flatnonzero((z > -120.0) & (z < 70.0))
    affine = plain.volume.grid.affine.copy()
    affine[2, 3] = z[inner[0]]
    hu = np.asfortranarray(plain.volume.hu[:, :, inner])
    found = levels(Case(Volume(hu, Grid(hu.shape, affine), plain.volume.scan)))
    assert len(found.bodies) >= 5 and found.anchor is None
    assert found.site_at(found.bodies[2].middle_mm[2]) == "vertebra" and found.note == "level not countable"


def test_ends_that_disagree_name_nothing(plain: Phantom) -> None:
    z = plain.volume.grid.to_mm(np.c_[np.zeros((plain.volume.hu.shape[2], 2)), np.arange(plain.volume.hu.shape[2])])[
        :, 2
    ]
    twice = np.flatnonzero((z >= -36.0 - VERTEBRA_MM / 2) & (z < -36.0 + VERTEBRA_MM / 2))  # a thirteenth pair of ribs
    index = np.r_[np.arange(twice[-1] + 1), twice, np.arange(twice[-1] + 1, z.size)]
    hu = np.asfortranarray(plain.volume.hu[:, :, index])
    found = levels(Case(Volume(hu, Grid(hu.shape, plain.volume.grid.affine), plain.volume.scan)))
    assert found.anchor is None and not any(body.name for body in found.bodies)


def test_descending_aorta_is_traced_within_3_mm(plain: Phantom, plain_case: Case) -> None:
    traced = aorta(plain_case)
    assert traced.found
    true = plain.masks["aorta"].on(traced.grid).voxels
    own = traced.mask.voxels
    assert np.count_nonzero(own & true) > 0.8 * np.count_nonzero(own)


@pytest.mark.parametrize(("blood_hu", "phase"), [(42.0, "none"), (150.0, "venous"), (300.0, "arterial")])
def test_phase_is_told_from_the_blood(blood_hu: float, phase: str) -> None:
    found = contrast(Case(chest(spacing_mm=(2.0, 2.0, 3.0), blood_hu=blood_hu, seed=1).volume))
    assert found.phase == phase
    assert found.enhanced is (phase != "none")


@pytest.mark.parametrize("seed", [61])
def test_an_enhanced_aorta_that_touches_the_spine_is_no_bone(seed: int) -> None:
    person = body(seed=seed, phase="arterial", region="chest", spacing_mm=(2.5, 2.5, 3.0))
    case = Case(person.volume)
    assert contrast(case).phase == "arterial"
    assert np.mean(bone_near_spine(case).voxels[person.mask("aorta").on(case.working.grid).voxels]) < 0.08


def test_heart_and_liver_lie_where_they_were_drawn(plain: Phantom, plain_case: Case) -> None:
    assert dice(heart(plain_case).mask, plain.masks["heart"]) > 0.75
    assert dice(liver(plain_case).mask, plain.masks["liver"]) > 0.75


def test_a_chest_covers_heart_and_lungs_but_not_head_or_pelvis(plain_case: Case) -> None:
    seen = coverage(plain_case)
    assert seen.of("heart") > 0.95
    assert seen.of("pelvis") == 0.0 and seen.of("head") == 0.0 and seen.of("bladder") == 0.0


@pytest.mark.realct
def test_a_real_scan_that_begins_below_the_dome_covers_half_a_liver_and_the_whole_pelvis() -> None:
    seen = coverage(real_case("totalseg-abdomen-3mm"))
    assert seen.landmark == "iliac crest"
    assert 0.3 < seen.of("liver") < 0.8
    assert seen.of("prostate") == seen.of("bladder") == 1.0


def test_fat_below_the_skin_is_not_visceral_fat(plain_case: Case) -> None:
    found = fat(plain_case)
    assert found.subcutaneous.volume_ml > 500.0
    assert found.visceral is None or not (found.visceral.voxels & found.subcutaneous.voxels).any()


def test_a_flipped_chest_is_contradicted(plain: Phantom, plain_case: Case) -> None:
    assert laterality(plain_case).verdict == "confirmed"
    assert laterality(Case(flipped(plain.volume))).verdict == "contradicted"


def test_half_a_chest_confirms_nothing(plain: Phantom) -> None:
    half = plain.volume.hu.shape[0] // 2
    hu = np.asfortranarray(plain.volume.hu[half + 25 :])
    case = Case(Volume(hu, Grid(hu.shape, plain.volume.grid.affine), plain.volume.scan))
    assert laterality(case).verdict == "unsure"


def test_air_alone_has_no_anatomy() -> None:
    hu = np.full((60, 50, 20), -1000, dtype=np.int16, order="F")
    case = Case(Volume(hu, Grid(hu.shape, np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom")))
    assert not spine(case).found and not aorta(case).found and not heart(case).found and not liver(case).found
    assert laterality(case).verdict == "unsure"
    assert coverage(case).of("heart") == 0.0


@pytest.mark.parametrize("width", [1, 8, 10, 20])
def test_a_field_of_view_of_a_few_millimetres_has_no_spine(width: int) -> None:
    hu = np.full((width, width, 24), 40, dtype=np.int16, order="F")
    assert not spine(Case(Volume(hu, Grid(hu.shape, np.diag([2.0, 2.0, 2.0, 1.0])), Scan(source="phantom")))).found


@pytest.mark.realct
@pytest.mark.parametrize("name", CHESTS)
def test_no_real_scan_is_called_flipped_and_no_flipped_one_confirmed(name: str) -> None:
    case = real_case(name)
    verdict, other = laterality(case).verdict, laterality(Case(flipped(case.volume))).verdict
    assert verdict != "contradicted" and other != "confirmed"
    if name not in ("lidc-idri-0314",):  # a right effusion and collapse hide most signs
        assert (verdict, other) == ("confirmed", "contradicted")


@pytest.mark.realct
@pytest.mark.parametrize(
    ("name", "least"), [("acrin-nsclc-042", 0.85), ("pyradiomics-lung2", 0.7), ("lidc-idri-0314", 0.7)]
)
def test_heart_of_real_scans_overlaps_the_drawn_one(shared: Path, name: str, least: float) -> None:
    assert dice(heart(real_case(name)).mask, drawn(shared, name, 11)) >= least


@pytest.mark.realct
@pytest.mark.parametrize("name", ["cmb-crc-01068", "cptac-pda-00189", "pyradiomics-lung2"])
def test_traced_aorta_lies_in_the_drawn_one(shared: Path, name: str) -> None:
    traced = aorta(real_case(name))
    true = drawn(shared, name, 9).on(traced.grid).voxels
    own = traced.mask.voxels
    assert np.count_nonzero(own & true) > 0.85 * np.count_nonzero(own)


# Names and heights (z RAS, mm) of organs.nii.gz of that scan; a model drew them.
ABDOMEN = {"T12": 411.0, "L1": 383.0, "L2": 349.0, "L3": 315.0, "L4": 280.0}


@pytest.mark.realct
def test_lumbar_vertebrae_of_a_real_abdomen_get_their_names() -> None:
    found = levels(real_case("totalseg-abdomen-3mm"))
    assert found.anchor == "last ribs"
    assert {name: found.site_at(z) for name, z in ABDOMEN.items()} == {name: name for name in ABDOMEN}


@pytest.mark.realct
@pytest.mark.parametrize(
    ("name", "anchor"),
    [
        ("acrin-nsclc-042", "both ends of the ribs"),
        ("lidc-idri-0314", "first ribs"),
        ("acrin-flt-breast-001-day4-abdomen", "last ribs"),
        ("acrin-flt-breast-013", None),  # neither end of the ribs is covered
        ("acrin-flt-breast-001-day1-chest", None),
        ("elastix-right-lung", None),  # no spine
    ],
)
def test_anchor_of_real_scans(name: str, anchor: str | None) -> None:
    assert levels(real_case(name)).anchor == anchor


@pytest.mark.parametrize("kind", ["uniform", "normal"])
def test_noise_without_a_body_has_no_spine_and_no_finding_of_bones(kind: str) -> None:
    draw = np.random.default_rng(3)
    shape = (64, 64, 64)
    noise = draw.uniform(-1000, 1000, shape) if kind == "uniform" else draw.normal(0, 400, shape)
    hu = np.clip(noise, -1024, 3071).astype(np.int16, order="F")
    case = Case(Volume(hu, Grid(hu.shape, np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom")))
    assert not spine(case).found
    told = [*bone_density(case), *bone_lesions(case)]
    assert all(isinstance(record, Search) and not record.denies for record in told)


def test_a_spine_in_a_noisy_scan_is_believed(plain: Phantom) -> None:
    volume = plain.volume
    noise = np.random.default_rng(4).normal(0, 120, volume.grid.shape)
    noisy = Volume(np.clip(volume.hu + noise, -1024, 3071).astype(np.int16, order="F"), volume.grid, volume.scan)
    assert spine(Case(noisy)).found
