"""The scanner: from a painted scene to the Hounsfield units that a reconstruction would hold.

Texture inside the organs, table and blanket, motion, thickness, the kernel's sharpness, noise that
grows with what the rays pass, streaks round metal, the circle of the reconstruction. All of it from
one seed; nothing here changes the labels of the person.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from vlm.ct.volume import AIR_HU
from vlm.phantom.body.labels import NUMBER
from vlm.phantom.body.rays import back_project, project
from vlm.phantom.body.scene import Scene
from vlm.phantom.body.shapes import Floats
from vlm.phantom.body.slab import slabs

Kernel = Literal["soft", "sharp"]
TILE, TILE_STEP_MM = 96, 1.0  # of the texture that repeats
# kernel: (blur of edges, mm; share of it that is sharpened again; width of the noise grain, mm)
KERNELS: dict[str, tuple[float, float, float]] = {"soft": (0.75, 0.0, 0.95), "sharp": (0.45, 0.9, 0.35)}
METAL_HU = 2800.0
REFERENCE_SLICE_MM = 3.0  # the thickness for which ``noise_hu`` is given; a thinner slice has no more
FADE_MM = 10.0  # over which motion ceases
SCAN_FIELD_MM = 500.0  # diameter that usual scanners see
SOFT_HU = -130.0  # above: a person, not the table
TRUNCATED_MM, TRUNCATION_HU = 7.0, 260.0  # depth and strength of the bright rim of a truncated scan
STREAK_SIZE, STREAK_ANGLES = 192, 180
HARDENING, STARVATION = -0.3, 0.8  # mm by which a ray through 10 mm of metal and 100 mm of water errs


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How a person is scanned."""

    kernel: Kernel = "soft"
    noise_hu: float = 12.0  # in the middle of a body of usual size
    table: bool = True
    blanket: bool = False
    motion_mm: float = 0.0  # of heart and diaphragm, blurred into the picture
    slice_mm: float | None = None  # thickness of a slice; None: the distance between slices
    circle_mm: float | None = None  # diameter of the reconstruction; None: everything
    scan_field_mm: float = SCAN_FIELD_MM  # diameter beyond which nothing is measured
    padding_hu: int = AIR_HU

    @classmethod
    def of(cls, seed: int, visit: int = 0) -> Exposure:
        """A scan by chance, as varied as an archive; each visit of a person has its own."""
        rng = np.random.default_rng([seed, 11, visit])
        return cls(
            kernel="sharp" if rng.random() < 0.25 else "soft", noise_hu=float(np.clip(rng.lognormal(2.5, 0.4), 5, 45)),
            table=bool(rng.random() < 0.9), blanket=bool(rng.random() < 0.4), motion_mm=float(rng.uniform(0,
                5) * (rng.random() < 0.3)),
        )  # fmt: skip


def expose(scene: Scene, exposure: Exposure, visit: int = 0, *, count: int = 1) -> NDArray[np.int16]:
    """Hounsfield units (Z, Y, X) of a scene; the scene's own values are used up.

    ``visit`` draws other noise; ``count`` thin slices of the scene (``slab``) make one slice of the scan.
    """
    _texture(scene)
    if exposure.table:
        _table(scene)
    if exposure.blanket:
        _blanket(scene)
    if exposure.motion_mm > 0:
        _move(scene, exposure.motion_mm)
    step_mm = scene.grid.spacing_mm[2] * count
    slice_mm = exposure.slice_mm or step_mm
    hu = slabs(scene.hu, count, step_mm=step_mm, slice_mm=slice_mm)
    dx, dy, _ = scene.grid.spacing_mm
    streaks(hu, (dx, dy), scene.seed)
    _kernel(hu, exposure, (dx, dy, step_mm), np.random.SeedSequence([scene.seed, 3, visit]))
    x, y = (line - line.mean() for line in scene.lines[:2])
    radius = np.hypot(x[None, :], y[:, None])
    _truncate(hu, radius, exposure.scan_field_mm / 2)
    out = np.empty(hu.shape, dtype=np.int16)
    np.clip(np.rint(hu, out=hu), AIR_HU, 3071, out=hu)
    out[:] = hu
    circle_mm = min(exposure.circle_mm or np.inf, exposure.scan_field_mm)
    out[:, radius > circle_mm / 2] = exposure.padding_hu
    return out


