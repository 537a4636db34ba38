"""Stones of the ureters: told as possible on their side, denied of nobody."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bodies import person
from tests.scans import real_case
from vlm.anatomy.coverage import coverage
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.language.denials import usable
from vlm.tools.ureter_stones import ureter_stones

WITH_STONE, HEALTHY = "totalseg-abdomen-3mm", "acrin-flt-breast-001-day4-abdomen"
HEIGHT_MM = -230.0  # of the dome: the iliac crest


def stones(told: list[Evidence]) -> list[Observation]:
    return [e for e in told if isinstance(e, Observation)]


def with_spot(case: Case, at: tuple[float, float], mm: tuple[float, float, float], dense_hu: int = 700) -> Case:
    """The scan with something dense beside (to the right) and in front of the canal, at the height of the crest."""
    dome, grid = coverage(case).dome_mm, case.volume.grid
    assert dome is not None
    middle = grid.to_ijk(spine(case).at(dome + HEIGHT_MM) + np.array([*at, 0.0]))
    along = zip(grid.shape, middle, grid.spacing_mm, mm, strict=True)
    away = [2 * (np.arange(n) - at) * step / size for n, at, step, size in along]
    ball = away[0][:, None, None] ** 2 + away[1][None, :, None] ** 2 + away[2][None, None, :] ** 2 < 1
    whole = np.where(ball, dense_hu, case.volume.hu).astype(np.int16)
    return Case(Volume(np.asfortranarray(whole), grid, case.volume.scan))


def test_a_drawn_stone_is_found_on_its_side_alone() -> None:
    drawn = person(3, "plain", "left ureteral stone 7 mm")
    (stone,) = stones(ureter_stones(Case(drawn.volume)))
    assert (stone.side, stone.site, stone.presence) == ("left", "ureter", "uncertain")
    assert stone.measured("diameter").value == pytest.approx(7.0, abs=2.5)  # type: ignore[union-attr]
    (truth,) = [one for one in drawn.truth if one.finding == "ureter_stone"]
    assert stone.region is not None
    assert np.linalg.norm(np.subtract(stone.region.centroid_mm, drawn.findings[truth.mask].centre_mm)) < 4.0


def test_healthy_ureters_are_searched_on_both_sides_and_denied_on_none() -> None:
    told = ureter_stones(Case(person(1, "plain").volume))
    looks = [e for e in told if isinstance(e, Search)]
    assert not stones(told) and {look.side for look in looks} == {"left", "right"}
    assert all(look.looked for look in looks) and not any(usable(look) for look in looks)


def test_with_contrast_in_the_blood_nothing_is_told() -> None:
    told = ureter_stones(Case(person(3, "portal", "left ureteral stone 7 mm").volume))
    assert [e.failed for e in told if isinstance(e, Search)] == [("contrast",)] * 2 and len(told) == 2


@pytest.mark.realct
def test_the_stone_of_a_real_ureter_is_found_and_bowel_beside_it_is_none() -> None:
    (stone,) = stones(ureter_stones(real_case(WITH_STONE)))
    assert (stone.side, stone.presence) == ("right", "uncertain")
    assert stone.measured("diameter").value == pytest.approx(9.0, abs=2.0)  # type: ignore[union-attr]


@pytest.mark.realct
def test_a_dense_spot_put_beside_a_real_psoas_is_told_with_what_looks_alike() -> None:
    case = real_case(HEALTHY)
    assert not stones(ureter_stones(case))
    (spot,) = stones(ureter_stones(with_spot(case, (-36.0, 50.0), (7.0, 7.0, 9.0))))
    assert (spot.side, spot.presence) == ("left", "uncertain")
    assert "vessel" in spot.note


@pytest.mark.realct
@pytest.mark.parametrize(
    ("at", "mm", "hu"),
    [((-36.0, 50.0), (7.0, 7.0, 40.0), 700), ((-36.0, 50.0), (20.0, 20.0, 9.0), 700),
     ((-80.0, 50.0), (7.0, 7.0, 9.0), 700), ((-36.0, 50.0), (7.0, 7.0, 9.0), 180)],
    ids=["a calcified vessel", "too wide", "beside the ureter", "as dense as tissue"],
)  # fmt: skip
def test_what_is_no_stone_is_not_told(at: tuple[float, float], mm: tuple[float, float, float], hu: int) -> None:
    assert not stones(ureter_stones(with_spot(real_case(HEALTHY), at, mm, hu)))
