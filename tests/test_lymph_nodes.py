"""Mediastinal nodes: one that lies free in fat is found with its short axis, vessels are not nodes."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scans import real_case
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.chest import chest
from vlm.tools.lymph_nodes import lymph_nodes

FREE_MM = (2.0, 42.0, 40.0)  # in front of the vessels, in fat


def seen(evidence: list[Evidence]) -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation)]


def looked(evidence: list[Evidence]) -> Search:
    (search,) = [e for e in evidence if isinstance(e, Search)]
    assert search.finding == "lymphadenopathy"
    return search


def with_ball(volume: Volume, radii_mm: tuple[float, float, float], hu: int = 40) -> Volume:
    """The scan with an ellipsoid of one density in the fat in front of the great vessels."""
    x, y, z = (
        volume.grid.to_mm(np.eye(3)[axis][None] * np.arange(volume.grid.shape[axis])[:, None])[:, axis]
        for axis in range(3)
    )
    away = (
        ((x - FREE_MM[0]) / radii_mm[0])[:, None, None] ** 2
        + ((y - FREE_MM[1]) / radii_mm[1])[None, :, None] ** 2
        + ((z - FREE_MM[2]) / radii_mm[2])[None, None, :] ** 2
    )
    out = volume.hu.copy(order="F")
    out[away < 1.0] = hu
    return Volume(out, volume.grid, volume.scan)


@pytest.fixture(scope="module")
def plain() -> Volume:
    return chest(spacing_mm=(1.0, 1.0, 2.0), seed=6).volume


def test_a_round_node_in_fat_is_found_with_its_short_axis(plain: Volume) -> None:
    (found,) = seen(lymph_nodes(Case(with_ball(plain, (10.0, 7.5, 9.0)))))
    assert found.site == "mediastinum" and found.region is not None
    short = found.measured("short_axis")
    assert short is not None and short.value == pytest.approx(15.0, abs=2.5)
    long = found.measured("diameter")
    assert long is not None and long.value == pytest.approx(20.0, abs=2.5)
    assert np.linalg.norm(np.subtract(found.region.centroid_mm, FREE_MM)) < 4.0


def test_vessels_and_oesophagus_are_no_nodes_and_the_search_is_limited(plain: Volume) -> None:
    evidence = lymph_nodes(Case(plain))
    assert not seen(evidence)
    assert "no_contrast" in looked(evidence).failed and 0.0 < looked(evidence).covered < 0.5


@pytest.mark.parametrize(
    "radii_mm", [(3.5, 3.0, 3.5), (7.0, 7.0, 25.0), (16.0, 6.0, 6.0)], ids=["small", "long along z", "oblong"]
)
def test_small_or_tubular_things_are_no_enlarged_nodes(plain: Volume, radii_mm: tuple[float, float, float]) -> None:
    assert not seen(lymph_nodes(Case(with_ball(plain, radii_mm))))


def test_what_is_calcified_is_not_measured_as_a_node(plain: Volume) -> None:
    assert not seen(lymph_nodes(Case(with_ball(plain, (8.0, 8.0, 8.0), hu=400))))


def test_a_scan_without_mediastinum_is_not_assessed() -> None:
    hu = np.full((60, 50, 20), -1000, dtype=np.int16, order="F")
    air = Volume(hu, Grid((60, 50, 20), np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom"))
    evidence = lymph_nodes(Case(air))
    assert not seen(evidence) and not looked(evidence).looked


@pytest.mark.realct
@pytest.mark.parametrize("name", ["acrin-flt-breast-001-day1-chest", "acrin-flt-breast-013", "nlst-101287"])
def test_real_scans_have_no_false_node(name: str) -> None:
    assert not [e for e in seen(lymph_nodes(real_case(name))) if e.presence == "present"]


def with_node(volume: Volume, centre_mm: tuple[float, float, float], radii_mm: tuple[float, ...], hu: int) -> Volume:
    """The scan with an ellipsoid that takes room from fat and lung, not from vessels."""
    x, y, z = (
        volume.grid.to_mm(np.eye(3)[axis][None] * np.arange(volume.grid.shape[axis])[:, None])[:, axis]
        for axis in range(3)
    )
    parts = zip((x, y, z), centre_mm, radii_mm, strict=True)
    a, b, c = (((line - at) / radius) ** 2 for line, at, radius in parts)
    inside = (a[:, None, None] + b[None, :, None] + c[None, None, :] < 1.0) & (volume.hu < 0)
    out = volume.hu.copy(order="F")
    out[inside] = hu
    return Volume(out, volume.grid, volume.scan)


@pytest.fixture(scope="module")
def enhanced() -> Volume:
    return chest(spacing_mm=(1.0, 1.0, 2.0), blood_hu=200.0, seed=6).volume


def beside_the_aorta(volume: Volume) -> tuple[float, float, float]:
    """A place in the fat before the vessels, whose middle lies one radius and no more from blood."""
    fat = (volume.hu > -130) & (volume.hu < -60)
    low = np.rint(volume.grid.to_ijk(np.array([FREE_MM[0], FREE_MM[1] - 40.0, FREE_MM[2]]))).astype(int)
    top = int(np.rint(volume.grid.to_ijk(np.array(FREE_MM)))[1])
    column = volume.hu[low[0], low[1] : top, low[2]]
    edge = low[1] + int(np.flatnonzero(column > 120)[-1])
    assert fat[low[0], edge + 4 : edge + 12, low[2]].mean() > 0.8
    return (FREE_MM[0], float(volume.grid.to_mm([0, edge + 8, 0])[1]), FREE_MM[2])


def test_with_contrast_a_node_that_touches_a_vessel_is_found(enhanced: Volume) -> None:
    assert not seen(lymph_nodes(Case(enhanced)))
    place = beside_the_aorta(enhanced)
    (found,) = seen(lymph_nodes(Case(with_node(enhanced, place, (9.0, 9.0, 10.0), 85))))
    short = found.measured("short_axis")
    assert short is not None and short.value == pytest.approx(17.0, abs=4.0)
    assert found.region is not None and np.linalg.norm(np.subtract(found.region.centroid_mm, place)) < 6.0


@pytest.mark.parametrize(
    ("radii_mm", "hu"), [((9.0, 9.0, 10.0), 8), ((7.0, 7.0, 40.0), 85)], ids=["fluid of a recess", "gullet"]
)
def test_with_contrast_fluid_and_tubes_beside_vessels_are_no_nodes(
    enhanced: Volume, radii_mm: tuple[float, float, float], hu: int
) -> None:
    found = seen(lymph_nodes(Case(with_node(enhanced, beside_the_aorta(enhanced), radii_mm, hu))))
    assert not [e for e in found if e.presence == "present"]


def test_with_contrast_a_node_beside_a_vessel_that_lies_in_fat_itself_is_found(enhanced: Volume) -> None:
    x, y, z = FREE_MM
    vessel = with_node(enhanced, (x + 9.0, y, z), (7.0, 7.0, 9.0), 200)
    assert not seen(lymph_nodes(Case(vessel)))
    (found,) = seen(lymph_nodes(Case(with_node(vessel, (x - 6.0, y, z), (9.0, 9.0, 9.0), 80))))
    assert found.region is not None and np.linalg.norm(np.subtract(found.region.centroid_mm, (x - 6.0, y, z))) < 5.0