@cache
def tile(sigma_mm: float, number: int) -> Floats:
    """A block of smooth random values, deviation 1, that repeats without a seam."""
    white = np.random.default_rng([17, number]).standard_normal((TILE, TILE, TILE), dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, sigma_mm / TILE_STEP_MM, mode="wrap")
    return np.asarray(smooth / smooth.std(), dtype=np.float32)


def _texture(scene: Scene) -> None:
    """Every tissue gets its own grain, and the lung is denser where it lies below."""
    fine, coarse = tile(0.9, 1), tile(3.0, 2)
    start = np.random.default_rng([scene.seed, 12]).integers(0, TILE, 3)
    x, y, z = (
        (np.floor(line / TILE_STEP_MM).astype(int) + shift) % TILE
        for line, shift in zip(scene.lines, start, strict=True)
    )
    amplitude = scene.tissues.texture
    lung = scene.tissues.index("lung")
    slope = (-0.45 * (scene.lines[1] + 10.0)).astype(np.float32)[:, None]
    for k in range(len(scene.hu)):
        tissue = scene.tissue[k]
        rows = np.flatnonzero(tissue.any(axis=1))
        if not len(rows):
            continue
        part = slice(int(rows[0]), int(rows[-1]) + 1)
        seen = tissue[part]
        hu = scene.hu[k, part]
        hu += amplitude[:, 0][seen] * fine[z[k]][y[part]][:, x]
        hu += amplitude[:, 1][seen] * coarse[z[k]][y[part]][:, x]
        hu += (seen == lung) * slope[part]


def _table(scene: Scene) -> None:
    """A curved shell of carbon fibre, filled with foam, below the lowest skin."""
    body = scene.labels > 0
    rows = np.flatnonzero(body.any(axis=(0, 2)))
    if not len(rows):
        return
    x, y = scene.lines[0][None, :], scene.lines[1][:, None]
    top = float(scene.lines[1][rows[0]]) - 3.0 + 24.0 * (x / 200.0) ** 2
    below = np.abs(y - (top - 12.0)) - 11.0
    shape = np.maximum(below, np.abs(x) - 205.0)
    edge = np.float32(scene.edge_mm)
    for inset, tissue in ((0.0, "table_shell"), (1.8, "table_core")):
        cover = np.clip(0.5 - (shape + inset) / edge, 0, 1).astype(np.float32)
        number, hu = scene.tissues.index(tissue), scene.tissues.hu(tissue)
        on = cover > 0
        if not on.any():
            return
        for k in range(len(scene.hu)):
            free = on & ~body[k]
            scene.hu[k][free] += (cover * (hu - scene.hu[k]))[free]
            scene.labels[k][free & (cover > 0.5)] = NUMBER["table"]
            scene.tissue[k][free & (cover > 0.5)] = number


def _blanket(scene: Scene) -> None:
    """A thin cloth that lies over the front of the body and hangs down beside it."""
    rng = np.random.default_rng([scene.seed, 13])
    phase = rng.uniform(0, 6, 3)
    x = scene.lines[0]
    hu = scene.tissues.hu("cloth")
    for k, z in enumerate(scene.lines[2]):
        body = (scene.labels[k] > 0) & (scene.labels[k] != NUMBER["table"])
        if not body.any():
            continue
        top = np.where(body.any(axis=0), body.shape[0] - 1 - np.argmax(body[::-1], axis=0), 0)
        smooth = ndimage.uniform_filter1d(ndimage.maximum_filter1d(top.astype(float), 41), 31)
        folds = 3 + 4 * np.abs(np.sin(x / 37 + phase[0] + z / 160) * np.sin(z / 110 + phase[1]))
        height = scene.lines[1][0] + smooth * scene.grid.spacing_mm[1] + folds
        away = np.abs(scene.lines[1][:, None] - height[None, :])
        cloth = (away < 1.6) & ~body & (scene.labels[k] == 0) & (smooth > 0)[None, :]
        scene.hu[k][cloth] = hu
        scene.labels[k][cloth] = NUMBER["blanket"]
        scene.tissue[k][cloth] = scene.tissues.index("cloth")


