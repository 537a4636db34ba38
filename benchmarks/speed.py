"""How long a whole `tomoscribe read` takes, what memory it needs, and what the bare read costs beside it.

    python -m benchmarks.speed [--runs 5] [--write-docs]

A 300-slice 512 x 512 DICOM series is written from a phantom, uncompressed and as JPEG Lossless.
Each figure is a whole process, started anew, several times for each series; the floor is
SimpleITK's bare read of the same folder in the same run. The real series of the shared scans
stand beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.stamp import ROOT, stamp, write_section
from vlm.phantom.chest import chest
from vlm.phantom.dicom_series import write_dicom_series

SHARED = Path(os.environ.get("TOMOSCRIBE_SHARED", ROOT.parent / "shared"))
OUT = ROOT / "benchmarks" / "out"
SHAPE, SPACING_MM = (512, 512, 300), (0.72, 0.72, 1.0)
COMMAND = str(Path(sys.executable).with_name("tomoscribe"))
FLOOR = """
import SimpleITK as sitk, sys
reader = sitk.ImageSeriesReader()
reader.SetFileNames(reader.GetGDCMSeriesFileNames(sys.argv[1]))
print(reader.Execute().GetSize())
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One process: wall seconds, processor seconds of all its threads, peak memory in GB, and what it printed."""

    seconds: float
    cpu_seconds: float
    peak_gb: float
    output: str


def run(words: Sequence[str]) -> Run:
    """Run a command to its end and measure it as a whole, its children included."""
    with tempfile.TemporaryFile("w+") as output:
        start = time.perf_counter()
        process = subprocess.Popen(words, stdout=output, stderr=subprocess.PIPE)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"{' '.join(words)} ended with {process.returncode}: {process.stderr.read()!r}")
        output.seek(0)
        return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1e6, output.read())


def series(syntax: str) -> Path:
    """The folder with the written series; made once.

    Call it in a process of its own: a command counts the peak memory of the process that starts it as its own.
    """
    folder = OUT / f"chest-300-{syntax}"
    done = folder.with_suffix(".done")
    if not done.exists():
        phantom = chest(
            seed=3,
            shape=SHAPE,
            spacing_mm=SPACING_MM,
            nodules=(("right", "upper", 12.0, 40.0), ("left", "lower", 8.0, 40.0)),
            effusion_left_ml=250.0,
        )
        write_dicom_series(phantom.volume, folder, syntax=syntax)  # type: ignore[arg-type]  # a key of its table
        done.touch()
    return folder


def rows_for(name: str, path: Path, runs: int, *, floor: bool) -> tuple[str, str]:
    """A row of the table, and the steps of the median run."""
    with tempfile.TemporaryDirectory() as out:
        reads = [run([COMMAND, "read", str(path), "--out", out, "--json"]) for _ in range(runs)]
    reads.sort(key=lambda r: r.seconds)
    middle = reads[len(reads) // 2]
    steps = json.loads(middle.output)["timings_s"]
    told = ", ".join(f"{step} {seconds:.2f}" for step, seconds in steps.items())
    spread = " / ".join(f"{r.seconds:.1f}" for r in (reads[0], middle, reads[-1]))
    busy = f"{statistics.median(r.cpu_seconds for r in reads):.1f}"
    cells = [name, spread, busy, f"{max(r.peak_gb for r in reads):.2f}", "", ""]
    if floor:
        bare = statistics.median(run([sys.executable, "-c", FLOOR, str(path)]).seconds for _ in range(runs))
        cells[4:] = [f"{bare:.2f}", f"{middle.seconds / bare:.1f}"]
    row = f"| {' | '.join(cells)} |"
    return row, f"- {name}: {told}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    OUT.mkdir(exist_ok=True)
    load = os.getloadavg()[0]
    rows, steps = [], []
    with ProcessPoolExecutor(max_workers=1) as apart:
        folders = {syntax: apart.submit(series, syntax).result() for syntax in ("explicit", "jpeg_lossless")}
    for syntax, folder in folders.items():
        row, told = rows_for(f"300 x 512 x 512, {syntax}", folder, options.runs, floor=True)
        rows.append(row)
        steps.append(told)
    for path in sorted((SHARED / "ct").glob("*/dicom.zip")):
        row, told = rows_for(path.parent.name, path, options.runs, floor=False)
        rows.append(row)
        steps.append(told)
    start = statistics.median(run([COMMAND, "--help"]).seconds for _ in range(max(5, options.runs)))
    info = statistics.median(
        run([COMMAND, "info", str(folders["explicit"]), "--json"]).seconds for _ in range(options.runs)
    )
    text = "\n".join(
        (
            f"{options.runs} runs of each; the machine's load before the first was {load:.1f}.",
            "",
            "| series | `read`: min / median / max s | processor s | peak GB | SimpleITK bare read s | ratio |",
            "|---|---|---|---|---|---|",
            *rows,
            "",
            f"`--help` {start:.2f} s, `info` of the 300 slices {info:.2f} s.",
            "",
            "Seconds by step of the median run:",
            "",
            *steps,
            "",
            stamp("python -m benchmarks.speed"),
        )
    )
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "speed.md", "speed", text)


if __name__ == "__main__":
    main()
