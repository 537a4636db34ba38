"""Measuring the tools: what counts as found, what as false, how sure a figure is, and what licenses a denial."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.measuring import cohort as reading
from app.measuring import markdown, measure
from app.measuring.figures import figures, licence
from app.measuring.intervals import Bootstrap, wilson
from app.measuring.matching import rows_of
from vlm.errors import UsageError
from vlm.phantom.chest import chest
from vlm.phantom.files import Place, records, save_json, save_scan

TOOL = "nodules"


def truth(
    finding: str = "lung_nodule", at: tuple[float, float, float] = (60.0, 0.0, 0.0), **more: Any
) -> dict[str, Any]:
    low, high = ([value + step for value in at] for step in (-4.0, 4.0))
    return {
        "finding": finding, "side": "right", "quantity": "diameter", "value": 8.0, "volume_ml": 0.27, "attributes": [],
        "region": {"centroid_mm": list(at), "low_mm": low, "high_mm": high},
    } | more  # fmt: skip


def seen(
    finding: str = "lung_nodule", at: tuple[float, float, float] = (60.0, 0.0, 0.0), side: str = "right"
) -> dict[str, Any]:
    region = {"centroid_mm": list(at), "low_mm": list(at), "high_mm": list(at)}
    return {
        "tool": TOOL,
        "finding": finding,
        "side": side,
        "measured": {"diameter": 9.0, "volume": 0.3},
        "region": region,
    }


def read(*observations: dict[str, Any]) -> dict[str, Any]:
    observes = ["lung_nodule", "lung_mass", "liver_lesion", "pleural_effusion"]
    looked = [[TOOL, finding] for finding in observes]
    return {"observations": list(observations), "looked": looked, "observes": {TOOL: observes}}


def row(
    findings: list[dict[str, Any]], *observations: dict[str, Any], finding: str = "lung_nodule", **more: Any
) -> dict[str, Any]:
    rows = rows_of("case-0000", {"findings": findings, **more}, read(*observations))
    return next(each for each in rows if each["finding"] == finding)


def test_a_finding_at_its_place_is_found_and_measured() -> None:
    found = row([truth()], seen(at=(62.0, 0.0, 0.0)))
    assert found["truths"][0]["hit"] and found["false"] == 0
    assert found["truths"][0]["measured"] == 9.0 and found["truths"][0]["off_mm"] == 2.0


@pytest.mark.parametrize("wrong", [seen(at=(60.0, 40.0, 0.0)), seen(side="left"), seen("lung_mass")])
def test_elsewhere_on_the_other_side_or_by_another_name_is_a_miss_and_false(wrong: dict[str, Any]) -> None:
    assert not row([truth()], wrong)["truths"][0]["hit"]
    assert row([truth()], wrong, finding=wrong["finding"])["false"] == 1


def test_one_observation_finds_one_truth() -> None:
    pair = [truth(), truth(at=(60.0, 3.0, 0.0))]
    assert [each["hit"] for each in row(pair, seen())["truths"]].count(True) == 1


def test_a_second_piece_of_a_truth_is_not_false() -> None:
    fluid = truth("pleural_effusion", quantity="volume", value=300.0)
    assert row([fluid], seen("pleural_effusion"), seen("pleural_effusion"), finding="pleural_effusion")["false"] == 0


def test_a_cyst_called_a_lesion_is_not_false() -> None:
    assert row([truth("liver_cyst")], seen("liver_lesion"), finding="liver_lesion")["false"] == 0


@pytest.mark.parametrize(("at", "false"), [((60.0, 0.0, 0.0), 0), ((60.0, 60.0, 0.0), 1)])
def test_spread_of_a_tumour_that_is_told_as_what_it_is_seen_as_is_not_false(
    at: tuple[float, float, float], false: int
) -> None:
    assert row([truth("metastatic_disease")], seen("lung_nodule", at))["false"] == false


def test_a_kind_of_a_finding_finds_it_unless_it_is_another_disease() -> None:
    observes = {TOOL: ["arterial_wall_calcification", "aortic_calcification", "liver_lesion", "liver_cyst"]}
    calcium = truth("arterial_wall_calcification", side=None, quantity="volume", value=0.8)
    told = read(seen("aortic_calcification"), seen("liver_cyst")) | {"observes": observes}
    rows = rows_of("case-0000", {"findings": [calcium, truth("liver_lesion")]}, told)
    named = {each["finding"]: each for each in rows}
    assert named["arterial_wall_calcification"]["truths"][0]["hit"] and named["arterial_wall_calcification"]["said"]
    assert not named["liver_lesion"]["truths"][0]["hit"]  # a tumour that is called a cyst
    assert named["aortic_calcification"]["false"] == 0


def test_what_was_seen_before_anything_was_put_in_does_not_count() -> None:
    rows = rows_of("case-0000", {"findings": [], "host": "1"}, read(seen()), read(seen(at=(61.0, 1.0, 0.0))))
    assert not any(each["false"] for each in rows)
    assert {each["person"] for each in rows} == {"1"}


def test_pure_ground_glass_does_not_stand_in_the_row_of_solid_nodules() -> None:
    rows = rows_of("case-0000", {"findings": [truth(attributes=["ground_glass"])]}, read(seen()))
    named = {each["finding"]: each for each in rows}
    assert named["lung_nodule"]["truths"] == [] and named["lung_nodule"]["false"] == 0
    assert named["lung_nodule, pure ground glass"]["truths"][0]["hit"]


def search(side: str | None = None, *, stands: bool = True, low: Any = None, high: Any = None) -> dict[str, Any]:
    return {
        "tool": TOOL, "finding": "pleural_effusion", "side": side, "stands": stands, "low_mm": low, "high_mm": high,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("searches", "judged"),
    [
        ([search("right"), search("left")], 1),
        ([search("right", stands=False), search("left")], 0),  # the tool says that it cannot judge this side
        ([search(low=[0, -50, -50], high=[90, 50, 50])], 1),
        ([search(low=[0, -50, 20], high=[90, 50, 50])], 0),  # it looked elsewhere
    ],
)
def test_what_a_tool_does_not_judge_is_no_miss(searches: list[dict[str, Any]], judged: int) -> None:
    fluid = truth("pleural_effusion", quantity="volume", value=300.0)
    rows = rows_of("case-0000", {"findings": [fluid]}, read() | {"searches": searches})
    (told,) = (each for each in rows if each["finding"] == "pleural_effusion")
    assert (len(told["truths"]), told["unjudged"]) == (judged, 1 - judged)


def test_more_of_what_the_untouched_scan_has_already_is_no_case_of_it() -> None:
    fluid = truth("pleural_effusion", quantity="volume", value=300.0)
    rows = rows_of("case-0000", {"findings": [fluid], "host": "1"}, read(), read(seen("pleural_effusion")))
    (told,) = (each for each in rows if each["finding"] == "pleural_effusion")
    assert (told["truths"], told["unjudged"]) == ([], 1)


def test_what_holds_nearly_all_errors_of_size_is_measured() -> None:
    cases = [rows_of(f"case-{n:04d}", {"findings": [truth(value=9.0 + n / 20)]}, read(seen()))[0] for n in range(41)]
    assert figures(cases, "")[TOOL]["lung_nodule"]["error_95"] == pytest.approx(1.9)  # seen: 9 mm


@pytest.mark.parametrize(
    ("counts", "smallest"),
    [
        ({4.0: (0, 8), 6.0: (10, 10), 8.0: (10, 10)}, 6.0),
        ({6.0: (2, 2), 8.0: (2, 2)}, None),  # four truths license nothing
        ({6.0: (10, 10), 8.0: (2, 8), 10.0: (4, 4)}, None),  # 8 mm is surely missed, and 10 mm too few
        ({6.0: (9, 10), 8.0: (19, 20)}, 6.0),  # a single miss is no gap
    ],
)
def test_a_limit_is_the_size_from_which_nine_in_ten_are_found(
    counts: dict[float, tuple[int, int]], smallest: float | None
) -> None:
    assert licence(counts)[0] == smallest


def test_a_limit_claims_no_size_that_was_not_drawn() -> None:
    cases = [rows_of(f"case-{n:04d}", {"findings": [truth(value=7.8)]}, read(seen()))[0] for n in range(12)]
    assert figures(cases, "")[TOOL]["lung_nodule"]["smallest"] == 7.8


def test_intervals_widen_when_truths_share_a_patient() -> None:
    rng = np.random.default_rng(3)
    people = [f"p{n}" for n in range(60)]
    alone = [(person, float(rng.random() < 0.5)) for person in people]
    shared = [(f"p{n // 10}", value) for n, (_, value) in enumerate(sorted(alone, key=lambda pair: pair[1]))]
    one, other = Bootstrap(people).mean(alone), Bootstrap([person for person, _ in shared]).mean(shared)
    assert one is not None and other is not None
    assert other[1] - other[0] > 1.5 * (one[1] - one[0])
    low, high = wilson(sum(value > 0 for _, value in alone), len(alone))
    assert abs(one[0] - low) < 0.06 and abs(one[1] - high) < 0.06


def test_the_trivial_baseline_calls_every_scan_ill() -> None:
    rows = [rows_of(f"case-{n}", {"findings": [truth()] if n < 2 else []}, read()) for n in range(8)]
    figure = figures([each for one in rows for each in one], "")[TOOL]["lung_nodule"]
    assert figure["trivial"]["f1"] == pytest.approx(2 * 0.25 / 1.25) and figure["f1"] == 0.0


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two chests, one with fluid, and a case whose scan cannot be read."""
    out = tmp_path_factory.mktemp("measured") / "c"
    for number, ml in enumerate((400.0, 0.0, 0.0)):
        place = Place(out / f"case-{number:04d}" / "scan", "")
        place.clear()
        drawn = chest(seed=number, spacing_mm=(3.0, 3.0, 4.0), effusion_right_ml=ml)
        save_scan(drawn.volume, place, seed=number, file_format="nifti")
        save_json({"findings": records(drawn.truth, drawn.masks)}, place.truth)
    (out / "case-0002" / "scan" / "ct.nii.gz").write_bytes(b"no scan")
    return out


