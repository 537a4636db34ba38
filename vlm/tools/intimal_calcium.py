"""Displaced calcium of the intima on a scan without contrast: a plate of calcium well inside the wall of the aorta.

In: the contours of the aorta's wall and the voxels of the scan itself. Out: an uncertain dissection where such a plate
lasts over a length. It is never sure: calcium on the surface of clot looks alike (Landay, J Comput Assist Tomogr
1987;11:1033). Nothing is denied: a dissection without calcium does not show, and ``vlm.tools.dissection`` says so.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from vlm.anatomy.aortic_wall import Section, descending, outlined
from vlm.anatomy.coverage import coverage
from vlm.ct.volume import Mask
from vlm.evidence import Case, Evidence, Observation
from vlm.tools.aorta_size import PLAIN_SEEN, SPLIT_MM, abdominal_widths, top_mm
from vlm.tools.dissection import LASTING_MM, Line, longest_run, within
from vlm.tools.organs import phase
from vlm.tools.registry import tool

NAME = "intimal_calcium"
CALCIUM_HU = 130.0  # Agatston, J Am Coll Cardiol 1990;15:827
INWARD_MM = 6.0  # calcium of an undisplaced intima lies within 5 mm of the wall's border, its blooming included
PLATE_MM = 6.0  # length of a plate in a slice
SLICE_MM = 5.0
ROUND = 0.75  # short over long width of a contour that holds the aorta alone
ALIKE = 0.2  # of the width: how much an engine's outline may differ
NOTE = "calcium lies within the lumen: displaced intima, or the surface of clot on the wall"


@tool(NAME, observes=("aortic_dissection",), needs=("aorta",))
def intimal_calcium(case: Case) -> list[Evidence]:
    """Look for displaced calcium of the intima where no contrast shows a flap."""
    dome, course, grid = coverage(case).dome_mm, descending(case), case.volume.grid
    if dome is None or phase(case) != "none" or grid.spacing_mm[2] > SLICE_MM:
        return []
    split, top = dome + SPLIT_MM, top_mm(case, dome)
    below = abdominal_widths(case, course, split)
    plates: dict[int, Line] = {}
    for k in range(grid.shape[2]):
        height = float(grid.affine[2, 3] + grid.affine[2, 2] * k)
        at = round((height - course.grid.affine[2, 3]) / course.grid.affine[2, 2])
        section = course.sections.get(at)
        if section is None or height > top or (height <= split and not below[at]) or not clear(case, at, section):
            continue
        seen = plate(case, k, section)
        if seen is not None:
            plates[k] = seen
    found = longest_run(plates, grid.spacing_mm[2])
    if len(found) * grid.spacing_mm[2] < LASTING_MM:
        return []
    voxels = np.zeros(grid.shape, dtype=bool, order="F")
    for k, line in found.items():
        voxels[(*line.index.T, k)] = True
    middle = float(grid.affine[2, 3] + grid.affine[2, 2] * np.median(list(found)))
    site = "descending_aorta" if middle > split else "abdominal_aorta"
    region = case.keep(Mask("intimal_calcium", voxels, grid))
    return [
        Observation(
            tool=NAME, finding="aortic_dissection", presence="uncertain", site=site, region=region, note=NOTE
        )
    ]  # fmt: skip


def clear(case: Case, k: int, section: Section) -> bool:
    """Whether the contour of a working slice is well seen, round, and as wide as an engine's outline there."""
    _, outline = outlined(case).get(k, (None, section.short_mm))
    alike = abs(outline - section.short_mm) <= ALIKE * section.short_mm
    return alike and section.seen >= PLAIN_SEEN and section.short_mm >= ROUND * section.long_mm


def plate(case: Case, k: int, section: Section) -> Line | None:
    """The longest piece of calcium well inside the contour in one slice of the volume; None where none is so long."""
    grid = case.volume.grid
    x, y = (grid.affine[n, 3] + grid.affine[n, n] * np.arange(grid.shape[n]) for n in range(2))
    labels, count = ndimage.label((case.volume.hu[:, :, k] >= CALCIUM_HU) & within(section, x, y, INWARD_MM))
    best: tuple[float, Line] | None = None
    for number in range(1, count + 1):
        index = np.argwhere(labels == number)
        points = np.stack([x[index[:, 0]], y[index[:, 1]]], axis=1)
        length = float(np.hypot(*np.ptp(points, axis=0)))
        if best is None or length > best[0]:
            best = length, Line(points.mean(axis=0), index)
    return best[1] if best is not None and best[0] >= PLATE_MM else None
