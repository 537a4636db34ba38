"""Engines that are other people's programs: a scan goes in as NIfTI, a label map comes out, in a process of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nibabel
import numpy as np

from vlm.ct.volume import Volume
from vlm.errors import UsageError, shown

# Whatever a program would fetch or send goes to a port where nobody listens.
OFFLINE = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9") | {
    "no_proxy": "", "NO_PROXY": "", "HF_HUB_OFFLINE": "1",
}  # fmt: skip
LONGEST_S = 3600.0  # a full-resolution run of a large CT on a slow processor takes about half an hour


def program(name: str) -> Path | None:
    """Where a command is: beside the Python that runs us, or on the PATH; None where it is not."""
    beside = Path(sys.executable).with_name(name)
    if beside.is_file():
        return beside
    found = shutil.which(name)
    return Path(found) if found else None


def has_gpu() -> bool:
    """Whether an NVIDIA driver answers here."""
    return Path("/dev/nvidia0").exists()


def write_scan(path: Path, volume: Volume) -> None:
    """The scan as NIfTI in RAS, Hounsfield units; nothing of its header but the geometry."""
    image = nibabel.Nifti1Image(volume.hu, volume.grid.affine, dtype=np.int16)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def run(command: Sequence[str | Path], settings: Mapping[str, str], result: Path) -> None:
    """Run a program until its result is there.

    Raises:
        UsageError: it cannot be started, fails, takes too long or leaves no result; one line says what it said last.
    """
    name = Path(command[0]).name
    try:
        done = subprocess.run(
            [str(part) for part in command], env=os.environ | OFFLINE | dict(settings), capture_output=True, text=True,
            check=False, timeout=LONGEST_S, stdin=subprocess.DEVNULL, cwd=result.parent,
        )  # fmt: skip
    except OSError as fault:
        raise UsageError(f"E_USAGE: {name} cannot be started: {type(fault).__name__}. Install it again.") from fault
    except subprocess.TimeoutExpired as fault:
        raise UsageError(
            f"E_USAGE: {name} took more than {LONGEST_S / 60:.0f} minutes. Take another engine."
        ) from fault
    if done.returncode != 0 or not result.is_file():
        said = [line for line in (done.stderr + "\n" + done.stdout).splitlines() if line.strip()]
        last = next((line for line in said if "Error" in line), said[-1] if said else "nothing")
        raise UsageError(
            f"E_USAGE: {name} ended with {done.returncode} and no label map, and said: {shown(last.strip())} "
            "Check its install by running it alone, or take another engine."
        )
