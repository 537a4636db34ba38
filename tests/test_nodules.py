"""Nodules and masses: drawn ones found with their size, place and density; vessels and clear lungs left alone."""

from __future__ import annotations

import numpy as np
import pytest

from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.chest import chest
from vlm.tools.nodule_candidates import lumps
from vlm.tools.nodule_measure import axes_mm, measured
from vlm.tools.nodules import nodules

SPACING_MM = (0.8, 0.8, 1.5)


def observed(evidence: list[Evidence]) -> list[Observation]:
    return [record for record in evidence if isinstance(record, Observation)]


def value(record: Observation, quantity: str) -> float:
    found = record.measured(quantity)
    assert found is not None
    return found.value


@pytest.mark.parametrize("diameter", [6.0, 10.0, 20.0])
@pytest.mark.parametrize("side", ["left", "right"])
def test_a_solid_nodule_is_found_with_its_size_side_and_place(diameter: float, side: str) -> None:
    phantom = chest(seed=6, spacing_mm=SPACING_MM, nodules=((side, "upper", diameter, 40.0),))
    truth = next(t for t in phantom.truth if t.quantity == "diameter")
    case = Case(phantom.volume)
    found = observed(nodules(case))
    near = [f for f in found if f.region and np.linalg.norm(np.subtract(f.region.centroid_mm, truth.centre_mm)) < 5]
    assert len(near) == 1
    assert near[0].side == side
    assert value(near[0], "diameter") == pytest.approx(diameter, abs=2.0)
    assert value(near[0], "volume") == pytest.approx(np.pi / 6 * diameter**3 / 1000, rel=0.35, abs=0.03)
    assert near[0].attributes["density"] == "solid"
    assert near[0].region is not None
    assert near[0].region.mask in case.masks
    assert sum(value(f, "diameter") >= 6 for f in found if f not in near) <= 1


def test_a_mass_is_what_is_larger_than_30_mm() -> None:
    phantom = chest(seed=6, spacing_mm=(1.2, 1.2, 2.5), nodules=(("right", "middle", 40.0, 40.0),))
    found = observed(nodules(Case(phantom.volume)))
    assert found[0].finding == "lung_mass"
    assert found[0].side == "right"
    assert value(found[0], "diameter") == pytest.approx(40.0, abs=4.0)


def test_a_calcified_nodule_is_called_so() -> None:
    phantom = chest(seed=8, spacing_mm=SPACING_MM, nodules=(("left", "middle", 9.0, 500.0),))
    truth = next(t for t in phantom.truth if t.quantity == "diameter")
    found = observed(nodules(Case(phantom.volume)))
    near = [f for f in found if f.region and np.linalg.norm(np.subtract(f.region.centroid_mm, truth.centre_mm)) < 5]
    assert [f.attributes["density"] for f in near] == ["calcified"]


@pytest.mark.parametrize("seed", [11, 12])
def test_a_clear_lung_with_vessels_has_at_most_one_false_nodule(seed: int) -> None:
    evidence = nodules(Case(chest(seed=seed, spacing_mm=SPACING_MM).volume))
    assert sum(value(f, "diameter") >= 6 for f in observed(evidence)) <= 1
    searches = [record for record in evidence if isinstance(record, Search)]
    assert {s.finding for s in searches} == {"lung_nodule", "lung_mass"}
    assert all(s.covered == 1.0 for s in searches)


def test_a_scan_without_lung_is_not_covered() -> None:
    hu = np.full((40, 40, 20), 40, dtype=np.int16, order="F")
    evidence = nodules(Case(Volume(hu, Grid(hu.shape, np.diag([3.0, 3, 3, 1])), Scan(source="phantom"))))
    assert not observed(evidence)
    assert all(isinstance(record, Search) and not record.looked for record in evidence)


def test_a_tube_is_no_lump_and_a_ball_on_it_is() -> None:
    z, y, x = np.mgrid[:60, :60, :60]
    tube = (y - 30) ** 2 + (x - 30) ** 2 <= 3**2
    space = np.ones_like(tube)
    assert lumps(tube, space, ~tube, (1.0, 1.0, 1.0), least_mm=1.8) == []
    ball = (z - 30) ** 2 + (y - 30) ** 2 + (x - 30) ** 2 <= 8**2
    found = lumps(tube | ball, space, ~(tube | ball), (1.0, 1.0, 1.0), least_mm=1.8)
    assert len(found) == 1
    assert found[0].radius_mm == pytest.approx(8.0, abs=1.5)
    assert found[0].centre == pytest.approx((30, 30, 30), abs=1.5)


@pytest.mark.parametrize(("long", "short", "degrees"), [(20.0, 10.0, 0.0), (20.0, 10.0, 35.0), (9.0, 9.0, 0.0)])
def test_axes_are_those_of_the_ellipse_in_the_slice(long: float, short: float, degrees: float) -> None:
    grid = Grid((80, 80, 3), np.diag([0.7, 0.7, 2.0, 1.0]))
    x, y = (np.mgrid[:80, :80] - 40) * 0.7
    turn = np.radians(degrees)
    along, across = x * np.cos(turn) + y * np.sin(turn), y * np.cos(turn) - x * np.sin(turn)
    region = np.zeros(grid.shape, dtype=bool)
    region[:, :, 1] = (along / (long / 2)) ** 2 + (across / (short / 2)) ** 2 <= 1
    assert axes_mm(region, grid) == pytest.approx((long, short), abs=1.0)


def test_nothing_dense_is_not_measured() -> None:
    hu = np.full((20, 20, 20), -850, dtype=np.int16, order="F")
    grid = Grid(hu.shape, np.eye(4))
    volume = Volume(hu, grid, Scan(source="phantom"))
    near = np.zeros(hu.shape, dtype=bool)
    near[8:12, 8:12, 8:12] = True
    assert measured("nodule", volume, Mask("near", near, grid), Mask("space", np.ones_like(near), grid)) is None
