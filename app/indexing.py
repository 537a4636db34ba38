"""Studies become cases of a library: in parallel, resumable, one bad study reported and skipped."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from app.encoding import IMAGE_SPACE, cached, of_case, of_words, tower
from app.export.key_images import window_for, write_key_images
from app.export.thumbnails import thumbnail
from app.reopen import ledger_of
from app.store import data_folder
from app.studies import Study
from retrieval.cases import PREVIEW, THUMBNAIL, CaseVector, NewCase
from retrieval.facts import from_ledger, phase_in, regions_in, regions_of
from retrieval.library import CaseLibrary
from vlm.ct.read import read
from vlm.errors import TomoscribeError
from vlm.evidence import Case
from vlm.report import FINDINGS_SECTIONS, SECTIONS, Report
from vlm.scratch import scratch_folder
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
    encoded: int = 0  # of those added, with vectors of their images


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
    ways: Ways | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Summary:
    """Put studies into a library, each whole or not at all; what is there already is left.

    Args:
        library: where they go.
        studies: what ``find_studies`` found.
        ways: what is made of each; its report's findings alone when None.
        workers: processes that prepare cases; one process writes.
        progress: called with how many are done, and of how many.
    """
    summary, ways = Summary(), ways or Ways()
    waiting = (s for s in studies if not _held(library, s, ways, summary))
    prepared = in_parallel(partial(prepare, ways=ways), waiting, workers=workers)
    for done, (study, case) in enumerate(prepared, start=1):
        if isinstance(case, str):
            summary.skipped.append({"study": study.label, "reason": case})
        else:
            library.add(case)
            summary.added += 1
            summary.encoded += any(vector.kind == "scan" for vector in case.vectors)
        if progress:
            progress(done + summary.held, len(studies))
    return summary


@dataclass(frozen=True, slots=True, kw_only=True)
class Ways:
    """What is made of each study beside its report's findings."""

    measure: bool = False  # read each scan with the tools, where a scan is there and no report of ours
    encode: bool = False  # vectors of images and sentences by the encoders, too
    encoder: Path | None = None  # a checkpoint instead of the embedded encoder
    adapter: Path | None = None

    @property
    def named(self) -> str:
        """The encoder that is not the embedded one, in words; a case encoded by another is put in anew."""
        return " ".join(path.name for path in (self.encoder, self.adapter) if path is not None)


def _stamp(study: Study, ways: Ways) -> str:
    encoded = f" encoded {ways.named}".rstrip() if ways.encode else ""
    return f"{study.stamp} {'measured' if ways.measure else ''}{encoded}"


def _space(ways: Ways) -> str:
    """The space of the vectors that are made; the embedded encoder's is known without loading it."""
    return str(tower(ways.encoder, ways.adapter).identity) if ways.named else IMAGE_SPACE


def _held(library: CaseLibrary, study: Study, ways: Ways, summary: Summary) -> bool:
    held = library.holds(study.patient, study.study, study.series, _stamp(study, ways))
    summary.held += held
    return held


def prepare(study: Study, ways: Ways) -> NewCase | str:
    """The case of a study, or in one line why there is none."""
    try:
        if study.reading is not None:
            case = _of_reading(study, ways)
        elif ways.measure and study.volume is not None:
            case = _measured(study, ways)
        elif study.text:
            case = _of_text(study, ways)
        else:
            return "it has no report, and its scan is not read without --measure"
        return replace(case, vectors=(*case.vectors, *of_words(case.report))) if ways.encode else case
    except TomoscribeError as error:
        return str(error)
    except Exception as fault:  # the edge of one study: the others go on
        if os.environ.get("TOMOSCRIBE_DEBUG"):
            raise
        return f"{type(fault).__name__}: it cannot be read"


def _of_text(study: Study, ways: Ways) -> NewCase:
    """A case of somebody's report; with --encode its scan is opened for its image alone."""
    content, vectors = "", tuple[CaseVector, ...]()
    if ways.encode and study.volume is not None:
        opened = Case(read(study.volume).volume)
        content, vectors = opened.volume.sha256, of_case(opened, tower(ways.encoder, ways.adapter))
    return NewCase(
        patient=study.patient, study=study.study, series=study.series, source=study.source, report=study.text,
        content=content, regions=regions_in(study.text), phase=phase_in(study.text), age=study.age, sex=study.sex,
        date=study.date, vectors=vectors, stamp=_stamp(study, ways),
    )  # fmt: skip


def _of_reading(study: Study, ways: Ways) -> NewCase:
    """A case of a report of ours; its scan is not at hand, but it may have been encoded when it was read."""
    assert study.reading is not None
    report = Report.model_validate_json((study.reading / "report.json").read_text(encoding="utf-8"))
    pictures = {}
    for key in sorted((study.reading / "key").glob("*.png"))[:1]:
        pictures[THUMBNAIL] = thumbnail(key.read_bytes())
    if (kept := study.reading / "preview.nii").exists():  # of a reading that the page keeps
        pictures[PREVIEW] = gzip.compress(kept.read_bytes(), mtime=0)
    content = str(report.provenance.get("input_sha256", ""))
    vectors = cached(content, [_space(ways)]) if ways.encode else ()
    return case_of(study, report, ways, pictures=pictures, vectors=vectors)


def _measured(study: Study, ways: Ways) -> NewCase:
    """A case read from its scan by the tools, with a report of others beside it where there is one."""
    from app.reading import read_scan

    assert study.volume is not None
    reading = read_scan(study.volume)
    vectors = of_case(reading.case, tower(ways.encoder, ways.adapter)) if ways.encode else ()
    return case_of(study, reading.report, ways, pictures=pictures_of(reading), vectors=vectors)


def pictures_of(reading: Reading) -> dict[str, bytes]:
    """What the library shows of a scan: the key image of its largest finding, small, and HU in blocks of 3 mm."""
    from app.page.scanned import PREVIEW_MM, nifti_of

    pictures = {PREVIEW: gzip.compress(nifti_of(reading.case.volume.coarse(target_mm=PREVIEW_MM)), mtime=0)}
    seen = [(name, o) for name, o in reading.case.ledger.observations().items() if o.region and o.region.mask]
    if seen:
        name, observation = max(seen, key=lambda entry: reading.case.masks[str(entry[1].region.mask)].volume_ml)  # type: ignore[union-attr]
        window = window_for(observation.finding, reading.sections.get(name, ""))
        with scratch_folder() as folder:
            marked = {name: (observation.region, window)}
            write_key_images(folder, reading.case.volume, reading.case.masks, marked)  # type: ignore[arg-type]
            pictures[THUMBNAIL] = thumbnail((folder / f"{name}.png").read_bytes())
    return pictures


def case_of(
    study: Study, report: Report, ways: Ways, *, pictures: dict[str, bytes], vectors: tuple[CaseVector, ...] = ()
) -> NewCase:
    """The case of a report of ours: what was measured, and the words of the study's own report where it has one."""
    ledger, drafted = ledger_of(report), drafted_text(report)
    text = study.text or drafted
    return NewCase(
        patient=study.patient, study=study.study, series=study.series, source=study.source, report=text,
        facts=from_ledger(ledger), content=str(report.provenance.get("input_sha256", "")), regions=regions_of(ledger),
        phase=phase_in(drafted) or phase_in(text), age=study.age, sex=study.sex, date=study.date, pictures=pictures,
        provenance={"tomoscribe": str(report.provenance.get("tomoscribe", "")),
                    "words": "others" if study.text else "ours"},
        vectors=vectors,
        stamp=_stamp(study, ways),
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
