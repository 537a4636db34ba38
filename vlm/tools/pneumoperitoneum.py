"""Free air in the abdomen: a flat layer of gas under the front wall that no bowel wall holds.

In: body, lungs, liver and coverage of a Case. Out: an Observation with its volume, or a Search. A patient on
the back has free air in front. Bowel there is as wide as it is thick, or stands on its own fluid, and where
its gas meets fat a wall lies between. Bubbles and air elsewhere are not seen, and the search covers a part.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import box_of, grown
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.liver import liver
from vlm.anatomy.lungs import lungs
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, once
from vlm.tools.ground import search
from vlm.tools.nodule_measure import box_grid
from vlm.tools.organs import organ
from vlm.tools.registry import tool

NAME = "pneumoperitoneum"
GAS_HU = -500  # halfway between gas and tissue
FIRM_HU = -20  # muscle, bowel wall, organs; fat lies below
LEAST_ML = 10.0  # smaller bubbles cannot be told from bowel
LUNG_MM = 6.0  # gas so near to lung is lung, or air in the pleural space
ABOVE_DOME_MM = 15.0
WIDE_MM = 45.0  # inscribed width of the layer seen from the front
FLAT = 2.2  # width over thickness; gas in a tube has about 1
WALL_MM = 10.0  # in front of free air firm tissue begins within so much
FRONT_SHARE = 0.7  # of the layer that lies so under the wall
FLOOR_MM = (3.0, 9.0)  # behind the gas, beyond the blur
FLOOR_SHARE = 0.6  # of the layer that rests on fat or liver and not on what bowel holds
RING_MM, FAR_MM = (0.9, 4.0), (4.0, 9.0)  # where a bowel wall would lie, and the fat beyond
FAT_HU = (-130.0, -65.0)
EVEN_HU = 35.0  # spread within true fat; stool with bubbles has the mean of fat, not its evenness
WALL_RISE_HU = 25.0  # a bowel wall of 1 mm stands out so much above fat, in pixels of 1 mm
BARE_SHARE = 0.85  # of the border to fat without a wall; thin colon in a soft kernel reaches 0.76
LEAST_RAYS = 60
PIXEL_MM = 1.6  # coarser pixels do not show a bowel wall
LOOKED_SHARE = 0.4  # of free air that lies in front in a layer

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """The shape and place of a piece of gas: lengths in mm, shares 0..1."""

    width_mm: float
    thickness_mm: float
    front: float  # under the wall
    floor: float  # on fat or liver

    @property
    def free(self) -> bool:
        """Flat, in front, and not standing on fluid."""
        flat = self.width_mm >= WIDE_MM and self.width_mm >= FLAT * self.thickness_mm
        return flat and self.front >= FRONT_SHARE and self.floor >= FLOOR_SHARE


@tool(NAME, observes=("pneumoperitoneum",), needs=("liver", "lungs"))
def pneumoperitoneum(case: Case) -> list[Evidence]:
    """Look for a layer of gas under the front wall of the abdomen."""
    site, view = "peritoneum", coverage(case)
    share = view.of(site) * LOOKED_SHARE
    if view.dome_mm is None or share <= 0 or not body(case):
        return [search(case, NAME, "pneumoperitoneum", site=site)]
    if case.volume.scan.patient_position not in ("", "HFS", "FFS"):
        return [search(case, NAME, "pneumoperitoneum", site=site, covered=0.0, failed=("not_implemented",),
                       note="only patients on their back")]  # fmt: skip
    labels, sizes_ml = _pieces(case, view.dome_mm)
    flat = [number for number in np.flatnonzero(sizes_ml >= LEAST_ML) if layer_of(case, labels, int(number)).free]
    borders = [_border(case, Mask("gas", (labels == number).T, case.working.grid)) for number in flat]
    walled = [rays >= LEAST_RAYS and bare < BARE_SHARE for bare, rays in borders]
    free = [number for number, wall in zip(flat, walled, strict=True) if not wall]
    failed = ("coarse_pixels",) if max(case.volume.grid.spacing_mm[:2]) > PIXEL_MM else ()
    if not free:
        return [search(case, NAME, "pneumoperitoneum", site=site, covered=share, failed=failed)]
    mask = Mask("free_air", np.isin(labels, free).T, case.working.grid)
    sure = any(rays >= LEAST_RAYS and bare >= BARE_SHARE for bare, rays in borders)
    seen = Observation(
        tool=NAME, finding="pneumoperitoneum", presence="present" if sure else "uncertain", site=site,
        measurements=(Measurement(quantity="volume", value=mask.volume_ml),), region=case.keep(mask),
        note="" if sure else "bowel gas in front of the liver is not ruled out",
    )  # fmt: skip
    return [seen, search(case, NAME, "pneumoperitoneum", site=site, covered=share, found=1, failed=failed)]


def _pieces(case: Case, dome_mm: float) -> tuple[NDArray[np.uint32], NDArray[np.float64]]:
    """(Z, Y, X) labels of the pieces of gas in the abdomen, and the volume of each in mL (0 for label 0)."""
    grid = case.working.grid
    gas = (case.working.hu.T < GAS_HU) & body(case).voxels.T
    z = grid.to_mm(np.c_[np.zeros((gas.shape[0], 2)), np.arange(gas.shape[0])])[:, 2]
    gas[z > dome_mm + ABOVE_DOME_MM] = False
    if gas.any():
        box = box_of(gas, LUNG_MM, grid)
        gas[box] &= ~grown(lungs(case).both.voxels.T[box], LUNG_MM, grid)
    labels: NDArray[np.uint32] = cc3d.connected_components(gas, connectivity=6)
    sizes = np.bincount(labels.ravel()).astype(np.float64) * grid.voxel_ml
    sizes[0] = 0.0
    return labels, sizes


@once
def _liver(case: Case) -> Bools:
    """(Z, Y, X) the liver: what the rule finds, and the whole of it where it is outlined well."""
    ruled, outlined = liver(case).mask.voxels.T, organ(case, "liver")
    return np.asarray(ruled | outlined.voxels if outlined.mask is not None and outlined.measurable else ruled)


def layer_of(case: Case, labels: NDArray[np.uint32], number: int) -> Layer:
    """The shape and the borders of one piece of gas."""
    grid = case.working.grid
    piece = labels == number
    z, _, x = (slice(int(p.min()), int(p.max()) + 1) for p in np.nonzero(piece))
    near, hu = piece[z, :, x], case.working.hu.T[z, :, x]
    solid = _liver(case)[z, :, x]
    columns = near.any(axis=1)  # (Z, X), seen from the front
    step_z, step_y, step_x = grid.spacing_mm[::-1]
    seen = np.pad(columns, 1)[None]
    width = 2.0 * float(depth_mm(seen, Grid(seen.shape[::-1], np.diag([step_x, step_z, 1.0, 1.0]))).max())
    thickness = float(np.percentile(near.sum(axis=1)[columns], 90)) * step_y
    rows = hu.shape[1]
    highest = rows - 1 - near[:, ::-1].argmax(axis=1)
    lowest = near.argmax(axis=1)
    k, i = np.nonzero(columns)
    ahead = [hu[k, np.minimum(highest[k, i] + n, rows - 1), i] for n in range(1, round(WALL_MM / step_y) + 1)]
    front = float(np.mean(np.max(ahead, axis=0) > FIRM_HU))
    first, last = (max(1, round(length / step_y)) for length in FLOOR_MM)
    behind = [np.maximum(lowest[k, i] - n, 0) for n in range(first, last + 1)]
    mean = np.mean([hu[k, row, i] for row in behind], axis=0)
    rests = ((mean > FAT_HU[0]) & (mean < FAT_HU[1])) | np.any([solid[k, row, i] for row in behind], axis=0)
    return Layer(width_mm=width, thickness_mm=thickness, front=front, floor=float(rests.mean()))


def _border(case: Case, piece: Mask) -> tuple[float, int]:
    """How much of the border of gas to fat has no wall, judged in the scan's own pixels, and at how many places."""
    grid = case.volume.grid
    step_x, step_y, _ = grid.spacing_mm
    if max(step_x, step_y) > PIXEL_MM:
        return 0.0, 0
    box = piece.box
    margin = 2.0 * FAR_MM[1] + 4.0  # twice: what lies nearest to a pixel that far away must be in the box too
    slices, crop = box_grid(grid, np.asarray(box.low_mm) - margin, np.asarray(box.high_mm) + margin)
    wide = max(1, round(2.0 / step_x))
    own = ndimage.maximum_filter(piece.on(crop).voxels.T, (1, 2 * wide + 1, 2 * wide + 1), mode="constant")
    bare = rays = 0
    for k in np.flatnonzero(own.any(axis=(1, 2))):
        hu = case.volume.hu[slices][:, :, k].T.astype(np.float32)
        gas = hu < GAS_HU
        if not (gas & own[k]).any():
            continue
        away, (row, column) = ndimage.distance_transform_edt(~gas, sampling=(step_y, step_x), return_indices=True)
        near = (away > RING_MM[0]) & (away < FAR_MM[1]) & (own[k] & gas)[row, column]
        _, place = np.unique(row[near] * hu.shape[1] + column[near], return_inverse=True)
        if place.size == 0:
            continue
        many, length, value = int(place.max()) + 1, away[near], hu[near]
        far = length >= FAR_MM[0]
        count = np.bincount(place[far], minlength=many)
        mean = np.bincount(place[far], weights=value[far], minlength=many) / np.maximum(count, 1)
        spread = np.bincount(place[far], weights=value[far] ** 2, minlength=many) / np.maximum(count, 1) - mean**2
        ring = np.full(many, -np.inf)
        np.maximum.at(ring, place[~far], value[~far])
        fat = (count >= 3) & (mean > FAT_HU[0]) & (mean < FAT_HU[1]) & (spread < EVEN_HU**2) & np.isfinite(ring)
        rays += int(np.count_nonzero(fat))
        bare += int(np.count_nonzero(ring[fat] < mean[fat] + WALL_RISE_HU))
    return (bare / rays if rays else 0.0), rays
