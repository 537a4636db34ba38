"""Is left really left? Organs that lie on one side in nearly everyone vouch for it.

In: heart, aorta, lungs and soft tissue of a Case. Out: a verdict with the signs it rests on. A scan
that was flipped on its way, or situs inversus (1 in 10,000), comes back "contradicted".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from vlm.anatomy.aorta import aorta
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage, dome_of
from vlm.anatomy.heart import heart
from vlm.anatomy.lungs import lungs, midline
from vlm.anatomy.skeleton import opened_by, spine
from vlm.evidence import Case, once

Verdict = Literal["confirmed", "contradicted", "unsure"]

AORTA_MM = 7.0  # the descending aorta lies at least so far left of the canal in the chest
HEART_LEFT = 0.58  # at least this share of a normal heart lies left of the midline; usually two thirds
LIVER_BALL_MM = 26.0  # radius of a ball that fits the liver but not spleen, kidney or a collapsed stomach
LIVER_SHARE = 0.72  # share of what holds such balls that lies right of the midline
LIVER_ML = 150.0
HEART_SLICES_MM = (-8.0, 30.0)  # about the widest slice; further down the liver may be taken for heart
DOME_MM = 7.0  # the right dome stands 10-20 mm higher (Lennon 1996: in 9 of 10)
DOME_MOST_MM = 30.0
GAS_HU = -600
GAS_ML = 8.0
GAS_SHARE = 0.75
NEEDED = 3.0  # weight of agreeing signs for a verdict; one sign alone never suffices
WEIGHTS = {"aorta": 2.0, "heart": 2.0, "liver": 2.0, "dome": 0.5, "gas": 1.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sign:
    """One organ's vote: +1 lies where it should, -1 on the other side, 0 cannot tell."""

    name: str
    vote: int
    value: float  # mm or share, as the threshold of this sign
    says: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Laterality:
    """The verdict and every sign that could be read."""

    verdict: Verdict
    signs: tuple[Sign, ...]


@once
def laterality(case: Case) -> Laterality:
    """Compare where one-sided organs lie with where they should."""
    signs = tuple(sign for sign in (_aorta(case), _heart(case), _liver(case), _dome(case), _gas(case)) if sign)
    score = sum(WEIGHTS[sign.name] * sign.vote for sign in signs)
    against = sum(WEIGHTS[sign.name] for sign in signs if sign.vote * score < 0)
    voters = sum(1 for sign in signs if sign.vote)
    verdict: Verdict = "unsure"
    if voters >= 2 and abs(score) >= NEEDED and against <= 1.0:
        verdict = "confirmed" if score > 0 else "contradicted"
    return Laterality(verdict=verdict, signs=signs)


def _vote(value: float, limit: float) -> int:
    """+1 above the limit, -1 below its negative, 0 between."""
    return 1 if value >= limit else -1 if value <= -limit else 0


def _aorta(case: Case) -> Sign | None:
    """The descending thoracic aorta runs left of the spine."""
    traced, dome = aorta(case), coverage(case).dome_mm
    if not traced.found or dome is None:
        return None
    chest = traced.sure & (traced.centres_mm[:, 2] > dome + 15.0)
    if np.count_nonzero(chest) * traced.grid.spacing_mm[2] < 20.0:
        return None
    left = float(np.median((spine(case).canal_mm - traced.centres_mm)[chest, 0]))
    return Sign(name="aorta", vote=_vote(left, AORTA_MM), value=left, says="descending aorta beside the spine")


def _heart(case: Case) -> Sign | None:
    """Two thirds of the heart lie left of the midline."""
    found = heart(case)
    if not found.found or found.widest_k is None:
        return None
    index = np.argwhere(found.mask.voxels)
    step = found.mask.grid.spacing_mm[2]
    low, high = (found.widest_k + part / step for part in HEART_SLICES_MM)
    lower = index[(index[:, 2] >= low) & (index[:, 2] <= high)]
    points = found.mask.grid.to_mm(lower)
    middle = np.interp(points[:, 2], spine(case).canal_mm[:, 2], spine(case).canal_mm[:, 0])
    share = float(np.mean(points[:, 0] < middle))
    return Sign(name="heart", vote=_vote(share - 0.5, HEART_LEFT - 0.5), value=share, says="heart left of the midline")


def _below_dome(case: Case, top_mm: float, bottom_mm: float) -> tuple[slice, float] | None:
    """Working slices between two heights below the dome, and the midline's x (mm); None when there are none."""
    dome, grid = coverage(case).dome_mm, case.working.grid
    if dome is None or len(coverage(case).sides) < 2:
        return None
    z = grid.to_mm(np.stack([np.zeros(grid.shape[2])] * 2 + [np.arange(grid.shape[2])], axis=1))[:, 2]
    inside = np.flatnonzero((z <= dome + top_mm) & (z >= dome + bottom_mm))
    if inside.size == 0:
        return None
    axis = spine(case)
    middle = float(np.median(axis.canal_mm[inside, 0])) if axis.found else midline(case)
    return slice(int(inside[0]), int(inside[-1]) + 1), middle


def _liver(case: Case) -> Sign | None:
    """The largest solid thing below the diaphragm lies on the right."""
    place = _below_dome(case, -15.0, -110.0)
    if place is None:
        return None
    part, middle = place
    grid = case.working.grid
    hu = case.working.hu.T[part]
    solid = opened_by((hu > 0) & (hu < 220), grid, LIVER_BALL_MM)
    x = grid.to_mm(np.stack([np.arange(grid.shape[0])] + [np.zeros(grid.shape[0])] * 2, axis=1))[:, 0]
    columns = solid.sum(axis=(0, 1)).astype(np.float64) * grid.voxel_ml
    if columns.sum() < LIVER_ML:
        return None
    share = float(columns[x > middle].sum() / columns.sum())
    return Sign(name="liver", vote=_vote(share - 0.5, LIVER_SHARE - 0.5), value=share, says="liver on the right")


def _dome(case: Case) -> Sign | None:
    """The right dome of the diaphragm stands higher."""
    pair = lungs(case)
    if len(pair.present) < 2 or not all(pair.base_covered.values()):
        return None
    right, left = (dome_of(pair.of(side).voxels, case.working.grid) for side in ("right", "left"))
    if right is None or left is None:
        return None
    if abs(right - left) > DOME_MOST_MM:  # a raised or hidden diaphragm, not a normal one
        return None
    return Sign(name="dome", vote=_vote(right - left, DOME_MM), value=right - left, says="right dome higher")


def _gas(case: Case) -> Sign | None:
    """Gas just below the diaphragm (stomach, splenic flexure) lies on the left."""
    place = _below_dome(case, -20.0, -100.0)
    if place is None:
        return None
    part, middle = place
    grid = case.working.grid
    gas = (case.working.hu.T[part] < GAS_HU) & body(case).voxels.T[part] & ~lungs(case).both.voxels.T[part]
    gas = opened_by(gas, grid, 3.0)
    x = grid.to_mm(np.stack([np.arange(grid.shape[0])] + [np.zeros(grid.shape[0])] * 2, axis=1))[:, 0]
    columns = gas.sum(axis=(0, 1)).astype(np.float64) * grid.voxel_ml
    if columns.sum() < GAS_ML:
        return None
    share = float(columns[x < middle].sum() / columns.sum())
    return Sign(name="gas", vote=_vote(share - 0.5, GAS_SHARE - 0.5), value=share, says="stomach gas on the left")
