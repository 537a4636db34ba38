"""The conductor: one function that turns a path into a checked report.

The command line, the page, jobs and cohorts all call ``read_scan``. It strings the steps
together and decides nothing about findings.
"""

from __future__ import annotations

import hashlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

import numpy as np

from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.laterality import laterality
from vlm.ct import ReadScan, Volume, read
from vlm.errors import IntakeError, UsageError
from vlm.evidence import Case, Evidence, Ledger, Observation, Search, without_side, without_withheld
from vlm.findings.vocabulary import load_vocabulary
from vlm.grounding import Context, Prior
from vlm.grounding.prior import compare
from vlm.language.compose import ScanFacts, compose
from vlm.language.drafting import checked
from vlm.language.wording import Wording
from vlm.report import (
    CapabilityOff,
    CaseRecord,
    Draft,
    EvidenceRecord,
    Geometry,
    IntakeRecord,
    Report,
    Sentence,
    evidence_record,
)
from vlm.tools import Tool, load_tools

Progress = Callable[[str], None]  # called with the name of each step as it begins

PACKAGES = ("tomoscribe", "numpy", "scipy", "SimpleITK", "scikit-image", "connected-components-3d", "edt", "pydicom")
REGIONS = ("head", "neck", "chest", "upper_abdomen", "pelvis")  # what a report calls a scan by
MOSTLY = 0.5  # covered share from which a region belongs to the scan's name
WORKERS = 2  # tools run side by side; the libraries under them free the interpreter


@dataclass
class Reading:
    """A finished reading: the report, the case it is about, and which section tells which evidence."""

    report: Report
    case: Case
    sections: dict[str, str]


@dataclass
class Clock:
    """Seconds by step, and a word to whoever watches."""

    progress: Progress
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self.progress(name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)


def silent(_: str) -> None:
    """A progress that nobody watches."""


def read_scan(
    path: Path, *, series: str | None = None, prior: Path | None = None, progress: Progress = silent
) -> Reading:
    """Read a CT and draft its checked report; nothing is written.

    Args:
        path: DICOM folder or file, zip, or NIfTI.
        series: UID or pseudonym of the series to read where there are several.
        prior: an earlier scan of the same patient, to compare with.
        progress: called with the name of each step.

    Raises:
        IntakeError: the input is refused; the message says why and what to do.
    """
    clock = Clock(progress)
    with clock.step("read"):
        scan = read(path, series=series)
    case = Case(scan.volume)
    with clock.step("anatomy"):
        facts = scan_facts(case)
    tools = load_tools()
    run_tools(case, tools, clock)
    comparison = None if prior is None else compare_with(case, prior, tools, clock)
    with clock.step("write"):
        sentences = draft(case, facts, comparison)
    return Reading(
        report=assemble(scan, case, tools, sentences, clock.seconds),
        case=case,
        sections={name: s.section for s in reversed(sentences) for name in s.cites},
    )


def scan_facts(case: Case) -> ScanFacts:
    """What the technique sentence may say; finds the anatomy that most tools need."""
    grid = case.volume.grid
    return ScanFacts(
        slices=grid.shape[2],
        step_mm=grid.spacing_mm[2],
        kernel=case.volume.scan.kernel,
        contrast=contrast(case).enhanced,
        regions=tuple(site for site in REGIONS if coverage(case).of(site) >= MOSTLY),
        sides_confirmed=laterality(case).verdict != "contradicted",
    )


def run_tools(case: Case, tools: dict[str, Tool], clock: Clock) -> None:
    """Run every tool and put its evidence into the ledger, in the fixed order of the tools.

    A tool that fails is reported as a search that failed, never as silence.
    """

    def run(tool: Tool) -> tuple[list[Evidence], float]:
        clock.progress(f"tool {tool.name}")
        start = time.perf_counter()
        try:
            found = tool.run(case)
        except Exception as fault:  # the edge of a tool: its findings become "not assessed", in the open
            if os.environ.get("TOMOSCRIBE_DEBUG"):
                raise
            note = f"the tool failed: {type(fault).__name__}"
            found = [
                Search(tool=tool.name, finding=key, covered=0.0, failed=("tool_failed",), note=note)
                for key in tool.observes
            ]
        return found, round(time.perf_counter() - start, 3)

    flipped = laterality(case).verdict == "contradicted"
    with clock.step("tools"), ThreadPoolExecutor(max_workers=WORKERS) as pool:
        for tool, (found, seconds) in zip(tools.values(), pool.map(run, tools.values()), strict=True):
            clock.seconds[f"tool {tool.name}"] = seconds
            for record in found:
                record = without_withheld(record, case.volume.scan.limits)
                case.ledger.add(without_side(record) if flipped else record)


def compare_with(case: Case, path: Path, tools: dict[str, Tool], clock: Clock) -> Prior | None:
    """Read a prior, lay it onto the case, and say what became of each finding; None when it cannot be aligned.

    Raises:
        IntakeError: the prior is refused; the message names it.
        UsageError: the prior is the scan itself.
    """
    from vlm.anatomy.registration import register  # brings SimpleITK and scipy.signal, which only a prior needs

    with clock.step("prior"):
        try:
            case.prior = Case(read(path).volume)
        except IntakeError as error:
            raise error.of("the prior") from None
        if content_hash(case.prior.volume) == content_hash(case.volume):
            raise UsageError("E_USAGE: --prior is the scan itself, expected an earlier one.")
        run_tools(case.prior, tools, Clock(clock.progress))
        alignment = register(case, case.prior)
    accepted = alignment is not None and alignment.accepted
    return compare(case, case.prior, alignment, load_vocabulary()) if alignment and accepted else None


