"""Lungs, body and thoracic cavity by rules: against drawn chests, and against the masks of real scans."""

from __future__ import annotations

import functools
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from tests.scans import real_case
from vlm.anatomy.air import closed_mm, depth_mm, distance_mm, lung_pieces
from vlm.anatomy.body import body
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.evidence import Case, Observation
from vlm.phantom.body import body as drawn_body
from vlm.phantom.chest import Phantom, chest
from vlm.tools.lung_field import zones
from vlm.tools.pneumothorax import pneumothorax

SPACING_MM = (2.0, 2.0, 3.0)


@functools.cache
def clear_chest() -> Phantom:
    return chest(seed=3, spacing_mm=SPACING_MM)


def dice(one: Mask, other: Mask) -> float:
    voxels = other.on(one.grid).voxels
    return 2 * int((one.voxels & voxels).sum()) / max(1, int(one.voxels.sum()) + int(voxels.sum()))


def cut(volume: Volume, *, x: slice = slice(None), z: slice = slice(None)) -> Volume:
    """A part of a scan, as a narrower field of view would show it."""
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm([x.start or 0, 0, z.start or 0])
    hu = np.asfortranarray(volume.hu[x, :, z])
    return Volume(hu, Grid(hu.shape, affine), volume.scan)


@pytest.mark.parametrize("side", SIDES)
def test_a_lung_agrees_with_the_one_that_was_drawn(side: LungSide) -> None:
    phantom = clear_chest()
    found = lungs(Case(phantom.volume))
    assert dice(found.of(side), phantom.masks[f"lung_{side}"]) > 0.94
    assert found.covered[side] == 1.0
    assert found.apex_covered[side]
    assert found.base_covered[side]


def test_the_body_leaves_the_table_out() -> None:
    phantom = clear_chest()
    assert dice(body(Case(phantom.volume)), phantom.masks["body"]) > 0.97


def test_left_and_right_do_not_overlap_and_lie_on_their_sides() -> None:
    found = lungs(Case(clear_chest().volume))
    assert not (found.right.voxels & found.left.voxels).any()
    assert found.right.centre_mm[0] > found.midline_mm > found.left.centre_mm[0]


def test_one_half_of_the_chest_holds_one_lung() -> None:
    volume = clear_chest().volume
    middle = volume.grid.shape[0] // 2
    found = lungs(Case(cut(volume, x=slice(middle - 3, None))))
    assert found.present == ("right",)
    assert found.covered["left"] == 0.0


@pytest.mark.parametrize(("part", "apex", "base"), [("top", True, False), ("bottom", False, True)])
def test_a_scan_that_ends_within_the_lung_says_which_end_is_missing(part: str, apex: bool, base: bool) -> None:
    volume = clear_chest().volume
    levels = np.flatnonzero(lungs(Case(volume)).both.on(volume.grid).voxels.any(axis=(0, 1)))
    middle = int(levels.mean())
    found = lungs(Case(cut(volume, z=slice(middle, None) if part == "top" else slice(0, middle))))
    for side in SIDES:
        assert found.apex_covered[side] is apex
        assert found.base_covered[side] is base
        assert 0.2 < found.covered[side] < 0.8


@pytest.mark.parametrize(
    ("low_mm", "high_mm", "zone"), [(-400, 400, 0), (-400, -20, 0), (-120, -20, -1), (-120, 60, 0)]
)
def test_a_place_keeps_its_zone_in_part_of_a_scan_or_has_none(low_mm: float, high_mm: float, zone: int) -> None:
    volume = clear_chest().volume
    heights = volume.grid.to_mm([[0, 0, k] for k in range(volume.grid.shape[2])])[:, 2]
    inside = np.flatnonzero((heights > low_mm) & (heights < high_mm))
    case = Case(cut(volume, z=slice(int(inside[0]), int(inside[-1]) + 1)))
    level = round(float(case.working.grid.to_ijk([0, 0, -100])[2]))
    assert [zones(case, side)[level] for side in SIDES] == [zone, zone]


def test_fluid_under_a_lung_moves_none_of_its_zones() -> None:
    wet = Case(chest(seed=3, spacing_mm=SPACING_MM, effusion_right_ml=900.0).volume)
    dry = Case(clear_chest().volume)
    assert np.abs(zones(wet, "right") - zones(dry, "right")).sum() <= 3  # voxels of a border


