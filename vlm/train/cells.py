"""Teach the networks of cells: ``python -m vlm.train.cells FOLDER --bodies 300 [--workers 2]``.

Read from top to bottom. The bodies of ``vlm.train.bodies`` are drawn where they are missing. A perceptron learns, of
the features of a cell, for every column of the packs whether the cell is part of it; it sees all cells of a kind that
are few, and some of the others. Of three such networks each is taught without a third of the bodies, and what it says
of that third is kept in FOLDER: from it ``vlm.train.measured`` teaches the heads.
"""

from __future__ import annotations

import argparse
import functools
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vlm.encoder.cell_features import MIDDLE, NAMES, STEP, Bytes
from vlm.encoder.cells import SHIPPED, Net, Nets, load_nets, names_of, shipped_nets, summed
from vlm.encoder.measures import as_vector
from vlm.encoder.scene import Floats
from vlm.errors import UsageError
from vlm.train.bodies import Taught, TaughtCells, columns, every_body, gathered, taught_cells

FOLDS = 3
WIDTHS = (192, 128)
# Cells of a body: by chance, and of each column. To teach again of those that it took wrongly changed nothing.
BACKGROUND, EACH = 12_000, 600
EPOCHS, BATCH, RATE, DECAY = 12, 8192, 3e-3, 1e-3
LEAST_BODIES = 3  # with a column, for a network to have it
MOST_WEIGHT = 30.0  # of a cell of a column, beside one that is not
NUMBERS = "cells.npz"
Bits = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Sample:
    """Cells to learn from: bytes (N, F), and (N, C) which column is there, and which its phase does not show."""

    values: Bytes
    shown: Bits
    hidden: Bits


def spread(bits: NDArray[np.uint64], wanted: Sequence[str]) -> Bits:
    """(N,) bits of all columns to (N, C) of 0 and 1 of the wanted ones."""
    places = np.array([list(columns()).index(name) for name in wanted], dtype=np.uint64)
    return ((bits[:, None] >> places) & np.uint64(1)).astype(np.uint8)


def sampled(body: TaughtCells, wanted: Sequence[str], rng: np.random.Generator) -> Sample:
    """Some cells of a body: many by chance, and of each column as many again as it has, up to EACH."""
    held = np.flatnonzero(body.shown)
    chosen = [rng.choice(len(body.shown), min(BACKGROUND, len(body.shown)), replace=False)]
    for of in spread(body.shown[held], wanted).T:
        there = held[np.flatnonzero(of)]
        chosen.append(rng.choice(there, min(EACH, len(there)), replace=False))
    at = np.unique(np.concatenate(chosen))
    return Sample(body.values[at], spread(body.shown[at], wanted), spread(body.hidden[at], wanted))


def together(samples: Iterable[Sample]) -> Sample:
    """One after the other."""
    held = list(samples)
    return Sample(*(np.concatenate([getattr(one, name) for one in held]) for name in ("values", "shown", "hidden")))


def perceptron(columns_: int) -> nn.Sequential:
    """Untaught, from the same seed each time."""
    torch.manual_seed(0)
    sizes = (len(NAMES), *WIDTHS)
    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear(sizes[-1], columns_))


