"""Which parts of the body lie in the field of view: the ground for "not covered".

In: lungs, airways, spine and bones of a Case. Out: the covered share of each body region and organ.
Heights come from landmarks (carina, dome of the diaphragm, iliac crest, skull); where an organ should
lie relative to a landmark is taken from an adult of average height, so shares of organs that are cut
are estimates, good to about 0.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.body import body
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import opened_by, skeleton, spine
from vlm.ct.volume import Grid
from vlm.evidence import Case, Side, once

# Site -> (top, bottom) in mm above the right dome of the diaphragm, adult, supine, mid inspiration.
# Spread between people is about 20 mm for the upper organs and 40 mm for the pelvis.
HEIGHTS_MM: Mapping[str, tuple[float, float]] = {
    "head": (560.0, 350.0),
    "neck": (350.0, 230.0),
    "thyroid": (270.0, 215.0),
    "chest": (215.0, -70.0),
    "mediastinum": (200.0, 0.0),
    "aortic_arch": (165.0, 125.0),
    "ascending_aorta": (140.0, 55.0),
    "thoracic_aorta": (165.0, -40.0),
    "superior_vena_cava": (135.0, 60.0),
    "coronary_arteries": (75.0, -20.0),
    "aortic_valve": (60.0, 35.0),
    "mitral_valve": (45.0, 5.0),
    "diaphragm": (15.0, -70.0),
    "pulmonary_artery": (120.0, 60.0),
    "heart": (70.0, -30.0),
    "pericardium": (90.0, -30.0),
    "oesophagus": (230.0, -60.0),
    "liver": (0.0, -150.0),
    "spleen": (-15.0, -125.0),
    "stomach": (-5.0, -140.0),
    "adrenal": (-65.0, -105.0),
    "pancreas": (-90.0, -150.0),
    "gallbladder": (-90.0, -150.0),
    "bile_ducts": (-60.0, -150.0),
    "kidney": (-80.0, -205.0),
    "upper_abdomen": (0.0, -190.0),
    "abdominal_aorta": (-40.0, -230.0),
    "ureter": (-140.0, -380.0),
    "bowel": (-70.0, -400.0),
    "colon": (-40.0, -400.0),
    "appendix": (-250.0, -340.0),
    "abdomen": (0.0, -400.0),
    "peritoneum": (0.0, -400.0),
    "retroperitoneum": (-60.0, -300.0),
    "pelvis": (-235.0, -420.0),
    "bladder": (-330.0, -400.0),
    "prostate": (-375.0, -415.0),
    "uterus": (-310.0, -375.0),
    "hip": (-355.0, -420.0),
}
LEFT_ONLY = frozenset({"spleen", "stomach"})
CARINA_ABOVE_DOME_MM = 115.0  # about four thoracic vertebrae and discs
APEX_ABOVE_DOME_MM = 205.0
CREST_BELOW_DOME_MM = 235.0  # iliac crest at L4, dome at T9/T10
TOLERANCE_MM = 12.0  # a landmark estimate that misses by this does not make a region uncovered
SKULL_ML = 250.0  # brain enclosed by bone, at least
WING_MM = (55.0, 150.0)  # iliac wings lie this far from the canal, at its height or in front of it
WING_MM2 = 280.0  # one piece of bone in one slice, each side; a rib has at most 200 mm2
WING_HEIGHT_MM = 20.0
WING_REACH_MM = 80.0  # its upper end, thin and in pieces on coarse grids, lies at most so far above
RECESS_MM = 70.0  # lung beside the liver reaches so far below the dome
ROUND_LUNG = 0.6  # of its hull in a slice: beside the dome it is a sickle, above it is whole
BALL_MM = 28.0  # only the liver (and a full stomach or spleen beside it) holds a ball of this radius


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldOfView:
    """What the scan covers: ``shares`` by site; sites of ``vlm.anatomy.coverage.HEIGHTS_MM`` and lungs."""

    shares: Mapping[str, float]
    dome_mm: float | None  # height of the right dome, z RAS; None when no landmark was seen
    landmark: str  # what the heights were told from
    sides: tuple[Side, ...]  # halves of the body in the field of view

    def of(self, site: str, side: Side | None = None) -> float:
        """Covered share of a site, 0..1; 0 for a half that is not in the scan or a site that is not known."""
        if side in ("left", "right") and side not in self.sides:
            return 0.0
        return self.shares.get(site, 0.0)


@once
def coverage(case: Case) -> FieldOfView:
    """The covered share of every body region and organ that the heights are known for."""
    grid = case.working.grid
    ends = grid.to_mm([[0, 0, -0.5], [0, 0, grid.shape[2] - 0.5]])[:, 2]
    low, high = float(ends.min()), float(ends.max())
    dome, landmark = _dome(case)
    sides = _sides(case)
    shares: dict[str, float] = {}
    if dome is not None:
        for site, (top, bottom) in HEIGHTS_MM.items():
            shares[site] = _share(dome + top, dome + bottom, low, high)
    head = _skull(case)
    if head is not None:
        shares["head"] = max(head, shares.get("head", 0.0))
    elif landmark != "skull":
        shares["head"] = 0.0
    pair = lungs(case)
    shares["lung"] = float(np.mean([pair.covered[side] for side in ("left", "right")])) if pair.present else 0.0
    shares["pleura"] = shares["lung"]
    shares["apex"] = float(np.mean([pair.apex_covered[side] for side in pair.present])) if pair.present else 0.0
    shares["base"] = float(np.mean([pair.base_covered[side] for side in pair.present])) if pair.present else 0.0
    if pair.present:
        shares["chest"] = min(shares.get("chest", 1.0), max(0.05, shares["lung"])) if shares["lung"] < 0.9 else 1.0
    else:
        shares["chest"] = min(shares.get("chest", 0.0), 0.1)
    if "left" not in sides:
        shares.update(dict.fromkeys(LEFT_ONLY, 0.0))
    return FieldOfView(shares=shares, dome_mm=dome, landmark=landmark, sides=sides)


def _share(top: float, bottom: float, low: float, high: float) -> float:
    """Share of [bottom, top] within [low, high]; ends that miss by less than the tolerance count as inside."""
    seen = min(top, high + TOLERANCE_MM) - max(bottom, low - TOLERANCE_MM)
    return float(np.clip(seen / (top - bottom), 0.0, 1.0))


def _dome(case: Case) -> tuple[float | None, str]:
    """Height of the right dome (or the left one plus 15 mm), from the best landmark there is."""
    grid = case.working.grid
    pair = lungs(case)
    for side, lift in (("right", 0.0), ("left", 15.0)):
        if side in pair.present and pair.base_covered[side] and _reaches_over_dome(pair.of(side).voxels):
            height = dome_of(pair.of(side).voxels, grid)
            if height is not None:
                return height + lift, "diaphragm"
    carina = airways(case).carina_mm
    if carina is not None:
        return carina[2] - CARINA_ABOVE_DOME_MM, "carina"
    for side in pair.present:
        if pair.apex_covered[side]:
            top = pair.of(side).slices[1]
            return float(grid.to_mm([0, 0, top])[2]) - APEX_ABOVE_DOME_MM, "apex"
    crest = _iliac_crest(case)
    if crest is not None:
        return crest + CREST_BELOW_DOME_MM, "iliac crest"
    if pair.present:  # a piece of lung without landmarks: somewhere in the lower chest
        piece = pair.of(pair.present[0])
        lower, upper = (float(grid.to_mm([0, 0, k])[2]) for k in piece.slices)
        return (upper - 40.0 if _reaches_over_dome(piece.voxels) else max(upper, lower + RECESS_MM)), "lung"
    if _skull(case) is not None:
        return None, "skull"
    if spine(case).found:  # soft tissue with a spine, no lung, no pelvis: the middle of the abdomen
        middle = float(grid.to_mm([0, 0, grid.shape[2] / 2])[2])
        solid = opened_by((case.working.hu.T > 0) & (case.working.hu.T < 200), grid, BALL_MM)
        return (middle + 60.0, "liver") if solid.any() else (middle + 160.0, "spine")
    return None, "none"


def _reaches_over_dome(lung: NDArray[np.bool_]) -> bool:
    """Whether a lung (X, Y, Z) goes on above the dome: a scan that begins below it shows a sickle beside the liver."""
    from skimage.morphology import convex_hull_image

    top = lung[:, :, -1]
    if np.count_nonzero(top) < 10:  # it ends within the scan
        return True
    return float(top.sum() / convex_hull_image(top).sum()) >= ROUND_LUNG


def dome_of(lung: NDArray[np.bool_], grid: Grid) -> float | None:
    """Height (z, mm) of the dome below one lung: where its columns end, at the upper quarter of its base."""
    columns = lung.any(axis=2)
    if np.count_nonzero(columns) < 50:
        return None
    lowest = np.argmax(lung, axis=2)
    # The base is where the lung above the column's end is thick; slivers beside the mediastinum are left out.
    depth = lung.sum(axis=2) * grid.spacing_mm[2]
    thick = depth > min(60.0, 0.4 * float(depth.max()))
    ends = lowest[columns & thick]
    if ends.size < 50:
        return None
    return float(grid.to_mm([0, 0, float(np.percentile(ends, 80))])[2])


def _iliac_crest(case: Case) -> float | None:
    """Height of the upper end of the iliac wings: bone on both sides of the canal, far from it."""
    grid, axis = case.working.grid, spine(case)
    bones = skeleton(case).voxels
    step_x, step_y, _ = grid.spacing_mm
    ijk = grid.to_ijk(axis.canal_mm)
    middle = float(np.median(ijk[axis.good, 0])) if axis.good.any() else bones.shape[0] / 2
    near, far = (value / step_x for value in WING_MM)
    x = np.arange(bones.shape[0]) - middle
    halves = [np.flatnonzero((x * sign > near) & (x * sign < far)) for sign in (-1, 1)]
    if any(columns.size == 0 for columns in halves):
        return None
    sides = [bones[half[0] : half[-1] + 1] for half in halves]
    below = ~lungs(case).both.voxels.any(axis=(0, 1))
    wing = below * np.array([_largest_mm2(side, step_x * step_y) for side in sides])  # (2, Z)
    every = below * np.array([side.sum(axis=(0, 1)) * step_x * step_y for side in sides])
    runs, count = ndimage.label(wing.min(axis=0) > WING_MM2)
    if count == 0 or np.bincount(runs)[1:].max() * grid.spacing_mm[2] < WING_HEIGHT_MM:
        return None
    longest = np.flatnonzero(runs == 1 + int(np.argmax(np.bincount(runs)[1:])))
    above = every.min(axis=0)[longest[-1] + 1 :][: round(WING_REACH_MM / grid.spacing_mm[2])] > WING_MM2
    more = above.size if above.all() else int(np.argmin(above))
    return float(grid.to_mm([0, 0, int(longest[-1]) + more])[2])


def _largest_mm2(bones: NDArray[np.bool_], pixel_mm2: float) -> NDArray[np.float64]:
    """(X, Y, Z) -> (Z,) area of the largest piece of bone of each slice."""
    out = np.zeros(bones.shape[2])
    for k in np.flatnonzero(bones.any(axis=(0, 1))):
        labels, count = ndimage.label(bones[:, :, k])
        out[k] = np.bincount(labels.ravel())[1:].max() * pixel_mm2 if count else 0.0
    return out


def _skull(case: Case) -> float | None:
    """Share of the head in the scan when brain lies enclosed by bone; None when it does not."""
    grid = case.working.grid
    bone = case.working.hu.T > 250
    hu = case.working.hu.T
    brain_ml, slices = 0.0, 0
    for k in range(bone.shape[0]):
        if np.count_nonzero(bone[k]) * grid.spacing_mm[0] * grid.spacing_mm[1] < 800.0:
            continue
        inner = ndimage.binary_fill_holes(bone[k]) & ~bone[k] & (hu[k] > -20) & (hu[k] < 120)
        area = np.count_nonzero(ndimage.binary_opening(inner, iterations=5)) * grid.spacing_mm[0] * grid.spacing_mm[1]
        if area > 4000.0:
            brain_ml += area * grid.spacing_mm[2] / 1000.0
            slices += 1
    if brain_ml < SKULL_ML:
        return None
    return float(min(1.0, slices * grid.spacing_mm[2] / 120.0))


def _sides(case: Case) -> tuple[Side, ...]:
    """Halves of the body in the scan: a half is there when more than 60 mm of body lie beyond the midline."""
    pair, axis, grid = lungs(case), spine(case), case.working.grid
    if pair.present and not axis.found:
        return pair.present
    columns = np.flatnonzero(body(case).voxels.any(axis=(1, 2)))
    if columns.size == 0 or not axis.found:
        return ("left", "right") if columns.size else ()
    middle = float(np.median(axis.canal_mm[axis.good, 0]))
    edges = grid.to_mm([[columns[0], 0, 0], [columns[-1], 0, 0]])[:, 0]
    found: list[Side] = []
    if middle - edges.min() > 60.0:
        found.append("left")
    if edges.max() - middle > 60.0:
        found.append("right")
    return tuple(found)