def test_an_abdomen_with_gas_holds_no_lung() -> None:
    shape = (120, 90, 40)
    x, y, z = np.mgrid[: shape[0], : shape[1], : shape[2]]
    hu = np.where(((x - 60) / 55) ** 2 + ((y - 45) / 38) ** 2 < 1, 40, -1000)
    for centre in ((35, 55, 20), (85, 60, 12), (60, 62, 30)):
        hu[(x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < 11**2] = -1000
    grid = Grid(shape, np.diag([3.0, 3.0, 3.0, 1.0]))
    found = lungs(Case(Volume(np.asfortranarray(hu.astype(np.int16)), grid, Scan(source="phantom"))))
    assert found.present == ()


@pytest.mark.parametrize("noise_hu", [10.0, 90.0])
def test_gas_of_a_noisy_scan_is_not_taken_for_lung(noise_hu: float) -> None:
    hu = np.full((30, 60, 100), 40.0)  # (Z, Y, X)
    lung, gas = np.s_[5:25, 10:50, 5:45], np.s_[5:25, 10:50, 50:90]  # within the reach of a further piece of lung
    hu[lung], hu[gas] = -850.0, -1000.0
    hu += np.random.default_rng(0).normal(0, noise_hu, hu.shape)
    grid = Grid((100, 60, 30), np.diag([2.0, 2.0, 2.0, 1.0]))
    kept = lung_pieces(hu < -500, hu.clip(-1024).astype(np.int16), grid)
    assert kept[lung].mean() > 0.99 and not kept[gas].any()


@pytest.mark.parametrize(("way_mm", "kept"), [(6.0, False), (60.0, True)], ids=["pierced wall", "free air"])
def test_gas_behind_a_pierced_wall_is_not_lung_and_air_that_lies_open_to_it_is(way_mm: float, kept: bool) -> None:
    hu = np.full((120, 60, 60), 40.0)  # (Z, Y, X)
    gas, lung = np.s_[30:52, 10:50, 15:45], np.s_[55:115, 10:50, 5:55]
    hu[lung], hu[gas] = -800.0, -1000.0
    half = round(way_mm / 4)
    hu[52:55, 30 - half : 30 + half, 30 - half : 30 + half] = -900.0
    hu += np.random.default_rng(0).normal(0, 15, hu.shape)
    grid = Grid((60, 60, 120), np.diag([2.0, 2.0, 2.0, 1.0]))
    found = lung_pieces(hu < -500, hu.astype(np.int16), grid)
    assert found[lung].mean() > 0.99
    assert found[gas].mean() > 0.99 if kept else not found[gas].any()


def test_a_lung_that_a_large_pneumothorax_has_pressed_small_is_kept() -> None:
    made = drawn_body(
        seed=3, phase="plain", region="chest", spacing_mm=(2.0, 2.0, 3.0), findings=["left pneumothorax 1300 ml"]
    )
    seen = [e for e in pneumothorax(Case(made.volume)) if isinstance(e, Observation)]
    assert [(e.side, e.presence) for e in seen] == [("left", "present")]
    assert seen[0].measured("volume").value == pytest.approx(1300.0, rel=0.1)  # type: ignore[union-attr]


def test_a_lung_that_the_circle_of_the_field_cuts_is_covered_in_part() -> None:
    volume = clear_chest().volume
    x, y = (np.arange(n) * step for n, step in zip(volume.grid.shape[:2], SPACING_MM[:2], strict=True))
    for radius_mm, whole in ((190.0, True), (95.0, False)):
        beyond = np.hypot(x[:, None] - x.mean(), y[None] - y.mean()) > radius_mm
        padding = np.broadcast_to(beyond[:, :, None], volume.grid.shape)
        hu = np.asfortranarray(np.where(padding, -1024, volume.hu).astype(np.int16))
        found = lungs(Case(Volume(hu, volume.grid, volume.scan, np.asfortranarray(padding))))
        assert found.present == SIDES
        assert all((found.covered[side] == 1.0) is whole for side in SIDES)


@pytest.mark.parametrize("value", [-1024, 0, 40])
def test_an_empty_scan_has_neither_body_parts_nor_errors(value: int) -> None:
    hu = np.full((30, 30, 10), value, dtype=np.int16, order="F")
    case = Case(Volume(hu, Grid(hu.shape, np.eye(4)), Scan(source="phantom")))
    assert lungs(case).present == ()
    assert not thoracic_cavity(case).right
    assert not thoracic_cavity(case).left


def test_the_cavity_holds_the_fluid_that_took_the_place_of_lung() -> None:
    phantom = chest(seed=4, spacing_mm=SPACING_MM, effusion_right_ml=600.0)
    case = Case(phantom.volume)
    cavity = thoracic_cavity(case).right
    truth = next(t for t in phantom.truth if t.finding == "pleural_effusion")
    fluid = phantom.masks[truth.mask].on(cavity.grid).voxels
    assert (cavity.voxels & fluid).sum() > 0.6 * fluid.sum()
    assert (lungs(case).right.voxels & fluid).sum() < 0.1 * fluid.sum()


def test_distances_are_in_millimetres_along_every_axis() -> None:
    grid = Grid((9, 9, 9), np.diag([1.0, 2.0, 3.0, 1.0]))
    mask = np.zeros((9, 9, 9), dtype=bool)  # (Z, Y, X)
    mask[4, 4, 4] = True
    away = distance_mm(mask, grid)
    assert [away[5, 4, 4], away[4, 5, 4], away[4, 4, 5]] == [3.0, 2.0, 1.0]
    assert not depth_mm(np.zeros_like(mask), grid).any()
    assert np.isinf(distance_mm(np.zeros_like(mask), grid)).all()


def test_closing_fills_a_notch_up_to_its_mouth_and_adds_nothing_to_a_block() -> None:
    grid = Grid((40, 40, 40), np.eye(4))
    block = np.zeros((40, 40, 40), dtype=bool)
    block[10:30, 10:30, 10:30] = True
    notched = block.copy()
    notched[10:30, 10:16, 19:21] = False
    assert np.array_equal(closed_mm(block, 5.0, grid), block)
    assert np.array_equal(closed_mm(notched, 5.0, grid)[11:29, 11:], block[11:29, 11:])


def test_closing_leaves_a_gap_to_the_edge_of_the_scan_open() -> None:
    grid = Grid((20, 20, 20), np.eye(4))
    block = np.zeros((20, 20, 20), dtype=bool)
    block[3:15, 3:17, 3:17] = True
    assert np.array_equal(closed_mm(block, 8.0, grid), block)


REFERENCES = {  # scan -> file, label of the right and left lung, least Dice
    "elastix-right-lung": ("lung_right.nii.gz", (1, None), 0.96),
    "acrin-flt-breast-013": ("organs_drawn.nii.gz", (13, 14), 0.95),
    "acrin-flt-breast-001-day1-chest": ("lungs.nii.gz", (1, 2), 0.95),
    "nlst-101287": ("organs_drawn.nii.gz", (13, 14), 0.96),
    "cptac-pda-00189": ("organs_drawn.nii.gz", (13, 14), 0.94),
    "pyradiomics-lung2": ("organs_drawn.nii.gz", (13, 14), 0.95),
    "acrin-nsclc-042": ("organs_drawn.nii.gz", (13, 14), 0.96),
}


@pytest.mark.realct
@pytest.mark.parametrize("name", REFERENCES)
def test_lungs_of_real_scans_agree_with_their_reference(name: str, shared: Path) -> None:
    file, labels, least = REFERENCES[name]
    image = nib.as_closest_canonical(nib.load(shared / "ct" / name / file))
    drawn, grid = np.asarray(image.dataobj), Grid(image.shape, np.asarray(image.affine))
    found = lungs(real_case(name))
    for side, label in zip(SIDES, labels, strict=True):
        if label is None:
            assert not found.of(side)
        else:
            assert dice(Mask("reference", drawn == label, grid), found.of(side)) > least


@pytest.mark.realct
@pytest.mark.parametrize(("name", "ml"), [("totalseg-abdomen-3mm", 150), ("acrin-flt-breast-001-day4-abdomen", 600)])
def test_gas_in_the_bowel_of_real_scans_is_not_lung(name: str, ml: float) -> None:
    found = lungs(real_case(name))
    assert 50 < found.both.volume_ml < ml
    assert not any(found.apex_covered.values())
    assert all(found.base_covered[side] for side in found.present)


@pytest.mark.realct
def test_a_scan_to_the_vertex_has_lung_in_the_chest_only() -> None:
    found = lungs(real_case("acrin-flt-breast-001"))
    assert found.both.box.high_mm[2] < -270  # the arms and the head lie above
    assert not any(found.base_covered.values())
