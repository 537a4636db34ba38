"""What became of each finding since a prior scan: the only ground for words of change.

In: both scans with their ledgers, and the alignment of the prior. Out: for each observation of
today the earlier one it continues, None where the prior was searched at that very place
and had none, and nothing where the prior cannot tell.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from vlm.ct.volume import Point
from vlm.evidence import Case, Observation, Search
from vlm.findings.vocabulary import Vocabulary
from vlm.grounding.verdict import Prior

if TYPE_CHECKING:  # it brings SimpleITK and scipy.signal, which only a prior needs
    from vlm.anatomy.registration import Alignment

SAME_PLACE_MM = 15.0  # breathing moves a lower lobe by about as much between two scans
COVERED_ENOUGH = 0.95  # of a side: a whole-side search says that something was not there


def compare(case: Case, prior: Case, alignment: Alignment, vocabulary: Vocabulary) -> Prior:
    """Match today's observations with the prior's, each earlier one to one of today's at most."""
    earlier = [seen for seen in prior.ledger.observations().values() if seen.presence == "present"]
    matches: dict[str, Observation | None] = {}
    taken: set[int] = set()
    for name, now in case.ledger.observations().items():
        if now.presence != "present":
            continue
        near = [
            (_distance(now, old, alignment), n)
            for n, old in enumerate(earlier)
            if n not in taken and _same_kind(now, old, vocabulary)
        ]
        distance, index = min(near, default=(math.inf, -1))
        if distance <= _reach(now):
            taken.add(index)
            matches[name] = earlier[index]
        elif _was_searched(now, prior, alignment, vocabulary):
            matches[name] = None
    resolved = tuple(
        old for n, old in enumerate(earlier) if n not in taken and _searched_again(old, case, alignment, vocabulary)
    )
    return Prior(matches=matches, resolved=resolved)


def _same_kind(now: Observation, old: Observation, vocabulary: Vocabulary) -> bool:
    """The same finding, or two of one kind: a nodule may have become a mass."""
    if now.side and old.side and now.side != old.side and "bilateral" not in (now.side, old.side):
        return False
    shared = vocabulary.ancestors(now.finding) & vocabulary.ancestors(old.finding)
    return now.finding == old.finding or (bool(shared) and now.measured("diameter") is not None)


def _distance(now: Observation, old: Observation, alignment: Alignment) -> float:
    """mm between both; 0 for findings of a whole side or organ, which have no one place."""
    if now.measured("diameter") is None or now.region is None or old.region is None:
        return 0.0
    return math.dist(alignment.in_prior(now.region.centroid_mm), old.region.centroid_mm)


def _reach(now: Observation) -> float:
    diameter = now.measured("diameter")
    return SAME_PLACE_MM + (diameter.value / 2 if diameter else 0.0)


def _was_searched(now: Observation, prior: Case, alignment: Alignment, vocabulary: Vocabulary) -> bool:
    """Whether the prior shows the place of today's finding and was searched for it without a failed condition."""
    if now.region is None or not _inside(prior, alignment.in_prior(now.region.centroid_mm)):
        return False
    return _searched(now, prior, vocabulary, whole=now.measured("diameter") is None)


def _searched_again(old: Observation, case: Case, alignment: Alignment, vocabulary: Vocabulary) -> bool:
    if old.region is None:
        return False
    x, y, z = old.region.centroid_mm
    here = alignment.to_current @ [x, y, z, 1.0]
    inside = _inside(case, (float(here[0]), float(here[1]), float(here[2])))
    return inside and _searched(old, case, vocabulary, whole=old.measured("diameter") is None)


def _searched(seen: Observation, where: Case, vocabulary: Vocabulary, *, whole: bool) -> bool:
    searches = [s for s in where.ledger.searches().values() if vocabulary.is_a(seen.finding, s.finding)]
    return any(_good(s, seen, whole=whole) for s in searches)


def _good(search: Search, seen: Observation, *, whole: bool) -> bool:
    sides = search.side in (None, "bilateral", seen.side)
    least, size = search.smallest, seen.measured(search.smallest.quantity) if search.smallest else None
    large = least is None or size is None or size.value >= least.value
    enough = search.covered >= COVERED_ENOUGH if whole else search.looked
    failed = set(search.failed) - {"partly_covered"}
    return sides and enough and large and search.looked and not failed


def _inside(case: Case, point: Point) -> bool:
    index = case.volume.grid.to_ijk(point)
    return all(0 <= i <= n - 1 for i, n in zip(index, case.volume.grid.shape, strict=True))
