"""How a real scan blurs and how its noise looks, so that what is put into it looks like the rest of it.

In: a Volume. Out: the width of its point spread in the slices, the thickness of a slice, and
a generator of noise with the power spectrum that uniform soft tissue of this very scan shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from vlm.ct.volume import Grid, Volume

Floats = NDArray[np.float32]

EDGE_HU = (-650, -350)  # halfway from air to fat, soft tissue or muscle
AIR_SIDE_HU, TISSUE_SIDE_HU = -850, -150  # plateaus on both sides of an edge that is measured
REACH_MM, STEP_MM = 6.0, 0.25  # of a profile across an edge, to each side
PLATEAU_MM = 2.0  # at each end of a profile
EDGES, FEWEST_EDGES = 400, 20
SLICES = 12  # looked at for edges and for uniform tissue, evenly spread
QUARTERS = 1.349  # width of a Gaussian step from 25 % to 75 %, in its deviations
SOFT_HU = (-30, 300)  # mean of a uniform patch: fluid to enhanced blood
PATCH = 16  # pixels a side
PATCHES, FEWEST_PATCHES = 60, 4


@dataclass(frozen=True, slots=True)
class Texture:
    """Blur and noise of one scan.

    ``blur_mm`` is the standard deviation of the point spread in the slice, ``slice_mm`` how thick
    a slice is, ``noise_hu`` the standard deviation of a voxel in uniform soft tissue, ``spectrum``
    (PATCH, PATCH) the power of that noise by spatial frequency (mean 1), ``along`` the correlation
    of a voxel's noise with that of the next slice.
    """

    blur_mm: float
    slice_mm: float
    noise_hu: float
    spectrum: Floats
    along: float

    def noise(self, shape: tuple[int, int, int], rng: np.random.Generator) -> Floats:
        """(X, Y, Z) float32 of noise as this scan has it, HU, mean 0."""
        x, y = (max(n, PATCH) for n in shape[:2])
        gain = np.sqrt(_resized(self.spectrum, (x, y)))
        out = np.empty((shape[2], shape[0], shape[1]), dtype=np.float32)
        before: Floats | None = None
        fresh = np.sqrt(1 - self.along**2)
        for k in range(shape[2]):
            white = rng.standard_normal((x, y), dtype=np.float32)
            plane = np.fft.ifft2(np.fft.fft2(white) * gain).real.astype(np.float32)[: shape[0], : shape[1]]
            before = plane if before is None else self.along * before + fresh * plane
            out[k] = before
        return np.asarray(out.transpose(1, 2, 0) * self.noise_hu)


def texture(volume: Volume) -> Texture:
    """Measure a scan.

    The edge method (25 to 75 % of the step from air to tissue) gives the blur, the mean
    periodogram of detrended patches the noise power spectrum (ICRU report 87, chapter 4).

    Raises:
        ValueError: the scan has too little edge or too little uniform soft tissue to measure.
    """
    chosen = np.unique(np.linspace(0, volume.grid.shape[2] - 1, SLICES).astype(int))
    noise_hu, spectrum, along = _noise(volume, chosen)
    spacing = volume.grid.spacing_mm[2]
    return Texture(
        blur_mm=_blur_mm(volume, chosen),
        slice_mm=max(spacing, volume.scan.slice_thickness_mm or spacing),
        noise_hu=noise_hu,
        spectrum=spectrum,
        along=along,
    )


def _blur_mm(volume: Volume, slices: NDArray[np.int_]) -> float:
    """Deviation of the point spread in the slice, mm: the median over edges between air and tissue."""
    dx, dy, _ = volume.grid.spacing_mm
    offsets = np.arange(-REACH_MM, REACH_MM + STEP_MM, STEP_MM)
    flat = round(PLATEAU_MM / STEP_MM)
    widths: list[NDArray[np.float64]] = []
    for k in slices:
        plane = volume.hu[:, :, k].astype(np.float32)
        gx, gy = ndimage.sobel(plane, 0) / dx, ndimage.sobel(plane, 1) / dy
        steep = np.hypot(gx, gy)
        at = np.argwhere((plane > EDGE_HU[0]) & (plane < EDGE_HU[1]) & (steep > 0))
        if not len(at):
            continue
        at = at[:: max(1, len(at) // EDGES)]
        direction = np.stack([gx[tuple(at.T)], gy[tuple(at.T)]], axis=1) / steep[tuple(at.T)][:, None]
        where = at[:, :, None] + direction[:, :, None] * offsets / np.array([dx, dy])[None, :, None]
        profile = ndimage.map_coordinates(plane, where.transpose(1, 0, 2), order=1, mode="nearest")
        low, high = profile[:, :flat], profile[:, -flat:]
        clean = (low.max(axis=1) < AIR_SIDE_HU) & (high.min(axis=1) > TISSUE_SIDE_HU)
        share = (profile - low.mean(axis=1, keepdims=True))[clean]
        share /= (high.mean(axis=1) - low.mean(axis=1))[clean][:, None]
        widths.append((_crossing(share, 0.75) - _crossing(share, 0.25)) * STEP_MM / QUARTERS)
    found = np.concatenate(widths) if widths else np.empty(0)
    if len(found) < FEWEST_EDGES:
        raise ValueError(f"blur cannot be measured: {len(found)} clean edges of air, expected {FEWEST_EDGES}")
    return float(np.median(found))


def _crossing(share: Floats, level: float) -> NDArray[np.float64]:
    """(N, S) profiles that rise from 0 to 1 -> (N,) the place, in samples, at which each passes a level."""
    after = np.maximum((share > level).argmax(axis=1), 1)
    rows = np.arange(len(share))
    low, high = share[rows, after - 1], share[rows, after]
    return np.asarray(after - 1 + (level - low) / np.maximum(high - low, 1e-6), dtype=np.float64)


def _noise(volume: Volume, slices: NDArray[np.int_]) -> tuple[float, Floats, float]:
    """Deviation (HU), power spectrum (PATCH, PATCH; mean 1) and correlation with the next slice of soft tissue."""
    found: list[tuple[float, int, int, int]] = []
    for k in slices[:-1]:
        plane = volume.hu[:, :, k].astype(np.float32)
        mean, square = (ndimage.uniform_filter(values, PATCH) for values in (plane, plane**2))
        rough = np.sqrt(np.maximum(square - mean**2, 0))
        soft = (mean > SOFT_HU[0]) & (mean < SOFT_HU[1]) & (rough > 0.5)  # a filled area has no noise
        half = PATCH // 2
        soft[:half], soft[-half:], soft[:, :half], soft[:, -half:] = False, False, False, False
        at = np.argwhere(soft[::half, ::half]) * half
        found += [(float(rough[x, y]), int(x) - half, int(y) - half, int(k)) for x, y in at]
    found = sorted(found)[: min(PATCHES, max(FEWEST_PATCHES, len(found) // 4))]  # the rest holds edges
    if len(found) < FEWEST_PATCHES:
        raise ValueError(f"noise cannot be measured: {len(found)} patches of soft tissue, expected {FEWEST_PATCHES}")
    here = np.stack([_detrended(volume.hu[x : x + PATCH, y : y + PATCH, k]) for _, x, y, k in found])
    next_ = np.stack([_detrended(volume.hu[x : x + PATCH, y : y + PATCH, k + 1]) for _, x, y, k in found])
    power = (np.abs(np.fft.fft2(here)) ** 2).mean(axis=0)
    power[0, 0] = (power[0, 1] + power[1, 0]) / 2  # detrending took it
    deviation = float(np.sqrt(np.median(here.var(axis=(1, 2)))))
    along = float(np.clip((here * next_).mean() / np.sqrt((here**2).mean() * (next_**2).mean() + 1e-9), 0, 0.98))
    return deviation, (power / power.mean()).astype(np.float32), along


def _detrended(patch: NDArray[np.int16]) -> Floats:
    """A patch without its mean and its slopes."""
    x, y = (np.linspace(-1, 1, n, dtype=np.float32) for n in patch.shape)
    values = patch.astype(np.float32)
    values -= values.mean()
    values -= x[:, None] * ((values * x[:, None]).sum() / (x**2).sum() / len(y))
    values -= y[None, :] * ((values * y[None, :]).sum() / (y**2).sum() / len(x))
    return values


def _resized(spectrum: Floats, shape: tuple[int, int]) -> Floats:
    """A power spectrum on the frequencies of a larger plane; its mean is 1 again."""
    rows, columns = (np.mod(np.fft.fftfreq(n) * PATCH, PATCH) for n in shape)
    where = np.stack(np.meshgrid(rows, columns, indexing="ij"))
    wide = ndimage.map_coordinates(spectrum, where, order=1, mode="grid-wrap")
    return np.asarray(wide / wide.mean(), dtype=np.float32)


def blurred_cover(distance: Floats, fine: tuple[int, int, int], grid: Grid, of: Texture) -> Floats:
    """Share of each voxel that a shape takes as this scan would show it, 0..1.

    ``distance`` (X fx, Y fy, Z fz) is the signed distance to the shape, mm, on a grid ``fine``
    times finer (odd factors) than ``grid``; the result is (X, Y, Z).
    """
    steps = [step / f for step, f in zip(grid.spacing_mm, fine, strict=True)]
    share = np.clip(0.5 - distance / min(steps), 0, 1).astype(np.float32)
    share = ndimage.gaussian_filter1d(share, of.blur_mm / steps[0], axis=0, mode="nearest")
    share = ndimage.gaussian_filter1d(share, of.blur_mm / steps[1], axis=1, mode="nearest")
    share = ndimage.uniform_filter1d(share, max(1, round(of.slice_mm / steps[2])), axis=2, mode="nearest")
    return np.asarray(share[fine[0] // 2 :: fine[0], fine[1] // 2 :: fine[1], fine[2] // 2 :: fine[2]])
