"""The conductor: one function that turns a path into a checked report.

The command line, the page, jobs and cohorts all call ``read_scan``. It strings the steps
together and decides nothing about findings.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from app.comparing import Comparison, compare_with, order_of, read_prior
from app.early import Early, Teller
from app.impressions import impressions_of, reviewed
from app.records import anatomy_record, capabilities_off, case_record, evidence, provenance
from app.remembering import Memory, difference, remember
from app.running import Clock, Progress, find_anatomy, run_tools, silent
from app.writing import Writer
from vlm.anatomy.contrast import contrast
from vlm.anatomy.coverage import coverage
from vlm.anatomy.engines.registry import named
from vlm.anatomy.laterality import laterality
from vlm.anatomy.structures import structures, use
from vlm.ct import ReadScan, Volume, read
from vlm.evidence import Case, Ledger, Observation
from vlm.grounding import Context, Prior
from vlm.language.compose import ScanFacts, compose
from vlm.language.drafting import checked
from vlm.language.wording import Wording
from vlm.report import Draft, IntakeRecord, Report, Sentence
from vlm.tools import load_tools

REGIONS = ("head", "neck", "chest", "upper_abdomen", "pelvis")  # what a report calls a scan by
MOSTLY = 0.5  # covered share from which a region belongs to the scan's name


@dataclass
class Reading:
    """A finished reading: the report, the case it is about, which section tells which evidence, and its prior."""

    report: Report
    case: Case
    sections: dict[str, str]
    memory: Memory
    comparison: Comparison | None
    writer: Writer

    @property
    def prior(self) -> Prior | None:
        """The earlier scan and what became of its findings; None without one, or where it could not be aligned."""
        return None if self.comparison is None else self.comparison.changes


def read_scan(
    path: Path,
    *,
    series: str | None = None,
    prior: Path | Volume | None = None,
    prior_series: str | None = None,
    library: Path | None = None,
    patient: str = "",
    anatomy: str | None = None,
    writer: Writer | None = None,
    impressions: bool = False,
    progress: Progress = silent,
    opened: Callable[[Volume], object] | None = None,
    early: Callable[[Early], object] | None = None,
) -> Reading:
    """Read a CT and draft its checked report; nothing is written.

    Args:
        path: DICOM folder or file, zip, or NIfTI.
        series: UID or pseudonym of the series to read where there are several.
        prior: an earlier scan of the same patient, to compare with; a path, or read already.
        prior_series: the series of the prior to read.
        library: the folder of a case library; None: without similar cases.
        patient: whose cases never come back from the library.
        anatomy: the engine to prefer for structures; None: the best measured one for each.
        writer: who words the report; None: the composer alone.
        impressions: whether a language model says what it sees in the image, beside the tools; never evidence.
        progress: called with the name of each step.
        opened: called with the volume as soon as it is there, before anything is looked for.
        early: called with the sections whose tools have ended, each time that another one stands.

    Raises:
        IntakeError: the scan or the prior is refused; the message says why and what to do.
        UsageError: the prior is the scan itself, or a later one; or the engine cannot run.
    """
    engine = named(anatomy) if anatomy else None
    clock, writer = Clock(progress), writer or Writer()
    with clock.step("read"), ThreadPoolExecutor(max_workers=1) as beside:
        importing = beside.submit(load_tools)
        earlier = None if prior is None else read_prior(prior, prior_series)  # a wrong one is told before the long part
        scan = read(path, series=series)
        order = None if earlier is None else order_of(scan.volume, earlier.volume)
        tools = importing.result()
    case = Case(scan.volume)
    if opened is not None:
        opened(scan.volume)
    writer.begin()
    with clock.step("anatomy"):
        if engine is not None:
            use(case, engine)
            structures(case)  # what is wrong with the user's engine is told here, not as tools that fail
        find_anatomy(case)
        facts = scan_facts(case)
    if early is None:
        failures = run_tools(case, tools, clock)
    else:
        teller = Teller(tools, lambda ledger: draft(ledger, facts, None, Writer()), early)
        teller.hear({})
        failures = run_tools(case, tools, clock, teller.hear)
    comparison = None if earlier is None or order is None else compare_with(case, earlier, order, tools, clock)
    with clock.step("library"):
        memory = remember(case, tools, library, patient=patient)
    with clock.step("write"):
        sentences = draft(case.ledger, facts, comparison, writer)
    opinion = None
    if impressions:
        with clock.step("impressions"):
            opinion = impressions_of(case, case.ledger)
            sentences = reviewed(sentences, opinion)
    report = Report(
        case=case_record(scan.volume),
        intake=intake(scan),
        capabilities_off=capabilities_off(
            case, failures, writer.off, memory.off or memory.images_off, opinion.off if opinion else None
        ),
        sentences=tuple(sentences),
        evidence=evidence(case, tools) | memory.records(len(case.ledger)),
        provenance=provenance(scan.volume, tools, comparison.record if comparison else None)
        | {"anatomy": anatomy_record(case)}
        | {"language": writer.provenance}
        | ({} if opinion is None else {"impressions": opinion.record()})
        | ({} if memory.off else {"library": memory.provenance()}),
        timings_s=clock.seconds,
    )
    sections = {name: s.section for s in reversed(sentences) for name in s.cites}
    return Reading(report=report, case=case, sections=sections, memory=memory, comparison=comparison, writer=writer)


def what_a_library_changes(reading: Reading, library: Path | None, *, patient: str = "") -> list[str]:
    """What a reading made without a library would be with it, line by line; the reading's ledger may grow by checks."""
    memory = remember(reading.case, load_tools(), library, patient=patient)
    if memory.off or library is None:
        return [f"With a library: {memory.off.reason if memory.off else 'there is none'}."]
    sentences = draft(reading.case.ledger, scan_facts(reading.case), reading.comparison, reading.writer)
    changed = difference(reading.report.sentences, sentences)
    checks = [f"  check: {c.proposal.finding}, {c.outcome}" for c in memory.checks]
    told = (
        f"With the library: {len(memory.similar)} similar cases, {len(checks)} checks, {len(changed)} sentences change."
    )
    return [told, *checks, *(f"  {line}" for line in changed)]


def scan_facts(case: Case) -> ScanFacts:
    """What the technique sentence may say."""
    grid = case.volume.grid
    return ScanFacts(
        slices=grid.shape[2],
        step_mm=grid.spacing_mm[2],
        kernel=case.volume.scan.kernel,
        contrast=contrast(case).enhanced,
        regions=tuple(site for site in REGIONS if coverage(case).of(site) >= MOSTLY),
        sides_confirmed=laterality(case).verdict != "contradicted",
    )


def draft(ledger: Ledger, facts: ScanFacts, comparison: Comparison | None, writer: Writer) -> list[Sentence]:
    """Compose what the ledger says, let the writer word it, and check every sentence."""
    changes = comparison.changes if comparison else None
    drafts = compose(
        ledger,
        facts,
        prior=changes,
        prior_given=comparison is not None,
        prior_part=comparison is not None and comparison.part,
    )
    technique = ((float(facts.slices), ""), (float(f"{facts.step_mm:.3g}"), "mm"))
    context = Context(prior=changes, technique=technique)
    drafts = writer.write(drafts, ledger, context)
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


def intake(scan: ReadScan) -> tuple[IntakeRecord, ...]:
    """Limits and repairs on the way in, as report.json holds them."""
    return tuple(IntakeRecord(code=n.code, severity=n.severity, message=n.message) for n in scan.notes)
