"""Findings of other organs put into a real scan: balls in liver, spleen and kidneys, stones, calcium, fluid, free air.

Where an organ lies is told by masks that the caller gives, else by ``vlm.anatomy`` where it finds the organ; what
neither knows is refused. Densities follow what this scan shows: a lesion is so much darker than this very liver.
"""

from __future__ import annotations

import edt
import numpy as np
from scipy import ndimage

from vlm.anatomy.aorta import aorta
from vlm.anatomy.fat import fat
from vlm.anatomy.heart import heart
from vlm.anatomy.kidneys import kidneys
from vlm.anatomy.liver import liver
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import skeleton
from vlm.ct.volume import Mask
from vlm.phantom.body.findings.lumps import ball_ml
from vlm.phantom.calcium import CALCIUM_HU
from vlm.phantom.calcium import plaques as in_spheres
from vlm.phantom.host import Bools, Floats, Host, Implant, Window, lowest
from vlm.phantom.in_lung import ball

CYST_HU, STONE_HU, FLUID_HU, FREE_AIR_HU = 8.0, 750.0, 8.0, -1000.0
CHOLESTEROL_HU = 95.0  # many gallstones are hardly denser than bile
ENHANCED_HU = 80.0  # an organ denser than this has taken up contrast
DARKER_HU = {False: 18.0, True: 42.0}  # a lesion than its organ, without and with contrast
TUMOUR_HU = {False: 36.0, True: 80.0}  # of a kidney
FAT_HU = (-140.0, -40.0)
RIM_MM = 28.0  # fluid and free air are put in so near to the liver
BESIDE_MM = 10.0  # fluid beside the liver and in its rim, which gives way
WALL_MM = 8.0  # muscles of the front and of the side of the abdomen, at least
BESIDE_WALL_MM = 4.0  # diaphragm and muscle inside of ribs and below lung
GAS_HU, BOWEL_WALL_MM = -500, 3.0  # gas of bowel, and its wall
PLAQUE_MM = 2.5  # so deep a wall of the aorta holds them
CORONARY_MM = 4.5  # a coronary artery is thinner
TRIES = 40  # places that are tried for a ball


def organ(host: Host, each: Implant, name: str) -> Mask:
    """The mask of an organ, given by the caller or found.

    Raises:
        ValueError: neither knows it.
    """
    given = host.organs.get(name)
    if given is not None and given.voxels.any():
        return given
    case, found = host.case, None
    if name == "liver" and liver(case).found:
        found = liver(case).mask
    elif name.startswith("kidney_"):
        found = kidneys(case)[name.removeprefix("kidney_")]
    elif name == "aorta" and aorta(case).found:
        found = aorta(case).mask
    elif name == "heart" and heart(case).found:
        found = heart(case).mask
    if found is None:
        words = name.replace("_", " ")
        raise ValueError(f"{each.finding}: where the {words} of this scan lies is not known. Give its mask (--organs)")
    return found


def part_of(host: Host, mask: Mask, margin_mm: float) -> tuple[Window, Bools]:
    """The window of a mask on the scan's grid, grown, and the mask in it."""
    low, high = np.asarray(mask.box.low_mm), np.asarray(mask.box.high_mm)
    window = host.window(low, high, margin_mm)
    return window, host.on_window(mask, window)


def depth_of(host: Host, inside: Bools) -> Floats:
    """How deep each voxel of a mask lies in it, mm; beyond the window the organ goes on."""
    steps = host.grid.spacing_mm
    return np.asarray(edt.edt(np.asfortranarray(inside), anisotropy=steps, black_border=False, parallel=2))


def _mean(host: Host, window: Window, inside: Bools) -> float:
    return float(np.median(host.hu[window][inside]))


def _sided(host: Host, each: Implant, stem: str) -> str:
    """``kidney_left``: the side that was asked for, or one that is known."""
    if each.side:
        return f"{stem}_{each.side}"
    names = [f"{stem}_{side}" for side in ("right", "left")]
    known = [name for name in names if host.organs.get(name) is not None] or names
    return known[int(host.rng.integers(len(known)))]


