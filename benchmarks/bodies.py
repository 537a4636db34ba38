"""What synthetic bodies measure: density and size of their organs over seeds, and how long one takes.

python -m benchmarks.bodies [--seeds 3] [--write-docs]
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict

import numpy as np
from scipy import ndimage

from benchmarks.stamp import ROOT, stamp, write_section
from vlm.phantom.body import NUMBER, PHASES, Exposure, Phase, body
from vlm.phantom.body.tissues import table

SPACING_MM = (3.0, 3.0, 3.0)
ORGANS = {  # label: tissue of the table
    "liver": "liver", "spleen": "spleen", "pancreas": "pancreas", "kidney_left": "kidney_cortex",
    "heart_ventricle_left": "blood_artery", "heart_ventricle_right": "blood_right", "heart_myocardium": "myocardium",
    "urinary_bladder": "urine", "gluteus_maximus_left": "muscle", "subcutaneous_fat": "fat",
    "vertebrae_L1": "trabecular",
    "lung_upper_lobe_left": "lung",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    found: dict[tuple[str, Phase], list[tuple[float, float]]] = defaultdict(list)
    sizes: dict[str, list[float]] = defaultdict(list)
    seconds: list[float] = []
    for seed in range(options.seeds):
        for phase in PHASES:
            start = time.process_time()
            scanned = body(seed=seed, phase=phase, spacing_mm=SPACING_MM, exposure=Exposure(noise_hu=10.0))
            seconds.append(time.process_time() - start)
            for name in ORGANS:
                organ = scanned.labels == NUMBER[name]
                core = ndimage.binary_erosion(organ)
                if core.sum() > 20:
                    values = scanned.volume.hu[core]
                    found[name, phase].append((float(np.median(values)), float(values.std())))
                if phase == "plain":
                    sizes[name].append(float(organ.sum()) * scanned.volume.grid.voxel_ml)
    lines = [
        "| structure | plain, HU (SD inside) | arterial | portal | table, HU | mL, least to most |",
        "|---|---|---|---|---|---|",
    ]
    for name, tissue in ORGANS.items():
        cells = []
        for phase in PHASES:
            values = found[name, phase]
            cells.append(
                f"{np.mean([v[0] for v in values]):.0f} ({np.mean([v[1] for v in values]):.0f})" if values else "-"
            )
        means = " / ".join(f"{value:.0f}" for value in table()[tissue]["hu"])
        lines.append(f"| {name} | {' | '.join(cells)} | {means} | {min(sizes[name]):.0f} to {max(sizes[name]):.0f} |")
    voxels = "x".join(str(n) for n in scanned.volume.hu.shape)
    lines = [
        stamp("python -m benchmarks.bodies"),
        "",
        f"{options.seeds} persons, 3 mm, noise 10 HU; median inside the eroded organ, mean over persons.",
        "",
        *lines,
        "",
        f"One trunk at 3 mm ({voxels} voxels): {np.median(seconds):.1f} s of one processor (median of {len(seconds)}).",
    ]
    text = "\n".join(lines)
    print(text)
    if options.write_docs:
        write_section(ROOT / "docs" / "phantom.md", "bodies", text)


if __name__ == "__main__":
    main()
