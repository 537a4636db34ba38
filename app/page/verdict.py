"""The verdict of the intake as a person wants it: what was chosen, what was left out and why, what limits it.

In: the inventory that a look at the headers gave. Out: short lines of text; no tag's text is in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

KERNELS = {"soft": "soft-tissue kernel", "sharp": "sharp kernel", "unknown": "kernel not stated"}
CONTRAST = {True: "with contrast", False: "without contrast", None: "contrast not stated"}


def verdict_of(said: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows once an upload has arrived.

    Args:
        said: the last line of the child that looked: an inventory, or why there is none.

    Returns:
        ``accepted``; ``title``, one line; ``lines``, what else there is to know; ``series``, what could be
        read, each with ``id``, ``text`` and ``chosen``; ``code`` of a refusal.
    """
    inventory = said.get("inventory")
    if inventory is None:
        return _refused(str(said.get("code", "E_CORRUPT")), str(said["message"]), [], [])
    series = [_series(entry) for entry in inventory["series"]]
    left = [f"Left out: {entry['files']} × {entry['kind']}." for entry in inventory["skipped"]]
    left += [f"Not readable: {entry['files']} × {_sentence(entry['message'])}" for entry in inventory["refused_files"]]
    refusal = inventory["refusal"]
    if refusal is not None:
        told = _sentence(refusal["message"])  # stands in the title: a list of one file would repeat it
        return _refused(refusal["code"], refusal["message"], [line for line in left if not line.endswith(told)], series)
    notes = [
        f"{'Limit' if note['severity'] == 'limit' else 'Mended'}: {_sentence(note['message'])}"
        for note in inventory["intake"]
    ]
    return {
        "accepted": True,
        "title": _title(inventory, series),
        "lines": [*([inventory["why"]] if len(series) > 1 and inventory["why"] else []), *left, *notes],
        "series": series,
        "code": "",
    }


def _refused(code: str, message: str, lines: list[str], series: list[dict[str, Any]]) -> dict[str, Any]:
    title = f"This cannot be read: {_sentence(message)}"
    return {"accepted": False, "title": title, "lines": lines, "series": series, "code": code}


def _title(inventory: Mapping[str, Any], series: list[dict[str, Any]]) -> str:
    chosen = next((entry for entry in series if entry["chosen"]), None)
    if chosen is not None:
        return f"Will be read: {chosen['text']}."
    geometry = inventory["geometry"]
    shape = " × ".join(str(n) for n in geometry["shape"]) if geometry else "one volume"
    return f"Will be read: a volume of {shape} voxels."


def _series(entry: Mapping[str, Any]) -> dict[str, Any]:
    spacing = entry["spacing_mm"]
    step = f" of {spacing[2]:.3g} mm" if spacing else ""
    parts = [
        f"{entry['slices']} {entry['plane'] or ''} slices{step}".replace("  ", " "),
        f"{entry['columns']} × {entry['rows']}",
        KERNELS[entry["kernel"]],
        CONTRAST[entry["contrast"]],
    ]
    return {
        "id": entry["series"],
        "text": ", ".join(parts),
        "chosen": bool(entry["chosen"]),
        "readable": entry["verdict"] in ("read", "could be read"),
        "why": "" if entry["verdict"] in ("read", "could be read") else str(entry["verdict"]),
    }


def _sentence(message: str) -> str:
    """A message of the intake without its code in front: the code stands beside it."""
    head, _, rest = message.partition(": ")
    return rest[:1].upper() + rest[1:] if head.startswith(("E_", "CT-")) and rest else message
