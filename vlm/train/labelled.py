"""Scans with label maps, whole or partial, as the segmenter's training takes them.

In: a folder with a scan and its map, or a seed of a phantom. Out: Hounsfield units and, for each voxel, the set of
classes that it may be. A drawn map that holds liver and spleen says of all other voxels only that they are neither:
training punishes probability outside the set (marginal loss: Fang and Yan, IEEE TMI 2020;39:3619).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.body import body as body_mask
from vlm.anatomy.classes import CLASSES, INDEX, ORGANS, class_of
from vlm.ct.read import read
from vlm.ct.volume import Grid
from vlm.evidence import Case
from vlm.phantom.body import NAME, Person, Phase, body, grid_of
from vlm.phantom.seeds import only

GRID_MM = 3.0
FAT_HU, GAS_HU = (-140, -50), -200
AIRY = frozenset({"lung_right", "lung_left", "stomach", "colon", "small_bowel", "trachea", "esophagus"})
# Borders that one map draws and another does not: these voxels may be either.
EITHER = {
    "lung_vessels": ("lung_right", "lung_left", "soft_tissue"),
    "bronchi": ("lung_right", "lung_left", "trachea", "soft_tissue"),
    "intervertebral_discs": ("vertebrae", "soft_tissue"),
    "pericardium": ("heart", "fat", "soft_tissue"),
    "pulmonary_artery": ("soft_tissue", "heart"),
    "hepatic_vein": ("liver",),
    "finding": CLASSES,
}


@dataclass(frozen=True, eq=False)
class Labelled:
    """One scan: ``hu`` (X, Y, Z) int16 and ``target`` (X, Y, Z) uint8, a row of ``sets`` (S, CLASSES) bool."""

    name: str
    hu: NDArray[np.int16]
    target: NDArray[np.uint8]
    sets: NDArray[np.bool_]
    spacing_mm: tuple[float, float, float]
    middle_mm: tuple[float, float]  # of the body, right and forward, from voxel 0

    @property
    def exact(self) -> NDArray[np.intp]:
        """The class of each set that holds one class only, else -1."""
        return np.where(self.sets.sum(axis=1) == 1, self.sets.argmax(axis=1), -1)


def drawn(folder: Path, labels: str = "organs_drawn") -> Labelled:
    """A scan with a map beside it; ``labels``.json holds names by number and which of them are drawn everywhere.

    Raises:
        IntakeError: the scan is refused.
    """
    scan = next(path for path in (folder / "ct.nii.gz", folder / "dicom.zip") if path.is_file())
    case = Case(read(scan).volume)
    coarse = case.volume.coarse(target_mm=GRID_MM)
    told = json.loads((folder / f"{labels}.json").read_text(encoding="utf-8"))
    names = {int(n): name for n, name in told.get("labels", told).items()}
    complete = {class_of(name) for name in told["complete"]} if "complete" in told else set(ORGANS)
    number = labels_on(folder / f"{labels}.nii.gz", coarse.grid)
    inside = body_mask(case).on(coarse.grid).voxels
    target = np.full(number.shape, -1, dtype=np.int16)
    sets: list[frozenset[str]] = []

    def put(where: NDArray[np.bool_], *allowed: str) -> None:
        target[where & (target < 0)] = len(sets)
        sets.append(frozenset(allowed))

    for n, name in names.items():
        put(number == n, *EITHER.get(name, (class_of(name),)))
    unknown = set(ORGANS) - complete
    put(~inside, "outside")
    put(coarse.hu < GAS_HU, *((unknown & AIRY) or {"soft_tissue"}))
    put((coarse.hu > FAT_HU[0]) & (coarse.hu < FAT_HU[1]), "fat", *(unknown & {"heart"}))
    put(np.ones_like(inside), "soft_tissue", "bone", "fat", *(unknown - {"lung_right", "lung_left", "trachea"}))
    return _packed(folder.name, coarse.hu, target, sets, coarse.grid.spacing_mm, inside)


def phantom(seed: int, phase: Phase, region: str) -> Labelled:
    """A synthetic body; every voxel of it is known.

    Raises:
        UsageError: the seed is not one of those to train on.
    """
    only("train", [seed])
    person = Person.of(seed)
    made = body(seed=seed, phase=phase, grid=grid_of(person, region, (GRID_MM,) * 3))
    numbers = np.unique(made.labels)
    target = np.searchsorted(numbers, made.labels)
    names = [NAME.get(int(n), "outside") for n in numbers]
    sets = [frozenset(EITHER.get(name, (class_of(name),))) for name in names]
    inside = ~np.isin(target, [n for n, allowed in enumerate(sets) if allowed == {"outside"}])
    return _packed(f"phantom {seed}", made.volume.hu, target, sets, made.volume.grid.spacing_mm, inside)


def _packed(
    name: str,
    hu: NDArray[np.int16],
    target: NDArray[np.integer],
    sets: list[frozenset[str]],
    spacing_mm: tuple[float, float, float],
    inside: NDArray[np.bool_],
) -> Labelled:
    table = np.zeros((len(sets), len(CLASSES)), dtype=bool)
    for row, allowed in enumerate(sets):
        table[row, [INDEX[one] for one in allowed]] = True
    x, y = (np.flatnonzero(inside.any(axis=axes)) for axes in ((1, 2), (0, 2)))
    middle = ((x[0] + x[-1]) / 2 * spacing_mm[0], (y[0] + y[-1]) / 2 * spacing_mm[1])
    return Labelled(name, np.ascontiguousarray(hu), target.astype(np.uint8, order="C"), table, spacing_mm, middle)


def labels_on(path: Path, grid: Grid) -> NDArray[np.int16]:
    """(X, Y, Z): the number of a map's nearest voxel at each voxel of ``grid``; axes parallel, 0 beyond the map."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    stored: NDArray[np.int16] = np.asanyarray(image.dataobj).astype(np.int16)
    relative = np.linalg.inv(image.affine) @ grid.affine
    out = stored
    for axis, size in enumerate(grid.shape):
        index = np.rint(np.arange(size) * relative[axis, axis] + relative[axis, 3]).astype(int)
        out = np.take(out, np.clip(index, 0, stored.shape[axis] - 1), axis=axis)
        beyond = (index < 0) | (index >= stored.shape[axis])
        out[tuple(beyond if n == axis else slice(None) for n in range(3))] = 0
    return out
