"""Numbers of the chest and of the whole trunk: lungs, heart, aorta, metal, nodes, hiatus, bones, skin."""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage

from vlm.anatomy.lungs import SIDES, LungSide
from vlm.encoder.forms import ball
from vlm.encoder.lung_forms import lung_forms
from vlm.encoder.scene import (
    CROSS,
    GRID_MM,
    NOTHING,
    Bools,
    Floats,
    Numbers,
    Scene,
    away,
    deep,
    inner,
    largest,
    ml,
    opened,
    percentile,
    share,
    span_mm,
    wider,
    window_of,
)  # fmt: skip

FLUID_HU, SOLID_HU = (-25.0, 26.0), (28.0, 160.0)  # serous fluid 0 to 20 HU; airless lung 30 and more
HAZE_HU, DENSE_HU, VESSEL_HU = (-740.0, -350.0), -300.0, -550.0  # of smoothed lung
HOLE_HU = -940.0  # Gevenois 1996 takes -950 HU; this is what smoothing leaves of it
CLEAR_HU = (-1000.0, -650.0)
CALCIUM_HU, ABOVE_BLOOD_HU = 140.0, 110.0  # Agatston 1990 takes 130 HU without contrast
GAS_HU, SOFT_HU = -350.0, -20.0
BALL = (8, 2.0, 0.3)  # a ball is at most so many voxels long, so much longer than wide, and fills so much of its box
# Where nodes lie, mm right of, before and above the fork of the trachea.
STATIONS = {
    "right": (12, 14, 25), "left": (-18, 10, 15), "below": (4, -4, -12), "upper": (14, 2, 45), "hilum_r": (46, 4, -14),
    "hilum_l": (-46, 4, -14),
}  # fmt: skip
STATION_MM = 20.0
BESIDE_CANAL_MM = (("", 18.0, 32.0), ("near_", 14.0, 24.0))  # lumbar bodies are deeper than thoracic ones
VALVE_MM = 24.0  # round the lower end of the ascending aorta
NODE_MM, NODE_HU = 5.0, (-100.0, 100.0)  # a Gaussian as wide as a small node; fat to soft tissue
SITES = {"abdomen": "abdominal_aorta", "chest": "mediastinum"}  # whose cover a stretch of the aorta needs


def chest(seen: Scene, blood: float) -> Numbers:
    """Everything of this page; ``blood`` is the density of the aorta, HU."""
    bright = max(CALCIUM_HU, (blood if np.isfinite(blood) else 50.0) + ABOVE_BLOOD_HU)
    return {
        **lungs(seen), **heart(seen, bright), **aorta(seen, bright), **metal(seen, bright), **nodes(seen, blood),
        **gullet(seen), **bones(seen), **skin(seen),
    }  # fmt: skip


def lungs(seen: Scene) -> Numbers:
    """Of both lungs: their mean, the larger one, and how far they are apart; nothing where much of them is cut."""
    if not seen.covers("mediastinum"):
        return {}
    each = [lung(seen, side) for side in SIDES if seen.of(f"lung_{side}") is not None]
    told: Numbers = {}
    for name in {name for one in each for name in one}:
        values = np.array([one.get(name, NOTHING) for one in each])
        known = values[np.isfinite(values)]
        if known.size:
            told |= {f"lung.mean.{name}": float(known.mean()), f"lung.max.{name}": float(known.max())}
        if known.size == 2:
            told[f"lung.apart.{name}"] = float(np.ptp(known))
    return told


