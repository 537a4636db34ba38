"""The bladder: its filling, its wall, and what is not told of one that nobody outlined."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.conftest import SHARED
from tests.scans import real_case
from tests.test_organ_tools import searched, seen
from vlm.anatomy.engines.labels import from_file, given
from vlm.anatomy.engines.protocol import LabelMap
from vlm.anatomy.structures import use
from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.evidence import Case, Observation
from vlm.tools.bladder import bladder
from vlm.tools.bladder_wall import Wall, wall_of

GRID = Grid((120, 120, 40), np.diag([1.0, 1.0, 3.0, 1.0]))
NUMBER = 21


def filled(
    radius_mm: float, wall_mm: float, *, urine: float = 5.0, wall: float = 45.0, around: tuple[float, float] = (0, 0),
    thick: tuple[float, float] = (0, 0), loose_mm: float = 0.0,
) -> tuple[Case, Mask]:  # fmt: skip
    """A ball of urine in its wall within fat, blurred and noisy as a scan is, and the outline of both.

    ``around``: mm and HU of a shell between wall and fat; ``thick``: share of the circumference and mm of the wall
    there; ``loose_mm``: by which the outline goes on outside of the wall.
    """
    x, y, z = np.indices(GRID.shape) * np.array([1.0, 1.0, 3.0])[:, None, None, None]
    away = np.sqrt((x - 60) ** 2 + (y - 60) ** 2 + (z - 60) ** 2)
    turn = np.arctan2(y - 60, x - 60) / (2 * np.pi) + 0.5
    outer = radius_mm + np.where(turn < thick[0], thick[1], wall_mm)
    hu = np.select([away < radius_mm, away < outer, away < outer + around[0]], [urine, wall, around[1]], -100.0)
    hu = ndimage.gaussian_filter(hu, (0.8, 0.8, 0.3)) + np.random.default_rng(0).normal(0, 12, GRID.shape)
    outline = Mask("urinary_bladder", away < outer + loose_mm, GRID)
    return Case(Volume(np.asfortranarray(hu.astype(np.int16)), GRID, Scan(source="phantom"))), outline


@pytest.mark.parametrize("true_mm", [2.0, 3.0, 6.0, 9.0, 14.0])
@pytest.mark.parametrize("wall", [45.0, 100.0], ids=["plain", "enhanced"])
def test_the_wall_is_measured_within_2_mm(true_mm: float, wall: float) -> None:
    case, outline = filled(38.0, true_mm, wall=wall)
    seen = wall_of(case, outline)
    assert isinstance(seen, Wall) and seen.speaks > 0.8
    assert seen.thin_mm == pytest.approx(true_mm, abs=2.0)


def test_the_wall_of_a_bladder_that_is_not_filled_is_not_judged() -> None:
    assert wall_of(*filled(20.0, 8.0)) == "not_filled"


def test_excreted_contrast_hides_the_wall() -> None:
    assert wall_of(*filled(38.0, 8.0, urine=300.0)) == "contrast"


@pytest.mark.parametrize(
    ("around", "loose_mm"),
    [((10.0, 55.0), 0.0), ((12.0, 8.0), 0.0), ((12.0, 8.0), 12.0)],
    ids=["muscle", "free fluid", "free fluid within the outline"],
)
def test_what_leans_against_a_thin_wall_is_no_wall(around: tuple[float, float], loose_mm: float) -> None:
    assert wall_of(*filled(36.0, 3.0, around=around, loose_mm=loose_mm)) == "poor_outline"


def test_noise_that_hides_the_border_of_urine_is_told() -> None:
    case, outline = filled(38.0, 6.0)
    hu = case.volume.hu + np.random.default_rng(1).normal(0, 45, GRID.shape)
    noisy = Case(Volume(np.asfortranarray(hu.astype(np.int16)), GRID, Scan(source="phantom")))
    assert wall_of(noisy, outline) == "noise"


def test_a_box_without_fat_or_an_outline_off_the_urine_is_not_judged() -> None:
    case, outline = filled(38.0, 3.0)
    soft = Case(Volume(np.full_like(case.volume.hu, 40), GRID, Scan(source="phantom")))
    fat = Case(Volume(np.full_like(case.volume.hu, -100), GRID, Scan(source="phantom")))
    assert wall_of(soft, outline) == "poor_outline"
    assert wall_of(fat, outline) == "poor_outline"


def outlined(radius_mm: float, wall: float, *, thick: tuple[float, float] = (0, 0)) -> Case:
    case, outline = filled(radius_mm, wall, thick=thick)
    use(case, given(LabelMap(outline.voxels.astype(np.uint8) * NUMBER, GRID, {NUMBER: "urinary_bladder"})))
    return case


@pytest.mark.parametrize(
    ("wall", "thick"), [(2.0, (0.65, 15.0)), (5.0, (0.0, 0.0))], ids=["thick in two thirds", "at the limit"]
)
def test_a_wall_that_is_thick_in_parts_or_at_the_limit_is_not_denied_to_be_thick(
    wall: float, thick: tuple[float, float]
) -> None:
    evidence = bladder(outlined(36.0, wall, thick=thick))
    (look,) = searched(evidence, "bladder_wall_thickening")
    assert not look.looked and look.failed == ("not_even",)


def test_a_thick_wall_is_told_and_one_of_normal_width_denied_with_its_measure() -> None:
    (thick,) = seen(bladder(outlined(38.0, 9.0)), "bladder_wall_thickening")
    assert thick.measured("thickness").value == pytest.approx(9.0, abs=2.0)  # type: ignore[union-attr]
    evidence = bladder(outlined(38.0, 2.5))
    (look,) = searched(evidence, "bladder_wall_thickening")
    assert look.looked and not look.found and not look.failed and look.measured("thickness") is not None
    assert not seen(evidence, "bladder_wall_thickening") and not seen(evidence, "bladder_distension")


def test_a_bladder_of_400_ml_is_distended() -> None:
    (full,) = seen(bladder(outlined(46.0, 2.0)), "bladder_distension")
    assert full.measured("volume").value == pytest.approx(463.0, rel=0.1)  # type: ignore[union-attr]


def test_a_wall_that_was_not_measured_is_not_assessed() -> None:
    (look,) = searched(bladder(outlined(20.0, 8.0)), "bladder_wall_thickening")
    assert "not_filled" in look.failed and not look.looked


@pytest.mark.realct
def test_a_full_bladder_is_possible_without_an_outline_and_an_empty_one_is_not() -> None:
    evidence = bladder(real_case("totalseg-abdomen-3mm"))
    (full,) = [e for e in evidence if isinstance(e, Observation) and e.finding == "bladder_distension"]
    assert full.presence == "uncertain" and "cyst" in full.note  # nobody outlined it
    outline = Case(real_case("totalseg-abdomen-3mm").volume)
    use(outline, from_file(SHARED / "ct" / "totalseg-abdomen-3mm" / "organs.nii.gz"))
    (true,) = seen(bladder(outline), "bladder_distension")
    ml = [one.measured("volume").value for one in (full, true)]  # type: ignore[union-attr]
    assert ml[0] == pytest.approx(ml[1], rel=0.1)
    evidence = bladder(real_case("acrin-flt-breast-001-day4-abdomen"))
    assert not seen(evidence, "bladder_distension")
    assert not any(search.looked for search in evidence if hasattr(search, "looked"))
