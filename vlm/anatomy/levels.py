"""Vertebrae along the canal, and their names where they can be counted.

Every vertebra sends something sideways: a transverse process, and from T1 to T12 a rib. Seen from
behind, these rows are the plainest marks of the spine, on thin slices and on thick ones. The rows are
counted down from the lung apices, which reach the second ribs, or up from the last ribs. Where both ends
are seen, their counts must agree; where neither is, or they do not, the vertebrae stay without a name.
A variant (11 or 13 pairs of ribs, about one person in twelve) shifts what was counted from one end by one.
Arrays here are (S, B): mm along z from below, columns beside the canal from left to right.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from vlm.anatomy.airways import airways
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import BODY_FORWARD_MM, Spine, spine
from vlm.ct.volume import Point, Volume, as_point
from vlm.evidence import Case, once

Anchor = Literal["first ribs", "last ribs", "both ends of the ribs"]

NAMES = (*(f"T{number}" for number in range(1, 13)), *(f"L{number}" for number in range(1, 6)))
BEHIND_MM = (-40.0, 16.0)  # of the canal: ribs run here from their necks to 60 mm beside it
ACROSS_MM = np.arange(-64.0, 65.0, 2.0)
ROOT_MM = (26.0, 36.0)  # beside the canal: transverse processes and necks of ribs
RIB_MM = 54.0  # beside the canal; processes of lumbar vertebrae end before
DENSE_HU = (-100.0, 600.0)
RIB_HU = 150.0  # everywhere along a rib, on voxels of 2 mm
PITCH_MM = (12, 46)  # between rows along z: where the upper thoracic spine leans, and highest lumbar
UNEVEN_COST = 0.05  # per mm of difference between neighbouring pitches, in units of the profile's spread
REGULAR = (0.55, 1.7)  # of the median of the pitches around: beyond, a row was missed or is none
TILT_MM = 14  # the rows of one side stand at most so much higher
NEAR_ROW_MM = 9.0
APEX_MM = 9.0  # lung apex to the row of the second ribs, on scans where both ends of the ribs can be counted
CARINA = ("T4", "T5", "T6", "T7")  # beside it in supine adults; a count from one end that says otherwise is wrong
BELOW_MM = 25.0  # covered below a row, so that a rib that belongs to it would be seen

Floats = NDArray[np.floating]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vertebra:
    """One vertebra; ``middle_mm`` RAS, about the middle of its body; ``name`` "T8", or None where not countable."""

    middle_mm: Point
    ribs: int  # sides on which a rib was seen
    name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Levels:
    """Vertebrae from below, and what their names were counted from (None: no names)."""

    bodies: tuple[Vertebra, ...]
    anchor: Anchor | None

    def at(self, z_mm: float) -> Vertebra | None:
        """The vertebra at a height; None where no row lies near."""
        near = min(self.bodies, key=lambda body: abs(body.middle_mm[2] - z_mm), default=None)
        return near if near is not None and abs(near.middle_mm[2] - z_mm) <= 0.6 * self._pitch(near) else None

    def site_at(self, z_mm: float) -> str:
        """Site of the vocabulary at a height: "T8" where countable, else "vertebra"."""
        body = self.at(z_mm)
        return body.name if body is not None and body.name else "vertebra"

    @property
    def note(self) -> str:
        """How the names came about, for whoever reads the evidence."""
        return f"level counted from the {self.anchor}" if self.anchor else "level not countable"

    def _pitch(self, body: Vertebra) -> float:
        heights = [other.middle_mm[2] for other in self.bodies if other is not body]
        return min((abs(height - body.middle_mm[2]) for height in heights), default=20.0)


@once
def levels(case: Case) -> Levels:
    """The vertebrae of the scan; without any where no spine was found."""
    axis = spine(case)
    nothing = Levels(bodies=(), anchor=None)
    if not axis.found:
        return nothing
    heights = np.arange(axis.canal_mm[axis.good][0, 2], axis.canal_mm[axis.good][-1, 2], 1.0)
    if heights.size < 3 * PITCH_MM[1]:
        return nothing
    sheet = _sheet(case.working, axis, heights)
    tilt, profile = _roots(sheet)
    rows = _rows(profile)
    if len(rows) < 3:
        return nothing
    counts = _ribs(sheet, rows, tilt)
    middles = [np.add(axis.at(float(heights[row])), (0.0, BODY_FORWARD_MM, 0.0)) for row in rows]
    bodies = [Vertebra(middle_mm=as_point(m), ribs=n) for m, n in zip(middles, counts, strict=True)]
    low = float(case.working.grid.to_mm([0, 0, -0.5])[2])
    found, carina = _named(bodies, _apex(case), low), airways(case).carina_mm
    beside = found.at(carina[2]) if carina is not None else None
    if beside is not None and beside.name is not None and beside.name not in CARINA:
        return Levels(bodies=tuple(bodies), anchor=None)
    return found


def _sheet(volume: Volume, axis: Spine, heights: Floats) -> Floats:
    """(S, B) densest HU behind and beside the canal, seen from behind."""
    grid, hu = volume.grid, volume.hu
    behind = np.arange(*BEHIND_MM, 2.0)
    out = np.full((heights.size, ACROSS_MM.size), -1000.0, dtype=np.float32)
    for row, height in enumerate(heights):
        x, y, z = axis.at(float(height))
        i, _, k = np.rint(grid.to_ijk(np.stack([x + ACROSS_MM, y + 0 * ACROSS_MM, z + 0 * ACROSS_MM], axis=1))).T
        j = np.rint(grid.to_ijk(np.stack([x + 0 * behind, y + behind, z + 0 * behind], axis=1))[:, 1])
        inside_i, inside_j = (i >= 0) & (i < hu.shape[0]), (j >= 0) & (j < hu.shape[1])
        if inside_i.any() and inside_j.any() and 0 <= k[0] < hu.shape[2]:
            block = hu[:, :, int(k[0])][np.ix_(i[inside_i].astype(int), j[inside_j].astype(int))]
            out[row, inside_i] = block.max(axis=1)
    smooth: Floats = ndimage.gaussian_filter1d(out, 1.5, axis=0)
    return smooth


def _band(sheet: Floats, low_mm: float, high_mm: float) -> Floats:
    """(S,) mean density between two distances beside the canal; negative distances lie on the left."""
    first, last = np.searchsorted(ACROSS_MM, (low_mm, high_mm))
    mean: Floats = np.clip(sheet[:, first : last + 1], *DENSE_HU).mean(axis=1)
    return mean


def _roots(sheet: Floats) -> tuple[int, Floats]:
    """How many mm higher the rows stand on the right, and (S,) the rows of both sides brought together."""
    right, left = _band(sheet, *ROOT_MM), _band(sheet, -ROOT_MM[1], -ROOT_MM[0])
    detail = [side - ndimage.gaussian_filter1d(side, 20.0, mode="nearest") for side in (right, left)]
    inner = slice(TILT_MM, -TILT_MM)
    shifts = range(-TILT_MM, TILT_MM + 1)
    tilt = max(shifts, key=lambda by: float(np.sum(detail[0][inner] * np.roll(detail[1], by)[inner])) - 0.1 * abs(by))
    half = tilt // 2
    return tilt, ndimage.shift(right, half - tilt, order=1, mode="nearest") + ndimage.shift(
        left, half, order=1, mode="nearest"
    )


def _rows(profile: Floats) -> list[int]:
    """Indices of the rows: the evenly spaced chain of peaks with the largest sum."""
    slow = ndimage.gaussian_filter1d(profile, 20.0, mode="nearest")
    detail = ndimage.gaussian_filter1d(profile, 2.0, mode="nearest") - slow
    height = detail / (float(np.std(detail)) + 1e-6) - 0.2
    near, far = PITCH_MM
    # best[s, p]: sum of heights of a chain that ends at s with the last pitch p; p = 0 begins a chain.
    best = np.full((height.size, far + 1), -np.inf)
    came = np.zeros((height.size, far + 1), dtype=np.intp)
    best[:, 0] = height
    pitches = np.arange(far + 1)
    cost = UNEVEN_COST * np.abs(pitches[:, None] - pitches[None, :])
    cost[:, 0] = 0.0
    for s in range(near, height.size):
        last = pitches[near : min(far, s) + 1]
        value = best[s - last] - cost[last]
        came[s, last] = np.argmax(value, axis=1)
        best[s, last] = value.max(axis=1) + height[s]
    s, pitch = (int(v) for v in np.unravel_index(int(np.argmax(best)), best.shape))
    rows = [s]
    while pitch > 0:
        before = int(came[s, pitch])
        s -= pitch
        rows.append(s)
        pitch = before
    return rows[::-1]


def _ribs(sheet: Floats, rows: list[int], tilt: int) -> list[int]:
    """On how many sides each row carries a rib: what lies 54 mm beside the canal, followed inwards to its root."""
    seen: list[set[int]] = [set() for _ in rows]
    for sign in (1, -1):
        outer = _band(sheet, *sorted((sign * (RIB_MM - 3), sign * (RIB_MM + 3))))
        peaks, _ = signal.find_peaks(outer, prominence=50.0, distance=8)
        lift = tilt - tilt // 2 if sign > 0 else -(tilt // 2)
        for peak in peaks:
            place, least = int(peak), np.inf
            for across in np.arange(RIB_MM, ROOT_MM[0] + 3, -2.0):
                column = sheet[:, int(np.argmin(np.abs(ACROSS_MM - sign * across)))]
                low = max(0, place - 2)
                place = low + int(np.argmax(column[low : place + 4]))  # towards its root a rib rises
                least = min(least, float(column[place]))
            row = min(range(len(rows)), key=lambda n: abs(rows[n] - (place - lift)))
            if abs(rows[row] - (place - lift)) <= NEAR_ROW_MM and least > RIB_HU:
                seen[row].add(sign)
    return [len(sides) for sides in seen]


def _apex(case: Case) -> float | None:
    """Height of the lung apices; of the higher one, which collapse has not lowered."""
    pair = lungs(case)
    tops = [pair.of(side).slices[1] for side in pair.present if pair.apex_covered[side]]
    return float(case.working.grid.to_mm([0, 0, max(tops)])[2]) if tops else None


def _named(bodies: list[Vertebra], apex_mm: float | None, low_mm: float) -> Levels:
    """Names by counting from either end of the ribs; none where the ends disagree or nothing can be counted from."""
    second, last = _second(bodies, apex_mm), _last(bodies, low_mm)  # indices of T2, of T12
    anchor: Anchor
    if last is None and second is None:
        return Levels(bodies=tuple(bodies), anchor=None)
    if last is None:
        anchor, start, offset = "first ribs", second or 0, (second or 0) + 1
    else:
        top = bodies[last + 10] if last + 10 < len(bodies) else None
        if apex_mm is not None and (top is None or abs(top.middle_mm[2] - apex_mm) > 1.5 * APEX_MM):
            return Levels(bodies=tuple(bodies), anchor=None)
        anchor, start, offset = ("last ribs" if apex_mm is None else "both ends of the ribs"), last, last + 11
    regular = _regular(bodies, start)
    named = [
        replace(body, name=NAMES[offset - n])  # the index in NAMES falls as bodies rise
        if n in regular and 0 <= offset - n < len(NAMES)
        else body
        for n, body in enumerate(bodies)
    ]
    return Levels(bodies=tuple(named), anchor=anchor)


def _second(bodies: list[Vertebra], apex_mm: float | None) -> int | None:
    """Index of T2: the one row at the lung apex that does not make more than twelve pairs of ribs."""
    if apex_mm is None:
        return None
    away = [abs(body.middle_mm[2] - apex_mm) for body in bodies]
    possible = [
        n for n in range(len(bodies)) if away[n] <= APEX_MM and not any(b.ribs for b in bodies[: max(0, n - 10)])
    ]
    possible.sort(key=lambda n: away[n])
    sure = len(possible) == 1 or (len(possible) > 1 and away[possible[1]] - away[possible[0]] > APEX_MM / 2)
    return possible[0] if sure else None


def _last(bodies: list[Vertebra], low_mm: float) -> int | None:
    """Index of T12: the row with ribs on both sides above two without, where there is room for them to be seen."""
    ribs = [n for n, body in enumerate(bodies) if body.ribs]
    if not ribs:
        return None
    last = ribs[-1]
    while last > 0 and bodies[last - 1].ribs:  # iliac wings reach as far out as ribs: from above, not from below
        last -= 1
    below = bodies[:last]
    least = 2 if ribs[-1] > last else 3  # with a single pair of ribs in the scan, more is asked of the lumbar rows
    plain = len(below) >= least and not any(body.ribs for body in below[-least:])
    return last if plain and bodies[last].ribs == 2 and below[-1].middle_mm[2] - low_mm >= BELOW_MM else None


def _regular(bodies: list[Vertebra], start: int) -> set[int]:
    """Indices that even pitches lead to from ``start``: beyond a gap nothing is counted."""
    pitches = [after.middle_mm[2] - before.middle_mm[2] for before, after in itertools.pairwise(bodies)]
    usual = ndimage.median_filter(np.array(pitches), size=5, mode="nearest")
    even = [REGULAR[0] * u <= p <= REGULAR[1] * u for p, u in zip(pitches, usual, strict=True)]
    low = high = start
    while low > 0 and even[low - 1]:
        low -= 1
    while high < len(pitches) and even[high]:
        high += 1
    return set(range(low, high + 1))
