"""The slices of a candidate become one array of Hounsfield units, already turned to RAS.

Native pixels are read straight from the file; compressed ones come from the decoding child
(``isolation.py``). Each slice is rescaled, reversed as RAS wants it and written once into a
(Z, Y, X) buffer whose transpose is the volume.
"""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm.ct.decode import DEFLATED, NATIVE, DecodeError, Ranges, frame_ranges
from vlm.ct.dicom import META_BYTES, file_meta, inflate
from vlm.ct.geometry import Turn
from vlm.ct.image import Image
from vlm.ct.intake import Note, note, refusal, truncated
from vlm.ct.isolation import FrameError, Job, SharedFrames, decode_frames
from vlm.ct.series import Slice
from vlm.ct.values import PaddingFinder, PaddingRule, masked_bits, set_padding, to_hu
from vlm.errors import IntakeError

Progress = Callable[[str, float], None]  # a step's name and the share of it that is done, 0…1
THREADS = 2
FEW_SLOTS = 16  # a second child costs more than it saves below this
Slots = tuple[Slice | None, ...]


@dataclass(frozen=True, eq=False)
class Stack:
    """(Z, Y, X) HU and padding in the order of the turned axes, with what was noticed on the way."""

    hu: NDArray[np.int16]
    padding: NDArray[np.bool_] | None
    notes: tuple[Note, ...]


def native_frame(each: Slice) -> NDArray[np.uint16]:
    """The stored words of one uncompressed slice, (rows, columns) uint16."""
    with each.image.path.open("rb", buffering=0) as raw:
        return _native(raw, each.image, each.frame.number)


def _ranges(image: Image) -> list[Ranges]:
    """Where the fragments of every frame of a compressed file lie."""
    with image.path.open("rb", buffering=4096) as stream:
        size = os.fstat(stream.fileno()).st_size
        try:
            return frame_ranges(stream, image.pixel_offset, size, len(image.frames))
        except DecodeError as error:
            raise broken_pixels(image, str(error)) from None


def broken_pixels(image: Image, found: str) -> IntakeError:
    """The refusal for pixels that cannot be decoded."""
    code = "E_TRUNCATED" if found.startswith("cut") else "E_CORRUPT"
    return refusal(
        code, file=image.name, tag="pixel data", found=found, expected="decodable pixels", remedy="Copy the file again."
    )


def _native(raw: io.FileIO, image: Image, number: int) -> NDArray[np.uint16]:
    count = image.rows * image.columns
    width = image.bits_allocated // 8
    words = np.empty(count * width, dtype=np.uint8)
    at = image.pixel_offset + number * count * width
    if image.syntax == DEFLATED:
        words[:] = np.frombuffer(_inflated_pixels(raw, image), dtype=np.uint8)[at : at + count * width]
    else:
        raw.seek(at)
        view = memoryview(words.data)
        done = 0
        while done < len(view):
            got = raw.readinto(view[done:])
            if not got:
                raise truncated(image.name, "pixel data", f"{done} of {len(view)} bytes")
            done += got
    if width == 1:
        return words.astype(np.uint16).reshape(image.rows, image.columns)
    stored = words.view("<u2" if image.little_endian else ">u2").reshape(image.rows, image.columns)
    return stored.astype(np.uint16, copy=False)


def _inflated_pixels(raw: io.FileIO, image: Image) -> bytes:
    head = raw.read(META_BYTES)
    end = file_meta(head).end
    raw.seek(end)
    return head[:end] + inflate(io.BufferedReader(raw), image.name)


def padding_rule(each: Slice) -> PaddingRule | None:
    """What the header says about padding, in HU."""
    if each.image.padding is None:
        return None
    low, high = (round(value * each.frame.slope + each.frame.intercept) for value in each.image.padding)
    return PaddingRule(low, high)


