"""Central venous catheters: a thin dense line that runs down the superior vena cava.

In: a box of the full-resolution scan right of the midline, from the neck to the right atrium. Out: an
Observation with the line, or a Search. In blood full of contrast a catheter cannot be told.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import airways
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import CARINA_ABOVE_DOME_MM, coverage
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Mask, Volume
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "catheter"
ABOVE_LOCAL_HU = 150.0  # a catheter wall against the blood or fat around it, blurred by the slice
LEAST_HU = 230.0
LUMEN_MM2 = (1.5, 62.0)  # a catheter of 2-4 mm, blurred, cut obliquely
AROUND_HU = (-90.0, 130.0)  # median within 7 mm: mediastinum; lung and bone are no place for it
SIDEWAYS_MM = (-3.0, 48.0)  # right of the canal
FORWARD_MM = (52.0, 118.0)  # in front of the canal
CAVA_MM = (-75.0, 55.0)  # from the carina: right atrium to brachiocephalic vein
LEAST_LENGTH_MM = 35.0  # calcified nodes and vessels are shorter
STEP_MM = 4.0  # sideways between slices, and as much as the line leans
LEAN = 0.7  # mm sideways per mm down
GAP_SLICES = 1
MOST_SPOTS = 60  # more in one slice is noise
DENSE_HU = 170
FRONT_MM = 8.0  # lung reaches at least so far in front of the superior vena cava


@dataclass(frozen=True, slots=True)
class Spot:
    """A small dense spot of one slice, on the volume's grid."""

    k: int
    x_mm: float
    y_mm: float
    index: NDArray[np.intp]  # (N, 2) i, j


@tool(NAME, observes=("central_venous_catheter",), needs=("spine", "lungs"))
def catheter(case: Case) -> list[Evidence]:
    """Follow a thin dense line down the superior vena cava."""
    finding, site = "central_venous_catheter", "superior_vena_cava"
    covered = coverage(case).of(site)
    if covered <= 0.0 or not spine(case).found or not lungs(case).present:
        reason = () if covered <= 0.0 else ("not_found",)
        return [search(case, NAME, finding, site=site, failed=reason)]
    failed = () if contrast(case).enhanced is False else ("contrast",)
    line = [] if failed else _longest_line(_spots(case), case.volume.grid.spacing_mm[2])
    if not line:
        return [search(case, NAME, finding, site=site, failed=failed)]
    voxels = np.zeros(case.volume.grid.shape, dtype=bool, order="F")
    for spot in line:
        voxels[spot.index[:, 0], spot.index[:, 1], spot.k] = True
    mask = Mask("central_venous_catheter", voxels, case.volume.grid)
    height = (line[-1].k - line[0].k + 1) * case.volume.grid.spacing_mm[2]
    seen = Observation(
        tool=NAME,
        finding=finding,
        presence="present",
        site=site,
        measurements=(Measurement(quantity="height", value=height),),
        region=case.keep(mask),
    )
    return [seen, search(case, NAME, finding, site=site, found=1)]


