"""Where tests find the shared scans and reports, and what happens where there are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("TOMOSCRIBE_SHARED", Path(__file__).resolve().parents[2] / "shared"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked ``realct`` where the shared data is missing, and say so."""
    if (SHARED / "ct").is_dir():
        return
    missing = pytest.mark.skip(reason="needs the shared scans: put them beside the checkout or set TOMOSCRIBE_SHARED")
    for item in items:
        if item.get_closest_marker("realct"):
            item.add_marker(missing)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with ``ct/``, ``odd/`` and ``reports/``."""
    return SHARED
