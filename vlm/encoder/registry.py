"""Which encoders there are, which of them can be loaded here, and what the others lack."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.util import find_spec

from vlm.encoder.protocol import Encoder
from vlm.encoder.weights import EXTRA, WeightsError

ASTRA = "astra"


@dataclass(frozen=True, slots=True, kw_only=True)
class Availability:
    """Whether an encoder can be loaded here."""

    name: str
    on: bool
    reason: str  # why not; empty when it is on
    remedy: str


def availability(name: str = ASTRA) -> Availability:
    """Whether an encoder can be loaded, without loading anything."""
    from vlm.encoder.astra import PACKAGES

    if name != ASTRA:
        raise WeightsError(f"E_WEIGHTS: there is no encoder {name!r}, expected one of: {ASTRA}.")
    missing = [package for package in ("torch", "safetensors", *PACKAGES) if find_spec(package) is None]
    reason = f"not installed: {', '.join(missing)}" if missing else ""
    return Availability(name=name, on=not missing, reason=reason, remedy=EXTRA if missing else "")


@functools.cache
def load_encoder(name: str = ASTRA) -> Encoder:
    """An encoder with its weights, loaded once a process.

    Raises:
        WeightsError: it cannot be loaded here; the message says what to install.
    """
    here = availability(name)
    if not here.on:
        raise WeightsError(f"E_WEIGHTS: the encoder {name} is {here.reason}. {here.remedy}")
    from vlm.encoder.astra import Astra

    return Astra()
