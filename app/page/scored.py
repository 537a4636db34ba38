"""What an image encoder's words say of a case, kept beside its reading: a score a finding, never a probability.

Written by the process that reads, where ``serve --encoder`` names a checkpoint that knows images and words:

    scores.json          {"by": encoder, "off": why there are none, "heat_off": why there are no heat maps,
                         "scores": {finding: score}}; above 0 speaks for it
    heat.json            a list of {"finding": key, "file": "heat-KEY.nii.gz", "score": as above, "tool": encoder}
    heat-KEY.nii.gz      0..1 on the encoder's coarse grid in the scan's RAS mm: where the score comes from
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.export.masks import write_nifti
from vlm.encoder.heat import heats
from vlm.errors import TomoscribeError
from vlm.evidence import Observation
from vlm.language.query import queries_of_vocabulary

if TYPE_CHECKING:
    from app.known import Known
    from vlm.encoder import Encoder

SCORES = "scores.json"
HEAT = "heat.json"
MOST_HEAT = 16  # maps a case: what the tools found first, then by score
NOT_MAPPED = "the case was scored by an earlier version that drew none"
NOT_ASKED = "no image encoder was asked: serve with --encoder FILE"
SAYS = {"present": True, "absent": False, "limited": False}  # status of the tools -> whether it is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one case by finding, from whom, or why there are none."""

    by: str = ""
    off: str = NOT_ASKED
    heat_off: str = NOT_ASKED
    values: Mapping[str, float] = field(default_factory=dict)

    def beside(self, finding: str, status: str) -> dict[str, Any]:
        """The score of a finding, and whether it agrees with what the tools say: None where either has no say."""
        score, told = self.values.get(finding), SAYS.get(status)
        return {"score": score, "agrees": None if score is None or told is None else (score > 0) == told}


def write_scores(folder: Path, known: Known, checkpoint: Path) -> None:
    """Score every finding by a checkpoint's words, and map where scores come from.

    What keeps it from that is written down: the reading stands.
    """
    from vlm.encoder.checkpoints import load_checkpoint

    try:
        encoder = load_checkpoint(checkpoint)
        kept = scored(known, encoder)
        kept["heat_off"] = kept["off"] or write_heat_maps(folder, known, encoder, kept["scores"])
    except (TomoscribeError, RuntimeError, MemoryError) as error:  # torch says what it cannot do by RuntimeError
        told = str(error) if isinstance(error, TomoscribeError) else type(error).__name__
        off = f"the encoder gave no scores: {told}"
        kept = {"by": "", "off": off, "heat_off": off, "scores": {}}
    (folder / SCORES).write_text(json.dumps(kept), encoding="utf-8")


def write_heat_maps(folder: Path, known: Known, encoder: Encoder, scores: Mapping[str, float]) -> str:
    """Write where scores come from, of what the tools found or the score speaks for; why nothing is mapped, or ""."""
    seen = {r.finding for _, r in known.ledger if isinstance(r, Observation) and r.presence != "absent"}
    wanted = [key for key, score in scores.items() if score > 0 or key in seen]
    wanted = sorted(wanted, key=lambda key: (key not in seen, -scores[key]))[:MOST_HEAT]
    if not wanted:
        return "no score speaks for a finding"
    assert known.case is not None
    entries, why = [], ""
    for key, found in zip(wanted, heats(known.case, encoder, wanted), strict=True):
        if isinstance(found, str):
            why = found
        elif found.values.any():
            write_nifti(folder / f"heat-{key}.nii.gz", found.values, found.grid)
            told = {"finding": key, "file": f"heat-{key}.nii.gz", "score": scores[key], "tool": str(encoder.identity)}
            entries.append(told)
    (folder / HEAT).write_text(json.dumps(entries), encoding="utf-8")
    return "" if entries else why or "no part of the scan speaks for what is scored"


def scored(known: Known, encoder: Encoder) -> dict[str, Any]:
    """What ``scores.json`` holds of a case."""
    from app.image_columns import ImageColumns

    columns = ImageColumns(known.case, encoder)
    told = {query.findings[0]: columns.zero_shot(query) for query in queries_of_vocabulary()}
    scores = {key: round(column.score, 4) for key, column in told.items() if column.score is not None}
    off = "" if scores else next(iter(told.values())).why
    return {"by": str(encoder.identity), "off": off, "scores": scores}


def scores_of(folder: Path) -> Scores:
    """The scores that stand in a reading's folder."""
    if not (folder / SCORES).is_file():
        return Scores()
    kept = json.loads((folder / SCORES).read_text(encoding="utf-8"))
    heat_off = kept.get("heat_off", NOT_MAPPED)
    return Scores(by=kept["by"], off=kept["off"], heat_off=heat_off, values=kept["scores"])


def scoring_of(folder: Path) -> dict[str, str]:
    """Who scored a case, or why nobody did, for the page."""
    scores = scores_of(folder)
    return {"by": scores.by, "off": scores.off, "heat_off": scores.heat_off}