def draft(case: Case, facts: ScanFacts, prior: Prior | None) -> list[Sentence]:
    """Word the ledger and check every sentence."""
    ledger = case.ledger
    drafts = compose(ledger, facts, prior=prior, prior_given=case.prior is not None)
    technique = ((float(facts.slices), ""), (float(f"{facts.step_mm:.3g}"), "mm"))
    context = Context(prior=prior, technique=technique)
    return checked(drafts, ledger, context=context, fill=lambda names: fill_omissions(ledger, names))


def fill_omissions(ledger: Ledger, names: Sequence[str]) -> list[Draft]:
    """A sentence for each present observation that the writer left out; doubts stand under "To review"."""
    writer = Wording(ledger)
    missed = {name: seen for name in names if isinstance(seen := ledger[name], Observation)}
    return [
        writer.draft(writer.vocabulary.section_of(seen.finding), writer.phrases.pattern(seen.finding, "present"), name)
        for name, seen in missed.items()
        if seen.presence == "present"
    ]


def assemble(
    scan: ReadScan, case: Case, tools: dict[str, Tool], sentences: list[Sentence], seconds: dict[str, float]
) -> Report:
    """Put a report together: what was read, what was said, what it rests on, what was off."""
    volume = case.volume
    return Report(
        case=case_record(volume),
        intake=tuple(IntakeRecord(code=n.code, severity=n.severity, message=n.message) for n in scan.notes),
        capabilities_off=capabilities_off(case),
        sentences=tuple(sentences),
        evidence=evidence(case, tools),
        provenance=provenance(volume, tools),
        timings_s=seconds,
    )


def evidence(case: Case, tools: dict[str, Tool]) -> dict[str, EvidenceRecord]:
    """The ledger as report.json holds it."""
    records = {}
    for name, record in case.ledger:
        mask = record.region.mask if record.region else None
        known = tools.get(record.tool)
        records[name] = evidence_record(
            record,
            version=known.version if known else version("tomoscribe"),
            mask_file=f"masks/{mask}.nii.gz" if mask else None,
        )
    return records


def case_record(volume: Volume) -> CaseRecord:
    scan, grid = volume.scan, volume.grid
    affine = tuple((float(a), float(b), float(c), float(d)) for a, b, c, d in np.round(grid.affine, 6))
    x_mm, y_mm, z_mm = (round(step, 6) for step in grid.spacing_mm)
    return CaseRecord(
        id=content_hash(volume)[:16],
        source=scan.source,
        scan={
            "series": scan.series,
            "kernel": scan.kernel,
            "contrast": scan.contrast,
            "slice_thickness_mm": scan.slice_thickness_mm,
            "tube_voltage_kv": scan.tube_voltage_kv,
            "exposure_mas": scan.exposure_mas,
            "tilt_degrees": scan.tilt_degrees,
            "patient_position": scan.patient_position,
            "lossy": scan.lossy,
        },
        geometry=Geometry(shape=grid.shape, spacing_mm=(x_mm, y_mm, z_mm), affine=affine),
    )


def content_hash(volume: Volume) -> str:
    """sha256 over voxels and geometry, hex: the same scan has the same id wherever it lies."""
    digest = hashlib.sha256(np.ascontiguousarray(np.round(volume.grid.affine, 6)).tobytes())
    digest.update(np.ascontiguousarray(volume.hu.T).data)
    return digest.hexdigest()


def capabilities_off(case: Case) -> tuple[CapabilityOff, ...]:
    """What the product can or will do that had no part in this report."""
    failed = sorted({s.tool for s in case.ledger.searches().values() if "tool_failed" in s.failed})
    off = [
        CapabilityOff(
            capability=f"tool {name}",
            reason="it failed on this scan",
            remedy="Report it with the output of `tomoscribe doctor`.",
        )
        for name in failed
    ]
    sides = laterality(case)
    if sides.verdict == "contradicted":
        against = ", ".join(sign.says for sign in sides.signs if sign.vote < 0)
        off.append(
            CapabilityOff(
                capability="left and right",
                reason=f"the anatomy contradicts the header: {against}",
                remedy="Check how the scan was exported, or for situs inversus.",
            )
        )
    off.append(
        CapabilityOff(
            capability="image encoder, language model, similar cases",
            reason="not part of this version",
            remedy="Nothing to do; the report is made from measurements alone.",
        )
    )
    return tuple(off)


def provenance(volume: Volume, tools: dict[str, Tool]) -> dict[str, object]:
    """What made the report: versions, the input's hash, the writer and the tools."""
    return {
        **{name: version(name) for name in PACKAGES},
        "python": platform.python_version(),
        "input_sha256": content_hash(volume),
        "writer": "compose",
        "tools": {name: tool.version for name, tool in tools.items()},
    }
