"""What a network draws is believed only where anatomy allows it: each rule, on truth and on truth that was spoilt."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from vlm.anatomy.believe import Believed, Part, believe, one_component, strangers, without_necks
from vlm.anatomy.classes import ORGANS
from vlm.anatomy.engines.protocol import LabelMap
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case
from vlm.phantom.body import NAME, body

Drawn = dict[str, NDArray[np.bool_]]


@pytest.fixture(scope="module")
def person() -> tuple[Case, Drawn]:
    """The trunk of a synthetic body, and the true masks of the network's structures."""
    made = body(seed=12, phase="portal", region="trunk", spacing_mm=(5.0, 5.0, 6.0))
    mapped = LabelMap(made.labels, made.volume.grid, NAME)
    case = Case(made.volume)
    drawn = {name: mapped.of(name).on(case.working.grid).voxels for name in ORGANS}
    return case, {name: voxels for name, voxels in drawn.items() if voxels.any()}


def part_of(voxels: NDArray[np.bool_]) -> Part:
    """A mask in its box; what is empty in any."""
    if not voxels.any():
        return Part((slice(0, 1), slice(0, 1), slice(0, 1)), np.zeros((1, 1, 1), dtype=bool))
    box = Mask("any", voxels, Grid(voxels.shape, np.eye(4))).bounds
    return Part(box, voxels[box])


def cleaned(case: Case, drawn: Drawn) -> Believed:
    return believe(case, {name: part_of(voxels) for name, voxels in drawn.items()})


def kept(told: Believed, name: str, case: Case) -> NDArray[np.bool_]:
    return told.parts[name].on(case.working.grid.shape)


def judged(person: tuple[Case, Drawn], **changed: NDArray[np.bool_]) -> Believed:
    case, drawn = person
    few = ("liver", "spleen", "stomach", "kidney_right", "kidney_left", "vertebrae", "lung_right", "lung_left")
    return cleaned(case, {name: drawn[name] for name in few} | changed)


def moved(voxels: NDArray[np.bool_], *, mm: float, axis: int, case: Case) -> NDArray[np.bool_]:
    """A mask shifted along an axis; what leaves the grid is lost."""
    step = round(mm / case.working.grid.spacing_mm[axis])
    out = np.roll(voxels, step, axis=axis)
    lost = slice(0, step) if step > 0 else slice(step, None)
    out[tuple(lost if n == axis else slice(None) for n in range(3))] = False
    return out


def test_the_truth_is_believed_and_kept(person: tuple[Case, Drawn]) -> None:
    told = cleaned(*person)
    assert not told.doubts
    for name, voxels in person[1].items():
        assert kept(told, name, person[0]).sum() >= 0.8 * voxels.sum(), name


def test_loose_pieces_fall_off(person: tuple[Case, Drawn]) -> None:
    spleen = person[1]["spleen"]
    spoilt = spleen.copy()
    spoilt[:4, :4, :4] = True
    told = judged(person, spleen=spoilt)
    assert np.array_equal(kept(told, "spleen", person[0]), kept(judged(person), "spleen", person[0]))


def test_two_crumbs_in_a_box_one_voxel_thin_are_dropped() -> None:
    crumbs = Part((slice(4, 5), slice(4, 5), slice(2, 5)), np.array([[[True, False, True]]]))
    assert not one_component("femur", crumbs, Grid((9, 9, 9), np.diag([3.0, 3.0, 3.0, 1.0])))


@pytest.mark.parametrize(("bridge_mm", "stays"), [(4.0, False), (30.0, True)])
def test_what_hangs_on_a_kidney_by_a_thin_neck_falls_off(bridge_mm: float, stays: bool) -> None:
    grid = Grid((80, 50, 50), np.diag([2.0, 2.0, 2.0, 1.0]))
    x, y, z = np.indices(grid.shape) * 2.0
    across = np.hypot(y - 50, z - 50)
    kidney = np.hypot(x - 40, across) <= 24
    neighbour = np.hypot(x - 110, across) <= 16
    neck = (across <= bridge_mm / 2) & (x > 40) & (x < 110)
    told = without_necks("kidney_left", part_of(kidney | neighbour | neck), grid).on(grid.shape)
    assert (told & kidney).sum() >= 0.99 * kidney.sum()
    assert told[neighbour & ~neck].any() == stays


