"""Decode compressed frames in a child process: a codec that crashes, hangs or eats memory takes nothing with it.

The child (``decode.py`` run as a script) gets jobs as lines of JSON and writes words into
shared memory; its address space is capped and each frame has a time limit. Frames are
handed on as they come, so the caller works while the child decodes the next.
"""

from __future__ import annotations

import json
import mmap
import os
import queue
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vlm.ct.decode import DecodeError, Ranges

MOST_BYTES = 2 << 30  # address space of a child beside the shared memory
SECONDS_A_FRAME = 30.0  # JPEG 2000 of 2048 x 2048 takes about one
SCRIPT = Path(__file__).with_name("decode.py")


@dataclass(frozen=True, slots=True)
class Job:
    """One frame to decode into ``slot`` of the shared memory."""

    slot: int
    path: Path
    ranges: Ranges
    syntax: str
    bits_allocated: int


class FrameError(DecodeError):
    """A frame that could not be decoded; ``slot`` says which."""

    def __init__(self, slot: int, phrase: str) -> None:
        self.slot = slot
        super().__init__(phrase)


class SharedFrames:
    """(slots, rows, columns) uint16 that children write and this process reads.

    ``steps`` are 1 or −1 for rows and columns: frames are written reversed as the volume wants them.
    """

    def __init__(self, slots: int, rows: int, columns: int, *, steps: tuple[int, int]) -> None:
        self.slots, self.rows, self.columns, self.steps = slots, rows, columns, steps
        size = 2 * slots * rows * columns
        if hasattr(os, "memfd_create"):
            self.descriptor = os.memfd_create("tomoscribe-frames")
        else:
            with tempfile.TemporaryFile(prefix="tomoscribe-") as file:
                self.descriptor = os.dup(file.fileno())
        os.ftruncate(self.descriptor, size)
        self._memory = mmap.mmap(self.descriptor, size)
        self.words: NDArray[np.uint16] = np.frombuffer(self._memory, dtype=np.uint16).reshape(slots, rows, columns)

    def close(self) -> None:
        """Let go of the descriptor; the memory stays until the last view of ``words`` goes."""
        os.close(self.descriptor)


def decode_frames(jobs: Sequence[Job], frames: SharedFrames) -> Iterator[tuple[int, bool | None]]:
    """Decode ``jobs`` in one child; yields (slot, sign of the codestream) as each frame is ready in ``frames``.

    Raises:
        FrameError: a frame is broken, or the child died or hung on it.
    """
    if not jobs:
        return
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
    child = subprocess.Popen(
        [sys.executable, "-I", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, pass_fds=(frames.descriptor,), env=environment,
    )  # fmt: skip
    assert child.stdin is not None and child.stdout is not None
    answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    feeder = threading.Thread(target=_feed, args=(child.stdin, jobs, frames), daemon=True)
    reader = threading.Thread(target=_collect, args=(child.stdout, answers), daemon=True)
    feeder.start()
    reader.start()
    try:
        for job in jobs:
            yield job.slot, _answer(answers, job.slot)
    finally:
        child.kill()
        child.wait()
        feeder.join()
        reader.join()
        child.stdout.close()


def _feed(stdin: IO[bytes], jobs: Sequence[Job], frames: SharedFrames) -> None:
    """Write the first line and every job; a child that died closes the pipe, which is noticed elsewhere."""
    head = {
        "memory": frames.descriptor, "slots": frames.slots, "rows": frames.rows, "columns": frames.columns,
        "steps": frames.steps, "most_bytes": MOST_BYTES + frames.words.nbytes,
    }  # fmt: skip
    try:
        stdin.write(json.dumps(head).encode() + b"\n")
        for job in jobs:
            line = {
                "slot": job.slot, "path": str(job.path), "ranges": job.ranges, "syntax": job.syntax,
                "bits": job.bits_allocated,
            }  # fmt: skip
            stdin.write(json.dumps(line).encode() + b"\n")
        stdin.close()
    except OSError:
        return


def _collect(stdout: IO[bytes], answers: queue.SimpleQueue[bytes]) -> None:
    """Pass on the child's lines, and an empty one at its end."""
    for line in stdout:
        answers.put(line)
    answers.put(b"")


def _answer(answers: queue.SimpleQueue[bytes], slot: int) -> bool | None:
    """The child's answer for the frame it is working on."""
    try:
        line = answers.get(timeout=SECONDS_A_FRAME)
    except queue.Empty:
        raise FrameError(slot, f"the decoder took more than {SECONDS_A_FRAME:.0f} s") from None
    if not line:
        raise FrameError(slot, "the decoder crashed on it")
    answer = json.loads(line)
    if "error" in answer:
        raise FrameError(slot, str(answer["error"]))
    signed = answer["signed"]
    return None if signed is None else bool(signed)
