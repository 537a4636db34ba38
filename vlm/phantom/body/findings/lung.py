"""Findings of the lung: nodules and masses, filled, hazy and airless lung, holes, scars, septa, mosaic."""

from __future__ import annotations

import numpy as np

from vlm.phantom.body.findings.drawing import Bools, Drawing
from vlm.phantom.body.findings.lumps import core, lump, sizes
from vlm.phantom.body.findings.registry import Painter, Size, finding
from vlm.phantom.body.labels import LOBES
from vlm.phantom.body.patient import Patient, Push
from vlm.phantom.body.scanner import TILE, TILE_STEP_MM, tile
from vlm.phantom.body.shapes import Floats
from vlm.phantom.body.wishes import Wish, refuse

MASS_MM = 30.0  # Fleischner glossary (Hansell 2008): a nodule is at most 30 mm
LOBE_OF = {"upper_lobe": "upper", "middle_lobe": "middle", "lower_lobe": "lower", "lingula": "upper"}
PLACES = (
    "lung", "lobe", "upper_lobe", "middle_lobe", "lower_lobe", "lingula", "upper_zone", "middle_zone", "lower_zone",
    "apex", "base", "subpleural", "perihilar",
)  # fmt: skip
COLLAPSED_SHARE = 0.15  # of its volume is left of a lobe without air: its tissue and blood
SHIFT_MM, RISE_MM = 20.0, 34.0  # of the mediastinum towards a collapsed lobe, of the diaphragm below it
SEPTA_MM = 14.0  # a secondary lobule is 10 to 25 mm wide (Webb 2006)
RAGGED = 0.16  # of a patch's diameter: lobules far from its middle are filled before some that are nearer
MOSAIC_MM = 22.0  # patches of air trapping are lobules and groups of them


def lobes(wish: Wish) -> tuple[str, ...]:
    """The lobes that a wish names; all of them when it names none."""
    part = LOBE_OF.get(wish.site or "")
    if part == "middle" and wish.side == "left":
        raise refuse(wish.words, "the left lung has no middle lobe.")
    return tuple(n for n in LOBES if (wish.side is None or n.endswith(wish.side)) and (part is None or part in n))


def lung(drawing: Drawing, wish: Wish) -> Bools:
    """Voxels of the part of the lung that a wish names: lobes, thirds by height, rind or middle."""
    inside = drawing.voxels(lobes(wish))
    third = {"upper_zone": 2, "apex": 2, "middle_zone": 1, "lower_zone": 0, "base": 0}.get(wish.site or "")
    if third is not None:
        levels = np.flatnonzero(inside.any(axis=(1, 2)))
        if len(levels):
            edge = np.linspace(levels[0], levels[-1] + 1, 4).astype(int)
            inside[: edge[third]], inside[edge[third + 1] :] = False, False
    if wish.site in ("subpleural", "perihilar") and inside.any():
        window = drawing.box(wish, inside)
        depth = drawing.away(~drawing.voxels((*LOBES, "lung_vessels", "bronchi"))[window])
        inside[window] &= depth < 12 if wish.site == "subpleural" else depth > 22
    return inside


def field(drawing: Drawing, sigma_mm: float, number: int) -> Floats:
    """(Z, Y, X) smooth random values, deviation 1, which vary over some mm."""
    stretch = max(1.0, sigma_mm / 8.0)  # a tile holds widths up to 8 mm
    x, y, z = (np.floor(line / (TILE_STEP_MM * stretch)).astype(int) % TILE for line in drawing.scene.lines)
    block = tile(sigma_mm / stretch, number)
    return np.asarray(block[z[:, None, None], y[None, :, None], x[None, None, :]])


NODULE_LOOKS = (
    "solid", "ground_glass", "part_solid", "calcified", "noncalcified", "spiculated", "smooth", "lobulated", "round",
    "irregular",
)  # fmt: skip


@finding("lung_nodule", example="12 mm solid nodule, left upper lobe", size=Size("diameter", 10.0, 2.0, 1e3),
         side="may", sites=PLACES, attributes=NODULE_LOOKS, many=True)  # fmt: skip
@finding("lung_mass", example="45 mm spiculated lung mass, right lower lobe", size=Size("diameter", 42.0, 30.0, 150.0),
         side="may", sites=PLACES, attributes=NODULE_LOOKS, many=True)  # fmt: skip
