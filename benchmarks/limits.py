"""How small is what the tools find: chests with findings of graded size, read by every tool.

    python -m benchmarks.limits                 every tool; goes on where it stopped
    python -m benchmarks.limits --tools effusion,pneumothorax     these tools only; other entries stay
    python -m benchmarks.limits --cases 6       a quick look, writes nothing into the package

For each tool and finding: sensitivity by size, the smallest size found nine times in ten,
false positives per scan, and the error of the measured size. It writes
``vlm/tools/limits.json``, which every Search quotes, and ``docs/limits.md``. A finding that no
phantom shows gets no entry.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import math
import sys
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.stamp import ROOT, stamp, write_section
from vlm.evidence import QUANTITIES, Case, Evidence, Observation, Search
from vlm.phantom.calcium import perfect_score
from vlm.phantom.chest import Phantom, Truth, chest
from vlm.tools.registry import load_tools

OUT = ROOT / "benchmarks" / "out" / "limits"
TARGET = ROOT / "vlm" / "tools" / "limits.json"
CASES = 60
CLEAN = 10  # of them without any finding
SPACING_MM = (1.2, 1.2, 1.8)
ENOUGH = 0.9  # sensitivity at which a size counts as found
LEAST_TRUTHS = 5  # of a size or larger; fewer do not license a limit
NEAR_MM = 12.0  # an observation lies so near to the truth it is, or within its size

NODULES_MM = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)
EFFUSION_ML = (10.0, 20.0, 40.0, 60.0, 100.0, 200.0, 300.0)
PNEUMOTHORAX_ML = (5.0, 10.0, 20.0, 40.0, 60.0, 100.0, 200.0)
PATCH_ML = (2.0, 5.0, 10.0, 20.0, 50.0)
ATELECTASIS_ML = (10.0, 20.0, 40.0, 80.0)
EMPHYSEMA_PERCENT = (2.0, 5.0, 10.0, 20.0)
PERICARDIAL_ML = (30.0, 60.0, 100.0, 150.0, 250.0)
CALCIUM_MM3 = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)

Row = dict[str, Any]  # JSON


def spec(number: int) -> dict[str, Any]:
    """What the chest of this number holds: arguments of ``chest``. The first ``CLEAN`` are healthy."""
    rng = np.random.default_rng([77, number])
    common: dict[str, Any] = {"seed": 1000 + number, "spacing_mm": SPACING_MM, "noise_hu": float(rng.uniform(8, 22))}
    if number < CLEAN:
        return common
    turn = number - CLEAN
    sides = ("left", "right") if turn % 2 else ("right", "left")
    zones = ("upper", "middle", "lower")

    def pick(values: tuple[float, ...], shift: int = 0) -> float:
        return values[(turn + shift) % len(values)]

    nodules = [
        (side, zone, pick(NODULES_MM, 2 * n), 30.0)
        for n, (side, zone) in enumerate(zip(sides * 2, zones, strict=False))
    ]
    common["nodules"] = nodules
    kind = turn % 4
    if kind == 0:
        common[f"effusion_{sides[0]}_ml"] = EFFUSION_ML[(turn // 4) % len(EFFUSION_ML)]
        common[f"pneumothorax_{sides[1]}_ml"] = PNEUMOTHORAX_ML[(turn // 4 + 3) % len(PNEUMOTHORAX_ML)]
    elif kind == 1:
        common["consolidation"] = [(sides[0], zones[turn % 3], pick(PATCH_ML))]
        common["ground_glass"] = [(sides[1], zones[(turn + 1) % 3], pick(PATCH_ML, 2))]
        common["pericardial_effusion_ml"] = pick(PERICARDIAL_ML)
    elif kind == 2:
        common[f"effusion_{sides[1]}_ml"] = EFFUSION_ML[(turn // 4 + 3) % len(EFFUSION_ML)]
        common[f"atelectasis_{sides[0]}_ml"] = ATELECTASIS_ML[(turn // 4) % len(ATELECTASIS_ML)]
        common["coronary_calcium_mm3"] = CALCIUM_MM3[(turn // 4) % len(CALCIUM_MM3)]
        common["aortic_calcium_mm3"] = CALCIUM_MM3[(turn // 4 + 3) % len(CALCIUM_MM3)]
    else:
        common.pop("nodules")
        common["emphysema_fraction"] = EMPHYSEMA_PERCENT[(turn // 4) % len(EMPHYSEMA_PERCENT)] / 100
        common[f"pneumothorax_{sides[0]}_ml"] = PNEUMOTHORAX_ML[(turn // 4) % len(PNEUMOTHORAX_ML)]
        common["pericardial_effusion_ml"] = PERICARDIAL_ML[(turn // 4) % len(PERICARDIAL_ML)]
    return common


def read_case(
    number: int, names: tuple[str, ...] = (), spacing_mm: tuple[float, float, float] = SPACING_MM
) -> list[Row]:
    """Draw a chest, run the tools, and match what was seen with what was drawn; remembered on disk."""
    asked = spec(number) | {"spacing_mm": spacing_mm}
    path = OUT / f"{number:03d}-{state([asked, names])}.json"
    if path.is_file():
        rows: list[Row] = json.loads(path.read_text(encoding="utf-8"))
        return rows
    phantom = chest(**asked)
    case = Case(phantom.volume)
    rows = []
    for name, tool in load_tools().items():
        if names and name not in names:
            continue
        start = time.perf_counter()
        evidence = tool.run(case)
        seconds = time.perf_counter() - start
        for finding in tool.observes:
            rows.append(_row(name, finding, evidence, phantom, number, seconds))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    return rows


def _row(tool: str, finding: str, evidence: list[Evidence], phantom: Phantom, number: int, seconds: float) -> Row:
    """Hits, misses and false positives of one tool for one finding in one chest."""
    seen = [e for e in evidence if isinstance(e, Observation) and e.finding == finding and e.presence != "absent"]
    looked = any(isinstance(e, Search) and e.finding == finding and e.looked for e in evidence) or bool(seen)
    true = [truth for truth in phantom.truth if truth.finding == finding]
    free = list(range(len(seen)))
    hits = []
    for truth in sorted(true, key=lambda t: -t.value):
        match = next((n for n in free if same(seen[n], truth)), None)
        if match is not None:
            free.remove(match)
        quantity, size = size_of(truth)
        measure = seen[match].measured(quantity) if match is not None else None
        hits.append([quantity, size, match is not None, measure.value if measure else None])
    # A second piece of the same patch, on the right side, is no false positive.
    false = [n for n in free if not any(same(seen[n], truth) for truth in true)]
    return {
        "case": number, "tool": tool, "finding": finding, "looked": looked, "truths": hits, "false": len(false),
        "seconds": round(seconds, 3),
    }  # fmt: skip


def size_of(truth: Truth) -> tuple[str, float]:
    """Quantity and size by which a truth is graded."""
    if truth.finding.endswith("calcification"):
        return "score", perfect_score(1000 * truth.value)
    return truth.quantity, truth.value


def same(seen: Observation, truth: Truth) -> bool:
    """Whether an observation is of this truth: side, and place for what has one."""
    if truth.side and seen.side not in (truth.side, "bilateral", None):
        return False
    if truth.finding not in ("lung_nodule", "consolidation", "ground_glass_opacity"):
        return True
    if seen.region is None:
        return False
    reach = NEAR_MM if truth.quantity == "volume" else max(6.0, truth.value / 2 + 3)
    reach += (truth.value * 1000) ** (1 / 3) if truth.quantity == "volume" else 0.0
    return math.dist(seen.region.centroid_mm, truth.centre_mm) <= reach


def limits(rows: list[Row], command: str) -> dict[str, dict[str, Row]]:
    """What the rows say of each tool and finding that some chest showed."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["tool"], row["finding"]].append(row)
    out: dict[str, dict[str, Row]] = {}
    for (tool, finding), group in sorted(groups.items()):
        truths = [truth for row in group for truth in row["truths"]]
        if not truths or not any(row["looked"] for row in group):
            continue
        out.setdefault(tool, {})[finding] = _limit(truths, group) | {"made_by": command}
    return out


