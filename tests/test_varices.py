"""Varices are possible where strands as bright as blood run in an outlined oesophagus, and never denied."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bodies import outlined, person
from tests.test_organ_tools import searched
from vlm.anatomy.engines.labels import given
from vlm.anatomy.engines.protocol import LabelMap
from vlm.anatomy.structures import use
from vlm.ct.volume import Grid, Volume
from vlm.evidence import Case, Observation
from vlm.language.denials import usable
from vlm.phantom.body import NAME, NUMBER, Body, body
from vlm.phantom.body.findings.mediastinum import VEINS
from vlm.tools.own_voxels import Bools, Part
from vlm.tools.varices import strands, varices

FINE_MM = (1.3, 1.3, 3.0)
SHAPE, STEPS, BLOOD_HU = (60, 60, 50), (0.8, 0.8, 3.0), 160.0


def gullet(*strand: tuple[float, float, float], hu: float = 155.0, height_mm: float = 60.0) -> Part:
    """An oesophagus of 18 mm with a wall of 60 HU, some gas within, and strands (x, y, diameter; mm) along it."""
    grid = Grid(SHAPE, np.diag([*STEPS, 1.0]))
    x, y, z = np.meshgrid(*((np.arange(n) - n / 2) * s for n, s in zip(SHAPE, STEPS, strict=True)), indexing="ij")
    outline = np.hypot(x, y) < 9
    values = np.where(outline, 60.0, -90.0)
    values[(np.hypot(x, y) < 2) & (np.sin(z / 9) > 0)] = -900.0
    for at_x, at_y, across in strand:
        values[(np.hypot(x - at_x, y - at_y) < across / 2) & (np.abs(z) < height_mm / 2)] = hu
    values += np.random.default_rng(0).normal(0, 12, values.shape)
    return Part(voxels=outline.transpose(2, 1, 0), hu=values.transpose(2, 1, 0).astype(np.int16), grid=grid)


def found(part: Part, besides: Bools | None = None) -> Bools | None:
    return strands(part, np.zeros_like(part.voxels) if besides is None else besides, BLOOD_HU)


def test_a_bright_strand_in_the_wall_is_found_and_thin_short_and_dull_ones_are_not() -> None:
    seen_ = found(gullet((5.0, 0.0, 6.0)))
    assert seen_ is not None and seen_.any()
    for part in (
        gullet(),
        gullet((5.0, 0.0, 2.0)),
        gullet((5.0, 0.0, 6.0), height_mm=5.0),
        gullet((5.0, 0.0, 6.0), hu=90),
    ):
        nothing = found(part)
        assert nothing is not None and not nothing.any()


def test_veins_that_fill_half_of_the_oesophagus_are_not_taken_for_its_wall() -> None:
    part = gullet((5.0, 0.0, 8.0), (-4.0, 3.5, 8.0), (-3.0, -4.5, 8.0), height_mm=200.0, hu=125.0)
    full = strands(part, np.zeros_like(part.voxels), 125.0)
    assert full is not None and full.any()


def test_what_was_swallowed_and_blood_as_dull_as_the_wall_cannot_be_judged() -> None:
    assert found(gullet((0.0, 0.0, 8.0), hu=400)) is None
    part = gullet()
    assert strands(part, np.zeros_like(part.voxels), 90.0) is None


def test_what_borders_on_a_great_vessel_is_its_blur() -> None:
    part = gullet((5.0, 0.0, 6.0))
    vessel = np.zeros_like(part.voxels)
    vessel[:, :, SHAPE[0] // 2 + 2 :] = True  # the side on which the strand lies
    nothing = found(part, vessel)
    assert nothing is not None and not nothing.any()


@pytest.fixture(scope="module")
def enhanced() -> Body:
    return body(seed=1, phase="portal", region="abdomen", spacing_mm=FINE_MM)


@pytest.fixture(scope="module")
def ill() -> Body:
    return body(seed=1, phase="portal", region="abdomen", spacing_mm=FINE_MM, findings=["oesophageal varices 6 mm"])


def test_drawn_varices_are_bright_veins_of_the_asked_width_within_the_lower_oesophagus(ill: Body) -> None:
    (truth,) = [t for t in ill.truth if t.finding == "varices"]
    mask = ill.findings[truth.mask]
    assert (truth.quantity, truth.value, truth.site, truth.visible) == ("diameter", 6.0, "oesophagus", True)
    assert {NAME[int(n)] for n in np.unique(ill.labels[mask.voxels])} == {"esophagus"}
    high_mm = np.count_nonzero(mask.voxels.any(axis=(0, 1))) * FINE_MM[2]
    assert mask.volume_ml == pytest.approx(VEINS * np.pi / 4 * 6.0**2 * high_mm / 1000, rel=0.3)  # they wind
    wall = (ill.labels == NUMBER["esophagus"]) & ~mask.voxels
    assert np.median(ill.volume.hu[mask.voxels]) > np.median(ill.volume.hu[wall]) + 40


def test_drawn_varices_are_told_with_their_width_and_plain_scans_do_not_show_them(ill: Body) -> None:
    (one,) = told(outlined(ill))
    assert one.measured("diameter").value == pytest.approx(6.0, abs=2.0)  # type: ignore[union-attr]
    assert not person(1, "plain", "oesophageal varices 6 mm").truth[0].visible


def with_strand(drawn: Body, hu: int) -> Case:
    """The body with two strands of 6 mm painted into its oesophagus, and its own outlines."""
    number = next(n for n, name in NAME.items() if name == "esophagus")
    mask, values = drawn.labels == number, drawn.volume.hu.copy(order="F")
    steps = drawn.volume.grid.spacing_mm
    for k in np.flatnonzero(mask.any(axis=(0, 1))):
        i, j = np.argwhere(mask[:, :, k]).mean(axis=0)
        x, y = np.indices(mask.shape[:2])
        near = np.hypot((x - i) * steps[0], (y - j) * steps[1]) < 3.5
        values[:, :, k][near & mask[:, :, k]] = hu
    volume = Volume(values, drawn.volume.grid, drawn.volume.scan)
    case = Case(volume)
    names = {n: name for n, name in NAME.items() if name in drawn.names}
    use(case, given(LabelMap(drawn.labels, volume.grid, names)))
    return case


def told(case: Case) -> list[Observation]:
    return [e for e in varices(case) if isinstance(e, Observation)]


def test_varices_of_an_outlined_oesophagus_are_possible_and_none_is_denied(enhanced: Body) -> None:
    (one,) = told(with_strand(enhanced, 150))
    assert one.presence == "uncertain" and one.site == "oesophagus"
    assert not told(outlined(enhanced))
    assert not any(usable(look) for look in searched(varices(outlined(enhanced)), "varices"))


def test_without_contrast_or_an_outline_the_reason_is_told(enhanced: Body) -> None:
    (plain,) = searched(varices(outlined(person(1, "plain"))), "varices")
    assert plain.failed[0] == "no_contrast" and not plain.looked
    (unseen,) = searched(varices(Case(enhanced.volume)), "varices")
    assert "poor_outline" in unseen.failed and not unseen.looked