LESIONS = {  # finding: organ, whether it may stand out of it
    "liver_lesion": ("liver", False), "liver_cyst": ("liver", False), "splenic_lesion": ("spleen", False),
    "renal_lesion": ("kidney", True), "renal_cyst": ("kidney", True), "kidney_stone": ("kidney", False),
    "gallstone": ("gallbladder", False),
}  # fmt: skip


def lesion(host: Host, name: str, each: Implant) -> None:
    """A ball in an organ, of a density that this scan would show."""
    stem, exophytic = LESIONS[each.finding]
    label = _sided(host, each, stem) if stem == "kidney" else stem
    window, inside = part_of(host, organ(host, each, label), each.size)
    radius = each.size / 2
    depth = depth_of(host, inside)
    least = 0.35 * radius + 1.0 if exophytic else radius + 1.0
    if each.finding == "kidney_stone":
        least = max(least, min(6.0, 0.5 * float(depth.max())))  # calyces lie below the cortex
    mean = _mean(host, window, inside)
    start = np.array([axis.start for axis in window])
    places: Floats = np.asarray(host.grid.to_mm(np.argwhere(depth >= least) + start))
    for centre, reach in host.taken:
        places = places[np.linalg.norm(places - centre, axis=1) > reach + radius + 3]
    if each.centre_mm is None and not len(places):
        raise ValueError(f"{each.finding}: no room of {each.size:g} mm in the {label.replace('_', ' ')} of this scan")
    centre = np.asarray(each.centre_mm) if each.centre_mm else _clear(host, places, radius)
    host.taken.append((centre, radius))
    hu = _density(each, mean)
    shape = ball(centre, radius, each.margin, host.rng)
    part = host.window(centre - 1.7 * radius, centre + 1.7 * radius, host.border)
    share, voxels = host.cover(shape, part, ball_ml(each.size))
    host.mix(part, share, hu)
    host.keep(name, part, voxels)
    side = ("left" if label.endswith("left") else "right") if stem == "kidney" else None
    host.note(name, each, side, "diameter", each.size, contrast=hu - mean)  # type: ignore[arg-type]


def _clear(host: Host, places: Floats, radius: float) -> np.ndarray:
    """One of the places at which a ball would replace no lung, gas or bone."""
    for _ in range(TRIES):
        centre = np.asarray(places[int(host.rng.integers(len(places)))])
        part = host.hu[host.window(centre - radius, centre + radius, 0.0)]
        if np.quantile(part, 0.02) > -250 and np.quantile(part, 0.98) < 450:
            return centre
    raise ValueError("no place there is free of gas and bone")


def _density(each: Implant, mean: float) -> float:
    """HU of a lesion in an organ of this mean."""
    enhanced = mean > ENHANCED_HU
    if each.finding in ("liver_cyst", "renal_cyst"):
        return CYST_HU
    if each.finding == "kidney_stone" or each.texture == "calcified":
        return STONE_HU
    if each.finding == "gallstone":
        return CHOLESTEROL_HU
    return TUMOUR_HU[enhanced] if each.finding == "renal_lesion" else mean - DARKER_HU[enhanced]


def _lay(
    host: Host, name: str, each: Implant, window: Window, allowed: Bools, rank: Floats, hu: float, noise: float = 1.0
) -> None:
    """Give the lowest ranks of some voxels to a density until the volume is full, blurred as this scan blurs."""
    count = max(1, round(each.size / host.grid.voxel_ml))
    taken = np.zeros(allowed.shape, dtype=bool)
    index = np.flatnonzero(allowed)
    taken.reshape(-1)[index[lowest(rank.reshape(-1)[index], count, f"{each.finding}: {each.size:g} mL")]] = True
    x, y, z = host.grid.spacing_mm
    blur = (host.look.blur_mm / x, host.look.blur_mm / y, max(0.0, host.look.slice_mm / z - 1) / 2)
    share = host.bounded(ndimage.gaussian_filter(taken.astype(np.float32), blur), taken)
    before = float(np.median(host.hu[window][taken]))
    host.mix(window, share, hu, noise=noise)
    volume = host.keep(name, window, taken)
    host.note(name, each, None, "volume", volume, contrast=hu - before)


