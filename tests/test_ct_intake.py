"""Codes, archives and what must not be installed."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import zipfile
from pathlib import Path

import pytest

from vlm.ct import read, survey
from vlm.ct.archive import opened
from vlm.ct.decode import NATIVE, SYNTAXES
from vlm.ct.intake import CODES, LIMITS, note, page, refusal
from vlm.errors import IntakeError

ROOT = Path(__file__).resolve().parents[1]
SEVERITIES = {"E": "refuse", "W": "limit", "R": "repair"}


def codes_in_source() -> set[str]:
    """Every string of vlm/ct that looks like a code, outside the table itself."""
    found: set[str] = set()
    for path in (ROOT / "vlm/ct").glob("*.py"):
        if path.name == "intake.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and re.fullmatch("[EWR]_[A-Z0-9_]+", str(node.value)):
                found.add(node.value)
    return found


def test_every_code_that_is_raised_stands_in_the_table_and_the_other_way_round() -> None:
    helpers = {"E_TRUNCATED", "E_CORRUPT", "E_TOO_LARGE"}  # raised by the short forms in intake.py as well
    assert codes_in_source() <= set(CODES)
    assert set(CODES) - codes_in_source() <= helpers


def test_severity_is_the_first_letter_and_limits_are_known() -> None:
    for name, code in CODES.items():
        assert code.severity == SEVERITIES[name[0]]
        assert set(code.limits) <= set(LIMITS)


def test_the_page_of_the_docs_is_the_table() -> None:
    assert (ROOT / "docs/intake.md").read_text(encoding="utf-8") == page()


def test_an_unknown_code_cannot_be_used() -> None:
    with pytest.raises(KeyError):
        note("W_INVENTED", "x")
    with pytest.raises(KeyError):
        refusal("W_TILT", tag="", found="", expected="", remedy="")


@pytest.mark.parametrize("package", ["libjpeg", "gdcm"])
def test_decoders_that_may_not_be_used_are_absent(package: str) -> None:
    assert importlib.util.find_spec(package) is None


def test_every_syntax_has_one_way() -> None:
    assert not NATIVE & set(SYNTAXES)


@pytest.mark.parametrize(
    "name",
    ["../out", "/out", "C:/out", "a\\..\\out", "a/../../out", "nul", "folder/CON.dcm", "a\0b/../c"],
)
def test_names_that_leave_the_archive_are_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "study.zip"
    entry = zipfile.ZipInfo("inside")
    entry.filename = name  # as written by others: zipfile itself would clean it
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(entry, b"x")
    if "\0" in name:  # zipfile cuts at the zero while reading: what is left is harmless
        return
    with pytest.raises(IntakeError, match="E_ARCHIVE_UNSAFE"):
        read(path)


def test_an_encrypted_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", b"x" * 50)
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(IntakeError, match="E_ARCHIVE_ENCRYPTED"):
        read(path)


def test_unpacked_files_have_our_names_in_a_private_folder_and_go(tmp_path: Path) -> None:
    path = tmp_path / "study.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("DOE^JOHN/IM1", b"x" * 50)
    with opened(path) as entries:
        (entry,) = entries
        assert "DOE" not in str(entry.path)
        assert entry.path.parent.stat().st_mode & 0o777 == 0o700
    assert not entry.path.parent.exists()


def test_a_link_in_a_folder_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "study").mkdir()
    (tmp_path / "study/IM1").symlink_to("/etc/hostname")
    with pytest.raises(IntakeError, match="E_ARCHIVE_UNSAFE"):
        read(tmp_path / "study")


@pytest.mark.parametrize("what", ["nowhere", "empty folder", "empty file", "text", "pipe"])
def test_what_is_no_scan_is_refused(tmp_path: Path, what: str) -> None:
    path = tmp_path / "thing"
    if what == "empty folder":
        path.mkdir()
    elif what == "empty file":
        path.touch()
    elif what == "text":
        path.write_text("hello " * 200)
    elif what == "pipe":
        os.mkfifo(path)
    code = "E_NO_PATH" if what in ("nowhere", "pipe") else "E_NO_IMAGES"
    with pytest.raises(IntakeError, match=code):
        read(path)
    if code == "E_NO_PATH":
        with pytest.raises(IntakeError, match=code):
            survey(path)
