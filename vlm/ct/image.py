"""What a CT file is: its kind of image, its pixels' format, its scan, as checked values.

From the tags of one header to an Image, or to Skipped with the kind of object it is. Values
that are not Hounsfield units, and lossy compression beyond use, are refused here.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from vlm.ct import tags as tag
from vlm.ct.frames import Frame
from vlm.ct.intake import refusal
from vlm.ct.tags import Tags

LOSSY_REFUSED_RATIO = 20.0  # compressed bytes against raw ones
LOSSY_SLOPE, LOSSY_BITS_REFUSED = 4.0, 8  # HU per grey level; Bits Stored
PRESENT_ONLY = {"SCREEN SAVE", "DOSE_INFO", "PATIENT_INFO", "SCREEN", "SECONDARY"}
NOT_HU = {"PERFUSION", "RCBF", "RCBV", "CBF", "CBV", "MTT", "TTP", "TMAX", "IODINE", "ZEFF", "Z_EFF", "EFF_Z",
          "EFFECTIVE_Z", "ELECTRON_DENSITY", "SUBTRACTION", "MATERIAL", "MD_IODINE", "VELOCITY"}  # fmt: skip
DERIVED = {"MPR", "MIP", "MINIP", "MAX_IP", "MIN_IP", "AVERAGE", "PROJECTION IMAGE", "CURVED_MPR", "RESAMPLED",
           "MONOENERGETIC", "MONO", "VOLUME", "VRT", "SSD", "VNC", "VIRTUAL_NONCONTRAST", "REFORMATTED"}  # fmt: skip
ALWAYS_LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51")  # JPEG baseline and extended
PATIENT_POSITIONS = {"HFS", "HFP", "HFDR", "HFDL", "FFS", "FFP", "FFDR", "FFDL"}  # DICOM C.7.3.1.1.2


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
    instance: int | None
    thickness_mm: float | None
    spacing_between_mm: float | None
    voltage_kv: float | None
    exposure_mas: float | None
    patient_position: str
    acquired: datetime.date | None  # for the order of two scans only, never shown
    frames: tuple[Frame, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that is no slice of a CT: its kind, and the series it belongs to where it has one."""

    name: str
    kind: str
    series: str = ""


def not_a_slice(tags: Tags, image_type: tuple[str, ...]) -> str:
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


def must_be_hu(tags: Tags, image_type: tuple[str, ...], name: str) -> None:
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


def frame_must_be_hu(group: Tags, name: str) -> None:
    if kind := group.first(tag.CT_FRAME_TYPE):
        must_be_hu(kind, tuple(word.upper() for word in kind.texts(tag.FRAME_TYPE)), name)


def stored_padding(tags: Tags, signed: bool) -> tuple[tuple[int, int] | None, bool]:
    """Stored values that mean padding, and whether one was written with the wrong sign."""
    value, limit = tags.short(tag.PADDING), tags.short(tag.PADDING_LIMIT)
    if value is None:
        return None, False
    ends = [value] if limit is None else [value, limit]
    if signed:
        ends = [end - 65536 if end >= 32768 else end for end in ends]
    repaired = signed and value >= 32768 and tags.vr(tag.PADDING) == "US"
    return (min(ends), max(ends)), repaired


def lossy_ratio(tags: Tags, syntax: str, frames: tuple[Frame, ...], *, bits_stored: int, packed: float) -> float | None:
    """The compression ratio of lossy pixels, None for lossless ones; refuses what is beyond use.

    ``packed`` is the ratio as the file's own size gives it; the larger of it and the stated one counts.
    """
    if tags.text(tag.LOSSY) != "01" and syntax not in ALWAYS_LOSSY:
        return None
    stated = [value for text in tags.texts(tag.LOSSY_RATIO) if (value := _float(text)) is not None]
    ratio = max([*stated, packed])
    slope = max(frame.slope for frame in frames)
    if bits_stored <= LOSSY_BITS_REFUSED or slope > LOSSY_SLOPE:
        raise refusal(
            "E_LOSSY_8BIT",
            file=tags.file,
            tag="lossy pixels",
            found=f"{bits_stored} bits, {slope:.0f} HU per grey level, {ratio:.1f}:1",
            expected=f"12 bits and at most {LOSSY_SLOPE:.0f} HU per grey level",
            remedy="Send the original images.",
        )
    if ratio > LOSSY_REFUSED_RATIO:
        raise refusal(
            "E_LOSSY_RATIO",
            file=tags.file,
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


def scan_places(tags: Tags) -> list[Tags]:
    """Where tags about the scan may stand: the data set, then the functional groups of an enhanced file."""
    places = [tags]
    for group in (*tags.items(tag.SHARED_GROUPS)[:1], *tags.items(tag.FRAME_GROUPS)[:1]):
        for key in (tag.PIXEL_MEASURES, tag.CT_RECONSTRUCTION, tag.CT_XRAY, *tag.UNASSIGNED):
            places += group.items(key)[:1]
    return places


def first_number(places: list[Tags], key: int) -> float | None:
    """The first positive number under ``key``, or None."""
    return next((value for place in places if (value := positive(place.number(key))) is not None), None)


def kernel_name(places: list[Tags]) -> str:
    """The reconstruction kernel's own name; for grouping and its class, never shown."""
    return next((name for place in places if (name := place.text(tag.KERNEL))), "")


def contrast(places: list[Tags]) -> bool | None:
    """Intravenous contrast as the header says; None when it says nothing either way."""
    words = " ".join(word for place in places for word in place.texts(tag.CONTRAST_AGENT)).lower()
    if words:
        said_no = words.strip() in {"no", "none", "n", "without", "nativ", "native", "non contrast"}
        oral_only = "oral" in words and not any(word in words for word in ("iv", "i.v", "intraven", "&", "and", "+"))
        return None if oral_only else not said_no
    if any(place.items(tag.CONTRAST_SEQUENCE) for place in places) or first_number(places, tag.CONTRAST_VOLUME):
        return True
    return None


def patient_position(tags: Tags) -> str:
    word = tags.text(tag.PATIENT_POSITION).upper()
    return word if word in PATIENT_POSITIONS else ""


def acquired(tags: Tags) -> datetime.date | None:
    """The day of the scan: the first of the dates that is one, the nearest to the acquisition first."""
    for key in (tag.ACQUISITION_DATETIME, tag.ACQUISITION_DATE, tag.SERIES_DATE, tag.STUDY_DATE):
        try:
            return datetime.datetime.strptime(tags.text(key)[:8], "%Y%m%d").date()
        except ValueError:
            continue
    return None


def positive(value: float | None) -> float | None:
    return value if value is not None and 0 < value < 1e5 else None


def whole(value: float | None) -> int | None:
    """A whole number, or None."""
    return int(value) if value is not None and value == int(value) and abs(value) < 1e9 else None
