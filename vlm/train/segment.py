"""Train the embedded segmenter: ``python -m vlm.train.segment --out weights.safetensors --scans DIR --hold-out NAME``.

Read from top to bottom: what is learned from (drawn maps and synthetic bodies, half and half), what is asked
(marginal cross entropy and Dice on sampled voxels, on three grids), how long. Killed, it goes on where its last
checkpoint stands; every step draws from a generator of its own, so a run that was cut gives the same weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from vlm.anatomy.classes import CLASSES
from vlm.anatomy.unet import UNet
from vlm.phantom.body import PHASES
from vlm.phantom.seeds import seeds
from vlm.train.labelled import Labelled, drawn, phantom
from vlm.train.samples import BEYOND, Piece, sample

DENSITIES = 4  # the first classes: outside, fat, soft tissue, bone
VOXELS = 12_000  # of a sample that are asked
CHECKPOINT_STEPS = 250
STEADY = 0.998  # of the running mean of weights that is kept


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that a run depends on beside its data."""

    steps: int = 8000
    fine_from: float = 0.7  # share of the steps after which the finer grid begins
    rate: float = 1.5e-3
    widths: tuple[int, ...] = (32, 64, 96, 128)
    phantom_share: float = 0.5
    seed: int = 0
    threads: int = 2


COARSE, FINE = Piece(), Piece(size=(96, 80, 48), step_mm=4.0)


