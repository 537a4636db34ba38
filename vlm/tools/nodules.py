"""Nodules and masses of the lung.

In: an open case. Out: an Observation for each, largest first, and a Search for each finding and side.
What airless lung and fluid may hide, the Search says.
A nodule is a compact lump of tissue in the space that lung should fill. What is long is a
vessel; what continues into much more tissue is a crossing of vessels, a hilum or a dome of
the diaphragm. In a scan with contrast, what is as bright as blood is a vessel.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import closed_mm, depth_mm
from vlm.anatomy.airways import airways
from vlm.anatomy.ball import box_of, grown, shrunk
from vlm.anatomy.contrast import contrast
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Presence, Region, once
from vlm.tools.dense_block import blocks
from vlm.tools.dense_lung import beside_mediastinum, dense_places, volume_lost
from vlm.tools.effusion import pleural_fluid
from vlm.tools.glass_nodules import glass_nodules, is_sound
from vlm.tools.lung_field import Bools, field, search, site_of
from vlm.tools.nodule_candidates import DOME_ELONGATION, STEP, Lump, lumps, ways_on
from vlm.tools.nodule_gates import BLOOD_MARGIN_HU, FREE, is_dense_and_round, is_nodule, is_way
from vlm.tools.nodule_measure import GLASS_BORDER_HU, Nodule, box_grid, measured
from vlm.tools.nodule_scene import Scene, near_mask, scene
from vlm.tools.registry import measured_error, tool

NAME = "nodules"
FINDINGS = ("lung_nodule", "lung_mass")
TISSUE_HU = -450.0  # halfway between lung (-870) and soft tissue (0)
LEAST_RADIUS_MM = 1.8  # of the inscribed ball of a nodule of 4 mm
BLURRED_RADIUS_MM = LEAST_RADIUS_MM / STEP  # the same of one of 6 mm that blur or thick slices have thinned
MASS_MM = 30.0  # Fleischner glossary (Hansell 2008): above, it is a mass
HIDES_ML = 14.0  # airless lung or fluid as large as a ball of MASS_MM; at most 12 in clear sides of real scans
LONE_MM = 5.0  # inscribed radius up to which a lump is asked for the vessels that go on from it
LONE_HU = -350.0  # upper quartile of one from which none does; of others SOLID_HU is asked
HILUM_MM = 45.0  # from the middle of a hilum: there vessels crowd
HILUM_X_MM = (18.0, 75.0)  # from the midline
THIN_MM = 2.65  # inscribed radius up to which a bend or a fork of a vessel looks like a lump
TRIM = 0.8  # of the inscribed radius
HUNG = (1.6, 2.2)  # longest extent over inscribed diameter: rounder has nothing hanging on it, longer is a long mass
CENTRAL_MM = 11.5  # inscribed radius of a mass at hilum or mediastinum
CENTRAL_ELONGATION = 3.0  # masses may be long; vessels of that width do not lie in the lung
CENTRAL_CLOSING_MM = 30.0  # the lung's border is drawn across a hilar mass by a ball of this radius
CENTRAL_FREE_MM = 18.0  # and no nearer to the midline than this
FAT_HU, FAT_SHARE = -20.0, 0.18  # vessels and nodes of a hilum lie in fat, with 0.24 to 0.37 of it; masses hold 0.1
HULL_SHARE = 0.4  # and less of them than this in the hull of the lungs
PATCH_SHARE = 0.5  # of a mass within one ragged airless place: the middle of a consolidation
PATCH_ML = 100.0  # a larger one may hide a tumour, whatever its border

_Found = tuple[Nodule, LungSide, Presence]


CUT_SMALL_MM = 8.0  # where the scan ends, a smaller round thing may be a vessel that goes on
CUT_LONG = 0.65  # short over long axis; a vessel cut at a slant is longer
AT_END = 1.5  # slices from the end of the scan: a mass at the mediastinum may be a great vessel that goes on there
MEDIAL = 0.5  # share of it beside the mediastinum

# The limit is that of solid nodules (docs/limits.md).
FAINT = {
    "lung_nodule": "the size is that of solid nodules; pure ground glass is found from about 12 mm",
    "lung_mass": "",
}


@tool(NAME, observes=FINDINGS, needs=("lungs", "thoracic_cavity", "airways", "skeleton"))
def nodules(case: Case) -> list[Evidence]:
    """Look for nodules from 4 mm and masses in both lungs, measure each, and say how far one could see."""
    fields = {side: field(case, side) for side in SIDES}
    if not any(fields[side].seen for side in SIDES):
        return [search(NAME, finding, fields[side], site="lung") for finding in FINDINGS for side in SIDES]
    found = [*lumps_found(case), *_blocks(case, lumps_found(case))]
    out: list[Evidence] = []
    counts = {(finding, side): 0 for finding in FINDINGS for side in SIDES}
    for number, one in enumerate(sorted(found, key=lambda f: -f[0].diameter_mm), start=1):
        finding = "lung_mass" if one[0].diameter_mm > MASS_MM else "lung_nodule"
        counts[finding, one[1]] += 1
        out.append(_observation(case, f"nodule_{number}", finding, one))
    hidden = {side: ("collapse",) if fields[side].seen and _hides(case, side) else () for side in SIDES}
    out.extend(
        search(NAME, finding, fields[side], found=number, site="lung", failed=hidden[side], note=FAINT[finding])
        for (finding, side), number in counts.items()
    )
    return out


def _hides(case: Case, side: LungSide) -> bool:
    """Whether enough airless lung or fluid lies in a side to hide a mass, or the lung is plainly too small."""
    fluid = pleural_fluid(case)
    if volume_lost(case, side) or (side in fluid and fluid[side] is None):
        return True
    wet = fluid.get(side)
    hidden_ml = 0.0 if wet is None else int(wet[1].sum()) * case.working.grid.voxel_ml
    hidden_ml += sum(place.volume_ml for place in dense_places(case) if place.side == side and not place.round)
    return hidden_ml > HIDES_ML


def is_told(case: Case, side: LungSide, point_mm: tuple[float, float, float]) -> bool:
    """Whether a place is a nodule or a mass that this tool tells."""
    return any(one[1] == side and _holds(one[0].mask, point_mm) for one in lumps_found(case))


def told_share(case: Case, side: LungSide, voxels: Bools) -> float:
    """Share of a (Z, Y, X) place on the working grid that lies in nodules or masses told as present."""
    told = np.zeros_like(voxels)
    for nodule, own, presence in lumps_found(case):
        if own == side and presence == "present":
            told |= nodule.mask.on(case.working.grid).voxels.T
    return float(np.count_nonzero(told & voxels)) / max(1, int(np.count_nonzero(voxels)))


def _blocks(case: Case, found: tuple[_Found, ...]) -> list[_Found]:
    """Blocks of airless lung that may be masses, where no mass was found already."""
    out: list[_Found] = []
    for side, mask in blocks(case):
        nodule = measured("block", case.volume, mask, mask)
        if nodule is None or nodule.diameter_mm <= MASS_MM or _is_patch(case, nodule):
            continue
        if any(f[0].diameter_mm > MASS_MM and _holds(mask, f[0].mask.centre_mm) for f in found):
            continue
        out.append((nodule, side, "uncertain"))
    return out


@once
def lumps_found(case: Case) -> tuple[_Found, ...]:
    """Every nodule and mass with its side; a mass swallows the nodules inside it."""
    found: list[_Found] = []
    taken: list[Mask] = []
    slice_mm = case.volume.grid.spacing_mm[2]
    searched = scene(case)
    space = Mask("space", searched.space.T, searched.grid)
    central = ((near, around, 1.0, False) for near, around in _central(case))
    solid = (*central, *((near, space, way, thin) for near, way, thin in _small(case, searched)))
    measures = ((measured("nodule", case.volume, near, around), way, thin) for near, around, way, thin in solid)
    sound = [n for n, way, thin in measures if n is not None and is_dense_and_round(n, slice_mm, way=way, thin=thin)]
    glass = (
        measured("nodule", case.volume, near, space, border_hu=GLASS_BORDER_HU) for near in glass_nodules(searched)
    )
    sound += [nodule for nodule in glass if nodule is not None and is_sound(nodule, slice_mm)]
    for nodule in sound:
        centre = nodule.mask.centre_mm
        if any(_holds(mask, centre) for mask in taken) or _is_patch(case, nodule):
            continue
        taken.append(nodule.mask)
        found.append((nodule, _side(case, nodule), "present"))
    return tuple(found)


def _is_patch(case: Case, nodule: Nodule) -> bool:
    """Whether a mass is the compact middle of a consolidation, whose lobules go on around it."""
    if nodule.diameter_mm <= MASS_MM:
        return False
    voxels = nodule.mask.on(case.working.grid).voxels.T
    least = PATCH_SHARE * int(np.count_nonzero(voxels))
    patches = (p for p in dense_places(case) if p.ragged and p.volume_ml < PATCH_ML and not p.collapsed)
    return any(int(np.count_nonzero(p.voxels & voxels)) > least and not volume_lost(case, p.side) for p in patches)


def _small(case: Case, searched: Scene) -> list[tuple[Mask, float, bool]]:
    """Solid nodules inside the lung's space: a mask a little larger than each, and ``way`` and ``thin`` of it."""
    air = searched.hu < TISSUE_HU
    blood = _blood_hu(case)
    hila = _hila(case)
    step = searched.grid.spacing_mm[::-1]
    out = []
    tissue = searched.space & ~air
    least_mm = BLURRED_RADIUS_MM if max(step[1:]) < BLURRED_RADIUS_MM else LEAST_RADIUS_MM
    for lump in lumps(tissue, searched.space, air, step, least_mm=least_mm, dome_elongation=DOME_ELONGATION):
        hu = float(np.percentile(searched.hu[lump.box][lump.voxels], 75))
        if hu < LONE_HU or lump.air < 0.3:
            continue
        ways = ways_on(lump, tissue, step) if lump.radius_mm <= LONE_MM else [lump.radius_mm]
        centre = searched.grid.to_mm(lump.centre[::-1])
        near_hilum = any(float(np.linalg.norm(centre - hilum)) < HILUM_MM for hilum in hila)
        way = max(ways, default=0.0) / lump.radius_mm
        through = is_way(lump, ways)
        free = way <= FREE and not through
        thin = lump.radius_mm < LEAST_RADIUS_MM
        if thin and not free:
            continue
        if not is_nodule(lump, hu, blood, near_hilum=near_hilum, free=free):
            continue
        if lump.domed or lump.radius_mm > THIN_MM or not through:
            out.append((near_mask(lump, searched.grid, searched.space, capped=True), way, thin))
    return out


