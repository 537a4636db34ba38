"""Pleural effusion: found on its side with its volume, absent where there is none, not assessed where unseen."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.scans import real_case
from vlm.ct.volume import Grid
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.chest import chest
from vlm.phantom.implant import Implant, implant
from vlm.tools.effusion import _middle, effusion


def split(evidence: list[Evidence]) -> tuple[dict[str, Observation], dict[str, Search]]:
    """Observations and Searches by side."""
    seen = {str(e.side): e for e in evidence if isinstance(e, Observation)}
    return seen, {str(e.side): e for e in evidence if isinstance(e, Search)}


@pytest.fixture(scope="module")
def both() -> list[Evidence]:
    case = Case(chest(spacing_mm=(1.4, 1.4, 2.0), effusion_left_ml=300.0, effusion_right_ml=900.0, seed=1).volume)
    return effusion(case)


@pytest.mark.parametrize(("side", "ml"), [("left", 300.0), ("right", 900.0)])
def test_effusion_volume_is_within_10_percent(both: list[Evidence], side: str, ml: float) -> None:
    seen, searches = split(both)
    volume = seen[side].measured("volume")
    assert volume is not None
    assert volume.value == pytest.approx(ml, rel=0.10)
    assert seen[side].presence == "present"
    assert searches[side].found == 1


def test_the_place_of_an_effusion_lies_in_its_thick_part() -> None:
    thin, thick = np.s_[20:80, 30:34, 20:80], np.s_[20:40, 30:60, 40:60]
    fluid = np.zeros((90, 90, 90), dtype=bool)
    fluid[thin] = fluid[thick] = True
    z, y, x = _middle(fluid, Grid((90, 90, 90), np.eye(4)))[::-1]
    assert fluid[int(z), int(y), int(x)]
    assert fluid[thick][int(z) - 20, int(y) - 30, int(x) - 40]


def test_effusion_has_the_density_of_fluid(both: list[Evidence]) -> None:
    seen, _ = split(both)
    for observation in seen.values():
        density = observation.measured("attenuation")
        assert density is not None
        assert -5 <= density.value <= 20


def test_one_side_only_leaves_the_other_one_empty() -> None:
    case = Case(chest(spacing_mm=(2.0, 2.0, 2.5), effusion_left_ml=250.0, pneumothorax_right_ml=150.0).volume)
    seen, searches = split(effusion(case))
    assert set(seen) == {"left"}
    assert searches["right"].found == 0
    assert searches["right"].looked
    assert searches["right"].covered > 0.9
    assert case.masks["effusion_left"].centre_mm[0] < 0


def test_a_small_effusion_is_found_with_its_volume() -> None:
    seen, _ = split(effusion(Case(chest(spacing_mm=(2.0, 2.0, 2.0), effusion_right_ml=70.0, seed=2).volume)))
    assert set(seen) == {"right"}
    volume = seen["right"].measured("volume")
    assert volume is not None
    assert volume.value == pytest.approx(70.0, rel=0.20)


def test_atelectasis_is_not_fluid() -> None:
    seen, _ = split(effusion(Case(chest(spacing_mm=(2.0, 2.0, 2.5), atelectasis_left_ml=80.0).volume)))
    assert not seen


def test_a_scan_without_lung_is_not_assessed() -> None:
    case = Case(chest(spacing_mm=(3.0, 3.0, 3.0), field_mm=(380, 300, 60), centre_mm=(0, -8, -190)).volume)
    seen, searches = split(effusion(case))
    assert not seen
    assert set(searches) == {"left", "right"}
    assert not any(search.looked for search in searches.values())


def test_a_half_scan_is_partly_covered() -> None:
    case = Case(chest(spacing_mm=(2.0, 2.0, 2.5), field_mm=(380, 300, 120), centre_mm=(0, -8, 60)).volume)
    _, searches = split(effusion(case))
    for search in searches.values():
        assert "partly_covered" in search.failed
        assert search.covered < 0.9


@pytest.mark.realct
@pytest.mark.parametrize(
    ("name", "sides"),
    [
        ("lidc-idri-0314", {"right"}),
        ("nlst-101287", set()),
        ("acrin-flt-breast-013", set()),
        ("acrin-flt-breast-001-day1-chest", set()),
        ("cmb-crc-01068", set()),
        ("elastix-right-lung", set()),
        ("rider-pilot-0117", set()),
        ("pyradiomics-lung2", set()),
        ("cptac-pda-00189", set()),
    ],
)
def test_real_scans_have_fluid_where_it_was_seen(name: str, sides: set[str]) -> None:
    seen, searches = split(effusion(real_case(name)))
    assert set(seen) == sides
    assert set(searches) == {"left", "right"}
    if sides:
        thickness = seen["right"].measured("thickness")
        assert thickness is not None
        assert thickness.value == pytest.approx(55, abs=12)  # "up to about 55 mm" by eye, +-3
        assert seen["right"].attributes.get("loculated") == "likely"
        assert seen["right"].region is not None
        assert math.dist(seen["right"].region.centroid_mm, (85, -190, -600)) < 8  # the middle by eye


@pytest.mark.realct
@pytest.mark.parametrize(("name", "side"), [("nlst-101287", "right"), ("pyradiomics-lung2", "right")])
def test_a_thin_layer_at_the_lowest_place_of_a_real_chest_is_found(name: str, side: str) -> None:
    fluid = Implant(finding="pleural_effusion", size=25.0, side=side)  # type: ignore[arg-type]
    seen, _ = split(effusion(Case(implant(real_case(name), [fluid], seed=3).volume)))
    assert set(seen) == {side}
