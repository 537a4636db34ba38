"""The DICOM tags that are read, and nothing else of a header.

About forty tags are asked for; each is taken as raw bytes and turned into a number, a UID
or a code word by a typed getter with a range. Free text never leaves this file except as
one of a few closed words (`soft`, `sharp`, a contrast bool). A name, ID or date of a
patient leaves it only as a hash.
"""

from __future__ import annotations

import hashlib
import logging
import math
import re
import struct
from typing import Literal

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from vlm.ct.intake import refusal

logging.getLogger("pydicom").setLevel(logging.CRITICAL)  # its warnings quote tag values: patients' data in a log

SOP_CLASS, SOP_UID = 0x00080016, 0x00080018
IMAGE_TYPE = 0x00080008
STUDY_DATE, SERIES_DATE, ACQUISITION_DATE, ACQUISITION_DATETIME = 0x00080020, 0x00080021, 0x00080022, 0x0008002A
SERIES_UID, FRAME_OF_REFERENCE = 0x0020000E, 0x00200052
PATIENT_ID, BIRTH_DATE = 0x00100020, 0x00100030
POSITION, ORIENTATION, PIXEL_SPACING = 0x00200032, 0x00200037, 0x00280030
THICKNESS, SPACING_BETWEEN = 0x00180050, 0x00180088
SAMPLES, PHOTOMETRIC, FRAMES = 0x00280002, 0x00280004, 0x00280008
ROWS, COLUMNS = 0x00280010, 0x00280011
BITS_ALLOCATED, BITS_STORED, HIGH_BIT, SIGNED = 0x00280100, 0x00280101, 0x00280102, 0x00280103
PADDING, PADDING_LIMIT = 0x00280120, 0x00280121
INTERCEPT, SLOPE, RESCALE_TYPE = 0x00281052, 0x00281053, 0x00281054
LOSSY, LOSSY_RATIO = 0x00282110, 0x00282112
BURNED_IN, PIXEL_PRESENTATION = 0x00280301, 0x00089205
KVP, EXPOSURE, PATIENT_POSITION = 0x00180060, 0x00181152, 0x00185100
KERNEL = 0x00181210
CONTRAST_AGENT, CONTRAST_SEQUENCE, CONTRAST_VOLUME = 0x00180010, 0x00180012, 0x00181041
TEMPORAL, ACQUISITION, ACQUISITION_TIME = 0x00200100, 0x00200012, 0x00080032
TRIGGER_TIME, NOMINAL_PHASE, INSTANCE = 0x00181060, 0x00200241, 0x00200013
SHARED_GROUPS, FRAME_GROUPS = 0x52009229, 0x52009230
PLANE_POSITION, PLANE_ORIENTATION = 0x00209113, 0x00209116
PIXEL_MEASURES, VALUE_TRANSFORM, FRAME_CONTENT = 0x00289110, 0x00289145, 0x00209111
CT_FRAME_TYPE, FRAME_TYPE, CT_RECONSTRUCTION = 0x00189329, 0x00089007, 0x00189314
CT_XRAY = 0x00189325
UNASSIGNED = (0x00209170, 0x00209171)  # what a legacy conversion found no other place for, shared and per frame
TEMPORAL_INDEX = 0x00209128

WANTED = [value for name, value in sorted(vars().items()) if name.isupper() and isinstance(value, int)]

NAMES = {
    POSITION: "Image Position (0020,0032)",
    ORIENTATION: "Image Orientation (0020,0037)",
    PIXEL_SPACING: "Pixel Spacing (0028,0030)",
    FRAMES: "Number of Frames (0028,0008)",
    ROWS: "Rows (0028,0010)",
    COLUMNS: "Columns (0028,0011)",
    INTERCEPT: "Rescale Intercept (0028,1052)",
    SLOPE: "Rescale Slope (0028,1053)",
    BITS_ALLOCATED: "Bits Allocated (0028,0100)",
    BITS_STORED: "Bits Stored (0028,0101)",
    HIGH_BIT: "High Bit (0028,0102)",
    SIGNED: "Pixel Representation (0028,0103)",
    SOP_UID: "SOP Instance UID (0008,0018)",
    SERIES_UID: "Series Instance UID (0020,000E)",
}
LONGEST_VALUE = 1 << 20  # bytes of a text or number tag that are looked at, 1 MiB
DEEPEST_SEQUENCE = 32
SHARP_WORDS = ("lung", "bone", "sharp", "edge", "detail", "hr", "chest")
SOFT_WORDS = ("standard", "soft", "std", "body", "smooth", "mediast", "abdomen", "stnd")


