"""How a run of the command line ends when it is stopped, or its words are wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.test_cli import COMMAND, tomoscribe

ROOT = Path(__file__).resolve().parents[1]
AT_WORK = """
import os
import signal
import time
import typer
from app.commands.ending import run_to_its_end
from app.running import side_by_side
from vlm.scratch import scratch_folder

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
app = typer.Typer()

@app.command()
def work() -> None:
    with scratch_folder() as folder:
        (folder / "patient").write_text("a scan")
        try:
            with side_by_side() as pool:
                for _ in range(4):
                    pool.submit(time.sleep, 30)
                print("at work", flush=True)
                time.sleep(30)
        finally:
            if "FAULT" in os.environ:
                raise OSError("the terminal is gone")

run_to_its_end(app)
"""


@pytest.mark.parametrize(
    ("signals", "code"),
    [([signal.SIGINT], 130), ([signal.SIGTERM], 143), ([signal.SIGHUP], 129), ([signal.SIGINT] * 3, 130)],
)
@pytest.mark.parametrize(
    "fault", [{}, {"FAULT": "1"}, {"FAULT": "1", "TOMOSCRIBE_DEBUG": "1"}], ids=["", "fault", "debug"]
)
def test_a_run_that_is_stopped_ends_at_once_and_leaves_no_folder(
    signals: list[signal.Signals], code: int, fault: dict[str, str], tmp_path: Path
) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT), **fault}
    with subprocess.Popen(
        [sys.executable, "-c", AT_WORK], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, text=True
    ) as run:
        assert run.stdout is not None and run.stdout.readline() == "at work\n"
        assert len(list(tmp_path.glob("tomoscribe-*/patient"))) == 1
        for number in signals:
            run.send_signal(number)
        _, said = run.communicate(timeout=15)  # its threads would sleep for 60 s
    assert (run.returncode, said) == (code, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["read"], "'PATH'"),
        (["read", "scan"], "'--out'"),
        (["read", "scan", "--out"], "'--out'"),
        (["info", "scan", "--bogus"], "--bogus"),
        (["serve", "--port", "99999"], "65535"),
        (["raed", "scan"], "did you mean 'read'"),
        (["index", "add"], "tomoscribe index add reports"),
    ],
)
def test_wrong_words_are_told_in_one_line(words: list[str], told: str) -> None:
    done = tomoscribe(*words)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("E_USAGE: ")
    assert done.stderr.count("\n") == 1
    assert told in done.stderr
    assert "--help`." in done.stderr


def test_a_prompt_that_nobody_answers_is_told_in_one_line(tmp_path: Path) -> None:
    words = ["serve", "--users", str(tmp_path / "users"), "--add-user", "ann"]
    done = subprocess.run(
        [COMMAND, *words], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60
    )
    assert done.returncode == 2
    assert "E_USAGE: the input ended" in done.stderr
    assert not (tmp_path / "users").exists()


def test_no_words_at_all_print_the_help() -> None:
    done = tomoscribe()
    assert done.returncode == 2
    assert "Usage: tomoscribe" in done.stdout + done.stderr
    assert "E_USAGE" not in done.stderr