def _limit(truths: list[list[Any]], group: list[Row]) -> Row:
    """Sensitivity by size and the smallest size from which on it is enough."""
    quantity = truths[0][0]
    levels = sorted({_level(size) for _, size, _, _ in truths})
    by_size = {}
    for level in levels:
        here = [hit for _, size, hit, _ in truths if _level(size) == level]
        by_size[level] = (sum(here), len(here))
    smallest, sensitivity, interval = None, None, None
    for index in range(len(levels) - 1, -1, -1):
        if wilson(*by_size[levels[index]])[1] < ENOUGH:
            break  # at this size it is surely found too seldom
        hits, count = (sum(by_size[level][part] for level in levels[index:]) for part in (0, 1))
        if count >= LEAST_TRUTHS and hits >= ENOUGH * count:
            smallest, sensitivity, interval = levels[index], round(hits / count, 3), wilson(hits, count)
    errors = [abs(measured - size) / size for _, size, _, measured in truths if measured is not None and size > 0]
    return {
        "quantity": quantity,
        "unit": QUANTITIES[quantity][0],
        "smallest": smallest,
        "sensitivity": sensitivity,
        "interval": interval,
        "false_positives_per_scan": round(sum(row["false"] for row in group) / len(group), 3),
        "median_error": round(float(np.median(errors)), 3) if errors else None,
        "n": len(truths),
        "scans": len(group),
        "by_size": {f"{level:g}": f"{found}/{number}" for level, (found, number) in by_size.items()},
    }


