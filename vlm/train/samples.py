"""One training sample: a warped, cut and re-exposed piece of a labelled scan.

In: a Labelled scan and a random generator. Out: the images that the network sees and the row of the scan's sets at
each voxel. The two halves of the recipe: the scan as it is, or with the density of every tissue drawn anew while its
texture stays ("redrawn"), so that a phase of contrast is never what an organ is known by (after Billot, SynthSeg,
Med Image Anal 2023;86:102789). Left and right are never swapped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from vlm.anatomy.classes import CLASSES, INDEX
from vlm.anatomy.network import images
from vlm.train.labelled import Labelled

BEYOND = 255  # target outside the scan: nothing is known, nothing is learned
AIR_HU = -1024.0
# Means without contrast, arterial, portal and delayed, HU; between them by chance (Bae, Radiology 2010;256:32).
PHASES = {
    "liver": (55, 65, 110, 95), "spleen": (46, 120, 120, 100), "kidney_right": (32, 160, 190, 170),
    "kidney_left": (32, 160, 190, 170), "stomach": (25, 30, 35, 35), "gallbladder": (8, 8, 10, 12),
    "pancreas": (40, 100, 90, 75), "urinary_bladder": (5, 5, 10, 150), "aorta": (42, 320, 160, 120),
    "inferior_vena_cava": (42, 80, 140, 120), "heart": (42, 240, 150, 115), "esophagus": (35, 55, 60, 55),
    "portal_vein_and_splenic_vein": (42, 90, 170, 125), "small_bowel": (25, 60, 60, 45), "prostate": (40, 55, 70, 75),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """What of a scan a sample shows."""

    size: tuple[int, int, int] = (80, 64, 48)
    step_mm: float = 5.0


def sample(source: Labelled, piece: Piece, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(IMAGES, X, Y, Z) float32 images and (X, Y, Z) uint8 rows of ``source.sets``, BEYOND outside the scan."""
    hu = torch.from_numpy(source.hu).float()
    target = torch.from_numpy(source.target)
    if rng.random() < 0.5:
        hu = _redrawn(hu, source, rng)
    if rng.random() < 0.75:  # in use, what the rules take for table and air is blanked
        outside = np.flatnonzero(source.sets[:, INDEX["outside"]] & (source.exact >= 0))
        hu = torch.where(torch.isin(target, torch.as_tensor(outside, dtype=torch.uint8)), AIR_HU, hu)
    where, offset = _points(source, piece, rng)
    spans = torch.as_tensor([n - 1 for n in source.hu.shape], dtype=torch.float32)
    lattice = (where / torch.as_tensor(source.spacing_mm, dtype=torch.float32) / spans * 2 - 1).flip(-1)[None]
    inside = (lattice.abs() <= 1).all(dim=-1)[0]
    seen = functional.grid_sample(hu[None, None], lattice, align_corners=True, padding_mode="border")[0, 0]
    rows = functional.grid_sample(target.float()[None, None], lattice, mode="nearest", align_corners=True)[0, 0]
    rows = rows.round().to(torch.uint8)
    kept = inside & _box(piece.size, rng)
    seen = torch.where(kept, _exposed(seen, piece, rng), AIR_HU)
    return images(seen, offset), torch.where(kept, rows, BEYOND)


def _points(source: Labelled, piece: Piece, rng: np.random.Generator) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Where in the scan each voxel of the sample lies, (X, Y, Z, 3) mm, and its way from the body's middle, mm."""
    axes = [torch.arange(n, dtype=torch.float32) * piece.step_mm for n in piece.size]
    axes = [line - line.mean() for line in axes]
    flat = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
    scale = rng.uniform(0.8, 1.25) * np.exp(rng.normal(0, 0.06, 3))
    turn = _rotation(np.radians(rng.normal(0, 7, 3)))
    matrix = torch.as_tensor(turn @ np.diag(scale), dtype=torch.float32)
    height = (source.hu.shape[2] - 1) * source.spacing_mm[2]
    centre = np.asarray([*source.middle_mm, _level(source, rng, height)]) + rng.normal(0, (25, 20, 15))
    where = flat @ matrix.T + torch.as_tensor(centre, dtype=torch.float32)
    middle = np.linalg.solve(matrix.numpy(), np.asarray([*source.middle_mm, centre[2]]) - centre) + rng.normal(0, 8, 3)
    offset = (axes[0] - float(middle[0]), axes[1] - float(middle[1]))
    for cell_mm, most in ((100.0, 12.0), (45.0, 4.0)):
        knots = [max(2, round(n * piece.step_mm / cell_mm) + 1) for n in piece.size]
        bend = torch.as_tensor(rng.normal(0, most * rng.random(), (1, 3, *knots)), dtype=torch.float32)
        bend = functional.interpolate(bend, size=piece.size, mode="trilinear", align_corners=True)
        where = where + bend[0].permute(1, 2, 3, 0)
    return where, offset


