"""Which finding of today continues which of the prior, and which is new: from ledgers made by hand."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.comparing import order_of
from app.reading import read_scan
from app.records import case_record
from vlm.anatomy.registration import Alignment
from vlm.ct import Box, Grid, Volume, read
from vlm.ct.volume import Scan
from vlm.errors import IntakeError, UsageError
from vlm.evidence import Case, Evidence, Measurement, Observation, Region, Search
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Prior
from vlm.grounding.prior import compare
from vlm.phantom.dicom_series import write_dicom_series

SHIFT = np.array([0.0, 0.0, 100.0])  # today's z is the prior's plus 100 mm
LIMIT = {"smallest": Measurement(quantity="diameter", value=6.0), "sensitivity": 0.9}


def volume(
    *, fill: int = 0, origin: Iterable[float] = (-200, -200, 0), acquired: datetime.date | None = None
) -> Volume:
    """400 x 400 x 200 mm of nothing, 10 mm voxels."""
    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    affine[:3, 3] = list(origin)
    hu = np.full((40, 40, 20), fill, dtype=np.int16, order="F")
    return Volume(hu, Grid(hu.shape, affine), Scan(source="phantom", acquired=acquired))


def compared(today: Iterable[Evidence], earlier: Iterable[Evidence]) -> Prior:
    """Places of both are given in today's millimetres; the prior lies 100 mm lower."""
    case, prior = Case(volume(origin=(-200, -200, 100))), Case(volume())
    to_current = np.eye(4)
    to_current[:3, 3] = SHIFT
    for record in today:
        case.ledger.add(record)
    for record in earlier:
        prior.ledger.add(lowered(record))
    alignment = Alignment(to_current=to_current, correlation=0.9, overlap_mm=200.0)
    return compare(case, prior, alignment, load_vocabulary())


def lowered(record: Evidence) -> Evidence:
    if not isinstance(record, Observation) or record.region is None:
        return record
    x, y, z = record.region.centroid_mm
    return replace(record, region=region((x, y, z - 100.0)))


def region(place: tuple[float, float, float], half: float = 5.0) -> Region:
    x, y, z = place
    box = Box(low_mm=(x - half, y - half, z - half), high_mm=(x + half, y + half, z + half))
    return Region(centroid_mm=place, box_mm=box, slices=(0, 1))


def nodule(x: float, z: float = 200.0, *, diameter: float = 10.0, presence: str = "present") -> Observation:
    size = Measurement(quantity="diameter", value=diameter, plus_minus=1.0)
    return Observation(
        tool="nodules", finding="lung_nodule", presence=presence, side="right", site="upper_zone",  # type: ignore[arg-type]
        measurements=(size,), region=region((x, 0.0, z)),
    )  # fmt: skip


def port(x: float = -40.0, finding: str = "port", presence: str = "present") -> Observation:
    return Observation(
        tool="devices",
        finding=finding,
        presence=presence,
        site="chest_wall",
        region=region((x, 60.0, 200.0)),  # type: ignore[arg-type]
    )


def looked(finding: str, **more: object) -> Search:
    known: dict[str, object] = {"tool": "x", "covered": 1.0} | more
    return Search(finding=finding, **known)  # type: ignore[arg-type]


UNMEASURED = {"failed": ("partly_covered", "not_measured"), "covered": 0.6, "site": "chest_wall"}


def test_a_device_that_the_prior_was_searched_for_is_new_though_no_limit_was_measured() -> None:
    assert compared([port()], [looked("port", **UNMEASURED)]).matches == {"E1": None}


@pytest.mark.parametrize(
    "old", [port(), port(-60.0), port(finding="medical_material", presence="uncertain"), port(finding="pacemaker")]
)
def test_a_device_where_the_prior_may_show_one_is_not_new_nor_larger(old: Observation) -> None:
    found = compared([port()], [old, looked("port", **UNMEASURED)])
    assert found.matches == {}
    assert found.resolved == ()


def test_a_lung_finding_without_a_measured_limit_is_not_called_new() -> None:
    assert compared([nodule(50.0)], [looked("lung_nodule", failed=("not_measured",))]).matches == {}


def test_what_lies_near_the_end_of_the_prior_is_not_called_new() -> None:
    search = looked("lung_nodule", **LIMIT)
    assert compared([nodule(50.0, 200.0)], [search]).matches == {"E1": None}
    assert compared([nodule(50.0, 108.0)], [search]).matches == {}
    assert compared([nodule(50.0, 350.0)], [search]).matches == {}


