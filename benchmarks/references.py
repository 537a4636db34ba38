"""Label maps of real scans and of phantoms, as the truth that engines of anatomy are measured against.

References of real scans are drawn by hand, made by a threshold (lungs) or by TotalSegmentator; none is an expert's.
Only structures that a map draws wherever they are count.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import edt
import numpy as np
from numpy.typing import NDArray

from benchmarks.real_scans import SHARED
from vlm.anatomy.classes import ORGANS
from vlm.anatomy.engines.labels import names_of, on_grid
from vlm.anatomy.engines.protocol import LabelMap, with_wholes
from vlm.ct.read import read
from vlm.evidence import Case
from vlm.phantom.body import NAME, body
from vlm.phantom.seeds import only

PARTLY = ("autochthon", "gluteus", "iliopsoas", "hip", "femur", "ribs")  # a map of one scan draws parts of them
LEAST_ML = 5.0  # of a structure in the reference: less is a cut edge
PHASES, REGIONS = ("plain", "arterial", "portal"), ("trunk", "trunk", "chest", "abdomen")


@dataclass(frozen=True, eq=False)
class Reference:
    """A case and the true voxels (X, Y, Z) of its working grid, by structure."""

    name: str
    case: Case
    truth: Mapping[str, NDArray[np.bool_]]


def maps_of(scan: str) -> list[Path]:
    """The label maps of a scan; organs before lungs."""
    return [
        path
        for kind in ("organs*", "lungs", "lung_right")
        for path in sorted((SHARED / "ct" / scan).glob(f"{kind}.nii.gz"))
    ]


def labelled_scans() -> list[str]:
    """Every scan with a label map."""
    return [folder.name for folder in sorted((SHARED / "ct").glob("*/")) if maps_of(folder.name)]


def patient_of(scan: str) -> str:
    """Whose scan it is: days of one patient are one patient."""
    return scan.partition("-day")[0]


def of_scan(scan: str) -> Reference:
    """A real scan with all that its maps draw everywhere."""
    folder = SHARED / "ct" / scan
    case = Case(read(next(p for p in (folder / "ct.nii.gz", folder / "dicom.zip") if p.is_file())).volume)
    truth: dict[str, NDArray[np.bool_]] = {}
    for path in maps_of(scan):
        names, complete = ({1: "lung_right"},) * 2 if path.name == "lung_right.nii.gz" else names_of(path)
        mapped = LabelMap(on_grid(path, case.working.grid), case.working.grid, names)
        whole = with_wholes(complete.values())
        for name in whole.intersection(ORGANS).difference(PARTLY, truth):
            truth[name] = mapped.of(name).voxels
    return Reference(scan, case, large(truth, case))


def of_phantom(seed: int) -> Reference:
    """A synthetic body that nothing was trained on."""
    only("test", [seed])
    made = body(seed=seed, phase=PHASES[seed % 3], region=REGIONS[seed % 4], spacing_mm=(2.0, 2.0, 2.5))  # type: ignore[arg-type]
    case = Case(made.volume)
    mapped = LabelMap(made.labels, made.volume.grid, NAME)
    truth = {
        name: mapped.of(name).on(case.working.grid).voxels for name in with_wholes(NAME.values()).intersection(ORGANS)
    }
    return Reference(f"phantom {seed}", case, large(truth, case))


def large(truth: Mapping[str, NDArray[np.bool_]], case: Case) -> dict[str, NDArray[np.bool_]]:
    """Only structures of which enough is in view."""
    least = LEAST_ML / case.working.grid.voxel_ml
    return {name: voxels for name, voxels in sorted(truth.items()) if np.count_nonzero(voxels) >= least}


def dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    """Overlap of two masks, 0..1."""
    both = int(one.sum()) + int(other.sum())
    return 2 * int((one & other).sum()) / both if both else 1.0


def surface_mm(one: NDArray[np.bool_], other: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> float:
    """Mean distance between the two surfaces, both ways, mm; NaN where one is empty."""
    if not one.any() or not other.any():
        return float("nan")
    either = one | other
    box = tuple(
        slice(max(0, int(held[0]) - 1), int(held[-1]) + 2)
        for held in (np.flatnonzero(either.any(axis=tuple(n for n in range(3) if n != axis))) for axis in range(3))
    )
    one, other = np.ascontiguousarray(one[box]), np.ascontiguousarray(other[box])
    apart = []
    for here, there in ((one, other), (other, one)):
        edge = here & (edt.edt(here, anisotropy=spacing_mm) <= max(spacing_mm))
        away = edt.edt(~there, anisotropy=spacing_mm)
        apart.append(away[edge])
    return float(np.concatenate(apart).mean())
