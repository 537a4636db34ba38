"""Seconds and memory of finding every structure of a scan, engine by engine, beyond reading it.

    python -m benchmarks.segment_speed [--engines rules network] [--write-docs] [SCAN ...]

Each run is a process of its own. SCAN is a path, or the name of a shared scan; by default a phantom's chest of 250
slices of 512 x 512 and the shared abdomen of 112 slices.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.real_scans import SHARED
from benchmarks.stamp import ROOT, stamp, write_section

ABDOMEN = "totalseg-abdomen-3mm"


def inside(path: Path, engine: str) -> dict[str, float]:
    """Find all structures of a scan in this process."""
    from vlm.anatomy.engines.registry import named
    from vlm.anatomy.structures import all_structures, use
    from vlm.ct.read import read
    from vlm.evidence import Case

    case = Case(read(path).volume)
    before = resource.getrusage(resource.RUSAGE_SELF)
    began, used = time.perf_counter(), before.ru_utime + before.ru_stime
    if engine != "best":
        use(case, named(engine))
    all_structures(case)
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "slices": case.volume.grid.shape[2], "seconds": time.perf_counter() - began,
        "cpu": after.ru_utime + after.ru_stime - used, "read_gb": before.ru_maxrss / 2**20,
        "gb": after.ru_maxrss / 2**20,
    }  # fmt: skip


def chest(folder: Path) -> Path:
    """A phantom's chest of 250 slices, as NIfTI."""
    import nibabel

    from vlm.phantom.body import body
    from vlm.phantom.seeds import seeds

    made = body(seed=seeds("test", 1)[0], phase="plain", region="chest", spacing_mm=(0.8, 0.8, 1.4))
    slices = made.volume.hu[:, :, -250:]
    nibabel.save(nibabel.Nifti1Image(slices, made.volume.grid.affine), folder / "phantom-chest.nii.gz")
    return folder / "phantom-chest.nii.gz"


def main() -> None:
    """Print the table."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("scans", nargs="*")
    ask.add_argument("--engines", nargs="+", default=["rules"])
    ask.add_argument("--write-docs", action="store_true")
    ask.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    given = ask.parse_args()
    if given.inside:
        print(json.dumps(inside(Path(given.inside[0]), given.inside[1])))
        return
    lines = ["| scan | engine | seconds | processor seconds | peak memory, GB |", "|---|---|---|---|---|"]
    with tempfile.TemporaryDirectory() as made:
        names = [Path(name) if Path(name).exists() else SHARED / "ct" / name / "ct.nii.gz" for name in given.scans]
        for path in names or [chest(Path(made)), SHARED / "ct" / ABDOMEN / "ct.nii.gz"]:
            name = path.parent.name if path.name == "ct.nii.gz" else path.name.removesuffix(".nii.gz")
            for engine in given.engines:
                command = [sys.executable, "-m", "benchmarks.segment_speed", "--inside", str(path), engine]
                said = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
                told = json.loads(said.splitlines()[-1])
                lines.append(
                    f"| {name}, {told['slices']:.0f} slices | {engine} | {told['seconds']:.1f} | {told['cpu']:.1f} "
                    f"| {told['gb']:.2f} (after reading {told['read_gb']:.2f}) |"
                )
                print(lines[-1], flush=True)
    lines.append("| large CT | TotalSegmentator, 3 mm model | about 70, published (Wasserthal 2023), not ours | | |")
    load = f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the end of the run."
    text = "\n".join([stamp("python -m benchmarks.segment_speed --write-docs"), "", load, "", *lines])
    print(text)
    if given.write_docs:
        write_section(ROOT / "docs" / "anatomy.md", "speed", text)


if __name__ == "__main__":
    main()
