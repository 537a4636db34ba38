"""One slice of a scan as PNG, for browsers without WebGL2: windowed, with the masks in colour.

Drawn as workstations draw: the patient's right on the left of the picture, the front or the head up.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass

import nibabel
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.page.scanned import Scanned
from vlm.ct import Grid
from vlm.errors import UsageError

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis that runs through the slices
UNLIT = 0.3  # how much weaker a mask is drawn when another one is lit: what is under a lit one is to be seen, too
HEAT_FROM, HEAT_COLOUR, HEAT_COVER = 0.2, (255, 120, 30), 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How a slice is drawn: the window in HU, how much masks hide, which are hidden, and which one stands out."""

    level: float = 40.0
    width: float = 400.0
    strength: float = 0.35  # 0: masks cannot be seen; 1: they hide what lies under them
    hidden: frozenset[int] = frozenset()
    lit: int = 0  # 0: none
    heat: str = ""  # file of a heat map, or none


def slice_png(opened: Scanned, plane: str, index: int, look: Look) -> bytes:
    """A slice as PNG, one pixel a voxel; the nearest slice is drawn for an index outside.

    Raises:
        UsageError: the plane is none of PLANES.
    """
    if plane not in PLANES:
        raise UsageError(f"E_USAGE: plane is {plane!r}, expected one of {', '.join(PLANES)}.")
    axis = PLANES[plane]
    index = min(max(index, 0), opened.grid.shape[axis] - 1)
    grey = np.take(opened.hu, index, axis).astype(np.float32)
    grey = np.clip((grey - (look.level - look.width / 2)) * (255.0 / max(look.width, 1.0)), 0, 255)
    pixels = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    if look.strength > 0:
        _paint(pixels, np.take(opened.labels, index, axis), opened, look)
    if look.heat:
        _warm(pixels, opened, axis, index, look.heat)
    upright = pixels[::-1, ::-1].swapaxes(0, 1)  # RAS: every axis grows against the direction of the screen
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(upright)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _paint(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], opened: Scanned, look: Look) -> None:
    """Colour the voxels of each stack of masks in place, by the one of them that shows."""
    entries = {int(entry["label"]): entry for entry in opened.legend}
    for number in np.flatnonzero(np.bincount(labels.ravel())).tolist():
        shows = _shown(opened.stacks[number - 1], look) if number else 0
        if shows:
            cover = look.strength * (UNLIT if look.lit and shows != look.lit else 1.0)
            _cover(pixels, labels == number, np.float32(cover), entries[shows]["colour"])


def _shown(stack: Sequence[int], look: Look) -> int:
    """The label of a stack that is drawn: the lit one, else the topmost that is not hidden; 0 for none."""
    return look.lit if look.lit in stack else next((n for n in reversed(stack) if n not in look.hidden), 0)


def _warm(pixels: NDArray[np.uint8], opened: Scanned, axis: int, index: int, file: str) -> None:
    """Lay a heat map over a slice in place; it has a grid of its own, the nearest of its voxels is taken."""
    warm = nibabel.load(opened.folder / file)
    spans = [np.arange(n) for n in opened.grid.shape]
    spans[axis] = np.array([index])
    mm = opened.grid.to_mm(np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1)).squeeze(axis)
    x, y, z = warm.shape
    at = np.rint(Grid((x, y, z), np.asarray(warm.affine, dtype=np.float64)).to_ijk(mm)).astype(int)
    inside = ((at >= 0) & (at < warm.shape)).all(axis=-1)
    values = np.zeros(inside.shape, dtype=np.float32)
    values[inside] = np.asanyarray(warm.dataobj)[tuple(at[inside].T)]
    here = values > HEAT_FROM
    _cover(pixels, here, HEAT_COVER * np.minimum(values[here], 1.0)[:, None], HEAT_COLOUR)


def _cover(
    pixels: NDArray[np.uint8], here: NDArray[np.bool_], share: NDArray[np.floating] | np.float32, colour: Sequence[int]
) -> None:
    pixels[here] = (pixels[here] * (1 - share) + np.array(colour) * share).astype(np.uint8)
