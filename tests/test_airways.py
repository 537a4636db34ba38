"""Trachea, carina and bronchi: against a drawn chest, and where nothing can be found."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.scans import real_case
from vlm.anatomy.airways import TREE_MAX_ML, airways
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case
from vlm.phantom.chest import Phantom, chest


@functools.cache
def drawn() -> tuple[Phantom, Case]:
    phantom = chest(seed=5, spacing_mm=(1.2, 1.2, 2.0))
    return phantom, Case(phantom.volume)


def test_the_carina_lies_where_it_was_drawn() -> None:
    found = airways(drawn()[1])
    assert found.carina_mm is not None
    assert found.carina_mm == pytest.approx((0.0, -15.0, 0.0), abs=10.0)


def test_the_tree_stays_in_the_airways_that_were_drawn() -> None:
    phantom, case = drawn()
    tree = airways(case).mask
    lumen = phantom.masks["airways"].on(tree.grid).voxels
    assert (tree.voxels & lumen).sum() > 0.5 * tree.voxels.sum()
    assert tree.volume_ml < TREE_MAX_ML
    lung = phantom.masks["lung_right"].on(tree.grid).voxels & ~lumen
    assert (tree.voxels & lung).sum() < 0.01 * lung.sum()


def test_the_trachea_lies_above_the_carina() -> None:
    found = airways(drawn()[1])
    assert found.found
    assert found.carina_mm is not None
    assert found.trachea.box.low_mm[2] >= found.carina_mm[2]


def test_no_trachea_is_found_in_an_abdomen_with_gas() -> None:
    shape = (120, 90, 40)
    x, y, z = np.mgrid[: shape[0], : shape[1], : shape[2]]
    hu = np.where(((x - 60) / 55) ** 2 + ((y - 45) / 38) ** 2 < 1, 40, -1000)
    hu[(x - 60) ** 2 + (y - 60) ** 2 < 4**2] = -1000  # an upright tube of gas in the middle
    case = Case(
        Volume(np.asfortranarray(hu.astype(np.int16)), Grid(shape, np.diag([3.0, 3, 3, 1])), Scan(source="phantom"))
    )
    found = airways(case)
    assert not found.found
    assert found.carina_mm is None
    assert z.size == found.mask.voxels.size


CARINA_MM = {  # read off the slices by eye, z only, +- 8 mm
    "acrin-flt-breast-001-day1-chest": -128.0,
    "acrin-flt-breast-001": -337.0,
}


@pytest.mark.realct
@pytest.mark.parametrize("name", CARINA_MM)
def test_the_carina_of_a_real_scan_lies_where_a_reader_sees_it(name: str) -> None:
    found = airways(real_case(name))
    assert found.carina_mm is not None
    assert found.carina_mm[2] == pytest.approx(CARINA_MM[name], abs=8.0)


@pytest.mark.realct
@pytest.mark.parametrize("name", ["totalseg-abdomen-3mm", "cptac-pda-00189", "rider-pilot-0117"])
def test_a_scan_without_a_trachea_gives_none(name: str) -> None:
    assert not airways(real_case(name)).found
