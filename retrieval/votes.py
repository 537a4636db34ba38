"""The library as a classifier: how many of the cases most like one have a finding, as a calibrated probability.

What is known of the finding itself takes no part in choosing the neighbours, so the vote is a second opinion and no
echo. Only neighbours of whom it is known vote: silence is not "absent". The vote is a mean weighted by likeness, drawn
towards the finding's share of the library, then calibrated on cases of the library, each with its own patient
left out (isotonic regression, Zadrozny and Elkan 2002); its error is measured across two halves.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from retrieval.facts import Fact, status
from retrieval.library import CaseLibrary
from retrieval.search import Query, Search, Similar
from vlm.evidence import Presence
from vlm.findings.vocabulary import load_vocabulary

NEIGHBOURS = 20  # that may vote
PRIOR = 2.0  # votes that the finding's share of the library counts as
PAIRS = 400  # of a case and a finding that the calibration is fitted on, at most
LEAST_PAIRS = 60  # below, a vote is no probability
STEPS = 20  # points of a calibration that are kept
SEED = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """What neighbours say of a finding."""

    finding: str
    having: int  # neighbours that have it
    lacking: int  # neighbours in whom it was looked for and not found
    vote: float  # 0 to 1, not calibrated
    probability: float | None  # None: too few labelled cases to calibrate on, or nobody votes
    nearest: tuple[str, ...]  # names of the voters, most alike first


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What a vote has meant in this library."""

    votes: tuple[float, ...]  # rising
    shares: tuple[float, ...]  # of cases with such a vote, those that have the finding
    pairs: int  # of a case and a finding, that it was fitted on
    error: float | None  # mean distance of probability and share in ten bins, each half judged by the other's fit
    generation: int

    def of(self, vote: float) -> float | None:
        """The probability that a vote means; None where too few pairs were there."""
        if self.pairs < LEAST_PAIRS:
            return None
        return round(float(np.interp(vote, self.votes, self.shares)), 3)


def vote_on(search: Search, query: Query, finding: str, calibration: Calibration) -> Vote:
    """What the cases most like a query say of one finding of the vocabulary."""
    asked = replace(query, facts=without(query.facts, finding))
    found = search.similar(asked, NEIGHBOURS) if asked.facts or asked.vectors else []
    known = [(similar, presence) for similar in found if (presence := known_of(finding, similar.case.facts))]
    vote = _weighed(known, _share(search.library, finding))
    having = sum(presence == "present" for _, presence in known)
    return Vote(
        finding=finding, having=having, lacking=len(known) - having, vote=round(vote, 3),
        probability=calibration.of(vote) if known else None, nearest=tuple(s.case.name for s, _ in known),
    )  # fmt: skip


def without(facts: Iterable[Fact], finding: str) -> tuple[Fact, ...]:
    """The facts but those of a finding, of its kinds and of what it is a kind of."""
    vocabulary = load_vocabulary()
    held = vocabulary.findings
    return tuple(
        f for f in facts
        if f.finding not in held or not (vocabulary.is_a(f.finding, finding) or vocabulary.is_a(finding, f.finding))
    )  # fmt: skip


def known_of(finding: str, facts: Iterable[Fact]) -> Presence | None:
    """Present or absent, where a case says so of a finding; None where it is silent or unsure."""
    vocabulary, held = load_vocabulary(), status(facts)
    if any(p == "present" and key in vocabulary.findings and vocabulary.is_a(key, finding) for key, p in held.items()):
        return "present"
    wider = (finding, *vocabulary.ancestors(finding))
    return "absent" if any(held.get(key) == "absent" for key in wider) else None


def _weighed(known: Sequence[tuple[Similar, Presence]], share: float) -> float:
    weights = [max(similar.likeness or 0.0, 0.05) for similar, _ in known]
    having = sum(w for w, (_, presence) in zip(weights, known, strict=True) if presence == "present")
    return (having + PRIOR * share) / (sum(weights) + PRIOR)


def _share(library: CaseLibrary, finding: str) -> float:
    """Of cases that say something of a finding, those that have it; one of each is presumed beside them."""
    rows = library.tables.rows(
        "select sum(there) n, count(*) cases from (select max(presence = 'present') there from facts "
        "where finding = ? and presence != 'uncertain' and origin != 'words' group by case_id)",
        (finding,),
    )
    return (float(rows[0]["n"] or 0) + 1) / (float(rows[0]["cases"]) + 2)


def calibrated(search: Search) -> Calibration:
    """The library's calibration: as it is kept, or made anew where the library has changed since."""
    library = search.library
    rows = library.tables.rows("select value from meta where key = 'votes'")
    if rows:
        kept = json.loads(rows[0]["value"])
        if kept["generation"] == library.generation:
            return Calibration(**{**kept, "votes": tuple(kept["votes"]), "shares": tuple(kept["shares"])})
    made = fitted(*labelled_votes(search), library.generation)
    with library.tables.write() as db:
        db.execute("insert or replace into meta values ('votes', ?)", (json.dumps(asdict(made)),))
    return made


def labelled_votes(search: Search, pairs: int = PAIRS) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Votes on findings that are known, of cases of the library with their own patient left out, and what is true."""
    library = search.library
    rows = library.tables.rows(
        "select distinct case_id, finding from facts where presence != 'uncertain' and origin != 'words' "
        "order by case_id, finding"
    )
    uncalibrated = Calibration(votes=(), shares=(), pairs=0, error=None, generation=0)
    votes, truths = [], []
    for at in np.random.default_rng(SEED).permutation(len(rows))[:pairs]:
        case = library.cases([rows[at]["case_id"]])[rows[at]["case_id"]]
        truth = known_of(rows[at]["finding"], case.facts)
        told = vote_on(search, Query(facts=case.facts, own=case.patient), rows[at]["finding"], uncalibrated)
        if truth and told.nearest:
            votes.append(told.vote)
            truths.append(truth == "present")
    return np.array(votes, dtype=np.float64), np.array(truths, dtype=bool)


def fitted(votes: NDArray[np.float64], truths: NDArray[np.bool_], generation: int) -> Calibration:
    """A calibration of (n,) votes and what was true."""
    points = _isotonic(votes, truths)
    error = None
    if len(votes) >= LEAST_PAIRS:
        even = np.arange(len(votes)) % 2 == 0
        halves = [(even, ~even), (~even, even)]
        judged = [np.interp(votes[test], *_isotonic(votes[train], truths[train])) for train, test in halves]
        error = expected_error(np.concatenate(judged), np.concatenate([truths[test] for _, test in halves]))
    kept_votes, kept_shares = (tuple(np.round(values, 4).tolist()) for values in points)
    return Calibration(votes=kept_votes, shares=kept_shares, pairs=len(votes), error=error, generation=generation)


def _isotonic(votes: NDArray[np.float64], truths: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Points of a rising curve from vote to share, with one present and one absent presumed at its ends."""
    order = np.argsort(votes, kind="stable")
    x = np.concatenate([[0.0], votes[order], [1.0]])
    y = isotonic_regression(np.concatenate([[0.0], truths[order], [1.0]])).x
    at = np.unique(np.linspace(0, len(x) - 1, STEPS).round().astype(int))
    return x[at], y[at]


def expected_error(probabilities: NDArray[np.float64], truths: NDArray[np.bool_]) -> float:
    """Expected calibration error over ten bins."""
    bins = np.minimum((probabilities * 10).astype(int), 9)
    gaps = [abs(probabilities[bins == b].mean() - truths[bins == b].mean()) * (bins == b).mean() for b in set(bins)]
    return round(float(sum(gaps)), 4)
