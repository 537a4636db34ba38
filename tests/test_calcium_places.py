"""Whose calcium it is: coronary, of the root of the aorta, of a valve, of a wall, or of a bone beside it."""

from __future__ import annotations

import numpy as np
import pytest

from tests.test_heart_tools import run, searches, seen, with_block
from vlm.anatomy.arch import arch
from vlm.anatomy.heart import heart
from vlm.anatomy.skeleton import skeleton
from vlm.ct.volume import Grid, Mask, Volume
from vlm.evidence import Case, Observation
from vlm.phantom.chest import chest
from vlm.tools.calcium_places import (
    STRAIGHT_MM,
    WALL_MM,
    Root,
    bone_reach,
    is_bone_edge,
    place_of,
    root_wall,
    true_bone,
)


@pytest.fixture(scope="module")
def plain() -> Volume:
    return chest(spacing_mm=(1.0, 1.0, 2.5), seed=3).volume


def below_the_ascending_aorta(volume: Volume, below_mm: float, left_mm: float) -> tuple[float, float, float]:
    """A place below the lowest circle of the ascending aorta and left of its middle, RAS mm."""
    limb = arch(Case(volume)).ascending
    x, y, z = limb.centres_mm[np.flatnonzero(limb.sure)[0]]
    return float(x - left_mm), float(y), float(z - below_mm)


def test_calcium_at_the_root_of_the_aorta_is_told_for_none_of_those_it_may_belong_to(plain: Volume) -> None:
    scan = with_block(plain, below_the_ascending_aorta(plain, 24.0, 8.0), (4.0, 4.0, 6.0), 700)
    case = Case(scan)
    evidence = run("heart_calcification", case) + run("aortic_calcification", case)
    assert not [e for e in evidence if isinstance(e, Observation) and e.presence == "present"]
    for finding in ("coronary_artery_calcification", "aortic_valve_calcification", "aortic_calcification"):
        told = seen(evidence, finding, "uncertain")
        assert told or not any(search.looked for search in searches(evidence, finding)), finding


@pytest.mark.parametrize(
    ("at_mm", "fat_share", "fat_mm", "place"),
    [
        ((-30.0, 25.0, -10.0), 0.4, 3.0, "coronary"),  # in the groove left of the aorta
        ((-2.0, 16.0, -10.0), 0.3, 3.0, "root_wall"),  # beside the fat in front of the aorta
        ((-20.0, 0.0, -40.0), 0.1, 4.0, "root"),
        ((-22.0, 2.0, -45.0), 0.0, 10.0, "aortic_valve"),
        ((-40.0, -30.0, -50.0), 0.02, 9.0, "mitral_valve"),
        ((-40.0, 30.0, -50.0), 0.02, 9.0, "unsure"),  # deep, but in front, where no valve of the left heart lies
        ((0.0, 17.0, 6.0), 0.3, 2.0, "wall"),  # beside a circle
        ((0.0, 30.0, 6.0), 0.3, 2.0, "coronary"),
    ],
)
def test_calcium_of_the_heart_is_told_by_its_fat_and_by_the_root_of_the_aorta(
    at_mm: tuple[float, float, float], fat_share: float, fat_mm: float, place: str
) -> None:
    circles = np.array([(0.0, 0.0, 0.0), (0.0, 0.0, 6.0), (0.0, 0.0, 12.0)])
    origin = Root(circles, np.array([16.0, 16.0, 17.0]))
    middle = (-20.0, 0.0, -30.0)
    assert place_of(at_mm, fat_share=fat_share, fat_mm=fat_mm, origin=origin, heart_mm=middle) == place


def test_the_edge_of_a_vertebra_beside_the_aorta_is_no_calcium_of_its_wall() -> None:
    grid = Grid((30, 30, 4), np.diag([1.0, 1.0, 3.0, 1.0]))
    dense = np.zeros(grid.shape[::-1], dtype=bool)
    dense[:, :10] = True  # a body with its edge
    dense[:, 20:23, 10:14] = True  # a plaque
    bones = Mask("bone", np.asfortranarray(dense.T & (np.arange(30) < 7)[None, :, None]), grid)
    near, reaching = bone_reach(dense, bones, grid)
    edge = dense & (np.arange(30) >= 8)[None, :, None] & (np.arange(30) < 12)[None, :, None]
    assert is_bone_edge(edge, near, reaching)
    assert not is_bone_edge(dense & (np.arange(30) >= 18)[None, :, None], near, reaching)


def test_a_valve_that_calcifies_as_one_lump_is_no_bone(plain: Volume) -> None:
    middle = heart(Case(plain)).mask.centre_mm
    case = Case(with_block(plain, middle, (20.0, 20.0, 7.0), 600))
    lump = tuple(np.rint(case.working.grid.to_ijk(middle)).astype(int))
    assert skeleton(case).voxels[lump] and not true_bone(case).voxels[lump]
    assert np.count_nonzero(true_bone(case).voxels) > 0.9 * np.count_nonzero(skeleton(case).voxels)
    evidence = run("heart_calcification", case)
    assert not seen(evidence, "coronary_artery_calcification")
    assert any(seen(evidence, key, "uncertain") for key in ("aortic_valve_calcification", "mitral_calcification"))


@pytest.mark.parametrize("shear", [0.0, -0.6], ids=["upright", "tilted gantry"])
def test_the_wall_below_the_traced_aorta_lies_around_its_last_circle(
    plain: Volume, monkeypatch: pytest.MonkeyPatch, shear: float
) -> None:
    affine = np.diag([2.0, 2.0, 2.5, 1.0])
    affine[:3, 3] = (-60.0, -60.0, -40.0)
    affine[1, 2] = shear
    grid, circle = Grid((60, 60, 20), affine), Root(np.array([(3.0, -5.0, 0.0)]), np.array([16.0]))
    monkeypatch.setattr("vlm.tools.calcium_places.root", lambda _: circle)
    points = grid.to_mm(np.argwhere(root_wall(Case(plain), grid))[:, ::-1]) - circle.centres_mm[0]
    away, up = np.hypot(points[:, 0], points[:, 1]), points[:, 2]
    assert np.abs(away - 16.0).max() <= WALL_MM
    assert (up.min(), up.max()) == (-STRAIGHT_MM, -2.5)
    area_mm2 = len(points) / len(np.unique(up)) * 4.0
    assert area_mm2 == pytest.approx(2 * np.pi * 16.0 * 2 * WALL_MM, rel=0.1)  # a whole ring in each slice
