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
from vlm.evidence import Case
from vlm.tools.bladder import bladder
from vlm.tools.bladder_wall import wall_mm

GRID = Grid((120, 120, 40), np.diag([1.0, 1.0, 3.0, 1.0]))
NUMBER = 21


def filled(radius_mm: float, wall_mm: float, *, urine: float = 5.0, wall: float = 45.0) -> tuple[Case, Mask]:
    """A ball of urine in its wall within fat, blurred and noisy as a scan is, and the outline of both."""
    x, y, z = np.indices(GRID.shape) * np.array([1.0, 1.0, 3.0])[:, None, None, None]
    away = np.sqrt((x - 60) ** 2 + (y - 60) ** 2 + (z - 60) ** 2)
    hu = np.where(away < radius_mm, urine, np.where(away < radius_mm + wall_mm, wall, -100.0))
    hu = ndimage.gaussian_filter(hu, (0.8, 0.8, 0.3)) + np.random.default_rng(0).normal(0, 12, GRID.shape)
    outline = Mask("urinary_bladder", away < radius_mm + wall_mm, GRID)
    return Case(Volume(np.asfortranarray(hu.astype(np.int16)), GRID, Scan(source="phantom"))), outline


@pytest.mark.parametrize("true_mm", [2.0, 3.0, 6.0, 9.0, 14.0])
@pytest.mark.parametrize("wall", [45.0, 100.0], ids=["plain", "enhanced"])
def test_the_wall_is_measured_within_2_mm(true_mm: float, wall: float) -> None:
    case, outline = filled(38.0, true_mm, wall=wall)
    assert wall_mm(case, outline) == pytest.approx(true_mm, abs=2.0)


def test_the_wall_of_a_bladder_that_is_not_filled_is_not_judged() -> None:
    assert wall_mm(*filled(20.0, 8.0)) == "not_filled"


def test_excreted_contrast_hides_the_wall() -> None:
    assert wall_mm(*filled(38.0, 8.0, urine=300.0)) == "contrast"


def outlined(radius_mm: float, wall: float) -> Case:
    case, outline = filled(radius_mm, wall)
    use(case, given(LabelMap(outline.voxels.astype(np.uint8) * NUMBER, GRID, {NUMBER: "urinary_bladder"})))
    return case


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
def test_a_full_bladder_is_told_without_an_outline_and_an_empty_one_is_not() -> None:
    (full,) = seen(bladder(real_case("totalseg-abdomen-3mm")), "bladder_distension")
    outline = Case(real_case("totalseg-abdomen-3mm").volume)
    use(outline, from_file(SHARED / "ct" / "totalseg-abdomen-3mm" / "organs.nii.gz"))
    (true,) = seen(bladder(outline), "bladder_distension")
    ml = [one.measured("volume").value for one in (full, true)]  # type: ignore[union-attr]
    assert ml[0] == pytest.approx(ml[1], rel=0.1)
    evidence = bladder(real_case("acrin-flt-breast-001-day4-abdomen"))
    assert not seen(evidence, "bladder_distension")
    assert not any(search.looked for search in evidence if hasattr(search, "looked"))
