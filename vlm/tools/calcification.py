"""Calcium in coronary arteries, valves and the wall of the aorta, scored after Agatston.

In: heart, aorta and bones of a Case. Out: for each place the score and volume of calcium, or a Search
with the conditions of scoring that failed. Score: at each slice of 3 mm, area of at least 1 mm2 above
130 HU times a weight of its peak (Agatston, J Am Coll Cardiol 1990;15:827). Without contrast only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.aorta import aorta
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import heart
from vlm.anatomy.skeleton import BODY_FORWARD_MM, skeleton, spine
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.registry import tool

CALCIUM_HU = 130.0  # Agatston 1990
STANDARD_MM = 3.0  # slice thickness of the score
LEAST_MM2 = 1.0
PEAK_HU = 200.0  # a lesion that nowhere rises above this may be noise or blood
NEAR_AIR_HU = 350.0  # beside lung or gas sharp kernels overshoot by 200 HU: there a lesion must be denser
AIR_HU, AIR_MM = -300.0, 4.0
VERTEBRA_MM = 21.0  # from the middle of a vertebral body: its end plates and osteophytes
LEAST_MM3 = 8.0  # smaller specks cannot be told from noise on scans made for other reasons
NOISE_FACTOR = 4.0  # calcium must stand this many standard deviations of the noise above blood
TOO_NOISY_HU = 55.0  # standard deviation in blood at the slice thickness of scoring
ENHANCED_STEP_HU = 200.0  # in enhanced blood only what is this much denser is called calcium
FAT_HU = (-150.0, -30.0)
FAT_MM = 6.0
FAT_SHARE = 0.06  # coronary arteries lie in the fat of the grooves; valves lie in blood
DEEP_MM = 22.0  # valves lie deeper than this below the outline of the heart
WALL_MM = 3.5  # the wall of the aorta lies within this of the traced circle
LEAST_WALL_ML = 0.1
BONE_MM = 3.0

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slab:
    """A box of the scan at about 3 mm slices: (Z, Y, X) HU, its grid, and the noise in blood."""

    hu: Floats
    grid: Grid
    noise_hu: float
    blood_hu: float

    @property
    def threshold_hu(self) -> float:
        return max(CALCIUM_HU, self.blood_hu + NOISE_FACTOR * self.noise_hu)


@tool(
    "heart_calcification",
    observes=("coronary_artery_calcification", "aortic_valve_calcification", "mitral_calcification"),
    needs=("heart", "aorta"),
)
def heart_calcification(case: Case) -> list[Evidence]:
    """Score calcium of the coronary arteries and of the valves within the heart region."""
    sites = {
        "coronary_artery_calcification": "coronary_arteries",
        "aortic_valve_calcification": "aortic_valve",
        "mitral_calcification": "mitral_valve",
    }
    name, found = "heart_calcification", heart(case)
    if not found.found:
        return [
            search(case, name, key, site=site, failed=() if coverage(case).of(site) <= 0 else ("not_found",))
            for key, site in sites.items()
        ]
    failed, slab = _conditions(case, found.mask)
    groups: dict[str, list[Bools]] = {key: [] for key in sites}
    if slab is not None and "contrast" not in failed and "noise" not in failed:
        for key, piece in _heart_pieces(case, slab):
            groups[key].append(piece)
    out: list[Evidence] = []
    for key, site in sites.items():
        pieces = groups[key]
        if pieces and slab is not None:
            out.append(_observation(case, name, key, site, pieces, slab, failed))
        out.append(search(case, name, key, site=site, found=int(bool(pieces)), failed=failed))
    return out


@tool("aortic_calcification", observes=("aortic_calcification", "arterial_wall_calcification"), needs=("aorta",))
def aortic_calcification(case: Case) -> list[Evidence]:
    """Score calcium in the wall of the descending and abdominal aorta where it is traced."""
    name, traced = "aortic_calcification", aorta(case)
    sites = {"aortic_calcification": "aorta", "arterial_wall_calcification": "aorta"}
    share = max(coverage(case).of("thoracic_aorta"), coverage(case).of("abdominal_aorta"))
    if not traced.found:
        reason = () if share <= 0 else ("not_found",)
        return [search(case, name, key, site=site, covered=share, failed=reason) for key, site in sites.items()]
    region = Mask("aorta", traced.mask.voxels, traced.grid)
    failed, slab = _conditions(case, region)
    pieces = _wall_pieces(case, slab) if slab is not None and "noise" not in failed else []
    voxels = sum(int(np.count_nonzero(piece)) for piece in pieces)
    if slab is not None and voxels * slab.grid.voxel_ml < LEAST_WALL_ML:
        pieces = []  # a speck beside the spine is as likely an osteophyte
    # Ascending aorta and arch are not traced: what was looked at is a part.
    looked = min(share, 0.7)
    out: list[Evidence] = []
    if pieces and slab is not None:
        middle = float(np.mean([slab.grid.to_mm(np.argwhere(p)[:, ::-1]).mean(axis=0)[2] for p in pieces]))
        dome = coverage(case).dome_mm
        site = "aorta" if dome is None else "thoracic_aorta" if middle > dome - 40.0 else "abdominal_aorta"
        out.append(_observation(case, name, "aortic_calcification", site, pieces, slab, failed))
    out += [
        search(case, name, key, site=site, covered=looked, found=int(bool(pieces)), failed=failed)
        for key, site in sites.items()
    ]
    return out


def _conditions(case: Case, region: Mask) -> tuple[tuple[str, ...], Slab | None]:
    """Conditions of scoring that fail here, and the slab around the region."""
    failed: list[str] = []
    if contrast(case).enhanced is not False:
        failed.append("contrast")
    if case.volume.grid.spacing_mm[2] > STANDARD_MM + 0.3:
        failed.append("thick_slices")
    slab = _slab(case, region)
    if slab is not None and slab.noise_hu > TOO_NOISY_HU:
        failed.append("noise")
    return tuple(failed), slab


def _slab(case: Case, region: Mask) -> Slab | None:
    """The scan in a box around the region, slices averaged to about 3 mm."""
    volume = case.volume
    if not region:
        return None
    box = region.box
    corners = volume.grid.to_ijk(np.array([box.low_mm, box.high_mm]))
    margin = 10.0 / np.array(volume.grid.spacing_mm)
    low = np.maximum(0, np.floor(corners.min(axis=0) - margin)).astype(int)
    high = np.minimum(volume.grid.shape, np.ceil(corners.max(axis=0) + margin + 1)).astype(int)
    factor = max(1, round(STANDARD_MM / volume.grid.spacing_mm[2]))
    count = (high[2] - low[2]) // factor
    if count == 0:
        return None
    part = volume.hu[low[0] : high[0], low[1] : high[1], low[2] : low[2] + count * factor].T
    shape = (count, factor, part.shape[1], part.shape[2])
    hu = part.reshape(shape).mean(axis=1, dtype=np.float32)
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm(low)
    grid = Grid((part.shape[2], part.shape[1], count * factor), affine).coarser((1, 1, factor))
    noise, blood = _noise(hu, region.on(grid).voxels.T)
    return Slab(hu=hu, grid=grid, noise_hu=noise, blood_hu=blood)


def _noise(hu: Floats, inside: Bools) -> tuple[float, float]:
    """Standard deviation and median of soft voxels within a region, HU."""
    values = hu[inside]
    soft = values[(values > -60) & (values < 800)]
    if soft.size < 50:
        return 0.0, 45.0
    middle = float(np.median(soft))
    # Calcium and fat stand in the tails: the spread comes from the middle half alone.
    low, high = np.percentile(soft, [25, 75])
    return float((high - low) / 1.35), middle


def _bone(case: Case, grid: Grid) -> Bools:
    """(Z, Y, X) bone and what lies within 3 mm of it, on the slab's grid."""
    bones = skeleton(case)
    steps = [max(1, round(BONE_MM / step)) for step in bones.grid.spacing_mm]
    steps[2] = 0
    near = ndimage.maximum_filter(bones.voxels.T, size=[2 * step + 1 for step in reversed(steps)])
    out = Mask("bone", near.T, bones.grid).on(grid).voxels.T.copy()
    column = spine(case)
    if column.found:
        z = grid.to_mm(np.stack([np.zeros(grid.shape[2])] * 2 + [np.arange(grid.shape[2])], axis=1))[:, 2]
        x, y = (grid.to_mm(np.eye(3)[axis] * np.arange(grid.shape[axis])[:, None])[:, axis] for axis in range(2))
        for k, height in enumerate(z):
            middle = np.add(column.at(float(height)), (0.0, BODY_FORWARD_MM, 0.0))
            out[k] |= (x[None] - middle[0]) ** 2 + (y[:, None] - middle[1]) ** 2 < VERTEBRA_MM**2
    return np.asarray(out)


