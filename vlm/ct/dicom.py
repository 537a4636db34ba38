"""One DICOM file becomes an Image: where its pixels lie, what they are, where its frames are in space.

Headers are read by pydicom, only the tags of ``tags.py``, and stop before the pixels. Sizes
are checked against the file before anything is allocated or decoded. A file that is no CT
comes back as Skipped with its kind; a CT that cannot be used raises IntakeError.
"""

from __future__ import annotations

import io
import re
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np
from pydicom import dcmread
from pydicom.uid import UID

from vlm.ct import tags as tag
from vlm.ct.decode import DEFLATED, NATIVE, SYNTAXES, UNCOMPRESSED_LITTLE
from vlm.ct.geometry import is_orientation
from vlm.ct.intake import refusal
from vlm.ct.tags import Tags, kernel_class, pseudonym
from vlm.errors import IntakeError

CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_CT = ("1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")
MOST_ROWS, MOST_FRAMES, MOST_VOXELS = 2048, 4096, 1_500_000_000
MOST_BYTES = 2 << 30  # one file, 2 GiB
MOST_INFLATED, MOST_RATIO, SMALL_BYTES = 512 << 20, 200, 16 << 20  # a deflated data set; ratio counts above 16 MiB
FINEST_MM, COARSEST_MM = 0.05, 5.0  # pixel spacing of a CT
FARTHEST_MM = 1e5
LOSSY_REFUSED_RATIO, LOSSY_SLOPE, LOSSY_BITS = 20.0, 4.0, 12
PRESENT_ONLY = {"SCREEN SAVE", "DOSE_INFO", "PATIENT_INFO", "SCREEN", "SECONDARY"}
NOT_HU = {"PERFUSION", "RCBF", "RCBV", "CBF", "CBV", "MTT", "TTP", "TMAX", "IODINE", "ZEFF", "Z_EFF", "EFF_Z",
          "EFFECTIVE_Z", "ELECTRON_DENSITY", "SUBTRACTION", "MATERIAL", "MD_IODINE", "VELOCITY"}  # fmt: skip
