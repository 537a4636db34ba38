"""What an image encoder's words say of a case, kept beside its reading: a score a finding, never a probability.

Written by the process that reads, where ``serve --encoder`` names a checkpoint that knows images and words:

    scores.json          {"by": encoder, "off": why there are none, "scores": {finding: score}}; above 0 speaks for it
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vlm.errors import TomoscribeError
from vlm.language.query import queries_of_vocabulary

if TYPE_CHECKING:
    from app.asking import Known
    from vlm.encoder import Encoder

SCORES = "scores.json"
NOT_ASKED = "no image encoder was asked: serve with --encoder FILE"
SAYS = {"present": True, "absent": False, "limited": False}  # status of the tools -> whether it is there


@dataclass(frozen=True, slots=True, kw_only=True)
class Scores:
    """Scores of one case by finding, from whom, or why there are none."""

    by: str = ""
    off: str = NOT_ASKED
    values: Mapping[str, float] = field(default_factory=dict)

    def beside(self, finding: str, status: str) -> dict[str, Any]:
        """The score of a finding, and whether it agrees with what the tools say: None where either has no say."""
        score, told = self.values.get(finding), SAYS.get(status)
        return {"score": score, "agrees": None if score is None or told is None else (score > 0) == told}


def write_scores(folder: Path, known: Known, checkpoint: Path) -> None:
    """Score every finding by a checkpoint's words. What keeps it from that is written down: the reading stands."""
    from vlm.encoder.checkpoints import load_checkpoint

    try:
        kept = scored(known, load_checkpoint(checkpoint))
    except (TomoscribeError, RuntimeError, MemoryError) as error:  # torch says what it cannot do by RuntimeError
        told = str(error) if isinstance(error, TomoscribeError) else type(error).__name__
        kept = {"by": "", "off": f"the encoder gave no scores: {told}", "scores": {}}
    (folder / SCORES).write_text(json.dumps(kept), encoding="utf-8")


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
    return Scores(by=kept["by"], off=kept["off"], values=kept["scores"])


def scoring_of(folder: Path) -> dict[str, str]:
    """Who scored a case, or why nobody did, for the page."""
    scores = scores_of(folder)
    return {"by": scores.by, "off": scores.off}
