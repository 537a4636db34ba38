"""Which images are the CT: group slices, drop copies, split phases, and choose by stated rules.

Slices of one patient, series, frame of reference, size, spacing, orientation, kernel and image
type form a group. Every group is judged by its geometry. One group that is a volume is read;
with several, or several patients, the user chooses: nothing is guessed.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from vlm.ct.frames import Frame
from vlm.ct.geometry import SAME_POSITION_MM, Stacking, normal_of, stack
from vlm.ct.image import Image
from vlm.ct.intake import Note, note, refusal
from vlm.errors import IntakeError

SAME_ORIENTATION, NEAR_ORIENTATION = 1e-3, 1e-2  # largest difference of a component
SAME_SPACING = 1e-4  # relative
NOT_A_VOLUME = {"E_TOO_FEW_SLICES", "E_SAME_POSITION"}  # such a group is no candidate beside another
SHOWN_CHOICES = 6


@dataclass(frozen=True, slots=True)
class Slice:
    """One frame of one file."""

    image: Image
    frame: Frame


@dataclass(frozen=True, eq=False)
class Candidate:
    """A group of slices that could be the volume, with its stacking or the reason against it."""

    id: str  # pseudonym of the series, with ".2" … for further groups of it
    slices: tuple[Slice, ...]
    stacking: Stacking | None = None
    error: IntakeError | None = None
    notes: tuple[Note, ...] = ()
    phase: bool = False  # one of several phases of a group

    @property
    def image(self) -> Image:
        """The image of its first slice; size, bits and tags of the group."""
        return self.slices[0].image

    @property
    def spacing_mm(self) -> float:
        """Step across slices, mm; 0 when there is no stacking."""
        return float(np.linalg.norm(self.stacking.step_lps_mm)) if self.stacking else 0.0

    def describe(self) -> str:
        """Short words for a choice: id, slices, spacing, kernel."""
        parts = [f"{len(self.slices)} slices"]
        if self.stacking:
            parts.append(f"{self.spacing_mm:.2f} mm")
        if self.image.kernel != "unknown":
            parts.append(self.image.kernel)
        if self.error:
            parts.append(self.error.code)
        return f"{self.id} ({', '.join(parts)})"


@dataclass(slots=True)
class _Group:
    key: tuple[object, ...]
    orientation: tuple[float, ...]
    spacing: tuple[float, float]
    slices: list[Slice] = field(default_factory=list)
    varies: bool = False


def candidates(images: Iterable[Image]) -> list[Candidate]:
    """Every group of slices of ``images``, judged; best first (most slices, thinnest, soft kernel)."""
    found: list[Candidate] = []
    by_series: dict[str, list[_Group]] = defaultdict(list)
    for group in _groups(images):
        by_series[group.slices[0].image.series].append(group)
    for series, groups in by_series.items():
        groups.sort(key=lambda group: -len(group.slices))
        judged = [candidate for group in groups for candidate in _judge(group)]
        judged.sort(key=_rank)
        found += [replace(each, id=series if n == 0 else f"{series}.{n + 1}") for n, each in enumerate(judged)]
    return sorted(found, key=_rank)


def _rank(candidate: Candidate) -> tuple[bool, int, float, bool, str]:
    return (
        candidate.error is not None,
        -len(candidate.slices),
        candidate.spacing_mm,
        candidate.image.kernel != "soft",
        candidate.image.sop_uid,
    )


def _groups(images: Iterable[Image]) -> list[_Group]:
    groups: dict[tuple[object, ...], list[_Group]] = defaultdict(list)
    for image in images:
        key = (image.patient, image.series, image.frame_of_reference, image.rows, image.columns,
               image.kernel_name, image.image_type[:3])  # fmt: skip
        for frame in image.frames:
            for group in groups[key]:
                difference = max(abs(a - b) for a, b in zip(group.orientation, frame.orientation, strict=True))
                same_spacing = np.allclose(group.spacing, frame.spacing, rtol=SAME_SPACING, atol=0)
                if difference <= NEAR_ORIENTATION and same_spacing:
                    group.varies |= difference > SAME_ORIENTATION
                    group.slices.append(Slice(image, frame))
                    break
            else:
                fresh = _Group(key, frame.orientation, frame.spacing)
                fresh.slices.append(Slice(image, frame))
                groups[key].append(fresh)
    return [group for several in groups.values() for group in several]


def _judge(group: _Group) -> list[Candidate]:
    """One candidate for a group, or one per phase."""
    orientation = np.asarray(group.orientation)
    notes: list[Note] = []
    if group.varies:
        notes.append(note("W_ORIENTATION_VARIES", "Slice orientations differ slightly; that of the first is used."))
    try:
        places = _places(group.slices, orientation)
        if len(places) > 1:
            places, dropped = _without_copies(places)
            if dropped:
                notes.append(note("R_DUPLICATE_DROPPED", f"{dropped} copies of images were dropped."))
        phases = _phases(places)
    except IntakeError as error:
        return [Candidate("", tuple(group.slices), error=error)]
    return [_stacked(phase, orientation, notes, phase=len(phases) > 1) for phase in phases]


def _stacked(slices: list[Slice], orientation: np.ndarray, notes: list[Note], *, phase: bool) -> Candidate:
    positions = np.asarray([each.frame.position for each in slices])
    try:
        stacking = stack(positions, orientation)
    except IntakeError as error:
        return Candidate("", tuple(slices), error=error, notes=(*notes, *_tag_notes(slices, None)), phase=phase)
    together = (*notes, *stacking.notes, *_tag_notes(slices, stacking))
    return Candidate("", tuple(slices), stacking, notes=together, phase=phase)


def _places(slices: list[Slice], orientation: np.ndarray) -> list[list[Slice]]:
    """Slices by position along the normal, those at one position together."""
    positions = np.asarray([each.frame.position for each in slices])
    along = positions @ normal_of(orientation)
    order = np.argsort(along, kind="stable")
    places: list[list[Slice]] = []
    last = -np.inf
    for index in order:
        if along[index] - last > SAME_POSITION_MM:
            places.append([])
            last = along[index]
        places[-1].append(slices[index])
    return places


def _without_copies(places: list[list[Slice]]) -> tuple[list[list[Slice]], int]:
    """Drop slices with the pixels of another at the same position; how many were dropped."""
    out, dropped = [], 0
    for place in places:
        if len(place) == 1:
            out.append(place)
            continue
        seen: dict[str, Slice] = {}
        for each in place:
            digest = _pixel_hash(each)
            uids = {other.image.sop_uid for key, other in seen.items() if key != digest}
            if each.image.sop_uid in uids and len(each.image.frames) == 1:
                raise refusal(
                    "E_DUPLICATE_CONFLICT",
                    file=each.image.name,
                    tag="SOP Instance UID (0008,0018)",
                    found="the UID of another file with other pixels",
                    expected="one image per UID",
                    remedy="Export the series again into an empty folder.",
                )
            dropped += digest in seen
            seen.setdefault(digest, each)
        out.append(list(seen.values()))
    return out, dropped


def _pixel_hash(each: Slice) -> str:
    """A hash of the bytes of the pixels of one slice; multi-frame files hash the frame's own bytes."""
    image = each.image
    with image.path.open("rb") as stream:
        stream.seek(image.pixel_offset)
        if image.pixel_bytes is None:
            data = stream.read() + str(each.frame.number).encode()
        else:
            length = image.pixel_bytes // len(image.frames)
            stream.seek(length * each.frame.number, 1)
            data = stream.read(length)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _phases(places: list[list[Slice]]) -> list[list[Slice]]:
    """The slices as one volume, or as one per phase when a tag splits them cleanly; E_PHASES otherwise."""
    if len(places) == 1 or all(len(place) == 1 for place in places):
        return [[each for place in places for each in place]]
    everyone = [each for place in places for each in place]
    for key in range(len(everyone[0].frame.phase)):
        subsets: dict[str, list[Slice]] = defaultdict(list)
        for each in everyone:
            subsets[each.frame.phase[key] if key < len(each.frame.phase) else ""].append(each)
        if len(subsets) > 1 and all(len(subset) == len(places) for subset in subsets.values()):
            return list(subsets.values())
    most = max(len(place) for place in places)
    raise refusal(
        "E_PHASES",
        tag="slices per position",
        found=f"up to {most} different images at one position",
        expected="one",
        remedy="Export one phase, gate or reconstruction alone.",
    )