def lung(seen: Scene, side: LungSide) -> Numbers:
    """Of one lung and of what fills the place of lung on its side."""
    whole = seen.union(f"lung_{side}", f"cavity_{side}", f"space_{side}")
    at = window_of(whole, 3)
    air, cavity, hu, smooth = seen.parts[f"lung_{side}"][at], whole[at], seen.hu[at], seen.smooth[at]
    beside = wider(seen.union("heart_region", "heart", "aorta", "liver", "spleen", "esophagus", "airways", "skeleton",
                              "vertebrae")[at])  # fmt: skip
    depth, level = deep(air), np.flatnonzero(air.any(axis=(1, 2)))
    thirds = np.linspace(level[0], level[-1] + 1, 4).astype(int)
    k = np.arange(air.shape[0])[:, None, None]
    zones = {name: (k >= thirds[n]) & (k < thirds[n + 1]) for n, name in enumerate(("low", "middle", "top"))}
    core = inner(air)
    told = {"ml": ml(air), "mean": float(hu[core].mean()) if core.any() else NOTHING}
    values = smooth[core]
    told |= {f"p{q}": percentile(values, q) for q in (10, 50, 90)}
    told |= {"sd": float(values.std()) if values.size else NOTHING, "holes": share(smooth < HOLE_HU, core),
             "bulla": share(opened((smooth < HOLE_HU) & core), core)}  # fmt: skip
    haze = opened((smooth > HAZE_HU[0]) & (smooth < HAZE_HU[1]) & (depth > 7))
    told |= {"haze": ml(haze), "haze_big": ml(largest(haze))}
    told |= _filled(smooth, air, cavity & ~beside, zones, thirds)
    told |= {name: float(smooth[air & zone].mean()) if (air & zone).any() else NOTHING for name, zone in zones.items()}
    told |= lung_forms(hu, smooth, air, cavity, beside)
    return told | _texture(hu, core & (depth > 6)) | _vessels(hu, smooth, air, beside)


def _filled(smooth: Floats, air: Bools, room: Bools, zones: dict[str, Bools], thirds: np.ndarray) -> Numbers:
    """What is not air where lung should be: fluid, solid, its largest piece and the form of that."""
    dense = opened((smooth > DENSE_HU) & room)
    fluid = opened((smooth > FLUID_HU[0]) & (smooth < FLUID_HU[1]) & room)
    solid = opened((smooth > SOLID_HU[0]) & (smooth < SOLID_HU[1]) & room)
    gap, piece = room & ~air, largest(dense)
    told = {
        "dense": ml(dense), "dense_big": ml(piece), "thick": ml(opened(dense, 2)), "fluid": ml(fluid),
        "fluid_big": ml(largest(fluid)), "solid": ml(solid), "gap": 100 * ml(gap) / max(ml(air), 1.0),
        "gap_low": 100 * ml(gap & zones["low"]) / max(ml(air), 1.0),
        **{f"dense_{name}": ml(dense & zone) for name, zone in zones.items()},
    }  # fmt: skip
    index = np.argwhere(piece)
    if len(index) >= 5:
        axes = np.sqrt(np.maximum(np.linalg.eigvalsh(np.cov(index.T * GRID_MM)), 0.5))
        told |= {"thin": float(axes[0]), "flat": 100 * float(axes[0] / axes[1]),
                 "height": 100 * float((index[:, 0].mean() - thirds[0]) / max(1, thirds[3] - thirds[0]))}  # fmt: skip
    return told


def _texture(hu: Floats, inside: Bools) -> Numbers:
    """How restless clear lung is on scales of 2 to 12 mm, and in patches once its slope is taken out."""
    if np.count_nonzero(inside) < 50:
        return {}
    weight, clipped = inside.astype(np.float32), np.clip(hu, *CLEAR_HU)

    def calm(sigma: float) -> Floats:
        spread = ndimage.gaussian_filter(weight, sigma)
        return np.asarray(ndimage.gaussian_filter(clipped * weight, sigma) / np.maximum(spread, 0.05))

    fine, medium, coarse = calm(0.7), calm(2.0), calm(4.0)
    points = np.argwhere(inside).astype(np.float32)
    plane, values = np.c_[points, np.ones(len(points), np.float32)], medium[inside]
    rest = values - plane @ np.linalg.lstsq(plane, values, rcond=None)[0]
    smooth = ndimage.gaussian_filter(hu, 1.0)
    dips = (ndimage.grey_closing(smooth, size=3) - smooth)[inside]
    return {
        "fine": float((clipped - fine)[inside].std()), "medium": float((fine - medium)[inside].std()),
        "coarse": float((medium - coarse)[inside].std()), "mosaic": float(rest.std()),
        "patches": float(np.percentile(rest, 90) - np.percentile(rest, 10)), "dips": float(np.percentile(dips, 99)),
    }  # fmt: skip