def _pieces(dense: Bools, slab: Slab) -> list[tuple[Bools, tuple[slice, slice, slice]]]:
    """Connected pieces of calcium that are large and dense enough, each with its box in the slab."""
    labels, count = cc3d.connected_components(dense, connectivity=26, return_N=True)
    boxes = ndimage.find_objects(labels.astype(np.int32), max_label=count)
    voxel_mm3 = slab.grid.voxel_ml * 1000.0
    reach = [1] + [2 * max(1, round(AIR_MM / step)) + 1 for step in reversed(slab.grid.spacing_mm[:2])]
    near_air = ndimage.minimum_filter(slab.hu, reach) < AIR_HU
    out: list[tuple[Bools, tuple[slice, slice, slice]]] = []
    for number, box in enumerate(boxes, start=1):
        if box is None:
            continue
        piece = labels[box] == number
        peak = float(slab.hu[box][piece].max())
        least = NEAR_AIR_HU if near_air[box][piece].any() else PEAK_HU
        if np.count_nonzero(piece) * voxel_mm3 >= LEAST_MM3 and peak > least:
            out.append((piece, box))
    return out


def _heart_pieces(case: Case, slab: Slab) -> list[tuple[str, Bools]]:
    """Calcium of the heart as (finding, mask on the slab)."""
    inside = heart(case).mask.on(slab.grid).voxels.T
    traced = aorta(case)
    dense = (slab.hu > slab.threshold_hu) & inside & ~_bone(case, slab.grid)
    if traced.found:
        dense &= ~traced.mask.on(slab.grid).voxels.T
    depth = edt.edt(inside, anisotropy=slab.grid.spacing_mm[::-1], black_border=False, parallel=2)
    fat = (slab.hu > FAT_HU[0]) & (slab.hu < FAT_HU[1])
    reach = [max(1, round(FAT_MM / step)) for step in reversed(slab.grid.spacing_mm)]
    fat_near = ndimage.uniform_filter(fat.astype(np.float32), [2 * r + 1 for r in reach])
    first, last = np.flatnonzero(inside.any(axis=(1, 2)))[[0, -1]]
    out: list[tuple[str, Bools]] = []
    for piece, box in _pieces(dense, slab):
        whole = np.zeros(dense.shape, dtype=bool)
        whole[box] = piece
        k = float(np.argwhere(whole)[:, 0].mean() - first) / max(1, last - first)
        if float(fat_near[whole].max()) >= FAT_SHARE or float(depth[whole].mean()) < DEEP_MM:
            key = "coronary_artery_calcification"
        else:
            key = "aortic_valve_calcification" if k > 0.55 else "mitral_calcification"
        out.append((key, whole))
    return out


