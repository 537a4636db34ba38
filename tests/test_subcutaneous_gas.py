"""Gas below the skin of the chest: streaks are told on their side; a pneumothorax, a pacemaker, real skin are not."""

from __future__ import annotations

import functools

import pytest

from tests.scans import real_case
from vlm.ct.volume import Grid, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.body import Body, body, numbered
from vlm.tools.subcutaneous_gas import subcutaneous_gas


@functools.cache
def person(*words: str) -> Body:
    return body(seed=32_004, phase="plain", region="chest", spacing_mm=(1.5, 1.5, 2.0), findings=numbered(list(words)))


def seen(evidence: list[Evidence]) -> list[Observation]:
    return [each for each in evidence if isinstance(each, Observation)]


@pytest.mark.parametrize(("words", "sides"), [
    (("subcutaneous emphysema right 60 ml",), ["right"]),
    (("subcutaneous emphysema left 60 ml",), ["left"]),
    ((), []),
    (("right pneumothorax 400 ml", "pacemaker"), []),
])  # fmt: skip
def test_streaks_are_told_on_their_side_and_nothing_else_is(words: tuple[str, ...], sides: list[str]) -> None:
    evidence = subcutaneous_gas(Case(person(*words).volume))
    assert [(each.side, each.presence) for each in seen(evidence)] == [(side, "present") for side in sides]
    (search,) = [each for each in evidence if isinstance(each, Search)]
    assert search.site == "chest_wall" and search.covered > 0.5 and search.found == len(sides)


def test_without_a_lung_nobody_looked() -> None:
    whole = body(seed=32_004, phase="plain", region="abdomen", spacing_mm=(3.0, 3.0, 3.0)).volume
    low = whole.hu[:, :, : whole.grid.shape[2] // 3]
    pelvis = Volume(low, Grid(low.shape, whole.grid.affine), whole.scan)
    (search,) = subcutaneous_gas(Case(pelvis))
    assert isinstance(search, Search) and not search.looked and "not_covered" in search.failed


@pytest.mark.realct
@pytest.mark.parametrize(
    "name", ["nlst-101287", "lidc-idri-0314", "cmb-crc-01068", "rider-pilot-0117", "totalseg-abdomen-3mm",
             "acrin-nsclc-042", "acrin-flt-breast-001", "acrin-flt-breast-013", "acrin-flt-breast-001-day4-abdomen"]
)  # fmt: skip
def test_real_scans_without_it_hold_none(name: str) -> None:
    assert not seen(subcutaneous_gas(real_case(name)))
