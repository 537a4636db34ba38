"""Organs of the abdomen are measured where their outline is good, and nothing is said of them where it is not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.bodies import outlined, person
from tests.conftest import SHARED
from tests.scans import real_case
from vlm.anatomy.engines.labels import from_file
from vlm.anatomy.structures import use
from vlm.ct.volume import Grid
from vlm.evidence import Case, Evidence, Observation, Search
from vlm.phantom.body.frame import Frame
from vlm.tools.anasarca import anasarca
from vlm.tools.bladder import bladder
from vlm.tools.gallbladder import gallbladder
from vlm.tools.kidney_lesions import kidney_lesions, pole_of
from vlm.tools.lesions import Tissue, axes_mm, blurred, full_ball, spots
from vlm.tools.liver_density import hepatic_steatosis
from vlm.tools.liver_lesions import LEAST_INSIDE, _is_lesion, like_gallbladder, liver_lesions, segment_of
from vlm.tools.organ_size import organ_size
from vlm.tools.organs import organ

SICK = (
    "hepatic steatosis, 25 HU", "splenomegaly 600 ml", "gallstone 12 mm", "right renal cyst 40 mm", "liver cyst 30 mm",
    "prostatomegaly 80 ml", "bladder stone 14 mm",
)  # fmt: skip
BLOCKED = (
    "biliary dilatation 12 mm", "left hydronephrosis, 20 mm", "anasarca 12 %", "left adrenal nodule 20 mm",
    "pancreatic duct dilatation 6 mm", "appendicitis 12 mm",
)  # fmt: skip
MAN = 2
GRID = Grid((60, 60, 40), np.diag([2.0, 2.0, 2.0, 1.0]))


def seen(evidence: list[Evidence], finding: str) -> list[Observation]:
    return [e for e in evidence if isinstance(e, Observation) and e.finding == finding and e.presence == "present"]


def searched(evidence: list[Evidence], finding: str) -> list[Search]:
    return [e for e in evidence if isinstance(e, Search) and e.finding == finding]


@pytest.fixture(scope="module")
def sick() -> Case:
    return outlined(person(MAN, "plain", *SICK))


@pytest.fixture(scope="module")
def healthy() -> Case:
    return outlined(person(1, "plain"))


@pytest.fixture(scope="module")
def blocked() -> Case:
    return outlined(person(MAN, "portal", *BLOCKED))


def test_a_large_spleen_and_prostate_are_told_with_their_volume(sick: Case) -> None:
    evidence = organ_size(sick)
    for finding, ml in (("splenomegaly", 600.0), ("prostatomegaly", 80.0)):
        (one,) = seen(evidence, finding)
        assert one.measured("volume").value == pytest.approx(ml, rel=0.05)  # type: ignore[union-attr]  # it is measured
    assert not seen(evidence, "hepatomegaly") and not seen(evidence, "renal_atrophy")


def test_a_fatty_liver_is_told_with_its_density(sick: Case) -> None:
    (one,) = seen(hepatic_steatosis(sick), "hepatic_steatosis")
    assert one.measured("attenuation").value == pytest.approx(25.0, abs=4.0)  # type: ignore[union-attr]


def test_a_healthy_woman_has_none_of_it(healthy: Case) -> None:
    evidence = [
        *organ_size(healthy), *hepatic_steatosis(healthy), *gallbladder(healthy), *kidney_lesions(healthy),
        *liver_lesions(healthy), *bladder(healthy),
    ]  # fmt: skip
    assert not [e for e in evidence if isinstance(e, Observation) and e.presence == "present"]
    (size,) = searched(evidence, "splenomegaly")
    assert size.covered == 1.0 and not size.failed


def test_cysts_are_found_where_they_are_as_large_as_they_are(sick: Case) -> None:
    (cyst,) = seen(kidney_lesions(sick), "renal_cyst")
    assert cyst.side == "right" and cyst.attributes["pole"] in ("upper_pole", "interpolar", "lower_pole")
    assert cyst.measured("volume").value == pytest.approx(33.5, rel=0.3)  # type: ignore[union-attr]


def test_a_gallstone_is_found(sick: Case) -> None:
    (stone,) = seen(gallbladder(sick), "gallstone")
    assert stone.measured("diameter").value == pytest.approx(12.0, abs=4.0)  # type: ignore[union-attr]


def test_a_stone_in_the_bladder_is_found(sick: Case) -> None:
    (stone,) = seen(bladder(sick), "bladder_stone")
    assert stone.measured("diameter").value == pytest.approx(14.0, abs=4.0)  # type: ignore[union-attr]


def test_without_contrast_a_wide_renal_pelvis_is_neither_told_nor_denied(healthy: Case) -> None:
    blocked = outlined(person(MAN, "plain", "left hydronephrosis, 20 mm"))
    for evidence in (kidney_lesions(blocked), kidney_lesions(healthy)):
        looks = searched(evidence, "hydronephrosis")
        assert not [e for e in evidence if isinstance(e, Observation) and e.finding == "hydronephrosis"]
        assert {look.side for look in looks} == {"left", "right"}
        assert all("no_contrast" in look.failed for look in looks)


def test_a_wide_renal_pelvis_is_told_and_wide_bile_ducts_are_no_cysts(blocked: Case) -> None:
    (pelvis,) = seen(kidney_lesions(blocked), "hydronephrosis")
    assert pelvis.side == "left"
    assert not seen(liver_lesions(blocked), "liver_cyst")


def test_oedema_of_all_the_fat_below_the_skin_is_told(blocked: Case) -> None:
    evidence = anasarca(blocked)
    (swollen,) = seen(evidence, "anasarca")
    assert swollen.region is not None
    (looked,) = searched(evidence, "anasarca")
    assert looked.found == 1


def test_dry_fat_is_dry(healthy: Case) -> None:
    evidence = anasarca(healthy)
    assert not seen(evidence, "anasarca")
    (looked,) = searched(evidence, "anasarca")
    assert looked.measured("attenuation").value < -90.0  # type: ignore[union-attr]


@pytest.mark.realct
@pytest.mark.parametrize(
    "name", ["totalseg-abdomen-3mm", "cptac-pda-00189", "acrin-flt-breast-013", "nlst-101287", "rider-pilot-0117"]
)
def test_no_real_scan_here_shows_oedema_of_the_body_wall(name: str) -> None:
    evidence = anasarca(real_case(name))
    assert len(searched(evidence, "anasarca")) == 1
    assert not seen(evidence, "anasarca")


def test_a_pole_is_a_third_of_the_height() -> None:
    kidney = np.ones((30, 4, 4), dtype=bool)
    for low, told in ((2, "lower_pole"), (14, "interpolar"), (26, "upper_pole")):
        lesion = np.zeros_like(kidney)
        lesion[low : low + 2] = True
        assert pole_of(kidney, lesion) == told


def test_without_outlines_nothing_is_measured() -> None:
    case = outlined(person(MAN, "plain", *SICK), "spleen", "gallbladder", "kidney_right")
    evidence = [*organ_size(case), *gallbladder(case), *kidney_lesions(case)]
    for finding in ("splenomegaly", "gallstone"):
        assert not seen(evidence, finding)
        assert all(not s.looked for s in searched(evidence, finding))
        assert all(s.failed == ("poor_outline",) for s in searched(evidence, finding))  # it is not said to be missing


@settings(max_examples=15)
@given(radius=st.floats(6.0, 20.0), gap=st.floats(35.0, 120.0), seed=st.integers(0, 9))
def test_a_dark_ball_in_an_even_organ_is_measured(radius: float, gap: float, seed: int) -> None:
    z, y, x = np.indices((40, 60, 60)) * 2.0
    organ = (abs(z - 40) < 36) & (abs(y - 60) < 52) & (abs(x - 60) < 52)
    ball = (z - 40) ** 2 + (y - 60) ** 2 + (x - 60) ** 2 <= radius**2
    noise = np.random.default_rng(seed).normal(0, 10, organ.shape)
    hu = np.where(organ, 110.0, -100.0) - gap * ball + noise
    normal = Tissue(hu=110.0, spread=4.0)
    smooth = blurred(hu.astype(np.int16), GRID)
    found = spots(smooth, organ, organ, smooth < normal.hu - normal.step, normal, GRID, least_inside=0.6)
    assert len(found) == 1
    assert found[0].long_mm == pytest.approx(2 * radius, abs=6.0)
    assert found[0].fat == 0.0 and found[0].inside > 0.9


def test_a_ball_that_hangs_out_of_an_outline_is_told_whole_and_without_what_runs_into_it() -> None:
    z, y, x = np.indices((40, 60, 60)) * 2.0
    kidney = (z - 40) ** 2 + (y - 60) ** 2 + (x - 50) ** 2 <= 30.0**2
    ball = (z - 40) ** 2 + (y - 60) ** 2 + (x - 76) ** 2 <= 13.0**2
    sinus = kidney & (abs(z - 40) < 4) & (abs(y - 60) < 5) & (x > 40)
    hu = np.where(ball | sinus, 10.0, np.where(kidney, 150.0, -100.0)) + np.random.default_rng(0).normal(
        0, 10, ball.shape
    )
    outline, normal = kidney & (x < 78), Tissue(hu=150.0, spread=4.0)  # the outline leaves half of the ball out
    smooth = blurred(hu.astype(np.int16), GRID)
    dark = (smooth < 80) & (smooth > -45)
    cut = spots(smooth, outline, outline, dark, normal, GRID, least_inside=0.1)[0]
    whole = full_ball(cut, dark, smooth, outline, normal.hu, GRID)
    centre = 2.0 * np.argwhere(whole.mask).mean(axis=0)
    assert np.linalg.norm(2.0 * np.argwhere(cut.mask).mean(axis=0) - (40, 60, 76)) > 6.0
    assert np.linalg.norm(centre - (40, 60, 76)) < 2.0
    assert whole.long_mm == pytest.approx(26.0, abs=3.0) and whole.volume_ml == pytest.approx(9.2, rel=0.15)


def test_an_even_organ_holds_no_lesion() -> None:
    organ = np.zeros((40, 60, 60), dtype=bool)
    organ[5:35, 8:52, 8:52] = True
    hu = np.where(organ, 110.0, -100.0) + np.random.default_rng(0).normal(0, 15, organ.shape)
    smooth = blurred(hu.astype(np.int16), GRID)
    assert not spots(smooth, organ, organ, smooth < 90, Tissue(hu=110, spread=5), GRID, least_inside=0.6)


def test_axes_of_a_block_are_its_diagonal_and_its_width() -> None:
    mask = np.zeros((3, 40, 40), dtype=bool)
    mask[1, 5:8, 5:25] = True
    long_mm, short_mm = axes_mm(mask, Grid((40, 40, 3), np.eye(4)))
    assert long_mm == pytest.approx(np.hypot(20, 3), abs=1.0) and 3.0 <= short_mm <= 6.5


@pytest.mark.realct
@pytest.mark.parametrize("without", [(), ("gallbladder", "inferior_vena_cava")], ids=["outlined", "not outlined"])
def test_segments_of_the_liver_are_those_between_its_drawn_veins(without: tuple[str, ...]) -> None:
    drawn = person(1, "plain")
    case = outlined(drawn, *without)
    liver, grid = organ(case, "liver").voxels, case.working.grid
    places = np.argwhere(liver)[:: np.count_nonzero(liver) // 60]
    known = Frame(drawn.person.scale, drawn.person.seed).displaced(grid.to_mm(places[:, ::-1]))
    hits = 0
    for place, reference in zip(places, known, strict=True):
        spot = np.zeros(liver.shape, dtype=bool)
        spot[tuple(place)] = True
        hits += segment_of(case, liver, spot) == f"segment_{drawn_segment(reference, 0.9 * drawn.person.breath_mm)}"
    assert hits >= 0.75 * len(places)


def drawn_segment(at: np.ndarray, breath_mm: float) -> int:
    """The segment between the veins that ``vlm.phantom.body.abdomen`` draws; reference mm, x to the right."""
    x, y, z = at - (0.0, 0.0, breath_mm)
    if x < -6 + 0.25 * (y - 40):  # the falciform ligament
        return 2 if z > 226 else 3
    if x < 26 + (y + 22) * 14 / 52:  # the middle hepatic vein
        return 4
    front = y > -22 - (x - 26) * 8 / 56  # the right one
    return (8 if z > 210 else 5) if front else (7 if z > 210 else 6)


@pytest.mark.parametrize(("depth_mm", "told"), [(14.0, 1), (3.0, 0)], ids=["below the capsule", "half outside"])
def test_a_cyst_just_below_the_capsule_is_told(depth_mm: float, told: int) -> None:
    z, y, x = np.indices((40, 60, 60)) * 2.0
    liver = (abs(z - 40) < 36) & (abs(y - 60) < 52) & (x > 20) & (x < 100)
    ball = (z - 40) ** 2 + (y - 60) ** 2 + (x - 20 - depth_mm) ** 2 <= 11.0**2
    hu = np.where(liver & ball, 8.0, np.where(liver, 62.0, -100.0))
    hu = hu + np.random.default_rng(0).normal(0, 6, hu.shape)
    smooth, normal = blurred(hu.astype(np.int16), GRID), Tissue(hu=62.0, spread=4.0)
    found = spots(smooth, liver, liver, smooth < 32, normal, GRID, least_inside=LEAST_INSIDE)
    assert len([lesion for lesion in found if _is_lesion(lesion, 2.0, plain=True)]) == told


@pytest.mark.parametrize(
    ("centre", "radii", "told"),
    [
        ((8, 18, 16), (7, 4, 4), False),
        ((8, 18, 16), (4, 4, 4), True),
        ((14, 10, 8), (7, 4, 4), True),
        ((3, 18, 16), (6, 6, 6), True),
    ],
    ids=["a pear in its place", "a ball in its place", "a pear elsewhere", "a ball cut by the end of the scan"],
)
def test_what_lies_and_looks_like_a_gallbladder_is_none_of_the_livers_cysts(
    centre: tuple[int, int, int], radii: tuple[int, int, int], told: bool
) -> None:
    grid = Grid((30, 30, 25), np.diag([3.0, 3.0, 3.0, 1.0]))
    liver, at = np.ones((25, 30, 30), dtype=bool), np.indices((25, 30, 30))
    ball = sum(((at[a] - centre[a]) / radii[a]) ** 2 for a in range(3)) <= 1
    smooth = np.where(ball, 5.0, 60.0).astype(np.float32)
    normal = Tissue(hu=60.0, spread=4.0)
    (one,) = spots(smooth, liver, liver, smooth < 30, normal, grid, least_inside=0.5)
    assert like_gallbladder(one, liver) is not told


def test_veins_and_clefts_of_a_real_liver_without_contrast_are_no_cysts() -> None:
    case = Case(real_case("nlst-101287").volume)
    use(case, from_file(SHARED / "ct" / "nlst-101287" / "organs_drawn.nii.gz"))
    evidence = liver_lesions(case)
    assert not [e for e in evidence if isinstance(e, Observation) and e.finding != "splenic_lesion"]
    assert any(s.looked for s in searched(evidence, "liver_cyst"))


@pytest.mark.realct
def test_the_cysts_of_a_real_kidney_are_found_and_no_lesion_of_its_liver() -> None:
    case = real_case("cptac-pda-00189")
    case = Case(case.volume)
    use(case, from_file(SHARED / "ct" / "cptac-pda-00189" / "organs_drawn.nii.gz"))
    cysts = seen(kidney_lesions(case), "renal_cyst")
    assert {cyst.side for cyst in cysts} == {"right"}
    assert not [e for e in liver_lesions(case) if isinstance(e, Observation) and e.presence == "present"]
    (liver,) = searched(organ_size(case), "hepatomegaly")
    assert 1200 < liver.measured("volume").value < 2200  # type: ignore[union-attr]
    assert all(not s.looked or "organ_cut" in s.failed for s in searched(organ_size(case), "renal_atrophy"))
