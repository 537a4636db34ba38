"""Which finding a word means, given where it stands: "effusion" beside "pleural" or "pericardial".

The items of a sentence go in, findings with their sites come out. A sign looks for its
site in the order in which English places it: just before ("hepatic cyst"), after a
preposition ("cyst in the liver"), before in the clause ("the liver shows a cyst"), after
in the clause, in an earlier clause, in the sentence before.
"""

from __future__ import annotations

from vlm.findings.lexicon import Item, Sense, load_lexicon
from vlm.findings.scope import Grammar
from vlm.findings.signs import Found, describes_next, finding_at, is_held, names_finding, without_doubles
from vlm.findings.spelling import Token
from vlm.findings.vocabulary import Vocabulary, load_vocabulary

_PREPOSITION_WORDS = (
    "in at on of within along around near involving throughout over inside to from belonging surrounding under "
    "between through into adjacent"
)
_PREPOSITIONS = frozenset(_PREPOSITION_WORDS.split())
_JOINS = frozenset(("and", "or", ",", "/", "the", "both", "&", "as", "well"))
_STOP_WORDS = ". ; : ( ) with without in at on of to from is are was were by as plus including than"
_STOPS = frozenset((*_STOP_WORDS.split(), '"'))
_SHARED = frozenset(("lobe", "segment", "hilum", "fissure", "base", "apex"))  # other organs have them, too
_LENGTHS = frozenset(("mm", "cm", "millimetres", "millimeters", "centimetres", "centimeters"))
_ARTICLES = frozenset(("the", "a", "an", "its", "nearest", "adjacent"))
_VERBS = frozenset(("finite", "showing", "perceived"))
_DESCRIBED = frozenset(("opacity", "lesion"))  # a general noun after its adjective
REACH = 12  # words that may stand between a dimension and its direction


