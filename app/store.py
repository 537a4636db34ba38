"""Where the page keeps its cases, jobs, reviews and questions: one SQLite file and a folder a case.

A case has a random id of 128 bits and one owner; whoever asks for a case says who they are, and
somebody else's case is as missing as one that never was. Names, dates and paths of patients
are not kept: an upload's files get numbers of our own. The file is written ahead
and synced, so that a power cut leaves the last good state. One process at a time uses the folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vlm.errors import UsageError

SCHEMA_VERSION = 1
SCHEMA = """
create table if not exists cases (
  id text primary key, owner text not null, number integer not null, created text not null,
  state text not null, files integer not null default 0, bytes integer not null default 0,
  intake text not null default '{}', summary text not null default '{}');
create table if not exists jobs (
  id text primary key, case_id text not null, owner text not null, state text not null, created text not null,
  step text not null default '', steps integer not null default 0, tries integer not null default 0,
  settings text not null default '{}', message text not null default '', seconds real not null default 0);
create table if not exists reviews (
  seq integer primary key autoincrement, case_id text not null, sentence text not null, action text not null,
  text text not null default '', verdict text not null default '', reason text not null default '',
  author text not null, at text not null);
create table if not exists messages (
  seq integer primary key autoincrement, case_id text not null, body text not null, at text not null);
"""

# What a case can be: files arrive, the intake has a verdict, a job works on it, a report stands.
CASE_STATES = ("arriving", "arrived", "refused", "reading", "ready", "failed", "cancelled")


def data_folder() -> Path:
    """Where cases are kept when nobody says: the user's own data folder."""
    return Path(os.environ.get("XDG_DATA_HOME", Path.home() / ".local" / "share")) / "tomoscribe"


class MissingCaseError(Exception):
    """No case of this id belongs to whoever asks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """A case as the worklist knows it."""

    id: str
    owner: str
    number: int  # 1, 2 … of this owner: what people call it by
    created: str  # UTC, ISO 8601
    state: str  # one of CASE_STATES
    files: int
    bytes: int
    intake: dict[str, Any]  # JSON: the verdict of the intake, in a person's words
    summary: dict[str, Any]  # JSON: what the report says in two lines


def now() -> str:
    """This moment, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


class Store:
    """The folder of one page. Every method is safe to call from several threads."""

    def __init__(self, folder: Path) -> None:
        """Open the folder, and make it where there is none.

        Raises:
            UsageError: another process uses it, or another version wrote it.
        """
        self.folder = folder.resolve()
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.folder.chmod(0o700)
        self._lock_file = self._locked()
        self._guard = threading.RLock()
        path = self.folder / "page.sqlite"
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        path.chmod(0o600)
        self._db.row_factory = sqlite3.Row
        self._open(path)

    def _locked(self) -> int:
        handle = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(handle)
            raise UsageError(
                "E_USAGE: --data is used by another running page, expected a folder of its own. "
                "Stop the other one, or name a new folder."
            ) from None
        return handle

    def _open(self, path: Path) -> None:
        """Check that the file is whole and ours before anything is written."""
        try:
            found = self._db.execute("pragma user_version").fetchone()[0]
            whole = self._db.execute("pragma quick_check").fetchone()[0] == "ok"
        except sqlite3.DatabaseError:
            found, whole = 0, False
        if not whole or found not in (0, SCHEMA_VERSION):
            self.close()
            why = f"of version {found}" if whole else "damaged"
            raise UsageError(
                f"E_USAGE: --data holds {path.name} that is {why}, expected version {SCHEMA_VERSION}. "
                "Put the file back from a copy, or move it away to start anew."
            )
        self._db.execute("pragma journal_mode = wal")
        self._db.execute("pragma synchronous = full")
        self._db.executescript(SCHEMA)
        self._db.execute(f"pragma user_version = {SCHEMA_VERSION}")

    def close(self) -> None:
        """Let go of the file and the folder."""
        self._db.close()
        os.close(self._lock_file)

    @contextmanager
    def write(self) -> Iterator[sqlite3.Connection]:
        """One change, whole or not at all."""
        with self._guard:
            self._db.execute("begin immediate")
            try:
                yield self._db
            except BaseException:
                self._db.execute("rollback")
                raise
            self._db.execute("commit")

    def rows(self, query: str, values: Mapping[str, object] | tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """The rows of a query."""
        with self._guard:
            return self._db.execute(query, values).fetchall()

    # ---- cases

    def add_case(self, owner: str) -> CaseRow:
        """A new, empty case, and its folder."""
        name = secrets.token_hex(16)
        self.path(name).mkdir(parents=True, mode=0o700)
        with self.write() as db:
            last = db.execute("select max(number) from cases where owner = ?", (owner,)).fetchone()[0] or 0
            values = (name, owner, last + 1, now(), "arriving")
            db.execute("insert into cases (id, owner, number, created, state) values (?, ?, ?, ?, ?)", values)
        return self.case(name, owner)

    def case(self, name: str, owner: str) -> CaseRow:
        """A case of this owner.

        Raises:
            MissingCaseError: there is none; whether somebody else has one is not said.
        """
        rows = self.rows("select * from cases where id = ? and owner = ?", (name, owner))
        if not rows:
            raise MissingCaseError
        return _case(rows[0])

    def cases(self, owner: str) -> list[CaseRow]:
        """The cases of an owner, newest first."""
        return [_case(row) for row in self.rows("select * from cases where owner = ? order by number desc", (owner,))]

    def change(self, name: str, **values: object) -> None:
        """Set columns of a case; dictionaries are kept as JSON."""
        if strange := set(values) - {"state", "files", "bytes", "intake", "summary"}:
            raise ValueError(f"a case has no {sorted(strange)}")
        kept = [json.dumps(value) if isinstance(value, dict) else value for value in values.values()]
        columns = ", ".join(f"{key} = ?" for key in values)
        with self.write() as db:
            db.execute(f"update cases set {columns} where id = ?", (*kept, name))

    def remove_case(self, name: str) -> None:
        """Forget a case: its rows first, then its folder."""
        with self.write() as db:
            db.execute("delete from cases where id = ?", (name,))
            for table in ("jobs", "reviews", "messages"):
                db.execute(f"delete from {table} where case_id = ?", (name,))
        shutil.rmtree(self.path(name), ignore_errors=True)

    def path(self, name: str) -> Path:
        """The folder of a case."""
        return self.folder / "cases" / name

    def sweep(self) -> None:
        """Remove what a stop left: uploads that never ended, files of what is read, folders of no case."""
        for row in self.rows("select id from cases where state = 'arriving'"):
            self.remove_case(row["id"])
        for row in self.rows("select id, state from cases"):
            for name in ("upload", "scan") if row["state"] == "ready" else ("scan",):
                shutil.rmtree(self.path(row["id"]) / name, ignore_errors=True)
        known = {row["id"] for row in self.rows("select id from cases")}
        for path in (self.folder / "cases").glob("*"):
            if path.name not in known:
                shutil.rmtree(path, ignore_errors=True)


def _case(row: sqlite3.Row) -> CaseRow:
    values = dict(row)
    return CaseRow(**{**values, "intake": json.loads(row["intake"]), "summary": json.loads(row["summary"])})
