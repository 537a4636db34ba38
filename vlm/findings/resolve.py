"""Which finding a word means, given where it stands: "effusion" beside "pleural" or "pericardial".

The items of a sentence go in, findings with their sites come out. A sign looks for its
site in the order in which English places it: just before ("hepatic cyst"), after a
preposition ("cyst in the liver"), before in the clause ("the liver shows a cyst"), after
in the clause, in an earlier clause, in the sentence before.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from vlm.findings.lexicon import Item, Sense
from vlm.findings.scope import Grammar
from vlm.findings.spelling import Token
from vlm.findings.vocabulary import Vocabulary, load_vocabulary

_PREPOSITION_WORDS = (
    "in at on of within along around near involving throughout over inside to from belonging surrounding under "
    "between through into adjacent"
)
_PREPOSITIONS = frozenset(_PREPOSITION_WORDS.split())
_JOINS = frozenset(("and", "or", ",", "/", "the", "both", "&", "as", "well"))
_STOP_WORDS = ". ; : ( ) with without in at on of to from is are was were by"
_STOPS = frozenset((*_STOP_WORDS.split(), '"'))
REACH = 12  # words that may stand between a dimension and its direction


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
            elif vocabulary.site_contains(place, site):
                depth = len(vocabulary.containers(place))
            else:
                continue
            if best is None or depth > best[0]:
                best = (depth, key)
    return (best[1], best[0] >= 0) if best else None


class Resolver:
    """Finds the findings of one sentence."""

    def __init__(self, tokens: list[Token], items: list[Item], grammar: Grammar, topic: tuple[str, ...]) -> None:
        self.vocabulary: Vocabulary = load_vocabulary()
        self.tokens, self.items, self.grammar, self.topic = tokens, items, grammar, topic
        self.item_at: dict[int, int] = {i: n for n, item in enumerate(items) for i in range(item.first, item.last)}
        self.site_items = [n for n, item in enumerate(items) if item.key("site") is not None]

    def found(self) -> list[Found]:
        """Every finding of the sentence, in order of place."""
        out: list[Found] = []
        used = self._dimensions(out)
        for n, item in enumerate(self.items):
            if n in used:
                continue
            for sense in item.senses:
                if sense.kind == "finding":
                    sites, at = self._sites_for(n, item)
                    out.append(Found(sense.key, item.first, item.last, sites, at))
                elif sense.kind == "sign":
                    out.extend(self._sign(n, item, sense))
        return sorted(_without_doubles(out, self.vocabulary, self.grammar), key=lambda f: (f.first, f.last))

    # ------------------------------------------------------------ signs

    def _sign(self, n: int, item: Item, sense: Sense) -> list[Found]:
        fallback: list[Found] = []
        for level in self._levels(n, item):
            made: dict[str, list[int]] = {}
            for at in level:
                site = self.items[at].key("site")
                result = finding_at(sense.key, site)
                if result and result[1]:
                    made.setdefault(result[0], []).append(at)
                elif result and not fallback and site != "lymph_node":
                    fallback = [Found(result[0], item.first, item.last, self._keys([at]), (at,), sense.opposite)]
            if made:
                return [
                    Found(key, item.first, item.last, self._keys(at), tuple(at), sense.opposite)
                    for key, at in made.items()
                ]
        if fallback:
            return fallback
        return self._without_site(item, sense)

    def _without_site(self, item: Item, sense: Sense) -> list[Found]:
        """The sign's finding where the clause names no site: an earlier clause's, the default, the topic's."""
        clause = self.grammar.clause(item.first)
        earlier = [at for at in reversed(self.site_items) if self.items[at].first < clause[0]]
        for at in earlier:
            result = finding_at(sense.key, self.items[at].key("site"))
            if result and result[1]:
                return [Found(result[0], item.first, item.last, self._keys([at]), (at,), sense.opposite)]
        default = finding_at(sense.key, None)
        for site in self.topic:
            result = finding_at(sense.key, site)
            if result and result[1] and (default is None or default[0] in ("lesion", "cyst", "calcification")):
                return [Found(result[0], item.first, item.last, (site,), (), sense.opposite)]
        if default and not (sense.opposite and default[0] == "abnormality" and not earlier):
            return [Found(default[0], item.first, item.last, (), (), sense.opposite)]
        return []

    def _levels(self, n: int, item: Item) -> list[list[int]]:
        start, end = self.grammar.clause(item.first)
        own = [n] if item.key("site") else []
        before = self._before(n, start)
        after = self._after(n, end)
        others = [at for at in self.site_items if start <= self.items[at].first < end and at != n]
        ahead = [at for at in reversed(others) if at < n]
        behind = [at for at in others if at > n]
        return [own, before, after, *self._runs(ahead), *self._runs(behind)]

    def _runs(self, sites: list[int]) -> list[list[int]]:
        """Sites grouped by coordination ("the aorta and the coronary arteries"), nearest group first."""
        runs: list[list[int]] = []
        for at in sites:
            if runs and self._joined(runs[-1][-1], at):
                runs[-1].append(at)
            else:
                runs.append([at])
        return runs

    def _joined(self, one: int, two: int) -> bool:
        first, second = sorted((one, two))
        between = range(self.items[first].last, self.items[second].first)
        return all(self._is_light(i) for i in between) and len(between) <= 6

    def _is_light(self, i: int) -> bool:
        if self.tokens[i].word in _JOINS:
            return True
        at = self.item_at.get(i)
        return at is not None and any(
            s.kind in ("side", "site", "attribute", "count", "grade") for s in self.items[at].senses
        )

    def _before(self, n: int, start: int) -> list[int]:
        """Sites that stand as adjectives before the word: "right pleural and pericardial effusion"."""
        found: list[int] = []
        i, strange = self.items[n].first - 1, 0
        while i >= start:
            at = self.item_at.get(i)
            word = self.tokens[i].word
            if at is not None and self.items[at].key("site"):
                found.append(at)
                i = self.items[at].first - 1
                continue
            if word in _STOPS:
                break
            if word in (",", "and", "or", "/"):
                if not found:
                    break
            elif at is not None and any(s.kind in ("finding", "sign") for s in self.items[at].senses):
                break
            elif at is None or self.items[at].key("plain") is not None:
                strange += 1
                if strange > 3:
                    break
            i -= 1
        return found

    def _after(self, n: int, end: int) -> list[int]:
        """Sites after a preposition that follows the word: "effusion is seen in the right pleural space"."""
        i = self.items[n].last
        while i < end and self.tokens[i].word not in _PREPOSITIONS:
            at = self.item_at.get(i)
            if self.tokens[i].word in (",", ";", ".", "and", ")", "with", "or"):
                return []
            if at is not None and any(s.kind in ("finding", "sign", "site") for s in self.items[at].senses):
                return []
            i += 1
        found: list[int] = []
        while i < end:
            at = self.item_at.get(i)
            word = self.tokens[i].word
            if at is not None and self.items[at].key("site"):
                found.append(at)
                i = self.items[at].last
                continue
            if at is not None and any(s.kind in ("finding", "sign") for s in self.items[at].senses) and found:
                break
            if word in (".", ";", "with", "without", ":", "(") or (word in ("is", "are", "was", "were") and found):
                break
            i += 1
        return found

    def _sites_for(self, n: int, item: Item) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Sites of a word that is a finding by itself."""
        for level in self._levels(n, item)[1:]:
            if level:
                return self._keys(level), tuple(level)
        return (), ()

    def _keys(self, items: list[int]) -> tuple[str, ...]:
        keys = [key for at in sorted(items) if (key := self.items[at].key("site")) is not None]
        return tuple(dict.fromkeys(keys))

    # ------------------------------------------------------------ dimensions

    def _dimensions(self, out: list[Found]) -> set[int]:
        """ "The size of the heart is increased": a dimension, a direction, and the site between them."""
        used: set[int] = set()
        for n, item in enumerate(self.items):
            direction = item.key("direction")
            if direction is None:
                continue
            start, end = self.grammar.clause(item.first)
            dimensions = self._dimensions_of(n, start, end)
            for at in dimensions:
                dimension = self.vocabulary.dimensions[self.items[at].key("dimension") or ""]
                sign = dimension.down if direction == "down" else dimension.up
                if direction == "normal" and not sign:
                    sign = dimension.down
                if not sign:
                    continue
                sense = Sense("sign", sign, direction == "normal")
                made = [f for f in self._sign(at, self.items[at], sense) if f.sites]
                first, last = min(item.first, self.items[at].first), max(item.last, self.items[at].last)
                if made:
                    used.add(n)
                out.extend(
                    Found(
                        f.finding,
                        item.first if last - first > REACH else first,
                        last,
                        f.sites,
                        f.site_items,
                        f.opposite,
                    )
                    for f in made
                )
        return used

    def _dimensions_of(self, n: int, start: int, end: int) -> list[int]:
        """Items that name a dimension of which this direction speaks: those before it, else the next one."""
        item = self.items[n]
        before = [
            m
            for m in range(n - 1, -1, -1)
            if self.items[m].first >= start
            and item.first - self.items[m].last <= REACH
            and self.items[m].key("dimension")
        ]
        if before:
            taken = [m for m in before if not any(self.items[k].key("direction") for k in range(m + 1, n))]
            if taken:
                return taken
        nearby = [m for m in range(n + 1, len(self.items)) if self.items[m].first <= item.last + 3]
        return [m for m in nearby if self.items[m].last <= end and self.items[m].key("dimension")][:1]


def _without_doubles(found: list[Found], vocabulary: Vocabulary, grammar: Grammar) -> list[Found]:
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
            for other in found
        )
        double = any(k.finding == one.finding and (k.first, k.last) == (one.first, one.last) for k in kept)
        if not better and not double:
            kept.append(one)
    return kept
