"""Damage scans at random and see that each ends in the clean volume, a stated limit or a one-line refusal.

    python -m benchmarks.corruptions [--count 2000] [--seed 0] [--write-docs]

Series in several encodings, a NIfTI, a gzipped NIfTI and a zip are written from one phantom
and damaged: bits flipped, files cut, tags taken away, swapped between slices or overwritten.
Damage to the pixels of an encoding without a checksum cannot be noticed by any reader; it is
counted apart, and only when the geometry is the clean one. Everything else must be noticed:
a volume that differs without a note fails, unless SimpleITK gives the same geometry for it
(then the file itself says so). Names and IDs in the files are canaries that no message may hold.
"""

from __future__ import annotations

import argparse
import gzip
import shutil
import signal
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import nibabel as nib
import numpy as np
import SimpleITK as sitk  # noqa: N813
from highdicom.legacy import LegacyConvertedEnhancedCTImage
from pydicom import dcmread

from benchmarks.stamp import ROOT, stamp, write_section
from vlm.ct import Grid, ReadScan, Scan, Volume, read
from vlm.errors import IntakeError
from vlm.phantom.dicom_series import Syntax, write_dicom_series

SLICES, SIZE = 40, 32
NIFTI_HEADER = 352  # bytes
SECONDS = 20  # a read that takes longer hangs
CANARY = "PHANTOM"  # in the patient's name and ID of every file written
OUTCOMES = ("equal", "limit said", "refused", "pixels only", "as the file says", "SILENT", "CRASH", "HANG", "LEAK")
BAD = ("SILENT", "CRASH", "HANG", "LEAK")
SERIES: tuple[Syntax, ...] = ("explicit", "implicit", "big_endian", "deflated", "rle", "jpeg_lossless", "jpegls")
ENHANCED = {"enhanced": "1.2.840.10008.1.2.1", "enhanced_jpegls": "1.2.840.10008.1.2.4.80"}  # multi-frame files
FORMS = (*SERIES, *ENHANCED, "nii", "nii.gz", "zip")
CHECKED = {"nii.gz", "zip"}  # with a checksum: every damage is noticed
TAGS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "RescaleIntercept", "RescaleSlope", "Rows",
        "Columns", "BitsStored", "PixelRepresentation", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID",
        "ImageType", "HighBit", "BitsAllocated", "FrameOfReferenceUID", "PhotometricInterpretation",
        "SamplesPerPixel", "ConvolutionKernel", "StudyInstanceUID", "PixelData")  # fmt: skip
ODD_VALUES: dict[str, tuple[Any, ...]] = {
    "ImagePositionPatient": ([0, 0, 0], [1e9, 0, 0], [5, 5], ["nan", "0", "0"]),
    "ImageOrientationPatient": ([0] * 6, [1, 0, 0, 1, 0, 0], [1, 0, 0, 0, -1, 0]),
    "PixelSpacing": ([0, 0], [-1, -1], [0.7], [7.0, 7.0], [0.8, 0.7]),
    "RescaleIntercept": ("0", "1e30"),
    "RescaleSlope": ("0", "-1", "2"),
    "Rows": (0, 65535, 16),
    "Columns": (0, 65535, 16),
    "BitsStored": (0, 8, 16),
    "PixelRepresentation": (1, 2),
    "SamplesPerPixel": (3,),
    "BitsAllocated": (8, 32, 1),
    "HighBit": (15, 3),
    "PhotometricInterpretation": ("RGB", "MONOCHROME1", "PALETTE COLOR"),
}


@dataclass(frozen=True)
class Clean:
    """One undamaged form of the phantom: where it lies, and how it reads."""

    form: str
    path: Path
    scan: ReadScan


def phantom() -> Volume:
    """(SIZE, SIZE, SLICES) HU: a body with lungs, no two slices alike."""
    rng = np.random.default_rng(7)
    y, x = np.mgrid[-1 : 1 : SIZE * 1j, -1 : 1 : SIZE * 1j]
    plane = np.where((x / 0.8) ** 2 + (y / 0.7) ** 2 < 1, 40, -1000)
    plane = np.where(((np.abs(x) - 0.4) / 0.25) ** 2 + (y / 0.4) ** 2 < 1, -850, plane)
    hu = plane[None] + rng.integers(-20, 20, (SLICES, SIZE, SIZE)) + np.arange(SLICES)[:, None, None] // 4
    affine = np.diag([6.0, 7.0, 3.0, 1.0])
    affine[:3, :3] /= 2
    affine[:3, 3] = (-44.0, -60.0, 100.0)
    return Volume(hu.astype(np.int16).T, Grid((SIZE, SIZE, SLICES), affine), Scan(source="phantom"))


