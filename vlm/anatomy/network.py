"""The embedded segmenter in use: a scan in, a label map of the structures that it knows out.

The network works on a grid of 4 mm on the whole scan at once; what it says is brought to the case's working grid
before the likeliest class is taken, and the organs' borders follow the density there (``refine``). Weights ship with
the package; their recipe is ``vlm/train/segment.py``.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vlm.anatomy.body import body
from vlm.anatomy.classes import CLASSES
from vlm.anatomy.refine import CORNERS, between, refined, scores_at
from vlm.ct.volume import AIR_HU, Grid
from vlm.evidence import Case
from vlm.workers import threads

if TYPE_CHECKING:
    from torch import Tensor

    from vlm.anatomy.unet import UNet

WEIGHTS = Path(__file__).with_name("network.safetensors")
GRID_MM = 4.0
VOXELS = 1 << 17  # worked on at a time: all at once would take gigabytes
THREADS = 2  # always: how many share a sum decides its last digit, and a scan is to give the same map every time
SOFT_HU, WIDE_HU = (-160.0, 240.0), 1000.0
REACH_MM = (200.0, 150.0)  # half the width and depth of a large body


def images(hu: Tensor, offset_mm: tuple[Tensor, Tensor]) -> Tensor:
    """What the network sees of a grid: (IMAGES, X, Y, Z) float32.

    Args:
        hu: (X, Y, Z) float32, Hounsfield units.
        offset_mm: how far right (X,) and forward (Y,) of the body's middle the voxels lie.
    """
    import torch

    low, high = SOFT_HU
    soft = (hu.clamp(low, high) - low) / (high - low) * 2 - 1
    wide = (hu / WIDE_HU).clamp(-1.1, 1.5)
    right = (offset_mm[0] / REACH_MM[0])[:, None, None].expand(hu.shape)
    forward = (offset_mm[1] / REACH_MM[1])[None, :, None].expand(hu.shape)
    return torch.stack([soft, wide, right, forward])


@cache
def load(path: Path) -> UNet:
    """The network with its weights, ready for use; loaded once a process."""
    import json

    import torch
    from safetensors import safe_open

    from vlm.anatomy.unet import UNet

    with safe_open(path, framework="pt") as stored:
        told = json.loads(stored.metadata()["tomoscribe"])
        if tuple(told["classes"]) != CLASSES:
            raise ValueError(f"{path.name} was trained on other classes")
        net = UNet(len(CLASSES), tuple(told["recipe"]["widths"]))
        state = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118
    missing, unknown = net.load_state_dict(state, strict=False)
    if unknown or any("coarse_heads" not in name for name in missing):
        raise ValueError(f"{path.name} does not fit the network: {[*missing, *unknown][:3]}")
    net.to(memory_format=torch.channels_last_3d)
    net.eval()
    return net


@cache
def fast() -> bool:
    """Whether this processor multiplies in bfloat16; where it only pretends to, float32 is quicker."""
    import torch

    return bool(torch.cpu._is_avx512_bf16_supported())


def network(case: Case, weights: Path = WEIGHTS) -> NDArray[np.uint8]:
    """(X, Y, Z) of ``case.working``: an index of CLASSES a voxel, as the network has it, before anatomy judges it."""
    net = load(weights)  # first: torch is imported while another thread finds the body
    return labelled(case.working.hu, body(case).voxels, case.working.grid, net)


def labelled(hu: NDArray[np.int16], inside: NDArray[np.bool_], grid: Grid, net: UNet) -> NDArray[np.uint8]:
    """The likeliest class of each voxel of a grid of about 2 mm, borders as the density has them.

    Outside the body it is "outside".

    Args:
        hu: (X, Y, Z) Hounsfield units.
        inside: (X, Y, Z), the body.
    """
    import torch
    from torch.nn import functional

    shown = torch.from_numpy(np.where(inside, hu, np.int16(AIR_HU)).astype(np.float32))
    size = [max(2, round(n * step / GRID_MM)) for n, step in zip(grid.shape, grid.spacing_mm, strict=True)]
    coarse = functional.interpolate(shown[None, None], size=size, mode="trilinear", align_corners=False)[0, 0]
    padded = [-(-n // net.stride) * net.stride for n in size]
    whole = torch.full(padded, float(AIR_HU))
    whole[: size[0], : size[1], : size[2]] = coarse
    seen = images(whole, _from_middle(inside, grid, padded))
    with threads(THREADS), torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=fast()):
        features, _ = net(seen[None].contiguous(memory_format=torch.channels_last_3d))
        scores = net.head(features[0].permute(1, 2, 3, 0)[: size[0], : size[1], : size[2]])
    with threads(THREADS), torch.inference_mode():
        scores = scores.float().contiguous()
        return refined(likeliest(scores, inside), scores, hu, inside, grid)


def likeliest(scores: Tensor, inside: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(X, Y, Z): the class of the highest score on a finer grid over the same field, 0 outside the body.

    Scores between voxels are linear. Between eight that agree on their class so does all that lies there, so that only
    where they differ is anything computed.

    Args:
        scores: (x, y, z, CLASSES) float32, at least two voxels along each axis.
        inside: (X, Y, Z), the body.
    """
    best = scores.argmax(dim=-1).numpy().astype(np.uint8)
    few = [n - 1 for n in best.shape]
    views = [best[x : x + few[0], y : y + few[1], z : z + few[2]] for x, y, z in CORNERS]
    differ = np.logical_or.reduce([view != views[0] for view in views[1:]])
    cells = np.ix_(*(between(fine, rough)[0] for fine, rough in zip(inside.shape, best.shape, strict=True)))
    out = np.asfortranarray(np.where(inside, views[0][cells], 0))
    mixed = np.nonzero(differ[cells] & inside)
    for start in range(0, len(mixed[0]), VOXELS):
        some = tuple(index[start : start + VOXELS] for index in mixed)
        out[some] = scores_at(scores, some, inside.shape).argmax(dim=-1).numpy()
    return out


def _from_middle(inside: NDArray[np.bool_], grid: Grid, size: list[int]) -> tuple[Tensor, Tensor]:
    """How far right and forward of the middle of the body each column of the coarse grid lies, mm."""
    import torch

    lines = []
    for axis, others in ((0, (1, 2)), (1, (0, 2))):
        there = np.flatnonzero(inside.any(axis=others))
        middle = (there[0] + there[-1] + 1) / 2 * grid.spacing_mm[axis] if there.size else 0.0
        lines.append((torch.arange(size[axis], dtype=torch.float32) + 0.5) * GRID_MM - float(middle))
    return lines[0], lines[1]
