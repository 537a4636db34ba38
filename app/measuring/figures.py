"""From hits and misses to figures: sensitivity by size, false positives, errors, intervals, the trivial baseline.

A share that licenses a denial has Wilson's interval; beside it stands a bootstrap by patient, since truths of
one person are not independent. The trivial baselines say what knowing nothing of the scan would give.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from app.measuring.intervals import Bootstrap, Interval, Values, wilson
from app.measuring.matching import Row
from vlm.evidence import QUANTITIES

ENOUGH = 0.9  # sensitivity at which a size counts as found
ENOUGH_ERRORS = 40  # for the interval that holds 95 % of them
LEAST_TRUTHS = 5  # of a size or larger; fewer do not license a limit
# Sizes are told apart by these edges, in the unit of the quantity
EDGES: Mapping[str, Sequence[float]] = {
    "diameter": (3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 30, 45, 60),
    "volume": (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000),
    "short_axis": (8, 10, 12, 14, 16, 20, 25, 30),
    "fraction": (1, 2, 5, 10, 20, 40),
    "score": (1, 5, 10, 20, 50, 100, 200, 400, 1000),
}


def figures(
    rows: Sequence[Row], made_by: str, how: Mapping[str, bool] = MappingProxyType({})
) -> dict[str, dict[str, Row]]:
    """The figures of each tool and finding: what the tools declare as their limits; ``how`` is said of each of them."""
    said = {**how, "made_by": made_by}
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["tool"], row["finding"]].append(row)
    out: dict[str, dict[str, Row]] = defaultdict(dict)
    for (tool, finding), group in sorted(groups.items()):
        if any(row["looked"] for row in group) and any(row["truths"] for row in group):
            out[tool][finding] = _figure(group) | said
            continue
        false, unjudged = (sum(row.get(what, 0) for row in group) for what in ("false", "unjudged"))
        if false or unjudged:
            out[tool][finding] = {
                "n": 0, "scans": len(group), "not_judged": unjudged, "smallest": None,
                "false_positives_per_scan": round(false / len(group), 3), "by_size": {}, **said,
            }  # fmt: skip
    return dict(out)


def _figure(group: Sequence[Row]) -> Row:
    """The figures of one tool and finding; intervals by bootstrap unless said otherwise."""
    truths = [truth | {"person": row["person"]} for row in group for truth in row["truths"]]
    bootstrap = Bootstrap([row["person"] for row in group])
    by_size = _by_size(truths)
    counts = {level: (sum(t["hit"] for t in alike), len(alike)) for level, alike in by_size.items()}
    smallest, sensitivity, interval = licence(counts)
    found = _hits(truths)
    false = [(row["person"], float(row["false"])) for row in group]
    errors = {
        "error": _errors(truths, "measured", "size"),
        "volume_error": _errors(truths, "volume_measured", "volume"),
        "place_mm": [(t["person"], t["off_mm"]) for t in truths if t["off_mm"] is not None],
    }
    quantity = truths[0]["quantity"]
    off = [abs(t["measured"] - t["size"]) for t in truths if t["hit"] and t["measured"] is not None]
    row = {
        "quantity": quantity, "unit": QUANTITIES[quantity][0], "n": len(truths), "scans": len(group),
        "not_judged": sum(row.get("unjudged", 0) for row in group),
        "smallest": smallest, "sensitivity": sensitivity, "interval": interval,  # Wilson's
        "by_size": {f"{level:g}": f"{hits}/{number}" for level, (hits, number) in counts.items()},
        "by_size_interval": {f"{level:g}": bootstrap.mean(_hits(alike)) for level, alike in by_size.items()},
        "found": _mean(found), "found_interval": bootstrap.mean(found),
        "error_95": round(float(np.quantile(off, 0.95)), 2) if len(off) >= ENOUGH_ERRORS else None,
        "false_positives_per_scan": _mean(false), "false_interval": bootstrap.mean(false),
        "f1": _f1(group), "trivial": _trivial(group, truths),
    }  # fmt: skip
    for name, values in errors.items():
        row[f"median_{name}"] = round(float(np.median([value for _, value in values])), 3) if values else None
        row[f"median_{name}_interval"] = bootstrap.median(values)
    return row


def _hits(truths: Sequence[Row]) -> Values:
    return [(truth["person"], float(truth["hit"])) for truth in truths]


def _errors(truths: Sequence[Row], measured: str, true: str) -> Values:
    """Of each that was found and measured, by how much of its size the measure is off."""
    known = [t for t in truths if t["hit"] and t[measured] is not None and t[true] > 0]
    return [(t["person"], abs(t[measured] - t[true]) / t[true]) for t in known]


def _mean(values: Values) -> float:
    return round(float(np.mean([value for _, value in values])), 3)


def _f1(group: Sequence[Row]) -> float:
    """F1 of calling a scan ill with this finding."""
    called = sum(1 for row in group if row["said"])
    ill = sum(1 for row in group if row["truths"])
    right = sum(1 for row in group if row["said"] and row["truths"])
    return round(2 * right / (called + ill), 3) if called + ill else 0.0


def _trivial(group: Sequence[Row], truths: Sequence[Row]) -> Row:
    """What nobody needs a scan for: calling every scan ill, the cohort's median size, its mean place."""
    share = sum(1 for row in group if row["truths"]) / len(group)
    sizes = np.array([truth["size"] for truth in truths])
    places = np.array([truth["place_mm"] for truth in truths])
    return {
        "f1": round(2 * share / (1 + share), 3),
        "median_error": round(float(np.median(np.abs(np.median(sizes) - sizes) / sizes)), 3),
        "median_place_mm": round(float(np.median(np.linalg.norm(places - places.mean(axis=0), axis=1))), 1),
    }


def licence(counts: Mapping[float, tuple[int, int]]) -> tuple[float | None, float | None, Interval | None]:
    """The smallest size from which on truths are found often enough, the share found from there on, its interval.

    At least LEAST_TRUTHS truths from that size on, ENOUGH of them found, and no level among them that is surely
    found too seldom.
    """
    smallest, sensitivity, interval = None, None, None
    levels = sorted(counts)
    for index in range(len(levels) - 1, -1, -1):
        if wilson(*counts[levels[index]])[1] < ENOUGH:
            break
        hits, number = (sum(counts[level][part] for level in levels[index:]) for part in (0, 1))
        if number >= LEAST_TRUTHS and hits >= ENOUGH * number:
            smallest, sensitivity, interval = levels[index], round(hits / number, 3), wilson(hits, number)
    return smallest, sensitivity, interval


def _by_size(truths: Sequence[Row]) -> dict[float, list[Row]]:
    """Truths by size. A level is called by the largest size in it: a limit claims no smaller one."""
    bins: dict[int, list[Row]] = defaultdict(list)
    for truth in truths:
        bins[bisect_right(EDGES.get(truth["quantity"], ()), _digits(truth["size"]))].append(truth)
    return {max(_digits(truth["size"]) for truth in bins[key]): bins[key] for key in sorted(bins)}


def _digits(size: float) -> float:
    """A size rounded to two digits: drawn volumes differ a little from what was asked for."""
    return float(f"{size:.2g}")
