"""The bronchial tree: branches with generation, centreline and lumen, as far as the scan shows them.

In: an open case with a trachea. Out: its branches from the trachea down. Each branch is grown
by itself in a half ball ahead of its tip, with the highest threshold at which it does not
explode into the lung (Kitasaka, MICCAI 2002; Mori, IEEE TMI 2000): where every threshold leaks,
the branch ends there and is counted as refused. Arrays are (Z, Y, X) of the volume, HU.
"""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.airways import Airways, airways
from vlm.anatomy.lungs import LungSide, lungs
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, once

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
Index = NDArray[np.intp]

LIMITS_HU = (-700, -760, -800, -830, -855, -880, -900, -920, -940)  # of the lumen, tried from the first that held
START_HU = -800  # the trachea's lumen lies far below
BLUR_MM = 0.5  # sigma; a third of a small lumen
AHEAD = (5.0, 4.0)  # how far one step looks: radii, plus mm
SHELL_RADII, SHELL_VOXELS = 0.7, 1.3  # thickness of the shells in which a lumen is followed
EXPLODED = 2.5  # a lumen that is this much wider in area than its branch was has left it; a fork reaches 2
WALL_HU = (
    90.0,
    250.0,
)  # above the lung's median: mean within one voxel and within two of a lumen, one of them at least
NARROW_MM = 4.0  # lumen radius below which a wall is asked for; wider airways do not lie in the lung
THICK_MM = 3.0  # in thicker slices forks are not told apart
LEAST_RADIUS_MM = 0.7  # thinner lumina are not told from dark lung
LEAST_LENGTH_MM = 4.0  # a shorter end is a bulge of its parent
FORK_MM = 3.0  # or the radius: forks that are nearer than this are one
MOST_BRANCHES = 600  # of a healthy lung in 1 mm slices a reader sees 200 to 300
ABOVE_CARINA_MM = 15.0  # where the trachea is entered


