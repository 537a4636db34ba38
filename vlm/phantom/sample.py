"""A sample scan on disk: a phantom as a DICOM series, with its truth beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict, cast

import numpy as np
from numpy.typing import NDArray

from vlm.ct.volume import Grid, Mask
from vlm.errors import UsageError
from vlm.phantom.body import NUMBER, PHASES, REGIONS, Phase, body
from vlm.phantom.chest import Phantom, chest, demo_case
from vlm.phantom.dicom_series import write_dicom_series


class Sample(TypedDict):
    """What was written."""

    slices: int
    folder: str
    truth: str


def _clear(*, seed: int) -> Phantom:
    return chest(seed=seed)


FORMATS = ("dicom", "nifti")
PRESETS: Mapping[str, Callable[..., Phantom]] = {"demo": demo_case, "clear": _clear}


def write_sample(out: Path, *, preset: str, seed: int) -> Sample:
    """Write a preset phantom's slices into ``out`` and its truth into ``out.truth.json`` beside it.

    Raises:
        UsageError: no preset has this name, or ``out`` holds files already.
    """
    if preset not in PRESETS:
        raise UsageError(f"E_USAGE: --preset is {preset!r}, expected one of {', '.join([*PRESETS, 'body'])}.")
    truth = truth_of(out)
    remove_older(out)
    phantom = PRESETS[preset](seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    entries = [asdict(entry) for entry in phantom.truth]
    truth.write_text(json.dumps({"preset": preset, "seed": seed, "findings": entries}, indent=1) + "\n", "utf-8")
    paths = write_dicom_series(phantom.volume, out, seed=seed)
    return Sample(slices=len(paths), folder=str(out), truth=str(truth))


def write_body(
    out: Path,
    *,
    seed: int,
    phase: str = "portal",
    region: str = "trunk",
    findings: Sequence[str] = (),
    file_format: str = "dicom",
    spacing_mm: tuple[float, float, float] = (0.9, 0.9, 2.0),
) -> Sample:
    """Write a body into ``out``, as slices or as one NIfTI; its labels, findings and truth lie beside it.

    Raises:
        UsageError: no phase, region or format has this name, a finding is impossible, or ``out`` holds files already.
    """
    for option, value, known in (
        ("--phase", phase, PHASES), ("--region", region, tuple(REGIONS)), ("--format", file_format, FORMATS),
    ):  # fmt: skip
        if value not in known:
            raise UsageError(f"E_USAGE: {option} is {value!r}, expected one of {', '.join(known)}.")
    truth = truth_of(out)
    scanned = body(seed=seed, phase=cast(Phase, phase), region=region, spacing_mm=spacing_mm, findings=findings)
    remove_older(out)
    out.mkdir(parents=True, exist_ok=True)
    save(scanned.volume.grid, scanned.labels, out.with_name(out.name + ".labels.nii.gz"))
    save_json({str(NUMBER[name]): name for name in scanned.names}, out.with_name(out.name + ".labels.json"))
    if scanned.findings:
        save_masks(scanned.findings, out)
    said = {"preset": "body", "seed": seed, "phase": phase, "person": asdict(scanned.person)}
    save_json({**said, "findings": [asdict(entry) for entry in scanned.truth]}, truth)
    if file_format == "nifti":
        save(scanned.volume.grid, scanned.volume.hu, out / "ct.nii.gz")
    else:
        write_dicom_series(scanned.volume, out, seed=seed)
    return Sample(slices=scanned.volume.hu.shape[2], folder=str(out), truth=str(truth))


def save_masks(masks: Mapping[str, Mask], out: Path) -> None:
    """One bit a finding in one NIfTI beside the series; the bits' names in a JSON."""
    if len(masks) > 32:
        raise UsageError(f"E_USAGE: {len(masks)} masks of findings, expected at most 32. Ask for fewer.")
    grid = next(iter(masks.values())).grid
    bits = np.zeros(grid.shape, dtype=np.uint32)
    for bit, mask in enumerate(masks.values()):
        bits |= mask.voxels.astype(np.uint32) << np.uint32(bit)
    save(grid, bits, out.with_name(out.name + ".findings.nii.gz"))
    names = {str(1 << bit): name for bit, name in enumerate(masks)}
    save_json(names, out.with_name(out.name + ".findings.json"))


def save(grid: Grid, voxels: NDArray[np.generic], path: Path) -> None:
    """Write (X, Y, Z) voxels as NIfTI."""
    import nibabel

    image = nibabel.Nifti1Image(voxels, grid.affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def save_json(content: Mapping[str, object], path: Path) -> None:
    """Write a JSON document."""
    path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")


def truth_of(out: Path) -> Path:
    """Where the truth of a sample in ``out`` goes; a folder with files that are no sample is refused."""
    truth = out.with_name(out.name + ".truth.json")
    if out.is_dir() and any(out.iterdir()) and not truth.exists():
        raise UsageError("E_USAGE: OUT holds files that are no sample, expected an empty folder. Name a new folder.")
    return truth


def remove_older(out: Path) -> None:
    """An older sample of ours is replaced whole."""
    for path in (*out.glob("IM*.dcm"), out / "ct.nii.gz"):
        path.unlink(missing_ok=True)
    for part in ("labels", "findings"):
        for ending in ("nii.gz", "json"):
            out.with_name(f"{out.name}.{part}.{ending}").unlink(missing_ok=True)
