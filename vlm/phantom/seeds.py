"""Which seeds are for training, which for tuning, which for measuring: no person is in two parts.

A seed is a person, whatever findings, phase or scanner are drawn for it, and a prior has the seed of
its scan. So parts of seeds are parts of patients. What is trained may only ask for ``train`` seeds, what
is chosen or calibrated for ``tune`` seeds, and what is printed comes from ``test`` seeds. Scans that take
implants are split by patient in the data set that they come from, not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from vlm.errors import UsageError

Split = Literal["train", "tune", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
RANGES: Mapping[Split, range] = {
    "train": range(1_000_000),  # also every small seed that somebody types by hand
    "tune": range(1_000_000, 1_100_000),
    "test": range(1_100_000, 1_200_000),
}


def split_of(seed: int) -> Split | None:
    """The part that a seed belongs to; None beyond all of them."""
    return next((name for name, seeds in RANGES.items() if seed in seeds), None)


def seeds(split: Split, count: int, *, first: int = 0) -> Sequence[int]:
    """``count`` seeds of a part, from its ``first`` one on.

    Raises:
        UsageError: the part is not known, or does not hold so many.
    """
    if split not in RANGES:
        raise UsageError(f"E_USAGE: --split is {split!r}, expected one of {', '.join(SPLITS)}.")
    whole = RANGES[split]
    if first < 0 or count < 0 or first + count > len(whole):
        raise UsageError(
            f"E_USAGE: seeds {first} to {first + count} of {split!r} are asked for, expected 0 to {len(whole)}."
        )
    return whole[first : first + count]


def only(split: Split, wanted: Sequence[int]) -> Sequence[int]:
    """The seeds themselves, when all belong to a part: what training calls on whatever seeds it is given.

    Raises:
        UsageError: one of them belongs to another part.
    """
    for seed in wanted:
        if split_of(seed) != split:
            raise UsageError(
                f"E_USAGE: seed {seed} belongs to {split_of(seed)}, expected {split}. Take seeds({split!r}, n)."
            )
    return wanted
