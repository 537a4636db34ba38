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


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree that forks evenly: fork ``n`` of a level leads to forks ``2n`` and ``2n + 1`` of the next.

    ``nodes`` holds, level by level, (2**level, 3) places of forks, the root first and the tips last;
    ``radii`` the radius, mm, of the pieces that end there.
    """

    nodes: tuple[NDArray[np.float64], ...]
    radii: tuple[float, ...]

    def pieces(self, levels: int | None = None) -> NDArray[np.float64]:
        """(N, 8) rows of start, radius there, end, radius there."""
        rows = []
        for level in range(1, len(self.nodes) if levels is None else min(levels + 1, len(self.nodes))):
            end = self.nodes[level]
            start = np.repeat(self.nodes[level - 1], len(end) // len(self.nodes[level - 1]), axis=0)
            thick, thin = (np.full((len(end), 1), self.radii[n]) for n in (level - 1, level))
            rows.append(np.hstack([start, 0.5 * (thick + thin), end, thin]))
        return np.concatenate(rows)

    def beside(self, levels: int, *, share: float, gap_mm: float, root: Point) -> Tree:
        """The first ``levels`` of a tree that runs along this one, its radius a ``share`` of this one's."""
        nodes = [np.array([root], dtype=np.float64)]
        for level in range(1, levels + 1):
            here = self.nodes[level]
            along = here - np.repeat(self.nodes[level - 1], len(here) // len(self.nodes[level - 1]), axis=0)
            across = np.cross(along, (0.3, 1.0, 0.2))
            across /= np.maximum(np.linalg.norm(across, axis=1, keepdims=True), 1e-6)
            nodes.append(here + across * (self.radii[level] * (1 + share) + gap_mm))
        return Tree(tuple(nodes), tuple(share * radius for radius in self.radii[: levels + 1]))


def fork(root: Point, tips: NDArray[np.float64], *, root_radius_mm: float, tip_radius_mm: float) -> Tree:
    """A tree from ``root`` to ``tips`` (2**n, 3): at every fork the tips part along their longest extent.

    Radii fall by one factor a fork; with 3 mm at the root and 0.4 mm after 9 forks it is Murray's law.
    """
    levels = len(tips).bit_length() - 1
    if len(tips) != 1 << levels or not levels:
        raise ValueError(f"a tree that forks evenly needs 2, 4, 8 ... tips, found {len(tips)}")
    nodes = [np.array([root], dtype=np.float64)]
    groups = tips[None].astype(np.float64)  # (forks, tips of each, 3)
    for level in range(levels + 1):
        middle = groups.mean(axis=1)
        here = np.repeat(nodes[-1], len(groups) // len(nodes[-1]), axis=0)
        nodes.append(here + (0.5 if level < levels else 1.0) * (middle - here))
        if level < levels:
            apart = groups - middle[:, None]
            longest = np.linalg.eigh(np.einsum("gni,gnj->gij", apart, apart))[1][:, :, 2]
            order = np.argsort(np.einsum("gni,gi->gn", apart, longest), axis=1, kind="stable")
            groups = np.take_along_axis(groups, order[:, :, None], axis=1).reshape(2 * len(groups), -1, 3)
    radii = root_radius_mm * (tip_radius_mm / root_radius_mm) ** (np.arange(levels + 2) / (levels + 1))
    return Tree(tuple(nodes), tuple(float(radius) for radius in radii))
