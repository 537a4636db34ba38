"""The body while findings are put into it, and the few ways in which a finding takes its voxels.

A finding ranks voxels - by distance from a centre or a line, by height in a space, by a random field -
and takes the lowest ranks until the volume asked for is full. So a mask has the volume of its
parameters to one voxel, whatever its shape. Mask and ``Truth`` are kept beside the scan.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import edt
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.ct.volume import Point, as_point
from vlm.phantom.body.findings.registry import FINDINGS
from vlm.phantom.body.labels import NUMBER
from vlm.phantom.body.person import Person
from vlm.phantom.body.scene import Scene, Window
from vlm.phantom.body.shapes import Floats
from vlm.phantom.body.wishes import Wish, refuse
from vlm.phantom.chest import Truth

Bools = NDArray[np.bool_]
SOFT_HU = -200.0  # denser findings leave no air beside them
VISIBLE_HU = 8.0  # the least difference to what lay there that an eye can see at usual noise
DEPTH_STEP_MM = 2.0  # depths inside an organ need no finer grid
FAR_MM = 1e3


@dataclass(frozen=True)
class Drawing:
    """A painted scene with its person; masks and truths of what was put in. Arrays are (Z, Y, X)."""

    scene: Scene
    person: Person
    masks: dict[str, Bools] = field(default_factory=dict)
    truth: list[Truth] = field(default_factory=list)
    centres: dict[int, Point] = field(default_factory=dict)  # by number of the wish
    taken: Bools = field(init=False)  # voxels that belong to a finding

    def __post_init__(self) -> None:
        object.__setattr__(self, "taken", np.zeros(self.scene.labels.shape, dtype=bool))

    # -- where ----------------------------------------------------------------------------------------------------

    def voxels(self, labels: Sequence[str]) -> Bools:
        """Voxels of some labels, without those that a finding has taken."""
        chosen = np.zeros(256, dtype=bool)
        chosen[[NUMBER[name] for name in labels]] = True
        return np.asarray(chosen[self.scene.labels] & ~self.taken)

    def made_of(self, tissues: Sequence[str]) -> Bools:
        """Voxels of some tissues."""
        chosen = np.zeros(256, dtype=bool)
        chosen[[self.scene.tissues.index(name) for name in tissues]] = True
        return np.asarray(chosen[self.scene.tissue])

    def half(self, side: str, beyond_mm: float = 0.0) -> Bools:
        """(1, 1, X): what lies on a side of the middle."""
        return np.asarray(self.scene.lines[0] * (1 if side == "right" else -1) > beyond_mm)[None, None, :]

    def whole(self) -> Window:
        """All voxels."""
        return tuple(slice(0, n) for n in self.scene.labels.shape)  # type: ignore[return-value]

    def box(self, wish: Wish, mask: Bools, reach_mm: float = 0.0) -> Window:
        """The window of a mask, grown by some mm; nothing there is refused."""
        where = ndimage.find_objects(mask.astype(np.uint8))
        if not where:
            raise refuse(wish.words, "the organ is not there in this person or not in the field of view.")
        grow = [int(np.ceil(reach_mm / step)) + 1 for step in self.scene.grid.spacing_mm[::-1]]
        parts = zip(where[0], grow, mask.shape, strict=True)
        return tuple(slice(max(0, p.start - g), min(n, p.stop + g)) for p, g, n in parts)  # type: ignore[return-value]

    def away(self, mask: Bools) -> Floats:
        """Distance of each voxel to a mask of the same window, mm."""
        steps = self.scene.grid.spacing_mm[::-1]
        return np.asarray(edt.edt(np.ascontiguousarray(~mask), anisotropy=steps, black_border=False, parallel=2))

    def signed(self, mask: Bools) -> Floats:
        """Signed distance of each voxel to the surface of a mask of the same window, mm, below 0 inside."""
        return np.asarray(self.away(mask) - self.away(~mask))

    def points(self, mask: Bools) -> NDArray[np.float64]:
        """(N, 3) world points of a mask's voxels."""
        return np.asarray(self.scene.grid.to_mm(np.argwhere(mask)[:, ::-1]))

    def middle(self, wish: Wish, labels: Sequence[str]) -> NDArray[np.float64]:
        """The world point in the middle of some labels."""
        mask = self.voxels(labels)
        window = self.box(wish, mask)
        start = np.array([part.start for part in window])
        return np.asarray(self.scene.grid.to_mm((np.argwhere(mask[window]).mean(axis=0) + start)[::-1]))

    def world(self, points: Sequence[Sequence[float]] | NDArray[np.float64]) -> NDArray[np.float64]:
        """(N, 3) reference points -> world points."""
        return self.scene.frame.world(np.asarray(points, dtype=np.float64))

    def rng(self, wish: Wish) -> np.random.Generator:
        """Random numbers of one finding."""
        return self.scene.rng(f"{wish.words} {len(self.truth)}")

    def centre(self, wish: Wish, allowed: Bools, depth_mm: float) -> NDArray[np.float64]:
        """The place of a wish, else a random world point ``depth_mm`` inside what is allowed, or as deep as it goes."""
        if wish.centre_mm is not None and wish.number not in self.centres:
            self.centres[wish.number] = wish.centre_mm
            return np.asarray(wish.centre_mm, dtype=np.float64)
        window = self.box(wish, allowed)
        steps = np.array(self.scene.grid.spacing_mm[::-1])
        every = np.maximum(1, np.floor(DEPTH_STEP_MM / steps)).astype(int)
        coarse = allowed[window][:: every[0], :: every[1], :: every[2]]
        if not coarse.any():
            every, coarse = np.ones(3, dtype=int), allowed[window]
        deep = edt.edt(np.ascontiguousarray(coarse), anisotropy=tuple(steps * every), black_border=True, parallel=2)
        index = np.argwhere(deep >= min(depth_mm, float(deep.max())))
        chosen = index[int(self.rng(wish).integers(len(index)))] * every + [part.start for part in window]
        centre = np.asarray(self.scene.grid.to_mm(chosen[::-1]))
        self.centres.setdefault(wish.number, as_point(centre))
        return centre

    def around(self, centre: NDArray[np.float64], reach_mm: float) -> tuple[Window, Floats, Floats, Floats]:
        """The voxels near a world point: window, and millimetres from the point along x, y, z."""
        window = self.scene.within(centre - reach_mm, centre + reach_mm, self.scene.lines)
        x, y, z = (self.scene.lines[a][window[2 - a]] - np.float32(centre[a]) for a in range(3))
        return window, x[None, None, :], y[None, :, None], z[:, None, None]

    def tube(self, line: NDArray[np.float64], reach_mm: float = 3.0) -> tuple[Window, Floats]:
        """Window and distance to a tube through (N, 4) world points and radii, mm, below 0 inside."""
        far = float(line[:, 3].max()) + reach_mm
        lines = self.scene.lines
        window = self.scene.within(line[:, :3].min(axis=0) - far, line[:, :3].max(axis=0) + far, lines)
        out = np.full([part.stop - part.start for part in window], FAR_MM, dtype=np.float32)
        for a, b in itertools.pairwise(line):
            part = self.scene.within(np.minimum(a, b)[:3] - far, np.maximum(a, b)[:3] + far, lines)
            if any(p.stop <= p.start for p in part):
                continue
            x, y, z = (lines[axis][part[2 - axis]] - np.float32(a[axis]) for axis in range(3))
            u, v, w = x[None, None, :], y[None, :, None], z[:, None, None]
            d = (b - a)[:3].astype(np.float32)
            t = np.clip((u * d[0] + v * d[1] + w * d[2]) / max(float(d @ d), 1e-6), 0, 1)
            near = np.sqrt((u - t * d[0]) ** 2 + (v - t * d[1]) ** 2 + (w - t * d[2]) ** 2)
            inner = tuple(slice(p.start - q.start, p.stop - q.start) for p, q in zip(part, window, strict=True))
            np.minimum(out[inner], near - np.float32(a[3]) - t * np.float32(b[3] - a[3]), out=out[inner])
        return window, out

    def height(self) -> Floats:
        """How high a voxel lies for a fluid when the person lies on the back, mm: fluid climbs the side a little."""
        x, y, z = self.scene.lines
        wide = 130.0 * self.scene.frame.scale[0]
        side = 14.0 * np.minimum((x / wide) ** 4, 1.0)
        return np.asarray(y[None, :, None] + 0.10 * z[:, None, None] - side[None, None, :], dtype=np.float32)

    # -- how it is put in -----------------------------------------------------------------------------------------

    def size(self, wish: Wish) -> float:
        """The size that a wish asks for, in the unit of its entry."""
        size = FINDINGS[wish.finding].size
        assert size is not None, wish.finding
        return size.of(wish)

    def fill(
        self, wish: Wish, allowed: Bools, window: Window, rank: Floats, ml: float, tissue: str, *,
        finding: str = "", site: str | None = None, size: tuple[str, float] | None = None, sharp: bool = False,
    ) -> str:  # fmt: skip
        """Give the ``ml`` of lowest rank (mm) in a window to a tissue, and keep mask and truth; the mask's name."""
        scene = self.scene
        free = allowed[window]
        count = round(ml / scene.grid.voxel_ml)
        room = int(np.count_nonzero(free))
        if count < 1:
            raise refuse(wish.words, f"{ml:.3g} mL is less than one voxel of this grid.")
        if not room:
            raise refuse(wish.words, "the place where it would lie is not in the field of view.")
        if count > room:
            raise refuse(wish.words, f"there is room for {room * scene.grid.voxel_ml:.3g} mL, not for {ml:.3g} mL.")
        ranks = rank[free]
        lowest = np.argpartition(ranks, count - 1)[:count]  # exactly so many, whatever ranks are equal
        level = float(ranks[lowest].max())
        chosen = np.zeros(room, dtype=bool)
        chosen[lowest] = True
        inside = np.zeros(free.shape, dtype=bool)
        inside[free] = chosen
        cover = None if sharp else np.clip(0.5 + (level - rank) / np.float32(scene.edge_mm), 0, 1) * free
        name = self.put(wish, window, inside, tissue, cover=cover, finding=finding, site=site, size=size)
        hu = np.float32(scene.tissues.hu(tissue))
        if hu > SOFT_HU:  # voxels of the wall beside it held a share of lung, which is lung no longer
            part = scene.hu[window]
            ring = ndimage.binary_dilation(inside) & ~allowed[window]
            own = scene.tissues.means[scene.tissue[window][ring]]
            part[ring] = np.maximum(part[ring], np.minimum(own, hu))
        return name

    def paint(self, window: Window, inside: Bools, tissue: str, cover: Floats | None = None) -> None:
        """Give voxels to a tissue without a truth: what a finding does to its neighbours."""
        scene = self.scene
        share = inside.astype(np.float32) if cover is None else cover
        part = scene.hu[window]
        part += share * (np.float32(scene.tissues.hu(tissue)) - part)
        scene.tissue[window][inside] = scene.tissues.index(tissue)

    def put(
        self, wish: Wish, window: Window, inside: Bools, tissue: str, *, cover: Floats | None = None,
        finding: str = "", site: str | None = None, size: tuple[str, float] | None = None,
    ) -> str:  # fmt: skip
        """Give the voxels ``inside`` a window to a tissue, and keep mask and truth; the mask's name."""
        scene = self.scene
        if not inside.any():
            raise refuse(wish.words, "it is smaller than one voxel of this grid.")
        before = float(scene.tissues.means[scene.tissue[window][inside]].mean())
        self.paint(window, inside, tissue, cover)
        mask = np.zeros(scene.labels.shape, dtype=bool)
        mask[window] = inside
        self.taken[window] |= inside
        return self.note(wish, mask, finding=finding, site=site, size=size, contrast=scene.tissues.hu(tissue) - before)

    def note(
        self, wish: Wish, mask: Bools, *, finding: str = "", site: str | None = None,
        size: tuple[str, float] | None = None, contrast: float | None = None,
    ) -> str:  # fmt: skip
        """Keep the mask and the truth of what was drawn; the mask's name. The volume is its size if none is given."""
        finding = finding or wish.finding
        name = f"{finding}_{1 + sum(truth.finding == finding for truth in self.truth)}"
        self.masks[name] = mask
        index = np.argwhere(mask).mean(axis=0)
        quantity, value = size or ("volume", float(np.count_nonzero(mask)) * self.scene.grid.voxel_ml)
        self.truth.append(
            Truth(
                finding=finding, side=wish.side, site=site or wish.site,
                centre_mm=as_point(self.scene.grid.to_mm(index[::-1])), quantity=quantity, value=float(value),
                mask=name,
                attributes=tuple(sorted(wish.attributes)), wish=wish.number, contrast_hu=contrast,
                visible=contrast is None or abs(contrast) >= VISIBLE_HU,
            )
        )  # fmt: skip
        return name

    def part(self, name: str, mask: Bools) -> None:
        """Keep the mask of a part of a finding: the solid middle of a nodule, the false lumen of an aorta."""
        self.masks[name] = mask
