"""Key images: the slice on which each observation is best seen, with its outline.

Drawn as a workstation draws them: the patient's right is on the left of the picture, the
front is up, pixels are square in millimetres. Colours are Okabe and Ito's, which stay
apart for colour-blind eyes.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from vlm.ct import Mask, Volume
from vlm.evidence import Region

# Window level and width, HU: the settings of common workstations.
WINDOWS: Mapping[str, tuple[int, int]] = {
    "lung": (-600, 1500),
    "mediastinum": (40, 400),
    "bone": (400, 1800),
}
WINDOW_OF_SECTION: Mapping[str, str] = {"lungs_and_pleura": "lung", "bones": "bone"}
SOFT = frozenset(
    {"pleural_effusion", "atelectasis", "lobar_collapse", "pleural_thickening"}
)  # dense, told with the lungs
OUTLINE = (230, 159, 0)  # Okabe-Ito orange
TEXT = (86, 180, 233)  # Okabe-Ito sky blue
HEIGHT = 512  # pixels


def window(hu: NDArray[np.int16], name: str) -> NDArray[np.uint8]:
    """HU -> grey 0..255 through a named window."""
    level, width = WINDOWS[name]
    grey = (hu.astype(np.float32) - (level - width / 2)) * (255.0 / width)
    return np.asarray(np.clip(grey, 0, 255), dtype=np.uint8)


def upright(plane: NDArray[np.generic]) -> NDArray[np.generic]:
    """(X, Y) of an axial slice -> rows from front to back, columns from the patient's right to left."""
    return plane[::-1, ::-1].T


def axial(volume: Volume, k: int, *, name: str, mask: NDArray[np.bool_] | None = None, label: str = "") -> Image.Image:
    """One axial slice as a picture.

    Args:
        volume: the scan.
        k: index of the slice.
        name: a key of WINDOWS.
        mask: (X, Y) bool, outlined when given.
        label: one line of text for the corner.
    """
    grey = upright(window(volume.hu[:, :, k], name))
    x_mm, y_mm, _ = volume.grid.spacing_mm
    size = (max(1, round(HEIGHT * grey.shape[1] * x_mm / (grey.shape[0] * y_mm))), HEIGHT)
    picture = Image.fromarray(np.ascontiguousarray(grey)).resize(size, Image.Resampling.BILINEAR).convert("RGB")
    if mask is not None and mask.any():
        drawn = Image.fromarray(np.ascontiguousarray(upright(mask)).view(np.uint8) * 255)
        region = np.asarray(drawn.resize(size, Image.Resampling.BILINEAR)) > 127
        border = ndimage.binary_dilation(region, iterations=2) & ~region
        pixels = np.array(picture)
        pixels[border] = OUTLINE
        picture = Image.fromarray(pixels)
    draw = ImageDraw.Draw(picture)
    draw.text((6, HEIGHT // 2), "R", fill=TEXT)
    draw.text((size[0] - 12, HEIGHT // 2), "L", fill=TEXT)
    draw.text((6, 6), label, fill=TEXT)
    return picture


def best_slice(mask: Mask) -> int:
    """The k, on the mask's own grid, with most voxels."""
    return int(mask.voxels.sum(axis=(0, 1)).argmax())


def window_for(finding: str, section: str) -> str:
    """The window in which a finding is judged: a key of WINDOWS."""
    return "mediastinum" if finding in SOFT else WINDOW_OF_SECTION.get(section, "mediastinum")


def write_key_images(
    folder: Path, volume: Volume, masks: Mapping[str, Mask], marked: Mapping[str, tuple[Region, str]]
) -> None:
    """Write ``folder/E7.png`` for each entry of ``marked``: evidence id -> (region with a mask, key of WINDOWS)."""
    folder.mkdir(parents=True, exist_ok=True)

    def write(name: str) -> None:
        region, style = marked[name]
        mask = masks[region.mask or ""]
        point = np.array([0, 0, best_slice(mask)])
        k = round(float(volume.grid.to_ijk(mask.grid.to_mm(point))[2]))
        k = max(0, min(volume.grid.shape[2] - 1, k))
        plane = _plane(mask, volume, k)
        label = f"{name}  slice {k}  {style} window"
        picture = axial(volume, k, name=style, mask=plane, label=label)
        picture.save(folder / f"{name}.png", compress_level=3)

    with ThreadPoolExecutor(max_workers=2) as pool:
        list(pool.map(write, sorted(marked)))


def _plane(mask: Mask, volume: Volume, k: int) -> NDArray[np.bool_]:
    """(X, Y) bool of the mask on slice ``k`` of the volume."""
    grid = volume.grid
    one = type(grid)((grid.shape[0], grid.shape[1], 1), grid.affine.copy())
    one.affine[:3, 3] = grid.to_mm([0, 0, k])
    return np.asarray(mask.on(one).voxels[:, :, 0])