def test_a_cohort_is_measured_and_a_bad_case_is_told_and_skipped(cohort: Path) -> None:
    document = measure(cohort, command="test", tools=frozenset({"effusion"}), workers=1)
    figure = document["tools"]["effusion"]["pleural_effusion"]
    assert (figure["n"], figure["scans"], figure["found"]) == (1, 2, 1.0)
    assert figure["median_volume_error"] < 0.2
    assert list(document["failed"]) == ["case-0002"] and document["cases"] == 2
    assert json.loads((cohort / "figures.json").read_text()) == json.loads(json.dumps(document))
    said = (cohort / "figures.md").read_text()
    assert "| effusion | pleural_effusion | 1 / 2 | 1.00" in said and "case-0002 was left out" in said
    assert markdown(document) + "\n" == said


def test_what_was_read_is_not_read_again(cohort: Path) -> None:
    measure(cohort, command="test", tools=frozenset({"effusion"}), workers=1)
    times = {path: path.stat().st_mtime_ns for path in (cohort / "measured").iterdir()}
    assert len(times) == 4  # of each case what tools saw, and what heads look at
    measure(cohort, command="test", tools=frozenset({"effusion"}), workers=2)
    assert {path: path.stat().st_mtime_ns for path in (cohort / "measured").iterdir()} == times


