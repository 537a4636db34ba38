"""The scanner: from a painted scene to the Hounsfield units that a reconstruction would hold.

Texture inside the organs, table and blanket, motion, thickness, the kernel's sharpness, noise that
grows with what the rays pass, streaks round metal, the circle of the reconstruction. All of it from
one seed; nothing here changes the labels of the person.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import fft, ndimage

from vlm.ct.volume import AIR_HU
from vlm.phantom.body.labels import LOBES, NUMBER
from vlm.phantom.body.scene import Scene
from vlm.phantom.body.shapes import Floats

Kernel = Literal["soft", "sharp"]
TILE, TILE_STEP_MM = 96, 1.0  # of the texture that repeats
# kernel: (blur of edges, mm; share of it that is sharpened again; width of the noise grain, mm)
KERNELS: dict[str, tuple[float, float, float]] = {"soft": (0.75, 0.0, 0.95), "sharp": (0.45, 0.9, 0.35)}
METAL_HU = 2800.0
STREAK_SIZE, STREAK_ANGLES = 192, 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """How a person is scanned."""

    kernel: Kernel = "soft"
    noise_hu: float = 12.0  # in the middle of a body of usual size
    table: bool = True
    blanket: bool = False
    motion_mm: float = 0.0  # of heart and diaphragm, blurred into the picture
    circle_mm: float | None = None  # diameter of the reconstruction; None: everything
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


def expose(scene: Scene, exposure: Exposure, visit: int = 0) -> NDArray[np.int16]:
    """Hounsfield units (Z, Y, X) of a scene, with the noise of one visit; the scene's own values are used up."""
    _texture(scene)
    if exposure.table:
        _table(scene)
    if exposure.blanket:
        _blanket(scene)
    if exposure.motion_mm > 0:
        _move(scene, exposure.motion_mm)
    _streaks(scene)
    _kernel(scene, exposure, visit)
    out = np.empty(scene.hu.shape, dtype=np.int16)
    np.clip(np.rint(scene.hu, out=scene.hu), AIR_HU, 3071, out=scene.hu)
    out[:] = scene.hu
    if exposure.circle_mm is not None:
        x, y = (line - line.mean() for line in scene.lines[:2])
        out[:, np.hypot(x[None, :], y[:, None]) > exposure.circle_mm / 2] = exposure.padding_hu
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
    """Blur what beats and breathes along z: the heart and the ten millimetres round the diaphragm."""
    steps = max(1, round(mm / scene.grid.spacing_mm[2]))
    near = np.isin(
        scene.labels, [NUMBER[n] for n in NUMBER if n.startswith("heart") or n in ("diaphragm", "pericardium")]
    )
    near = ndimage.binary_dilation(near, iterations=steps)
    near &= np.isin(
        scene.labels,
        [
            NUMBER[n]
            for n in NUMBER
            if n.startswith(("heart", "rib")) or n in ("diaphragm", "pericardium", "liver", *LOBES)
        ],
    )
    blurred = ndimage.uniform_filter1d(scene.hu, 2 * steps + 1, axis=0)
    scene.hu[near] = 0.5 * scene.hu[near] + 0.5 * blurred[near]


def _streaks(scene: Scene) -> None:
    """Slices with metal: what beam hardening leaves of rays that pass through it, projected back."""
    from skimage.transform import iradon, radon, resize

    for k in np.flatnonzero(scene.hu.reshape(len(scene.hu), -1).max(axis=1) > METAL_HU):
        size = (STREAK_SIZE, STREAK_SIZE)
        water = resize(np.clip(scene.hu[k] / 1000 + 1, 0, 2), size, order=1)
        metal = resize((scene.hu[k] > METAL_HU).astype(float), size, order=1)
        angles = np.linspace(0, 180, STREAK_ANGLES, endpoint=False)
        rays, dense = radon(water, angles, circle=False), radon(metal, angles, circle=False)
        wrong = -(dense > 0.05) * (0.10 * dense * np.minimum(rays, 80)) + 0.6 * dense
        back = iradon(wrong, angles, circle=False, output_size=STREAK_SIZE)
        back = resize(back, scene.hu[k].shape, order=1)
        scene.hu[k] += 1000 * np.where(scene.hu[k] > METAL_HU, 0, back)


def _kernel(scene: Scene, exposure: Exposure, visit: int) -> None:
    """Blur by the kernel and add its noise, slice by slice in frequencies."""
    blur, sharpen, grain = KERNELS[exposure.kernel]
    ny, nx = scene.hu.shape[1:]
    size = fft.next_fast_len(ny, real=True), fft.next_fast_len(nx, real=True)
    dx, dy = scene.grid.spacing_mm[:2]
    fy, fx = fft.fftfreq(size[0], dy)[:, None], fft.rfftfreq(size[1], dx)[None, :]
    f = np.hypot(fx, fy)
    mtf = np.exp(-2 * (np.pi * f * blur) ** 2) * (1 + sharpen * (1 - np.exp(-((f / 0.35) ** 2))))
    power = np.sqrt(f + 0.02) * np.exp(-2 * (np.pi * f * grain) ** 2)  # a ramp filter makes noise that grows with f
    full = np.sqrt((power**2 * np.where((fx == 0), 1, 2)).sum() / (size[0] * size[1]))
    power, mtf = (power / full).astype(np.float32), mtf.astype(np.float32)
    finer = min(1.0, float(np.sqrt(3.0 / scene.grid.spacing_mm[2])))
    for k in range(len(scene.hu)):
        hu = scene.hu[k]
        sigma = exposure.noise_hu * finer * _sigma(hu, dx, dy)
        white = np.random.default_rng([scene.seed, 3, k, visit]).standard_normal(size, dtype=np.float32)
        noise = fft.irfft2(fft.rfft2(white) * power, size)[:ny, :nx]
        if min(dx, dy) < 1.5 * blur + 0.6:
            padded = np.full(size, -1000.0, dtype=np.float32)
            padded[:ny, :nx] = hu
            hu[:] = fft.irfft2(fft.rfft2(padded) * mtf, size)[:ny, :nx]
        hu += noise * sigma


def _sigma(hu: Floats, dx: float, dy: float) -> Floats:
    """How strong the noise is at each place of a slice: 1 behind 150 mm of water on every side."""
    water = np.clip(hu[::2, ::2] * 0.001 + 1, 0, 2)
    across, deep = water.sum(axis=1) * (2 * dx), water.sum(axis=0) * (2 * dy)  # mm of water
    share = 0.5 * np.exp(0.0105 * (across[:, None] - 300)) + 0.5 * np.exp(0.0105 * (deep[None, :] - 230))
    small = np.sqrt(ndimage.uniform_filter(np.clip(share, 0.04, 3.0).astype(np.float32), 15, mode="nearest"))
    return np.asarray(np.repeat(np.repeat(small, 2, 0), 2, 1)[: hu.shape[0], : hu.shape[1]])
