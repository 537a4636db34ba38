"""What a body is painted on: Hounsfield units, one label and one tissue a voxel.

A later structure takes voxels from an earlier one, so structures touch without gaps and never
overlap; a voxel on a border takes a share of each value. Large shapes are evaluated on a lattice
of 2.5 mm and interpolated, since distances are smooth; tubes are drawn on the voxels themselves.
Arrays in here are (Z, Y, X).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Grid
from vlm.phantom.body.frame import Frame
from vlm.phantom.body.labels import NUMBER
from vlm.phantom.body.shapes import Floats, Triple
from vlm.phantom.body.tissues import Tissues
from vlm.phantom.trees import Branch

LATTICE_MM = 2.5
FAR_MM = 60.0
Box = tuple[tuple[float, float], tuple[float, float], tuple[float, float]]  # (low, high) along x, y, z
Window = tuple[slice, slice, slice]  # of a (Z, Y, X) lattice
Lines = tuple[Floats, Floats, Floats]  # x, y, z
Brush = tuple[int, int, float, NDArray[np.bool_] | None]  # label, tissue, HU, labels it may paint on


@dataclass(frozen=True)
class Place:
    """A part of the lattice: reference coordinates, and the fields kept before."""

    x: Floats
    y: Floats
    z: Floats
    window: tuple[slice, ...]
    fields: dict[str, Floats]

    def __getitem__(self, name: str) -> Floats:
        return self.fields[name][self.window]


Shape = Callable[[Place], Floats]


@dataclass(frozen=True)
class Field:
    """Distances of one shape on a window of the lattice."""

    window: Window
    mm: Floats

    def __add__(self, mm: float) -> Field:
        return Field(self.window, self.mm + mm)


class Scene:
    """The canvas of one body."""

    def __init__(self, grid: Grid, frame: Frame, tissues: Tissues, seed: int) -> None:
        self.grid, self.frame, self.tissues, self.seed = grid, frame, tissues, seed
        origin, step = grid.affine[:3, 3], grid.spacing_mm
        self.lines: Lines = tuple((origin[a] + step[a] * np.arange(grid.shape[a])).astype(np.float32) for a in range(3))
        self.fine = min(step[0], step[1]) < 0.7 * LATTICE_MM
        self.lattice: Lines = (
            self.lines
            if not self.fine
            else tuple(  # type: ignore[assignment]
                np.arange(line[0] - LATTICE_MM, line[-1] + 2 * LATTICE_MM, LATTICE_MM, dtype=np.float32)
                for line in self.lines
            )
        )
        self.edge_mm = float(np.cbrt(np.prod(step)))
        shape = grid.shape[::-1]
        self.hu = np.full(shape, -1000.0, dtype=np.float32)
        self.labels = np.zeros(shape, dtype=np.uint8)
        self.tissue = np.zeros(shape, dtype=np.uint8)
        self.at = frame.reference(*self.lattice)
        self.fields: dict[str, Floats] = {}

    def rng(self, name: str) -> np.random.Generator:
        """Random numbers of one structure, whatever else is drawn."""
        return np.random.default_rng([self.seed, crc32(name.encode())])

    def window(self, box: Box | None, margin_mm: float = 4.0) -> Window:
        """The part of the lattice that holds a reference box."""
        if box is None:
            return tuple(slice(0, len(line)) for line in self.lattice[::-1])  # type: ignore[return-value]
        corners = np.array(np.meshgrid(*box)).reshape(3, -1).T
        middle = corners.mean(axis=0)
        corners = np.concatenate(
            [corners, middle + (corners - middle) * [[1, 0, 0]], middle + (corners - middle) * [[0, 0, 1]]]
        )
        world = self.frame.world(corners)
        return self.within(world.min(axis=0) - margin_mm, world.max(axis=0) + margin_mm, self.lattice)

    @staticmethod
    def within(low: Sequence[float] | Floats, high: Sequence[float] | Floats, lines: Lines) -> Window:
        """The part of evenly spaced lines between two corners, one step wider."""
        parts = []
        for axis in (2, 1, 0):
            line = lines[axis]
            count = len(line)
            start, step = float(line[0]), float(line[1] - line[0]) if count > 1 else 1.0
            first = min(max(0, int(np.ceil((float(low[axis]) - start) / step)) - 1), count)
            last = int(np.ceil((float(high[axis]) - start) / step)) + 1
            parts.append(slice(first, max(first, min(count, last))))
        return parts[0], parts[1], parts[2]

    def place(self, window: Window) -> Place:
        """Reference coordinates of a window."""
        x, y, z = (axis[window] for axis in self.at)
        return Place(x, y, z, window, self.fields)

    def keep(self, name: str, shape: Shape) -> None:
        """Keep a smooth field for the whole lattice,
        so that other shapes may refer to it; every second point is asked."""
        every_second = slice(None, None, 2)
        out = np.asarray(shape(self.place((every_second, every_second, every_second))), dtype=np.float32)
        self.fields[name] = _filled(out, self.at[0].shape)

    def on_voxels(self, name: str) -> Floats:
        """A kept field on every voxel."""
        values = self.fields[name]
        if not self.fine:
            return values
        for axis in range(3):
            index, t = _between(self.lattice[2 - axis], self.lines[2 - axis])
            t = t.reshape([-1 if a == axis else 1 for a in range(3)])
            values = np.take(values, index, axis) * (1 - t) + np.take(values, index + 1, axis) * t
        return np.asarray(values, dtype=np.float32)

    def field(self, shape: Shape, box: Box | None = None, allowed: NDArray[np.bool_] | None = None) -> Field:
        """Distances of a shape inside a reference box; the box must hold the shape.

        Only voxels whose label is ``allowed`` need be asked, where the lattice is the voxels.
        """
        window = self.window(box)
        if any(part.stop - part.start < 2 for part in window):
            return Field(window, np.zeros((0, 0, 0), dtype=np.float32))
        if allowed is not None and not self.fine:
            asked = allowed[self.labels[window]]
            out = np.full(asked.shape, FAR_MM, dtype=np.float32)
            at = [axis[window][asked] for axis in self.at]
            fields = {name: values[window][asked] for name, values in self.fields.items()}
            out[asked] = shape(Place(at[0], at[1], at[2], (slice(None),), fields))
            return Field(window, out)
        return Field(window, np.asarray(shape(self.place(window)), dtype=np.float32))

    def paint(
        self,
        shape: Shape | Field,
        label: str | None,
        tissue: str,
        *,
        box: Box | None = None,
        on: Sequence[str] = (),
        off: Sequence[str] = (),
    ) -> Field:
        """Paint a shape; ``on`` names the labels that it may take voxels from, ``off`` those that it must leave.

        Returns its distances.
        """
        brush = self._brush(label, tissue, on, off)
        field = shape if isinstance(shape, Field) else self.field(shape, box, brush[3])
        if not field.mm.size:
            return field
        if not self.fine:
            self._block(field, brush)
            return field
        self._paint_fine(field, brush)
        return field

    def _brush(self, label: str | None, tissue: str, on: Sequence[str], off: Sequence[str] = ()) -> Brush:
        allowed = None
        if on or off:
            allowed = np.full(256, not on)
            allowed[[NUMBER[name] for name in on]] = True
            allowed[[NUMBER[name] for name in off]] = False
        return NUMBER[label] if label else 0, self.tissues.index(tissue), self.tissues.hu(tissue), allowed

    def _block(self, field: Field, brush: Brush, share: float = 1.0) -> None:
        """Paint distances that are known on the voxels, all at once, cut to where they are near."""
        near = field.mm < 0.5 * self.edge_mm
        part, at = [], []
        for axis, window in enumerate(field.window):
            others = tuple(other for other in range(3) if other != axis)
            found = np.flatnonzero(near.any(axis=others))
            if not len(found):
                return
            part.append(slice(int(found[0]), int(found[-1]) + 1))
            at.append(slice(window.start + int(found[0]), window.start + int(found[-1]) + 1))
        cover = np.clip(np.float32(0.5) - field.mm[part[0], part[1], part[2]] * np.float32(1 / self.edge_mm), 0, 1)
        self._blend(at[0], at[1], at[2], cover * np.float32(share) if share < 1 else cover, brush)

    def _slice(self, k: int, rows: slice, columns: slice, mm: Floats, brush: Brush) -> None:
        near = mm < 0.5 * self.edge_mm
        inside_rows = np.flatnonzero(near.any(axis=1))
        if not len(inside_rows):
            return
        inside_columns = np.flatnonzero(near.any(axis=0))
        r = slice(int(inside_rows[0]), int(inside_rows[-1]) + 1)
        c = slice(int(inside_columns[0]), int(inside_columns[-1]) + 1)
        rows = slice(rows.start + r.start, rows.start + r.stop)
        columns = slice(columns.start + c.start, columns.start + c.stop)
        self._blend(k, rows, columns, np.clip(0.5 - mm[r, c] / np.float32(self.edge_mm), 0, 1), brush)

    def _blend(self, k: int | slice, rows: slice, columns: slice, cover: Floats, brush: Brush) -> None:
        label, tissue, hu, allowed = brush
        labels = self.labels[k, rows, columns]
        if allowed is not None:
            cover = cover * allowed[labels]
        part = self.hu[k, rows, columns]
        part += cover * (np.float32(hu) - part)
        most = cover > 0.5
        if label:
            labels[most] = label
        self.tissue[k, rows, columns][most] = tissue

    def _paint_fine(self, field: Field, brush: Brush) -> None:
        lattice = [line[part] for line, part in zip(self.lattice, field.window[::-1], strict=True)]
        low, high = (np.array([line[i] for line in lattice]) for i in (0, -1))
        rows_columns = self.within(low, high, self.lines)
        x, y, z = (self.lines[a][rows_columns[2 - a]] for a in range(3))
        if not (len(x) and len(y) and len(z)):
            return
        iz, tz = _between(lattice[2], z)
        for k in range(len(z)):
            plane = field.mm[iz[k]] * (1 - tz[k]) + field.mm[iz[k] + 1] * tz[k]
            near = plane < 0.5 * self.edge_mm
            if not near.any():
                continue
            r, c = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
            r0, r1, c0, c1 = max(r[0] - 1, 0), r[-1] + 1, max(c[0] - 1, 0), c[-1] + 1
            y_in = slice(
                int(np.searchsorted(y, lattice[1][r0])),
                int(np.searchsorted(y, lattice[1][min(r1, len(lattice[1]) - 1)], "right")),
            )
            x_in = slice(
                int(np.searchsorted(x, lattice[0][c0])),
                int(np.searchsorted(x, lattice[0][min(c1, len(lattice[0]) - 1)], "right")),
            )
            if y_in.stop <= y_in.start or x_in.stop <= x_in.start:
                continue
            iy, ty = _between(lattice[1], y[y_in])
            ix, tx = _between(lattice[0], x[x_in])
            rows = plane[iy] * (1 - ty[:, None]) + plane[iy + 1] * ty[:, None]
            mm = rows[:, ix] * (1 - tx) + rows[:, ix + 1] * tx
            yy = slice(rows_columns[1].start + y_in.start, rows_columns[1].start + y_in.stop)
            xx = slice(rows_columns[2].start + x_in.start, rows_columns[2].start + x_in.stop)
            self._blend(rows_columns[0].start + k, yy, xx, np.clip(0.5 - mm / np.float32(self.edge_mm), 0, 1), brush)

    def tube(self, points: Floats, *, flat: float = 1.0, reach_mm: float = 8.0, fine: bool = False) -> Field:
        """Distances to a tube through (N, 4) reference points and radii, mm; known up to ``reach_mm`` outside.

        ``flat`` below 1 squeezes it along the horizontal, as a rib. ``fine`` gives them on the voxels.
        """
        line = np.asarray(points, dtype=np.float64)
        world = np.column_stack([self.frame.world(line[:, :3]), line[:, 3]])
        lines = self.lines if fine else self.lattice
        far = float(line[:, 3].max()) + reach_mm
        window = self.within(world[:, :3].min(axis=0) - far, world[:, :3].max(axis=0) + far, lines)
        shape = tuple(part.stop - part.start for part in window)
        out = np.full(shape, FAR_MM, dtype=np.float32)
        if min(shape) < 2:
            return Field(window, out[:0])
        for a, b in itertools.pairwise(world):
            reach = max(a[3], b[3]) + reach_mm
            part = self.within(np.minimum(a, b)[:3] - reach, np.maximum(a, b)[:3] + reach, lines)
            if any(p.stop <= p.start for p in part):
                continue
            x, y, z = lines[0][None, None, part[2]], lines[1][None, part[1], None], lines[2][part[0], None, None]
            inner = tuple(slice(p.start - w.start, p.stop - w.start) for p, w in zip(part, window, strict=True))
            np.minimum(out[inner], _segment(x, y, z, a, b, flat), out=out[inner])
        return Field(window, out)

    def solid(
        self,
        centre: Triple,
        half_mm: Triple,
        shape: Callable[[Floats, Floats, Floats], Floats],
        *,
        tilt_degrees: float = 0.0,
    ) -> Field:
        """Distances on the voxels of a shape that the frame moves but does not bend: a bone.

        ``shape`` takes mm to the right, front and head of ``centre`` (reference), turned about x by ``tilt_degrees``.
        """
        at = self.frame.world(np.array([centre]))[0].astype(np.float32)
        window = self.within(at - half_mm, at + half_mm, self.lines)
        if any(part.stop - part.start < 1 for part in window):
            return Field(window, np.zeros((0, 0, 0), dtype=np.float32))
        x, y, z = (line[window[2 - a]] - at[a] for a, line in enumerate(self.lines))
        c, s = np.float32(np.cos(np.deg2rad(tilt_degrees))), np.float32(np.sin(np.deg2rad(tilt_degrees)))
        sx, sy, sz = (np.float32(v) for v in self.frame.scale)
        v, w = y[None, :, None] * c + z[:, None, None] * s, z[:, None, None] * c - y[None, :, None] * s
        return Field(window, np.asarray(shape(x[None, None, :] / sx, v / sy, w / sz), dtype=np.float32))

    def paint_tube(
        self,
        points: Floats,
        label: str | None,
        tissue: str,
        *,
        grow_mm: float = 0.0,
        flat: float = 1.0,
        on: Sequence[str] = (),
    ) -> None:
        """Draw a tube through (N, 4) reference points and radii on the voxels; thin ones take their share."""
        line = np.array(points, dtype=np.float64)
        line[:, 3] += grow_mm
        field = self.tube(line, flat=flat, reach_mm=self.edge_mm, fine=True)
        self.paint_voxels(
            field, label, tissue, on=on, share=min(1.0, (2 * float(line[:, 3].mean()) / self.edge_mm) ** 2)
        )

    def paint_branches(self, branches: Sequence[Branch], label: str, tissue: str, *, on: Sequence[str] = ()) -> None:
        """Draw straight pieces of even width."""
        rows = [(*piece.start, piece.radius_mm, *piece.end, piece.radius_mm) for piece in branches]
        self.paint_pieces(np.array(rows, dtype=np.float64), label, tissue, on=on)

    def paint_pieces(self, pieces: Floats, label: str, tissue: str, *, on: Sequence[str] = ()) -> None:
        """Draw the pieces of a tree, (N, 8) rows of start, radius, end, radius in reference mm.

        Those thinner than half a voxel are left out: they would hardly be seen.
        """
        seen = pieces[2 * pieces[:, [3, 7]].max(axis=1) > 0.5 * self.edge_mm]
        if not len(seen):
            return
        ends = self.frame.world(np.concatenate([seen[:, :3], seen[:, 4:7]]))
        starts, stops = ends[: len(seen)], ends[len(seen) :]
        reach = seen[:, [3, 7]].max(axis=1)[:, None] + 0.5 * self.edge_mm
        first, last = [], []
        for axis, line in enumerate(self.lines):
            origin, step = float(line[0]), self.grid.spacing_mm[axis]
            low = (np.minimum(starts[:, axis], stops[:, axis]) - reach[:, 0] - origin) / step
            high = (np.maximum(starts[:, axis], stops[:, axis]) + reach[:, 0] - origin) / step
            first.append(np.clip(np.ceil(low), 0, len(line)).astype(int))
            last.append(np.clip(np.floor(high) + 1, 0, len(line)).astype(int))
        low_high = np.stack([*first, *last], axis=1)
        inside = np.flatnonzero((low_high[:, 3:] > low_high[:, :3]).all(axis=1))
        brush = self._brush(label, tissue, on)
        x, y, z = self.lines[0][None, None, :], self.lines[1][None, :, None], self.lines[2][:, None, None]
        radii = seen[:, [3, 7]]
        share = np.minimum(1.0, (radii.sum(axis=1) / self.edge_mm) ** 2).astype(np.float32)
        a32 = np.column_stack([starts, radii[:, 0]]).astype(np.float32)
        b32 = np.column_stack([stops, radii[:, 1]]).astype(np.float32)
        for n in inside:
            x0, y0, z0, x1, y1, z1 = low_high[n].tolist()
            mm = _segment(x[:, :, x0:x1], y[:, y0:y1], z[z0:z1], a32[n], b32[n], 1.0)
            cover = np.minimum(np.maximum(0.5 - mm * np.float32(1 / self.edge_mm), 0), 1) * share[n]
            self._blend(slice(z0, z1), slice(y0, y1), slice(x0, x1), cover, brush)

    def paint_voxels(
        self, field: Field, label: str | None, tissue: str, *, on: Sequence[str] = (), share: float = 1.0
    ) -> None:
        """Paint distances that are known on the voxels."""
        if not field.mm.size:
            return
        brush = self._brush(label, tissue, on)
        if field.mm.size < 2_000_000:
            self._block(field, brush, share)
            return
        for k in range(len(field.mm)):
            mm = field.mm[k]
            if float(mm.min()) >= 0.5 * self.edge_mm:
                continue
            if share >= 1:
                self._slice(field.window[0].start + k, field.window[1], field.window[2], mm, brush)
            else:
                cover = np.clip(0.5 - mm / np.float32(self.edge_mm), 0, 1) * np.float32(share)
                self._blend(field.window[0].start + k, field.window[1], field.window[2], cover, brush)


def _segment(x: Floats, y: Floats, z: Floats, a: Floats, b: Floats, flat: float) -> Floats:
    """Distance to a piece of tube from ``a`` to ``b`` (x, y, z, radius); cones are taken as tubes that taper."""
    a32, b32 = a.astype(np.float32), b.astype(np.float32)
    u, v, w = x - a32[0], y - a32[1], z - a32[2]
    d = b32[:3] - a32[:3]
    length = max(float(d @ d), 1e-6)
    t = np.minimum(np.maximum((u * d[0] + v * d[1] + w * d[2]) * np.float32(1 / length), 0), 1)
    u, v, w = u - t * d[0], v - t * d[1], w - t * d[2]
    radius = a32[3] + t * (b32[3] - a32[3])
    if flat == 1.0:
        return np.asarray(np.sqrt(u * u + v * v + w * w) - radius)
    across = np.float32(1 / flat)
    return np.asarray((np.sqrt((u * u + v * v) * across * across + w * w) - radius) * np.float32(0.5 + 0.5 * flat))


def smoothly(values: Callable[..., Floats], *at: Floats) -> Floats:
    """A smooth function of coordinates, asked at every second point and interpolated."""
    if min(at[0].shape) < 4:
        return values(*at)
    return _filled(values(*(axis[::2, ::2, ::2] for axis in at)), at[0].shape)


def _filled(values: Floats, shape: tuple[int, ...]) -> Floats:
    for axis, count in enumerate(shape):
        values = _doubled(values, axis, count)
    return values


def _doubled(values: Floats, axis: int, count: int) -> Floats:
    """Every second value along an axis -> all ``count`` of them, by linear interpolation."""
    shape = list(values.shape)
    shape[axis] = count
    out = np.empty(shape, dtype=np.float32)
    moved, source = np.moveaxis(out, axis, 0), np.moveaxis(values, axis, 0)
    moved[::2] = source
    between = (count - 1) // 2
    np.add(source[:between], source[1 : between + 1], out=moved[1 : 2 * between : 2])
    moved[1 : 2 * between : 2] *= np.float32(0.5)
    if count % 2 == 0:
        moved[-1] = source[-1] if count < 4 else 1.5 * source[-1] - 0.5 * source[-2]
    return out


def _between(lattice: Floats, line: Floats) -> tuple[NDArray[np.intp], Floats]:
    place = (line - lattice[0]) / (lattice[1] - lattice[0])
    index = np.clip(place.astype(np.intp), 0, len(lattice) - 2)
    return index, (place - index).astype(np.float32)
