"""Wide bowel, and gas over fluid in it: the signs of obstruction.

In: small bowel and colon where they are outlined well, gas of the abdomen elsewhere. Out: an Observation of bowel that
is wider than it should be, or of many levels of gas over fluid, and a Search for each part. Limits: small bowel 30 mm
(Paulson & Thompson, Radiology 2015;275:332), colon 60 mm and caecum 90 mm (Jaffe & Thompson, Radiology 2015;275:651).
Without outlines only what holds gas is seen, and what it shows is uncertain. Nothing is said of the cause.
Arrays here are (Z, Y, X) views of the (X, Y, Z) arrays of the Case.
"""

from __future__ import annotations

from dataclasses import dataclass

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import box_of, grown, opened
from vlm.anatomy.body import body
from vlm.anatomy.coverage import coverage
from vlm.anatomy.lungs import lungs
from vlm.anatomy.skeleton import spine
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.ground import search
from vlm.tools.organs import Organ, organ, sought
from vlm.tools.registry import tool

NAME = "bowel"
FINDING = "bowel_obstruction"
LIMIT_MM = {"small_bowel": 30.0, "colon": 60.0}
CAECUM_MM = 90.0
CAECUM_SIDEWAYS_MM = 25.0  # right of the canal, below the lower pole of the liver
TOUCHING_MM = 4.0  # two loops that touch hold a ball wider than either
LEAST_ML = 60.0  # of bowel that is so wide: a single junction of loops is less
GAS_HU, FLUID_HU = -500, (-15.0, 65.0)  # content is denser than fat; stool is not even
LEVEL_MM = 11.5  # wide, on the working grid: five voxels
FLOOR_MM = (3.0, 9.0)  # below the gas
LOOP_MM = 25.0  # of gas over fluid, the median: narrower loops that hold some fluid are not blocked
CHORD_DOUBT_MM = 10.0  # gas that does not reach the middle of a loop shows less than its width
LEVELS = 4  # a colon with fluid in it has one or two; loops that are blocked have five and more
RIDGE_MM = 14.0  # window in which the middle of a loop is its deepest place
LUNG_MM = 6.0
STOMACH_MM = 150.0  # below the dome, on the left: gas there may be the stomach's
GAS_SHARE = 0.3  # of wide bowel holds so much gas

WHY = "wide for whatever reason: paralysis or obstruction"

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Gas:
    """A piece of gas in the abdomen: its widest ball, and how wide a flat floor of fluid it stands on; mm."""

    number: int
    width_mm: float
    chord_mm: float  # its width as seen from the front: of a loop that stands half full, the loop's
    level_mm: float


@tool(NAME, observes=(FINDING,), needs=("small_bowel", "colon"))
def bowel(case: Case) -> list[Evidence]:
    """Look for bowel that is too wide, and for levels of gas over fluid."""
    parts = [organ(case, "small_bowel"), organ(case, "colon")]
    outlined = [part for part in parts if part.mask is not None and part.measurable]
    out = [record for part in outlined for record in _calibre(case, part)]
    return out if len(outlined) == len(parts) else [*out, *_gas_alone(case)]


def _calibre(case: Case, part: Organ) -> list[Evidence]:
    """Width of bowel that is outlined."""
    limit = LIMIT_MM["small_bowel" if part.name == "small_bowel" else "colon"]
    box = box_of(part.voxels, 2.0, part.grid)
    wide = opened(part.voxels[box], (limit + TOUCHING_MM) / 2, part.grid)
    if np.count_nonzero(wide) * part.grid.voxel_ml < LEAST_ML:
        return [sought(case, NAME, FINDING, part)]
    mask = np.zeros(part.voxels.shape, dtype=bool)
    mask[box] = wide
    width = _width_mm(part.voxels[box], wide, part.grid)
    if part.name == "colon" and _caecal(case, Mask("wide", mask.T, part.grid)) and width < CAECUM_MM:
        return [sought(case, NAME, FINDING, part)]
    seen = Observation(
        tool=NAME, finding=FINDING, presence="present", site="small_bowel" if part.name == "small_bowel" else "colon",
        measurements=(Measurement(quantity="diameter", value=width, plus_minus=4.0),),
        region=case.keep(Mask(f"wide_{part.name}", mask.T, part.grid)), note=WHY,
    )  # fmt: skip
    return [seen, sought(case, NAME, FINDING, part, found=1)]


def _width_mm(loops: Bools, wide: Bools, grid: Grid) -> float:
    """Diameter of wide loops: the median along their middle, for where two touch a wider ball fits."""
    depth = depth_mm(loops, grid)
    window = [max(3, 2 * round(RIDGE_MM / 2 / step) + 1) for step in grid.spacing_mm[::-1]]
    middle = wide & (depth == ndimage.maximum_filter(depth, window))
    return 2.0 * float(np.median(depth[middle]))


def _caecal(case: Case, wide: Mask) -> bool:
    """Whether wide colon lies where the caecum does, which may be wider."""
    x, _, z = wide.centre_mm
    return x - float(spine(case).at(z)[0]) > CAECUM_SIDEWAYS_MM and coverage(case).of("pelvis") > 0


