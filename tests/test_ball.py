"""Growing and shrinking by a ball says what an exact distance transform says, whatever mask, radius and voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from vlm.anatomy.air import filled
from vlm.anatomy.ball import Bools, box_of, closed, grown, opened, shrunk
from vlm.ct.volume import Grid

steps = st.floats(0.6, 4.0)
cases = st.tuples(
    st.tuples(st.integers(1, 20), st.integers(1, 14), st.integers(1, 14)),
    st.tuples(steps, steps, steps),
    st.floats(0.0, 12.0),
    st.sampled_from((0.0, 0.02, 0.5, 0.95, 1.0)),
    st.integers(0, 2**32 - 1),
)
Drawn = tuple[tuple[int, int, int], tuple[float, float, float], float, float, int]


def drawn(case: Drawn) -> tuple[Bools, float, Grid]:
    """A (Z, Y, X) mask with this share of voxels, a radius in mm, and the grid."""
    shape, step, radius_mm, share, seed = case
    mask = np.random.default_rng(seed).random(shape) < share
    return mask, radius_mm, Grid((shape[2], shape[1], shape[0]), np.diag([*step, 1.0]))


def away_mm(mask: Bools, grid: Grid) -> np.ndarray:
    """The exact distance of each voxel to the mask, mm; infinite from an empty one."""
    if not mask.any():
        return np.full(mask.shape, np.inf)
    return np.asarray(ndimage.distance_transform_edt(~mask, sampling=grid.spacing_mm[::-1]))


@given(cases)
def test_grown_is_all_that_lies_within_the_radius(case: Drawn) -> None:
    mask, radius_mm, grid = drawn(case)
    away = away_mm(mask, grid)
    got = grown(mask, radius_mm, grid)
    assert got[away <= radius_mm].all()
    assert not got[away > radius_mm * (1 + 1e-5)].any()


@given(cases)
def test_shrinking_is_growing_of_what_lies_outside(case: Drawn) -> None:
    mask, radius_mm, grid = drawn(case)
    assert np.array_equal(shrunk(mask, radius_mm, grid), ~grown(~mask, radius_mm, grid))


@given(cases)
def test_opening_takes_closing_adds_and_both_are_done_at_once(case: Drawn) -> None:
    mask, radius_mm, grid = drawn(case)
    less, more = opened(mask, radius_mm, grid), closed(mask, radius_mm, grid)
    assert not (less & ~mask).any() and not (mask & ~more).any()
    assert np.array_equal(opened(less, radius_mm, grid), less)


@given(cases)
def test_a_box_holds_its_mask_with_the_margin_or_ends_with_the_array(case: Drawn) -> None:
    mask, margin_mm, grid = drawn(case)
    if not mask.any():
        return
    box = box_of(mask, margin_mm, grid)
    near = grown(mask, margin_mm, grid)
    near[box] = False
    assert not near.any()


@given(cases)
def test_filling_closes_the_holes_of_each_slice(case: Drawn) -> None:
    mask, _, _ = drawn(case)
    assert np.array_equal(filled(mask), np.stack([ndimage.binary_fill_holes(plane) for plane in mask]))


def test_the_end_of_the_scan_wears_nothing_down() -> None:
    grid = Grid((9, 9, 9), np.eye(4))
    assert shrunk(np.ones((9, 9, 9), dtype=bool), 4.0, grid).all()
    assert grown(np.zeros((9, 9, 9), dtype=bool), 4.0, grid).sum() == 0


@pytest.mark.parametrize(("radius_mm", "voxels"), [(0.5, 1), (1.0, 7), (1.5, 19), (2.0, 33)])
def test_one_voxel_grows_into_a_ball(radius_mm: float, voxels: int) -> None:
    mask = np.zeros((9, 9, 9), dtype=bool)
    mask[4, 4, 4] = True
    assert grown(mask, radius_mm, Grid((9, 9, 9), np.eye(4))).sum() == voxels