def _tag_notes(slices: Sequence[Slice], stacking: Stacking | None) -> list[Note]:
    """Doubts about the tags of a group, stacked or not."""
    notes: list[Note] = []
    images = {id(each.image): each.image for each in slices}.values()
    first = slices[0].image
    step = float(np.linalg.norm(stacking.step_lps_mm)) if stacking else 0.0
    between = first.spacing_between_mm
    if step and between and abs(between - step) > 0.1 * step:
        notes.append(note("W_SPACING_TAGS", f"Spacing Between Slices says {between:.2f} mm, positions {step:.2f} mm."))
    if stacking and not _numbers_follow(slices, stacking):
        notes.append(note("W_ORDER_TAGS", "Instance numbers do not follow the positions; positions are used."))
    if len({(each.frame.slope, each.frame.intercept) for each in slices}) > 1:
        notes.append(note("W_RESCALE_VARIES", "Slope or intercept differs between slices."))
    if len({(i.bits_allocated, i.bits_stored, i.high_bit, i.signed, i.monochrome1) for i in images}) > 1:
        notes.append(note("W_PIXEL_FORMAT_VARIES", "Bits, sign or polarity of the pixels differ between slices."))
    ratios = [image.lossy_ratio for image in images if image.lossy_ratio is not None]
    if ratios:
        slope = max(each.frame.slope for each in slices)
        notes.append(note("W_LOSSY", f"Lossy {max(ratios):.1f}:1, {slope:.2g} HU per grey level."))
    if any(image.derived for image in images):
        notes.append(note("W_DERIVED", "Derived images (projection, reformat or monoenergetic)."))
    if not all(image.preamble for image in images):
        notes.append(note("R_NO_PREAMBLE", "Files without DICOM preamble; the data set was read as it stands."))
    if any(image.padding_repaired for image in images):
        notes.append(note("R_PADDING", "The padding value was written unsigned and was read as signed."))
    if first.monochrome1:
        notes.append(note("R_MONO1", "MONOCHROME1: values unchanged."))
    return notes


