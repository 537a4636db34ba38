"""Plaques of a phantom, and what a scanner without blur or noise would score them."""

from __future__ import annotations

import numpy as np

PLAQUE_MM3 = 40.0  # the largest single plaque
CALCIUM_HU, AROUND_HU = 700.0, -60.0  # a plaque, and what it is averaged with in a thick slice
SLICE_MM, THRESHOLD_HU, LEAST_MM2 = 3.0, 130.0, 1.0  # Agatston, J Am Coll Cardiol 1990;15:827


def plaques(total_mm3: float) -> tuple[int, float]:
    """How many spheres, and of which radius (mm), hold a volume of calcium."""
    number = int(np.ceil(total_mm3 / PLAQUE_MM3))
    return number, float(np.cbrt(total_mm3 / max(1, number) * 3 / 4 / np.pi))


def perfect_score(total_mm3: float) -> float:
    """Agatston score of the plaques on slices of 3 mm, averaged over where the slices happen to lie.

    A sphere of 4 mm lies in two slices or three: its score is about 1.4 times its volume times its weight.
    """
    number, radius = plaques(total_mm3)
    line = np.arange(-radius, radius, 0.1) + 0.05
    half = np.sqrt(np.maximum(radius**2 - line[:, None] ** 2 - line[None, :] ** 2, 0.0))
    total, starts = 0.0, np.arange(0.0, SLICE_MM, 0.25)
    for start in starts:
        for low in np.arange(start - 3 * SLICE_MM, radius, SLICE_MM):
            filled = np.clip(np.minimum(half, low + SLICE_MM) - np.maximum(-half, low), 0.0, None) / SLICE_MM
            hu = AROUND_HU + filled * (CALCIUM_HU - AROUND_HU)
            area = float(np.count_nonzero(hu > THRESHOLD_HU)) * 0.01
            if area >= LEAST_MM2:
                total += area * float(np.clip(np.floor(hu.max() / 100.0), 1, 4))
    return number * total / len(starts)
