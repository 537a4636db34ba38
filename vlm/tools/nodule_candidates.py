"""Compact lumps of tissue in a space: what a nodule may be, and a vessel is not.

In: a mask of tissue on some grid. Out: lumps, each the opening of the tissue by a ball of just
over half its own inscribed radius. At that opening a nodule stays a compact piece while its
vessels fall off, and a vessel stays a long one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import edt
import numpy as np
from numpy.typing import NDArray

STEP = 1.22  # ratio of one opening radius to the next
OPENING = (0.52, 0.66)  # opening radius as a share of the inscribed radius
TIGHT = 0.78  # share up to which a lump is looked for that lies against a wider vessel
TIGHT_MM = (2.6, 8.0)  # its inscribed radius: the thickest place of a smaller vessel looks the same
TIGHT_ELONGATION = 1.5  # and its elongation
WAY_MM = (1.0, 3.2)  # from a lump: what goes on so far belongs to it and is measured here
ELONGATION = 2.1  # longest extent over inscribed diameter; a cylinder three times as long as wide has 3
DOME_WALL, DOME_ROUND = 0.08, 1.5  # a dome: share of its shell beyond the space, longest over middle extent
DOME_ELONGATION = 2.5  # what is sunk into the wall is flat, so its inscribed ball is small
SHELL_MM = 1.8  # what lies this close around a lump says what it is attached to

Slices = tuple[slice, slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lump:
    """One compact piece. Arrays are (Z, Y, X) in ``box`` of the grid that was searched."""

    radius_mm: float  # of the largest ball inside
    opening_mm: float
    extents_mm: tuple[float, float, float]  # of an ellipsoid with the same moments, short to long
    centre: tuple[float, float, float]  # voxel index (z, y, x) of the core's centroid
    box: Slices
    voxels: NDArray[np.bool_]
    air: float  # share of its shell that is air of the lung
    wall: float  # share that lies outside the searched space
    tissue: float  # share that is more tissue of the space: vessels, or the rest of something long

    @property
    def elongation(self) -> float:
        """Longest extent over the inscribed diameter."""
        return self.extents_mm[2] / (2 * self.radius_mm)

    @property
    def domed(self) -> bool:
        """True where it stands on the wall and is about as wide as long: no vessel along the wall."""
        return self.wall >= DOME_WALL and self.extents_mm[2] < DOME_ROUND * self.extents_mm[1]

    @property
    def tight(self) -> bool:
        """True where only an opening larger than the usual share parts it from a vessel."""
        return self.opening_mm > OPENING[1] * self.radius_mm


def lumps(
    tissue: NDArray[np.bool_],
    space: NDArray[np.bool_],
    air: NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    *,
    least_mm: float,
    most_mm: float = 60.0,
    elongation: float = ELONGATION,
    dome_elongation: float = ELONGATION,
) -> list[Lump]:
    """Compact pieces of ``tissue`` whose inscribed radius lies between ``least_mm`` and ``most_mm``.

    Args:
        tissue: (Z, Y, X) bool, the tissue of the space.
        space: (Z, Y, X) bool, where to look; tissue beyond it is the wall.
        air: (Z, Y, X) bool, aerated voxels, anywhere.
        spacing_mm: of the axes (z, y, x).
        least_mm: smallest inscribed radius, mm.
        most_mm: largest inscribed radius, mm.
        elongation: longest extent over inscribed diameter that still counts as compact.
        dome_elongation: the same of a dome on the wall.

    Returns:
        Lumps, largest first; those that share a core are one. A lump against a vessel wider than OPENING
        cuts off is found up to the opening TIGHT, when it is rounder than TIGHT_ELONGATION.
    """
    depth: NDArray[np.float32] = edt.edt(
        np.ascontiguousarray(tissue), anisotropy=spacing_mm, black_border=False, parallel=2
    )
    found: list[Lump] = []
    opening = least_mm * OPENING[0]
    core = depth > opening
    flat = np.flatnonzero(core)  # the voxels of the core; few, and fewer from level to level
    limits = (least_mm, most_mm, elongation, max(elongation, dome_elongation))
    while opening < max(most_mm * OPENING[1], min(most_mm, TIGHT_MM[1]) * TIGHT):
        deep = depth.ravel()[flat] > opening
        np.put(core, flat[~deep], False)
        flat = flat[deep]
        if flat.size == 0:
            break
        around = (tissue, space, air)
        found.extend(_of_level(core, flat, depth, around, spacing_mm, opening, limits))
        opening *= STEP
    return _distinct(found)


def _of_level(
    core: NDArray[np.bool_],
    flat: NDArray[np.intp],
    depth: NDArray[np.float32],
    around: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]],
    spacing_mm: tuple[float, float, float],
    opening: float,
    limits: tuple[float, float, float, float],
) -> list[Lump]:
    """The lumps whose inscribed radius fits this opening; ``flat`` are the places of ``core``, in one row."""
    step = np.asarray(spacing_mm)
    labels: NDArray[np.uint32] = cc3d.connected_components(core, connectivity=26)
    names = labels.ravel()[flat]
    count = int(names.max()) + 1
    radius = np.zeros(count, dtype=np.float32)
    np.maximum.at(radius, names, depth.ravel()[flat])
    share = opening / np.maximum(radius, 1e-6)
    tight = (share > OPENING[1]) & (share <= TIGHT) & (radius >= TIGHT_MM[0]) & (radius <= TIGHT_MM[1])
    fit = (share >= OPENING[0]) & ((share <= OPENING[1]) | tight) & (radius >= limits[0]) & (radius <= limits[1])
    fit[0] = False
    if not fit.any():
        return []
    points = np.stack(np.unravel_index(flat, labels.shape), axis=1) * step  # (N, 3) mm
    size = np.maximum(np.bincount(names, minlength=count), 1)
    centre = np.stack([np.bincount(names, points[:, n], count) for n in range(3)], axis=1) / size[:, None]
    away = points - centre[names]
    spread = np.zeros((count, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            spread[:, a, b] = spread[:, b, a] = np.bincount(names, away[:, a] * away[:, b], count) / size
    extents = 2 * np.sqrt(5 * np.maximum(np.linalg.eigvalsh(spread), 0)) + 2 * opening  # (count, 3)
    fit &= extents[:, 2] <= np.where(tight, min(TIGHT_ELONGATION, limits[2]), limits[3]) * 2 * radius
    fit &= (extents[:, 2] <= limits[2] * 2 * radius) | (extents[:, 2] < DOME_ROUND * extents[:, 1])
    if not fit.any():
        return []
    boxes = cc3d.statistics(labels)["bounding_boxes"]
    tissue, space, air = around
    pad = np.ceil((opening + SHELL_MM) / step).astype(int) + 1
    out = []
    for name in np.flatnonzero(fit):
        box = tuple(slice(max(0, s.start - p), s.stop + p) for s, p in zip(boxes[name], pad, strict=True))
        out.append(
            _lump(
                labels[box] == name,
                (tissue[box], space[box], air[box]),
                spacing_mm,
                radius_mm=float(radius[name]),
                opening_mm=opening,
                extents_mm=(float(extents[name, 0]), float(extents[name, 1]), float(extents[name, 2])),
                centre=(
                    float(centre[name, 0] / step[0]),
                    float(centre[name, 1] / step[1]),
                    float(centre[name, 2] / step[2]),
                ),
                box=(box[0], box[1], box[2]),
            )
        )
    return [lump for lump in out if lump.elongation <= limits[2] or lump.domed]


def _lump(
    core: NDArray[np.bool_],
    around: tuple[NDArray[np.bool_], NDArray[np.bool_], NDArray[np.bool_]],
    spacing_mm: tuple[float, float, float],
    *,
    radius_mm: float,
    opening_mm: float,
    extents_mm: tuple[float, float, float],
    centre: tuple[float, float, float],
    box: Slices,
) -> Lump:
    """Grow a core back to its opening, and see what touches it."""
    tissue, space, air = around
    voxels = core | ((edt.edt(~core, anisotropy=spacing_mm) <= opening_mm) & tissue)
    near = edt.edt(~voxels, anisotropy=spacing_mm)
    shell = (near > 0) & (near <= max(SHELL_MM, 1.01 * min(spacing_mm)))
    total = max(1, int(shell.sum()))
    return Lump(
        radius_mm=radius_mm,
        opening_mm=opening_mm,
        extents_mm=extents_mm,
        centre=centre,
        box=box,
        voxels=voxels,
        air=int((shell & air).sum()) / total,
        wall=int((shell & ~space & ~air).sum()) / total,
        tissue=int((shell & tissue).sum()) / total,
    )


def ways_on(lump: Lump, tissue: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> list[float]:
    """Radii of the vessels that go on from a lump, mm, thickest first: circles of the same mean cross-section.

    ``tissue`` is the (Z, Y, X) mask that was searched. An isolated nodule has none, one on a vessel's end
    one, and a place where a vessel bends, forks or passes has two or more, or one as thick as itself.
    """
    near, far = WAY_MM
    pad = [int(np.ceil(far / step)) + 1 for step in spacing_mm]
    box = tuple(slice(max(0, s.start - p), s.stop + p) for s, p in zip(lump.box, pad, strict=True))
    around = tissue[box]
    inside = np.zeros(around.shape, dtype=bool)
    first = [s.start - b.start for s, b in zip(lump.box, box, strict=True)]
    z, y, x = (slice(f, f + n) for f, n in zip(first, lump.voxels.shape, strict=True))
    inside[z, y, x] = lump.voxels
    away = edt.edt(~inside, anisotropy=spacing_mm)
    joined: NDArray[np.uint32] = cc3d.connected_components((around | inside) & (away <= far), connectivity=26)
    own = np.isin(joined, np.unique(joined[inside]))
    pieces: NDArray[np.uint32] = cc3d.connected_components(own & (away > near), connectivity=26)
    size_mm3 = np.bincount(pieces.ravel()) * float(np.prod(spacing_mm))
    reach = np.zeros(size_mm3.size)
    np.maximum.at(reach, pieces.ravel(), away.ravel())
    leaves = (reach > far - near) & (np.arange(reach.size) > 0)
    radii = np.sqrt(size_mm3[leaves] / (np.pi * (far - near)))
    return sorted((float(r) for r in radii), reverse=True)


def _distinct(found: list[Lump]) -> list[Lump]:
    """One lump a place: of two that overlap, the one with the larger ball, then the smaller opening."""
    kept: list[Lump] = []
    for lump in sorted(found, key=lambda f: (-f.radius_mm, f.opening_mm, f.centre)):
        if not any(_overlap(lump, other) for other in kept):
            kept.append(lump)
    return kept


def _overlap(one: Lump, other: Lump) -> bool:
    """True when the centre of one lies in the other's voxels."""
    for inner, outer in ((one, other), (other, one)):
        at = [round(c) - s.start for c, s in zip(inner.centre, outer.box, strict=True)]
        if all(0 <= a < n for a, n in zip(at, outer.voxels.shape, strict=True)) and outer.voxels[at[0], at[1], at[2]]:
            return True
    return False
