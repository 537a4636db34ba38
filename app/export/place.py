"""Where output goes: a folder is checked before any work, made whole beside its place, and put there by a rename.

A report's folder that is new, empty or holds nothing but an older report is exchanged whole. One with other
files in it keeps them: ours are moved in one by one, report.json last, so that a report.json is never beside
the masks of another reading. Permissions are the user's: folders and files follow the umask.
"""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vlm.errors import UsageError, shown

REPORT = ("masks", "key", "report.md", "report.json")  # in the order in which they move; the last one says: whole


def check_folder(folder: Path, option: str = "--out") -> None:
    """Refuse a folder that cannot be written to, before any work is done. Nothing is left behind.

    Raises:
        UsageError: it is a file, below a file, or may not be written.
    """
    with writing(folder, option):
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"E_USAGE: {option} {shown(folder.name)} is a file, expected a folder. Name a new folder.")
        nearest = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
        probe = nearest / _name(folder)
        probe.mkdir()
        probe.rmdir()


def check_report_folder(folder: Path) -> None:
    """Refuse a folder that a report may not be written to, also for masks or keys in it that are not ours.

    Raises:
        UsageError: nothing was touched.
    """
    check_folder(folder)
    taken = [name for name in ("masks", "key") if (folder / name).exists()]
    if taken and not is_report(folder):
        raise UsageError(
            f"E_USAGE: --out {shown(folder.name)} holds {' and '.join(taken)} of somebody else, expected an empty "
            "folder or an older report. Name a new folder."
        )


def is_report(folder: Path) -> bool:
    """Whether a folder holds a report of ours."""
    try:
        document = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(document, dict) and str(document.get("schema", "")).startswith("tomoscribe-report/")


@contextmanager
def writing(folder: Path, option: str = "--out") -> Iterator[None]:
    """Turn what the file system refuses into one line.

    Raises:
        UsageError: the folder cannot be written: a permission, a full disk, a name too long.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise UsageError(
            f"E_USAGE: {option} {shown(folder.name)} cannot be written: {reason}. Name a folder that can."
        ) from None


@contextmanager
def staged(folder: Path, entries: Sequence[str] = REPORT) -> Iterator[Path]:
    """A new folder to fill; when the block ends without an error its content stands in ``folder``.

    Args:
        folder: where it goes, made when missing.
        entries: names of what is put into it, the one that says that all is there last.

    Raises:
        UsageError: the file system refuses.
    """
    with writing(folder):
        place = folder.resolve()  # a link stays a link
        place.parent.mkdir(parents=True, exist_ok=True)
        staging = _new_folder(place)
        try:
            yield staging
            _put(staging, place, entries)
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write one text file so that a reader sees the old one or the new one, never a half."""
    part = path.with_name(_name(path))
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _new_folder(place: Path) -> Path:
    """Beside the place, so that one rename puts it there; inside it where the parent may not be written."""
    for parent in (place.parent, place):
        staging = parent / _name(place)
        try:
            staging.mkdir()
        except OSError:
            if parent is place or not place.is_dir():
                raise
            continue
        return staging
    raise AssertionError("unreachable: the last folder returns or raises")


def _name(place: Path) -> str:
    return f".{place.name[:80]}.new-{secrets.token_hex(6)}"


def _put(staging: Path, place: Path, entries: Sequence[str]) -> None:
    old = staging.with_name(f"{staging.name}-old")
    try:
        if not place.exists():
            staging.rename(place)
            return
        if staging.parent == place.parent and {entry.name for entry in place.iterdir()} <= set(entries):
            shutil.copymode(place, staging)  # a folder that others may not enter stays so
            try:
                place.rename(old)
            except OSError:  # a mount point cannot be renamed: one by one, then
                pass
            else:
                try:
                    staging.rename(place)
                except OSError:
                    old.rename(place)
                    raise
                return
        _exchange(staging, place, entries)
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _exchange(staging: Path, place: Path, entries: Sequence[str]) -> None:
    """Move our entries in one by one. While they move the last one is not there: half a report is none."""
    (place / entries[-1]).unlink(missing_ok=True)
    for name in entries:
        if not (staging / name).exists():
            continue
        if (place / name).is_dir():
            shutil.rmtree(place / name)
        (staging / name).replace(place / name)
