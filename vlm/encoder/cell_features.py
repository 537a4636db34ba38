"""What each cell of a scene looks like and where it lies: a fixed list of numbers a cell, for ``vlm.encoder.cells``.

In: a Scene on its grid of 3 mm. Out: ``features(scene)``, a byte a number for every cell within the body: densities at
several widths, edges, sheets, lines and balls (eigenvalues of the Hessian, Frangi et al., MICCAI 1998), what surrounds
the cell, and how far it lies from the structures that anatomy found. Nothing here is evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.encoder.scene import Bools, Floats, Scene, away, deep

LOW_HU, HIGH_HU = -1000.0, 1600.0
WIDTHS = (1.0, 2.0, 4.0)  # standard deviations of blurs, voxels
FORMS = (1.0, 1.8)  # of the second derivatives
TISSUES_HU = {"gas": (-1100, -850), "lung": (-850, -500), "fat": (-140, -40), "water": (-10, 25), "soft": (25, 90),
              "bright": (150, 4000)}  # fmt: skip
PLACES = ("body", "within", "lungs", "heart", "liver", "spleen", "kidney_right", "kidney_left", "aorta", "vertebrae",
          "skeleton", "airways", "stomach")  # fmt: skip
FAR_MM = 120.0
STEP, MIDDLE = 31.0, 128.0  # bytes a unit, and the byte of 0: values beyond 4 are cut
BESIDE = ((1.0, 2), (2.0, 5))  # blur and distance, voxels, of what lies on each of the six sides
_HALF = 0.5
NAMES: tuple[str, ...] = (
    "hu", "top", "bottom", *(f"blur_{w:g}" for w in WIDTHS), "over_1", "over_2", "over_4", "spread_1", "spread_2",
    "edge_1", "edge_2", "peak_1", "peak_2", "pit_1", "pit_2",
    *(f"bend_{w:g}_{n}" for w in FORMS for n in range(3)),
    *(f"beside_{reach}_{axis}{way}" for _, reach in BESIDE for axis in "zyx" for way in "-+"),
    *(f"{name}_{w:g}" for name in TISSUES_HU for w in WIDTHS[1:]),
    *(f"to_{name}" for name in PLACES), "x", "y", "z",
)  # fmt: skip
Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Cells:
    """The cells within the body, in the order of ``inside``, and a byte a number of each."""

    inside: Bools  # (Z, Y, X)
    values: Bytes  # (N, len(NAMES))


def features(seen: Scene) -> Cells:
    """Every cell of the body."""
    inside = seen.parts["body"]
    values = np.empty((np.count_nonzero(inside), len(NAMES)), dtype=np.uint8)
    for column, told in enumerate(_every(seen, inside)):
        values[:, column] = np.clip(told * STEP + MIDDLE, 0, 255)
    return Cells(inside=inside, values=values)


def _every(seen: Scene, inside: Bools) -> Iterator[Floats]:
    """The numbers of NAMES, one after the other, of the cells inside; about -4 to 4."""
    hu = np.clip(seen.hu, LOW_HU, HIGH_HU)
    for each in (hu, seen.top, seen.bottom):
        yield _density(each[inside])
    blurs = {width: ndimage.gaussian_filter(hu, width) for width in WIDTHS}
    for blur in blurs.values():
        yield _density(blur[inside])
    before = hu
    for blur in blurs.values():
        yield _gentle((before - blur)[inside], 20.0)
        before = blur
    for width in WIDTHS[:2]:
        square = ndimage.gaussian_filter(hu * hu, width)
        yield _gentle(np.sqrt(np.maximum(square - blurs[width] ** 2, 0.0))[inside], 20.0) - 2.0
    for width in WIDTHS[:2]:
        yield _gentle(ndimage.gaussian_gradient_magnitude(hu, width)[inside], 5.0) - 2.0
    yield from _peaks(seen, inside)
    for width in FORMS:
        yield from _bends(hu, width, inside)
    for width, reach in BESIDE:
        for axis in range(3):
            for way in (-reach, reach):
                at = np.clip(np.arange(hu.shape[axis]) + way, 0, hu.shape[axis] - 1)
                yield _density(np.take(blurs[width], at, axis)[inside])
    for low, high in TISSUES_HU.values():
        tissue = ((hu >= low) & (hu < high)).astype(np.float32)
        for width in WIDTHS[1:]:
            yield (ndimage.gaussian_filter(tissue, width)[inside] - _HALF) * 7.0
    yield from _places(seen, inside)


def _peaks(seen: Scene, inside: Bools) -> Iterator[Floats]:
    """How far the brightest voxel stands above, and the darkest below, what is about it: top hats of two sizes."""
    for reach in (3, 5):
        yield _gentle((seen.top - ndimage.grey_opening(seen.hu, reach))[inside], 30.0) - 1.0
    for reach in (3, 5):
        yield _gentle((ndimage.grey_closing(seen.hu, reach) - seen.bottom)[inside], 30.0) - 1.0


def _bends(hu: Floats, width: float, inside: Bools) -> Iterator[Floats]:
    """The three eigenvalues of the Hessian, from the least."""
    bends = np.empty((np.count_nonzero(inside), 3, 3), dtype=np.float32)
    for a in range(3):
        for b in range(a, 3):
            order = [0, 0, 0]
            order[a] += 1
            order[b] += 1
            told = ndimage.gaussian_filter(hu, width, order=order)[inside]
            bends[:, a, b] = bends[:, b, a] = told
    for told in np.linalg.eigvalsh(bends).T:
        yield _gentle(told, 6.0)


def _places(seen: Scene, inside: Bools) -> Iterator[Floats]:
    """Distance to each structure, negative within it; then where the cell lies in its slice, and in the body."""
    joined = {
        "lungs": seen.union("lung_left", "lung_right"), "heart": seen.union("heart", "heart_region"),
    }  # fmt: skip
    for name in PLACES:
        part = joined.get(name, seen.parts.get(name))
        if part is None or not part.any():
            yield np.full(np.count_nonzero(inside), 4.0, dtype=np.float32)
            continue
        apart = np.minimum(away(part), FAR_MM)[inside] - deep(part)[inside]
        yield _gentle(apart, 8.0)
    z, y, x = (where.astype(np.float32) for where in np.nonzero(inside))
    for where, axis in ((x, 2), (y, 1)):
        along = np.arange(inside.shape[axis], dtype=np.float32).reshape([-1 if n == axis else 1 for n in range(3)])
        count = np.maximum(inside.sum(axis=(1, 2)), 1)
        middle = (along * inside).sum(axis=(1, 2)) / count
        spread = np.sqrt(np.maximum((along**2 * inside).sum(axis=(1, 2)) / count - middle**2, 1.0))
        rows = z.astype(np.intp)
        yield (where - middle[rows]) / spread[rows] * 1.6
    dome = seen.dome_mm
    heights = seen.heights_mm[:, 0, 0].astype(np.float32)
    yield np.zeros_like(z) if dome is None else (heights[z.astype(np.intp)] - dome) / 80.0


def _density(hu: Floats) -> Floats:
    """Fine about soft tissue, coarse in air and bone."""
    return np.asarray(np.arcsinh((hu - 40.0) / 90.0), dtype=np.float32)


def _gentle(values: Floats, unit: float) -> Floats:
    """As they are below a unit, then as their logarithm."""
    return np.asarray(np.arcsinh(values / unit), dtype=np.float32)
