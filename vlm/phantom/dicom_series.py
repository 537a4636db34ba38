"""A Volume written as a DICOM CT series, in any of the encodings that scanners and archives use.

For tests, the demonstration and benchmarks. The series is a valid CT Image Storage series with
made-up identifiers; the same volume and seed give the same bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, generate_uid

from vlm.ct.volume import Volume

Syntax = Literal[
    "explicit",
    "implicit",
    "big_endian",
    "deflated",
    "rle",
    "jpeg_lossless",
    "jpeg_lossless_p14",
    "jpegls",
    "jpeg2000",
    "htj2k",
]
UIDS: Mapping[Syntax, str] = {
    "explicit": "1.2.840.10008.1.2.1",
    "implicit": "1.2.840.10008.1.2",
    "big_endian": "1.2.840.10008.1.2.2",
    "deflated": "1.2.840.10008.1.2.1.99",
    "rle": "1.2.840.10008.1.2.5",
    "jpeg_lossless": "1.2.840.10008.1.2.4.70",
    "jpeg_lossless_p14": "1.2.840.10008.1.2.4.57",
    "jpegls": "1.2.840.10008.1.2.4.80",
    "jpeg2000": "1.2.840.10008.1.2.4.90",
    "htj2k": "1.2.840.10008.1.2.4.201",
}
CT_IMAGE = "1.2.840.10008.5.1.4.1.1.2"
INTERCEPT_12_BIT = -1024  # stored 0…4095 is −1024…3071 HU
KERNELS = {"soft": "STANDARD", "sharp": "LUNG", "unknown": ""}


def write_dicom_series(
    volume: Volume,
    folder: Path,
    *,
    syntax: Syntax = "explicit",
    seed: int = 0,
    visit: int = 0,
    reverse: bool = False,
) -> list[Path]:
    """Write one file per slice into ``folder`` (made when missing); returns them from feet to head.

    Args:
        volume: any grid; a sheared one is written as a tilted gantry.
        syntax: a key of UIDS.
        seed: makes the identifiers; another seed is another study of another patient.
        visit: another study of the same patient, so many years before.
        reverse: number the files and instances from head to feet.
    """
    folder.mkdir(parents=True, exist_ok=True)
    twelve = int(volume.hu.min()) >= INTERCEPT_12_BIT and int(volume.hu.max()) <= INTERCEPT_12_BIT + 4095
    count = volume.hu.shape[2]
    paths = []
    for k in range(count):
        number = count - k if reverse else k + 1
        dataset = _slice(volume, k, number, syntax, _Study(seed, visit), twelve=twelve)
        path = folder / f"IM{number:04d}.dcm"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths


@dataclass(frozen=True, slots=True)
class _Study:
    """Whose study it is, and how many years before the first."""

    seed: int
    visit: int

    def uid(self, *parts: object) -> UID:
        again = ("visit", self.visit) if self.visit else ()
        return generate_uid(entropy_srcs=["tomoscribe phantom", str(self.seed), *map(str, (*parts, *again))])


def _slice(volume: Volume, k: int, number: int, syntax: Syntax, study: _Study, *, twelve: bool) -> FileDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(CT_IMAGE)
    meta.MediaStorageSOPInstanceUID = study.uid("image", k)
    meta.TransferSyntaxUID = UID(UIDS[syntax])
    dataset = FileDataset(
        "", {}, file_meta=meta, preamble=b"\0" * 128,
        is_implicit_VR=syntax == "implicit", is_little_endian=syntax != "big_endian",
    )  # fmt: skip
    dataset.SOPClassUID, dataset.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    _identity(dataset, study, number)
    _acquisition(dataset, volume)
    _plane(dataset, volume, k)
    _pixels(dataset, volume.hu[:, :, k], syntax, twelve=twelve)
    return dataset


def _identity(dataset: Dataset, study: _Study, number: int) -> None:
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID = f"PHANTOM^{study.seed}", f"PHANTOM-{study.seed}"
    dataset.PatientBirthDate, dataset.PatientSex = "", ""
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study.uid("study"), study.uid("series")
    dataset.FrameOfReferenceUID = study.uid("frame")
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID = f"{2000 - study.visit}0101", "120000", "1"
    dataset.AccessionNumber, dataset.ReferringPhysicianName = "", ""
    dataset.SeriesNumber, dataset.AcquisitionNumber, dataset.InstanceNumber = 1, 1, number
    dataset.PositionReferenceIndicator, dataset.Laterality = "", ""


def _acquisition(dataset: Dataset, volume: Volume) -> None:
    scan = volume.scan
    dataset.Modality, dataset.Manufacturer = "CT", "tomoscribe phantom"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SliceThickness = _decimal(scan.slice_thickness_mm or volume.grid.spacing_mm[2])
    dataset.KVP = _decimal(scan.tube_voltage_kv or 120.0)
    dataset.ConvolutionKernel = KERNELS[scan.kernel]
    dataset.PatientPosition = scan.patient_position or "HFS"
    if scan.contrast:
        dataset.ContrastBolusAgent = "APPLIED"


def _plane(dataset: Dataset, volume: Volume, k: int) -> None:
    """Columns run to the patient's left and rows to the back, as scanners write them: RAS x and y reversed."""
    shape, affine = volume.hu.shape, volume.grid.affine
    to_lps = np.array([-1.0, -1.0, 1.0])
    columns, rows = -affine[:3, 0] * to_lps, -affine[:3, 1] * to_lps
    first = volume.grid.to_mm([shape[0] - 1, shape[1] - 1, k]) * to_lps
    axes = [*(columns / np.linalg.norm(columns)), *(rows / np.linalg.norm(rows))]
    dataset.ImagePositionPatient = [_decimal(value) for value in first]
    dataset.ImageOrientationPatient = [_decimal(value) for value in axes]
    dataset.PixelSpacing = [_decimal(np.linalg.norm(rows)), _decimal(np.linalg.norm(columns))]


