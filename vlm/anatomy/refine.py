"""Where an organ ends, by the density of the scan itself.

The network sees 4 mm; the scan shows more. What a voxel near an organ's border weighs is lowered by how far its
density lies from that organ's own in this very scan, and the likeliest class is taken again: the score as the prior
and the density as the likelihood of a Bayesian choice, with a robust spread (median and median absolute deviation).
The middle of an organ keeps its name, whatever its density: a cyst, a stone or a metastasis belongs to its organ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.classes import INDEX
from vlm.ct.volume import Grid

if TYPE_CHECKING:
    from torch import Tensor

EVEN = tuple(  # organs of one density, or nearly
    INDEX[name]
    for name in (
        "liver", "spleen", "kidney_right", "kidney_left", "stomach", "gallbladder", "pancreas", "urinary_bladder",
        "aorta", "inferior_vena_cava", "heart",
    )
)  # fmt: skip
BORDER_MM = 8.0  # two voxels of the network's grid
SMOOTH_MM = 1.2
RANGE_HU = (-200.0, 400.0)
LEAST_SPREAD_HU = 10.0
WEIGHT, FREE, MOST = 2.0, 1.5, 4.0  # per spread beyond the first 1.5, up to 4 of them
TURNS = 2  # the second with densities that the first has cleaned
LEAST_VOXELS = 50


def refined(
    drawn: NDArray[np.uint8], scores: Tensor, hu: NDArray[np.int16], inside: NDArray[np.bool_], grid: Grid
) -> NDArray[np.uint8]:
    """A label map whose organs end where their density does.

    Args:
        drawn: (X, Y, Z), the likeliest class of each voxel by the network alone.
        scores: (CLASSES, x, y, z), the network's scores over the same field on its own coarser grid.
        hu: (X, Y, Z) Hounsfield units.
        inside: (X, Y, Z), the body; nothing is drawn beyond it.
        grid: of ``drawn``, ``hu`` and ``inside``.
    """
    where = _field(drawn, grid)
    if where is None:
        return drawn
    here = drawn[where]
    steps = [SMOOTH_MM / step for step in grid.spacing_mm]
    smooth = ndimage.gaussian_filter(np.clip(hu[where].astype(np.float32), *RANGE_HU), steps)
    deep = edt.edt(here, anisotropy=grid.spacing_mm, parallel=1) > BORDER_MM
    near = np.nonzero(np.isin(here, EVEN) & ~deep)
    starts = [part.start for part in where]
    prior = _at(scores, [index + start for index, start in zip(near, starts, strict=True)], grid.shape)
    density = smooth[near]
    out = here.copy()
    for _ in range(TURNS):
        likely = prior.copy()
        for label, (middle, spread) in _densities(out, smooth).items():
            off = np.abs(density - middle) / spread
            likely[label] -= WEIGHT * np.clip(off - FREE, 0, MOST)
        out[near] = likely.argmax(axis=0)
    out[~inside[where]] = 0
    whole = drawn.copy(order="F")
    whole[where] = out
    return whole


def _field(drawn: NDArray[np.uint8], grid: Grid) -> tuple[slice, ...] | None:
    """The box of all organs of one density, and a little more, for the filter's sake."""
    found = ndimage.find_objects(np.isin(drawn, EVEN).astype(np.uint8))
    if not found:
        return None
    more = [int(4 * SMOOTH_MM / step) + 2 for step in grid.spacing_mm]
    return tuple(slice(max(0, part.start - n), part.stop + n) for part, n in zip(found[0], more, strict=True))


def _densities(drawn: NDArray[np.uint8], smooth: NDArray[np.float32]) -> dict[int, tuple[float, float]]:
    """Middle and spread of each organ's density in this scan, HU, from its voxels that touch no other class."""
    told = {}
    boxes = ndimage.find_objects(drawn)
    for label in EVEN:
        box = boxes[label - 1] if label <= len(boxes) else None
        if box is None:
            continue
        mask = drawn[box] == label
        inner = ndimage.binary_erosion(mask)
        values = smooth[box][inner if inner.sum() > LEAST_VOXELS else mask]
        if values.size > LEAST_VOXELS:
            middle = float(np.median(values))
            spread = 1.4826 * float(np.median(np.abs(values - middle)))
            told[label] = (middle, max(spread, LEAST_SPREAD_HU))
    return told


def _at(scores: Tensor, voxels: list[NDArray[np.intp]], shape: tuple[int, int, int]) -> NDArray[np.float32]:
    """(CLASSES, N) scores at N voxels of the finer grid, linear between the coarse ones."""
    coarse = scores.float().numpy()
    lows, highs, shares = [], [], []
    for index, fine, rough in zip(voxels, shape, coarse.shape[1:], strict=True):
        place = np.clip((index + 0.5) * rough / fine - 0.5, 0, rough - 1)
        low = np.floor(place).astype(np.intp)
        lows.append(low)
        highs.append(np.minimum(low + 1, rough - 1))
        shares.append((place - low).astype(np.float32))
    out = np.zeros((coarse.shape[0], len(voxels[0])), dtype=np.float32)
    for corner in range(8):
        up = [bool(corner >> axis & 1) for axis in range(3)]
        at = [high if far else low for far, low, high in zip(up, lows, highs, strict=True)]
        share = np.prod([s if far else 1 - s for far, s in zip(up, shares, strict=True)], axis=0)
        out += coarse[:, at[0], at[1], at[2]] * share
    return out