@dataclass(frozen=True, slots=True, kw_only=True)
class Bronchus:
    """One branch between two forks."""

    number: int
    parent: int | None
    generation: int  # 0 trachea, 1 main bronchi, 2 and 3 lobar and segmental, by forks that were seen
    side: LungSide | None  # None for the trachea
    points_mm: Floats  # (N, 3) RAS, from the fork above down
    radius_mm: float  # of a circle with the lumen's area, median along the branch

    @property
    def length_mm(self) -> float:
        """Length of the centreline."""
        return float(np.linalg.norm(np.diff(self.points_mm, axis=0), axis=1).sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class BronchialTree:
    """All branches that were followed; empty where the scan shows no trachea."""

    branches: tuple[Bronchus, ...]
    refused: int  # ends at which every threshold leaked into the lung
    lumen: Mask | None  # on a crop of the volume's grid

    @property
    def found(self) -> bool:
        """True when at least one main bronchus was followed."""
        return any(branch.generation >= 1 for branch in self.branches)


@once
def bronchial_tree(case: Case) -> BronchialTree:
    """Follow the airways from the trachea to the smallest lumen that does not leak."""
    central = airways(case)
    if not central.found or not lungs(case).present or max(case.volume.grid.spacing_mm) > THICK_MM:
        return BronchialTree(branches=(), refused=0, lumen=None)
    growth = _Growth(case)
    growth.run(growth.entrance(central))
    return growth.tree(lungs(case).midline_mm)


@dataclass(slots=True)
class _Tip:
    """Where a branch goes on: its last shell of lumen."""

    branch: int
    at: Floats  # (3,) mm of the crop, z y x
    heading: Floats  # (3,) unit vector
    radius_mm: float
    voxels: Index  # (3, M) of the crop
    level: int  # of LIMITS_HU


@dataclass(slots=True)
class _Branch:
    parent: int | None
    points: list[Floats]
    areas: list[float]


@dataclass(slots=True)
class _Step:
    """What one look ahead found: centres and areas of the branch, and the tips that go on."""

    points: list[Floats]
    areas: list[float]
    lumen: tuple[Index, Index, Index] | None
    tips: list[tuple[Floats, Floats, float, Index]]  # at, heading, radius, voxels
    leaked: bool


class _Growth:
    """The tree while it grows, on the box of the lungs and the trachea."""

    def __init__(self, case: Case) -> None:
        grid = case.volume.grid
        boxes = [mask.box for mask in (lungs(case).both, airways(case).mask) if mask]
        corners = np.array([[box.low_mm, box.high_mm] for box in boxes])
        ends = np.sort(grid.to_ijk([corners[:, 0].min(axis=0), corners[:, 1].max(axis=0)]), axis=0)
        first = np.clip(np.floor(ends[0]) - 3, 0, None).astype(int)
        last = np.minimum(np.ceil(ends[1]) + 4, grid.shape).astype(int)
        affine = grid.affine.copy()
        affine[:3, 3] = grid.to_mm(first)
        shape = last - first
        self.grid = Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)
        self.hu = case.volume.hu[first[0] : last[0], first[1] : last[1], first[2] : last[2]].T
        self.step_mm = np.array(self.grid.spacing_mm[::-1])
        self.taken = np.zeros(self.hu.shape, dtype=bool)
        self.lung_hu = float(np.median(case.working.hu[lungs(case).both.voxels]))
        self.branches: list[_Branch] = []
        self.refused = 0

    def entrance(self, central: Airways) -> _Tip | None:
        """The trachea above the carina, or the lowest trachea of a scan without one."""
        trunk = central.trachea
        levels = np.flatnonzero(trunk.voxels.any(axis=(0, 1)))
        z_mm = trunk.grid.spacing_mm[2]
        above = int(np.ceil(ABOVE_CARINA_MM / z_mm))
        level = int(levels[min(above, levels.size - 1)])
        x, y = np.nonzero(trunk.voxels[:, :, level])
        centre = trunk.grid.to_mm([x.mean(), y.mean(), level])
        here = np.rint(self.grid.to_ijk(centre)[::-1]).astype(int)
        if (here < 0).any() or (here >= self.hu.shape).any():
            return None
        shape, affine = (self.grid.shape[0], self.grid.shape[1], 1), self.grid.affine.copy()
        affine[:3, 3] = self.grid.to_mm([0, 0, here[0]])
        allowed = ndimage.binary_dilation(trunk.on(Grid(shape, affine)).voxels[:, :, 0].T, iterations=2)
        labels, _ = ndimage.label(allowed & (self.hu[here[0]] < START_HU))
        if not labels.any():
            return None
        rows, columns = np.nonzero(labels == 1 + int(np.bincount(labels[labels > 0] - 1).argmax()))
        area = rows.size * self.step_mm[1] * self.step_mm[2]
        voxels = np.stack([np.full(rows.size, here[0]), rows, columns])
        at = voxels.mean(axis=1) * self.step_mm
        return _Tip(
            self._begin(None, at, area), at, np.array([-1.0, 0.0, 0.0]), float(np.sqrt(area / np.pi)), voxels, 2
        )

    def run(self, start: _Tip | None) -> None:
        """Grow tip after tip, the widest first."""
        order = itertools.count()
        queue = [(-start.radius_mm, next(order), start)] if start else []
        while queue and len(self.branches) < MOST_BRANCHES:
            tip = heapq.heappop(queue)[2]
            for new in self._advance(tip):
                heapq.heappush(queue, (-new.radius_mm, next(order), new))

    def _begin(self, parent: int | None, at: Floats, area: float) -> int:
        self.branches.append(_Branch(parent, [at], [area]))
        return len(self.branches) - 1

    def _advance(self, tip: _Tip) -> list[_Tip]:
        """Follow one branch for one look ahead; its new tips."""
        box, origin, hu, distance = self._ahead(tip)
        best: _Step | None = None
        used = len(LIMITS_HU) - 1
        for level in range(max(0, tip.level - 1), len(LIMITS_HU)):
            step = self._follow(tip, hu < LIMITS_HU[level], distance, origin)
            if not step.leaked and tip.radius_mm < NARROW_MM and not self._walled(box, step):
                step = _Step([], [], None, [], leaked=True)
            if best is None or not step.leaked or len(step.points) > len(best.points):
                best, used = step, level
            if not step.leaked:
                break
        assert best is not None
        branch = self.branches[tip.branch]
        branch.points += best.points
        branch.areas += best.areas
        if best.lumen is not None:
            self.taken[box][best.lumen] = True
        if best.leaked:
            self.refused += 1
            return []
        out = []
        for at, heading, radius, voxels in best.tips:
            number = (
                tip.branch if len(best.tips) == 1 else self._begin(tip.branch, branch.points[-1], np.pi * radius**2)
            )
            if number != tip.branch:
                self.branches[number].points.append(at)
            out.append(_Tip(number, at, heading, radius, voxels, used))
        return out

    def _walled(self, box: tuple[slice, slice, slice], step: _Step) -> bool:
        """Whether what lies round a piece of lumen is denser than lung: a wall, or the artery beside it."""
        if step.lumen is None:
            return True
        lumen = np.zeros([part.stop - part.start for part in box], dtype=bool)
        lumen[step.lumen] = True
        near, ring = lumen, ndimage.generate_binary_structure(3, 2)
        for least in WALL_HU:
            near = ndimage.binary_dilation(near, ring)
            around = near & ~lumen & ~self.taken[box]
            if around.any() and float(self.hu[box][around].mean()) - self.lung_hu >= least:
                return True
        return False

    def _ahead(self, tip: _Tip) -> tuple[tuple[slice, slice, slice], Index, NDArray[np.float32], NDArray[np.float32]]:
        """The half ball ahead of a tip: its box, the box's corner, blurred HU, and distance (mm; infinite outside)."""
        reach = AHEAD[0] * tip.radius_mm + AHEAD[1]
        across = reach * np.sqrt(1 - tip.heading**2)
        margin = 2 * tip.radius_mm
        low = tip.at - np.maximum(np.where(tip.heading <= 0, reach, across), margin)
        high = tip.at + np.maximum(np.where(tip.heading >= 0, reach, across), margin)
        first = np.clip(np.floor(low / self.step_mm), 0, None).astype(int)
        last = np.minimum(np.ceil(high / self.step_mm) + 1, self.hu.shape).astype(int)
        box = (slice(first[0], last[0]), slice(first[1], last[1]), slice(first[2], last[2]))
        sigma = np.where(BLUR_MM / self.step_mm > 0.3, BLUR_MM / self.step_mm, 0.0)
        hu = ndimage.gaussian_filter(self.hu[box].astype(np.float32), sigma, truncate=2.5)
        z, y, x = (
            (np.arange(part.start, part.stop, dtype=np.float32) * step - here).reshape(shape)
            for part, step, here, shape in zip(
                box, self.step_mm.astype(np.float32), tip.at.astype(np.float32),
                ((-1, 1, 1), (1, -1, 1), (1, 1, -1)), strict=True,
            )
        )  # fmt: skip
        distance = np.sqrt(z * z + y * y + x * x)
        forward = z * np.float32(tip.heading[0]) + y * np.float32(tip.heading[1]) + x * np.float32(tip.heading[2])
        outside = (distance > reach) | (forward < -self._shell_mm(tip.radius_mm)) | self.taken[box]
        distance[outside] = np.inf
        return box, first, hu, distance

    def _shell_mm(self, radius_mm: float) -> float:
        return float(max(SHELL_RADII * radius_mm, SHELL_VOXELS * np.cbrt(np.prod(self.step_mm))))

    def _follow(self, tip: _Tip, dark: Bools, distance: NDArray[np.float32], origin: Index) -> _Step:
        """The lumen ahead of a tip at one threshold, shell by shell, to its fork, its end or the edge of the look."""
        shell = self._shell_mm(tip.radius_mm)
        seed = tip.voxels - origin[:, None]
        seed = seed[:, ((seed >= 0) & (seed < np.array(dark.shape)[:, None])).all(axis=0)]
        start = (seed[0], seed[1], seed[2])
        lumen = dark & np.isfinite(distance)
        lumen[start] |= np.isfinite(distance[start])
        labels: NDArray[np.uint32] = cc3d.connected_components(lumen, connectivity=18)
        names = np.unique(labels[start])
        lumen = np.isin(labels, names[names > 0])
        if not lumen.any():
            return _Step([], [], None, [], leaked=False)
        index = np.nonzero(lumen)
        rank = (distance[index] / shell).astype(np.int32)
        limit = EXPLODED * np.pi * tip.radius_mm**2 + 4 * float(np.cbrt(np.prod(self.step_mm))) ** 2
        if np.count_nonzero(lumen) * np.prod(self.step_mm) > limit * (rank.max() + 1) * shell:
            return _Step([], [], None, [], leaked=True)
        return self._walk(tip, _Shells(lumen.shape, index, rank, self.step_mm, shell), origin, limit)

    def _walk(self, tip: _Tip, shells: _Shells, origin: Index, limit: float) -> _Step:
        """Go outward through the pieces of a lumen."""
        last = int(shells.rank.max())
        persist = int(np.ceil(max(tip.radius_mm, LEAST_LENGTH_MM / 2) / shells.thick_mm))
        points: list[Floats] = []
        areas: list[float] = []
        here = [n for n in range(len(shells.level)) if shells.level[n] == 0]
        corner = origin * self.step_mm
        edge = last >= int((AHEAD[0] * tip.radius_mm + AHEAD[1]) / shells.thick_mm) - 1
        for k in range(1, last + 1):
            following = sorted({n for piece in here for n in shells.outward[piece]})
            going = [n for n in following if shells.reach[n] - k >= persist or (edge and shells.reach[n] >= last - 1)]
            if any(shells.area[n] > limit for n in following):
                keep = max(0, len(points) - 1)
                return _Step(points[:keep], areas[:keep], shells.up_to(k - 2), [], leaked=True)
            if len(going) >= 2 or (k >= last - 1 and going):
                tips = [self._tip(tip, shells, n, points, corner, origin) for n in going]
                tips = [t for t in tips if t[2] >= LEAST_RADIUS_MM]
                return _Step(points, areas, shells.up_to(k - 1), tips, leaked=False)
            here = going or following
            if not here:
                break
            size = sum(shells.area[n] for n in here)
            points.append(sum(shells.area[n] * shells.centre[n] for n in here) / size + corner)
            areas.append(size)
        return _Step(points, areas, shells.up_to(last), [], leaked=False)

    def _tip(
        self, tip: _Tip, shells: _Shells, piece: int, points: list[Floats], corner: Floats, origin: Index
    ) -> tuple[Floats, Floats, float, Index]:
        """A tip at one piece of lumen: it points away from where the branch was two shells before."""
        at = shells.centre[piece] + corner
        behind = points[-2] if len(points) > 1 else tip.at
        heading = at - behind
        ahead = [shells.centre[n] + corner for n in shells.outward[piece] if shells.reach[n] == shells.reach[piece]]
        if ahead:
            heading = ahead[0] - behind
        length = float(np.linalg.norm(heading))
        heading = heading / length if length > 1e-6 else tip.heading
        radius = min(float(np.sqrt(shells.area[piece] / np.pi)), 1.2 * tip.radius_mm)
        return at, heading, radius, shells.voxels(piece) + origin[:, None]

    def tree(self, midline_mm: float) -> BronchialTree:
        """The finished tree: short ends dropped, pieces without a fork joined, generations counted."""
        joined = _joined(self.branches)
        out: list[Bronchus] = []
        for number, (parent, points, areas) in enumerate(joined):
            points_mm = self.grid.to_mm((np.array(points) / self.step_mm)[:, ::-1])
            above = out[parent] if parent is not None else None
            generation = above.generation + 1 if above else 0
            side: LungSide | None = above.side if above else None
            if above is not None and side is None:
                side = "right" if points_mm[-1][0] > midline_mm else "left"
            out.append(
                Bronchus(
                    number=number, parent=parent, generation=generation, side=side, points_mm=points_mm,
                    radius_mm=float(np.sqrt(np.median(areas) / np.pi)),
                )
            )  # fmt: skip
        lumen = Mask("bronchi", self.taken.T, self.grid)
        return BronchialTree(branches=tuple(out), refused=self.refused, lumen=lumen)


