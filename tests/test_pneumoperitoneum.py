"""Free air in the abdomen: a drawn layer is found, bowel is not, and what was not scanned is not denied."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from tests.scans import real_case
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.chest import chest
from vlm.phantom.implant import Implant, implant
from vlm.tools.pneumoperitoneum import NAME, pneumoperitoneum

CENTRE_MM = (0.0, -8.0, -110.0)  # lung bases to below the liver


def seen(evidence: list[Evidence]) -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation)]


def looked(evidence: list[Evidence]) -> Search:
    (search,) = [e for e in evidence if isinstance(e, Search)]
    assert search.tool == NAME and search.finding == "pneumoperitoneum"
    return search


def front_ml(volume: Volume, level_mm: float, *, wall_mm: float = 0.0) -> tuple[Volume, float]:
    """The scan with gas in front of ``level_mm`` below the lungs, in a wall of its own or in none, and its mL."""
    grid = volume.grid
    x, y, z = (grid.to_mm(np.eye(3)[axis][None] * np.arange(grid.shape[axis])[:, None])[:, axis] for axis in range(3))
    oval = (x[:, None, None] / 122.0) ** 2 + (y[None, :, None] / 78.0) ** 2 < 1.0
    place = oval & (y[None, :, None] > level_mm) & (z[None, None, :] < -158.0) & (z[None, None, :] > -228.0)
    out = volume.hu.astype(np.float32)
    if wall_mm:
        ring = ndimage.distance_transform_edt(~place, sampling=grid.spacing_mm) <= wall_mm
        out[ring] = 40.0
    out[place] = -1000.0
    smooth = ndimage.gaussian_filter(out, [0.6 / step for step in grid.spacing_mm])
    near = ndimage.binary_dilation(place, iterations=4)
    out[near] = smooth[near]
    return Volume(np.asfortranarray(np.rint(out).astype(np.int16)), grid, volume.scan), float(
        place.sum()
    ) * grid.voxel_ml


@pytest.fixture(scope="module")
def plain() -> Volume:
    return chest(spacing_mm=(1.0, 1.0, 2.5), centre_mm=CENTRE_MM, seed=4).volume


def test_a_layer_of_air_under_the_front_wall_is_free_air_of_its_volume(plain: Volume) -> None:
    volume, truth_ml = front_ml(plain, 66.0)
    (found,) = seen(pneumoperitoneum(Case(volume)))
    assert found.presence == "present" and found.site == "peritoneum"
    size = found.measured("volume")
    assert size is not None and size.value == pytest.approx(truth_ml, rel=0.15)


def test_gas_of_stomach_and_a_clear_abdomen_are_no_free_air(plain: Volume) -> None:
    evidence = pneumoperitoneum(Case(plain))
    assert not seen(evidence)
    assert 0.0 < looked(evidence).covered < 0.9 and looked(evidence).found == 0


def test_flat_gas_in_a_wall_of_its_own_is_bowel(plain: Volume) -> None:
    volume, _ = front_ml(plain, 66.0, wall_mm=2.5)
    assert not seen(pneumoperitoneum(Case(volume)))


def test_pixels_too_coarse_for_a_wall_leave_the_finding_uncertain_and_say_so() -> None:
    plain = chest(spacing_mm=(2.0, 2.0, 3.0), centre_mm=CENTRE_MM, seed=4).volume
    evidence = pneumoperitoneum(Case(front_ml(plain, 66.0)[0]))
    assert [e.presence for e in seen(evidence)] in ([], ["uncertain"])
    assert "coarse_pixels" in looked(evidence).failed


def test_air_alone_is_not_assessed() -> None:
    hu = np.full((60, 50, 20), -1000, dtype=np.int16, order="F")
    evidence = pneumoperitoneum(
        Case(Volume(hu, Grid((60, 50, 20), np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom")))
    )
    assert not seen(evidence) and not looked(evidence).looked


@pytest.mark.realct
@pytest.mark.parametrize(
    "name",
    ["acrin-flt-breast-001-day4-abdomen", "totalseg-abdomen-3mm", "cptac-pda-00189", "acrin-flt-breast-013"],
)
def test_bowel_of_real_scans_is_no_free_air(name: str) -> None:
    assert not seen(pneumoperitoneum(real_case(name)))


@pytest.mark.realct
def test_free_air_put_into_a_real_scan_opens_no_bowel_and_is_told_as_possible() -> None:
    case = real_case("pyradiomics-lung2")
    made = implant(case, [Implant(finding="pneumoperitoneum", size=100.0)], seed=2)
    (truth,) = made.masks.values()
    near = ndimage.binary_dilation(truth.voxels, np.ones((5, 5, 1), dtype=bool))
    assert not (near & (case.volume.hu < -500)).any()
    assert [e.presence for e in seen(pneumoperitoneum(Case(made.volume)))] in (["uncertain"], ["present"])
