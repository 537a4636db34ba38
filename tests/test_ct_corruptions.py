"""Damaged scans end in the clean volume, a stated limit or a one-line refusal; the whole run is a benchmark."""

from __future__ import annotations

from benchmarks.corruptions import run


def test_a_hundred_damaged_scans_are_equal_limited_or_refused() -> None:
    table, bad = run(100, seed=1, forms=("explicit", "implicit", "rle", "enhanced", "nii", "nii.gz", "zip"))
    assert bad == []
    assert sum(sum(outcomes.values()) for outcomes in table.values()) == 100
