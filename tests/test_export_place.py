"""Output appears whole or not at all, keeps what is not ours, and follows the user's permissions."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from app.export import check_folder, check_report_folder
from app.export import place as places
from app.export.place import REPORT, staged
from vlm.errors import UsageError

MARK = '{"schema": "tomoscribe-report/1", "of": "%s"}'


def write(folder: Path, of: str) -> None:
    with staged(folder) as staging:
        for name in ("masks", "key"):
            (staging / name).mkdir()
            (staging / name / f"{of}.png").write_text(of, encoding="utf-8")
        (staging / "report.md").write_text(of, encoding="utf-8")
        (staging / "report.json").write_text(MARK % of, encoding="utf-8")


def entries(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def whole(of: str) -> set[str]:
    return {f"masks/{of}.png", f"key/{of}.png", "report.md", "report.json"}


@pytest.mark.parametrize("made", [None, "empty", "older"])
def test_a_report_stands_whole_in_a_new_an_empty_and_an_older_folder(made: str | None, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    if made == "empty":
        folder.mkdir(parents=True)
    if made == "older":
        write(folder, "old")
    write(folder, "new")
    assert entries(folder) == whole("new")
    assert names(folder.parent) == ["report"]


def test_other_files_in_the_folder_stay(tmp_path: Path) -> None:
    (tmp_path / "scan.nii.gz").write_text("mine", encoding="utf-8")
    write(tmp_path, "old")
    write(tmp_path, "new")
    assert entries(tmp_path) == {*whole("new"), "scan.nii.gz"}


def test_a_fault_while_writing_leaves_the_older_report_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write(folder, "old")
    with pytest.raises(ZeroDivisionError), staged(folder) as staging:
        (staging / "masks").mkdir()
        raise ZeroDivisionError
    assert entries(folder) == whole("old")
    assert names(tmp_path) == ["report"]


def test_a_full_disk_is_one_line_and_leaves_the_older_report_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "report"
    write(folder, "old")
    with pytest.raises(UsageError, match="No space left") as caught, staged(folder):
        raise OSError(28, "No space left on device")
    assert len(str(caught.value).splitlines()) == 1
    assert entries(folder) == whole("old")


@pytest.mark.parametrize("moved", range(len(REPORT)))
def test_a_stop_between_two_moves_leaves_no_report_json_beside_other_masks(
    moved: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "scan.nii.gz").write_text("mine", encoding="utf-8")  # so that they move one by one
    write(tmp_path, "old")
    moves = iter(range(len(REPORT)))
    replace = Path.replace

    def stop(self: Path, target: Path) -> Path:
        if next(moves) == moved:
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", stop)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path, "new")
    assert "report.json" not in entries(tmp_path)


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    write(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert entries(tmp_path / "real") == whole("new")


def test_a_place_that_cannot_be_renamed_is_filled_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "mount"
    write(folder, "old")

    def busy(*_: Path) -> Path:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rename", busy)
    write(folder, "new")
    assert entries(folder) == whole("new")


def test_permissions_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "report", "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "report").stat().st_mode) == 0o750
    assert stat.S_IMODE((tmp_path / "report" / "report.json").stat().st_mode) == 0o640


def test_a_folder_that_others_may_not_enter_stays_so(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir(mode=0o700)
    write(tmp_path / "report", "new")
    assert stat.S_IMODE((tmp_path / "report").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["taken", "taken/below", "n" * 300])
def test_an_impossible_folder_is_refused_in_one_line_before_any_work(name: str, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(UsageError, match="E_USAGE: --out") as caught:
        check_folder(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    assert names(tmp_path) == ["taken"]


def test_a_check_leaves_nothing_behind(tmp_path: Path) -> None:
    check_report_folder(tmp_path / "a" / "b")
    assert names(tmp_path) == []


def test_a_folder_below_a_parent_that_may_not_be_written_is_filled_from_within(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "report"
    write(folder, "old")
    mkdir = Path.mkdir

    def guarded(self: Path, *words: int, **more: bool) -> None:
        if self.parent == tmp_path and self.name != "report":
            raise PermissionError(13, "Permission denied")
        mkdir(self, *words, **more)

    monkeypatch.setattr(places.Path, "mkdir", guarded)
    write(folder, "new")
    assert entries(folder) == whole("new")
