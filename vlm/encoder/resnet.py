"""I3ResNet-152: a ResNet-152 of the plane, inflated to three dimensions. The image tower of Merlin and Astra.

In: (B, 1, X, Y, Z) float, already windowed. Out: feature maps, axes (Z, X, Y), at 1/2, 1/4, 1/8, 1/16 and 1/32
of the input in the plane, and half of that reduction along z. Inflation as in Carreira and Zisserman, CVPR 2017.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

BLOCKS = (3, 8, 36, 3)  # bottlenecks in each of the four stages of a ResNet-152
WIDEN = 4  # a bottleneck gives back four times the channels it works in


def conv(into: int, out: int, size: int, stride: int, *, folded: bool) -> nn.Conv3d:
    """A convolution that keeps its place; a bias where the norm behind it is folded into it."""
    return nn.Conv3d(into, out, size, stride=stride, padding=size // 2, bias=folded)


def norm(channels: int, *, folded: bool) -> nn.Module:
    """Batch norm, or nothing where it is folded into the convolution before it."""
    return nn.Identity() if folded else nn.BatchNorm3d(channels)


class Bottleneck(nn.Module):
    """1, 3, 1 voxels wide, with the input added at the end; the stride is on the middle one."""

    def __init__(self, into: int, width: int, stride: int, *, folded: bool) -> None:
        super().__init__()
        out = width * WIDEN
        self.conv1, self.bn1 = conv(into, width, 1, 1, folded=folded), norm(width, folded=folded)
        self.conv2, self.bn2 = conv(width, width, 3, stride, folded=folded), norm(width, folded=folded)
        self.conv3, self.bn3 = conv(width, out, 1, 1, folded=folded), norm(out, folded=folded)
        self.downsample: nn.Sequential | None = None
        if stride != 1 or into != out:
            self.downsample = nn.Sequential(conv(into, out, 1, stride, folded=folded), norm(out, folded=folded))

    def forward(self, x: Tensor) -> Tensor:
        """(B, into, z, x, y) -> (B, 4 * width, z/s, x/s, y/s)."""
        kept = x if self.downsample is None else self.downsample(x)
        x = torch.relu_(self.bn1(self.conv1(x)))
        x = torch.relu_(self.bn2(self.conv2(x)))
        return torch.relu_(self.bn3(self.conv3(x)).add_(kept))


class I3ResNet(nn.Module):
    """The image tower. Built as published, or folded: no batch norms, and one input channel for three equal ones."""

    def __init__(self, *, blocks: tuple[int, ...] = BLOCKS, width: int = 64, folded: bool = False) -> None:
        super().__init__()
        self.folded = folded
        channels = 1 if folded else 3
        self.conv1 = nn.Conv3d(channels, width, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=folded)
        self.bn1 = norm(width, folded=folded)
        self.maxpool = nn.MaxPool3d(3, stride=2, padding=1)
        into = width
        for stage, count in enumerate(blocks):
            narrow, first = width * 2**stage, 1 if stage == 0 else 2
            layers = [Bottleneck(into if n == 0 else narrow * WIDEN, narrow, first if n == 0 else 1, folded=folded)
                      for n in range(count)]  # fmt: skip
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layers))
            into = narrow * WIDEN
        self.stages = tuple(f"layer{stage + 1}" for stage in range(len(blocks)))

    def forward(self, x: Tensor, wanted: tuple[str, ...] = ("layer4",)) -> dict[str, Tensor]:
        """(B, 1, X, Y, Z) -> the wanted stages: "conv1", "layer1" … each (B, C, z, x, y)."""
        x = x.permute(0, 1, 4, 2, 3)  # (B, 1, Z, X, Y)
        x = x if self.folded else x.expand(-1, 3, -1, -1, -1)
        x = torch.relu_(self.bn1(self.conv1(x)))
        kept = {"conv1": x} if "conv1" in wanted else {}
        x = self.maxpool(x)
        for stage in self.stages:
            if len(kept) == len(wanted):
                break
            x = getattr(self, stage)(x)
            if stage in wanted:
                kept[stage] = x
        return kept


def folded(net: I3ResNet) -> I3ResNet:
    """The same function in fewer steps: each batch norm goes into the convolution before it, colours are summed.

    Computed in float32 whatever the weights are in; the result is float32, in evaluation mode.
    """
    counts = tuple(len(getattr(net, stage)) for stage in net.stages)
    with torch.device("meta"):  # its weights come from the other: none are drawn
        lean = I3ResNet(blocks=counts, width=net.conv1.out_channels, folded=True)
    state = {name: value.float() for name, value in net.state_dict().items()}
    made: dict[str, Tensor] = {}
    convolutions = (key.removesuffix(".weight") for key in state if state[key].dim() == 5)
    for name in (name for name in convolutions if f"{name}.bias" not in state):  # a head has its own bias, and no norm
        scale, shift = _affine(state, _norm_of(name))
        weight = state[f"{name}.weight"]
        if name == "conv1":
            weight = weight.sum(dim=1, keepdim=True)
        made[f"{name}.weight"] = weight * scale[:, None, None, None, None]
        made[f"{name}.bias"] = shift
    lean.load_state_dict(made, strict=True, assign=True)
    lean.eval()
    return lean


def _norm_of(name: str) -> str:
    """The batch norm behind a convolution: conv2 -> bn2, downsample.0 -> downsample.1."""
    return f"{name[:-1]}1" if name.endswith("downsample.0") else name.replace("conv", "bn")


def _affine(state: dict[str, Tensor], name: str) -> tuple[Tensor, Tensor]:
    """Scale and shift, each (C,), that a batch norm in evaluation mode comes down to."""
    scale = state[f"{name}.weight"] / torch.sqrt(state[f"{name}.running_var"] + nn.BatchNorm3d(1).eps)
    return scale, state[f"{name}.bias"] - state[f"{name}.running_mean"] * scale
