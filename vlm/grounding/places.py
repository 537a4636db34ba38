"""Where a claim is, and where its evidence is: equal, containing, narrower or elsewhere.

A claim may be as wide as it likes ("in the right lung" for the right upper lobe), never
narrower than what was measured, never somewhere else. Left is the patient's.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Literal

from vlm.evidence import Coverage, Evidence, Measured, Side
from vlm.findings.reader import read_sentence
from vlm.findings.vocabulary import Vocabulary, load_vocabulary

Fit = Literal["within", "wider", "elsewhere"]  # the evidence against the claim

# Sites that exist on one side only (anatomy).
ONE_SIDED: dict[str, Side] = {"middle_lobe": "right", "lingula": "left"}
# Words for a place that cut across the lobes and zones: no contradiction between the two schemes can be seen.
ACROSS = frozenset({"segment", "lobe", "subpleural", "perihilar", "apex", "base"})
LOBES = frozenset({"upper_lobe", "middle_lobe", "lower_lobe", "lingula"})
ZONES = frozenset({"upper_zone", "middle_zone", "lower_zone"})


def side_of(side: Side | None, sites: Collection[str]) -> Side | None:
    """The side that is named, or that the site has by itself."""
    return side or next((ONE_SIDED[site] for site in sites if site in ONE_SIDED), None)


NO_PLACE = frozenset({"lymph_node"})  # a kind of organ that is everywhere


@functools.cache
def named_sites(finding: str) -> tuple[str, ...]:
    """The sites that a finding's own name holds: the bladder of "bladder wall thickening"."""
    entry = load_vocabulary().findings.get(finding)
    return read_sentence(entry.name).sites if entry else ()


def site_of(record: Evidence, vocabulary: Vocabulary) -> str | None:
    """The site of a record, or the site its finding has by itself or by its name."""
    if record.site is not None or isinstance(record, Measured | Coverage):
        return record.site
    entry = vocabulary.findings.get(record.finding)
    home = entry.site if entry else None
    inside = (s for s in named_sites(record.finding) if s not in NO_PLACE and vocabulary.site_contains(home or s, s))
    return next(inside, home)


def record_side(record: Evidence) -> Side | None:
    """The side of a record, or the one its site has by itself."""
    return side_of(record.side, (record.site,) if record.site else ())


def side_fit(claimed: Side | None, measured: Side | None) -> Fit:
    """How the side of the evidence stands to the side that is claimed."""
    if claimed is None or claimed == measured:
        return "within"
    if claimed == "bilateral":
        return "elsewhere" if measured is not None else "wider"
    if measured is None or measured == "bilateral":
        return "wider"
    return "elsewhere"


def site_fit(claimed: str, measured: str | None, vocabulary: Vocabulary) -> Fit:
    """How the site of the evidence stands to one site that is claimed."""
    if measured is None:
        return "wider"
    if claimed == measured or vocabulary.site_contains(claimed, measured):
        return "within"
    if vocabulary.site_contains(measured, claimed):
        return "wider"
    lung = vocabulary.site_contains("lung", claimed) and vocabulary.site_contains("lung", measured)
    if lung and (bool({claimed, measured} & ACROSS) or _two_schemes(claimed, measured)):
        return "wider"
    return "elsewhere"


def place_fit(
    side: Side | None, sites: Collection[str], record: Evidence, vocabulary: Vocabulary
) -> tuple[Fit, str | None]:
    """How a record's place stands to a claimed side and its sites, and which site or side it breaks on."""
    measured_site = site_of(record, vocabulary)
    fits: list[tuple[Fit, str | None]] = [(side_fit(side_of(side, sites), record_side(record)), side)]
    fits += [(site_fit(site, measured_site, vocabulary), site) for site in sites]
    for bad in ("elsewhere", "wider"):
        for fit, where in fits:
            if fit == bad:
                return fit, where or "the side"
    return "within", None


def overlaps(side: Side | None, sites: Collection[str], record: Evidence, vocabulary: Vocabulary) -> bool:
    """True unless the record lies certainly elsewhere: what a denial of that place must reckon with."""
    measured = record_side(record)
    claimed = side_of(side, sites)
    if claimed and measured and "bilateral" not in (claimed, measured) and claimed != measured:
        return False
    site = site_of(record, vocabulary)
    return not sites or any(site_fit(named, site, vocabulary) != "elsewhere" for named in sites)


def where(side: Side | None, site: str | None) -> str:
    """A place in words for a reason."""
    return " ".join(part for part in (side or "", (site or "").replace("_", " ")) if part) or "no place"


def _two_schemes(one: str, other: str) -> bool:
    return (one in LOBES and other in ZONES) or (one in ZONES and other in LOBES)
