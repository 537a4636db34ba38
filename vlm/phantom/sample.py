"""A sample scan on disk: a phantom as a DICOM series, with its truth beside it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict, cast

import numpy as np

from vlm.errors import UsageError
from vlm.phantom.body import NUMBER, PHASES, REGIONS, Body, Phase, body
from vlm.phantom.chest import Phantom, chest, demo_case
from vlm.phantom.dicom_series import write_dicom_series


class Sample(TypedDict):
    """What was written."""

    slices: int
    folder: str
    truth: str


def _clear(*, seed: int) -> Phantom:
    return chest(seed=seed)


PRESETS: Mapping[str, Callable[..., Phantom]] = {"demo": demo_case, "clear": _clear}


def write_sample(out: Path, *, preset: str, seed: int) -> Sample:
    """Write a preset phantom's slices into ``out`` and its truth into ``out.truth.json`` beside it.

    Raises:
        UsageError: no preset has this name, or ``out`` holds files already.
    """
    if preset not in PRESETS:
        raise UsageError(f"E_USAGE: --preset is {preset!r}, expected one of {', '.join([*PRESETS, 'body'])}.")
    truth = _emptied(out)
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
    spacing_mm: tuple[float, float, float] = (0.9, 0.9, 2.0),
) -> Sample:
    """Write a body's slices into ``out``; its labels (NIfTI, JSON) and truth lie beside it.

    Raises:
        UsageError: no phase or region has this name, a finding is impossible, or ``out`` holds files already.
    """
    import nibabel

    for option, value, known in (("--phase", phase, PHASES), ("--region", region, tuple(REGIONS))):
        if value not in known:
            raise UsageError(f"E_USAGE: {option} is {value!r}, expected one of {', '.join(known)}.")
    truth = _emptied(out)
    scanned = body(seed=seed, phase=cast(Phase, phase), region=region, spacing_mm=spacing_mm, findings=findings)
    out.mkdir(parents=True, exist_ok=True)
    image = nibabel.Nifti1Image(scanned.labels, scanned.volume.grid.affine)
    nibabel.save(image, out.with_name(out.name + ".labels.nii.gz"))
    names = {str(NUMBER[name]): name for name in scanned.names}
    out.with_name(out.name + ".labels.json").write_text(json.dumps(names, indent=1) + "\n", "utf-8")
    said: dict[str, object] = {"preset": "body", "seed": seed, "phase": phase, "person": asdict(scanned.person)}
    said["findings"] = [asdict(entry) for entry in scanned.truth]
    if scanned.findings:
        _save_masks(scanned, out)
    truth.write_text(json.dumps(said, indent=1) + "\n", "utf-8")
    paths = write_dicom_series(scanned.volume, out, seed=seed)
    return Sample(slices=len(paths), folder=str(out), truth=str(truth))


def _save_masks(scanned: Body, out: Path) -> None:
    """One bit a finding in one NIfTI beside the series; the bits' names in a JSON."""
    import nibabel

    bits = np.zeros(scanned.labels.shape, dtype=np.uint32)
    for bit, mask in enumerate(scanned.findings.values()):
        bits |= mask.voxels.astype(np.uint32) << np.uint32(bit)
    nibabel.save(nibabel.Nifti1Image(bits, scanned.volume.grid.affine), out.with_name(out.name + ".findings.nii.gz"))
    names = {str(1 << bit): name for bit, name in enumerate(scanned.findings)}
    out.with_name(out.name + ".findings.json").write_text(json.dumps(names, indent=1) + "\n", "utf-8")


def _emptied(out: Path) -> Path:
    """Where the truth of a sample in ``out`` goes; an older sample is removed, other files are refused."""
    truth = out.with_name(out.name + ".truth.json")
    if out.is_dir() and any(out.iterdir()):
        if not truth.exists():
            raise UsageError(
                "E_USAGE: OUT holds files that are no sample, expected an empty folder. Name a new folder."
            )
        for path in out.glob("IM*.dcm"):  # an older sample of ours: replaced whole
            path.unlink()
    return truth
