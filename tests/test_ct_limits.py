"""What intake withholds is not printed."""

from __future__ import annotations

import pytest

from vlm.ct.intake import LIMITS
from vlm.evidence import CONDITIONS, QUANTITIES, WITHHELD, Coverage, Measurement, Observation, without_withheld

NODULE = Observation(
    tool="nodules",
    finding="lung_nodule",
    presence="present",
    measurements=tuple(Measurement(quantity=name, value=8.0) for name in ("diameter", "volume", "attenuation")),
    note="by hand",
)


@pytest.mark.parametrize(
    ("limit", "left"),
    [
        ("density_withheld", {"diameter", "volume"}),
        ("length_withheld", {"attenuation"}),
        ("volume_across_slices", {"diameter", "attenuation"}),
        ("reformat", {"diameter", "volume", "attenuation"}),
    ],
)
def test_a_limit_takes_the_numbers_it_touches(limit: str, left: set[str]) -> None:
    kept = without_withheld(NODULE, frozenset({limit}))
    assert isinstance(kept, Observation)
    assert {each.quantity for each in kept.measurements} == left
    assert ("withheld" in kept.note) == (len(left) < 3)


def test_without_limits_nothing_changes() -> None:
    assert without_withheld(NODULE, frozenset()) is NODULE
    coverage = Coverage(tool="coverage", site="chest", covered=1.0)
    assert without_withheld(coverage, frozenset(LIMITS)) is coverage


def test_keys_are_those_of_intake_and_quantities_are_known() -> None:
    assert set(WITHHELD) <= set(LIMITS)
    assert {"density_withheld", "length_withheld"} <= set(CONDITIONS)
    assert all(quantities <= set(QUANTITIES) for quantities in WITHHELD.values())
