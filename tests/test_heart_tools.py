"""Heart size, pericardial fluid, calcium, devices, catheters and the rest: present, absent, not assessable."""

from __future__ import annotations

import numpy as np
import pytest

from tests.scans import real_case
from vlm.anatomy.aorta import aorta, blood_hu
from vlm.anatomy.arch import arch
from vlm.anatomy.contrast import ENHANCED_HU, PLAIN_BLOOD_HU
from vlm.anatomy.coverage import coverage
from vlm.anatomy.heart import _above_waist
from vlm.anatomy.structures import structure
from vlm.ct.volume import Grid, Mask, Scan, Volume
from vlm.evidence import Case, Evidence, Measured, Observation, Search
from vlm.findings.vocabulary import load_vocabulary
from vlm.phantom.calcium import perfect_score
from vlm.phantom.chest import chest
from vlm.phantom.implant import Implant, implant
from vlm.phantom.torso import AORTA_RADIUS_MM
from vlm.tools.registry import TOOLS, load_tools

SPACING = (1.0, 1.0, 2.5)
LUMEN_MM, WALL_TO_WALL_MM = 2 * (AORTA_RADIUS_MM - 1.5), 2 * AORTA_RADIUS_MM
MINE = (
    "heart", "pericardium", "heart_calcification", "aortic_calcification", "devices", "catheter", "bile",
    "aorta_size", "peritoneum", "liver_density", "spine", "hernia", "stones",
    "dissection", "pulmonary_embolism",
)  # fmt: skip


def run(name: str, scan: Volume | Case) -> list[Evidence]:
    load_tools()
    return TOOLS[name].run(scan if isinstance(scan, Case) else Case(scan))


def seen(evidence: list[Evidence], finding: str, presence: str = "present") -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation) and e.finding == finding and e.presence == presence]


def searches(evidence: list[Evidence], finding: str) -> list[Search]:
    return [e for e in evidence if isinstance(e, Search) and e.finding == finding]


def with_block(volume: Volume, centre_mm: tuple[float, float, float], size_mm: tuple[float, ...], hu: int) -> Volume:
    """The scan with a box of one density."""
    low = np.rint(volume.grid.to_ijk(np.array(centre_mm) - np.array(size_mm) / 2)).astype(int)
    high = np.rint(volume.grid.to_ijk(np.array(centre_mm) + np.array(size_mm) / 2)).astype(int) + 1
    out = volume.hu.copy(order="F")
    out[low[0] : high[0], low[1] : high[1], low[2] : high[2]] = hu
    return Volume(out, volume.grid, volume.scan)


@pytest.fixture(scope="module")
def plain() -> Volume:
    return chest(spacing_mm=SPACING, seed=3).volume


@pytest.fixture(scope="module")
def enhanced() -> Volume:
    return chest(spacing_mm=SPACING, blood_hu=250.0, seed=3).volume


@pytest.fixture(scope="module")
def air() -> Volume:
    hu = np.full((60, 50, 20), -1000, dtype=np.int16, order="F")
    return Volume(hu, Grid(hu.shape, np.diag([3.0, 3.0, 3.0, 1.0])), Scan(source="phantom"))


@pytest.mark.parametrize("name", MINE)
def test_a_scan_of_air_gives_a_search_for_every_finding_and_no_observation(name: str, air: Volume) -> None:
    evidence = run(name, air)
    assert not [e for e in evidence if isinstance(e, Observation)]
    for finding in TOOLS[name].observes:
        assert searches(evidence, finding), finding
        if name != "devices":  # metal can be looked for in any scan
            assert not any(search.looked for search in searches(evidence, finding))


@pytest.mark.parametrize("name", MINE)
def test_a_clear_chest_has_no_finding_and_a_search_for_each(name: str, plain: Volume) -> None:
    evidence = run(name, plain)
    assert not [e for e in evidence if isinstance(e, Observation) and e.presence == "present"]
    assert {e.finding for e in evidence if isinstance(e, Search)} >= set(TOOLS[name].observes)


def test_a_large_heart_is_enlarged_and_a_normal_one_is_not(plain: Volume) -> None:
    normal = searches(run("heart", plain), "cardiomegaly")[0].measured("ratio")
    large = seen(run("heart", chest(spacing_mm=SPACING, heart_scale=1.35, seed=3).volume), "cardiomegaly")
    assert normal is not None and normal.value < 0.5
    assert large and large[0].measurements[0].value > 0.52


