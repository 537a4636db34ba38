"""Weights: where they come from, that they are the right ones, and how they are opened without running them.

A file is safetensors, or a pickle of torch that the restricted loader turns into safetensors once, below the
user's cache folder. Nothing else in a pickle than tensors and plain containers is accepted.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm.errors import TomoscribeError

if TYPE_CHECKING:
    from torch import Tensor

EXTRA = "pip install tomoscribe[encoder]"


class WeightsError(TomoscribeError):
    """Weights that are not there, not the right ones, or do not fit. Said in one line; a capability is off."""

    exit_code = 3


def cache_folder() -> Path:
    """Where converted weights are kept: below the user's own cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tomoscribe" / "weights"


def package_file(package: str, name: str) -> Path | None:
    """A file inside an installed package, found without running the package; None where it is not installed."""
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return None
    path = Path(found.submodule_search_locations[0]) / name
    return path if path.is_file() else None


def sha256_of(data: bytes | memoryview) -> str:
    """Hex digest of bytes in memory."""
    return hashlib.sha256(data).hexdigest()


def joined(packages: tuple[str, ...], name: str, sha256: str) -> bytes:
    """The file that several packages hold a part each of.

    Raises:
        WeightsError: a part is missing, or the whole is not the file that it should be.
    """
    parts = [package_file(package, name) for package in packages]
    missing = [package for package, part in zip(packages, parts, strict=True) if part is None]
    if missing:
        raise WeightsError(f"E_WEIGHTS: {', '.join(missing)} not installed, expected all parts. {EXTRA}")
    data = b"".join(part.read_bytes() for part in parts if part is not None)
    if (found := sha256_of(data)) != sha256:
        raise WeightsError(
            f"E_WEIGHTS: the weights in {packages[0]} … have sha256 {found[:12]}…, expected {sha256[:12]}…. "
            "Install the packages again; these may be damaged or of another version."
        )
    return data


def unpickled(data: bytes | Path) -> Any:  # whatever containers of tensors the file holds
    """What a file of ``torch.save`` holds, by torch's restricted loader.

    Raises:
        WeightsError: it holds more than tensors and plain containers, or is no such file.
    """
    import pickle

    import torch

    source: Any = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        why = str(error).splitlines()[0][:80] if str(error) else type(error).__name__
        raise WeightsError(
            f"E_WEIGHTS: the file is not one of tensors alone ({why}). It is not opened; "
            "convert it to safetensors where it came from."
        ) from None


def converted(name: str, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write tensors as ``name``.safetensors into the cache, whole or not at all."""
    from safetensors.torch import save_file

    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{name}.safetensors"
    handle, unready = tempfile.mkstemp(dir=folder, suffix=".part")
    os.close(handle)
    try:
        save_file({key: value.contiguous() for key, value in state.items()}, unready, metadata=dict(metadata))
        Path(unready).replace(path)
    finally:
        Path(unready).unlink(missing_ok=True)
    return path
