"""Consolidation, ground glass, atelectasis and lost volume: found on their side, absent in clear lungs."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.scans import real_case
from vlm.ct.volume import Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.chest import chest
from vlm.phantom.implant import Implant, Kind, implant
from vlm.tools.atelectasis import atelectasis
from vlm.tools.consolidation import consolidation

SPACING_MM = (1.4, 1.4, 2.0)


def observed(evidence: list[Evidence], finding: str) -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation) and e.finding == finding]


def searches(evidence: list[Evidence], finding: str) -> dict[str, Search]:
    return {str(e.side): e for e in evidence if isinstance(e, Search) and e.finding == finding}


@pytest.fixture(scope="module")
def patchy() -> list[Evidence]:
    drawn = chest(
        spacing_mm=SPACING_MM,
        consolidation=(("left", "lower", 40.0),),
        ground_glass=(("right", "middle", 60.0),),
        seed=5,
    )
    return consolidation(Case(drawn.volume))


def test_consolidation_is_found_on_its_side_with_its_volume(patchy: list[Evidence]) -> None:
    found = observed(patchy, "consolidation")
    assert [e.side for e in found] == ["left"]
    volume = found[0].measured("volume")
    assert volume is not None
    assert volume.value == pytest.approx(40.0, rel=0.25)


def test_ground_glass_is_found_on_its_side(patchy: list[Evidence]) -> None:
    assert {e.side for e in observed(patchy, "ground_glass_opacity")} == {"right"}


def test_small_patches_are_found_with_their_volume_and_told_once() -> None:
    drawn = chest(
        spacing_mm=SPACING_MM,
        consolidation=(("left", "lower", 10.0),),
        ground_glass=(("right", "upper", 10.0),),
        seed=8,
    )
    evidence = consolidation(Case(drawn.volume))
    for finding, side in (("consolidation", "left"), ("ground_glass_opacity", "right")):
        found = observed(evidence, finding)
        assert [e.side for e in found] == [side]
        volume = found[0].measured("volume")
        assert volume is not None
        assert volume.value == pytest.approx(10.0, rel=0.25)


def expired(volume: Volume, lung: NDArray[np.bool_]) -> Volume:
    """A scan with its lungs denser by 120 HU, and by 1.5 HU for each mm further back."""
    back_mm = (volume.hu.shape[1] / 2 - np.arange(volume.hu.shape[1])) * volume.grid.spacing_mm[1]
    denser = np.clip(120 + 1.5 * back_mm, 0, None)[None, :, None]
    hu = np.where(lung & (volume.hu < -500), volume.hu + denser, volume.hu)
    return Volume(np.asfortranarray(hu.astype(np.int16)), volume.grid, volume.scan)


def test_lung_that_gravity_makes_denser_is_no_ground_glass_and_a_patch_in_it_is() -> None:
    clear = chest(spacing_mm=SPACING_MM, seed=5)
    both = clear.masks["lung_left"].voxels | clear.masks["lung_right"].voxels
    assert not observed(consolidation(Case(expired(clear.volume, both))), "ground_glass_opacity")
    hazy = chest(spacing_mm=SPACING_MM, ground_glass=(("right", "upper", 40.0),), seed=5)
    found = observed(consolidation(Case(expired(hazy.volume, both))), "ground_glass_opacity")
    assert [e.side for e in found] == ["right"]


def test_each_finding_is_searched_on_each_side(patchy: list[Evidence]) -> None:
    for finding in ("consolidation", "ground_glass_opacity", "lung_opacity"):
        assert set(searches(patchy, finding)) == {"left", "right"}
    assert searches(patchy, "lung_opacity")["left"].found == 1


def test_a_round_mass_is_no_consolidation_and_clear_lung_no_opacity() -> None:
    drawn = chest(spacing_mm=SPACING_MM, nodules=(("left", "middle", 30.0, 40.0),), seed=6)
    evidence = consolidation(Case(drawn.volume))
    assert not observed(evidence, "consolidation")
    assert not observed(evidence, "ground_glass_opacity")


def test_airless_lung_behind_is_no_consolidation_and_no_collapsed_lobe() -> None:
    drawn = chest(spacing_mm=SPACING_MM, atelectasis_left_ml=90.0, effusion_right_ml=250.0)
    case = Case(drawn.volume)
    evidence = atelectasis(case)
    assert set(searches(evidence, "atelectasis")) == {"left", "right"}
    assert not [e for e in observed(evidence, "lobar_collapse") if e.presence == "present"]
    assert not observed(consolidation(case), "consolidation")


@pytest.mark.parametrize("tool", [consolidation, atelectasis])
def test_a_scan_without_lung_is_not_assessed(tool) -> None:  # type: ignore[no-untyped-def]
    case = Case(chest(spacing_mm=(3.0, 3.0, 3.0), field_mm=(380, 300, 60), centre_mm=(0, -8, -190)).volume)
    evidence = tool(case)
    assert evidence
    assert not any(isinstance(e, Observation) or e.looked for e in evidence)


@pytest.mark.realct
@pytest.mark.parametrize(
    "name",
    ["cmb-crc-01068", "nlst-101287", "elastix-right-lung", "acrin-flt-breast-013", "acrin-flt-breast-001-day1-chest"],
)
def test_real_lungs_without_consolidation_show_none(name: str) -> None:
    case = real_case(name)
    assert not observed(consolidation(case), "consolidation")
    assert not observed(atelectasis(case), "lobar_collapse")
    assert not observed(atelectasis(case), "lung_volume_loss")


@pytest.mark.realct
@pytest.mark.parametrize("finding", ["consolidation", "ground_glass_opacity"])
def test_ten_ml_put_into_a_real_lung_are_found_with_their_volume(finding: Kind) -> None:
    made = implant(real_case("pyradiomics-lung2"), [Implant(finding=finding, size=10.0, side="right")], seed=2)
    found = observed(consolidation(Case(made.volume)), finding)
    assert [e.side for e in found] == ["right"]
    volume = found[0].measured("volume")
    assert volume is not None
    assert volume.value == pytest.approx(10.0, rel=0.35)


@pytest.mark.realct
def test_a_lobulated_nodule_is_not_told_again_as_consolidation() -> None:
    assert not observed(consolidation(real_case("rider-pilot-0117")), "consolidation")


@pytest.mark.realct
def test_lung_beside_effusion_and_mass_has_lost_volume() -> None:
    evidence = atelectasis(real_case("lidc-idri-0314"))
    assert [(e.side, e.presence) for e in observed(evidence, "lung_volume_loss")] == [("right", "present")]
    told = [*observed(evidence, "atelectasis"), *observed(evidence, "lobar_collapse")]
    assert [(e.side, e.presence) for e in told] == [("right", "uncertain")]  # one place, told once


@pytest.mark.realct
def test_collapse_beside_a_mass_is_suspected_on_its_side() -> None:
    evidence = atelectasis(real_case("lung-pet-ct-dx-a0002"))
    assert {e.side for e in observed(evidence, "atelectasis")} == {"right"}
