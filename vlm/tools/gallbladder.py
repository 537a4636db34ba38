"""The gallbladder: stones, distension, a thick wall, and a gallbladder that is not there.

In: the outline of the gallbladder. Out: an Observation for each finding, and a Search. Stones as dense as bile are
not seen by CT (about one in five), and the search says that it covers a part.
"""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage

from vlm.anatomy.air import depth_mm
from vlm.anatomy.ball import box_of, grown
from vlm.ct.volume import Grid, Mask
from vlm.evidence import Case, Evidence, Measurement, Observation
from vlm.tools.organs import Organ, kept, organ, sought
from vlm.tools.registry import tool

NAME = "gallbladder"
STONE_HU = 80.0  # above bile, which stands at 0-20 HU and, thickened or with contrast, at up to 60
SURE_HU = 120.0
LEAST_MM = 3.0
SHARP_HU = 45.0  # a stone is so much denser than the bile around it
SEEN_SHARE = 0.8  # of gallstones show on CT (Bortoff, Radiographics 2000;20:751)
WIDE_MM = 40.0  # short axis of a distended gallbladder (Harvey, AJR 1999; customary)
DOUBT_MM = 3.0
MOST = 40


@tool(
    NAME,
    observes=("gallstone", "gallbladder_distension", "surgically_absent_gallbladder"),
    needs=("gallbladder",),
)
def gallbladder(case: Case) -> list[Evidence]:
    """Look for gallstones, distension and an absent gallbladder."""
    seen = organ(case, "gallbladder")
    gone = "surgically_absent_gallbladder"
    if seen.mask is None or not seen.measurable:
        return [sought(case, NAME, finding, seen) for finding in ("gallstone", "gallbladder_distension", gone)]
    return [*_stones(case, seen), *_width(case, seen), sought(case, NAME, gone, seen, region=kept(case, seen))]


def _stones(case: Case, seen: Organ) -> list[Evidence]:
    """Each dense spot in the gallbladder, on the scan's own voxels."""
    assert seen.mask is not None
    spots = stones_in(case, seen.mask)
    if len(spots) > MOST:
        return [sought(case, NAME, "gallstone", seen, failed=("noise",))]
    out: list[Evidence] = []
    for number, (spot, length, peak) in enumerate(spots, 1):
        sure = peak >= SURE_HU
        out.append(
            Observation(
                tool=NAME, finding="gallstone", presence="present" if sure else "uncertain", site="gallbladder",
                measurements=(Measurement(quantity="diameter", value=length, plus_minus=2.0),),
                region=case.keep(Mask(f"gallstone_{number}", spot.voxels, spot.grid)),
                note="" if sure else "faint: a stone, thick bile or contrast in bowel beside it",
            )
        )  # fmt: skip
    out.append(sought(case, NAME, "gallstone", seen, found=len(spots), share=SEEN_SHARE))
    return out


def stones_in(case: Case, gallbladder: Mask) -> list[tuple[Mask, float, float]]:
    """Spots denser than bile on the scan's own voxels: mask, length in the slice (mm) and peak HU; largest first."""
    volume, own = case.volume, gallbladder.on(case.volume.grid).voxels.T
    if not own.any():
        return []
    box = box_of(own, 6.0, volume.grid)
    start = np.array([part.start for part in box[::-1]])
    affine = volume.grid.affine.copy()
    affine[:3, 3] = volume.grid.to_mm(start)
    hu, inside = volume.hu.T[box].astype(np.float32), own[box]
    grid = Grid((hu.shape[2], hu.shape[1], hu.shape[0]), affine)
    bile = float(np.median(hu[inside]))
    labels = cc3d.connected_components(inside & (hu > max(STONE_HU, bile + SHARP_HU)), connectivity=26)
    out: list[tuple[Mask, float, float]] = []
    for number, piece_box in enumerate(ndimage.find_objects(labels.astype(np.int32)), 1):
        if piece_box is None:
            continue
        piece = np.zeros(hu.shape, dtype=bool)
        piece[piece_box] = labels[piece_box] == number
        area = float(piece.sum(axis=(1, 2)).max()) * grid.spacing_mm[0] * grid.spacing_mm[1]
        length = 2.0 * float(np.sqrt(area / np.pi))
        # What enters from outside, bowel with contrast or a rib, is as dense beyond the outline.
        beyond = grown(piece, 2.0 * max(grid.spacing_mm[:2]), grid) & ~inside
        outside = beyond.any() and float(np.mean(hu[beyond] > STONE_HU)) > 0.3
        if length >= LEAST_MM and not outside:
            out.append((Mask("spot", piece.T, grid), length, float(hu[piece].max())))
    return sorted(out, key=lambda spot: -spot[1])


def _width(case: Case, seen: Organ) -> list[Evidence]:
    if not seen.whole:
        return [sought(case, NAME, "gallbladder_distension", seen, failed=("organ_cut",))]
    width = 2.0 * float(depth_mm(seen.voxels, seen.grid).max())
    measure = Measurement(quantity="short_axis", value=width, plus_minus=DOUBT_MM)
    region, wide = kept(case, seen), width >= WIDE_MM
    out: list[Evidence] = []
    if wide:
        out.append(
            Observation(
                tool=NAME, finding="gallbladder_distension", presence="present", site="gallbladder",
                measurements=(measure,), region=region,
            )
        )  # fmt: skip
    out.append(
        sought(case, NAME, "gallbladder_distension", seen, found=int(wide), measurements=(measure,), region=region)
    )
    return out
