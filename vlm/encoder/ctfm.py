"""CT-FM: an encoder of CT without words, by a checkpoint that the user has. Our own implementation.

In: (B, 1, S, P, L) of 0..1. Out: the map of its last stage, 512 channels at 1/16. Residual blocks with the norm first,
a strided convolution between stages. Trained on 148,000 scans against themselves: Pai et al., arXiv 2501.09001.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from vlm.encoder.protocol import Features, Identity, Vector
from vlm.encoder.recipe import AXES, Prepared, Recipe
from vlm.encoder.speed import batch_of, where

if TYPE_CHECKING:
    from tokenizers import Tokenizer

BLOCKS = (1, 2, 2, 4, 4)
WIDTH = 32
STRIDE = (16, 16, 16)

# Published: orientation SPL, window -1024..2048, crop to the foreground. No spacing is published for the whole scan: it
# is brought to 1.5 x 1.5 x 3 mm here, as its segmenter's patches nearly are, and cut or padded to a size that fits.
RECIPE = Recipe(
    key="ctfm", shape=(256, 224, 160), spacing_mm=(1.5, 1.5, 3.0), window_hu=(-1024.0, 2048.0), axes="SPL"
)  # fmt: skip


class Block(nn.Module):
    """Norm, step and convolution twice, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm3d(channels), nn.BatchNorm3d(channels)
        self.conv1, self.conv2 = (nn.Conv3d(channels, channels, 3, padding=1, bias=False) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, s, p, l) -> the same."""
        inner = self.conv1(torch.relu(self.norm1(x)))
        return x + self.conv2(torch.relu(self.norm2(inner)))


class CTFMNet(nn.Module):
    """The encoder, under the names of the checkpoint."""

    def __init__(self, *, blocks: tuple[int, ...] = BLOCKS, width: int = WIDTH) -> None:
        """Full size; smaller sizes are for tests."""
        super().__init__()
        self.conv_init = nn.Conv3d(1, width, 3, padding=1, bias=False)
        self.layers = nn.ModuleList()
        for stage, count in enumerate(blocks):
            channels = width * 2**stage
            level = nn.ModuleDict({"blocks": nn.Sequential(*(Block(channels) for _ in range(count)))})
            if stage < len(blocks) - 1:
                level["downsample"] = nn.Conv3d(channels, 2 * channels, 3, stride=2, padding=1, bias=False)
            self.layers.append(level)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, S, P, L) -> (B, 512, S/16, P/16, L/16)."""
        x = self.conv_init(x)
        for level in self.layers:
            x = level["blocks"](x)
            if "downsample" in level:
                x = level["downsample"](x)
        return x


class CTFM:
    """CT-FM with a user's checkpoint; frozen. It has no words: a similarity, and features for heads of one's own."""

    recipe = RECIPE
    text = None

    def __init__(
        self, net: CTFMNet, sha256: str, licence: str, tokenizer: Tokenizer | None = None, *, device: str | None = None
    ) -> None:
        """Take over a loaded net; a tokenizer is of no use to it."""
        del tokenizer
        self.identity = Identity(encoder="ctfm", weights=sha256, recipe=RECIPE.key)
        self.licence = licence
        self.device, self.dtype = where(device)
        self._net = net.eval().to(self.device, self.dtype, memory_format=torch.channels_last_3d)

    def features(self, prepared: Prepared) -> Features:
        """(512, 16, 14, 10) of a full-sized scan: cells of 24 x 24 x 48 mm."""
        with torch.inference_mode():
            values = batch_of(prepared, self.device, self.dtype)
            last = self._net(values)[0].float().cpu().numpy()  # (C, along S, along P, along L)
        return Features(*along_ras(last, prepared))

    def project(self, features: Vector, organ: str = "") -> Vector:  # noqa: ARG002  # the same for all
        """No space is shared with words: the features themselves."""
        return features


def along_ras(
    last: np.ndarray[tuple[int, ...], np.dtype[np.float32]], prepared: Prepared
) -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.float32]], tuple[int, int, int], None, tuple[float, float, float]]:
    """A map whose axes are those of the recipe -> along R, A, S, with its stride and where its first cell lies.

    Cell i of a strided convolution looks at input voxel i * stride from the end where the axis begins.
    """
    axes = [AXES[letter] for letter in prepared.axes]
    turned = last[(slice(None), *(slice(None, None, way) for _, way in axes))]
    turned = turned.transpose(0, *(1 + [axis for axis, _ in axes].index(k) for k in range(3)))
    sizes = dict(zip((axis for axis, _ in axes), prepared.values.shape, strict=True))
    offset = []
    for k, (stride, count) in enumerate(zip(STRIDE, turned.shape[1:], strict=True)):
        back = dict(axes)[k] < 0  # counted from the far end
        offset.append(float(sizes[k] - 1 - (count - 1) * stride) if back else 0.0)
    return np.ascontiguousarray(turned), STRIDE, None, (offset[0], offset[1], offset[2])
