"""How well the segmenter draws structures of real patients that it never saw.

    python -m benchmarks.anatomy train      on synthetic bodies, then one training a fold, resumable, into build/anatomy
    python -m benchmarks.anatomy            Dice and surface distance a structure

Patients are parted into folds; a fold's weights are trained without its patients, on the others and on synthetic
bodies. Only structures that a map draws everywhere are counted. References are drawn by hand and are not experts'.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

from benchmarks.real_scans import SHARED
from benchmarks.stamp import ROOT
from vlm.anatomy.body import body
from vlm.anatomy.classes import CLASSES, INDEX, class_of
from vlm.anatomy.network import labelled, load
from vlm.ct.read import read
from vlm.evidence import Case
from vlm.phantom.seeds import seeds
from vlm.train.labelled import drawn, labels_on, phantom
from vlm.train.segment import Recipe, train

FOLDS = (
    ("nlst-101287", "cptac-pda-00189", "acrin-flt-breast-013"),
    ("acrin-nsclc-042", "cmb-crc-01068", "totalseg-abdomen-3mm"),
    ("pyradiomics-lung2", "lung-pet-ct-dx-a0002", "lidc-idri-0314"),
)
NEVER = ("totalseg-dicom-j2k", "acrin-flt-breast-001")  # kept for tests by their source
BUILD = ROOT / "build" / "anatomy"
PHASES, REGIONS = ("plain", "arterial", "portal"), ("trunk", "trunk", "chest", "abdomen")
LEAST_ML = 5.0  # of a structure in the reference: less is a cut edge


def map_of(scan: str) -> Path:
    """The label map of a scan."""
    return next(path for path in sorted((SHARED / "ct" / scan).glob("organs*.json")))


def train_all(given: argparse.Namespace) -> None:
    """The weights that are not there yet: on synthetic bodies alone, then from those one for each fold and for use."""
    BUILD.mkdir(parents=True, exist_ok=True)
    made = [phantom(seed, PHASES[seed % 3], REGIONS[seed % 4]) for seed in seeds("train", given.phantoms)]
    base = BUILD / "phantoms.safetensors"
    if not base.exists():
        train([], made, Recipe(steps=given.base_steps, fine_from=1.0, threads=given.threads), base)
    held = {f"fold{number}": fold for number, fold in enumerate(FOLDS)} | {"use": ()}
    for name in given.only or held:
        out = BUILD / f"{name}.safetensors"
        if not out.exists():
            learned = [scan for fold in FOLDS for scan in fold if scan not in held[name]]
            real = [drawn(map_of(scan).parent, map_of(scan).stem) for scan in learned]
            recipe = Recipe(steps=given.steps, fine_from=0.6, rate=1e-3, threads=given.threads)
            train(real, made, recipe, out, base.with_suffix(".checkpoint"))


def scores(scan: str, weights: Path) -> dict[str, tuple[float, float, float]]:
    """Dice, mean surface distance (mm) and reference volume (mL) of each structure that the map draws everywhere."""
    path = map_of(scan)
    told = json.loads(path.read_text(encoding="utf-8"))
    names = {int(n): name for n, name in told.get("labels", told).items()}
    volume = next(p for p in (path.parent / "ct.nii.gz", path.parent / "dicom.zip") if p.is_file())
    case = Case(read(volume).volume)
    grid = case.working.grid
    said = labelled(case.working.hu, body(case).voxels, grid, load(weights))
    reference = labels_on(path.with_suffix("").with_suffix(".nii.gz"), grid)
    folded = np.zeros(reference.shape, dtype=np.uint8)
    for n, name in names.items():
        folded[reference == n] = INDEX[class_of(name)]
    complete = {class_of(name) for name in told.get("complete", names.values())} - {"soft_tissue", "fat", "bone"}
    found = {}
    for name in sorted(complete):
        truth = folded == INDEX[name]
        ml = float(truth.sum()) * grid.voxel_ml
        if ml >= LEAST_ML:
            mine = said == INDEX[name]
            if name not in ("ribs", "vertebrae", "colon", "small_bowel", "gluteus", "autochthon", "iliopsoas"):
                mine = cc3d.largest_k(mine, k=1) > 0
            found[name] = (_dice(mine, truth), _surface_mm(mine, truth, grid.spacing_mm), ml)
    return found


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def _surface_mm(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing: tuple[float, float, float]) -> float:
    """Mean distance between the two surfaces, both ways, mm; NaN where one is empty."""
    if not one.any() or not other.any():
        return float("nan")
    apart = []
    for here, there in ((one, other), (other, one)):
        edge = here & (edt.edt(here, anisotropy=spacing) <= max(spacing))
        away = edt.edt(~there, anisotropy=spacing)
        apart.append(away[edge])
    return float(np.concatenate(apart).mean())


def main() -> None:
    """Train the folds, or print the table."""
    ask = argparse.ArgumentParser(description=__doc__)
    ask.add_argument("do", nargs="?", choices=["train", "measure"], default="measure")
    ask.add_argument("--base-steps", type=int, default=4000)
    ask.add_argument("--steps", type=int, default=3000)
    ask.add_argument("--phantoms", type=int, default=90)
    ask.add_argument("--threads", type=int, default=2)
    ask.add_argument("--only", nargs="*", default=[], help="fold0, fold1, fold2, use")
    given = ask.parse_args()
    if given.do == "train":
        train_all(given)
        return
    table: dict[str, list[float]] = {}
    for number, held in enumerate(FOLDS):
        weights = BUILD / f"fold{number}.safetensors"
        if not weights.is_file() or (given.only and f"fold{number}" not in given.only):
            continue
        for scan in held:
            for name, (dice, surface, ml) in scores(scan, weights).items():
                print(f"{scan:24s} {name:30s} {dice:.3f} {surface:6.1f} mm {ml:7.0f} mL")
                table.setdefault(name, []).append(dice)
    for name in CLASSES:
        if name in table:
            print(f"{name:30s} {np.mean(table[name]):.3f} of {len(table[name])}, least {min(table[name]):.3f}")


if __name__ == "__main__":
    main()
