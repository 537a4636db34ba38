"""Pneumothorax: free air along the ribs, told from emphysema; not assessed without lung."""

from __future__ import annotations

import pytest

from tests.scans import real_case
from vlm.evidence import Case, Observation, Search
from vlm.phantom.chest import chest
from vlm.tools.pneumothorax import pneumothorax

SPACING_MM = (1.6, 1.6, 2.0)


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
