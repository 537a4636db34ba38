"""What finding somebody means whose words no vocabulary has: the nearest of its words by meaning.

"Rocks in the kidney" is nearest to "kidney stone". What is near nothing, or near two things that are not one
kind, means nothing here: a wrong finding is worse than none. Off where the extra is not installed.
"""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vlm.encoder.minilm import SHA256, installed, minilm
from vlm.encoder.protocol import Vector
from vlm.encoder.weights import cache_folder
from vlm.findings.reader import read_sentence
from vlm.findings.vocabulary import load_vocabulary

# Chosen on 40 lay phrases and 15 that mean no finding, all by one author.
LEAST_ALIKE = 0.65  # cosine
LEAST_THERE = 0.6  # cosine, where the words name the very place in which the finding lies
NEAR = 0.04  # findings that are nearer to the first than this may be meant just as well


@dataclass(frozen=True, slots=True, kw_only=True)
class Meant:
    """A finding that some words are near to."""

    finding: str
    alike: float  # cosine with the nearest of the finding's words


def meant_by(text: str) -> Meant | None:
    """The finding that lay words mean; of several that are as near, what they have in common.

    None where nothing is near, where what is near has nothing in common, or where the extra is not installed.
    """
    near = near_to(text)
    if not near:
        return None
    vocabulary = load_vocabulary()
    common = frozenset.intersection(*(vocabulary.ancestors(m.finding) | {m.finding} for m in near))
    own = [key for key in common if len(near) == 1 or vocabulary.finding(key).site is not None]  # "lesion" says nothing
    exact = max(own, key=lambda key: len(vocabulary.ancestors(key)), default=None)
    return None if exact is None else Meant(finding=exact, alike=near[0].alike)


def near_to(text: str) -> tuple[Meant, ...]:
    """The findings that lay words are near to, nearest first; several may be meant just as well. Empty: none is."""
    if not installed() or not text.strip():
        return ()
    first, *others = _ranked(text)
    if first.alike < (LEAST_THERE if _named(text, first.finding) else LEAST_ALIKE):
        return ()
    return (first, *(meant for meant in others if meant.alike > first.alike - NEAR))


def _named(text: str, finding: str) -> bool:
    """Whether the words name a place that holds a finding, or lies within where it can be."""
    vocabulary = load_vocabulary()
    home = vocabulary.finding(finding).site
    places = {place.site for place in read_sentence(text).places if place.site}
    return home is not None and any(
        vocabulary.site_contains(place, home) or vocabulary.site_contains(home, place) for place in places
    )


def _ranked(text: str) -> list[Meant]:
    """Every finding by its nearest word, nearest first."""
    keys, vectors = _phrases()
    alike = vectors @ minilm().embed([text])[0]
    best: dict[str, float] = {}
    for key, value in zip(keys, alike.tolist(), strict=True):
        best[key] = max(value, best.get(key, -1.0))
    return [Meant(finding=key, alike=best[key]) for key in sorted(best, key=lambda key: -best[key])]


@functools.cache
def _phrases() -> tuple[tuple[str, ...], Vector]:
    """Every word of the vocabulary with its finding, and their vectors (N, 384): computed once, then from the cache."""
    findings = load_vocabulary().findings.values()
    pairs = [(f.key, words) for f in findings for words in dict.fromkeys((f.name, *f.words, *f.lay))]
    known = hashlib.sha256("\n".join([SHA256, *(words for _, words in pairs)]).encode()).hexdigest()[:16]
    keys, path = tuple(key for key, _ in pairs), cache_folder() / f"words-{known}.npy"
    if path.is_file():
        kept: NDArray[np.float32] = np.load(path, allow_pickle=False)
        return keys, kept
    vectors = minilm().embed(words for _, words in pairs)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    unready = path.with_suffix(".part.npy")
    np.save(unready, vectors)
    unready.replace(path)
    return keys, vectors
