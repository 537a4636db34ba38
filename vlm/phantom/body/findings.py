"""Findings put into a painted body: each fills an exact volume of the voxels that it may take.

A finding ranks voxels - by distance from a centre, by height in a pleural space, by a random field -
and takes the lowest ranks until the volume asked for is full. So the mask has the volume of its
parameters to one voxel, whatever its shape. The mask and a ``Truth`` are kept beside the scan.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.ct.volume import Point, as_point
from vlm.errors import UsageError
from vlm.phantom.body.labels import LOBES, NUMBER
from vlm.phantom.body.scanner import TILE, TILE_STEP_MM, tile
from vlm.phantom.body.scene import Scene, Window
from vlm.phantom.body.shapes import Floats
from vlm.phantom.body.wishes import Wish, refuse
from vlm.phantom.chest import Truth

GRADES = {
    "mild": 0.5,
    "small": 0.5,
    "minimal": 0.25,
    "trace": 0.15,
    "moderate": 1.0,
    "severe": 2.5,
    "large": 2.5,
    "massive": 4.0,
}
PLEURA_HU = 220.0  # what the visceral pleura adds to the voxels that it crosses
SOFT_HU = -200.0  # denser findings leave no air beside them
MASS_MM = 30.0  # Fleischner glossary (Hansell 2008): a nodule is at most 30 mm


@dataclass(frozen=True)
class Drawing:
    """The body while findings are put into it."""

    scene: Scene
    masks: dict[str, NDArray[np.bool_]]  # (Z, Y, X)
    truth: list[Truth]
    centres: dict[int, Point]  # by number of the wish

    def voxels(self, labels: Sequence[str]) -> NDArray[np.bool_]:
        """Voxels of some labels, without those that a finding has taken."""
        out = np.isin(self.scene.labels, [NUMBER[name] for name in labels])
        for mask in self.masks.values():
            out &= ~mask
        return out

    def fill(
        self,
        wish: Wish,
        allowed: NDArray[np.bool_],
        window: Window,
        rank: Floats,
        ml: float,
        tissue: str,
        *,
        finding: str = "",
        site: str | None = None,
        size: tuple[str, float] | None = None,
        sharp: bool = False,
    ) -> None:
        """Give the ``ml`` of lowest rank in a window to a tissue, and keep mask and truth."""
        scene = self.scene
        free = allowed[window]
        count = round(ml / scene.grid.voxel_ml)
        room = int(np.count_nonzero(free))
        if count < 1:
            raise refuse(wish.words, f"{ml:.3g} mL is less than one voxel of this grid.")
        if count > room:
            raise refuse(wish.words, f"there is room for {room * scene.grid.voxel_ml:.3g} mL, not for {ml:.3g} mL.")
        ranks = rank[free]
        lowest = np.argpartition(ranks, count - 1)[:count]  # exactly so many, whatever ranks are equal
        level = float(ranks[lowest].max())
        chosen = np.zeros(room, dtype=bool)
        chosen[lowest] = True
        taken = np.zeros(free.shape, dtype=bool)
        taken[free] = chosen
        cover = np.clip(0.5 + (level - rank) / np.float32(scene.edge_mm), 0, 1) * free
        part = scene.hu[window]
        if sharp:  # something denser lies on it: no lung between them
            cover = taken.astype(np.float32)
        hu = np.float32(scene.tissues.hu(tissue))
        part += cover * (hu - part)
        if hu > SOFT_HU:  # voxels of the wall beside it held a share of lung, which is lung no longer
            ring = ndimage.binary_dilation(taken) & ~allowed[window]
            own = scene.tissues.means[scene.tissue[window][ring]]
            part[ring] = np.maximum(part[ring], np.minimum(own, hu))
        scene.tissue[window][taken] = scene.tissues.index(tissue)
        finding = finding or wish.finding
        name = f"{finding}_{1 + sum(truth.finding == finding for truth in self.truth)}"
        mask = np.zeros(scene.labels.shape, dtype=bool)
        mask[window] = taken
        self.masks[name] = mask
        index = np.argwhere(taken).mean(axis=0) + [part.start for part in window]
        quantity, value = size or ("volume", float(np.count_nonzero(taken)) * scene.grid.voxel_ml)
        centre = as_point(scene.grid.to_mm(index[::-1]))
        self.truth.append(
            Truth(
                finding=finding,
                side=wish.side,
                site=site or wish.site,
                centre_mm=centre,
                quantity=quantity,
                value=value,
                mask=name,
                attributes=tuple(sorted(wish.attributes)),
                wish=wish.number,
            )
        )

    def centre(self, wish: Wish, allowed: NDArray[np.bool_], depth_mm: float) -> NDArray[np.float64]:
        """The place of a wish, else a random world point ``depth_mm`` inside what is allowed, or as deep as it goes."""
        if wish.centre_mm is not None:
            self.centres[wish.number] = wish.centre_mm
            return np.asarray(wish.centre_mm, dtype=np.float64)
        where = ndimage.find_objects(allowed.astype(np.uint8))
        if not where:
            raise refuse(wish.words, "the organ is not there in this person or not in the field of view.")
        window = where[0]
        steps = self.scene.grid.spacing_mm[::-1]
        deep = ndimage.distance_transform_edt(np.pad(allowed[window], 1), sampling=steps)[1:-1, 1:-1, 1:-1]
        index = np.argwhere(deep >= min(depth_mm, float(deep.max())))
        rng = self.scene.rng(f"{wish.words} {len(self.truth)}")
        chosen = index[int(rng.integers(len(index)))] + [part.start for part in window]
        centre = np.asarray(self.scene.grid.to_mm(chosen[::-1]))
        self.centres[wish.number] = as_point(centre)
        return centre

    def around(self, centre: NDArray[np.float64], reach_mm: float) -> tuple[Window, Floats, Floats, Floats]:
        """The voxels near a world point: window, and millimetres from the point along x, y, z."""
        window = self.scene.within(centre - reach_mm, centre + reach_mm, self.scene.lines)
        x, y, z = (self.scene.lines[a][window[2 - a]] - np.float32(centre[a]) for a in range(3))
        return window, x[None, None, :], y[None, :, None], z[:, None, None]

    def whole(self) -> Window:
        """All voxels."""
        return tuple(slice(0, n) for n in self.scene.labels.shape)  # type: ignore[return-value]


Painter = Callable[[Drawing, Wish], None]


def _lobes(wish: Wish) -> tuple[str, ...]:
    """The lobes that a wish names; all of them when it names none."""
    site = {"upper_lobe": "upper", "middle_lobe": "middle", "lower_lobe": "lower", "lingula": "upper"}.get(
        wish.site or ""
    )
    if site == "middle" and wish.side == "left":
        raise refuse(wish.words, "the left lung has no middle lobe.")
    names = [n for n in LOBES if (wish.side is None or n.endswith(wish.side)) and (site is None or site in n)]
    return tuple(names)


def _ml(wish: Wish, usual: float) -> float:
    """The volume asked for; a ball's when a diameter was said, the usual one by grade when nothing was."""
    if wish.ml is not None:
        return wish.ml
    if wish.mm is not None:
        return float(np.pi / 6 * wish.mm**3 / 1000)
    return usual * GRADES.get(wish.grade or "", 1.0)