def _central(case: Case) -> list[tuple[Mask, Mask]]:
    """Masses at hilum and mediastinum, on the working grid."""
    grid = case.working.grid
    hu = case.working.hu.T
    air = hu < TISSUE_HU
    space = _wide_space(case)
    tissue = space & (hu > -300)
    blood = _blood_hu(case)
    out = []
    for lump in lumps(tissue, space, air, grid.spacing_mm[::-1], least_mm=CENTRAL_MM, elongation=CENTRAL_ELONGATION):
        middle = float(np.median(hu[lump.box][lump.voxels]))
        if lump.air < 0.15 or lump.wall > 0.2 or _stands_below(lump, space, air) or _is_hilum(case, lump):
            continue
        if blood is not None and middle > blood - BLOOD_MARGIN_HU:
            continue
        out.append((near_mask(_trimmed(lump, grid), grid, space, capped=False), Mask("space", space.T, grid)))
    return out


def _is_hilum(case: Case, lump: Lump) -> bool:
    """Whether a lump on the working grid is a bundle of vessels and nodes in the fat of hilum and mediastinum."""
    found, hu = lungs(case), case.working.hu.T[lump.box][lump.voxels]
    hull = (found.right_space.voxels | found.left_space.voxels).T[lump.box][lump.voxels]
    return float((hu < FAT_HU).mean()) > FAT_SHARE and float(hull.mean()) < HULL_SHARE