def _gas_alone(case: Case) -> list[Evidence]:
    """What gas shows where bowel is not outlined."""
    view, site = coverage(case), "bowel"
    if view.dome_mm is None or view.of(site) <= 0 or not body(case):
        return [search(case, NAME, FINDING, site=site)]
    if case.volume.scan.patient_position not in ("", "HFS", "FFS"):
        return [search(case, NAME, FINDING, site=site, covered=0.0, failed=("not_implemented",),
                       note="only patients on their back")]  # fmt: skip
    labels = _pieces(case, view.dome_mm)
    pieces = [_gas(case, labels, number) for number in range(1, int(labels.max()) + 1)]
    wide = [piece for piece in pieces if piece.width_mm >= LIMIT_MM["colon"]]
    levels = [piece for piece in pieces if piece.level_mm >= LEVEL_MM]
    share = view.of(site) * GAS_SHARE
    blocked = len(levels) >= LEVELS and float(np.median([piece.chord_mm for piece in levels])) >= LOOP_MM
    shown = wide + levels if blocked else wide
    note = "bowel was not outlined: only what holds gas is seen"
    if not shown:
        return [search(case, NAME, FINDING, site=site, covered=share, note=note)]
    mask = Mask("bowel_gas", np.isin(labels, [piece.number for piece in shown]).T, case.working.grid)
    widest = max(p.width_mm for p in wide) if wide else float(np.median([p.chord_mm for p in levels]))
    told = (Measurement(quantity="diameter", value=widest, plus_minus=4.0 if wide else CHORD_DOUBT_MM),)
    count = {"levels": str(len(levels))} if blocked else {}
    seen = Observation(
        tool=NAME, finding=FINDING, presence="uncertain", site=site, measurements=told, attributes=count,
        region=case.keep(mask), note="levels of gas over fluid, or a wide loop: told from gas alone",
    )  # fmt: skip
    return [seen, search(case, NAME, FINDING, site=site, covered=share, found=1, note=note)]


def _pieces(case: Case, dome_mm: float) -> NDArray[np.uint32]:
    """(Z, Y, X) labels of the pieces of gas in the abdomen that are not lung and may not be the stomach's."""
    grid = case.working.grid
    gas = (case.working.hu.T < GAS_HU) & body(case).voxels.T
    z = grid.to_mm(np.c_[np.zeros((gas.shape[0], 2)), np.arange(gas.shape[0])])[:, 2]
    gas[z > dome_mm] = False
    middle = grid.to_ijk(spine(case).canal_mm)[:, 0] if spine(case).found else np.full(len(z), gas.shape[2] / 2)
    x = np.arange(gas.shape[2])
    left = x[None, :] < middle[:, None] if grid.affine[0, 0] > 0 else x[None, :] > middle[:, None]
    gas[z > dome_mm - STOMACH_MM] &= ~left[z > dome_mm - STOMACH_MM][:, None, :]
    if gas.any():
        box = box_of(gas, LUNG_MM, grid)
        gas[box] &= ~grown(lungs(case).both.voxels.T[box], LUNG_MM, grid)
    labels: NDArray[np.uint32] = cc3d.connected_components(gas, connectivity=6)
    large = np.bincount(labels.ravel()) * grid.voxel_ml >= 1.0
    large[0] = False
    return np.asarray(np.where(large, np.cumsum(large), 0)[labels], dtype=np.uint32)


def _gas(case: Case, labels: NDArray[np.uint32], number: int) -> Gas:
    """Measure one piece of gas."""
    grid = case.working.grid
    box = box_of(labels == number, FLOOR_MM[1] + 2.0, grid)
    piece, hu = labels[box] == number, case.working.hu.T[box]
    step_x, step_y, step_z = grid.spacing_mm
    return Gas(
        number=number, width_mm=2.0 * float(depth_mm(piece, grid).max()), chord_mm=_chord_mm(piece, step_x, step_z),
        level_mm=max((_level_mm(piece[k], hu[k], step_x, step_y) for k in range(len(piece))), default=0.0),
    )  # fmt: skip


def _chord_mm(piece: Bools, step_x: float, step_z: float) -> float:
    """Width of a piece of gas as seen from the front: its widest disc there."""
    seen = np.pad(piece.any(axis=1), 1)
    return 2.0 * float(ndimage.distance_transform_edt(seen, sampling=(step_z, step_x)).max())


def _level_mm(piece: Bools, hu: NDArray[np.int16], step_x: float, step_y: float) -> float:
    """Width of the flat floor of fluid below the gas of one slice; rows rise to the front."""
    columns = np.flatnonzero(piece.any(axis=0))
    if columns.size * step_x < LEVEL_MM:
        return 0.0
    lowest = piece.argmax(axis=0)[columns]
    first, last = (max(1, round(length / step_y)) for length in FLOOR_MM)
    rows = np.maximum(lowest[:, None] - np.arange(first, last + 1), 0)
    floor = hu[rows, columns[:, None]]
    even = (floor.min(axis=1) > FLUID_HU[0] - 15) & (floor.mean(axis=1) > FLUID_HU[0])
    even &= floor.mean(axis=1) < FLUID_HU[1]
    flat = ndimage.median_filter(lowest, size=3)
    best = 0
    for height in np.unique(flat):
        runs, count = ndimage.label((flat == height) & even)
        best = max(best, int(np.bincount(runs)[1:].max()) if count else 0)
    return float(best * step_x)
