"""What a likeness means in this library: of neighbours at this score, how many share a finding.

A cosine says nothing by itself. Cases of the library are asked for their neighbours, their own patient left out; for
each finding of a case it is counted which neighbours have it, too, where it is known of them. A rising curve of score
and share is kept for each way of comparing (findings, an encoder's images), with its error across two halves, beside
the share among cases taken blindly. Who is near by findings shares them by construction; who is near by image need not.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from retrieval.caches import decoded
from retrieval.cases import CaseVector, StoredCase
from retrieval.library import CaseLibrary
from retrieval.search import Query, Search, Similar
from retrieval.votes import SEED, Calibration, fitted, known_of

ASKED = 150  # cases that are asked for their neighbours, at most
NEIGHBOURS = 10  # of each, whose share is counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """What scores mean in a library."""

    curves: Mapping[str, Calibration]  # way of comparing, as the rankings name it -> what its scores mean
    blind: float | None  # share among cases taken blindly; None: nothing is known of any

    def of(self, similar: Similar) -> dict[str, float]:
        """For each way that found a case: of neighbours at its score, the share with a finding in common."""
        told = {
            way: self.curves[way].of(max(score, 0.0)) for way, score in similar.scores.items() if way in self.curves
        }
        return {way: share for way, share in told.items() if share is not None}


def sharing(search: Search) -> Sharing:
    """As the library keeps it, or made anew where the library has changed since."""
    library = search.library
    rows = library.tables.rows("select value from meta where key = 'likeness'")
    kept: dict[str, Any] = json.loads(rows[0]["value"]) if rows else {"generation": -1}
    if kept["generation"] != library.generation:
        kept = json.loads(json.dumps({"generation": library.generation, **asdict(measured(search))}))
        with library.tables.write() as db:
            db.execute("insert or replace into meta values ('likeness', ?)", (json.dumps(kept),))
    curves = {
        way: Calibration(**{**curve, "votes": tuple(curve["votes"]), "shares": tuple(curve["shares"])})
        for way, curve in kept["curves"].items()
    }
    return Sharing(curves=curves, blind=kept["blind"])


def measured(search: Search) -> Sharing:
    """From cases of the library: a curve for each way of comparing whole scans, and the share among any cases."""
    library, rng = search.library, np.random.default_rng(SEED)
    ids = [row["id"] for row in library.tables.rows("select id from cases order by id")]
    pairs: dict[str, list[tuple[float, bool]]] = {}
    blind: list[bool] = []
    for at in rng.permutation(len(ids))[:ASKED]:
        query = _query(library, library.cases([ids[at]])[ids[at]])
        any_cases = library.cases([ids[n] for n in rng.permutation(len(ids))[:NEIGHBOURS]]).values()
        blind += [there for case in any_cases if case.patient != query.own for there in _shared(query, case)]
        for alone in (replace(query, vectors=()), replace(query, facts=())):  # one would choose the other's neighbours
            for similar in search.similar(alone, NEIGHBOURS) if alone.facts or alone.vectors else ():
                for way, score in similar.scores.items():
                    pairs.setdefault(way, []).extend((score, there) for there in _shared(query, similar.case))
    curves = {
        way: _curve(np.array([score for score, _ in told]), np.array([there for _, there in told]), library.generation)
        for way, told in pairs.items()
        if way.startswith("scan ") and told
    }
    return Sharing(curves=curves, blind=round(float(np.mean(blind)), 3) if blind else None)


def _curve(scores: NDArray[np.float64], shared: NDArray[np.bool_], generation: int) -> Calibration:
    """A rising curve over the scores that were seen: beyond them its ends stand, none is presumed to be sure."""
    made = fitted(scores, shared, generation)
    return replace(made, votes=made.votes[1:-1], shares=made.shares[1:-1])


def _shared(query: Query, case: StoredCase) -> Iterator[bool]:
    """For each finding that a query has, whether a case has it, too, where that is known."""
    for finding in sorted({fact.finding for fact in query.facts if fact.presence == "present"}):
        if (known := known_of(finding, case.facts)) is not None:
            yield known == "present"


def _query(library: CaseLibrary, case: StoredCase) -> Query:
    """A case as a query: what is known of it and the vectors of its scan, its own patient left out."""
    rows = library.tables.rows(
        "select space, body from vectors where case_id = ? and kind = 'scan' and space not like 'findings-%'",
        (case.id,),
    )
    vectors = (CaseVector(kind="scan", space=r["space"], values=decoded(r["space"], r["body"])) for r in rows)
    return Query(facts=case.facts, vectors=tuple(vectors), own=case.patient)
