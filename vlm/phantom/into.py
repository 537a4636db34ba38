"""Findings in words put into a scan that a user has, written as a new series with its truth beside it.

Only pixels and geometry of the scan are taken along: the new series has made-up identifiers and
none of the patient's header.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np

from vlm.ct.read import read
from vlm.ct.volume import Grid, Mask
from vlm.errors import UsageError
from vlm.evidence import Case
from vlm.phantom.body.findings import FINDINGS
from vlm.phantom.body.wishes import Wish, read_wish, refuse
from vlm.phantom.chest import Phantom
from vlm.phantom.files import Place, records, save_json, save_masks, save_scan
from vlm.phantom.host import NODULES
from vlm.phantom.implant import Implant, Kind, Margin, NoduleTexture, Zone, implant
from vlm.phantom.in_organs import LESIONS
from vlm.phantom.prior import VISIT, changes, current, moved_scan, offset_mm, share_before, with_changes
from vlm.phantom.sample import Sample

KINDS: frozenset[str] = frozenset(get_args(Kind))
USUAL = {  # where a scan is asked for something else than a body
    "lung_nodule": 10.0, "pleural_effusion": 200.0, "pneumothorax": 100.0, "emphysema": 10.0, "consolidation": 30.0,
    "ground_glass_opacity": 30.0, "ascites": 100.0, "pneumoperitoneum": 10.0,
}  # fmt: skip
BALLS = frozenset({*NODULES, *LESIONS, "consolidation", "ground_glass_opacity"})  # put around a centre
IN_LUNG = frozenset(
    {
        "lung_nodule",
        "lung_mass",
        "pleural_effusion",
        "pneumothorax",
        "consolidation",
        "ground_glass_opacity",
        "emphysema",
    }
)


def wanted(words: str) -> Implant:
    """One finding in words -> what to put in; a size that is not said is a usual one.

    Raises:
        UsageError: it cannot be put into a scan, names a lobe, or has a size of the wrong kind.
    """
    return implant_of(read_wish(words, KINDS))


def implant_of(wish: Wish) -> Implant:
    """What a wish puts into a scan; as ``wanted`` of its words."""
    words = wish.words
    if wish.count > 1:
        raise refuse(words, "a scan takes one at a time. Give each its own --finding.")
    if wish.finding not in IN_LUNG:
        return _in_organ(wish)
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
        place="pleural" if pleural and wish.finding in NODULES else "inside",
    )


def _in_organ(wish: Wish) -> Implant:
    """A finding below the lungs: its organ is its place."""
    entry = FINDINGS[wish.finding]
    entry.check(wish if wish.side or entry.side != "must" else replace(wish, side="right"))
    return Implant(
        finding=cast(Kind, wish.finding),
        size=_size(wish),
        side=wish.side,
        texture="calcified" if "calcified" in wish.attributes else "solid",
        margin="lobulated" if "lobulated" in wish.attributes else "smooth",
    )


def _one(wish: Wish, known: Sequence[str], usual: str) -> str:
    """The one attribute of these that was said, or the usual one."""
    said = [name for name in known if name in wish.attributes]
    if len(said) > 1:
        raise refuse(wish.words, f"it is called {' and '.join(said).replace('_', ' ')} at once. Name one.")
    return said[0] if said else usual


def _size(wish: Wish) -> float:
    """Millimetres of a ball, percent of emphysema, millilitres of the rest."""
    size = FINDINGS[wish.finding].size
    assert size is not None, wish.finding
    said = any(getattr(wish, name) is not None for name in ("mm", "ml", "percent", "hu", "ratio"))
    return size.of(wish) if said or wish.grade else USUAL.get(wish.finding, size.usual)


def read_organs(path: Path, grid: Grid) -> dict[str, Mask]:
    """Masks of organs from a label map with a JSON of names beside it, as ``tomoscribe segment`` writes them.

    Args:
        path: NIfTI of numbers on the scan's own grid; names stand in a JSON of the same stem or in ``names.json``.
        grid: the scan's.

    Raises:
        UsageError: the map or its names are not there, or it lies on another grid.
    """
    import nibabel

    stem = path.name.removesuffix(".gz").removesuffix(".nii")
    names = next((p for p in (path.with_name(f"{stem}.json"), path.with_name("names.json")) if p.is_file()), None)
    if not path.is_file() or names is None:
        raise UsageError(f"E_USAGE: --organs {path.name} or its names ({stem}.json) are not there. Name a label map.")
    said = json.loads(names.read_text("utf-8"))
    said = said.get("labels", said)
    image = nibabel.as_closest_canonical(nibabel.load(path))
    numbers = np.asarray(image.dataobj)
    if numbers.shape != grid.shape or not np.allclose(image.affine, grid.affine, atol=0.05):
        raise UsageError(f"E_USAGE: --organs {path.name} lies on another grid than the scan. Resample it to the scan.")
    return {name: Mask(name, np.asfortranarray(numbers == int(number)), grid) for number, name in said.items()}


def write_into(
    out: Path, scan: Path, findings: Sequence[str], *, seed: int, file_format: str = "dicom",
    organs: Path | None = None, prior: bool = False,
) -> Sample:  # fmt: skip
    """Put findings into the scan at ``scan`` and write it into ``out``; masks and truth lie beside it.

    Args:
        prior: write an earlier scan into ``out.prior``, too: the same pixels, elsewhere on the table, with the
            findings as they were then.

    Raises:
        IntakeError: the scan is refused.
        UsageError: a finding is not understood, or there is no room for it.
    """
    place, old = Place.of(out), Place.of(out.with_name(out.name + ".prior"))
    for each in (place, old) if prior else (place,):
        each.check(file_format)
    wishes = [replace(read_wish(words, KINDS), number=number) for number, words in enumerate(findings)]
    if prior:
        wishes = with_changes(wishes, seed)
    elif said := next((wish for wish in wishes if wish.change), None):
        raise refuse(said.words, f"{said.change!r} needs an earlier scan. Ask for --prior, or leave the word out.")
    for wish in wishes:
        implant_of(wish)  # what cannot be is told before the scan is read
    case = Case(read(scan).volume)
    said_of: dict[str, Any] = {"seed": seed}
    try:
        known = read_organs(organs, case.volume.grid) if organs else None
        made = _put(case, current(wishes), seed, known)
        before = earlier(case, wishes, made, seed, known) if prior else None
    except ValueError as error:
        raise UsageError(f"E_USAGE: --finding cannot be put into this scan: {error}.") from error
    if before is not None:
        save_implants(before, old, said_of, seed=seed, file_format=file_format, visit=VISIT)
        said_of |= {"prior": old.scan.name, "changes": changes(made.truth, before.truth)}
    save_implants(made, place, said_of, seed=seed, file_format=file_format)
    return Sample(slices=made.volume.hu.shape[2], folder=str(out), truth=str(place.truth))


def _put(case: Case, wishes: Sequence[Wish], seed: int, organs: Mapping[str, Mask] | None) -> Phantom:
    """The scan with these wishes in it; each truth knows its wish."""
    made = implant(case, [implant_of(wish) for wish in wishes], seed=seed, organs=organs)
    numbered = [replace(truth, wish=wish.number) for truth, wish in zip(made.truth, wishes, strict=True)]
    return replace(made, truth=numbered)


def earlier(case: Case, wishes: Sequence[Wish], now: Phantom, seed: int, organs: Mapping[str, Mask] | None) -> Phantom:
    """The earlier scan of one that was made with ``current(wishes)``: what was there then, at the size of then.

    Pixels and noise are those of the same scan, which lies elsewhere on the table.
    """
    rng = np.random.default_rng([seed, 29])
    shown = {truth.wish: truth for truth in now.truth}
    before: list[Implant] = []
    there = [wish for wish in wishes if wish.change != "new"]
    for wish in there:
        each = implant_of(wish)
        each = replace(each, size=each.size * share_before(wish.change, rng))
        if truth := shown.get(wish.number):
            lies = truth.centre_mm if each.finding in BALLS else None  # the rest lies where its organ has room for it
            each = replace(each, side=truth.side or each.side, centre_mm=lies)
        before.append(each)
    made = implant(case, before, seed=seed, organs=organs)
    numbered = [replace(truth, wish=wish.number) for truth, wish in zip(made.truth, there, strict=True)]
    return moved_scan(replace(made, truth=numbered), offset_mm(rng))


def save_implants(
    made: Phantom, place: Place, said_of: Mapping[str, Any], *, seed: int, file_format: str, visit: int = 0
) -> None:
    """Write a scan with findings put in: the scan, a bit a finding, and truth.json, which comes last."""
    place.clear()
    save_masks(made.masks, place)
    save_scan(made.volume, place, seed=seed, file_format=file_format, visit=visit)
    save_json({**said_of, "findings": records(made.truth, made.masks)}, place.truth)