def _wall_pieces(case: Case, slab: Slab) -> list[Bools]:
    """Calcium in the traced wall of the aorta, masks on the slab."""
    traced = aorta(case)
    wide = type(traced)(
        traced.grid, traced.centres_mm, traced.radii_mm + WALL_MM, traced.roundness, traced.sure, True, None
    )
    near = wide.mask.on(slab.grid).voxels.T
    level = slab.threshold_hu
    if contrast(case).enhanced is not False:
        level = max(level, slab.blood_hu + ENHANCED_STEP_HU)
    dense = (slab.hu > level) & near & ~_bone(case, slab.grid)
    out: list[Bools] = []
    for piece, box in _pieces(dense, slab):
        whole = np.zeros(dense.shape, dtype=bool)
        whole[box] = piece
        out.append(whole)
    return out


def _observation(
    case: Case, name: str, finding: str, site: str, pieces: list[Bools], slab: Slab, failed: tuple[str, ...]
) -> Observation:
    """All pieces of one finding as one Observation, with a score where the conditions of scoring hold."""
    whole = np.logical_or.reduce(pieces)
    mask = Mask(finding, whole.T, slab.grid)
    measures = [Measurement(quantity="volume", value=mask.volume_ml)]
    note = ""
    if not set(failed) & {"contrast", "thick_slices"}:
        measures.insert(0, Measurement(quantity="score", value=agatston(slab.hu, whole, slab.grid)))
    else:
        note = "no score: " + ", ".join(failed)
    return Observation(
        tool=name,
        finding=finding,
        presence="present",
        site=site,
        measurements=tuple(measures),
        attributes={"pieces": str(len(pieces))},
        region=case.keep(mask),
        note=note,
    )


def agatston(hu: Floats, calcium: Bools, grid: Grid) -> float:
    """Agatston score of (Z, Y, X) calcium on slices of about 3 mm; corrected to 3 mm by the slice's thickness."""
    pixel_mm2 = grid.spacing_mm[0] * grid.spacing_mm[1]
    total = 0.0
    for k in np.flatnonzero(calcium.any(axis=(1, 2))):
        labels, count = ndimage.label(calcium[k], np.ones((3, 3)))
        numbers = np.arange(1, count + 1)
        areas = np.bincount(labels.ravel(), minlength=count + 1)[1:] * pixel_mm2
        peaks = np.atleast_1d(np.asarray(ndimage.maximum(hu[k], labels, numbers)))
        weights = np.clip(np.floor(peaks / 100.0), 1, 4)
        total += float((areas * weights)[areas >= LEAST_MM2].sum())
    return total * grid.spacing_mm[2] / STANDARD_MM
