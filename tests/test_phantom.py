"""The phantom: what is drawn is what is said to be drawn."""

from __future__ import annotations

import numpy as np
import pytest

from vlm.phantom.chest import Phantom, chest

SPACING_MM = (2.0, 2.0, 2.0)


@pytest.fixture(scope="module")
def ill() -> Phantom:
    return chest(
        spacing_mm=SPACING_MM,
        nodules=(("right", "upper", 12.0, 40.0),),
        effusion_left_ml=200.0,
        pneumothorax_right_ml=120.0,
        consolidation=(("left", "upper", 15.0),),
        ground_glass=(("right", "lower", 25.0),),
        pericardial_effusion_ml=100.0,
        aortic_calcium_mm3=120.0,
    )


@pytest.mark.parametrize(
    ("mask", "ml"),
    [
        ("effusion_left", 200.0),
        ("pneumothorax_right", 120.0),
        ("consolidation_1", 15.0),
        ("ground_glass_opacity_1", 25.0),
        ("pericardial_effusion", 100.0),
        ("nodule_1", 4 / 3 * np.pi * 0.6**3),
    ],
)
def test_a_finding_has_the_volume_that_was_asked_for(ill: Phantom, mask: str, ml: float) -> None:
    assert ill.masks[mask].volume_ml == pytest.approx(ml, rel=0.05 if ml > 2 else 0.3)


def test_truths_name_masks_and_lie_on_their_side(ill: Phantom) -> None:
    assert {truth.finding for truth in ill.truth} == {
        "lung_nodule", "pleural_effusion", "pneumothorax", "consolidation", "ground_glass_opacity",
        "pericardial_effusion", "aortic_calcification",
    }  # fmt: skip
    for truth in ill.truth:
        assert ill.masks[truth.mask]
        if truth.side is not None:
            assert (truth.centre_mm[0] > 0) == (truth.side == "right")  # RAS: x grows to the right


def test_organs_lie_where_they_should(ill: Phantom) -> None:
    middle = {name: mask.centre_mm for name, mask in ill.masks.items() if mask}
    assert middle["liver"][0] > 0 > middle["stomach"][0]
    assert middle["heart"][0] < 0
    assert middle["vertebrae"][1] < middle["aorta"][1] < middle["sternum"][1]
    assert middle["lung_left"][2] > middle["spleen"][2]


def test_fluid_lies_behind_and_free_air_in_front(ill: Phantom) -> None:
    assert ill.masks["effusion_left"].centre_mm[1] < ill.masks["lung_left"].centre_mm[1]
    assert ill.masks["pneumothorax_right"].centre_mm[1] > ill.masks["lung_right"].centre_mm[1]


def test_densities_are_those_of_the_tissue(ill: Phantom) -> None:
    hu = ill.volume.hu
    for name, low, high in (("liver", 50, 65), ("effusion_left", 0, 16), ("pneumothorax_right", -1000, -940)):
        assert low <= float(np.median(hu[ill.masks[name].voxels])) <= high
    assert -880 < float(np.median(hu[ill.masks["lung_left"].voxels])) < -820


def test_the_same_seed_gives_the_same_bytes_and_another_one_does_not() -> None:
    small = {"spacing_mm": (4.0, 4.0, 4.0), "nodules": (("left", "middle", 15.0, 40.0),)}
    one, same, other = (chest(seed=seed, **small) for seed in (3, 3, 4))  # type: ignore[arg-type]
    assert one.volume.hu.tobytes(order="A") == same.volume.hu.tobytes(order="A")
    assert one.truth == same.truth
    assert one.volume.hu.tobytes(order="A") != other.volume.hu.tobytes(order="A")


def test_slices_are_contiguous_and_masks_share_the_grid(ill: Phantom) -> None:
    assert ill.volume.hu.flags.f_contiguous
    assert all(mask.grid.same_as(ill.volume.grid) for mask in ill.masks.values())


def test_emphysema_takes_its_share_of_the_lungs() -> None:
    drawn = chest(spacing_mm=(3.0, 3.0, 3.0), emphysema_fraction=0.12)
    lungs = drawn.masks["lung_left"].volume_ml + drawn.masks["lung_right"].volume_ml
    assert drawn.masks["emphysema"].volume_ml / lungs == pytest.approx(0.12, abs=0.005)


def test_the_share_of_emphysema_is_the_share_of_lung_below_minus_950_hu() -> None:
    drawn = chest(spacing_mm=(3.0, 3.0, 3.0), emphysema_fraction=0.12, noise_hu=0.0)
    lung = drawn.masks["lung_left"].voxels | drawn.masks["lung_right"].voxels
    assert float((drawn.volume.hu[lung] < -950).mean()) == pytest.approx(0.12, abs=0.01)


def test_a_cavity_refuses_more_than_it_holds() -> None:
    with pytest.raises(ValueError, match="cannot hold"):
        chest(spacing_mm=(6.0, 6.0, 6.0), effusion_left_ml=9000.0)


def test_a_filled_part_of_a_lung_is_longer_than_thick() -> None:
    drawn = chest(spacing_mm=(2.0, 2.0, 2.0), consolidation=(("left", "lower", 20.0),), seed=5)
    truth = next(t for t in drawn.truth if t.finding == "consolidation")
    mask = drawn.masks[truth.mask]
    spread = np.linalg.eigvalsh(np.cov(mask.grid.to_mm(np.argwhere(mask.voxels)).T))
    assert np.sqrt(spread[2] / spread[0]) > 1.6
