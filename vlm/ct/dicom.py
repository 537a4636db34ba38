"""One DICOM file becomes an Image, or is skipped by its kind, or refused.

Headers are read by pydicom, only the tags of ``tags.py``, and stop before the pixels. Sizes
are checked against the file before anything is allocated or decoded. Deflated files are
inflated by us, with limits counted on the way.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from vlm.ct import tags as tag
from vlm.ct.decode import BIG_ENDIAN, DEFLATED, NATIVE, SYNTAXES, UNCOMPRESSED_LITTLE
from vlm.ct.frames import classic_frame, enhanced_frames
from vlm.ct.image import (
    DERIVED,
    Image,
    Skipped,
    acquired,
    contrast,
    first_number,
    frame_must_be_hu,
    kernel_name,
    lossy_ratio,
    must_be_hu,
    not_a_slice,
    patient_position,
    scan_places,
    stored_padding,
    whole,
)
from vlm.ct.intake import corrupt, refusal, too_large, truncated
from vlm.ct.tags import Tags, kernel_class, pseudonym
from vlm.errors import IntakeError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
MOST_ROWS, MOST_FRAMES, MOST_VOXELS = 2048, 4096, 1_500_000_000
META_BYTES = 4096  # a file meta is shorter
IMPLICIT = "1.2.840.10008.1.2"
PIXEL_TAGS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
WANTED: list[BaseTag | int] = [Tag(key) for key in tag.WANTED]
MOST_BYTES = 2 << 30  # one file, 2 GiB
MOST_INFLATED, MOST_RATIO, SMALL_BYTES = 512 << 20, 200, 16 << 20  # a deflated data set; ratio counts above 16 MiB


@dataclass(frozen=True, slots=True)
class _File:
    """The file a header belongs to; ``size`` is that of the inflated bytes."""

    path: Path
    name: str
    size: int
    syntax: str
    preamble: bool
    little_endian: bool
    stated_class: str  # Media Storage SOP Class, from the file meta


def starts_like_dicom(head: bytes) -> bool:
    """True when the first 132 or more bytes are DICOM, with or without preamble."""
    return head[128:132] == b"DICM" or _bare(head)


def _bare(head: bytes) -> bool:
    """A data set without preamble: its first element is of group 0008 (or 0002), explicit or implicit."""
    if len(head) < 16 or head[:2] not in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
        return False
    element = int.from_bytes(head[2:4], "little" if head[1] == 0 else "big")
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    length = int.from_bytes(head[4:8], "little")
    return element <= 0x0070 and (explicit or length <= 256)


def read_header(path: Path, name: str) -> Image | Skipped:
    """Read one file up to its pixels.

    Raises:
        IntakeError: a CT that cannot be used, or a file that is broken.
    """
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise too_large(name, "file size", f"{size} bytes", f"at most {MOST_BYTES}")
    with path.open("rb", buffering=16384) as stream:
        return _header(stream, size, path, name)


def _header(stream: BinaryIO, size: int, path: Path, name: str) -> Image | Skipped:
    head = stream.read(META_BYTES)
    preamble = head[128:132] == b"DICM"
    meta = file_meta(head) if preamble else FileMeta(0, "", "")
    try:
        if meta.syntax == DEFLATED:
            stream.seek(meta.end)
            stream = io.BytesIO(head[: meta.end] + inflate(stream, name))
            size = len(stream.getbuffer())
        syntax = meta.syntax
        if syntax:
            stream.seek(meta.end)
            dataset = read_dataset(
                stream, syntax == IMPLICIT, syntax != BIG_ENDIAN, stop_when=_at_pixels, specific_tags=WANTED
            )
        else:  # no file meta, or one that names no syntax: pydicom tells it from the first element
            stream.seek(0)
            dataset = dcmread(stream, stop_before_pixels=True, specific_tags=WANTED, force=not preamble)
            implicit, little = dataset.original_encoding
            syntax = IMPLICIT if implicit else UNCOMPRESSED_LITTLE if little else BIG_ENDIAN
        file = _File(path, name, size, syntax, preamble, syntax != BIG_ENDIAN, meta.sop_class)
        return _image(Tags(dataset, name, little_endian=file.little_endian), stream, file)
    except IntakeError:
        raise
    except RecursionError:
        raise corrupt(name, "sequences", "nested too deep", f"at most {tag.DEEPEST_SEQUENCE} levels") from None
    except MemoryError:
        raise too_large(name, "header", "more than fits in memory", "a CT header") from None
    except EOFError:
        raise truncated(name, "header", "cut") from None
    except Exception as error:  # pydicom raises many kinds on broken files; all of them mean this
        raise corrupt(name, "header", type(error).__name__, "a DICOM data set") from None


def inflate(stream: BinaryIO, name: str) -> bytes:
    """The rest of a deflated stream, inflated with limits counted while inflating."""
    engine, out, packed = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), 0
    while chunk := stream.read(1 << 16):
        packed += len(chunk)
        while chunk and not engine.eof:
            out += engine.decompress(chunk, 1 << 20)
            chunk = engine.unconsumed_tail
            if len(out) > MOST_INFLATED or (len(out) > SMALL_BYTES and len(out) > MOST_RATIO * packed):
                raise too_large(name, "deflated data set", f"more than {len(out)} bytes", f"at most {MOST_RATIO}:1")
    if not engine.eof:
        raise truncated(name, "deflated data set", "cut short")
    return bytes(out)


def _at_pixels(key: int, _representation: str | None, _length: int) -> bool:
    """Where pydicom stops reading: at Pixel Data, or its float forms."""
    return key in PIXEL_TAGS


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What the file meta says: where it ends, the transfer syntax, the SOP class; "" for what it does not say."""

    end: int
    syntax: str
    sop_class: str