def _trimmed(lump: Lump, grid: Grid) -> Lump:
    """A lump without what hangs on it: opened by a ball of TRIM of its radius. A round or a long one as it is."""
    if not HUNG[0] < lump.elongation < HUNG[1]:
        return lump
    core = shrunk(lump.voxels, TRIM * lump.radius_mm, grid)
    kept = lump.voxels & grown(core, TRIM * lump.radius_mm, grid)
    return replace(lump, voxels=kept) if kept.any() else lump


def _stands_below(lump: Lump, space: NDArray[np.bool_], air: NDArray[np.bool_]) -> bool:
    """True for a dome: most of the lump's underside is tissue outside the space, or the end of the scan."""
    inside = np.zeros_like(space)
    inside[lump.box] = lump.voxels
    beneath = np.zeros_like(space)
    beneath[:-1] = inside[1:] & ~inside[:-1]
    ends = int(inside[0].sum())
    total = int(beneath.sum()) + ends
    return int((beneath & ~space & ~air).sum()) + ends > 0.35 * max(1, total)


def _wide_space(case: Case) -> NDArray[np.bool_]:
    """(Z, Y, X) bool: the cavity with the lungs' borders drawn across hila, short of the midline and the airways."""
    found, cavity = lungs(case), thoracic_cavity(case)
    grid = found.right.grid
    away = (np.arange(grid.shape[0]) - grid.to_ijk([found.midline_mm, 0, 0])[0]) * grid.spacing_mm[0]
    space = cavity.right.voxels.T | cavity.left.voxels.T
    for side, lateral in (("right", away > CENTRAL_FREE_MM), ("left", away < -CENTRAL_FREE_MM)):
        own = found.right if side == "right" else found.left
        space |= closed_mm(own.voxels.T, CENTRAL_CLOSING_MM, grid) & lateral[None, None, :]
    return space & ~airways(case).mask.voxels.T