def test_networks_taught_anew_leave_the_tools_alone_and_tools_the_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def states() -> tuple[str, str]:
        return reading.tools_state.__wrapped__(), reading.numbers_state.__wrapped__()  # not remembered

    (tmp_path / "encoder").mkdir()
    (tmp_path / "tools").mkdir()
    monkeypatch.setattr(reading, "_package", lambda: tmp_path)
    (tmp_path / reading.NETWORKS).write_bytes(b"first")
    (tmp_path / "tools" / "nodules.py").write_text("first")
    before = states()
    (tmp_path / reading.NETWORKS).write_bytes(b"second")
    tools, numbers = states()
    assert tools == before[0] and numbers != before[1]
    (tmp_path / "tools" / "nodules.py").write_text("second")
    assert states() != (tools, numbers) and states()[1] == numbers


def test_a_folder_that_is_no_cohort_and_a_tool_that_is_none_are_refused(cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no case"):
        measure(tmp_path, command="")
    with pytest.raises(UsageError, match="--tool is 'oracle'"):
        measure(cohort, command="", tools=frozenset({"oracle"}))


def test_every_cohort_that_limits_come_from_has_its_section_of_the_page() -> None:
    from benchmarks.limits import COHORTS, ROOT
    from vlm.tools.registry import COHORTS as QUOTED

    page = (ROOT / "docs" / "limits.md").read_text(encoding="utf-8")
    assert all(f"<!-- begin {name} -->" in page and f"<!-- end {name} -->" in page for name in COHORTS)
    assert {cohort.limits for cohort in COHORTS.values() if cohort.limits} == set(QUOTED)


def test_a_cohort_that_holds_the_finding_never_or_seldom_takes_no_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    from vlm.tools import registry

    known = {"nodules": {"lung_nodule": {"n": 40, "smallest": 8.0, "sensitivity": 0.95, "quantity": "diameter"}}}
    clear = {"nodules": {"lung_nodule": {"n": 0, "smallest": None, "false_positives_per_scan": 0.1}}}
    missed = {"nodules": {"lung_nodule": {"n": 40, "smallest": None}}}
    seldom = {"nodules": {"lung_nodule": {"n": 4, "smallest": None}}}
    for cohorts, size in (((known, clear), 8.0), ((known, seldom), 8.0), ((known, missed), None), ((seldom,), None)):
        monkeypatch.setattr(registry, "_limits", lambda cohorts=cohorts: cohorts)
        limit = registry.measured_limit("nodules", "lung_nodule")[0]
        assert (limit.value if limit else None) == size


@pytest.mark.parametrize(
    ("rows", "doubt"),
    [
        ([{"10": "0/4", "25": "0/1"}], ("often_missed",)),
        ([{"10": "4/4", "25": "0/2", "40": "1/3"}], ("often_missed",)),  # the largest count, not the smallest
        ([{"10": "0/2", "25": "0/2"}], ("not_measured",)),  # too few to say so
        ([{"10": "0/5"}, {"10": "0/5", "60": "3/5"}], ("not_measured",)),  # another cohort found them
        ([], ("not_measured",)),
    ],
)
def test_a_tool_that_missed_most_of_the_largest_denies_nothing(
    rows: list[dict[str, str]], doubt: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from vlm.tools import registry

    cohorts = [{"hernia": {"hiatal_hernia": {"n": 5, "smallest": None, "by_size": row}}} for row in rows]
    monkeypatch.setattr(registry, "_limits", lambda: tuple(cohorts))
    assert registry.doubts("hernia", "hiatal_hernia") == doubt
