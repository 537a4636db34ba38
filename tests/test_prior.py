"""A prior is laid onto today's scan by bones and air, and only then may a report speak of change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app.reading import read_scan
from vlm.anatomy.registration import Alignment, register
from vlm.ct import Box, Grid, Volume, read
from vlm.evidence import Case, Measurement, Observation, Region, Search
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding.prior import compare
from vlm.grounding.rules_change import change_between
from vlm.phantom.chest import chest

SHIFT_MM = np.array([18.0, -11.0, 140.0])  # another table position
SPACING_MM = (2.5, 2.5, 3.0)
PLACE = (60.0, -20.0, 30.0)


def moved(volume: Volume, shift_mm: np.ndarray) -> Volume:
    affine = volume.grid.affine.copy()
    affine[:3, 3] += shift_mm
    return Volume(volume.hu, Grid(volume.grid.shape, affine), volume.scan)


@pytest.fixture(scope="module")
def today() -> Case:
    return Case(chest(seed=1, spacing_mm=SPACING_MM).volume)


@pytest.fixture(scope="module")
def earlier() -> Case:
    lower = chest(seed=1, spacing_mm=SPACING_MM, centre_mm=(0.0, -8.0, -60.0), noise_hu=20.0).volume
    return Case(moved(lower, SHIFT_MM))


def nodule(place: tuple[float, float, float], diameter: float) -> Observation:
    x, y, z = place
    box = Box(low_mm=(x - 5, y - 5, z - 5), high_mm=(x + 5, y + 5, z + 5))
    size = Measurement(quantity="diameter", value=diameter, plus_minus=1.0)
    return Observation(
        tool="nodules", finding="lung_nodule", presence="present", side="right", measurements=(size,),
        region=Region(centroid_mm=place, box_mm=box, slices=(1, 2)),
    )  # fmt: skip


def search() -> Search:
    smallest = Measurement(quantity="diameter", value=6.0)
    return Search(tool="nodules", finding="lung_nodule", covered=1.0, smallest=smallest, sensitivity=0.9)


def aligned(case: Case, prior: Case) -> Alignment:
    alignment = register(case, prior)
    assert alignment is not None
    return alignment


def test_a_few_slices_cannot_be_aligned(today: Case) -> None:
    whole = today.volume
    grid = Grid((*whole.grid.shape[:2], 5), whole.grid.affine)
    few = Volume(np.asfortranarray(whole.hu[:, :, :5]), grid, whole.scan)
    assert register(today, Case(few)) is None


def test_another_table_position_is_found_within_3_mm(today: Case, earlier: Case) -> None:
    alignment = register(today, earlier)
    assert alignment is not None
    assert alignment.accepted
    assert alignment.in_prior(PLACE) == pytest.approx(np.array(PLACE) + SHIFT_MM, abs=3.0)


def test_a_nodule_is_new_larger_or_unchanged_by_its_place(today: Case, earlier: Case) -> None:
    alignment = aligned(today, earlier)
    old = tuple(float(v) for v in np.array(PLACE) + SHIFT_MM)
    current, prior = Case(today.volume), Case(earlier.volume)
    grown = current.ledger.add(nodule((62.0, -18.0, 33.0), 14.0))
    fresh = current.ledger.add(nodule((60.0, 40.0, -30.0), 9.0))
    prior.ledger.add(nodule(old, 8.0))  # type: ignore[arg-type]  # three floats
    prior.ledger.add(search())
    found = compare(current, prior, alignment, load_vocabulary())
    assert change_between(found.matches[grown], nodule(PLACE, 14.0)) == "larger"
    assert change_between(found.matches[grown], nodule(PLACE, 8.5)) == "unchanged"
    assert found.matches[fresh] is None


def test_what_the_prior_was_not_searched_for_is_not_called_new(today: Case, earlier: Case) -> None:
    current, prior = Case(today.volume), Case(earlier.volume)
    name = current.ledger.add(nodule((60.0, 40.0, -30.0), 9.0))
    assert name not in compare(current, prior, aligned(today, earlier), load_vocabulary()).matches


@pytest.mark.realct
def test_scans_of_different_patients_do_not_align(shared: Path) -> None:
    folder = shared / "ct"
    one = Case(read(folder / "acrin-flt-breast-001-day1-chest" / "ct.nii.gz").volume)
    same = Case(read(folder / "acrin-flt-breast-001" / "ct.nii.gz").volume)
    other = Case(read(folder / "nlst-101287" / "ct.nii.gz").volume)
    assert not aligned(one, other).accepted
    alignment = aligned(same, one)
    assert alignment.accepted
    # The carina, read by eye: z -128 in the prior, z -337 in the follow-up.
    assert alignment.to_current[2, 3] == pytest.approx(-337.0 + 128.0, abs=15.0)


@pytest.mark.realct
def test_a_port_put_in_between_two_scans_is_told_as_new(shared: Path) -> None:
    folder = shared / "ct"
    before = folder / "acrin-flt-breast-001-day1-chest" / "ct.nii.gz"
    report = read_scan(folder / "acrin-flt-breast-001" / "ct.nii.gz", prior=before).report
    new = [s.text for s in report.section("soft_tissues_and_devices") if "new since the prior scan" in s.text]
    assert any("Left port" in text for text in new)
    assert any("venous catheter" in text for text in new)
    assert not [s for s in report.sentences if "larger" in s.text or "resolved" in s.text]
    prior = report.provenance["prior"]
    assert isinstance(prior, dict)
    assert prior["alignment"]["accepted"] is True
    assert None in prior["matches"].values()
