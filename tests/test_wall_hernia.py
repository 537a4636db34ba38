"""Hernias of the abdominal wall: a lump put in front of it is found; walls without one, real or drawn, are clear."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bodies import person
from tests.scans import real_case
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.language.denials import usable
from vlm.tools.wall_hernia import ANGLES, BEFORE_CANAL_MM, front_of, wall_hernia, wall_of

ABDOMENS = ("totalseg-abdomen-3mm", "acrin-flt-breast-001-day4-abdomen")


def seen(evidence: list[Evidence]) -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation)]


def with_hernia(
    case: Case, mm: float, *, gas_mm: float, aside: int = 0, tissue_hu: int = 40
) -> tuple[Case, np.ndarray]:
    """The scan with a ball of tissue, gas in it, half out of the wall; and its centre. ``aside`` counts rays."""
    front = front_of(case)
    assert front is not None
    level = len(front.firm) // 2
    ray = len(ANGLES) // 2 + aside
    away = wall_of(front.radius, case.working.grid.spacing_mm[2])[level, ray] + 0.3 * mm
    middle = spine(case).canal_mm[front.first + level] + [0.0, BEFORE_CANAL_MM, 0.0]
    centre = middle + away * np.array([np.sin(ANGLES[ray]), np.cos(ANGLES[ray]), 0.0])
    hu, grid = case.volume.hu.copy(order="F"), case.volume.grid
    far = sum(
        ((grid.affine[a, 3] + grid.affine[a, a] * np.arange(grid.shape[a]) - centre[a]) ** 2).reshape(
            [-1 if a == b else 1 for b in range(3)]
        )
        for a in range(3)
    )
    hu[(far <= (mm / 2 + 12.0) ** 2) & (hu < -500)] = -100  # the skin bulges over it
    hu[far <= (mm / 2) ** 2] = tissue_hu
    hu[far <= (gas_mm / 2) ** 2] = -900
    return Case(Volume(hu, grid, case.volume.scan)), centre


@pytest.fixture(scope="module")
def drawn() -> Case:
    return Case(person(1, "plain").volume)


def test_a_drawn_wall_has_no_hernia_and_none_is_denied(drawn: Case) -> None:
    evidence = wall_hernia(drawn)
    assert not seen(evidence)
    (look,) = [e for e in evidence if isinstance(e, Search)]
    assert look.finding == "abdominal_hernia" and look.looked and not usable(look)


def test_bowel_in_front_of_the_wall_is_a_hernia_and_a_lump_possibly_one(drawn: Case) -> None:
    for gas_mm, presence in ((20.0, "present"), (0.0, "uncertain")):
        case, centre = with_hernia(drawn, 44.0, gas_mm=gas_mm, aside=3)
        (lump,) = seen(wall_hernia(case))
        assert lump.presence == presence and lump.region is not None
        assert np.linalg.norm(np.subtract(lump.region.centroid_mm, centre)) < 20.0


def test_fat_in_front_of_the_wall_is_not_seen(drawn: Case) -> None:
    assert not seen(wall_hernia(with_hernia(drawn, 44.0, gas_mm=0.0, tissue_hu=-100)[0]))


def test_a_contour_follows_a_belly_and_not_what_stands_out_of_it() -> None:
    z, a = np.meshgrid(np.linspace(-1, 1, 60), ANGLES, indexing="ij")
    belly = 110.0 + 12.0 * z - 9.0 * z**2 + 15.0 * a**2
    lump = (np.abs(z) < 0.2) & (np.abs(a) < 0.2)
    contour = wall_of(belly + 25.0 * lump, 4.0)
    assert np.abs(contour - belly)[~lump].max() < 4.0 and (belly + 25.0 - contour)[lump].min() > 15.0


@pytest.mark.realct
@pytest.mark.parametrize("name", ABDOMENS)
def test_real_walls_without_a_hernia_are_clear_and_one_put_in_is_found(name: str) -> None:
    case = real_case(name)
    assert not seen(wall_hernia(case))
    sick, centre = with_hernia(case, 44.0, gas_mm=20.0, aside=-4)
    (lump,) = seen(wall_hernia(sick))
    assert lump.presence == "present" and lump.region is not None
    assert np.linalg.norm(np.subtract(lump.region.centroid_mm, centre)) < 20.0
