"""A filling defect in the central pulmonary arteries: soft tissue with enhanced blood all around it.

In: carina, contrast and the voxels of the scan around the pulmonary trunk and its branches. Out: an Observation of
each clot that blood surrounds, and a Search. It speaks only where the arteries of the lung are opacified as a reader
asks for and slices are thin enough. A clot that lies on the wall or fills its artery, and all segmental arteries, are
not told from nodes, bronchi and unmixed blood beside them: a small part is searched and nothing is denied.
Arrays here are (X, Y, Z) of a box about the carina.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import aorta
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.ct.volume import Grid, Mask, Point
from vlm.evidence import Case, Evidence, Measurement, Observation, Side
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "pulmonary_embolism"
SITE = "pulmonary_artery"
SLICE_MM = 3.0  # thicker slices blur lobar arteries into what lies beside them
OPACIFIED_HU = 210.0  # least of the pulmonary trunk in an audit of such scans: RCR, AuditLive, CT pulmonary angiogram
BOX_MM = ((-75.0, 75.0), (-45.0, 60.0), (-70.0, 15.0))  # of the carina: right, front, up
TRUNK_MM = ((-48.0, -12.0), (0.0, 55.0), (-45.0, -5.0))  # the trunk and the root of the left artery lie here
BRIGHT_HU = 130.0  # no plain blood, no muscle: what of the trunk's place is blood
FRONT_MM, FRONT_RIGHT_MM = 22.0, -8.0  # further front and right lie the ascending aorta and the superior vena cava
BEHIND_MM = (-10.0, 28.0)  # behind the carina and nearer to the middle lie oesophagus and spine
ATRIUM_MM = (-48.0, 35.0)  # below this height and nearer to the middle lies the left atrium
CLOT_HU = (10.0, 110.0)  # fresh clot 30-90 HU with the noise and blur of a border
CLOT_SHARE = 0.5  # of the way from clot to blood: darker
LEAST_SHARE = 0.7  # of the density of blood: what a ray must meet
RAY_MM = 14.0  # clot is no thicker on either side of a voxel
AROUND = 0.65  # share of rays in space that meet blood before fat, bone or air
FAT_HU = -10.0  # a node has fat around it
DENSE_SHARE = 2.0  # of the blood: contrast medium that is not mixed, whose streaks are dark
STREAK_MM = 12.0
LEAST_ML, LEAST_MM = 0.15, 4.0
SMOOTH_MM = 0.7
LOOKED_SHARE = 0.2  # of emboli lie free in a central artery

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Scene:
    """The box about the carina: HU without noise, its grid, where arteries of the lung may lie, and their blood."""

    hu: Floats
    grid: Grid
    start: tuple[int, int, int]  # of the box on the volume
    place: Bools
    blood_hu: float


@tool(NAME, observes=("pulmonary_embolism",), needs=("airways",))
def pulmonary_embolism(case: Case) -> list[Evidence]:
    """Look for clot with contrast all around it in the pulmonary trunk and its large branches."""
    reason = ("not_covered",) if coverage(case).of("heart") <= 0 else _reason(case)
    scene = None if reason else scene_of(case)
    if scene is None or scene.blood_hu < OPACIFIED_HU:
        reason = reason or (("not_found",) if scene is None else ("phase",))
        return [search(case, NAME, "pulmonary_embolism", site=SITE, covered=0.0, failed=reason)]
    clots = defects(scene)
    seen: list[Evidence] = [_observed(case, scene, clot, number) for number, clot in enumerate(clots, start=1)]
    return [*seen, search(case, NAME, "pulmonary_embolism", site=SITE, covered=LOOKED_SHARE, found=len(clots))]


def _reason(case: Case) -> tuple[str, ...]:
    """The key of CONDITIONS that says why no clot can be seen; empty where it can."""
    if contrast(case).enhanced is not True:
        return ("no_contrast",)
    if case.volume.grid.spacing_mm[2] > SLICE_MM:
        return ("thick_slices",)
    return () if airways(case).carina_mm is not None else ("not_found",)


def scene_of(case: Case) -> Scene | None:
    """The box about the carina; None where it reaches out of the scan or holds no large vessel."""
    carina, grid = airways(case).carina_mm, case.volume.grid
    if carina is None:
        return None
    low, high = (grid.to_ijk(np.add(carina, [side[end] for side in BOX_MM])) for end in (0, 1))
    first = np.maximum(np.floor(low), 0).astype(int)
    last = np.minimum(np.ceil(high) + 1, grid.shape).astype(int)
    if (last - first).min() < 8:
        return None
    affine = grid.affine.copy()
    affine[:3, 3] = grid.to_mm(first)
    box = case.volume.hu[first[0] : last[0], first[1] : last[1], first[2] : last[2]].astype(np.float32)
    small = Grid((box.shape[0], box.shape[1], box.shape[2]), affine)
    hu = np.asarray(ndimage.gaussian_filter(box, [SMOOTH_MM / step for step in (*grid.spacing_mm[:2], 1e3)]))
    x, y, z = _away(small, carina)
    trunk = _between(x, TRUNK_MM[0]) & _between(y, TRUNK_MM[1]) & _between(z, TRUNK_MM[2])
    descending = aorta(case).mask.on(small).voxels
    bright = trunk & (hu > BRIGHT_HU) & ~descending
    if not bright.any():
        return None
    blood = float(np.median(hu[bright]))
    other = ndimage.binary_dilation(descending, iterations=3) | ((y > FRONT_MM) & (x > FRONT_RIGHT_MM))
    other = other | ((y < BEHIND_MM[0]) & (np.abs(x) < BEHIND_MM[1]))
    place = ~(other | ((z < ATRIUM_MM[0]) & (np.abs(x) < ATRIUM_MM[1])))
    unmixed = hu > DENSE_SHARE * blood
    if unmixed.any():
        place &= ndimage.distance_transform_edt(~unmixed, sampling=small.spacing_mm) > STREAK_MM
    return Scene(hu, small, (int(first[0]), int(first[1]), int(first[2])), place, blood)


def _away(grid: Grid, point: Point) -> tuple[Floats, Floats, Floats]:
    """Millimetres to the right, to the front and upwards of a point, broadcastable to the grid."""
    out = []
    for axis in range(3):
        line = grid.affine[axis, 3] + grid.affine[axis, axis] * np.arange(grid.shape[axis]) - point[axis]
        out.append(line.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)]))
    return out[0], out[1], out[2]


def _between(line: Floats, ends: tuple[float, float]) -> Bools:
    return np.asarray((line >= ends[0]) & (line <= ends[1]))


def defects(scene: Scene) -> list[Bools]:
    """Each clot that enhanced blood surrounds, (X, Y, Z) of the box; the largest first."""
    least = CLOT_HU[1] if scene.blood_hu > 2 * CLOT_HU[1] else CLOT_SHARE * scene.blood_hu
    dark = scene.place & (scene.hu > CLOT_HU[0]) & (scene.hu < least)
    index = np.argwhere(dark)
    around = enclosure(scene.hu, index, scene.grid.spacing_mm, LEAST_SHARE * scene.blood_hu)
    held = np.zeros(dark.shape, dtype=bool)
    held[tuple(index[around >= AROUND].T)] = True
    labels: NDArray[np.uint32] = cc3d.connected_components(held, connectivity=6)
    found = []
    for number in range(1, int(labels.max()) + 1):
        piece = labels == number
        ml = np.count_nonzero(piece) * scene.grid.voxel_ml
        if ml >= LEAST_ML and _thickness_mm(piece, scene.grid) >= LEAST_MM:
            found.append((ml, piece))
    return [piece for _, piece in sorted(found, key=lambda each: -each[0])]


def enclosure(
    hu: Floats, index: NDArray[np.intp], spacing_mm: tuple[float, float, float], blood_hu: float
) -> NDArray[np.float64]:
    """(N,) share of 26 rays from voxels (N, 3) that meet blood within RAY_MM, before fat, air or the end of the box."""
    met = np.zeros(len(index))
    steps = np.arange(1.0, RAY_MM + 0.5)
    ways = [way for way in itertools.product((-1, 0, 1), repeat=3) if any(way)]
    for way in ways:
        unit = np.array(way) / np.linalg.norm(way) / spacing_mm
        open_ = np.ones(len(index), dtype=bool)
        for step in steps:
            at = np.rint(index[open_] + unit * step).astype(int)
            inside = ((at >= 0) & (at < hu.shape)).all(axis=1)
            values = np.where(inside, hu[tuple(np.clip(at, 0, np.array(hu.shape) - 1).T)], FAT_HU - 1)
            blood = values >= blood_hu
            rows = np.flatnonzero(open_)
            met[rows[blood]] += 1
            open_[rows[blood | (values < FAT_HU)]] = False
    return met / len(ways)


def _thickness_mm(piece: Bools, grid: Grid) -> float:
    """Twice the depth of the deepest voxel, to the far side of its neighbours."""
    depth = ndimage.distance_transform_edt(np.pad(piece, 1), sampling=grid.spacing_mm)
    return 2.0 * float(depth.max())


def _observed(case: Case, scene: Scene, clot: Bools, number: int) -> Observation:
    """One clot, on the side of the carina that most of it lies on."""
    voxels = np.zeros(case.volume.grid.shape, dtype=bool, order="F")
    voxels[tuple(slice(s, s + n) for s, n in zip(scene.start, clot.shape, strict=True))] = clot
    mask = Mask(f"pulmonary_embolus_{number}", voxels, case.volume.grid)
    carina = airways(case).carina_mm
    assert carina is not None  # there would be no scene
    side: Side = "right" if mask.centre_mm[0] > carina[0] else "left"
    return Observation(
        tool=NAME, finding="pulmonary_embolism", presence="present", side=side, site=SITE,
        measurements=(
            Measurement(quantity="volume", value=float(np.count_nonzero(clot)) * scene.grid.voxel_ml),
            Measurement(quantity="attenuation", value=float(scene.hu[clot].mean())),
        ),
        region=case.keep(mask),
    )  # fmt: skip
