"""Wide bowel, spots in bone and pouches behind the heart: found where they were put, and not where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bodies import outlined, person
from tests.scans import real_case
from vlm.anatomy.coverage import coverage
from vlm.anatomy.engines.labels import given
from vlm.anatomy.engines.protocol import LabelMap
from vlm.anatomy.skeleton import spine
from vlm.anatomy.structures import use
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.chest import chest
from vlm.tools.bone_lesions import bone_lesions
from vlm.tools.bowel import _chord_mm, _level_mm, bowel
from vlm.tools.devices import devices
from vlm.tools.hernia import hiatal_hernia

BELLY = Grid((64, 56, 40), np.diag([3.0, 3.0, 3.0, 1.0]))
OUTLINES = {1: "small_bowel", 2: "colon"}


def seen(evidence: list[Evidence]) -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation)]


def looked(evidence: list[Evidence]) -> list[Search]:
    return [e for e in evidence if isinstance(e, Search)]


def belly(small_mm: float, colon_mm: float = 36.0) -> Case:
    """A block of fat with two outlined tubes of these diameters, one above the other."""
    x, y, z = np.indices(BELLY.shape) * 3.0
    small = (y - 84) ** 2 + (z - 32) ** 2 <= (small_mm / 2) ** 2
    colon = (y - 84) ** 2 + (z - 86) ** 2 <= (colon_mm / 2) ** 2
    inside = (x > 20) & (x < 170)
    labels = np.asfortranarray((small & inside) + 2 * (colon & inside & ~small)).astype(np.uint8)
    hu = np.where(labels > 0, 20, -100).astype(np.int16, order="F")
    case = Case(Volume(hu, BELLY, Scan(source="phantom")))
    use(case, given(LabelMap(labels, BELLY, OUTLINES)))
    return case


@pytest.mark.parametrize("width", [38.0, 43.0, 50.0])
def test_wide_small_bowel_is_told_with_its_width(width: float) -> None:
    (found,) = seen(bowel(belly(width)))
    assert (found.finding, found.site, found.presence) == ("bowel_obstruction", "small_bowel", "present")
    assert found.measured("diameter").value == pytest.approx(width, abs=5.0)  # type: ignore[union-attr]  # it is told


def test_gas_in_a_loop_that_stands_half_full_is_as_wide_as_the_loop_seen_from_the_front() -> None:
    z, y, _ = np.indices((40, 40, 60)) * 2.0
    gas = ((z - 40) ** 2 + (y - 40) ** 2 <= 17.0**2) & (y >= 40)
    assert _chord_mm(gas, 2.0, 2.0) == pytest.approx(34.0, abs=3.0)


BOWEL = ("small_bowel", "colon", "duodenum", "stomach")


def test_loops_full_of_levels_are_told_as_possible_obstruction_though_bowel_is_not_outlined() -> None:
    blocked = outlined(person(2, "plain", "small bowel obstruction 38 mm"), *BOWEL)
    (found,) = seen(bowel(blocked))
    assert (found.finding, found.presence) == ("bowel_obstruction", "uncertain")
    assert found.measured("diameter").value == pytest.approx(38.0, abs=12.0)  # type: ignore[union-attr]  # it is told
    healthy = bowel(outlined(person(1, "plain"), *BOWEL))
    assert not seen(healthy) and not any(search.denies for search in looked(healthy))


@pytest.mark.parametrize(("small", "colon"), [(12.0, 20.0), (29.0, 36.0), (20.0, 52.0)])
def test_bowel_of_usual_width_is_searched_in_both_parts(small: float, colon: float) -> None:
    evidence = bowel(belly(small, colon))
    assert not seen(evidence)
    assert {search.site for search in looked(evidence)} == {"bowel", "colon"}
    assert all(search.looked and search.covered == 1.0 for search in looked(evidence))


def test_bowel_that_is_outlined_in_part_is_judged_in_part() -> None:
    case = belly(40.0)
    names = {1: "small_bowel"}
    alone = Case(case.volume)
    labels = np.asarray(case.working.hu > 0).astype(np.uint8, order="F")
    use(alone, given(LabelMap(labels, BELLY, names)))
    assert not [search for search in looked(bowel(alone)) if search.site == "colon" and search.looked]


@pytest.mark.parametrize(("below_hu", "level"), [(15, True), (-95, False), (-700, False)])
def test_a_level_is_gas_on_a_flat_floor_of_fluid(below_hu: int, level: bool) -> None:
    hu = np.full((30, 30), below_hu, dtype=np.int16)
    gas = np.zeros(hu.shape, dtype=bool)
    gas[15:22, 5:25] = True
    hu[gas] = -1000
    assert (_level_mm(gas, hu, 2.0, 2.0) >= 30.0) is level


def test_gas_on_an_uneven_floor_is_no_level() -> None:
    hu = np.full((40, 40), 20, dtype=np.int16)
    gas = np.zeros(hu.shape, dtype=bool)
    for column in range(5, 35):
        gas[20 - abs(column - 20) // 2 : 30, column] = True
    hu[gas] = -1000
    assert _level_mm(gas, hu, 2.0, 2.0) < 15.0


@pytest.fixture(scope="module")
def torso() -> Volume:
    return chest(spacing_mm=(2.0, 2.0, 2.0), seed=6).volume


def with_spot(volume: Volume, radius_mm: float, hu: int) -> tuple[Case, np.ndarray]:
    """The scan with a ball of one density in the middle of a vertebral body, and where that is."""
    case = Case(volume)
    middle = spine(case).bodies_mm[volume.hu.shape[2] // 2]
    away = [np.arange(n) * step for n, step in zip(volume.grid.shape, volume.grid.spacing_mm, strict=True)]
    i, j, k = (along - along[round(float(at))] for along, at in zip(away, volume.grid.to_ijk(middle), strict=True))
    out = volume.hu.copy(order="F")
    out[i[:, None, None] ** 2 + j[None, :, None] ** 2 + k[None, None, :] ** 2 <= radius_mm**2] = hu
    return Case(Volume(out, volume.grid, volume.scan)), middle


def test_a_dense_spot_in_marrow_is_found_with_its_size(torso: Volume) -> None:
    case, middle = with_spot(torso, 7.0, 700)
    (found,) = [each for each in seen(bone_lesions(case)) if each.site != "pelvic_bone"]
    assert found.region is not None and np.linalg.norm(np.subtract(found.region.centroid_mm, middle)) < 5.0
    assert found.measured("diameter").value == pytest.approx(14.0, abs=4.0)  # type: ignore[union-attr]  # it is told


def test_a_large_hole_in_marrow_is_found_and_a_small_one_is_nobodys_claim(torso: Volume) -> None:
    case, middle = with_spot(torso, 6.5, 40)
    (found,) = seen(bone_lesions(case))
    assert found.attributes == {"density": "lytic"} and found.region is not None
    assert np.linalg.norm(np.subtract(found.region.centroid_mm, middle)) < 5.0
    assert found.measured("diameter").value == pytest.approx(13.0, abs=4.0)  # type: ignore[union-attr]  # it is told
    assert not seen(bone_lesions(with_spot(torso, 4.0, 40)[0]))


def test_a_hole_that_reaches_the_wall_of_its_body_is_found_but_not_where_marrow_is_thin(torso: Volume) -> None:
    case, middle = with_spot(torso, 11.5, 40)
    (found,) = seen(bone_lesions(case))
    assert found.region is not None and np.linalg.norm(np.subtract(found.region.centroid_mm, middle)) < 6.0
    thin = torso.hu.copy(order="F")
    marrow = (thin > 100) & (thin < 400)
    thin[marrow] = (0.5 * thin[marrow]).astype(np.int16)
    assert not seen(bone_lesions(with_spot(Volume(thin, torso.grid, torso.scan), 11.5, 60)[0]))


def test_bones_without_a_spot_have_none_and_soft_spots_are_not_denied(torso: Volume) -> None:
    evidence = bone_lesions(Case(torso))
    assert not seen(evidence)
    (search,) = looked(evidence)
    assert 0.0 < search.covered <= 0.5 and "partly_covered" in search.failed
    assert search.attributes == {"density": "sclerotic"}


def test_slices_of_8_mm_do_not_show_spots(torso: Volume) -> None:
    grid = Grid((*torso.grid.shape[:2], torso.grid.shape[2] // 4), np.diag([2.0, 2.0, 8.0, 1.0]))
    thick = torso.hu[:, :, : grid.shape[2] * 4].reshape(*grid.shape, 4).mean(axis=3).astype(np.int16, order="F")
    (search,) = looked(bone_lesions(Case(Volume(thick, grid, torso.scan))))
    assert search.failed == ("thick_slices",) and search.covered == 0.0


@pytest.mark.realct
def test_the_nail_of_a_real_femur_is_hardware_of_that_femur() -> None:
    (nail,) = [e for e in seen(devices(real_case("totalseg-abdomen-3mm"))) if e.finding == "orthopaedic_hardware"]
    assert (nail.side, nail.site) == ("left", "femur")


@pytest.mark.realct
@pytest.mark.parametrize("name", ["acrin-flt-breast-001-day4-abdomen", "totalseg-abdomen-3mm", "cptac-pda-00189"])
def test_real_abdomens_have_no_wide_bowel_and_no_dense_spot(name: str) -> None:
    case = real_case(name)
    assert not seen([*bowel(case), *bone_lesions(case)])


def with_pouch(volume: Volume, radius_mm: float, gas_mm: float) -> Case:
    """The scan with a ball of soft tissue before the spine at the dome, gas in its front part of some thickness."""
    case = Case(volume)
    dome = coverage(case).dome_mm
    assert dome is not None
    centre = volume.grid.to_ijk(spine(case).at(dome + 12.0) + np.array([-14.0, 68.0, 0.0]))
    shape = zip(volume.grid.shape, centre, volume.grid.spacing_mm, strict=True)
    away = [(np.arange(n) - at) * step for n, at, step in shape]
    i, j, k = away[0][:, None, None], away[1][None, :, None], away[2][None, None, :]
    out = volume.hu.copy(order="F")
    far = np.sqrt(i**2 + j**2 + k**2)
    out[far <= radius_mm] = 40
    out[(far <= radius_mm - 3.0) & (j > radius_mm - 3.0 - gas_mm)] = -980
    return Case(Volume(out, volume.grid, volume.scan))


def test_a_pouch_with_gas_behind_the_heart_is_a_hernia_of_its_width(torso: Volume) -> None:
    (found,) = seen(hiatal_hernia(with_pouch(torso, 22.0, 14.0)))
    assert found.presence == "present"
    assert found.measured("diameter").value == pytest.approx(40.0, abs=10.0)  # type: ignore[union-attr]  # it is told


def test_a_pouch_without_gas_is_not_seen_and_the_search_says_that_it_would_not_be(torso: Volume) -> None:
    (search,) = looked(hiatal_hernia(with_pouch(torso, 22.0, 0.0)))
    assert search.found == 0 and search.note == "only hernias that hold gas are looked for"


def test_behind_a_usual_heart_lies_no_hernia_and_what_was_looked_for_is_said(torso: Volume) -> None:
    (search,) = hiatal_hernia(Case(torso))
    assert isinstance(search, Search) and search.found == 0 and "only hernias that hold gas" in search.note
