"""How far a "no", a "possible" or a "history of" reaches in a sentence.

The tokens and items of a sentence go in; clauses and scopes come out. The rules follow
the way English reports are built: a denial before its finding reaches to the end of its
clause, "was not seen" reaches back to the clause's beginning, and a clause ends at "but",
at a semicolon, or at the comma or "and" between two verbs (after Chapman, J Biomed Inform
2001;34:301, NegEx, and Harkema 2009;42:839, ConText; with clauses in place of windows).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from vlm.findings.lexicon import Item
from vlm.findings.mentions import Certainty, Presence, Status
from vlm.findings.spelling import Token

_ARTICLES = frozenset(("a", "an", "there", "it", "this"))
_ADVERBS = frozenset(
    (
        *("clearly", "definitely", "yet", "been", "be", "significantly", "as", "obviously", "any", "currently", "also"),
        *(
            "markedly",
            "well",
            "optimally",
            "fully",
            "completely",
            "adequately",
            "exactly",
            "now",
            "noticeably",
            "again",
        ),
        *(
            "clear",
            "distinctly",
            "obvious",
            "apparently",
            "so",
            "being",
            "readily",
            "reliably",
            "really",
            "sufficiently",
        ),
        *("directly", "separately", "properly", "convincingly", "otherwise", "specifically", "visually", "able", "to"),
    )
)


_NOW = frozenset(
    ("also", "again", "current", "currently", "present", "now", "today", "still", "compared", "difference")
)
_CHANGE_CUES = frozenset(("larger", "smaller", "unchanged", "new"))


_VERBS_BE = frozenset(("is", "are", "was", "were", "has", "have", "had"))
_RELATIVE = frozenset(("which", "who", "whose"))
_INSERTING = frozenset(("with", "measuring", "without", "causing", "accompanied"))
_AFTER_INSERT = _VERBS_BE | {"may", "might", "cannot", "can", "could", "remains", "remain", "appears"}
WIDE_GAP = 2  # characters of space before a heading


@dataclass(frozen=True, slots=True)
class Scope:
    """A stretch of tokens and what holds for a finding in it."""

    kind: str  # "deny", "possible", "likely", "historical", "hypothetical", "other_person", "not_assessed", a change
    first: int
    last: int  # one past
    cue: tuple[int, int]  # tokens of the word that opens it


class Grammar:
    """The clauses and scopes of one sentence."""

    def __init__(self, tokens: list[Token], items: list[Item]) -> None:
        self.tokens = tokens
        self.cues: list[tuple[str, int, int]] = []
        for item in items:
            self.cues.extend((s.key, item.first, item.last) for s in item.senses if s.kind == "cue")
        self._causes = {first for key, first, _ in self.cues if key == "cause"}
        self._solid = {i for item in items for i in range(item.first, item.last) if _is_content(item)}
        self.verbs = self._verb_groups()
        self.clauses = self._clauses()
        self._clause_at = [0] * (len(tokens) + 1)
        for number, (first, last) in enumerate(self.clauses):
            for i in range(first, last):
                self._clause_at[i] = number
        self.scopes = self._scopes()

    # ------------------------------------------------------------ clauses

    def clause(self, token: int) -> tuple[int, int]:
        """First and last (one past) token of the clause of a token."""
        return self.clauses[self._clause_at[token]]

    def clause_number(self, token: int) -> int:
        """Number of the clause of a token, from 0."""
        return self._clause_at[token]

    def _verb_groups(self) -> list[tuple[int, int]]:
        groups: list[tuple[int, int]] = []
        finite = {i for key, first, last in self.cues if key == "finite" for i in range(first, last)}
        seen = {i for key, first, last in self.cues if key == "perceived" for i in range(first, last)}
        judged = {i for key, first, last in self.cues if key == "judged" for i in range(first, last)}
        nots = {i for key, first, last in self.cues if key == "not" for i in range(first, last)}
        for i in range(len(self.tokens)):
            if i in finite:
                pass
            elif i in seen or i in judged:
                before = self.tokens[i - 1].word if i else ""
                joined = bool(groups) and groups[-1][1] == i
                if not joined and (
                    before in ("the", "previously", "newly", "a", "clearly", "") or i + 1 in self._solid
                ):
                    continue
            elif groups and groups[-1][1] == i and (i in nots or self.tokens[i].word in _ADVERBS):
                pass
            else:
                continue
            if groups and groups[-1][1] == i:
                groups[-1] = (groups[-1][0], i + 1)
            else:
                groups.append((i, i + 1))
        return [g for n, g in enumerate(groups) if not (g[0] in seen and self._relative(g, groups[n + 1 :]))]

    def _relative(self, group: tuple[int, int], later: list[tuple[int, int]]) -> bool:
        """Whether a bare participle belongs to its noun: "opacities seen in the base were not observed"."""
        if group[1] - group[0] > 1 or not later:
            return False
        denied = any(key == "deny_before" and first < group[0] for key, first, _ in self.cues)
        begin = later[0][0]
        return not denied and not any(self.tokens[i].word in (",", ";", "but") for i in range(group[1], begin))

    def _clauses(self) -> list[tuple[int, int]]:
        tokens = self.tokens
        cuts = {0, len(tokens)}
        for i, token in enumerate(tokens):
            if token.word in (";", "!", "•", '"') or (token.word in (".", "?") and self._ends_sentence(i)):
                cuts.add(i + 1)
            elif token.word == "," and i + 1 < len(tokens):
                following = tokens[i + 1].word
                if following in _AFTER_INSERT and self._inserted(i):
                    cuts.add(i + 1)  # the main verb after ", which ...,", ", with ...,"
                if following in ("with", "no", "without", "there", "which", "where", "but", "accompanied", "causing"):
                    cuts.add(i + 1)
        denials = [last for key, _, last in self.cues if key == "deny_before"]
        for i, token in enumerate(tokens):
            if token.word == "," and any(last <= i for last in denials) and self._statement_follows(i + 1, len(tokens)):
                cuts.add(i + 1)
        for key, first, _ in self.cues:
            if key == "clause":
                cuts.add(first)
        cuts |= self._headings()
        for (_, end), (begin, _) in pairwise(self.verbs):
            if not any(end <= cut <= begin for cut in cuts):
                place = self._between(end, begin)
                if place is not None:
                    cuts.add(place)
        ordered = sorted(cuts)
        return [(a, b) for a, b in pairwise(ordered) if b > a] or [(0, len(tokens))]

    def _inserted_before(self, verb: int) -> bool:
        """Whether a verb closes an insertion that stands in the same clause as its subject: ", measuring 5 mm, is"."""
        begin = self.clauses[self._clause_at[verb] - 1][0]
        opener = self.tokens[begin].word in (*_RELATIVE, *_INSERTING)
        return self.tokens[verb - 1].word == "," and not opener and self._inserted(verb - 1)

    def _inserted(self, comma: int) -> bool:
        """Whether this comma closes what an earlier one opened: ", which ...,", ", with a ratio of ...,"."""
        before = range(comma - 1, -1, -1)
        if any(self.tokens[i].word in _RELATIVE for i in before):
            return True
        opened = next((i for i in before if self.tokens[i].word in (",", ";", ".")), None)
        return opened is not None and self.tokens[opened].word == "," and self.tokens[opened + 1].word in _INSERTING

    def _headings(self) -> set[int]:
        """Where a heading or a list number begins inside a text that was not split: "PLAN:", "2)"."""
        found: set[int] = set()
        for i, token in enumerate(self.tokens):
            if token.word == ":" or (token.word == ")" and i and self.tokens[i - 1].word.isdigit()):
                for j in range(i - 1, max(-1, i - 7), -1):
                    if j == 0 or self.tokens[j].start - self.tokens[j - 1].end >= WIDE_GAP:
                        found.add(j)
                        break
        return found

    def _subject(self, token: int) -> int:
        """Where the subject of a verb begins: its clause, or the one before ", which ...,"."""
        number = self._clause_at[token]
        start = self.clauses[number][0]
        if number and self.tokens[start].word in _AFTER_INSERT and self._inserted_before(start):
            return self.clauses[number - 1][0]
        if number >= 2 and self.tokens[start].word in _AFTER_INSERT:
            relative = self.clauses[number - 1][0]
            if self.tokens[relative].word in (*_RELATIVE, *_INSERTING):
                return self.clauses[number - 2][0]
        return start

    def _ends_sentence(self, i: int) -> bool:
        return i + 1 < len(self.tokens) and self.tokens[i + 1].start > self.tokens[i].end

    def _between(self, end: int, begin: int) -> int | None:
        """Where the first of two clauses ends: the comma or "and" between their verbs."""
        words = [self.tokens[i].word for i in range(end, begin)]
        commas = [end + i for i, word in enumerate(words) if word == ","]
        ands = [end + i for i, word in enumerate(words) if word == "and"]
        both = [i for i in commas if i + 1 in ands]
        if both:
            return both[-1]
        listing = any(key == "deny_before" and end <= first < begin for key, first, _ in self.cues)
        if listing:
            return max(ands or commas, default=None)  # "there is no A, B, C and D is": the last one
        return min(commas + ands, default=None)

    # ------------------------------------------------------------ scopes

    def _scopes(self) -> list[Scope]:
        scopes: list[Scope] = []
        for key, first, last in self.cues:
            if key == "not":
                scopes.append(self._of_not(first, last))
            else:
                scopes.extend(self._of_cue(key, first, last))
        for i, token in enumerate(self.tokens):
            if token.word == "?":
                scopes.append(Scope("possible", self._back_to_separator(i), i, (i, i + 1)))
        return scopes

    def _of_cue(self, key: str, first: int, last: int) -> list[Scope]:
        start, end = self._subject(first), self.clause(first)[1]
        cue = (first, last)
        kind, _, way = key.partition("_")
        if key in ("deny_before", "deny_after"):
            alone = last >= len(self.tokens) or self.tokens[last].word in ".;,)"
            alone = alone or (self.tokens[last].word == "(" and first > 0 and self.tokens[first - 1].word == ":")
            ahead = any(start <= i < first for i in self._solid)
            if key == "deny_after" and self.tokens[first].word in ("absent", "nil") and not ahead and not alone:
                return [Scope("deny", last, self._forward(last, end), cue)]  # "absent fluid in the pericardium"
            if key == "deny_after" or (alone and self.tokens[first].word in ("none", "nil", "no", "absence")):
                return [Scope("deny", start, first, cue)]
            return [Scope("deny", last, self._forward(last, end), cue)]
        if key == "deny_not" or key in ("finite", "perceived", "judged", "showing", "clause", "cause", "other"):
            return []
        if key == "not_assessed":
            return [Scope(key, start, end, cue)]
        if kind in ("possible", "likely", "historical", "hypothetical"):
            if way == "after":
                if kind == "historical" and self._still_there():
                    return []
                return [Scope(kind, start, first, cue)]
            if way == "list":
                return [Scope(kind, last, self._to_stop(last, len(self.tokens)), cue)]
            closing = last >= len(self.tokens) or self.tokens[last].word in ".;)"
            if (
                closing
                and not self.tokens[first].word.startswith("apparent")
                and any(start <= i < first for i in self._solid)
            ):
                return [Scope(kind, start, first, cue)]  # "a nodule is conceivable", "a nodule, possible"
            if self._may_be_there(first, last):
                return [Scope(kind, start, first, cue)]
            if self.tokens[first].word in ("if", "should"):
                end = self._to_stop(last, len(self.tokens), lists=False)
            return [Scope(kind, last, self._to_comma(last, end) if kind == "historical" else end, cue)]
        if key == "other_person":
            return [Scope(key, first, self._to_stop(last, len(self.tokens)), cue)]
        return [Scope(key, start, end, cue)]  # new, larger, smaller, unchanged, resolved

    def _may_be_there(self, first: int, last: int) -> bool:
        """Whether "may", "might" are said of what stands before: "a nodule might be present"."""
        if (
            self.tokens[first].word not in ("may", "might")
            or last >= len(self.tokens)
            or self.tokens[last].word != "be"
        ):
            return False
        here = last + 1
        while here < len(self.tokens) and self.tokens[here].word in _ADVERBS:
            here += 1
        seen = any(key == "perceived" and a <= here < b for key, a, b in self.cues)
        return seen or (here < len(self.tokens) and self.tokens[here].word == "there")

    def _of_not(self, first: int, last: int) -> Scope:
        """What "not" denies: the subject of a verb of seeing, or what follows it."""
        start, end = self._subject(first), self.clause(first)[1]
        here = last
        while here < end and self.tokens[here].word in _ADVERBS:
            here += 1
        keys = {key for key, a, b in self.cues if a <= here < b}
        word = self.tokens[here].word if here < end else ""
        if "judged" in keys and word not in ("distinguishable",):
            return Scope("not_assessed", start, end, (first, here + 1))
        if "perceived" in keys or word == "there":
            if any(i in self._solid for i in range(start, first)):
                return Scope("deny", start, first, (first, here + 1))
            return Scope("deny", here + 1, self._forward(here + 1, end), (first, here + 1))
        if word in ("excluded", "ruled"):
            return Scope("possible", start, first, (first, here + 1))
        if word in ("exclude", "rule"):
            return Scope("possible", here, end, (first, here + 1))
        return Scope("deny", last, self._forward(last, end), (first, last))

    def _forward(self, begin: int, end: int) -> int:
        """Where a denial that begins here stops, at the latest at ``end``."""
        alternative = max((i for i in range(begin, end) if self.tokens[i].word in ("or", "nor")), default=-1)
        for i in range(begin, end):
            word = self.tokens[i].word
            if word in (",", "and") and i > alternative and i + 1 < end:
                following = self.tokens[i + 1].word
                if following in _ARTICLES or self._counts(i + 1):
                    return i
            if i in self._causes and word != "from":
                return i
        return end

    def _statement_follows(self, begin: int, end: int) -> bool:
        """Whether after a comma comes a statement of its own: "no effusion, the heart is enlarged"."""
        verb = next((group for group in self.verbs if begin < group[0] < end), None)
        if verb is None or any(self.tokens[i].word in (",", "or", "nor", "and") for i in range(begin, verb[0])):
            return False
        return not any(key == "perceived" and verb[0] <= first < verb[1] for key, first, _ in self.cues)

    def _counts(self, i: int) -> bool:
        word = self.tokens[i].word
        return word in (
            "multiple",
            "several",
            "few",
            "many",
            "numerous",
            "small",
            "minimal",
            "mild",
            "moderate",
            "some",
        )

    def _still_there(self) -> bool:
        """Whether the sentence also speaks of now: "stable", "in the current examination"."""
        return any(t.word in _NOW for t in self.tokens) or any(key in _CHANGE_CUES for key, _, _ in self.cues)

    def _to_comma(self, begin: int, end: int) -> int:
        return next((i for i in range(begin, end) if self.tokens[i].word in (",", ";", ")")), end)

    def _to_stop(self, begin: int, end: int, *, lists: bool = True) -> int:
        for i in range(begin, end):
            word = self.tokens[i].word
            if word in (";", "•", '"') or (word == "." and self._ends_sentence(i)):
                return i
            if lists and word == "," and self._verb_within(i, end):
                return i  # "with a history of A, there is B": the list is over
        return end

    def _verb_within(self, begin: int, end: int) -> bool:
        return any(begin < first < end for first, _ in self.verbs)

    def _back_to_separator(self, i: int) -> int:
        for j in range(i - 1, -1, -1):
            if self.tokens[j].word in (",", "(", ")", ";", ".", "and", "?", "-", ":", "/"):
                return j + 1
        return 0

    # ------------------------------------------------------------ verdicts on a span of tokens

    def holding(self, first: int, last: int) -> list[Scope]:
        """The scopes over a span whose own words are not part of it."""
        return [
            s for s in self.scopes if s.first <= first < s.last and not (first <= s.cue[0] < last) and s.first < s.last
        ]

    def presence(self, first: int, last: int) -> tuple[Presence, Certainty]:
        """Whether what stands in a span is said to be there, and how surely."""
        kinds = {scope.kind for scope in self.holding(first, last)}
        if "not_assessed" in kinds:
            return "uncertain", "possible"
        if "deny" in kinds:
            return "absent", "likely" if "likely" in kinds else "definite"
        if "possible" in kinds:
            return "uncertain", "possible"
        if "likely" in kinds:
            return "present", "likely"
        return "present", "definite"

    def status(self, first: int, last: int) -> Status:
        """Whether what stands in a span is now and the patient's."""
        kinds = {scope.kind for scope in self.holding(first, last)}
        if "other_person" in kinds:
            return "other_person"
        if "historical" in kinds:
            return "historical"
        if "hypothetical" in kinds:
            return "hypothetical"
        return "current"


def _is_content(item: Item) -> bool:
    return any(s.kind in ("finding", "sign", "site") for s in item.senses)
