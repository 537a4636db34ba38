"""Nodules and masses: drawn ones found with their size, place and density; vessels and clear lungs left alone."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import ndimage

from vlm.anatomy.lungs import lungs
from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.chest import Neighbour, Phantom, SideName, Zone, chest
from vlm.tools.nodule_candidates import lumps, ways_on
from vlm.tools.nodule_measure import axes_mm, measured
from vlm.tools.nodule_scene import Scene
from vlm.tools.nodules import _small, nodules

SPACING_MM = (1.2, 1.2, 1.6)


def observed(evidence: Sequence[Evidence]) -> list[Observation]:
    return [record for record in evidence if isinstance(record, Observation)]


def value(record: Observation, quantity: str) -> float:
    found = record.measured(quantity)
    assert found is not None
    return found.value


DRAWN: tuple[tuple[SideName, Zone, float, float], ...] = (
    ("left", "upper", 6.0, 40.0),
    ("right", "upper", 20.0, 40.0),
    ("left", "lower", 10.0, 40.0),
    ("right", "lower", 9.0, 500.0),
)


@functools.cache
def drawn() -> tuple[Phantom, Case, tuple[Evidence, ...]]:
    """A chest with four nodules, and what the tool says of it."""
    phantom = chest(seed=6, spacing_mm=SPACING_MM, nodules=DRAWN)
    case = Case(phantom.volume)
    return phantom, case, tuple(nodules(case))


def near(point_mm: tuple[float, float, float]) -> list[Observation]:
    """What was found within 5 mm of a point."""
    found = observed(drawn()[2])
    return [f for f in found if f.region and np.linalg.norm(np.subtract(f.region.centroid_mm, point_mm)) < 5]


@pytest.mark.parametrize("number", range(len(DRAWN)))
def test_a_nodule_is_found_once_with_its_side_size_and_density(number: int) -> None:
    phantom, case, _ = drawn()
    truth = [t for t in phantom.truth if t.quantity == "diameter"][number]
    side, _, diameter, hu = DRAWN[number]
    found = near(truth.centre_mm)
    assert len(found) == 1
    assert found[0].side == side
    assert value(found[0], "diameter") == pytest.approx(diameter, abs=2.5)
    if diameter > 8:  # below, a border of one voxel is half of the volume
        assert value(found[0], "volume") == pytest.approx(np.pi / 6 * diameter**3 / 1000, rel=0.4)
    assert found[0].attributes["density"] == ("calcified" if hu > 200 else "solid")
    assert found[0].region is not None
    assert found[0].region.mask in case.masks


def test_beside_drawn_nodules_at_most_one_false_one_stands() -> None:
    phantom, _, evidence = drawn()
    places = [t.centre_mm for t in phantom.truth if t.quantity == "diameter"]
    false = [f for f in observed(evidence) if not any(f in near(place) for place in places)]
    assert sum(value(f, "diameter") >= 6 for f in false) <= 1


def test_pure_ground_glass_nodules_are_found_as_such() -> None:
    drawn_mm = (8.0, 10.0, 12.0)
    places: tuple[tuple[SideName, Zone], ...] = (("right", "upper"), ("left", "middle"), ("left", "upper"))
    glass = [(*place, mm, -600.0) for place, mm in zip(places, drawn_mm, strict=True)]
    phantom = chest(seed=3001, spacing_mm=(1.0, 1.0, 1.25), nodules=glass)
    found = [f for f in observed(nodules(Case(phantom.volume))) if f.attributes["density"] == "ground_glass"]
    assert len(found) == 2  # the smallest lies against a vessel and is missed
    for truth in phantom.truth[1:]:
        near = [f for f in found if f.region and np.linalg.norm(np.subtract(f.region.centroid_mm, truth.centre_mm)) < 4]
        assert [f.side for f in near] == [truth.side]
        assert value(near[0], "diameter") == pytest.approx(truth.value, abs=2.5)


def test_each_side_is_searched_and_counts_what_was_found_there() -> None:
    evidence = drawn()[2]
    searches = {(record.finding, record.side): record for record in evidence if isinstance(record, Search)}
    assert set(searches) == {(finding, side) for finding in ("lung_nodule", "lung_mass") for side in ("right", "left")}
    for (finding, side), search in searches.items():
        assert search.covered == 1.0
        assert search.found == sum(f.finding == finding and f.side == side for f in observed(evidence))
        assert "collapse" not in search.failed


def test_what_fluid_and_airless_lung_may_hide_is_said_of_their_side_only() -> None:
    phantom = chest(seed=9, spacing_mm=(1.6, 1.6, 2.5), effusion_left_ml=300.0)
    searches = [record for record in nodules(Case(phantom.volume)) if isinstance(record, Search)]
    assert len(searches) == 4
    assert all(("collapse" in search.failed) == (search.side == "left") for search in searches)


def test_a_mass_is_what_is_larger_than_30_mm() -> None:
    phantom = chest(seed=6, spacing_mm=(1.6, 1.6, 2.5), nodules=(("right", "middle", 40.0, 40.0),))
    found = observed(nodules(Case(phantom.volume)))
    assert found[0].finding == "lung_mass"
    assert found[0].side == "right"
    assert value(found[0], "diameter") == pytest.approx(40.0, abs=4.0)


def test_a_thick_block_of_airless_lung_may_be_a_mass() -> None:
    volume = chest(seed=6, spacing_mm=(2.0, 2.0, 2.0)).volume
    lung = lungs(Case(volume)).right
    _, y, z = np.nonzero(lung.voxels)
    block = lung.voxels.copy()
    block[:, : int(np.median(y)), :] = False  # the front of the upper half
    block[:, :, : int(np.percentile(z, 55))] = False
    block[:, :, int(np.percentile(z, 80)) :] = False
    hu = np.where(block, np.random.default_rng(4).normal(40, 10, block.shape).astype(np.int16), volume.hu)
    case = Case(Volume(np.asfortranarray(hu), volume.grid, volume.scan))
    evidence = nodules(case)
    masses = [f for f in observed(evidence) if f.finding == "lung_mass"]
    assert [(f.side, f.presence) for f in masses] == [("right", "uncertain")]
    hidden = {s.side: "collapse" in s.failed for s in evidence if isinstance(s, Search)}
    assert hidden == {"right": True, "left": False}


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


def test_a_vessel_goes_on_from_a_bend_twice_and_from_a_lone_ball_not_at_all() -> None:
    z, y, x = np.mgrid[:60, :60, :60]
    ball = (z - 30) ** 2 + (y - 30) ** 2 + (x - 30) ** 2 <= 5**2
    bend = ((y - 30) ** 2 + (x - 30) ** 2 <= 2**2) & (z <= 30) | ((z - 30) ** 2 + (y - 30) ** 2 <= 2**2) & (x >= 30)
    step = (1.0, 1.0, 1.0)
    alone = lumps(ball, np.ones_like(ball), ~ball, step, least_mm=1.8)[0]
    assert ways_on(alone, ball, step) == []
    assert ways_on(alone, ball | bend, step) == pytest.approx([2.0, 2.0], abs=0.5)


def test_a_ball_against_a_vessel_nearly_as_wide_is_a_lump() -> None:
    z, y, x = np.mgrid[:60, :60, :60]
    tube = (y - 30) ** 2 + (x - 30) ** 2 <= 3.4**2
    ball = (z - 30) ** 2 + (y - 30) ** 2 + (x - 36.5) ** 2 <= 4.4**2
    found = lumps(tube | ball, np.ones_like(ball), ~(tube | ball), (1.0, 1.0, 1.0), least_mm=1.8)
    assert [lump.tight for lump in found] == [True]
    assert found[0].centre == pytest.approx((30, 30, 36.5), abs=1.5)


@pytest.mark.parametrize("diameter_mm", [7.0, 7.25, 7.5, 9.0])
def test_a_free_ball_is_a_candidate_wherever_its_voxels_lie(diameter_mm: float) -> None:
    affine = np.diag([1.2, 1.2, 2.0, 1.0])
    affine[:3, 3] = 1000.0  # far from any hilum
    grid = Grid((400, 24, 20), affine)
    x, y, z = (grid.to_mm(np.indices(grid.shape).reshape(3, -1).T) - 1000.0).T.reshape(3, *grid.shape)
    hu = np.full(grid.shape, -860.0)
    shifts = np.random.default_rng(0).uniform(size=(16, 3)) * grid.spacing_mm
    centres = [np.add((20.0 + 28.8 * n, 14.0, 18.0), shift) for n, shift in enumerate(shifts)]
    for at in centres:
        away = np.sqrt((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2)
        hu += 890 * np.clip((diameter_mm / 2 - away) / 1.6 + 0.5, 0, 1)  # 30 HU, with a blurred border
    searched = Scene(grid, hu.T.astype(np.float32), np.ones(grid.shape[::-1], dtype=bool))
    clear = Case(chest(seed=5, spacing_mm=(3.0, 3.0, 3.0)).volume)
    assert len(_small(clear, searched)) == len(centres)


@pytest.mark.parametrize("touched", ["vessel", "pleura"])
def test_a_nodule_that_touches_something_is_found(touched: Neighbour) -> None:
    drawn: tuple[tuple[SideName, Zone, float, float], ...] = (
        ("right", "upper", 8.0, 30.0),
        ("left", "middle", 9.0, 30.0),
        ("left", "upper", 8.0, 30.0),
    )
    phantom = chest(seed=3001, spacing_mm=(1.0, 1.0, 1.4), nodules=drawn, nodules_touch=touched)
    found = observed(nodules(Case(phantom.volume)))
    places = [f.region.centroid_mm for f in found if f.region]
    hits = sum(any(np.linalg.norm(np.subtract(p, t.centre_mm)) < 4 for p in places) for t in phantom.truth)
    assert hits >= len(drawn) - (touched == "vessel")  # one may lie in a fork of wide vessels
    assert len(found) <= hits + 1


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


@pytest.mark.parametrize("blur_mm", [0.6, 1.5, 2.5])
def test_blur_takes_nothing_from_what_a_nodule_holds(blur_mm: float) -> None:
    shape, step = (40, 40, 24), (1.2, 1.2, 2.0)
    grid = Grid(shape, np.diag([*step, 1.0]))
    x, y, z = (np.arange(n) * s for n, s in zip(shape, step, strict=True))
    away = np.sqrt((x[:, None, None] - 24) ** 2 + (y[None, :, None] - 24) ** 2 + (z[None, None, :] - 24) ** 2)
    ball = np.clip(0.5 + (3.0 - away) / 1.2, 0, 1)
    share = ndimage.gaussian_filter(ball, [blur_mm / s for s in step])
    volume = Volume(np.asfortranarray((-860 + 895 * share).astype(np.int16)), grid, Scan(source="phantom"))
    near = Mask("near", np.asfortranarray(away < 4.5), grid)
    found = measured("nodule", volume, near, Mask("lung", np.ones(shape, dtype=bool, order="F"), grid))
    assert found is not None
    assert found.solid_mm == pytest.approx(6.0, abs=1.2)
