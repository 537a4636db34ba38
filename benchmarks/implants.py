"""What the tools find of findings put into real scans: real anatomy, known truth.

    python -m benchmarks.implants               every read; goes on where it stopped
    python -m benchmarks.implants --reads 8     a quick look, writes no page

Each read puts two to four findings of graded size into one of the shared chests (never into one
that is kept for tests) and runs the tools of the lung on it. What a tool said of the scan before
is not counted again. It writes ``vlm/tools/limits_real.json`` and a section of ``docs/limits.md``
that stands beside that of the phantoms: of the two limits a Search quotes the worse.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from typing import Any

from benchmarks.limits import OUT, Row, limits, same, size_of, state
from benchmarks.real_scans import scan_path
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.anatomy.lungs import lungs
from vlm.ct.read import read
from vlm.evidence import Case, Observation, Search
from vlm.phantom.chest import Truth
from vlm.phantom.implant import Implant, implant
from vlm.tools.registry import load_tools

TARGET = ROOT / "vlm" / "tools" / "limits_real.json"
# Chests that may be used for more than tests; the patients kept for tests are left out.
HOSTS = (
    "acrin-flt-breast-013", "nlst-101287", "cmb-crc-01068", "pyradiomics-lung2", "elastix-right-lung",
    "acrin-nsclc-042", "rider-pilot-0117", "lidc-idri-0314",
)  # fmt: skip
TOOLS = {
    "nodules": ("lung_nodule",), "effusion": ("pleural_effusion",), "pneumothorax": ("pneumothorax",),
    "consolidation": ("consolidation", "ground_glass_opacity"), "emphysema": ("emphysema",),
}  # fmt: skip
HAZY = "lung_nodule, pure ground glass"  # a row of its own: no limit of solid nodules is taken from it
READS = 96
NEAR_MM = 10.0  # an observation so near to one made before is the same

NODULES_MM = (4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 16.0)
FLUID_ML = (20.0, 50.0, 100.0, 200.0)
AIR_ML = (10.0, 20.0, 50.0, 100.0)
PATCH_ML = (5.0, 10.0, 20.0, 40.0)
HAZE_MM = (8.0, 12.0, 16.0, 20.0)


def wanted(number: int) -> list[Implant]:
    """What the read of this number puts in."""
    turn = number // len(HOSTS)
    margin = ("smooth", "lobulated", "spiculated")[number % 3]
    nodules = [
        Implant(finding="lung_nodule", size=NODULES_MM[(2 * number + part) % len(NODULES_MM)], margin=margin,
                place="pleural" if (number + part) % 3 == 0 else "inside")
        for part in (0, 5)
    ]  # fmt: skip
    kind, step = turn % 3, (number + turn // 3) % 4
    if kind == 0:
        return [Implant(finding="pleural_effusion", size=FLUID_ML[step]), *nodules]
    if kind == 1:
        return [
            Implant(finding="pneumothorax", size=AIR_ML[step]),
            Implant(finding="consolidation", size=PATCH_ML[step]),
        ]
    haze = Implant(finding="lung_nodule", size=HAZE_MM[step], texture="ground_glass")
    return [nodules[0], haze, Implant(finding="ground_glass_opacity", size=PATCH_ML[step])]


@cache
def host(name: str) -> tuple[Case, dict[str, list[Observation]]]:
    """An untouched scan with its lungs, and what the tools say of it."""
    case = Case(read(scan_path(name)).volume)
    lungs(case)
    return case, observed(Case(case.volume))


def observed(case: Case) -> dict[str, list[Observation]]:
    """Observations by finding, those that call it absent left out; no entry where a tool could not look."""
    out: dict[str, list[Observation]] = {}
    for name, tool in load_tools().items():
        for record in tool.run(case) if name in TOOLS else ():
            if isinstance(record, Search) and record.looked:
                out.setdefault(record.finding, [])
            if isinstance(record, Observation) and record.presence != "absent":
                out.setdefault(record.finding, []).append(record)
    return out


def read_one(number: int) -> list[Row]:
    """Put findings into a scan, run the tools, and match; remembered on disk."""
    name = HOSTS[number % len(HOSTS)]
    path = OUT / f"implant-{number:03d}-{state([repr(wanted(number)), name])}.json"
    if path.is_file():
        rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))
        return rows
    case, before = host(name)
    try:
        made = implant(case, wanted(number), seed=number)
    except ValueError as error:  # no room in this lung
        print(f"{name} {number}: left out, {error}", flush=True)
        return []
    after = observed(Case(made.volume))
    hazy = {f"{e.finding}_{n}" for n, e in enumerate(wanted(number), 1) if e.texture == "ground_glass"}
    rows = []
    for tool, finding in ((tool, finding) for tool, findings in TOOLS.items() for finding in findings):
        old = before.get(finding, [])
        new = [seen for seen in after.get(finding, []) if not any(_again(seen, each) for each in old)]
        true = [truth for truth in made.truth if truth.finding == finding]
        common = {"case": number, "scan": name, "tool": tool, "looked": finding in after}
        # A second piece of the same finding is no false positive; the same place under another name is one.
        false = sum(not any(same(seen, truth) for truth in true) for seen in new)
        solid = [truth for truth in true if truth.mask not in hazy]
        rows.append({**common, "finding": finding, "truths": hits(solid, new), "false": false})
        if hazy and finding == "lung_nodule":
            faint = [truth for truth in true if truth.mask in hazy]
            rows.append({**common, "finding": HAZY, "truths": hits(faint, new), "false": 0})
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def hits(true: list[Truth], seen: list[Observation]) -> list[list[Any]]:
    """Of each truth: quantity, size, whether it was seen, and the size that was measured."""
    out = []
    for truth in sorted(true, key=lambda t: -t.value):
        match = next((each for each in seen if same(each, truth)), None)
        seen = [each for each in seen if each is not match]
        quantity, size = size_of(truth)
        measure = match.measured(quantity) if match else None
        out.append([quantity, size, match is not None, measure.value if measure else None])
    return out


def _again(seen: Observation, old: Observation) -> bool:
    """Whether an observation was made of the untouched scan, too."""
    if seen.region is None or old.region is None:
        return seen.side == old.side
    return math.dist(seen.region.centroid_mm, old.region.centroid_mm) <= NEAR_MM


def main() -> None:
    """Read the implants and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reads", type=int, default=READS)
    parser.add_argument("--workers", type=int, default=min(2, os.cpu_count() or 1))
    options = parser.parse_args()
    with ProcessPoolExecutor(max_workers=options.workers) as pool:
        # A worker keeps the scans it has opened: reads of one scan follow one another.
        order = sorted(range(options.reads), key=lambda n: (n % len(HOSTS), n))
        rows = [
            row for part in pool.map(read_one, order, chunksize=max(1, options.reads // len(HOSTS))) for row in part
        ]
    text = table(rows)
    print(text)
    if options.reads >= READS:
        made = stamp("python -m benchmarks.implants")
        found = {tool: {f: row for f, row in by.items() if f != HAZY} for tool, by in limits(rows, made).items()}
        TARGET.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        write_section(ROOT / "docs" / "limits.md", "implants", f"{text}\n\n{made}")


def table(rows: list[Row]) -> str:
    """Sensitivity by size, false positives and size error of each finding, as Markdown."""
    lines = [
        "| finding | put in | found | by size | false a scan | median size error |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for findings in limits(rows, "").values():
        for finding, row in findings.items():
            found = [sum(int(part.split("/")[n]) for part in row["by_size"].values()) for n in (0, 1)]
            sizes = ", ".join(f"{size}: {row['by_size'][size]}" for size in sorted(row["by_size"], key=float))
            error = "" if row["median_error"] is None else f"{row['median_error']:.0%}"
            lines.append(
                f"| {finding} ({row['unit']}) | {found[1]} | {found[0] / found[1]:.2f} | {sizes} "
                f"| {row['false_positives_per_scan']:.2f} | {error} |"
            )
    scans = len({row["scan"] for row in rows})
    reads = len({row["case"] for row in rows})
    return "\n".join(lines) + f"\n\n{reads} reads of {scans} scans."


if __name__ == "__main__":
    main()