def _level(source: Labelled, rng: np.random.Generator, height: float) -> float:
    """The height that the sample is centred on: where a structure lies, every structure as likely, or anywhere."""
    known = np.flatnonzero(source.exact >= len(("outside", "fat", "soft_tissue", "bone")))
    if known.size and rng.random() < 0.7:
        levels = np.flatnonzero((source.target == rng.choice(known)).any(axis=(0, 1)))
        if levels.size:
            return float(rng.choice(levels) * source.spacing_mm[2])
    return float(rng.uniform(0, height))


def _rotation(angles: np.ndarray) -> np.ndarray:
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    turn_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    turn_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    turn_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return np.asarray(turn_x @ turn_y @ turn_z)


def _redrawn(hu: Tensor, source: Labelled, rng: np.random.Generator) -> Tensor:
    """The scan with another mean in every tissue, its own texture stretched or flattened."""
    rows = torch.from_numpy(source.target).long()
    count = len(source.sets)
    flat, size = rows.flatten(), torch.bincount(rows.flatten(), minlength=count).clamp(min=1)
    mean = torch.bincount(flat, weights=hu.flatten(), minlength=count).float() / size
    phase, wild = rng.uniform(0, 3), rng.random() < 0.2
    drawn = mean + torch.as_tensor(rng.normal(0, 12, count), dtype=torch.float32)
    for row, one in enumerate(source.exact):
        told = PHASES.get(CLASSES[one]) if one >= 0 else None
        if told is not None:
            base = rng.uniform(-20, 250) if wild else float(np.interp(phase, range(4), told))
            drawn[row] = base + rng.normal(0, 12)
    drawn = torch.where(mean < -300, mean, drawn)  # air and lung stay
    gain = torch.as_tensor(rng.uniform(0.4, 1.3, count), dtype=torch.float32)
    return drawn[rows] + gain[rows] * (hu - mean[rows])


def _exposed(hu: Tensor, piece: Piece, rng: np.random.Generator) -> Tensor:
    """Another scanner: shift, slow drift, thick slices, noise of a dose."""
    hu = hu * float(rng.uniform(0.92, 1.08)) + float(rng.normal(0, 8))
    if rng.random() < 0.3:  # slices of up to 10 mm
        kernel = torch.ones(1, 1, 1, 1, int(rng.integers(2, 4)))
        padded = functional.pad(hu[None, None], (0, kernel.shape[-1] - 1, 0, 0, 0, 0), mode="replicate")
        hu = functional.conv3d(padded, kernel / kernel.sum())[0, 0]
    noise = torch.as_tensor(rng.standard_normal(piece.size, dtype=np.float32))
    return hu + noise * float(rng.gamma(1.2, 9.0))


def _box(size: tuple[int, int, int], rng: np.random.Generator) -> Tensor:
    """Voxels that stay: now and then the field of view ends inside the sample."""
    kept = torch.ones(size, dtype=torch.bool)
    if rng.random() < 0.35:
        low = int(rng.integers(0, size[2] // 2))
        kept[:, :, :low] = False
        kept[:, :, low + int(rng.integers(8, size[2])) :] = False
    if rng.random() < 0.1:
        side = int(rng.integers(size[0] // 4, size[0] // 2))
        kept[(slice(None, side) if rng.random() < 0.5 else slice(-side, None))] = False
    return kept
