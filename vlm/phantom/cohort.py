"""A cohort on disk: many scans whose truth is known, drawn in parallel, resumable, the same bytes from the same words.

COHORT/cohort.json    what was asked for
COHORT/cohort.csv     a line a case: its report and CT-RATE's 18 labels
COHORT/case-0000/     scan/, truth.json, findings.nii.gz, labels.nii.gz, report.txt; a prior is prior/, prior.truth.json
COHORT/hosts/1/       an untouched scan that findings were put into

A case is drawn in a folder beside its place and renamed when it is whole: what is there is whole, and a
second run draws what is missing.
"""

from __future__ import annotations

import csv
import functools
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

from vlm.errors import TomoscribeError, UsageError
from vlm.phantom.body import PHASES, Phase
from vlm.phantom.dictation import dictate
from vlm.phantom.plans import PREVALENCES, Plan, not_drawn, plan, table
from vlm.phantom.seeds import Split, seeds
from vlm.workers import in_parallel

Progress = Callable[[int, int], None]  # cases that are there, cases in all
SCHEMA = "tomoscribe-cohort/1"
CLEAR_EVERY = 8  # of a graded cohort, one case in so many holds nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a cohort is asked to be. Another count makes it longer; anything else makes another cohort."""

    count: int
    prevalence: str = "ct-rate"
    split: Split = "test"
    first: int = 0  # of the seeds of the split
    phase: str | None = None
    prior: bool = False
    file_format: str = "nifti"
    spacing_mm: tuple[float, float, float] | None = None  # of every body; as routine scans vary when None
    hosts: int = 0  # scans that findings are put into; 0: bodies are drawn


@dataclass(frozen=True, slots=True)
class Made:
    """How a run ended."""

    cases: int
    failed: dict[str, str]  # case: why it is not there


def write_cohort(
    out: Path, settings: Settings, *, scans: Sequence[Path] = (), workers: int = 0, progress: Progress | None = None
) -> Made:
    """Draw what a cohort lacks.

    Args:
        scans: put findings into these, in turn, instead of drawing bodies.
        workers: processes; one a processor when 0.

    Raises:
        UsageError: a setting is wrong, or ``out`` holds something else.
        IntakeError: one of the scans is refused.
    """
    settings = replace(settings, hosts=len(scans))
    _check(out, settings)
    _write_hosts(out, settings, scans)
    numbers = [number for number in range(settings.count) if not (out / name_of(number)).is_dir()]
    numbers.sort(key=lambda number: (number % settings.hosts if settings.hosts else 0, number))
    done, failed = settings.count - len(numbers), {}
    if progress:
        progress(done, settings.count)
    for number, reason in in_parallel(functools.partial(make_case, out, settings), numbers, workers=workers):
        if reason:
            failed[name_of(number)] = reason
        done += 1
        if progress:
            progress(done, settings.count)
    _write_table(out, settings)
    return Made(cases=settings.count - len(failed), failed=dict(sorted(failed.items())))


def name_of(number: int) -> str:
    """The folder of a case."""
    return f"case-{number:04d}"


def _check(out: Path, settings: Settings) -> None:
    """Refuse wrong settings and a folder that holds something else; else write cohort.json."""
    seeds(settings.split, settings.count, first=settings.first)
    if settings.prevalence not in PREVALENCES:
        raise UsageError(f"E_USAGE: --prevalence is {settings.prevalence!r}, expected one of {', '.join(PREVALENCES)}.")
    if settings.phase not in (None, *PHASES):
        raise UsageError(f"E_USAGE: --phase is {settings.phase!r}, expected one of {', '.join(PHASES)}.")
    if settings.count < 1:
        raise UsageError(f"E_USAGE: --cohort is {settings.count}, expected at least 1.")
    if settings.hosts and settings.prior:
        raise UsageError("E_USAGE: --prior with --into is for one scan, expected no --cohort with them. Leave one out.")
    document = {
        "schema": SCHEMA,
        "settings": asdict(settings),
        "prevalence_source": table()["source"] if settings.prevalence == "ct-rate" else "graded sizes",
        "not_drawn": list(not_drawn(drawable(settings))) if settings.prevalence == "ct-rate" else [],
    }
    path = out / "cohort.json"
    text = json.dumps(document, indent=1) + "\n"
    if out.is_dir() and any(out.iterdir()):
        if not path.is_file():
            raise UsageError(
                "E_USAGE: OUT holds files that are no cohort, expected an empty folder. Name a new folder."
            )
        before = json.loads(path.read_text(encoding="utf-8"))["settings"]
        now = json.loads(text)["settings"]
        if before | {"count": 0} != now | {"count": 0}:
            other = ", ".join(key for key in now if key != "count" and now[key] != before.get(key))
            raise UsageError(
                f"E_USAGE: OUT holds a cohort with another {other}. Ask for the same, or name a new folder."
            )
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def drawable(settings: Settings) -> frozenset[str]:
    """Keys of the findings that this kind of cohort can hold."""
    from vlm.phantom.body.findings import FINDINGS
    from vlm.phantom.into import KINDS

    return KINDS if settings.hosts else frozenset(FINDINGS)