def _vessels(hu: Floats, smooth: Floats, air: Bools, beside: Bools) -> Numbers:
    """What stands in the lung: how much of it near the pleura and deep, and in balls or ragged parts by itself."""
    closed = ndimage.binary_closing(np.pad(air, 4), CROSS, iterations=4)[4:-4, 4:-4, 4:-4]
    depth = deep(closed)
    dense = closed & (smooth > VESSEL_HU) & ~beside
    ridge = (ndimage.gaussian_filter(hu, 1.0) - ndimage.gaussian_filter(hu, 2.0))[closed & (depth > 4)]
    told = {"vessel_out": share(dense, closed & (depth > 4) & (depth < 15)),
            "vessel_in": share(dense, closed & (depth >= 15)), "spots": percentile(ridge, 99.5)}  # fmt: skip
    labels, number = cc3d.connected_components(dense & (depth > 3), connectivity=26, return_N=True)
    balls, ball, part = 0, 0.0, 0.0
    if number:
        found = cc3d.statistics(labels)
        for count, box in zip(found["voxel_counts"][1:], found["bounding_boxes"][1:], strict=True):
            sides = np.array([along.stop - along.start for along in box])
            if count < 3:
                continue
            if sides.max() <= BALL[0] and sides.max() <= BALL[1] * sides.min() and count > BALL[2] * sides.prod():
                balls, ball = balls + 1, max(ball, float(count) * GRID_MM**3 / 1000)
            else:
                part = max(part, float(count) * GRID_MM**3 / 1000)
    return told | {"balls": float(balls), "ball": ball, "part": part}


def heart(seen: Scene, bright: float) -> Numbers:
    """Size of the heart against the chest, fluid, fat and calcium round it; nothing where the chest is cut."""
    if not seen.covers("mediastinum"):
        return {}
    told: Numbers = {} if seen.ratio is None else {"heart.ct_ratio": 100 * seen.ratio}
    beat = seen.of("heart")
    beat = seen.of("heart_region") if beat is None else beat
    if beat is None:
        return told
    chest_mm = span_mm(seen.union("cavity_right", "cavity_left"), 2)
    at = window_of(beat, 7)
    muscle, hu, smooth = beat[at], seen.hu[at], seen.smooth[at]
    lengths = np.array([span_mm(one[None], 2) for one in beat if one.any()])
    wide = float(np.percentile(lengths, 95))
    out, depth = away(muscle), deep(muscle)
    clear = ~wider(seen.union("lung_right", "lung_left", "liver", "stomach", "spleen", "aorta", "esophagus",
                              "airways")[at])  # fmt: skip
    rows = np.arange(muscle.shape[1])[None, :, None]
    back = rows < np.argwhere(muscle)[:, 1].mean()
    water, rim = (smooth > -12) & (smooth < 24) & (out < 14) & clear, (depth > 0) & (depth < 9) & clear
    hot = (hu > bright) & (out < 8) & ~wider(seen.parts["skeleton"][at], 2)
    own = hot & ~wider(seen.union("aorta")[at])
    excess = np.clip(hu - bright, 0, 1200) * GRID_MM**3 / 1000
    more = {
        "ml": ml(beat), "width": wide, "ratio": 100 * wide / chest_mm if chest_mm else NOTHING,
        "share": ml(beat) / (chest_mm / 100) ** 3 if chest_mm else NOTHING, "water": ml(opened(water)),
        "water_big": ml(largest(opened(water))), "water_back": ml(water & back), "rim": percentile(smooth[rim], 30),
        "rim_back": percentile(smooth[rim & back], 50),
        "fat": share((smooth < -40) & (smooth > -150), (out < 9) & clear),
        "calcium": float(excess[own].sum()), "calcium_rim": float(excess[own & (depth < 14)].sum()),
        "calcium_deep": float(excess[hot & (depth >= 14)].sum()),
        "calcium_max": float(hu[own].max() - bright) if own.any() else 0.0,
        "bright": percentile(hu[depth > 18], 99.8) - bright,
        "water_radius": float(deep(water).max()), "valve": _valve(seen, at, excess * hot),
    }  # fmt: skip
    return told | {f"heart.{name}": value for name, value in more.items()}


