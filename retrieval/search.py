"""Search: which cases are like this one, or hold what these words say.

Several rankings (findings, encoders, full text) are fused by reciprocal rank (Cormack, Clarke and Büttcher 2009).
The query's own patient never comes back; the reconstructions and copies of one study come back as one case.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from retrieval import features
from retrieval.caches import Indexes, Opened
from retrieval.cases import CaseVector, Kind, StoredCase
from retrieval.facts import Fact, from_text, status
from retrieval.filters import Filters, kinds_of
from retrieval.images import structure_of
from retrieval.in_images import InImages
from retrieval.library import SHIFT_DAYS, CaseLibrary
from vlm.evidence import Presence
from vlm.findings.vocabulary import load_vocabulary

RANK_OFFSET = 60  # of reciprocal rank fusion, as published
FETCHED = 50  # neighbours asked of each ranking at least: some fall away by exclusion and folding
WORDS = "words"  # the ranking of full text, whose scores are no cosines
COMMON = "and any are for from has have not other the this that there was were which with without"
STOP_WORDS = frozenset(COMMON.split())

Scored = tuple[int, float]  # vector, cosine


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What similar cases are wanted for."""

    facts: tuple[Fact, ...] = ()
    text: str = ""  # words to search for in reports
    vectors: tuple[CaseVector, ...] = ()  # of the encoders
    in_images: InImages | None = None  # the words, asked of images
    regions: tuple[str, ...] = ()  # that the scan covers: images of other regions are not compared with it
    patient: str = ""  # whose cases never come back, as given on the way in
    own: int = 0  # the same patient by the library's number, where the query is one of its own cases
    content: str = ""  # hash of the voxels: a copy of the same scan never comes back, whoever it is filed under


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A finding that one of two cases has, and what is known of it in the other."""

    finding: str
    other: Presence | None  # None: nobody looked


@dataclass(frozen=True, slots=True, kw_only=True)
class Similar:
    """One case that came back."""

    case: StoredCase
    score: float  # fused; only its order means anything
    likeness: float | None  # cosine of the findings' vectors, -1 to 1; None: found by words alone
    ranks: Mapping[str, int]  # ranking -> place in it, from 1
    shared: tuple[str, ...]  # findings that both have
    only_there: tuple[Difference, ...]
    only_here: tuple[Difference, ...]
    scores: Mapping[str, float] = field(default_factory=dict)  # ranking -> cosine in it; none of words
    sentence: str = ""  # the sentence that fits best
    folded: tuple[str, ...] = ()  # names of further series and copies of the same study


@dataclass
class _Ranking:
    """One list of cases, best first, with what it was ordered by."""

    name: str
    cases: list[int] = field(default_factory=list)
    scores: dict[int, float] = field(default_factory=dict)
    sentences: dict[int, int] = field(default_factory=dict)


class Search:
    """Searches one library."""

    def __init__(self, library: CaseLibrary, indexes: Indexes | None = None) -> None:
        self.library = library
        self.indexes = indexes or Indexes(library)

    def close(self) -> None:
        """Let go of the indexes."""
        self.indexes.close()

    def similar(self, query: Query, k: int = 5, filters: Filters | None = None) -> list[Similar]:
        """The k cases most like a query, most alike first."""
        filters = filters or Filters()
        barred = self._barred(query)
        allowed = self._allowed(filters) if filters.narrow else None
        wanted = max(FETCHED, 5 * k) + len(barred)
        rankings = [r for r in self._rankings(query, filters, allowed, wanted) if r.cases]
        fused: dict[int, float] = {}
        for ranking in rankings:
            for place, case in enumerate((c for c in ranking.cases if c not in barred), start=1):
                fused[case] = fused.get(case, 0.0) + 1.0 / (RANK_OFFSET + place)
        order = sorted(fused, key=lambda case: (-fused[case], case))
        return self._folded(query, rankings, fused, order, k)

    def _rankings(
        self, query: Query, filters: Filters, allowed: NDArray[np.int64] | None, wanted: int
    ) -> Iterable[_Ranking]:
        """One ranking for each kind of vector that both sides have, and one by words."""
        kind: Kind = "organ" if filters.organ else "scan"
        facts = [f for f in query.facts if not filters.organ or f.organ == filters.organ]
        if facts:
            yield self._nearest(kind, features.space(), filters.organ or "", features.vector(facts), allowed, wanted)
        structure = structure_of(filters.organ) if filters.organ else ""
        denials = any(fact.presence != "absent" for fact in from_text(query.text))
        alike = self._of_regions(query.regions, allowed)
        for v in query.vectors:
            if v.kind == "sentence" or (v.kind == kind and v.part == structure):
                part = v.part if v.kind == "organ" else ""
                drop = v.kind == "sentence" and denials
                among = alike if v.kind == "scan" else allowed
                yield self._nearest(v.kind, v.space, part, v.values, among, wanted, drop_denials=drop)
        if query.in_images is not None:
            yield self._in_images(query.in_images, allowed, wanted)
        if query.text:
            if said := from_text(query.text):
                yield self._nearest("sentence", features.space(), "", features.vector(said), allowed, wanted)
            yield self._by_words(query.text, allowed, wanted)

    def _nearest(
        self,
        kind: Kind,
        space: str,
        part: str,
        values: NDArray[np.float32],
        allowed: NDArray[np.int64] | None,
        k: int,
        *,
        drop_denials: bool = False,
    ) -> _Ranking:
        """Cases by their nearest vector of one kind and space; sentences that only deny may be left out."""
        ranking = _Ranking(f"{kind} {part} {space.partition('-')[0]}".replace("  ", " "))
        opened = self.indexes.get(kind, space)
        if opened is None:
            return ranking
        among = self._vector_ids(kind, space, part, allowed)
        unit = opened.weights.prepared(values[None, :].astype(np.float32))
        found = [(i, s) for i, s in _found(opened, unit, k if kind == "scan" else 4 * k, among) if s > 0]
        owners = self._owners([i for i, _ in found])
        if drop_denials:
            denied = self._denying([at for _, at in owners.values() if at is not None])
            owners = {i: owner for i, owner in owners.items() if owner[1] not in denied}
        for name, score in found:
            if name in owners and owners[name][0] not in ranking.scores:
                case, sentence = owners[name]
                ranking.cases.append(case)
                ranking.scores[case] = score
                if sentence is not None:
                    ranking.sentences[case] = sentence
        return ranking

    def _in_images(self, asked: InImages, allowed: NDArray[np.int64] | None, k: int) -> _Ranking:
        """Cases whose image agrees most with words; also where none agrees, as no score of theirs means "no"."""
        ranking = _Ranking(asked.name)
        opened = self.indexes.among_words(asked.kind, asked.space, asked.project)
        if opened is not None:
            among = self._vector_ids(asked.kind, asked.space, asked.structure, allowed)
            found = _found(opened, asked.wanted[None, :].astype(np.float32), k, among)
            owners = self._owners([i for i, _ in found])
            ranking.scores = {owners[i][0]: score for i, score in reversed(found) if i in owners}
            ranking.cases = list(reversed(ranking.scores))
        return ranking

    def _by_words(self, text: str, allowed: NDArray[np.int64] | None, k: int) -> _Ranking:
        """Cases by the sentence that shares most words; one that denies what is asked for does not count."""
        ranking = _Ranking(WORDS)
        tokens = [word for word in re.findall(r"\w+", text.lower()) if len(word) > 2 and word not in STOP_WORDS]
        if not tokens:
            return ranking
        rows = self.library.tables.rows(
            "select words.rowid at, sentences.case_id, bm25(words) score from words join sentences "
            "on sentences.id = words.rowid where words match ? order by score limit ?",
            (" OR ".join(f'"{token}"' for token in tokens), 20 * k),
        )
        inside = None if allowed is None else set(allowed.tolist())
        asks = any(fact.presence != "absent" for fact in from_text(text))
        denied = self._denying([row["at"] for row in rows]) if asks else set()
        for row in rows:
            case = row["case_id"]
            if case in ranking.scores or row["at"] in denied or (inside is not None and case not in inside):
                continue
            ranking.cases.append(case)
            ranking.scores[case] = -float(row["score"])
            ranking.sentences[case] = row["at"]
        del ranking.cases[k:]
        return ranking

    def _denying(self, sentences: Sequence[int]) -> set[int]:
        """Of some sentences, those that say of findings only that they are not there."""
        rows = self.library.tables.rows(
            f"select sentence from facts where sentence in ({_marks(sentences)}) group by sentence "
            "having max(presence != 'absent') = 0",
            sentences,
        )
        return {row["sentence"] for row in rows}

    # ---- who may come back

    def _barred(self, query: Query) -> set[int]:
        """Cases of the query's own patient, and copies of its scan."""
        token = self.library.token("patient", query.patient)
        content = self.library.token("content", query.content) if query.content else "-"
        rows = self.library.tables.rows(
            "select id from cases where patient in (select id from patients where token = ? "
            "union select patient from cases where content = ? union select ?)",
            (token, content, query.own),
        )
        return {row["id"] for row in rows}

    def _allowed(self, filters: Filters) -> NDArray[np.int64]:
        """Ids of the cases that the filters let through."""
        wheres, values = ["1"], list[object]()

        def must(clause: str, *given: object) -> None:
            wheres.append(clause)
            values.extend(given)

        if filters.region:
            must("' ' || regions || ' ' like ?", f"% {filters.region} %")
        if filters.phase:
            must("phase = ?", filters.phase)
        if filters.age:
            must("age between ? and ?", *filters.age)
        if filters.before:
            must("shifted < ?", (filters.before - datetime.timedelta(days=SHIFT_DAYS)).isoformat())
        for finding in filters.findings or ((None,) if filters.side or filters.size_mm else ()):
            clause = (
                "exists (select 1 from facts where case_id = cases.id and presence = 'present' and origin != 'words'"
            )
            if finding is not None:
                kinds = kinds_of(finding)
                clause += f" and finding in ({_marks(kinds)})"
                values.extend(kinds)
            if filters.side:
                clause += " and side in (?, 'bilateral')"
                values.append(filters.side)
            if filters.size_mm:
                clause += " and size_mm between ? and ?"
                values.extend(filters.size_mm)
            wheres.append(clause + ")")
        rows = self.library.tables.rows(f"select id from cases where {' and '.join(wheres)} order by id", values)
        return np.array([row["id"] for row in rows], dtype=np.int64)

    def _of_regions(self, regions: Sequence[str], allowed: NDArray[np.int64] | None) -> NDArray[np.int64] | None:
        """Of the cases that are allowed, those that cover a region, too, or of which no region is known."""
        if not regions:
            return allowed
        tables = self.library.tables
        kinds = [row["regions"] for row in tables.rows("select distinct regions from cases")]
        alike = [covers for covers in kinds if not covers or set(covers.split()) & set(regions)]
        if len(alike) == len(kinds):
            return allowed
        marks = ", ".join("?" * len(alike))
        rows = tables.rows(f"select id from cases where regions in ({marks}) order by id", alike)
        within = np.array([row["id"] for row in rows], dtype=np.int64)
        return within if allowed is None else np.intersect1d(within, allowed)

    def _vector_ids(
        self, kind: Kind, space: str, part: str, allowed: NDArray[np.int64] | None
    ) -> NDArray[np.int64] | None:
        """Ids of the vectors of some cases and one organ; None: all of this kind and space."""
        if allowed is None and kind != "organ":
            return None
        rows = self.library.tables.rows(
            "select id, case_id from vectors where kind = ? and space = ? and (? = '' or part = ?) order by id",
            (kind, space, part, part),
        )
        found = np.array([(row["id"], row["case_id"]) for row in rows], dtype=np.int64).reshape(-1, 2)
        return found[:, 0] if allowed is None else found[np.isin(found[:, 1], allowed), 0]

    def _owners(self, vectors: Sequence[int]) -> dict[int, tuple[int, int | None]]:
        """Vector -> (case, sentence)."""
        rows = self.library.tables.rows(
            f"select id, case_id, sentence from vectors where id in ({_marks(vectors)})", vectors
        )
        return {row["id"]: (row["case_id"], row["sentence"]) for row in rows}

    # ---- what comes back

    def _folded(
        self, query: Query, rankings: Sequence[_Ranking], fused: Mapping[int, float], order: Sequence[int], k: int
    ) -> list[Similar]:
        held = self.library.cases(order[: max(FETCHED, 5 * k)])
        contents = self._contents(list(held))
        first: dict[str, int] = {}
        also: dict[int, list[str]] = {}
        for at in (case for case in order if case in held):
            keys = [f"study {held[at].study}", *([f"content {contents[at]}"] if contents[at] else [])]
            owner = next((first[key] for key in keys if key in first), at)
            for key in keys:
                first.setdefault(key, owner)
            if owner == at:
                also[at] = []
            else:
                also[owner].append(held[at].name)
        chosen = list(also)[:k]
        told = self._sentences([r.sentences[c] for c in chosen for r in rankings if c in r.sentences])
        return [self._told(query, held[c], fused[c], rankings, also[c], told) for c in chosen]

    def _told(
        self, query: Query, case: StoredCase, score: float, rankings: Sequence[_Ranking], also: list[str],
        sentences: Mapping[int, str],
    ) -> Similar:  # fmt: skip
        shared, there, here = compared(query.facts, case.facts)
        likeness = next((r.scores[case.id] for r in rankings if "findings" in r.name and case.id in r.scores), None)
        sentence = next((sentences[r.sentences[case.id]] for r in rankings if case.id in r.sentences), "")
        return Similar(
            case=case, score=score, likeness=None if likeness is None else round(likeness, 4),
            ranks={r.name: r.cases.index(case.id) + 1 for r in rankings if case.id in r.scores and case.id in r.cases},
            scores={r.name: round(r.scores[case.id], 4) for r in rankings if r.name != WORDS and case.id in r.scores},
            shared=shared, only_there=there, only_here=here, sentence=sentence, folded=tuple(also),
        )  # fmt: skip

    def _contents(self, cases: Sequence[int]) -> dict[int, str]:
        rows = self.library.tables.rows(f"select id, content from cases where id in ({_marks(cases)})", cases)
        return {row["id"]: row["content"] for row in rows}

    def _sentences(self, ids: Sequence[int]) -> dict[int, str]:
        rows = self.library.tables.rows(f"select id, text from sentences where id in ({_marks(ids)})", ids)
        return {row["id"]: row["text"] for row in rows}