def test_left_and_right_exchanged_is_not_believed(person: tuple[Case, Drawn]) -> None:
    drawn = person[1]
    told = judged(person, kidney_left=drawn["kidney_right"], kidney_right=drawn["kidney_left"])
    assert {"kidney_left", "kidney_right"} <= set(told.doubts)


def test_a_kidney_that_leaks_to_the_other_side_keeps_its_own(person: tuple[Case, Drawn]) -> None:
    drawn = person[1]
    right = drawn["kidney_right"]
    leaked = right.copy()
    leaked |= moved(drawn["kidney_left"], mm=0, axis=2, case=person[0]) & (np.cumsum(drawn["kidney_left"], axis=2) < 8)
    told = judged(person, kidney_right=leaked)
    assert "kidney_right" not in told.doubts
    assert np.array_equal(kept(told, "kidney_right", person[0]), kept(judged(person), "kidney_right", person[0]))


@pytest.mark.parametrize(("name", "place"), [("spleen", "liver"), ("liver", "spleen"), ("stomach", "kidney_right")])
def test_an_organ_on_the_wrong_side_is_not_believed(person: tuple[Case, Drawn], name: str, place: str) -> None:
    told = judged(person, **{name: person[1][place]})
    assert "side" in told.doubts[name]


@pytest.mark.parametrize(("name", "mm"), [("urinary_bladder", 420.0), ("heart", -330.0)])
def test_the_order_from_head_to_foot_holds(person: tuple[Case, Drawn], name: str, mm: float) -> None:
    case, drawn = person
    alone = {other: drawn[other] for other in ("liver", "kidney_left", "kidney_right", "vertebrae") if other in drawn}
    told = cleaned(case, alone | {name: moved(drawn[name], mm=mm, axis=2, case=case)})
    assert told.doubts[name]


def test_what_lies_far_from_all_its_neighbours_is_not_believed() -> None:
    grid = Grid((30, 30, 60), np.diag([4.0, 4.0, 5.0, 1.0]))
    liver, near, far = (np.zeros(grid.shape, dtype=bool) for _ in range(3))
    liver[4:20, 4:20, 30:50], near[8:12, 8:12, 28:31], far[8:12, 8:12, 2:6] = True, True, True
    whole, beside, away = part_of(liver), part_of(near), part_of(far)
    assert not strangers({"liver": whole, "gallbladder": beside}, grid)
    assert "neighbours" in strangers({"liver": whole, "gallbladder": away}, grid)["gallbladder"]
    assert not strangers({"gallbladder": away}, grid)  # no neighbour was drawn: nothing is known


def test_volumes_and_densities_that_no_adult_has_are_not_believed(person: tuple[Case, Drawn]) -> None:
    drawn = person[1]
    crumb = np.zeros_like(drawn["liver"])
    crumb[tuple(np.argwhere(drawn["liver"])[len(np.argwhere(drawn["liver"])) // 2])] = True
    assert "volume" in judged(person, liver=crumb).doubts["liver"]
    assert "volume" in judged(person, pancreas=drawn["liver"]).doubts["pancreas"]
    told = judged(person, lung_right=drawn["liver"])
    assert "HU" in told.doubts["lung_right"]


def test_a_crumb_at_the_end_of_a_scan_is_no_kidney(person: tuple[Case, Drawn]) -> None:
    _, drawn = person
    crumb = np.zeros_like(drawn["kidney_right"])
    x, y, _ = (int(part.mean()) for part in np.nonzero(drawn["kidney_right"]))
    crumb[x - 1 : x + 2, y - 1 : y + 2, :1] = True
    assert "too small" in judged(person, kidney_right=crumb).doubts["kidney_right"]


def test_nothing_drawn_is_nothing_doubted(person: tuple[Case, Drawn]) -> None:
    empty = {name: np.zeros_like(voxels) for name, voxels in person[1].items()}
    told = cleaned(person[0], empty)
    assert not told.doubts and not any(told.parts.values())
