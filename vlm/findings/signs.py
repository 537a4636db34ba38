"""Which finding a sign is at a site, and which of several words for one thing says it best.

A sign ("effusion") and a site ("pleura") go in, a finding comes out, as the ``when`` lines
of ``prompts/findings.toml`` say: the rule of the narrowest site that holds wins.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vlm.findings.lexicon import Item
from vlm.findings.scope import Grammar
from vlm.findings.spelling import Token
from vlm.findings.vocabulary import Vocabulary, load_vocabulary

_HOLLOW = ("bowel", "stomach", "oesophagus", "gallbladder", "bladder")  # fluid inside them is what they are for
_FILLED = frozenset(("filled", "distended", "containing", "contain", "content", "intraluminal", "luminal"))
_INSIDE = frozenset(("in", "within", "inside", "throughout"))
_BESIDE_WORDS = "free between around along adjacent surrounding beside near outside about by collection from"
_BESIDE = frozenset(_BESIDE_WORDS.split())
_DESCRIBING = frozenset(("calcification",))  # an adjective before its noun


@dataclass(frozen=True, slots=True)
class Found:
    """A finding where it stands, before its presence is known."""

    finding: str
    first: int
    last: int
    sites: tuple[str, ...]
    site_items: tuple[int, ...]  # indices of the items that named the sites
    opposite: bool = False  # the words say that it is not there: "normal size"


@functools.cache
def _rules(sign: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
    vocabulary = load_vocabulary()
    return tuple((f.key, sites) for f in vocabulary.findings.values() for name, sites in f.when if name == sign)


@functools.lru_cache(maxsize=8192)
def finding_at(sign: str, site: str | None) -> tuple[str, bool] | None:
    """The finding that a sign is at a site, and whether it is one of this very site (not of any)."""
    vocabulary = load_vocabulary()
    best: tuple[int, str] | None = None
    for key, sites in _rules(sign):
        if site is None:
            if not sites:
                return key, True
            continue
        for place in sites:
            if place == "*":
                depth = -1
            elif place == f"={site}" or vocabulary.site_contains(place, site):
                depth = len(vocabulary.containers(place.removeprefix("=")))
            else:
                continue
            if best is None or depth > best[0]:
                best = (depth, key)
    return (best[1], best[0] >= 0) if best else None


def describes_next(items: list[Item], n: int) -> bool:
    """Whether a word that can be a finding only describes the next: "calcified node", "ground-glass lung nodule"."""
    item = items[n]
    if n + 1 < len(items) and item.last == items[n + 1].first:
        following = items[n + 1]
        if item.key("sign") in _DESCRIBING:
            return names_finding(following)
        if item.key("finding") == "ground_glass_opacity":
            if following.key("site") and n + 2 < len(items) and items[n + 2].first == following.last:
                following = items[n + 2]
            return following.key("sign") == "nodule" or following.key("finding") == "lung_nodule"
    return False


def is_held(tokens: list[Token], items: list[Item], n: int, clause: tuple[int, int]) -> bool:
    """Whether the fluid of an item lies inside a hollow organ: "fluid-filled loops", "fluid in the small bowel"."""
    vocabulary = load_vocabulary()
    words = [token.word for token in tokens[clause[0] : clause[1]]]
    if not _BESIDE.isdisjoint(words):
        return False
    if "intraluminal" in words:
        return True
    hollow = [
        item
        for item in items
        if clause[0] <= item.first < clause[1]
        and (site := item.key("site")) is not None
        and any(vocabulary.site_contains(organ, site) for organ in _HOLLOW)
    ]
    if not hollow or not _FILLED.isdisjoint(words):
        return bool(hollow)
    ahead = any(item.last == items[n].first for item in hollow)  # "colonic fluid"
    after = [token.word for token in tokens[items[n].last : max(item.first for item in hollow)]]
    return ahead or not _INSIDE.isdisjoint(after)


def names_finding(item: Item) -> bool:
    return any(sense.kind in ("finding", "sign") for sense in item.senses)


def _listed(one: Found, other: Found, grammar: Grammar) -> bool:
    """Whether two findings are members of a list: "no lesion, cyst or stone" denies each of them."""
    first, last = sorted((one, other), key=lambda found: found.first)
    return any(token.word in (",", "or", "nor", "and") for token in grammar.tokens[first.last : last.first])


def without_doubles(found: list[Found], vocabulary: Vocabulary, grammar: Grammar) -> list[Found]:
    """Drop what another word of the same place says more exactly, and the same finding said twice by one word."""
    kept: list[Found] = []
    for one in found:
        clause = grammar.clause_number(one.first)
        presence = grammar.presence(one.first, one.last)[0]
        better = any(
            other is not one
            and grammar.clause_number(other.first) == clause
            and other.finding != one.finding
            and vocabulary.is_a(other.finding, one.finding)
            and other.opposite == one.opposite
            and grammar.presence(other.first, other.last)[0] == presence
            and abs(other.first - one.first) <= 8
            and set(one.sites) <= set(other.sites)
            and not (presence == "absent" and _listed(one, other, grammar))
            for other in found
        )
        double = any(k.finding == one.finding and (k.first, k.last) == (one.first, one.last) for k in kept)
        if not better and not double:
            kept.append(one)
    return kept
