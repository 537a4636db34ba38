"""Atelectasis, collapse of a lobe, and loss of volume of a lung.

In: an open case. Out: Observations of plates of airless lung, of airless lung beside fluid, behind
along the ribs, or in a lung that has lost volume, and of the lost volume; a Search for each finding and side.
Volume is compared with the other side: the right lung is the larger one by about a tenth.
"""

from __future__ import annotations

from vlm.anatomy.lungs import SIDES, LungSide, lungs
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.compressed import compressed
from vlm.tools.dense_lung import Dense, dense_places, share_of_expected, volume_lost
from vlm.tools.effusion import pleural_fluid
from vlm.tools.lung_field import Field, field, search, site_of
from vlm.tools.nodules import told_share
from vlm.tools.plates import Plate, plates
from vlm.tools.registry import tool

NAME = "atelectasis"
FINDINGS = ("atelectasis", "lobar_collapse", "lung_volume_loss")
COLLAPSED_HU = (-60.0, 160.0)  # airless lung; enhanced, it reaches the upper value
LEAST_ML = 10.0  # less airless lung behind is common in health; 5 to 7 mL at the cut edge of clear scans
OF_A_MASS = 0.5  # share of a place in a nodule or mass that is told: the place is that mass
BLOODLESS_HU = 30.0  # airless lung is denser than fluid, which lies in fissures, too
IN_FISSURE = "fluid in a fissure looks the same"
NOT_APART = "the lung has lost volume beside a mass: no border between mass and collapsed lung shows"
LOBE_ML = 40.0  # a lobe without air is about as large (collapsed lobes: 40 to 150 mL)


@tool(NAME, observes=FINDINGS, needs=("lungs", "thoracic_cavity", "airways", "skeleton"))
def atelectasis(case: Case) -> list[Evidence]:
    """Find airless lung beside fluid or behind, and compare the volumes of the lungs."""
    out: list[Evidence] = []
    for side in SIDES:
        seen = field(case, side)
        ready = seen.seen and not {"density_withheld", "length_withheld"} & set(seen.failed)
        airless = [place for place in dense_places(case) if ready and place.side == side and _collapsed(case, place)]
        apart = [place for place in airless if not _of_a_mass(case, place)]
        places = apart or [place for place in airless if volume_lost(case, side)]
        large = [_may_be_lobe(case, place) for place in places]
        found = [_airless(case, p, n) for n, (p, lobe) in enumerate(zip(places, large, strict=True), 1) if not lobe]
        lobes = [_lobe(case, p, n) for n, (p, lobe) in enumerate(zip(places, large, strict=True), 1) if lobe]
        flat = [plate for plate in plates(case) if ready and plate.side == side]
        found += [_plate(case, plate, n) for n, plate in enumerate(flat, 1)]
        passive = None if not ready or any(place.at_fluid for place in places) else _passive(case, side)
        found += [passive] if passive else []
        loss = _loss(case, side, [*found, *lobes]) if ready else None
        out += [*lobes, *found, *([loss] if loss else [])]
        failed = () if share_of_expected(case, side) is not None or not seen.seen else ("partly_covered",)
        number = len(found) + len(lobes)  # a collapsed lobe is one, too
        out.append(search(NAME, "atelectasis", seen, found=number, site="lung"))
        out.append(search(NAME, "lobar_collapse", seen, found=len(lobes), site="lung", failed=failed))
        out.append(_compared(case, side, seen, found=int(loss is not None), failed=failed))
    return out


def _collapsed(case: Case, place: Dense) -> bool:
    """Whether an airless place is collapse, or a mass that may hold some, rather than nodule or consolidation."""
    low, high = COLLAPSED_HU
    airless = low <= place.mean_hu <= high and not place.round and place.volume_ml >= LEAST_ML
    return airless and (place.collapsed or volume_lost(case, place.side))


def _of_a_mass(case: Case, place: Dense) -> bool:
    """Whether an airless place is told as a nodule or a mass."""
    return told_share(case, place.side, place.voxels) >= OF_A_MASS


def _may_be_lobe(case: Case, place: Dense) -> bool:
    if place.collapsed or _of_a_mass(case, place):
        return False
    return place.volume_ml >= LOBE_ML and volume_lost(case, place.side)


