"""A prior scan laid onto today's by its skeleton: bones keep their shape, the table does not matter.

In: two open cases. Out: a rigid transform from the prior's RAS millimetres to today's, with
how well bones and air agree under it and over what height.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk  # noqa: N813  # the name its own documentation uses
from numpy.typing import NDArray
from scipy import signal

from vlm.anatomy.body import body
from vlm.ct.volume import AIR_HU, Point, as_point
from vlm.evidence import Case

BONE_HU = (150, 900)  # below: soft tissue and plain blood; above: metal, which may be new
AIR_BELOW_HU = -500
AIR_WEIGHT = 0.4  # ribs repeat every 30 mm: the shape of the lungs and airways tells one rib from the next
SEARCH_MM = 8.0  # grid of the search over all shifts
REFINE_MM = 4.0  # grid of the refinement
OVERLAP = 0.25  # share of the smaller scan that must overlap for a shift to be tried
ACCEPTED_CORRELATION = 0.78  # one same patient reached 0.87, two others 0.70: chosen between, not validated
ACCEPTED_OVERLAP_MM = 40.0  # along z; a thinner slab can be matched anywhere


@dataclass(frozen=True, eq=False, slots=True, kw_only=True)
class Alignment:
    """How a prior lies on today's scan."""

    to_current: NDArray[np.float64]  # (4, 4) prior RAS mm -> current RAS mm
    correlation: float  # of bone attenuation where both scans are, -1..1
    overlap_mm: float  # height of the slab that both scans cover

    @property
    def accepted(self) -> bool:
        """Whether both scans agree well enough, over enough of the body, to compare places."""
        return self.correlation >= ACCEPTED_CORRELATION and self.overlap_mm >= ACCEPTED_OVERLAP_MM

    def in_prior(self, point_ras_mm: Point) -> Point:
        """A point of today's scan in the prior's RAS mm."""
        return as_point((np.linalg.inv(self.to_current) @ [*point_ras_mm, 1.0])[:3])

    def in_current(self, point_ras_mm: Point) -> Point:
        """A point of the prior in today's RAS mm."""
        return as_point((self.to_current @ [*point_ras_mm, 1.0])[:3])


def register(case: Case, prior: Case) -> Alignment | None:
    """Align the prior's skeleton with today's: all shifts first, then shift and rotation together.

    None when one of the scans is too short to be aligned at all.

    The search is the masked normalised cross-correlation of Padfield (IEEE TIP 21:2706, 2012);
    the refinement a rigid transform by correlation.
    """
    if min(case.volume.grid.extent_mm[2], prior.volume.grid.extent_mm[2]) < ACCEPTED_OVERLAP_MM:
        return None
    fixed, moving = _structure(case, REFINE_MM), _structure(prior, REFINE_MM)
    start = _best_shift(_structure(case, SEARCH_MM), _structure(prior, SEARCH_MM))
    rigid = _refine(fixed, moving, start)  # maps today's points to the prior's, in LPS
    correlation, overlap_mm = _agreement(fixed, moving, rigid)
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])  # SimpleITK thinks in LPS
    matrix = np.eye(4)
    centre = np.array(rigid.GetCenter())
    turn = np.array(rigid.GetMatrix()).reshape(3, 3)
    matrix[:3, :3] = turn
    matrix[:3, 3] = np.array(rigid.GetTranslation()) + centre - turn @ centre
    to_current = np.asarray(np.linalg.inv(flip @ matrix @ flip), dtype=np.float64)
    return Alignment(to_current=to_current, correlation=correlation, overlap_mm=overlap_mm)