def file_meta(head: bytes) -> FileMeta:
    """Walk the file meta, which is explicit little endian, in the first META_BYTES of a file."""
    at, values = 132, {0x0002: "", 0x0010: ""}
    while at + 12 <= len(head) and head[at : at + 2] == b"\x02\x00":
        if head[at + 4 : at + 6] in (b"OB", b"UN", b"OW"):
            length, value = struct.unpack_from("<I", head, at + 8)[0], at + 12
        else:
            length, value = struct.unpack_from("<H", head, at + 6)[0], at + 8
        element = struct.unpack_from("<H", head, at + 2)[0]
        if element in values:
            values[element] = head[value : value + length].rstrip(b"\0 ").decode("ascii", "replace")
        at = value + length
    return FileMeta(at, values[0x0010], values[0x0002])


def _image(tags: Tags, stream: BinaryIO, file: _File) -> Image | Skipped:
    sop_class = tags.uid(tag.SOP_CLASS) or file.stated_class  # some anonymisers empty it and leave the file meta
    series = pseudonym(tags.uid(tag.SERIES_UID))
    cut = stream.tell() >= file.size
    if not sop_class:
        if file.preamble and cut:
            raise truncated(file.name, "header", "cut before the SOP class")
        raise refusal(
            "E_NOT_DICOM",
            file=file.name,
            tag="SOP Class (0008,0016)",
            found="absent",
            expected="a DICOM image",
            remedy="Leave this file out, or export it again.",
        )
    if sop_class != CT_IMAGE and sop_class not in ENHANCED_CT:
        kind = UID(sop_class).name
        return Skipped(file.name, kind if kind != sop_class else "unknown object", series)
    image_type = tuple(word.upper() for word in tags.texts(tag.IMAGE_TYPE))
    if skip := not_a_slice(tags, image_type):
        return Skipped(file.name, skip, series)
    must_be_hu(tags, image_type, file.name)
    if cut:
        raise truncated(file.name, "header", "cut before the pixel data")
    return _ct_image(tags, stream, file, enhanced=sop_class in ENHANCED_CT, image_type=image_type)