def _valve(seen: Scene, at: tuple[slice, slice, slice], excess: Floats) -> float:
    """Calcium where the aorta leaves the heart: near the lowest end of what of it lies before the trachea's fork."""
    vessel, heights = seen.of("aorta"), seen.heights_mm
    if vessel is None or seen.carina_mm is None:
        return NOTHING
    front = seen.origin_mm[1] + np.arange(vessel.shape[1]) * GRID_MM - seen.carina_mm[1]
    index = np.argwhere(vessel & (front > 0)[None, :, None] & (heights < seen.carina_mm[2] + 20))
    if len(index) < 10:
        return NOTHING
    root = index[index[:, 0] <= index[:, 0].min() + 2].mean(axis=0) - [along.start for along in at]
    z, y, x = np.ogrid[tuple(slice(0, n) for n in excess.shape)]
    near = ((z - root[0]) ** 2 + (y - root[1]) ** 2 + (x - root[2]) ** 2) * GRID_MM**2 < VALVE_MM**2
    return float(excess[near].sum())


def aorta(seen: Scene, bright: float) -> Numbers:
    """Width and calcium of the aorta, below and above the dome of the diaphragm."""
    vessel = seen.of("aorta")
    if vessel is None:
        return {}
    depth, dome = deep(vessel), -np.inf if seen.dome_mm is None else seen.dome_mm
    disc = deep((seen.smooth > SOFT_HU) & ~seen.union("vertebrae", "kidney_right", "kidney_left"))
    hot = (seen.hu > bright) & wider(vessel) & ~wider(seen.parts["skeleton"], 2)
    excess = np.clip(seen.hu - bright, 0, 1200) * GRID_MM**3 / 1000 * hot
    told: Numbers = {}
    for name, here in (("abdomen", seen.heights_mm < dome - 20), ("chest", seen.heights_mm >= dome - 20)):
        part = vessel & here
        if np.count_nonzero(part) < 20 or not seen.covers(SITES[name]):
            continue
        areas = part.sum(axis=(1, 2)) * GRID_MM**2
        core = part & (depth > 4)
        told |= {
            f"aorta.{name}.radius": float(np.percentile(depth[part], 99.5)),
            f"aorta.{name}.disc": float(np.percentile(disc[part], 99)),
            f"aorta.{name}.area": float(np.percentile(areas[areas > 0], 95)),
            f"aorta.{name}.spread": float(seen.smooth[core].std()) if core.sum() > 20 else NOTHING,
            f"aorta.{name}.calcium": float((excess * here).sum()), f"aorta.{name}.spots": float((hot & here).sum()),
        }  # fmt: skip
    return told


def metal(seen: Scene, bright: float) -> Numbers:
    """What is denser than calcium, in bones and outside them, under the skin, and in long lines."""
    within, inside = seen.parts["within"], inner(seen.parts["body"], 2)
    free = inside & ~wider(seen.union("skeleton", "vertebrae", "ribs", "hip", "sacrum", "femur"), 2)
    told = {f"all_{hu}": ml((seen.hu > hu) & inside) for hu in (1200, 2200)}
    told |= {f"free_{hu}": ml((seen.hu > hu) & free) for hu in (600, 1200, 2200)}
    told |= {"skin": ml((seen.hu > 300) & free & ~within), "most": percentile(seen.hu[inside], 100)}
    hollow = seen.union("kidney_right", "kidney_left", "colon", "small_bowel", "stomach", "urinary_bladder")
    line = (seen.hu > max(250.0, bright)) & free & within & ~hollow
    labels, number = cc3d.connected_components(line, connectivity=26, return_N=True)
    boxes = cc3d.statistics(labels)["bounding_boxes"][1:] if number else []
    told |= {"inner": ml(line), "long": max((float(b[0].stop - b[0].start) * GRID_MM for b in boxes), default=0.0)}
    return {f"metal.{name}": value for name, value in told.items()}


