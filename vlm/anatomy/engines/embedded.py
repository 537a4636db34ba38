"""The engine of the embedded network; off where torch or its weights are missing."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping

from vlm.anatomy import network
from vlm.anatomy.classes import CLASSES, ORGANS
from vlm.anatomy.engines.protocol import LabelMap, MapEngine, Off
from vlm.evidence import Case

NAMES: Mapping[int, str] = {number: name for number, name in enumerate(CLASSES) if name in ORGANS}


def off() -> Off | None:
    """Why the network cannot run here."""
    if not network.WEIGHTS.is_file():
        return Off(
            reason="no weights are part of this version",
            remedy=f"Train them (vlm/train/segment.py) and put them at vlm/anatomy/{network.WEIGHTS.name}.",
        )
    if importlib.util.find_spec("torch") is None or importlib.util.find_spec("safetensors") is None:
        return Off(reason="torch is not installed", remedy="pip install 'tomoscribe[encoder]'")
    return None


def label(case: Case) -> LabelMap:
    """The network's map of a case, on its working grid."""
    return LabelMap(network.network(case), case.working.grid, NAMES)


def embedded() -> MapEngine:
    """The network as an engine."""
    return MapEngine(name="network", version="1", label=label, structures=frozenset(ORGANS), check=off)