def _ball(wish: Wish, usual_mm: float) -> float:
    if wish.percent is not None:
        raise refuse(wish.words, "its size is a diameter or a volume, not a share.")
    if wish.ml is not None:
        return float(np.cbrt(wish.ml * 6000 / np.pi))
    return wish.mm if wish.mm is not None else usual_mm * GRADES.get(wish.grade or "", 1.0) ** (1 / 3)


def _lump(drawing: Drawing, wish: Wish, labels: Sequence[str], tissue: str, usual_mm: float, *, rough: float = 0.05,
          spikes: float = 0.0, beyond: Sequence[str] = ()) -> None:  # fmt: skip
    """A round finding of one tissue in some labels; ``beyond`` names what it may bulge into."""
    mm = _ball(wish, usual_mm)
    inside = drawing.voxels(labels)
    centre = drawing.centre(wish, inside, mm * (0.2 if beyond else 0.55) + 1.0)
    allowed = inside | drawing.voxels(beyond) if beyond else inside
    window, x, y, z = drawing.around(centre, mm * (0.75 + rough + 0.7 * spikes) + 4)
    away = np.sqrt(x * x + y * y + z * z)
    rank = away.astype(np.float32)
    if mm > 5:
        cell = mm / 7.0
        rank = rank + rough * mm * np.sin(x / cell + centre[0]) * np.sin(y / cell + centre[1]) * np.sin(z / cell)
    if spikes:
        rng = drawing.scene.rng("spikes " + wish.words)
        for _ in range(16):
            d = rng.normal(size=3)
            d = (d / np.linalg.norm(d)).astype(np.float32)
            along = x * d[0] + y * d[1] + z * d[2]
            off = np.sqrt(np.maximum(away**2 - along**2, 0))
            needle = np.where(along > 0, 0.5 * mm * (1 - spikes) + np.maximum(off - 0.7, 0) + 0.15 * along, 1e3)
            rank = np.minimum(rank, needle.astype(np.float32) + 0.12 * mm)
    drawing.fill(
        wish, allowed, window, rank.astype(np.float32), float(np.pi / 6 * mm**3 / 1000), tissue, size=("diameter", mm)
    )