DERIVED = {"MPR", "MIP", "MINIP", "MAX_IP", "MIN_IP", "AVERAGE", "PROJECTION IMAGE", "CURVED_MPR", "RESAMPLED",
           "MONOENERGETIC", "MONO", "VOLUME", "VRT", "SSD", "VNC", "VIRTUAL_NONCONTRAST", "REFORMATTED"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice: its place in space and the rescale of its values."""

    number: int  # within the file, from 0
    position: tuple[float, ...]  # (3,) LPS mm
    orientation: tuple[float, ...]  # (6,)
    spacing: tuple[float, float]  # between rows, between columns, mm
    slope: float
    intercept: float
    phase: tuple[str, ...]  # what may split phases and reconstructions at one position


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """One CT file: what its pixels are and where they lie."""

    path: Path
    name: str  # for messages
    syntax: str
    sop_uid: str
    patient: str  # pseudonyms
    series: str
    series_uid: str
    frame_of_reference: str
    image_type: tuple[str, ...]
    kernel_name: str  # for grouping only, never shown
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    monochrome1: bool
    padding: tuple[int, int] | None  # stored values
    padding_repaired: bool
    lossy_ratio: float | None
    pixel_offset: int  # of the value of Pixel Data, in the (inflated) file
    pixel_bytes: int | None  # None: encapsulated
    little_endian: bool
    preamble: bool
    derived: bool
    kernel: Literal["soft", "sharp", "unknown"]
    contrast: bool | None
    thickness_mm: float | None
    spacing_between_mm: float | None
    voltage_kv: float | None
    exposure_mas: float | None
    patient_position: str
    offsets: tuple[int, ...] = ()  # extended offset table
    frames: tuple[Frame, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is no slice of a CT: its kind, and the series it belongs to where it has one."""

    name: str
    kind: str
    series: str = ""


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
        raise _too_large(name, "file size", f"{size} bytes", f"at most {MOST_BYTES}")
    with path.open("rb", buffering=16384) as stream:
        return _header(stream, size, path, name)


def _header(stream: BinaryIO, size: int, path: Path, name: str) -> Image | Skipped:
    head = stream.read(132)
    preamble = head[128:132] == b"DICM"
    stream.seek(0)
    deflated = False
    try:
        if preamble and (inflated := _inflated(stream, name)) is not None:
            stream, size, deflated = inflated, len(inflated.getbuffer()), True
        dataset = dcmread(stream, stop_before_pixels=True, specific_tags=list(tag.WANTED), force=not preamble)
        little = bool(dataset.original_encoding[1])
        tags = Tags(dataset, name, little_endian=little)
        syntax = str(dataset.file_meta.get("TransferSyntaxUID", "")) if preamble else ""
        if deflated:
            syntax = DEFLATED
        elif not syntax:
            implicit = bool(dataset.original_encoding[0])
            syntax = "1.2.840.10008.1.2" if implicit else "1.2.840.10008.1.2." + ("1" if little else "2")
        stated_class = str(dataset.file_meta.get("MediaStorageSOPClassUID", "")) if preamble else ""
        return _image(
            tags, stream, size, path=path, name=name, syntax=syntax, preamble=preamble, little=little,
            stated_class=stated_class,
        )  # fmt: skip
    except IntakeError:
        raise
    except RecursionError:
        raise _corrupt(name, "sequences", "nested too deep", f"at most {tag.DEEPEST_SEQUENCE} levels") from None
    except MemoryError:
        raise _too_large(name, "header", "more than fits in memory", "a CT header") from None
    except Exception as error:  # pydicom raises many kinds on broken files; all of them mean this
        raise _corrupt(name, "header", type(error).__name__, "a DICOM data set") from None


def inflate(stream: BinaryIO, name: str) -> bytes:
    """The rest of a deflated stream, inflated with limits counted while inflating."""
    engine, out, packed = zlib.decompressobj(-zlib.MAX_WBITS), bytearray(), 0
    while chunk := stream.read(1 << 16):
        packed += len(chunk)
        while chunk and not engine.eof:
            out += engine.decompress(chunk, 1 << 20)
            chunk = engine.unconsumed_tail
            if len(out) > MOST_INFLATED or (len(out) > SMALL_BYTES and len(out) > MOST_RATIO * packed):
                raise _too_large(name, "deflated data set", f"more than {len(out)} bytes", f"at most {MOST_RATIO}:1")
    if not engine.eof:
        raise truncated(name, "deflated data set", "cut short")
    return bytes(out)


def _inflated(stream: BinaryIO, name: str) -> io.BytesIO | None:
    """The file as if it had never been deflated, or None when it is not."""
    head = stream.read(4096)
    stream.seek(0)
    if DEFLATED.encode() not in head:
        return None
    end, syntax = meta_end(head)
    if syntax != DEFLATED:
        return None
    stream.seek(end)
    body = inflate(stream, name)
    # The body is plain explicit little endian; the meta must say so, or pydicom inflates it again.
    plain = head[:end].replace(DEFLATED.encode() + b"\0" * (len(DEFLATED) % 2), _padded(UNCOMPRESSED_LITTLE), 1)
    return io.BytesIO(plain + body)


def _padded(uid: str) -> bytes:
    """The UID of plain explicit little endian in as many bytes as the deflated one takes."""
    length = len(DEFLATED) + len(DEFLATED) % 2
    return uid.encode().ljust(length, b"\0")


def meta_end(head: bytes) -> tuple[int, str]:
    """Where the file meta ends, and the transfer syntax it names; explicit little endian, walked by hand."""
    at, syntax = 132, ""
    while at + 8 <= len(head) and head[at : at + 2] == b"\x02\x00":
        kind = head[at + 4 : at + 6]
        if kind in (b"OB", b"UN", b"OW"):
            length, value = struct.unpack_from("<I", head, at + 8)[0], at + 12
        else:
            length, value = struct.unpack_from("<H", head, at + 6)[0], at + 8
        if head[at + 2 : at + 4] == b"\x10\x00":
            syntax = head[value : value + length].rstrip(b"\0 ").decode("ascii", "replace")
        at = value + length
    return at, syntax


def _image(
    tags: Tags, stream: BinaryIO, size: int, *, path: Path, name: str, syntax: str, preamble: bool, little: bool,
    stated_class: str,
) -> Image | Skipped:  # fmt: skip
    sop_class = tags.uid(tag.SOP_CLASS) or stated_class  # some anonymisers empty it and leave the file meta
    series_uid = tags.uid(tag.SERIES_UID)
    series = pseudonym(series_uid)
    cut = stream.tell() >= size
    if not sop_class:
        if not preamble or not cut:
            raise refusal(
                "E_NOT_DICOM",
                file=name,
                tag="SOP Class (0008,0016)",
                found="absent",
                expected="a DICOM image",
                remedy="Leave this file out, or export it again.",
            )
        raise truncated(name, "header", "cut before the SOP class")
    if sop_class != CT_IMAGE and sop_class not in ENHANCED_CT:
        kind = UID(sop_class).name
        return Skipped(name, kind if kind != sop_class else "unknown object", series)
    image_type = tuple(word.upper() for word in tags.texts(tag.IMAGE_TYPE))
    if skip := _not_a_slice(tags, image_type):
        return Skipped(name, skip, series)
    _must_be_hu(tags, image_type, name)
    if cut:
        raise truncated(name, "header", "cut before the pixel data")
    return _ct_image(
        tags, stream, size, path=path, name=name, syntax=syntax, preamble=preamble, little=little,
        enhanced=sop_class in ENHANCED_CT, image_type=image_type, series_uid=series_uid,
    )  # fmt: skip


def _ct_image(
    tags: Tags, stream: BinaryIO, size: int, *, path: Path, name: str, syntax: str, preamble: bool, little: bool,
    enhanced: bool, image_type: tuple[str, ...], series_uid: str,
) -> Image:  # fmt: skip
    rows, columns = tags.need_short(tag.ROWS, 1, 65535), tags.need_short(tag.COLUMNS, 1, 65535)
    frames = tags.count(tag.FRAMES, 1)
    if max(rows, columns) > MOST_ROWS or frames > MOST_FRAMES or rows * columns * frames > MOST_VOXELS:
        raise _too_large(
            name, "image size", f"{columns}x{rows}x{frames}", f"at most {MOST_ROWS}×{MOST_ROWS}×{MOST_FRAMES}"
        )
    bits_allocated = tags.need_short(tag.BITS_ALLOCATED, 1, 64)
    bits_stored = tags.need_short(tag.BITS_STORED, 1, bits_allocated)
    high_bit = tags.short(tag.HIGH_BIT)
    high_bit = (
        bits_stored - 1 if high_bit is None else tags.need_short(tag.HIGH_BIT, bits_stored - 1, bits_allocated - 1)
    )
    signed = bool(tags.need_short(tag.SIGNED, 0, 1))
    if bits_allocated not in (8, 16):
        raise tags.corrupt(tag.BITS_ALLOCATED, bits_allocated, "8 or 16")
    offset, length = _pixels(stream, size, tags, syntax, need=rows * columns * frames * bits_allocated // 8)
    slices = _enhanced_frames(tags, frames, name) if enhanced else (_classic_frame(tags, name),)
    padding, repaired = _padding(tags, signed, bits_stored)
    contrast = _contrast(tags)
    kernel_name = _kernel_name(tags)
    per_frame = (size - offset) / max(1, frames)
    ratio = _lossy(
        tags, syntax, slices, name, bits_stored, raw=rows * columns * bits_allocated / 8 / max(1.0, per_frame)
    )
    return Image(
        path=path, name=name, syntax=syntax, sop_uid=tags.uid(tag.SOP_UID),
        patient=pseudonym(tags.text(tag.PATIENT_ID), tags.text(tag.BIRTH_DATE)),
        series=pseudonym(series_uid), series_uid=series_uid,
        frame_of_reference=pseudonym(tags.uid(tag.FRAME_OF_REFERENCE)), image_type=image_type, kernel_name=kernel_name,
        rows=rows, columns=columns, bits_allocated=bits_allocated, bits_stored=bits_stored, high_bit=high_bit,
        signed=signed, monochrome1=tags.text(tag.PHOTOMETRIC).upper() == "MONOCHROME1", padding=padding,
        padding_repaired=repaired, lossy_ratio=ratio, pixel_offset=offset, pixel_bytes=length, little_endian=little,
        preamble=preamble, derived=bool(DERIVED.intersection(image_type[2:])), kernel=kernel_class(kernel_name),
        contrast=contrast, thickness_mm=_positive(tags.number(tag.THICKNESS)),
        spacing_between_mm=_positive(tags.number(tag.SPACING_BETWEEN)), voltage_kv=_positive(tags.number(tag.KVP)),
        exposure_mas=_positive(tags.number(tag.EXPOSURE)), patient_position=_patient_position(tags), frames=slices,
    )  # fmt: skip


def _not_a_slice(tags: Tags, image_type: tuple[str, ...]) -> str:
    """Why an object of a CT class is no slice of a volume; "" when it is one."""
    if "LOCALIZER" in image_type or "SCOUT" in image_type:
        return "localizer"
    if PRESENT_ONLY.intersection(image_type[2:]):
        return "screen capture"
    if (tags.short(tag.SAMPLES) or 1) != 1:
        return "colour image"
    if tags.text(tag.PHOTOMETRIC).upper() not in ("", "MONOCHROME1", "MONOCHROME2"):
        return "colour image"
    if tags.text(tag.BURNED_IN).upper() == "YES":
        return "image with burned-in text"
    return ""


def _must_be_hu(tags: Tags, image_type: tuple[str, ...], name: str) -> None:
    """E_NOT_HU for maps in CT clothes: by type of image, colour, or the unit of rescaled values."""
    kinds = [tags.text(tag.RESCALE_TYPE)]
    for group in (*tags.items(tag.SHARED_GROUPS)[:1], *tags.items(tag.FRAME_GROUPS)[:1]):
        kinds += [each.text(tag.RESCALE_TYPE) for each in group.items(tag.VALUE_TRANSFORM)]
    odd = next((kind for kind in kinds if kind and kind.upper() != "HU"), "")
    if odd and not re.fullmatch(r"[A-Za-z0-9_/ ]{1,16}", odd):
        odd = "of another unit"
    found = f"Rescale Type {odd}" if odd else next((word for word in image_type[2:] if word in NOT_HU), "")
    if not found and tags.text(tag.PIXEL_PRESENTATION).upper().startswith("COLOR"):
        found = "Pixel Presentation COLOR"
    if found:
        raise refusal(
            "E_NOT_HU",
            file=name,
            tag="kind of values",
            found=found,
            expected="Hounsfield units",
            remedy="Give the series of CT images this was made from.",
        )


def _pixels(stream: BinaryIO, size: int, tags: Tags, syntax: str, *, need: int) -> tuple[int, int | None]:
    """Where the value of Pixel Data starts and its length (None: encapsulated); checked against the file."""
    name = tags.file
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
    order = "<" if tags_little(syntax) else ">"
    head = stream.read(12)
    if len(head) < 8 or struct.unpack(order + "HH", head[:4]) != (0x7FE0, 0x0010):
        raise truncated(name, "pixel data", "absent")
    if syntax == "1.2.840.10008.1.2":
        start, length = stream.tell() - len(head) + 8, struct.unpack("<I", head[4:8])[0]
    else:
        start, length = stream.tell(), struct.unpack(order + "I", head[8:12])[0] if len(head) == 12 else 0
    if length == 0xFFFFFFFF:
        if syntax in NATIVE:
            raise _corrupt(name, "pixel data", "of undefined length", "uncompressed pixels")
        return start, None
    if syntax not in NATIVE:
        raise _corrupt(name, "pixel data", "not encapsulated", "fragments of compressed pixels")
    have = min(length, size - start)
    if have < need:
        raise truncated(name, "pixel data", f"{have} of {need} bytes")
    return start, need


def tags_little(syntax: str) -> bool:
    """True unless the syntax is big endian."""
    return syntax != "1.2.840.10008.1.2.2"


def _classic_frame(tags: Tags, name: str) -> Frame:
    return Frame(
        0,
        *_plane(tags, tags, tags, name),
        *_rescale(tags, name),
        phase=tuple(
            tags.text(key)
            for key in (tag.TEMPORAL, tag.TRIGGER_TIME, tag.NOMINAL_PHASE, tag.ACQUISITION, tag.ACQUISITION_TIME)
        ),
    )


def _enhanced_frames(tags: Tags, frames: int, name: str) -> tuple[Frame, ...]:
    """The frames of an enhanced file: each functional group per frame first, then shared."""
    shared = tags.first(tag.SHARED_GROUPS)
    each = tags.items(tag.FRAME_GROUPS)
    if len(each) != frames:
        raise _corrupt(name, "Per-frame Functional Groups (5200,9230)", len(each), f"{frames} items")
    out = []
    for number, group in enumerate(each):
        _must_be_hu_frame(group, name)
        position, orientation, measures, transform, content = (
            group.first(key) or (shared.first(key) if shared else None)
            for key in (
                tag.PLANE_POSITION,
                tag.PLANE_ORIENTATION,
                tag.PIXEL_MEASURES,
                tag.VALUE_TRANSFORM,
                tag.FRAME_CONTENT,
            )
        )
        if position is None or orientation is None or measures is None:
            raise _no_geometry(name, "functional groups", "without position, orientation or spacing")
        if transform is None:
            raise _no_rescale(name)
        phase = content.text(tag.TEMPORAL_INDEX) if content else ""
        out.append(
            Frame(number, *_plane(position, orientation, measures, name), *_rescale(transform, name), phase=(phase,))
        )
    return tuple(out)


def _must_be_hu_frame(group: Tags, name: str) -> None:
    if kind := group.first(tag.CT_FRAME_TYPE):
        _must_be_hu(kind, tuple(word.upper() for word in kind.texts(tag.FRAME_TYPE)), name)


def _plane(
    position: Tags, orientation: Tags, measures: Tags, name: str
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, float]]:
    """Position, orientation and spacing of one slice, checked; E_NO_GEOMETRY otherwise."""
    where = position.numbers(tag.POSITION, 3)
    if where is None or max(abs(value) for value in where) > FARTHEST_MM:
        raise _no_geometry(name, tag.NAMES[tag.POSITION], position.shown_numbers(tag.POSITION))
    axes = orientation.numbers(tag.ORIENTATION, 6)
    if axes is None or not is_orientation(np.asarray(axes)):
        raise _no_geometry(name, tag.NAMES[tag.ORIENTATION], orientation.shown_numbers(tag.ORIENTATION))
    spacing = measures.numbers(tag.PIXEL_SPACING, 2)
    if spacing is None or not all(FINEST_MM <= value <= COARSEST_MM for value in spacing):
        raise _no_geometry(name, tag.NAMES[tag.PIXEL_SPACING], measures.shown_numbers(tag.PIXEL_SPACING))
    return where, axes, (spacing[0], spacing[1])


def _rescale(tags: Tags, name: str) -> tuple[float, float]:
    slope, intercept = tags.number(tag.SLOPE), tags.number(tag.INTERCEPT)
    if slope is None or intercept is None or slope <= 0 or slope > 1000 or abs(intercept) > 1e5:
        raise _no_rescale(name)
    return slope, intercept


def _padding(tags: Tags, signed: bool, bits_stored: int) -> tuple[tuple[int, int] | None, bool]:
    """Stored values that mean padding, and whether one was written with the wrong sign."""
    value, limit = tags.short(tag.PADDING), tags.short(tag.PADDING_LIMIT)
    if value is None:
        return None, False
    ends = [value] if limit is None else [value, limit]
    if signed:
        ends = [end - 65536 if end >= 32768 else end for end in ends]
    element = tags.vr(tag.PADDING)
    repaired = signed and value >= 32768 and element == "US"
    return (min(ends), max(ends)), repaired and bits_stored > 0


def _lossy(
    tags: Tags, syntax: str, frames: tuple[Frame, ...], name: str, bits_stored: int, *, raw: float
) -> float | None:
    """The compression ratio of lossy pixels, None for lossless ones; refuses what is beyond use."""
    always = syntax in ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")
    if tags.text(tag.LOSSY) != "01" and not always:
        return None
    stated = [value for text in tags.texts(tag.LOSSY_RATIO) if (value := _float(text)) is not None]
    ratio = max([*stated, raw])
    slope = max(frame.slope for frame in frames)
    if (bits_stored < LOSSY_BITS and (bits_stored <= 8 or slope > LOSSY_SLOPE)) or slope > LOSSY_SLOPE:
        raise refusal(
            "E_LOSSY_8BIT",
            file=name,
            tag="lossy pixels",
            found=f"{bits_stored} bits, {slope:.0f} HU per grey level, {ratio:.1f}:1",
            expected=f"{LOSSY_BITS} bits and at most {LOSSY_SLOPE:.0f} HU per grey level",
            remedy="Send the original images.",
        )
    if ratio > LOSSY_REFUSED_RATIO:
        raise refusal(
            "E_LOSSY_RATIO",
            file=name,
            tag="lossy compression",
            found=f"{ratio:.1f}:1",
            expected=f"at most {LOSSY_REFUSED_RATIO:.0f}:1",
            remedy="Send the original images.",
        )
    return ratio


def _float(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if 0 < value < 1e6 else None


def _kernel_name(tags: Tags) -> str:
    if name := tags.text(tag.KERNEL):
        return name
    for group in (*tags.items(tag.FRAME_GROUPS)[:1], *tags.items(tag.SHARED_GROUPS)[:1]):
        if found := group.first(tag.CT_RECONSTRUCTION):
            return found.text(tag.KERNEL)
    return ""


def _contrast(tags: Tags) -> bool | None:
    """Intravenous contrast as the header says; None when it says nothing either way."""
    words = " ".join(tags.texts(tag.CONTRAST_AGENT)).lower()
    if words:
        said_no = words.strip() in {"no", "none", "n", "without", "nativ", "native", "non contrast"}
        oral_only = "oral" in words and not any(word in words for word in ("iv", "i.v", "intraven", "&", "and", "+"))
        return None if oral_only else not said_no
    if tags.items(tag.CONTRAST_SEQUENCE) or (tags.number(tag.CONTRAST_VOLUME) or 0) > 0:
        return True
    return None


def _patient_position(tags: Tags) -> str:
    word = tags.text(tag.PATIENT_POSITION).upper()
    return word if word in {"HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"} else ""


def _positive(value: float | None) -> float | None:
    return value if value is not None and 0 < value < 1e5 else None


def truncated(name: str, what: str, found: str) -> IntakeError:
    """E_TRUNCATED of one file."""
    return refusal("E_TRUNCATED", file=name, tag=what, found=found, expected="all of it", remedy="Copy the file again.")


def _corrupt(name: str, what: str, found: object, expected: str) -> IntakeError:
    return refusal("E_CORRUPT", file=name, tag=what, found=found, expected=expected, remedy="Export the file again.")


def _too_large(name: str, what: str, found: str, expected: str) -> IntakeError:
    return refusal(
        "E_TOO_LARGE", file=name, tag=what, found=found, expected=expected, remedy="Send a single CT series."
    )


def _no_geometry(name: str, what: str, found: str) -> IntakeError:
    return refusal(
        "E_NO_GEOMETRY", file=name, tag=what, found=found, expected="where the slice lies, in millimetres",
        remedy="Export the original axial series.",
    )  # fmt: skip


def _no_rescale(name: str) -> IntakeError:
    return refusal(
        "E_NOT_HU", file=name, tag="Rescale Slope and Intercept", found="absent or out of range",
        expected="slope and intercept to Hounsfield units", remedy="Export with rescale.",
    )  # fmt: skip
