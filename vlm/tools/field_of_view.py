"""What the scan covers of each region and organ: the ground for "not covered"."""

from __future__ import annotations

from vlm.anatomy.coverage import coverage
from vlm.evidence import Case, Coverage, Evidence
from vlm.tools.registry import tool


@tool("field_of_view", observes=(), needs=("lungs", "spine"))
def field_of_view(case: Case) -> list[Evidence]:
    """Say which regions and organs lie in the field of view, and how much of each."""
    seen = coverage(case)
    note = f"told from the {seen.landmark}"
    return [
        Coverage(tool="field_of_view", site=site, covered=round(share, 2), note=note)
        for site, share in sorted(seen.shares.items())
    ]