def _nodule(drawing: Drawing, wish: Wish) -> None:
    mm = _ball(wish, 10.0)
    if wish.finding == "lung_nodule" and mm > MASS_MM:
        raise refuse(wish.words, f"a lung nodule is at most {MASS_MM:.0f} mm. Ask for a lung mass.")
    tissue = "nodule"
    if wish.attributes & {"ground_glass", "part_solid"}:
        tissue = "ground_glass"
    elif "calcified" in wish.attributes:
        tissue = "stone"
    spikes = 0.35 if "spiculated" in wish.attributes else 0.0
    _lump(drawing, wish, _lobes(wish), tissue, 10.0 if wish.finding == "lung_nodule" else 42.0, spikes=spikes)
    if "part_solid" in wish.attributes:
        _solid_core(drawing)


def _solid_core(drawing: Drawing) -> None:
    """Make the middle of the last finding solid, of half its diameter; a mask of its own, named ..._solid."""
    scene, last = drawing.scene, drawing.truth[-1]
    index = np.argwhere(drawing.masks[last.mask])
    away = np.linalg.norm(scene.grid.to_mm(index[:, ::-1]) - last.centre_mm, axis=1)
    core = tuple(index[np.argsort(away, kind="stable")[: max(1, round(len(index) / 8))]].T)
    scene.hu[core], scene.tissue[core] = scene.tissues.hu("nodule"), scene.tissues.index("nodule")
    mask = np.zeros(scene.labels.shape, dtype=bool)
    mask[core] = True
    drawing.masks[f"{last.mask}_solid"] = mask


