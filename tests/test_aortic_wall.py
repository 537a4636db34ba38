"""The wall of the aorta is measured on the voxels: clot counts, neighbours do not, and what is not seen is not sure."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vlm.anatomy.aortic_wall import Course, Section, section
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.tools.aorta_size import ABDOMINAL, ASCENDING, LOST_MM, judged, longest_gap_mm, verdict, widest, width_mm

GRID = Grid((90, 90, 1), np.diag([1.5, 1.5, 3.0, 1.0]))
MIDDLE = np.array([66.0, 66.0])
FAT, CLOT, PLAIN, BRIGHT, LUNG = -100.0, 45.0, 45.0, 300.0, -850.0


def slice_with(
    width: float, blood: float, *, lumen: float | None = None, around: float = FAT, neighbour: bool = False
) -> np.ndarray:
    """(X, Y) HU: a vessel of this width, its lumen of that, and muscle that touches a fifth of its wall."""
    x, y = np.meshgrid(np.arange(90) * 1.5, np.arange(90) * 1.5, indexing="ij")
    away = np.hypot(x - MIDDLE[0], y - MIDDLE[1])

    def disc(mm: float) -> np.ndarray:
        return np.clip((mm / 2 - away) / 2.0 + 0.5, 0.0, 1.0)

    hu = around + (CLOT - around) * disc(width)
    if neighbour:
        hu[(x > MIDDLE[0] + width / 2 - 1.0) & (np.abs(y - MIDDLE[1]) < width / 4)] = CLOT
    inside = disc(width if lumen is None else lumen)
    hu = hu + (blood - hu) * inside
    return (hu + np.random.default_rng(0).normal(0, 5, hu.shape)).astype(np.float32)


@settings(max_examples=12, derandomize=True)
@given(
    width=st.floats(18.0, 70.0), blood=st.sampled_from([PLAIN, BRIGHT]), aside=st.floats(-4.0, 4.0),
    around=st.sampled_from([FAT, LUNG]),
)  # fmt: skip
def test_the_width_is_that_of_the_wall_wherever_the_seed_lies(
    width: float, blood: float, aside: float, around: float
) -> None:
    found = section(slice_with(width, blood, around=around), GRID, MIDDLE + aside)
    assert found is not None and found.sure
    assert found.short_mm == pytest.approx(width, abs=3.5)


def test_clot_belongs_to_the_width_and_the_lumen_is_told_beside_it() -> None:
    found = section(slice_with(56.0, BRIGHT, lumen=28.0), GRID, MIDDLE)
    assert found is not None and found.sure and found.lumen_mm is not None
    assert width_mm(found) == pytest.approx(56.0, abs=3.0)
    assert found.lumen_mm == pytest.approx(28.0, abs=5.0)


def test_a_thin_layer_around_an_enhanced_lumen_is_no_clot() -> None:
    found = section(slice_with(34.0, BRIGHT, lumen=22.0), GRID, MIDDLE)
    assert found is not None and width_mm(found) == pytest.approx(24.0, abs=3.0)  # crura lie as close


def test_a_neighbour_that_touches_the_wall_does_not_widen_it_and_is_not_called_seen() -> None:
    alone, touched = (section(slice_with(30.0, PLAIN, neighbour=each), GRID, MIDDLE) for each in (False, True))
    assert alone is not None and touched is not None
    assert touched.short_mm == pytest.approx(alone.short_mm, abs=3.0)
    assert touched.seen < alone.seen


@pytest.mark.parametrize("hu", [FAT, PLAIN])
def test_where_there_is_no_wall_nothing_is_sure(hu: float) -> None:
    found = section(np.full(GRID.shape[:2], hu, dtype=np.float32), GRID, MIDDLE)
    assert found is None or not found.sure


def test_the_mask_of_a_section_is_its_disc() -> None:
    turn = np.arange(48) * 2 * np.pi / 48
    points = MIDDLE + 15.0 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    one = Section(points_mm=points, short_mm=30.0, long_mm=30.0, lumen_mm=None, seen=1.0, gap=0.0)
    assert Course(GRID, {0: one}).mask("aorta", [0, 5]).volume_ml == pytest.approx(np.pi * 0.15**2 * 30, rel=0.05)


@pytest.mark.parametrize(
    ("width", "ascending", "abdominal"),
    [
        (26.0, ("", ""), ("", "")),
        (28.0, ("", ""), ("abdominal_aortic_aneurysm", "uncertain")),
        (33.0, ("", ""), ("abdominal_aortic_aneurysm", "present")),
        (41.0, ("aortic_dilatation", "uncertain"), ("abdominal_aortic_aneurysm", "present")),
        (43.0, ("aortic_dilatation", "present"), ("abdominal_aortic_aneurysm", "present")),
        (46.0, ("aortic_aneurysm", "uncertain"), ("abdominal_aortic_aneurysm", "present")),
        (48.0, ("aortic_aneurysm", "present"), ("abdominal_aortic_aneurysm", "present")),
    ],
)
def test_limits_of_guidelines_decide(width: float, ascending: tuple[str, str], abdominal: tuple[str, str]) -> None:
    assert verdict(ASCENDING, width) == ascending
    assert verdict(ABDOMINAL, width) == abdominal


STEP_MM, MANY = 3.0, 60
TALL = Grid((40, 40, MANY), np.diag([2.0, 2.0, STEP_MM, 1.0]))
ENDS_MM = (0.0, (MANY - 1) * STEP_MM)


def told(widths: np.ndarray, limits: np.ndarray | None = None) -> list[Evidence]:
    """What is said of an abdominal aorta of these widths, one a slice; 0 where its wall was not followed."""
    case = Case(Volume(np.zeros(TALL.shape, dtype=np.int16, order="F"), TALL, Scan(source="phantom")))
    turn = np.arange(48) * 2 * np.pi / 48
    rings = {
        int(k): Section(
            points_mm=40.0 + widths[k] / 2 * np.stack([np.cos(turn), np.sin(turn)], axis=1),
            short_mm=widths[k], long_mm=widths[k], lumen_mm=None, seen=1.0, gap=0.0,
        )
        for k in np.flatnonzero(widths)
    }  # fmt: skip
    limits = np.full(MANY, ABDOMINAL.aneurysm_mm) if limits is None else limits
    return judged(case, ABDOMINAL, Course(TALL, rings), widths, ENDS_MM, limits)


def search_of(evidence: list[Evidence]) -> Search:
    return next(e for e in evidence if isinstance(e, Search))


def test_a_stretch_whose_wall_was_lost_is_not_said_to_be_free_of_an_aneurysm() -> None:
    widths = np.full(MANY, 20.0)
    assert search_of(told(widths)).looked
    widths[20 : 21 + round(LOST_MM / STEP_MM)] = 0.0
    lost = search_of(told(widths))
    assert not lost.looked and "lost" in lost.note


def test_an_aneurysm_is_told_even_where_the_course_ends_in_it() -> None:
    widths = np.full(MANY, 20.0)
    widths[:20], widths[20:30] = 0.0, 45.0
    (seen,) = [e for e in told(widths) if isinstance(e, Observation)]
    assert seen.presence == "present" and seen.measurements[0].value == pytest.approx(45.0)


def test_a_width_above_the_renal_arteries_is_no_aneurysm_that_would_be_one_below() -> None:
    widths, limits = np.full(MANY, 20.0), np.full(MANY, 30.0)
    widths[40:50], limits[30:] = 35.0, 40.0
    assert search_of(told(widths, limits)).found == 0
    widths[10:20] = 35.0
    assert search_of(told(widths, limits)).found == 1


@settings(max_examples=30, derandomize=True)
@given(width=st.floats(20.0, 60.0), at=st.integers(5, 50))
def test_a_width_that_one_slice_shows_is_no_width(width: float, at: int) -> None:
    line = np.full(MANY, 18.0)
    line[at] = width
    assert line[widest(line, STEP_MM)] == 18.0


@given(st.lists(st.floats(0.0, 100.0), max_size=8))
def test_a_gap_is_the_longest_stretch_without_a_measure(heights: list[float]) -> None:
    gap = longest_gap_mm(np.array(heights), 0.0, 100.0)
    assert 100.0 / (len(heights) + 1) - 1e-6 <= gap <= 100.0