def _hila(case: Case) -> list[NDArray[np.float64]]:
    """Where vessels crowd in each lung, RAS mm: the densest place of tissue inside the lung's medial half."""
    found = lungs(case)
    grid = found.right.grid
    sigma = [12.0 / step for step in grid.spacing_mm[::-1]]
    out = []
    for side in found.present:
        lung = found.of(side).voxels.T
        box = box_of(lung, 0.0, grid)
        vessels = (lung[box] & (case.working.hu.T[box] > TISSUE_HU)).astype(np.float32)
        crowd = ndimage.gaussian_filter(vessels, sigma, truncate=2.0)
        away = np.abs(
            (np.arange(grid.shape[0])[box[2]] - grid.to_ijk([found.midline_mm, 0, 0])[0]) * grid.spacing_mm[0]
        )
        crowd[:, :, (away < HILUM_X_MM[0]) | (away > HILUM_X_MM[1])] = 0
        z, y, x = np.unravel_index(int(crowd.argmax()), crowd.shape)
        out.append(grid.to_mm([x + box[2].start, y + box[1].start, z + box[0].start]))
    return out


def _blood_hu(case: Case) -> float | None:
    """Attenuation of enhanced blood, HU; None without contrast, where vessels look like nodules."""
    state = contrast(case)
    if not state.enhanced or state.blood_hu is None:
        return None
    return state.blood_hu if state.blood_hu >= 130.0 else None


def _holds(mask: Mask, point_mm: tuple[float, float, float]) -> bool:
    """True when a point lies in a mask."""
    at = np.rint(mask.grid.to_ijk(point_mm)).astype(int)
    inside = all(0 <= a < n for a, n in zip(at, mask.grid.shape, strict=True))
    return inside and bool(mask.voxels[at[0], at[1], at[2]])