def nodule(drawing: Drawing, wish: Wish) -> None:
    """A ball in the lung: solid, hazy, hazy with a solid middle, or calcified."""
    size = drawing.size(wish)
    if wish.finding == "lung_nodule" and size > MASS_MM:
        raise refuse(wish.words, f"a lung nodule is at most {MASS_MM:.0f} mm. Ask for a lung mass.")
    tissue = "nodule"
    if wish.attributes & {"ground_glass", "part_solid"}:
        tissue = "ground_glass"
    elif "calcified" in wish.attributes:
        tissue = "stone"
    spikes = 0.35 if "spiculated" in wish.attributes else 0.0
    rough = 0.13 if "lobulated" in wish.attributes else 0.05
    for mm in sizes(drawing, wish, size):
        name = lump(drawing, wish, lung(drawing, wish), tissue, mm, rough=rough, spikes=spikes)
        if "part_solid" in wish.attributes:
            core(drawing, name, 1 / 8, "nodule", "solid")


def _patch(tissue: str) -> Painter:
    """An opacity that follows no wall: lobules beside each other, not the ball of a mass."""

    def paint(drawing: Drawing, wish: Wish) -> None:
        ml = drawing.size(wish)
        inside = lung(drawing, wish)
        mm = float(np.cbrt(ml * 6000 / np.pi))
        centre = drawing.centre(wish, inside, min(0.25 * mm, 16.0))
        window, x, y, z = drawing.around(centre, 1.1 * mm + 12)
        ragged = 0.16 * mm * np.sin(x / 6.1) * np.sin(y / 5.3 + 1) * np.sin(z / 6.7 + 2)
        lobules = RAGGED * mm * field(drawing, 4.0 if mm < 30 else 8.0, 8)[window]
        rank = np.sqrt(x * x + (1.2 * y) ** 2 + (0.9 * z) ** 2) + ragged + lobules
        allowed = inside | (drawing.voxels(("lung_vessels",)) & (drawing.half(wish.side) if wish.side else True))
        drawing.fill(wish, allowed, window, rank.astype(np.float32), ml, tissue)

    return paint


PATCH_LOOKS = ("patchy", "irregular", "focal", "peripheral", "round", "acute", "chronic")
PATCH = Size("volume", 25.0, 0.5, 1500.0, ball=True)
finding("consolidation", example="consolidation right middle lobe 40 ml", size=PATCH,
        side="may", sites=PLACES, attributes=PATCH_LOOKS)(_patch("consolidated"))  # fmt: skip
finding("ground_glass_opacity", example="ground glass opacity left upper lobe 30 ml", side="may", sites=PLACES,
        size=PATCH, attributes=(*PATCH_LOOKS, "ground_glass", "diffuse"),
        )(_patch("ground_glass"))  # fmt: skip
finding("lung_opacity", example="lung opacity right lower lobe 20 ml", size=PATCH,
        side="may", sites=PLACES, attributes=PATCH_LOOKS)(_patch("hazy"))  # fmt: skip


@finding("atelectasis", example="linear atelectasis, left lower lobe, 4 ml", size=Size("volume", 4.0, 0.3, 120.0),
         side="must", sites=(*PLACES, "segment"), attributes=("linear", "passive", "dependent", "focal"))  # fmt: skip
def atelectasis(drawing: Drawing, wish: Wish) -> None:
    """A plate of airless lung above the diaphragm, or airless lung behind when it is called passive or dependent."""
    inside = drawing.voxels(lobes(wish)) & drawing.half(wish.side or "")
    if wish.attributes & {"passive", "dependent"}:
        drawing.fill(wish, inside, drawing.whole(), drawing.height(), drawing.size(wish), "collapsed", site=wish.site)
        return
    ml = drawing.size(wish)
    thick = float(np.clip(np.cbrt(ml) * 2.6, 2.5, 12.0))
    centre = drawing.centre(wish, lung(drawing, wish), 12.0)
    rng = drawing.rng(wish)
    tilt = rng.normal(0, 0.35, 2).astype(np.float32)
    wide = float(np.sqrt(ml * 1000 / thick)) * 0.75
    window, x, y, z = drawing.around(centre, 2.2 * wide + 12)
    plane = np.abs(z - tilt[0] * x - tilt[1] * y + 2.0 * np.sin(x / 17) * np.sin(y / 13)) / (0.5 * thick)
    rank = np.sqrt((x / wide) ** 2 + (y / wide) ** 2 + plane**2) * np.float32(0.5 * thick)
    drawing.fill(wish, inside, window, rank.astype(np.float32), ml, "collapsed")


