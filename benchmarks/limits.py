"""How small is what the tools find: cohorts of known truth, measured as ``tomoscribe measure`` does.

    python -m benchmarks.limits chests          simple chests with findings of graded size
    python -m benchmarks.limits bodies          whole bodies, findings of graded size
    python -m benchmarks.limits implants        findings of graded size put into the shared chests
    python -m benchmarks.limits alone           bodies with what those lack (benchmarks/alone.py), and its tools
    python -m benchmarks.limits ct-rate         bodies with CT-RATE's 18 labels at its prevalence: a table, no limits
    python -m benchmarks.limits chests --tools effusion,pneumothorax     these tools only; other entries stay
    python -m benchmarks.limits bodies --cases 6                         a quick look, writes nothing into the package

Each goes on where it stopped. The first four write ``vlm/tools/limits*.json``, of which every Search quotes the worst;
all write their section of ``docs/limits.md``.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.measuring import markdown, measure
from benchmarks import alone
from benchmarks.real_scans import scan_path
from benchmarks.stamp import ROOT, write_section
from vlm.phantom.chest import chest
from vlm.phantom.cohort import Settings, name_of, write_cohort
from vlm.phantom.files import Place, records, save_json, save_scan
from vlm.workers import in_parallel

OUT = ROOT / "benchmarks" / "out" / "limits"
TOOLS = ROOT / "vlm" / "tools"
CLEAN = 10  # chests without any finding
SPACING_MM = (1.2, 1.2, 1.8)
BODY_MM = (1.2, 1.2, 2.0)  # a coarse routine scan: what is seen there is seen in finer ones
# Chests that may be used for more than tests; the patients kept for tests are left out.
HOSTS = (
    "acrin-flt-breast-013", "nlst-101287", "cmb-crc-01068", "pyradiomics-lung2", "elastix-right-lung",
    "acrin-nsclc-042", "rider-pilot-0117", "lidc-idri-0314",
)  # fmt: skip

NODULES_MM = (3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 12.0)
EFFUSION_ML = (10.0, 20.0, 40.0, 60.0, 100.0, 200.0, 300.0)
PNEUMOTHORAX_ML = (5.0, 10.0, 20.0, 40.0, 60.0, 100.0, 200.0)
PATCH_ML = (2.0, 5.0, 10.0, 20.0, 50.0)
ATELECTASIS_ML = (10.0, 20.0, 40.0, 80.0)
EMPHYSEMA_PERCENT = (2.0, 5.0, 10.0, 20.0)
PERICARDIAL_ML = (30.0, 60.0, 100.0, 150.0, 250.0)
CALCIUM_MM3 = (5.0, 10.0, 20.0, 50.0, 100.0, 200.0)


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


@dataclass(frozen=True, slots=True)
class Cohort:
    """A cohort by name: how many cases, how they are drawn, and where its limits go."""

    cases: int
    draw: Callable[[Path, int, int], None]  # folder, cases, workers
    limits: str | None  # file of vlm/tools
    # What reads it: names of tools, all when empty, and whether structures are outlined as they were drawn.
    looks: tuple[tuple[frozenset[str], bool], ...] = ((frozenset(), False),)


def draw_chests(folder: Path, cases: int, workers: int) -> None:
    """Simple chests, as files of a cohort."""
    missing = [number for number in range(cases) if not (folder / name_of(number)).is_dir()]
    for _ in in_parallel(functools.partial(draw_chest, folder), missing, workers=workers):
        pass


def draw_chest(folder: Path, number: int) -> None:
    """One chest; the folder gets its name when it is whole."""
    staging = folder / f".{name_of(number)}.new"
    shutil.rmtree(staging, ignore_errors=True)
    place = Place(staging / "scan", "")
    place.clear()
    drawn = chest(**spec(number))
    save_scan(drawn.volume, place, seed=number, file_format="nifti")
    save_json({"findings": records(drawn.truth, drawn.masks)}, place.truth)
    staging.rename(folder / name_of(number))


def draw_bodies(folder: Path, cases: int, workers: int, *, prevalence: str) -> None:
    """Bodies by the seeds for tests."""
    settings = Settings(count=cases, prevalence=prevalence, spacing_mm=BODY_MM)
    told(write_cohort(folder, settings, workers=workers).failed)


def draw_implants(folder: Path, cases: int, workers: int) -> None:
    """Findings put into the shared chests."""
    scans = [scan_path(name) for name in HOSTS]
    told(write_cohort(folder, Settings(count=cases, prevalence="graded"), scans=scans, workers=workers).failed)


def draw_alone(folder: Path, cases: int, workers: int) -> None:
    """Bodies with what the other cohorts lack."""
    told(alone.draw(folder, cases, workers, spacing_mm=BODY_MM))


def told(failed: dict[str, str]) -> None:
    """Say which cases are not there."""
    for name, reason in failed.items():
        print(f"{name} is left out: {reason}", file=sys.stderr, flush=True)


COHORTS = {
    "chests": Cohort(60, draw_chests, "limits.json"),
    "bodies": Cohort(200, functools.partial(draw_bodies, prevalence="graded"), "limits_bodies.json"),
    "implants": Cohort(200, draw_implants, "limits_real.json"),
    "alone": Cohort(
        alone.CASES,
        draw_alone,
        "limits_alone.json",
        ((frozenset({"ducts", "groin_nodes", "ureter_stones"}), False), (frozenset({"diverticula", "varices"}), True)),
    ),
    "ct-rate": Cohort(200, functools.partial(draw_bodies, prevalence="ct-rate"), None),
}


def state() -> str:
    """A hash of the code that draws: another code draws another cohort."""
    digest = hashlib.sha256(Path(__file__).read_bytes() + Path(alone.__file__).read_bytes())
    for path in sorted((ROOT / "vlm" / "phantom").rglob("*.*")):
        if path.suffix in (".py", ".toml"):
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def show(what: str, done: int, total: int) -> None:
    """A line every tenth case."""
    if done % 10 == 0 or done == total:
        print(f"{what} {done}/{total}", file=sys.stderr, flush=True)


def main() -> None:
    """Draw a cohort, measure the tools on it, and write what they declare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cohort", choices=COHORTS)
    parser.add_argument("--cases", type=int, default=None)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--tools", default="", help="names of tools, with commas; by default all")
    options = parser.parse_args()
    cohort = COHORTS[options.cohort]
    cases = options.cases or cohort.cases
    tools = frozenset(name for name in options.tools.split(",") if name)
    known = [looked for looked, _ in cohort.looks]
    if all(known) and (strange := tools - frozenset().union(*known)):
        parser.error(f"--tools {','.join(sorted(strange))}: {options.cohort} does not measure them")
    folder = OUT / f"{options.cohort}-{cases}-{state()}"
    folder.mkdir(parents=True, exist_ok=True)
    cohort.draw(folder, cases, options.workers)
    document = read_by(cohort, folder, tools, options.workers)
    print(markdown(document))
    if cases >= cohort.cases:
        declare(options.cohort, document, keep=bool(tools))