def write_forms(folder: Path, forms: tuple[str, ...] = FORMS) -> list[Clean]:
    """Every form of the phantom below ``folder``, read once."""
    volume, clean = phantom(), []
    for form in forms:
        path = folder / form
        if form in SERIES:
            write_dicom_series(volume, path, syntax=form)  # type: ignore[arg-type]
        elif form in ENHANCED:
            path = folder / f"{form}.dcm"
            files = write_dicom_series(volume, folder / f"for-{form}")
            legacy = LegacyConvertedEnhancedCTImage(
                [dcmread(file) for file in reversed(files)], series_instance_uid="1.2.3.4", series_number=2,
                sop_instance_uid="1.2.3.5", instance_number=1, transfer_syntax_uid=ENHANCED[form],
            )  # fmt: skip
            legacy.save_as(path)
        elif form == "zip":
            path = folder / "study.zip"
            write_dicom_series(volume, folder / "for-zip")
            with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
                for file in sorted((folder / "for-zip").iterdir()):
                    archive.write(file, file.name)
        else:
            path = folder / f"ct.{form}"
            image = nib.Nifti1Image(np.asarray(volume.hu), volume.grid.affine)
            image.set_sform(volume.grid.affine, 1)
            image.set_qform(volume.grid.affine, 1)
            image.header.set_xyzt_units("mm")
            data = image.to_bytes()
            path.write_bytes(gzip.compress(data, 1, mtime=0) if form == "nii.gz" else data)
        clean.append(Clean(form, path, read(path)))
    return clean


def damage(clean: Clean, target: Path, rng: np.random.Generator) -> tuple[str, bool]:
    """Write a damaged copy to ``target``; returns the kind of damage, and whether only pixel bytes were hit."""
    if clean.path.is_file():
        shutil.copy(clean.path, target)
        if clean.form in ENHANCED:
            start = _pixel_start(target)
            return _damage_bytes(target, rng, pixels_from=start, most=start if rng.random() < 0.7 else None)
        header_only = NIFTI_HEADER if clean.form == "nii" and rng.random() < 0.5 else None
        return _damage_bytes(target, rng, pixels_from=NIFTI_HEADER if clean.form == "nii" else None, most=header_only)
    shutil.copytree(clean.path, target)
    files = sorted(target.iterdir())
    file = files[int(rng.integers(len(files)))]
    kinds: tuple[Callable[[], tuple[str, bool]], ...] = (
        lambda: _damage_bytes(file, rng, pixels_from=_pixel_start(file)),
        lambda: _damage_bytes(file, rng, pixels_from=_pixel_start(file), most=_pixel_start(file)),
        lambda: _damage_tag(files, file, rng),
    )
    return kinds[int(rng.choice(3, p=[0.3, 0.3, 0.4]))]()


def _pixel_start(file: Path) -> int:
    """Where the pixels of a file start; 0 for a deflated one, whose header is not separate."""
    data = file.read_bytes()
    at = max(data.rfind(b"\xe0\x7f\x10\x00"), data.rfind(b"\x7f\xe0\x00\x10"))
    return at + 12 if at > 0 else 0


def _damage_bytes(
    file: Path, rng: np.random.Generator, *, pixels_from: int | None, most: int | None = None
) -> tuple[str, bool]:
    """Flip bits, cut, zero a block or insert bytes; ``most`` keeps the damage before that byte."""
    data = bytearray(file.read_bytes())
    start, end = 0, most or len(data)
    at = int(rng.integers(end))
    kind = str(rng.choice(["bit", "bit", "bits", "cut", "zeros", "insert", "byte"]))
    if kind == "cut":
        del data[at:]
    elif kind == "insert":
        data[at:at] = bytes(rng.integers(0, 256, int(rng.integers(1, 9)), dtype=np.uint8))
    else:
        if pixels_from is not None:  # stay on one side, so that what was hit is known
            start, end = (pixels_from, end) if at >= pixels_from else (0, min(end, pixels_from))
        count = {"bit": 1, "bits": 8, "byte": 1, "zeros": int(rng.integers(2, 64))}[kind]
        for step in range(count):
            place = int(rng.integers(start, end)) if kind == "bits" else min(at + step, end - 1)
            if kind == "zeros":
                data[place] = 0
            elif kind == "byte":
                data[place] = int(rng.integers(256))
            else:
                data[place] ^= 1 << int(rng.integers(8))
    file.write_bytes(data)
    return kind, pixels_from is not None and at >= pixels_from and kind not in ("cut",)


def _damage_tag(files: list[Path], file: Path, rng: np.random.Generator) -> tuple[str, bool]:
    """Take a tag away, overwrite it, or swap it with another slice; or lose, copy or rename a file."""
    kind = str(rng.choice(["tag gone", "tag odd", "tags swapped", "file gone", "file twice", "files renamed"]))
    other = files[int(rng.integers(len(files)))]
    tag = str(rng.choice(TAGS))
    if kind == "file gone":
        files[1 + int(rng.integers(len(files) - 2))].unlink()  # the loss of an end leaves no trace
    elif kind == "file twice":
        shutil.copy(file, file.with_name("copy"))
    elif kind == "files renamed":
        for number, each in enumerate(files):
            each.rename(each.with_name(f"x{(number * 7) % len(files):03d}"))
    else:
        dataset = dcmread(file)
        if kind == "tag gone":
            if tag in dataset:
                del dataset[tag]
        elif kind == "tag odd":
            tag = str(rng.choice(list(ODD_VALUES)))
            values = ODD_VALUES[tag]
            dataset.__setattr__(tag, values[int(rng.integers(len(values)))])
        else:
            second = dcmread(other)
            if tag in dataset and tag in second:
                dataset[tag], second[tag] = second[tag], dataset[tag]
                second.save_as(other)
        dataset.save_as(file)
    return kind, tag == "PixelData"


