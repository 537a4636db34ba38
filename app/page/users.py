"""Who may use the page: a file of names and scrypt hashes, and a check that is slow for guessers only.

A line is ``NAME:SALT:HASH`` in hex; ``tomoscribe serve --users FILE --add-user NAME`` writes one.
Without a file there is one user, "local", and the page listens on this machine alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from pathlib import Path

from vlm.errors import UsageError

LOCAL = "local"
NAME = re.compile(r"^[a-z0-9][a-z0-9._-]{0,31}$")
SCRYPT = {"n": 1 << 14, "r": 8, "p": 1, "maxmem": 64 << 20}  # RFC 7914; about 50 ms
MOST_FAILURES, FAILURE_WINDOW_S = 10, 60.0  # of one name


def hashed(password: str, salt: bytes) -> bytes:
    """32 bytes from a password."""
    return hashlib.scrypt(password.encode(), salt=salt, dklen=32, **SCRYPT)


def add_user(path: Path, name: str, password: str) -> None:
    """Add a user to the file, or give one a new password.

    Raises:
        UsageError: the name or the password will not do.
    """
    if not NAME.match(name) or name == LOCAL:
        raise UsageError(f"E_USAGE: user {name!r} will not do, expected lower-case letters, digits, '.', '_' or '-'.")
    if len(password) < 8:
        raise UsageError("E_USAGE: the password is too short, expected 8 characters or more.")
    salt = secrets.token_bytes(16)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in lines if line.partition(":")[0] != name]
    staged = path.with_name(path.name + ".new")
    with os.fdopen(os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as stream:
        stream.write("\n".join([*kept, f"{name}:{salt.hex()}:{hashed(password, salt).hex()}", ""]))
    staged.replace(path)


class Users:
    """The names and hashes of a file; nobody but "local" where there is none."""

    def __init__(self, path: Path | None) -> None:
        self._known = {} if path is None else _load(path)
        self.open = path is None
        self._key = secrets.token_bytes(32)
        self._seen: dict[bytes, str] = {}  # keyed hashes of headers that were right: each is computed once
        self._failures: dict[str, list[float]] = {}
        self._lock = threading.Lock()

    def named(self, authorization: str) -> str | None:
        """The user of an HTTP ``Authorization`` header, or None when it is missing or wrong."""
        if self.open:
            return LOCAL
        mark = hmac.digest(self._key, authorization.encode(), "sha256")
        if mark in self._seen:
            return self._seen[mark]
        kind, _, blob = authorization.partition(" ")
        if kind.lower() != "basic":
            return None
        try:
            name, _, password = base64.b64decode(blob, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            return None
        if self._guessing(name) or not self._right(name, password):
            return None
        self._seen[mark] = name
        return name

    def _right(self, name: str, password: str) -> bool:
        salt, want = self._known.get(name, (b"\0" * 16, b""))  # an unknown name takes as long as a known one
        right = hmac.compare_digest(hashed(password, salt), want)
        if not right:
            with self._lock:
                self._failures.setdefault(name[:32], []).append(time.monotonic())
        return right

    def _guessing(self, name: str) -> bool:
        """True when this name was tried too often of late."""
        with self._lock:
            recent = [t for t in self._failures.get(name[:32], []) if time.monotonic() - t < FAILURE_WINDOW_S]
            if len(self._failures) > 1000:
                self._failures.clear()
            self._failures[name[:32]] = recent
        return len(recent) >= MOST_FAILURES


def _load(path: Path) -> dict[str, tuple[bytes, bytes]]:
    try:
        lines = path.read_text(encoding="utf-8").split()
        users = {
            name: (bytes.fromhex(salt), bytes.fromhex(value)) for name, salt, value in (x.split(":") for x in lines)
        }
    except (OSError, ValueError):
        users = {}
    if not users:
        raise UsageError(
            f"E_USAGE: --users {path.name} holds no user, expected lines NAME:SALT:HASH. "
            "Write one with `tomoscribe serve --users FILE --add-user NAME`."
        )
    return users
