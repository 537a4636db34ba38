"""What the page calls the steps of a reading."""

from __future__ import annotations

STEPS = {
    "": "waiting",
    "start": "starting",
    "interrupted": "interrupted by a restart, waiting again",
    "read": "reading the scan",
    "anatomy": "finding the anatomy",
    "tools": "looking for findings",
    "prior": "comparing with the prior",
    "write": "writing and checking the report",
    "export": "saving masks and key images",
    "pictures": "preparing the viewer",
    "scores": "asking the image encoder",
}


def step_words(step: str) -> str:
    """A step of ``app.reading`` or ``app.child`` in words: "tool lymph_nodes" is "looking: lymph nodes"."""
    if step.startswith("tool "):
        return f"looking: {step.removeprefix('tool ').replace('_', ' ')}"
    return STEPS.get(step, step.replace("_", " "))
