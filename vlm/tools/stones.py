"""Stones of kidney and gallbladder: their organs are not found by rules yet, and the searches say so."""

from __future__ import annotations

from vlm.anatomy.coverage import coverage
from vlm.evidence import Case, Evidence
from vlm.tools.ground import search
from vlm.tools.registry import tool

NAME = "stones"
PLACES = {"kidney_stone": "kidney", "gallstone": "gallbladder"}


@tool(NAME, observes=tuple(PLACES))
def stones(case: Case) -> list[Evidence]:
    """Say that stones were not looked for, because kidneys and gallbladder were not found."""
    return [
        search(case, NAME, finding, site=site, failed=() if coverage(case).of(site) <= 0 else ("not_found",))
        for finding, site in PLACES.items()
    ]
