"""A NIfTI file becomes a Volume: inflated by us to its last byte, judged, turned to RAS.

The gzip stream is read to its end with bounded output, so its checksum and length are
known before nibabel sees a byte. Orientation comes from sform and qform, which must agree
about left and right; nothing is assumed where both are silent.
"""

from __future__ import annotations

import io
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vlm.ct.geometry import TILT_DEGREES, Turn, orientation_code, size_notes, turn_to_ras, turned_affine
from vlm.ct.intake import Note, note, refusal
from vlm.ct.values import PADDING_HU, PaddingFinder, set_padding
from vlm.ct.volume import AIR_HU, Grid
from vlm.errors import IntakeError

MOST_BYTES, MOST_RATIO, SMALL_BYTES = 8 << 30, 200, 64 << 20  # inflated; ratio counted from 64 MiB on
MOST_VOXELS, MOST_SIZE = 1_500_000_000, 4096
FIELD_OF_VIEW_MM = (30.0, 2500.0)  # in-plane extent of a CT in millimetres
METRE, MILLIMETRE, MICRON = 1, 2, 3
SHIFT_MM, TURN_DEGREES = 1.0, 1.0  # sform and qform may differ by this much without a word
STEP_SHARE = 0.01  # column lengths of the transform against pixdim
HEADER_BYTES = 544
MOST_NAN_SHARE = 0.5


@dataclass(frozen=True, eq=False)
class Header:
    """What a NIfTI header says, judged: the stored array's shape, its affine in mm, scale and notes."""

    name: str
    shape: tuple[int, int, int]
    affine: NDArray[np.float64]  # stored axes -> RAS mm
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float
    notes: tuple[Note, ...]

    @property
    def turn(self) -> Turn:
        """How stored axes become RAS axes."""
        return turn_to_ras(self.affine)

    @property
    def grid(self) -> Grid:
        """The grid after the turn."""
        turn = self.turn
        x, y, z = (self.shape[axis] for axis in turn.axes)
        return Grid((x, y, z), turned_affine(self.affine, self.shape, turn))

    @property
    def axes(self) -> str:
        """Where stored axes point, such as "LAS"."""
        return orientation_code(self.affine)


def starts_like_nifti(head: bytes) -> bool:
    """True for the first 348 or more bytes of an uncompressed NIfTI-1 or NIfTI-2 file."""
    return head[344:347] in (b"n+1", b"ni1") or head[4:7] in (b"n+2", b"ni2")


def starts_like_gzip(head: bytes) -> bool:
    """True for a gzip stream."""
    return head[:3] == b"\x1f\x8b\x08"


def read_start(path: Path, count: int = HEADER_BYTES) -> bytes:
    """The first bytes of a file, inflated where it is gzip; fewer or none when it is cut or broken."""
    with path.open("rb") as stream:
        head = stream.read(1 << 14)
    if not starts_like_gzip(head):
        return head[:count]
    try:
        return zlib.decompressobj(31).decompress(head, count)
    except zlib.error:
        return b""


def read_all(path: Path, name: str) -> bytes | bytearray:
    """The whole file, inflated to its end with CRC and length checked.

    Raises:
        IntakeError: E_TRUNCATED, E_CORRUPT, E_TOO_LARGE.
    """
    if not starts_like_gzip(read_raw(path, 3)):
        return path.read_bytes()
    size, out = path.stat().st_size, bytearray()
    engine, started = zlib.decompressobj(31), False
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(1 << 20):
                while chunk:
                    if engine.eof:  # another member of the same stream, or zeros after the last one
                        chunk = chunk.lstrip(b"\0")
                        if chunk and not chunk.startswith(b"\x1f"):
                            raise _refuse("E_CORRUPT", name, "gzip", "followed by other bytes", "one gzip stream")
                        engine = zlib.decompressobj(31) if chunk else engine
                        if not chunk:
                            break
                    out += engine.decompress(chunk, 1 << 24)
                    started = True
                    chunk = engine.unused_data if engine.eof else engine.unconsumed_tail
                    if len(out) > MOST_BYTES or (len(out) > SMALL_BYTES and len(out) > MOST_RATIO * size):
                        raise _refuse("E_TOO_LARGE", name, "gzip", f"more than {len(out) >> 20} MiB inflated", "a CT")
    except zlib.error:
        raise _refuse("E_CORRUPT", name, "gzip", "broken or with a wrong checksum", "a whole gzip stream") from None
    if not (engine.eof and started):
        raise _refuse("E_TRUNCATED", name, "gzip", f"cut after {len(out)} bytes", "a whole gzip stream")
    return out