def _structure(case: Case, spacing_mm: float) -> sitk.Image:
    """Bone 0..1 and air inside the body -AIR_WEIGHT, float32, isotropic along the patient's axes, LPS."""
    working, inside = case.working, body(case).voxels
    low, high = BONE_HU
    share = np.clip((working.hu.astype(np.float32) - low) / (high - low), 0.0, 1.0)
    share -= AIR_WEIGHT * (inside & (working.hu < AIR_BELOW_HU))
    share *= inside
    # RAS voxels with x and y turned round are LPS voxels with a positive diagonal.
    image = sitk.GetImageFromArray(np.ascontiguousarray(share[::-1, ::-1, :].T))
    image.SetSpacing(working.grid.spacing_mm)
    corner = working.grid.to_mm([working.grid.shape[0] - 1, working.grid.shape[1] - 1, 0])
    image.SetOrigin((-corner[0], -corner[1], corner[2]))
    smooth = sitk.SmoothingRecursiveGaussian(image, spacing_mm / 2)
    size = [max(1, int(n * step / spacing_mm)) for n, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    return sitk.Resample(smooth, size, sitk.Transform(), sitk.sitkLinear, image.GetOrigin(), [spacing_mm] * 3)


def _best_shift(fixed: sitk.Image, moving: sitk.Image) -> NDArray[np.float64]:
    """(3,) LPS mm: what to add to a point of the fixed image to land in the moving one."""
    one, other = sitk.GetArrayFromImage(fixed), sitk.GetArrayFromImage(moving)
    scores = _correlations(one, other)
    lag = np.array(np.unravel_index(int(scores.argmax()), scores.shape)) - (np.array(other.shape) - 1)
    shift = np.array(moving.GetOrigin()) - np.array(fixed.GetOrigin()) - lag[::-1] * np.array(fixed.GetSpacing())
    return np.asarray(shift, dtype=np.float64)


def _correlations(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float64]:
    """Normalised correlation of the overlap at every lag; -1 where the overlap is too small.

    (Z, Y, X) and (Z', Y', X') -> (Z + Z' - 1, ...); index 0 is a lag of 1 - Z'. ``other`` moved by
    the lag lies on ``one``.
    """
    whole, too = np.ones_like(one), np.ones_like(other)

    def slide(fixed: NDArray[np.float32], moving: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(signal.fftconvolve(fixed, moving[::-1, ::-1, ::-1]), dtype=np.float64)

    count = np.maximum(np.rint(slide(whole, too)), 1.0)
    sum_one, sum_other = slide(one, too), slide(whole, other)
    cross = slide(one, other) - sum_one * sum_other / count
    spread_one = np.maximum(slide(one**2, too) - sum_one**2 / count, 0.0)
    spread_other = np.maximum(slide(whole, other**2) - sum_other**2 / count, 0.0)
    spread = np.sqrt(spread_one * spread_other)
    trusted = (count >= OVERLAP * min(one.size, other.size)) & (spread > 0.02 * spread.max())
    return np.where(trusted, cross / np.maximum(spread, 1e-9), -1.0)


def _refine(fixed: sitk.Image, moving: sitk.Image, start: NDArray[np.float64]) -> sitk.Euler3DTransform:
    middle = fixed.TransformContinuousIndexToPhysicalPoint([n / 2 for n in fixed.GetSize()])
    rigid = sitk.Euler3DTransform(middle, 0.0, 0.0, 0.0, start.tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsCorrelation()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 0.02, 60)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(rigid, inPlace=True)
    method.Execute(fixed, moving)
    return rigid


def _agreement(fixed: sitk.Image, moving: sitk.Image, rigid: sitk.Transform) -> tuple[float, float]:
    """Correlation where both images are, and the height of that slab in mm."""
    outside = float(AIR_HU)
    moved = sitk.GetArrayFromImage(sitk.Resample(moving, fixed, rigid, sitk.sitkLinear, outside))
    both = moved > outside / 2
    if not both.any():
        return 0.0, 0.0
    overlap_mm = float(both.any(axis=(1, 2)).sum()) * fixed.GetSpacing()[2]
    one, other = sitk.GetArrayFromImage(fixed)[both], moved[both]
    if one.std() == 0 or other.std() == 0:
        return 0.0, overlap_mm
    return float(np.corrcoef(one, other)[0, 1]), overlap_mm
