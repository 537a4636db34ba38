"""Read a report: which findings it says are there, which are not, and which may be.

``read_report(text)`` gives one Reading a sentence, ``read_sentence(text)`` one Reading.
No model: the vocabulary's words, the grammar of denial and doubt (``scope``), and the
place of a word among its neighbours (``resolve``).
"""

from __future__ import annotations

from dataclasses import replace

from vlm.findings.lexicon import Item, load_lexicon
from vlm.findings.mentions import Change, Mention, Place, Presence, Quantity, Reading, Side, Span
from vlm.findings.resolve import Resolver
from vlm.findings.scope import Grammar
from vlm.findings.sections import split_sections, split_sentences
from vlm.findings.signs import Found, describes_next, names_finding
from vlm.findings.sizes import quantities_of
from vlm.findings.spelling import Token, tokens_of
from vlm.findings.vocabulary import load_vocabulary

__all__ = ["presence_of", "read_report", "read_sentence", "split_sentences"]

_OPPOSITE: dict[Presence, Presence] = {"present": "absent", "absent": "absent", "uncertain": "uncertain"}
_CHANGES: tuple[Change, ...] = ("resolved", "new", "unchanged", "smaller", "larger")
_PLACING = frozenset(["in", "on", "at", "of", "within", "inside", "over", "the", "a", "an"])
_SIDES: dict[str, Side] = {"left": "left", "right": "right", "bilateral": "bilateral"}
_LIMITS = {
    "partly_covered": ("partly covered", "partially covered", "covered part", "partly imaged", "partially included"),
    "not_covered": ("not covered", "outside the field of view", "not included", "not imaged"),
    "no_contrast": ("without contrast", "no contrast", "without intravenous contrast", "no intravenous contrast"),
    "noise": ("too much noise", "noise"),
    "metal": ("metal artefact", "metal artifact", "metallic artifact"),
    "thick_slices": ("thick slices", "slices too thick", "slice thickness"),
    "coarse_pixels": ("coarse pixels", "pixels too coarse"),
}


def read_report(text: str) -> tuple[Reading, ...]:
    """Read every sentence of a report, each in its section; an organ named before is remembered."""
    out: list[Reading] = []
    topic: tuple[str, ...] = ()
    for section, start, end in split_sections(text):
        for first, last in split_sentences(text[start:end]):
            reading = _read(text[start + first : start + last], topic, section, start + first)
            if section == "not_assessed":
                reading = replace(reading, mentions=tuple(_unseen(mention) for mention in reading.mentions))
            out.append(reading)
            topic = reading.sites or topic
    return tuple(out)


def _unseen(mention: Mention) -> Mention:
    """The same finding, said of nobody: the report's heading says that it was not looked for."""
    return replace(mention, presence="uncertain", certainty="possible", assessed=False)


def read_sentence(text: str, *, section: str = "findings") -> Reading:
    """Read one sentence by itself."""
    return _read(text, (), section, 0)


def presence_of(text: str, span: Span) -> Presence:
    """Whether a report says that what stands in ``span`` is there: for words of no vocabulary, too."""
    tokens = tokens_of(text)
    grammar = Grammar(tokens, load_lexicon().items(tokens))
    inside = [i for i, token in enumerate(tokens) if token.start < span[1] and token.end > span[0]]
    return grammar.presence(inside[0], inside[-1] + 1)[0] if inside else "present"


def _read(text: str, topic: tuple[str, ...], section: str, start: int) -> Reading:
    tokens = tokens_of(text)
    items = load_lexicon().items(tokens)
    grammar = Grammar(tokens, items)
    quantities = quantities_of(text)
    resolver = Resolver(tokens, items, grammar, topic)
    context = _Context(text, tokens, items, grammar, quantities, section)
    low = text.lower()
    return Reading(
        text=text,
        mentions=tuple(context.mention(found) for found in resolver.found()),
        quantities=quantities,
        places=_places(tokens, items),
        unknown=_unknown(text, tokens, items),
        limits=tuple(key for key, phrases in _LIMITS.items() if any(phrase in low for phrase in phrases)),
        section=section,
        start=start,
    )


def _places(tokens: list[Token], items: list[Item]) -> tuple[Place, ...]:
    places: list[Place] = []
    for item in items:
        site, side = item.key("site"), item.key("side")
        if site or side:
            places.append(
                Place(site=site, side=_side(side), span=(tokens[item.first].start, tokens[item.last - 1].end))
            )
    return tuple(places)


def _side(key: str | None) -> Side | None:
    return _SIDES.get(key) if key else None


def _unknown(text: str, tokens: list[Token], items: list[Item]) -> tuple[str, ...]:
    lexicon = load_lexicon()
    known = {i for item in items for i in range(item.first, item.last)}
    return tuple(
        text[token.start : token.end]
        for i, token in enumerate(tokens)
        if token.is_word and (i not in known or not lexicon.knows(token.word))
    )