def plaques(host: Host, name: str, each: Implant) -> None:
    """Calcium in lumps as its score assumes them: in the wall of the aorta, or in thin vessels on the heart."""
    if each.finding == "aortic_calcification":
        window, inside = part_of(host, organ(host, each, "aorta"), host.border)
        allowed = inside & (depth_of(host, inside) < PLAQUE_MM)
    else:
        window, inside = part_of(host, organ(host, each, "heart"), host.border)
        allowed = _coronaries(host, window, inside)
    index = np.argwhere(allowed)
    if not len(index):
        raise ValueError(f"{each.finding}: no wall of a vessel that could hold it is seen in this scan")
    steps = np.asarray(host.grid.spacing_mm)
    rank = np.full(allowed.shape, 1e3, dtype=np.float32)
    count, _ = in_spheres(1000 * each.size)
    seeds = index[host.rng.integers(len(index), size=count)]
    rank[allowed] = np.min([np.linalg.norm((index - seed) * steps, axis=1) for seed in seeds], axis=0)
    _lay(host, name, each, window, allowed, rank, CALCIUM_HU)


def _coronaries(host: Host, window: Window, inside: Bools) -> Bools:
    """Thin soft structures with fat round them in the outer part of the heart."""
    steps = host.grid.spacing_mm
    smooth = ndimage.gaussian_filter(host.hu[window], [0.8 / step for step in steps])
    soft, fat = inside & (smooth > -20), (smooth > FAT_HU[0]) & (smooth < FAT_HU[1])
    core = depth_of(host, soft) > CORONARY_MM / 2
    away = edt.edt(np.asfortranarray(~core), anisotropy=steps, black_border=False, parallel=2)
    beside = ndimage.uniform_filter(fat.astype(np.float32), [max(1, round(8.0 / step)) for step in steps])
    return np.asarray(soft & (away > CORONARY_MM / 2 + 0.5) & (beside > 0.15) & (depth_of(host, inside) < 25))


def beside_liver(host: Host, name: str, each: Implant) -> None:
    """Fluid between the liver and the wall around it, or free air under the front wall: organs give way to both."""
    liver_mask = organ(host, each, "liver")
    window, inside = part_of(host, liver_mask, RIM_MM)
    steps = host.grid.spacing_mm
    cavity = _depth_of_cavity(host, window)
    up = np.arange(inside.shape[1])[None, :, None] * steps[1]
    if host.case.volume.scan.patient_position.endswith("P"):
        up = -up
    away = edt.edt(np.asfortranarray(~inside), anisotropy=steps, black_border=False, parallel=2)
    if each.finding == "ascites":
        allowed = (cavity > 0) & (away < BESIDE_MM)
        _lay(host, name, each, window, allowed, (cavity + 0.1 * up).astype(np.float32), FLUID_HU)
    else:
        levels = np.broadcast_to(inside.any(axis=(0, 1)), inside.shape)
        gas = host.hu[window] < GAS_HU  # of bowel: free air lies in front of its wall and does not open it
        closed = edt.edt(np.asfortranarray(~gas), anisotropy=steps, black_border=False, parallel=2) > BOWEL_WALL_MM
        allowed = (cavity > 0) & levels & closed
        _lay(host, name, each, window, allowed, -np.broadcast_to(up, allowed.shape), FREE_AIR_HU, noise=0.5)


def _depth_of_cavity(host: Host, window: Window) -> Floats:
    """How deep each voxel lies in the cavity of the abdomen, mm inside its wall and below lung; below 0 outside."""
    firm = host.on_window(lungs(host.case).both, window) | host.on_window(skeleton(host.case), window)
    wall = depth_of(host, host.on_window(fat(host.case).within, window)) - WALL_MM
    return np.asarray(np.minimum(wall, depth_of(host, ~firm) - BESIDE_WALL_MM))