def read_raw(path: Path, count: int) -> bytes:
    """The first bytes of a file as they are."""
    with path.open("rb") as stream:
        return stream.read(count)


def header(start: bytes, name: str) -> Header:
    """Judge a header from the first HEADER_BYTES of the (inflated) file; no voxel is looked at."""
    import nibabel as nib

    try:
        two = start[4:7] in (b"n+2", b"ni2")
        kind = nib.Nifti2Header if two else nib.Nifti1Header
        raw = kind.from_fileobj(io.BytesIO(start), check=False)
        dim = [int(value) for value in raw["dim"]]
        pixdim = [float(value) for value in raw["pixdim"]]
        dtype = np.dtype(raw.get_data_dtype()).newbyteorder(raw.endianness)
        offset = int(raw["vox_offset"])
    except Exception as error:  # nibabel and numpy raise many kinds on broken headers; all of them mean this
        raise _refuse("E_CORRUPT", name, "NIfTI header", f"unreadable ({type(error).__name__})", "NIfTI") from None
    if start[344:347] == b"ni1" or start[4:7] == b"ni2":
        raise _refuse("E_CORRUPT", name, "NIfTI magic", "a header without its voxels", "a single .nii or .nii.gz")
    shape = _shape(dim, name)
    if (
        dtype.fields is not None
        or dtype.kind not in "iuf"
        or dtype.itemsize > 8
        or (dtype.itemsize * 8 == 16 and dtype.kind == "f")
    ):
        raise _refuse("E_NOT_SCALAR", name, "datatype", f"code {int(raw['datatype'])}", "integers or floats")
    if not HEADER_FLOOR[two] <= offset <= 1 << 20:
        raise _refuse("E_CORRUPT", name, "vox_offset", offset, f"from {HEADER_FLOOR[two]}")
    notes: list[Note] = []
    scale = _scale(raw, notes)
    affine = _affine(raw, pixdim, shape, name, notes)
    return Header(name, shape, affine, dtype, offset, *scale, tuple(notes))


HEADER_FLOOR = {False: 352, True: 544}  # where voxels may start, by version


def _shape(dim: list[int], name: str) -> tuple[int, int, int]:
    if not 1 <= dim[0] <= 7 or any(not size >= 1 for size in dim[1 : dim[0] + 1]):
        raise _refuse("E_CORRUPT", name, "dim", dim[: dim[0] + 1] if 1 <= dim[0] <= 7 else dim[0], "1…7 positive sizes")
    sizes = [*dim[1 : dim[0] + 1], 1, 1][: max(3, dim[0])]
    if any(size > 1 for size in sizes[3:]):
        raise _refuse("E_PHASES", name, "dim", "x".join(map(str, sizes)), "three dimensions")
    x, y, z = sizes[:3]
    if max(x, y, z) > MOST_SIZE or x * y * z > MOST_VOXELS:
        raise _refuse("E_TOO_LARGE", name, "dim", f"{x}x{y}x{z}", f"at most {MOST_VOXELS} voxels")
    if min(x, y, z) < 3:
        raise _refuse("E_TOO_FEW_SLICES", name, "dim", f"{x}x{y}x{z}", "at least 3 slices")
    return x, y, z


def _scale(raw: Any, notes: list[Note]) -> tuple[float, float]:
    slope, intercept = float(raw["scl_slope"]), float(raw["scl_inter"])
    if slope == 0:
        return 1.0, 0.0
    if not (np.isfinite(slope) and np.isfinite(intercept)):
        notes.append(note("R_SCALE_IGNORED", "scl_slope or scl_inter is not a number and was taken as none."))
        return 1.0, 0.0
    if (slope, intercept) != (1.0, 0.0):
        notes.append(note("R_SCALED", f"Values are stored x {slope:.6g} + {intercept:.6g}, as the header says."))
    return slope, intercept


