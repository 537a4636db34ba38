"""One slice of a scan as PNG, for browsers without WebGL2: windowed, with the masks in colour.

Drawn as workstations draw: the patient's right on the left of the picture, the front or the head up.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.reopen import Opened
from vlm.errors import UsageError

PLANES = {"sagittal": 0, "coronal": 1, "axial": 2}  # the axis that runs through the slices
COVER, LIT_COVER, OTHER_COVER = 0.35, 0.6, 0.15  # how much a mask hides of what lies under it


def slice_png(
    opened: Opened, plane: str, index: int, *, level: float, width: float, masks: bool, lit: int = 0
) -> bytes:
    """A slice as PNG, one pixel a voxel.

    Args:
        opened: the reading.
        plane: a key of PLANES.
        index: which slice; the nearest one is drawn for an index outside.
        level, width: the window, HU.
        masks: whether to paint what the evidence points at.
        lit: label that stands out; 0 for none.
    """
    if plane not in PLANES:
        raise UsageError(f"E_USAGE: plane is {plane!r}, expected one of {', '.join(PLANES)}.")
    axis = PLANES[plane]
    index = min(max(index, 0), opened.grid.shape[axis] - 1)
    grey = np.take(opened.hu, index, axis).astype(np.float32)
    grey = np.clip((grey - (level - width / 2)) * (255.0 / max(width, 1.0)), 0, 255)
    pixels = np.repeat(grey.astype(np.uint8)[..., None], 3, axis=-1)
    if masks:
        _paint(pixels, np.take(opened.labels, index, axis), opened, lit)
    upright = pixels[::-1, ::-1].swapaxes(0, 1)  # RAS: every axis grows against the direction of the screen
    stream = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(upright)).save(stream, "PNG", compress_level=1)
    return stream.getvalue()


def _paint(pixels: NDArray[np.uint8], labels: NDArray[np.uint8], opened: Opened, lit: int) -> None:
    """Colour the voxels of each mask in place."""
    for entry in opened.legend:
        number = int(entry["label"])
        here = labels == number
        if (entry["finding"] is None and number != lit) or not here.any():
            continue
        cover = COVER if not lit else LIT_COVER if number == lit else OTHER_COVER
        pixels[here] = (pixels[here] * (1 - cover) + np.array(entry["colour"]) * cover).astype(np.uint8)
