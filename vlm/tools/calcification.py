"""Calcium in coronary arteries, valves and the wall of the aorta, scored after Agatston.

In: heart, aorta and bones of a Case. Out: for each place the score and volume of calcium, or a Search
with the conditions of scoring that failed. Score: at each slice of 3 mm, area of at least 1 mm2 above
130 HU times a weight of its peak (Agatston, J Am Coll Cardiol 1990;15:827). Without contrast only.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.aorta import Aorta, aorta
from vlm.anatomy.arch import arch
from vlm.anatomy.ball import grown
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import heart
from vlm.anatomy.skeleton import BODY_FORWARD_MM, skeleton, spine
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.caval_line import caval_line
from vlm.tools.ground import search
from vlm.tools.metal_parts import metal_pieces, piece_mask
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
ROOT_MM = 11.0  # so deep calcium beside fat may be of a coronary artery, of the root of the aorta or of a valve
WALL_MM = 3.5  # the wall of the aorta lies within this of the traced circle
LEAST_WALL_ML = 0.1
BONE_MM = 3.0
METAL_MM = 8.0  # metal blooms and leaves streaks
FAINT_SHARE = 0.1  # of calcium in a voxel beside a plaque; below, it is noise
CARTILAGE_MM = 3.0  # of the trachea, around its lumen

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
    unsure = False
    if slab is not None and "contrast" not in failed and "noise" not in failed:
        for key, piece, deep in _heart_pieces(case, slab):
            groups[key].append(piece)
            unsure |= deep and key == "coronary_artery_calcification"
    out: list[Evidence] = []
    for key, site in sites.items():
        pieces = groups[key]
        if pieces and slab is not None:
            out.append(_observation(case, name, key, site, pieces, slab, failed))
        hidden = unsure and not pieces and key != "coronary_artery_calcification"
        out.append(
            search(
                case, name, key, site=site, found=int(bool(pieces)), failed=("not_found",) if hidden else failed,
                covered=0.0 if "noise" in failed else None,  # nobody looked
                note="calcium nearby may be of the valve or of a coronary artery" if hidden else "",
            )
        )  # fmt: skip
    return out


@tool("aortic_calcification", observes=("aortic_calcification", "arterial_wall_calcification"), needs=("aorta",))
def aortic_calcification(case: Case) -> list[Evidence]:
    """Score calcium in the wall of the aorta where it is traced."""
    name, traced = "aortic_calcification", aorta(case)
    sites = {"aortic_calcification": "aorta", "arterial_wall_calcification": "aorta"}
    share = max(coverage(case).of("thoracic_aorta"), coverage(case).of("abdominal_aorta"))
    if not traced.found:
        reason = () if share <= 0 else ("not_found",)
        return [search(case, name, key, site=site, covered=share, failed=reason) for key, site in sites.items()]
    failed, slab = _conditions(case, _wall_region(case, 0.0))
    pieces, unsure = _wall_pieces(case, slab) if slab is not None and "noise" not in failed else ([], False)
    voxels = sum(int(np.count_nonzero(piece)) for piece in pieces)
    if slab is not None and voxels * slab.grid.voxel_ml < LEAST_WALL_ML:
        pieces = []  # a speck beside the spine is as likely an osteophyte
    upper = arch(case)  # root and branches are not traced: what was looked at is a part
    looked = min(share, 0.7 + 0.1 * bool(upper.arch_mm) + 0.1 * bool(upper.ascending_mm))
    looked = 0.0 if "noise" in failed else looked
    out: list[Evidence] = []
    if pieces and slab is not None:
        site = _part_of_aorta(case, pieces, slab)
        out.append(_observation(case, name, "aortic_calcification", site, pieces, slab, failed))
    hidden = unsure and not pieces
    note = "a dense line at the ascending aorta may be calcium of its wall or a catheter beside it" if hidden else ""
    failed = (*failed, "not_found") if hidden else failed
    out += [
        search(case, name, key, site=site, covered=looked, found=int(bool(pieces)), failed=failed, note=note)
        for key, site in sites.items()
    ]
    return out


def _part_of_aorta(case: Case, pieces: list[Bools], slab: Slab) -> str:
    """The smallest site that holds all pieces."""
    dome = coverage(case).dome_mm
    whole = np.logical_or.reduce(pieces)
    heights = slab.grid.to_mm(np.argwhere(whole)[:, ::-1])[:, 2]
    vault = arch(case).arch
    if (
        vault
        and not (
            whole & ~Mask("arch", grown(vault.voxels.T, WALL_MM, vault.grid).T, vault.grid).on(slab.grid).voxels.T
        ).any()
    ):
        return "aortic_arch"
    if dome is None or heights.min() <= dome - 40.0 < heights.max():
        return "aorta"
    return "thoracic_aorta" if heights.min() > dome - 40.0 else "abdominal_aorta"


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
    part = volume.hu[low[0] : high[0], low[1] : high[1], low[2] : high[2]].T
    step = volume.grid.spacing_mm[2]
    thick = STANDARD_MM if step < 0.9 * STANDARD_MM else step
    hu = _thickened(part, step, thick)
    if hu.shape[0] == 0:
        return None
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm(low + np.array([0.0, 0.0, (thick / step - 1) / 2]))
    affine[:3, 2] *= thick / step
    grid = Grid((part.shape[2], part.shape[1], hu.shape[0]), affine)
    noise, blood = _noise(hu, region.on(grid).voxels.T)
    return Slab(hu=hu, grid=grid, noise_hu=noise, blood_hu=blood)


def _thickened(part: NDArray[np.int16], step_mm: float, thick_mm: float) -> Floats:
    """(Z, Y, X) slices -> (Z', Y, X) their means over ``thick_mm``, a slice that is cut counted by its share."""
    if thick_mm == step_mm:
        return part.astype(np.float32)
    edges = np.arange(0.0, part.shape[0] * step_mm + 1e-6, thick_mm) / step_mm
    out = np.empty((max(0, len(edges) - 1), *part.shape[1:]), dtype=np.float32)
    for number, (low, high) in enumerate(itertools.pairwise(edges)):
        first, last = int(low), min(part.shape[0], int(np.ceil(high - 1e-9)))
        shares = np.minimum(np.arange(first, last) + 1, high) - np.maximum(np.arange(first, last), low)
        out[number] = np.tensordot((shares / shares.sum()).astype(np.float32), part[first:last], axes=1)
    return out


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
    """(Z, Y, X) bone and what lies within 3 mm of it, and metal with its glare, on the slab's grid."""
    bones = skeleton(case)
    steps = [max(1, round(BONE_MM / step)) for step in bones.grid.spacing_mm]
    steps[2] = 0
    near = ndimage.maximum_filter(bones.voxels.T, size=[2 * step + 1 for step in reversed(steps)])
    metal = metal_pieces(case)  # leads of a pacemaker run through the heart and beside the aorta
    if metal:
        glare = piece_mask(case, "metal", list(metal))
        near = near | grown(glare.voxels.T, METAL_MM, glare.grid)
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


def _heart_pieces(case: Case, slab: Slab) -> list[tuple[str, Bools, bool]]:
    """Calcium of the heart as (finding, mask on the slab, whether it lies as deep as the root of the aorta)."""
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
    out: list[tuple[str, Bools, bool]] = []
    for piece, box in _pieces(dense, slab):
        whole = np.zeros(dense.shape, dtype=bool)
        whole[box] = piece
        middle = float(depth[whole].mean())
        k = float(np.argwhere(whole)[:, 0].mean() - first) / max(1, last - first)
        if float(fat_near[whole].max()) >= FAT_SHARE or middle < DEEP_MM:
            key = "coronary_artery_calcification"
        else:
            key = "aortic_valve_calcification" if k > 0.55 else "mitral_calcification"
        out.append((key, whole, middle >= ROOT_MM))
    return out


def _wall_region(case: Case, margin_mm: float) -> Mask:
    """The parts of the aorta that were found, ``margin_mm`` wider, on the working grid."""
    upper = arch(case)
    out = np.zeros(upper.arch.voxels.shape, dtype=bool, order="F")
    for traced in (aorta(case), upper.ascending):
        if traced.found:
            radii = traced.radii_mm + margin_mm
            out |= Aorta(
                traced.grid, traced.centres_mm, radii, traced.roundness, traced.sure, True, None
            ).mask.voxels  # fmt: skip
    if upper.arch:
        wide = grown(upper.arch.voxels.T, margin_mm, upper.arch.grid) if margin_mm > 0 else upper.arch.voxels.T
        out |= wide.T
    return Mask("aorta", out, upper.arch.grid)


def _wall_pieces(case: Case, slab: Slab) -> tuple[list[Bools], bool]:
    """Calcium in the traced wall of the aorta, masks on the slab; and whether some may as well be a catheter."""
    near = _wall_region(case, WALL_MM).on(slab.grid).voxels.T.copy()
    lumen = airways(case).mask
    if lumen:  # the cartilage of the trachea calcifies as well
        near &= ~Mask("lumen", grown(lumen.voxels.T, CARTILAGE_MM, lumen.grid).T, lumen.grid).on(slab.grid).voxels.T
    level = slab.threshold_hu
    if contrast(case).enhanced is not False:
        level = max(level, slab.blood_hu + ENHANCED_STEP_HU)
    dense = (slab.hu > level) & ~_bone(case, slab.grid)
    kinds: dict[str, list[Bools]] = {"calcium": [], "unsure": [], "line": []}
    for piece, box in _pieces(dense & near, slab):
        whole = np.zeros(dense.shape, dtype=bool)
        whole[box] = piece
        kinds[caval_line(case, whole, dense, slab.grid)].append(whole)
    return kinds["calcium"], bool(kinds["unsure"])


def _observation(
    case: Case, name: str, finding: str, site: str, pieces: list[Bools], slab: Slab, failed: tuple[str, ...]
) -> Observation:
    """All pieces of one finding as one Observation, with a score where the conditions of scoring hold."""
    whole = np.logical_or.reduce(pieces)
    mask = Mask(finding, whole.T, slab.grid)
    measures = [Measurement(quantity="volume", value=sum(filled_ml(slab, piece) for piece in pieces))]
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


def filled_ml(slab: Slab, piece: Bools) -> float:
    """Volume (mL) of one piece of calcium, its edge voxels counted by the share that calcium fills.

    Counting voxels above the threshold doubles the volume of a plaque of 4 mm on slices of 3 mm.
    """
    box = tuple(slice(max(0, s.start - 1), s.stop + 1) for s in ndimage.find_objects(piece.astype(np.uint8))[0])
    inside, hu = piece[box], slab.hu[box]
    near = ndimage.binary_dilation(inside, np.ones((3, 3, 3), dtype=bool))
    full, empty = float(hu[inside].max()), float(np.median(hu[near & ~inside]))
    share = np.clip((hu - empty) / max(full - empty, 1.0), 0.0, 1.0)
    return float(share[near & (inside | (share > FAINT_SHARE))].sum()) * slab.grid.voxel_ml


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