def _decimal(value: float | np.floating) -> str:
    """A DS: at most 16 characters, as exact as they allow."""
    for digits in range(15, 4, -1):
        text = f"{float(value):.{digits}g}"
        if len(text) <= 16:
            return text
    return f"{float(value):.6f}"


def _pixels(dataset: Dataset, hu: NDArray[np.int16], syntax: Syntax, *, twelve: bool) -> None:
    """(X, Y) HU -> Pixel Data, 12 bit unsigned where the values allow it, else 16 bit signed."""
    rows_columns = hu.T[::-1, ::-1]
    intercept = INTERCEPT_12_BIT if twelve else 0
    stored = np.ascontiguousarray(rows_columns.astype(np.int32) - intercept).astype("<u2" if twelve else "<i2")
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored = 16, 12 if twelve else 16
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0 if twelve else 1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = str(intercept), "1", "HU"
    dataset.WindowCenter, dataset.WindowWidth = "40", "400"
    if syntax in ENCODERS:
        dataset.PixelData = encapsulate([ENCODERS[syntax](stored, dataset.BitsStored)], has_bot=True)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    else:
        dataset.PixelData = stored.astype(">u2" if syntax == "big_endian" else "<u2").tobytes()
        dataset["PixelData"].VR = "OW"


def _jpeg(stored: NDArray[np.generic], bits: int) -> bytes:
    import imagecodecs

    words = stored.view("<u2")
    return bytes(imagecodecs.jpeg8_encode(words, lossless=True, bitspersample=bits, predictor=1))


def _jpegls(stored: NDArray[np.generic], _bits: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpegls_encode(stored.view("<u2")))


def _jpeg2000(stored: NDArray[np.generic], bits: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.jpeg2k_encode(stored, codecformat="j2k", reversible=True, bitspersample=bits, level=0))


def _htj2k(stored: NDArray[np.generic], _bits: int) -> bytes:
    import imagecodecs

    return bytes(imagecodecs.htj2k_encode(stored, reversible=True))


def _rle(stored: NDArray[np.generic], _bits: int) -> bytes:
    from rle.utils import encode_pixel_data

    rows, columns = stored.shape
    return bytes(
        encode_pixel_data(
            stored.tobytes(), rows=rows, columns=columns, samples_per_pixel=1, bits_allocated=16, byteorder="<"
        )
    )


ENCODERS: Mapping[str, Callable[[NDArray[np.generic], int], bytes]] = {
    "rle": _rle,
    "jpeg_lossless": _jpeg,
    "jpeg_lossless_p14": _jpeg,
    "jpegls": _jpegls,
    "jpeg2000": _jpeg2000,
    "htj2k": _htj2k,
}