def _ct_image(tags: Tags, stream: BinaryIO, file: _File, *, enhanced: bool, image_type: tuple[str, ...]) -> Image:
    rows, columns, count = _size(tags)
    bits_allocated, bits_stored, high_bit, signed = _pixel_format(tags)
    need = rows * columns * count * bits_allocated // 8
    offset, length = _pixels(stream, file, need=need)
    frames = enhanced_frames(tags, count, file.name) if enhanced else (classic_frame(tags, file.name),)
    if enhanced:
        for group in tags.items(tag.FRAME_GROUPS):
            frame_must_be_hu(group, file.name)
    padding, padding_repaired = stored_padding(tags, signed)
    places, series_uid = scan_places(tags), tags.uid(tag.SERIES_UID)
    kernel = kernel_name(places)
    packed = need / max(1, file.size - offset)
    return Image(
        path=file.path,
        name=file.name,
        syntax=file.syntax,
        sop_uid=tags.uid(tag.SOP_UID),
        patient=pseudonym(tags.text(tag.PATIENT_ID), tags.text(tag.BIRTH_DATE)),
        series=pseudonym(series_uid),
        series_uid=series_uid,
        frame_of_reference=pseudonym(tags.uid(tag.FRAME_OF_REFERENCE)),
        image_type=image_type,
        kernel_name=kernel,
        rows=rows,
        columns=columns,
        bits_allocated=bits_allocated,
        bits_stored=bits_stored,
        high_bit=high_bit,
        signed=signed,
        monochrome1=tags.text(tag.PHOTOMETRIC).upper() == "MONOCHROME1",
        padding=padding,
        padding_repaired=padding_repaired,
        lossy_ratio=lossy_ratio(tags, file.syntax, frames, bits_stored=bits_stored, packed=packed),
        pixel_offset=offset,
        pixel_bytes=length,
        little_endian=file.little_endian,
        preamble=file.preamble,
        derived=bool(DERIVED.intersection(image_type[2:])),
        kernel=kernel_class(kernel),
        contrast=contrast(places),
        instance=whole(tags.number(tag.INSTANCE)),
        thickness_mm=first_number(places, tag.THICKNESS),
        spacing_between_mm=first_number(places, tag.SPACING_BETWEEN),
        voltage_kv=first_number(places, tag.KVP),
        exposure_mas=first_number(places, tag.EXPOSURE),
        patient_position=patient_position(tags),
        acquired=acquired(tags),
        frames=frames,
    )


def _size(tags: Tags) -> tuple[int, int, int]:
    """(rows, columns, frames), each within what a CT has; E_TOO_LARGE beyond."""
    rows, columns = tags.need_short(tag.ROWS, 1, 65535), tags.need_short(tag.COLUMNS, 1, 65535)
    count = tags.count(tag.FRAMES, 1)
    if max(rows, columns) > MOST_ROWS or count > MOST_FRAMES or rows * columns * count > MOST_VOXELS:
        most = f"at most {MOST_ROWS}x{MOST_ROWS}x{MOST_FRAMES}"
        raise too_large(tags.file, "image size", f"{columns}x{rows}x{count}", most)
    return rows, columns, count


def _pixel_format(tags: Tags) -> tuple[int, int, int, bool]:
    """(Bits Allocated, Bits Stored, High Bit, signed), consistent with each other; E_CORRUPT otherwise."""
    allocated = tags.need_short(tag.BITS_ALLOCATED, 1, 64)
    if allocated not in (8, 16):
        raise tags.corrupt(tag.BITS_ALLOCATED, allocated, "8 or 16")
    stored = tags.need_short(tag.BITS_STORED, 1, allocated)
    high = stored - 1
    if tag.HIGH_BIT in tags:
        high = tags.need_short(tag.HIGH_BIT, stored - 1, allocated - 1)
    return allocated, stored, high, bool(tags.need_short(tag.SIGNED, 0, 1))


def _pixels(stream: BinaryIO, file: _File, *, need: int) -> tuple[int, int | None]:
    """Where the value of Pixel Data starts and its length (None: encapsulated); checked against the file."""
    name, syntax = file.name, file.syntax
    if syntax not in SYNTAXES and syntax not in NATIVE:
        kind = UID(syntax).name
        raise refusal(
            "E_SYNTAX",
            file=name,
            tag="Transfer Syntax (0002,0010)",
            found=kind,
            expected="uncompressed, RLE, JPEG, JPEG-LS or JPEG 2000",
            remedy="Export as uncompressed or JPEG-LS.",
        )
    order = "<" if syntax != BIG_ENDIAN else ">"
    head = stream.read(12)
    if len(head) < 8 or struct.unpack(order + "HH", head[:4]) != (0x7FE0, 0x0010):
        raise truncated(name, "pixel data", "absent")
    if syntax == IMPLICIT:
        start, length = stream.tell() - len(head) + 8, struct.unpack("<I", head[4:8])[0]
    else:
        start, length = stream.tell(), struct.unpack(order + "I", head[8:12])[0] if len(head) == 12 else 0
    if length == 0xFFFFFFFF:
        if syntax in NATIVE:
            raise corrupt(name, "pixel data", "of undefined length", "uncompressed pixels")
        return start, None
    if syntax not in NATIVE:
        raise corrupt(name, "pixel data", "not encapsulated", "fragments of compressed pixels")
    have = min(length, file.size - start)
    if have < need:
        raise truncated(name, "pixel data", f"{have} of {need} bytes")
    return start, need
