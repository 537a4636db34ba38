"""Vectors of an image encoder as a library keeps them: one of the whole scan, one of each organ.

A space is an encoder with its weights and its recipe, and for an organ the structure, too: vectors of two recipes, or
of a liver and a spleen, are never compared, and each space has an index and statistics of its own.
"""

from __future__ import annotations

from retrieval.cases import CaseVector
from vlm.encoder.embedding import MASKS, Embedding

STRUCTURES = tuple(dict.fromkeys(sides[""] for sides in MASKS.values()))  # what has a vector of its own
WORDS = "minilm-"  # spaces of sentences begin so


def structure_of(organ: str) -> str | None:
    """The structure whose vector stands for an organ: the pleura's is the lung's; None where none does."""
    return MASKS.get(organ, {}).get("")


def space_of(identity: str, structure: str = "") -> str:
    """The space of a scan's vectors, or of a structure's."""
    return f"{identity}-{structure}" if structure else identity


def of_embedding(embedding: Embedding) -> tuple[CaseVector, ...]:
    """The vectors of a scan and of the whole organs in it; one side of a pair is not kept beside both."""
    parts = {"": embedding.vector} | {n: embedding.organs[n] for n in STRUCTURES if n in embedding.organs}
    return tuple(
        CaseVector(kind="organ" if part else "scan", space=space_of(embedding.identity, part), part=part, values=values)
        for part, values in parts.items()
    )
