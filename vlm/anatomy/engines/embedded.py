"""The engine of the embedded network; off where torch or its weights are missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vlm.anatomy import network
from vlm.anatomy.believe import believe, parts
from vlm.anatomy.classes import CLASSES, ORGANS
from vlm.anatomy.engines.protocol import LabelMap, MapEngine, Off
from vlm.evidence import Case

VERSION = "1"
NAMES: Mapping[int, str] = {number: name for number, name in enumerate(CLASSES) if name in ORGANS}


def embedded(weights: Path = network.WEIGHTS) -> MapEngine:
    """The network as an engine, with the weights that are shipped or others."""

    def label(case: Case) -> LabelMap:
        return believed(case, network.network(case, weights))

    return MapEngine(
        name="network", version=VERSION, label=label, structures=frozenset(ORGANS), check=lambda: off(weights)
    )


def believed(case: Case, drawn: NDArray[np.uint8]) -> LabelMap:
    """The network's map, cleaned and judged by anatomy."""
    told = believe(case, parts(drawn, NAMES))
    voxels = np.zeros_like(drawn)
    for number, name in NAMES.items():
        if part := told.parts.get(name):
            voxels[part.box][part.voxels] = number
    return LabelMap(voxels, case.working.grid, NAMES, told.doubts)


def off(weights: Path) -> Off | None:
    """Why the network cannot run here."""
    if not weights.is_file():
        return Off(
            reason="no weights are part of this version",
            remedy=f"Train them (vlm/train/segment.py) and put {weights.name} into vlm/anatomy",
        )
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None:
        return Off(reason="torch is not installed", remedy="pip install 'tomoscribe[encoder]'")
    return None
