"""Slices of synthetic bodies in three windows, alone for the docs or beside a real scan for the eye.

python -m benchmarks.body_figure OUT.png [--seeds 1 4 8]
python -m benchmarks.body_figure OUT.png --seeds 4 --beside SCAN --at 0.9 0.5 0.1 --levels 460 350 240

A real scan is shown from the bottom (0) to the top (1); its picture may not lie inside the project.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from benchmarks.stamp import ROOT
from vlm.ct.read import read
from vlm.ct.volume import Volume
from vlm.errors import UsageError
from vlm.phantom.body import Exposure, body

WINDOWS_HU = {"lung": (-600, 1500), "soft tissue": (40, 400), "bone": (400, 1800)}  # (level, width)
LEVELS_MM = (465.0, 400.0, 350.0, 300.0, 240.0, 205.0, 165.0, 110.0, 30.0, -85.0)  # of the reference body
MM_PER_PIXEL = 1.6
TILE = (260, 190)  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 4, 8])
    parser.add_argument("--phase", default="portal", choices=("plain", "arterial", "portal"))
    parser.add_argument("--levels", type=float, nargs="+", default=LEVELS_MM, help="heights of the reference body, mm")
    parser.add_argument("--beside", type=Path, help="a real scan")
    parser.add_argument("--at", type=float, nargs="+", default=(), help="heights in the real scan, 0 to 1")
    options = parser.parse_args()
    if options.beside and ROOT in options.out.resolve().parents:
        raise UsageError(f"E_USAGE: {options.out} lies in the project. Write pictures of real scans elsewhere.")
    columns = []
    if options.beside:
        real = read(options.beside).volume
        columns.append([round(share * (real.hu.shape[2] - 1)) for share in options.at])
        volumes = [real]
    else:
        volumes = []
    for seed in options.seeds:
        scanned = body(seed=seed, phase=options.phase, spacing_mm=(0.9, 0.9, 2.0), exposure=Exposure(noise_hu=9.0))
        grid = scanned.volume.grid
        heights = [level * scanned.person.scale[2] for level in options.levels]
        columns.append([round((z - grid.affine[2, 3]) / grid.spacing_mm[2]) for z in heights])
        volumes.append(scanned.volume)
    rows = max(map(len, columns))
    sheet = np.zeros((rows * TILE[1], len(columns) * len(WINDOWS_HU) * TILE[0]), dtype=np.uint8)
    for n, (volume, slices) in enumerate(zip(volumes, columns, strict=True)):
        for row, k in enumerate(slices):
            for m, window in enumerate(WINDOWS_HU.values()):
                left = (n * len(WINDOWS_HU) + m) * TILE[0]
                sheet[row * TILE[1] : (row + 1) * TILE[1], left : left + TILE[0]] = tile(volume, k, window)
    Image.fromarray(sheet & 0xF8).save(options.out, optimize=True)  # 32 greys: half the bytes, nothing lost to the eye
    print(f"{options.out}: {sheet.shape[1]} x {sheet.shape[0]} pixels")


def tile(volume: Volume, k: int, window_hu: tuple[int, int]) -> NDArray[np.uint8]:
    """One slice, front up, the patient's right on the left, in the middle of a tile."""
    level, width = window_hu
    dx, dy, _ = volume.grid.spacing_mm
    hu = volume.hu[:, :, min(max(k, 0), volume.hu.shape[2] - 1)].T[::-1, ::-1].astype(np.float32)
    grey = np.clip((hu - level + width / 2) / width * 255, 0, 255).astype(np.uint8)
    size = round(grey.shape[1] * dx / MM_PER_PIXEL), round(grey.shape[0] * dy / MM_PER_PIXEL)
    small = Image.fromarray(grey).resize(size, Image.Resampling.LANCZOS)
    out = Image.new("L", TILE)
    out.paste(small, ((TILE[0] - size[0]) // 2, (TILE[1] - size[1]) // 2))
    return np.asarray(out)


if __name__ == "__main__":
    main()