def _spots(case: Case) -> list[Spot]:
    """Small dense spots right of the midline in front of the spine, slice by slice."""
    volume = case.volume
    carina, axis, dome = airways(case).carina_mm, spine(case), coverage(case).dome_mm
    lung = lungs(case).both
    level = carina[2] if carina is not None else (dome or 0.0) + CARINA_ABOVE_DOME_MM
    low, high = level + CAVA_MM[0], level + CAVA_MM[1]
    out: list[Spot] = []
    step = volume.grid.spacing_mm
    size = [2 * max(1, round(7.0 / s)) + 1 for s in step[:2]]
    for k in range(volume.grid.shape[2]):
        z = float(volume.grid.to_mm([0, 0, k])[2])
        if not low <= z <= high:
            continue
        canal = axis.at(z)
        corner = volume.grid.to_ijk([canal[0] + SIDEWAYS_MM[0], canal[1] + FORWARD_MM[0], z])
        far = volume.grid.to_ijk([canal[0] + SIDEWAYS_MM[1], canal[1] + FORWARD_MM[1], z])
        i0, j0 = (max(0, round(v)) for v in corner[:2])
        i1, j1 = (max(0, round(v)) for v in far[:2])
        plane = volume.hu[i0:i1, j0:j1, k].astype(np.float32)
        if min(plane.shape, default=0) < 5 or plane.max() < LEAST_HU:
            continue
        around = ndimage.median_filter(plane[::2, ::2], [max(3, s // 2) for s in size])
        around = np.kron(around, np.ones((2, 2), dtype=np.float32))[: plane.shape[0], : plane.shape[1]]
        dense = (plane - around > ABOVE_LOCAL_HU) & (plane > LEAST_HU)
        dense &= (around > AROUND_HU[0]) & (around < AROUND_HU[1])
        labels, count = ndimage.label(dense, np.ones((3, 3)))
        for number, box in enumerate(ndimage.find_objects(labels), start=1):
            index = np.add(np.argwhere(labels[box] == number), (box[0].start + i0, box[1].start + j0))
            area = index.shape[0] * step[0] * step[1]
            middle = volume.grid.to_mm([*index.mean(axis=0), k])
            fits = LUMEN_MM2[0] <= area <= LUMEN_MM2[1] and count < MOST_SPOTS
            if fits and _alone(volume, index, k) and _between_lungs(lung, middle):
                out.append(Spot(k, float(middle[0]), float(middle[1]), index))
    return out


def _alone(volume: Volume, index: NDArray[np.intp], k: int) -> bool:
    """True when nothing as dense lies 4 to 10 mm away: ends of clavicles and ribs are not alone."""
    step_x, step_y, _ = volume.grid.spacing_mm
    middle = index.mean(axis=0)
    rx, ry = round(10.0 / step_x), round(10.0 / step_y)
    i0, j0 = max(0, round(middle[0]) - rx), max(0, round(middle[1]) - ry)
    plane = volume.hu[i0 : round(middle[0]) + rx + 1, j0 : round(middle[1]) + ry + 1, k]
    i, j = np.ogrid[i0 : i0 + plane.shape[0], j0 : j0 + plane.shape[1]]
    away = np.hypot((i - middle[0]) * step_x, (j - middle[1]) * step_y)
    ring = plane[(away > 5.0 + 0.5 * np.sqrt(index.shape[0] * step_x * step_y)) & (away <= 10.0)]
    return ring.size == 0 or float(np.mean(ring > DENSE_HU)) < 0.06


def _between_lungs(lung: Mask, point_mm: NDArray[np.float64]) -> bool:
    """True when lung lies left, right and in front of the point in its slice: the mediastinum, not the chest wall."""
    i, j, k = (round(v) for v in lung.grid.to_ijk(point_mm))
    if not 0 <= k < lung.grid.shape[2]:
        return False
    plane = lung.voxels[:, :, k]
    band = plane[:, max(0, j - 3) : j + 4]
    front = plane[:, j + max(1, round(FRONT_MM / lung.grid.spacing_mm[1])) :]
    return bool(band[:i].any() and band[i + 1 :].any() and front[i:].any())


def _longest_line(spots: list[Spot], step_mm: float) -> list[Spot]:
    """The longest chain of spots from slice to slice; empty when it is shorter than a catheter would be."""
    by_slice: dict[int, list[int]] = {}
    for number, spot in enumerate(spots):
        by_slice.setdefault(spot.k, []).append(number)
    length = [1] * len(spots)
    before = [-1] * len(spots)
    for number, spot in enumerate(spots):  # in the order of slices
        for gap in range(1, GAP_SLICES + 2):
            for other in by_slice.get(spot.k - gap, []):
                away = float(np.hypot(spot.x_mm - spots[other].x_mm, spot.y_mm - spots[other].y_mm))
                if away <= STEP_MM + LEAN * step_mm * gap and length[other] + 1 > length[number]:
                    length[number], before[number] = length[other] + 1, other
    if not spots:
        return []
    at = int(np.argmax(length))
    line: list[Spot] = []
    while at >= 0:
        line.append(spots[at])
        at = before[at]
    line.reverse()
    tall = (line[-1].k - line[0].k + 1) * step_mm
    return line if tall >= LEAST_LENGTH_MM and len(line) >= 5 else []