def _level(size: float) -> float:
    """A size rounded to two digits: drawn volumes differ a little from what was asked for."""
    digits = 1 - math.floor(math.log10(size)) if size > 0 else 0
    return round(size, digits)


def wilson(hits: int, number: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's 95 % interval of a share."""
    share, square = hits / number, z * z / number
    middle = (share + square / 2) / (1 + square)
    half = z * math.sqrt(share * (1 - share) / number + square / (4 * number)) / (1 + square)
    return round(max(0.0, middle - half), 3), round(min(1.0, middle + half), 3)


def state(asked: list[Any]) -> str:
    """A hash of what a result depends on: what was asked for, and the code that draws and reads it."""
    digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode())
    for folder in ("phantom", "anatomy", "tools"):
        for path in sorted((ROOT / "vlm" / folder).glob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def table(found: dict[str, dict[str, Row]]) -> str:
    """The limits as a Markdown table."""
    lines = ["| tool | finding | smallest at 0.9 | sensitivity (95 %) | false a scan | median error | by size |"]
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    for tool, findings in found.items():
        for finding, row in findings.items():
            smallest = (
                "not reached"
                if row["smallest"] is None
                else f"{row['smallest']:g} {row['unit'].replace('1', row['quantity'])}"
            )
            sure = (
                ""
                if row["sensitivity"] is None
                else f"{row['sensitivity']:.2f} ({row['interval'][0]:.2f}-{row['interval'][1]:.2f})"
            )
            error = "" if row["median_error"] is None else f"{row['median_error']:.0%}"
            sizes = ", ".join(f"{size}: {row['by_size'][size]}" for size in sorted(row["by_size"], key=float))
            false = f"{row['false_positives_per_scan']:.2f}"
            lines.append(f"| {tool} | {finding} | {smallest} | {sure} | {false} | {error} | {sizes} |")
    return "\n".join(lines)


def main() -> None:
    """Read the cohort and write the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=CASES)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=None, help="where to write; by default vlm/tools/limits.json")
    parser.add_argument("--tools", default="", help="names of tools, with commas; by default all")
    parser.add_argument("--spacing", type=float, nargs=3, default=SPACING_MM, metavar="MM", help="voxel size")
    options = parser.parse_args()
    names = tuple(name for name in options.tools.split(",") if name)
    read_one = functools.partial(read_case, names=names, spacing_mm=tuple(options.spacing))
    with ProcessPoolExecutor(max_workers=options.workers) as pool:
        rows = [row for part in pool.map(read_one, range(options.cases)) for row in part]
    command = " ".join(["python -m benchmarks.limits", *sys.argv[1:]])
    found = limits(rows, stamp(command))
    target = options.out or (TARGET if options.cases >= CASES else OUT / "limits.json")
    target.parent.mkdir(parents=True, exist_ok=True)
    before = json.loads(target.read_text(encoding="utf-8")) if names and target.is_file() else {}
    known = before | found
    target.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    print(table(found))
    if target == TARGET:
        write_page(known)


def write_page(known: dict[str, dict[str, Row]]) -> None:
    """Put the limits that are shipped into ``docs/limits.md``, with the runs that made them."""
    made = "\n".join(f"- {run}" for run in sorted({r["made_by"] for f in known.values() for r in f.values()}))
    write_section(ROOT / "docs" / "limits.md", "limits", f"{table(known)}\n\nMade by:\n\n{made}")


if __name__ == "__main__":
    main()
