"""Airless lung: plates, and the layer under fluid, told once; fissures, tubes, fat, walls and filled lung are none."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scans import real_case
from vlm.anatomy.ball import grown
from vlm.ct.volume import Volume
from vlm.evidence import Case, Observation
from vlm.phantom.chest import chest
from vlm.tools.atelectasis import atelectasis
from vlm.tools.consolidation import consolidation
from vlm.tools.nodules import nodules
from vlm.tools.plates import plates

SPACING_MM = (2.0, 2.0, 2.0)
CENTRE_MM = (88.0, 0.0, 36.0)  # in the right lung, away from its hilum


def with_disc(
    *,
    thick_mm: float,
    wide_mm: tuple[float, float],
    hu: float,
    tilt: float = 0.3,
    centre_mm: tuple[float, float, float],
) -> tuple[Case, float]:
    """A clear chest with a disc of some density in its lung, and the volume of the disc, mL."""
    volume = chest(spacing_mm=SPACING_MM, seed=5).volume
    index = np.indices(volume.hu.shape).reshape(3, -1).T
    x, y, z = (volume.grid.to_mm(index) - centre_mm).T.reshape(3, *volume.hu.shape)
    inside = (x / wide_mm[0]) ** 2 + (y / wide_mm[1]) ** 2 <= 1
    inside &= np.abs(z - tilt * x) / np.hypot(1, tilt) <= thick_mm / 2
    drawn = np.where(inside & (volume.hu < -500), hu, volume.hu).astype(np.int16)
    ml = float(np.count_nonzero(drawn != volume.hu)) * volume.grid.voxel_ml
    return Case(Volume(np.asfortranarray(drawn), volume.grid, volume.scan)), ml


@pytest.mark.parametrize(("thick_mm", "radius_mm"), [(5.0, 22.0), (10.0, 30.0)])
def test_a_plate_is_found_with_its_volume_and_is_no_consolidation(thick_mm: float, radius_mm: float) -> None:
    case, ml = with_disc(thick_mm=thick_mm, wide_mm=(radius_mm, radius_mm), hu=40, centre_mm=CENTRE_MM)
    found = [e for e in atelectasis(case) if isinstance(e, Observation) and e.finding == "atelectasis"]
    assert [(e.side, e.presence, e.attributes["kind"]) for e in found] == [("right", "present", "linear")]
    volume = found[0].measured("volume")
    assert volume is not None
    assert volume.value == pytest.approx(ml, rel=0.25)
    assert not [e for e in consolidation(case) if isinstance(e, Observation) and e.finding == "consolidation"]


@pytest.mark.parametrize(
    "other",
    [
        {"thick_mm": 1.0, "wide_mm": (40.0, 40.0), "hu": 40.0},  # a fissure
        {"thick_mm": 6.0, "wide_mm": (40.0, 6.0), "hu": 40.0},  # a vessel
        {"thick_mm": 24.0, "wide_mm": (24.0, 24.0), "hu": 40.0},  # a lump
        {"thick_mm": 6.0, "wide_mm": (30.0, 30.0), "hu": -105.0},  # a fold of fat
    ],
    ids=["fissure", "vessel", "lump", "fat"],
)
def test_what_is_thinner_narrower_thicker_or_looser_is_no_plate(other: dict[str, float]) -> None:
    case, _ = with_disc(**other, centre_mm=CENTRE_MM)  # type: ignore[arg-type]  # lengths and pairs of them
    assert not plates(case)


def test_airless_lung_on_the_ribs_and_fluid_are_no_plate() -> None:
    assert not plates(Case(chest(spacing_mm=SPACING_MM, atelectasis_left_ml=90.0, effusion_right_ml=250.0).volume))


@pytest.mark.parametrize("denser_hu", [0, 35])
def test_a_layer_between_fluid_and_lung_is_airless_lung_when_it_is_denser_than_the_fluid(denser_hu: int) -> None:
    drawn = chest(spacing_mm=SPACING_MM, effusion_right_ml=500.0)
    volume, lung = drawn.volume, drawn.masks["lung_right"].voxels
    layer = drawn.masks["effusion_right"].voxels & grown(lung.T, 8.0, volume.grid).T
    hu = np.where(layer, volume.hu + denser_hu, volume.hu).astype(np.int16)
    found = [e for e in atelectasis(Case(Volume(np.asfortranarray(hu), volume.grid, volume.scan)))
             if isinstance(e, Observation) and e.finding == "atelectasis"]  # fmt: skip
    assert [(e.side, e.attributes["kind"]) for e in found] == ([("right", "passive")] if denser_hu else [])


def test_filled_lung_at_the_side_along_the_ribs_is_consolidation_and_no_mass() -> None:
    drawn = chest(spacing_mm=SPACING_MM, consolidation=(("left", "middle", 45.0),), seed=5)
    case = Case(drawn.volume)
    told = [
        e.finding for tool in (atelectasis, consolidation, nodules) for e in tool(case) if isinstance(e, Observation)
    ]
    assert [finding for finding in told if finding != "lung_nodule"] == ["consolidation"]


@pytest.mark.realct
@pytest.mark.parametrize(
    "name",
    [
        "cmb-crc-01068",
        "nlst-101287",
        "acrin-nsclc-042",
        "pyradiomics-lung2",
        "elastix-right-lung",
        "acrin-flt-breast-013",
    ],
)
def test_real_lungs_without_a_plate_show_none(name: str) -> None:
    assert not plates(real_case(name))
