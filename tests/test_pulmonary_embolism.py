"""Clot with contrast all around it is an embolus; a node in fat beside an artery, and blood alone, are none."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

import vlm.tools.pulmonary_embolism as tool
from tests.scans import real_case
from vlm.anatomy.airways import airways
from vlm.ct.volume import Grid
from vlm.evidence import Case, Observation, Search
from vlm.phantom.chest import chest
from vlm.tools.pulmonary_embolism import LEAST_ML, Scene, defects, pulmonary_embolism, scene_of

SHAPE = (60, 60, 40)
GRID = Grid(SHAPE, np.diag([1.0, 1.0, 1.5, 1.0]))
BLOOD, CLOT, FAT = 320.0, 60.0, -100.0
MIDDLE = np.array([30.0, 30.0, 30.0])


def artery(*, clot_mm: float = 0.0, aside_mm: float = 0.0, node_mm: float = 0.0, blood: float = BLOOD) -> Scene:
    """A vessel of 26 mm along z in fat, with a ball of clot in it, or a node at its wall outside."""
    axes = [np.arange(n) * step - middle for n, step, middle in zip(SHAPE, (1.0, 1.0, 1.5), MIDDLE, strict=True)]
    x, y, z = np.meshgrid(*axes, indexing="ij")
    inside = np.hypot(x, y) < 13.0
    hu = np.where(inside, blood, FAT)
    hu[inside & (np.sqrt((x - aside_mm) ** 2 + y**2 + z**2) < clot_mm / 2)] = CLOT
    hu[~inside & (np.sqrt((x - 13.0 - node_mm / 2) ** 2 + y**2 + z**2) < node_mm / 2)] = CLOT
    hu = hu + np.random.default_rng(0).normal(0, 12.0, SHAPE)
    return Scene(hu.astype(np.float32), GRID, (0, 0, 0), np.ones(SHAPE, dtype=bool), blood)


@pytest.mark.parametrize("aside_mm", [0.0, 4.0])
def test_a_clot_within_the_blood_is_found_where_it_lies(aside_mm: float) -> None:
    found = defects(artery(clot_mm=10.0, aside_mm=aside_mm))
    assert len(found) == 1
    middle = GRID.to_mm(np.argwhere(found[0]).mean(axis=0)) - MIDDLE
    assert np.linalg.norm(middle - (aside_mm, 0.0, 0.0)) < 2.0
    assert np.count_nonzero(found[0]) * GRID.voxel_ml == pytest.approx(0.52, abs=0.2)


@pytest.mark.parametrize("scene", [artery(), artery(node_mm=14.0), artery(blood=230.0), artery(clot_mm=4.0)])
def test_blood_alone_a_node_in_fat_and_a_speck_are_no_clot(scene: Scene) -> None:
    assert LEAST_ML > 0.05 and not defects(scene)


@pytest.mark.parametrize(
    ("blood_hu", "step_mm", "why"), [(42.0, 3.0, "no_contrast"), (150.0, 3.0, "phase"), (300.0, 5.0, "thick_slices")]
)
def test_it_says_why_it_does_not_look(blood_hu: float, step_mm: float, why: str) -> None:
    told = pulmonary_embolism(Case(chest(spacing_mm=(2.5, 2.5, step_mm), blood_hu=blood_hu, seed=1).volume))
    assert [(type(one), one.covered, one.failed) for one in told if isinstance(one, Search)] == [(Search, 0.0, (why,))]
    assert not any(isinstance(one, Observation) for one in told)


@pytest.mark.parametrize(("right_mm", "side"), [(-30.0, "left"), (30.0, "right")])
def test_a_clot_is_told_on_its_side_and_where_it_lies(
    monkeypatch: pytest.MonkeyPatch, right_mm: float, side: str
) -> None:
    case = Case(chest(spacing_mm=(2.5, 2.5, 3.0), blood_hu=300.0, seed=1).volume)
    scene = scene_of(case)
    carina = airways(case).carina_mm
    assert scene is not None and carina is not None
    centre = np.add(carina, (right_mm, 20.0, -20.0))
    at = tuple(np.rint(scene.grid.to_ijk(centre)).astype(int))
    clot = np.zeros(scene.hu.shape, dtype=bool)
    clot[at[0] - 1 : at[0] + 2, at[1] - 1 : at[1] + 2, at[2] - 1 : at[2] + 2] = True
    monkeypatch.setattr(tool, "defects", lambda _: [clot])
    seen = [one for one in pulmonary_embolism(case) if isinstance(one, Observation)]
    assert len(seen) == 1 and seen[0].side == side and seen[0].region is not None
    assert np.linalg.norm(np.subtract(seen[0].region.centroid_mm, centre)) < 3.0
    volume = seen[0].measured("volume")
    assert volume is not None and volume.value == pytest.approx(27 * scene.grid.voxel_ml, rel=1e-3)


@pytest.mark.realct
@pytest.mark.parametrize("clot_mm", [10.0, 14.0])
def test_a_clot_put_into_the_arteries_of_a_real_scan_is_found_and_nothing_else(clot_mm: float) -> None:
    case = real_case("cmb-crc-01068")
    scene = scene_of(case)
    assert scene is not None and scene.blood_hu > 300
    blood = scene.place & (scene.hu > 0.7 * scene.blood_hu)
    deep = ndimage.distance_transform_edt(blood, sampling=scene.grid.spacing_mm)
    at = np.unravel_index(int(np.argmax(deep)), deep.shape)
    steps = np.asarray(scene.grid.spacing_mm).reshape(3, 1, 1, 1)
    away = np.sqrt((((np.indices(scene.hu.shape) - np.reshape(at, (3, 1, 1, 1))) * steps) ** 2).sum(axis=0))
    share = ndimage.gaussian_filter((away < clot_mm / 2).astype(np.float32), [0.7 / s for s in scene.grid.spacing_mm])
    found = defects(dataclasses.replace(scene, hu=scene.hu + share * (60.0 - scene.blood_hu)))
    assert not defects(scene)
    assert len(found) == 1 and np.linalg.norm((np.argwhere(found[0]).mean(axis=0) - at) * steps.ravel()) < 3.0
