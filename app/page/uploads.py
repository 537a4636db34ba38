"""Files on their way in: counted and measured while they arrive, under numbers of our own.

A file's own name is never used and never kept: it is often a patient's. Nothing is opened here; that
is done by a child process, once everything has arrived.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from anyio import to_thread

from app.store import CaseRow, Store

MOST_FILES = 20_000
MOST_TOTAL = 4 << 30  # bytes of one upload
SPACE_FACTOR = 3  # upload, what is unpacked of it, and what the reading writes


class UploadError(Exception):
    """An upload that is not taken; the message says what to do."""


def check_announced(store: Store, files: int, size: int) -> None:
    """Refuse before the first byte what cannot be kept.

    Raises:
        UploadError: too many files, too large, or too little space.
    """
    if not 1 <= files <= MOST_FILES:
        raise UploadError(f"{files} files were chosen, expected 1 to {MOST_FILES}. Choose the folder of one study.")
    if not 0 < size <= MOST_TOTAL:
        much = f"{size / 1e9:.1f} GB were chosen, expected at most {MOST_TOTAL / 1e9:.1f} GB."
        raise UploadError((much if size > 0 else "The files are empty.") + " Choose the folder of one study.")
    free, needed = shutil.disk_usage(store.folder).free, SPACE_FACTOR * size
    if free < needed:
        raise UploadError(
            f"The page's data folder has {free / 1e6:.0f} MB left, and this needs {needed / 1e6:.0f} MB. "
            "Remove cases that are done with."
        )


async def receive_file(store: Store, case: CaseRow, number: int, body: AsyncIterator[bytes]) -> None:
    """Write one file of an upload.

    Raises:
        UploadError: the case takes no files, more arrive than was announced, or the disk is full.
    """
    if case.state != "arriving":
        raise UploadError("This case has all its files. Start a new one.")
    if not 1 <= number <= case.files:
        raise UploadError(f"File {number} was not announced, expected 1 to {case.files}.")
    folder = store.path(case.id) / "upload"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{number:05d}"
    room = case.bytes - sum(other.stat().st_size for other in folder.iterdir() if other != path)
    try:
        await _write(path, body, room)
    except OSError:
        path.unlink(missing_ok=True)
        raise UploadError("The page's data folder is full. Remove cases that are done with.") from None


async def _write(path: Path, body: AsyncIterator[bytes], room: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as stream:
        async for chunk in body:
            room -= len(chunk)
            if room < 0:
                stream.close()
                path.unlink(missing_ok=True)
                raise UploadError("More arrived than was announced. Choose the files again.")
            await to_thread.run_sync(stream.write, chunk)