def plan_of(settings: Settings, number: int) -> Plan:
    """The plan of a case."""
    (seed,) = seeds(settings.split, 1, first=settings.first + number)
    made = plan(
        settings.prevalence,
        seed,
        known=drawable(settings),
        where="scan" if settings.hosts else "body",
        phase=settings.phase,
        clear=number % CLEAR_EVERY == CLEAR_EVERY - 1,
    )
    return made if settings.spacing_mm is None else replace(made, spacing_mm=settings.spacing_mm)


def make_case(out: Path, settings: Settings, number: int) -> str:
    """Draw one case; gives back why it could not be drawn, or nothing."""
    place = out / name_of(number)
    staging = out / f".{place.name}.new"
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        wanted = plan_of(settings, number)
        if settings.hosts:
            _put_into(staging, out, settings, number, wanted)
        else:
            _draw(staging, settings, wanted)
        truth = json.loads((staging / "truth.json").read_text(encoding="utf-8"))
        (staging / "report.txt").write_text(dictate(truth, seed=wanted.seed), encoding="utf-8")
        staging.rename(place)
    except (TomoscribeError, ValueError) as error:
        return str(error)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return ""


def _draw(folder: Path, settings: Settings, wanted: Plan) -> None:
    """A body, its prior when asked for, and the report."""
    from vlm.phantom.body import body, numbered
    from vlm.phantom.files import Place
    from vlm.phantom.prior import VISIT, changes, current, earlier, with_changes
    from vlm.phantom.sample import save_body

    wishes, phase = numbered(wanted.findings), cast(Phase, wanted.phase)
    if settings.prior:
        wishes = with_changes(wishes, wanted.seed)
    scanned = body(
        seed=wanted.seed, phase=phase, region=wanted.region, spacing_mm=wanted.spacing_mm, findings=current(wishes),
        skip_impossible=True,
    )  # fmt: skip
    said: dict[str, Any] = {"split": settings.split, "asked": asdict(wanted)}
    if settings.prior:
        before = earlier(scanned, wishes, phase)
        save_body(before, Place(folder / "prior", "prior."), said, file_format=settings.file_format, visit=VISIT)
        said |= {"prior": "prior", "changes": changes(scanned.truth, before.truth)}
    said |= {"labels": labels_of([truth.finding for truth in scanned.truth])}
    save_body(scanned, Place(folder / "scan", ""), said, file_format=settings.file_format)


def _put_into(folder: Path, out: Path, settings: Settings, number: int, wanted: Plan) -> None:
    """An untouched scan with findings put in."""
    from vlm.phantom.files import Place
    from vlm.phantom.implant import implant
    from vlm.phantom.into import save_implants
    from vlm.phantom.into import wanted as read_words

    host = number % settings.hosts + 1
    refused: list[str] = []
    made = implant(
        _host(out / "hosts" / str(host) / "scan"), [read_words(words) for words in wanted.findings], seed=wanted.seed,
        refused=refused,
    )  # fmt: skip
    said = {
        "split": settings.split, "asked": asdict(wanted), "host": str(host),
        "labels": labels_of([truth.finding for truth in made.truth]), "refused": refused,
    }  # fmt: skip
    place = Place(folder / "scan", "")
    save_implants(made, place, said, seed=wanted.seed, file_format=settings.file_format)


@functools.lru_cache(maxsize=1)
def _host(path: Path) -> Any:
    """An untouched scan as an open case: its lungs are found once for the cases that follow one another."""
    from vlm.ct.read import read
    from vlm.evidence import Case

    return Case(read(path).volume)


def _write_hosts(out: Path, settings: Settings, scans: Sequence[Path]) -> None:
    """Copy pixels and geometry of the scans, nothing of their headers, so that the cohort stands by itself."""
    from vlm.ct.read import read
    from vlm.phantom.files import Place, save_scan

    for number, path in enumerate(scans, 1):
        place, staging = out / "hosts" / str(number), out / "hosts" / f".{number}.new"
        if place.is_dir():
            continue
        shutil.rmtree(staging, ignore_errors=True)
        (staging / "scan").mkdir(parents=True)
        save_scan(read(path).volume, Place(staging / "scan", ""), seed=number, file_format=settings.file_format)
        staging.rename(place)


def labels_of(findings: Sequence[str]) -> dict[str, int]:
    """CT-RATE's 18 labels of the findings that are there."""
    from vlm.findings.mentions import Mention
    from vlm.findings.packs import load_pack

    seen = [Mention(finding=finding, presence="present", span=(0, 0), text="") for finding in findings]
    return load_pack("ct-rate-18").row(seen)


def _write_table(out: Path, settings: Settings) -> None:
    """cohort.csv: a line a case with its report and its labels."""
    rows = []
    for number in range(settings.count):
        folder = out / name_of(number)
        if folder.is_dir():
            truth = json.loads((folder / "truth.json").read_text(encoding="utf-8"))
            text = (folder / "report.txt").read_text(encoding="utf-8")
            rows.append({"case_id": folder.name, "seed": truth["asked"]["seed"], "report": text, **truth["labels"]})
    with (out / "cohort.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]) if rows else ["case_id"])
        writer.writeheader()
        writer.writerows(rows)
