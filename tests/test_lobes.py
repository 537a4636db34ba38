"""Fissures and lobes: against drawn bodies, and what is said where no fissure can be seen."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from app.segmenting import segment_scan
from tests.scans import real_case
from vlm.anatomy.engines.labels import given
from vlm.anatomy.engines.protocol import LabelMap
from vlm.anatomy.fissures import fissures, of_lung
from vlm.anatomy.lobes import NAMES, lobe_of, lobes
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.anatomy.structures import use
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case
from vlm.phantom.body import NAME, Body, body
from vlm.phantom.files import Place, save_scan
from vlm.tools.lung_field import ZONES, site_of


@functools.cache
def person() -> Body:
    return body(seed=1_000_009, region="chest", spacing_mm=(1.5, 1.5, 2.0))


@functools.cache
def case() -> Case:
    return Case(person().volume)


def drawn(name: str) -> Mask:
    number = next(n for n, own in NAME.items() if own == name)
    return Mask(name, person().labels == number, person().volume.grid)


def blob(grid: Grid, centre_mm: object, radius_mm: float) -> Mask:
    at = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), axis=-1)
    return Mask("blob", np.linalg.norm(grid.to_mm(at) - np.asarray(centre_mm), axis=-1) <= radius_mm, grid)


def deepest(name: str) -> object:
    """The middle of a drawn lobe: the voxel furthest from its border, RAS mm."""
    mask = drawn(name)
    depth = ndimage.distance_transform_edt(mask.voxels, sampling=mask.grid.spacing_mm)
    return mask.grid.to_mm(np.unravel_index(int(depth.argmax()), depth.shape))


@pytest.mark.parametrize("name", NAMES)
def test_a_lobe_agrees_with_the_one_that_was_drawn(name: str) -> None:
    found = lobes(case())[name]
    truth = drawn(name).on(found.grid).voxels & lungs(case()).both.voxels
    overlap = 2 * np.count_nonzero(found.voxels & truth) / (np.count_nonzero(found.voxels) + np.count_nonzero(truth))
    assert overlap > 0.94


@pytest.mark.parametrize("side", SIDES)
def test_lobes_share_a_lung_out_and_do_not_overlap(side: LungSide) -> None:
    own = [lobes(case())[name].voxels for name, (lung, _) in NAMES.items() if lung == side]
    assert np.array_equal(np.sum(own, axis=0) > 0, lungs(case()).of(side).voxels)
    assert max(np.sum(own, axis=0).ravel()) == 1


@pytest.mark.parametrize(("name", "place"), NAMES.items())
def test_the_middle_of_a_lobe_lies_in_it(name: str, place: tuple[LungSide, str]) -> None:
    side, lobe = place
    spot = blob(case().working.grid, deepest(name), 6.0)
    assert lobe_of(case(), side, spot) == lobe == site_of(case(), side, spot)


def test_a_place_on_a_fissure_is_told_by_its_zone() -> None:
    seen = fissures(case())["left"]
    assert seen.oblique is not None
    lung = lungs(case()).left
    points = lung.grid.to_mm(np.argwhere(lung.voxels))
    on = points[np.abs(seen.above(seen.oblique, points)) < 1.0]
    spot = blob(lung.grid, on[len(on) // 2], 5.0)
    assert lobe_of(case(), "left", spot) is None
    assert site_of(case(), "left", spot) in ZONES


def test_where_no_fissure_can_be_seen_no_lobe_is_told() -> None:
    """Noise of 40 HU after a blur of 4 mm: nothing thin is left."""
    volume = person().volume
    sigma = [4.0 / step for step in volume.grid.spacing_mm]
    noise = ndimage.gaussian_filter(np.random.default_rng(3).normal(0, 1, volume.hu.shape), 1.0)
    blurred = ndimage.gaussian_filter(volume.hu.astype(np.float32), sigma) + 40 * noise / noise.std()
    veiled = Case(replace(volume, hu=np.asfortranarray(np.rint(blurred).astype(np.int16))))
    assert lobes(veiled) == {}
    spot = blob(veiled.working.grid, deepest("lung_lower_lobe_left"), 6.0)
    assert site_of(veiled, "left", spot) in (*ZONES, "lung")


def test_the_mirror_image_of_a_lung_has_no_fissure_where_fissures_lie() -> None:
    volume, lung = case().volume, lungs(case()).left
    turned = np.diag([1.0, -1.0, 1.0, 1.0])
    mirror = replace(volume, grid=Grid(volume.grid.shape, turned @ volume.grid.affine))
    seen = of_lung(mirror, Mask("lung", lung.voxels, Grid(lung.grid.shape, turned @ lung.grid.affine)), "left", True)
    assert seen.oblique is None


def test_an_own_engines_lobes_go_first() -> None:
    """A label map that calls the left lower lobe upper is believed: it is the user's."""
    numbers = {name: n for n, name in NAME.items() if name in NAMES}
    labels = np.where(np.isin(person().labels, list(numbers.values())), person().labels, 0)
    names = {n: name for name, n in numbers.items()}
    swapped = {"lung_upper_lobe_left": "lung_lower_lobe_left", "lung_lower_lobe_left": "lung_upper_lobe_left"}
    mine = Case(person().volume)
    use(mine, given(LabelMap(labels, mine.volume.grid, {n: swapped.get(name, name) for n, name in names.items()})))
    spot = blob(mine.working.grid, deepest("lung_lower_lobe_left"), 6.0)
    assert site_of(mine, "left", spot) == "upper_lobe"


def test_segment_writes_the_lobes_beside_the_lungs_that_they_lie_in(tmp_path: Path) -> None:
    (tmp_path / "scan").mkdir()
    save_scan(person().volume, Place(tmp_path / "scan", ""), seed=1, file_format="nifti")
    told = segment_scan(tmp_path / "scan", tmp_path / "out", anatomy="rules")
    lungs_map, lobe_map = (
        np.asarray(nib.load(tmp_path / "out" / file).dataobj)  # type: ignore[attr-defined]  # nibabel's is untyped
        for file in ("labels.nii.gz", "lobes.nii.gz")
    )
    numbers, lobe_numbers = (
        {name: int(n) for n, name in json.loads((tmp_path / "out" / file).read_text("utf-8")).items()}
        for file in ("names.json", "lobes.json")
    )
    assert set(lobe_numbers) == set(NAMES) == set(told["lobes"])
    for name, (side, _) in NAMES.items():
        own = lobe_map == lobe_numbers[name]
        assert own.any()
        assert (lungs_map[own] == numbers[f"lung_{side}"]).mean() > 0.99


@pytest.mark.realct
@pytest.mark.parametrize(
    ("name", "side", "point_mm", "lobe"),
    [
        ("pyradiomics-lung2", "left", (-53, 96, -256), "lower_lobe"),
        ("nlst-101287", "left", (-5, -3, 1178), "upper_lobe"),
    ],
)
def test_listed_masses_of_real_scans_lie_in_their_lobes(
    name: str, side: LungSide, point_mm: tuple[int, int, int], lobe: str
) -> None:
    scan = real_case(name)
    assert lobe_of(scan, side, blob(scan.working.grid, point_mm, 8.0)) == lobe
