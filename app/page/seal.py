"""A finished reading is sealed: hashes of what the page shows, so that an edited or exchanged file is noticed.

No signature: whoever can write the folder can write the seal. It tells damage and mix-ups, not forgery by its owner.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

SEAL = "seal.json"
KINDS = ("*.json", "*.nii", "*.nii.gz")


def seal(folder: Path) -> None:
    """Write down what stands in ``folder``; the last file of a reading."""
    (folder / SEAL).write_text(json.dumps(_hashes(folder)), encoding="utf-8")


def check_seal(folder: Path) -> None:
    """Compare what stands in ``folder`` with what was written.

    Raises:
        ValueError: a file was changed, or is missing.
        OSError: there is no seal.
    """
    kept, found = json.loads((folder / SEAL).read_text(encoding="utf-8")), _hashes(folder)
    if wrong := sorted(name for name in kept if kept[name] != found.get(name)):
        raise ValueError(f"{wrong[0]} is not as it was written")


def _hashes(folder: Path) -> dict[str, str]:
    paths = {path.name: path for kind in KINDS for path in folder.glob(kind) if path.name != SEAL}
    hashes = {}
    for name, path in sorted(paths.items()):
        with path.open("rb") as stream:
            hashes[name] = hashlib.file_digest(stream, "sha256").hexdigest()
    return hashes