def _pull(patient: Patient, wish: Wish) -> None:
    """Lung that lost its air draws the mediastinum to its side and the diaphragm up."""
    sign = 1.0 if wish.side == "right" else -1.0
    patient.pushes.append(Push((0.0, 15.0, 350.0), (75.0, 60.0, 95.0), (sign * SHIFT_MM, 0.0, 0.0)))
    patient.pushes.append(Push((sign * 75.0, 5.0, 270.0), (60.0, 75.0, 70.0), (0.0, 0.0, RISE_MM)))


@finding("lobar_collapse", example="left lower lobe collapse", side="must",
         sites=("lobe", "upper_lobe", "middle_lobe", "lower_lobe"), prepare=_pull)  # fmt: skip
def lobar_collapse(drawing: Drawing, wish: Wish) -> None:
    """A lobe shrinks to an airless wedge at the mediastinum; its neighbours fill the room, the mediastinum shifts."""
    names = lobes(wish)
    name = names[int(drawing.rng(wish).integers(len(names)))]
    lobe = drawing.voxels((name,))
    window = drawing.box(wish, lobe)
    scene = drawing.scene
    x, y, z = (scene.lines[a][window[2 - a]] for a in range(3))
    middle = drawing.points(lobe).mean(axis=0)
    # lower lobes fall behind and inwards, upper lobes forwards, the middle lobe onto the heart
    back = {"lower": 0.7, "upper": -0.5, "middle": -0.2}[name.split("_")[1]]
    down = {"lower": 0.5, "upper": -0.3, "middle": 0.4}[name.split("_")[1]]
    rank = np.abs(x)[None, None, :] + back * (y - middle[1])[None, :, None] + down * (z - middle[2])[:, None, None]
    ml = COLLAPSED_SHARE * float(np.count_nonzero(lobe)) * scene.grid.voxel_ml
    drawing.fill(wish, lobe, window, rank.astype(np.float32), ml, "collapsed", site=name.split("_")[1] + "_lobe")


@finding("emphysema", example="emphysema 5 %", size=Size("fraction", 10.0, 0.2, 60.0, {"mild": 5.0, "moderate": 12.0,
         "severe": 25.0, "marked": 20.0, "minimal": 2.0}), side="may", sites=PLACES,
         attributes=("central", "paraseptal", "diffuse"))  # fmt: skip
def emphysema(drawing: Drawing, wish: Wish) -> None:
    """Holes of a few millimetres, more of them towards the top; paraseptal ones lie under the pleura."""
    share = drawing.size(wish)
    inside = lung(drawing, wish)
    rank = field(drawing, 2.2, 5) * -2.0 - (0.008 * drawing.scene.lines[2])[:, None, None]
    if "paraseptal" in wish.attributes and inside.any():
        window = drawing.box(wish, inside)
        air = drawing.voxels((*LOBES, "lung_vessels", "bronchi"))[window]
        rank[window] += 0.25 * np.minimum(drawing.away(~air), 30)
    ml = share / 100 * float(np.count_nonzero(inside)) * drawing.scene.grid.voxel_ml
    drawing.fill(wish, inside, drawing.whole(), rank.astype(np.float32), ml, "bulla", site=wish.site or "lung",
                 size=("fraction", share))  # fmt: skip


@finding("lung_cyst", example="lung cyst 15 mm, right upper lobe", size=Size("diameter", 15.0, 3.0, 80.0), side="may",
         sites=PLACES, attributes=("walled",), many=True)  # fmt: skip
def lung_cyst(drawing: Drawing, wish: Wish) -> None:
    """A ball of air with a wall one voxel thin."""
    for mm in sizes(drawing, wish, drawing.size(wish)):
        name = lump(drawing, wish, lung(drawing, wish), "bulla", mm, rough=0.0)
        window = drawing.box(wish, drawing.masks[name], 4.0)
        wall = np.abs(drawing.signed(drawing.masks[name][window]) - 0.8) < 0.6
        drawing.scene.hu[window][wall & drawing.voxels(LOBES)[window]] += 180.0


@finding("cavity", example="cavitation 30 mm, right upper lobe", size=Size("diameter", 30.0, 10.0, 120.0),
         side="may", sites=PLACES, attributes=("walled", "irregular"))  # fmt: skip
