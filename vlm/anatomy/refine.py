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
CORNERS = [(x, y, z) for x in (0, 1) for y in (0, 1) for z in (0, 1)]  # of a cell between eight voxels


def refined(
    drawn: NDArray[np.uint8], scores: Tensor, hu: NDArray[np.int16], inside: NDArray[np.bool_], grid: Grid
) -> NDArray[np.uint8]:
    """A label map whose organs end where their density does.

    Args:
        drawn: (X, Y, Z), the likeliest class of each voxel by the network alone.
        scores: (x, y, z, CLASSES), the network's scores over the same field on its own coarser grid.
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
    voxels = tuple(index + part.start for index, part in zip(near, where, strict=True))
    prior = scores_at(scores, voxels, grid.shape).T.numpy()
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


def between(fine: int, rough: int) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Where ``fine`` voxels of an axis lie among ``rough`` ones over the same length: after which, and how far on."""
    place = np.clip((np.arange(fine) + 0.5) * rough / fine - 0.5, 0, rough - 1)
    low = np.minimum(place.astype(np.intp), rough - 2)
    return low, (place - low).astype(np.float32)


def scores_at(scores: Tensor, voxels: tuple[NDArray[np.intp], ...], shape: tuple[int, ...]) -> Tensor:
    """(N, CLASSES) scores at N voxels of a finer grid of a shape over the same field, linear between the coarse ones.

    Args:
        scores: (x, y, z, CLASSES) float32, at least two voxels along each axis.
        voxels: their indices along each axis, (N,) each.
    """
    import torch

    rough = scores.shape[:3]
    steps = (rough[1] * rough[2], rough[2], 1)
    axes = [between(fine, few) for fine, few in zip(shape, rough, strict=True)]
    first = sum(low[index] * step for (low, _), index, step in zip(axes, voxels, steps, strict=True))
    shares = [torch.from_numpy(share[index]) for (_, share), index in zip(axes, voxels, strict=True)]
    flat, start = scores.reshape(-1, scores.shape[3]), torch.from_numpy(np.asarray(first))
    out = torch.zeros((len(voxels[0]), scores.shape[3]))
    for corner in CORNERS:
        x, y, z = (share if far else 1 - share for far, share in zip(corner, shares, strict=True))
        further = sum(far * step for far, step in zip(corner, steps, strict=True))
        out.addcmul_(flat.index_select(0, start + further), (x * y * z)[:, None])
    return out
