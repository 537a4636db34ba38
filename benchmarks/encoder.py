"""The embedded encoder: CPU time and memory beside plain float32 of the same weights, and how far its vector drifts.

    python -m benchmarks.encoder [--write-docs]

Each variant runs in a process of its own, one after the other in the same run, on one synthetic scan. From Hounsfield
units to the pooled vector: the way into the network is part of the time, loading the weights is not.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from benchmarks.stamp import ROOT, stamp, write_section
from vlm.ct.volume import Grid, Scan, Volume

OUT = ROOT / "benchmarks" / "out"
VARIANTS = {
    "plain": "as published: float32, batch norms, three equal channels",
    "float32": "folded, channels last",
    "bfloat16": "the same in bfloat16: what is used where the processor computes in it",
}
REPEATS = 3  # by default; the least is told: whatever else the machine does only adds
SHAPE, SPACING_MM = (512, 512, 300), (0.72, 0.72, 1.6)


def scan() -> Volume:
    """The synthetic scan, made once and kept."""
    path, grid = OUT / "encoder-scan.npy", Grid(SHAPE, np.diag([*SPACING_MM, 1.0]))
    if not path.is_file():
        from vlm.phantom.chest import chest

        phantom = chest(seed=3, shape=SHAPE, spacing_mm=SPACING_MM, nodules=(("right", "upper", 12.0, 40.0),))
        OUT.mkdir(parents=True, exist_ok=True)
        np.save(path, phantom.volume.hu)
    return Volume(np.load(path), grid, Scan(source="phantom"))


def measure(variant: str, repeats: int) -> dict[str, object]:
    """One variant in this process: least CPU and wall seconds of its repeats, peak memory, and the pooled vector."""
    import torch

    from vlm.encoder.astra import RECIPE, Astra, published
    from vlm.encoder.recipe import prepare

    volume = scan()
    torch.set_num_threads(2)
    if variant == "plain":
        net = published()

        def run() -> np.ndarray:
            with torch.inference_mode():
                values = torch.from_numpy(prepare(volume, RECIPE).values)[None, None]
                return net(values)["layer4"][0].mean(dim=(1, 2, 3)).numpy()
    else:
        encoder = Astra(device="cpu", dtype=variant)

        def run() -> np.ndarray:
            return encoder.features(prepare(volume, RECIPE)).pooled

    cpu, wall, vector = [], [], np.zeros(0)
    for _ in range(repeats):
        before, start = time.process_time(), time.perf_counter()
        vector = run()
        cpu.append(time.process_time() - before)
        wall.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    return {"cpu_s": min(cpu), "wall_s": min(wall), "peak_gb": peak, "vector": vector.astype(float).tolist()}


def table(repeats: int) -> str:
    """Every variant in a process of its own, as Markdown."""
    scan()
    told: dict[str, dict[str, object]] = {}
    for variant in VARIANTS:
        words = [sys.executable, "-m", "benchmarks.encoder", "--variant", variant, "--repeats", str(repeats)]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=True)
        told[variant] = json.loads(done.stdout.splitlines()[-1])
        print(variant, {key: value for key, value in told[variant].items() if key != "vector"}, file=sys.stderr)
    plain = np.array(told["plain"]["vector"])
    lines = [
        "| variant | CPU s | times less | wall s | peak GB | cosine of the pooled vector |",
        "|---|---|---|---|---|---|",
    ]
    for variant, row in told.items():
        vector = np.array(row["vector"])
        cosine = vector @ plain / np.linalg.norm(vector) / np.linalg.norm(plain)
        less = float(told["plain"]["cpu_s"]) / float(row["cpu_s"])  # type: ignore[arg-type]
        lines.append(
            f"| {VARIANTS[variant]} | {row['cpu_s']:.1f} | {less:.1f} | {row['wall_s']:.1f} | {row['peak_gb']:.2f} "
            f"| {cosine:.5f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, print, and with --write-docs put the table into its page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write-docs", action="store_true")
    parser.add_argument("--variant", choices=VARIANTS, help=argparse.SUPPRESS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options.variant, options.repeats)))
        return
    size = " x ".join(map(str, SHAPE))
    text = (
        f"{table(options.repeats)}\n\nA synthetic chest of {size} voxels, two threads, {options.repeats} passes. "
        + stamp(f"python -m benchmarks.encoder --repeats {options.repeats}")
    )
    print(text)
    if options.write_docs:
        write_section(Path(ROOT / "docs" / "encoder.md"), "speed", text)


if __name__ == "__main__":
    main()
