"""Studies become cases of a library: in parallel, resumable, one bad study reported and skipped."""

from __future__ import annotations

import gzip
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.export.key_images import window_for, write_key_images
from app.export.thumbnails import thumbnail
from app.reopen import ledger_of
from app.store import data_folder
from app.studies import Study
from retrieval.facts import from_ledger, phase_in, regions_in, regions_of
from retrieval.library import PREVIEW, THUMBNAIL, CaseLibrary, NewCase
from vlm.errors import TomoscribeError
from vlm.report import FINDINGS_SECTIONS, SECTIONS, Report
from vlm.workers import in_parallel

if TYPE_CHECKING:
    from app.reading import Reading

TOLD = ("technique", *FINDINGS_SECTIONS, "impression")  # sections that say what a case shows


@dataclass
class Summary:
    """What an ``index add`` did."""

    added: int = 0
    held: int = 0  # there already, unchanged
    skipped: list[dict[str, str]] = field(default_factory=list)  # study and reason, one a study


def library_folder(given: Path | None) -> Path:
    """Where the library lies: as given, as TOMOSCRIBE_LIBRARY says, or in the user's data folder."""
    if given is not None:
        return given
    named = os.environ.get("TOMOSCRIBE_LIBRARY")
    return Path(named) if named else data_folder() / "library"


def add_studies(
    library: CaseLibrary,
    studies: Sequence[Study],
    *,
    measure: bool = False,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Put studies into a library, each whole or not at all; what is there already is left.

    Args:
        library: where they go.
        studies: what ``find_studies`` found.
        measure: read each scan with the tools, where a scan is there and no report of ours.
        workers: processes that prepare cases; one process writes.
        progress: called with how many are done, and of how many.
    """
    summary = Summary()
    waiting = (s for s in studies if not _held(library, s, measure, summary))
    prepared = in_parallel(partial(prepare, measure=measure), waiting, workers=workers)
    for done, (study, case) in enumerate(prepared, start=1):
        if isinstance(case, str):
            summary.skipped.append({"study": study.label, "reason": case})
        else:
            library.add(case)
            summary.added += 1
        if progress:
            progress(done + summary.held, len(studies))
    return summary


def _stamp(study: Study, measure: bool) -> str:
    return f"{study.stamp} {'measured' if measure else ''}"


def _held(library: CaseLibrary, study: Study, measure: bool, summary: Summary) -> bool:
    held = library.holds(study.patient, study.study, study.series, _stamp(study, measure))
    summary.held += held
    return held


def prepare(study: Study, measure: bool) -> NewCase | str:
    """The case of a study, or in one line why there is none."""
    try:
        if study.reading is not None:
            return _of_reading(study, measure)
        if measure and study.volume is not None:
            return _measured(study)
        if not study.text:
            return "it has no report, and its scan is not read without --measure"
        return _of_text(study, measure)
    except TomoscribeError as error:
        return str(error)
    except Exception as fault:  # the edge of one study: the others go on
        if os.environ.get("TOMOSCRIBE_DEBUG"):
            raise
        return f"{type(fault).__name__}: it cannot be read"


def _of_text(study: Study, measure: bool) -> NewCase:
    return NewCase(
        patient=study.patient, study=study.study, series=study.series, source=study.source, report=study.text,
        regions=regions_in(study.text), phase=phase_in(study.text), age=study.age, sex=study.sex, date=study.date,
        stamp=_stamp(study, measure),
    )  # fmt: skip


def _of_reading(study: Study, measure: bool) -> NewCase:
    assert study.reading is not None
    report = Report.model_validate_json((study.reading / "report.json").read_text(encoding="utf-8"))
    pictures = {}
    for key in sorted((study.reading / "key").glob("*.png"))[:1]:
        pictures[THUMBNAIL] = thumbnail(key.read_bytes())
    if (kept := study.reading / "preview.nii").exists():  # of a reading that the page keeps
        pictures[PREVIEW] = gzip.compress(kept.read_bytes(), mtime=0)
    return case_of(study, report, measure=measure, pictures=pictures)


def _measured(study: Study) -> NewCase:
    """A case read from its scan by the tools, with a report of others beside it where there is one."""
    from app.reading import read_scan

    assert study.volume is not None
    reading = read_scan(study.volume)
    return case_of(study, reading.report, measure=True, pictures=pictures_of(reading))


def pictures_of(reading: Reading) -> dict[str, bytes]:
    """What the library shows of a scan: the key image of its largest finding, small, and HU in blocks of 3 mm."""
    from app.page.scanned import PREVIEW_MM, nifti_of

    pictures = {PREVIEW: gzip.compress(nifti_of(reading.case.volume.coarse(target_mm=PREVIEW_MM)), mtime=0)}
    seen = [(name, o) for name, o in reading.case.ledger.observations().items() if o.region and o.region.mask]
    if seen:
        name, observation = max(seen, key=lambda entry: reading.case.masks[str(entry[1].region.mask)].volume_ml)  # type: ignore[union-attr]
        window = window_for(observation.finding, reading.sections.get(name, ""))
        with tempfile.TemporaryDirectory() as folder:
            marked = {name: (observation.region, window)}
            write_key_images(Path(folder), reading.case.volume, reading.case.masks, marked)  # type: ignore[arg-type]
            pictures[THUMBNAIL] = thumbnail((Path(folder) / f"{name}.png").read_bytes())
    return pictures


def case_of(study: Study, report: Report, *, measure: bool, pictures: dict[str, bytes]) -> NewCase:
    """The case of a report of ours: what was measured, and the words of the study's own report where it has one."""
    ledger, drafted = ledger_of(report), drafted_text(report)
    text = study.text or drafted
    return NewCase(
        patient=study.patient, study=study.study, series=study.series, source=study.source, report=text,
        facts=from_ledger(ledger), content=str(report.provenance.get("input_sha256", "")), regions=regions_of(ledger),
        phase=phase_in(drafted) or phase_in(text), age=study.age, sex=study.sex, date=study.date, pictures=pictures,
        provenance={"tomoscribe": str(report.provenance.get("tomoscribe", "")),
                    "words": "others" if study.text else "ours"},
        stamp=_stamp(study, measure),
        own_words=not study.text,
    )  # fmt: skip


def drafted_text(report: Report) -> str:
    """The words of a report of ours that say what was seen, by section."""
    lines = []
    for key in TOLD:
        if sentences := report.section(key):
            head = SECTIONS[key] if key in ("technique", "impression") else "Findings"
            lines.append(f"{head}: {' '.join(s.text for s in sentences)}")
    return "\n".join(lines)
