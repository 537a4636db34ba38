"""A library of cases: reports, findings and vectors in one SQLite file, in a folder that only its owner reads.

    library.sqlite   everything; indexes are caches of it
    key              32 random bytes: names of patients and studies are kept as keyed hashes, dates are shifted by it
    index/           FAISS files, each named in the table ``indexes`` with its checksum

A case goes in whole or not at all. Removing a patient removes every row, overwrites what the rows held, and
drops every index file that held their vectors.
"""

from __future__ import annotations

import datetime
import fcntl
import hashlib
import hmac
import json
import os
import secrets
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from retrieval import features
from retrieval.cases import Kind, NewCase, StoredCase
from retrieval.facts import Fact, from_mentions, from_text, without_repeats
from retrieval.schema import Tables
from retrieval.scrub import scrubbed
from vlm.errors import UsageError
from vlm.findings.reader import read_report

SHIFT_DAYS = 183  # dates of a patient move together by at most so many days, either way


class CaseLibrary:
    """A library, open. Methods are safe to call from several threads, and from several processes at once."""

    def __init__(self, folder: Path, *, make: bool = True) -> None:
        """Open the library in ``folder``.

        Args:
            folder: where it lies.
            make: make it where there is none.

        Raises:
            UsageError: there is none, or it is damaged or a newer version's.
        """
        self.folder = folder.resolve()
        path = self.folder / "library.sqlite"
        if not make and not path.exists():
            raise UsageError(
                "E_USAGE: --library, or your data folder, holds no case library. Make one: tomoscribe index add FOLDER"
            )
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
            self.key = _key(self.folder / "key")
        except OSError as error:
            raise UsageError(f"E_USAGE: --library cannot be used: {error.strerror}. Name another folder.") from None
        self.tables = Tables(path)
        if self._meta("erasing"):
            self._erase()

    def close(self) -> None:
        """Let go of the file."""
        self.tables.close()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """One process at a time writes index files, or ends a removal."""
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def token(self, sort: str, text: str) -> str:
        """A keyed hash, 32 hex digits: the same text gives the same token in this library alone."""
        return hmac.new(self.key, f"{sort}\0{text}".encode(), hashlib.sha256).hexdigest()[:32]

    def shifted(self, patient: str, date: datetime.date) -> datetime.date:
        """A date as it is kept: moved by the patient's own number of days."""
        days = int(self.token("shift", patient), 16) % (2 * SHIFT_DAYS + 1) - SHIFT_DAYS
        return date + datetime.timedelta(days=days)

    @property
    def generation(self) -> int:
        """A number that rises with every change."""
        return int(self._meta("generation") or 0)

    @property
    def removals(self) -> int:
        """How many patients were removed: an index that was made before one is not written after it."""
        return int(self._meta("removals") or 0)

    def _meta(self, key: str) -> str:
        rows = self.tables.rows("select value from meta where key = ?", (key,))
        return str(rows[0]["value"]) if rows else ""

    # ---- in

    def holds(self, patient: str, study: str, series: str, stamp: str) -> bool:
        """Whether this case is there already, made from this state of its input."""
        rows = self.tables.rows("select print from cases where name = ?", (self._name(patient, study, series),))
        return bool(rows) and rows[0]["print"] == self.token("print", stamp)

    def _name(self, patient: str, study: str, series: str) -> str:
        return "c" + self.token("case", f"{patient}\0{study}\0{series}")[:12]

    def add(self, case: NewCase) -> str:
        """Put a case in, or in place of an older one of the same study and series; its name.

        Raises:
            UsageError: the library cannot be written; it is as it was.
        """
        name, report = self._name(case.patient, case.study, case.series), scrubbed(case.report)
        read = [(r.section, r.text, () if case.own_words else tuple(from_mentions(r.mentions)))
                for r in read_report(report) if r.text.strip()]  # fmt: skip
        facts = without_repeats([*case.facts, *(fact for _, _, told in read for fact in told)])
        with self.tables.write() as db:
            db.execute("delete from cases where name = ?", (name,))
            token = self.token("patient", case.patient)
            db.execute("insert or ignore into patients (token) values (?)", (token,))
            patient = db.execute("select id from patients where token = ?", (token,)).fetchone()[0]
            at = db.execute(
                "insert into cases (patient, name, study, content, print, source, report, regions, phase, age, sex, "
                "shifted, provenance) values (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (patient, name, self.token("study", f"{case.patient}\0{case.study}"),
                 self.token("content", case.content) if case.content else "", self.token("print", case.stamp),
                 case.source, report,
                 " ".join(case.regions), case.phase, case.age, case.sex,
                 self.shifted(case.patient, case.date).isoformat() if case.date else None,
                 json.dumps(dict(case.provenance), sort_keys=True)),
            ).lastrowid  # fmt: skip
            assert at is not None
            _put_facts(db, at, case.facts, None)
            by_text: dict[str, int] = {}
            for section, text, told in read:
                sentence = db.execute(
                    "insert into sentences (case_id, section, text) values (?, ?, ?)", (at, section, text)
                ).lastrowid
                assert sentence is not None
                by_text[text] = sentence
                meant = tuple(replace(f, origin="words") for f in from_text(text)) if case.own_words else told
                _put_facts(db, at, meant, sentence)
                if meant:
                    _put_vector(
                        db, at, "sentence", features.space(), "", features.packed(features.vector(meant)), sentence
                    )
            for part, mine in (("", facts), *_by_organ(facts)):
                kind = "organ" if part else "scan"
                _put_vector(db, at, kind, features.space(), part, features.packed(features.vector(mine)), None)
            for v in case.vectors:
                body = np.ascontiguousarray(v.values, dtype="<f4").tobytes()
                _put_vector(db, at, v.kind, v.space, "" if v.kind == "sentence" else v.part, body, by_text.get(v.part))
            for label, picture in case.pictures.items():
                db.execute("insert into pictures values (?, ?, ?)", (at, label, picture))
            db.execute("update cases set checksum = ? where id = ?", (checksum(db, at), at))
            _count(db, "generation")
        return name

    # ---- out

    def remove_patient(self, who: str) -> int:
        """Remove a patient with every trace; how many cases went.

        Args:
            who: the identity that was given on the way in, or the name of one of the patient's cases.

        Raises:
            UsageError: no such patient is here.
        """
        rows = self.tables.rows(
            "select id from patients where token = ? union select patient from cases where name = ?",
            (self.token("patient", who), who),
        )
        if not rows:
            raise UsageError("E_USAGE: --patient is not in this library, expected an id as given, or a case's name.")
        with self.tables.write() as db:
            count = int(db.execute("select count(*) from cases where patient = ?", (rows[0]["id"],)).fetchone()[0])
            db.execute("delete from patients where id = ?", (rows[0]["id"],))
            db.execute("insert or replace into meta values ('erasing', '1')")
            db.execute("delete from meta where key = 'votes'")
            _count(db, "removals")
            db.execute("delete from indexes where engine = 'faiss'")
            db.execute("update indexes set generation = -1")  # a server's collection is dropped and built anew
            _count(db, "generation")
        self._erase()
        return count

    def _erase(self) -> None:
        """End a removal, also one that a stop interrupted: index files that nothing names, then what SQLite holds."""
        with self.alone():
            if not self._meta("erasing"):  # another process has ended it
                return
            self.sweep()
            if self.tables.empty_of_deleted():
                with self.tables.write() as db:
                    db.execute("delete from meta where key = 'erasing'")

    def sweep(self) -> None:
        """Remove index files that no row names: what a stop left, and what was replaced or held a removed patient."""
        named = {row["file"] for row in self.tables.rows("select file from indexes")}
        for path in (self.folder / "index").glob("*.faiss"):
            if path.name not in named:
                path.unlink(missing_ok=True)

    def contents(self, who: str) -> set[str]:
        """Tokens of the scans of a patient, who is named as in ``remove_patient``."""
        rows = self.tables.rows(
            "select content from cases where content != '' and patient in (select id from patients where token = ? "
            "union select patient from cases where name = ?)",
            (self.token("patient", who), who),
        )
        return {row["content"] for row in rows}

    # ---- what is there

    def count(self, table: Literal["cases", "patients", "sentences", "vectors"] = "cases") -> int:
        """How many rows a table has."""
        return int(self.tables.rows(f"select count(*) from {table}")[0][0])

    def cases(self, ids: Sequence[int]) -> dict[int, StoredCase]:
        """Cases by id, with their facts; ids that are gone are left out."""
        marks = ", ".join("?" * len(ids))
        facts: dict[int, list[Fact]] = {}
        for row in self.tables.rows(
            f"select * from facts where case_id in ({marks}) and origin != 'words' order by id", ids
        ):
            facts.setdefault(row["case_id"], []).append(_fact(row))
        rows = self.tables.rows(f"select * from cases where id in ({marks})", ids)
        return {row["id"]: _stored(row, without_repeats(facts.get(row["id"], []))) for row in rows}

    def by_name(self, name: str) -> StoredCase:
        """A case by its name.

        Raises:
            UsageError: there is none.
        """
        rows = self.tables.rows("select id from cases where name = ?", (name,))
        if not rows:
            raise UsageError("E_USAGE: no case of this name is in the library.")
        return self.cases([rows[0]["id"]])[rows[0]["id"]]

    def picture(self, case: int, name: str) -> bytes | None:
        """A picture of a case, or None."""
        rows = self.tables.rows("select body from pictures where case_id = ? and name = ?", (case, name))
        return bytes(rows[0]["body"]) if rows else None

    def frequency(self, finding: str) -> int:
        """How many cases have a finding."""
        rows = self.tables.rows(
            "select count(distinct case_id) from facts "
            "where finding = ? and presence = 'present' and origin != 'words'",
            (finding,),
        )
        return int(rows[0][0])

    def spaces(self) -> list[tuple[Kind, str, int]]:
        """(kind, space, how many vectors) of everything that can be searched."""
        rows = self.tables.rows("select kind, space, count(*) n from vectors group by kind, space order by kind, space")
        return [(row["kind"], row["space"], row["n"]) for row in rows]

    def damaged(self) -> Iterator[str]:
        """The names of cases whose rows no longer give their checksum, and what SQLite finds wrong."""
        for row in self.tables.rows("pragma integrity_check"):
            if row[0] != "ok":
                yield f"SQLite: {row[0]}"
        for row in self.tables.rows("select id, name, checksum from cases"):
            if checksum(self.tables.db, row["id"]) != row["checksum"]:
                yield str(row["name"])


