"""Compressed pixels become numbers: one explicit table from transfer syntax to decoder.

Nothing guesses a format: the transfer syntax names the decoder, and what comes out must
have the size and depth that the header declares. GPL decoders are not used. Fragments of
encapsulated pixel data are found by walking their item headers, never by trusting a count.

Codecs have bugs and files may be hostile, so they run in a child process: this file, started
as a script by ``isolation.py``. It therefore imports nothing of ours.
"""

from __future__ import annotations

import json
import mmap
import struct
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

DEFLATED = "1.2.840.10008.1.2.1.99"
UNCOMPRESSED_LITTLE = "1.2.840.10008.1.2.1"
BIG_ENDIAN = "1.2.840.10008.1.2.2"
NATIVE = frozenset({"1.2.840.10008.1.2", UNCOMPRESSED_LITTLE, BIG_ENDIAN, DEFLATED})
RLE = "1.2.840.10008.1.2.5"
MOST_FRAGMENTS = 100_000

Pixels = NDArray[Any]  # (rows, columns); uint8, int8, uint16 or int16, as the codestream says


def _jpeg(data: bytes, _rows: int, _columns: int, _bits: int) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg8_decode(data))


def _jpegls(data: bytes, _rows: int, _columns: int, _bits: int) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpegls_decode(data))


def _jpeg2000(data: bytes, _rows: int, _columns: int, _bits: int) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.jpeg2k_decode(data))


def _htj2k(data: bytes, _rows: int, _columns: int, _bits: int) -> Pixels:
    import imagecodecs

    return np.asarray(imagecodecs.htj2k_decode(data))


def _rle(data: bytes, rows: int, columns: int, bits: int) -> Pixels:
    from rle.rle import decode_frame

    frame = decode_frame(data, rows * columns, bits, "<")
    return np.frombuffer(frame, dtype=np.uint8 if bits == 8 else "<u2").reshape(rows, columns)


SYNTAXES: Mapping[str, Callable[[bytes, int, int, int], Pixels]] = {
    RLE: _rle,
    "1.2.840.10008.1.2.4.50": _jpeg,  # JPEG Baseline, 8 bit: refused later, decoded for its message
    "1.2.840.10008.1.2.4.51": _jpeg,  # JPEG Extended, 12 bit
    "1.2.840.10008.1.2.4.57": _jpeg,  # JPEG Lossless, process 14
    "1.2.840.10008.1.2.4.70": _jpeg,  # JPEG Lossless, selection value 1
    "1.2.840.10008.1.2.4.80": _jpegls,
    "1.2.840.10008.1.2.4.81": _jpegls,  # near-lossless
    "1.2.840.10008.1.2.4.90": _jpeg2000,
    "1.2.840.10008.1.2.4.91": _jpeg2000,
    "1.2.840.10008.1.2.4.201": _htj2k,
    "1.2.840.10008.1.2.4.202": _htj2k,
    "1.2.840.10008.1.2.4.203": _htj2k,
}


class DecodeError(ValueError):
    """Compressed pixels that are cut, broken, or not what their header says. One short phrase."""


def decode(data: bytes, syntax: str, *, rows: int, columns: int, bits_allocated: int) -> NDArray[np.uint16]:
    """One compressed frame -> (rows, columns) uint16 words as stored; negative numbers in two's complement.

    Raises:
        DecodeError: the codestream is broken or has another size than the header.
    """
    declared = declared_size(data, syntax)
    if declared is not None and declared != (rows, columns):
        raise DecodeError(f"codestream declares {declared[0]}x{declared[1]}, header says {rows}x{columns}")
    try:
        pixels = SYNTAXES[syntax](data, rows, columns, bits_allocated)
    except (MemoryError, KeyError):
        raise
    except Exception as error:  # every codec has its own kinds
        raise DecodeError(f"codestream broken ({type(error).__name__})") from None
    if pixels.shape != (rows, columns):
        raise DecodeError(f"codestream holds {'x'.join(map(str, pixels.shape))}, header says {rows}x{columns}")
    if pixels.dtype.kind not in "iu" or pixels.dtype.itemsize > 2:
        raise DecodeError(f"codestream holds {pixels.dtype}, expected at most 16 bits")
    if pixels.dtype.kind == "i":
        return np.ascontiguousarray(pixels.astype(np.int16, copy=False)).view(np.uint16)
    return np.ascontiguousarray(pixels.astype(np.uint16, copy=False))


