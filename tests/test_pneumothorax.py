"""Pneumothorax: free air along the chest wall, told from emphysema and bullae; not assessed without lung."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.scans import real_case
from vlm.anatomy.air_level import air_hu
from vlm.anatomy.lungs import lungs
from vlm.ct.volume import Volume
from vlm.evidence import Case, Observation, Search
from vlm.phantom.chest import chest
from vlm.phantom.implant import Implant, implant
from vlm.tools.pneumothorax import pneumothorax

SPACING_MM = (2.0, 2.0, 2.5)


def sides(case: Case) -> tuple[dict[str, Observation], dict[str, Search]]:
    evidence = pneumothorax(case)
    seen = {str(e.side): e for e in evidence if isinstance(e, Observation)}
    return seen, {str(e.side): e for e in evidence if isinstance(e, Search)}


def test_free_air_is_found_on_its_side_with_its_volume() -> None:
    case = Case(chest(spacing_mm=SPACING_MM, pneumothorax_right_ml=250.0, effusion_left_ml=150.0).volume)
    seen, searches = sides(case)
    assert set(seen) == {"right"}
    volume = seen["right"].measured("volume")
    assert volume is not None
    assert volume.value == pytest.approx(250.0, rel=0.15)
    assert case.masks["pneumothorax_right"].centre_mm[0] > 0
    assert (searches["right"].found, searches["left"].found) == (1, 0)


@pytest.fixture(scope="module")
def healthy() -> Volume:
    return chest(spacing_mm=SPACING_MM, seed=5).volume


@pytest.fixture(scope="module")
def beside_emphysema() -> Volume:
    return chest(spacing_mm=SPACING_MM, pneumothorax_left_ml=20.0, emphysema_fraction=0.2, seed=3).volume


def with_bulla(volume: Volume, radius_mm: float, depth_mm: float) -> Case:
    """A chest with a ball of air in the right lung, its centre so deep below the wall in front and to the side."""
    lung = lungs(Case(volume)).right.on(volume.grid)
    held = volume.grid.to_mm(np.argwhere(lung.voxels))
    held = held[np.abs(held[:, 2] - lung.centre_mm[2]) < 5.0]
    inwards = np.array([-0.5, -1.0, 0.0]) / np.hypot(0.5, 1.0)
    centre = held[np.argmin(held @ inwards)] + depth_mm * inwards
    index = np.stack(np.meshgrid(*(np.arange(n) for n in volume.grid.shape), indexing="ij"), axis=-1)
    hu = volume.hu.copy(order="F")
    hu[lung.voxels & (np.linalg.norm(volume.grid.to_mm(index) - centre, axis=-1) < radius_mm)] = -1000
    return Case(replace(volume, hu=hu))


def test_a_little_free_air_is_found_beside_emphysema(beside_emphysema: Volume) -> None:
    seen, _ = sides(Case(beside_emphysema))
    assert {side: each.presence for side, each in seen.items()} == {"left": "present"}
    volume = seen["left"].measured("volume")
    assert volume is not None and volume.value == pytest.approx(20.0, rel=0.6)


@pytest.mark.parametrize("shift_hu", [-30, 30])
def test_a_scan_whose_air_is_not_at_minus_1000_is_read_alike(beside_emphysema: Volume, shift_hu: int) -> None:
    moved = Case(replace(beside_emphysema, hu=np.asfortranarray(beside_emphysema.hu + np.int16(shift_hu))))
    assert air_hu(moved) == pytest.approx(max(-1040, min(-985, -1000 + shift_hu)), abs=6)
    assert set(sides(moved)[0]) == {"left"}


def test_free_air_around_a_lung_that_has_mostly_collapsed_is_found() -> None:
    seen, _ = sides(Case(chest(spacing_mm=SPACING_MM, pneumothorax_right_ml=1200.0).volume))
    volume = seen["right"].measured("volume")
    assert volume is not None and volume.value == pytest.approx(1200.0, rel=0.1)


def test_air_rises_to_the_back_of_someone_who_lies_prone(healthy: Volume) -> None:
    prone = Case(replace(healthy, scan=replace(healthy.scan, patient_position="HFP")))
    made = implant(prone, [Implant(finding="pneumothorax", size=40.0, side="left")], seed=2)
    case = Case(made.volume)
    seen, _ = sides(case)
    assert set(seen) == {"left"}
    assert case.masks["pneumothorax_left"].centre_mm[1] < lungs(case).left.centre_mm[1] - 20


def test_a_round_bulla_at_the_wall_is_no_free_air(healthy: Volume) -> None:
    assert not sides(with_bulla(healthy, radius_mm=20.0, depth_mm=18.0))[0]


def test_what_may_be_a_bulla_or_free_air_is_uncertain_and_names_both(healthy: Volume) -> None:
    seen, _ = sides(with_bulla(healthy, radius_mm=26.0, depth_mm=0.0))
    assert seen["right"].presence == "uncertain"
    assert "bulla" in seen["right"].note and "free air" in seen["right"].note


def test_emphysema_is_no_free_air() -> None:
    seen, searches = sides(Case(chest(spacing_mm=SPACING_MM, emphysema_fraction=0.2).volume))
    assert not seen
    assert all(search.looked for search in searches.values())


def test_a_scan_without_lung_is_not_assessed() -> None:
    case = Case(chest(spacing_mm=(3.0, 3.0, 3.0), field_mm=(380, 300, 60), centre_mm=(0, -8, -190)).volume)
    seen, searches = sides(case)
    assert not seen
    assert set(searches) == {"left", "right"}
    assert not any(search.looked for search in searches.values())


@pytest.mark.realct
@pytest.mark.parametrize(
    "name",
    ["nlst-101287", "lidc-idri-0314", "acrin-flt-breast-013", "acrin-flt-breast-001-day1-chest", "acrin-flt-breast-001",
     "acrin-nsclc-042", "cmb-crc-01068", "rider-pilot-0117", "pyradiomics-lung2", "lung-pet-ct-dx-a0002"],
)  # fmt: skip
def test_real_scans_without_free_air_show_none(name: str) -> None:
    seen, _ = sides(real_case(name))
    assert not seen


@pytest.mark.realct
@pytest.mark.parametrize(("name", "side"), [("nlst-101287", "left"), ("acrin-flt-breast-001-day1-chest", "right")])
def test_a_little_free_air_in_a_real_chest_is_found(name: str, side: str) -> None:
    made = implant(real_case(name), [Implant(finding="pneumothorax", size=25.0, side=side)], seed=6)  # type: ignore[arg-type]
    assert set(sides(Case(made.volume))[0]) == {side}
