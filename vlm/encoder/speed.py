"""Where and in what precision a network runs: what this machine computes fast, and nothing it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from vlm.encoder.recipe import Prepared

BF16_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})  # without them bfloat16 is emulated, and slower than float32


def best_device() -> str:
    """The GPU where there is one, else the CPU."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def best_dtype(device: str) -> str:
    """ "bfloat16" where the device computes in it, else "float32"."""
    import torch

    fast = torch.cuda.is_bf16_supported() if device == "cuda" else bool(BF16_FLAGS & _cpu_flags())
    return "bfloat16" if fast else "float32"


def where(device: str | None = None) -> tuple[torch.device, torch.dtype]:
    """The device that is named, or the best one, and the precision that is fast on it."""
    import torch

    chosen = torch.device(device or best_device())
    return chosen, getattr(torch, best_dtype(chosen.type))


def batch_of(prepared: Prepared, device: torch.device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """(1, 1, ...) a prepared scan as a network takes it; float32 unless said otherwise."""
    import torch

    return torch.from_numpy(prepared.values)[None, None].to(device, dtype)


def _cpu_flags() -> frozenset[str]:
    """What the first processor can do, as Linux tells it; empty on another system, which then stays in float32."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())