def codestream_is_signed(data: bytes) -> bool | None:
    """What a JPEG 2000 codestream says about the sign of its numbers; None for anything else."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 256)
    return bool(data[start + 42] & 0x80) if start >= 0 and len(data) > start + 42 else None


def declared_size(data: bytes, syntax: str) -> tuple[int, int] | None:
    """(rows, columns) that a codestream declares, read without decoding; None where it cannot be told."""
    if syntax == RLE:
        return None
    if data[:2] == b"\xff\x4f" and len(data) > 24:
        x1, y1, x0, y0 = struct.unpack(">IIII", data[8:24])
        return y1 - y0, x1 - x0
    at = 2
    while at + 9 < len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in (0xC0, 0xC1, 0xC2, 0xC3, 0xF7):
            rows, columns = struct.unpack(">HH", data[at + 5 : at + 9])
            return rows, columns
        at += 2 + struct.unpack(">H", data[at + 2 : at + 4])[0]
    return None


Ranges = tuple[tuple[int, int], ...]  # (offset, length) of the fragments of a frame


def frame_ranges(stream: BinaryIO, start: int, size: int, frames: int) -> list[Ranges]:
    """Where each frame's fragments lie; ``start`` is the first byte after the header of Pixel Data.

    Raises:
        DecodeError: items run past the end, or fragments cannot be told apart into frames.
    """
    table, fragments = _items(stream, start, size)
    if not fragments:
        raise DecodeError("no fragments")
    if frames == 1:
        return [tuple(fragments)]
    if len(fragments) == frames:
        return [(fragment,) for fragment in fragments]
    if len(table) == frames:
        base = table_base(fragments)
        starts = [base + offset for offset in table]
    else:
        starts = [at for at, length in fragments if length >= 2 and _starts_frame(stream, at)]
        starts = [at - 8 for at in starts]
    groups: list[list[tuple[int, int]]] = []
    for at, length in fragments:
        if at - 8 in starts or not groups:
            groups.append([])
        groups[-1].append((at, length))
    if len(groups) != frames:
        raise DecodeError(f"{len(groups)} frames in the pixel data, {frames} in the header")
    return [tuple(group) for group in groups]


def table_base(fragments: list[tuple[int, int]]) -> int:
    """Offsets of the basic offset table count from the item header of the first fragment."""
    return fragments[0][0] - 8


def _starts_frame(stream: BinaryIO, at: int) -> bool:
    stream.seek(at)
    return stream.read(2) in (b"\xff\xd8", b"\xff\x4f")


def _items(stream: BinaryIO, start: int, size: int) -> tuple[tuple[int, ...], list[tuple[int, int]]]:
    """The basic offset table, and the (offset, length) of each fragment that holds bytes."""
    fragments: list[tuple[int, int]] = []
    table: tuple[int, ...] = ()
    at, first = start, True
    while True:
        stream.seek(at)
        head = stream.read(8)
        if len(head) < 8:
            raise DecodeError("cut before the end of the fragments")
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            return table, fragments
        if (group, element) != (0xFFFE, 0xE000) or at + 8 + length > size:
            raise DecodeError("cut or broken in the fragments")
        if first:
            table = struct.unpack(f"<{length // 4}I", stream.read(length - length % 4))
        elif length:
            fragments.append((at + 8, length))
        if len(fragments) > MOST_FRAGMENTS:
            raise DecodeError(f"more than {MOST_FRAGMENTS} fragments")
        at, first = at + 8 + length, False


def child() -> None:
    """The loop of the child process. Lines of JSON come in: first the frame, then one job each; one goes out per job.

    Words are written into the shared memory that the first line names. A codec that crashes
    takes this process with it, and nothing else.
    """
    frame = json.loads(sys.stdin.buffer.readline())
    _limit_memory(frame["most_bytes"])
    shape = (frame["slots"], frame["rows"], frame["columns"])
    memory = mmap.mmap(frame["memory"], 2 * shape[0] * shape[1] * shape[2])
    out = np.frombuffer(memory, dtype=np.uint16).reshape(shape)
    rows, columns = (slice(None, None, step) for step in frame["steps"])
    for line in sys.stdin.buffer:
        job = json.loads(line)
        answer: dict[str, Any] = {"slot": job["slot"]}
        try:
            with open(job["path"], "rb") as stream:  # noqa: PTH123  (pathlib costs start-up time)
                parts = []
                for at, length in job["ranges"]:
                    stream.seek(at)
                    parts.append(stream.read(length))
            data = b"".join(parts)
            words = decode(data, job["syntax"], rows=shape[1], columns=shape[2], bits_allocated=job["bits"])
            out[job["slot"]] = words[rows, columns]
            answer["signed"] = codestream_is_signed(data)
        except (DecodeError, OSError) as error:
            answer["error"] = str(error) if isinstance(error, DecodeError) else "unreadable"
        except MemoryError:
            answer["error"] = "codestream wants more memory than allowed"
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _limit_memory(most_bytes: int) -> None:
    """Cap the address space of this process, where the system can."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):
        return


if __name__ == "__main__":
    child()
