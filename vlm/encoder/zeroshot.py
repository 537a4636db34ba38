"""How well a scan agrees with words, by a checkpoint that knows both: a score, never a probability.

For each finding the vocabulary has sentences that say it and sentences that deny it. The score is the mean cosine with
the first less the mean cosine with the second, of the organ's own vector where its mask was given: above 0 speaks for
the finding. It is not calibrated, says nothing of side by itself, and stands in a column of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vlm.encoder.protocol import Embedding, TextTower, Vector
from vlm.findings.vocabulary import load_vocabulary

# Site of the vocabulary -> masks that hold it, for each side and for none.
MASKS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "lung": {"left": ("lung_left",), "right": ("lung_right",), "": ("lung_left", "lung_right")},
    "pleura": {"left": ("lung_left",), "right": ("lung_right",), "": ("lung_left", "lung_right")},
    "heart": {"": ("heart",)},
    "aorta": {"": ("aorta",)},
    "spine": {"": ("skeleton",)},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a checkpoint's words say of one finding."""

    finding: str
    score: float  # mean cosine with what says it, less that with what denies it
    organ: str  # the masks whose vectors were asked; empty: the whole scan
    note: str  # what the encoder did not see


def score(embedding: Embedding, text: TextTower, finding: str, side: str | None = None) -> Score:
    """The score of one finding; the greatest among the masks that can hold it, the scan's where there is none."""
    entry, vocabulary = load_vocabulary().finding(finding), load_vocabulary()
    home = next((s for s in MASKS if entry.site and vocabulary.site_contains(s, entry.site)), None)
    sides = MASKS[home] if home else {}
    names = [name for name in sides.get(side or "", sides.get("", ())) if name in embedding.organs]
    vectors = [embedding.organs[name] for name in names] or [embedding.vector]
    says, denies = _mean(text, entry.positive), _mean(text, entry.negative)
    values = [float(v / max(float(np.linalg.norm(v)), 1e-12) @ (says - denies)) for v in vectors]
    return Score(finding=finding, score=max(values), organ=", ".join(names), note=embedding.note)


def _mean(text: TextTower, sentences: tuple[str, ...]) -> Vector:
    mean = np.asarray(text.embed(sentences)).mean(axis=0)
    return np.asarray(mean, dtype=np.float32)