class Resolver:
    """Finds the findings of one sentence."""

    def __init__(self, tokens: list[Token], items: list[Item], grammar: Grammar, topic: tuple[str, ...]) -> None:
        self.vocabulary: Vocabulary = load_vocabulary()
        self.tokens, self.items, self.grammar, self.topic = tokens, items, grammar, topic
        self.item_at: dict[int, int] = {i: n for n, item in enumerate(items) for i in range(item.first, item.last)}
        self.site_items = [n for n, item in enumerate(items) if item.key("site") is not None]
        self.site_items = [n for n in self.site_items if not (self._is_of_other_organ(n) or self._is_far_end(n))]
        self._sites = frozenset(self.site_items)

    def found(self) -> list[Found]:
        """Every finding of the sentence, in order of place."""
        out: list[Found] = []
        used = self._dimensions(out)
        for n, item in enumerate(self.items):
            if n in used:
                continue
            for sense in item.senses:
                if sense.kind == "finding" and not self._is_heading(n) and not describes_next(self.items, n):
                    sites, at = self._sites_for(n, item)
                    out.append(Found(sense.key, item.first, item.last, sites, at))
                    out.extend(self._shared_noun(n, item, sense.key))
                elif sense.opposite and sense.key == "abnormality" and not self._is_said(n):
                    continue
                elif sense.kind == "sign" and not self._only_describes(n, sense.key):
                    out.extend(self._sign(n, item, sense))
        return sorted(without_doubles(out, self.vocabulary, self.grammar), key=lambda f: (f.first, f.last))

    def _is_heading(self, n: int) -> bool:
        """Whether the word only heads what follows: "Lymph nodes: none enlarged"."""
        item = self.items[n]
        return item.key("site") is not None and item.last < len(self.tokens) - 1 and self.tokens[item.last].word == ":"

    def _shared_noun(self, n: int, item: Item, finding: str) -> list[Found]:
        """The first half of "pleural and pericardial effusion"."""
        if n < 2 or self.items[n - 1].last != item.first or self.items[n - 2].last != self.items[n - 1].first:
            return []
        site = self.items[n - 2].key("site")
        if (
            site is None
            or not self._is_adjective(n - 2)
            or self.tokens[self.items[n - 1].first].word not in ("and", "or")
        ):
            return []
        for tail in load_lexicon().items(self.tokens[item.last - 1 : item.last]):
            sign = tail.key("sign")
            other = finding_at(sign, site) if sign else None
            if other and other[1] and other[0] != finding:
                return [Found(other[0], item.first, item.last, (site,), (n - 2,))]
        return []

    def _is_said(self, n: int) -> bool:
        """Whether "normal", "clear" is said of an organ: after a verb or colon, or right before the organ's name."""
        item = self.items[n]
        if n + 1 < len(self.items) and self.items[n + 1].first == item.last and self.items[n + 1].key("site"):
            after = self.items[n + 2] if n + 2 < len(self.items) else None
            return after is None or after.first != self.items[n + 1].last or not names_finding(after)
        i = item.first - 1
        while i >= 0 and (at := self.item_at.get(i)) is not None and self.items[at].key("plain") == "":
            if self.items[at].has("cue", "finite"):
                return True
            i -= 1
        return (i >= 0 and self.tokens[i].word in (":", "-")) or (i >= 0 and self.item_at.get(i, -1) in self._sites)

    def _only_describes(self, n: int, sign: str) -> bool:
        """Whether the word is part of a neighbour's name: "calcified nodule", "atelectatic density increase"."""
        first = self.items[n].first
        if sign == "thickening" and first > 0 and self.tokens[first - 1].word in _LENGTHS:
            return True  # "33 mm thick" is a measure
        if describes_next(self.items, n):
            return True
        if sign == "opacity" and self._explained(n):
            return True
        if sign == "fluid" and is_held(self.tokens, self.items, n, self.grammar.clause(first)):
            return True
        if sign in _DESCRIBED and n > 0:
            return self.items[n].first == self.items[n - 1].last and names_finding(self.items[n - 1])
        return False

    def _is_of_other_organ(self, n: int) -> bool:
        """Whether a "lobe", "segment" or "hilum" is another organ's than the lung's, named beside or before it."""
        if self.items[n].key("site") not in _SHARED:
            return False
        start, end = self.grammar.clause(self.items[n].first)
        others = [m for m in self.site_items if self.items[m].key("site") not in _SHARED]
        near = [m for m in others if start <= self.items[m].first < end] or [m for m in others if m < n]
        if near:
            site = self.items[min(near, key=lambda m: abs(m - n))].key("site")
            return site is not None and self._is_elsewhere(site)
        return bool(self.topic) and all(self._is_elsewhere(site) for site in self.topic)

    def _is_far_end(self, n: int) -> bool:
        """Whether a distance is measured from there: "6 mm from the pleura" is no nodule of the pleura."""
        i = self.items[n].first - 1
        while i > 0 and (self.tokens[i].word in _ARTICLES or self.items[self.item_at.get(i, n)].key("side")):
            i -= 1
        if i < 1 or self.tokens[i].word not in ("from", "off"):
            return False
        i -= 1 + (self.tokens[i - 1].word in ("away", "distant"))
        return i >= 0 and self.tokens[i].word in _LENGTHS

    def _is_elsewhere(self, site: str) -> bool:
        return any(self.vocabulary.site_contains(outer, site) for outer in ("abdomen", "thyroid", "breast", "prostate"))

    # ------------------------------------------------------------ signs

    def _sign(self, n: int, item: Item, sense: Sense) -> list[Found]:
        fallback: list[Found] = []
        default = finding_at(sense.key, None)
        for number, level in enumerate(self._levels(n, item)):
            made: dict[str, list[int]] = {}
            for at in level:
                if default is not None and self._is_said_of_another(at, n):
                    continue
                site = self.items[at].key("site")
                result = finding_at(sense.key, site)
                if result and result[1]:
                    made.setdefault(result[0], []).append(at)
                elif result and not fallback and site != "lymph_node" and (default is None or self._is_near(at, n)):
                    fallback = [Found(result[0], item.first, item.last, self._keys([at]), (at,), sense.opposite)]
            if number in (1, 2) and not made and any(self._binds(at) for at in level):
                return fallback  # the word's own site has no such finding; another's is not meant
            if made:
                return [
                    Found(key, item.first, item.last, self._keys(at), tuple(at), sense.opposite)
                    for key, at in made.items()
                ]
        if fallback:
            return fallback
        start, end = self.grammar.clause(item.first)
        bound = any(self._binds(at) and start <= self.items[at].first < end for at in self.site_items)
        if bound and (default is None or sense.opposite):
            return []  # the clause speaks of an organ that has no such finding
        return self._without_site(item, sense)

    def _binds(self, at: int) -> bool:
        """Whether a site beside a word is the word's own, and not a mere neighbour or a word for "partial"."""
        return self.items[at].key("site") not in ("lymph_node", "segment", "lobe", "soft_tissue", "muscle")

    def _explained(self, n: int) -> bool:
        """Whether a density is only the look of what is named next: "density compatible with scarring"."""
        for m in range(n + 1, min(n + 4, len(self.items))):
            item = self.items[m]
            if item.has("cue", "likely_before"):
                after = [i for i in self.items[m + 1 : m + 5] if names_finding(i)]
                return bool(after) and after[0].key("sign") == "scar"
            if self.items[m - 1].last != item.first or item.key("site") or names_finding(item):
                return False
        return False

    def _without_site(self, item: Item, sense: Sense) -> list[Found]:
        """The sign's finding where the clause names no site: an earlier clause's, the default, the topic's."""
        clause = self.grammar.clause(item.first)
        earlier = [at for at in reversed(self.site_items) if self.items[at].first < clause[0]]
        for at in earlier[:1]:
            result = finding_at(sense.key, self.items[at].key("site"))
            if result and (result[1] or sense.opposite or finding_at(sense.key, None) is None):
                return [Found(result[0], item.first, item.last, self._keys([at]), (at,), sense.opposite)]
        default = finding_at(sense.key, None)
        for site in self.topic:
            result = finding_at(sense.key, site)
            if (
                result
                and result[1]
                and (default is None or (sense.key, ("*",)) in self.vocabulary.findings[default[0]].when)
            ):
                return [Found(result[0], item.first, item.last, (site,), (), sense.opposite)]
        if default and not (sense.opposite and default[0] == "abnormality" and not earlier):
            return [Found(default[0], item.first, item.last, (), (), sense.opposite)]
        return []

    def _levels(self, n: int, item: Item) -> list[list[int]]:
        start, end = self.grammar.clause(item.first)
        own = [n] if item.key("site") else []
        before = self._before(n, start) or self._next(n, end)
        after = self._after(n, end)
        others = [at for at in self.site_items if start <= self.items[at].first < end and at != n]
        ahead = [at for at in reversed(others) if at < n]
        behind = [at for at in others if at > n]
        near = [[at for at in sites if self._is_near(at, n)] for sites in (ahead, behind)]
        far = [[at for at in sites if not self._is_near(at, n)] for sites in (ahead, behind)]
        return [own, before, after, *(run for sites in (*near, *far) for run in self._runs(sites))]

    def _is_said_of_another(self, at: int, n: int) -> bool:
        """Whether a later site is only another finding's: "effusion on the right with enlargement of the heart"."""
        between = [m for m in range(n + 1, at) if names_finding(self.items[m])]
        anothers = self._is_anothers(at)
        if at < n or not (between or anothers):
            return False
        gap = range(self.items[n].last, self.items[between[0] if between else at].first)
        last = between[-1] if between else n
        link = [self.tokens[i].word for i in range(self.items[last].last, self.items[at].first)]
        return any(self.tokens[i].word in _STOPS for i in gap) and (anothers or link in (["of"], ["of", "the"]))

    def _is_near(self, at: int, n: int) -> bool:
        """Whether no other finding stands between a site and a word."""
        between = range(min(at, n) + 1, max(at, n))
        return not any(names_finding(self.items[m]) and not describes_next(self.items, m) for m in between)

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
        i, strange, before_join = self.items[n].first - 1, 0, 0
        while i >= start:
            at = self.item_at.get(i)
            word = self.tokens[i].word
            if at is not None and at in self._sites:
                found.append(at)
                i = self.items[at].first - 1
                continue
            if word in _STOPS or (
                at is not None and any(s.kind == "cue" and s.key in _VERBS for s in self.items[at].senses)
            ):
                if (
                    word in _PREPOSITIONS
                ):  # "calcification of the aorta or bronchial dilatation": the aorta is not meant
                    own = found[:before_join] if before_join else found
                    return own + [m for m in found[len(own) :] if self._is_adjective(m)]
                break
            if word in (",", "and", "or", "/"):
                if not found:
                    break
                before_join = before_join or len(found)
            elif at is not None and any(s.kind in ("finding", "sign") for s in self.items[at].senses):
                break
            elif at is None or self.items[at].key("plain") is not None:
                strange += 1
                if strange > 3:
                    break
            i -= 1
        return found

    def _is_adjective(self, at: int) -> bool:
        return self.tokens[self.items[at].last - 1].word.endswith(("al", "ar", "ic", "ary", "ous", "ial"))

    def _next(self, n: int, end: int) -> list[int]:
        """The site that an adjective describes: "ectatic tortuous aorta"."""
        found: list[int] = []
        for m in range(n + 1, min(n + 5, len(self.items))):
            item, gap = self.items[m], self.items[m].first - self.items[m - 1].last
            if m in self._sites and not gap and item.last <= end:
                found.append(m)
            elif gap or item.last > end or found or names_finding(item) or item.senses[0].kind in ("cue", "plain"):
                break
        return found

    def _after(self, n: int, end: int) -> list[int]:
        """Sites after a preposition that follows the word: "effusion is seen in the right pleural space"."""
        i, inside = self.items[n].last, False
        while i < end and self.tokens[i].word not in _PREPOSITIONS:
            at = self.item_at.get(i)
            word = self.tokens[i].word
            if word in ("(", ")") or (word == "," and i + 1 < end and self.tokens[i + 1].word[0].isdigit()):
                inside = word == "("  # "a nodule (5 mm) in", "a nodule, 5 mm in"
                i += 1
                continue
            if word in (",", ";", ".", "and", "with", "or") and not inside:
                return []
            if at is not None and any(s.kind in ("finding", "sign", "site") for s in self.items[at].senses):
                return []
            i += 1
        found: list[int] = []
        joined = False
        while i < end:
            at = self.item_at.get(i)
            word = self.tokens[i].word
            joined = joined or word in ("and", "or", "nor", ",", "as")
            if at is not None and at in self._sites:
                if joined and self._is_anothers(at):
                    break  # "of the aorta or pericardial fluid": the pericardium is the fluid's
                found.append(at)
                i = self.items[at].last
                continue
            if at is not None and (found or joined) and names_finding(self.items[at]):
                break
            if word in (".", ";", "with", "without", ":", "(", "compared", "than", "relative") or (
                word in ("is", "are", "was", "were") and found
            ):
                break
            i += 1
        return found

    def _is_anothers(self, at: int) -> bool:
        """Whether a site stands as an adjective right before another finding: "pericardial fluid"."""
        after = self.items[at + 1 : at + 2]
        return any(item.first == self.items[at].last and names_finding(item) for item in after)

    def _sites_for(self, n: int, item: Item) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """Sites of a word that is a finding by itself."""
        for level in self._levels(n, item)[1:]:
            own = [at for at in level if at < n or not self._is_anothers(at)]
            if own and all(self._is_near(at, n) for at in own):
                return self._keys(own), tuple(own)
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

    def _of(self, begin: int, end: int) -> bool:
        """Whether only "in", "of the" or a site stands between: "increase in heart size"."""
        words = (self.tokens[i].word for i in range(begin, end) if self.item_at.get(i, -1) not in self._sites)
        return all(word in ("in", "of", "the", "its", "their", "both") for word in words)

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
        after: list[int] = []
        reach = item.last + 3
        for m in range(n + 1, len(self.items)):
            if self.items[m].first > reach or self.items[m].last > end or self.items[m].key("direction"):
                break
            if self.items[m].key("dimension"):
                if item.key("direction") != "normal" and not self._of(item.last, self.items[m].first):
                    break
                after.append(m)
                reach = self.items[m].last + 3
        return after if item.key("direction") == "normal" else after[:1]
