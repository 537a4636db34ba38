"""How sure a figure is: Wilson's interval of a share, and a bootstrap that draws whole patients."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 1000
SEED = 41
Interval = tuple[float, float]
Values = Sequence[tuple[str, float]]  # person, value


def wilson(hits: int, number: int, z: float = 1.96) -> Interval:
    """Wilson's 95 % interval of a share."""
    share, square = hits / number, z * z / number
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / number + square / (4 * number)) / (1 + square)
    return round(max(0.0, middle - half), 3), round(min(1.0, middle + half), 3)


class Bootstrap:
    """95 % intervals from resampled patients: all values of a person come together, or not at all."""

    def __init__(self, people: Sequence[str]) -> None:
        names = sorted(set(people))
        self.index = {name: number for number, name in enumerate(names)}
        rng = np.random.default_rng(SEED)
        shares = np.full(len(names), 1 / len(names))
        self.times = rng.multinomial(len(names), shares, size=RESAMPLES)  # (RESAMPLES, people)

    def mean(self, values: Values) -> Interval | None:
        """Interval of the mean of values; None where there are none."""
        if not values:
            return None
        sums, counts = np.zeros(len(self.index)), np.zeros(len(self.index))
        for person, value in values:
            sums[self.index[person]] += value
            counts[self.index[person]] += 1
        drawn = self.times @ counts
        return _interval((self.times @ sums)[drawn > 0] / drawn[drawn > 0])

    def median(self, values: Values) -> Interval | None:
        """Interval of the median of values; None where there are none."""
        if not values:
            return None
        ordered = sorted(values, key=lambda pair: pair[1])
        sizes = np.array([value for _, value in ordered])
        reached = np.cumsum(self.times[:, [self.index[person] for person, _ in ordered]], axis=1)
        some = reached[:, -1] > 0
        return _interval(sizes[np.argmax(reached[some] >= reached[some, -1:] / 2, axis=1)])


def _interval(drawn: NDArray[np.float64]) -> Interval:
    low, high = np.percentile(drawn, (2.5, 97.5))
    return round(float(low), 3), round(float(high), 3)
