"""From a path to a Volume, and from a path to what would be read of it.

    scan = read("folder")            # ReadScan: the volume, every note, the inventory
    inventory = survey("folder")     # headers only

Both make the same plan: open the path, sort its files into CT images, other kinds and
broken ones, group and judge them, choose. ``read`` then loads the pixels.
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Literal

import numpy as np

from vlm.ct import dicom, nifti, pixels, values
from vlm.ct.archive import Entry, opened
from vlm.ct.geometry import FEWEST_POSITIONS, MISSING_SLICES, orientation_code, ras_affine, turn_to_ras, turned_affine
from vlm.ct.image import Image, Skipped
from vlm.ct.intake import Note, limits_of, note, refusal, too_large
from vlm.ct.inventory import Geometry, Inventory, NoteRecord, RefusalRecord, SeriesRecord, SkippedRecord
from vlm.ct.pixels import Progress
from vlm.ct.series import Candidate, candidates, choose
from vlm.ct.volume import Grid, Scan, Volume
from vlm.errors import IntakeError, shown

DECODER_FAULT = "the decoder"  # how isolation.py names a decoder that hangs or dies
NIFTI_SERIES = "nifti"  # a NIfTI file holds one volume and no identifier


@dataclass(frozen=True, eq=False)
class ReadScan:
    """A scan that was read: the volume, what was noted, and what else lay there."""

    volume: Volume
    notes: tuple[Note, ...]
    inventory: Inventory


@dataclass(slots=True)
class _Plan:
    """What a path holds, judged; ``chosen`` or ``nifti_header`` is what would be read, ``error`` why nothing is."""

    source: Literal["dicom", "nifti"] = "dicom"
    images: list[Image] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    report: bool = False  # the folder holds a report.json
    others: int = 0  # files that are neither DICOM nor NIfTI
    broken: list[IntakeError] = field(default_factory=list)
    found: list[Candidate] = field(default_factory=list)
    chosen: Candidate | None = None
    niftis: list[Entry] = field(default_factory=list)
    nifti_header: nifti.Header | None = None
    notes: list[Note] = field(default_factory=list)
    error: IntakeError | None = None


def read(path: str | PathLike[str], *, series: str | None = None, progress: Progress | None = None) -> ReadScan:
    """Read the CT of a DICOM folder, a DICOM file, a zip or a NIfTI file.

    Args:
        path: where it lies.
        series: UID or pseudonym of the series to read, where there are several.
        progress: called with a step's name and its share done, 0…1.

    Raises:
        IntakeError: nothing may be read; one line says why and what to do.
    """
    with _planned(Path(path), series, progress) as plan:
        if plan.error is not None:
            raise plan.error
        if plan.nifti_header is not None:
            return _read_nifti(plan, plan.niftis[0], plan.nifti_header)
        assert plan.chosen is not None
        try:
            return _read_without_broken(plan, plan.chosen, series, progress)
        except MemoryError:
            size = f"{len(plan.chosen.slices)} slices of {plan.chosen.image.columns}x{plan.chosen.image.rows}"
            raise too_large("", "volume", size, "one that fits in memory") from None


def survey(path: str | PathLike[str], series: str | None = None) -> Inventory:
    """What is in a path and what would be read of it, from headers alone.

    A scan that would be refused comes back with ``refusal`` set. Raises IntakeError only
    where the path itself cannot be opened or unpacked, or holds no image at all.
    """
    with _planned(Path(path), series, None) as plan:
        grid = None
        if plan.error is None and plan.nifti_header is not None:
            grid = plan.nifti_header.grid
        elif plan.chosen is not None and plan.error is None:
            grid = _placed(plan.chosen)[0]
        return _inventory(plan, plan.notes, grid)


@contextmanager
def _planned(path: Path, series: str | None, progress: Progress | None) -> Iterator[_Plan]:
    with warnings.catch_warnings(), opened(path) as entries:
        warnings.simplefilter("ignore")  # pydicom and nibabel quote header values in theirs
        plan = _Plan(report=(path / "report.json").is_file())
        for number, entry in enumerate(entries):
            _sort_in(plan, entry, alone=len(entries) == 1)
            if progress and number % 32 == 0:
                progress("reading headers", number / len(entries))
        _decide(plan, len(entries), series)
        yield plan


def _sort_in(plan: _Plan, entry: Entry, *, alone: bool) -> None:
    """Put one file into the plan by its first bytes, never by its name."""
    try:
        with entry.path.open("rb") as stream:
            head = stream.read(nifti.HEADER_BYTES)
        found = dicom.read_header(entry.path, entry.name) if dicom.starts_like_dicom(head) else None
    except IntakeError as error:
        plan.broken.append(error)
        return
    except OSError:
        plan.broken.append(
            refusal("E_NO_PATH", file=entry.name, tag="file", found="not readable", expected="a readable file",
                    remedy="Check the permissions or copy it again.")
        )  # fmt: skip
        return
    if isinstance(found, Skipped):
        plan.skipped.append(found)
    elif found is not None:
        plan.images.append(found)
    elif nifti.starts_like_nifti(head) or (nifti.starts_like_gzip(head) and _holds_nifti(entry, alone=alone)):
        plan.niftis.append(entry)
    else:
        plan.others += 1


def _holds_nifti(entry: Entry, *, alone: bool) -> bool:
    start = nifti.read_start(entry.path)
    return nifti.starts_like_nifti(start) or (alone and not start)


def _decide(plan: _Plan, files: int, series: str | None) -> None:
    """Judge what was found and choose; leaves the refusal in ``plan.error``."""
    if plan.report and not plan.images and all(entry.path.parent.name == "masks" for entry in plan.niftis):
        expected, remedy = "the CT it was read from", "Give the scan; a report does not hold it."
        plan.error = refusal("E_NO_CT", tag="input", found="a report", expected=expected, remedy=remedy)
        return
    if plan.niftis and not plan.images and not plan.broken:
        _decide_nifti(plan, series)
        return
    plan.skipped += [Skipped(entry.name, "NIfTI file") for entry in plan.niftis]
    if not plan.images:
        plan.error = _nothing(plan, files)
        return
    plan.found = candidates(plan.images)
    try:
        plan.chosen = choose(plan.found, series)
        plan.notes += _notes_of_choice(plan, plan.chosen)
    except IntakeError as error:
        plan.error = error
        if len(plan.found) == 1:
            plan.notes += plan.found[0].notes


def _decide_nifti(plan: _Plan, series: str | None) -> None:
    """Judge the header of the only NIfTI."""
    plan.source = "nifti"
    if series not in (None, NIFTI_SERIES):
        plan.error = refusal(
            "E_NO_SUCH_SERIES", tag="--series", found="not in a NIfTI file", expected=NIFTI_SERIES,
            remedy="Leave --series out; a NIfTI file holds one volume.",
        )  # fmt: skip
        return
    entry = plan.niftis[0]
    if len(plan.niftis) > 1:
        plan.error = refusal(
            "E_CHOOSE_SERIES", tag="input", found=f"{len(plan.niftis)} NIfTI files", expected="one",
            remedy="Give one file instead of the folder.",
        )  # fmt: skip
        return
    try:
        plan.nifti_header = nifti.header(nifti.read_start(entry.path), entry.name)
        plan.notes += plan.nifti_header.notes
    except IntakeError as error:
        plan.error = _worse_when_cut(entry, error)


def _worse_when_cut(entry: Entry, error: IntakeError) -> IntakeError:
    """A broken stream explains a header that makes no sense: name the break instead."""
    try:
        nifti.read_all(entry.path, entry.name)
    except IntakeError as cause:
        return cause
    return error


def _nothing(plan: _Plan, files: int) -> IntakeError:
    if plan.broken:
        return plan.broken[0]
    if plan.skipped:
        kinds = ", ".join(sorted({each.kind for each in plan.skipped}))
        return refusal(
            "E_NO_CT", tag="input", found=kinds, expected="CT images", remedy="Give the folder of the CT series."
        )
    return refusal(
        "E_NO_IMAGES", tag="input", found=f"0 of {files} files DICOM or NIfTI", expected="a CT",
        remedy="Give a DICOM folder, a zip or a NIfTI file.",
    )  # fmt: skip


def _notes_of_choice(plan: _Plan, chosen: Candidate) -> list[Note]:
    """The notes of the chosen group, and what was left aside for it."""
    notes = list(chosen.notes)
    if plan.broken:
        codes = Counter(error.code for error in plan.broken)
        listed = ", ".join(f"{code} ({count})" for code, count in sorted(codes.items()))
        files = f"{len(plan.broken)} file" + "s" * (len(plan.broken) > 1)
        notes.append(note("W_FILE_REFUSED", f"{files} refused: {listed}."))  # a report names no file: patients do
    mates = [each for each in plan.found if each is not chosen and each.image.series == chosen.image.series]
    kinds = [each for each in plan.skipped if each.series == chosen.image.series and each.kind != "localizer"]
    left = sum(len(each.slices) for each in mates if not each.phase) + len(kinds)
    if left:
        notes.append(note("W_LEFT_OUT", f"{left} images of this series differ in kind, size or geometry."))
    others = [each for each in plan.found if each.image.series != chosen.image.series]
    if others or plan.skipped:
        notes.append(note("R_SERIES_CHOSEN", _left_aside(others, plan.skipped)))
    return notes


def _left_aside(others: list[Candidate], skipped: list[Skipped]) -> str:
    parts = [f"{len(others)} other CT series"] if others else []
    kinds = Counter(each.kind for each in skipped)
    parts += [f"{count} {kind}" for kind, count in sorted(kinds.items())]
    return f"Not read: {', '.join(parts)}."


def _placed(chosen: Candidate) -> tuple[Grid, object]:
    """The grid of a candidate in RAS, and the turn that gets there."""
    stacking, first = chosen.stacking, chosen.slices[0]
    assert stacking is not None
    affine = ras_affine(
        stacking.first_lps_mm, np.asarray(first.frame.orientation), first.frame.spacing, stacking.step_lps_mm
    )
    shape = (first.image.columns, first.image.rows, len(stacking.order))
    turn = turn_to_ras(affine)
    x, y, z = (shape[axis] for axis in turn.axes)
    return Grid((x, y, z), turned_affine(affine, shape, turn)), affine


def _read_without_broken(plan: _Plan, chosen: Candidate, series: str | None, progress: Progress | None) -> ReadScan:
    """Read a candidate; a file whose pixels do not decode is refused by itself, and its slice is a missing one.

    Raises:
        IntakeError: of the first broken file, where the rest is no volume without it.
    """
    first = None
    for _ in range(MISSING_SLICES + 1):
        try:
            return _read_dicom(plan, chosen, progress)
        except IntakeError as error:
            first = first or error
            rest = [image for image in plan.images if shown(image.name) != error.file]
            if len(plan.images) - len(rest) != 1 or len(rest) < FEWEST_POSITIONS or DECODER_FAULT in error.found:
                break  # a decoder that hangs or dies is not asked again
            plan.images, plan.notes = rest, []
            plan.broken.append(error)
            _decide(plan, len(rest), series)
            if plan.error is not None or plan.chosen is None:
                break
            chosen = plan.chosen
    assert first is not None
    raise first


def _read_dicom(plan: _Plan, chosen: Candidate, progress: Progress | None) -> ReadScan:
    assert chosen.stacking is not None
    grid, stored_affine = _placed(chosen)
    slots = tuple(None if index is None else chosen.slices[index] for index in chosen.stacking.order)
    stack = pixels.load(slots, turn_to_ras(np.asarray(stored_affine)), progress=progress)
    notes = (*plan.notes, *stack.notes, *values.value_notes(stack.hu, stack.padding))
    image = chosen.image
    scan = Scan(
        source="dicom", series=chosen.id, kernel=image.kernel, contrast=image.contrast,
        slice_thickness_mm=image.thickness_mm, tube_voltage_kv=image.voltage_kv, exposure_mas=image.exposure_mas,
        tilt_degrees=chosen.stacking.tilt_degrees, patient_position=image.patient_position,
        lossy=image.lossy_ratio is not None, acquired=image.acquired, limits=limits_of(notes),
    )  # fmt: skip
    padding = None if stack.padding is None else stack.padding.T
    volume = Volume(stack.hu.T, grid, scan, padding)
    return ReadScan(volume, notes, _inventory(plan, notes, grid))


def _read_nifti(plan: _Plan, entry: Entry, head: nifti.Header) -> ReadScan:
    data = nifti.read_all(entry.path, entry.name)
    hu, padding, more = nifti.voxels(data, head)
    notes = (*plan.notes, *more, *values.value_notes(hu, padding))
    scan = Scan(source="nifti", tilt_degrees=nifti.tilt_degrees(head.grid.affine), limits=limits_of(notes))
    volume = Volume(hu.T, head.grid, scan, None if padding is None else padding.T)
    return ReadScan(volume, notes, _inventory(plan, notes, head.grid))


def _inventory(plan: _Plan, notes: list[Note] | tuple[Note, ...], grid: Grid | None) -> Inventory:
    patients = {image: n for n, image in enumerate(dict.fromkeys(each.image.patient for each in plan.found), 1)}
    kinds = Counter(each.kind for each in plan.skipped)
    if plan.others:
        kinds["neither DICOM nor NIfTI"] = plan.others
    broken = {error.code: error for error in reversed(plan.broken)}
    counts = Counter(error.code for error in plan.broken)
    return Inventory(
        source=plan.source,
        series=_nifti_series(plan) or tuple(_record(each, plan, patients[each.image.patient]) for each in plan.found),
        chosen=_chosen(plan),
        why=_why(plan),
        skipped=tuple(SkippedRecord(kind=kind, files=count) for kind, count in sorted(kinds.items())),
        refused_files=tuple(
            RefusalRecord(code=code, message=str(error), files=counts[code]) for code, error in broken.items()
        ),
        intake=tuple(NoteRecord.of(each) for each in notes),
        refusal=RefusalRecord(code=plan.error.code, message=str(plan.error)) if plan.error else None,
        geometry=Geometry.of(grid) if grid is not None else None,
    )


def _chosen(plan: _Plan) -> str | None:
    if plan.error is not None:
        return None
    return plan.chosen.id if plan.chosen else NIFTI_SERIES if plan.nifti_header else None


def _nifti_series(plan: _Plan) -> tuple[SeriesRecord, ...]:
    """The one volume of a NIfTI file, as a series; nothing for DICOM."""
    head = plan.nifti_header
    if head is None:
        return ()
    steps = np.linalg.norm(head.affine[:3, :3], axis=0)
    spacing = float(steps[0]), float(steps[1]), float(steps[2])
    columns, rows, slices = head.shape
    chosen = plan.error is None
    record = SeriesRecord(
        series=NIFTI_SERIES, patient=1, kind="CT", chosen=chosen, slices=slices, rows=rows, columns=columns,
        verdict="read" if chosen or plan.error is None else plan.error.code, spacing_mm=spacing,
        extent_mm=(spacing[0] * columns, spacing[1] * rows, spacing[2] * slices),
        orientation=orientation_code(head.affine), plane=_plane(head.affine),
        tilt_degrees=nifti.tilt_degrees(head.grid.affine), notes=tuple(NoteRecord.of(each) for each in head.notes),
    )  # fmt: skip
    return (record,)


def _why(plan: _Plan) -> str:
    if plan.error is not None:
        return "nothing would be read"
    if plan.source == "nifti":
        return "the only volume"
    volumes = sum(1 for each in plan.found if each.error is None)
    return "the only CT series that is a volume" if volumes <= 1 else "chosen with --series"


def _record(each: Candidate, plan: _Plan, patient: int) -> SeriesRecord:
    chosen = each is plan.chosen and plan.error is None
    image, stacking = each.image, each.stacking
    row_mm, column_mm = each.slices[0].frame.spacing
    record = SeriesRecord(
        series=each.id, patient=patient, kind="CT", chosen=chosen,
        verdict="read" if chosen else each.error.code if each.error else "could be read",
        slices=len(each.slices), rows=image.rows, columns=image.columns, kernel=image.kernel,
        contrast=image.contrast, phase=each.phase, lossy=image.lossy_ratio is not None,
        notes=tuple(NoteRecord.of(entry) for entry in each.notes),
    )  # fmt: skip
    if stacking is None:
        return record
    _, affine = _placed(each)
    return record.model_copy(
        update={
            "spacing_mm": (column_mm, row_mm, each.spacing_mm),
            "extent_mm": (column_mm * image.columns, row_mm * image.rows, each.spacing_mm * len(stacking.order)),
            "orientation": orientation_code(np.asarray(affine)),
            "plane": _plane(np.asarray(affine)),
            "tilt_degrees": stacking.tilt_degrees,
        }
    )


OBLIQUE_DEGREES = 20.0  # a slice plane further than this from the patient's axes is called oblique


def _plane(affine: np.ndarray) -> Literal["axial", "coronal", "sagittal", "oblique"]:
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    shares = np.abs(normal) / np.linalg.norm(normal)
    axis = int(np.argmax(shares))
    if shares[axis] < np.cos(np.radians(OBLIQUE_DEGREES)):
        return "oblique"
    planes: tuple[Literal["sagittal", "coronal", "axial"], ...] = ("sagittal", "coronal", "axial")
    return planes[axis]
