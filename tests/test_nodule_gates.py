"""Which small lumps are nodules: what blur has thinned is taken where it is free, round and small."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from vlm.ct.volume import Grid, Mask
from vlm.tools.nodule_gates import is_dense_and_round
from vlm.tools.nodule_measure import Nodule

BLURRED = Nodule(  # a nodule of 6 mm in slices of 2.5 mm
    mask=Mask("nodule", np.ones((2, 2, 2), dtype=bool), Grid((2, 2, 2), np.eye(4))),
    diameter_mm=6.1, short_axis_mm=5.7, diameter_3d_mm=6.1, volume_ml=0.08, mean_hu=-260.0, core_hu=-177.0,
    density="solid", solid_mm=5.2,
)  # fmt: skip


@pytest.mark.parametrize("thin", [True, False])
def test_a_free_round_lump_that_blur_has_thinned_is_a_nodule(thin: bool) -> None:
    assert is_dense_and_round(BLURRED, 2.5, way=0.4, thin=thin)


@pytest.mark.parametrize(
    ("changed", "way", "slice_mm"),
    [
        ({}, 0.9, 2.5),  # a vessel goes on from it
        ({"short_axis_mm": 4.0}, 0.4, 2.5),  # long
        ({"core_hu": -300.0}, 0.4, 2.5),  # hardly there
        ({"diameter_mm": 8.0, "diameter_3d_mm": 8.0, "short_axis_mm": 7.5, "volume_ml": 0.2}, 0.4, 2.5),  # too large
        ({}, 0.4, 6.0),  # one slice shows it
    ],
)
def test_what_blur_does_not_explain_is_none(changed: dict[str, float], way: float, slice_mm: float) -> None:
    assert not is_dense_and_round(replace(BLURRED, **changed), slice_mm, way=way, thin=True)  # type: ignore[arg-type]  # lengths and densities
    assert not is_dense_and_round(replace(BLURRED, **changed), slice_mm, way=way, thin=False)  # type: ignore[arg-type]