def _affine(
    raw: Any, pixdim: list[float], shape: tuple[int, int, int], name: str, notes: list[Note]
) -> NDArray[np.float64]:
    """The stored-axes-to-RAS affine in mm, from sform or qform, both judged."""
    sform = raw.get_sform(coded=False).astype(np.float64) if int(raw["sform_code"]) > 0 else None
    try:
        qform = raw.get_qform(coded=False).astype(np.float64) if int(raw["qform_code"]) > 0 else None
    except Exception:  # nibabel raises its own kinds for a bad quaternion
        raise _refuse("E_NO_GEOMETRY", name, "qform", "no rotation", "a unit quaternion") from None
    if sform is None and qform is None:
        raise _refuse("E_NO_ORIENTATION", name, "sform and qform", "both without code", "one that places the patient")
    steps = np.abs(np.asarray(pixdim[1:4]))
    for which, matrix in (("sform", sform), ("qform", qform)):
        if matrix is None:
            continue
        if not np.isfinite(matrix).all() or abs(float(np.linalg.det(matrix[:3, :3]))) < 1e-12:
            raise _refuse("E_NO_GEOMETRY", name, which, "not invertible", "a transform to millimetres")
        lengths = np.linalg.norm(matrix[:3, :3], axis=0)
        if np.any(np.abs(lengths - steps) > STEP_SHARE * np.maximum(lengths, steps)):
            raise _refuse("E_XFORM_CONFLICT", name, which, f"steps {_mm(lengths)}", f"pixdim {_mm(steps)}")
    scale = _to_mm(raw, steps, shape, name, notes)
    unit = np.diag([scale, scale, scale, 1.0])
    if sform is not None and qform is not None:
        _compare(unit @ sform, unit @ qform, shape, name, notes)
    chosen: NDArray[np.float64] = unit @ (sform if sform is not None else qform)
    _shear(chosen, shape, notes)
    return chosen


def _to_mm(raw: Any, steps: NDArray[np.float64], shape: tuple[int, int, int], name: str, notes: list[Note]) -> float:
    """The factor from the header's unit to mm; E_NO_GEOMETRY when the field of view is impossible."""
    unit = int(raw["xyzt_units"]) & 7
    factor = {METRE: 1000.0, MICRON: 0.001}.get(unit, 1.0)
    view = np.sort(steps * shape)[1:] * factor  # the two wider axes
    if not (FIELD_OF_VIEW_MM[0] <= view[0] and view[1] <= FIELD_OF_VIEW_MM[1]):
        raise _refuse("E_NO_GEOMETRY", name, "field of view", f"{view[0]:.4g}x{view[1]:.4g} mm", "a body's size")
    if factor != 1.0:
        notes.append(note("R_UNITS", f"Lengths were converted from {'metres' if unit == METRE else 'microns'}."))
    return factor


def _compare(
    sform: NDArray[np.float64], qform: NDArray[np.float64], shape: tuple[int, int, int], name: str, notes: list[Note]
) -> None:
    """E_XFORM_CONFLICT when handedness or axes differ; a note when the place does."""
    if (
        orientation_code(sform) != orientation_code(qform)
        or np.linalg.det(sform[:3, :3]) * np.linalg.det(qform[:3, :3]) < 0
    ):
        found = f"sform {orientation_code(sform)}, qform {orientation_code(qform)}"
        raise _refuse("E_XFORM_CONFLICT", name, "orientation", found, "one left and right")
    corners = np.array([[x, y, z, 1] for x in (0, shape[0] - 1) for y in (0, shape[1] - 1) for z in (0, shape[2] - 1)])
    apart = float(np.linalg.norm(((sform - qform) @ corners.T)[:3], axis=0).max())
    turn = max(_angle(sform[:3, axis], qform[:3, axis]) for axis in range(3))
    if apart > SHIFT_MM or turn > TURN_DEGREES:
        notes.append(note("W_XFORM_CONFLICT", f"sform and qform are up to {apart:.1f} mm apart; the sform is used."))