def _found(opened: Opened, unit: NDArray[np.float32], k: int, among: NDArray[np.int64] | None) -> list[Scored]:
    """Vectors with their scores, nearest first."""
    scores, ids = opened.index.search(unit, k, among=among)
    return [(int(i), float(s)) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0]


def compared(
    here: Iterable[Fact], there: Iterable[Fact]
) -> tuple[tuple[str, ...], tuple[Difference, ...], tuple[Difference, ...]]:
    """What two cases share, what only the second has, and what only the first has.

    A kind of a finding is that finding: a nodule here and a lung lesion there are shared.
    """
    vocabulary = load_vocabulary()
    mine, its = status(here), status(there)

    def present(held: Mapping[str, Presence]) -> list[str]:
        return [key for key, presence in held.items() if presence == "present" and key in vocabulary.findings]

    def akin(key: str, others: Iterable[str]) -> bool:
        return any(vocabulary.is_a(key, other) or vocabulary.is_a(other, key) for other in others)

    def known(key: str, held: Mapping[str, Presence]) -> Presence | None:
        """What is known of a finding, also from what includes it: no lesion means no nodule."""
        found = held.get(key)
        if found is None and any(held.get(parent) == "absent" for parent in vocabulary.ancestors(key)):
            return "absent"
        return found

    shared = tuple(key for key in present(mine) if akin(key, present(its)))

    def alone(one: Mapping[str, Presence], other: Mapping[str, Presence]) -> tuple[Difference, ...]:
        """What the first has and the second has not; of a finding and a kind of it, the kind."""
        apart = [key for key in present(one) if not akin(key, present(other))]
        wider = {parent for key in apart for parent in vocabulary.ancestors(key)}
        return tuple(Difference(finding=key, other=known(key, other)) for key in apart if key not in wider)

    return shared, alone(its, mine), alone(mine, its)


def _marks(values: Iterable[object]) -> str:
    return ", ".join("?" for _ in values)