class _Writer:
    """Puts slices into the buffer: rescaled, reversed, padding found. Threads share it, each with its own finder."""

    def __init__(self, hu: NDArray[np.int16], slots: Slots, turn: Turn, *, replace_padding: bool) -> None:
        self.hu, self.slots, self.turn, self.replace = hu, slots, turn, replace_padding
        self.padding: NDArray[np.bool_] | None = None
        self.clipped = 0
        self.signs = 0
        self._lock = threading.Lock()

    def put(self, k: int, words: NDArray[np.uint16], finder: PaddingFinder) -> None:
        """Write slot ``k``; ``words`` (rows, columns) as stored but reversed, possibly the slot's own memory."""
        each = self.slots[k]
        assert each is not None
        image, frame, place = each.image, each.frame, self.place(k)
        numbers = masked_bits(words, bits_stored=image.bits_stored, high_bit=image.high_bit, signed=image.signed)
        clipped = to_hu(numbers, slope=frame.slope, intercept=frame.intercept, out=self.hu[place])
        padding = finder.find(self.hu[place], padding_rule(each)) if self.replace else None
        if clipped:
            with self._lock:
                self.clipped += clipped
        if padding is not None:
            set_padding(self.hu[place], padding)
            self._padding()[place] = padding

    def fill_holes(self) -> None:
        """Slots without a slice, from the nearest slices on both sides, by how far each is.

        A slice of air would cut the body in two: lungs open to the room, nothing above belongs to what is below.
        """
        there = [k for k, each in enumerate(self.slots) if each is not None]
        for k in sorted(set(range(len(self.slots))) - set(there)):  # no hole is first or last
            below, above = max(n for n in there if n < k), min(n for n in there if n > k)
            share = (k - below) / (above - below)
            low, high = self.hu[self.place(below)], self.hu[self.place(above)]
            self.hu[self.place(k)] = np.rint((1 - share) * low.astype(np.float32) + share * high)
            if self.padding is not None:
                self.padding[self.place(k)] = self.padding[self.place(below)] & self.padding[self.place(above)]

    def note_sign(self, odd: bool) -> None:
        """Count a slice whose codestream and tag disagree about the sign."""
        with self._lock:
            self.signs += odd

    def place(self, k: int) -> int:
        """Where slot ``k`` lies in the buffer: slices are reversed by writing them from the end."""
        return len(self.slots) - 1 - k if self.turn.keeps_axes and self.turn.flips[2] else k

    def _padding(self) -> NDArray[np.bool_]:
        with self._lock:
            if self.padding is None:
                self.padding = np.zeros(self.hu.shape, dtype=bool)
        return self.padding

    def stack(self) -> Stack:
        """What was written, holes filled, turned where slices do not stay slices."""
        self.fill_holes()
        notes = []
        if self.clipped:
            notes.append(note("R_CLIPPED", f"{self.clipped} voxels beyond 16 bits were clipped."))
        if self.signs:
            notes.append(note("R_SIGN", f"The sign of pixels in {self.signs} slices was taken from the tag."))
        if self.turn.keeps_axes:
            return Stack(self.hu, self.padding, tuple(notes))
        padding = None if self.padding is None else turned(self.padding, self.turn)
        return Stack(turned(self.hu, self.turn), padding, tuple(notes))


def turned(array: NDArray[Any], turn: Turn) -> NDArray[Any]:
    """(slice, row, column) as stored -> (Z, Y, X) in RAS order, contiguous; copies once."""
    stored = array.T.transpose(turn.axes)  # (X, Y, Z), not yet reversed
    ends = tuple(slice(None, None, -1 if flip else 1) for flip in turn.flips)
    return np.ascontiguousarray(stored[ends].T)


def load(slots: Slots, turn: Turn, *, replace_padding: bool = True, progress: Progress | None = None) -> Stack:
    """Read every slot into one buffer; holes are filled between. Raises the IntakeError of the first bad slice."""
    first = next(each for each in slots if each is not None)
    rows, columns = first.image.rows, first.image.columns
    steps = (-1 if turn.flips[1] else 1, -1 if turn.flips[0] else 1) if turn.keeps_axes else (1, 1)
    frames: SharedFrames | None = None
    if any(each is not None and each.image.syntax not in NATIVE for each in slots):
        frames = SharedFrames(len(slots), rows, columns, steps=steps)
        hu = frames.words.view(np.int16)
    else:
        hu = np.empty((len(slots), rows, columns), dtype=np.int16)
    writer = _Writer(hu, slots, turn, replace_padding=replace_padding)
    done = [0] * THREADS

    def work(part: int) -> None:
        for _ in _fill(writer, frames, steps, _part(slots, part)):
            done[part] += 1
            if progress and done[part] % 8 == 0:
                progress("reading slices", sum(done) / len(slots))

    try:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(work, range(THREADS)))
    finally:
        if frames is not None:
            frames.close()
    return writer.stack()


def _fill(writer: _Writer, frames: SharedFrames | None, steps: tuple[int, int], part: range) -> Iterator[int]:
    """Write the slots of ``part``; yields each slot that is done."""
    finder, jobs, ranges = PaddingFinder(), list[Job](), dict[Path, list[Ranges]]()
    for k in part:
        each = writer.slots[k]
        if each is None:  # filled when its neighbours are there
            yield k
        elif each.image.syntax in NATIVE:
            writer.put(k, native_frame(each)[:: steps[0], :: steps[1]], finder)
            yield k
        else:
            image = each.image
            if image.path not in ranges:
                ranges[image.path] = _ranges(image)
            where = ranges[image.path][each.frame.number]
            jobs.append(Job(writer.place(k), image.path, where, image.syntax, image.bits_allocated))
    if frames is None or not jobs:
        return
    slot_at = {writer.place(k): k for k in part}
    try:
        for place, signed in decode_frames(jobs, frames):
            k = slot_at[place]
            each = writer.slots[k]
            assert each is not None
            writer.note_sign(signed is not None and signed != each.image.signed)
            writer.put(k, frames.words[place], finder)
            yield k
    except FrameError as error:
        broken = writer.slots[slot_at[error.slot]]
        assert broken is not None
        raise broken_pixels(broken.image, str(error)) from None


def _part(slots: Slots, part: int) -> range:
    """The slots of one thread: neighbours, which mostly share their padding. Few slots stay together."""
    if len(slots) < FEW_SLOTS:
        return range(len(slots)) if part == 0 else range(0)
    return range(part * len(slots) // THREADS, (part + 1) * len(slots) // THREADS)
