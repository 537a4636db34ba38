"""Mosaic attenuation: patches are told from even lung, holes and one dense place; septa and scars are not judged."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from vlm.ct.read import read
from vlm.evidence import Case, Observation, Search
from vlm.phantom.chest import chest
from vlm.tools.interstitium import MOSAIC, UNJUDGED, interstitium, patchwork

SPACING_MM = (2.5, 2.5, 2.5)


@functools.cache
def drawn(**ills: Any) -> Case:
    return Case(chest(spacing_mm=SPACING_MM, seed=1, **ills).volume)


def seen(case: Case) -> list[tuple[str, str | None]]:
    return [(e.presence, e.side) for e in interstitium(case) if isinstance(e, Observation)]


def test_patches_that_differ_by_150_hu_are_mosaic_on_both_sides() -> None:
    assert seen(drawn(mosaic_hu=150.0)) == [("present", "right"), ("present", "left")]


def test_patches_that_differ_by_100_hu_in_both_lungs_may_be_mosaic() -> None:
    assert seen(drawn(mosaic_hu=100.0)) == [("uncertain", "right"), ("uncertain", "left")]


def test_the_patches_that_are_marked_are_the_dense_ones() -> None:
    phantom = chest(spacing_mm=SPACING_MM, seed=1, mosaic_hu=150.0)
    found = patchwork(Case(phantom.volume), "right")
    assert found is not None
    there = phantom.masks["mosaic_attenuation"].on(found.denser.grid).voxels
    assert (found.denser.voxels & there).sum() > 0.8 * found.denser.voxels.sum()


@pytest.mark.parametrize(
    "ills", [{}, {"mosaic_hu": 50.0}, {"emphysema_fraction": 0.25}, {"ground_glass": (("left", "upper", 60.0),)}]
)
def test_even_lung_holes_and_one_dense_place_are_no_mosaic(ills: dict[str, Any]) -> None:
    case = drawn(**ills)
    assert not seen(case)
    for search in (e for e in interstitium(case) if isinstance(e, Search) and e.finding == MOSAIC):
        assert search.looked
        assert {"not_measured", "often_missed"} & set(search.failed)  # it licenses no plain denial


def test_septa_and_scars_are_said_to_be_not_assessed() -> None:
    searches = [e for e in interstitium(drawn()) if isinstance(e, Search) and e.finding in UNJUDGED]
    assert {(e.finding, e.side) for e in searches} == {(f, s) for f in UNJUDGED for s in ("left", "right")}
    assert not any(search.looked for search in searches)


def test_a_scan_without_lung_is_not_assessed() -> None:
    evidence = interstitium(Case(chest(spacing_mm=(3, 3, 3), field_mm=(380, 300, 60), centre_mm=(0, -8, -190)).volume))
    assert evidence
    assert not any(isinstance(e, Observation) or e.looked for e in evidence)  # type: ignore[union-attr]


@pytest.mark.realct
@pytest.mark.parametrize("name", ["acrin-flt-breast-001", "elastix-right-lung", "nlst-101287", "acrin-nsclc-042"])
def test_real_lungs_without_a_patchwork_show_none(shared: Path, name: str) -> None:
    assert not seen(Case(read(shared / "ct" / name / "ct.nii.gz").volume))
