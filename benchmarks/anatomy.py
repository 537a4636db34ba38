"""How well each engine of anatomy finds structures of real patients that it never saw.

    python -m benchmarks.anatomy train      on synthetic bodies, then one training a fold, resumable, into build/anatomy
    python -m benchmarks.anatomy [--write]  Dice and surface distance a structure; into docs/anatomy.md and quality.json

Patients are parted into folds; a fold's weights are trained without its patients, on the others and on synthetic
bodies. A scan is only ever measured with weights that never saw its patient.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.references import (
    PHASES,
    REGIONS,
    SHARED,
    Reference,
    dice,
    labelled_scans,
    maps_of,
    of_phantom,
    of_scan,
    patient_of,
    surface_mm,
)  # fmt: skip
from benchmarks.stamp import ROOT, stamp, write_section
from vlm.anatomy.classes import ORGANS
from vlm.anatomy.engines.embedded import embedded
from vlm.anatomy.engines.protocol import Engine
from vlm.anatomy.engines.rules import Rules
from vlm.phantom.seeds import seeds

FOLDS = (
    ("nlst-101287", "cptac-pda-00189", "acrin-flt-breast-013"),
    ("acrin-nsclc-042", "cmb-crc-01068", "totalseg-abdomen-3mm"),
    ("pyradiomics-lung2", "lung-pet-ct-dx-a0002", "lidc-idri-0314"),
)
BUILD = ROOT / "build" / "anatomy"
ROWS = BUILD / "rows.json"  # remove it when an engine or its weights changed
QUALITY = ROOT / "vlm" / "anatomy" / "quality.json"
TOGETHER = "together"


@dataclass(frozen=True, slots=True)
class Row:
    """One structure of one scan by one engine; ``dice`` is None where the engine says that it does not know."""

    engine: str
    scan: str
    structure: str
    dice: float | None
    surface_mm: float | None
    ml: float  # of the reference


def learned(fold: int) -> frozenset[str]:
    """Patients whose maps the weights of a fold were trained on."""
    return frozenset(patient_of(scan) for n, held in enumerate(FOLDS) if n != fold for scan in held)


def weights_for(scan: str) -> Path | None:
    """Weights that never saw the patient of a scan; None while they are not trained."""
    able = [n for n in range(len(FOLDS)) if patient_of(scan) not in learned(n)]
    there = [path for n in able if (path := BUILD / f"fold{n}.safetensors").is_file()]
    return there[0] if there else None


def train_all(given: argparse.Namespace) -> None:
    """The weights that are not there yet: on synthetic bodies alone, then from those one for each fold and for use."""
    from vlm.train.labelled import drawn, phantom
    from vlm.train.segment import Recipe, train

    BUILD.mkdir(parents=True, exist_ok=True)
    made = [phantom(seed, PHASES[seed % 3], REGIONS[seed % 4]) for seed in seeds("train", given.phantoms)]  # type: ignore[arg-type]
    base = BUILD / "phantoms.safetensors"
    if not base.exists():
        train([], made, Recipe(steps=given.base_steps, fine_from=1.0, threads=given.threads), base)
    held = {f"fold{number}": fold for number, fold in enumerate(FOLDS)} | {"use": ()}
    for name in given.only or held:
        out = BUILD / f"{name}.safetensors"
        if not out.exists():
            scans = [scan for fold in FOLDS for scan in fold if scan not in held[name]]
            real = [drawn(SHARED / "ct" / scan, maps_of(scan)[0].name.removesuffix(".nii.gz")) for scan in scans]
            recipe = Recipe(steps=given.steps, fine_from=0.6, rate=1e-3, threads=given.threads)
            train(real, made, recipe, out, base.with_suffix(".checkpoint"))


def measured(engine: Engine, reference: Reference) -> list[Row]:
    """How an engine does on every structure of a reference that it tells."""
    rows = []
    spacing = reference.case.working.grid.spacing_mm
    for name, truth in reference.truth.items():
        if name not in engine.names():
            continue
        found = engine.find(reference.case, name)
        ml = float(truth.sum()) * reference.case.working.grid.voxel_ml
        if found.mask is not None:
            mine = found.mask.on(reference.case.working.grid).voxels
            rows.append(Row(engine.name, reference.name, name, dice(mine, truth), surface_mm(mine, truth, spacing), ml))
        else:  # "absent" and "cut" are claims, and wrong: the reference shows it
            rows.append(
                Row(engine.name, reference.name, name, None if found.state == "not believed" else 0.0, None, ml)
            )
    return rows


def together(rows: Sequence[Row]) -> list[Row]:
    """What the two give together: a structure by whichever engine does better on the other patients, else the other."""
    out = []
    for scan, name in dict.fromkeys((row.scan, row.structure) for row in rows):
        here = [row for row in rows if (row.scan, row.structure) == (scan, name)]

        def elsewhere(row: Row) -> float:
            others = [
                r.dice or 0.0
                for r in rows
                if (r.engine, r.structure) == (row.engine, row.structure) and patient_of(r.scan) != patient_of(row.scan)
            ]
            return float(np.mean(others)) if others else 0.0

        ranked = sorted(here, key=elsewhere, reverse=True)
        best = next((row for row in ranked if row.dice is not None), ranked[0])
        out.append(Row(TOGETHER, scan, name, best.dice, best.surface_mm, best.ml))
    return out


def summary(rows: Iterable[Row]) -> dict[str, dict[str, dict[str, float]]]:
    """Engine -> structure -> mean and least Dice where it drew the structure, and in how many patients it did."""
    table: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        table.setdefault(row.engine, {}).setdefault(row.structure, []).append(row)
    return {
        engine: {name: _of(table[engine][name]) for name in ORGANS if name in table[engine]} for engine in sorted(table)
    }


def _of(rows: Sequence[Row]) -> dict[str, float]:
    drawn = [row for row in rows if row.dice is not None]
    away = [row.surface_mm for row in drawn if row.surface_mm is not None and np.isfinite(row.surface_mm)]
    return {
        "dice": round(float(np.mean([row.dice for row in drawn])), 3) if drawn else 0.0,
        "least": round(min(row.dice or 0.0 for row in drawn), 3) if drawn else 0.0,
        "surface_mm": round(float(np.mean(away)), 1) if away else -1.0,
        "patients": len({patient_of(row.scan) for row in drawn}),
        "of": len({patient_of(row.scan) for row in rows}),
    }


def table(real: Sequence[Row], made: Sequence[Row]) -> str:
    """The page's table: a line a structure, a column an engine; phantoms beside."""
    found, phantom = summary(real), summary(made)
    columns = [engine for engine in ("rules", "network", TOGETHER) if engine in found]
    beside = [engine for engine in ("rules", "network") if engine in phantom]
    head = ["structure", "patients", *columns, *(f"{engine}, phantoms" for engine in beside)]
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    for name in ORGANS:
        if not any(name in found[engine] for engine in columns):
            continue
        patients = max(int(found[engine][name]["of"]) for engine in columns if name in found[engine])
        cells = [_cell(found[engine].get(name)) for engine in columns]
        cells += [_cell(phantom[engine].get(name)) for engine in beside]
        lines.append(f"| {name} | {patients} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(row: Mapping[str, float] | None) -> str:
    if row is None:
        return "-"
    if not row["patients"]:
        return "never drawn"
    away = f", {row['surface_mm']:.1f} mm" if row["surface_mm"] >= 0 else ""
    return f"{row['dice']:.2f} (least {row['least']:.2f}{away}; {row['patients']:.0f} of {row['of']:.0f})"


def main() -> None:
    """Train the folds, or measure every engine that can run."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("do", nargs="?", choices=["train", "measure"], default="measure")
    ask.add_argument("--base-steps", type=int, default=4000)
    ask.add_argument("--steps", type=int, default=3000)
    ask.add_argument("--phantoms", type=int, default=90, help="synthetic bodies to train on")
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--only", nargs="*", default=[], help="of a training: fold0, fold1, fold2, use; else scans")
    ask.add_argument("--held-out", type=int, default=4, help="synthetic bodies to measure on")
    ask.add_argument("--write", action="store_true", help="into docs/anatomy.md and vlm/anatomy/quality.json")
    given = ask.parse_args()
    if given.do == "train":
        train_all(given)
        return
    real, made = measure(given.only or labelled_scans(), seeds("test", given.held_out))
    text = table(real, made)
    print(text)
    if given.write:
        command = "python -m benchmarks.anatomy --write"
        write_section(ROOT / "docs" / "anatomy.md", "engines", f"{stamp(command)}\n\n{text}")
        found = {engine: rows for engine, rows in summary(real).items() if engine != TOGETHER}
        told = {"command": command, "engines": found}
        QUALITY.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")


def measure(scans: Sequence[str], phantoms: Sequence[int]) -> tuple[list[Row], list[Row]]:
    """Rows of real scans, and of phantoms; what a run that was cut has measured is taken from ``ROWS``."""
    real = [row for scan in scans for row in rows_of(scan, weights_for(scan), partial(of_scan, scan))]
    base = BUILD / "phantoms.safetensors"
    weights = base if base.is_file() else None
    made = [row for seed in phantoms for row in rows_of(f"phantom {seed}", weights, partial(of_phantom, seed))]
    return [*real, *together(real)], made


def rows_of(name: str, weights: Path | None, make: Callable[[], Reference]) -> list[Row]:
    """A reference by every engine; rows are kept by engine, the network's by its weights."""
    engines: dict[str, Engine] = {"rules": Rules()}
    if weights is not None:
        engines[weights.stem] = embedded(weights)
    kept: dict[str, list[Any]] = json.loads(ROWS.read_text(encoding="utf-8")) if ROWS.is_file() else {}
    missing = [key for key in engines if f"{key} {name}" not in kept]
    reference = make() if missing else None
    for key in missing:
        assert reference is not None
        kept[f"{key} {name}"] = [asdict(row) for row in measured(engines[key], reference)]
        ROWS.parent.mkdir(parents=True, exist_ok=True)
        ROWS.write_text(json.dumps(kept), encoding="utf-8")
    rows = [Row(**row) for key in engines for row in kept[f"{key} {name}"]]
    for row in rows:
        print(json.dumps(asdict(row)), flush=True)
    return rows


if __name__ == "__main__":
    main()
