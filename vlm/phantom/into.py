"""Findings in words put into a scan that a user has, written as a new series with its truth beside it.

Only pixels and geometry of the scan are taken along: the new series has made-up identifiers and
none of the patient's header.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

from vlm.ct.read import read
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.phantom.body.wishes import Wish, read_wish, refuse
from vlm.phantom.chest import Phantom
from vlm.phantom.files import Place, records, save_json, save_masks, save_scan
from vlm.phantom.implant import Implant, Kind, Margin, NoduleTexture, Zone, implant
from vlm.phantom.sample import Sample

KINDS: frozenset[str] = frozenset(get_args(Kind))
USUAL = {"lung_nodule": 10.0, "pleural_effusion": 200.0, "pneumothorax": 100.0, "emphysema": 10.0}  # mm, mL, mL, %
USUAL_PATCH_ML = 30.0


def wanted(words: str) -> Implant:
    """One finding in words -> what to put in; a size that is not said is a usual one.

    Raises:
        UsageError: it cannot be put into a scan, names a lobe, or has a size of the wrong kind.
    """
    wish = read_wish(words, KINDS)
    zone = (wish.site or "").removesuffix("_zone")
    pleural = wish.site in ("subpleural", "pleura")
    if zone not in ("upper", "middle", "lower") and wish.site not in (None, "lung", "subpleural", "pleura"):
        place = (wish.site or "").replace("_", " ")
        raise refuse(words, f"where the {place} of this scan lies is not known. Name the upper, middle or lower zone.")
    return Implant(
        finding=cast(Kind, wish.finding),
        size=_size(wish),
        side=wish.side,
        zone=cast(Zone, zone) if zone in get_args(Zone) else None,
        texture=cast(NoduleTexture, _one(wish, get_args(NoduleTexture), "solid")),
        margin=cast(Margin, _one(wish, get_args(Margin), "smooth")),
        place="pleural" if pleural and wish.finding == "lung_nodule" else "inside",
    )


def _one(wish: Wish, known: Sequence[str], usual: str) -> str:
    """The one attribute of these that was said, or the usual one."""
    said = [name for name in known if name in wish.attributes]
    if len(said) > 1:
        raise refuse(wish.words, f"it is called {' and '.join(said).replace('_', ' ')} at once. Name one.")
    return said[0] if said else usual


def _size(wish: Wish) -> float:
    """Millimetres of a nodule, percent of emphysema, millilitres of the rest."""
    unit = {"lung_nodule": "mm", "emphysema": "percent"}.get(wish.finding, "ml")
    said = {name: getattr(wish, name) for name in ("mm", "ml", "percent") if getattr(wish, name) is not None}
    if set(said) - {unit}:
        raise refuse(wish.words, f"the size of this finding is given in {unit.replace('percent', '%')}.")
    return float(said.get(unit, USUAL.get(wish.finding, USUAL_PATCH_ML)))


def write_into(out: Path, scan: Path, findings: Sequence[str], *, seed: int, file_format: str = "dicom") -> Sample:
    """Put findings into the scan at ``scan`` and write it into ``out``; masks and truth lie beside it.

    Raises:
        IntakeError: the scan is refused.
        UsageError: a finding is not understood, or there is no room for it.
    """
    place = Place.of(out)
    place.check(file_format)
    implants = [wanted(words) for words in findings]
    case = Case(read(scan).volume)
    try:
        made = implant(case, implants, seed=seed)
    except ValueError as error:
        raise UsageError(f"E_USAGE: --finding cannot be put into this scan: {error}.") from error
    save_implants(made, place, {"seed": seed}, seed=seed, file_format=file_format)
    return Sample(slices=made.volume.hu.shape[2], folder=str(out), truth=str(place.truth))


def save_implants(made: Phantom, place: Place, said_of: Mapping[str, Any], *, seed: int, file_format: str) -> None:
    """Write a scan with findings put in: the scan, a bit a finding, and truth.json, which comes last."""
    place.clear()
    save_masks(made.masks, place)
    save_scan(made.volume, place, seed=seed, file_format=file_format)
    save_json({**said_of, "findings": records(made.truth, made.masks)}, place.truth)
