"""What a search outside the lungs may be relied on for: coverage, withheld densities, measured limits.

In: a Case and the site that a tool looked at. Out: a Search with every condition that failed.
"""

from __future__ import annotations

from collections.abc import Mapping

from vlm.anatomy.coverage import coverage
from vlm.evidence import Case, Measurement, Region, Search, Side
from vlm.tools.registry import doubts, measured_limit

WHOLE = 0.97  # covered shares from here count as whole; landmarks are good to a few per cent
WITHHELD = ("density_withheld", "length_withheld")


def withheld(case: Case) -> tuple[str, ...]:
    """Conditions that intake has put on every measure of this scan."""
    return tuple(name for name in WITHHELD if name in case.volume.scan.limits)


def search(
    case: Case,
    tool: str,
    finding: str,
    *,
    site: str,
    found: int = 0,
    side: Side | None = None,
    failed: tuple[str, ...] = (),
    covered: float | None = None,
    measurements: tuple[Measurement, ...] = (),
    attributes: Mapping[str, str] | None = None,
    region: Region | None = None,
    note: str = "",
) -> Search:
    """A Search of ``site``; ``covered`` (0..1) where the tool knows better than the landmarks do.

    A site outside the field of view gives covered 0 and "not_covered", one that is cut "partly_covered",
    a tool whose limit nobody measured "not_measured", one that missed most of what it was tested on "often_missed".
    """
    share = coverage(case).of(site, side) if covered is None else covered
    smallest, sensitivity = measured_limit(tool, finding)
    conditions = list(failed) + list(withheld(case))
    if share <= 0.0:
        conditions += [] if failed else ["not_covered"]  # the tool knows the truer reason
    elif share < WHOLE:
        conditions.append("partly_covered")
    if smallest is None and share > 0.0 and not measurements:  # a measure says by itself what it would have shown
        conditions += doubts(tool, finding)
    return Search(
        tool=tool,
        finding=finding,
        covered=0.0 if "not_found" in conditions else share,
        found=found,
        side=side,
        site=site,
        smallest=smallest,
        sensitivity=sensitivity,
        failed=tuple(dict.fromkeys(conditions)),
        measurements=measurements,
        attributes=attributes or {},
        region=region,
        note=note,
    )
