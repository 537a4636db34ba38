"""A flap is a dark line between two streams of enhanced blood within the aorta; a gap between two vessels is none."""

from __future__ import annotations

import numpy as np
import pytest

from vlm.anatomy.aortic_wall import Section
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case
from vlm.tools.dissection import Line, flap, longest_run, valley_hu
from vlm.tools.intimal_calcium import INWARD_MM, plate

GRID = Grid((80, 80, 1), np.diag([0.9, 0.9, 2.0, 1.0]))
MIDDLE = np.array([36.0, 36.0])
WIDTH, BLOOD, FALSE, WALL = 26.0, 300.0, 190.0, 60.0


def section(width: float = WIDTH) -> Section:
    turn = np.arange(48) * 2 * np.pi / 48
    points = MIDDLE + width / 2 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    return Section(points_mm=points, short_mm=width, long_mm=width, lumen_mm=width - 5, seen=1.0, gap=0.0)


def aorta(
    *, flap_mm: float = 0.0, aside: float = 1.5, turn: float = 0.7, false: float = FALSE, noise: float = 15.0
) -> Case:
    """One slice of an enhanced aorta in fat, with a flap of this thickness beside its middle; 0: none."""
    x, y = np.meshgrid(*(np.arange(80) * 0.9 - MIDDLE[axis] for axis in range(2)), indexing="ij")
    across = x * np.cos(turn) + y * np.sin(turn)
    hu = np.where(np.hypot(x, y) < WIDTH / 2, BLOOD, -100.0)
    if flap_mm:
        cover = np.clip((flap_mm / 2 - np.abs(across - aside)) / 0.9 + 0.5, 0.0, 1.0)  # partial volume of its borders
        inside = np.hypot(x, y) < WIDTH / 2
        hu = np.where(inside & (across > aside), false, hu)
        hu = np.where(inside, hu + (WALL - hu) * cover, hu)
    hu = hu + np.random.default_rng(0).normal(0, noise, hu.shape)
    volume = Volume(np.asfortranarray(hu[..., None].astype(np.int16)), GRID, Scan(source="phantom"))
    return Case(volume)


@pytest.mark.parametrize("turn", [0.0, 0.4, 0.8, 1.6, 2.5])
@pytest.mark.parametrize("false", [FALSE, BLOOD])
def test_a_thin_line_across_the_lumen_is_a_flap_in_any_direction(turn: float, false: float) -> None:
    seen = flap(aorta(flap_mm=1.8, turn=turn, false=false), 0, section())
    assert seen is not None
    assert np.hypot(*(seen.middle_mm - MIDDLE)) < 4.0


@pytest.mark.parametrize("noise", [10.0, 30.0])
def test_an_even_lumen_has_no_flap(noise: float) -> None:
    assert flap(aorta(noise=noise), 0, section()) is None


def test_a_step_between_two_densities_of_blood_is_no_flap() -> None:
    assert flap(aorta(flap_mm=0.01), 0, section()) is None  # unmixed contrast medium has no line between


def test_the_gap_between_the_aorta_and_a_vein_beside_it_is_no_flap() -> None:
    x, y = np.meshgrid(*(np.arange(80) * 0.9 - MIDDLE[axis] for axis in range(2)), indexing="ij")
    hu = np.where((np.hypot(x, y) < 11.0) | (np.abs(y - 17.5) < 5.0), 150.0, -60.0)
    case = Case(Volume(np.asfortranarray(hu[..., None].astype(np.int16)), GRID, Scan(source="phantom")))
    assert flap(case, 0, section(28.0)) is None


def test_a_line_is_as_deep_as_it_is_darker_than_the_less_dense_side() -> None:
    patch = np.full((31, 31), 300.0, dtype=np.float32)
    patch[16:], patch[15] = 200.0, 80.0
    assert valley_hu(patch, 600.0)[15, 15] == pytest.approx(120.0, abs=1.0)
    assert valley_hu(patch, 250.0)[15, 15] < 1.0  # bone on one side
    patch[16:] = 40.0
    assert valley_hu(patch, 600.0).max() < 30.0  # muscle on one side


def test_lines_that_do_not_go_on_are_not_one_flap() -> None:
    def line(x: float) -> Line:
        return Line(np.array([x, 0.0]), np.zeros((1, 2), dtype=np.intp))

    together = {k: line(0.5 * k) for k in range(6)}
    assert set(longest_run(together, 2.0)) == set(range(6))
    assert set(longest_run({k: together[k] for k in (0, 1, 3, 4)}, 2.0)) == {0, 1, 3, 4}  # one slice may miss
    assert len(longest_run({k: line(20.0 * (k % 2)) for k in range(6)}, 2.0)) == 1


@pytest.mark.parametrize(("inward_mm", "displaced"), [(1.0, False), (4.0, False), (9.0, True)])
def test_a_plate_of_calcium_is_displaced_where_it_lies_well_inside_the_wall(inward_mm: float, displaced: bool) -> None:
    x, y = np.meshgrid(*(np.arange(80) * 0.9 - MIDDLE[axis] for axis in range(2)), indexing="ij")
    hu = np.where(np.hypot(x, y) < WIDTH / 2, 42.0, -100.0)
    hu[(np.abs(x - (WIDTH / 2 - inward_mm)) < 0.6) & (np.abs(y) < 4.5)] = 500.0
    case = Case(Volume(np.asfortranarray(hu[..., None].astype(np.int16)), GRID, Scan(source="phantom")))
    seen = plate(case, 0, section())
    assert (seen is not None) == displaced
    assert not displaced or np.hypot(*(seen.middle_mm - MIDDLE)) < WIDTH / 2 - INWARD_MM
