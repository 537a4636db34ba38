"""A sample scan on disk: a phantom as a DICOM series or NIfTI, with its truth beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypedDict, cast

from vlm.errors import UsageError
from vlm.phantom.body import NUMBER, PHASES, REGIONS, Body, Phase, body, numbered
from vlm.phantom.body.wishes import refuse
from vlm.phantom.chest import Phantom, chest, demo_case
from vlm.phantom.files import Place, records, save, save_json, save_masks, save_scan
from vlm.phantom.prior import VISIT, changes, current, earlier, with_changes


class Sample(TypedDict):
    """What was written."""

    slices: int
    folder: str
    truth: str


def _clear(*, seed: int) -> Phantom:
    return chest(seed=seed)


SPACING_MM = (0.9, 0.9, 2.0)
PRESETS: Mapping[str, Callable[..., Phantom]] = {"demo": demo_case, "clear": _clear}


def write_sample(out: Path, *, preset: str, seed: int, file_format: str = "dicom") -> Sample:
    """Write a preset phantom into ``out`` and its truth into ``out.truth.json`` beside it.

    Raises:
        UsageError: no preset or format has this name, or ``out`` holds files already.
    """
    if preset not in PRESETS:
        raise UsageError(f"E_USAGE: --preset is {preset!r}, expected one of {', '.join([*PRESETS, 'body'])}.")
    place = Place.of(out)
    place.check(file_format)
    phantom = PRESETS[preset](seed=seed)
    place.clear()
    entries = records(phantom.truth, phantom.masks)
    save_json({"preset": preset, "seed": seed, "findings": entries}, place.truth)
    save_scan(phantom.volume, place, seed=seed, file_format=file_format)
    return Sample(slices=phantom.volume.hu.shape[2], folder=str(out), truth=str(place.truth))


def write_body(
    out: Path,
    *,
    seed: int,
    phase: str = "portal",
    region: str = "trunk",
    findings: Sequence[str] = (),
    file_format: str = "dicom",
    spacing_mm: tuple[float, float, float] = SPACING_MM,
    prior: bool = False,
) -> Sample:
    """Write a body into ``out``, as slices or as one NIfTI; its labels, findings and truth lie beside it.

    Args:
        prior: write an earlier scan of the same person into ``out.prior``, too, with known change.

    Raises:
        UsageError: no phase, region or format has this name, a finding is impossible, or ``out`` holds files already.
    """
    for option, value, known in (("--phase", phase, PHASES), ("--region", region, tuple(REGIONS))):
        if value not in known:
            raise UsageError(f"E_USAGE: {option} is {value!r}, expected one of {', '.join(known)}.")
    place, old = Place.of(out), Place.of(out.with_name(out.name + ".prior"))
    for each in (place, old) if prior else (place,):
        each.check(file_format)
    wishes = numbered(findings)
    if prior:
        wishes = with_changes(wishes, seed)
    elif said := next((wish for wish in wishes if wish.change), None):
        raise refuse(said.words, f"{said.change!r} needs an earlier scan. Ask for --prior, or leave the word out.")
    named = cast(Phase, phase)
    scanned = body(seed=seed, phase=named, region=region, spacing_mm=spacing_mm, findings=current(wishes))
    said_of: dict[str, Any] = {"preset": "body", "seed": seed, "phase": phase, "region": region}
    if prior:
        before = earlier(scanned, wishes, named)
        save_body(before, old, said_of, file_format=file_format, visit=VISIT)
        said_of |= {"prior": old.scan.name, "changes": changes(scanned.truth, before.truth)}
    save_body(scanned, place, said_of, file_format=file_format)
    return Sample(slices=scanned.volume.hu.shape[2], folder=str(out), truth=str(place.truth))


def save_body(scanned: Body, place: Place, said_of: Mapping[str, Any], *, file_format: str, visit: int = 0) -> None:
    """Write a body: its scan, a number a voxel, a bit a finding, and truth.json, which comes last."""
    place.clear()
    save(scanned.volume.grid, scanned.labels, place.beside("labels.nii.gz"))
    save_json({str(NUMBER[name]): name for name in scanned.names}, place.beside("labels.json"))
    save_masks(scanned.findings, place)
    save_scan(scanned.volume, place, seed=scanned.person.seed, file_format=file_format, visit=visit)
    entries = records(scanned.truth, scanned.findings)
    refused = {"refused": list(scanned.refused)} if scanned.refused else {}
    save_json({**said_of, "person": asdict(scanned.person), "findings": entries, **refused}, place.truth)
