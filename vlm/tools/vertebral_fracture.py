"""Vertebral fracture told from lost height: each body against the bodies near it.

In: the spine of a Case and the scan itself. Out: an Observation for each body that is clearly lower than up to
six others at two of three places, in front, in the middle and behind, or a Search; the level is named where it can
be counted. The spine is straightened along the canal and measured from disc to disc. Above a plate that sank the body
next to it seems taller: so many bodies tell what is usual. Fractures without loss of height, those at one place alone,
two beside each other that lost much, and the first and last body, are not judged.
Arrays here are (S, A): mm along the canal from below, mm in front of its middle, one a mm.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, signal

from vlm.anatomy.coverage import coverage
from vlm.anatomy.levels import levels
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Mask, Point, as_point
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search, withheld
from vlm.tools.registry import tool

NAME = "vertebral_fracture"
SLICE_MM = 3.01  # thicker slices do not show end plates
UNCERTAIN_LOSS = 30.0  # %, at two places; Genant grades from 20 %, but bodies of clear spines scatter by 20 % here
WEDGE_LOSS = 40.0  # %, at one place, of a body that lost less than that behind it
PRESENT_LOSS = 45.0  # %, mean of two places; severe is from 40 % on, Genant, J Bone Miner Res 1993;8:1137
NEAR = 3  # bodies below, and above, that tell what is usual
LEAST_NEAR = 3
ALIKE = 0.2  # of their height: where half of them are further from what is usual, they are no measure
WHOLE, BOTH = 0.75, 1.2  # of the usual height: one beside it below the first, and both together below the second,
# are one body that was taken for two
ROOM_MM = 25.0  # at most, of what a sunken plate leaves to its disc, and soft
PITCH_MM = (18.0, 44.0)  # from disc to disc, of the neighbours: upper thoracic to lumbar
NEAREST_MM = 9.0  # discs of a crushed body
DISC_MM = 5.0  # of that pitch is disc
DISC_SHIFT_MM = 5  # the same disc in front and behind, on the straightened spine
CENTRED = 3  # steps from the strongest place to the middle; the end plates of a disc are up to 8 mm apart
LIKE_BONE = 0.65  # of its neighbours' density: below, a thick disc between two end plates was taken for a body
MARROW_HU = 60.0  # bodies are denser, fat and gas behind a lost canal are not
SOFT_HU = 20.0  # of a disc at least
PLACES_MM = ((26.0, 31.0), (20.0, 25.0), (14.0, 19.0))  # front, middle and back of a body, from the canal
NAMES = ("anterior", "middle", "posterior")
SIDEWAYS_MM = (-6.0, -3.0, 0.0, 3.0, 6.0)
COURSE_MM = 24.0  # the canal bends slowly; where its trace sways by some mm, bodies would seem taller and lower in turn
BEND_MM = 40.0  # over which the course of the canal is taken as straight
PLUS_MINUS = 20.0  # %: of five that were drawn with 20 to 60 %, 11 to 22 % more was told
JUDGED_SHARE = 0.5  # of fractures show as loss of height against others

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """One body: where it lies on the straightened spine, and from disc to disc in front, in the middle and behind."""

    low_s: int
    high_s: int
    pitches_mm: tuple[float, float, float]
    core_hu: float
    bone: bool


@tool(NAME, observes=("vertebral_fracture",), needs=("spine",))
def vertebral_fracture(case: Case) -> list[Evidence]:
    """Look for vertebral bodies that have lost height against their neighbours."""
    site, axis = "spine", spine(case)
    if not axis.found or coverage(case).of("head") > 0.5:
        return [search(case, NAME, "vertebral_fracture", site=site, covered=0.0, failed=("not_found",))]
    if case.volume.grid.spacing_mm[2] > SLICE_MM or "length_withheld" in withheld(case):
        reason = ("thick_slices",) if case.volume.grid.spacing_mm[2] > SLICE_MM else ()
        return [search(case, NAME, "vertebral_fracture", site=site, covered=0.0, failed=reason)]
    points, image = straightened(case)
    bodies = bodies_of(image)
    out: list[Evidence] = []
    judged = 0
    for run in runs_of(bodies):
        for number, body in enumerate(run):
            losses = losses_of(run, number)
            judged += bool(losses)
            if (loss := loss_of(losses)) is not None:
                out.append(_observed(case, points, body, loss, len(out) + 1))
    covered = JUDGED_SHARE * min(1.0, judged / max(1, len(bodies) - 2))
    failed = () if covered else ("not_found",)
    out.append(search(case, NAME, "vertebral_fracture", site=site, covered=covered, found=len(out), failed=failed))
    return out


def straightened(case: Case) -> tuple[Floats, Floats]:
    """(S, 3) RAS mm of the canal and (S, A) float HU in front of it, averaged over the middle of the bodies."""
    axis, volume = spine(case), case.volume
    course = axis.canal_mm[axis.good]
    smooth, step_mm = course.copy(), axis.grid.spacing_mm[2]
    for part in range(2):
        smooth[:, part] = ndimage.gaussian_filter1d(course[:, part], COURSE_MM / step_mm, mode="nearest")
    length = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(smooth, axis=0), axis=1))])
    points = np.stack([np.interp(np.arange(0.0, length[-1]), length, smooth[:, part]) for part in range(3)], axis=1)
    half = int(BEND_MM / 2)
    before = points[np.maximum(np.arange(len(points)) - half, 0)]
    after = points[np.minimum(np.arange(len(points)) + half, len(points) - 1)]
    along = after - before
    forward = np.stack([np.zeros(len(points)), along[:, 2], -along[:, 1]], axis=1)
    forward /= np.maximum(np.linalg.norm(forward, axis=1, keepdims=True), 1e-6)
    ahead = np.arange(0.0, 46.0)
    sum_hu = np.zeros((len(points), ahead.size))
    for beside in SIDEWAYS_MM:
        places = points[:, None] + forward[:, None] * ahead[None, :, None] + np.array([beside, 0.0, 0.0])
        ijk = volume.grid.to_ijk(places)
        sum_hu += ndimage.map_coordinates(volume.hu, np.moveaxis(ijk, -1, 0), order=1, cval=-1000, output=np.float64)
    return points, sum_hu / len(SIDEWAYS_MM)


def bodies_of(image: Floats) -> list[Body]:
    """Bodies from below, each between two discs; what is not bone is marked so."""
    rows = [image[:, int(a) : int(b)].mean(axis=1) for a, b in PLACES_MM]
    stand_out = [_energy(row) for row in rows]
    discs, _ = signal.find_peaks(stand_out[1], distance=NEAREST_MM, prominence=0.3 * float(np.median(stand_out[1])))
    refined = [[_near(energy, int(disc)) for disc in discs] for energy in stand_out]
    out: list[Body] = []
    for number, (low, high) in enumerate(itertools.pairwise(discs)):
        heights = [at[number + 1] - at[number] for at in refined]
        core = rows[1][low + 4 : high - 3]
        core_hu = float(np.median(core)) if core.size else -1000.0
        pitches = (heights[0], heights[1], heights[2])
        bone = core_hu > MARROW_HU
        out.append(Body(low_s=int(low), high_s=int(high), pitches_mm=pitches, core_hu=core_hu, bone=bone))
    return out


def _energy(row: Floats) -> Floats:
    """(S,) how much a disc with its end plates stands out: densities that change fast along the spine."""
    detail = row - ndimage.gaussian_filter1d(row, 8.0, mode="nearest")
    return np.asarray(ndimage.gaussian_filter1d(detail**2, 3.0, mode="nearest"))


def _near(energy: Floats, disc: int) -> float:
    """The place of a disc in another row: the middle of what stands out there, so that neither end plate draws it."""
    low = max(0, disc - DISC_SHIFT_MM)
    at = float(low + int(np.argmax(energy[low : disc + DISC_SHIFT_MM + 1])))
    for _ in range(CENTRED):
        low = max(0, round(at) - DISC_SHIFT_MM)
        near = energy[low : round(at) + DISC_SHIFT_MM + 1]
        weight = near - near.min() + 1e-6
        at = float(((low + np.arange(near.size)) * weight).sum() / weight.sum())
    return at


def runs_of(bodies: list[Body]) -> list[list[Body]]:
    """Bodies that follow each other; what is not as dense as those near it ends a run, but for the room of a disc."""
    runs: list[list[Body]] = [[]]
    for number, body in enumerate(bodies):
        near = [other.core_hu for other in _near_to(bodies, number) if other.bone]
        if body.bone and near and body.core_hu >= LIKE_BONE * float(np.median(near)):
            runs[-1].append(body)
            continue
        follows = bool(runs[-1]) and runs[-1][-1].high_s == body.low_s
        if not (follows and body.core_hu > SOFT_HU and body.high_s - body.low_s < ROOM_MM):
            runs.append([])
    return runs


def _near_to(bodies: list[Body], number: int) -> list[Body]:
    return [*bodies[max(0, number - NEAR) : number], *bodies[number + 1 : number + 1 + NEAR]]


def losses_of(run: list[Body], number: int) -> list[tuple[float, str]]:
    """Loss of height (%, 0 to 100) of a body at each of three places, most first; empty where nothing measures it."""
    near = _near_to(run, number)
    if number in (0, len(run) - 1) or len(near) < LEAST_NEAR:
        return []
    losses: list[tuple[float, str]] = []
    for place, name in enumerate(NAMES):
        heights = np.array([body.pitches_mm[place] for body in near])
        usual, own = float(np.median(heights)), run[number].pitches_mm[place]
        if not PITCH_MM[0] <= usual <= PITCH_MM[1] or np.median(np.abs(heights - usual)) > ALIKE * usual:
            return []
        beside = min(run[n].pitches_mm[place] for n in (number - 1, number + 1))
        if name == "middle" and beside < WHOLE * usual and own + beside < BOTH * usual:
            return []
        losses.append((float(np.clip(100.0 * (usual - own) / (usual - DISC_MM), 0.0, 100.0)), name))
    return sorted(losses, reverse=True)


def loss_of(losses: list[tuple[float, str]]) -> tuple[float, str] | None:
    """Mean loss of height (%) of the two places that lost most, and which lost most; None of a whole body.

    At one place alone a disc may be misplaced: the second must have lost as much as is told at all, or half of much.
    """
    if not losses:
        return None
    (most, name), (second, _), _ = losses
    lost = second >= UNCERTAIN_LOSS or (most >= WEDGE_LOSS and second >= most / 2)
    return ((most + second) / 2, name) if lost else None


def _observed(case: Case, points: Floats, body: Body, loss: tuple[float, str], number: int) -> Observation:
    """The fracture, with the disc of its body's middle as its region."""
    grid = case.working.grid
    middle: Point = as_point(points[(body.low_s + body.high_s) // 2] + np.array([0.0, 24.0, 0.0]))
    i, j, k = (np.arange(n) for n in grid.shape)
    centre, step = grid.to_ijk(middle), grid.spacing_mm
    ball = ((i[:, None, None] - centre[0]) * step[0]) ** 2 + ((j[None, :, None] - centre[1]) * step[1]) ** 2
    upright = np.abs(k[None, None, :] - centre[2]) * step[2] <= max(step[2], min(body.pitches_mm) / 2)
    region = case.keep(Mask(f"vertebral_fracture_{number}", np.asfortranarray((ball <= 14.0**2) & upright), grid))
    return Observation(
        tool=NAME, finding="vertebral_fracture", presence="present" if loss[0] >= PRESENT_LOSS else "uncertain",
        site=levels(case).site_at(middle[2]), attributes={"part": loss[1]}, region=region, note=levels(case).note,
        measurements=(Measurement(quantity="height_loss", value=loss[0], plus_minus=PLUS_MINUS),),
    )  # fmt: skip