class _Shells:
    """A lumen cut into shells round a tip; a piece is what hangs together in one shell."""

    def __init__(self, shape: tuple[int, ...], index: tuple[Index, ...], rank: NDArray[np.int32], step_mm: Floats,
                 thick_mm: float) -> None:  # fmt: skip
        self.thick_mm, self.rank, self.index = thick_mm, rank, index
        layers = np.zeros(shape, dtype=np.uint16)
        layers[index] = rank + 1
        labels: NDArray[np.uint32] = cc3d.connected_components(layers, connectivity=18)
        self.name = labels[index].astype(np.intp) - 1
        count = int(self.name.max()) + 1
        size = np.bincount(self.name, minlength=count)
        places = [np.bincount(self.name, weights=axis, minlength=count) / size for axis in index]
        self.centre = np.stack(places, axis=1) * step_mm
        self.area = size * float(np.prod(step_mm)) / thick_mm
        self.level = np.zeros(count, dtype=np.int32)
        self.level[self.name] = rank
        self.outward: list[list[int]] = [[] for _ in range(count)]
        for a, b in cc3d.region_graph(labels, connectivity=18):
            near, far = (a - 1, b - 1) if self.level[a - 1] < self.level[b - 1] else (b - 1, a - 1)
            self.outward[near].append(far)
        self.reach = self.level.copy()
        for n in np.argsort(-self.level, kind="stable"):
            if self.outward[n]:
                self.reach[n] = max(int(self.reach[m]) for m in self.outward[n])

    def up_to(self, level: int) -> tuple[Index, Index, Index]:
        """Voxels of the shells up to a level."""
        keep = self.rank <= level
        return self.index[0][keep], self.index[1][keep], self.index[2][keep]

    def voxels(self, piece: int) -> Index:
        """(3, M) voxels of a piece."""
        keep = self.name == piece
        return np.stack([axis[keep] for axis in self.index])