def train(
    real: Sequence[Labelled], made: Sequence[Labelled], recipe: Recipe, out: Path, base: Path | None = None
) -> None:
    """Train and write ``out`` (safetensors, float16); ``out``.checkpoint holds the state to go on from.

    Args:
        real: scans with drawn maps.
        made: synthetic bodies.
        base: checkpoint of another run whose weights are the first ones.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)  # of the first weights
    net = UNet(len(CLASSES), recipe.widths)
    if base is not None:
        net.load_state_dict(torch.load(base, weights_only=True)["mean"])
    net.to(memory_format=torch.channels_last_3d)
    mean = UNet(len(CLASSES), recipe.widths)
    mean.load_state_dict(net.state_dict())
    optimiser = torch.optim.AdamW(net.parameters(), lr=recipe.rate, weight_decay=1e-4)
    first = _resume(out, net, mean, optimiser)
    weights = _weights([*real, *made])
    began = time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(_draw, real, made, recipe, first)
        for step in range(first, recipe.steps):
            source, (images, rows) = coming.result()
            coming = pool.submit(_draw, real, made, recipe, step + 1)
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * _pace(step, recipe.steps)
            torch.manual_seed(recipe.seed + step)  # of the voxels that are asked
            loss = _loss(net, source, images, rows, weights)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            _follow(mean, net, min(STEADY, (step + 1) / (step + 10)))
            if (step + 1) % 50 == 0:
                print(f"{step + 1} {float(loss.detach()):.3f} {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201
            if (step + 1) % CHECKPOINT_STEPS == 0:
                _checkpoint(out, net, mean, optimiser, step + 1)
    _checkpoint(out, net, mean, optimiser, recipe.steps)
    save(mean, recipe, out)


def save(net: UNet, recipe: Recipe, out: Path) -> None:
    """Write the weights that use needs, float16, with what made them."""
    kept = {name: part.half().contiguous() for name, part in net.state_dict().items() if "coarse_heads" not in name}
    told = json.dumps({"classes": CLASSES, "recipe": asdict(recipe)})  # one entry: the order of several is chance
    save_file(kept, out.with_suffix(".part"), metadata={"tomoscribe": told})
    out.with_suffix(".part").replace(out)


def _draw(
    real: Sequence[Labelled], made: Sequence[Labelled], recipe: Recipe, step: int
) -> tuple[Labelled, tuple[Tensor, Tensor]]:
    rng = np.random.default_rng([recipe.seed, step])
    pool = made if not real or (made and rng.random() < recipe.phantom_share) else real
    source = pool[int(rng.integers(len(pool)))]
    return source, sample(source, COARSE if step < recipe.fine_from * recipe.steps else FINE, rng)


def _loss(net: UNet, source: Labelled, images: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    """Marginal cross entropy and Dice on the voxels asked, on the full grid and, by half, on the two coarser ones."""
    sets = torch.from_numpy(source.sets)
    exact = torch.as_tensor(source.exact)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        full, coarse = net(images[None].contiguous(memory_format=torch.channels_last_3d))
    total = _asked(net.head, full[0], rows, sets, exact, weights, VOXELS)
    for head, features in zip(net.coarse_heads, coarse, strict=True):
        stride = rows.shape[0] // features.shape[2]
        seen = rows[stride // 2 :: stride, stride // 2 :: stride, stride // 2 :: stride]
        total = total + 0.5 * _asked(head, features[0], seen, sets, exact, weights, VOXELS // 4)
    return total


def _asked(
    head: torch.nn.Module, features: Tensor, rows: Tensor, sets: Tensor, exact: Tensor, weights: Tensor, count: int
) -> Tensor:
    flat = rows.flatten().long()
    which = _chosen(flat, exact, count)
    if which.numel() == 0:
        return features.sum() * 0
    scores = head(features.flatten(1)[:, which].T.float())
    allowed, one = sets[flat[which]], exact[flat[which]]
    likely = scores.log_softmax(dim=1)
    inside = likely.masked_fill(~allowed, -1e4).logsumexp(dim=1)
    weight = torch.where(one >= 0, weights[one.clamp(min=0)], 0.5)
    entropy: Tensor = -(inside * weight).sum() / weight.sum()
    return entropy + _dice(likely.exp(), allowed, one)


def _chosen(flat: Tensor, exact: Tensor, count: int) -> Tensor:
    """Voxels that are asked: most of them of organs, the rest of body and surroundings."""
    known = flat != BEYOND
    one = torch.where(known, exact[flat.clamp(max=len(exact) - 1)], -2)
    organs, others = torch.nonzero(one >= DENSITIES)[:, 0], torch.nonzero(known & (one < DENSITIES))[:, 0]
    picks = [
        part[torch.randint(len(part), (share,))]
        for part, share in ((organs, int(count * 0.6)), (others, int(count * 0.4)))
        if len(part)
    ]
    return torch.cat(picks) if picks else torch.zeros(0, dtype=torch.long)


def _dice(chance: Tensor, allowed: Tensor, one: Tensor) -> Tensor:
    """Soft Dice loss over the classes in the sample, on voxels of which it is known whether they are the class."""
    truth = functional.one_hot(one.clamp(min=0), chance.shape[1]).bool() & (one >= 0)[:, None]
    known = truth | ~allowed
    overlap = (chance * truth).sum(dim=0)
    both = (chance * known).sum(dim=0) + truth.sum(dim=0)
    there = truth.any(dim=0)
    return (1 - (2 * overlap + 1) / (both + 1))[there].mean() if there.any() else chance.sum() * 0


def _weights(sources: Sequence[Labelled]) -> Tensor:
    """Classes that are rarer weigh more: frequency to the power of -1/2, mean 1."""
    count = np.ones(len(CLASSES))
    for source in sources:
        share = np.bincount(source.target.ravel(), minlength=len(source.sets)) / source.target.size
        np.add.at(count, source.exact[source.exact >= 0], share[source.exact >= 0] * 1000)
    weight = np.clip(count / count.sum(), 1e-4, None) ** -0.5
    return torch.as_tensor(weight / weight.mean(), dtype=torch.float32)


def _pace(step: int, steps: int) -> float:
    """Warm up, then a half cosine down to a hundredth."""
    return float(min(1.0, (step + 1) / 200) * (0.01 + 0.99 * 0.5 * (1 + np.cos(np.pi * step / steps))))


@torch.no_grad()
def _follow(mean: UNet, net: UNet, keep: float) -> None:
    for kept, new in zip(mean.parameters(), net.parameters(), strict=True):
        kept.lerp_(new, 1 - keep)


def _checkpoint(out: Path, net: UNet, mean: UNet, optimiser: torch.optim.Optimizer, step: int) -> None:
    state = {"net": net.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict(), "step": step}
    torch.save(state, out.with_suffix(".part"))
    out.with_suffix(".part").replace(out.with_suffix(".checkpoint"))


def _resume(out: Path, net: UNet, mean: UNet, optimiser: torch.optim.Optimizer) -> int:
    path = out.with_suffix(".checkpoint")
    if not path.is_file():
        return 0
    state = torch.load(path, weights_only=True)
    net.load_state_dict(state["net"])
    mean.load_state_dict(state["mean"])
    optimiser.load_state_dict(state["optimiser"])
    return int(state["step"])


def main() -> None:
    """Command line of the recipe."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--scans", type=Path, help="folder of scans with organs_drawn or organs maps")
    ask.add_argument("--hold-out", nargs="*", default=[], help="scans that take no part")
    ask.add_argument("--phantoms", type=int, default=60)
    ask.add_argument("--steps", type=int, default=8000)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--seed", type=int, default=0)
    ask.add_argument("--base", type=Path, help="checkpoint of a run, for one on synthetic bodies alone, to begin from")
    given = ask.parse_args()
    recipe = Recipe(steps=given.steps, seed=given.seed, threads=given.threads)
    maps = sorted(given.scans.glob("*/organs*.json")) if given.scans else []
    real = [drawn(path.parent, path.stem) for path in maps if path.parent.name not in given.hold_out]
    phases, regions = list(PHASES), ("trunk", "trunk", "chest", "abdomen")
    made = [phantom(seed, phases[seed % len(phases)], regions[seed % 4]) for seed in seeds("train", given.phantoms)]
    train(real, made, recipe, given.out, given.base)


if __name__ == "__main__":
    main()