def test_the_side_and_the_place_of_a_search_decide_what_it_says() -> None:
    left = looked("lung_nodule", side="left", **LIMIT)
    right = looked("lung_nodule", side="right", **LIMIT)
    elsewhere = looked("lung_nodule", site="lower_zone", **LIMIT)
    assert compared([nodule(50.0)], [left]).matches == {}
    assert compared([nodule(50.0)], [elsewhere]).matches == {}
    assert compared([nodule(50.0)], [left, right]).matches == {"E1": None}
    sideless = replace(nodule(50.0), side=None)
    assert compared([sideless], [right]).matches == {}
    assert compared([sideless], [left, right]).matches == {"E1": None}


def test_neighbours_are_matched_so_that_all_lie_nearest() -> None:
    found = compared([nodule(62.0), nodule(50.0)], [nodule(57.0), nodule(69.0)])
    matched = {name: old.region.centroid_mm[0] for name, old in found.matches.items() if old and old.region}
    assert matched == {"E1": 69.0, "E2": 57.0}  # the nearest first would pair 62 with 57, and 50 with 69


def test_a_near_pair_is_not_given_up_for_two_far_ones() -> None:
    search = looked("lung_nodule", **LIMIT)
    found = compared([nodule(50.0), nodule(63.0)], [nodule(51.0), nodule(33.0), search])
    assert {name: old and old.region and old.region.centroid_mm[0] for name, old in found.matches.items()} == {
        "E1": 51.0,
        "E2": None,
    }


def test_beyond_the_gate_it_is_another_nodule() -> None:
    search = looked("lung_nodule", **LIMIT)
    found = compared([nodule(50.0), search], [nodule(80.0), search])
    assert found.matches == {"E1": None}
    assert [old.finding for old in found.resolved] == ["lung_nodule"]


def test_what_either_scan_is_not_sure_of_is_neither_new_nor_resolved() -> None:
    search = looked("lung_nodule", **LIMIT)
    doubt = nodule(50.0, presence="uncertain")
    assert compared([nodule(52.0)], [doubt, search]).matches == {}
    assert compared([doubt, search], [nodule(52.0)]).resolved == ()


def test_a_finding_of_a_whole_side_is_matched_in_its_own_zone_only() -> None:
    def opacity(site: str) -> Observation:
        volume_ml = Measurement(quantity="volume", value=40.0, plus_minus=4.0)
        return Observation(
            tool="x", finding="consolidation", presence="present", side="left", site=site,
            measurements=(volume_ml,), region=region((-60.0, 0.0, 200.0)),
        )  # fmt: skip

    assert compared([opacity("upper_zone")], [opacity("lower_zone")]).matches == {}
    assert compared([opacity("upper_zone")], [opacity("upper_zone")]).matches["E1"] is not None
    assert compared([opacity("upper_zone")], [opacity("lung")]).matches["E1"] is not None


def test_the_day_of_a_scan_is_read_and_never_shown(tmp_path: Path) -> None:
    hu = np.full((40, 40, 20), -1000, dtype=np.int16, order="F")
    hu[10:30, 10:30] = 40
    grid = Grid(hu.shape, np.diag([4.0, 4.0, 4.0, 1.0]))
    write_dicom_series(Volume(hu, grid, Scan(source="phantom")), tmp_path, seed=1)
    scan = read(tmp_path).volume
    assert scan.scan.acquired == datetime.date(2000, 1, 1)
    record = case_record(scan).model_dump_json()
    assert "2000-01-01" not in record
    assert "20000101" not in record


def test_a_prior_of_a_later_day_is_refused() -> None:
    early, late = datetime.date(2020, 3, 1), datetime.date(2021, 3, 1)
    assert "headers" in order_of(volume(acquired=late), volume(fill=1, acquired=early))
    assert "as given" in order_of(volume(acquired=late), volume(fill=1))
    with pytest.raises(UsageError, match="made after the scan"):
        order_of(volume(acquired=early), volume(fill=1, acquired=late))
    with pytest.raises(UsageError, match="the scan itself"):
        order_of(volume(), volume())


@pytest.mark.parametrize("prior", ["nothing", "scan"])
def test_a_wrong_prior_is_refused_before_anything_is_looked_for(prior: str, tmp_path: Path) -> None:
    write_dicom_series(volume(), tmp_path / "scan", seed=1)
    steps: list[str] = []
    with pytest.raises((IntakeError, UsageError), match="prior"):
        read_scan(tmp_path / "scan", prior=tmp_path / prior, progress=steps.append)
    assert steps == ["read"]