def _joined(branches: list[_Branch]) -> list[tuple[int | None, list[Floats], list[float]]]:
    """Drop short ends, join a branch with its only child, make near forks one, and number parents before children."""
    children: list[list[int]] = [[] for _ in branches]
    for n in reversed(range(1, len(branches))):  # a child comes after its parent
        parent = branches[n].parent
        assert parent is not None
        length = _length(branches[n].points)
        if children[n] and length < max(FORK_MM, float(np.sqrt(branches[n].areas[0] / np.pi))):
            children[parent] += children[n]
        elif children[n] or length >= LEAST_LENGTH_MM:
            children[parent].append(n)
    out: list[tuple[int | None, list[Floats], list[float]]] = []
    todo: list[tuple[int, int | None]] = [(0, None)] if branches else []
    while todo:
        n, parent = todo.pop(0)
        points, areas = list(branches[n].points), list(branches[n].areas)
        while len(children[n]) == 1:
            n = children[n][0]
            points += branches[n].points[1:]
            areas += branches[n].areas[1:]
        out.append((parent, points, areas))
        todo += [(child, len(out) - 1) for child in sorted(children[n])]
    return out


def _length(points: list[Floats]) -> float:
    """Length of a line of points, mm."""
    return float(np.linalg.norm(np.diff(np.array(points), axis=0), axis=1).sum())
