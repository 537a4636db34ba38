"""Pneumothorax: free air between lung and chest wall, its side, volume and thickness.

In: an open case. Out: an Observation for each side with free air and a Search for each side.
Free air lies against the chest wall, is as dark as air and as even, spreads along the wall
further than it is thick, and rises to what lies uppermost. A bulla is round, emphysema is
brighter and uneven. Between a flat bulla and a thick pocket of free air nothing decides:
then both are named and the presence is uncertain.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import AERATED_HU, depth_mm
from vlm.anatomy.air_level import air_hu
from vlm.anatomy.airways import airways
from vlm.anatomy.ball import grown, shrunk
from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.anatomy.thorax import thoracic_cavity
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation, Presence, once
from vlm.tools.lung_field import Bools, Floats, field, search, smooth
from vlm.tools.pleural_shell import DIRECTIONS, Shell, shell
from vlm.tools.registry import tool
from vlm.tools.wall_profiles import DEPTH_MM, STEP_MM, Profiles, wall_profiles

NAME = "pneumothorax"
# Attenuation as a share of the way from air (0) to the middle of the lungs (1).
DARK = 0.25  # free air lies below; blur and the pleural line lift its rim
HALFWAY = 0.5  # where air ends and lung begins
EVEN = 0.08  # a quarter of a pocket of free air is as dark as this; of emphysema 0.09 to 0.17
LIKE_LUNG_HU = 40.0  # above air; what is darker tells nothing of the lung around
FROM_MM, TO_MM, WIDTH_MM = 2.0, 8.0, 2.0  # below the wall: sharp kernels make the first 2 mm too dark; mean of so much
LEAST_CM2 = 2.5  # of wall under a pocket
LINE_HU, LINE_MM, BEYOND_MM = 20.0, 2.0, (3.0, 6.0)  # the visceral pleura: brighter than the lung deeper by so much
LINED = 0.5  # of a pocket's wall, where it counts as seen
SLENDER, ROUND = 0.35, 0.7  # mean thickness over root of area: free air 0.1 to 0.3, half a ball 0.4, a ball 1.2
UPPERMOST = 0.3  # mean height of a pocket, -1 the lowest to 1 the highest wall; free air rises
UP = {"S": (0.0, 1.0), "P": (0.0, -1.0), "DL": (1.0, 0.0), "DR": (-1.0, 0.0)}  # (x, y) by the end of PatientPosition
FOLLOWED, FOLLOWED_MM = 0.35, 20.0  # thin air beside a pocket is so dark, and followed so far along the wall
RIM_MM, RIM_BLUR_MM = 5.0, 0.8  # what blur and the average along the wall took from free air lies so near
RIBS_MM = 10.0  # what lies this near to the ribs is along them
DEEP_BLUR_MM, DEEP_CORE_MM = 1.0, 2.5  # air deeper than profiles reach is followed through such a core
DOUBT = "free air or a bulla"


@dataclass(frozen=True, slots=True)
class _Map:
    """Of each point of the inner chest wall (Z, DIRECTIONS): how dark it is below, as a share, how thick the air."""

    profiles: Profiles
    darkest: Floats  # mean of WIDTH_MM, the darkest of FROM_MM to TO_MM
    thickness_mm: Floats
    height: Floats  # -1 to 1


@tool(NAME, observes=("pneumothorax",), needs=("lungs", "thoracic_cavity", "airways", "body"))
def pneumothorax(case: Case) -> list[Evidence]:
    """Find free air in the pleural space of each side, with volume and thickness."""
    out: list[Evidence] = []
    for side in SIDES:
        seen = field(case, side)
        outline = shell(case, side) if seen.seen else None
        found: Observation | None = None
        failed: tuple[str, ...] = ()
        if seen.seen and (outline is None or np.isfinite(outline.wall_mm).mean() < 0.1):
            failed = ("not_found",)
        elif outline is not None and "density_withheld" not in seen.failed:
            found = _observed(case, side, outline)
        if found is not None:
            out.append(found)
        out.append(search(NAME, "pneumothorax", seen, found=int(found is not None), site="pleura", failed=failed))
    return out


def _observed(case: Case, side: LungSide, outline: Shell) -> Observation | None:
    """The free air of a side, or None."""
    grid = case.working.grid
    place = (lungs(case).of(side).voxels.T | thoracic_cavity(case).of(side).voxels.T) & ~_airways(case)
    air, lung = _levels(case)
    wall = _map(case, outline, place, air, lung)
    presence, pockets = _pockets(wall, side)
    if presence is None:
        return None
    thickness = np.where(_followed(wall, pockets, grid.spacing_mm[2]), wall.thickness_mm, 0.0).astype(np.float32)
    free = wall.profiles.inside(outline, thickness) & ndimage.binary_dilation(place)
    halfway_hu = air + HALFWAY * (lung - air)
    if (thickness >= DEPTH_MM).any():
        free |= _deep(case, place, free, halfway_hu)
    free = _with_rim(case, free, place, outline, (halfway_hu, lung))
    mask = Mask(f"pneumothorax_{side}", free.T, grid)
    levels = np.flatnonzero(free.any(axis=(1, 2)))
    cut = int(levels[0]) == 0 or int(levels[-1]) == len(free) - 1
    notes = (DOUBT if presence == "uncertain" else "", "cut by the end of the scan" if cut else "")
    return Observation(
        tool=NAME,
        finding="pneumothorax",
        presence=presence,
        side=side,
        site="pleura",
        measurements=(
            Measurement(quantity="volume", value=mask.volume_ml),
            Measurement(quantity="thickness", value=2.0 * float(depth_mm(free, grid).max())),
        ),
        region=case.keep(mask),
        note="; ".join(note for note in notes if note),
    )


@once
def _airways(case: Case) -> Bools:
    """(Z, Y, X) bool: the airways with their walls."""
    return np.asarray(ndimage.binary_dilation(airways(case).mask.voxels.T, iterations=2))


def _levels(case: Case) -> tuple[float, float]:
    """HU of air in this scan and of the middle of both lungs."""
    air = air_hu(case)
    inside = case.working.hu.T[lungs(case).both.voxels.T]
    return air, float(np.median(inside[inside > air + LIKE_LUNG_HU]))


def _map(case: Case, outline: Shell, place: Bools, air: float, lung: float) -> _Map:
    """What lies under the wall of a side."""
    profiles = wall_profiles(case, outline, place & (case.working.hu.T < AERATED_HU))
    share = (profiles.hu - air) / (lung - air)
    first, last = (round(mm / STEP_MM) for mm in (FROM_MM + WIDTH_MM / 2, TO_MM - WIDTH_MM / 2))
    means = ndimage.uniform_filter1d(share, round(WIDTH_MM / STEP_MM) + 1, axis=-1)[..., first : last + 1]
    means = np.nan_to_num(means, nan=np.inf)
    at = first + means.argmin(axis=-1)
    beyond = (share > HALFWAY) & (np.arange(share.shape[-1]) > at[..., None])
    end = beyond.argmax(axis=-1)
    below, above = (np.take_along_axis(share, np.maximum(end + step, 0)[..., None], -1)[..., 0] for step in (-1, 0))
    part = np.clip((HALFWAY - below) / np.maximum(above - below, 1e-3), 0.0, 1.0)
    thickness = np.where(beyond.any(axis=-1), (end - 1 + part) * STEP_MM, DEPTH_MM)
    height = _height(profiles.wall_mm, case.volume.scan.patient_position)
    return _Map(profiles, means.min(axis=-1), thickness.astype(np.float32), height)


def _height(wall_mm: Floats, position: str) -> Floats:
    """(Z, DIRECTIONS) how high a point of the wall lies in the scanner, -1 the lowest to 1; on the back by default."""
    x, y = UP.get(position[2:], UP["S"])
    angle = np.arange(DIRECTIONS) * (2 * np.pi / DIRECTIONS)
    mm = (x * np.cos(angle) + y * np.sin(angle)) * np.nan_to_num(wall_mm)
    return np.asarray(2.0 * (mm - mm.min()) / max(1.0, float(np.ptp(mm))) - 1.0, dtype=np.float32)


def _pockets(wall: _Map, side: LungSide) -> tuple[Presence | None, Bools]:
    """Whether there is free air, and the points of the wall (Z, DIRECTIONS) it lies under."""
    shift = DIRECTIONS // 2 if side == "right" else 0  # the cut of the map lies at the mediastinum
    labels, count = ndimage.label(np.roll(wall.darkest < DARK, shift, axis=1))
    labels = np.roll(labels, -shift, axis=1)
    area = np.bincount(labels.ravel(), weights=wall.profiles.area_mm2.ravel(), minlength=count + 1) / 100.0
    verdicts: dict[int, Presence] = {}
    for label in np.flatnonzero(area >= LEAST_CM2):
        verdict = _verdict(wall, labels == label) if label else None
        if verdict is not None:
            verdicts[int(label)] = verdict
    presence: Presence | None = None
    if verdicts:
        presence = "present" if "present" in verdicts.values() else "uncertain"
    return presence, np.isin(labels, [label for label, verdict in verdicts.items() if verdict == presence])


def _verdict(wall: _Map, pocket: Bools) -> Presence | None:
    """Whether a pocket (Z, DIRECTIONS) is free air, may be, or is lung or a bulla."""
    area, thickness = wall.profiles.area_mm2[pocket], wall.thickness_mm[pocket]
    slender = float(np.average(thickness, weights=area)) / float(np.sqrt(area.sum()))
    high = float(np.average(wall.height[pocket], weights=area)) >= UPPERMOST
    even = float(np.percentile(wall.darkest[pocket], 25)) <= EVEN
    lined = _lined(wall, pocket)
    if high and slender <= SLENDER and (even or lined):
        return "present"
    if high and slender <= ROUND and (even or lined):
        return "uncertain"
    return "uncertain" if even and lined and slender <= SLENDER else None  # held down by adhesions, or a flat bulla


def _lined(wall: _Map, pocket: Bools) -> bool:
    """Whether the visceral pleura is seen as a line between the air of a pocket and the lung."""
    hu = wall.profiles.hu[pocket]  # (N, depths)
    end = np.ceil(wall.thickness_mm[pocket] / STEP_MM).astype(np.intp)

    def after(start_mm: float, stop_mm: float) -> Floats:
        steps = np.arange(round(start_mm / STEP_MM), round(stop_mm / STEP_MM) + 1)
        at = np.minimum(end[:, None] + steps, hu.shape[1] - 1)
        return np.take_along_axis(hu, at, axis=1)

    line = after(0.0, LINE_MM).max(axis=1) - after(*BEYOND_MM).mean(axis=1)
    return float((line > LINE_HU).mean()) >= LINED


def _followed(wall: _Map, pockets: Bools, z_mm: float) -> Bools:
    """(Z, DIRECTIONS) bool: pockets with the thin air beside them."""
    arc_mm = float(np.nanmedian(wall.profiles.wall_mm)) * 2 * np.pi / DIRECTIONS
    steps = max(1, round(FOLLOWED_MM / max(arc_mm, z_mm)))
    return np.asarray(ndimage.binary_dilation(pockets, iterations=steps, mask=wall.darkest < FOLLOWED))


def _deep(case: Case, place: Bools, free: Bools, limit_hu: float) -> Bools:
    """(Z, Y, X) bool: air that goes on from ``free`` deeper than the profiles reach."""
    grid = case.working.grid
    air = place & (smooth(case, DEEP_BLUR_MM) < limit_hu)
    air &= grown(shrunk(air, DEEP_CORE_MM, grid), DEEP_CORE_MM, grid)
    labels: NDArray[np.uint32] = cc3d.connected_components(air, connectivity=6)
    touched = np.bincount(labels[free & air], minlength=int(labels.max()) + 1)
    size = np.bincount(labels.ravel())
    touched[0] = 0
    keep: Bools = (touched > 0.25 * size)[labels]
    return keep


def _with_rim(case: Case, pockets: Bools, place: Bools, outline: Shell, limits_hu: tuple[float, float]) -> Bools:
    """The pockets with the rim that blur took, up to halfway to lung and into the chest wall."""
    grid, (halfway_hu, lung_hu) = case.working.grid, limits_hu
    sheet, near = smooth(case, RIM_BLUR_MM), grown(pockets, RIM_MM, grid)
    rim = near & place & (sheet < halfway_hu)
    edge = near & outline.along_wall(RIBS_MM) & outline.inside_wall() & (case.working.hu.T < AERATED_HU)
    filled = pockets | rim | edge
    filled |= ndimage.binary_dilation(filled) & place & (sheet < lung_hu)  # air and visceral pleura in one voxel
    labels: NDArray[np.uint32] = cc3d.connected_components(filled, connectivity=6)
    keep: Bools = np.isin(labels, np.unique(labels[pockets]))
    return keep
