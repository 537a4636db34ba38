"""What small networks, taught on synthetic bodies, see in each cell of a scene, summed up for the heads that ship.

In: a Scene. Out: ``cell_numbers(scene)``: for every column of the packs that was drawn for them, how sure they are of
the surest cells, of the surest cube of 9 mm and of 21 mm, and how much of the body they take for it. A network sees the
``features`` of one cell alone. Three were taught, each without another third of the bodies, so that the heads could
learn from bodies that a network had not seen; here the mean of their log odds counts. Nothing here is evidence.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy import ndimage
from scipy.special import expit

from vlm.encoder.cell_features import MIDDLE, NAMES, STEP, Bytes, features
from vlm.encoder.scene import VOXEL_ML, Bools, Floats, Numbers, Scene
from vlm.encoder.weights import WeightsError

SHIPPED = Path(__file__).with_name("cells.safetensors")
WAYS = ("peak", "cube", "block", "ml")
SUREST = 3  # cells whose mean is the peak
CUBE, BLOCK = 3, 7  # cells along an edge
NOWHERE = -12.0  # log odds outside the body
LEAST, MOST = -12.0, 12.0
AT_ONCE = 4096  # cells: their numbers stay in the cache


@dataclass(frozen=True, eq=False)
class Net:
    """A perceptron on the features of a cell: log odds of every column."""

    layers: Sequence[tuple[Floats, Floats]]  # weight (out, in), bias (out,)

    def logits(self, values: Bytes) -> Floats:
        """(N, len(NAMES)) bytes to (N, C) log odds."""
        out = np.empty((len(values), len(self.layers[-1][1])), dtype=np.float32)
        for start in range(0, len(values), AT_ONCE):
            told = (values[start : start + AT_ONCE].astype(np.float32) - MIDDLE) / STEP
            for weight, bias in self.layers[:-1]:
                told = np.maximum(told @ weight.T + bias, 0.0)
            weight, bias = self.layers[-1]
            out[start : start + AT_ONCE] = told @ weight.T + bias
        return np.clip(out, LEAST, MOST, out=out)


@dataclass(frozen=True, eq=False)
class Nets:
    """The networks, one a fold, and what they were taught."""

    columns: tuple[str, ...]  # "pack: column"
    nets: tuple[Net, ...]
    command: str
    features: tuple[str, ...] = NAMES  # of a cell, that they were taught on
    sha256: str = ""

    def save(self, path: Path) -> int:
        """Write safetensors, whole or not at all; its size in bytes."""
        arrays = {
            f"{n}.{k}.{name}": np.ascontiguousarray(array.astype(np.float16))
            for n, net in enumerate(self.nets)
            for k, layer in enumerate(net.layers)
            for name, array in zip(("weight", "bias"), layer, strict=True)
        }
        told = {"columns": json.dumps(self.columns), "features": json.dumps(self.features), "command": self.command}
        unready = path.with_suffix(".part")
        save_file(arrays, unready, metadata=told)
        unready.replace(path)
        return path.stat().st_size


def load_nets(path: Path) -> Nets:
    """Networks as ``Nets.save`` wrote them."""
    with safe_open(path, framework="numpy") as file:
        told = file.metadata()
        held = {name: file.get_tensor(name).astype(np.float32) for name in file.keys()}  # noqa: SIM118  no mapping
    counts = sorted({tuple(map(int, name.split(".")[:2])) for name in held})
    nets = {n: [(held[f"{n}.{k}.weight"], held[f"{n}.{k}.bias"]) for m, k in counts if m == n] for n, _ in counts}
    return Nets(
        columns=tuple(json.loads(told["columns"])), nets=tuple(Net(layers=layers) for layers in nets.values()),
        command=told["command"], features=tuple(json.loads(told["features"])),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
    )  # fmt: skip


@functools.cache
def shipped_nets() -> Nets:
    """The networks that ship; none where their file is not there, as before they are taught for the first time."""
    return load_nets(SHIPPED) if SHIPPED.is_file() else Nets(columns=(), nets=(), command="")


def names_of(columns: Sequence[str]) -> tuple[str, ...]:
    """What ``summed`` gives, in its order."""
    return tuple(f"cells.{column}.{way}" for column in columns for way in WAYS)


def cell_numbers(seen: Scene) -> Numbers:
    """Of the networks that ship, their mean; it is somewhat calmer than each of them, which heads learned from.

    Raises:
        WeightsError: they were taught on other features of a cell.
    """
    nets = shipped_nets()
    if not nets.nets:
        return {}
    if nets.features != NAMES:
        raise WeightsError(f"E_WEIGHTS: {SHIPPED.name} was taught on other features of a cell. Teach it again.")
    cells = features(seen)
    told = nets.nets[0].logits(cells.values)
    for net in nets.nets[1:]:
        told += net.logits(cells.values)
    told /= len(nets.nets)
    return dict(zip(names_of(nets.columns), map(float, summed(told, cells.inside)), strict=True))


def summed(logits: Floats, inside: Bools) -> Floats:
    """(C * len(WAYS),) of (N, C) log odds of the cells inside."""
    told, room = [], np.full(inside.shape, NOWHERE, dtype=np.float32)
    for of in logits.T:
        room[inside] = of
        surest = np.partition(of, -SUREST)[-SUREST:].mean()
        cube, block = (ndimage.uniform_filter(room, edge).max() for edge in (CUBE, BLOCK))
        told += [surest, cube, block, np.log1p(float(expit(of).sum()) * VOXEL_ML)]
    return np.array(told, dtype=np.float32)