def learn(net: nn.Sequential, sample: Sample, epochs: int = EPOCHS) -> Net:
    """Teach a network in place; what its phase hides counts neither way."""
    count, steps = len(sample.values), epochs * -(-len(sample.values) // BATCH)
    there = sample.shown.sum(axis=0).clip(1)
    weight = torch.from_numpy(np.clip(np.sqrt((count - there) / there), 1.0, MOST_WEIGHT).astype(np.float32))
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    rng = np.random.default_rng(0)
    for _ in range(epochs):
        for at in np.array_split(rng.permutation(count), -(-count // BATCH)):
            told = net((torch.from_numpy(sample.values[at]).float() - MIDDLE) / STEP)
            shown, known = (torch.from_numpy(part[at]).float() for part in (sample.shown, 1 - sample.hidden))
            loss = nn.functional.binary_cross_entropy_with_logits(told, shown, weight=known, pos_weight=weight)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    pairs = [(each.weight, each.bias) for each in net if isinstance(each, nn.Linear)]
    half = [[part.detach().numpy().astype(np.float16).astype(np.float32) for part in pair] for pair in pairs]
    return Net(layers=[(weight, bias) for weight, bias in half])  # as it is kept


def teach(folder: Path, count: int, wanted: Sequence[str], fold: int) -> Net:
    """A network of the bodies that are not of a fold."""
    rng = np.random.default_rng(0)
    chosen = together(sampled(taught_cells(folder, n), wanted, rng) for n in range(count) if n % FOLDS != fold)
    return learn(perceptron(len(wanted)), chosen)


def unseen(folder: Path, nets: Nets, number: int) -> Floats:
    """What the network that did not see a body says of it, summed up."""
    body = taught_cells(folder, number)
    return summed(nets.nets[number % FOLDS].logits(body.values), body.inside)


def save_numbers(folder: Path, bodies: Sequence[Taught], nets: Nets, numbers: Floats) -> None:
    """Keep (B, N) what networks said of bodies that they had not seen."""
    unready = folder / f"part.{NUMBERS}"
    np.savez(unready, patients=[one.patient for one in bodies], names=names_of(nets.columns), nets=nets.sha256,
             numbers=numbers)  # fmt: skip
    unready.replace(folder / NUMBERS)


def with_cells(folder: Path, bodies: Sequence[Taught]) -> list[Taught]:
    """Bodies with the numbers that ``main`` kept of them behind those that they have.

    Raises:
        UsageError: these were kept of other bodies, or by other networks than those that ship.
    """
    path = folder / NUMBERS
    if not path.is_file():
        raise UsageError(f"E_USAGE: {path.name} is not in {folder.name}. Run python -m vlm.train.cells first.")
    with np.load(path) as held:
        told = dict(zip(held["patients"].tolist(), held["numbers"], strict=True))
        names, made_by = held["names"].tolist(), str(held["nets"])
    if made_by != shipped_nets().sha256 or not {one.patient for one in bodies} <= set(told):
        raise UsageError(f"E_USAGE: {path.name} is of other networks or bodies. Run python -m vlm.train.cells again.")
    vectors = (as_vector(dict(zip(names, told[one.patient], strict=True)), names) for one in bodies)
    return [replace(one, vector=np.r_[one.vector, more]) for one, more in zip(bodies, vectors, strict=True)]


def main() -> None:
    """Draw what is missing, teach three networks, keep what each says of the bodies that it did not see, and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where bodies are kept, some 45 MB each")
    parser.add_argument("--bodies", type=int, default=300)
    parser.add_argument("--workers", type=int, default=1, help="processes; 0 is one a processor")
    parser.add_argument("--out", type=Path, default=SHIPPED)
    options = parser.parse_args()
    if options.bodies < FOLDS * LEAST_BODIES:
        raise UsageError(f"E_USAGE: --bodies is {options.bodies}, expected at least {FOLDS * LEAST_BODIES}.")
    bodies = every_body(options.folder, options.bodies, options.workers)
    wanted = tuple(name for name in columns() if sum(one.truth[name] == 1 for one in bodies) >= LEAST_BODIES)
    made = gathered(functools.partial(teach, options.folder, options.bodies, wanted), FOLDS, options.workers)
    command = f"python -m vlm.train.cells {options.folder.name} --bodies {options.bodies}"
    Nets(columns=wanted, nets=tuple(made), command=command).save(options.out)
    nets = load_nets(options.out)
    told = gathered(functools.partial(unseen, options.folder, nets), options.bodies, options.workers)
    save_numbers(options.folder, bodies, nets, np.array(told))


if __name__ == "__main__":
    main()
