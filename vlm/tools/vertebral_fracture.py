"""Vertebral fracture told from lost height: each body against its two neighbours.

In: the spine of a Case and the scan itself. Out: an Observation for each body that is clearly lower than its
neighbours in front, in the middle or behind, or a Search; the level is named where it can be counted. The
spine is straightened along the canal and measured from disc to disc. Fractures without loss of height, and
the first and last body, are not judged.
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
UNCERTAIN_LOSS = 30.0  # %; Genant grades from 20 %, but bodies of clear spines scatter by 20 % here
PRESENT_LOSS = 40.0  # %: severe, Genant, J Bone Miner Res 1993;8:1137
ALIKE = 0.2  # neighbours whose heights differ by more are no measure
PITCH_MM = (18.0, 44.0)  # from disc to disc, of the neighbours: upper thoracic to lumbar
NEAREST_MM = 9.0  # discs of a crushed body
DISC_MM = 5.0  # of that pitch is disc
DISC_SHIFT_MM = 5  # the same disc in front and behind, on the straightened spine
CENTRED = 3  # steps from the strongest place to the middle; the end plates of a disc are up to 8 mm apart
LIKE_BONE = 0.65  # of its neighbours' density: below, a thick disc between two end plates was taken for a body
MARROW_HU = 60.0  # bodies are denser, fat and gas behind a lost canal are not
PLACES_MM = ((26.0, 31.0), (20.0, 25.0), (14.0, 19.0))  # front, middle and back of a body, from the canal
NAMES = ("anterior", "middle", "posterior")
SIDEWAYS_MM = (-6.0, -3.0, 0.0, 3.0, 6.0)
COURSE_MM = 24.0  # the canal bends slowly; where its trace sways by some mm, bodies would seem taller and lower in turn
BEND_MM = 40.0  # over which the course of the canal is taken as straight
PLUS_MINUS = 12.0  # %, from bodies of clear spines against their neighbours
JUDGED_SHARE = 0.5  # of fractures show as loss of height against both neighbours

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
    for number in range(1, len(bodies) - 1):
        loss = loss_of(bodies[number - 1 : number + 2])
        if loss is None or loss[0] < UNCERTAIN_LOSS:
            continue
        out.append(_observed(case, points, bodies[number], loss, len(out) + 1))
    covered = JUDGED_SHARE if len(bodies) > 2 else 0.0
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
    """Bodies from below, each between two discs; what is not bone or was not followed is left out as a gap."""
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


def loss_of(three: list[Body]) -> tuple[float, str] | None:
    """Largest loss of height (%) of the middle of three bodies and where; None when the neighbours are no measure.

    A second place of the three must have lost half as much: a single disc that was misplaced is no fracture.
    """
    if not all(body.bone for body in three) or three[1].core_hu < LIKE_BONE * (three[0].core_hu + three[2].core_hu) / 2:
        return None
    losses: list[tuple[float, str]] = []
    for place, name in enumerate(NAMES):
        below, own, above = (body.pitches_mm[place] for body in three)
        usual = (below + above) / 2
        if min(below, above) < PITCH_MM[0] or max(below, above) > PITCH_MM[1] or abs(below - above) > ALIKE * usual:
            return None
        losses.append((100.0 * (usual - own) / (usual - DISC_MM), name))
    losses.sort(reverse=True)
    return losses[0] if losses[1][0] >= losses[0][0] / 2 else (losses[1][0], losses[1][1])


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
