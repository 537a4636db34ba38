"""Height loss of vertebrae: a crushed body is found, an even spine is clear, thick slices are not judged."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from tests.scans import real_case
from vlm.ct.volume import Grid, Scan, Volume
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.body import body as person
from vlm.phantom.body import numbered
from vlm.phantom.chest import chest
from vlm.tools.vertebral_fracture import Body, bodies_of, loss_of, losses_of, runs_of, vertebral_fracture


def seen(evidence: list[Evidence]) -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation)]


def looked(evidence: list[Evidence]) -> Search:
    (search,) = [e for e in evidence if isinstance(e, Search)]
    assert search.finding == "vertebral_fracture"
    return search


def crushed(volume: Volume, first_mm: float, last_mm: float, share: float) -> Volume:
    """The scan with the slices between two heights pressed together, so that ``share`` of them is lost."""
    z = volume.grid.to_mm(np.c_[np.zeros((volume.grid.shape[2], 2)), np.arange(volume.grid.shape[2])])[:, 2]
    lost = (last_mm - first_mm) * share
    last = last_mm - lost
    source = np.where(z < first_mm, z, np.where(z < last, first_mm + (z - first_mm) / (1 - share), z + lost))
    index = np.clip(np.rint(np.interp(source, z, np.arange(z.size))), 0, z.size - 1).astype(int)
    return Volume(np.asfortranarray(volume.hu[:, :, index]), volume.grid, volume.scan)


def spine_of(*pitches_mm: float | tuple[float, float, float], core_hu: Mapping[int, float] | None = None) -> list[Body]:
    """Bodies from below, each as high as told, in front, in the middle and behind."""
    out: list[Body] = []
    for number, told in enumerate(pitches_mm):
        three = told if isinstance(told, tuple) else (told, told, told)
        hu, low = (core_hu or {}).get(number, 150.0), out[-1].high_s if out else 0
        out.append(Body(low_s=low, high_s=low + round(three[1]), pitches_mm=three, core_hu=hu, bone=hu > 60))
    return out


@pytest.fixture(scope="module")
def plain() -> Volume:
    return chest(spacing_mm=(1.2, 1.2, 1.5), seed=5).volume


def test_an_even_spine_has_no_fracture_and_the_search_covers_a_part(plain: Volume) -> None:
    evidence = vertebral_fracture(Case(plain))
    assert not seen(evidence)
    assert 0.0 < looked(evidence).covered < 0.9


def test_a_crushed_body_is_found_at_its_height(plain: Volume) -> None:
    from vlm.phantom.torso import DISC_MM, VERTEBRA_MM

    middle = -2.5 * VERTEBRA_MM  # of a body; discs lie at whole multiples
    half = (VERTEBRA_MM - DISC_MM) / 2
    evidence = vertebral_fracture(Case(crushed(plain, middle - half, middle + half, 0.6)))
    (found,) = seen(evidence)
    assert found.presence == "present" and looked(evidence).found == 1
    assert found.site == "T9"  # counted; T12 is drawn at -132 mm
    size = found.measured("height_loss")
    assert size is not None and size.value == pytest.approx(60.0, abs=15.0)
    assert found.region is not None and abs(found.region.centroid_mm[2] - middle) < 12.0


def told(spine: list[Body], number: int) -> tuple[float, str] | None:
    return loss_of(losses_of(spine, number))


def test_a_body_is_measured_by_those_near_it() -> None:
    loss = told(spine_of(24, 24, 12, 24, 24), 2)
    assert loss is not None and loss[0] == pytest.approx(63.0, abs=1.0)
    sunk = told(spine_of(24, 24, 12, 36, 24, 24), 2)
    assert sunk == loss  # the room above a sunken plate makes the next body seem taller
    wedge = told(spine_of(24, 24, (10.0, 14.0, 23.0), 24, 24), 2)
    assert wedge is not None and wedge[0] == pytest.approx(63.2, abs=0.1) and wedge[1] == "anterior"
    slight = told(spine_of(26, 26, (16.0, 20.5, 26.0), 26, 26), 2)
    assert slight is not None and slight[0] == pytest.approx(36.9, abs=0.1)
    most = told(spine_of(26, 26, (-4.0, 0.0, 20.0), 26, 26), 2)
    assert most is not None and most[0] == 100.0
    assert told(spine_of(24, 24, (24.0, 12.0, 24.0), 24, 24), 2) is None  # one misplaced disc is no fracture


def test_two_beside_each_other_are_told_unless_they_may_be_one() -> None:
    spine = spine_of(26, 26, 26, 18, 18, 26, 26, 26)
    assert [told(spine, n) is not None for n in range(8)] == [False, False, False, True, True, False, False, False]
    halves = spine_of(26, 26, 26, 13, 13, 26, 26, 26)
    assert not losses_of(halves, 3) and not losses_of(halves, 4) and losses_of(halves, 2)


def test_where_nothing_tells_what_is_usual_nothing_is_measured() -> None:
    assert not losses_of(spine_of(24, 12, 24), 1)  # too few
    assert not losses_of(spine_of(12, 24, 24, 24), 0)  # the first
    assert not losses_of(spine_of(20, 40, 12, 24, 33, 19), 2)  # of all heights
    assert [loss for loss, _ in losses_of(spine_of(24, 24, 24, 24), 1)] == [0.0, 0.0, 0.0]  # whole is measured


def test_a_spine_of_which_nothing_could_be_measured_is_not_denied(plain: Volume) -> None:
    z = slice(0, round(95 / plain.grid.spacing_mm[2]))  # three or four bodies
    short = Volume(np.asfortranarray(plain.hu[:, :, z]), Grid(plain.hu[:, :, z].shape, plain.grid.affine), plain.scan)
    evidence = vertebral_fracture(Case(short))
    assert not seen(evidence) and looked(evidence).covered < 0.3


def test_a_run_ends_where_the_spine_was_lost_and_not_at_the_room_of_a_disc() -> None:
    def lengths(*pitches: float, **told: float) -> list[int]:
        hu = {int(name[1:]): value for name, value in told.items()}
        return [len(run) for run in runs_of(spine_of(*pitches, core_hu=hu))]

    assert lengths(24, 24, 24, 24, 24) == [5]
    assert lengths(24, 24, 16, 24, 24, _2=80.0) == [4]
    assert lengths(24, 24, 32, 24, 24, _2=80.0) == [2, 2]
    assert lengths(24, 24, 16, 24, 24, _2=-70.0) == [2, 2]


@pytest.mark.parametrize(("percent", "presence"), [(60, "present"), (0, None)])
def test_a_body_whose_upper_plate_sank_is_found_where_it_was_drawn(percent: int, presence: str | None) -> None:
    words = numbered([f"T8 compression fracture {percent} %"] if percent else [])
    drawn = person(seed=32_001, phase="plain", region="chest", spacing_mm=(1.5, 1.5, 2.0), findings=words)
    evidence = vertebral_fracture(Case(drawn.volume))
    assert [each.presence for each in seen(evidence)] == ([presence] if presence else [])
    for each in seen(evidence):
        (truth,) = [one for one in drawn.truth if one.finding == "vertebral_fracture"]
        assert each.region is not None
        assert abs(each.region.centroid_mm[2] - truth.centre_mm[2]) < 15.0


def test_thick_slices_and_air_are_not_assessed() -> None:
    thick = chest(spacing_mm=(2.0, 2.0, 5.0), seed=5).volume
    evidence = vertebral_fracture(Case(thick))
    assert not seen(evidence) and looked(evidence).failed == ("thick_slices",) and looked(evidence).covered == 0.0
    hu = np.full((60, 50, 20), -1000, dtype=np.int16, order="F")
    air = Volume(hu, Grid((60, 50, 20), np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom"))
    assert not looked(vertebral_fracture(Case(air))).looked


@pytest.mark.realct
@pytest.mark.parametrize(
    "name", ["nlst-101287", "lidc-idri-0314", "cmb-crc-01068", "rider-pilot-0117", "totalseg-abdomen-3mm"]
)
def test_spines_of_real_scans_have_no_fracture(name: str) -> None:
    assert not seen(vertebral_fracture(real_case(name)))


def test_discs_between_dense_end_plates_are_placed_by_their_middle() -> None:
    fine_mm = np.arange(0.0, 290.0, 0.1)
    away = np.abs(np.mod(fine_mm, 24.0) - 12.0)  # from the middle of a body
    course = np.where(away > 9.0, 75.0, np.where(away > 7.5, 620.0, 190.0))  # disc, end plates, marrow
    slices = np.arange(0.0, 290.0, 1.8)
    seen = [course[np.abs(fine_mm - middle) <= 0.9].mean() for middle in slices]
    image = np.repeat(np.interp(np.arange(0.0, 288.0), slices, seen)[:, None], 46, axis=1)
    pitches = [body.pitches_mm[1] for body in bodies_of(image)[1:-1]]
    assert len(pitches) >= 9
    assert pitches == pytest.approx([24.0] * len(pitches), abs=2.8)  # 1.8 mm slices; by the stronger end plate: 3
