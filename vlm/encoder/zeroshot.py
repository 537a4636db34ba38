"""How well a scan agrees with words, by a checkpoint that knows both: a score, never a probability.

For each finding the vocabulary has sentences that say it and sentences that deny it. The score is the mean cosine with
the first less the mean cosine with the second, of the organ's own vector where its mask was given: above 0 speaks for
the finding. It is not calibrated, says nothing of side by itself, and stands in a column of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vlm.encoder.embedding import Embedding
from vlm.encoder.protocol import Encoder, TextTower, Vector
from vlm.findings.vocabulary import load_vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a checkpoint's words say of one finding."""

    finding: str
    score: float  # mean cosine with what says it, less that with what denies it
    organ: str  # the structure whose vector was asked; empty: the whole scan
    note: str  # what the encoder did not see


def score(embedding: Embedding, encoder: Encoder, finding: str, side: str | None = None) -> Score:
    """The score of one finding, of the organ that can hold it; the scan's where there is none.

    Raises:
        ValueError: the encoder knows no words, or the embedding is of another one.
    """
    if encoder.text is None or embedding.identity != str(encoder.identity):
        raise ValueError(f"{encoder.identity} cannot ask {embedding.identity} in words")
    entry = load_vocabulary().finding(finding)
    vector, organ = embedding.of(entry.site, side)
    says, denies = prompts(encoder.text, entry.positive, entry.negative)
    value = float(encoder.project(vector[None], organ)[0] @ (says - denies))
    return Score(finding=finding, score=value, organ=organ, note=embedding.note)


def prompts(text: TextTower, says: tuple[str, ...], denies: tuple[str, ...]) -> tuple[Vector, Vector]:
    """The mean vectors of sentences that say a finding, and of those that deny it."""
    both = (np.asarray(text.embed(sentences)).mean(axis=0) for sentences in (says, denies))
    one, other = (np.asarray(mean, dtype=np.float32) for mean in both)
    return one, other