def _patch(tissue: str) -> Painter:
    """An opacity that follows no wall: a blob with a ragged border."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        ml = _ml(wish, 25.0)
        allowed = drawing.voxels((*_lobes(wish), "lung_vessels"))
        mm = float(np.cbrt(ml * 6000 / np.pi))
        centre = drawing.centre(wish, drawing.voxels(_lobes(wish)), min(0.25 * mm, 16.0))
        window, x, y, z = drawing.around(centre, 1.1 * mm + 12)
        ragged = 0.16 * mm * np.sin(x / 6.1) * np.sin(y / 5.3 + 1) * np.sin(z / 6.7 + 2)
        rank = np.sqrt(x * x + (1.2 * y) ** 2 + (0.9 * z) ** 2) + ragged
        drawing.fill(wish, allowed, window, rank.astype(np.float32), ml, tissue)

    return paint


def _height(drawing: Drawing) -> Floats:
    """How high a voxel lies for a fluid when the person lies on the back, mm: fluid climbs the side a little."""
    x, y, z = drawing.scene.lines
    wide = 130.0 * drawing.scene.frame.scale[0]
    side = 14.0 * np.minimum((x / wide) ** 4, 1.0)
    return np.asarray(y[None, :, None] + 0.10 * z[:, None, None] - side[None, None, :], dtype=np.float32)


def _side(wish: Wish) -> tuple[str, ...]:
    if wish.side is None:
        raise refuse(wish.words, "it names no side. Say left or right.")
    return tuple(name for name in LOBES if name.endswith(wish.side))


def _effusion(drawing: Drawing, wish: Wish) -> None:
    """Fluid in the lowest part of one pleural space, with airless lung above it."""
    ml = _ml(wish, 300.0)
    lung = (*_side(wish), "lung_vessels", "bronchi")
    sign = 1 if wish.side == "right" else -1
    half = (drawing.scene.lines[0] * sign > 0)[None, None, :]
    rank = _height(drawing)
    drawing.fill(wish, drawing.voxels(lung) & half, drawing.whole(), rank, ml, "effusion", site="pleura", sharp=True)
    drawing.fill(
        wish,
        drawing.voxels(lung) & half,
        drawing.whole(),
        rank,
        0.25 * ml,
        "collapsed",
        finding="atelectasis",
        site="lung",
    )


def _pneumothorax(drawing: Drawing, wish: Wish) -> None:
    """Air in front of one lung, where it rises to."""
    sign = 1 if wish.side == "right" else -1
    half = (drawing.scene.lines[0] * sign > 0)[None, None, :]
    allowed = drawing.voxels((*_side(wish), "lung_vessels")) & half
    drawing.fill(wish, allowed, drawing.whole(), -_height(drawing), _ml(wish, 150.0), "air", site="pleura")
    air = drawing.masks[drawing.truth[-1].mask]
    pleura = ndimage.binary_dilation(air) & allowed & ~air
    drawing.scene.hu[pleura] += PLEURA_HU


def _emphysema(drawing: Drawing, wish: Wish) -> None:
    """Holes of a few millimetres, more of them towards the top."""
    if wish.ml is not None or wish.mm is not None:
        raise refuse(wish.words, "its size is a share of the lung in %.")
    share = wish.percent if wish.percent is not None else 10.0 * GRADES.get(wish.grade or "", 1.0)
    lungs = drawing.voxels(_lobes(wish))
    x, y, z = ((np.floor(line / TILE_STEP_MM).astype(int)) % TILE for line in drawing.scene.lines)
    block = tile(2.2, 5)
    rank = np.stack([block[k][y][:, x] for k in z]) * -2.0
    rank -= (0.008 * drawing.scene.lines[2])[:, None, None]
    ml = share / 100 * float(np.count_nonzero(lungs)) * drawing.scene.grid.voxel_ml
    drawing.fill(
        wish, lungs, drawing.whole(), rank.astype(np.float32), ml, "bulla", site="lung", size=("fraction", share)
    )


def _pericardial(drawing: Drawing, wish: Wish) -> None:
    """Fluid round the heart, more of it behind."""
    heart = np.isin(drawing.scene.labels, [n for name, n in NUMBER.items() if name.startswith("heart")])
    where = ndimage.find_objects(heart.astype(np.uint8))
    if not where:
        raise refuse(wish.words, "the heart is not in the field of view.")
    steps = drawing.scene.grid.spacing_mm[::-1]
    grow = [int(np.ceil(45 / step)) for step in steps]
    window = tuple(
        slice(max(0, p.start - g), min(n, p.stop + g)) for p, g, n in zip(where[0], grow, heart.shape, strict=True)
    )
    away = ndimage.distance_transform_edt(~heart[window], sampling=steps).astype(np.float32)
    rank = away * (1 + 0.35 * np.sign(drawing.scene.lines[1][window[1]] - 10))[None, :, None]
    allowed = drawing.voxels((*LOBES, "pericardium", "lung_vessels", "torso_fat"))
    drawing.fill(wish, allowed, window, rank.astype(np.float32), _ml(wish, 120.0), "effusion", site="pericardium")  # type: ignore[arg-type]


def _cavity(drawing: Drawing) -> NDArray[np.bool_]:
    """The fat of the peritoneal cavity: in front of the spine's organs, inside the wall, below the diaphragm."""
    scene = drawing.scene
    wall, dome = (scene.on_voxels(name) for name in ("wall", "dome"))
    return np.asarray(drawing.voxels(("torso_fat",)) & (wall < -3) & (dome > 4))


def _ascites(drawing: Drawing, wish: Wish) -> None:
    """Fluid along the wall, lower places first: gutters, round the liver, pelvis."""
    rank = np.asarray(0.35 * _height(drawing) - drawing.scene.on_voxels("wall"), dtype=np.float32)
    drawing.fill(wish, _cavity(drawing), drawing.whole(), rank, _ml(wish, 300.0), "effusion", site="peritoneum")


def _free_air(drawing: Drawing, wish: Wish) -> None:
    drawing.fill(wish, _cavity(drawing), drawing.whole(), -_height(drawing), _ml(wish, 30.0), "air", site="peritoneum")


