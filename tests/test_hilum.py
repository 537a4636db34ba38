"""Where the hila are when a scan shows no fork of the trachea: vessels there are no airless lung."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from tests.scans import real_case
from tests.test_lungs import cut
from vlm.anatomy.airways import airways
from vlm.anatomy.lungs import lungs
from vlm.ct.volume import Grid, Mask, Volume
from vlm.evidence import Case, Observation
from vlm.phantom.chest import chest
from vlm.tools.consolidation import consolidation
from vlm.tools.dense_lung import beside_mediastinum, dense_places
from vlm.tools.nodules import _may_go_on

SPACING_MM = (2.0, 2.0, 3.0)
RADIUS_MM, HALF_MM = 8.0, 24.0  # of a bundle of vessels, 10 mL


@functools.cache
def lower_chest() -> Volume:
    """A clear chest that ends below the fork of the trachea."""
    drawn = chest(seed=3, spacing_mm=SPACING_MM)
    fork = airways(Case(drawn.volume)).carina_mm
    assert fork is not None
    return cut(drawn.volume, z=slice(0, int(drawn.volume.grid.to_ijk(fork)[2]) - 8))


def with_bundle(volume: Volume, away_mm: float) -> Volume:
    """The scan with an upright bundle of vessels so far beside the left border of the mediastinum."""
    case, grid = Case(volume), volume.grid
    found = lungs(case)
    k = found.left.slices[1] - round(1.5 * HALF_MM / found.left.grid.spacing_mm[2])
    columns = np.argwhere(found.left.voxels[:, :, k])
    row = round(float(columns[:, 1].mean()))
    medial = columns[columns[:, 1] == row][:, 0].max()  # x grows to the right
    x, y, z = found.left.grid.to_mm([medial, row, k])
    points = np.moveaxis(np.indices(grid.shape), 0, -1).reshape(-1, 3)
    dx, dy, dz = (grid.to_mm(points) - [x - away_mm, y, z]).T.reshape(3, *grid.shape)
    hu = volume.hu.copy(order="F")
    hu[(np.hypot(dx, dy) < RADIUS_MM) & (np.abs(dz) < HALF_MM)] = 40
    return Volume(hu, grid, volume.scan)


@pytest.mark.parametrize(("away_mm", "told"), [(6.0, 0), (50.0, 1)], ids=["hilum", "lung"])
def test_a_bundle_of_vessels_at_the_hilum_is_no_airless_lung_where_no_fork_is_seen(away_mm: float, told: int) -> None:
    case = Case(with_bundle(lower_chest(), away_mm))
    assert airways(case).carina_mm is None
    assert len(dense_places(case)) == told


def test_one_lung_alone_shows_no_border_of_the_mediastinum() -> None:
    volume = lower_chest()
    half = Case(cut(volume, x=slice(volume.grid.shape[0] // 2, None)))
    assert len(lungs(half).present) == 1 and not beside_mediastinum(half).any()


@pytest.mark.parametrize(
    ("side_mm", "below_mm", "doubt"), [(25.0, 8.0, True), (25.0, 45.0, False), (95.0, 8.0, False)],
    ids=["medial at the end", "medial", "lateral at the end"],
)  # fmt: skip
def test_a_mass_at_the_mediastinum_is_doubted_at_the_end_of_the_scan_only(
    side_mm: float, below_mm: float, doubt: bool
) -> None:
    volume = lower_chest()
    case, grid = Case(volume), volume.grid
    top_mm = float(grid.to_mm([0, 0, grid.shape[2] - 1])[2])
    at = grid.to_ijk([lungs(case).midline_mm - side_mm, 0.0, top_mm - below_mm])
    away = [
        (np.arange(n) - c) * s
        for n, c, s in zip(grid.shape, [at[0], grid.shape[1] / 2, at[2]], SPACING_MM, strict=True)
    ]
    ball = np.hypot(np.hypot(away[0][:, None, None], away[1][None, :, None]), away[2][None, None, :]) < 17.0
    assert _may_go_on(case, Mask("mass", ball, Grid(grid.shape, grid.affine))) is doubt


@pytest.mark.realct
@pytest.mark.parametrize("gain", [0.6, 1.2])
def test_a_sharp_kernel_makes_no_consolidation_of_hilar_vessels(gain: float) -> None:
    from scipy import ndimage

    volume = real_case("acrin-flt-breast-013").volume  # it ends at the main bronchi
    hu = volume.hu.astype(np.float32)
    width = [1.0 / step for step in volume.grid.spacing_mm[:2]]
    sharp = hu + gain * (hu - ndimage.gaussian_filter(hu, (*width, 0.0)))
    grain = np.random.default_rng(1).standard_normal(hu.shape, dtype=np.float32)
    grain -= ndimage.gaussian_filter(grain, (1.2, 1.2, 0.0))
    sharp += 60.0 * grain / float(grain.std())
    case = Case(Volume(np.asfortranarray(np.clip(sharp, -1024, 3071).astype(np.int16)), volume.grid, volume.scan))
    assert not [e for e in consolidation(case) if isinstance(e, Observation) and e.finding == "consolidation"]