def read_by(cohort: Cohort, folder: Path, tools: frozenset[str], workers: int) -> dict[str, Any]:
    """The figures of a cohort: of each look, or of those of its tools that were asked for."""
    out: dict[str, Any] = {}
    for known, outlined in cohort.looks:
        if tools and known and not tools & known:
            continue
        command = " ".join(["python -m benchmarks.limits", *sys.argv[1:]])
        document = measure(
            folder, command=command, tools=tools & known if tools and known else tools or known, outlined=outlined,
            workers=workers, progress=functools.partial(show, "read"),
        )  # fmt: skip
        out = document | {key: out.get(key, {}) | document[key] for key in ("tools", "tools_failed", "failed")}
    return out | {"tools": dict(sorted(out["tools"].items()))}


def declare(name: str, document: dict[str, Any], *, keep: bool) -> None:
    """Write the limits that the tools quote, and the table; ``keep`` leaves rows of tools that were not run."""
    target = None if (file := COHORTS[name].limits) is None else TOOLS / file
    if target is not None:
        before = json.loads(target.read_text(encoding="utf-8")) if keep and target.is_file() else {}
        document = document | {"tools": dict(sorted((before | document["tools"]).items()))}
        text = json.dumps(document["tools"], indent=1, sort_keys=True)
        target.write_text(text + "\n", encoding="utf-8")
    write_section(ROOT / "docs" / "limits.md", name, markdown(document))


if __name__ == "__main__":
    main()
