"""Emphysema: its share is measured, noise is not emphysema, cut lungs are partly covered."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scans import real_case
from vlm.ct.volume import Volume
from vlm.evidence import Case, Observation, Search
from vlm.phantom.chest import chest
from vlm.tools.emphysema import emphysema

SPACING_MM = (1.4, 1.4, 2.0)


def looked_at(case: Case) -> tuple[list[Observation], dict[str, Search]]:
    evidence = emphysema(case)
    seen = [e for e in evidence if isinstance(e, Observation)]
    return seen, {str(e.side): e for e in evidence if isinstance(e, Search)}


def test_plain_emphysema_is_found_in_both_upper_zones() -> None:
    seen, searches = looked_at(Case(chest(spacing_mm=SPACING_MM, emphysema_fraction=0.2, seed=2).volume))
    assert [(e.presence, e.side) for e in seen] == [("present", "bilateral")]
    assert float(seen[0].attributes["upper_zone_percent"]) > float(seen[0].attributes["lower_zone_percent"])
    assert all(search.found == 1 for search in searches.values())


@pytest.mark.parametrize("true_percent", [10.0, 20.0])
def test_the_share_is_within_a_quarter_of_the_drawn_one(true_percent: float) -> None:
    drawn = chest(spacing_mm=SPACING_MM, emphysema_fraction=true_percent / 100, seed=4)
    seen, _ = looked_at(Case(drawn.volume))
    share = seen[0].measured("fraction")
    assert share is not None
    assert share.value == pytest.approx(true_percent, rel=0.25)  # blocks average over the rims of small holes


@pytest.mark.parametrize("kernel", ["soft", "sharp"])
def test_noise_is_not_emphysema(kernel: str) -> None:
    noisy = chest(spacing_mm=SPACING_MM, noise_hu=90.0, kernel=kernel, seed=3)  # type: ignore[arg-type]
    raw = noisy.volume.hu[noisy.masks["lung_left"].voxels]
    assert (raw < -950).mean() > 0.1  # raw voxels would say severe emphysema
    seen, _ = looked_at(Case(noisy.volume))
    assert not [e for e in seen if e.presence == "present"]


def test_where_lung_measures_less_than_air_emphysema_is_only_possible_and_has_no_share() -> None:
    volume = chest(spacing_mm=SPACING_MM, noise_hu=12.0, emphysema_fraction=0.1, seed=2).volume
    shifted = Volume(np.asfortranarray(volume.hu - 60), volume.grid, volume.scan)
    seen, searches = looked_at(Case(shifted))
    assert [(e.presence, e.measurements, e.attributes) for e in seen] == [("uncertain", (), {})]
    assert all("density_withheld" in search.failed and not search.measurements for search in searches.values())


def test_a_scan_without_lung_is_not_assessed() -> None:
    case = Case(chest(spacing_mm=(3.0, 3.0, 3.0), field_mm=(380, 300, 60), centre_mm=(0, -8, -190)).volume)
    seen, searches = looked_at(case)
    assert not seen
    assert not any(search.looked for search in searches.values())


def test_a_half_scan_is_partly_covered() -> None:
    case = Case(chest(spacing_mm=(2.0, 2.0, 2.5), field_mm=(380, 300, 120), centre_mm=(0, -8, 60)).volume)
    _, searches = looked_at(case)
    assert all("partly_covered" in search.failed for search in searches.values())


@pytest.mark.realct
def test_low_dose_scan_with_centrilobular_emphysema_has_it_above() -> None:
    seen, _ = looked_at(real_case("nlst-101287"))
    assert [(e.presence, e.side, e.site) for e in seen] == [("present", "bilateral", "upper_zone")]


@pytest.mark.realct
def test_a_clear_lung_on_a_shifted_scale_is_not_called_emphysema() -> None:
    seen, searches = looked_at(real_case("elastix-right-lung"))
    assert all(e.presence == "uncertain" for e in seen)
    assert "density_withheld" in searches["right"].failed


@pytest.mark.realct
@pytest.mark.parametrize(
    "name", ["cmb-crc-01068", "acrin-flt-breast-013", "acrin-flt-breast-001-day1-chest", "lidc-idri-0314"]
)
def test_lungs_without_emphysema_show_less_than_two_percent(name: str) -> None:
    seen, searches = looked_at(real_case(name))
    assert not seen
    for search in searches.values():
        share = search.measured("fraction")
        assert share is not None
        assert share.value < 2.0
