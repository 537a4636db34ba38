"""What a path holds, as plain files: a folder is walked, a zip is unpacked, nothing is followed.

Archives are unpacked member by member into a folder of our own (0700) under our own
numbered names, with running counters of bytes and entries; the names that the archive
carries are checked, shown in messages, and never written.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from vlm.ct.intake import refusal
from vlm.errors import IntakeError
from vlm.scratch import scratch_folder

MOST_ENTRIES = 20_000
MOST_UNPACKED = 8 << 30  # bytes of all members together
MOST_RATIO, SMALL_BYTES = 200, 16 << 20  # unpacked : packed, counted from 16 MiB on
CHUNK = 1 << 20
DEVICE_NAMES = re.compile(r"^(con|prn|aux|nul|com\d|lpt\d)(\..*)?$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file: where it lies now, and the name to show for it."""

    path: Path
    name: str


@contextmanager
def opened(path: Path) -> Iterator[list[Entry]]:
    """The files of a folder, a zip or a single file, in the order of their names; a zip's files live in the block.

    Raises:
        IntakeError: E_NO_PATH and E_ARCHIVE_…
    """
    with ExitStack() as unpacked:
        try:
            entries = _entries(path, unpacked)
        except FileNotFoundError:
            raise _no_path("not there") from None
        except PermissionError:
            raise _no_path("not readable") from None
        yield entries


def _entries(path: Path, unpacked: ExitStack) -> list[Entry]:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        return list(_walk(path))
    if not stat.S_ISREG(mode):
        raise _no_path("no file or folder")
    if zipfile_like(path):
        return _unpack(path, unpacked.enter_context(scratch_folder()))
    return [Entry(path, path.name)]


def zipfile_like(path: Path) -> bool:
    """True when the file starts as a zip does."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06")


def _walk(folder: Path) -> Iterator[Entry]:
    """Regular files below a folder. Links and special files are refused when they stand among the files."""
    count = 0
    for here, folders, names in os.walk(folder, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(here, name)
            if name.startswith("."):
                continue
            mode = path.lstat().st_mode
            if not stat.S_ISREG(mode):
                raise _unsafe("a link or special file", "regular files only", "Copy the files themselves.")
            count += 1
            if count > MOST_ENTRIES:
                raise _limit(f"more than {MOST_ENTRIES} files", "Give the folder of one study.")
            yield Entry(path, name)  # folders are often named after patients: only the file's name is shown


def _unpack(path: Path, folder: Path) -> list[Entry]:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > MOST_ENTRIES:
                raise _limit(f"{len(members)} entries", "Zip one study alone.")
            for number, member in enumerate(members, 1):
                _check_member(member, number)
            total, entries = 0, []
            for number, member in enumerate(members, 1):
                if member.is_dir():
                    continue
                target = folder / f"{number:05d}"
                total += _extract(archive, member, target, total, path.stat().st_size)
                entries.append(Entry(target, Path(member.filename).name))
            return entries
    except IntakeError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            space = "more than the free space of the temporary folder"
            raise _limit(space, "Make space, or unpack it yourself.") from None
        raise refusal(
            "E_ARCHIVE_CORRUPT",
            tag="zip",
            found=f"cut or broken ({type(error).__name__})",
            expected="a whole archive",
            remedy="Copy or zip the study again.",
        ) from None


def _check_member(member: zipfile.ZipInfo, number: int) -> None:
    """Refuse names that leave the archive, links, special files and encryption, before anything is written."""
    name = member.filename
    parts = re.split(r"[/\\]", name.rstrip("/"))
    outside = name.startswith(("/", "\\")) or ".." in parts or "\\" in name or ":" in parts[0] or "\0" in name
    kind = member.external_attr >> 16 & 0xF000
    if outside or any(DEVICE_NAMES.match(part) for part in parts) or kind not in (0, 0x8000, 0x4000):
        found = "a link or special file" if kind not in (0, 0x8000, 0x4000) else "a path outside itself"
        raise _unsafe(f"{found} (entry {number})", "plain files", "Re-zip the study folder.")
    if member.flag_bits & 0x1:
        raise refusal(
            "E_ARCHIVE_ENCRYPTED", tag="zip", found=f"encrypted (entry {number})", expected="no password",
            remedy="Unpack it and zip it without a password.",
        )  # fmt: skip


def _extract(archive: zipfile.ZipFile, member: zipfile.ZipInfo, target: Path, before: int, packed: int) -> int:
    """Unpack one member, reading it to its end so that its checksum is tested; returns its bytes."""
    written = 0
    with archive.open(member) as source, target.open("xb") as sink:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            total = before + written
            if total > MOST_UNPACKED or (total > SMALL_BYTES and total > MOST_RATIO * packed):
                raise _limit(f"unpacked size passed {total >> 20} MiB", "Zip the study folder alone.")
            if written == len(chunk) and chunk[:4] == b"PK\x03\x04":
                raise _limit(f"an archive in the archive (as {member.filename.rsplit('/', 1)[-1]})", "Unpack it first.")
            sink.write(chunk)
    return written


def _no_path(found: str) -> IntakeError:
    return refusal(
        "E_NO_PATH", tag="path", found=found, expected="a DICOM folder, a DICOM file, a zip or a NIfTI file",
        remedy="Check the path.",
    )  # fmt: skip


def _unsafe(found: str, expected: str, remedy: str) -> IntakeError:
    return refusal("E_ARCHIVE_UNSAFE", tag="input", found=found, expected=expected, remedy=remedy)


def _limit(found: str, remedy: str) -> IntakeError:
    return refusal(
        "E_ARCHIVE_LIMIT", tag="input", found=found,
        expected=f"at most {MOST_ENTRIES} files, {MOST_UNPACKED >> 30} GiB, {MOST_RATIO}:1", remedy=remedy,
    )  # fmt: skip