def _move(scene: Scene, mm: float) -> None:
    """What beats and breathes is seen at several places at once: the mean of shifted pictures.

    The heart moves towards its apex, forward and to the left, the domes of the diaphragm along z; the shift
    fades out over a centimetre.
    """
    steps = scene.grid.spacing_mm[::-1]
    hearts = [n for name, n in NUMBER.items() if name.startswith("heart") or name == "pericardium"]
    for numbers, along in ((hearts, (0.3, 0.5, -0.8)), ([NUMBER["diaphragm"]], (1.0, 0.0, 0.0))):
        near = np.isin(scene.labels, numbers)
        found = ndimage.find_objects(near.astype(np.int8))
        if not found:
            continue
        grow = [int(np.ceil((2 * FADE_MM + mm) / step)) for step in steps]
        window = tuple(slice(max(0, part.start - g), part.stop + g) for part, g in zip(found[0], grow, strict=True))
        # a mask every second voxel is enough for a weight that fades
        share = ndimage.uniform_filter(near[window].astype(np.float32), [2 * g // 2 + 1 for g in grow], mode="nearest")
        weight = np.clip(3 * share, 0, 1)
        part = scene.hu[window]
        shifts = np.linspace(-0.5, 0.5, 2 * max(1, round(mm / min(steps) / 2)) + 1)
        moved = np.mean(
            [ndimage.shift(part, [s * mm * a / d for a, d in zip(along, steps, strict=True)], order=1, mode="nearest")
             for s in shifts], axis=0, dtype=np.float32,
        )  # fmt: skip
        part += weight * (moved - part)


def streaks(hu: Floats, spacing_mm: tuple[float, float], seed: int) -> None:
    """Slices (Z, Y, X) with metal, in place: what hardened and starved rays through it leave when projected back."""
    from skimage.transform import resize

    reach = [n * step for n, step in zip(hu.shape[1:], spacing_mm[::-1], strict=True)]
    step_mm = max(reach) / STREAK_SIZE
    small = [max(2, round(mm / step_mm)) for mm in reach]
    pads = [((STREAK_SIZE - n) // 2, STREAK_SIZE - n - (STREAK_SIZE - n) // 2) for n in small]
    part = tuple(slice(low, low + n) for (low, _), n in zip(pads, small, strict=True))
    for k in np.flatnonzero(hu.reshape(len(hu), -1).max(axis=1) > METAL_HU):
        plane, metal = hu[k], hu[k] > METAL_HU
        flat = [resize(values, small, order=1) for values in (np.clip(plane / 1000 + 1, 0, 2), metal.astype(float))]
        passed, through = (project(np.pad(values, pads).astype(np.float32), STREAK_ANGLES) * step_mm for values in flat)
        wrong = HARDENING * through**2 / 10.0 * passed / 100.0  # hardened rays seem to pass through less than they did
        grain = np.random.default_rng([seed, 15, int(k)]).standard_normal(through.shape)
        wrong += STARVATION * np.sqrt(through * passed / 100.0) * grain * (through > step_mm)
        back = back_project(wrong / step_mm)[part]
        plane += np.where(metal, 0, 1000 * resize(back, plane.shape, order=1))


def _kernel(
    hu: Floats, exposure: Exposure, spacing_mm: tuple[float, float, float], seed: np.random.SeedSequence
) -> None:
    """Blur slices by the kernel and add its noise, in frequencies; slices that overlap share noise."""
    blur, sharpen, grain = KERNELS[exposure.kernel]
    ny, nx = hu.shape[1:]
    size = fft.next_fast_len(ny, real=True), fft.next_fast_len(nx, real=True)
    dx, dy, dz = spacing_mm
    fy, fx = fft.fftfreq(size[0], dy)[:, None], fft.rfftfreq(size[1], dx)[None, :]
    f = np.hypot(fx, fy)
    mtf = np.exp(-2 * (np.pi * f * blur) ** 2) * (1 + sharpen * (1 - np.exp(-((f / 0.35) ** 2))))
    power = np.sqrt(f + 0.02) * np.exp(-2 * (np.pi * f * grain) ** 2)  # a ramp filter makes noise that grows with f
    full = np.sqrt((power**2 * np.where((fx == 0), 1, 2)).sum() / (size[0] * size[1]))
    power, mtf = (power / full).astype(np.float32), mtf.astype(np.float32)
    slice_mm = exposure.slice_mm or dz
    finer = min(1.0, float(np.sqrt(REFERENCE_SLICE_MM / slice_mm)))
    overlap = max(1, round(slice_mm / dz))
    streams = seed.spawn(len(hu) + overlap - 1)
    whites: deque[Floats] = deque(maxlen=overlap)
    for k, stream in enumerate(streams):
        whites.append(np.random.default_rng(stream).standard_normal(size, dtype=np.float32))
        if k < overlap - 1:
            continue
        plane = hu[k - overlap + 1]
        white = whites[0] if overlap == 1 else np.sum(whites, axis=0) * np.float32(overlap**-0.5)
        noise = fft.irfft2(fft.rfft2(white) * power, size)[:ny, :nx]
        sigma = exposure.noise_hu * finer * _sigma(plane, dx, dy)
        if min(dx, dy) < 1.5 * blur + 0.6:
            padded = np.full(size, -1000.0, dtype=np.float32)
            padded[:ny, :nx] = plane
            plane[:] = fft.irfft2(fft.rfft2(padded) * mtf, size)[:ny, :nx]
        plane += noise * sigma


def _truncate(hu: Floats, radius: Floats, field_mm: float) -> None:
    """Where a body sticks out of the field that is scanned, its tissue inside the border looks too dense."""
    border = (radius > field_mm) & (radius < field_mm + TRUNCATED_MM)
    if not border.any():
        return
    rim = (radius <= field_mm) & (radius > field_mm - 3 * TRUNCATED_MM)
    bright = TRUNCATION_HU * np.exp((radius - field_mm) / TRUNCATED_MM)
    for k in np.flatnonzero((hu[:, border] > SOFT_HU).any(axis=1)):  # the shell of the table is less dense
        plane = hu[k]
        outside = ndimage.gaussian_filter((border & (plane > SOFT_HU)).astype(np.float32), 12) > 0.02
        cut = rim & outside & (plane > SOFT_HU)
        plane[cut] += bright[cut]


def _sigma(hu: Floats, dx: float, dy: float) -> Floats:
    """How strong the noise is at each place of a slice: 1 behind 150 mm of water on every side."""
    water = np.clip(hu[::2, ::2] * 0.001 + 1, 0, 2)
    across, deep = water.sum(axis=1) * (2 * dx), water.sum(axis=0) * (2 * dy)  # mm of water
    share = 0.5 * np.exp(0.0105 * (across[:, None] - 300)) + 0.5 * np.exp(0.0105 * (deep[None, :] - 230))
    small = np.sqrt(ndimage.uniform_filter(np.clip(share, 0.04, 3.0).astype(np.float32), 15, mode="nearest"))
    return np.asarray(np.repeat(np.repeat(small, 2, 0), 2, 1)[: hu.shape[0], : hu.shape[1]])
