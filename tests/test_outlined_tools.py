"""Glands, ducts, appendix and uterus are judged where a user's expert outlines them; ducts also in a bright liver."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.bodies import outlined, person
from tests.conftest import SHARED
from tests.scans import real_case
from tests.test_organ_tools import BLOCKED, MAN, searched, seen
from vlm.anatomy.engines.labels import from_file
from vlm.anatomy.structures import use
from vlm.ct.volume import Grid
from vlm.evidence import Case, Measured, Observation
from vlm.language.denials import usable
from vlm.tools.adrenals import adrenals
from vlm.tools.appendix import appendix
from vlm.tools.ducts import ducts
from vlm.tools.liver_ducts import tubular
from vlm.tools.own_voxels import widest_mm
from vlm.tools.uterus import uterus

PARTS = {
    "adrenal_lesion_1": "adrenal_gland_left", "biliary_dilatation_1": "common_bile_duct",
    "pancreatic_duct_dilatation_1": "pancreatic_duct", "appendicitis_1": "appendix",
}  # fmt: skip
LOOKED_FOR = ("adrenal_lesion", "biliary_dilatation", "pancreatic_duct_dilatation", "appendicitis")


@pytest.fixture(scope="module")
def sick() -> Case:
    return outlined(person(MAN, "portal", *BLOCKED), parts=PARTS)


@pytest.fixture(scope="module")
def healthy() -> Case:
    return outlined(person(1, "plain"))


def test_a_nodule_of_an_adrenal_gland_is_measured_on_its_side(sick: Case) -> None:
    (nodule,) = [e for e in adrenals(sick) if isinstance(e, Observation)]
    assert nodule.side == "left" and nodule.region is not None
    assert nodule.measured("diameter").value == pytest.approx(20.0, abs=4.0)  # type: ignore[union-attr]


def test_wide_ducts_are_measured(sick: Case) -> None:
    evidence = ducts(sick)
    (duct,) = seen(evidence, "pancreatic_duct_dilatation")
    assert duct.measured("diameter").value == pytest.approx(6.0, abs=2.0)  # type: ignore[union-attr]
    (bile,) = [e for e in evidence if isinstance(e, Observation) and e.finding == "biliary_dilatation"]
    assert bile.measured("diameter").value == pytest.approx(11.0, abs=3.0)  # type: ignore[union-attr]


def test_wide_ducts_within_a_bright_liver_are_told_and_a_narrow_liver_is_not_denied() -> None:
    wide = ducts(outlined(person(MAN, "portal", "biliary dilatation 18 mm")))
    (tubes,) = seen(wide, "biliary_dilatation")
    assert tubes.measured("diameter") is None  # a width within the liver would pass for that of the common duct
    assert tubes.region is not None and tubes.note == "ducts within the liver"
    for case in (outlined(person(MAN, "portal")), outlined(person(MAN, "plain", "biliary dilatation 18 mm"))):
        evidence = ducts(case)
        assert not [e for e in evidence if isinstance(e, Observation) and e.finding == "biliary_dilatation"]
        assert not any(usable(look) for look in searched(evidence, "biliary_dilatation"))


def test_a_line_is_tubular_and_a_sheet_and_a_lump_are_not() -> None:
    z, y, x = np.indices((20, 20, 40)).astype(float)
    line, sheet, lump = (abs(y - 10) < 3) & (abs(z - 10) < 3), abs(z - 10) < 2, (y - 10) ** 2 + (x - 20) ** 2 < 81
    shares = [tubular(np.argwhere(mask) * 1.0) for mask in (line, sheet, lump)]
    assert shares[0] > 0.8 and max(shares[1:]) < 0.2


def test_a_wide_appendix_is_possibly_inflamed(sick: Case) -> None:
    (wide,) = [e for e in appendix(sick) if isinstance(e, Observation)]
    assert wide.presence == "uncertain"
    assert wide.measured("diameter").value == pytest.approx(12.0, abs=2.5)  # type: ignore[union-attr]


def test_normal_glands_have_no_nodule_and_none_is_denied(healthy: Case) -> None:
    evidence = adrenals(healthy)
    assert not [e for e in evidence if isinstance(e, Observation)]
    looks = searched(evidence, "adrenal_lesion")
    assert {look.side for look in looks} == {"left", "right"}
    assert all(look.looked and not usable(look) for look in looks)


def test_a_uterus_is_measured_and_a_man_has_none(healthy: Case, sick: Case) -> None:
    (size,) = uterus(healthy)
    assert isinstance(size, Measured) and 40.0 < size.measured("diameter_3d").value < 130.0  # type: ignore[union-attr]
    assert not uterus(sick)


def test_what_is_not_outlined_is_not_judged(healthy: Case) -> None:
    case = outlined(person(1, "plain"), "adrenal_gland_left", "adrenal_gland_right", "pancreas", "uterus")
    evidence = [*adrenals(case), *ducts(case), *appendix(case)]
    for finding in LOOKED_FOR:
        assert searched(evidence, finding)
        assert all(not s.looked and s.failed[0] == "poor_outline" for s in searched(evidence, finding))
    assert not uterus(case)
    (plain,) = searched(ducts(healthy), "pancreatic_duct_dilatation")
    assert "no_contrast" in plain.failed and not usable(plain)


@given(radius=st.floats(4.0, 15.0), step=st.floats(0.7, 1.5))
def test_the_widest_ball_of_a_ball_is_its_diameter(radius: float, step: float) -> None:
    z, y, x = np.indices((45, 45, 45)) * step - 22 * step
    ball = z**2 + y**2 + x**2 <= radius**2
    assert widest_mm(ball, Grid((45, 45, 45), np.diag([step, step, step, 1.0]))) == pytest.approx(
        2 * radius, abs=1.2 * step
    )


@pytest.mark.realct
@pytest.mark.parametrize("name", ["totalseg-abdomen-3mm", "totalseg-dicom-j2k"])
def test_no_real_gland_or_duct_here_is_called_ill(name: str) -> None:
    case = Case(real_case(name).volume)
    use(case, from_file(SHARED / "ct" / name / "organs.nii.gz"))
    assert not [e for e in (*adrenals(case), *ducts(case), *appendix(case)) if isinstance(e, Observation)]
