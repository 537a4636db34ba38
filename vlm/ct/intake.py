"""Every doubt about a scan has a code: what it means, how severe it is, what it withholds.

Three outcomes only. ``E_`` refuses the scan, ``W_`` reads it and withholds every number the
doubt touches, ``R_`` repairs without losing anything; each is said in one line. The table
below is the only list of codes; ``docs/intake.md`` is ``page()``, and a test holds it to that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from vlm.errors import IntakeError

Severity = Literal["refuse", "limit", "repair"]

# What a doubt withholds. Key -> what the reader of a report is told.
LIMITS: Mapping[str, str] = {
    "density_withheld": "no density (HU) is stated, and nothing is concluded from one",
    "dense": "nothing is concluded from the density of metal and other very dense things",
    "length_withheld": "no length is stated",
    "volume_across_slices": "no volume, and no length across slices, is stated",
    "reformat": "views other than the scanner's own slices are resampled",
    "small_findings": "things smaller than the gap between slices may be missed",
    "side": "left and right are not stated",
}


@dataclass(frozen=True, slots=True)
class Code:
    """One row of the table: how severe, what it means, which keys of LIMITS it withholds."""

    severity: Severity
    meaning: str
    limits: tuple[str, ...] = ()


def _refuse(meaning: str) -> Code:
    return Code("refuse", meaning)


def _limit(meaning: str, *limits: str) -> Code:
    return Code("limit", meaning, limits)


def _repair(meaning: str) -> Code:
    return Code("repair", meaning)


CODES: Mapping[str, Code] = {
    # container and files
    "E_NO_PATH": _refuse("The path does not exist or cannot be opened."),
    "E_NO_IMAGES": _refuse("No file in it is DICOM or NIfTI."),
    "E_ARCHIVE_UNSAFE": _refuse("The archive or folder holds a path outside itself, a link or a special file."),
    "E_ARCHIVE_LIMIT": _refuse("The archive unpacks to more bytes or entries than allowed, or holds archives."),
    "E_ARCHIVE_ENCRYPTED": _refuse("The archive is encrypted."),
    "E_ARCHIVE_CORRUPT": _refuse("The archive is cut short or fails its checksum."),
    "E_NOT_DICOM": _refuse("The file claims to be DICOM and is not."),
    "E_TRUNCATED": _refuse("The file ends before its data does."),
    "E_CORRUPT": _refuse("A tag that is needed cannot be read, or the pixel data cannot be decoded."),
    "E_TOO_LARGE": _refuse("The file declares or unpacks to more than allowed."),
    "E_SYNTAX": _refuse("The transfer syntax is not supported."),
    "E_LOSSY_8BIT": _refuse("Lossy compression left fewer than 12 bits, or more than 4 HU per grey level."),
    "E_LOSSY_RATIO": _refuse("Lossy compression above 20:1."),
    # which images are the CT
    "E_NO_CT": _refuse("There are DICOM objects, none of them a CT image."),
    "E_NOT_HU": _refuse("The values are not Hounsfield units."),
    "E_CHOOSE_SERIES": _refuse("More than one series could be meant; the user chooses."),
    "E_NO_SUCH_SERIES": _refuse("The series asked for is not here."),
    "E_DUPLICATE_CONFLICT": _refuse("Two files carry one SOP Instance UID and different pixels."),
    "E_PHASES": _refuse("One series holds several phases, gates or reconstructions; the user chooses."),
    "E_SAME_POSITION": _refuse("All slices lie at one position: not a volume."),
    "E_TOO_FEW_SLICES": _refuse("Fewer than 3 slice positions: not a volume."),
    "E_NOT_SCALAR": _refuse("The pixels are colours, vectors or complex numbers."),
    # geometry
    "E_NO_GEOMETRY": _refuse("Position, orientation or spacing is missing or impossible."),
    "E_MIXED_GEOMETRY": _refuse("Slices of one series differ in size, spacing or orientation."),
    "E_UNEVEN_SPACING": _refuse("The gaps between slices are uneven, and no block of 10 even slices stands in them."),
    "E_MISSING_SLICES": _refuse("More than 2 slices, or more than 5 %, are missing, or a gap is wider than 10 mm."),
    "E_NO_ORIENTATION": _refuse("NIfTI: neither sform nor qform says how the patient lies."),
    "E_XFORM_CONFLICT": _refuse("NIfTI: sform and qform, or the step sizes, contradict each other."),
    "W_TILT": _limit("Slices are tilted against their stack; lengths use the true, sheared geometry.", "reformat"),
    "W_JITTER": _limit("Gaps differ by up to 5 % or 0.2 mm; the mean step is used.", "reformat"),
    "W_UNEVEN_SPACING": _limit("Gaps are uneven; only the longest even block is read.", "small_findings"),
    "W_MISSING_SLICES": _limit(
        "At most 2 slices and 5 % are missing; the holes are filled from the slices around them.",
        "volume_across_slices",
        "small_findings",
    ),
    "W_THICK": _limit(
        "Slices are more than 5 mm apart; above 10 mm nothing is measured across them.", "small_findings"
    ),
    "W_SHORT_STACK": _limit("Less than 10 slices or 50 mm along the stack.", "volume_across_slices"),
    "W_ORIENTATION_VARIES": _limit("Slice orientations differ by up to 0.01.", "reformat"),
    "W_SPACING_TAGS": _limit("The spacing tags disagree by more than 10 % with the positions, which are used."),
    "W_ORDER_TAGS": _limit("Instance numbers do not follow the positions, which are used.", "reformat"),
    "W_XFORM_CONFLICT": _limit("NIfTI: sform and qform place the same axes differently; the sform is used."),
    # values
    "W_LOSSY": _limit("Lossy compression.", "density_withheld"),
    "W_DERIVED": _limit("Derived images (projection, reformat, monoenergetic).", "density_withheld"),
    "W_RESCALE_VARIES": _limit(
        "Slope or intercept differs between slices; each slice uses its own.", "density_withheld"
    ),
    "W_PIXEL_FORMAT_VARIES": _limit("Bits or sign of the pixels differ between slices.", "density_withheld"),
    "W_SATURATED": _limit("More than 0.1 % of the voxels stand at the highest value.", "dense"),
    "W_NAN": _limit("Voxels without a number; they are treated as padding."),
    "W_FILE_REFUSED": _limit("Some files of the input were refused; the rest was read."),
    "W_LEFT_OUT": _limit("Images of the series that was read do not fit it and were left out."),
    # repairs
    "R_NO_PREAMBLE": _repair("No DICOM preamble or file meta; the data set was read as it stands."),
    "R_DUPLICATE_DROPPED": _repair("Copies of the same image were dropped."),
    "R_SIGN": _repair("Codestream and tag disagree about the sign of pixels; the tag was followed."),
    "R_PADDING": _repair("The padding value was written with the wrong sign."),
    "R_MONO1": _repair("MONOCHROME1: values unchanged, only the display is inverted."),
    "R_CLIPPED": _repair("Values beyond 16 bits were clipped."),
    "R_SCALE_IGNORED": _repair("NIfTI: a scale that is not a number was taken as none."),
    "R_SCALED": _repair("NIfTI: stored values were scaled as the header says."),
    "R_UNITS": _repair("NIfTI: lengths were converted to millimetres."),
    "R_SERIES_CHOSEN": _repair("Other series or images were left unread."),
}


@dataclass(frozen=True, slots=True)
class Note:
    """A doubt that did not stop the reading. ``limits`` are keys of LIMITS."""

    code: str
    severity: Severity
    message: str  # one line, no patient data
    limits: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, object]:
        """The note as it stands under ``intake`` in report.json."""
        return {"code": self.code, "severity": self.severity, "message": self.message, "limits": list(self.limits)}


def note(code: str, message: str, *, limits: tuple[str, ...] = ()) -> Note:
    """A Note of the table, with ``limits`` on top of those of its code. KeyError for an unknown code."""
    row = CODES[code]
    together = tuple(dict.fromkeys((*row.limits, *limits)))
    return Note(code, row.severity, message, together)


def refusal(code: str, *, file: str = "", tag: str, found: object, expected: str, remedy: str) -> IntakeError:
    """The error of a refusing code, ready to be raised. KeyError for an unknown code."""
    if CODES[code].severity != "refuse":
        raise KeyError(f"{code} is not a refusal")
    return IntakeError(code, file=file, tag=tag, found=found, expected=expected, remedy=remedy)


def truncated(name: str, what: str, found: str) -> IntakeError:
    """E_TRUNCATED of one file."""
    return refusal("E_TRUNCATED", file=name, tag=what, found=found, expected="all of it", remedy="Copy the file again.")


def corrupt(name: str, what: str, found: object, expected: str) -> IntakeError:
    """E_CORRUPT of one file."""
    return refusal("E_CORRUPT", file=name, tag=what, found=found, expected=expected, remedy="Export the file again.")


def too_large(name: str, what: str, found: str, expected: str) -> IntakeError:
    """E_TOO_LARGE of one file."""
    return refusal(
        "E_TOO_LARGE", file=name, tag=what, found=found, expected=expected, remedy="Send a single CT series."
    )


def limits_of(notes: Iterable[Note]) -> frozenset[str]:
    """Everything that the notes withhold together."""
    return frozenset(limit for each in notes for limit in each.limits)


def page() -> str:
    """docs/intake.md."""
    heads = {
        "refuse": "Refused (`E_`)",
        "limit": "Read, with a limit (`W_`)",
        "repair": "Repaired (`R_`)",
    }
    lines = [
        "# What intake can say about a scan",
        "",
        "Made by `python -c 'from vlm.ct.intake import page; print(page(), end=\"\")' > docs/intake.md`.",
        "",
        "A wrong volume is worse than none. A scan is refused, or read with a stated limit, or repaired",
        "where nothing is lost. `tomoscribe info PATH` says all of it before anything is computed.",
    ]
    for severity, head in heads.items():
        lines += ["", f"## {head}", "", "| code | meaning | withholds |", "| --- | --- | --- |"]
        rows = ((name, code) for name, code in CODES.items() if code.severity == severity)
        lines += [f"| `{name}` | {code.meaning} | {', '.join(code.limits) or '–'} |" for name, code in rows]
    lines += ["", "## What a limit withholds", "", "| key | in a report |", "| --- | --- |"]
    lines += [f"| `{key}` | {text} |" for key, text in LIMITS.items()]
    return "\n".join(lines) + "\n"