class _Context:
    """What stands around the findings of one sentence."""

    def __init__(
        self,
        text: str,
        tokens: list[Token],
        items: list[Item],
        grammar: Grammar,
        quantities: tuple[Quantity, ...],
        section: str,
    ) -> None:
        self.text, self.tokens, self.items, self.grammar = text, tokens, items, grammar
        self.quantities, self.section = quantities, section
        self.vocabulary = load_vocabulary()

    def mention(self, found: Found) -> Mention:
        """A finding with all that the sentence says of it."""
        grammar = self.grammar
        presence, certainty = grammar.presence(found.first, found.last)
        if found.opposite:
            near_denial = any(s.kind == "deny" and 0 <= found.first - s.cue[1] <= 2 for s in grammar.scopes)
            presence = "present" if presence == "absent" and near_denial else _OPPOSITE[presence]
        scopes = {scope.kind for scope in grammar.holding(found.first, found.last)}
        if presence == "present" and certainty == "definite" and self._one_of_two(found):
            presence, certainty = "uncertain", "possible"
        status = grammar.status(found.first, found.last)
        if status == "current" and self.section in ("indication", "technique", "history"):
            status = "historical" if self.section == "history" else "indication"
        if "resolved" in scopes and presence == "present":
            presence = "absent"
        near = self._near(found)
        span = (self.tokens[found.first].start, self.tokens[found.last - 1].end)
        return Mention(
            finding=found.finding,
            presence=presence,
            span=span,
            text=self.text[span[0] : span[1]],
            side=self._side(near),
            site=self._most_exact(found.sites),
            sites=found.sites,
            quantities=self._sizes(found),
            grade=next((key for item in near if (key := item.key("grade")) and not self._is_seen(item)), None),
            count=self._count(found, near),
            certainty=certainty,
            status=status,
            change=next((change for change in _CHANGES if change in scopes), None),
            attributes=tuple(
                dict.fromkeys(
                    key for item in near if (key := item.key("attribute")) and not item.has("finding", found.finding)
                )
            ),
            assessed="not_assessed" not in scopes,
            other=any(item.has("cue", "other") for item in near),
            hedged=bool(scopes & {"possible", "likely"}),
        )

    def _one_of_two(self, found: Found) -> bool:
        """Whether the finding is one of two that "or" joins, with nothing denied: then neither is sure."""
        start, end = self.grammar.clause(found.first)
        for step, begin in ((1, found.last), (-1, found.first - 1)):
            joined = False
            for i in range(begin, begin + 5 * step, step):
                if not start <= i < end or self.tokens[i].word in (
                    ",",
                    "and",
                    "in",
                    "of",
                    "is",
                    "with",
                    "without",
                    "no",
                ):
                    break
                joined = joined or self.tokens[i].word == "or"
                if joined and any(names_finding(item) and item.first <= i < item.last for item in self.items):
                    return True
        return False

    def _near(self, found: Found) -> list[Item]:
        """Items that qualify a finding: in its clause, with no other finding between; those before it first."""
        start, end = self.grammar.clause(found.first)
        before = [item for item in self.items if start <= item.first and item.last <= found.first]
        inside = [item for item in self.items if found.first <= item.first and item.last <= found.last]
        after = [item for item in self.items if item.first >= found.last and item.last <= end]
        kept: list[Item] = []
        for item in reversed(before):
            if self._names(item):
                # what stands between two findings belongs to the first up to the last comma, "and" or "with"
                border = self._border(item.last, found.first)
                kept = [k for k in kept if k.first >= border]
                break
            kept.append(item)
        kept.reverse()
        kept.extend(inside)
        tail: list[Item] = []
        for item in after:
            if self._names(item):
                border = self._border(found.last, item.first)
                tail = [k for k in tail if k.first < border or border <= found.last]
                break
            tail.append(item)
        return kept + tail

    def _names(self, item: Item) -> bool:
        return names_finding(item) and not describes_next(self.items, self.items.index(item))

    def _border(self, begin: int, end: int) -> int:
        """Where between two findings the words of the second begin: after the last separator.

        Without one ("effusion on the left alongside a nodule"), after the place that a preposition gives the first.
        """
        for i in range(end - 1, begin - 1, -1):
            word = self.tokens[i].word
            if word in (",", "and", "with", "as", "plus", ";", "(") and not (word == "and" and self._joins_sides(i)):
                return i + 1
        placed = begin
        for item in self.items:
            if begin <= item.first and item.last < end and (item.key("side") or item.key("site")):
                between = [self.tokens[i].word for i in range(placed, item.first)]
                if not (between and set(between) <= _PLACING) and not (placed > begin and not between):
                    break
                placed = item.last
        return placed

    def _joins_sides(self, i: int) -> bool:
        """Whether an "and" stands between two sides: "right and left"."""
        around = [item for item in self.items if item.last == i or item.first == i + 1]
        return len(around) == 2 and all(item.key("side") for item in around)

    def _side(self, near: list[Item]) -> Side | None:
        sides = {_side(item.key("side")) for item in near} - {None}
        if "bilateral" in sides or {"left", "right"} <= sides:
            return "bilateral"
        return next(iter(sides), None)

    def _most_exact(self, sites: tuple[str, ...]) -> str | None:
        depth = self.vocabulary.containers
        return max(sites, key=lambda site: len(depth(site)), default=None)

    def _sizes(self, found: Found) -> tuple[Quantity, ...]:
        start, end = self.grammar.clause(found.first)
        low = self.tokens[start].start if start < len(self.tokens) else 0
        high = self.tokens[end - 1].end
        return tuple(q for q in self.quantities if low <= q.span[0] < high and q.unit)

    def _is_seen(self, item: Item) -> bool:
        """Whether a word that can be a grade only says that something is seen: "an effusion is evident"."""
        verb = item.first > 0 and self.tokens[item.first - 1].word in ("is", "are", "was", "were")
        return verb and item.has("cue", "perceived")

    def _count(self, found: Found, near: list[Item]) -> str | int | None:
        for item in near:
            key = item.key("count")
            if key:
                return 1 if key == "single" else key
        words = {
            "two": 2,
            "three": 3,
            "four": 4,
            "five": 5,
            "six": 6,
            "seven": 7,
            "eight": 8,
            "nine": 9,
            "ten": 10,
            "twelve": 12,
        }
        for i in range(max(0, found.first - 4), found.first):
            if self.tokens[i].word in words:
                return words[self.tokens[i].word]
        if any(self.tokens[i].word in ("a", "an") for i in range(max(0, found.first - 5), found.first)):
            return 1
        return None