def checksum(db: sqlite3.Connection, case: int) -> str:
    """sha256 over every row of a case, hex."""
    digest = hashlib.sha256()
    queries = (
        "select name, study, content, print, source, report, regions, phase, age, sex, shifted, provenance "
        "from cases where id = ?",
        "select section, text from sentences where case_id = ? order by id",
        "select finding, presence, side, site, organ, size_mm, origin from facts where case_id = ? order by id",
        "select kind, space, part, body from vectors where case_id = ? order by id",
        "select name, body from pictures where case_id = ? order by name",
    )
    for query in queries:
        for row in db.execute(query, (case,)):
            for value in row:
                digest.update(value if isinstance(value, bytes) else repr(value).encode())
                digest.update(b"\0")
    return digest.hexdigest()


def _count(db: sqlite3.Connection, what: str) -> None:
    db.execute(
        "insert into meta values (?, '1') on conflict (key) do update set value = cast(value as int) + 1", (what,)
    )


def _by_organ(facts: Iterable[Fact]) -> Iterator[tuple[str, list[Fact]]]:
    """(organ, its facts) for each organ that something is known of."""
    held: dict[str, list[Fact]] = {}
    for fact in facts:
        if fact.organ is not None:
            held.setdefault(fact.organ, []).append(fact)
    yield from sorted(held.items())


