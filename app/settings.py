"""How the page is served."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vlm.errors import UsageError
from vlm.language.models import LanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How the page is served."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 7860
    users: Path | None = None
    names: Sequence[str] = ()  # further names under which browsers reach it
    library: Path | None = None  # the folder of a case library, for similar cases
    encoder: Path | None = None  # a checkpoint that knows images and words: its scores stand beside the tools
    model: LanguageModel | None = None  # answers in the chat; None: the rules

    def __post_init__(self) -> None:
        if self.users is None and not _loopback(self.host):
            raise UsageError(
                f"E_USAGE: --host {self.host} can be reached from outside, expected --users FILE with it. "
                "Write one with `tomoscribe serve --users FILE --add-user NAME`, and put TLS before the page."
            )


def _loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
