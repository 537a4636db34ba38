"""Networks of cells: what they look at, how what they say is summed up, and what they are taught from."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from vlm.encoder.cell_features import MIDDLE, NAMES, STEP, features
from vlm.encoder.cells import NOWHERE, SHIPPED, WAYS, Net, Nets, cell_numbers, load_nets, names_of, shipped_nets, summed
from vlm.encoder.measures import NAMES as MEASURED
from vlm.encoder.measures import PHYSICAL
from vlm.encoder.scene import VOXEL_ML, Scene, scene
from vlm.encoder.weights import WeightsError
from vlm.errors import UsageError
from vlm.train import cells as training
from vlm.train.bodies import Taught, TaughtCells, columns

SIZE = 24
EMPHYSEMA = "ct-rate-18: Emphysema"


def fat_with_a_stone(spacing_mm: float = 3.0) -> Scene:
    """A block of fat of 72 mm with a bright ball of 6 mm across in it and a liver beside."""
    steps = np.arange(round(SIZE * 3.0 / spacing_mm)) * spacing_mm
    z, y, x = np.meshgrid(steps, steps, steps, indexing="ij")
    hu = np.full(z.shape, -100, dtype=np.int16)
    hu[(z - 36) ** 2 + (y - 36) ** 2 + (x - 36) ** 2 <= 3**2] = 400
    liver = x > 54
    hu[liver] = 60
    return scene(
        hu, (spacing_mm,) * 3, np.zeros(3), {"body": np.ones_like(liver), "liver": liver}, dome_mm=40.0, carina_mm=None,
        canal_mm=np.zeros((0, 3)), ratio=None, covered={},
    )  # fmt: skip


def unit(name: str, values: np.ndarray) -> np.ndarray:
    return (values[..., NAMES.index(name)].astype(float) - MIDDLE) / STEP


def test_a_stone_is_a_peak_and_a_liver_is_near() -> None:
    seen = features(fat_with_a_stone())
    told = seen.values.reshape(SIZE, SIZE, SIZE, -1)
    middle = told[12, 12, 12]
    assert unit("top", middle) > unit("top", told[3, 3, 3])
    assert unit("peak_1", told)[:, :, :14].max() == unit("peak_1", middle)
    assert unit("to_liver", told[3, 3, 20]) < 0 < unit("to_liver", told[3, 3, 14]) < unit("to_liver", told[3, 3, 2])
    assert unit("to_spleen", told).min() == pytest.approx((255 - MIDDLE) / STEP, abs=0.2)  # it was not found
    assert unit("bend_1_2", middle) < 0  # a ball bends down along every axis
    assert seen.values.dtype == np.uint8


def test_what_is_smaller_than_a_cell_is_seen_in_its_brightest_voxel() -> None:
    fine = fat_with_a_stone(1.0)
    assert fine.top.max() == 400
    assert fine.bottom.min() == -100
    assert fine.top.shape == fine.hu.shape == (SIZE,) * 3


def test_what_a_network_says_is_summed_up_as_peak_cube_block_and_volume() -> None:
    inside = np.ones((20, 20, 20), dtype=bool)
    inside[0] = False
    sure = np.full(inside.shape, -12.0, dtype=np.float32)
    sure[8:11, 8:11, 8:11] = 6.0
    other = np.full(inside.shape, -12.0, dtype=np.float32)
    other[15, 15, 15] = 8.0
    told = summed(np.stack([sure[inside], other[inside]], axis=1), inside).reshape(2, len(WAYS))
    assert told[0, 0] == pytest.approx(6.0)
    assert told[0, 1] == pytest.approx(6.0)
    assert told[0, 3] == pytest.approx(np.log1p(27 * VOXEL_ML), rel=0.02)
    assert told[1, 0] == pytest.approx((8.0 - 2 * 12.0) / 3)
    assert told[1, 1] < told[0, 1]
    assert summed(np.full((inside.sum(), 1), -3.0, dtype=np.float32), inside)[1] == pytest.approx(-3.0)
    assert NOWHERE < -3.0


def net(columns_: int) -> Net:
    rng = np.random.default_rng(0)
    sizes = (len(NAMES), 8, columns_)
    return Net(layers=[(rng.normal(0, 0.1, (b, a)).astype(np.float32), rng.normal(0, 0.1, b).astype(np.float32))
                       for a, b in itertools.pairwise(sizes)])  # fmt: skip


def test_networks_are_kept_and_refused_where_features_are_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Nets(columns=("a: b", "a: c"), nets=(net(2), net(2)), command="by hand")
    made.save(tmp_path / "nets.safetensors")
    held = load_nets(tmp_path / "nets.safetensors")
    assert held.columns == made.columns
    assert held.command == "by hand"
    values = np.random.default_rng(1).integers(0, 255, (50, len(NAMES))).astype(np.uint8)
    assert held.nets[1].logits(values) == pytest.approx(made.nets[1].logits(values), abs=0.05)  # half precision
    other = replace(held, features=("other",))
    monkeypatch.setattr("vlm.encoder.cells.shipped_nets", lambda: other)
    with pytest.raises(WeightsError, match="other features"):
        cell_numbers(fat_with_a_stone())


def test_a_network_says_what_torch_says() -> None:
    torch_net = training.perceptron(3)
    pairs = [(one.weight.detach().numpy(), one.bias.detach().numpy()) for one in torch_net if hasattr(one, "weight")]
    values = np.random.default_rng(2).integers(0, 255, (40, len(NAMES))).astype(np.uint8)
    told = torch_net((torch.from_numpy(values).float() - MIDDLE) / STEP).detach().numpy()
    assert Net(layers=pairs).logits(values) == pytest.approx(told, abs=1e-4)


def body_of_cells(rng: np.random.Generator) -> TaughtCells:
    """Cells of which those with a bright first feature are emphysema."""
    values = rng.integers(0, 255, (3375, len(NAMES))).astype(np.uint8)
    bit = np.uint64(1 << list(columns()).index(EMPHYSEMA))
    shown = np.where(values[:, 0] > 240, bit, np.uint64(0))
    return TaughtCells(inside=np.ones((15, 15, 15), dtype=bool), values=values, shown=shown, hidden=0 * shown)


def test_it_learns_what_cells_look_like() -> None:
    rng = np.random.default_rng(3)
    taught = training.together(training.sampled(body_of_cells(rng), [EMPHYSEMA], rng) for _ in range(4))
    assert taught.shown.sum() > 4 * 100
    network, other = training.learn(training.perceptron(1), taught, 80), body_of_cells(rng)
    told, truth = network.logits(other.values)[:, 0], other.shown > 0
    assert np.mean(told[truth]) > np.mean(told[~truth]) + 3


def test_what_a_phase_hides_counts_neither_way() -> None:
    rng = np.random.default_rng(4)
    plain = training.sampled(body_of_cells(rng), [EMPHYSEMA], rng)
    hidden = replace(plain, shown=np.zeros_like(plain.shown), hidden=np.ones_like(plain.hidden))
    known = replace(hidden, hidden=np.zeros_like(plain.hidden))  # the same, and surely not there

    def moved(sample: training.Sample) -> float:
        network = training.perceptron(1)
        before = [one.detach().clone() for one in network.parameters()]
        training.learn(network, sample, 5)
        return max(
            float((one - other).detach().abs().max()) for one, other in zip(before, network.parameters(), strict=True)
        )

    assert moved(hidden) < 1e-5  # by the decay of weights
    assert moved(known) > 100 * moved(hidden)


def test_heads_are_taught_of_bodies_and_networks_that_belong_together(tmp_path: Path) -> None:
    bodies = [Taught(patient=str(n), vector=np.zeros(2, dtype=np.float32), truth={}) for n in range(3)]
    with pytest.raises(UsageError, match="Run python"):
        training.with_cells(tmp_path, bodies)
    numbers = np.arange(3 * len(names_of(shipped_nets().columns)), dtype=np.float32).reshape(3, -1)
    training.save_numbers(tmp_path, bodies, shipped_nets(), numbers)
    told = training.with_cells(tmp_path, list(reversed(bodies)))
    assert [one.vector[2] for one in told] == pytest.approx(np.log1p(numbers[::-1, 0]))
    training.save_numbers(tmp_path, bodies, replace(shipped_nets(), sha256="other"), numbers)
    with pytest.raises(UsageError, match="other networks"):
        training.with_cells(tmp_path, bodies)


def test_the_networks_that_ship_are_small_and_part_of_the_list() -> None:
    nets = shipped_nets()
    assert SHIPPED.stat().st_size < 1_000_000
    assert nets.command.startswith("python -m vlm.train.cells")
    assert (*PHYSICAL, *names_of(nets.columns)) == MEASURED
    assert set(nets.columns) <= set(columns())
