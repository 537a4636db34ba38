"""Fluid round the heart, told by its density and by how it wraps the heart.

Where fat lies on the heart, fluid is a layer between two layers of fat, with contrast and without: it is looked
for outside of the heart. Where no fat lies between, it is a darker layer within the outline that was found.
Arrays here are (Z, Y, X) in a box round the heart.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm, distance_mm
from vlm.anatomy.heart import Heart, mediastinum
from vlm.anatomy.skeleton import opened_by
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case

FLUID_HU = (-5.0, 28.0)  # serous fluid; muscle and plain blood stand at 35-60 HU, fat below -40
LAYER_HU = (-12.0, 32.0)  # of single voxels of a layer between fat, with their noise
BELOW_HEART_HU = 14.0  # fluid is darker than the heart by at least this
RIM_MM = 30.0  # a large effusion lies within this of the outline
LEAST_MM = 5.0  # our choice: the pericardium itself has up to 2 mm (Delille, Eur Radiol 1999;9:1183), the rest is blur
THIN_MM = 4.0  # between fat the edges of a layer are lost to partial volume
WRAP_SHARE = 0.2  # of the heart's surface that a layer lies over; what only touches the heart is something else
WRAP_MM = 12.0  # so far from the surface: the fat on the heart is thinner
NEAR_MM, NEAR_SHARE = 20.0, 0.85  # of the layer: stomach and liver go further
ENHANCED_HU = 90.0
NO_FAT_HU = -18.0  # mean of a small patch; half fat, half muscle stands at about -25
LEAST_ML = 25.0
FAT_HU, FAT_MM = (-150.0, -40.0), 6.0  # fat on the heart

Bools = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Surroundings:
    """The heart and what lies round it, in a box of the working grid."""

    box: tuple[slice, slice, slice]
    grid: Grid  # the whole working grid
    heart: Bools
    hu: Floats
    space: Bools  # soft tissue between the lungs, outside of the heart and the pleural space
    blood_hu: float

    @property
    def surface(self) -> Bools:
        return np.asarray(self.heart & ~ndimage.binary_erosion(self.heart, np.ones((1, 3, 3), dtype=bool)))


def surroundings(case: Case, found: Heart) -> Surroundings:
    """The heart with 40 mm round it."""
    grid, whole = case.working.grid, found.mask.voxels.T
    inner = ndimage.find_objects(whole.astype(np.uint8))[0]
    reach = (0, *(int((RIM_MM + 10.0) / step) for step in grid.spacing_mm[1::-1]))
    z, y, x = (slice(max(0, part.start - by), part.stop + by) for part, by in zip(inner, reach, strict=True))
    box, heart = (z, y, x), whole[z, y, x]
    cavity = thoracic_cavity(case)
    pleural = (cavity.right.voxels | cavity.left.voxels).T[box]
    hu = case.working.hu.T[box].astype(np.float32)
    values = hu[ndimage.binary_erosion(heart, np.ones((1, 5, 5), dtype=bool), iterations=2)]
    blood = float(np.median(values)) if values.size > 200 else float(np.median(hu[heart]))
    return Surroundings(box, grid, heart, hu, mediastinum(case)[box] & ~pleural & ~heart, blood)


def fat_share(around: Surroundings) -> float:
    """Share of the heart's surface with fat on it: what makes a layer of fluid visible without contrast."""
    fat = (around.hu > FAT_HU[0]) & (around.hu < FAT_HU[1])
    return float((distance_mm(fat, around.grid)[around.surface] <= FAT_MM).mean()) if fat.any() else 0.0


def layer_between_fat(case: Case, around: Surroundings) -> tuple[Mask | None, float | None]:
    """Fluid that wraps the heart outside of its fat, and its largest thickness in mm; (None, None) without any."""
    x, y, z = around.grid.spacing_mm
    smooth = ndimage.gaussian_filter(around.hu, [2.5 / z, 0.6 / y, 0.6 / x])  # along the heart rather than across
    low, high = LAYER_HU
    out = distance_mm(around.heart, around.grid)
    fluid = around.space & (out < RIM_MM + 10.0) & (smooth > low) & (smooth < min(high, around.blood_hu - 12.0))
    core = depth_mm(fluid, around.grid) > THIN_MM / 2
    if not core.any():
        return None, None
    layer = fluid & (distance_mm(core, around.grid) <= THIN_MM / 2 + 1.0)
    labels, count = cc3d.connected_components(layer, connectivity=26, return_N=True)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    piece = labels == int(np.argmax(sizes))
    wrapped = float((distance_mm(piece, around.grid)[around.surface] <= WRAP_MM).mean())
    if wrapped < WRAP_SHARE or float((out[piece] <= NEAR_MM).mean()) < NEAR_SHARE:
        return None, None
    # Its edges, half fluid and half fat, belong to it.
    whole = (
        around.space & (around.hu > -60.0) & (around.hu < high + 20.0) & (distance_mm(piece, around.grid) <= max(y, x))
    )
    thickness = 2.0 * float(np.percentile(depth_mm(whole, around.grid)[whole], 98))
    return _mask(case, around, whole), thickness


def layer_within(
    case: Case, around: Surroundings, *, least_mm: float = LEAST_MM, least_ml: float = LEAST_ML
) -> tuple[Mask | None, float | None]:
    """The layer within the outline of the heart and its largest thickness in mm; (None, None) when there is none."""
    heart, spacing = around.heart, around.grid.spacing_mm[::-1]
    depth = depth_mm(heart, around.grid)
    smooth = ndimage.gaussian_filter(around.hu, [2.0 / step for step in spacing])
    core = smooth[heart & (depth > 20.0)]
    if core.size < 200:
        return None, None
    blood = float(np.median(core))
    low, high = FLUID_HU
    # Fat mixed with muscle has the mean of fluid, but fat stands near: a lake of fluid has none within a voxel.
    light = ndimage.gaussian_filter(around.hu, [1.2 / step for step in spacing])
    reach = 5 if blood < ENHANCED_HU else 3  # enhanced muscle mixed with fat is thin, and far from fluid otherwise
    fatless = ndimage.minimum_filter(light, (1, reach, reach)) > NO_FAT_HU
    fluid = heart & fatless & (smooth > low) & (smooth < min(high, blood - BELOW_HEART_HU)) & (depth < RIM_MM)
    # A layer of fluid is thick and flat in density; the rim between fat and muscle is thin.
    layer = opened_by(fluid, case.working.grid, least_mm / 2)
    if np.count_nonzero(layer) * case.working.grid.voxel_ml < least_ml:
        return None, None
    thickness = 2.0 * float(np.percentile(depth_mm(layer, around.grid)[layer], 98))
    return (None, None) if thickness < least_mm else (_mask(case, around, layer), thickness)


def _mask(case: Case, around: Surroundings, layer: Bools) -> Mask:
    out = np.zeros(case.working.hu.T.shape, dtype=bool)
    out[around.box] = layer
    return Mask("pericardial_effusion", np.asarray(out.T), case.working.grid)
