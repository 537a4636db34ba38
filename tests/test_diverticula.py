"""Diverticulosis is told from several pouches of gas in the fat beside an outlined colon, and from nothing else."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from tests.bodies import outlined, person
from tests.conftest import SHARED
from tests.scans import real_case
from tests.test_compose import FACTS
from vlm.anatomy.engines.labels import from_file, given
from vlm.anatomy.engines.protocol import LabelMap
from vlm.anatomy.structures import use
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case, Evidence, Ledger, Observation, Search
from vlm.grounding import Context
from vlm.language.compose import compose
from vlm.language.denials import usable
from vlm.language.drafting import checked
from vlm.phantom.plans import plan
from vlm.phantom.requests import ASKED_ALONE
from vlm.tools.diverticula import diverticula

SHAPE, LUMEN_MM = (110, 110, 60), 16.0
Ball = tuple[float, float, float, float]  # from the middle: x, y, z, diameter; mm


def ring(count: int, away_mm: float, mm: float) -> list[Ball]:
    """Balls round the colon at different heights."""
    angles = 2 * np.pi * np.arange(count) / count
    return [(away_mm * np.cos(a), away_mm * np.sin(a), 8.0 * (n % 3 - 1), mm) for n, a in enumerate(angles)]


def evidence(
    balls: Iterable[Ball] = (), *, ball_hu: float = -950.0, fat_hu: float = -100.0, step_z: float = 2.0,
    taken_in: bool = False, lumen_mm: float = LUMEN_MM,
) -> list[Evidence]:  # fmt: skip
    """What is told of a colon full of gas with a wall of 2 mm in fat, and balls beside it; without a lumen, in it."""
    grid = Grid(SHAPE, np.diag([1.0, 1.0, step_z, 1.0]))
    steps = (1.0, 1.0, step_z)
    x, y, z = np.meshgrid(*((np.arange(n) - n / 2) * s for n, s in zip(SHAPE, steps, strict=True)), indexing="ij")
    hu = np.where(np.hypot(x, y) < 50, fat_hu, -1000.0)
    away = np.hypot(x, y) + 0.8 * np.sin(z / 5)  # haustra
    hu[away < lumen_mm + 2] = 35.0
    hu[away < lumen_mm] = -980.0
    colon = away < lumen_mm + 2
    for bx, by, bz, mm in balls:
        r = np.sqrt((x - bx) ** 2 + (y - by) ** 2 + (z - bz) ** 2)
        hu = np.where((r < mm / 2 + 1) & (r >= mm / 2) & (hu < 0) & (hu > -500), 30.0, hu)
        hu = np.where(r < mm / 2, ball_hu, hu)
        colon |= taken_in & (r < mm / 2 + 1)
    hu += np.random.default_rng(0).normal(0, 12, hu.shape)
    case = Case(Volume(np.asfortranarray(hu.astype(np.int16)), grid, Scan(source="phantom")))
    use(case, given(LabelMap(colon.astype(np.uint8), grid, {1: "colon"})))
    return diverticula(case)


def presence(told: list[Evidence]) -> str | None:
    seen = [e for e in told if isinstance(e, Observation)]
    return seen[0].presence if seen else None


def search(told: list[Evidence]) -> Search:
    (only,) = [e for e in told if isinstance(e, Search)]
    return only


@pytest.mark.parametrize("taken_in", [False, True])
@pytest.mark.parametrize("mm", [5.0, 8.0])
def test_many_pouches_are_diverticulosis_whether_the_outline_takes_them_in_or_not(mm: float, taken_in: bool) -> None:
    told = evidence(ring(7, LUMEN_MM + 2.5 + mm / 2, mm), taken_in=taken_in)
    assert presence(told) == "present"
    assert next(e for e in told if isinstance(e, Observation)).measured("diameter").value == pytest.approx(mm, abs=2.0)  # type: ignore[union-attr]


def test_three_pouches_are_possible_and_two_are_nothing() -> None:
    assert presence(evidence(ring(3, LUMEN_MM + 6.0, 7.0))) == "uncertain"
    assert presence(evidence(ring(2, LUMEN_MM + 6.0, 7.0))) is None


def test_no_pouch_is_seen_on_a_smooth_colon_nor_denied() -> None:
    told = evidence()
    assert presence(told) is None and not usable(search(told))


@pytest.mark.parametrize(
    ("balls", "more"),
    [
        (ring(7, LUMEN_MM + 6.0, 7.0), {"ball_hu": 40.0}),  # nodes or vessels
        (ring(7, LUMEN_MM + 6.0, 7.0), {"fat_hu": 40.0}),  # bubbles in a wall or a collection
        (ring(7, LUMEN_MM + 18.0, 7.0), {}),  # away from the colon
        (ring(4, LUMEN_MM + 12.0, 16.0), {}),  # another loop
    ],
)
def test_what_is_no_pouch_of_gas_in_fat_at_the_wall_is_left_alone(balls: list[Ball], more: dict[str, float]) -> None:
    assert presence(evidence(balls, **more)) is None  # type: ignore[arg-type]


def test_thick_slices_wide_voxels_and_a_colon_that_nobody_outlines_are_not_assessed() -> None:
    assert search(evidence(ring(7, LUMEN_MM + 6.0, 7.0), step_z=5.0)).failed == ("thick_slices",)
    drawn = person(1, "plain", "diverticulosis 8 mm")
    assert search(diverticula(outlined(drawn))).failed == ("coarse_pixels",)
    assert search(diverticula(outlined(drawn, "colon", "rectum"))).failed == ("poor_outline",)


def test_pouches_that_were_drawn_lie_on_the_left_and_change_no_cohort() -> None:
    drawn = person(1, "plain", "diverticulosis 8 mm")
    (truth,) = [t for t in drawn.truth if t.finding == "diverticulosis"]
    mask = drawn.findings[truth.mask]
    assert mask.centre_mm[0] < 0 and float(np.median(drawn.volume.hu[mask.voxels])) < -500  # left, gas
    words = [plan("graded", seed, known=ASKED_ALONE | {"liver_cyst", "lung_nodule", "ascites"}) for seed in range(20)]
    assert not any("divert" in word or "varic" in word for each in words for word in each.findings)


def told_in_a_report(told: list[Evidence]) -> list[tuple[str, str]]:
    ledger = Ledger()
    for record in told:
        ledger.add(record)
    sentences = checked(compose(ledger, FACTS), ledger, context=Context(), fill=lambda _: [])
    return [(s.section, s.text) for s in sentences if "iverticul" in s.text]


def test_a_report_tells_it_as_it_is_known() -> None:
    assert ("abdomen", "Diverticulosis of the colon.") in told_in_a_report(evidence(ring(7, LUMEN_MM + 6.0, 7.0)))
    assert [section for section, _ in told_in_a_report(evidence(ring(3, LUMEN_MM + 6.0, 7.0)))] == ["to_review"]
    assert [section for section, _ in told_in_a_report(evidence())] == ["not_assessed"]


def test_bubbles_in_a_collapsed_colon_are_its_own() -> None:
    assert presence(evidence([(0.0, 0.0, -48.0 + 16.0 * n, 6.0) for n in range(7)], lumen_mm=0.5)) is None


@pytest.mark.realct
def test_no_pouch_is_seen_on_a_real_colon_without_any() -> None:
    """The one scan here whose voxels are fine enough: 40 mm of a colon."""
    case = Case(real_case("totalseg-dicom-j2k").volume)
    use(case, from_file(SHARED / "ct" / "totalseg-dicom-j2k" / "organs.nii.gz"))
    told = diverticula(case)
    assert presence(told) is None and not {"coarse_pixels", "thick_slices"} & set(search(told).failed)