def _in_organ(
    labels: Sequence[str], tissue: str, usual_mm: float, *, paired: bool = False, beyond: Sequence[str] = ()
) -> Painter:
    """A round lesion in an organ."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        if paired and wish.side is None:
            raise refuse(wish.words, "it names no side. Say left or right.")
        names = [name.format(side=wish.side) for name in labels]
        _lump(drawing, wish, names, tissue, usual_mm, beyond=beyond)

    return paint


def _plaques(label: str, usual_ml: float, site: str) -> Painter:
    """Calcium in the wall of an artery, in a few clusters."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        vessel = drawing.voxels((label,))
        near = vessel if label == "coronary_arteries" else vessel & ~ndimage.binary_erosion(vessel)
        rng = drawing.scene.rng(wish.words)
        index = np.argwhere(near)
        if not len(index):
            raise refuse(wish.words, "the vessel is not in the field of view.")
        seeds = drawing.scene.grid.to_mm(index[rng.integers(len(index), size=5)][:, ::-1])
        points = drawing.scene.grid.to_mm(index[:, ::-1])
        rank = np.full(near.shape, 1e3, dtype=np.float32)
        rank[near] = np.min([np.linalg.norm(points - seed, axis=1) for seed in seeds], axis=0)
        drawing.fill(wish, near, drawing.whole(), rank, _ml(wish, usual_ml), "calcium", site=site)

    return paint


def _embolus(drawing: Drawing, wish: Wish) -> None:
    if drawing.scene.tissues.phase == "plain":
        raise refuse(wish.words, "a clot does not show without contrast. Ask for --phase arterial.")
    vessel = drawing.voxels(("pulmonary_artery",))
    if wish.side is not None:
        vessel &= (drawing.scene.lines[0] * (1 if wish.side == "right" else -1) > 18)[None, None, :]
    centre = drawing.centre(wish, vessel, 3.0)
    window, x, y, z = drawing.around(centre, 45.0)
    rank = np.sqrt(x * x + y * y + z * z)
    drawing.fill(wish, vessel, window, rank.astype(np.float32), _ml(wish, 1.5), "clot", site="pulmonary_artery")


FINDINGS: Mapping[str, Painter] = {
    "lung_nodule": _nodule,
    "lung_mass": _nodule,
    "consolidation": _patch("consolidated"),
    "ground_glass_opacity": _patch("ground_glass"),
    "pleural_effusion": _effusion,
    "pneumothorax": _pneumothorax,
    "emphysema": _emphysema,
    "pericardial_effusion": _pericardial,
    "pulmonary_embolism": _embolus,
    "coronary_artery_calcification": _plaques("coronary_arteries", 0.15, "coronary_arteries"),
    "aortic_calcification": _plaques("aorta", 0.5, "aorta"),
    "ascites": _ascites,
    "pneumoperitoneum": _free_air,
    "liver_cyst": _in_organ(("liver",), "cyst", 20.0),
    "liver_lesion": _in_organ(("liver",), "hypodense", 22.0),
    "splenic_lesion": _in_organ(("spleen",), "hypodense", 14.0),
    "pancreatic_lesion": _in_organ(("pancreas",), "hypodense", 16.0, beyond=("torso_fat",)),
    "adrenal_lesion": _in_organ(("adrenal_gland_{side}",), "adenoma", 18.0, paired=True, beyond=("torso_fat",)),
    "renal_cyst": _in_organ(("kidney_{side}",), "cyst", 22.0, paired=True, beyond=("torso_fat",)),
    "renal_lesion": _in_organ(("kidney_{side}",), "tumour", 28.0, paired=True, beyond=("torso_fat",)),
    "kidney_stone": _in_organ(("kidney_{side}",), "stone", 6.0, paired=True),
    "gallstone": _in_organ(("gallbladder",), "cholesterol", 9.0),
    "bladder_stone": _in_organ(("urinary_bladder",), "stone", 12.0),
}


def put_in(scene: Scene, wishes: Sequence[Wish], refused: list[str] | None = None) -> Drawing:
    """Put findings into a painted body, in order. Masks are (Z, Y, X).

    Args:
        refused: takes the reason of each finding that is impossible; the others are put in all the same.

    Raises:
        UsageError: one of them is impossible in this person, phase or field of view, and nobody takes the reason.
    """
    drawing = Drawing(scene, {}, [], {})
    for wish in wishes:
        try:
            FINDINGS[wish.finding](drawing, wish)
        except UsageError as error:
            if refused is None:
                raise
            refused.append(str(error))
    return drawing