@contextmanager
def alarm(seconds: int) -> Iterator[None]:
    """TimeoutError when the block takes longer."""

    def late(_signal: int, _frame: FrameType | None) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def judge(clean: Clean, path: Path, *, pixels_hit: bool) -> tuple[str, str]:
    """(outcome, detail) of reading one damaged scan."""
    try:
        with alarm(SECONDS):
            scan = read(path)
    except IntakeError as error:
        text = str(error)
        return ("LEAK", text) if CANARY in text.upper() or "\n" in text else ("refused", error.code)
    except TimeoutError:
        return "HANG", ""
    except BaseException as error:  # the point of the exercise: anything else is a fault
        return "CRASH", f"{type(error).__name__}: {error}"
    if CANARY in str([scan.notes, scan.inventory]).upper():
        return "LEAK", str(scan.notes)
    before, after = clean.scan.volume, scan.volume
    same_grid = after.grid.same_as(before.grid)
    if same_grid and np.array_equal(before.hu, after.hu):
        return "equal", ""
    known = {note.code for note in clean.scan.notes}
    said = sorted({note.code for note in scan.notes} - known)
    if said:
        return "limit said", said[0]
    if same_grid and pixels_hit and clean.form not in CHECKED:
        return "pixels only", ""
    if not same_grid and sitk_agrees(path, after):
        return "as the file says", ""
    return (
        "SILENT",
        f"grid same: {same_grid}, shape {after.hu.shape}, {np.abs(after.grid.affine - before.grid.affine).max()}",
    )


def sitk_agrees(path: Path, volume: Volume) -> bool:
    """True when SimpleITK reads the same corner points, to 0.05 mm; False when it cannot read it."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        if path.is_dir():
            image = sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(path)))
        else:
            image = sitk.ReadImage(str(path))
    except RuntimeError:
        return False
    last = [n - 1 for n in image.GetSize()]
    theirs = [
        image.TransformIndexToPhysicalPoint([x, y, z]) for x in (0, last[0]) for y in (0, last[1]) for z in (0, last[2])
    ]
    shape = volume.hu.shape
    ours = [
        volume.grid.to_mm([x, y, z]) * [-1, -1, 1]
        for x in (0, shape[0] - 1)
        for y in (0, shape[1] - 1)
        for z in (0, shape[2] - 1)
    ]
    return np.allclose(sorted(map(tuple, np.round(theirs, 2))), sorted(map(tuple, np.round(ours, 2))), atol=0.05)


def run(count: int, seed: int, forms: tuple[str, ...] = FORMS) -> tuple[dict[str, Counter[str]], list[str]]:
    """Damage and read ``count`` scans; outcomes by form, and a line for every bad one."""
    table: dict[str, Counter[str]] = {form: Counter() for form in forms}
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="tomoscribe-damage-") as name:
        folder = Path(name)
        cleans = write_forms(folder, forms)
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            clean = cleans[number % len(cleans)]
            target = folder / ("damaged" + ("".join(clean.path.suffixes) if clean.path.is_file() else ""))
            kind, pixels_hit = damage(clean, target, rng)
            outcome, detail = judge(clean, target, pixels_hit=pixels_hit)
            table[clean.form][outcome] += 1
            if outcome in BAD:
                bad.append(f"{number} {clean.form} {kind}: {outcome} {detail}")
            if target.is_dir():
                shutil.rmtree(target)
            else:
                target.unlink()
    return table, bad


def main() -> None:
    """Print the table; exit code 1 when anything is bad."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write-docs", action="store_true")
    options = parser.parse_args()
    made_by = stamp(f"python -m benchmarks.corruptions --count {options.count} --seed {options.seed}")  # before the run
    warnings.simplefilter("ignore")  # pydicom's, about the odd values written on purpose
    start = time.perf_counter()
    table, bad = run(options.count, options.seed)
    seconds = time.perf_counter() - start
    rows = [("form", *OUTCOMES), ("---", *["---:"] * len(OUTCOMES))]
    rows += [(form, *[str(outcomes[each]) for each in OUTCOMES]) for form, outcomes in table.items()]
    total = sum(table.values(), Counter())
    rows.append(("**all**", *[str(total[each]) for each in OUTCOMES]))
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines += ["", f"{options.count} damaged scans in {seconds:.0f} s; bad: {len(bad)}.", ""]
    lines.append(made_by)
    print("\n".join([*lines, *bad]))
    if options.write_docs:
        write_section(ROOT / "docs" / "reading.md", "corruptions", "\n".join(lines))
    raise SystemExit(bool(bad))


if __name__ == "__main__":
    main()
