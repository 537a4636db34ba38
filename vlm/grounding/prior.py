"""What became of each finding since a prior scan: the only ground for words of change.

In: both scans with their ledgers, and the alignment of the prior. Out: for each observation of
today the earlier one it continues, None where the prior was searched at that very place
and had none, and nothing where the prior cannot tell.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment

from vlm.ct.volume import Box, Point, as_point
from vlm.evidence import Case, Observation, Search, Side
from vlm.findings.vocabulary import Vocabulary
from vlm.grounding.verdict import Prior

if TYPE_CHECKING:  # it brings SimpleITK and scipy.signal, which only a prior needs
    from vlm.anatomy.registration import Alignment

SAME_PLACE_MM = 15.0  # breathing moves a lower lobe by about as much between two scans
COVERED_ENOUGH = 0.95  # of a side: a whole-side search says that something was not there
DEVICE = "medical_material"  # what is put in: there or not, and never larger or smaller
BOTH: tuple[Side, Side] = ("left", "right")


def compare(case: Case, prior: Case, alignment: Alignment, vocabulary: Vocabulary) -> Prior:
    """Match today's observations with the prior's, one to one, so that all pairs together lie nearest.

    A doubtful observation takes part in the matching, so that nothing is called new or resolved which
    the other scan may show, but no change is stated of it. Of a device it is only told that it is new.
    """
    today = {name: o for name, o in case.ledger.observations().items() if o.presence != "absent"}
    earlier = [o for o in prior.ledger.observations().values() if o.presence != "absent"]
    pairs = assign(list(today.values()), earlier, alignment, vocabulary)
    matches: dict[str, Observation | None] = {}
    for index, (name, now) in enumerate(today.items()):
        if now.presence != "present":
            continue
        old = earlier[pairs[index]] if index in pairs else None
        if old is None:
            place = None if now.region is None else alignment.in_prior(now.region.centroid_mm)
            if was_searched(now, place, prior, vocabulary):
                matches[name] = None
        elif old.presence == "present" and not vocabulary.is_a(now.finding, DEVICE):
            matches[name] = old
    resolved = []
    for index, old in enumerate(earlier):
        if index in pairs.values() or old.presence != "present" or vocabulary.is_a(old.finding, DEVICE):
            continue
        place = None if old.region is None else alignment.in_current(old.region.centroid_mm)
        if was_searched(old, place, case, vocabulary):
            resolved.append(old)
    return Prior(matches=matches, resolved=tuple(resolved))


def assign(
    today: Sequence[Observation], earlier: Sequence[Observation], alignment: Alignment, vocabulary: Vocabulary
) -> Mapping[int, int]:
    """Index of today -> index of the prior: the assignment with the least sum of distances.

    A pair further apart than its reach, or of another kind, costs what leaving both alone costs: a near
    pair is never given up so that a far one can be made.
    """
    if not today or not earlier:
        return {}
    gaps = np.array([[_gap_mm(now, old, alignment, vocabulary) for old in earlier] for now in today])
    reach = np.array([[_reach_mm(now)] for now in today])
    near = gaps <= reach
    cost = np.where(near, gaps, float(reach.max()) + 1.0)
    rows, columns = linear_sum_assignment(cost)
    return {int(i): int(j) for i, j in zip(rows, columns, strict=True) if near[i, j]}


def was_searched(seen: Observation, place: Point | None, where: Case, vocabulary: Vocabulary) -> bool:
    """Whether a scan that does not have a finding was searched for it at its very place.

    Args:
        seen: the finding of the other scan.
        place: where it would lie in this scan, RAS mm.
        where: this scan.
        vocabulary: kinds and places.
    """
    if place is None or not _inside(where, place):
        return False
    able = [
        search
        for search in where.ledger.searches().values()
        if vocabulary.is_a(seen.finding, search.finding)
        and _holds(search, seen, vocabulary)
        and _good(search, seen, device=vocabulary.is_a(seen.finding, DEVICE))
    ]
    return bool(able) and all(any(s.side in (None, "bilateral", side) for s in able) for side in _sides(seen, able))


def _sides(seen: Observation, searches: Iterable[Search]) -> tuple[Side | None, ...]:
    """The sides on which the finding must have been looked for; both where its own is not known."""
    if seen.side in BOTH:
        return (seen.side,)
    return BOTH if any(search.side in BOTH for search in searches) else (None,)


def _gap_mm(now: Observation, old: Observation, alignment: Alignment, vocabulary: Vocabulary) -> float:
    """How far apart both lie in the prior; 0 for what has no one place, inf for what cannot be the same."""
    devices = [vocabulary.is_a(o.finding, DEVICE) for o in (now, old)]
    if not (all(devices) or _same_kind(now, old, vocabulary)):
        return math.inf
    if now.region is None or old.region is None:
        return 0.0
    if all(devices):  # a kind may be told otherwise, and a catheter has no middle: the boxes must meet
        return _apart_mm(_box_in_prior(now.region.box_mm, alignment), old.region.box_mm)
    if _lesion(now) and _lesion(old):
        return math.dist(alignment.in_prior(now.region.centroid_mm), old.region.centroid_mm)
    return 0.0


def _same_kind(now: Observation, old: Observation, vocabulary: Vocabulary) -> bool:
    """The same finding in places that agree, or two lesions of one kind: a nodule may have become a mass."""
    if now.side and old.side and now.side != old.side and "bilateral" not in (now.side, old.side):
        return False
    if _lesion(now) and _lesion(old):
        return now.finding == old.finding or bool(vocabulary.ancestors(now.finding) & vocabulary.ancestors(old.finding))
    return now.finding == old.finding and _sites_agree(now.site, old.site, vocabulary)


def _sites_agree(one: str | None, other: str | None, vocabulary: Vocabulary) -> bool:
    if one is None or other is None:
        return True
    return vocabulary.site_contains(one, other) or vocabulary.site_contains(other, one)


def _lesion(seen: Observation) -> bool:
    return seen.measured("diameter") is not None


def _reach_mm(now: Observation) -> float:
    diameter = now.measured("diameter")
    return SAME_PLACE_MM + (diameter.value / 2 if diameter else 0.0)


def _holds(search: Search, seen: Observation, vocabulary: Vocabulary) -> bool:
    """Whether the place of a search holds that of a finding."""
    if search.site is None or seen.site is None:
        return True
    return vocabulary.site_contains(search.site, seen.site)


def _good(search: Search, seen: Observation, *, device: bool) -> bool:
    """Whether a search would have shown the finding.

    A place that lies inside the scan was looked at even where the organ is cut. A device is dense enough
    to need no smallest size; everything else does.
    """
    least, size = search.smallest, seen.measured(search.smallest.quantity) if search.smallest else None
    large = least is None or size is None or size.value >= least.value
    somewhere = device or _lesion(seen)
    enough = search.looked if somewhere else search.looked and search.covered >= COVERED_ENOUGH
    forgiven = {"partly_covered", "not_measured"} if device else {"partly_covered"}
    return enough and large and not set(search.failed) - forgiven


def _inside(case: Case, point: Point) -> bool:
    """Whether a place lies in the scan, and further from its ends than two scans of it may differ."""
    x, y, z = point
    ends = [case.volume.grid.to_ijk((x, y, z + way)) for way in (-SAME_PLACE_MM, SAME_PLACE_MM)]
    return all(0 <= i <= n - 1 for end in ends for i, n in zip(end, case.volume.grid.shape, strict=True))


def _box_in_prior(box: Box, alignment: Alignment) -> Box:
    ends = zip(box.low_mm, box.high_mm, strict=True)
    corners = np.array([alignment.in_prior((x, y, z)) for x, y, z in product(*ends)])
    return Box(low_mm=as_point(corners.min(axis=0)), high_mm=as_point(corners.max(axis=0)))


def _apart_mm(one: Box, other: Box) -> float:
    """The distance between two boxes; 0 where they meet."""
    low = np.maximum(one.low_mm, other.low_mm)
    high = np.minimum(one.high_mm, other.high_mm)
    return float(np.linalg.norm(np.maximum(low - high, 0.0)))
