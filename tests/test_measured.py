"""Heads over measures: what is measured of bodies of known truth, and when the shipped heads claim a probability."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app.image_columns import LEAST_KNOWN, ImageColumns, head_told, join, save_calibrations, scored_by
from benchmarks import answers
from vlm.ct.volume import Grid
from vlm.encoder.adapter import Adapted
from vlm.encoder.embedding import embedding
from vlm.encoder.forms import ball, shapes
from vlm.encoder.gut_measures import gut
from vlm.encoder.measured import BELLY_SEEN, SHIPPED, Measures, shipped
from vlm.encoder.measures import NAMES, PHYSICAL, as_vector, measures, numbers
from vlm.encoder.scene import GRID_MM, Bools, Floats, Scene, ml, scene, scene_of
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.language.query import read_query
from vlm.phantom.body import body
from vlm.phantom.seeds import split_of
from vlm.train import bodies as drawn
from vlm.train import measured as training

SPACING_MM = (3.0, 3.0, 3.0)


@pytest.fixture(scope="module")
def ill() -> Case:
    """A chest with fluid, mosaic lungs and a large heart; of the tuning seeds, which taught no head."""
    words = ("right pleural effusion, 400 ml", "mosaic attenuation, 120 HU", "cardiomegaly, cardiothoracic ratio 0.65")
    return Case(body(seed=1_000_001, phase="plain", region="chest", spacing_mm=SPACING_MM, findings=words).volume)


@pytest.fixture(scope="module")
def heads() -> Adapted:
    held = shipped()
    assert held is not None
    return held


def test_numbers_follow_what_was_drawn(ill: Case) -> None:
    told = numbers(scene_of(ill))
    assert told["lung.max.fluid"] == pytest.approx(400.0, rel=0.5)
    assert told["lung.apart.fluid"] > 150.0  # of one side
    assert told["heart.ratio"] == pytest.approx(65.0, abs=8.0)
    assert "kidney.max.ml" not in told  # below the field of view
    assert "belly.water" not in told


@pytest.mark.parametrize("spacing_mm", [(1.5, 1.5, 1.5), (2.4, 2.4, 2.0), (3.0, 3.0, 5.0)])
def test_a_structure_has_its_volume_and_place_whatever_the_spacing(spacing_mm: tuple[float, float, float]) -> None:
    steps = np.array(spacing_mm[::-1])
    sizes = np.round(120.0 / steps).astype(int)
    z, y, x = (np.arange(n) * step for n, step in zip(sizes, steps, strict=True))
    ball = (z[:, None, None] - 60) ** 2 + (y[:, None] - 60) ** 2 + (x - 60) ** 2 < 30**2
    made = scene(
        np.where(ball, 50, -100).astype(np.int16), spacing_mm, np.zeros(3), {"body": np.ones_like(ball), "liver": ball},
        dome_mm=None, carina_mm=None, canal_mm=np.zeros((0, 3)), ratio=None, covered={},
    )  # fmt: skip
    assert ml(made.parts["liver"]) == pytest.approx(113.1, rel=0.05)
    middle = np.argwhere(made.parts["liver"]).mean(axis=0) * GRID_MM + made.origin_mm[::-1]
    assert middle == pytest.approx([60.0] * 3, abs=2.5)
    assert float(np.median(made.hu[made.parts["liver"]])) == pytest.approx(50.0, abs=1.0)


def test_of_no_body_and_of_a_thin_slab_there_are_no_numbers(ill: Case) -> None:
    volume = ill.volume
    slab = replace(
        volume, hu=np.asfortranarray(volume.hu[:, :, :4]), grid=Grid((*volume.grid.shape[:2], 4), volume.grid.affine)
    )
    empty = replace(slab, hu=np.full_like(slab.hu, -1000, order="F"))
    assert np.isnan(measures(Case(slab))).all()
    assert np.isnan(measures(Case(empty))).all()


SIZE = 30  # voxels, 90 mm


def lung_with(part: Bools) -> Floats:
    rng = np.random.default_rng(0)
    values = rng.normal(-850.0, 15.0, (SIZE,) * 3).astype(np.float32)
    values[part] = 30.0
    return values


def test_a_plate_is_a_sheet_a_vessel_a_line_and_a_nodule_a_ball() -> None:
    z, y, x = np.ogrid[:SIZE, :SIZE, :SIZE]
    whole = np.ones((SIZE,) * 3, dtype=bool)
    plate = np.broadcast_to((z == 15) & (y > 5) & (y < 25) & (x > 5) & (x < 25), whole.shape)
    vessel = np.broadcast_to((z == 15) & (y == 15) & (x > 2) & (x < 28), whole.shape)
    nodule = np.asarray((z - 15) ** 2 + (y - 15) ** 2 + (x - 15) ** 2 <= 2)
    flat, long, round_ = (shapes(lung_with(one), whole, whole, 3.0) for one in (plate, vessel, nodule))
    assert flat["sheet_big"] == pytest.approx(ml(plate), rel=0.3)
    assert flat["sheet"] > 4 * (flat["line_out"] + flat["round"])
    assert long["line_out"] == pytest.approx(ml(vessel), rel=0.5)
    assert long["sheet"] == 0
    assert round_["knob"] > 2 * max(flat["knob"], long["knob"])
    assert round_["round"] > 0
    assert shapes(lung_with(np.zeros_like(whole)), whole, whole, 3.0)["sheet"] == 0
    assert ball(-lung_with(nodule), whole, 3.0, dark=True) == pytest.approx(ball(lung_with(nodule), whole, 3.0))
    assert np.isnan(ball(lung_with(nodule), np.zeros_like(whole), 3.0))


def belly_with(**drawn: tuple[Bools, float]) -> tuple[Scene, Bools]:
    """Fat with a liver at the right, and what else is named; and the room that no organ fills."""
    z, y, x = np.ogrid[:40, :40, :40]
    liver = np.broadcast_to((x > 26) & (y > 8) & (y < 30) & (z > 10), (40,) * 3)
    hu = np.full((40,) * 3, -100, dtype=np.int16)
    hu[liver] = 55
    for part, value in drawn.values():
        hu[part] = value
    parts = {"body": np.ones_like(liver), "within": np.ones_like(liver), "liver": liver}
    seen = scene(
        hu, (GRID_MM,) * 3, np.array([-60.0, -30.0, 0.0]), parts, dome_mm=200.0, carina_mm=None,
        canal_mm=np.array([[0.0, -20.0, z * 3.0] for z in range(40)]), ratio=None, covered={},
    )  # fmt: skip
    return seen, np.asarray(~liver)


def test_a_stone_in_bile_levels_in_bowel_and_gas_before_the_liver_are_measured() -> None:
    z, y, x = np.ogrid[:40, :40, :40]
    pool = np.asarray((z - 8) ** 2 + (y - 18) ** 2 + (x - 24) ** 2 < 5**2)
    stone = np.asarray((z - 8) ** 2 + (y - 15) ** 2 + (x - 24) ** 2 < 2)
    loop = (z > 5) & (z < 20) & (x > 4) & (x < 16) & (y > 10)
    fluid, gas = np.asarray(loop & (y < 18)), np.asarray(loop & (y >= 18) & (y < 24))
    free = np.broadcast_to((x > 28) & (y >= 30) & (y < 33) & (z > 15) & (z < 30), (40,) * 3)
    plain = gut(*belly_with(pool=(pool, 8)), np.ones_like(pool))
    told = gut(*belly_with(pool=(pool, 8), stone=(stone, 400), fluid=(fluid, 10), gas=(gas, -900), free=(free, -900)),
               np.ones_like(pool))  # fmt: skip
    assert plain["bile.radius"] == pytest.approx(12.0, abs=4.0)
    assert told["bile.stone"] > 2 * plain["bile.stone"]
    assert plain["bowel.levels"] == 0 == plain["free.over_liver"] == plain["bowel.gas"]
    assert told["bowel.levels"] == 1
    assert told["bowel.level"] == pytest.approx(11 * 14 * 0.09, rel=0.3)
    assert told["free.over_liver"] == pytest.approx(ml(free), rel=0.3)
    assert told["calm.all"] > plain["calm.all"] + 0.1 * ml(fluid)  # what lies two voxels from its border


def test_a_number_without_a_place_is_refused() -> None:
    with pytest.raises(KeyError, match="strange"):
        as_vector({"strange": 1.0})


def test_the_shipped_heads_say_what_they_are(heads: Adapted) -> None:
    adapter = heads.adapter
    assert "synthetic" in adapter.trained_on
    assert adapter.command.startswith("python -m vlm.train.measured")
    assert SHIPPED.stat().st_size < 1_000_000
    assert all(head.calibration is not None for head in adapter.heads)


def test_a_body_like_those_is_told_and_shown_as_a_score_that_claims_nothing(
    ill: Case, heads: Adapted, tmp_path: Path
) -> None:
    query, vectors = read_query("mosaic attenuation"), embedding(ill, heads)
    head = heads.adapter.head_of(query.findings)
    assert head is not None
    chance, why = head_told(heads.adapter, head, vectors)
    assert chance is not None, why
    assert chance[0] > 0.3  # in one of 20 it is there
    told = ImageColumns(ill, folder=tmp_path).heads(query)
    assert told.score == pytest.approx(heads.adapter.logits(vectors)[head.column])
    assert told.probability is None
    assert "synthetic bodies alone" in told.why
    assert heads.adapter.trained_on in told.source


def test_a_calibration_of_ones_own_gives_a_shipped_head_its_probability(
    ill: Case, heads: Adapted, tmp_path: Path
) -> None:
    head = next(head for head in heads.adapter.heads if head.findings == ("mosaic_attenuation",))
    assert head.calibration is not None
    own = replace(head.calibration, identity=scored_by(heads), cohort="ours")
    save_calibrations([("mosaic_attenuation", own)], "mine", tmp_path)
    told = ImageColumns(ill, folder=tmp_path).heads(read_query("mosaic attenuation"))
    assert told.probability is not None
    assert "calibrated on ours" in told.why


def test_a_scan_unlike_those_gets_a_score_alone(ill: Case, heads: Adapted) -> None:
    far = replace(embedding(ill, heads), vector=embedding(ill, heads).vector + 9)
    chance, why = head_told(heads.adapter, heads.adapter.heads[0], far)
    assert chance is None
    assert "unlike those" in why


def test_a_head_is_off_where_its_anatomy_was_not_found(ill: Case, heads: Adapted, tmp_path: Path) -> None:
    nothing = Measures.embedding(np.full(len(NAMES), np.nan))
    assert heads.adapter.known(heads.adapter.heads[0], nothing) < LEAST_KNOWN
    columns = ImageColumns(ill, folder=tmp_path)
    columns.__dict__["measured"] = nothing
    told = columns.heads(read_query("mosaic attenuation"))
    assert not told.on
    assert "too little of it was found" in told.why


def test_what_networks_say_of_a_part_that_is_out_of_view_is_not_known() -> None:
    told = np.ones(len(NAMES), dtype=np.float32)
    ascites, valve = (
        NAMES.index(f"cells.merlin-30: {name}.peak") for name in ("ascites", "aortic_valve_calcification")
    )
    assert not np.isnan(Measures.embedding(told).vector).any()
    told[NAMES.index(BELLY_SEEN)] = np.nan
    seen = Measures.embedding(told).vector
    assert np.isnan(seen[ascites])
    assert not np.isnan(seen[valve])


def test_a_report_alone_has_no_heads() -> None:
    assert "give the scan itself" in ImageColumns().heads(read_query("emphysema")).why


def test_what_could_not_be_told_of_a_scan_adds_nothing_to_its_score(heads: Adapted) -> None:
    adapter = heads.adapter
    mean = adapter.means[""].copy()
    known = adapter.logits(Measures.embedding(mean))
    mean[adapter.weight[0] == 0] = np.nan
    assert adapter.logits(Measures.embedding(mean))[adapter.heads[0].column] == pytest.approx(
        known[adapter.heads[0].column], abs=1e-4
    )


def made(number: int, rng: np.random.Generator) -> drawn.Taught:
    """A body whose lungs are restless where they are mosaic; nothing else is known."""
    there = int(rng.random() < 0.4)
    vector = rng.normal(size=len(NAMES))
    vector[NAMES.index("lung.mean.mosaic")] += 3 * there
    truth = drawn.truths_of([{"finding": "mosaic_attenuation"}] if there else [])
    return drawn.Taught(patient=str(number), vector=vector, truth=truth)


def test_a_column_that_numbers_tell_gets_a_head_and_one_that_they_do_not_gets_none() -> None:
    rng = np.random.default_rng(0)
    bodies = [made(number, rng) for number in range(120)]
    mean, scale = np.zeros(len(NAMES)), np.ones(len(NAMES))
    columns = drawn.columns()
    name = "ct-rate-18: Mosaic attenuation pattern"
    good = training.fitted(bodies, name, columns[name], mean, scale)
    assert isinstance(good, training.Fitted)
    assert np.argmax(np.abs(good.weight)) == NAMES.index("lung.mean.mosaic")
    why = training.fitted(bodies, "ct-rate-18: Emphysema", columns["ct-rate-18: Emphysema"], mean, scale)
    assert isinstance(why, str)
    blind = [replace(one, truth=other.truth) for one, other in zip(bodies, rng.permutation(bodies), strict=True)]  # type: ignore[call-overload]
    assert isinstance(training.fitted(blind, name, columns[name], mean, scale), str)


def test_parts_hold_as_many_bodies_with_a_finding_each() -> None:
    truth = (np.random.default_rng(1).random(83) < 0.3).astype(int)
    part = training.parts(truth)
    for kind in (0, 1):
        counts = np.bincount(part[truth == kind], minlength=training.FOLDS)
        assert np.ptp(counts) <= 1


def test_bodies_are_of_the_training_seeds_and_rates_of_the_tuning_ones(tmp_path: Path) -> None:
    assert split_of(drawn.FIRST_SEED) == "train"
    case = tmp_path / "case-0000"
    case.mkdir()
    (case / "truth.json").write_text('{"asked": {"seed": 1100000}, "findings": []}')
    with pytest.raises(UsageError, match="belongs to test"):
        training.rates_of(tmp_path, drawn.columns())
    for number, region in enumerate(("chest", "chest", "chest", "abdomen")):
        told = {"asked": {"seed": 1_000_000 + number, "region": region},
                "findings": [{"finding": "emphysema"}] if region == "chest" else []}  # fmt: skip
        (tmp_path / f"case-{number:04d}").mkdir(exist_ok=True)
        (tmp_path / f"case-{number:04d}" / "truth.json").write_text(json.dumps(told))
    emphysema = {name: one for name, one in drawn.columns().items() if name == "ct-rate-18: Emphysema"}
    assert training.rates_of(tmp_path, emphysema)["ct-rate-18: Emphysema"] == 1.0  # of the chests


def test_bodies_that_were_drawn_are_read_in_their_order_by_several_processes(tmp_path: Path) -> None:
    for number in range(5):
        told = {"seed": number, "version": drawn.MADE_BY, "measures": [number] * len(PHYSICAL), "findings": []}
        (tmp_path / f"body-{number:05d}.json").write_text(json.dumps(told))
    bodies = drawn.every_body(tmp_path, 5, workers=2)
    assert [one.patient for one in bodies] == [str(drawn.FIRST_SEED + number) for number in range(5)]
    assert [one.vector[0] for one in bodies] == [0, 1, 2, 3, 4]
    (tmp_path / "body-00003.json").write_text(json.dumps(told | {"version": "measures0"}))
    with pytest.raises(UsageError, match="holds other numbers"):
        drawn.every_body(tmp_path, 5, workers=2)


def test_joined_probabilities_are_those_that_there_are() -> None:
    tools, usual = np.array([[0.2, np.nan, np.nan, 0.5]]), np.full((1, 4), 0.2)
    told = answers.joined((tools, usual), np.array([[0.6, 0.7, np.nan, 0.5]]), (None, 0.1, 0.1, 0.2))
    assert told[0, 0] == pytest.approx(join([(p, p, p) for p in (0.2, 0.6)])[0])  # type: ignore[index]
    assert told[0, 1] == 0.7
    assert np.isnan(told[0, 2])
    assert told[0, 3] > 0.5  # both say more than usual
    assert answers.ranked(np.array([[0.1], [np.nan], [0.3]]))[:, 0] == pytest.approx([0.1, 0.2, 0.3])


def test_a_measured_body_is_answered_as_the_scan_would_be(ill: Case, heads: Adapted) -> None:
    vectors, query = embedding(ill, heads), read_query("mosaic attenuation")
    head = heads.adapter.head_of(query.findings)
    assert head is not None
    chance, why = head_told(heads.adapter, head, vectors)
    assert chance is not None, why
    kept = {"measures": [None if np.isnan(v) else float(v) for v in vectors.vector]}
    assert answers.head_chance(query, kept) == pytest.approx(chance[0])
    assert np.isnan(answers.head_chance(read_query("mosaic attenuation of the left lung"), kept))
    assert np.isnan(answers.head_chance(query, {}))  # measured before heads shipped
