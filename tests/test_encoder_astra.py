"""The embedded encoder against figures of the published weights, and the way a scan takes into it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.encoder import Recipe, availability, embed, prepare
from vlm.encoder.adapter import Adapted, Adapter, Head
from vlm.encoder.astra import RECIPE
from vlm.encoder.embedding import forget
from vlm.encoder.heat import Heat, heat
from vlm.encoder.recipe import network_grid
from vlm.evidence import Case

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from vlm.encoder.astra import Astra

CHEST = Recipe(
    key="chest", shape=(224, 224, 160), spacing_mm=None, window_hu=(-1000, 200), above_hu=-1000, resize="area"
)
needs_weights = pytest.mark.skipif(
    not availability().on, reason=f"the encoder's weights are {availability().reason}: {availability().remedy}"
)


def formula_scan() -> Volume:
    """The scan of the shared figures: given along L, P, S, so both first axes are turned."""
    n = shape = (180, 150, 60)
    i, j, k = np.meshgrid(*(np.arange(m, dtype=np.float64) for m in shape), indexing="ij")
    body = ((i - 0.45 * n[0]) / (0.35 * n[0])) ** 2 + ((j - 0.55 * n[1]) / (0.3 * n[1])) ** 2
    lung = ((i - 0.3 * n[0]) / (0.1 * n[0])) ** 2 + ((j - 0.5 * n[1]) / (0.12 * n[1])) ** 2 < 1
    hu = np.where(body < 1, 40 + 60 * np.sin(0.09 * i) * np.cos(0.05 * j) + 3 * k - 800 * lung, -1024)
    turned = np.asfortranarray(np.rint(hu).astype(np.int16)[::-1, ::-1])
    return Volume(turned, Grid(shape, np.diag([1.9, 1.9, 4.0, 1.0])), Scan(source="phantom"))


def formula_input(shape: tuple[int, int, int]) -> NDArray[np.float32]:
    i, j, k = np.meshgrid(*(np.arange(m, dtype=np.float64) for m in shape), indexing="ij")
    waves = 0.5 + 0.5 * np.sin(0.11 * i + 0.07 * j) * np.cos(0.13 * k)
    middle = sum((index / size - 0.5) ** 2 for index, size in zip((i, j, k), shape, strict=True))
    return np.clip(waves * np.exp(-3 * middle), 0, 1).astype(np.float32)


def cosine(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    a, b = a.ravel().astype(np.float64), b.ravel().astype(np.float64)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@pytest.fixture(scope="module")
def figures(shared: Path) -> dict[str, NDArray[np.float32]]:
    with np.load(shared / "encoders" / "astra_parity.npz") as file:
        return {name: file[name] for name in file.files}


@pytest.mark.realct
@pytest.mark.parametrize(("name", "recipe"), [("merlin", RECIPE), ("chest", CHEST)])
def test_a_scan_is_prepared_as_published(name: str, recipe: Recipe, figures: dict[str, NDArray[np.float32]]) -> None:
    values = prepare(formula_scan(), recipe).values
    assert np.abs(values[::8, ::8, ::8] - figures[f"prep_{name}_sub8"]).max() < 1e-5
    stats = [values.mean(), values.std(), values.min(), values.max(), values.sum(dtype=np.float64)]
    assert stats == pytest.approx(figures[f"prep_{name}_stats"].tolist(), rel=1e-4, abs=1e-6)


@pytest.fixture(scope="module")
def exact() -> Astra:
    from vlm.encoder.astra import Astra

    return Astra(device="cpu", dtype="float32")


@needs_weights
@pytest.mark.realct
def test_features_are_those_of_the_published_weights(exact: Astra, figures: dict[str, NDArray[np.float32]]) -> None:
    import torch

    with torch.inference_mode():
        values = torch.from_numpy(formula_input((64, 64, 48)))[None, None]
        kept = exact.tower(values, wanted=("conv1", *exact.tower.stages))
    for (stage, found), mean, sd in zip(kept.items(), figures["stage_mean_s"], figures["stage_std_s"], strict=True):
        assert (float(found.mean()), float(found.std())) == pytest.approx((mean, sd), rel=1e-3), stage
    last = kept["layer4"][0].numpy()
    assert np.abs(last.mean(axis=(1, 2, 3)) - figures["pooled_s"]).max() < 1e-3
    assert cosine(last.mean(axis=(1, 2, 3)), figures["pooled_s"]) > 0.999999
    centre = tuple(n // 2 for n in last.shape[1:])
    assert np.abs(last[:, centre[0], centre[1], centre[2]] - figures["layer4_center_s"]).max() < 1e-3


@needs_weights
@pytest.mark.realct
def test_bfloat16_keeps_the_vector(figures: dict[str, NDArray[np.float32]]) -> None:
    from vlm.encoder.astra import Astra

    lean = Astra(device="cpu", dtype="bfloat16")
    prepared = prepare(formula_scan(), RECIPE)
    small = type(prepared)(formula_input((96, 80, 64)), "RAS", prepared.scale, prepared.start, prepared.seen)
    assert cosine(lean.features(small).pooled, figures["pooled_m"]) > 0.9995


def test_folding_changes_no_number() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed: pip install tomoscribe[encoder]")
    from vlm.encoder.resnet import I3ResNet, folded

    torch.manual_seed(0)
    net = I3ResNet(blocks=(1, 2, 1, 1), width=8)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.running_mean.normal_(), module.running_var.uniform_(0.5, 2), module.weight.data.uniform_(0.5, 2)
    net.eval()
    values = torch.rand(1, 1, 32, 48, 24)
    with torch.inference_mode():
        before, after = net(values, ("conv1", "layer4")), folded(net)(values, ("conv1", "layer4"))
    for stage in ("conv1", "layer4"):
        assert torch.allclose(before[stage], after[stage], atol=1e-4), stage
    assert after["layer4"].shape == (1, 256, 2, 1, 2)  # (z, x, y): strides 16, 32, 32


@pytest.mark.parametrize("spacing", [(0.7, 0.7, 1.0), (1.5, 1.5, 3.0), (2.5, 2.5, 7.0)])
def test_every_voxel_of_the_network_lies_where_the_scan_says(spacing: tuple[float, float, float]) -> None:
    # A scan whose HU is its own z in mm: whatever was cropped or padded, a value tells where it came from.
    shape = (64, 48, 90)
    grid = Grid(shape, np.diag([*spacing, 1.0]))
    z_mm = np.broadcast_to(np.arange(90) * spacing[2], shape)
    volume = Volume(np.asfortranarray(np.rint(z_mm).astype(np.int16)), grid, Scan(source="phantom"))
    recipe = Recipe(key="t", shape=(40, 40, 30), spacing_mm=(1.5, 1.5, 3.0), window_hu=(0, 1000), fill=-1.0)
    prepared = prepare(volume, recipe)
    where = network_grid(volume, prepared)
    column = prepared.values[20, 20]
    inside = column >= 0
    known = where.to_mm(np.stack([np.full(30, 20), np.full(30, 20), np.arange(30)], axis=1))[:, 2]
    assert inside.any()
    assert np.abs(column[inside] * 1000 - np.clip(known[inside], 0, 89 * spacing[2])).max() < 1.0


def test_what_the_crop_leaves_out_is_told() -> None:
    shape = (20, 20, 400)
    volume = Volume(
        np.zeros(shape, np.int16, order="F"), Grid(shape, np.diag([2.0, 2.0, 2.5, 1])), Scan(source="phantom")
    )
    seen = prepare(volume, RECIPE).seen
    assert seen.fraction == pytest.approx(480 / 1000, abs=0.01)
    assert "260 mm at the bottom" in seen.note
    assert "top" in seen.note
    assert not prepare(volume, Recipe(key="t", shape=(8, 8, 8), spacing_mm=None, window_hu=(0, 1))).seen.note


class Mean:
    """An encoder whose one feature is the mean of what it sees, in cells of 8 voxels."""

    recipe = Recipe(key="t", shape=(32, 32, 32), spacing_mm=(2.0, 2.0, 2.0), window_hu=(0, 100))
    licence, text = "", None

    def __init__(self) -> None:
        from vlm.encoder import Identity

        self.identity, self.runs = Identity(encoder="mean", weights="0" * 64, recipe="t"), 0

    def features(self, prepared):  # type: ignore[no-untyped-def]
        from vlm.encoder import Features

        self.runs += 1
        return Features(prepared.values[None, ::8, ::8, ::8].copy(), (8, 8, 8))

    def project(self, features, organ=""):  # type: ignore[no-untyped-def]  # noqa: ARG002
        return features


def halves() -> tuple[Volume, list[Mask]]:
    """A scan whose right half is bright, and a mask of each half, clear of the middle."""
    shape = (32, 32, 32)
    hu = np.zeros(shape, np.int16, order="F")
    hu[16:] = 100
    volume = Volume(hu, Grid(shape, np.diag([2.0, 2.0, 2.0, 1])), Scan(source="phantom"))
    voxels = {"lung_left": np.zeros(shape, bool), "lung_right": np.zeros(shape, bool)}
    voxels["lung_left"][:11], voxels["lung_right"][17:] = True, True
    return volume, [Mask(name, part, volume.grid) for name, part in voxels.items()]


def test_an_organ_is_pooled_under_its_own_mask(tmp_path: Path) -> None:
    volume, masks = halves()
    outside = Grid(volume.grid.shape, np.diag([2.0, 2.0, 2.0, 1]) + np.pad([[500.0]], ((0, 3), (3, 0))))
    masks.append(Mask("elsewhere", np.ones(outside.shape, bool), outside))
    made = embed(volume, Mean(), masks, folder=tmp_path)
    assert made.vector == pytest.approx([0.5])
    assert made.organs["lung_left"] == pytest.approx([0.0])
    assert made.organs["lung_right"] == pytest.approx([1.0])
    assert 0.0 < made.organs["lung"][0] < 1.0
    assert made.seen["elsewhere"] == 0.0
    assert "elsewhere" not in made.organs
    assert made.of("pleura", "right") == (made.organs["lung_right"], "lung_right")
    assert made.of("lung")[1] == "lung"
    assert made.of("liver") == (made.vector, "")  # not segmented: the scan's own


def test_what_was_computed_is_not_computed_again_until_the_masks_change(tmp_path: Path) -> None:
    volume, masks = halves()
    encoder = Mean()
    made = embed(volume, encoder, masks, folder=tmp_path)
    again = embed(volume, encoder, masks, folder=tmp_path)
    assert encoder.runs == 1
    assert again.organs["lung_right"] == made.organs["lung_right"]
    assert (again.seen, again.sizes_ml) == (made.seen, made.sizes_ml)
    embed(volume, encoder, masks[:1], folder=tmp_path)
    assert encoder.runs == 2
    assert forget(volume.sha256, tmp_path) == 1
    assert not list(tmp_path.iterdir())


def test_the_heat_of_a_head_lies_where_its_score_comes_from() -> None:
    volume, _ = halves()
    one = np.ones((1, 1), dtype=np.float32)
    head = Head(column="Lymphadenopathy", findings=("lymphadenopathy",))
    adapter = Adapter(name="t", base=str(Mean().identity), means={"": 0 * one[0]}, directions=one, scale=one[0], up=one,
                      weight=one, bias=0 * one[0], heads=(head,), farthest=1.0, trained_on="", command="")  # fmt: skip
    found = heat(Case(volume), Adapted(Mean(), [adapter]), "lymphadenopathy")
    assert isinstance(found, Heat)
    assert found.source == "head"
    middle = volume.grid.to_mm([15.5, 15.5, 15.5])
    assert found.mask.box.low_mm[0] > middle[0] > found.grid.to_mm([0, 0, 0])[0]
    assert found.grid.spacing_mm == pytest.approx((16.0, 16.0, 16.0))
    dark = Adapted(Mean(), [replace(adapter, weight=-one)])
    against = heat(Case(volume), dark, "lymphadenopathy")
    assert isinstance(against, Heat)
    assert not against.mask
