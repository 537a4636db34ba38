"""How fast a series is read, beside SimpleITK's bare read of the same folder in the same run.

    python -m benchmarks.reading [--slices 300] [--rounds 5] [--write-docs]

Writes a 300-slice 512 x 512 series with the noise of a real scan, uncompressed and as JPEG
Lossless, into a temporary folder; then reads it in turns with ``vlm.ct.read`` and
``SimpleITK.ImageSeriesReader`` (files in the page cache) and prints wall seconds and the
ratio. ``survey`` reads headers only. Goal: ratio at most 1.0, survey at most 1 s.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813

from benchmarks.stamp import ROOT, stamp, write_section
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


def seconds(action: Callable[[Path], object], folder: Path) -> tuple[float, float]:
    """(wall, CPU of this process and its children) seconds of one call."""
    before, start = os.times(), time.perf_counter()
    action(folder)
    wall, after = time.perf_counter() - start, os.times()
    return wall, sum(after[:4]) - sum(before[:4])


def row(syntax: Syntax, volume: Volume, rounds: int) -> str:
    """One line of the table: each number is minimum / median."""
    with tempfile.TemporaryDirectory(prefix="tomoscribe-bench-") as name:
        folder = Path(name)
        write_dicom_series(volume, folder, syntax=syntax)
        bare(folder)
        runs = [(seconds(read, folder), seconds(bare, folder), seconds(survey, folder)) for _ in range(rounds)]
    ours, theirs, heads = ([run[kind] for run in runs] for kind in range(3))
    cells = [_two([wall for wall, _ in times]) for times in (ours, theirs)]
    cells.append(_ratio([wall for wall, _ in ours], [wall for wall, _ in theirs]))
    cells += [_two([cpu for _, cpu in times]) for times in (ours, theirs)]
    cells.append(_two([wall for wall, _ in heads]))
    return f"| {syntax} | " + " | ".join(cells) + " |"


def _two(values: list[float]) -> str:
    return f"{min(values):.2f} / {statistics.median(values):.2f}"


def _ratio(ours: list[float], theirs: list[float]) -> str:
    return f"{min(ours) / min(theirs):.2f} / {statistics.median(ours) / statistics.median(theirs):.2f}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    made_by, volume = stamp("python -m benchmarks.reading"), body(options.slices)
    lines = [
        f"{options.slices} slices 512 x 512, seconds, minimum / median of {options.rounds} rounds.",
        "",
        "| encoding | read | SimpleITK | ratio | read, CPU | SimpleITK, CPU | survey |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
        *(row(syntax, volume, options.rounds) for syntax in SYNTAXES),
        "",
        made_by,
    ]
    print("\n".join(lines))
    if options.write_docs:
        write_section(ROOT / "docs" / "reading.md", "reading", "\n".join(lines))


if __name__ == "__main__":
    main()