def nodes(seen: Scene, blood: float) -> Numbers:
    """How much soft tissue stands in the fat where nodes lie, and the thickest of it."""
    trachea = seen.of("trachea_")
    if seen.carina_mm is None or trachea is None or not seen.covers("mediastinum"):
        return {}
    low = seen.heights_mm - seen.carina_mm[2]
    index = np.argwhere(trachea & (low < 60))
    if len(index) < 10:
        return {}
    front = (np.arange(seen.hu.shape[1]) - index[:, 1].mean())[None, :, None] * GRID_MM
    right = (np.arange(seen.hu.shape[2]) - index[:, 2].mean())[None, None, :] * GRID_MM
    free = ~seen.union("lung_right", "lung_left") & ~wider(seen.parts["airways"])
    told: Numbers = {}
    for name, (x, y, z) in STATIONS.items():
        near = ((right - x) ** 2 + (front - y) ** 2 + (low - z) ** 2 < STATION_MM**2) & free
        told[name] = share((seen.smooth > -10) & (seen.smooth < 130), near) if near.sum() > 30 else NOTHING
    region = (np.abs(right) < 45) & (front > -25) & (front < 55) & (low > -15) & (low < 60) & free
    region &= seen.parts["within"] & ~wider(seen.union("aorta"))
    most = blood if np.isfinite(blood) else 50.0
    soft = (seen.smooth > -10) & (seen.smooth < most + 25) & region
    dark = (seen.smooth > 15) & (seen.smooth < (110.0 if most > 100 else 90.0)) & region
    told |= {"soft": ml(soft), "share": share(soft, region), "ball": float(deep(soft).max()),
             "ball_dark": float(deep(dark).max()),
             "knob": ball(np.clip(seen.hu, *NODE_HU), region & (seen.smooth > -60), NODE_MM)}  # fmt: skip
    return {f"nodes.{name}": value for name, value in told.items()}


def gullet(seen: Scene) -> Numbers:
    """Gas, stomach and soft tissue behind the heart above the diaphragm."""
    told: Numbers = {}
    stomach = seen.of("stomach")
    cavity = seen.union("cavity_right", "cavity_left")
    if seen.dome_mm is not None and cavity.any() and seen.covers("mediastinum"):
        top = seen.dome_mm + 90 if seen.carina_mm is None else seen.carina_mm[2] - 15
        index = np.argwhere(cavity.any(axis=0))
        front = (np.arange(cavity.shape[1]) - np.median(index[:, 0]))[None, :, None] * GRID_MM
        right = (np.arange(cavity.shape[2]) - np.median(index[:, 1]))[None, None, :] * GRID_MM
        heights = seen.heights_mm
        near = (np.abs(right) < 55) & (front < 15) & (heights > seen.dome_mm - 25) & (heights < top)
        near &= seen.parts["within"]
        lung_ = seen.union("lung_right", "lung_left")
        gas = (seen.hu < GAS_HU) & near & ~wider(lung_) & ~wider(seen.parts["airways"], 2)
        known = seen.union("heart", "heart_region", "aorta", "liver", "skeleton", "vertebrae", "spleen", "stomach")
        soft = (seen.smooth > -5) & (seen.smooth < 70) & near & ~lung_ & ~known & (heights > seen.dome_mm - 5)
        told |= {"gas": ml(gas), "gas_big": ml(largest(opened(gas))), "soft": ml(opened(soft)),
                 "ball": float(deep(soft).max())}  # fmt: skip
        if stomach is not None:
            held = heights.ravel()[stomach.any(axis=(1, 2))]
            told |= {"stomach": ml(stomach & near & (heights > seen.dome_mm - 10)),
                     "stomach_top": float(held[-1] - seen.dome_mm)}  # fmt: skip
    return {f"gullet.{name}": value for name, value in told.items()}


