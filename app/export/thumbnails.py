"""A key image made small, for lists of cases."""

from __future__ import annotations

import io

import imagecodecs
import numpy as np
from PIL import Image

WIDTH = 160  # pixels


def thumbnail(png: bytes) -> bytes:
    """A PNG of ours as a PNG at most WIDTH pixels wide."""
    pixels = np.atleast_3d(imagecodecs.png_decode(png))[..., :3]
    step = -(-pixels.shape[1] // WIDTH)
    height, width = pixels.shape[0] // step * step, pixels.shape[1] // step * step
    blocks = pixels[:height, :width].reshape(height // step, step, width // step, step, -1)
    out = io.BytesIO()
    Image.fromarray(blocks.mean(axis=(1, 3)).astype(np.uint8).squeeze()).save(out, "PNG", optimize=True)
    return out.getvalue()
