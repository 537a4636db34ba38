"""From stored values to Hounsfield units: rescale, padding, and whether they are HU at all.

Works slice by slice on (Y, X) arrays while they are in cache. Stored values come in as
int16 or uint16; HU leave as int16. Padding is found here and set to AIR_HU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm.ct.intake import Note, note, refusal
from vlm.ct.volume import AIR_HU

PADDING_HU = -1100  # below any tissue, air and noise of a clipped 12-bit CT: only padding lies there
PLAUSIBLE_AIR_HU = -700  # 1st percentile of a CT that shows air or lung
SOFT_HU, SOFT_SHARE, FAT_SHARE = 200, 0.02, 0.002  # or: 2 % within ±200 HU and 0.2 % below −200 HU
SATURATED_HU, SATURATED_SHARE = 3071, 0.001  # the top of 12 bits with intercept −1024
LOST_OFFSET_HU = 1024  # what is lost when rescale is not applied
INT16 = np.iinfo(np.int16)

Slice = NDArray[np.int16]


def to_hu(stored: NDArray[np.int16] | NDArray[np.uint16], *, slope: float, intercept: float, out: Slice) -> int:
    """Write stored × slope + intercept, rounded, into ``out`` (same shape); returns how many were clipped."""
    low, high = int(stored.min()), int(stored.max())
    if slope == 1.0 and intercept == int(intercept):
        shift = int(intercept)
        if INT16.min <= low + shift and high + shift <= INT16.max and INT16.min <= shift <= INT16.max:
            # Wraps around in between, and back: exact in 16 bits.
            np.add(stored.view(np.int16), np.int16(shift), out=out)
            return 0
    values = stored.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    np.rint(values, out=values)
    clipped = int(np.count_nonzero((values < INT16.min) | (values > INT16.max)))
    np.clip(values, INT16.min, INT16.max, out=values)
    out[...] = values
    return clipped


def masked_bits(
    stored: NDArray[np.uint16], *, bits_stored: int, high_bit: int, signed: bool
) -> NDArray[np.int16] | NDArray[np.uint16]:
    """Raw 16-bit words -> the numbers in them: bits above and below the stored ones removed, sign extended.

    Words that are wider than Bits Stored on the negative side only were written sign-extended
    by a scanner whose tag is too small; they are kept.
    """
    below = high_bit + 1 - bits_stored
    if below > 0:
        stored = stored >> np.uint16(below)
    if bits_stored >= 16:
        return stored.view(np.int16) if signed else stored
    if not signed:
        limit = (1 << bits_stored) - 1
        return stored & np.uint16(limit) if int(stored.max()) > limit else stored
    numbers = stored.view(np.int16)
    if int(numbers.max()) > (1 << (bits_stored - 1)) - 1:
        up = np.int16(16 - bits_stored)
        return (numbers << up) >> up
    return numbers


@dataclass(frozen=True, slots=True)
class PaddingRule:
    """What a header says about padding, in HU: values from ``low`` to ``high``; None when it says nothing."""

    low: int
    high: int


class PaddingFinder:
    """Finds padding slice by slice; neighbouring slices mostly share it, so the last answer is kept."""

    def __init__(self) -> None:
        self._asked: NDArray[np.bool_] | None = None
        self._answer: NDArray[np.bool_] | None = None

    def find(self, hu: Slice, rule: PaddingRule | None) -> NDArray[np.bool_] | None:
        """(Y, X) HU -> (Y, X) bool, or None when the slice has no padding.

        Padding is below PADDING_HU, or as the header says, and connected to the border.
        """
        low = int(hu.min())
        by_rule = rule is not None and rule.high >= PADDING_HU and rule.low <= int(hu[0, 0]) <= rule.high
        if low >= PADDING_HU and not by_rule:
            return None
        candidate = hu < PADDING_HU
        if by_rule and rule is not None:
            candidate |= (hu >= rule.low) & (hu <= rule.high)
        if self._asked is not None and self._asked.shape == candidate.shape and np.array_equal(self._asked, candidate):
            return self._answer
        self._asked, self._answer = candidate, _touching_border(candidate)
        return self._answer


def _touching_border(candidate: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The 4-connected parts of a (Y, X) mask that reach its border, or None."""
    from scipy import ndimage  # not needed to say what is in a folder

    labels, count = ndimage.label(candidate)
    if count == 0:
        return None
    keep = np.zeros(count + 1, dtype=bool)
    for edge in (labels[0], labels[-1], labels[:, 0], labels[:, -1]):
        keep[edge] = True
    keep[0] = False
    return np.asarray(keep[labels]) if keep.any() else None


def value_notes(hu: NDArray[np.int16], padding: NDArray[np.bool_] | None) -> list[Note]:
    """Check that (Z, Y, X) values are HU, and say what limits them. Looks at about a million voxels.

    Raises:
        IntakeError: E_NOT_HU, naming the likely offset where there is one.
    """
    step = tuple(max(1, size // wanted) for size, wanted in zip(hu.shape, (64, 128, 128), strict=True))
    every = tuple(slice(None, None, s) for s in step)
    sample = hu[every].ravel()
    if padding is not None:
        sample = sample[~padding[every].ravel()]
    if not plausible(sample):
        lowest, highest = (int(sample.min()), int(sample.max())) if sample.size else (0, 0)
        shifted = lowest >= 0 and highest >= LOST_OFFSET_HU and plausible(sample.astype(np.int32) - LOST_OFFSET_HU)
        raise refusal(
            "E_NOT_HU",
            tag="voxel values",
            found=f"{lowest} to {highest}" + (": looks like HU + 1024" if shifted else ""),
            expected="Hounsfield units with air near −1000 and soft tissue near 0",
            remedy="Re-export with rescale applied (offset −1024 was lost)."
            if shifted
            else "Give a CT in Hounsfield units.",
        )
    notes: list[Note] = []
    top = int(sample.max())
    if top >= SATURATED_HU:
        share = float(np.count_nonzero(sample == top)) / sample.size
        if share > SATURATED_SHARE:
            notes.append(note("W_SATURATED", f"{share:.1%} of the voxels stand at {top} HU, the highest value."))
    return notes


def plausible(values: NDArray[np.int16] | NDArray[np.int32]) -> bool:
    """True when the values are distributed like Hounsfield units of a body; padding is ignored."""
    values = values[values >= PADDING_HU]
    if values.size == 0:
        return False
    if float(np.percentile(values, 1)) <= PLAUSIBLE_AIR_HU:
        return True
    soft = float(np.mean((values >= -SOFT_HU) & (values <= SOFT_HU)))
    fat = float(np.mean(values < -SOFT_HU))
    return soft >= SOFT_SHARE and fat >= FAT_SHARE


def set_padding(hu: Slice, padding: NDArray[np.bool_]) -> None:
    """Give padding voxels the value of air, in place; the only place where read values are changed."""
    hu[padding] = AIR_HU
