"""Stones are looked for where a kidney is set apart by fat, and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scans import real_case
from vlm.anatomy.engines.registry import engines
from vlm.anatomy.kidneys import kidneys
from vlm.anatomy.structures import use
from vlm.ct.volume import Point, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.chest import chest
from vlm.tools.stones import stones

ABDOMEN = "acrin-flt-breast-001-day4-abdomen"  # no contrast, both kidneys in fat, no stone


def seen(evidence: list[Evidence]) -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation)]


def searches(evidence: list[Evidence], finding: str = "kidney_stone") -> dict[str | None, Search]:
    return {e.side: e for e in evidence if isinstance(e, Search) and e.finding == finding}


def by_rules(case: Case) -> Case:
    """The case with no kidney but one that fat sets apart."""
    use(case, engines()["rules"])
    return case


def with_ball(volume: Volume, centre_mm: Point, diameter_mm: float, hu: int) -> Volume:
    """The scan with a ball of one density."""
    ijk = volume.grid.to_ijk(centre_mm)
    steps = volume.grid.spacing_mm
    x, y, z = ((np.arange(volume.hu.shape[n]) - ijk[n]) * steps[n] for n in range(3))
    away = x[:, None, None] ** 2 + y[None, :, None] ** 2 + z[None, None, :] ** 2
    out = volume.hu.copy(order="F")
    out[away <= (diameter_mm / 2) ** 2] = hu
    return Volume(out, volume.grid, volume.scan)


def test_a_chest_without_kidneys_has_no_place_to_look() -> None:
    case = by_rules(Case(chest(spacing_mm=(2.0, 2.0, 3.0), seed=3).volume))
    assert kidneys(case) == {"right": None, "left": None}
    evidence = stones(case)
    assert not seen(evidence)
    assert not any(search.looked for search in searches(evidence).values())


@pytest.mark.realct
def test_a_stone_in_a_real_kidney_is_found_on_its_side() -> None:
    case = real_case(ABDOMEN)
    mask = kidneys(case)["left"]
    assert mask is not None and 80.0 < mask.volume_ml < 250.0
    assert not seen(stones(Case(case.volume)))
    evidence = stones(Case(with_ball(case.volume, mask.centre_mm, 8.0, 700)))
    (found,) = seen(evidence)
    assert found.side == "left" and found.presence == "present" and searches(evidence)["left"].found == 1
    size = found.measured("diameter")
    assert size is not None and size.value == pytest.approx(8.0, abs=2.0)


@pytest.mark.realct
@pytest.mark.parametrize("name", ["cptac-pda-00189", "acrin-nsclc-042"])
def test_contrast_and_kidneys_without_fat_are_not_judged(name: str) -> None:
    evidence = stones(by_rules(Case(real_case(name).volume)))
    assert not seen(evidence)
    assert not any(search.looked and search.covered > 0 for search in searches(evidence).values())


@pytest.mark.realct
def test_noise_makes_no_stones_and_hides_none_that_are_sure() -> None:
    volume = real_case("totalseg-abdomen-3mm").volume  # voxels of 3 mm: one of them may be a stone
    rng = np.random.default_rng(0)
    noisy = (volume.hu + rng.normal(0, 80, volume.hu.shape)).astype(np.int16)
    evidence = stones(Case(Volume(np.asfortranarray(noisy), volume.grid, volume.scan)))
    assert sum(e.presence == "uncertain" for e in seen(evidence)) <= 4  # the quiet scan has four
    assert [e.side for e in seen(evidence) if e.presence == "present"].count("left") == 3  # as in the quiet scan
    assert all("noise" in search.failed for search in searches(evidence).values())


def test_more_dense_spots_than_stones_deny_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlm.ct.volume import Grid, Mask, Scan
    from vlm.tools import stones as tool

    grid = Grid((60, 60, 20), np.diag([1.0, 1.0, 2.0, 1.0]))
    hu = np.full(grid.shape, 35, dtype=np.int16, order="F")
    for n in range(25):  # excreted contrast in the calyces
        hu[10 + 8 * (n % 5) :, 10 + 8 * (n // 5), 10][:4] = 600
        hu[10 + 8 * (n % 5) :, 11 + 8 * (n // 5), 10][:4] = 600
    whole = np.zeros(grid.shape, dtype=bool)
    whole[5:55, 5:55, 5:15] = True
    case = Case(Volume(hu, grid, Scan(source="phantom")))
    monkeypatch.setattr(tool, "kidneys", lambda _: dict.fromkeys(("right", "left"), Mask("kidney", whole, grid)))
    monkeypatch.setattr(tool, "phase", lambda _: "none")
    monkeypatch.setattr(
        tool, "coverage", lambda _: type("Whole", (), {"of": staticmethod(lambda *_: 1.0)})
    )  # all of it in the scan
    evidence = stones(case)
    assert not seen(evidence)
    assert all("noise" in search.failed and not search.covered for search in searches(evidence).values())
