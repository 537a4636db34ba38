"""A grid puts voxels in space, a mask knows its size and place, coarse grids stay where they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vlm.ct import Grid, Mask, Scan, Volume
from vlm.evidence import Case


def grid(shape: tuple[int, int, int] = (20, 24, 30), spacing: tuple[float, float, float] = (0.7, 0.7, 1.5)) -> Grid:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = (-100.0, 50.0, -300.0)
    return Grid(shape, affine)


def volume(where: Grid, seed: int = 0) -> Volume:
    hu = np.random.default_rng(seed).integers(-1000, 1000, where.shape, dtype=np.int16)
    return Volume(np.asfortranarray(hu), where, Scan(source="phantom"))


@given(st.tuples(*[st.floats(-50, 50)] * 3))
def test_millimetres_and_indices_are_inverse(index: tuple[float, float, float]) -> None:
    assert grid().to_ijk(grid().to_mm(index)) == pytest.approx(index, abs=1e-9)


def test_a_box_mask_knows_its_volume_place_and_slices() -> None:
    voxels = np.zeros(grid().shape, dtype=bool, order="F")
    voxels[2:12, 3:13, 5:15] = True
    mask = Mask("cube", voxels, grid())
    assert mask.volume_ml == pytest.approx(1000 * 0.7 * 0.7 * 1.5 / 1000)
    assert mask.slices == (5, 14)
    assert mask.box.low_mm == pytest.approx((-100 + 1.4, 50 + 2.1, -300 + 7.5))
    assert mask.box.contains(mask.centre_mm)


def test_the_centre_of_a_ring_lies_in_the_ring() -> None:
    voxels = np.zeros(grid().shape, dtype=bool, order="F")
    voxels[2:12, 3:13, 5] = True
    voxels[4:10, 5:11, 5] = False
    mask = Mask("ring", voxels, grid())
    i, j, k = np.rint(grid().to_ijk(mask.centre_mm)).astype(int)
    assert voxels[i, j, k]


def test_an_empty_mask_has_no_place() -> None:
    empty = Mask("empty", np.zeros(grid().shape, dtype=bool), grid())
    assert not empty
    with pytest.raises(ValueError, match="empty"):
        _ = empty.slices


@pytest.mark.parametrize("target_mm", [1.4, 2.0, 3.0, 4.5])
def test_block_means_stay_where_the_blocks_were(target_mm: float) -> None:
    fine = volume(grid())
    coarse = fine.coarse(target_mm=target_mm)
    fx, fy, fz = (max(1, round(target_mm / step)) for step in fine.grid.spacing_mm)
    assert coarse.hu[1, 2, 1] == round(float(fine.hu[fx : 2 * fx, 2 * fy : 3 * fy, fz : 2 * fz].mean()))
    centre = [(1.5 * fx - 0.5), (2.5 * fy - 0.5), (1.5 * fz - 0.5)]
    assert coarse.grid.to_mm([1, 2, 1]) == pytest.approx(fine.grid.to_mm(centre))


def test_a_coarse_mask_covers_its_blocks_on_the_fine_grid() -> None:
    fine = volume(grid())
    coarse = fine.coarse(target_mm=2.0)
    voxels = np.zeros(coarse.grid.shape, dtype=bool, order="F")
    voxels[1, 2, 3] = True
    mask = Mask("block", voxels, coarse.grid).on(fine.grid)
    fx, fy, fz = (max(1, round(2.0 / step)) for step in fine.grid.spacing_mm)
    expected = np.zeros(fine.grid.shape, dtype=bool)
    expected[fx : 2 * fx, 2 * fy : 3 * fy, 3 * fz : 4 * fz] = True
    assert np.array_equal(mask.voxels, expected)


def test_a_kept_mask_speaks_of_the_volumes_own_slices() -> None:
    case = Case(volume(grid((40, 40, 40), (0.7, 0.7, 0.5))))
    voxels = np.zeros(case.working.grid.shape, dtype=bool, order="F")
    voxels[3:5, 3:5, 2:4] = True  # blocks of 4 slices
    region = case.keep(Mask("seen", voxels, case.working.grid))
    assert region.slices == (8, 15)
    with pytest.raises(ValueError, match="kept already"):
        case.keep(Mask("seen", voxels, case.working.grid))
