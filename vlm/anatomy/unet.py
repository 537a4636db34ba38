"""The embedded segmenter's network: a small residual U-Net (Ronneberger, MICCAI 2015; Isensee, MICCAI 2024).

In: (N, IMAGES, X, Y, Z) float images of a coarse grid. Out: features a voxel, from which a 1 x 1 x 1 head reads the
classes. Most of its work happens on grids that are coarser still; the full grid sees eight channels only.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

IMAGES = 4  # soft-tissue window, wide window, and how far right and forward of the body's middle a voxel lies
STEM, FEATURES = 8, 16
GROUP = 8  # channels that GroupNorm takes together: batches are too small for batch statistics


class Residual(nn.Module):
    """Two 3 x 3 x 3 convolutions beside a shortcut; the first may halve the grid."""

    def __init__(self, inside: int, outside: int, stride: int = 1) -> None:
        super().__init__()
        self.first = nn.Conv3d(inside, outside, 3, stride, 1, bias=False)
        self.second = nn.Conv3d(outside, outside, 3, 1, 1, bias=False)
        self.norms = nn.ModuleList([nn.GroupNorm(outside // GROUP, outside) for _ in range(2)])
        self.shortcut = (
            nn.Identity() if inside == outside and stride == 1 else nn.Conv3d(inside, outside, stride, stride)
        )

    def forward(self, x: Tensor) -> Tensor:
        y = functional.silu(self.norms[0](self.first(x)))
        y = self.norms[1](self.second(y))
        return functional.silu(y + self.shortcut(x))


class UNet(nn.Module):
    """(N, IMAGES, X, Y, Z) -> (N, FEATURES, X, Y, Z); X, Y and Z multiples of ``STRIDE``.

    Args:
        widths: channels of the grids halved once, twice and so on: the size of the network.
        classes: what ``head`` tells apart.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = (32, 64, 96, 128)) -> None:
        super().__init__()
        self.stride = 2 ** len(widths)
        self.stem = nn.Sequential(
            nn.Conv3d(IMAGES, STEM, 3, 1, 1, bias=False), nn.GroupNorm(1, STEM), nn.SiLU(inplace=True)
        )
        steps = zip((STEM, *widths[:-1]), widths, strict=True)
        self.down = nn.ModuleList([Residual(inside, outside, stride=2) for inside, outside in steps])
        self.deep = Residual(widths[-1], widths[-1])
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList([Residual(below + beside, beside) for below, beside in pairs])
        self.last = nn.Sequential(
            nn.Conv3d(widths[0] + STEM, FEATURES, 3, 1, 1, bias=False),
            nn.GroupNorm(FEATURES // GROUP, FEATURES),
            nn.SiLU(inplace=True),
        )
        self.head = nn.Linear(FEATURES, classes)
        self.coarse_heads = nn.ModuleList([nn.Linear(width, classes) for width in widths[1::-1]])  # training only

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Features of every voxel, and those of the two grids above it, which training supervises as well."""
        full = self.stem(x)
        levels = [full]
        for block in self.down:
            levels.append(block(levels[-1]))
        y = self.deep(levels.pop())
        coarse = []
        for block in self.up:
            y = block(torch.cat([functional.interpolate(y, scale_factor=2, mode="nearest"), levels.pop()], dim=1))
            coarse.append(y)
        y = functional.interpolate(y, scale_factor=2, mode="trilinear")
        return self.last(torch.cat([y, full], dim=1)), coarse[-2:]
