"""Round findings: balls with rough or spiculated margins in an organ, alone or several."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.registry import Painter
from vlm.phantom.body.shapes import Floats
from vlm.phantom.body.wishes import Wish, refuse

SPREAD = 0.35  # how much several findings of no said size differ


def ball_ml(mm: float) -> float:
    """Volume of a ball, mL."""
    return float(np.pi / 6 * mm**3 / 1000)


def ball_rank(
    x: Floats, y: Floats, z: Floats, mm: float, rng: np.random.Generator, *, rough: float = 0.05, spikes: float = 0.0
) -> Floats:
    """Rank of voxels, mm from the middle of a ball with a rough margin; ``spikes`` draws needles out of it."""
    away = np.sqrt(x * x + y * y + z * z)
    rank = away.astype(np.float32)
    if mm > 5 and rough:
        cell, shift = mm / 7.0, rng.uniform(0, 6, 3)
        rank = rank + rough * mm * np.sin(x / cell + shift[0]) * np.sin(y / cell + shift[1]) * np.sin(
            z / cell + shift[2]
        )
    if spikes:
        for _ in range(16):
            d = rng.normal(size=3)
            d = (d / np.linalg.norm(d)).astype(np.float32)
            along = x * d[0] + y * d[1] + z * d[2]
            off = np.sqrt(np.maximum(away**2 - along**2, 0))
            needle = np.where(along > 0, 0.5 * mm * (1 - spikes) + np.maximum(off - 0.7, 0) + 0.15 * along, 1e3)
            rank = np.minimum(rank, needle.astype(np.float32) + 0.12 * mm)
    return np.asarray(rank, dtype=np.float32)


def sizes(drawing: Drawing, wish: Wish, mm: float) -> list[float]:
    """The diameters of as many findings as were asked for; they differ when no size was said."""
    if wish.count == 1:
        return [mm]
    said = wish.mm is not None or wish.ml is not None
    rng = drawing.rng(wish)
    return [mm if said else mm * float(rng.uniform(1 - SPREAD, 1 + SPREAD)) for _ in range(wish.count)]


def lump(
    drawing: Drawing, wish: Wish, inside: Bools, tissue: str, mm: float, *, rough: float = 0.05, spikes: float = 0.0,
    beyond: Bools | None = None, site: str | None = None, quantity: str = "diameter",
) -> str:  # fmt: skip
    """One round finding in some voxels; ``beyond`` is what it may bulge into. The name of its mask."""
    centre = drawing.centre(wish, inside, mm * (0.2 if beyond is not None else 0.55) + 1.0)
    allowed = inside if beyond is None else inside | beyond
    window, x, y, z = drawing.around(centre, mm * (0.75 + rough + 0.7 * spikes) + 4)
    rank = ball_rank(x, y, z, mm, drawing.rng(wish), rough=rough, spikes=spikes)
    return drawing.fill(wish, allowed, window, rank, ball_ml(mm), tissue, size=(quantity, mm), site=site)


def lesion(
    labels: Sequence[str], tissue: str, *, beyond: Sequence[str] = (), rough: float = 0.05, site: str | None = None
) -> Painter:
    """A painter of round lesions of one tissue in an organ; ``{side}`` in a label is the wish's side."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        names = [name.format(side=wish.side) for name in labels]
        for mm in sizes(drawing, wish, drawing.size(wish)):
            outside = drawing.voxels(beyond) if beyond else None
            lump(drawing, wish, drawing.voxels(names), tissue, mm, rough=rough, beyond=outside, site=site)

    return paint


def core(drawing: Drawing, name: str, share: float, tissue: str, part: str) -> None:
    """Give the middle ``share`` of a finding's volume to another tissue; its mask is named ``name_part``."""
    scene = drawing.scene
    index = np.argwhere(drawing.masks[name])
    points = scene.grid.to_mm(index[:, ::-1])
    away = np.linalg.norm(points - points.mean(axis=0), axis=1)
    inner = tuple(index[np.argsort(away, kind="stable")[: max(1, round(share * len(index)))]].T)
    scene.hu[inner], scene.tissue[inner] = scene.tissues.hu(tissue), scene.tissues.index(tissue)
    mask = np.zeros(scene.labels.shape, dtype=bool)
    mask[inner] = True
    drawing.part(f"{name}_{part}", mask)


def needs_side(wish: Wish) -> str:
    """The side of a wish that names one."""
    if wish.side is None:
        raise refuse(wish.words, "it names no side. Say left or right.")
    return wish.side
