"""The embedded segmenter's recipe: what a partial map teaches, that a cut run is the same run, that left stays left."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the segmenter needs the extra `network`")
from torch.nn import functional  # noqa: E402

from vlm.anatomy.classes import CLASSES, INDEX, class_of  # noqa: E402
from vlm.anatomy.network import AIR_HU, labelled, likeliest, load  # noqa: E402
from vlm.anatomy.refine import refined  # noqa: E402
from vlm.anatomy.unet import UNet  # noqa: E402
from vlm.ct.volume import Grid  # noqa: E402
from vlm.phantom.body.labels import NUMBER  # noqa: E402
from vlm.train import segment  # noqa: E402
from vlm.train.labelled import EITHER, Labelled  # noqa: E402
from vlm.train.samples import BEYOND, Piece, sample  # noqa: E402
from vlm.train.segment import Recipe, train  # noqa: E402

SMALL = Piece(size=(32, 32, 16), step_mm=10.0)


@pytest.fixture(scope="module")
def two_halves() -> Labelled:
    """A block of which the right half is liver and the left half spleen, in air."""
    hu = np.full((60, 50, 40), -1000, dtype=np.int16)
    target = np.zeros(hu.shape, dtype=np.uint8)
    hu[10:30, 10:40], target[10:30, 10:40] = 110, 2  # x grows to the right
    hu[30:50, 10:40], target[30:50, 10:40] = 50, 1
    sets = np.zeros((3, len(CLASSES)), dtype=bool)
    sets[[0, 1, 2], [INDEX["outside"], INDEX["liver"], INDEX["spleen"]]] = True
    return Labelled("two halves", hu, target, sets, (5.0, 5.0, 5.0), (147.5, 122.5))


def test_every_structure_of_the_body_belongs_to_a_class() -> None:
    for name in NUMBER:
        assert class_of(name) in CLASSES
    for names in EITHER.values():
        assert set(names) <= set(CLASSES)
    assert class_of("kidney_right") == "kidney_right"
    assert class_of("lung_upper_lobe_left") == "lung_left"


def test_a_sample_keeps_right_right(two_halves: Labelled) -> None:
    for seed in range(12):
        images, rows = sample(two_halves, SMALL, np.random.default_rng(seed))
        liver, spleen = (np.argwhere(rows.numpy() == row) for row in (1, 2))
        if len(liver) > 50 and len(spleen) > 50:
            assert liver[:, 0].mean() > spleen[:, 0].mean()
        right = images[2].numpy()
        assert np.all(np.diff(right[:, 0, 0]) > 0)
        assert np.all(images[1].numpy()[rows.numpy() == BEYOND] <= -1)


def test_the_same_seed_draws_the_same_sample(two_halves: Labelled) -> None:
    one, other = (sample(two_halves, SMALL, np.random.default_rng(3)) for _ in range(2))
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])


def test_what_a_partial_map_leaves_open_is_not_punished() -> None:
    sets = torch.zeros(2, len(CLASSES), dtype=torch.bool)
    sets[0, [INDEX["pancreas"], INDEX["soft_tissue"]]] = True
    sets[1, INDEX["liver"]] = True
    exact, weights = torch.tensor([-1, INDEX["liver"]]), torch.ones(len(CLASSES))
    rows = torch.zeros(4, 4, 4, dtype=torch.uint8)

    def loss(name: str) -> float:
        scores = torch.full((len(CLASSES),), -9.0)
        scores[INDEX[name]] = 9.0
        head = lambda features: scores.expand(len(features), -1)  # noqa: E731
        return float(segment._asked(head, torch.zeros(3, 4, 4, 4), rows, sets, exact, weights, 50))

    assert loss("pancreas") < 0.01
    assert loss("soft_tissue") < 0.01
    assert loss("liver") > 5


def test_a_run_that_was_cut_gives_the_weights_of_one_that_was_not(
    two_halves: Labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment, "COARSE", SMALL)
    monkeypatch.setattr(segment, "FINE", SMALL)
    monkeypatch.setattr(segment, "CHECKPOINT_STEPS", 2)
    monkeypatch.setattr(segment, "VOXELS", 500)
    recipe = Recipe(steps=4, widths=(8, 8, 8), threads=1)
    train([two_halves], [], recipe, tmp_path / "whole.safetensors")

    class CutError(Exception):
        pass

    kept = segment._checkpoint

    def cut(*given: object) -> None:
        kept(*given)  # type: ignore[arg-type]
        raise CutError

    monkeypatch.setattr(segment, "_checkpoint", cut)
    with pytest.raises(CutError):
        train([two_halves], [], recipe, tmp_path / "cut.safetensors")
    monkeypatch.undo()
    for name, value in (("COARSE", SMALL), ("FINE", SMALL), ("CHECKPOINT_STEPS", 2), ("VOXELS", 500)):
        monkeypatch.setattr(segment, name, value)
    train([two_halves], [], recipe, tmp_path / "cut.safetensors")
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "cut.safetensors").read_bytes()


def test_outside_the_body_is_outside_and_every_size_of_scan_works(tmp_path: Path) -> None:
    segment.save(UNet(len(CLASSES), (8, 8, 8)), Recipe(widths=(8, 8, 8)), tmp_path / "random.safetensors")
    net = load(tmp_path / "random.safetensors")
    for shape in ((40, 33, 7), (61, 50, 70)):
        inside = np.zeros(shape, dtype=bool)
        inside[5:30, 5:25] = True
        hu = np.where(inside, 40, AIR_HU).astype(np.int16)
        said = labelled(hu, inside, Grid(shape, np.diag([2.0, 2.0, 2.5, 1.0])), net)
        assert said.shape == shape
        assert not said[~inside].any()


@pytest.mark.parametrize("fine", [(18, 26, 14), (23, 31, 14), (12, 13, 40)])
def test_the_likeliest_class_between_voxels_is_that_of_linear_scores(fine: tuple[int, int, int]) -> None:
    noise = torch.randn((1, 5, 9, 13, 7), generator=torch.Generator().manual_seed(3))
    smooth = functional.avg_pool3d(noise, 3, 1, 1)
    linear = functional.interpolate(smooth, size=fine, mode="trilinear")[0].argmax(dim=0).numpy()
    inside = np.random.default_rng(3).random(fine) < 0.8
    found = likeliest(smooth[0].permute(1, 2, 3, 0).contiguous(), inside)
    assert np.array_equal(found, np.where(inside, linear, 0))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    segment.save(UNet(len(CLASSES), (8, 8, 16)), Recipe(widths=(8, 8, 8)), tmp_path / "wrong.safetensors")
    with pytest.raises((ValueError, RuntimeError)):
        load(tmp_path / "wrong.safetensors")


def test_an_organ_ends_where_its_density_does_and_keeps_what_lies_in_it() -> None:
    grid = Grid((40, 40, 40), np.diag([2.0, 2.0, 2.0, 1.0]))
    liver = np.zeros(grid.shape, dtype=bool)
    liver[7:33, 7:33, 7:33] = True
    cyst = np.zeros_like(liver)
    cyst[17:23, 17:23, 17:23] = True
    hu = np.where(cyst, 5, np.where(liver, 60, -100)).astype(np.int16)
    hu += np.random.default_rng(5).normal(0, 12, grid.shape).astype(np.int16)
    scores = torch.zeros((20, 20, 20, len(CLASSES)))
    scores[..., INDEX["fat"]] = 1.0
    scores[2:18, 2:18, 2:18, INDEX["liver"]] = 3.0  # from 4 to 36
    drawn = np.where(np.pad(np.ones((32, 32, 32), dtype=bool), 4), INDEX["liver"], INDEX["fat"]).astype(np.uint8)
    inside = np.ones(grid.shape, dtype=bool)
    inside[:, 31:] = False
    found = refined(drawn, scores, hu, inside, grid) == INDEX["liver"]
    assert found[cyst].all()
    assert not found[~inside].any()
    truth = liver & inside
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.92
    before = (drawn == INDEX["liver"]) & inside
    assert 2 * (before & truth).sum() / (before.sum() + truth.sum()) < 0.8


def test_a_map_without_organs_stays_as_it_is() -> None:
    grid = Grid((9, 8, 7), np.diag([2.0, 2.0, 2.0, 1.0]))
    drawn = np.full(grid.shape, INDEX["bone"], dtype=np.uint8)
    scores = torch.zeros((5, 4, 4, len(CLASSES)))
    same = refined(drawn, scores, np.zeros(grid.shape, dtype=np.int16), np.ones(grid.shape, dtype=bool), grid)
    assert np.array_equal(same, drawn)
