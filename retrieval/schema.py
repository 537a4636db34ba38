"""The tables of a case library, and how their file is opened, changed and emptied of a patient.

SQLite, written ahead and synced: a power cut leaves the last good state; one process writes at a time, any
number read. What is deleted is overwritten with zeros.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vlm.errors import UsageError

VERSION = 2
WAIT_S = 120.0  # how long a writer waits for another
SCHEMA = """
create table if not exists meta (key text primary key, value text not null) without rowid;
create table if not exists patients (id integer primary key autoincrement, token text not null unique);
create table if not exists cases (
  id integer primary key autoincrement, patient integer not null references patients on delete cascade,
  name text not null unique, study text not null, content text not null default '', print text not null,
  source text not null, report text not null, regions text not null, phase text, age integer, sex text,
  shifted text, provenance text not null, checksum text not null default '');
create index if not exists cases_patient on cases (patient);
create index if not exists cases_content on cases (content);
create table if not exists sentences (
  id integer primary key autoincrement, case_id integer not null references cases on delete cascade,
  section text not null, text text not null);
create index if not exists sentences_case on sentences (case_id);
create table if not exists facts (
  id integer primary key autoincrement, case_id integer not null references cases on delete cascade,
  sentence integer, finding text not null, presence text not null, side text, site text, organ text,
  size_mm real, origin text not null);
create index if not exists facts_case on facts (case_id);
create index if not exists facts_finding on facts (finding, presence);
create table if not exists vectors (
  id integer primary key autoincrement, case_id integer not null references cases on delete cascade,
  kind text not null, space text not null, part text not null, sentence integer, body blob not null);
create index if not exists vectors_case on vectors (case_id);
create index if not exists vectors_space on vectors (kind, space);
create table if not exists pictures (
  case_id integer not null references cases on delete cascade, name text not null, body blob not null,
  primary key (case_id, name));
create table if not exists indexes (
  name text primary key, engine text not null, file text not null, sha256 text not null,
  generation integer not null, ids blob not null, weights blob not null, facts text not null,
  calibration text not null default '[]', statistics text not null default '');
create virtual table if not exists words using fts5 (
  text, content = 'sentences', content_rowid = 'id', tokenize = 'porter unicode61');
create trigger if not exists words_in after insert on sentences begin
  insert into words (rowid, text) values (new.id, new.text); end;
create trigger if not exists words_out after delete on sentences begin
  insert into words (words, rowid, text) values ('delete', old.id, old.text); end;
"""
# Version -> what makes the next one of it. Indexes are caches: those of another layout are built anew.
MIGRATIONS = {
    1: """
delete from indexes;
alter table indexes add column statistics text not null default '';
""",
}


class Tables:
    """One library file, open."""

    def __init__(self, path: Path) -> None:
        """Open the file, make its tables where there are none, and bring an older file to this version.

        Raises:
            UsageError: it is damaged or a newer version's.
        """
        self.path = path
        self._guard = threading.RLock()
        # Only a new file is opened here: closing one that SQLite has open, too, would drop this process's locks on it.
        if not path.exists():
            path.touch(mode=0o600)  # SQLite gives its other files the same mode
        path.chmod(0o600)
        self.db = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=WAIT_S)
        self.db.row_factory = sqlite3.Row
        try:
            found = self.db.execute("pragma user_version").fetchone()[0]
            if found > VERSION:
                raise self.refused(f"of version {found}, expected {VERSION}")
            for pragma in ("journal_mode = wal", "synchronous = full", "secure_delete = on", "foreign_keys = on",
                           "recursive_triggers = on"):  # fmt: skip
                self.db.execute(f"pragma {pragma}")
            if found < VERSION:
                self._make_current()
        except sqlite3.DatabaseError as error:
            raise self.refused(f"damaged ({error})") from None

    def _make_current(self) -> None:
        """Make the tables, or change those of an older version: in one step, so that a stop leaves the old one."""
        with self.write() as db:
            found = db.execute("pragma user_version").fetchone()[0]  # another process may have done it
            scripts = [SCHEMA] if found == 0 else [MIGRATIONS[version] for version in range(found, VERSION)]
            for script in scripts:
                for statement in _statements(script):
                    db.execute(statement)
            db.execute(f"pragma user_version = {VERSION}")

    def refused(self, why: str) -> UsageError:
        """The error for a file that cannot be used."""
        return UsageError(
            f"E_USAGE: --library holds {self.path.name} that is {why}. Put it back from a copy, or name a new folder."
        )

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One change, whole or not at all.

        Raises:
            UsageError: the disk is full, the file may not be written, or another writer does not end.
        """
        with self._guard:
            try:
                self.db.execute("begin immediate")
                self._know_tables()
                try:
                    yield self.db
                    self.db.execute("commit")
                except BaseException:
                    if self.db.in_transaction:
                        self.db.execute("rollback")
                    raise
            except sqlite3.OperationalError as error:
                raise UsageError(
                    f"E_USAGE: --library cannot be written: {error}. Free space or permissions, then try again; "
                    "what was there is as it was."
                ) from None

    def rows(self, query: str, values: Sequence[object] = ()) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._guard:
            self._know_tables()
            return self.db.execute(query, values).fetchall()

    def _know_tables(self) -> None:
        """Read the list of tables: after another process's VACUUM, SQLite 3.40 misses a table in the next statement."""
        self.db.execute("select count(*) from sqlite_schema").fetchone()

    def stream(self, query: str, values: Sequence[object] = (), size: int = 8192) -> Iterator[list[sqlite3.Row]]:
        """The rows of a query in runs, on a connection of their own, so that they are of one moment."""
        reader = sqlite3.connect(self.path, isolation_level=None, timeout=WAIT_S, check_same_thread=False)
        reader.row_factory = sqlite3.Row
        try:
            cursor = reader.execute(query, values)
            while rows := cursor.fetchmany(size):
                yield rows
        finally:
            reader.close()

    def empty_of_deleted(self) -> bool:
        """Overwrite what deletions left in the full-text index, in free pages and in the write-ahead file.

        False where a reader of an older state kept the write-ahead file from being emptied; it is to be tried again.
        """
        with self._guard:
            with self.write() as db:
                db.execute("insert into words (words) values ('optimize')")
            try:
                self.db.execute("pragma wal_checkpoint(truncate)")
                self.db.execute("vacuum")
                busy = self.db.execute("pragma wal_checkpoint(truncate)").fetchone()[0]
            except sqlite3.OperationalError:  # a writer or a reader did not end in time, or the disk is full
                return False
            return not busy

    def close(self) -> None:
        """Let go of the file."""
        self.db.close()


def _statements(script: str) -> Iterator[str]:
    """The statements of a script; a trigger is one."""
    held = ""
    for line in script.splitlines():
        held += line + "\n"
        if sqlite3.complete_statement(held):
            yield held
            held = ""