@pytest.mark.parametrize(
    ("widths_mm", "liver_from", "kept"),
    [
        ((60, 70, 62, 80, 95, 90, 70, 75, 130, 170), 5, 8),  # it narrows to its tip, then the liver joins in
        ((60, 70, 62, 80, 95, 90, 70, 75, 130, 170), 0, 10),  # so high above the dome there is no liver
        ((60, 70, 60, 80, 100, 120, 135, 150, 160, 165), 5, 10),  # a large heart that the diaphragm ends
    ],
)
def test_a_heart_is_measured_above_the_liver_that_joins_below_its_tip(
    widths_mm: tuple[int, ...], liver_from: int, kept: int
) -> None:
    grid = Grid((100, 60, 10), np.diag([2.0, 2.0, 12.0, 1.0]))
    region = np.zeros(grid.shape[::-1], dtype=bool)
    for k, width in zip(range(9, -1, -1), widths_mm, strict=True):
        region[k, 10:50, 50 - width // 4 : 50 + width // 4] = True
    assert np.count_nonzero(_above_waist(region, grid, liver_from).any(axis=(1, 2))) == kept


@pytest.mark.parametrize("blood_hu", [42.0, 160.0])
def test_pericardial_fluid_is_found_with_and_without_contrast(blood_hu: float) -> None:
    volume = chest(spacing_mm=SPACING, pericardial_effusion_ml=250.0, blood_hu=blood_hu, seed=3).volume
    (found,) = seen(run("pericardium", volume), "pericardial_effusion")
    thickness, density = found.measured("thickness"), found.measured("attenuation")
    assert thickness is not None and 5.0 <= thickness.value <= 16.0
    assert density is not None and density.value == pytest.approx(8.0, abs=12.0)


def test_fat_on_the_heart_makes_fluid_judgeable_without_contrast(plain: Volume) -> None:
    (search,) = searches(run("pericardium", plain), "pericardial_effusion")
    assert search.looked and "no_contrast" not in search.failed


def test_coronary_calcium_is_scored_as_a_perfect_scanner_would() -> None:
    volume = chest(spacing_mm=SPACING, coronary_calcium_mm3=200.0, seed=3).volume
    (found,) = seen(run("heart_calcification", volume), "coronary_artery_calcification")
    score, size = found.measured("score"), found.measured("volume")
    assert score is not None and score.value == pytest.approx(perfect_score(200.0), rel=0.4)
    assert size is not None and size.value == pytest.approx(0.2, rel=0.35)


def test_a_perfect_score_is_area_times_weight_over_the_slices_a_plaque_lies_in() -> None:
    assert 4 / 3 * 40 < perfect_score(40.0) < 2 * 4 / 3 * 40  # volume times weight, and what thick slices add
    assert perfect_score(80.0) == pytest.approx(2 * perfect_score(40.0))


def test_where_noise_forbids_to_look_for_calcium_none_is_denied() -> None:
    quiet = chest(spacing_mm=(1.5, 1.5, 3.0), seed=7, coronary_calcium_mm3=200.0, aortic_calcium_mm3=300.0).volume
    noise = np.random.default_rng(0).normal(0, 160, quiet.hu.shape)
    noisy = Volume(np.asfortranarray((quiet.hu + noise).astype(np.int16)), quiet.grid, quiet.scan)
    for tool in ("heart_calcification", "aortic_calcification"):
        looks = [e for e in run(tool, noisy) if isinstance(e, Search) and "noise" in e.failed]
        assert looks and not any(look.looked for look in looks)


def test_calcium_of_the_arch_is_found_there() -> None:
    volume = chest(spacing_mm=SPACING, aortic_calcium_mm3=120.0, seed=3).volume
    (found,) = seen(run("aortic_calcification", volume), "aortic_calcification")
    assert found.site == "aortic_arch"


@pytest.mark.parametrize("which", ["plain", "enhanced"])
def test_the_aorta_is_measured_at_its_stations(which: str, request: pytest.FixtureRequest) -> None:
    evidence = run("aorta_size", request.getfixturevalue(which))
    widths = {e.site: e.measurements[0].value for e in evidence if isinstance(e, Measured)}
    for site in ("ascending_aorta", "aortic_arch", "descending_aorta"):
        assert widths[site] == pytest.approx(WALL_TO_WALL_MM, abs=4.0), site


def test_a_flap_in_the_enhanced_descending_aorta_is_a_dissection(enhanced: Volume) -> None:
    case = Case(enhanced)
    clear = run("dissection", case)
    looked = {e.site: e.looked for e in searches(clear, "aortic_dissection")}
    assert not seen(clear, "aortic_dissection") and looked["descending_aorta"]
    assert not looked["ascending_aorta"] and not looked["aortic_arch"]  # the heart moves them
    dome, traced, hu = coverage(case).dome_mm, aorta(case), enhanced.hu.copy(order="F")
    assert dome is not None
    x, y = (enhanced.grid.affine[n, 3] + enhanced.grid.affine[n, n] * np.arange(hu.shape[n]) for n in range(2))
    for k in range(hu.shape[2]):
        height = enhanced.grid.to_mm([0, 0, k])[2]
        at = int(np.argmin(np.abs(traced.centres_mm[:, 2] - height)))
        if traced.sure[at] and dome < height < dome + 60.0:
            middle = traced.centres_mm[at]
            inside = np.hypot(x[:, None] - middle[0], y[None] - middle[1]) < LUMEN_MM / 2
            hu[:, :, k][inside & (np.abs(x - middle[0]) < 1.2)[:, None]] = 60
    torn = run("dissection", Volume(hu, enhanced.grid, enhanced.scan))
    assert [e.site for e in seen(torn, "aortic_dissection")] == ["descending_aorta"]


def test_without_contrast_no_flap_is_looked_for(plain: Volume) -> None:
    told = searches(run("dissection", plain), "aortic_dissection")
    assert told and all(e.failed == ("no_contrast",) or "not_covered" in e.failed for e in told)


@pytest.mark.parametrize(("lumen_hu", "phase"), [(300, "enhanced"), (42, "plain")])
def test_an_aneurysm_full_of_clot_does_not_hide_the_contrast_in_the_rest_of_the_aorta(
    lumen_hu: int, phase: str
) -> None:
    grid = Grid((50, 50, 30), np.diag([2.0, 2.0, 3.0, 1.0]))
    x, y, k = np.indices(grid.shape)
    away, wide = np.hypot(x - 25, y - 25), (k > 8) & (k < 20)
    core = Mask("aorta", away < np.where(wide, 12, 4), grid)
    hu = np.where(wide & (away > 5), 45, lumen_hu) + np.random.default_rng(0).normal(0, 30, grid.shape)
    volume = Volume(np.asfortranarray(hu.astype(np.int16)), grid, Scan(source="phantom"))
    assert np.median(volume.hu[core.voxels]) < 100  # most of what the aorta holds is clot
    assert (blood_hu(volume, core) > ENHANCED_HU) == (phase == "enhanced")
    assert phase == "enhanced" or blood_hu(volume, core) < PLAIN_BLOOD_HU


def test_a_width_whose_doubt_reaches_the_limit_is_not_denied(plain: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    width = next(
        e.measurements[0].value
        for e in run("aorta_size", plain)
        if isinstance(e, Measured) and e.site == "descending_aorta"
    )
    for beyond, presence in ((1.0, ["uncertain"]), (4.0, [])):
        monkeypatch.setattr("vlm.tools.aorta_size.THORACIC_MM", width + beyond)
        evidence = run("aorta_size", plain)
        told = [e.presence for e in evidence if isinstance(e, Observation) and e.site == "descending_aorta"]
        assert told == presence
        denied = [e for e in searches(evidence, "aortic_aneurysm") if e.site == "descending_aorta" and e.found == 0]
        assert bool(denied) == (not presence)


def test_a_scan_that_ends_below_the_carina_has_no_arch(plain: Volume) -> None:
    hu = np.asfortranarray(plain.hu[:, :, : plain.hu.shape[2] // 3])
    evidence = run("aorta_size", Volume(hu, Grid(hu.shape, plain.grid.affine), plain.scan))
    missing = {e.site for e in searches(evidence, "aortic_aneurysm") if not e.looked}
    assert missing >= {"ascending_aorta", "aortic_arch"}


def test_calcium_in_the_wall_of_the_descending_aorta_is_found(plain: Volume) -> None:
    volume = with_block(plain, (-33.0, -54.0, -40.0), (3.0, 8.0, 12.0), 600)
    assert seen(run("aortic_calcification", volume), "aortic_calcification")


def right_of_the_ascending_aorta(volume: Volume, beyond_mm: float) -> tuple[float, float, float]:
    """A place so far outside of the circle of the ascending aorta, RAS mm."""
    limb = arch(Case(volume)).ascending
    level = int(np.flatnonzero(limb.sure)[np.count_nonzero(limb.sure) // 2])
    x, y, z = limb.centres_mm[level]
    return float(x + limb.radii_mm[level] + beyond_mm), float(y), float(z)


@pytest.mark.parametrize(
    "size_mm", [(4.0, 6.0, 9.0), (2.0, 3.0, 20.0)], ids=["short and thick", "as tall as a catheter"]
)
def test_a_plaque_in_the_right_wall_of_the_ascending_aorta_is_calcium(
    plain: Volume, size_mm: tuple[float, float, float]
) -> None:
    scan = with_block(plain, right_of_the_ascending_aorta(plain, 0.5), size_mm, 900)
    assert seen(run("aortic_calcification", scan), "aortic_calcification")


def test_a_catheter_in_the_cava_is_no_calcium(plain: Volume) -> None:
    scan = with_block(plain, right_of_the_ascending_aorta(plain, 3.4), (2.0, 2.0, 60.0), 900)
    evidence = run("aortic_calcification", scan)
    assert not seen(evidence, "aortic_calcification") and searches(evidence, "aortic_calcification")[0].looked


def test_a_line_in_the_wall_that_goes_on_is_neither_calcium_nor_denied(plain: Volume) -> None:
    scan = with_block(plain, right_of_the_ascending_aorta(plain, 0.5), (2.0, 2.0, 60.0), 900)
    evidence = run("aortic_calcification", scan)
    assert not seen(evidence, "aortic_calcification")
    for finding in ("aortic_calcification", "arterial_wall_calcification"):
        assert not searches(evidence, finding)[0].looked


def test_contrast_forbids_a_calcium_score() -> None:
    volume = chest(spacing_mm=SPACING, coronary_calcium_mm3=200.0, blood_hu=300.0, seed=3).volume
    evidence = run("heart_calcification", volume)
    assert not seen(evidence, "coronary_artery_calcification")
    assert "contrast" in searches(evidence, "coronary_artery_calcification")[0].failed


def test_agatston_score_of_a_known_plaque() -> None:
    from vlm.tools.calcium_slab import agatston

    hu = np.zeros((1, 20, 20), dtype=np.float32)
    hu[0, 5:9, 5:10] = 350.0  # 20 mm2 with a peak of 350 HU: weight 3
    grid = Grid((20, 20, 1), np.diag([1.0, 1.0, 3.0, 1.0]))
    assert agatston(hu, hu > 130, grid) == pytest.approx(60.0)


def skin_mm(volume: Volume, x_mm: float, z_mm: float) -> float:
    """y of the skin of the front, RAS mm."""
    from vlm.anatomy.body import body

    case = Case(volume)
    grid = case.working.grid
    column, _, k = np.rint(grid.to_ijk([x_mm, 0.0, z_mm])).astype(int)
    front = int(np.flatnonzero(body(case).voxels[column, :, k])[-1])
    return float(grid.to_mm([column, front, k])[1])


@pytest.mark.parametrize(
    ("kind", "size_mm"),
    [("port", (14.0, 8.0, 14.0)), ("port", (26.0, 10.0, 26.0)), ("pacemaker", (50.0, 9.0, 44.0))],
)
@pytest.mark.parametrize("phase", ["plain", "enhanced"])
def test_metal_in_the_chest_wall_is_a_port_or_a_pacemaker_by_its_size(
    kind: str, size_mm: tuple[float, ...], phase: str, request: pytest.FixtureRequest
) -> None:
    volume: Volume = request.getfixturevalue(phase)
    metal = with_block(volume, (-60.0, skin_mm(volume, -60.0, 40.0) - 14.0, 40.0), size_mm, 3071)
    evidence = run("devices", metal)
    told = {e.finding: e.side for e in evidence if isinstance(e, Observation) and e.finding != "metal_artefact"}
    assert told == {kind: "left"}


def test_leads_of_a_pacemaker_are_neither_clips_nor_hardware(plain: Volume) -> None:
    can = with_block(plain, (-60.0, skin_mm(plain, -60.0, 40.0) - 14.0, 40.0), (50.0, 9.0, 44.0), 3071)
    lead = with_block(
        with_block(can, (10.0, 10.0, 0.0), (2.0, 2.0, 60.0), 3071), (10.0, 14.0, -42.0), (4.0, 2.0, 2.0), 3071
    )
    evidence = run("devices", lead)
    assert {e.finding for e in evidence if isinstance(e, Observation)} == {"pacemaker", "metal_artefact"}
    alone = with_block(plain, (10.0, 14.0, -42.0), (4.0, 2.0, 2.0), 3071)
    assert seen(run("devices", alone), "surgical_clip")


def with_oblique_lead(volume: Volume, clip_mm: tuple[float, float, float]) -> Volume:
    """A pacemaker, its lead from the right of the upper to the left of the lower chest, and a clip."""
    out = with_block(volume, (-60.0, skin_mm(volume, -60.0, 40.0) - 14.0, 40.0), (50.0, 9.0, 44.0), 3071)
    for x, y, z in np.linspace((35.0, 10.0, 50.0), (-45.0, 45.0, -45.0), 160):
        out = with_block(out, (x, y, z), (1.0, 1.0, 2.0), 3071)
    return with_block(out, clip_mm, (4.0, 2.0, 2.0), 3071)


def test_a_clip_in_the_box_of_an_oblique_lead_but_far_from_it_is_a_clip(plain: Volume) -> None:
    evidence = run("devices", with_oblique_lead(plain, (25.0, 30.0, -35.0)))
    assert seen(evidence, "pacemaker") and seen(evidence, "surgical_clip")
    assert "metal" not in searches(evidence, "surgical_clip")[0].failed


def test_clips_are_not_denied_where_metal_lies_beside_a_lead(plain: Volume) -> None:
    evidence = run("devices", with_oblique_lead(plain, (12.0, 27.0, 0.0)))
    assert seen(evidence, "pacemaker") and not seen(evidence, "surgical_clip")
    assert "metal" in searches(evidence, "surgical_clip")[0].failed


def test_a_line_down_the_superior_vena_cava_is_a_catheter(plain: Volume) -> None:
    assert not seen(run("catheter", plain), "central_venous_catheter")
    line = with_block(plain, (23.0, 11.0, 8.0), (3.0, 3.0, 70.0), 900)
    assert seen(run("catheter", line), "central_venous_catheter")


def test_fatty_liver_is_judged_without_contrast_only() -> None:
    arterial = Case(chest(spacing_mm=(2.0, 2.0, 3.0), blood_hu=300.0, seed=1).volume)
    assert searches(run("liver_density", arterial), "hepatic_steatosis")[0].failed == ("contrast",)
    assert searches(run("varices", arterial), "varices")[0].failed[0] == "phase"


def test_what_no_tool_observes_is_said_to_be_unassessed(plain: Volume) -> None:
    evidence = run("unseen", plain)
    named = {e.finding for e in evidence if isinstance(e, Search)}
    observed = {finding for tool in TOOLS.values() for finding in tool.observes}
    assert {"submucosal_edema", "thrombosis", "metastatic_disease"} <= named
    assert not named & observed and named <= set(load_vocabulary().findings)
    assert not any(e.looked for e in evidence if isinstance(e, Search))
    reasons = {e.finding: e.failed for e in evidence if isinstance(e, Search)}
    assert reasons["thrombosis"] == ("no_contrast",)
    assert ("not_covered",) in reasons.values()  # the pelvis lies outside the scan


REAL = (
    ("pyradiomics-lung2", "aortic_calcification", "aortic_calcification", None),
    ("nlst-101287", "heart_calcification", "coronary_artery_calcification", None),
    ("acrin-nsclc-042", "heart_calcification", "coronary_artery_calcification", None),
    ("acrin-nsclc-042", "aortic_calcification", "aortic_calcification", None),
    ("pyradiomics-lung2", "heart_calcification", "coronary_artery_calcification", None),
    ("acrin-flt-breast-001", "devices", "port", "left"),
    ("cmb-crc-01068", "devices", "port", "left"),  # a chamber of titanium beside veins full of contrast
    ("acrin-flt-breast-001", "catheter", "central_venous_catheter", None),
    ("acrin-flt-breast-013", "catheter", "central_venous_catheter", None),
    ("cptac-pda-00189", "devices", "biliary_stent", None),
    ("cptac-pda-00189", "bile", "pneumobilia", "left"),
    ("totalseg-abdomen-3mm", "devices", "orthopaedic_hardware", "left"),
)


@pytest.mark.realct
@pytest.mark.parametrize(("name", "tool", "finding", "side"), REAL)
def test_listed_findings_of_real_scans_are_found(name: str, tool: str, finding: str, side: str | None) -> None:
    found = seen(run(tool, real_case(name)), finding)
    assert found and (side is None or found[0].side == side)


ABSENT = (
    ("lidc-idri-0314", "pericardium", "pericardial_effusion"),
    ("rider-pilot-0117", "pericardium", "pericardial_effusion"),
    ("cmb-crc-01068", "aortic_calcification", "aortic_calcification"),
    ("cmb-crc-01068", "aorta_size", "aortic_aneurysm"),
    ("acrin-nsclc-042", "aorta_size", "abdominal_aortic_aneurysm"),
    ("totalseg-abdomen-3mm", "aorta_size", "abdominal_aortic_aneurysm"),
    ("acrin-flt-breast-001-day4-abdomen", "aorta_size", "abdominal_aortic_aneurysm"),
    ("pyradiomics-lung2", "aorta_size", "abdominal_aortic_aneurysm"),
    ("cmb-crc-01068", "dissection", "aortic_dissection"),
    ("cptac-pda-00189", "dissection", "aortic_dissection"),
    ("rider-pilot-0117", "dissection", "aortic_dissection"),
    ("totalseg-dicom-j2k", "dissection", "aortic_dissection"),
    ("cmb-crc-01068", "pulmonary_embolism", "pulmonary_embolism"),
    ("rider-pilot-0117", "pulmonary_embolism", "pulmonary_embolism"),
    ("acrin-nsclc-042", "intimal_calcium", "aortic_dissection"),
    ("pyradiomics-lung2", "intimal_calcium", "aortic_dissection"),
    ("nlst-101287", "intimal_calcium", "aortic_dissection"),
    ("acrin-flt-breast-013", "pericardium", "pericardial_effusion"),
    ("acrin-flt-breast-013", "peritoneum", "ascites"),
    ("cptac-pda-00189", "peritoneum", "ascites"),
    ("totalseg-abdomen-3mm", "peritoneum", "ascites"),
    ("acrin-flt-breast-001-day4-abdomen", "peritoneum", "ascites"),
    ("lidc-idri-0314", "peritoneum", "ascites"),  # its pleural fluid lies behind the liver
    ("acrin-flt-breast-001-day1-chest", "devices", "port"),
    ("acrin-flt-breast-001-day1-chest", "catheter", "central_venous_catheter"),
    ("nlst-101287", "catheter", "central_venous_catheter"),
    ("cmb-crc-01068", "devices", "pacemaker"),
)


@pytest.mark.realct
@pytest.mark.parametrize(("name", "tool", "finding"), ABSENT)
def test_what_real_scans_do_not_show_is_not_reported(name: str, tool: str, finding: str) -> None:
    evidence = run(tool, real_case(name))
    assert not seen(evidence, finding) and not seen(evidence, finding, "uncertain")


@pytest.mark.realct
@pytest.mark.parametrize(("beside", "volume_ml"), [("liver", 300.0), ("spleen", 200.0)])
def test_a_layer_of_fluid_beside_liver_and_spleen_is_found(beside: str, volume_ml: float) -> None:
    case = real_case("cptac-pda-00189")
    organ = structure(case, beside).mask
    assert organ
    made = implant(case, [Implant(finding="ascites", size=volume_ml)], seed=3, organs={"liver": organ})
    evidence = run("peritoneum", made.volume)
    (found,) = seen(evidence, "ascites")
    assert found.region
    assert 0.25 < found.measured("volume").value / volume_ml < 1.5  # type: ignore[union-attr]  # thin parts are not seen
    truth = made.masks["ascites_1"]
    fluid = truth.grid.to_mm(np.argwhere(truth.voxels))
    assert np.linalg.norm(fluid - np.array(found.region.centroid_mm), axis=1).min() < 10.0


@pytest.mark.realct
def test_calcium_at_the_root_of_the_aorta_leaves_the_valve_open() -> None:
    evidence = run("heart_calcification", real_case("pyradiomics-lung2").volume)
    assert not any(search.looked for search in searches(evidence, "aortic_valve_calcification"))
