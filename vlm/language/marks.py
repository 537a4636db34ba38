"""Voxels and regions of a place in the scan that somebody marks or a mask fills: a point, a box, a structure.

Points are RAS millimetres of the scan; what lies outside it raises LookError("not_covered").
"""

from __future__ import annotations

from typing import Any

import numpy as np

from vlm.ct.volume import Box, Mask, Point, Volume
from vlm.evidence import Evidence, Measurement, Observation, Region
from vlm.language.register import LookError
from vlm.language.scene import OpenCase

POINT_MM = 2.0  # radius of the ball that a point's density is taken from


def density_of(values: np.ndarray[Any, Any]) -> tuple[Measurement, ...]:
    """Mean and spread of some HU."""
    numbers = values.astype(np.float64)
    return (
        Measurement(quantity="attenuation", value=float(numbers.mean())),
        Measurement(quantity="attenuation_sd", value=float(numbers.std())),
    )


def ball(volume: Volume, point: Point) -> np.ndarray[Any, Any]:
    """HU within POINT_MM of a point; the nearest voxel's at least."""
    low, high = (tuple(at + step for at in point) for step in (-POINT_MM, POINT_MM))
    if not _inside(volume, point):
        raise LookError("not_covered", f"{told_mm(point)} lies outside the scan")
    near = slices_of(volume, as_tuple(low), as_tuple(high))
    index = np.stack(np.meshgrid(*(np.arange(s.start, s.stop) for s in near), indexing="ij"), axis=-1)
    away = np.linalg.norm(volume.grid.to_mm(index) - np.asarray(point), axis=-1)
    return np.asarray(volume.hu[near][away <= max(POINT_MM, float(away.min()))])


def block(volume: Volume, low: Point, high: Point) -> np.ndarray[Any, Any]:
    """(x, y, z) HU of a box given by its corners, cut to the scan."""
    values = volume.hu[slices_of(volume, low, high)]
    if values.size == 0:
        raise LookError("not_covered", "the box lies outside the scan")
    return np.asarray(values)


def _inside(volume: Volume, point: Point) -> bool:
    index = volume.grid.to_ijk(point)
    return all(-0.5 <= at <= n - 0.5 for at, n in zip(index, volume.grid.shape, strict=True))


def slices_of(volume: Volume, low: Point, high: Point) -> tuple[slice, slice, slice]:
    """Index slices of a box in RAS mm, cut to the scan."""
    corners = volume.grid.to_ijk(np.array([low, high]))
    first = np.maximum(np.rint(corners.min(axis=0)).astype(int), 0)
    last = np.minimum(np.rint(corners.max(axis=0)).astype(int), np.array(volume.grid.shape) - 1)
    x, y, z = (slice(int(a), int(b) + 1) for a, b in zip(first, last, strict=True))
    return x, y, z


def region_of(case: OpenCase, mask: Mask) -> Region:
    """Where a mask lies; slices are the volume's where there is one."""
    slices = mask.slices
    if case.volume is not None:
        grid = case.volume().grid
        ends = [round(float(grid.to_ijk(mask.grid.to_mm((0, 0, k)))[2])) for k in slices]
        slices = max(0, min(ends)), min(grid.shape[2] - 1, max(ends))
    return Region(centroid_mm=mask.centre_mm, box_mm=mask.box, slices=slices, mask=mask.name)


def region_of_box(volume: Volume, low: Point, high: Point, centre: Point) -> Region:
    """A marked box as a region."""
    along = slices_of(volume, low, high)[2]
    return Region(centroid_mm=centre, box_mm=Box(low_mm=low, high_mm=high), slices=(along.start, along.stop - 1))


def reaches(record: Evidence, box: Box) -> bool:
    """Whether what was seen lies at least in part in a box."""
    if not isinstance(record, Observation) or record.presence == "absent" or record.region is None:
        return False
    other = record.region.box_mm
    return all(
        a <= d and c <= b for a, b, c, d in zip(box.low_mm, box.high_mm, other.low_mm, other.high_mm, strict=True)
    )


def told_mm(point: Point) -> str:
    """ "(1.0, 2.0, 3.0)"."""
    return "(" + ", ".join(f"{at:.1f}" for at in point) + ")"


def as_tuple(values: Any) -> Point:
    """Three numbers as a point."""
    x, y, z = (float(value) for value in values)
    return x, y, z