def _put_facts(db: sqlite3.Connection, case: int, facts: Iterable[Fact], sentence: int | None) -> None:
    db.executemany(
        "insert into facts (case_id, sentence, finding, presence, side, site, organ, size_mm, origin) "
        "values (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(case, sentence, f.finding, f.presence, f.side, f.site, f.organ, f.size_mm, f.origin) for f in facts],
    )


def _put_vector(
    db: sqlite3.Connection, case: int, kind: str, space: str, part: str, body: bytes, sentence: int | None
) -> None:
    db.execute(
        "insert into vectors (case_id, kind, space, part, sentence, body) values (?, ?, ?, ?, ?, ?)",
        (case, kind, space, part, sentence, body),
    )


def _fact(row: sqlite3.Row) -> Fact:
    return Fact(
        finding=row["finding"], presence=row["presence"], side=row["side"], site=row["site"], size_mm=row["size_mm"],
        origin=row["origin"],
    )  # fmt: skip


def _stored(row: sqlite3.Row, facts: tuple[Fact, ...]) -> StoredCase:
    return StoredCase(
        id=row["id"], name=row["name"], patient=row["patient"], study=row["study"], source=row["source"],
        report=row["report"], regions=tuple(row["regions"].split()), phase=row["phase"], age=row["age"],
        sex=row["sex"], shifted=datetime.date.fromisoformat(row["shifted"]) if row["shifted"] else None,
        facts=facts, provenance=json.loads(row["provenance"]),
    )  # fmt: skip


def _key(path: Path) -> bytes:
    """The library's key, made on first use; two processes that make it at once end with the same one."""
    if not path.exists():
        fresh = path.with_name(f"key.{secrets.token_hex(8)}")
        fresh.touch(mode=0o600)
        with fresh.open("wb") as stream:
            stream.write(secrets.token_bytes(32))
            stream.flush()
            os.fsync(stream.fileno())
        try:
            path.hardlink_to(fresh)  # fails where another was first
        except FileExistsError:
            pass
        finally:
            fresh.unlink()
    return path.read_bytes()
