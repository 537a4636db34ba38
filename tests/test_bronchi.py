"""Bronchi: the tree stays in the airways, its calibres are those drawn, and coarse scans are not assessed."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from vlm.anatomy.airways import airways
from vlm.anatomy.bronchial_tree import BronchialTree, bronchial_tree
from vlm.ct.read import read
from vlm.ct.volume import Volume
from vlm.evidence import Case, Observation, Search
from vlm.phantom.chest import Phantom, chest
from vlm.tools.bronchi import SEGMENTS, bronchi, calibres, pi10_mm

FINDINGS = ("bronchiectasis", "peribronchial_thickening")


@functools.cache
def drawn(*, ill: bool) -> tuple[Phantom, Case]:
    """The middle of a chest; ill: wide bronchi on the right, thick walls on both sides."""
    phantom = chest(
        seed=6,
        spacing_mm=(0.8, 0.8, 1.5),
        field_mm=(270, 180, 150),
        centre_mm=(0, 0, -10),
        bronchial_ratio={"right": 1.8 if ill else 0.8, "left": 0.8},
        bronchial_wall_mm=2.5 if ill else 1.0,
    )
    return phantom, Case(phantom.volume)


@functools.cache
def evidence(*, ill: bool) -> list[Observation | Search]:
    return bronchi(drawn(ill=ill)[1])  # type: ignore[return-value]  # nothing else comes


def in_drawn_airways(tree: BronchialTree, phantom: Phantom) -> float:
    """Share of the tree's voxels that lie in the lumen that was drawn."""
    assert tree.lumen is not None
    places = np.argwhere(tree.lumen.voxels)
    there = np.rint(phantom.volume.grid.to_ijk(tree.lumen.grid.to_mm(places))).astype(int)
    return float(phantom.masks["airways"].voxels[tuple(there.T)].mean())


def test_the_tree_stays_in_the_airways_that_were_drawn() -> None:
    phantom, case = drawn(ill=False)
    assert in_drawn_airways(bronchial_tree(case), phantom) > 0.97


def test_segmental_branches_of_both_lungs_are_followed() -> None:
    tree = bronchial_tree(drawn(ill=True)[1])
    for side in ("right", "left"):
        assert sum(branch.side == side and branch.generation >= 3 for branch in tree.branches) >= 8


def test_a_branch_is_one_generation_below_its_parent_and_begins_where_that_ends() -> None:
    tree = bronchial_tree(drawn(ill=True)[1])
    assert [branch.parent for branch in tree.branches].count(None) == 1
    for branch in tree.branches[1:]:
        assert branch.parent is not None
        parent = tree.branches[branch.parent]
        assert branch.generation == parent.generation + 1
        assert branch.side == parent.side or parent.side is None
        nearest = np.linalg.norm(parent.points_mm - branch.points_mm[0], axis=1).min()
        assert nearest <= 4 * parent.radius_mm + 6.0


