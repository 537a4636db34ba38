"""Which studies lie in a folder or a table: our own reports, CT-RATE, Merlin, or any CSV with their columns.

A study is found without opening a scan; ``app.indexing`` makes a case of it.
"""

from __future__ import annotations

import csv
import datetime
import gzip
import hashlib
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

from vlm.errors import UsageError, shown

# What a column means, by the names that public data sets and hospitals give it; lower case, without separators.
COLUMNS: Mapping[str, tuple[str, ...]] = {
    "scan": (
        "volumename",
        "volume",
        "path",
        "file",
        "image",
        "scan",
        "caseid",
        "studyid",
        "accessionno",
        "accession",
        "id",
    ),
    "patient": ("patient", "patientid", "subject", "subjectid", "seed"),
    "study": ("study", "studyinstanceuid", "studyid", "accessionno", "accession"),
    "findings": ("findingsen", "findings", "report", "text", "reporttext"),
    "impression": ("impressionsen", "impressions", "impression", "conclusion"),
    "technique": ("techniqueen", "technique", "protocol"),
    "age": ("patientage", "age"),
    "sex": ("patientsex", "sex", "gender"),
    "date": ("studydate", "date"),
}
CT_RATE = re.compile(r"(?P<patient>(?:train|valid)_\d+)_(?P<scan>[a-z])_(?P<series>\d+)(?:\.nii(?:\.gz)?)?$")
LABEL = re.compile(r"-?1(\.0)?|0(\.0)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """One study that may become a case. Names are as they were given; the library keeps their hashes."""

    patient: str
    study: str
    series: str = ""
    source: str  # "tomoscribe", "ct-rate", "merlin" or "table"
    text: str = ""  # the report as its source has it
    reading: Path | None = None  # a folder with a report.json of ours
    volume: Path | None = None  # the scan itself
    age: int | None = None
    sex: str | None = None
    date: datetime.date | None = None
    labels: tuple[tuple[str, int], ...] = ()  # columns that hold 1, 0, or -1 for "not known", as the table names them

    @property
    def label(self) -> str:
        """What a message may call it: a file's name is the user's own, a patient's name is not."""
        path = self.reading or self.volume
        return shown(path.name) if path else f"study {hashlib.sha256(self.study.encode()).hexdigest()[:8]}"

    @property
    def stamp(self) -> str:
        """Differs when the study's input does."""
        stamps = [f"{self.text} {self.age} {self.sex} {self.date}"]
        for path in (self.reading / "report.json" if self.reading else None, self.volume):
            if path is not None and path.exists():
                found = path.stat()
                stamps.append(f"{found.st_size} {found.st_mtime_ns}")
        return hashlib.sha256(" ".join(stamps).encode()).hexdigest()


def find_studies(path: Path) -> list[Study]:
    """Every study of a folder or a CSV, in a fixed order.

    Raises:
        UsageError: there is none, and what was looked for.
    """
    if path.is_file():
        return list(_from_table(path, path.parent))
    if not path.is_dir():
        raise UsageError(f"E_USAGE: {shown(path.name)} is missing, expected a folder or a CSV file.")
    own = sorted(path.rglob("report.json"))
    studies = [_own(found.parent) for found in own]
    tables = [p for p in sorted(path.rglob("*")) if p.name.lower().endswith((".csv", ".csv.gz"))]
    readable = [p for p in tables if {"scan", "findings"} <= set(_columns(_header(p)))]
    about = _about([p for p in tables if p not in readable])
    for table in readable:
        studies += [_joined(study, about) for study in _from_table(table, path)]
    if not studies:
        raise UsageError(
            f"E_USAGE: {shown(path.name)} holds no report.json and no CSV with a scan and a findings column, "
            "expected our own reports, CT-RATE's or Merlin's layout, or a CSV."
        )
    return studies


def _own(folder: Path) -> Study:
    """A report of ours; whose it is cannot be told from it, so each is a patient of its own until a table says more."""
    content = _sha(folder / "report.json")
    return Study(patient=f"report {content}", study=content, source="tomoscribe", reading=folder)


def _sha(path: Path) -> str:
    found = re.search(r'"input_sha256": "([0-9a-f]{64})"', path.read_text(encoding="utf-8", errors="replace"))
    return found[1] if found else hashlib.sha256(path.read_bytes()).hexdigest()


def _from_table(path: Path, root: Path) -> Iterator[Study]:
    """The studies of one CSV; volumes are looked for below ``root``."""
    volumes: dict[str, Path] | None = None
    with _opened(path) as stream:
        rows = csv.DictReader(stream)
        columns = _columns(rows.fieldnames or ())
        if "findings" not in columns and "scan" not in columns:
            raise UsageError(
                f"E_USAGE: {shown(path.name)} has the columns {shown(', '.join(rows.fieldnames or ()))}, expected one "
                "with a scan or id and one with findings or a report."
            )
        merlin = "studyid" in {_plain(name) for name in rows.fieldnames or ()}
        for number, row in enumerate(rows, start=1):
            if volumes is None:
                volumes = _volumes(root)
            told = {key: (row.get(name) or "").strip() for key, name in columns.items()}
            made = _study(told, number, volumes, root, "merlin" if merlin else "table")
            own = path.parent / told.get("scan", "") / "scan"  # of a cohort that we drew
            if made.volume is None and made.reading is None and told.get("scan") and own.is_dir():
                made = replace(made, volume=own)
            yield replace(made, labels=_labels(row, columns.values()))


def _study(told: Mapping[str, str], number: int, volumes: Mapping[str, Path], root: Path, source: str) -> Study:
    scan = told.get("scan", "") or f"row {number}"
    rate = CT_RATE.search(scan)
    if rate:
        source, patient, study, series = "ct-rate", rate["patient"], f"{rate['patient']}_{rate['scan']}", rate["series"]
    else:
        study, series = told.get("study") or scan, scan if told.get("study") else ""
        patient = told.get("patient") or f"study {study}"
    parts = [("Technique", told.get("technique")), ("Findings", told.get("findings")),
             ("Impression", told.get("impression"))]  # fmt: skip
    named = root / scan
    reading = named if (named / "report.json").is_file() else None
    return Study(
        patient=patient, study=study, series=series, source=source,
        text="\n".join(f"{name}: {text}" for name, text in parts if text),
        reading=reading, volume=None if reading else volumes.get(_stem(scan)),
        age=_age(told.get("age", "")), sex=_sex(told.get("sex", "")), date=_date(told.get("date", "")),
    )  # fmt: skip


def _about(tables: Iterable[Path]) -> dict[str, Mapping[str, str]]:
    """Scan -> age, sex and date from tables beside the reports, as CT-RATE's metadata has them."""
    held: dict[str, Mapping[str, str]] = {}
    for path in tables:
        columns = _columns(_header(path))
        if "scan" in columns and {"age", "sex", "date"} & set(columns):
            with _opened(path) as stream:
                for row in csv.DictReader(stream):
                    told = {key: (row.get(name) or "").strip() for key, name in columns.items()}
                    held[_stem(told["scan"])] = told
    return held


def _joined(study: Study, about: Mapping[str, Mapping[str, str]]) -> Study:
    told = about.get(f"{study.study}_{study.series}") or about.get(_stem(study.study))
    if told is None:
        return study
    return replace(
        study,
        age=study.age or _age(told.get("age", "")),
        sex=study.sex or _sex(told.get("sex", "")),
        date=study.date or _date(told.get("date", "")),
    )


def _volumes(root: Path) -> dict[str, Path]:
    """Stem -> scan below a folder, NIfTI and zip files."""
    return {_stem(p.name): p for p in sorted(root.rglob("*")) if p.name.endswith((".nii.gz", ".nii", ".zip"))}


def _stem(name: str) -> str:
    return re.sub(r"(\.nii)?(\.gz|\.zip|\.nii)?$", "", Path(name).name)


def _columns(header: Iterable[str]) -> dict[str, str]:
    """Meaning -> the column that has it."""
    by_plain = {_plain(name): name for name in reversed(list(header))}
    found: dict[str, str] = {}
    for meaning, names in COLUMNS.items():
        for name in names:
            if name in by_plain:
                found[meaning] = by_plain[name]
                break
    return found


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())