def _side(case: Case, nodule: Nodule) -> LungSide:
    """The lung whose cavity holds more of a nodule; by the midline where neither does."""
    cavity, grid = thoracic_cavity(case), nodule.mask.grid
    inside = {side: int((cavity.of(side).on(grid).voxels & nodule.mask.voxels).sum()) for side in SIDES}
    if inside["right"] == inside["left"]:
        return "right" if nodule.mask.centre_mm[0] > lungs(case).midline_mm else "left"
    return "right" if inside["right"] > inside["left"] else "left"


def _observation(case: Case, name: str, finding: str, found: _Found) -> Observation:
    """The evidence of one nodule."""
    nodule, side, presence = found
    region = case.keep(Mask(name, nodule.mask.voxels, nodule.mask.grid))
    note = "" if presence == "present" else "mass or collapsed lung: no border between them shows"
    vessel_like = nodule.diameter_mm < CUT_SMALL_MM or nodule.short_axis_mm < CUT_LONG * nodule.diameter_mm
    if finding == "lung_nodule" and vessel_like and _cut(case, nodule.mask, region):
        presence, note = "uncertain", "cut by the end of the scan: a vessel looks the same there"
    if finding == "lung_mass" and _may_go_on(case, nodule.mask):
        presence, note = "uncertain", "at the end of the scan: what bulges from the mediastinum looks the same there"
    measures = {
        "diameter": nodule.diameter_mm,
        "short_axis": nodule.short_axis_mm,
        "diameter_3d": nodule.diameter_3d_mm,
        "volume": nodule.volume_ml,
        "attenuation": nodule.core_hu,
        "distance": _to_pleura_mm(case, nodule, side),
    }
    return Observation(
        tool=NAME,
        finding=finding,
        presence=presence,
        side=side,
        site=site_of(case, side, nodule.mask),
        measurements=tuple(
            Measurement(
                quantity=q, value=v, plus_minus=measured_error(NAME, "lung_nodule") if q == "diameter" else None
            )
            for q, v in measures.items()
        ),
        attributes={"density": nodule.density},
        region=region,
        note=note,
    )


def _cut(case: Case, mask: Mask, region: Region) -> bool:
    """Whether the end of the scan cuts a nodule where it is still at least half as wide as at its widest."""
    areas = mask.voxels.sum(axis=(0, 1))
    areas = areas[areas > 0]
    first, last = region.slices
    ends = [areas[0]] * (first == 0) + [areas[-1]] * (last == case.volume.grid.shape[2] - 1)
    return any(2 * end >= areas.max() for end in ends)


def _may_go_on(case: Case, mask: Mask) -> bool:
    """Whether a mass beside the mediastinum comes so near to the first or last slice that its end was not seen."""
    grid, box = case.volume.grid, mask.box
    low, high = sorted(grid.to_mm([[0, 0, -0.5], [0, 0, grid.shape[2] - 0.5]])[:, 2])
    near_mm = AT_END * grid.spacing_mm[2]
    if box.low_mm[2] > low + near_mm and box.high_mm[2] < high - near_mm:
        return False
    medial = Mask("medial", beside_mediastinum(case).T, case.working.grid).on(mask.grid).voxels
    return int((medial & mask.voxels).sum()) > MEDIAL * int(mask.voxels.sum())


def _to_pleura_mm(case: Case, nodule: Nodule, side: LungSide) -> float:
    """From the nodule's surface to the nearest border of the lung's space, mm; 0 where they touch."""
    grid = case.working.grid
    space = thoracic_cavity(case).of(side).voxels.T
    box = nodule.mask.box
    margin = 45.0
    slices, _ = box_grid(grid, np.asarray(box.low_mm) - margin, np.asarray(box.high_mm) + margin)
    part = np.ascontiguousarray(space[slices[2], slices[1], slices[0]])
    depth = depth_mm(part, grid)
    at = grid.to_ijk(nodule.mask.grid.to_mm(np.argwhere(nodule.mask.voxels))) - [s.start for s in slices]
    x, y, z = (np.clip(np.rint(at[:, n]).astype(int), 0, part.shape[2 - n] - 1) for n in range(3))
    least = float(depth[z, y, x].min())
    return 0.0 if least <= 1.5 * max(grid.spacing_mm[:2]) else least
