"""Signed distances in mm, below 0 inside, of float32 coordinates that broadcast: the words of the body.

Coordinates are RAS mm of the reference body (``frame``). Distances are exact near a surface
and only monotone far from it, which is all that edges, shells and unions need.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

Floats = NDArray[np.floating[Any]]
Triple = tuple[float, float, float]


class Profile:
    """A smooth curve through (height, value) pairs, looked up by the millimetre."""

    def __init__(self, keys: Sequence[tuple[float, float]]) -> None:
        heights, values = (np.array(part, dtype=np.float64) for part in zip(*sorted(keys), strict=True))
        self.first = float(heights[0])
        line = np.arange(heights[0], heights[-1] + 1.0)
        self.table = PchipInterpolator(heights, values)(np.minimum(line, heights[-1])).astype(np.float32)

    def __call__(self, z: Floats) -> Floats:
        index = np.rint(np.asarray(z) - self.first).astype(np.int32)
        return np.asarray(self.table[np.clip(index, 0, len(self.table) - 1)])

    def at(self, z: float) -> float:
        """The value at one height."""
        return float(self(np.asarray(z)))


def squircle(u: Floats, v: Floats, a: float | Floats, b: float | Floats, boxy: float | Floats = 0.5) -> Floats:
    """Distance to an oval with radii ``a``, ``b`` round the z axis: an ellipse at ``boxy`` 0, nearly a box at 1."""
    p, q = np.minimum((u / a) ** 2, 4.0), np.minimum((v / b) ** 2, 4.0)
    root = np.sqrt(np.maximum(p + q - boxy * np.minimum(p, 1) * np.minimum(q, 1), 1e-6))
    slope = np.sqrt(
        p * (1 - boxy * np.minimum(q, 1)) ** 2 / np.square(a) + q * (1 - boxy * np.minimum(p, 1)) ** 2 / np.square(b)
    )
    return np.asarray((root - 1) * root / (slope + 1e-5), dtype=np.float32)


def turned(x: Floats, y: Floats, z: Floats, centre: Triple, degrees: Triple) -> tuple[Floats, Floats, Floats]:
    """Coordinates in a frame at ``centre`` that is turned about x, then y, then z."""
    u, v, w = x - centre[0], y - centre[1], z - centre[2]
    for axis, angle in enumerate(degrees):
        if angle:
            c, s = float(np.cos(np.deg2rad(angle))), float(np.sin(np.deg2rad(angle)))
            if axis == 0:
                v, w = v * c + w * s, w * c - v * s
            elif axis == 1:
                u, w = u * c - w * s, w * c + u * s
            else:
                u, v = u * c + v * s, v * c - u * s
    return u, v, w


def ellipsoid(
    x: Floats, y: Floats, z: Floats, centre: Triple, radii: Triple, degrees: Triple = (0.0, 0.0, 0.0)
) -> Floats:
    """Distance to an ellipsoid."""
    u, v, w = turned(x, y, z, centre, degrees)
    a, b, c = radii
    u, v, w = u / a, v / b, w / c
    root = np.sqrt(u * u + v * v + w * w) + 1e-6
    slope = np.sqrt((u / a) ** 2 + (v / b) ** 2 + (w / c) ** 2) + 1e-6
    return np.asarray((root - 1) * root / slope, dtype=np.float32)


def cone(x: Floats, y: Floats, z: Floats, a: Sequence[float], b: Sequence[float], swell_mm: float = 0.0) -> Floats:
    """Distance to a straight tube with round ends from ``a`` to ``b`` (x, y, z, radius), thicker in its middle."""
    u, v, w = x - a[0], y - a[1], z - a[2]
    d = [float(q) - float(p) for p, q in zip(a[:3], b[:3], strict=True)]
    t = np.clip((u * d[0] + v * d[1] + w * d[2]) / max(d[0] ** 2 + d[1] ** 2 + d[2] ** 2, 1e-6), 0, 1)
    radius = a[3] + (b[3] - a[3]) * t + 4 * swell_mm * t * (1 - t)
    return np.asarray(
        np.sqrt((u - t * d[0]) ** 2 + (v - t * d[1]) ** 2 + (w - t * d[2]) ** 2) - radius, dtype=np.float32
    )


def around(
    centre: Sequence[float], reach_mm: float
) -> tuple[tuple[float, float], tuple[float, float], tuple[float, float]]:
    """The box of (low, high) along x, y, z that reaches ``reach_mm`` from a point."""
    x, y, z = ((float(v) - reach_mm, float(v) + reach_mm) for v in centre)
    return x, y, z


def both(a: Floats, b: Floats | float) -> Floats:
    """Intersection of two shapes."""
    return np.asarray(np.maximum(a, b), dtype=np.float32)


def join(a: Floats, b: Floats, blend_mm: float) -> Floats:
    """Union of two shapes with a fillet."""
    h = np.maximum(blend_mm - np.abs(a - b), 0.0)
    return np.asarray(np.minimum(a, b) - h * h * (0.25 / blend_mm), dtype=np.float32)


def meet(a: Floats, b: Floats, blend_mm: float) -> Floats:
    """Intersection of two shapes with a rounded edge."""
    return -join(-a, -b, blend_mm)


def smooth_line(points: Sequence[Sequence[float]] | Floats, step_mm: float = 4.0) -> NDArray[np.float64]:
    """(N, 3) points along a smooth curve through ``points``, about ``step_mm`` apart; more columns follow along."""
    knots = np.asarray(points, dtype=np.float64)
    along = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(knots[:, :3], axis=0), axis=1) + 1e-3)])
    count = max(2, int(np.ceil(along[-1] / step_mm)) + 1)
    if len(knots) < 3:
        t = np.linspace(0, 1, count)[:, None]
        return np.asarray(knots[0] * (1 - t) + knots[-1] * t)
    return np.asarray(PchipInterpolator(along, knots)(np.linspace(0, along[-1], count)))