def cavity(drawing: Drawing, wish: Wish) -> None:
    """A mass with air in its middle."""
    name = lump(drawing, wish, lung(drawing, wish), "nodule", drawing.size(wish), rough=0.08)
    core(drawing, name, 0.35, "air", "air")


@finding("pulmonary_fibrotic_sequela", example="fibrotic sequela, right apex, 3 ml", side="must", sites=PLACES,
         size=Size("volume", 3.0, 0.3, 60.0), attributes=("linear", "chronic"))  # fmt: skip
def fibrotic_sequela(drawing: Drawing, wish: Wish) -> None:
    """Bands that run from the pleura into the lung, ragged and thin."""
    inside = lung(drawing, wish)
    window = drawing.box(wish, inside)
    depth = drawing.away(~drawing.voxels((*LOBES, "lung_vessels", "bronchi"))[window])
    rind = inside.copy()
    rind[window] &= depth < 10
    start = drawing.centre(wish, rind, 0.0)
    rng = drawing.rng(wish)
    deep = drawing.points(inside).mean(axis=0) - start
    rank = np.full(inside.shape, 1e3, dtype=np.float32)
    for turn in range(4):
        way = deep / np.linalg.norm(deep) + rng.normal(0, 0.45, 3)
        start_here = start + rng.normal(0, 5, 3)
        length = 30 + 12 * rng.random()
        line = np.array([[*(start_here + way * t * length), 1.6 * (1 - 0.6 * t)] for t in (0.0, 0.3, 0.6, 1.0)])
        line[1:3, :3] += rng.normal(0, 3, (2, 3))
        part, mm = drawing.tube(line, reach_mm=14.0)
        np.minimum(rank[part], mm + 0.3 * turn, out=rank[part])
    drawing.fill(wish, inside, window, rank[window], drawing.size(wish), "scar")


@finding("interlobular_septal_thickening", example="interlobular septal thickening, lower lobe, 6 %", side="may",
         size=Size("fraction", 6.0, 1.0, 20.0), sites=(*PLACES, "septa"),
         attributes=("smooth", "diffuse", "peripheral"))  # fmt: skip
def septal_thickening(drawing: Drawing, wish: Wish) -> None:
    """The walls between lobules of 10 to 20 mm: borders of the cells round scattered points."""
    inside = lung(drawing, wish)
    window = drawing.box(wish, inside)
    points = drawing.points(inside)
    low, high = points.min(axis=0), points.max(axis=0)
    cells = np.ceil((high - low) / SEPTA_MM).astype(int)
    rng = drawing.rng(wish)
    grid = np.stack(np.meshgrid(*(np.arange(n) + 0.5 for n in cells), indexing="ij"), axis=-1).reshape(-1, 3)
    seeds = low + (grid + rng.uniform(-0.42, 0.42, grid.shape)) * SEPTA_MM
    from scipy.spatial import cKDTree

    first, second = cKDTree(seeds).query(points, k=2, workers=2)[0].T
    rank = np.full(inside.shape, 1e3, dtype=np.float32)
    depth = drawing.away(~drawing.voxels((*LOBES, "lung_vessels", "bronchi"))[window])[inside[window]]
    rank[inside] = (second - first) + 0.03 * depth  # septa are best developed below the pleura
    share = drawing.size(wish)
    ml = share / 100 * len(points) * drawing.scene.grid.voxel_ml
    drawing.fill(wish, inside, window, rank[window], ml, "septum", site=wish.site or "lung", size=("fraction", share))


@finding("mosaic_attenuation", example="mosaic attenuation, 90 HU", size=Size("attenuation_difference", 90.0, 30.0,
         200.0), side="may", sites=PLACES, attributes=("diffuse", "patchy"))  # fmt: skip
def mosaic(drawing: Drawing, wish: Wish) -> None:
    """Patches of lung that hold less air than others; the dark ones trap it, so half the lung is denser."""
    step = drawing.size(wish)
    inside = lung(drawing, wish) & drawing.made_of(("lung",))
    if not inside.any():
        raise refuse(wish.words, "the lung is not in the field of view.")
    dense = inside & (field(drawing, MOSAIC_MM / 2, 6) > 0)
    drawing.scene.hu[dense] += step / 2
    drawing.scene.hu[inside & ~dense] -= step / 2
    drawing.note(wish, dense, site=wish.site or "lung", size=("attenuation_difference", step), contrast=step)