def bones(seen: Scene) -> Numbers:
    """Density of the vertebrae, and gaps and wedges along the front of the spine."""
    told: Numbers = {}
    spine = seen.of("vertebrae")
    if spine is not None:
        core = inner(spine, 2)
        values = seen.smooth[core if core.sum() > 50 else spine]
        told |= {f"p{q}": percentile(values, q) for q in (10, 50, 95)} | {"sd": float(values.std())}
    if len(seen.canal_mm) >= 5:
        for word, behind, before in BESIDE_CANAL_MM:
            told |= {f"{word}{name}": value for name, value in _gaps(seen, behind, before).items()}
    return {f"bone.{name}": value for name, value in told.items()}


def _gaps(seen: Scene, behind_mm: float, before_mm: float) -> Numbers:
    """How high the discs are along a line before the canal, and where it is darker than a line further back."""
    middle, front = (_column(seen, mm) for mm in (behind_mm, before_mm))
    above = front - ndimage.uniform_filter1d(front, 25)
    edges = np.flatnonzero(np.diff(np.r_[False, above < 0, False].astype(int)))
    runs = (edges[1::2] - edges[::2]) * GRID_MM
    runs, told = runs[runs >= 6], {}
    if len(runs) >= 3:
        told = {"gap": float(runs.max()), "gap_ratio": float(runs.max() / np.median(runs))}
    step = ndimage.uniform_filter1d(middle - front, 3)
    return {**told, "bright": float(np.percentile(front, 98) - np.median(front)),
            "dark": float(np.median(front) - np.percentile(front, 2)),
            "wedge": float(step.max() - np.median(step))}  # fmt: skip


def _column(seen: Scene, forward_mm: float) -> np.ndarray:
    """(Z,) mean density of a block of 15 x 9 mm, so far before the canal."""
    order = np.argsort(seen.canal_mm[:, 2])
    heights = seen.heights_mm.ravel()
    x, y = (np.interp(heights, seen.canal_mm[order, 2], seen.canal_mm[order, axis]) for axis in (0, 1))
    out = np.full(len(heights), NOTHING)
    for k in range(len(heights)):
        j = round((y[k] + forward_mm - seen.origin_mm[1]) / GRID_MM)
        i = round((x[k] - seen.origin_mm[0]) / GRID_MM)
        block = seen.smooth[k, max(0, j - 1) : max(0, j + 2), max(0, i - 2) : max(0, i + 3)]
        out[k] = block.mean() if block.size else NOTHING
    return np.where(np.isfinite(out), out, np.nanmedian(out) if np.isfinite(out).any() else 0.0)


def skin(seen: Scene) -> Numbers:
    """The fat under the skin: water, air and soft tissue in it."""
    body = seen.parts["body"]
    depth = deep(body)
    layer = body & ~wider(seen.parts["within"]) & (depth > 6) & ~wider(seen.parts["skeleton"], 3)
    if np.count_nonzero(layer) < 200:
        return {}
    values = seen.smooth[layer]
    plain = values[(values > -130) & (values < -40)]
    before = (np.arange(body.shape[1]) >= np.argwhere(body.any(axis=(0, 2))).mean())[None, :, None]
    lung_ = wider(seen.union("lung_right", "lung_left", "airways", "space_right", "space_left"), 2)
    above = seen.heights_mm > (-np.inf if seen.dome_mm is None else seen.dome_mm)
    soft = opened((seen.smooth > -30) & (seen.smooth < 120) & layer & before, 2)
    told = {
        "hu": percentile(values, 50), "wet": share((seen.smooth > -75) & (seen.smooth < 60), layer),
        "air": ml((seen.smooth < -250) & layer), "p90": percentile(values, 90),
        "sd": float(plain.std()) if plain.size > 50 else NOTHING, "skew": float(values.mean() - np.median(values)),
        "back": share(seen.smooth > -75, layer & ~before), "front": share(seen.smooth > -75, layer & before),
        "soft": ml(largest(soft)), "wall_air": ml(body & (depth > 6) & (seen.smooth < -250) & ~lung_ & above),
    }  # fmt: skip
    return {f"skin.{name}": value for name, value in told.items()}
