"""Lumps of the groins: told as possible nodes where fat sets them apart, never denied, never of a healthy groin."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bodies import person
from tests.scans import real_case
from vlm.ct.volume import Grid, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.language.denials import usable
from vlm.tools.groin_nodes import groin_nodes

LEAN, OTHER = "totalseg-abdomen-3mm", "acrin-flt-breast-001-day4-abdomen"
PLACE_MM = (58.0, 38.0, -821.0)  # fat in front of the right groin of OTHER


def nodes(told: list[Evidence]) -> list[Observation]:
    return [e for e in told if isinstance(e, Observation)]


def with_ball(volume: Volume, centre_mm: tuple[float, float, float], mm: float, *, long: float = 1.2) -> Case:
    """The scan with soft tissue round a point, ``long`` times as high as wide."""
    grid: Grid = volume.grid
    at, step = grid.to_ijk(centre_mm), grid.spacing_mm
    i, j, k = (np.arange(n, dtype=np.float32) for n in grid.shape)
    away = np.sqrt(
        (((i - at[0]) * step[0]) ** 2)[:, None, None]
        + (((j - at[1]) * step[1]) ** 2)[None, :, None]
        + (((k - at[2]) * step[2] / long) ** 2)[None, None, :]
    )
    hu = np.where(away < mm / 2, 45, volume.hu)
    return Case(Volume(np.asfortranarray(hu.astype(np.int16)), grid, volume.scan))


def test_a_drawn_node_of_the_groin_is_found_on_its_side_and_none_is_in_a_healthy_one() -> None:
    assert not nodes(groin_nodes(Case(person(1, "plain").volume)))
    drawn = person(1, "plain", "right inguinal lymphadenopathy 24 mm")
    (node,) = nodes(groin_nodes(Case(drawn.volume)))
    assert node.side == "right" and node.site == "inguinal" and node.presence == "uncertain"
    assert node.measured("short_axis").value == pytest.approx(24.0, abs=5.0)  # type: ignore[union-attr]


def test_a_healthy_groin_is_searched_on_both_sides_and_denied_on_none() -> None:
    looks = [e for e in groin_nodes(Case(person(1, "plain").volume)) if isinstance(e, Search)]
    assert {look.side for look in looks} == {"left", "right"}
    assert not any(usable(look) for look in looks)


@pytest.mark.realct
def test_a_ball_put_into_a_real_groin_is_told_from_a_healthy_node_and_a_vessel() -> None:
    volume = real_case(OTHER).volume
    assert not nodes(groin_nodes(real_case(OTHER)))
    assert not nodes(groin_nodes(with_ball(volume, PLACE_MM, 12.0)))  # as large as a healthy one
    assert not nodes(groin_nodes(with_ball(volume, PLACE_MM, 18.0, long=5.0)))  # a vessel or a cord
    (large,) = nodes(groin_nodes(with_ball(volume, PLACE_MM, 28.0)))  # it holds the ball that tells muscles
    assert large.measured("short_axis").value == pytest.approx(28.0, abs=5.0)  # type: ignore[union-attr]
    (node,) = nodes(groin_nodes(with_ball(volume, PLACE_MM, 20.0)))
    assert node.side == "right"
    assert node.measured("short_axis").value == pytest.approx(20.0, abs=4.0)  # type: ignore[union-attr]


@pytest.mark.realct
def test_a_lean_real_groin_holds_no_node() -> None:
    assert not nodes(groin_nodes(real_case(LEAN)))


def test_a_scan_without_groins_is_not_spoken_of() -> None:
    drawn = person(1, "plain").volume
    low = drawn.hu.shape[2] // 2
    affine = drawn.grid.affine.copy()
    affine[:3, 3] = drawn.grid.to_mm([0, 0, low])
    hu = np.asfortranarray(drawn.hu[:, :, low:])
    assert groin_nodes(Case(Volume(hu, Grid(hu.shape, affine), drawn.scan))) == []
