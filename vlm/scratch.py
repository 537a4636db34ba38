"""Folders that live as long as one task: unpacked archives, the files of an outside engine.

A scan that was unpacked names its patient, so none may stay behind. ``scratch_folder`` removes its folder when the
block ends; ``remove_all`` removes those of blocks that a stop of the program does not let end.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_in_use: set[str] = set()


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """An empty folder in the system's temporary folder, for its owner alone (0700), gone after the block."""
    name = tempfile.mkdtemp(prefix="tomoscribe-")
    _in_use.add(name)
    try:
        yield Path(name)
    finally:
        shutil.rmtree(name, ignore_errors=True)
        if not Path(name).exists():  # a stop may come amid the removal
            _in_use.discard(name)


def remove_all() -> None:
    """Remove every folder that is still in use; for the last moment of a program that was stopped."""
    for name in tuple(_in_use):
        shutil.rmtree(name, ignore_errors=True)