def _header(path: Path) -> list[str]:
    with _opened(path) as stream:
        return next(csv.reader(stream), [])


def _opened(path: Path) -> IO[str]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    if path.name.lower().endswith(".gz"):
        return gzip.open(path, "rt", encoding="utf-8-sig", errors="replace", newline="")
    return path.open(encoding="utf-8-sig", errors="replace", newline="")


def _labels(row: Mapping[str, str | None], known: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Columns of nothing but 1, 0 and -1 in this row, other than those whose meaning is known."""
    others = ((name, (value or "").strip()) for name, value in row.items() if name not in set(known))
    return tuple((name, int(float(value))) for name, value in others if LABEL.fullmatch(value))


def _age(text: str) -> int | None:
    """Years from "58", "058Y" or "58.4"; None from anything else."""
    found = re.fullmatch(r"0*(\d{1,3})(?:\.\d+)?\s*[Yy]?", text)
    return int(found[1]) if found and int(found[1]) <= 120 else None


def _sex(text: str) -> str | None:
    return {"m": "M", "f": "F"}.get(text[:1].lower())


def _date(text: str) -> datetime.date | None:
    """A day from "20210304", "20210304.0" or "2021-03-04"; None from anything else."""
    digits = re.sub(r"\.0$|[-/]", "", text)
    try:
        return datetime.datetime.strptime(digits[:8], "%Y%m%d").date()
    except ValueError:
        return None