def _airless(case: Case, place: Dense, number: int) -> Observation:
    """The Observation of one airless place."""
    kind = "passive" if place.at_fluid else "dependent" if place.collapsed else "with volume loss"
    return Observation(
        tool=NAME,
        finding="atelectasis",
        presence="present" if place.collapsed and not _of_a_mass(case, place) else "uncertain",  # tumour, too
        side=place.side,
        site=site_of(case, place.side, Mask("", place.voxels.T, case.working.grid)),
        measurements=(
            Measurement(quantity="volume", value=place.volume_ml),
            Measurement(quantity="attenuation", value=place.mean_hu),
        ),
        attributes={"kind": kind},
        region=case.keep(Mask(f"atelectasis_{place.side}_{number}", place.voxels.T, case.working.grid)),
        note=NOT_APART if _of_a_mass(case, place) else "",
    )


def _plate(case: Case, plate: Plate, number: int) -> Observation:
    """The Observation of one plate."""
    wet = plate.side in pleural_fluid(case) and plate.densest_hu < BLOODLESS_HU
    region = Mask(f"atelectasis_plate_{plate.side}_{number}", plate.voxels.T, case.working.grid)
    return Observation(
        tool=NAME,
        finding="atelectasis",
        presence="uncertain" if wet else "present",
        side=plate.side,
        site=site_of(case, plate.side, region),
        measurements=(
            Measurement(quantity="volume", value=plate.volume_ml),
            Measurement(quantity="attenuation", value=plate.densest_hu),
        ),
        attributes={"kind": "linear"},
        region=case.keep(region),
        note=IN_FISSURE if wet else "",
    )


def _passive(case: Case, side: LungSide) -> Observation | None:
    """The layer of lung that the fluid of a side has pressed airless; None when it is too small."""
    layer = compressed(case, side)
    region = None if layer is None else Mask(f"atelectasis_passive_{side}", layer.T, case.working.grid)
    if layer is None or region is None or region.volume_ml < LEAST_ML:
        return None
    return Observation(
        tool=NAME,
        finding="atelectasis",
        presence="present",
        side=side,
        site=site_of(case, side, region),
        measurements=(
            Measurement(quantity="volume", value=region.volume_ml),
            Measurement(quantity="attenuation", value=float(case.working.hu.T[layer].mean())),
        ),
        attributes={"kind": "passive"},
        region=case.keep(region),
    )


def _lobe(case: Case, place: Dense, number: int) -> Observation:
    """A place as large as a collapsed lobe, in a lung that has lost volume; tumour cannot be excluded."""
    return Observation(
        tool=NAME,
        finding="lobar_collapse",
        presence="uncertain",
        side=place.side,
        site=site_of(case, place.side, Mask("", place.voxels.T, case.working.grid)),
        measurements=(Measurement(quantity="volume", value=place.volume_ml),),
        region=case.keep(Mask(f"lobar_collapse_{place.side}_{number}", place.voxels.T, case.working.grid)),
    )


def _loss(case: Case, side: LungSide, airless: list[Observation]) -> Observation | None:
    """Lost volume of a lung, when it is plainly smaller than the other one says."""
    share = share_of_expected(case, side)
    if share is None or not volume_lost(case, side):
        return None
    mass = any(_of_a_mass(case, place) for place in dense_places(case) if place.side == side)
    explained = bool(airless) or mass or pleural_fluid(case).get(side) is not None
    lung = lungs(case).of(side)
    return Observation(
        tool=NAME,
        finding="lung_volume_loss",
        presence="present" if explained else "uncertain",
        side=side,
        site="lung",
        measurements=(
            Measurement(quantity="volume", value=lung.volume_ml),
            Measurement(quantity="ratio", value=lung.volume_ml / lungs(case).of(_other(side)).volume_ml),
        ),
        region=case.keep(Mask(f"small_lung_{side}", lung.voxels, lung.grid)),
        note="aerated volume against the other lung",
    )


def _compared(case: Case, side: LungSide, seen: Field, *, found: int, failed: tuple[str, ...]) -> Evidence:
    """The Search for lost volume, with the ratio of the lungs."""
    share = share_of_expected(case, side)
    ratio: tuple[Measurement, ...] = ()
    if share is not None:
        value = lungs(case).of(side).volume_ml / lungs(case).of(_other(side)).volume_ml
        ratio = (Measurement(quantity="ratio", value=value),)
    return search(NAME, "lung_volume_loss", seen, found=found, site="lung", failed=failed, measurements=ratio)


def _other(side: LungSide) -> LungSide:
    return "left" if side == "right" else "right"
