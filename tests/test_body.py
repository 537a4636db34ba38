"""The synthetic body: anatomy where it belongs, densities as published, one label a voxel, the same from one seed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from vlm.ct.volume import Grid
from vlm.phantom.body import NUMBER, OUTSIDE, PHASES, Body, Exposure, Person, body
from vlm.phantom.body.frame import Frame
from vlm.phantom.body.tissues import table

COARSE_MM = (4.0, 4.0, 4.0)
QUIET = Exposure(noise_hu=8.0)


@pytest.fixture(scope="session")
def plain() -> Body:
    return body(seed=4, phase="plain", spacing_mm=COARSE_MM, exposure=QUIET)


@pytest.fixture(scope="session")
def portal() -> Body:
    return body(seed=4, phase="portal", spacing_mm=COARSE_MM, exposure=QUIET)


def middle(scanned: Body, name: str) -> np.ndarray:
    index = np.argwhere(scanned.labels == NUMBER[name])
    return scanned.volume.grid.to_mm(index.mean(axis=0))


def inside(scanned: Body, name: str, depth: int = 1) -> np.ndarray:
    core = ndimage.binary_erosion(scanned.labels == NUMBER[name], iterations=depth)
    return scanned.volume.hu[core]


def test_at_least_fifty_structures_carry_totalsegmentators_names(plain: Body) -> None:
    assert sum(NUMBER[name] <= 117 for name in plain.names) >= 85
    assert {"skin", "subcutaneous_fat", "skeletal_muscle", "lung_vessels", "bronchi", "pericardium"} <= set(plain.names)


def test_every_voxel_of_the_person_has_a_label(plain: Body) -> None:
    person = (plain.labels > 0) & ~np.isin(plain.labels, [NUMBER[name] for name in OUTSIDE])
    assert np.count_nonzero(ndimage.binary_fill_holes(person) & (plain.labels == 0)) == 0


@pytest.mark.parametrize(
    "name",
    ["liver", "heart_myocardium", "kidney_left", "kidney_right", "urinary_bladder", "lung_lower_lobe_left", "aorta"],
)
def test_an_organ_is_one_piece(portal: Body, name: str) -> None:
    parts, count = ndimage.label(portal.labels == NUMBER[name], np.ones((3, 3, 3)))
    sizes = np.bincount(parts.ravel())[1:]
    assert count >= 1 and sizes.max() > 0.9 * sizes.sum()


def test_organs_lie_on_their_side(portal: Body) -> None:
    at = {name: middle(portal, name) for name in portal.names}
    for name, other in ((n, n.replace("right", "left")) for n in portal.names if "right" in n and "middle" not in n):
        if other in at:
            assert at[name][0] > at[other][0], name  # RAS: x grows to the right
    assert at["liver"][0] > 20 > -20 > at["spleen"][0]
    assert at["heart_ventricle_left"][0] < at["heart_atrium_right"][0]
    assert at["stomach"][1] > at["spleen"][1] and at["kidney_left"][2] < at["spleen"][2] + 30
    assert at["aorta"][0] < at["inferior_vena_cava"][0]
    assert at["urinary_bladder"][1] > at["rectum"][1]


def test_vertebrae_stand_in_order(portal: Body) -> None:
    order = [f"vertebrae_{n}" for n in ("L5", "L4", "L3", "L2", "L1", *(f"T{n}" for n in range(12, 0, -1)))]
    heights = [middle(portal, name)[2] for name in order]
    assert np.all(np.diff(heights) > 12)


@pytest.mark.parametrize(
    ("name", "tissue"),
    [
        ("liver", "liver"), ("spleen", "spleen"), ("kidney_left", "kidney_cortex"), ("urinary_bladder", "urine"),
        ("subcutaneous_fat", "fat"), ("gluteus_maximus_left", "muscle"), ("heart_ventricle_left", "blood_artery"),
        ("lung_upper_lobe_right", "lung"),
    ],
)  # fmt: skip
def test_densities_are_as_published(plain: Body, name: str, tissue: str) -> None:
    row = table()[tissue]
    low, high = row["published"]["plain"]
    spread = row["spread"][0] if isinstance(row["spread"], list) else row["spread"]
    assert low - spread <= float(np.median(inside(plain, name))) <= high + spread  # this person differs from the mean


def test_every_mean_lies_in_its_published_range() -> None:
    ranges = [
        (name, n, row)
        for name, row in table().items()
        for n, phase in enumerate(PHASES)
        if phase in row.get("published", {})
    ]
    assert len(ranges) >= 25
    for name, n, row in ranges:
        low, high = row["published"][PHASES[n]]
        assert low <= row["hu"][n] <= high, name


def test_contrast_comes_to_the_organs_in_turn(plain: Body, portal: Body) -> None:
    arterial = body(seed=4, phase="arterial", region="abdomen", spacing_mm=(5.0, 5.0, 5.0), exposure=QUIET)
    for name, order in (("aorta", (plain, portal, arterial)), ("liver", (plain, arterial, portal))):
        values = [float(np.median(inside(scanned, name))) for scanned in order]
        assert values == sorted(values) and values[-1] > values[0] + 30


def test_organs_have_the_size_of_organs(portal: Body) -> None:
    for name, low, high in (
        ("liver", 800, 2600), ("kidney_left", 80, 300), ("kidney_right", 80, 300), ("aorta", 80, 400),
        ("heart_myocardium", 90, 400), ("pancreas", 25, 160), ("lung_lower_lobe_right", 600, 2300),
    ):  # fmt: skip
        assert low <= portal.mask(name).volume_ml <= high, name


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    one, same, other = (body(seed=seed, region="chest", spacing_mm=(8.0, 8.0, 8.0)) for seed in (3, 3, 5))
    assert one.volume.hu.tobytes(order="A") == same.volume.hu.tobytes(order="A")
    assert one.labels.tobytes(order="A") == same.labels.tobytes(order="A")
    assert one.volume.hu.shape != other.volume.hu.shape or (one.volume.hu != other.volume.hu).any()


def test_a_body_is_the_same_on_another_grid(portal: Body) -> None:
    coarser = body(seed=4, phase="portal", region="abdomen", spacing_mm=(6.0, 6.0, 6.0), exposure=QUIET)
    for name in ("liver", "kidney_left", "urinary_bladder"):
        assert coarser.mask(name).volume_ml == pytest.approx(portal.mask(name).volume_ml, rel=0.06)
        assert np.abs(middle(coarser, name) - middle(portal, name)).max() < 3.0


def test_persons_differ() -> None:
    persons = [Person.of(seed) for seed in range(300)]
    assert 0.35 < np.mean([p.sex == "female" for p in persons]) < 0.65
    assert 0.5 < np.mean([p.arms == "up" for p in persons]) < 0.8
    assert np.percentile([p.fat_mm for p in persons], 95) > 2.5 * np.percentile([p.fat_mm for p in persons], 5)
    assert min(p.age for p in persons) < 30 and max(p.age for p in persons) > 80


def test_points_come_back_from_the_reference_body() -> None:
    frame = Frame((0.95, 1.08, 1.02), 5)
    points = np.random.default_rng(1).uniform((-150, -100, -150), (150, 100, 500), (200, 3))
    assert np.abs(frame.displaced(frame.world(points)) - points).max() < 0.2


@pytest.mark.parametrize("seed", range(6))
def test_no_person_is_drawn_with_a_vertebra_crushed_between_its_neighbours(seed: int) -> None:
    heights = np.arange(0.0, 520.0, 26.0)
    column = np.stack([np.zeros_like(heights), np.full_like(heights, -60.0), heights], axis=1)
    pitch = np.linalg.norm(np.diff(Frame((1.0, 1.0, 1.0), seed).world(column), axis=0), axis=1)
    loss = 1 - pitch[1:-1] / ((pitch[:-2] + pitch[2:]) / 2)
    assert np.abs(loss).max() < 0.05  # Genant calls 0.20 a fracture


def test_dicom_of_a_body_lies_where_simpleitk_reads_it(portal: Body, tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    from vlm.ct.volume import Volume
    from vlm.phantom.dicom_series import write_dicom_series

    few = portal.volume.hu[:, :, :6]
    grid = Grid((few.shape[0], few.shape[1], 6), portal.volume.grid.affine)
    paths = write_dicom_series(Volume(np.asfortranarray(few), grid, portal.volume.scan), tmp_path)
    image = sitk.ReadImage([str(path) for path in paths])
    for index in ((3, 5, 1), (20, 30, 4)):
        ras = grid.to_mm(index)
        there = image.TransformPhysicalPointToIndex((-float(ras[0]), -float(ras[1]), float(ras[2])))
        assert image.GetPixel(there) == few[index]


def test_noise_circle_and_table_come_from_the_scanner() -> None:
    quiet, loud = (
        body(seed=6, region="chest", spacing_mm=(6.0, 6.0, 6.0), exposure=Exposure(noise_hu=noise, circle_mm=320.0))
        for noise in (5.0, 40.0)
    )
    muscle = quiet.labels == NUMBER["autochthon_left"]
    added = loud.volume.hu[muscle].astype(float) - quiet.volume.hu[muscle]  # the same grain, eight times as strong
    assert 10 < added.std() < 60
    assert (quiet.volume.hu[0, 0] == -1024).all()
    assert "table" in quiet.names


def test_a_body_is_written_with_its_labels_beside_it(tmp_path: Path) -> None:
    import nibabel

    from vlm.ct.read import read
    from vlm.phantom.sample import write_body

    done = write_body(tmp_path / "who", seed=2, region="chest", spacing_mm=(4.5, 4.5, 6.0))
    assert done["slices"] > 30
    labels = nibabel.load(tmp_path / "who.labels.nii.gz")
    volume = read(tmp_path / "who").volume
    assert np.allclose(np.abs(labels.affine), np.abs(volume.grid.affine), atol=1e-3)
    assert labels.shape == volume.hu.shape


def test_a_body_as_nifti_replaces_an_older_sample_of_slices(tmp_path: Path) -> None:
    import nibabel

    from vlm.phantom.sample import write_body

    asked = {"seed": 2, "region": "chest", "spacing_mm": (8.0, 8.0, 8.0)}
    write_body(tmp_path / "who", findings=["40 mm lung mass, right lower lobe"], **asked)  # type: ignore[arg-type]
    assert (tmp_path / "who.findings.nii.gz").exists()
    write_body(tmp_path / "who", file_format="nifti", **asked)  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "who").iterdir()] == ["ct.nii.gz"]
    assert not (tmp_path / "who.findings.nii.gz").exists()
    image = nibabel.load(tmp_path / "who" / "ct.nii.gz")
    assert np.allclose(image.affine, nibabel.load(tmp_path / "who.labels.nii.gz").affine)


def test_an_unknown_phase_is_refused(tmp_path: Path) -> None:
    from vlm.errors import UsageError
    from vlm.phantom.sample import write_body

    with pytest.raises(UsageError, match="--phase is 'venous'"):
        write_body(tmp_path / "who", seed=2, phase="venous")


@pytest.mark.parametrize("seed", [4, 18])
def test_no_bone_touches_the_air(seed: int) -> None:
    scanned = body(seed=seed, region="chest", spacing_mm=(5.0, 5.0, 5.0), exposure=QUIET)
    outside = ~ndimage.binary_fill_holes(
        np.isin(scanned.labels, [n for name, n in NUMBER.items() if name not in OUTSIDE])
    )
    near = ndimage.binary_dilation(outside)
    bones = [n for name, n in NUMBER.items() if name.startswith(("rib_", "scapula", "vertebrae", "sternum"))]
    bone = np.isin(scanned.labels, bones)
    assert np.count_nonzero(bone & near) < 0.005 * np.count_nonzero(bone)
