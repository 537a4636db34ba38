"""Reports in, 0/1 labels out: one row a report, one column a finding of a pack.

``label(texts, pack)`` works on texts, ``label_csv`` on files (.csv or .csv.gz), as
``tomoscribe label`` calls it.
"""

from __future__ import annotations

import csv
import gzip
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal, TextIO

from vlm.errors import IntakeError, UsageError
from vlm.findings.packs import Column, Pack, load_pack
from vlm.findings.reader import read_report
from vlm.findings.vocabulary import did_you_mean

ID_COLUMNS = ("AccessionNo", "accession", "accession_no", "study_id", "case_id", "report_id", "id", "VolumeName")
_GZIP_START = b"\x1f\x8b"


def label(texts: Iterable[str], pack: Pack | str, *, uncertain_positive: bool = False) -> list[dict[str, int]]:
    """The 0/1 labels of every report text, in order, named as the pack names them."""
    columns = load_pack(pack) if isinstance(pack, str) else pack
    return [_row(text, columns, uncertain_positive) for text in texts]


def labels_of(text: str, told: Iterable[tuple[str, int]], packs: Sequence[Pack]) -> dict[str, int]:
    """Column -> 0 or 1, of packs: as a table says it, else as the report does; -1 is not known."""
    said = dict(told)
    mentions = [mention for reading in read_report(text) for mention in reading.mentions]
    read = [pack.row(mentions) for pack in packs] if text else []
    labels = {name: value for row in read for name, value in row.items()}
    for column in columns_of(packs):
        if column.name in said:
            labels.pop(column.name, None)
            if said[column.name] >= 0:
                labels[column.name] = said[column.name]
    return labels


def columns_of(packs: Sequence[Pack]) -> tuple[Column, ...]:
    """Every column once: the first pack that names it."""
    return tuple({column.name: column for pack in reversed(packs) for column in pack.columns}.values())


def label_csv(
    csv_in: Path,
    text_column: str,
    pack: str,
    out: Path,
    *,
    uncertain_positive: bool = False,
    progress: Callable[[int], None] | None = None,
) -> int:
    """Label a file of reports and write ``out``; gives back how many reports were read.

    Args:
        csv_in: .csv or .csv.gz in UTF-8 with a header line.
        text_column: the column that holds the report.
        pack: a pack's name or path.
        out: .csv or .csv.gz; its first column is the input's id column (``ID_COLUMNS``), or the row's number.
        uncertain_positive: count what is only possible, whatever the pack says.
        progress: called with the number of reports read so far.
    """
    columns = load_pack(pack)
    if out.exists() and csv_in.exists() and out.samefile(csv_in):
        raise UsageError(f"E_USAGE: {out.name} is the file that is read; name another --out")
    if out.parent.exists() and not out.parent.is_dir():
        raise UsageError(f"E_USAGE: {out.parent.name or out.parent} is not a folder; name another --out")
    with _reading(csv_in) as source:
        rows = csv.DictReader(source)
        header = _header(rows, csv_in)
        if text_column not in header:
            near = did_you_mean(text_column, header)
            raise UsageError(
                f"E_USAGE: {csv_in.name} has no column {text_column!r}{near}; it has: {', '.join(header)[:200]}"
            )
        identity = next((name for name in ID_COLUMNS if name in header and name != text_column), None)
        labels = _labels(rows, csv_in, text_column, identity, columns, uncertain_positive)
        return _write(out, identity or "row", columns, labels, progress)


def _row(text: str, pack: Pack, uncertain_positive: bool) -> dict[str, int]:
    mentions = [mention for reading in read_report(text) for mention in reading.mentions]
    return pack.row(mentions, uncertain_positive=uncertain_positive)


def _labels(
    rows: csv.DictReader[str], path: Path, column: str, identity: str | None, pack: Pack, uncertain_positive: bool
) -> Iterator[tuple[str, dict[str, int]]]:
    number = 0
    try:
        for number, row in enumerate(rows, start=1):
            text = row[column]
            if text is None:
                raise _bad(path, f"row {number}", "too few fields", "as many as the header")
            yield (row[identity] or "" if identity else str(number)), _row(text, pack, uncertain_positive)
    except (UnicodeDecodeError, EOFError, OSError, csv.Error, zlib.error) as error:
        raise _bad(path, f"row {number + 1}", type(error).__name__, "UTF-8 text in CSV") from None


def _header(rows: csv.DictReader[str], path: Path) -> list[str]:
    try:
        names = rows.fieldnames
    except (UnicodeDecodeError, EOFError, OSError, csv.Error, zlib.error) as error:
        raise _bad(path, "header", type(error).__name__, "UTF-8 text in CSV") from None
    if not names:
        raise _bad(path, "header", "empty", "a line of column names")
    return list(names)


def _bad(path: Path, tag: str, found: str, expected: str) -> IntakeError:
    remedy = "Save the reports as a UTF-8 CSV file with a header line."
    return IntakeError("E_BAD_CSV", file=path.name, tag=tag, found=found, expected=expected, remedy=remedy)


@contextmanager
def _reading(path: Path) -> Iterator[TextIO]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    if not path.is_file():
        raise UsageError(f"E_USAGE: {path.name} is not a file; give a .csv or .csv.gz with one report a row")
    with path.open("rb") as probe:
        packed = probe.read(2) == _GZIP_START
    with _text(path, "r", packed=packed) as stream:
        yield stream


def _text(path: Path, mode: Literal["r", "w"], *, packed: bool) -> TextIO:
    encoding = "utf-8-sig" if mode == "r" else "utf-8"
    if packed:
        return gzip.open(path, "rt" if mode == "r" else "wt", encoding=encoding, newline="")
    return path.open(mode, encoding=encoding, newline="")


def _write(
    out: Path,
    identity: str,
    pack: Pack,
    labels: Iterable[tuple[str, dict[str, int]]],
    progress: Callable[[int], None] | None,
) -> int:
    names = [column.name for column in pack.columns]
    part = out.with_name(f".{out.name}.part")  # a run that fails leaves no half a file
    count = 0
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with _text(part, "w", packed=out.name.endswith(".gz")) as stream:
            writer = csv.writer(stream)
            writer.writerow([identity, *names])
            for key, row in labels:
                writer.writerow([key, *(row[name] for name in names)])
                count += 1
                if progress is not None:
                    progress(count)
        part.replace(out)
    except OSError as error:
        raise UsageError(f"E_USAGE: {out.name} cannot be written: {error.strerror or type(error).__name__}") from None
    finally:
        part.unlink(missing_ok=True)
    return count
