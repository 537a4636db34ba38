"""Branching tubes: vessels and airways as straight pieces between forks.

``grow`` joins a root to many tips by halving the tips again and again; a piece's radius
follows Murray's law (the cube of the parent is the sum of the cubes of its children).
Points are RAS mm; distances take broadcastable float32 coordinates.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Point, as_point

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True, slots=True)
class Branch:
    """A straight tube with round ends from ``start`` to ``end``, RAS mm."""

    start: Point
    end: Point
    radius_mm: float

    def distance(self, x: Floats, y: Floats, z: Floats) -> Floats:
        """Signed distance to the tube, mm, below 0 inside."""
        u, v, w = x - self.start[0], y - self.start[1], z - self.start[2]
        d = [b - a for a, b in zip(self.start, self.end, strict=True)]
        length = max(d[0] ** 2 + d[1] ** 2 + d[2] ** 2, 1e-6)
        t = np.clip(u * (d[0] / length) + v * (d[1] / length) + w * (d[2] / length), 0.0, 1.0)
        return np.asarray(
            np.sqrt((u - t * d[0]) ** 2 + (v - t * d[1]) ** 2 + (w - t * d[2]) ** 2) - self.radius_mm, dtype=np.float32
        )

    def wider(self, by_mm: float) -> Branch:
        """The same tube with a radius larger by ``by_mm``."""
        return replace(self, radius_mm=self.radius_mm + by_mm)

    def beside(self, gap_mm: float, *, radius_mm: float) -> Branch:
        """A tube along this one, ``gap_mm`` between their surfaces."""
        along = np.subtract(self.end, self.start)
        across = np.cross(along, (0.3, 1.0, 0.2))
        shift = across / max(float(np.linalg.norm(across)), 1e-6) * (self.radius_mm + gap_mm + radius_mm)
        return Branch(as_point(np.add(self.start, shift)), as_point(np.add(self.end, shift)), radius_mm)


def grow(
    root: Point, tips: NDArray[np.float64], *, tip_radius_mm: float, root_radius_mm: float | None = None
) -> list[Branch]:
    """Pieces that join ``root`` to every one of ``tips`` (N, 3); radii by Murray's law, at most ``root_radius_mm``."""
    pieces: list[Branch] = []
    stack = [(np.asarray(root, dtype=np.float64), tips)]
    while stack:
        here, group = stack.pop()
        middle = group.mean(axis=0)
        radius = tip_radius_mm * len(group) ** (1 / 3)
        radius = radius if root_radius_mm is None else min(radius, root_radius_mm)
        there = group[0] if len(group) == 1 else here + 0.45 * (middle - here)
        pieces.append(Branch(as_point(here), as_point(there), radius))
        if len(group) > 1:
            spread = np.linalg.svd(group - middle, full_matrices=False)[2][0]
            order = np.argsort((group - middle) @ spread, kind="stable")
            stack += [(there, group[order[: len(group) // 2]]), (there, group[order[len(group) // 2 :]])]
    return pieces
