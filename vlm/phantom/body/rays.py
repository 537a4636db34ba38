"""Parallel rays through a slice and back: what a scanner measures, and the filtered back projection of it."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from vlm.phantom.body.shapes import Floats


@cache
def _places(size: int, angles: int) -> tuple[NDArray[np.int32], Floats]:
    """(angles, size * size) the ray below each pixel of a square, and how far the pixel lies towards the next one."""
    middle = (size - 1) / 2
    y, x = (np.indices((size, size)) - middle).reshape(2, -1)
    turn = np.linspace(0, np.pi, angles, endpoint=False)[:, None]
    place = np.clip(x * np.cos(turn) - y * np.sin(turn) + middle, 0, size - 1.001)
    low = place.astype(np.int32)
    return low, (place - low).astype(np.float32)


def project(image: Floats, angles: int) -> Floats:
    """(N, N) -> (angles, N): sums along parallel rays over half a turn, in pixels."""
    size = len(image)
    low, part = _places(size, angles)
    held = np.flatnonzero(image)
    values = image.reshape(-1)[held]
    out = np.empty((angles, size), dtype=np.float32)
    for n in range(angles):
        at, share = low[n, held], part[n, held]
        out[n] = np.bincount(at, values * (1 - share), size) + np.bincount(at + 1, values * share, size)
    return out


def back_project(rays: Floats) -> Floats:
    """(angles, N) -> (N, N): the slice of these rays, with a ramp filter."""
    angles, size = rays.shape
    low, part = _places(size, angles)
    padded = fft.next_fast_len(2 * size, real=True)
    ramp = 2 * np.abs(fft.rfftfreq(padded))
    sharp = fft.irfft(fft.rfft(rays, padded, axis=1) * ramp, padded, axis=1)[:, :size].astype(np.float32)
    out = np.zeros(size * size, dtype=np.float32)
    for n in range(angles):
        row = sharp[n]
        step = np.append(np.diff(row), 0).astype(np.float32)
        out += row[low[n]] + part[n] * step[low[n]]
    return (out * np.float32(np.pi / (2 * angles))).reshape(size, size)
