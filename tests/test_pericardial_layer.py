"""Fluid round the heart in the scan's own pixels: a layer behind it is found, what only touches it is not."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from vlm.anatomy.ball import grown
from vlm.anatomy.heart import _followed, heart
from vlm.ct.volume import Grid, Volume
from vlm.evidence import Case, Observation
from vlm.phantom.chest import chest
from vlm.tools.heart_size import pericardium
from vlm.tools.pericardial_layer import layer_round

SPACING = (1.2, 1.2, 2.0)
FLUID_HU, FAT_HU = 10, -100


@pytest.fixture(scope="module", params=[42.0, 160.0], ids=["plain", "enhanced"])
def scan(request: pytest.FixtureRequest) -> tuple[Volume, float]:
    blood: float = request.param
    return chest(spacing_mm=SPACING, blood_hu=blood, seed=3).volume, blood


def with_layer(volume: Volume, thick_mm: float, *, share: float = 0.5) -> tuple[Volume, float]:
    """The scan with 2 mm of fat and then fluid on the hindmost ``share`` of the heart, and that fluid's volume, mL."""
    mask = heart(Case(volume)).mask.on(volume.grid).voxels.T
    fat, fluid = grown(mask, 2.0, volume.grid), grown(mask, 2.0 + thick_mm, volume.grid)
    rows = np.flatnonzero(mask.any(axis=(0, 2)))
    fluid[:, int(rows[0] + share * len(rows)) :] = False
    hu = volume.hu.T.copy()
    noise = np.random.default_rng(0).normal(0, 8, hu.shape)
    sharp = np.where(fluid & ~fat, FLUID_HU, np.where(fluid & ~mask, FAT_HU, hu))
    blurred = ndimage.gaussian_filter(sharp.astype(np.float32), [0.3, 0.6, 0.6]) + noise
    changed = grown(fluid, 3.0, volume.grid)
    hu[changed] = blurred[changed].astype(np.int16)
    ml = float(np.count_nonzero(fluid & ~fat)) * volume.grid.voxel_ml
    return Volume(np.asfortranarray(hu.T), volume.grid, volume.scan), ml


def thick(volume: Volume, slices: int) -> Volume:
    """The scan with the mean of so many slices as one."""
    x, y, z = volume.hu.shape
    hu = volume.hu[:, :, : z // slices * slices].reshape(x, y, -1, slices).mean(axis=3).astype(np.int16)
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm([0.0, 0.0, (slices - 1) / 2])
    affine[:3, 2] *= slices
    return Volume(np.asfortranarray(hu), Grid((x, y, hu.shape[2]), affine), volume.scan)


def seen(volume: Volume, blood_hu: float) -> tuple[float | None, float | None]:
    case = Case(volume)
    mask, thickness = layer_round(case, heart(case), blood_hu, plain=blood_hu < 90)
    return (mask.volume_ml if mask else None), thickness


def test_a_layer_behind_the_heart_is_found_with_its_thickness(scan: tuple[Volume, float]) -> None:
    volume, blood_hu = scan
    drawn, true_ml = with_layer(volume, 8.0)
    volume_ml, thickness = seen(drawn, blood_hu)
    assert volume_ml == pytest.approx(true_ml, rel=0.4)
    assert thickness == pytest.approx(8.0, abs=2.5)


def test_no_layer_is_seen_round_a_clear_heart(scan: tuple[Volume, float]) -> None:
    assert seen(*scan) == (None, None)


def test_fluid_that_only_touches_the_heart_is_something_else(scan: tuple[Volume, float]) -> None:
    volume, blood_hu = scan
    assert seen(with_layer(volume, 12.0, share=0.08)[0], blood_hu) == (None, None)


@pytest.mark.parametrize("scan", [42.0], ids=["plain"], indirect=True)
def test_without_contrast_thick_slices_show_no_layer(scan: tuple[Volume, float]) -> None:
    volume, blood_hu = scan
    drawn, _ = with_layer(volume, 8.0)
    assert seen(drawn.coarse(target_mm=4.0), blood_hu) == (None, None)


@pytest.mark.parametrize("scan", [160.0], ids=["enhanced"], indirect=True)
@pytest.mark.parametrize(("slices", "told"), [(1, "present"), (2, "uncertain")], ids=["2 mm", "4 mm"])
def test_with_contrast_a_layer_in_thick_slices_is_not_sure(scan: tuple[Volume, float], slices: int, told: str) -> None:
    volume, _ = scan
    drawn, _ = with_layer(volume, 8.0)
    seen_in = [e for e in pericardium(Case(thick(drawn, slices))) if isinstance(e, Observation)]
    assert [e.presence for e in seen_in] == [told]


def test_great_vessels_above_the_heart_may_part_and_widen() -> None:
    grid = Grid((60, 60, 60), np.diag([2.5, 2.5, 2.5, 1.0]))
    y, x = np.mgrid[:60, :60]
    tissue = np.zeros((60, 60, 60), dtype=bool)
    tissue[40:] = np.hypot(y - 30, x - 30) < 8  # vessels, 1250 mm2, after a wider first slice
    tissue[59] = np.hypot(y - 30, x - 30) < 12
    tissue[10:40] = np.hypot(y - 30, x - 30) < 18  # the heart begins 47 mm below the first slice
    followed = _followed(tissue, 59, 40.0, grid)
    assert followed[12:40].any(axis=(1, 2)).all()
