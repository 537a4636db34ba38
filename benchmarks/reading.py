"""How fast a series is read, beside SimpleITK's bare read of the same folder in the same run.

    python -m benchmarks.reading [--slices 300] [--rounds 5]

Writes a 300-slice 512 x 512 series with the noise of a real scan, uncompressed and as JPEG
Lossless, into a temporary folder; then reads it in turns with ``vlm.ct.read`` and
``SimpleITK.ImageSeriesReader`` (files in the page cache) and prints wall seconds and the
ratio. ``survey`` reads headers only. Goal: ratio at most 1.0, survey at most 1 s.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from vlm.ct import Grid, Scan, Volume, read, survey
from vlm.phantom.dicom_series import Syntax, write_dicom_series

SYNTAXES: tuple[Syntax, ...] = ("explicit", "jpeg_lossless")


def body(slices: int) -> Volume:
    """(512, 512, slices) HU: an ellipse of soft tissue with two lungs in noisy air, deterministic."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[-1:1:512j, -1:1:512j]
    torso = (x / 0.85) ** 2 + (y / 0.6) ** 2 < 1
    lungs = sum(((x - s * 0.4) / 0.28) ** 2 + (y / 0.42) ** 2 < 1 for s in (-1, 1)) > 0
    plane = np.where(lungs, -850, np.where(torso, 40, -1000)).astype(np.float32)
    hu = np.empty((slices, 512, 512), dtype=np.int16)
    for k in range(slices):
        hu[k] = np.clip(plane + rng.normal(0, 15, plane.shape), -1024, 3071)
    affine = np.diag([0.7, 0.7, 1.0, 1.0])
    return Volume(hu.T, Grid((512, 512, slices), affine), Scan(source="phantom"))


def bare(folder: Path) -> None:
    """SimpleITK's read of the folder, as its documentation writes it."""
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    reader.Execute()


def seconds(action: Callable[[Path], object], folder: Path) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    action(folder)
    return time.perf_counter() - start


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    print(f"{datetime.date.today()} · commit {commit} · {options.slices} slices 512 x 512 · {options.rounds} rounds")
    print(f"{'encoding':16}{'read s':>16}{'SimpleITK s':>18}{'ratio':>16}{'survey s':>10}   (min / median)")
    volume = body(options.slices)
    for syntax in SYNTAXES:
        with tempfile.TemporaryDirectory(prefix="tomoscribe-bench-") as name:
            folder = Path(name)
            write_dicom_series(volume, folder, syntax=syntax)
            bare(folder)
            ours, theirs, heads = [], [], []
            for _ in range(options.rounds):
                ours.append(seconds(read, folder))
                theirs.append(seconds(bare, folder))
                heads.append(seconds(survey, folder))
        low = min(ours) / min(theirs)
        middle = statistics.median(ours) / statistics.median(theirs)
        print(
            f"{syntax:16}{min(ours):8.2f}/{statistics.median(ours):6.2f} {min(theirs):9.2f}/"
            f"{statistics.median(theirs):6.2f} {low:9.2f}/{middle:5.2f} {statistics.median(heads):9.2f}"
        )


if __name__ == "__main__":
    main()