def test_a_hole_in_the_walls_does_not_let_the_tree_into_the_lung() -> None:
    phantom, case = drawn(ill=False)
    branch = max((b for b in bronchial_tree(case).branches if b.generation >= 4), key=lambda b: b.length_mm)
    x, y, z = np.rint(phantom.volume.grid.to_ijk(branch.points_mm[len(branch.points_mm) // 2])).astype(int)
    hu = phantom.volume.hu.copy(order="F")
    hole = np.s_[x - 12 : x + 13, y - 12 : y + 13, z - 6 : z + 7]  # 20 mm without walls, as dark as lung can be
    hu[hole] = np.random.default_rng(1).normal(-900, 25, hu[hole].shape).astype(np.int16)
    torn = bronchial_tree(Case(replace(phantom.volume, hu=hu)))
    assert torn.lumen is not None
    share = torn.lumen.voxels.sum() * torn.lumen.grid.voxel_ml
    whole = bronchial_tree(case).lumen
    assert whole is not None
    assert share < whole.volume_ml + 2.0  # the hole holds 8 ml, the lung 1600


def test_wide_bronchi_are_called_bronchiectasis_on_their_side_alone() -> None:
    seen = [e for e in evidence(ill=True) if isinstance(e, Observation) and e.finding == "bronchiectasis"]
    assert [(e.presence, e.side) for e in seen] == [("present", "right")]
    ratio = seen[0].measured("ratio")
    assert ratio is not None
    assert ratio.value >= 1.5
    mask = drawn(ill=True)[1].masks["bronchiectasis_right"]
    assert mask.volume_ml > 0


def test_the_ratio_of_bronchi_and_arteries_is_near_the_drawn_one() -> None:
    case = drawn(ill=True)[1]
    for side, true in (("right", 1.8), ("left", 0.8)):
        measured = [c.ratio for c in calibres(case, side) if c.ratio is not None]  # type: ignore[arg-type]
        assert float(np.median(measured)) == pytest.approx(true, rel=0.3)


@pytest.mark.parametrize(("ill", "true_mm", "off_mm"), [(True, 2.5, 0.3), (False, 1.0, 0.9)])
def test_the_wall_is_as_thick_as_drawn_and_a_thin_one_looks_thicker(ill: bool, true_mm: float, off_mm: float) -> None:
    measured = [c.wall_mm for c in calibres(drawn(ill=ill)[1], "left") if c.wall_mm is not None]
    assert float(np.median(measured)) == pytest.approx(true_mm, abs=off_mm)


def test_thick_walls_are_possible_thickening_and_thin_ones_are_not() -> None:
    def thick(*, ill: bool) -> list[tuple[str, str | None]]:
        found = [e for e in evidence(ill=ill) if isinstance(e, Observation) and e.finding == FINDINGS[1]]
        return [(e.presence, e.side) for e in found]

    assert thick(ill=True) == [("uncertain", "right"), ("uncertain", "left")]
    assert not thick(ill=False)


def test_healthy_bronchi_give_no_observation_and_license_no_denial() -> None:
    assert not [e for e in evidence(ill=False) if isinstance(e, Observation)]
    for search in evidence(ill=False):
        assert isinstance(search, Search)
        assert search.failed  # nobody measured how small a widening it finds


def test_wide_bronchi_are_not_denied_where_fewer_are_measured_than_a_lung_has_segments(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    case = drawn(ill=False)[1]
    number = sum(calibre.ratio is not None for calibre in calibres(case, "left"))
    assert number >= 4
    for segments, denied in ((number, True), (number + 1, False)):
        monkeypatch.setitem(SEGMENTS, "left", segments)
        (search,) = (e for e in bronchi(case) if e.finding == FINDINGS[0] and e.side == "left")
        assert isinstance(search, Search) and search.looked == denied


def test_pi10_of_equal_walls_is_that_of_one_wall() -> None:
    lumen = [2.5, 4.0, 6.0, 8.0]
    exact = float(np.sqrt(np.pi * ((5 / np.pi + 1.5) ** 2 - (5 / np.pi) ** 2)))
    assert pi10_mm(lumen, [1.5] * 4) == pytest.approx(exact, abs=0.15)  # a root is nearly a line


@pytest.mark.parametrize("spacing_mm", [(3.0, 3.0, 3.5), (1.8, 1.8, 1.5)])
def test_coarse_scans_are_not_assessed(spacing_mm: tuple[float, float, float]) -> None:
    out = bronchi(Case(chest(spacing_mm=spacing_mm, field_mm=(300, 220, 160), centre_mm=(0, 0, -10)).volume))
    assert {(e.finding, e.side) for e in out} == {(f, s) for f in FINDINGS for s in ("left", "right")}  # type: ignore[union-attr]
    assert all(isinstance(e, Search) and not e.covered and e.failed == ("coarse_pixels",) for e in out)


def test_thick_slices_disclosed_by_the_header_count_as_thick() -> None:
    volume = drawn(ill=False)[0].volume
    thick = Volume(volume.hu, volume.grid, replace(volume.scan, slice_thickness_mm=5.0))
    assert all(isinstance(e, Search) and not e.covered for e in bronchi(Case(thick)))


@pytest.mark.realct
@pytest.mark.parametrize("name", ["lidc-idri-0314", "nlst-101287", "cmb-crc-01068"])
def test_the_tree_of_a_real_scan_reaches_segments_without_a_leak(shared: Path, name: str) -> None:
    case = Case(read(shared / "ct" / name / "ct.nii.gz").volume)
    tree = bronchial_tree(case)
    assert tree.lumen is not None
    assert tree.lumen.volume_ml < 40.0  # from 15 mm above the carina down; a leak holds far more
    for side in ("right", "left"):
        assert sum(branch.side == side and branch.generation >= 3 for branch in tree.branches) >= 12
    carina = airways(case).carina_mm
    assert carina is not None
    fork = tree.branches[0].points_mm[-1]
    assert np.linalg.norm(fork - carina) < 20.0
    assert not [e for e in bronchi(case) if isinstance(e, Observation)]  # these lungs show none