def _numbers_follow(slices: Sequence[Slice], stacking: Stacking) -> bool:
    """True when instance numbers rise or fall along the stack, or say nothing.

    They never order slices; where they disagree, two slices may carry each other's position.
    """
    numbers = [slices[index].image.instance for index in stacking.order if index is not None]
    known = np.array([number for number in numbers if number is not None])
    if len(known) < len(numbers) or len(np.unique(known)) < len(known):
        return True
    steps = np.diff(known)
    return bool((steps > 0).all() or (steps < 0).all())


def choose(found: list[Candidate], wanted: str | None) -> Candidate:
    """The candidate to read.

    Raises:
        IntakeError: E_CHOOSE_SERIES, E_PHASES, E_NO_SUCH_SERIES, or why the only candidate cannot be read.
    """
    if wanted is not None:
        exact = [each for each in found if each.id == wanted]
        named = exact or [each for each in found if wanted in (each.image.series_uid, each.image.series)]
        if not named:
            raise refusal(
                "E_NO_SUCH_SERIES", tag="--series", found="not among the series here",
                expected="one of these", remedy=_choices(found),
            )  # fmt: skip
        found = named
    volumes = [each for each in found if each.error is None or each.error.code not in NOT_A_VOLUME]
    patients = {each.image.patient for each in volumes}
    if len(volumes) > 1:
        same_group = {each.image.series for each in volumes}
        phases = len(same_group) == 1 and all(each.phase for each in volumes)
        raise refusal(
            "E_PHASES" if phases else "E_CHOOSE_SERIES",
            tag="input",
            found=f"{len(volumes)} {'phases' if phases else 'CT series'}"
            + (f" of {len(patients)} patients" if len(patients) > 1 else ""),
            expected="one",
            remedy=_choices(volumes),
        )
    best = volumes[0] if volumes else found[0]
    if best.error is not None:
        raise best.error
    return best


def _choices(found: list[Candidate]) -> str:
    listed = "; ".join(each.describe() for each in found[:SHOWN_CHOICES])
    more = f"; and {len(found) - SHOWN_CHOICES} more" if len(found) > SHOWN_CHOICES else ""
    return f"Choose with --series: {listed}{more}."
