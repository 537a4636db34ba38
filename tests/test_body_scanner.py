"""The scanner of the synthetic body: each thing that it does to a picture, seen by what it does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import ndimage

from vlm.ct.volume import Grid
from vlm.phantom.body import NUMBER, OUTSIDE, Body, Exposure, body
from vlm.phantom.body.frame import Frame
from vlm.phantom.body.scanner import expose, streaks
from vlm.phantom.body.scene import Place, Scene
from vlm.phantom.body.shapes import Floats
from vlm.phantom.body.slab import finer, masks_of, slabs, sub_slices
from vlm.phantom.body.tissues import Tissues

BARE = Exposure(noise_hu=0.0, table=False)


def grid_of(spacing: tuple[float, float, float], shape: tuple[int, int, int] = (80, 80, 12)) -> Grid:
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = [-(n - 1) / 2 * step for n, step in zip(shape, spacing, strict=True)]
    return Grid(shape, affine)


def water(grid: Grid, *, radius_mm: float = 65.0, slope: float = 0.0, tissue: str = "urine") -> Scene:
    """A cylinder of water along z; ``slope`` leans it."""
    scene = Scene(grid, Frame((1.0, 1.0, 1.0), 1, bend=0.0), Tissues("plain", 1), 1)

    def cylinder(p: Place) -> Floats:
        return np.asarray(np.hypot(p.x - slope * p.z, p.y) - radius_mm, dtype=np.float32)

    scene.paint(cylinder, "urinary_bladder", tissue)
    return scene


def noise_of(exposure: Exposure, spacing: tuple[float, float, float] = (2.0, 2.0, 3.0)) -> np.ndarray:
    """(Z, Y, X) of the noise in the middle of the water."""
    clean, noisy = (expose(water(grid_of(spacing)), e) for e in (replace(exposure, noise_hu=0.0), exposure))
    return (noisy.astype(float) - clean)[:, 28:52, 28:52]


def test_noise_is_as_strong_as_asked_and_four_times_the_dose_halves_it() -> None:
    dose, more = (noise_of(Exposure(noise_hu=hu, table=False)).std() for hu in (20.0, 10.0))
    assert dose == pytest.approx(2 * more, rel=0.08)


def test_noise_grows_with_what_the_rays_pass() -> None:
    thin, thick = (
        expose(water(grid_of((4.0, 4.0, 3.0)), radius_mm=r), Exposure(noise_hu=10.0, table=False))[
            :, 36:44, 36:44
        ].std()
        for r in (70.0, 140.0)
    )
    assert thick > 1.8 * thin


def test_noise_is_correlated_and_a_sharp_kernel_has_finer_grain() -> None:
    def beside(kernel: str) -> float:
        noise = noise_of(Exposure(noise_hu=15.0, kernel=kernel, table=False), (0.8, 0.8, 3.0))  # type: ignore[arg-type]
        return float(np.corrcoef(noise[:, :, 1:].ravel(), noise[:, :, :-1].ravel())[0, 1])

    assert beside("soft") > beside("sharp") + 0.15 > 0.15


def test_a_sharp_kernel_shows_an_edge_more_steeply() -> None:
    def width(kernel: str) -> float:
        hu = expose(water(grid_of((0.7, 0.7, 3.0)), radius_mm=20.0), replace(BARE, kernel=kernel))  # type: ignore[arg-type]
        return float(np.abs(np.diff(hu[6, 40].astype(float))).max())

    assert width("sharp") > 1.25 * width("soft")


def test_a_thick_slice_is_the_mean_of_its_slab() -> None:
    thin = np.arange(30, dtype=np.float32).reshape(30, 1, 1) ** 2
    thick = slabs(thin.copy(), 3, step_mm=3.0, slice_mm=3.0)
    assert np.allclose(thick[:, 0, 0], thin.reshape(10, 3).mean(axis=1))
    assert np.allclose(slabs(thin, 3, step_mm=3.0, slice_mm=1.0)[:, 0, 0], thin[1::3, 0, 0])
    wide = slabs(thin, 3, step_mm=3.0, slice_mm=5.0)[4, 0, 0]
    assert wide == pytest.approx(thin[11:16].mean())


def test_an_oblique_border_is_soft_in_thick_slices() -> None:
    """The edge of a leaning cylinder is spread over as much as it moves within one slice."""

    def grey(slice_mm: float) -> int:
        grid = grid_of((1.0, 1.0, 8.0), (120, 120, 5))
        count = sub_slices(grid, slice_mm)
        scene = water(finer(grid, count), radius_mm=30.0, slope=1.0)
        row = expose(scene, replace(BARE, slice_mm=slice_mm), count=count)[2, 60].astype(float)
        return int(np.count_nonzero((row > -850) & (row < -150)))

    assert grey(8.0) >= grey(1.5) + 6


def test_slices_that_overlap_share_noise_and_thick_ones_have_less() -> None:
    single = noise_of(Exposure(noise_hu=20.0, table=False, slice_mm=3.0))
    double = noise_of(Exposure(noise_hu=20.0, table=False, slice_mm=6.0))

    def next_to(noise: np.ndarray) -> float:
        return float(np.corrcoef(noise[1:].ravel(), noise[:-1].ravel())[0, 1])

    assert abs(next_to(single)) < 0.12 and next_to(double) == pytest.approx(0.5, abs=0.12)
    assert double.std() == pytest.approx(single.std() / np.sqrt(2), rel=0.1)


def test_the_mask_of_a_finding_keeps_its_volume_in_thick_slices() -> None:
    z, y, x = np.indices((15, 20, 20))
    away = np.sqrt((z - 7) ** 2 + (y - 9) ** 2 + (x - 9) ** 2)
    thin = {"whole": away < 6.3, "core": away < 3.1, "beside": (x > 15) & (y < 9)}
    thick = masks_of(thin, 3)
    for name, mask in thick.items():
        assert mask.sum() == round(thin[name].sum() / 3)
    assert not (thick["core"] & ~thick["whole"]).any() and not (thick["beside"] & thick["whole"]).any()


def test_a_voxel_on_a_border_holds_a_share_of_both_sides() -> None:
    hu = expose(water(grid_of((3.0, 3.0, 3.0))), BARE)
    inside, outside = 6.0, -1000.0
    volume_mm3 = float(((hu.astype(float) - outside) / (inside - outside)).mean(axis=0).sum()) * 9.0
    assert volume_mm3 == pytest.approx(np.pi * 65.0**2, rel=0.01)  # counting voxels alone is off by more
    assert ((hu > -900) & (hu < -100)).any()


def test_metal_leaves_dark_bands_between_two_rods_and_nothing_in_other_slices() -> None:
    y, x = np.indices((120, 180)) * 2.0
    hu = np.where(np.hypot((x - 180) / 1.4, y - 120) < 110, 0.0, -1000.0).astype(np.float32)[None].repeat(2, axis=0)
    for centre in (100, 260):
        hu[1][np.hypot(x - centre, y - 120) < 10] = 3000.0
    before = hu.copy()
    streaks(hu, (2.0, 2.0), 1)
    assert (hu[0] == before[0]).all()  # a slice without metal is left alone
    change = hu[1] - before[1]
    between, across = change[58:63, 75:106], change[20:40, 75:106]
    assert -700 < between.mean() < -100 and between.mean() < across.mean() - 100
    assert (change[before[1] > 2000] == 0).all()


@pytest.fixture(scope="module")
def still_and_moved() -> tuple[Body, Body]:
    grid = Exposure(noise_hu=0.0, table=False)
    asked = {"seed": 11, "phase": "arterial", "region": "chest", "spacing_mm": (4.0, 4.0, 4.0)}
    return body(exposure=grid, **asked), body(exposure=replace(grid, motion_mm=10.0), **asked)  # type: ignore[arg-type]


def test_motion_blurs_heart_and_diaphragm_alone(still_and_moved: tuple[Body, Body]) -> None:
    still, moved = still_and_moved
    change = np.abs(moved.volume.hu.astype(float) - still.volume.hu)

    def border(name: str) -> np.ndarray:
        mask = still.labels == NUMBER[name]
        return ndimage.binary_dilation(mask) & ~ndimage.binary_erosion(mask)

    assert change[border("diaphragm")].mean() > 30 and change[border("pericardium")].mean() > 15
    for name in ("scapula_left", "vertebrae_T4", "trachea", "skin"):
        assert change[border(name)].mean() < 2, name
    assert (still.labels == moved.labels).all()


def test_table_lies_below_and_blanket_above_and_neither_touches_the_person() -> None:
    bare, covered = (
        body(seed=3, region="chest", spacing_mm=(5.0, 5.0, 8.0), exposure=exposure)
        for exposure in (BARE, Exposure(noise_hu=0.0, table=True, blanket=True))
    )
    person = bare.labels > 0
    assert not np.isin(bare.labels, [NUMBER[name] for name in OUTSIDE]).any()
    assert (covered.labels[person] == bare.labels[person]).all()
    rows = {name: np.argwhere(covered.labels == NUMBER[name])[:, 1] for name in OUTSIDE}
    body_rows = np.argwhere(person)[:, 1]
    assert rows["table"].max() < np.median(body_rows) < np.median(rows["blanket"])
    assert len(rows["blanket"]) > 50
    away = ~ndimage.binary_dilation(person | np.isin(covered.labels, [NUMBER[n] for n in OUTSIDE]), iterations=2)
    assert (covered.volume.hu[away] == bare.volume.hu[away]).all()


def test_a_body_wider_than_the_scan_field_has_a_bright_rim_and_padding_beyond_it() -> None:
    whole = expose(water(grid_of((4.0, 4.0, 4.0)), radius_mm=150.0), BARE)
    cut = expose(water(grid_of((4.0, 4.0, 4.0)), radius_mm=150.0), replace(BARE, scan_field_mm=260.0, padding_hu=-2000))
    axis = np.abs(np.arange(80) - 39.5) * 4.0
    radius = np.hypot(axis[None, :], axis[:, None])
    assert (cut[:, radius > 130] == -2000).all()
    rim = (radius < 129) & (radius > 118)
    assert cut[:, rim].mean() > whole[:, rim].mean() + 60
    assert np.abs(cut[:, radius < 90].astype(int) - whole[:, radius < 90]).max() <= 1
    narrow = expose(water(grid_of((4.0, 4.0, 4.0)), radius_mm=100.0), replace(BARE, scan_field_mm=260.0))
    assert narrow[:, radius < 90].max() < 40  # what fits in has no rim
