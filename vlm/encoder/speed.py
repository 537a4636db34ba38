"""Where and in what precision a network runs: what this machine computes fast, and nothing it cannot."""

from __future__ import annotations

from pathlib import Path

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


def _cpu_flags() -> frozenset[str]:
    """What the first processor can do, as Linux tells it; empty on another system, which then stays in float32."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return frozenset()
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags")), "")
    return frozenset(flags.split())
