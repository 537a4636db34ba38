"""A codec that crashes, hangs or eats memory ends one frame, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from vlm.ct import Grid, Scan, Volume, isolation, read
from vlm.errors import IntakeError
from vlm.phantom.dicom_series import write_dicom_series

FIRST_LINES = "import json, os, signal, sys, time\nsys.stdin.buffer.readline()\nsys.stdin.buffer.readline()\n"
CODECS = {
    "crashes": "os.kill(os.getpid(), signal.SIGSEGV)\n",
    "hangs": "time.sleep(60)\n",
    "runs out of memory": "print(json.dumps({'slot': 0, 'error': 'codestream wants more memory than allowed'}))\n",
}


@pytest.fixture
def series(tmp_path: Path) -> Path:
    hu = np.random.default_rng(0).integers(-1000, 300, (12, 16, 16)).astype(np.int16)
    volume = Volume(hu.T, Grid((16, 16, 12), np.diag([4.0, 4.0, 5.0, 1.0])), Scan(source="phantom"))
    write_dicom_series(volume, tmp_path / "series", syntax="jpeg_lossless")
    return tmp_path / "series"


@pytest.mark.parametrize("what", CODECS)
def test_the_scan_is_refused_and_we_live(
    series: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    script = tmp_path / "codec.py"
    script.write_text(FIRST_LINES + CODECS[what])
    monkeypatch.setattr(isolation, "SCRIPT", script)
    monkeypatch.setattr(isolation, "SECONDS_A_FRAME", 1.0)
    with pytest.raises(IntakeError, match=r"E_CORRUPT IM0001\.dcm"):
        read(series)


def test_a_decoder_may_not_take_all_memory(series: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "MOST_BYTES", 1 << 20)
    with pytest.raises(IntakeError, match="E_CORRUPT"):
        read(series)
    monkeypatch.undo()
    assert read(series).volume.hu.shape == (16, 16, 12)


def test_the_frames_of_one_file_are_told_apart(series: Path) -> None:
    assert len(np.unique(read(series).volume.hu.T.reshape(12, -1), axis=0)) == 12
