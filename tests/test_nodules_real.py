"""Nodules and masses of the real scans: what a reader listed is found, and clear lungs stay clear."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.conftest import SHARED
from tests.scans import real_case
from vlm.anatomy.lungs import lungs
from vlm.ct.volume import Box
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.implant import Implant, implant
from vlm.tools.nodules import nodules

pytestmark = pytest.mark.realct
TRUTH: dict[str, Any] = (
    json.loads((SHARED / "ct" / "findings.json").read_text(encoding="utf-8")) if (SHARED / "ct").is_dir() else {}
)
LISTED = [
    (name, finding)
    for name, scan in TRUTH.items()
    if isinstance(scan, dict)
    for finding in scan["findings"]
    if finding["finding"] in ("nodule", "mass") and scan["body"] != "breast"
]
IN_COLLAPSE = {("lidc-idri-0314", "mass")}  # its listed middle is not that of its listed slices
SIZE_OFF = {("rider-pilot-0117", (22, 30)), ("rider-pilot-0117", (22, 24))}  # lobulated; sunk into the chest wall
CLEAR = (
    "acrin-flt-breast-013",
    "acrin-flt-breast-001-day1-chest",
    "acrin-flt-breast-001",
    "elastix-right-lung",
    "cptac-pda-00189",
)


@functools.cache
def evidence_of(name: str) -> tuple[tuple[Evidence, ...], float]:
    case = real_case(name)
    return tuple(nodules(case)), lungs(case).midline_mm


def found_in(name: str) -> tuple[tuple[Observation, ...], float]:
    evidence, midline_mm = evidence_of(name)
    return tuple(r for r in evidence if isinstance(r, Observation)), midline_mm


def size(record: Observation) -> tuple[float, float]:
    long, short = record.measured("diameter"), record.measured("short_axis")
    assert long is not None
    assert short is not None
    return long.value, short.value


def holds(box: Box, place: Sequence[float] | None) -> bool:
    return place is not None and all(
        low <= p <= high for low, p, high in zip(box.low_mm, place, box.high_mm, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "listed"), LISTED, ids=[f"{n}-{f['side']}-{'x'.join(map(str, f['size_mm']))}" for n, f in LISTED]
)
def test_a_listed_nodule_is_found_on_its_side_with_its_size(name: str, listed: dict[str, Any]) -> None:
    found, _ = found_in(name)
    place = listed.get("centre_ras_mm")
    if (name, listed["finding"]) in IN_COLLAPSE:
        near = [f for f in found if f.finding == "lung_mass" and f.region and holds(f.region.box_mm, place)]
        assert [f.presence for f in near] == ["uncertain"]  # mass or collapse
    elif place is not None:
        near = [f for f in found if f.region and np.linalg.norm(np.subtract(f.region.centroid_mm, place)) <= 8.0]
    else:
        near = [f for f in found if f.finding == "lung_mass"]
    assert len(near) == 1
    assert near[0].side == listed["side"]
    if (name, tuple(listed["size_mm"][:2])) not in SIZE_OFF:
        assert size(near[0])[0] == pytest.approx(max(listed["size_mm"][:2]), abs=4.0)


@pytest.mark.parametrize("name", CLEAR)
def test_a_clear_lung_has_at_most_one_false_nodule(name: str) -> None:
    found, _ = found_in(name)
    assert sum(size(f)[0] >= 6.0 for f in found) <= 1


@pytest.mark.parametrize("name", CLEAR)
def test_no_mass_is_suspected_in_a_clear_lung(name: str) -> None:
    found, _ = found_in(name)
    assert not any(f.finding == "lung_mass" for f in found)


def test_the_clear_left_lung_beside_a_right_tumour_stays_clear() -> None:
    found, _ = found_in("lidc-idri-0314")
    assert sum(f.side == "left" and size(f)[0] >= 6.0 for f in found) <= 1


def test_no_mass_is_denied_where_a_lobe_is_collapsed() -> None:
    evidence, _ = evidence_of("lidc-idri-0314")
    for search in (r for r in evidence if isinstance(r, Search)):
        assert ("collapse" in search.failed) == (search.side == "right")


@pytest.mark.parametrize("name", CLEAR)
def test_nothing_hides_in_a_clear_lung(name: str) -> None:
    evidence, _ = evidence_of(name)
    assert not any("collapse" in r.failed for r in evidence if isinstance(r, Search))


@pytest.mark.parametrize("name", ["nlst-101287", "acrin-nsclc-042", "cmb-crc-01068"])
def test_nodules_of_6_mm_put_into_a_real_scan_are_found_in_coarse_voxels_and_blur_too(name: str) -> None:
    wanted = [
        Implant(finding="lung_nodule", size=6.0, margin=margin, place=place)
        for margin, place in (("smooth", "pleural"), ("lobulated", "inside"), ("spiculated", "inside")) * 3
    ]
    made = implant(real_case(name), wanted, seed=11)
    found = [record for record in nodules(Case(made.volume)) if isinstance(record, Observation)]
    places = [f.region.centroid_mm for f in found if f.region]
    assert sum(any(np.linalg.norm(np.subtract(p, t.centre_mm)) <= 5.0 for p in places) for t in made.truth) >= 7


def test_nodules_from_8_mm_put_into_a_real_scan_are_found_at_the_pleura_and_inside() -> None:
    wanted = [
        Implant(finding="lung_nodule", size=size, margin=margin, place=place)
        for size, margin in ((8.0, "smooth"), (10.0, "lobulated"), (12.0, "spiculated"))
        for place in ("inside", "pleural")
    ]
    wanted += [Implant(finding="lung_nodule", size=size, texture="ground_glass") for size in (10.0, 12.0, 16.0)]
    made = implant(real_case("nlst-101287"), wanted, seed=100)
    found = [record for record in nodules(Case(made.volume)) if isinstance(record, Observation)]
    hits = [
        any(f.region and np.linalg.norm(np.subtract(f.region.centroid_mm, t.centre_mm)) <= 5.0 for f in found)
        for t in made.truth
    ]
    assert sum(hits[:6]) >= 5
    assert sum(hits[6:]) >= 2
