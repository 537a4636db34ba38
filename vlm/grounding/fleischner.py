"""The one licence for advice: Fleischner Society 2017 on incidental nodules, with its inputs measured.

MacMahon et al., Radiology 2017;284:228-243. Only what a scan can give is used: size, number
and density. Risk, age, known cancer and immune state cannot be measured, so advice must say
that it follows Fleischner and applies to adults without them; here it must name the guideline,
and its interval must be the one the table gives for low or for high risk.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from vlm.evidence import Observation
from vlm.grounding.claims import Parsed
from vlm.grounding.world import World

SMALL_MM, LARGE_MM = 6.0, 8.0  # mean of long and short axis, Fleischner 2017

# (density, single) -> size class -> months to the next scan that the table allows, (low, high) risk; () is none.
Months = tuple[tuple[int, int], ...]
_TABLE: dict[tuple[str, bool], dict[str, Months]] = {
    ("solid", True): {"small": ((12, 12),), "middle": ((6, 12),), "large": ((3, 3),)},
    ("solid", False): {"small": ((12, 12),), "middle": ((3, 6),), "large": ((3, 6),)},
    ("ground_glass", True): {"small": (), "middle": ((6, 12),), "large": ((6, 12),)},
    ("part_solid", True): {"small": (), "middle": ((3, 6),), "large": ((3, 6),)},
    ("ground_glass", False): {"small": ((3, 6),), "middle": ((3, 6),), "large": ((3, 6),)},
    ("part_solid", False): {"small": ((3, 6),), "middle": ((3, 6),), "large": ((3, 6),)},
}
_INTERVAL = re.compile(r"\b(\d+)(?:\s*(?:-|–|to)\s*(\d+))?\s+months?\b", re.I)


def licence(parsed: Parsed, world: World) -> str | None:
    """None when a guideline licenses the advice of a statement; otherwise why it does not."""
    text = parsed.statement.text
    if not re.search(r"\bfleischner\b", text, re.I):
        return "no rule licenses it"
    nodules = [
        record
        for record in parsed.cited.values()
        if isinstance(record, Observation) and record.presence == "present" and record.finding == "lung_nodule"
    ]
    if not nodules:
        return "no measured nodule is cited"
    sizes = [mean_diameter_mm(nodule) for nodule in nodules]
    densities = {nodule.attributes.get("density") for nodule in nodules}
    if None in sizes or len(densities) != 1:
        return "Fleischner needs size and density of each nodule"
    known = sum(1 for _ in world.seen("lung_nodule"))
    allowed = months_allowed(str(densities.pop()), known == 1, max(size for size in sizes if size is not None))
    intervals = [(int(low), int(high or low)) for low, high in _INTERVAL.findall(text)]
    if not intervals:
        return "no interval is given"
    if any(interval not in allowed for interval in intervals):
        return f"Fleischner gives {_shown(allowed)} months for it"
    return None


def mean_diameter_mm(nodule: Observation) -> float | None:
    """Mean of long and short axis, rounded to the millimetre as Fleischner asks; None when either is missing."""
    long_axis, short_axis = nodule.measured("diameter"), nodule.measured("short_axis")
    if long_axis is None or short_axis is None:
        return None
    return float(round((long_axis.value + short_axis.value) / 2))


def months_allowed(density: str, single: bool, size_mm: float) -> Months:
    """The intervals, in months, that the table gives for nodules of this density, number and largest size."""
    size = "small" if size_mm < SMALL_MM else "middle" if size_mm <= LARGE_MM else "large"
    return _TABLE.get((density, single), {}).get(size, ())


def _shown(allowed: Sequence[tuple[int, int]]) -> str:
    return " or ".join(f"{low}-{high}" if low != high else str(low) for low, high in allowed) or "no"