class Tags:
    """Typed, bounded access to the tags of one data set; ``file`` is for messages."""

    def __init__(self, dataset: Dataset, file: str, *, little_endian: bool = True) -> None:
        self._dataset, self.file, self._order = dataset, file, "<" if little_endian else ">"

    def __contains__(self, tag: int) -> bool:
        return tag in self._dataset

    def _raw(self, tag: int) -> bytes | None:
        if tag not in self._dataset:
            return None
        element = self._dataset.get_item(tag)
        value = element.value
        if isinstance(element, RawDataElement) and isinstance(value, bytes):
            return value if len(value) <= LONGEST_VALUE else None
        return None if value is None else str(value).encode("ascii", "replace")

    def text(self, tag: int) -> str:
        """The first value, printable ASCII, without padding; "" when absent."""
        values = self.texts(tag)
        return values[0] if values else ""

    def texts(self, tag: int) -> tuple[str, ...]:
        """All values of a text tag."""
        raw = self._raw(tag)
        if not raw:
            return ()
        text = raw.decode("ascii", "replace").replace("\x00", " ")
        return tuple(part.strip() for part in text.split("\\")) if text.strip() else ()

    def uid(self, tag: int) -> str:
        """A UID; "" when absent or malformed."""
        text = self.text(tag)
        return text if re.fullmatch(r"[0-9.]{1,64}", text) else ""

    def numbers(self, tag: int, count: int) -> tuple[float, ...] | None:
        """``count`` finite decimals (DS, IS); None when absent, empty or not numbers."""
        parts = self.texts(tag)
        if len(parts) != count:
            return None
        try:
            values = tuple(float(part) for part in parts)
        except ValueError:
            return None
        return values if all(math.isfinite(value) for value in values) else None

    def number(self, tag: int) -> float | None:
        """One finite decimal, or None."""
        parts = self.texts(tag)
        first = None
        if parts:
            try:
                first = float(parts[0])
            except ValueError:
                return None
        return first if first is not None and math.isfinite(first) else None

    def short(self, tag: int) -> int | None:
        """One US or SS as an unsigned 16-bit word; None when absent."""
        if tag not in self._dataset:
            return None
        element = self._dataset.get_item(tag)
        if isinstance(element.value, int):  # pydicom has already turned it
            return element.value & 0xFFFF
        raw = self._raw(tag)
        if raw is None or len(raw) < 2:
            return None
        return int(struct.unpack(self._order + "H", raw[:2])[0])

    def need_short(self, tag: int, low: int, high: int) -> int:
        """One US within ``low``…``high``; E_CORRUPT otherwise."""
        value = self.short(tag)
        if value is None or not low <= value <= high:
            found = "absent" if value is None else value
            raise self.corrupt(tag, found, f"{low}…{high}")
        return value

    def count(self, tag: int, default: int) -> int:
        """An IS that is a positive whole number; ``default`` when absent, E_CORRUPT otherwise."""
        text = self.text(tag)
        if not text:
            return default
        if not re.fullmatch(r"\+?[0-9]{1,9}", text) or int(text) < 1:
            raise self.corrupt(tag, text, "a whole number from 1")
        return int(text)

    def vr(self, tag: int) -> str:
        """The value representation as written; "" when absent or implicit."""
        return str(self._dataset.get_item(tag).VR or "") if tag in self._dataset else ""

    def shown_numbers(self, tag: int) -> str:
        """The value for a message: digits as they stand, anything else only named."""
        text = "\\".join(self.texts(tag))
        return "absent" if not text else text if re.fullmatch(r"[-+0-9.eE\\ ]+", text) else "not numbers"

    def items(self, tag: int) -> list[Tags]:
        """The items of a sequence; [] when absent. RecursionError and others become E_CORRUPT in the caller."""
        if tag not in self._dataset:
            return []
        value = self._dataset[tag].value
        if not isinstance(value, (list, tuple)) and not hasattr(value, "__iter__"):
            return []
        little = self._order == "<"
        return [Tags(item, self.file, little_endian=little) for item in value if isinstance(item, Dataset)]

    def first(self, tag: int) -> Tags | None:
        """The first item of a sequence, or None."""
        items = self.items(tag)
        return items[0] if items else None

    def corrupt(self, tag: int, found: object, expected: str) -> Exception:
        """The refusal for a needed tag that cannot be read."""
        name = NAMES.get(tag, f"({tag >> 16:04X},{tag & 0xFFFF:04X})")
        return refusal(
            "E_CORRUPT",
            file=self.file,
            tag=name,
            found=repr(found) if isinstance(found, str) else found,
            expected=expected,
            remedy="Export the file again.",
        )


def pseudonym(*parts: str) -> str:
    """12 hex digits that stand for a UID or an identity and do not give it away by reading."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:12]


def kernel_class(name: str) -> Literal["soft", "sharp", "unknown"]:
    """The sharpness of a reconstruction from its kernel's name.

    Siemens B10…B49, Br and Qr below 50 and J-variants are soft, from 50 sharp; GE and Philips
    use words and letters; Canon FC01–FC29 soft, FC30–FC59 and FC80 up sharp.
    """
    text = name.strip().lower()
    if not text:
        return "unknown"
    if siemens := re.match(r"^(?:b|br|bv|bf|bl|bp|qr|hr|hv|j|i|t|u|h)(\d{2})", text):
        return "soft" if int(siemens.group(1)) < 50 else "sharp"
    if canon := re.match(r"^fc(\d{2})", text):
        number = int(canon.group(1))
        return "soft" if number < 30 or 60 <= number < 80 else "sharp"
    if any(word in text for word in SHARP_WORDS):
        return "sharp"
    if any(word in text for word in SOFT_WORDS):
        return "soft"
    if text in {"a", "b", "c", "sa", "sb", "sc", "ub", "ya", "yb"}:  # Philips, smooth to standard
        return "soft"
    if text in {"d", "e", "l", "f", "yc", "yd"}:  # Philips, sharp
        return "sharp"
    return "unknown"