def _shear(affine: NDArray[np.float64], shape: tuple[int, int, int], notes: list[Note]) -> None:
    """W_TILT for axes that are not at right angles; notes on a short or thick stack."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    worst = max(abs(float(axes[:, a] @ axes[:, b])) for a, b in ((0, 1), (0, 2), (1, 2)))
    degrees = float(np.degrees(np.arcsin(min(1.0, worst))))
    if degrees > TILT_DEGREES:
        notes.append(
            note("W_TILT", f"Slices tilted {degrees:.1f}°; lengths use the true geometry, reformats are resampled.")
        )
    head = turn_to_ras(affine).axes[2]
    notes += size_notes(shape[head], float(np.linalg.norm(affine[:3, head])))


def tilt_degrees(affine: NDArray[np.float64]) -> float:
    """Angle between the slice axis and the normal of its slices, degrees; 0 below the threshold."""
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    angle = _angle(normal, affine[:3, 2])
    angle = min(angle, 180 - angle)
    return angle if angle > TILT_DEGREES else 0.0


def _angle(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    cosine = float(a @ b) / float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.degrees(np.arccos(np.clip(cosine, -1, 1))))


def voxels(data: bytes | bytearray, head: Header) -> tuple[NDArray[np.int16], NDArray[np.bool_] | None, list[Note]]:
    """(Z, Y, X) int16 HU in RAS order, padding or None, and notes; ``data`` is the whole inflated file."""
    count = int(np.prod(head.shape))
    need = head.offset + count * head.dtype.itemsize
    if len(data) < need:
        raise _refuse("E_TRUNCATED", head.name, "voxels", f"{len(data)} of {need} bytes", "all of them")
    stored = np.frombuffer(data, dtype=head.dtype, count=count, offset=head.offset).reshape(head.shape, order="F")
    turn, notes = head.turn, list[Note]()
    ends = tuple(slice(None, None, -1 if flip else 1) for flip in turn.flips)
    view = stored.transpose(turn.axes)[ends].T  # (Z, Y, X)
    hu = np.empty(view.shape, dtype=np.int16)
    padding = np.zeros(view.shape, dtype=bool)
    finder, clipped, missing = PaddingFinder(), 0, 0
    whole = head.dtype.kind in "iu" and head.dtype.itemsize <= 2 and head.slope == 1.0 and head.intercept == 0.0
    for k in range(len(view)):
        if whole and head.dtype.kind == "i":
            hu[k] = view[k]
        else:
            values = view[k].astype(np.float32) * np.float32(head.slope) + np.float32(head.intercept)
            lost = ~np.isfinite(values)
            values[lost] = AIR_HU
            missing += int(np.count_nonzero(lost))
            padding[k] = lost
            clipped += int(np.count_nonzero(np.abs(values) > 32767))
            hu[k] = np.clip(np.rint(values), -32768, 32767)
        if int(hu[k].min()) < PADDING_HU and (found := finder.find(hu[k], None)) is not None:
            padding[k] |= found
            set_padding(hu[k], found)
    if missing:
        if missing > MOST_NAN_SHARE * count:
            raise _refuse("E_CORRUPT", head.name, "voxels", f"{missing / count:.0%} not numbers", "numbers")
        notes.append(note("W_NAN", f"{missing} voxels are not numbers and were taken as padding."))
    if clipped:
        notes.append(note("R_CLIPPED", f"{clipped} voxels beyond 16 bits were clipped."))
    return hu, padding if padding.any() else None, notes


def _mm(values: NDArray[np.float64]) -> str:
    return "x".join(f"{float(value):.4g}" for value in values)


REMEDIES = {
    "E_TRUNCATED": "Copy the file again.",
    "E_CORRUPT": "Copy or convert the file again.",
    "E_PHASES": "Save one phase as a 3D file.",
    "E_NO_ORIENTATION": "Convert from DICOM again, keeping the orientation.",
    "E_XFORM_CONFLICT": "Left and right are unsure: convert from DICOM again.",
    "E_TOO_FEW_SLICES": "Give the whole volume.",
    "E_NOT_SCALAR": "Give a CT in Hounsfield units.",
    "E_NO_GEOMETRY": "Convert from DICOM again.",
    "E_TOO_LARGE": "Give a single CT volume.",
}


def _refuse(code: str, name: str, tag: str, found: object, expected: str) -> IntakeError:
    return refusal(code, file=name, tag=tag, found=found, expected=expected, remedy=REMEDIES[code])
