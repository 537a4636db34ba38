"""``tomoscribe phantom``: one scan whose truth is known, or a cohort of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from vlm.errors import UsageError
from vlm.phantom.cohort import Progress, Settings, write_cohort
from vlm.phantom.into import write_into
from vlm.phantom.sample import SPACING_MM, write_body, write_sample
from vlm.phantom.seeds import Split

LEAST_MM, MOST_MM = 0.4, 10.0  # finer takes more memory than it is worth; coarser holds no anatomy


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of a scan, as they were said."""

    preset: str | None
    findings: Sequence[str]
    seed: int
    phase: str | None
    region: str
    prior: bool
    file_format: str | None
    spacing_mm: tuple[float, float, float] | None
    into: Sequence[Path]
    organs: Path | None = None


def make_sample(out: Path, wanted: Wanted) -> dict[str, Any]:
    """Write one scan.

    Raises:
        UsageError: options that do not go together, or a finding that is impossible.
    """
    file_format = wanted.file_format or "dicom"
    _check_spacing(wanted)
    if wanted.into:
        if wanted.preset or not wanted.findings:
            raise UsageError("E_USAGE: --into needs a --finding and no --preset. Say what to put into the scan.")
        if len(wanted.into) > 1:
            raise UsageError("E_USAGE: --into is given more than once, expected one scan. Several need --cohort.")
        made = write_into(
            out, wanted.into[0], wanted.findings, seed=wanted.seed, file_format=file_format, organs=wanted.organs,
            prior=wanted.prior,
        )  # fmt: skip
        return dict(made)
    if wanted.organs:
        raise UsageError("E_USAGE: --organs is for --into, expected no --organs. Leave it out.")
    if wanted.preset == "body" or (wanted.preset is None and (wanted.findings or wanted.prior)):
        return dict(
            write_body(
                out, seed=wanted.seed, phase=wanted.phase or "portal", region=wanted.region, findings=wanted.findings,
                file_format=file_format, spacing_mm=wanted.spacing_mm or SPACING_MM, prior=wanted.prior,
            )
        )  # fmt: skip
    options = {
        "--finding": wanted.findings,
        "--prior": wanted.prior,
        "--phase": wanted.phase,
        "--spacing": wanted.spacing_mm,
    }
    if word := next((name for name, given in options.items() if given), None):
        raise UsageError(f"E_USAGE: {word} is for --preset body, expected no other --preset. Leave one out.")
    return dict(write_sample(out, preset=wanted.preset or "demo", seed=wanted.seed, file_format=file_format))


def make_cohort(
    out: Path, wanted: Wanted, count: int, prevalence: str, split: str, workers: int, progress: Progress | None
) -> dict[str, Any]:
    """Write a cohort, or what is missing of it.

    Raises:
        UsageError: options that do not go together, or a folder that holds something else.
    """
    if wanted.preset or wanted.findings:
        word = "--preset" if wanted.preset else "--finding"
        raise UsageError(
            f"E_USAGE: {word} with --cohort, expected neither: the seeds say what ails whom. Leave one out."
        )
    _check_spacing(wanted)
    settings = Settings(
        count=count, prevalence=prevalence, split=cast(Split, split), phase=wanted.phase, prior=wanted.prior,
        file_format=wanted.file_format or "nifti", spacing_mm=wanted.spacing_mm,
    )  # fmt: skip
    made = write_cohort(out, settings, scans=wanted.into, workers=workers, progress=progress)
    return asdict(made) | {"folder": str(out)}


def _check_spacing(wanted: Wanted) -> None:
    if wanted.spacing_mm and not all(LEAST_MM <= step <= MOST_MM for step in wanted.spacing_mm):
        shown = " ".join(f"{step:g}" for step in wanted.spacing_mm)
        raise UsageError(f"E_USAGE: --spacing is {shown}, expected {LEAST_MM} to {MOST_MM} mm along each axis.")
