"""Hounsfield units of every tissue for one person in one phase, from ``tissues.toml``."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, TypedDict
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

Phase = Literal["plain", "arterial", "portal"]
PHASES: tuple[Phase, ...] = ("plain", "arterial", "portal")


class Row(TypedDict, total=False):
    """One tissue of the table."""

    hu: list[float]
    spread: float | list[float]
    published: dict[str, list[float]]
    source: str
    texture: list[float]


@cache
def table() -> Mapping[str, Row]:
    """The table as it stands in the file."""
    rows: Mapping[str, Row] = tomllib.loads(files("vlm.phantom.body").joinpath("tissues.toml").read_text("utf-8"))
    return rows


class Tissues:
    """The tissues of one person: the table's means, each moved by that person's own deviation."""

    def __init__(self, phase: Phase, seed: int, *, moved: Mapping[str, float] | None = None) -> None:
        """``moved`` adds HU to tissues: a fatty liver, old bone, a late bolus."""
        self.phase = phase
        self.names = tuple(table())
        self._index = {name: n for n, name in enumerate(self.names)}
        column, moved = PHASES.index(phase), moved or {}
        self.means: NDArray[np.float32] = np.zeros(256, dtype=np.float32)
        self.texture: NDArray[np.float32] = np.zeros((256, 2), dtype=np.float32)
        for name, row in table().items():
            n = self._index[name]
            kin = "blood" if name.startswith("blood_") else name  # one bolus, one blood
            spread = row.get("spread", 0.0)
            own = float(np.clip(np.random.default_rng([seed, 7, crc32(kin.encode())]).normal(), -2, 2))
            own *= spread[column] if isinstance(spread, list) else spread
            self.means[n] = row["hu"][column] + own + moved.get(name, 0.0)
            self.texture[n] = row.get("texture", [0.0, 0.0])

    def index(self, name: str) -> int:
        """Number of a tissue in the tissue map."""
        return self._index[name]

    def hu(self, name: str) -> float:
        """Mean of a tissue, HU."""
        return float(self.means[self._index[name]])
