"""What the page's viewers lay over a scan (``app.page.scanned``): the masks as label maps with a legend.

Written once by the process that read the scan, in RAS millimetres:

    labels.nii.gz        uint8: which masks of the evidence lie there, by the numbers of stacks.json
    stacks.json          of each number the labels of its masks, the lowest first; legend.json says what a label is
    structures.nii.gz    uint8: lungs, heart, aorta …; structures.json says what each number is

Heat maps (heat.json) are written by ``app.page.scored`` where an image encoder scores the scan.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from app.export.key_images import window_for
from app.export.masks import write_nifti
from vlm.anatomy.structures import structures
from vlm.ct import Grid, Mask
from vlm.evidence import Case, Coverage, Measured, Observation
from vlm.findings.vocabulary import load_vocabulary

MOST_LABELS = 255
SAME_VOLUME, SAME_PLACE_MM = 0.1, 5.0  # of a mask and an organ that are one
HEAT_FILE = re.compile(r"heat-[a-z0-9_]{1,64}\.nii\.gz")

# Okabe and Ito's colours without black and without the sky blue of the crosshair: apart for colour-blind eyes.
COLOURS = ((230, 159, 0), (0, 158, 115), (240, 228, 66), (204, 121, 167), (213, 94, 0), (0, 114, 178))
QUIET = (150, 130, 230)  # places that were searched: no grey, which would pass for tissue


def write_pictures(folder: Path, case: Case) -> None:
    """Write what the viewers lay over the scan into ``folder``."""
    entries = legend(case)
    numbers, stacks = stacked([case.masks[entry["mask"]] for entry in entries], case.volume.grid)
    write_nifti(folder / "labels.nii.gz", numbers, case.volume.grid)
    (folder / "stacks.json").write_text(json.dumps(stacks), encoding="utf-8")
    (folder / "legend.json").write_text(json.dumps(entries), encoding="utf-8")
    found = structures(case).masks[:MOST_LABELS]
    write_nifti(folder / "structures.nii.gz", _painted(found, case.volume.grid), case.volume.grid)
    names = [{"label": n, "name": mask.name, "ml": round(mask.volume_ml, 1)} for n, mask in enumerate(found, start=1)]
    (folder / "structures.json").write_text(json.dumps(names), encoding="utf-8")


def legend(case: Case) -> list[dict[str, Any]]:
    """One entry a mask, larger masks first, so that small ones lie on top and stay in view."""
    vocabulary = load_vocabulary()
    cited: dict[str, list[str]] = {}
    for name, record in case.ledger:
        if record.region is not None and record.region.mask in case.masks:
            cited.setdefault(record.region.mask or "", []).append(name)
    ordered = sorted(cited, key=lambda mask: -case.masks[mask].volume_ml)[:MOST_LABELS]
    organs = [(organ.volume_ml, organ) for organ in structures(case).masks]
    hues: dict[str, tuple[int, int, int]] = {}
    entries = []
    for label, mask in enumerate(ordered, start=1):
        record = case.ledger[cited[mask][0]]
        seen = isinstance(record, Observation) and record.presence != "absent"
        finding = None if isinstance(record, Coverage | Measured) else record.finding
        section = vocabulary.section_of(finding) if finding else ""
        if seen:
            hues.setdefault(str(finding), COLOURS[len(hues) % len(COLOURS)])
        name = vocabulary.finding(str(finding)).name if seen else mask.replace("_", " ")
        place = " ".join(p.replace("_", " ") for p in (record.side, record.site) if p) if seen else ""
        entries.append(
            {
                "label": label, "mask": mask, "name": name, "place": place, "finding": finding if seen else None,
                "evidence": cited[mask], "colour": hues[str(finding)] if seen else QUIET,
                "window": window_for(str(finding), section), "ml": round(case.masks[mask].volume_ml, 2),
                "mm": [round(x, 2) for x in case.masks[mask].centre_mm], "whole": _is_one_of(organs, case.masks[mask]),
            }
        )  # fmt: skip
    return entries


def _is_one_of(organs: Sequence[tuple[float, Mask]], mask: Mask) -> bool:
    """Whether a mask is a structure as a whole, such as a heart that is enlarged: it would hide the image.

    Args:
        organs: with their volumes in ml.
        mask: on any grid.
    """
    size = mask.volume_ml
    return any(
        abs(size - volume) <= SAME_VOLUME * volume and math.dist(mask.centre_mm, organ.centre_mm) <= SAME_PLACE_MM
        for volume, organ in organs
    )


def stacked(masks: Sequence[Mask], grid: Grid) -> tuple[NDArray[np.uint8], list[tuple[int, ...]]]:
    """Masks that lie over each other, in one map: none is lost below another one.

    Returns:
        (X, Y, Z) uint8, 0 where no mask lies; and of each number from 1 on the labels there, the lowest first. Label
        n is the n-th mask's, of at most MOST_LABELS. Where numbers run out, a mask stands for what is below it, too.
    """
    numbers = np.zeros(grid.shape, dtype=np.uint8, order="F")
    stacks: list[tuple[int, ...]] = []
    for label, mask in enumerate(masks, start=1):
        laid = mask.on(grid)
        if not laid:
            continue
        here, within = numbers[laid.bounds], laid.voxels[laid.bounds]
        below = here[within]
        above = np.zeros(MOST_LABELS + 1, dtype=np.uint8)
        for number in np.flatnonzero(np.bincount(below)):
            stack = (*(stacks[number - 1] if number else ()), label)
            kept = len(masks) - label + 1  # one for this mask alone, and for each that is still to come
            if len(stacks) + kept >= MOST_LABELS:
                stack = (label,)
            if stack not in stacks:
                stacks.append(stack)
            above[number] = stacks.index(stack) + 1
        here[within] = above[below]
    return numbers, stacks


def _painted(masks: Sequence[Mask], grid: Grid) -> NDArray[np.uint8]:
    """(X, Y, Z) uint8: label n where the n-th mask lies; later masks win."""
    labels = np.zeros(grid.shape, dtype=np.uint8, order="F")
    for number, mask in enumerate(masks, start=1):
        labels[mask.on(grid).voxels] = number
    return labels


def heat_maps(folder: Path) -> list[dict[str, Any]]:
    """The heat maps of a reading, each with the words for its finding; none where nothing made any."""
    if not (folder / "heat.json").is_file():
        return []
    names = load_vocabulary().findings
    entries = [e for e in read_json(folder / "heat.json") if e["finding"] in names and HEAT_FILE.fullmatch(e["file"])]
    return [{**entry, "name": names[entry["finding"]].name} for entry in entries]


def read_json(path: Path) -> Any:
    """What one of our own JSON files holds."""
    return json.loads(path.read_text(encoding="utf-8"))


def by_label(entries: Sequence[Mapping[str, Any]]) -> dict[int, Mapping[str, Any]]:
    """Legend entries by their number in the label map."""
    return {int(entry["label"]): entry for entry in entries}
